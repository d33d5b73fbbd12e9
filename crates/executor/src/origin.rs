//! The source location that submitted a job, and its label. Without a label, storing one copies a reference.

use std::panic::Location;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) at: &'static Location<'static>,
    pub(crate) label: Option<Label>,
}

/// An `Arc<str>` would have twice the size, in every job.
pub(crate) type Label = Arc<String>;

impl Origin {
    /// The addresses of location and label: two live origins are equal if and only if these are.
    pub(crate) fn addresses(&self) -> (usize, usize) {
        let label = self.label.as_ref().map_or(0, |label| Arc::as_ptr(label) as usize);
        (std::ptr::from_ref(self.at) as usize, label)
    }
}
