//! The state that all threads of a run share: its stage, the budget of requests in flight, and the shards' counters.

use std::sync::{Arc, OnceLock, atomic};

use overlapped_proto::adaptive_limit::{AdaptiveLimit, Idle, Verdict};
use overlapped_proto::bucket::{Bucket, Rate, Spacing};
use overlapped_proto::schedule::Held;
use overlapped_proto::time::Nanos;

use crate::budget::Budget;
use crate::channels::Channels;
use crate::error::Error;
use crate::per_shard::{PerShard, ShardId};
use crate::sync::{AtomicBool, AtomicU8, AtomicUsize, Mutex, Ordering};

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
///
/// ```
/// use overlapped_fetch::{Bulk, Config, Input, MaxErrors, Stop};
///
/// // The third row is never asked for.
/// let max_errors = Some(MaxErrors::Rows(1));
/// let urls = ["no url", "nor this", "nor that"].map(str::to_owned);
/// let bulk = Bulk::new(Config { max_errors, ..Config::default() })?;
/// let summary = bulk.input(Input::Urls(Box::new(urls.into_iter()))).start()?.wait()?;
/// assert_eq!(summary.stopped_by, Some(Stop::MaxErrors));
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// [`Control::stop`](crate::Control::stop) or [`Control::abort`](crate::Control::abort) was called.
    Asked,
    /// The number of failed rows reached `max_errors`.
    MaxErrors,
}

/// The stage of a run, and why it was stopped. They change together: a run that has ended otherwise is not reported as
/// stopped by a call that comes too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    stage: Stage,
    stopped: Option<Stop>,
}

/// Shared by the conductor, the shards and the handles of the run.
#[derive(Debug)]
pub(crate) struct Shared {
    /// A [`State`] as a number.
    state: AtomicU8,
    pub(crate) channels: Channels,
    /// Requests in flight over all shards.
    budget: Budget,
    /// The token bucket over all shards.
    rate: Option<(Spacing, Mutex<Bucket>)>,
    /// The counters of each shard.
    pub(crate) gauges: PerShard<Gauges>,
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

/// The counters of one shard, which is their only writer. No decision that needs an order depends on them.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) in_flight: atomic::AtomicUsize,
    pub(crate) hosts: atomic::AtomicUsize,
    pub(crate) parked: atomic::AtomicUsize,
    pub(crate) held: atomic::AtomicU8,
    pub(crate) idle: Arc<atomic::AtomicUsize>,
    pub(crate) connections_new: atomic::AtomicU64,
    pub(crate) connections_reused: atomic::AtomicU64,
    pub(crate) retries: atomic::AtomicU64,
    pub(crate) redirects: atomic::AtomicU64,
    pub(crate) slowest: std::sync::Mutex<Option<SlowestHost>>,
}

/// The host whose rows take longest, of those of which many wait.
///
/// ```
/// use overlapped_fetch::Progress;
///
/// /// What a line of progress says of the time that is left.
/// fn told(progress: &Progress) -> String {
///     match &progress.slowest_host {
///         Some(slowest) => format!("{} takes {} s", slowest.host, slowest.time.as_secs()),
///         None => String::new(),
///     }
/// }
/// # use overlapped_fetch::{Bulk, Config, Input};
/// # let run = Bulk::new(Config::default())?.input(Input::Urls(Box::new(std::iter::empty()))).start()?;
/// # assert_eq!(told(&run.control().progress()), "");
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowestHost {
    /// Its name.
    pub host: String,
    /// How long the rows take that were read of it, under the limits of the host.
    pub time: std::time::Duration,
}

