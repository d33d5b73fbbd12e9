//! What all threads of a run share: how it stands, how many requests may run, and what the shards count.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use overlapped_proto::bucket::{Bucket, Rate, Spacing};
use overlapped_proto::job::Job;
use overlapped_proto::limits;
use overlapped_proto::record::Record;
use overlapped_proto::schedule::Held;
use overlapped_proto::shortage::{Idle, Shortage, Verdict};
use overlapped_proto::time::Nanos;

use crate::error::Error;
use crate::mailbox::Mailbox;

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
    /// Rows for each shard.
    pub(crate) inboxes: Box<[Mailbox<Job>]>,
    /// Finished rows for the conductor.
    pub(crate) results: Mailbox<Record>,
    /// Requests that may still start, over all shards.
    budget: Budget,
    /// Starts over all shards.
    rate: Option<(Spacing, Mutex<Bucket>)>,
    /// What each shard counts.
    pub(crate) gauges: Box<[Gauges]>,
    /// Files or ports ran out; looked at only while they are short.
    shortage: Mutex<Shortage>,
    short: AtomicBool,
    /// Counts how often every shard was told to close what is idle.
    relief: AtomicUsize,
    /// A shard waits for the conductor, which is behind or has too many rows out.
    stalled: AtomicBool,
    /// Rows that were handed out and are not written yet.
    out: AtomicU64,
    /// Rows that may be in memory: as few as keep everybody busy, up to the run's window.
    window: AtomicUsize,
    /// The window is full, and there are more rows.
    full: AtomicBool,
    /// Why rows go to disk no more.
    pub(crate) spill_failure: OnceLock<String>,
    /// What a shard cannot go on without.
    failure: Mutex<Option<Error>>,
}

/// The figures of one shard; only it writes them.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) in_flight: AtomicUsize,
    /// A host could start, or rows have come and it is not known yet.
    pub(crate) ready: AtomicBool,
    pub(crate) hosts: AtomicUsize,
    pub(crate) parked: AtomicUsize,
    pub(crate) held: AtomicU8,
    pub(crate) idle: AtomicUsize,
    pub(crate) connections_new: AtomicU64,
    pub(crate) connections_reused: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) redirects: AtomicU64,
    /// Rows that wait on disk, and so do not count against the window.
    pub(crate) spilled: AtomicU64,
}

