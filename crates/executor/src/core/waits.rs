//! Workers that sleep in the middle of a job: what can wake each of them, and the state of its wait. As the rest of `core`, this is plain
//! data under the pool's mutex, which neither blocks nor wakes anything.
//!
//! One rule covers every wait of this crate (`Job::wait`, `gather`, `as_completed`, `wait`, `JobSet`, a scope's end, `Unblock`,
//! `block_on` of anything): *a thread that sleeps registers what can wake it, is replaced, and lends its places in views to what it
//! sleeps on, for as long as it sleeps.* In detail, as the models in `tests/` check it:
//!
//! - What can wake a sleeper is a set of **units**, any of which is enough; a unit needs all or any of its jobs, or is the end of a lane
//!   (`ends`). Beside them there may be something that the pool cannot look into (a deadline, a channel, a timer).
//! - A sleeper is not active. So another thread takes what is queued: an idle one, or a new one up to the bound. It begins with what is
//!   slept on.
//! - Only if no thread can come, a sleeper in [`Job::wait`](crate::Job::wait), `gather(…).wait()` or at the end of a scope is called to run
//!   a job that it sleeps on, once that job is runnable. It is active from the moment of that decision. It runs no job that has a deadline
//!   to end by: it could not end by it. A job becomes runnable when it is queued, or later when its views let it through; each such
//!   moment ends in `baton`, which comes here.
//! - A job of a view that sleeps keeps its place in the view, and lends it (`lending`).
//! - A sleeper goes on only with all its places: one that is awake has lent nothing (`takes_back`). If a wait ends before the job that has
//!   borrowed, a deadline included, that job goes back into the view's queue if it has not begun. Otherwise the sleeper sleeps on, until
//!   that job ends or another place of the view becomes free: that one goes to the borrower, before all that is queued.
//! - A wait that could never end is found when the last of its circle falls asleep, and is refused to one of the circle (`deadlock`).
//!
//! What has a deadline beside it always ends, at the deadline, and is never refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use super::units::{Beside, Counted, Elsewhere, Need, On, Refusal, Runs, Settles, Target, Unit};
use super::{Core, Effects};
use crate::cell::{Place, Position, Task};
use crate::view_id::{ROOT, ViewId};
use crate::worker::{Sleeper, Worker};

pub(super) struct Wait {
    pub(super) id: u64,
    pub(super) worker: Arc<Worker>,
    sleeper: Arc<Sleeper>,
    pub(super) on: Arc<On>,
    /// The views of the jobs that its thread is in the middle of.
    pub(super) held: Vec<ViewId>,
    /// How many places these jobs have: each has one in its view, and in each that this is a view of.
    places: usize,
    /// Places in views that are lent, and to which job.
    pub(super) lent: Vec<(ViewId, Arc<dyn Task>)>,
    /// It has gone on before a job that had a place of it.
    ended_early: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two sleeps.
    Awake,
    Asleep,
    /// It was woken to run a job that it waits for.
    Called,
    /// It was woken because its wait is refused: it would wait for ever.
    Doomed,
    /// Its wait is over; it sleeps until the places that it has lent are its own again.
    TakingBack,
}

/// What becomes of a worker that wants to sleep.
pub(crate) enum Verdict {
    Sleep,
    Deadlock,
    /// It sleeps; whether for ever, these pools know.
    Ask(Vec<Arc<dyn Elsewhere>>),
    /// It sleeps, and no thread is left: this job is to be discarded, as one that would never begin.
    Discard(Arc<dyn Task>),
}

/// Why a worker was woken, other than by what it waits for.
pub(crate) enum Woken {
    Plainly,
    /// It is to run this.
    ToRun(Arc<dyn Task>),
    Deadlock,
}

pub(super) struct Waits {
    list: BTreeMap<u64, Wait>,
    threads: BTreeMap<u32, Thread>,
    asleep: usize,
    /// How many of the sleepers have something beside their units.
    beside: usize,
    taking_back: usize,
    /// How many places sleepers have and have not lent.
    unlent: usize,
    counted: Counted,
    last: u64,
}

/// A thread that is in the middle of waits.
#[derive(Default)]
struct Thread {
    /// Each inside a job that the one before runs.
    waits: Vec<u64>,
    /// How many places they have lent.
    lent: usize,
}