impl Shared {
    pub(crate) fn new(shards: usize, parallel_max: usize, rate: Option<Rate>) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(State { stage: Stage::Running, stopped: None }.number()),
            channels: Channels::new(shards),
            budget: Budget::new(parallel_max, shards),
            rate: rate.map(|rate| (rate.spacing(), Mutex::new(Bucket::default()))),
            gauges: PerShard::new(shards, Gauges::default),
            shortage: Mutex::new(AdaptiveLimit::new(parallel_max)),
            short: AtomicBool::new(false),
            relief: AtomicUsize::new(0),
            spill_failure: OnceLock::new(),
            failure: Mutex::new(None),
        })
    }

    pub(crate) fn stage(&self) -> Stage {
        self.state().stage
    }

    /// Why the run was stopped before the end of its list. It does not change once the run is not
    /// [running](Stage::Running).
    pub(crate) fn stopped_by(&self) -> Option<Stop> {
        self.state().stopped
    }

    fn state(&self) -> State {
        State::of(self.state.load(Ordering::Acquire))
    }

    /// Moves the run to `stage`, never backwards, and wakes all its threads.
    pub(crate) fn advance(&self, stage: Stage) {
        self.change(|state| State { stage: state.stage.max(stage), ..state });
    }

    /// Ends the run before its list is done. The first reason is kept.
    pub(crate) fn stop(&self, stage: Stage, why: Stop) {
        self.change(|state| match state.stage {
            Stage::Running => State { stage, stopped: Some(why) },
            Stage::Draining | Stage::Aborting => State { stage: state.stage.max(stage), ..state },
        });
    }

    fn change(&self, change: impl Fn(State) -> State) {
        let changed = |number| Some(change(State::of(number)).number());
        let done = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, changed);
        assert!(done.is_ok(), "every change has a result");
        self.channels.wake_shards();
        self.channels.results.wake();
    }

    /// Takes a request from the budget for `shard`, which has `held` in flight; see [`Budget::take`].
    pub(crate) fn take_request(&self, shard: ShardId, held: usize) -> bool {
        self.budget.take(shard, held)
    }

    /// Gives a request back. Wakes the other shards that wait for one; `shard` itself polls again in the same turn.
    pub(crate) fn give_request(&self, shard: ShardId) {
        self.budget.give(shard, |other| self.channels.inbox(other).wake());
    }

    /// True if the window is full, none of its rows could start, and the budget has free requests: then rows of other
    /// hosts are needed.
    pub(crate) fn wants_room(&self) -> bool {
        self.channels.wants_room() && self.budget.has_free()
    }

    /// A shard found no free file or port for a request, which no longer counts and has at most the time `limit`, and closed
    /// `idle` connections. Makes the other shards close theirs, and lowers the budget for a while.
    pub(crate) fn run_short(&self, idle: usize, limit: Option<Nanos>, now: Nanos) -> Verdict {
        let elsewhere = self.gauges.iter().any(|gauges| gauges.idle.load(Ordering::Relaxed) > 0);
        let idle = if idle > 0 || elsewhere { Idle::Closed } else { Idle::None };
        let others = self.budget.used();
        let mut shortage = self.shortage.lock();
        let verdict = shortage.hit(others, idle, limit, now);
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
            let mut shortage = self.shortage.lock();
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
        let shortage = self.shortage.lock();
        (shortage.times(), shortage.least())
    }

    /// Calls `start` if the rate allows it at `now`, and takes a token if it reports that a request was started. `Err`:
    /// the time of the next token.
    pub(crate) fn at_rate<T>(&self, now: Nanos, start: impl FnOnce() -> (T, bool)) -> Result<T, Nanos> {
        let Some((spacing, bucket)) = &self.rate else { return Ok(start().0) };
        let mut bucket = bucket.lock();
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
        self.failure.lock().get_or_insert(error);
        self.channels.results.wake();
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().take()
    }
}

impl State {
    /// The stage in the two lowest bits, the reason above them.
    fn number(self) -> u8 {
        let stage = match self.stage {
            Stage::Running => 0,
            Stage::Draining => 1,
            Stage::Aborting => 2,
        };
        let stopped = match self.stopped {
            None => 0,
            Some(Stop::Asked) => 1,
            Some(Stop::MaxErrors) => 2,
        };
        stage | stopped << 2
    }

    fn of(number: u8) -> Self {
        let stage = match number & 3 {
            0 => Stage::Running,
            1 => Stage::Draining,
            _ => Stage::Aborting,
        };
        let stopped = match number >> 2 {
            0 => None,
            1 => Some(Stop::Asked),
            _ => Some(Stop::MaxErrors),
        };
        Self { stage, stopped }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_number_of_its_own() {
        for stage in [Stage::Running, Stage::Draining, Stage::Aborting] {
            for stopped in [None, Some(Stop::Asked), Some(Stop::MaxErrors)] {
                let state = State { stage, stopped };
                assert_eq!(State::of(state.number()), state);
            }
        }
    }

    #[test]
    fn a_stage_is_never_left_backwards_and_the_first_reason_is_kept() {
        let shared = Shared::new(1, 1, None);
        shared.stop(Stage::Draining, Stop::MaxErrors);
        shared.stop(Stage::Aborting, Stop::Asked);
        shared.advance(Stage::Draining);
        assert_eq!((shared.stage(), shared.stopped_by()), (Stage::Aborting, Some(Stop::MaxErrors)));
    }
}

/// Every interleaving of two threads (loom). A lost wake-up shows as a deadlock of the model.
#[cfg(all(test, model))]
mod models {
    use std::future::poll_fn;
    use std::task::Poll;

