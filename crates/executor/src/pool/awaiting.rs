//! What a `block_on` on a worker has polled, as plain data.
//!
//! Units are returned to be dropped, and not dropped while a thread-local is borrowed: a unit may own the last reference to a result,
//! whose `Drop` is user code.

use std::sync::Arc;
use std::task::Waker;

use crate::core::{Polled, Unit};

/// What a `block_on` on a worker waits for.
pub(crate) struct Awaiting {
    pub(super) waker: Waker,
    /// In the last poll, with this very waker.
    pub(super) units: Vec<Arc<Unit>>,
    /// How many futures these are of: each keeps one copy of the waker.
    pub(super) futures: usize,
    /// Where else the waker is kept, for one of these to use and for nothing else.
    pub(super) beside: Vec<usize>,
    /// How many futures more, beyond [`crate::limits::NOTED_MAX`] units.
    pub(super) more: usize,
    /// Units that would never be done while this thread waits for them: their next poll gives the error.
    pub(super) dead: Vec<Arc<Unit>>,
}

impl Awaiting {
    pub(super) fn new(waker: Waker) -> Self {
        Awaiting { waker, units: Vec::new(), futures: 0, beside: Vec::new(), more: 0, dead: Vec::new() }
    }
}

/// What is known of a poll.
pub(crate) struct Noted {
    pub(crate) units: Vec<Arc<Unit>>,
    /// How many copies of the waker these keep, and those in `polled` that were polled with it.
    pub(crate) copies: usize,
    /// Whether these units are all that was polled with it.
    pub(crate) all: bool,
    /// What was polled with other wakers since the job began, and what was too much for `units`.
    pub(crate) polled: Option<Arc<Polled>>,
    /// The job has a place in a view, to lend.
    pub(crate) in_view: bool,
}