impl Waits {
    pub(super) fn new() -> Self {
        Waits {
            list: BTreeMap::new(),
            threads: BTreeMap::new(),
            asleep: 0,
            beside: 0,
            taking_back: 0,
            unlent: 0,
            counted: Counted::default(),
            last: 0,
        }
    }

    pub(super) fn asleep(&self) -> usize {
        self.asleep
    }

    pub(super) fn some_taking_back(&self) -> bool {
        self.taking_back > 0
    }

    pub(super) fn some_beside(&self) -> bool {
        self.beside > 0
    }

    pub(super) fn some_unlent(&self) -> bool {
        self.unlent > 0
    }

    /// Whether one of them is being woken.
    pub(super) fn some_waking(&self) -> bool {
        // Those that fell asleep last are most often the first to be woken.
        self.list.values().rev().any(|wait| wait.is_asleep() && wait.is_waking())
    }

    /// Whether nothing but jobs of this pool can wake any sleeper.
    pub(super) fn are_hopeless(&self) -> bool {
        let foreign = |wait: &Wait| wait.on.units.iter().any(|unit| unit.is_foreign());
        self.beside == 0 && self.list.values().all(|wait| wait.is_asleep() && !foreign(wait))
    }

    pub(super) fn get(&self, id: u64) -> &Wait {
        self.list.get(&id).expect("a wait is kept until it is forgotten")
    }

    pub(super) fn at(&mut self, id: u64) -> &mut Wait {
        self.list.get_mut(&id).expect("a wait is kept until it is forgotten")
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Wait> {
        self.list.values()
    }

    pub(super) fn sleepers(&self) -> impl Iterator<Item = &Wait> {
        self.list.values().filter(|wait| wait.is_asleep())
    }

    /// The wait that the worker sleeps in, if it sleeps.
    pub(super) fn sleeper_of(&self, worker: u32) -> Option<&Wait> {
        let innermost = self.threads.get(&worker)?.waits.last()?;
        Some(self.get(*innermost)).filter(|wait| wait.is_asleep())
    }

    /// The waits that the worker is in the middle of.
    pub(super) fn of_worker(&self, worker: u32) -> impl Iterator<Item = &Wait> {
        self.threads.get(&worker).into_iter().flat_map(|thread| &thread.waits).map(|id| self.get(*id))
    }

    fn thread(&mut self, worker: u32) -> &mut Thread {
        self.threads.get_mut(&worker).expect("a thread is kept as long as a wait of it")
    }

    /// How many places the thread of a sleeper has and has not lent.
    pub(super) fn unlent_of(&self, wait: &Wait) -> usize {
        wait.places - self.threads.get(&wait.worker.number).map_or(0, |thread| thread.lent)
    }

    /// A sleeper lends a place.
    pub(super) fn lends(&mut self, id: u64, view: ViewId, job: Arc<dyn Task>) {
        let wait = self.at(id);
        assert!(wait.is_asleep(), "who is awake has lent nothing");
        wait.lent.push((view, job));
        let worker = wait.worker.number;
        self.thread(worker).lent += 1;
        self.unlent -= 1;
    }

    /// Of the wait that has lent a place in the view to the job: whom to wake about it.
    pub(super) fn is_repaid(&mut self, view: ViewId, job: &Place) -> Option<Option<Waker>> {
        let mut waits = self.list.values_mut();
        let (wait, at) = waits.find_map(|wait| wait.loan_to(view, job).map(|at| (wait, at)))?;
        // Who runs the job, or takes it out of its queue, holds it as well: this is not the last of it.
        wait.lent.swap_remove(at);
        let worker = wait.worker.number;
        let waker = wait.is_taking_back().then(|| wait.waker());
        self.thread(worker).lent -= 1;
        // The thread may sleep further in, in a job that it runs inside this wait.
        self.unlent += usize::from(self.sleeper_of(worker).is_some());
        Some(waker)
    }
}

impl Wait {
    pub(super) fn is_asleep(&self) -> bool {
        match self.state {
            State::Asleep | State::TakingBack => true,
            State::Awake | State::Called | State::Doomed => false,
        }
    }

    pub(super) fn is_taking_back(&self) -> bool {
        self.state == State::TakingBack
    }

