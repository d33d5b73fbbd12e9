//! The state that all threads of a run share: its stage, the budget of requests in flight, and the shards' counters.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use overlapped_proto::adaptive_limit::{AdaptiveLimit, Idle, Verdict};
use overlapped_proto::bucket::{Bucket, Rate, Spacing};
use overlapped_proto::schedule::Held;
use overlapped_proto::time::Nanos;

use crate::budget::Budget;
use crate::channels::Channels;
use crate::error::Error;

/// The stage of a run. It only moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Rows are fetched.
    Running,
    /// Requests in flight are finished; nothing new starts.
    Draining,
    /// Requests in flight are dropped.
    Aborting,
}

/// Why a run was stopped before the end of its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// [`Control::stop`](crate::Control::stop) or [`Control::abort`](crate::Control::abort) was called.
    Asked,
    /// The number of failed rows reached `max_errors`.
    MaxErrors,
}

/// Shared by the conductor, the shards and the handles of the run.
#[derive(Debug)]
pub(crate) struct Shared {
    stage: AtomicU8,
    /// A [`Stop`] as a number; 0: none.
    stopped: AtomicU8,
    pub(crate) channels: Channels,
    /// Requests in flight over all shards.
    budget: Budget,
    /// The token bucket over all shards.
    rate: Option<(Spacing, Mutex<Bucket>)>,
    /// The counters of each shard.
    pub(crate) gauges: Box<[Gauges]>,
    /// The back-off while files or ports are short. Locked only then; `short` is checked first.
    shortage: Mutex<AdaptiveLimit>,
    short: AtomicBool,
    /// A counter; each shard closes its idle connections when it changes.
    relief: AtomicUsize,
    /// The first error of a write to the spill file.
    pub(crate) spill_failure: OnceLock<String>,
    /// The first error that a shard cannot continue after.
    failure: Mutex<Option<Error>>,
}

/// The counters of one shard, which is their only writer.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) in_flight: AtomicUsize,
    pub(crate) hosts: AtomicUsize,
    pub(crate) parked: AtomicUsize,
    pub(crate) held: AtomicU8,
    pub(crate) idle: AtomicUsize,
    pub(crate) connections_new: AtomicU64,
    pub(crate) connections_reused: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) redirects: AtomicU64,
}