    use loom::future::block_on;
    use loom::thread;

    use super::*;

    const NOW: Nanos = Nanos(1_000_000_000);

    /// Runs `act` on one thread, and on the other waits as a reader of `mailbox` does until `seen`.
    fn check_wakes(reader: fn(&Shared, &std::task::Waker), act: fn(&Shared), seen: fn(&Shared) -> bool) {
        loom::model(move || {
            let shared = Shared::new(2, 4, None);
            let other = Arc::clone(&shared);
            let other = thread::spawn(move || act(&other));
            block_on(poll_fn(|cx| {
                reader(&shared, cx.waker());
                if seen(&shared) { Poll::Ready(()) } else { Poll::Pending }
            }));
            other.join().unwrap();
        });
    }

    fn a_shard(shared: &Shared, waker: &std::task::Waker) {
        shared.channels.inbox(ShardId::numbered(1)).register(waker);
    }

    fn the_conductor(shared: &Shared, waker: &std::task::Waker) {
        shared.channels.results.register(waker);
    }

    #[test]
    fn a_new_stage_is_seen_or_wakes_who_sleeps() {
        let stop = |shared: &Shared| shared.stop(Stage::Draining, Stop::Asked);
        let stopped = |shared: &Shared| shared.stage() == Stage::Draining;
        check_wakes(a_shard, stop, stopped);
        check_wakes(the_conductor, stop, stopped);
    }

    #[test]
    fn the_failure_of_a_shard_is_seen_or_wakes_the_conductor() {
        let fail = |shared: &Shared| shared.fail(Error::internal("planted"));
        check_wakes(the_conductor, fail, |shared| shared.take_failure().is_some());
    }

    /// A shard that sleeps closes its idle connections when another one runs out of files.
    #[test]
    fn a_shortage_is_seen_or_wakes_the_other_shard() {
        let run_short = |shared: &Shared| {
            let _ = shared.run_short(0, None, NOW);
        };
        check_wakes(a_shard, run_short, |shared| shared.relief() == 1);
    }

    /// The summary said that a run was stopped whose journal said that it was complete, or the other way round.
    #[test]
    fn a_stop_that_comes_as_the_run_ends_counts_everywhere_or_nowhere() {
        loom::model(|| {
            let shared = Shared::new(1, 1, None);
            let user = Arc::clone(&shared);
            let user = thread::spawn(move || user.stop(Stage::Aborting, Stop::Asked));
            shared.advance(Stage::Draining);
            let by_journal = shared.stopped_by();
            user.join().unwrap();
            assert_eq!(by_journal, shared.stopped_by());
            assert_eq!(shared.stage(), Stage::Aborting);
        });
    }

    #[test]
    fn of_two_reasons_to_stop_one_is_kept() {
        loom::model(|| {
            let shared = Shared::new(1, 1, None);
            let user = Arc::clone(&shared);
            let user = thread::spawn(move || user.stop(Stage::Draining, Stop::Asked));
            shared.stop(Stage::Draining, Stop::MaxErrors);
            let first = shared.stopped_by();
            assert!(first.is_some());
            user.join().unwrap();
            assert_eq!(first, shared.stopped_by());
        });
    }

    /// The budget is that of the last change of the adaptive limit, and the flag says whether it is lowered.
    #[test]
    fn a_shortage_and_a_success_at_once_leave_the_budget_of_the_limit() {
        loom::model(|| {
            let shared = Shared::new(2, 4, None);
            let _ = shared.run_short(0, None, NOW);
            let other = Arc::clone(&shared);
            let other = thread::spawn(move || other.run_short(0, None, NOW));
            shared.run_well(Nanos(3 * NOW.0));
            let _ = other.join().unwrap();
            let shortage = shared.shortage.lock();
            assert_eq!(shared.budget.max(), shortage.parallel_max());
            assert_eq!(shared.short.load(Ordering::Acquire), shortage.is_short());
            assert_eq!(shared.relief(), 2);
        });
    }

    #[test]
    fn two_shards_share_one_token() {
        loom::model(|| {
            let shared = Shared::new(2, 4, "1/s".parse().ok());
            let start = |shared: &Shared| shared.at_rate(NOW, || ((), true)).is_ok();
            let other = Arc::clone(&shared);
            let other = thread::spawn(move || start(&other));
            let first = start(&shared);
            assert!(first != other.join().unwrap(), "a token is taken once");
        });
    }
}