    /// Whether something that the pool cannot look into may wake it.
    pub(super) fn has_beside(&self) -> bool {
        !self.is_taking_back() && self.on.beside != Beside::Nothing
    }

    /// Whether what it sleeps on is over: it is being woken.
    pub(super) fn is_waking(&self) -> bool {
        match self.is_taking_back() {
            true => self.lent.is_empty(),
            false => self.on.units.iter().any(|unit| unit.is_done()),
        }
    }

    pub(super) fn loan_to(&self, view: ViewId, job: &Place) -> Option<usize> {
        self.lent.iter().position(|(lent, task)| *lent == view && std::ptr::eq(task.place(), job))
    }

    /// What it sleeps on; nothing while it only takes back what it has lent.
    pub(super) fn units(&self) -> &[Arc<Unit>] {
        if self.is_taking_back() { &[] } else { &self.on.units }
    }

    /// The jobs of its own pool that can wake it.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Arc<dyn Task>> {
        let lent: &[_] = if self.is_taking_back() { &self.lent } else { &[] };
        let awaited = self.units().iter().flat_map(|unit| unit.open()).filter(|target| target.is_own());
        lent.iter().map(|(_, job)| job).chain(awaited.map(Target::task))
    }

    /// The jobs that it may run itself, once they are runnable.
    pub(super) fn may_run(&self) -> impl Iterator<Item = &Arc<dyn Task>> {
        let units = if self.on.runs == Runs::Awaited { self.units() } else { &[] };
        let in_no_time = |target: &&Target| target.is_own() && target.settles() != Settles::InTime;
        units.iter().flat_map(|unit| unit.open()).filter(in_no_time).map(Target::task)
    }

    /// The lanes of its own pool whose end it sleeps on.
    pub(super) fn ends(&self) -> impl Iterator<Item = ViewId> {
        let ends = self.units().iter().filter_map(|unit| unit.end());
        ends.filter(|end| end.pool.is_none()).map(|end| end.lane)
    }

    /// Whether nothing can wake it before a job has ended that runs on one of these workers.
    pub(super) fn needs_one_of(&self, is_one: impl Fn(u32) -> bool) -> bool {
        let runs_there = |target: &Target| match target.task().place().position() {
            Position::Running(worker) => target.is_own() && is_one(worker),
            Position::Queued(_) | Position::Gone => false,
        };
        let needs = |unit: &Unit| match unit.need() {
            Need::All => unit.open().any(runs_there),
            Need::Any => unit.open().all(runs_there),
            // What delays an end is found by its lane (`ends`).
            Need::End => false,
        };
        !self.is_taking_back() && !self.has_beside() && self.on.units.iter().all(|unit| needs(unit))
    }

    /// Whether the wait can be refused.
    pub(super) fn can_be_refused(&self) -> bool {
        // What can be taken by any thread is not discarded, unless no thread can come.
        let held_up = |job: &Arc<dyn Task>| match job.place().position() {
            Position::Queued(lane) => lane != ROOT || self.on.runs == Runs::Nothing,
            Position::Running(_) | Position::Gone => false,
        };
        match self.on.refusal {
            _ if self.is_taking_back() || self.has_beside() => false,
            Refusal::Error => true,
            Refusal::Discard => self.jobs().any(held_up),
        }
    }

    pub(super) fn waker(&self) -> Waker {
        self.sleeper.waker()
    }
}

impl Core {
    /// A job of `me` is about to wait. It is not asleep yet.
    pub(crate) fn waits(&mut self, me: &Arc<Worker>, sleeper: &Arc<Sleeper>, held: Vec<ViewId>) -> u64 {
        self.waits.last += 1;
        let id = self.waits.last;
        let places = held.iter().map(|view| self.lanes_of(*view).count()).sum();
        let nothing = On {
            units: Vec::new(),
            beside: Beside::Something,
            polled: None,
            runs: Runs::Nothing,
            refusal: Refusal::Error,
        };
        let wait = Wait {
            id,
            worker: Arc::clone(me),
            sleeper: Arc::clone(sleeper),
            on: Arc::new(nothing),
            held,
            places,
            lent: Vec::new(),
            ended_early: false,
            state: State::Awake,
        };
        self.waits.list.insert(id, wait);
        self.waits.threads.entry(me.number).or_default().waits.push(id);
        id
    }

