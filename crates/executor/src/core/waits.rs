//! Workers that sleep in the middle of a job: who waits for which jobs, who can be helped, and which waits would never end.
//!
//! Must never wait or wake itself: as the rest of `core`, it is plain data under the pool's lock.
//!
//! The rules, which the models in `tests/` check:
//!
//! - A worker that sleeps is not active. So another thread takes what is queued: an idle one, or a new one up to the bound.
//! - What a worker sleeps on is taken before all else that is queued: the thread that takes its place begins with that.
//! - Only if no thread can come, a sleeper in [`Job::wait`](crate::Job::wait), `gather(…).wait()` or at the end of a scope is woken when
//!   a job that it sleeps on is runnable, and runs that one itself. It is active from the moment of that decision. A job becomes runnable
//!   when it is queued, or later when its views let it through; each such moment ends in `baton`, which comes here.
//! - A job of a view that sleeps keeps its place in the view, and lends it to the job that it sleeps on, directly or through other
//!   sleepers; to one job at a time. So a view of limit 1 may wait for itself, and no two of its jobs run at once.
//! - A sleeper goes on only with all its places: one that is awake has lent nothing (`takes_back`). If a wait ends before the job that has
//!   borrowed, that job goes back into the view's queue if it has not begun. Otherwise the sleeper sleeps on, until that job ends or
//!   another place of the view becomes free: that one goes to the borrower, before all that is queued.
//! - A wait that could never end is found when the last of its circle falls asleep, and is refused to that one: everything that sleeps
//!   is taken for stuck, and what can go on is taken out until nothing changes. What is left is a deadlock. It is refused to one that
//!   can go on then: to a borrower before its lender. Loans go to jobs that begin later than the lender, so there is such a one.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use super::{Core, Effects};
use crate::cell::{Place, Position, Task};
use crate::lane::ROOT;
use crate::worker::{Sleeper, Worker};

/// What a worker sleeps on: it goes on as soon as one of the units is done.
pub(crate) struct On {
    pub(crate) units: Vec<Unit>,
    pub(crate) how: How,
}

/// Jobs that are awaited together.
#[derive(Clone)]
pub(crate) struct Unit {
    pub(crate) jobs: Vec<Arc<dyn Task>>,
}

impl Unit {
    /// Whether both begin with the same job.
    pub(crate) fn is(&self, other: &Unit) -> bool {
        let same = self.jobs.first().zip(other.jobs.first());
        same.is_some_and(|(one, another)| std::ptr::eq(one.place(), another.place()))
    }
}

/// What is done for such a sleeper.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Nothing: something else may wake it, too, that the pool cannot look into (a timer, a channel, a job of another pool).
    Unknown,
    /// It runs no job itself: it is inside a future, which may hold anything.
    Told,
    /// It may run one of the jobs itself.
    Inline,
    /// As `Inline`, but it cannot be told that its wait would never end: another of the circle is.
    InlineAlways,
}

struct Wait {
    id: u64,
    worker: Arc<Worker>,
    sleeper: Arc<Sleeper>,
    on: Arc<On>,
    /// The views of the jobs that its thread is in the middle of.
    held: Vec<u32>,
    /// Places in views that are lent, and to which job.
    lent: Vec<(u32, Arc<dyn Task>)>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two sleeps.
    Awake,
    Asleep,
    /// It was woken to run a job that it waits for.
    Called,
    /// It was woken to be told that it would wait for ever.
    Doomed,
    /// Its wait is over; it sleeps until the places that it has lent are its own again.
    TakingBack,
}

/// What becomes of a worker that wants to sleep.
#[derive(PartialEq, Eq)]
pub(crate) enum Verdict {
    Sleep,
    Deadlock,
}

/// Why a worker was woken, other than by what it waits for.
pub(crate) enum Woken {
    Plainly,
    /// It is to run this.
    ToRun(Arc<dyn Task>),
    Deadlock,
}

pub(crate) struct Waits {
    list: Vec<Wait>,
    asleep: usize,
    last: u64,
}

impl Waits {
    pub(crate) fn new() -> Self {
        Waits { list: Vec::new(), asleep: 0, last: 0 }
    }

    pub(crate) fn asleep(&self) -> usize {
        self.asleep
    }

    /// Whether nothing but jobs of this pool can wake any sleeper.
    pub(crate) fn are_hopeless(&self) -> bool {
        self.list.iter().all(|wait| wait.is_asleep() && !wait.is_unknown())
    }