impl Shared {
    pub(crate) fn new(shards: usize, parallel_max: usize, rate: Option<Rate>) -> Arc<Self> {
        Arc::new(Self {
            stage: AtomicU8::new(0),
            stopped: AtomicU8::new(0),
            inboxes: (0..shards).map(|_| Mailbox::new()).collect(),
            results: Mailbox::new(),
            budget: Budget::new(parallel_max, shards),
            rate: rate.map(|rate| (rate.spacing(), Mutex::default())),
            gauges: (0..shards).map(|_| Gauges::default()).collect(),
            shortage: Mutex::new(Shortage::new(parallel_max)),
            short: AtomicBool::new(false),
            relief: AtomicUsize::new(0),
            stalled: AtomicBool::new(false),
            out: AtomicU64::new(0),
            window: AtomicUsize::new(limits::WINDOW_ROWS_FIRST),
            full: AtomicBool::new(false),
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
        self.wake_shards();
        self.results.wake();
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

    pub(crate) fn wake_shards(&self) {
        self.inboxes.iter().for_each(Mailbox::wake);
    }

    /// Takes a request for `shard`, which has `held` of them in flight. False: none may start now; the shard will be
    /// woken, or has requests in flight after which it asks again.
    pub(crate) fn take_request(&self, shard: usize, held: usize) -> bool {
        self.budget.take(shard, held)
    }

    /// Gives a request back. `shard` itself is not woken: it asks again of its own.
    pub(crate) fn give_request(&self, shard: usize) {
        self.budget.used.fetch_sub(1, Ordering::SeqCst);
        for (other, waiting) in self.budget.others(shard) {
            if waiting.load(Ordering::SeqCst) && waiting.swap(false, Ordering::SeqCst) {
                self.inboxes.get(other).into_iter().for_each(Mailbox::wake);
            }
        }
    }

    /// A request of a shard, which no longer counts, found no file or port; `idle` connections of the shard were closed
    /// for it. The other shards are told to close theirs, and fewer requests start from now on.
    pub(crate) fn run_short(&self, idle: usize, now: Nanos) -> Verdict {
        let elsewhere = self.gauges.iter().any(|gauges| gauges.idle.load(Ordering::Relaxed) > 0);
        let idle = if idle > 0 || elsewhere { Idle::Closed } else { Idle::None };
        let others = self.budget.used.load(Ordering::SeqCst);
        let mut shortage = self.shortage();
        let verdict = shortage.hit(others, idle, now);
        self.budget.max.store(shortage.parallel_max(), Ordering::SeqCst);
        self.short.store(shortage.is_short(), Ordering::Release);
        self.relief.fetch_add(1, Ordering::AcqRel);
        drop(shortage);
        self.wake_shards();
        verdict
    }

    /// A request found what it needed.
    pub(crate) fn run_well(&self, now: Nanos) {
        if self.short.load(Ordering::Acquire) {
            let mut shortage = self.shortage();
            if shortage.passed(now) {
                self.budget.max.store(shortage.parallel_max(), Ordering::SeqCst);
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
    fn shortage(&self) -> MutexGuard<'_, Shortage> {
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

    /// True if the conductor has enough to do, so that no request should start; it will wake the shards.
    pub(crate) fn is_behind(&self, batches: usize) -> bool {
        if self.results.len() < batches {
            return false;
        }
        // First say so, then look again: either the conductor sees the flag or we see its progress.
        self.stalled.store(true, Ordering::SeqCst);
        self.results.len() >= batches
    }

    /// The window is full and there are more rows, or that is so no longer. Whoever says so looks again after it.
    pub(crate) fn set_full(&self, full: bool) {
        if self.full.load(Ordering::Relaxed) != full {
            self.full.store(full, Ordering::SeqCst);
            if full {
                self.wake_shards();
            }
        }
    }

    /// True if rows of other hosts are needed: the window is full, none of its rows could start, and still more requests
    /// could be in flight.
    pub(crate) fn wants_room(&self) -> bool {
        let coming = || self.inboxes.iter().any(|inbox| inbox.len() > 0);
        let ready = || self.gauges.iter().any(|gauges| gauges.ready.load(Ordering::SeqCst));
        self.full.load(Ordering::SeqCst) && self.budget.has_free() && !coming() && !ready()
    }

    /// Rows that may be in memory.
    pub(crate) fn window(&self) -> usize {
        self.window.load(Ordering::SeqCst)
    }

    /// Doubles the window, up to `max` rows; false: it is as wide already.
    pub(crate) fn widen(&self, max: usize) -> bool {
        let wider = |rows: usize| (rows < max).then(|| rows.saturating_mul(2).min(max));
        let widened = self.window.fetch_update(Ordering::SeqCst, Ordering::SeqCst, wider).is_ok();
        if widened {
            self.full.store(false, Ordering::SeqCst);
            self.results.wake();
        }
        widened
    }

    /// So many rows were handed out and are not written yet.
    pub(crate) fn set_out(&self, rows: u64) {
        self.out.store(rows, Ordering::SeqCst);
    }

    /// True if no row should come back from disk, because in memory are `rows_max` already; the shards will be woken.
    pub(crate) fn is_crowded(&self, rows_max: usize) -> bool {
        let is = || {
            let rows = self.out.load(Ordering::SeqCst).saturating_sub(self.spilled());
            usize::try_from(rows).unwrap_or(usize::MAX) >= rows_max
        };
        // As in `is_behind`: first say so, then look again.
        is() && {
            self.stalled.store(true, Ordering::SeqCst);
            is()
        }
    }

    /// Rows that wait on disk.
    pub(crate) fn spilled(&self) -> u64 {
        self.gauges.iter().map(|gauges| gauges.spilled.load(Ordering::SeqCst)).sum()
    }

    /// Has the conductor look whether there is room now.
    pub(crate) fn made_room(&self) {
        if self.full.load(Ordering::SeqCst) {
            self.results.wake();
        }
    }

    /// A shard cannot go on: the run ends in order, with this error.
    pub(crate) fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.results.wake();
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The conductor has caught up.
    pub(crate) fn caught_up(&self) {
        if self.stalled.swap(false, Ordering::SeqCst) {
            self.wake_shards();
        }
    }
}

/// Requests that may start, over all shards, so that one busy host can use what the other shards do not.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    /// What may be used at once; less than `used` for a while after it was lowered.
    max: AtomicUsize,
    /// For each shard: it has a row that could start and nothing was free.
    waiting: Box<[AtomicBool]>,
}

impl Budget {
    fn new(requests: usize, shards: usize) -> Self {
        let waiting = (0..shards).map(|_| false.into()).collect();
        Self { used: AtomicUsize::new(0), max: AtomicUsize::new(requests), waiting }
    }

    /// Takes one for `shard`, which holds `held`; false: none is free, or others come first. The shard is asked again
    /// when one is given back.
    fn take(&self, shard: usize, held: usize) -> bool {
        if held >= self.share() && self.others(shard).any(|(_, waiting)| waiting.load(Ordering::SeqCst)) {
            return false;
        }
        self.try_take() || {
            // First say so, then look again: either the giver sees the flag or we see what it gave.
            if let Some(waiting) = self.waiting.get(shard) {
                waiting.store(true, Ordering::SeqCst);
            }
            self.try_take()
        }
    }

    fn has_free(&self) -> bool {
        self.used.load(Ordering::SeqCst) < self.max.load(Ordering::SeqCst)
    }

    /// What a shard may hold while another one waits.
    fn share(&self) -> usize {
        (self.max.load(Ordering::SeqCst) / self.waiting.len().max(1)).max(1)
    }

    fn try_take(&self) -> bool {
        let max = self.max.load(Ordering::SeqCst);
        let one_more = |used| if used < max { Some(used + 1) } else { None };
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok()
    }

    /// The shards that wait, but for `shard`, and their flags.
    fn others(&self, shard: usize) -> impl Iterator<Item = (usize, &AtomicBool)> {
        self.waiting.iter().enumerate().filter(move |(other, _)| *other != shard)
    }
}

/// The limits that may hold a run back, the more telling last.
const HELD: [Held; 9] = [
    Held::Nothing,
    Held::Retry,
    Held::ParallelMax,
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
