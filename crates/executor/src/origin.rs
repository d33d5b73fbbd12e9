//! Where a job comes from: the place in the program that submitted it, and its label.
//!
//! Must never cost a job without a label more than the copy of a reference.

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
    /// Two origins that live at the same time are equal if these addresses are.
    pub(crate) fn addresses(&self) -> (usize, usize) {
        let label = self.label.as_ref().map_or(0, |label| Arc::as_ptr(label) as usize);
        (std::ptr::from_ref(self.at) as usize, label)
    }
}
