//! The numbers of views, by which jobs, workers and lanes refer to them.

/// The number of a view, and of the lane that is its queue. Another view takes the number of one that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ViewId(pub(crate) u32);

impl ViewId {
    /// The view at this place in the list of views.
    pub(crate) fn at(index: usize) -> Self {
        ViewId(u32::try_from(index).expect("there is memory for fewer views") + 1)
    }

    /// Its place in the list of views. The pool itself has none.
    pub(crate) fn index(self) -> usize {
        self.0.checked_sub(1).expect("the root is no view") as usize
    }
}

/// The lane of the pool itself.
pub(crate) const ROOT: ViewId = ViewId(0);