    fn at(&mut self, id: u64) -> &mut Wait {
        self.list.iter_mut().find(|wait| wait.id == id).expect("a wait is kept until it is forgotten")
    }
}

impl Wait {
    fn is_asleep(&self) -> bool {
        match self.state {
            State::Asleep | State::TakingBack => true,
            State::Awake | State::Called | State::Doomed => false,
        }
    }

    fn is_taking_back(&self) -> bool {
        self.state == State::TakingBack
    }

    /// Whether something that the pool cannot look into may wake it.
    fn is_unknown(&self) -> bool {
        !self.is_taking_back() && self.on.how == How::Unknown
    }

    /// Whether what it sleeps on is over: it is being woken.
    fn is_waking(&self) -> bool {
        if self.is_taking_back() {
            return self.lent.is_empty();
        }
        let gone = |unit: &Unit| unit.jobs.iter().all(|job| job.place().position() == Position::Gone);
        self.on.units.iter().any(gone)
    }

    fn borrower(&self, view: u32, job: &Place) -> Option<usize> {
        self.lent.iter().position(|(lent, task)| *lent == view && std::ptr::eq(task.place(), job))
    }

    /// The jobs that it sleeps on, if it sleeps on nothing else.
    fn jobs(&self) -> impl Iterator<Item = &Arc<dyn Task>> {
        let (lent, units): (&[_], &[Unit]) = match (self.is_taking_back(), self.on.how) {
            (true, _) => (&self.lent, &[]),
            (false, How::Unknown) => (&[], &[]),
            (false, How::Told | How::Inline | How::InlineAlways) => (&[], &self.on.units),
        };
        lent.iter().map(|(_, job)| job).chain(units.iter().flat_map(|unit| &unit.jobs))
    }

    /// A job that it could run itself.
    fn runnable(&self) -> Option<&Arc<dyn Task>> {
        match self.on.how {
            _ if self.is_taking_back() => None,
            How::Unknown | How::Told => None,
            How::Inline | How::InlineAlways => {
                self.jobs().find(|job| job.place().position() == Position::Queued(ROOT))
            }
        }
    }

    /// How those stand that it sleeps on.
    fn positions_of_jobs(&self) -> impl Iterator<Item = Position> {
        self.jobs().map(|job| job.place().position())
    }

    fn can_be_told(&self) -> bool {
        match self.on.how {
            _ if self.is_taking_back() => false,
            How::Unknown | How::InlineAlways => false,
            How::Told | How::Inline => true,
        }
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.sleeper))
    }
}

impl Core {
    /// A job of `me` is about to wait. It is not asleep yet.
    pub(crate) fn waits(&mut self, me: &Arc<Worker>, sleeper: &Arc<Sleeper>, held: Vec<u32>) -> u64 {
        self.waits.last += 1;
        let id = self.waits.last;
        self.waits.list.push(Wait {
            id,
            worker: Arc::clone(me),
            sleeper: Arc::clone(sleeper),
            on: Arc::new(On { units: Vec::new(), how: How::Unknown }),
            held,
            lent: Vec::new(),
            state: State::Awake,
        });
        id
    }

    /// It falls asleep on `on`, unless it would sleep for ever. What it slept on the last time is left there, to be dropped outside the
    /// lock: it may hold the last of a result.
    pub(crate) fn sleeps(&mut self, id: u64, on: &mut Arc<On>) -> (Verdict, Effects) {
        let wait = self.waits.at(id);
        std::mem::swap(&mut wait.on, on);
        let on = Arc::clone(&wait.on);
        self.falls_asleep(id, State::Asleep);
        on.units.iter().flat_map(|unit| &unit.jobs).for_each(|job| self.prefer(job));
        self.lend();
        let mut effects = Effects::default();
        self.baton(&mut effects);
        match self.deadlock(id) {
            Some(victim) if victim == id => {
                self.wakes(id);
                return (Verdict::Deadlock, effects);
            }
            Some(victim) => effects.wake.push(self.doom(victim)),
            None => {}
        }
        (Verdict::Sleep, effects)
    }