impl Shared {
    pub(crate) fn new(shards: usize, parallel_max: usize, rate: Option<Rate>) -> Arc<Self> {
        Arc::new(Self {
            stage: AtomicU8::new(0),
            stopped: AtomicU8::new(0),
            channels: Channels::new(shards),
            budget: Budget::new(parallel_max, shards),
            rate: rate.map(|rate| (rate.spacing(), Mutex::default())),
            gauges: (0..shards).map(|_| Gauges::default()).collect(),
            shortage: Mutex::new(AdaptiveLimit::new(parallel_max)),
            short: AtomicBool::new(false),
            relief: AtomicUsize::new(0),
            spill_failure: OnceLock::new(),
            failure: Mutex::default(),
        })
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Running,
            1 => Stage::Draining,
            _ => Stage::Aborting,
        }
    }

    /// Moves the run to `stage`, never backwards, and wakes all its threads.
    pub(crate) fn advance(&self, stage: Stage) {
        let number = match stage {
            Stage::Running => 0,
            Stage::Draining => 1,
            Stage::Aborting => 2,
        };
        self.stage.fetch_max(number, Ordering::AcqRel);
        self.channels.wake_shards();
        self.channels.results.wake();
    }

    /// Ends the run before its list is done.
    pub(crate) fn stop(&self, stage: Stage, why: Stop) {
        let number = match why {
            Stop::Asked => 1,
            Stop::MaxErrors => 2,
        };
        if self.stage() == Stage::Running {
            // The first reason is kept.
            let _ = self.stopped.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire);
        }
        self.advance(stage);
    }

    /// Why the run was stopped before the end of its list.
    pub(crate) fn stopped_by(&self) -> Option<Stop> {
        match self.stopped.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Stop::Asked),
            _ => Some(Stop::MaxErrors),
        }
    }

    /// Takes a request from the budget for `shard`, which has `held` in flight; see [`Budget::take`].
    pub(crate) fn take_request(&self, shard: usize, held: usize) -> bool {
        self.budget.take(shard, held)
    }

    /// Gives a request back. Wakes the other shards that wait for one; `shard` itself polls again in the same turn.
    pub(crate) fn give_request(&self, shard: usize) {
        self.budget.give(shard, |other| self.channels.inbox(other).wake());
    }

    /// True if the window is full, none of its rows could start, and the budget has free requests: then rows of other
    /// hosts are needed.
    pub(crate) fn wants_room(&self) -> bool {
        self.channels.wants_room() && self.budget.has_free()
    }

    /// A shard found no free file or port for a request, which no longer counts, and closed `idle` connections. Makes the
    /// other shards close theirs, and lowers the budget for a while.
    pub(crate) fn run_short(&self, idle: usize, now: Nanos) -> Verdict {
        let elsewhere = self.gauges.iter().any(|gauges| gauges.idle.load(Ordering::Relaxed) > 0);
        let idle = if idle > 0 || elsewhere { Idle::Closed } else { Idle::None };
        let others = self.budget.used();
        let mut shortage = self.shortage();
        let verdict = shortage.hit(others, idle, now);
        self.budget.set_max(shortage.parallel_max());
        self.short.store(shortage.is_short(), Ordering::Release);
        self.relief.fetch_add(1, Ordering::AcqRel);
        drop(shortage);
        self.channels.wake_shards();
        verdict
    }

    /// A request found a file and a port: the budget may rise again.
    pub(crate) fn run_well(&self, now: Nanos) {
        if self.short.load(Ordering::Acquire) {
            let mut shortage = self.shortage();
            if shortage.passed(now) {
                self.budget.set_max(shortage.parallel_max());
            }
            self.short.store(shortage.is_short(), Ordering::Release);
        }
    }

    /// Changes each time the shards are to close their idle connections.
    pub(crate) fn relief(&self) -> usize {
        self.relief.load(Ordering::Acquire)
    }

    /// How often files or ports ran out, and the lowest budget that followed.
    pub(crate) fn shortages(&self) -> (u64, usize) {
        let shortage = self.shortage();
        (shortage.times(), shortage.least())
    }

    /// No code panics while it holds the lock, so a poisoned value is consistent.
    fn shortage(&self) -> MutexGuard<'_, AdaptiveLimit> {
        self.shortage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `start` if the rate allows it at `now`, and takes a token if it reports that a request was started. `Err`:
    /// the time of the next token.
    pub(crate) fn at_rate<T>(&self, now: Nanos, start: impl FnOnce() -> (T, bool)) -> Result<T, Nanos> {
        let Some((spacing, bucket)) = &self.rate else { return Ok(start().0) };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.next() > now {
            return Err(bucket.next());
        }
        let (turn, started) = start();
        if started {
            bucket.take(*spacing, now);
        }
        Ok(turn)
    }

    /// Ends the run with the error of a shard, after the requests in flight.
    pub(crate) fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.channels.results.wake();
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The limits that may hold a run back, by rising priority.
const HELD: [Held; 10] = [
    Held::Nothing,
    Held::Retry,
    Held::ParallelMax,
    Held::Away,
    Held::Parked,
    Held::Adaptive,
    Held::ParallelMaxHost,
    Held::Rate,
    Held::RateHost,
    Held::Network,
];

/// Its number in a gauge. Of several shards the highest is shown.
pub(crate) fn number_of(held: Held) -> u8 {
    let number = HELD.iter().position(|&known| known == held).expect("every limit is in the table");
    u8::try_from(number).expect("the table is short")
}

pub(crate) fn held_of(number: u8) -> Held {
    *HELD.get(usize::from(number)).expect("a gauge holds the number of a limit")
}
