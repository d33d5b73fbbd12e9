//! What can wake a sleeper: jobs that are awaited together, the end of a lane, and what is beside them.
//!
//! Changed only under the pool's mutex, except where a field says otherwise.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
// Changed under the pool's mutex, or by the thread that reads it: no order for the checkers to try.
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use super::{Core, Effects};
use crate::cell::{Position, Task};
use crate::limits;
use crate::sync::Guard;
use crate::view_id::ViewId;

/// What a worker sleeps on: it goes on as soon as one of the units is done, or by what is beside them.
pub(crate) struct On {
    pub(crate) units: Vec<Arc<Unit>>,
    pub(crate) beside: Beside,
    /// With `Beside::Wakers`.
    pub(crate) polled: Option<Arc<Polled>>,
    pub(crate) runs: Runs,
    pub(crate) refusal: Refusal,
}

/// What else may wake a sleeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// One of the jobs that were polled with other wakers than the sleeper's own; perhaps also something that the pool cannot look into.
    Wakers,
    /// A deadline, or something that the pool cannot look into.
    Something,
}

/// Which jobs a sleeper may run itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    /// None: it is inside a future, which may hold anything, or has a time limit, or jobs are run inside waits there too deep already.
    Nothing,
    /// Those that it sleeps on.
    Awaited,
}

/// What becomes of a wait that would never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is an error.
    Error,
    /// The queued jobs that it waits for are discarded; those that run are waited for in any case.
    Discard,
}

/// Jobs that are awaited together, or the end of a lane.
pub(crate) struct Unit {
    need: Need,
    targets: Vec<Target>,
    /// With `Need::End`, and then there are no targets.
    end: Option<End>,
    /// The targets before this one are over.
    first: AtomicUsize,
    /// For each of many targets that is over, one behind it, with none between that is not over.
    skips: Vec<AtomicU32>,
    /// A worker has slept on it, and so its jobs are taken before others.
    preferred: AtomicBool,
    /// It was given as a whole: it can wake no sleeper any more.
    given: AtomicBool,
    /// If they are so many that their ends are counted, and not looked for.
    counter: OnceLock<Arc<Counter>>,
    #[cfg(test)]
    looks: Option<Arc<AtomicUsize>>,
}

/// When a unit is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// When all of its jobs are.
    All,
    /// When one is, of those that were not given.
    Any,
    /// When nothing of a lane is left.
    End,
}

/// The end of a lane, as one that waits for it sees it.
pub(crate) struct End {
    pub(super) lane: ViewId,
    /// `None`: of the pool whose worker waits.
    pub(super) pool: Option<Arc<dyn Elsewhere>>,
    /// Set under the mutex of the lane's pool.
    over: Arc<AtomicBool>,
}

/// A job that a unit waits for.
pub(crate) struct Target {
    task: Arc<dyn Task>,
    settles: Settles,
    /// `None`: of the pool whose worker waits.
    pool: Option<Arc<dyn Elsewhere>>,
    /// Its result was taken: no sleeper waits for it any more.
    given: AtomicBool,
    /// A wait for all jobs of the unit was refused, and this is one that would never end.
    refused: AtomicBool,
}

/// What makes a job settle beside its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settles {
    ByItself,
    /// A deadline, unless it has begun by then.
    UnlessBegun,
    /// A deadline.
    InTime,
}

/// Another pool than the one that asks.
pub(crate) trait Elsewhere: Send + Sync {
    fn core(&self) -> Guard<'_, Core>;

    /// Does what its core has answered.
    fn carry_out(self: Arc<Self>, effects: Effects);
}

impl Target {
    pub(crate) fn new(task: Arc<dyn Task>, settles: Settles, pool: Option<Arc<dyn Elsewhere>>) -> Self {
        Target { task, settles, pool, given: AtomicBool::new(false), refused: AtomicBool::new(false) }
    }

    pub(super) fn task(&self) -> &Arc<dyn Task> {
        &self.task
    }

    pub(super) fn settles(&self) -> Settles {
        self.settles
    }

    pub(super) fn elsewhere(&self) -> Option<&Arc<dyn Elsewhere>> {
        self.pool.as_ref()
    }

    /// A wait for all jobs of its unit is refused, and this is a reason.
    pub(super) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    fn is_given(&self) -> bool {
        self.given.load(Ordering::Relaxed)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.task.place().position() == Position::Gone
    }

    pub(super) fn is_own(&self) -> bool {
        self.pool.is_none()
    }
}

impl Unit {
    pub(crate) fn new(need: Need, targets: Vec<Target>) -> Arc<Self> {
        Self::with(need, targets, None)
    }

    pub(crate) fn of_end(
        lane: ViewId,
        pool: Option<Arc<dyn Elsewhere>>,
        over: &Arc<AtomicBool>,
    ) -> Arc<Self> {
        Self::with(Need::End, Vec::new(), Some(End { lane, pool, over: Arc::clone(over) }))
    }