    /// It falls asleep on `on`, unless it would sleep for ever. What it slept on the last time is left there, to be dropped outside the
    /// mutex: it may hold the last of a result.
    pub(crate) fn sleeps(&mut self, id: u64, on: &mut Arc<On>) -> (Verdict, Effects) {
        let wait = self.waits.at(id);
        std::mem::swap(&mut wait.on, on);
        let on = Arc::clone(&wait.on);
        self.falls_asleep(id, State::Asleep);
        on.units.iter().for_each(|unit| self.prefer(unit));
        self.lend();
        let mut effects = Effects::default();
        self.baton(&mut effects);
        // If it was called to run a job, it is awake, and this costs nothing: what is left is looked at when that job has ended.
        let verdict = self.refuse(id, &mut effects);
        effects.wake.extend(self.ended_by_a_wait());
        let verdict = self.forsaken(&mut effects).map_or(verdict, Verdict::Discard);
        (verdict, effects)
    }

    /// Before a sleeper goes on: `None` if all places that it has lent are its own again. If not, it sleeps, and asks again when it is woken.
    pub(crate) fn takes_back(&mut self, id: u64) -> (Option<Verdict>, Effects) {
        let mut effects = Effects::default();
        if self.waits.get(id).is_taking_back() {
            self.wakes(id);
        }
        let lent = self.waits.get(id).lent.clone();
        self.waits.at(id).ended_early |= !lent.is_empty();
        for (view, job) in lent {
            if self.waits.get(id).loan_to(view, job.place()).is_none() {
                // It has come back with a place further in.
            } else if self.lane(view).has_place() {
                // The borrower has one of its own from now on.
                self.repay(job.place(), view, &mut effects.wake);
            } else if let Position::Queued(_) = job.place().position() {
                self.queue_again(view, job.place(), &mut effects.wake);
            }
        }
        let all = self.waits.get(id).lent.is_empty();
        if !all {
            self.falls_asleep(id, State::TakingBack);
            self.lend();
        }
        self.baton(&mut effects);
        if all {
            return (None, effects);
        }
        let verdict = self.refuse(id, &mut effects);
        let forsaken = self.forsaken(&mut effects);
        (Some(forsaken.map_or(verdict, Verdict::Discard)), effects)
    }

    /// Workers sleep on these jobs: they are the next to be taken once they are runnable.
    fn prefer(&mut self, unit: &Unit) {
        if !unit.is_first_preferred() {
            return;
        }
        for job in unit.open().filter(|target| target.is_own()).map(Target::task) {
            let place = job.place();
            match place.position() {
                Position::Running(_) | Position::Gone => {}
                Position::Queued(_) if place.is_awaited() => {}
                Position::Queued(ROOT) => {
                    place.set_awaited();
                    let task = self.take_out(place).expect("what is queued can be taken out");
                    self.push_first(task);
                }
                Position::Queued(_) => place.set_awaited(),
            }
        }
        unit.count(&mut self.waits.counted);
    }

    /// It is awake. It goes on once it `takes_back` what it has lent.
    pub(crate) fn woken(&mut self, id: u64) -> (Woken, Effects) {
        let mut effects = Effects::default();
        let woken = match self.waits.get(id).state {
            State::Awake | State::TakingBack => unreachable!("it was asleep"),
            State::Asleep => {
                self.wakes(id);
                Woken::Plainly
            }
            State::Doomed => Woken::Deadlock,
            State::Called => {
                let wait = self.waits.get(id);
                let me = Arc::clone(&wait.worker);
                let job = self.runnable_for(wait);
                let claimed = job.and_then(|job| self.take_out(job.place()));
                if let Some(task) = &claimed {
                    self.started(task, &me, &mut effects);
                }
                // Either way, another may be called now.
                self.baton(&mut effects);
                claimed.map_or(Woken::Plainly, Woken::ToRun)
            }
        };
        self.waits.at(id).state = State::Awake;
        (woken, effects)
    }

