//! What a `block_on` on a worker has polled, as plain data.
//!
//! Units are returned to be dropped, and not dropped while a thread-local is borrowed: a unit may own the last reference to a result,
//! whose `Drop` is user code.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Waker;

use crate::core::{Polled, Unit};

/// What a `block_on` on a worker waits for.
pub(crate) struct Awaiting {
    pub(super) waker: Waker,
    /// In the last poll, with this very waker; and where the future keeps its copy of it.
    pub(super) units: Vec<(usize, Arc<Unit>)>,
    /// All known places where copies of the waker are kept: one for each future, and for its use alone.
    pub(super) kept: BTreeSet<usize>,
    /// Futures were polled beyond [`crate::limits::NOTED_MAX`] units.
    pub(super) more: bool,
    /// Units that would never be done while this thread waits for them: their next poll gives the error.
    pub(super) dead: Vec<Arc<Unit>>,
}

impl Awaiting {
    pub(super) fn new(waker: Waker) -> Self {
        Awaiting { waker, units: Vec::new(), kept: BTreeSet::new(), more: false, dead: Vec::new() }
    }

    /// The future that kept a copy of the waker at this address does not any more.
    pub(super) fn forget(&mut self, address: usize) -> Vec<Arc<Unit>> {
        if !self.kept.remove(&address) {
            return Vec::new();
        }
        self.units.extract_if(.., |(of, _)| *of == address).map(|(_, unit)| unit).collect()
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
}