    fn with(need: Need, targets: Vec<Target>, end: Option<End>) -> Arc<Self> {
        #[cfg(test)]
        targets.iter().for_each(|_| looks::count(looks::of_this_thread().as_ref()));
        Arc::new(Unit {
            need,
            skips: (0..if targets.len() > MANY { targets.len() } else { 0 })
                .map(|_| AtomicU32::new(0))
                .collect(),
            targets,
            end,
            first: AtomicUsize::new(0),
            preferred: AtomicBool::new(false),
            given: AtomicBool::new(false),
            counter: OnceLock::new(),
            #[cfg(test)]
            looks: looks::of_this_thread(),
        })
    }

    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether it depends on another pool.
    pub(super) fn is_foreign(&self) -> bool {
        self.end().is_some_and(|end| end.pool.is_some()) || self.open().any(|target| !target.is_own())
    }

    fn end_is_over(&self) -> bool {
        self.end().is_some_and(|end| end.over.load(Ordering::Relaxed))
    }

    pub(super) fn need(&self) -> Need {
        self.need
    }

    /// The result of that job was taken. Returns false if it was before.
    pub(crate) fn set_given(&self, number: usize) -> bool {
        let Some(target) = self.targets.get(number) else { return false };
        let is_first = !target.given.swap(true, Ordering::Relaxed);
        if let Some(counter) = self.counter.get() {
            counter.given(number);
        }
        is_first
    }

    /// What it was waited for was given.
    pub(crate) fn set_all_given(&self) {
        self.given.store(true, Ordering::Relaxed);
    }

    /// The address of its first job, or of the flag of its end.
    pub(crate) fn key(&self) -> usize {
        if let Some(end) = self.end() {
            return Arc::as_ptr(&end.over).addr();
        }
        self.targets.first().map_or(0, |target| std::ptr::from_ref(target.task.place()).addr())
    }

    /// Whether no sleeper waits for any of its jobs any more, or all are gone.
    pub(crate) fn is_over(&self) -> bool {
        if self.given.load(Ordering::Relaxed) {
            return true;
        }
        match self.need {
            Need::All | Need::Any => self.open().all(Target::is_gone),
            Need::End => self.end_is_over(),
        }
    }

    /// Whether both are the same, or are of the same single job or end: such a unit is made for each poll.
    pub(crate) fn is(&self, other: &Unit) -> bool {
        let is_single = |unit: &Unit| unit.end.is_some() || unit.targets.len() == 1;
        std::ptr::eq(self, other) || (is_single(self) && is_single(other) && self.key() == other.key())
    }

    /// The numbers of the jobs because of which a wait for all of them was refused: they would never end.
    pub(crate) fn refused(&self) -> impl Iterator<Item = usize> {
        let refused = |target: &Target| target.refused.load(Ordering::Relaxed);
        (0..).zip(&self.targets).filter(move |(_, target)| refused(target)).map(|(number, _)| number)
    }

    /// The jobs that are waited for, without those that are over.
    pub(super) fn open(&self) -> impl Iterator<Item = &Target> {
        let first = self.next_open(self.first.load(Ordering::Relaxed));
        self.first.store(first, Ordering::Relaxed);
        let mut next = first;
        std::iter::from_fn(move || {
            next = self.next_open(next) + 1;
            let target = self.targets.get(next - 1)?;
            #[cfg(test)]
            looks::count(self.looks.as_ref());
            Some(target)
        })
    }

    /// The number of the first target from this one on that is not over; if there is none, the number of targets.
    fn next_open(&self, from: usize) -> usize {
        let mut at = from;
        while let Some(target) = self.targets.get(at) {
            let skip = self.skips.get(at).map_or(0, |skip| skip.load(Ordering::Relaxed) as usize);
            let over = skip > at || target.is_given() || (self.need == Need::All && target.is_gone());
            if !over {
                break;
            }
            at = skip.max(at + 1);
        }
        if at > from
            && let Some(skip) = self.skips.get(from)
        {
            skip.store(u32::try_from(at).unwrap_or(0), Ordering::Relaxed);
        }
        at.min(self.targets.len())
    }

    pub(super) fn is_done(&self) -> bool {
        !self.given.load(Ordering::Relaxed) && self.has_come()
    }

    fn has_come(&self) -> bool {
        match self.need {
            Need::All => self.open().all(Target::is_gone),
            Need::Any => match self.counter.get() {
                Some(counter) => counter.ended.load(Ordering::Acquire) > 0,
                None => self.open().any(Target::is_gone),
            },
            Need::End => self.end_is_over(),
        }
    }

    /// True if this is the first time that a worker sleeps on it.
    pub(super) fn is_first_preferred(&self) -> bool {
        !self.preferred.swap(true, Ordering::Relaxed)
    }