    /// Before a sleeper goes on: whether all places that it has lent are its own again. If not, it sleeps, and asks again when it is woken.
    pub(crate) fn takes_back(&mut self, id: u64) -> (bool, Effects) {
        let mut effects = Effects::default();
        if self.waits.at(id).is_taking_back() {
            self.wakes(id);
        }
        for (view, job) in self.waits.at(id).lent.clone() {
            if self.waits.at(id).borrower(view, job.place()).is_none() {
                // It has come back with a place further in.
            } else if self.lane(view).has_place() {
                // The borrower has one of its own from now on.
                self.repay(job.place(), view, &mut effects.wake);
            } else if let Position::Queued(_) = job.place().position() {
                self.queue_again(view, job.place(), &mut effects.wake);
            }
        }
        let all = self.waits.at(id).lent.is_empty();
        if !all {
            self.falls_asleep(id, State::TakingBack);
            self.lend();
        }
        self.baton(&mut effects);
        if !all && let Some(victim) = self.deadlock(id) {
            effects.wake.push(self.doom(victim));
        }
        (all, effects)
    }

    /// A job has a place in the view from a sleeper that wants it back, and has not begun: it goes to the front of the view's queue.
    fn queue_again(&mut self, view: u32, place: &Place, wakers: &mut Vec<Waker>) {
        let at = place.at();
        let task = self.take_out(place).expect("what is queued can be taken out");
        let lane = self.lane(view);
        let parent = lane.parent;
        place.set_queued(view, lane.queue.push_front(task));
        self.repay(place, view, wakers);
        self.lane(view).admitted -= 1;
        self.release(place, parent, at, wakers);
    }

    /// A worker sleeps on the job: it is the next to be taken once it is runnable.
    fn prefer(&mut self, job: &Arc<dyn Task>) {
        let place = job.place();
        if place.is_awaited() {
            return;
        }
        match place.position() {
            Position::Running(_) | Position::Gone => {}
            Position::Queued(ROOT) => {
                place.set_awaited();
                let task = self.take_out(place).expect("what is queued can be taken out");
                self.push_first(task);
            }
            Position::Queued(_) => place.set_awaited(),
        }
    }

