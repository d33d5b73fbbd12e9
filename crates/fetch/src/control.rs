//! What all threads of a run share: how it stands, how many requests may run, and what the shards count.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use overlapped_proto::adaptive_limit::{AdaptiveLimit, Idle, Verdict};
use overlapped_proto::bucket::{Bucket, Rate, Spacing};
use overlapped_proto::schedule::Held;
use overlapped_proto::time::Nanos;

use crate::budget::Budget;
use crate::channels::Channels;
use crate::error::Error;

/// How a run stands. It only moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Rows are fetched.
    Running,
    /// What is in flight may end; nothing new starts.
    Draining,
    /// Everything ends at once.
    Aborting,
}

/// What ended a run before its list was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked for it.
    Asked,
    /// So many rows failed that a limit was reached.
    MaxErrors,
}

/// Shared by the conductor, the shards and whoever controls the run.
#[derive(Debug)]
pub(crate) struct Shared {
    stage: AtomicU8,
    /// What ended the run before its list was done; 0: nothing has.
    stopped: AtomicU8,
    pub(crate) channels: Channels,
    /// Requests that may still start, over all shards.
    budget: Budget,
    /// Starts over all shards.
    rate: Option<(Spacing, Mutex<Bucket>)>,
    /// What each shard counts.
    pub(crate) gauges: Box<[Gauges]>,
    /// Files or ports ran out; looked at only while they are short.
    shortage: Mutex<AdaptiveLimit>,
    short: AtomicBool,
    /// Counts how often every shard was told to close what is idle.
    relief: AtomicUsize,
    /// Why rows go to disk no more.
    pub(crate) spill_failure: OnceLock<String>,
    /// What a shard cannot go on without.
    failure: Mutex<Option<Error>>,
}

/// The figures of one shard; only it writes them.
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

    /// Moves the run on to `stage`, never back, and has everybody look.
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
            // Of two reasons the first is told.
            let _ = self.stopped.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire);
        }
        self.advance(stage);
    }

    /// What ended the run before its list was done.
    pub(crate) fn stopped_by(&self) -> Option<Stop> {
        match self.stopped.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Stop::Asked),
            _ => Some(Stop::MaxErrors),
        }
    }

    /// Takes a request for `shard`, which has `held` of them in flight; see [`Budget::take`].
    pub(crate) fn take_request(&self, shard: usize, held: usize) -> bool {
        self.budget.take(shard, held)
    }

    /// Gives a request back. `shard` itself is not woken: it asks again by itself.
    pub(crate) fn give_request(&self, shard: usize) {
        self.budget.give(shard, |other| self.channels.inbox(other).wake());
    }

    /// True if rows of other hosts are needed: the window is full, none of its rows could start, and still more requests
    /// could be in flight.
    pub(crate) fn wants_room(&self) -> bool {
        self.channels.wants_room() && self.budget.has_free()
    }

    /// A request of a shard, which no longer counts, found no file or port; `idle` connections of the shard were closed
    /// for it. The other shards are told to close theirs, and fewer requests start from now on.
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

    /// A request found what it needed.
    pub(crate) fn run_well(&self, now: Nanos) {
        if self.short.load(Ordering::Acquire) {
            let mut shortage = self.shortage();
            if shortage.passed(now) {
                self.budget.set_max(shortage.parallel_max());
            }
            self.short.store(shortage.is_short(), Ordering::Release);
        }
    }

    /// Changes each time a shard is to close what is idle.
    pub(crate) fn relief(&self) -> usize {
        self.relief.load(Ordering::Acquire)
    }

    /// How often files or ports ran out, and the fewest requests that were allowed at once.
    pub(crate) fn shortages(&self) -> (u64, usize) {
        let shortage = self.shortage();
        (shortage.times(), shortage.least())
    }

    /// Nobody panics with the lock held, so a poisoned one is whole.
    fn shortage(&self) -> MutexGuard<'_, AdaptiveLimit> {
        self.shortage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `start` happen at `now` if the rate allows it, and counts it if it says that it did start something. `Err`: none is allowed before then.
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

    /// A shard cannot go on: the run ends in order, with this error.
    pub(crate) fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.channels.results.wake();
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The limits that may hold a run back, the more telling last.
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

/// As it is kept in a gauge; of several shards the highest is shown.
pub(crate) fn number_of(held: Held) -> u8 {
    HELD.iter().position(|&known| known == held).and_then(|number| u8::try_from(number).ok()).unwrap_or(0)
}

pub(crate) fn held_of(number: u8) -> Held {
    HELD.get(usize::from(number)).copied().unwrap_or(Held::Nothing)
}