    /// Counts the ends of its jobs from now on, if they are many.
    pub(super) fn count(&self, counted: &mut Counted) {
        let many = self.need == Need::Any && self.targets.len() > MANY;
        if !many || !self.targets.iter().all(Target::is_own) {
            return;
        }
        let counter = self.counter.get_or_init(|| Arc::new(Counter::new(self.targets.len())));
        for (number, target) in self.targets.iter().enumerate() {
            let place = target.task.place();
            if target.is_given() {
                counter.given(number);
            } else if target.is_gone() {
                counter.ended(number);
            } else {
                place.set_awaited();
                counted.add(place.id(), counter, number);
            }
        }
    }
}

/// In a unit of no more jobs than this, to look at each costs less than a table.
const MANY: usize = 16;

/// How many jobs of a unit have ended and are not given.
struct Counter {
    ended: AtomicUsize,
    /// `GIVEN`, `ENDED`: these come in any order.
    states: Vec<AtomicU8>,
}

const GIVEN: u8 = 1;
const ENDED: u8 = 2;

impl Counter {
    fn new(jobs: usize) -> Self {
        Counter { ended: AtomicUsize::new(0), states: (0..jobs).map(|_| AtomicU8::new(0)).collect() }
    }

    fn set(&self, number: usize, flag: u8) -> u8 {
        self.states.get(number).map_or(GIVEN | ENDED, |state| state.fetch_or(flag, Ordering::AcqRel))
    }

    fn given(&self, number: usize) {
        if self.set(number, GIVEN) == ENDED {
            self.ended.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn ended(&self, number: usize) {
        if self.set(number, ENDED) == 0 {
            self.ended.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// By jobs that have not ended, the counters that each is counted by.
#[derive(Default)]
pub(super) struct Counted(HashMap<u64, Vec<(Weak<Counter>, usize)>>);

impl Counted {
    fn add(&mut self, job: u64, counter: &Arc<Counter>, number: usize) {
        let counters = self.0.entry(job).or_default();
        counters.retain(|(counter, _)| counter.strong_count() > 0);
        counters.push((Arc::downgrade(counter), number));
    }

    /// That job, which is awaited, has ended.
    pub(super) fn ended(&mut self, job: u64) {
        if self.0.is_empty() {
            return;
        }
        for (counter, number) in self.0.remove(&job).into_iter().flatten() {
            if let Some(counter) = counter.upgrade() {
                counter.ended(number);
            }
        }
    }
}

/// What a job has polled with other wakers than that of its `block_on`, since it began: what has a waker of its own, as in
/// `FuturesUnordered`, is not polled each time.
///
/// Changed by the thread of that job; read by others under the pool's mutex, while that thread sleeps.
#[derive(Default)]
pub(crate) struct Polled(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    units: BTreeMap<usize, Arc<Unit>>,
    /// When there are this many, those that are over are dropped.
    sweep_at: usize,
}

impl Polled {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what is to be dropped while nothing is locked or borrowed: it may hold the last of a result.
    pub(crate) fn note(&self, unit: Arc<Unit>) -> Vec<Arc<Unit>> {
        let mut noted = self.lock();
        let mut dropped: Vec<Arc<Unit>> = noted.units.insert(unit.key(), unit).into_iter().collect();
        if noted.units.len() >= noted.sweep_at {
            dropped.extend(noted.sweep());
            noted.sweep_at = (noted.units.len() * 2).max(limits::POLLED_SWEEP_MIN);
        }
        dropped
    }

    /// The unit of that address was given.
    pub(crate) fn forget(&self, address: usize) -> Option<Arc<Unit>> {
        self.lock().units.remove(&address)
    }

    /// Takes out those that are over.
    pub(crate) fn sweep(&self) -> Vec<Arc<Unit>> {
        self.lock().sweep()
    }

    pub(crate) fn units(&self) -> Vec<Arc<Unit>> {
        self.lock().units.values().cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().units.is_empty()
    }
}

impl Noted {
    fn sweep(&mut self) -> Vec<Arc<Unit>> {
        let (over, open): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.units).into_iter().partition(|(_, unit)| unit.is_over());
        self.units = open;
        over.into_values().collect()
    }
}

/// How often jobs are looked at, of the units that a thread makes: for tests.
#[cfg(test)]
pub(crate) mod looks {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    std::thread_local! { static LOOKS: RefCell<Option<Arc<AtomicUsize>>> = const { RefCell::new(None) } }

    /// From now on, here.
    pub(crate) fn begin() -> Arc<AtomicUsize> {
        let looks = Arc::new(AtomicUsize::new(0));
        LOOKS.set(Some(Arc::clone(&looks)));
        looks
    }

    pub(super) fn of_this_thread() -> Option<Arc<AtomicUsize>> {
        LOOKS.with_borrow(Clone::clone)
    }

    pub(super) fn count(looks: Option<&Arc<AtomicUsize>>) {
        if let Some(looks) = looks {
            looks.fetch_add(1, Ordering::Relaxed);
        }
    }
}