    /// It is awake. It goes on once it `takes_back` what it has lent.
    pub(crate) fn woken(&mut self, id: u64) -> (Woken, Effects) {
        let mut effects = Effects::default();
        let woken = match self.waits.at(id).state {
            State::Awake | State::TakingBack => unreachable!("it was asleep"),
            State::Asleep => {
                self.wakes(id);
                Woken::Plainly
            }
            State::Doomed => Woken::Deadlock,
            State::Called => {
                let wait = self.waits.at(id);
                let me = Arc::clone(&wait.worker);
                let job = wait.runnable().cloned();
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

    /// The wait is over. What it slept on is to be dropped outside the lock.
    pub(crate) fn forget(&mut self, id: u64) -> (Arc<On>, Effects) {
        let at = self.waits.list.iter().position(|wait| wait.id == id);
        let wait = self.waits.list.remove(at.expect("a wait is kept until it is forgotten"));
        assert!(wait.state == State::Awake, "who sleeps does not leave");
        assert!(wait.lent.is_empty(), "who goes on has taken back what it had lent");
        let mut effects = Effects::default();
        if !wait.held.is_empty() {
            // A sleeper may have counted on a place that this one would have lent next.
            self.break_deadlocks(&mut effects);
        }
        (wait.on, effects)
    }

    /// Wakes a sleeper that can run what it sleeps on.
    pub(super) fn help(&mut self) -> Option<Waker> {
        let wait = self.waits.list.iter().find(|wait| wait.is_asleep() && wait.runnable().is_some())?;
        let (id, waker) = (wait.id, wait.waker());
        self.wakes(id);
        self.waits.at(id).state = State::Called;
        Some(waker)
    }

    /// Tells sleepers that can never be woken, until the others can. A deadlock is complete when a sleeper falls asleep, and found then;
    /// but for what borrowed places leave behind.
    pub(super) fn break_deadlocks(&mut self, effects: &mut Effects) {
        let asleep = self.waits.list.iter().filter(|wait| wait.is_asleep()).map(|wait| wait.id);
        for id in asleep.collect::<Vec<u64>>() {
            let victim = self.deadlock(id);
            effects.wake.extend(victim.map(|victim| self.doom(victim)));
        }
    }

    fn doom(&mut self, id: u64) -> Waker {
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
        let preparing = wait.worker.is_preparing();
        self.waits.asleep += 1;
        self.preparing -= usize::from(preparing);
    }

    /// Asleep -> awake.
    fn wakes(&mut self, id: u64) {
        let wait = self.waits.at(id);
        assert!(wait.is_asleep(), "who is woken slept");
        wait.state = State::Awake;
        let preparing = wait.worker.is_preparing();
        self.waits.asleep -= 1;
        self.preparing += usize::from(preparing);
    }

    // Lending.

    /// Lets jobs through views whose places are held by those that sleep on them.
    pub(super) fn lend(&mut self) {
        while let Some((lender, job)) = self.loan() {
            let Position::Queued(view) = job.place().position() else {
                unreachable!("a loan is for a queued job")
            };
            let task = self.take_out(job.place()).expect("what is queued can be taken out");
            self.waits.at(lender).lent.push((view, job));
            let lane = self.lane(view);
            lane.admitted += 1;
            lane.borrowed += 1;
            let parent = lane.parent;
            self.enter(task, parent);
        }
    }

    /// A job that is held up by a view, and a sleeper with a place in that view that sleeps on this job.
    fn loan(&self) -> Option<(u64, Arc<dyn Task>)> {
        if self.waits.list.iter().all(|wait| wait.held.is_empty()) {
            return None;
        }
        for wait in self.waits.list.iter().filter(|wait| wait.is_asleep()) {
            for job in wait.jobs() {
                let Position::Queued(view) = job.place().position() else { continue };
                if view == ROOT || !self.waits.list.iter().any(|wait| self.can_spare(wait, view)) {
                    continue;
                }
                let sleepers = self.behind(wait);
                if let Some(lender) = sleepers.into_iter().find(|wait| self.can_spare(wait, view)) {
                    return Some((lender.id, Arc::clone(job)));
                }
            }
        }
        None
    }

    /// Whether a sleeper holds a place in the view that it has not lent, and will not want at once.
    fn can_spare(&self, wait: &Wait, view: u32) -> bool {
        let of_thread = self.waits.list.iter().filter(|other| other.worker.number == wait.worker.number);
        let lent = of_thread.flat_map(|wait| &wait.lent).filter(|(lane, _)| *lane == view).count();
        wait.is_asleep() && !wait.is_waking() && self.held(wait, view) > lent
    }

    /// How many jobs in the middle of which a thread sleeps have a place in the view.
    fn held(&self, wait: &Wait, view: u32) -> usize {
        wait.held.iter().filter(|lane| self.within(**lane, view)).count()
    }

    /// How many jobs run that have a place of their own in the view.
    fn running_in_own_place(&self, view: u32) -> usize {
        let running: usize = self.views_of(view).iter().map(|view| self.seen(*view).running).sum();
        let lent = self.waits.list.iter().flat_map(|wait| &wait.lent).filter(|(lane, _)| *lane == view);
        running - lent.filter(|(_, job)| matches!(job.place().position(), Position::Running(_))).count()
    }

    /// Whether a job has its place in the view from a sleeper.
    fn has_borrowed(&self, job: u64, view: u32) -> bool {
        let lent = self.waits.list.iter().flat_map(|wait| &wait.lent);
        lent.into_iter().any(|(lane, task)| *lane == view && task.place().id() == job)
    }

    /// The sleeper itself, and all that sleep on it, directly or not.
    fn behind<'a>(&'a self, wait: &'a Wait) -> Vec<&'a Wait> {
        let mut found = vec![wait];
        let mut next = 0;
        while let Some(worker) = found.get(next).map(|wait| wait.worker.number) {
            next += 1;
            for other in self.waits.list.iter().filter(|other| other.is_asleep()) {
                let sleeps_on = |job: &Arc<dyn Task>| job.place().position() == Position::Running(worker);
                if !found.iter().any(|seen| seen.id == other.id) && other.jobs().any(sleeps_on) {
                    found.push(other);
                }
            }
        }
        found
    }

    /// A job no longer has its place in the view from a sleeper, if it had: that one has it again.
    pub(super) fn repay(&mut self, job: &Place, view: u32, wakers: &mut Vec<Waker>) {
        for wait in &mut self.waits.list {
            if let Some(at) = wait.borrower(view, job) {
                // Who runs the job, or takes it out of its queue, holds it as well: this is not the last of it.
                wait.lent.swap_remove(at);
                wakers.extend(wait.is_taking_back().then(|| wait.waker()));
                return self.lane(view).borrowed -= 1;
            }
        }
    }

    /// A view may have a free place: it goes to a sleeper that waits for its own, by way of the borrower, which keeps that one.
    pub(super) fn give_back(&mut self, view: u32, wakers: &mut Vec<Waker>) {
        while self.seen(view).has_place() {
            let mut lent =
                self.waits.list.iter().filter(|wait| wait.is_taking_back()).flat_map(|wait| &wait.lent);
            let Some(job) = lent.find(|(lane, _)| *lane == view).map(|(_, job)| Arc::clone(job)) else {
                return;
            };
            self.repay(job.place(), view, wakers);
        }
    }

    /// A job that had been claimed is queued again. A sleeper that wants its place back from it can have it now.
    pub(super) fn unclaimed(&mut self, job: &Place, wakers: &mut Vec<Waker>) {
        let lenders = self.waits.list.iter().filter(|wait| wait.is_taking_back());
        let lenders =
            lenders.filter(|wait| wait.lent.iter().any(|(_, task)| std::ptr::eq(task.place(), job)));
        wakers.extend(lenders.map(Wait::waker));
    }

    // Deadlocks.

    /// If sleeper `id` can never be woken again: whom to tell about it.
    fn deadlock(&self, id: u64) -> Option<u64> {
        let stuck = self.stuck_with(id);
        // Itself, or one that it waits for, or else any that is stuck.
        let mut order = vec![id];
        let mut next = 0;
        while let Some(id) = order.get(next).copied() {
            next += 1;
            let on: Vec<Position> =
                stuck.iter().filter(|wait| wait.id == id).flat_map(|wait| wait.positions_of_jobs()).collect();
            let awaited = stuck.iter().filter(|other| on.contains(&Position::Running(other.worker.number)));
            order.extend(awaited.map(|wait| wait.id).filter(|id| !order.contains(id)).collect::<Vec<_>>());
        }
        order.extend(stuck.iter().map(|wait| wait.id));
        // One that could not go on, because its place is lent to another that is stuck, would be told in vain.
        let lent_to_stuck = |wait: &Wait| {
            let running = wait.lent.iter().map(|(_, job)| job.place().position());
            running
                .into_iter()
                .any(|at| stuck.iter().any(|other| at == Position::Running(other.worker.number)))
        };
        let of = |id: u64| stuck.iter().copied().find(move |wait| wait.id == id);
        order.into_iter().find(|id| of(*id).is_some_and(|wait| wait.can_be_told() && !lent_to_stuck(wait)))
    }

    /// The sleepers that can never be woken again, if `id` is one of them.
    fn stuck_with(&self, id: u64) -> Vec<&Wait> {
        let at = self.waits.list.iter().position(|wait| wait.id == id);
        let at = at.expect("a wait is kept until it is forgotten");
        let mut chart = Chart::new(self);
        loop {
            if chart.live.get(at) == Some(&true) {
                return Vec::new();
            }
            let before = chart.live.iter().filter(|live| **live).count();
            chart.advance(at);
            // Those that fell asleep last are most often waited for.
            (0..self.waits.list.len()).rev().for_each(|wait| chart.advance(wait));
            if chart.live.iter().filter(|live| **live).count() == before {
                let all = self.waits.list.iter().zip(chart.live);
                return all.filter(|(wait, live)| wait.is_asleep() && !live).map(|(wait, _)| wait).collect();
            }
        }
    }
}

/// Which sleepers can still be woken, as far as it is known.
struct Chart<'a> {
    core: &'a Core,
    live: Vec<bool>,
    /// The sleeper of each worker that sleeps.
    of_worker: HashMap<u32, usize>,
    thread_can_come: bool,
}

impl<'a> Chart<'a> {
    fn new(core: &'a Core) -> Self {
        let waits = &core.waits.list;
        let asleep = waits.iter().zip(0..).filter(|(wait, _)| wait.is_asleep());
        let of_worker: HashMap<u32, usize> = asleep.map(|(wait, at)| (wait.worker.number, at)).collect();
        // One that is awake is live, unless its thread sleeps further in, in a job that it runs inside.
        let live = waits.iter().map(|wait| match wait.is_asleep() {
            true => wait.is_unknown(),
            false => !of_worker.contains_key(&wait.worker.number),
        });
        Chart {
            core,
            live: live.collect(),
            of_worker,
            thread_can_come: core.active() > 0 || !core.idle.is_empty() || core.may_start(),
        }
    }

    /// Marks a sleeper as live if one of the units that it sleeps on will be done.
    fn advance(&mut self, at: usize) {
        let Some(wait) = self.core.waits.list.get(at) else { return };
        let will_wake = if wait.is_taking_back() {
            wait.lent.iter().all(|(view, job)| self.will_return(*view, job, wait))
        } else {
            let will_end = |unit: &Unit| unit.jobs.iter().all(|job| self.will_end(job, wait));
            wait.is_asleep() && wait.on.units.iter().any(will_end)
        };
        if let Some(live) = self.live.get_mut(at).filter(|_| will_wake) {
            *live = true;
        }
    }

    fn will_end(&self, job: &Arc<dyn Task>, sleeper: &Wait) -> bool {
        match job.place().position() {
            Position::Gone => true,
            Position::Running(worker) => self.goes_on(worker),
            Position::Queued(lane) => self.will_be_let_through(lane, sleeper),
        }
    }

    /// Whether a place in the view that is lent to the job, which had begun, will come back to a sleeper that waits for it.
    fn will_return(&self, view: u32, job: &Arc<dyn Task>, lender: &Wait) -> bool {
        // One that has been given back by its worker is taken back as soon as the lender wakes.
        let queued = matches!(job.place().position(), Position::Queued(_));
        queued || self.will_end(job, lender) || self.will_have_place(view)
    }

    fn goes_on(&self, worker: u32) -> bool {
        self.of_worker.get(&worker).is_none_or(|at| self.live.get(*at) == Some(&true))
    }

    /// Whether a job that `sleeper` sleeps on will get a place in the lane, and in each that it is a view of; at last, a thread.
    fn will_be_let_through(&self, mut lane: u32, sleeper: &Wait) -> bool {
        while lane != ROOT {
            if !self.will_have_place(lane) && !self.will_be_lent(lane, sleeper) {
                return false;
            }
            lane = self.core.seen(lane).parent;
        }
        self.thread_can_come || self.live.contains(&true)
    }

    /// Whether one that holds a place in the lane will give it back, for the next in the queue.
    fn will_have_place(&self, lane: u32) -> bool {
        let seen = self.core.seen(lane);
        let places = seen.admitted - seen.borrowed;
        let (queued, stuck) = (places - self.core.running_in_own_place(lane), self.stuck_places(lane));
        if stuck + queued < seen.limit {
            return true;
        }
        // Those that are queued further on go on as any job there, or one of them as a job that is awaited.
        stuck < seen.limit && (self.others_go_on(seen.parent) || self.an_awaited_goes_on(lane))
    }

    fn others_go_on(&self, mut lane: u32) -> bool {
        while lane != ROOT {
            if !self.will_have_place(lane) {
                return false;
            }
            lane = self.core.seen(lane).parent;
        }
        self.thread_can_come || self.live.contains(&true)
    }

    /// Whether a job that has a place in the lane, and is queued further on, is awaited by one that will lend it the next place.
    fn an_awaited_goes_on(&self, lane: u32) -> bool {
        self.core.waits.list.iter().any(|wait| {
            wait.jobs().any(|job| match job.place().position() {
                Position::Queued(at) => {
                    at != lane
                        && self.core.within(job.place().lane, lane)
                        && self.core.within(lane, at)
                        && self.will_be_let_through(at, wait)
                }
                Position::Running(_) | Position::Gone => false,
            })
        })
    }

    /// Places of the lane that are held by those that are stuck. A borrowed one goes back to its lender, and to no one in the queue.
    fn stuck_places(&self, lane: u32) -> usize {
        let stuck = self.core.waits.list.iter().zip(&self.live);
        let stuck = stuck.filter(|(wait, live)| wait.is_asleep() && !**live).map(|(wait, _)| wait);
        let jobs = stuck.flat_map(|wait| wait.worker.stack());
        let holding = jobs.filter(|job| self.core.within(job.lane, lane));
        holding.filter(|job| !self.core.has_borrowed(job.job, lane)).count()
    }

    /// Whether a place that is lent will come back to one that would lend it to this sleeper next.
    fn will_be_lent(&self, lane: u32, sleeper: &Wait) -> bool {
        let lenders = self.core.behind(sleeper);
        let lent = lenders.iter().flat_map(|wait| &wait.lent).filter(|(lent, _)| *lent == lane);
        lent.map(|(_, job)| job).any(|job| {
            let on_it = |wait: &&Wait| wait.jobs().any(|other| std::ptr::eq(other.place(), job.place()));
            let sleepers = self.core.waits.list.iter().filter(on_it);
            match job.place().position() {
                Position::Gone => true,
                Position::Running(worker) => self.goes_on(worker),
                // It has passed this lane, so this ends at the root.
                Position::Queued(next) => {
                    sleepers.into_iter().any(|wait| next != lane && self.will_be_let_through(next, wait))
                }
            }
        })
    }
}
