//! What a `block_on` on a worker has polled, as plain data.
//!
//! Must never drop a unit while a thread's values are borrowed: it may hold the last of a result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use crate::core::Unit;

/// What a `block_on` on a worker has come upon.
pub(crate) struct Awaiting {
    pub(super) waker: Waker,
    /// In the last poll, with this very waker.
    pub(super) units: Vec<Arc<Unit>>,
    /// Where else the waker is kept, for one of these to use and for nothing else.
    pub(super) beside: Vec<usize>,
    /// More than it is worth to look at.
    pub(super) many: bool,
    /// Units that would never be done while this thread waits for them: they say so at the next poll.
    pub(super) dead: Vec<Arc<Unit>>,
}

/// A `block_on` that polls more units than this with its own waker is not looked into.
pub(super) const NOTED_MAX: usize = 64;

impl Awaiting {
    pub(super) fn new(waker: Waker) -> Self {
        Awaiting { waker, units: Vec::new(), beside: Vec::new(), many: false, dead: Vec::new() }
    }
}

/// What a job that has a place to lend has polled with other wakers than that of its `block_on`, since it began: what has a waker of its
/// own, as in `FuturesUnordered`, is not polled each time.
#[derive(Default)]
pub(super) struct Others {
    pub(super) units: BTreeMap<usize, Arc<Unit>>,
    /// At so many, those that are over are dropped.
    sweep_at: usize,
}

impl Others {
    /// Gives back what is to be dropped while nothing is borrowed.
    pub(super) fn note(&mut self, unit: Arc<Unit>) -> Vec<Arc<Unit>> {
        let mut dropped: Vec<Arc<Unit>> = self.units.insert(unit.key(), unit).into_iter().collect();
        if self.units.len() >= self.sweep_at {
            dropped.extend(self.sweep());
            self.sweep_at = (self.units.len() * 2).max(NOTED_MAX);
        }
        dropped
    }

    /// Takes out those that are over.
    pub(super) fn sweep(&mut self) -> Vec<Arc<Unit>> {
        let (over, open): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.units).into_iter().partition(|(_, unit)| unit.is_over());
        self.units = open;
        over.into_values().collect()
    }
}

/// What is known of a poll.
pub(crate) struct Noted {
    pub(crate) units: Vec<Arc<Unit>>,
    /// How many copies of the waker these keep.
    pub(crate) copies: usize,
    /// Whether that is all that was polled with it.
    pub(crate) all: bool,
    /// What was polled with other wakers.
    pub(crate) others: Vec<Arc<Unit>>,
}