    /// The wait is over. What it slept on is to be dropped outside the mutex.
    pub(crate) fn forget(&mut self, id: u64) -> (Arc<On>, Effects) {
        let wait = self.waits.list.remove(&id).expect("a wait is kept until it is forgotten");
        assert!(wait.state == State::Awake, "who sleeps does not leave");
        assert!(wait.lent.is_empty(), "who goes on has taken back what it had lent");
        let thread = self.waits.thread(wait.worker.number);
        let innermost = thread.waits.pop();
        assert!(innermost == Some(id), "the innermost wait ends first");
        if thread.waits.is_empty() {
            self.waits.threads.remove(&wait.worker.number);
        }
        let mut effects = Effects::default();
        if wait.ended_early {
            // A sleeper may have counted on a place that this one would have lent next.
            self.to_look_again = true;
            self.baton(&mut effects);
        }
        (wait.on, effects)
    }

    /// The job has ended, or will not run.
    #[inline]
    pub(super) fn set_gone(&mut self, job: &Place) {
        job.set_gone();
        if job.is_awaited() {
            self.waits.counted.ended(job.id());
        }
    }

    /// A job that the sleeper may run now.
    fn runnable_for(&self, wait: &Wait) -> Option<Arc<dyn Task>> {
        let awaited = wait.may_run().find(|job| job.place().position() == Position::Queued(ROOT));
        let before_ends = || match wait.on.runs {
            Runs::Nothing => None,
            Runs::Awaited => wait.ends().find_map(|lane| self.first_queued(ROOT, lane)),
        };
        awaited.cloned().or_else(before_ends)
    }

    /// Wakes a sleeper that can run what it sleeps on.
    pub(super) fn help(&mut self) -> Option<Waker> {
        let wait = self.waits.sleepers().find(|wait| self.runnable_for(wait).is_some())?;
        let (id, waker) = (wait.id, wait.waker());
        self.wakes(id);
        self.waits.at(id).state = State::Called;
        Some(waker)
    }

    /// The wait of a sleeper is refused: it is woken with the error.
    pub(super) fn doom(&mut self, id: u64) -> Waker {
        self.wakes(id);
        let wait = self.waits.at(id);
        wait.state = State::Doomed;
        wait.waker()
    }

    /// Awake -> asleep.
    fn falls_asleep(&mut self, id: u64, state: State) {
        let wait = self.waits.at(id);
        assert!(wait.state == State::Awake, "who falls asleep was awake");
        wait.state = state;
        self.preparing -= usize::from(self.waits.get(id).worker.is_preparing());
        self.count_sleeper(id, |count, one| *count += one);
        if self.ahead.is_some_and(|(job, lane)| !self.will_begin(job, lane)) {
            // Only a wait that this one is inside of can run it, when this one has gone on: others need not wait for that.
            self.ahead = None;
            self.to_look_again = true;
        }
    }

    /// Whether there is a thread for a runnable job, or a sleeper that can run it.
    fn will_begin(&self, job: u64, lane: ViewId) -> bool {
        let runs = |wait: &Wait| {
            wait.may_run().any(|awaited| awaited.place().id() == job)
                || (wait.on.runs == Runs::Awaited && wait.ends().any(|end| self.within(lane, end)))
        };
        self.has_thread() || self.waits.sleepers().any(runs)
    }

    /// Asleep -> awake.
    pub(super) fn wakes(&mut self, id: u64) {
        assert!(self.waits.get(id).is_asleep(), "who is woken slept");
        self.preparing += usize::from(self.waits.get(id).worker.is_preparing());
        self.count_sleeper(id, |count, one| *count -= one);
        self.waits.at(id).state = State::Awake;
    }

    /// One sleeper more or less, in all that is counted of them.
    fn count_sleeper(&mut self, id: u64, change: fn(&mut usize, usize)) {
        let wait = self.waits.get(id);
        let (beside, taking_back) = (wait.has_beside(), wait.is_taking_back());
        let (held, places, worker) = (wait.held.clone(), wait.places, wait.worker.number);
        let waits = &mut self.waits;
        let unlent = places - waits.thread(worker).lent;
        change(&mut waits.asleep, 1);
        change(&mut waits.beside, usize::from(beside));
        change(&mut waits.taking_back, usize::from(taking_back));
        change(&mut waits.unlent, unlent);
        for view in held {
            self.for_each_lane(view, |lane| change(&mut lane.asleep, 1));
        }
    }
}
