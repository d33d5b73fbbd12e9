//! What a `block_on` on a worker has polled, as plain data.
//!
//! Must never drop a unit while a thread's values are borrowed: it may hold the last of a result.

use std::sync::Arc;
use std::task::Waker;

use crate::core::{Polled, Unit};

/// What a `block_on` on a worker has come upon.
pub(crate) struct Awaiting {
    pub(super) waker: Waker,
    /// In the last poll, with this very waker.
    pub(super) units: Vec<Arc<Unit>>,
    /// Where else the waker is kept, for one of these to use and for nothing else.
    pub(super) beside: Vec<usize>,
    /// How many more than it is worth to look at.
    pub(super) more: usize,
    /// Units that would never be done while this thread waits for them: they say so at the next poll.
    pub(super) dead: Vec<Arc<Unit>>,
}

/// A `block_on` that polls more units than this with its own waker is not looked into.
pub(super) const NOTED_MAX: usize = 64;

impl Awaiting {
    pub(super) fn new(waker: Waker) -> Self {
        Awaiting { waker, units: Vec::new(), beside: Vec::new(), more: 0, dead: Vec::new() }
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
