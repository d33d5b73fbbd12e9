//! The pool's bookkeeping: which job goes to which worker, who sleeps, who is woken, when a thread is wanted. Plain data under one
//! short lock, so that every decision sees the whole; but for the inbox, which has a lock of its own.
//!
//! Must never run, wake, drop or start anything itself: each call answers with what is to be done once the lock is released.
//!
//! The rules, which the loom models check:
//!
//! - A job enters the inbox under the inbox's lock, and there it shows whether somebody is on the way to it. Whoever finds the inbox
//!   empty and will not come back says so under that lock (`call`), while it holds the core's. Nothing can slip between.
//! - While a runnable job waits and a thread could be had for it, some worker is *searching*: it is certain to come to the queue
//!   before it sleeps. A worker that was woken or is being started counts as searching from the moment of that decision.
//! - At most one worker is woken or started at a time: the one that comes to the queue and leaves jobs behind passes the baton on,
//!   before it runs its own job. A thread that is being started does not count as searching: it may take long, and a worker that falls
//!   idle meanwhile is woken instead.
//! - A worker that sleeps in the middle of its job is no longer active, and another may take its place. Only if none can, a job that
//!   such a sleeper waits for is run by the sleeper itself (`waits`).
//! - A worker is counted as searching before the result of its job can be seen: who waits for the result and submits the next job
//!   needs no second thread.

mod lanes;
mod deadlock;
mod lending;
mod waits;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use crate::cell::{Finish, Place, Position, Task};
use crate::error::Rejected;
use crate::inbox::Inbox;
use crate::lane::{Lane, ROOT};
use crate::metrics::Histogram;
use crate::queue::Queue;
use crate::sync::Ordering;
use crate::worker::{Running, Signal, Worker};

pub(crate) use deadlock::{Across, refuse_across};
use waits::Waits;
pub(crate) use waits::{Beside, Elsewhere, Need, On, Refusal, Runs, Settles, Target, Unit, Verdict, Woken};

/// How many threads the pool may have.
pub(crate) struct Bounds {
    pub(crate) min: usize,
    pub(crate) max: usize,
    /// Threads beyond `max` that stand in for workers that sleep in the middle of their job.
    pub(crate) extra: usize,
}

pub(crate) struct Core {
    root: Lane,
    inbox: Arc<Inbox>,
    /// Jobs that any worker may take, before all others: what a worker sleeps on, and what one had taken and has given back.
    first: Queue<Arc<dyn Task>>,
    views: Vec<Option<Lane>>,
    /// The numbers of views that are gone, to be given again.
    free: Vec<u32>,
    /// Views by the lane that they are views of, and their name.
    names: HashMap<(u32, Arc<str>), u32>,
    bounds: Bounds,
    /// Workers that sleep, the one that slept in last on top: the coldest is at the bottom and is the first to be let go.
    idle: Vec<Arc<Worker>>,
    pub(crate) workers: Vec<Arc<Worker>>,
    threads: usize,
    searching: usize,
    /// Threads that were asked for and have not come yet; and those that are in their start hook.
    starting: usize,
    preparing: usize,
    /// The workers that sleep in the middle of a job.
    waits: Waits,
    /// Threads on their way out.
    leaving: usize,
    /// Those who wait for the end of some lane.
    enders: usize,
    /// A sleeper ended its wait early, or a job that was let through before others has begun or is gone: others may have counted on a
    /// place that this one would have lent next.
    to_look_again: bool,
    /// Views in which a place went back to the sleeper that had lent it, and was not lent again at once: others may have counted on it.
    went_back: Vec<u32>,
    /// A job that was let through before others, and has not begun.
    ahead: Option<u64>,
    /// Sleepers were stuck when it was let through, and may be when it has begun.
    unsettled: bool,
    /// The system has refused a thread: none is asked for until `retry`.
    pub(crate) held_off: bool,
}

/// How a job comes into its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// If there is room.
    Ordinary,
    /// Into a place that was reserved.
    Permit,
    /// Beyond the limit, if need be: the end of an object, of which there is one an object.
    MustRun,
}

/// What is to be done once the lock is released.
#[derive(Default)]
#[must_use]
pub(crate) struct Effects {
    pub(crate) unpark: Option<Arc<Worker>>,
    pub(crate) start_thread: bool,
    pub(crate) wake: Vec<Waker>,
}

impl Effects {
    pub(crate) fn is_empty(&self) -> bool {
        self.unpark.is_none() && !self.start_thread && self.wake.is_empty()
    }
}

/// What a worker does next.
pub(crate) enum Next {
    Run(Arc<dyn Task>),
    /// Look again soon. `alone`: nobody else is looking.
    Search {
        alone: bool,
    },
    /// Sleep until signalled; with `reap`, only for the keep-alive time.
    Park {
        reap: bool,
    },
    /// There is nothing more to do, ever.
    Exit,
}

/// How a worker comes to the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CameFrom {
    /// From a job. It may not sleep yet: the result must first be seen.
    Job,
    /// It is one of those counted as searching.
    Search,
    /// It is a new thread.
    Start,
    /// It was told that the pool closes.
    Close,
}

/// Counts of a worker's short jobs that are not yet in the lane's.
pub(crate) struct Tally {
    wait: Histogram,
    run: Histogram,
    jobs: u32,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Tally { wait: Histogram::default(), run: Histogram::default(), jobs: 0 }
    }
}

/// A job that a worker is done with.
pub(crate) struct Done {
    pub(crate) how: Finish,
    pub(crate) waited: u64,
    pub(crate) ran: u64,
}

impl Core {
    pub(crate) fn new(bounds: Bounds, queue_limit: usize) -> Self {
        Core {
            root: Lane::new("", ROOT, usize::MAX, queue_limit),
            inbox: Arc::new(Inbox::new(queue_limit)),
            // As the two others at the root, it must never give a ticket of theirs.
            first: Queue::starting_at(1 << 62),
            views: Vec::new(),
            free: Vec::new(),
            names: HashMap::new(),
            bounds,
            idle: Vec::new(),
            workers: Vec::new(),
            threads: 0,
            searching: 0,
            starting: 0,
            preparing: 0,
            waits: Waits::new(),
            leaving: 0,
            enders: 0,
            to_look_again: false,
            went_back: Vec::new(),
            ahead: None,
            unsettled: false,
            held_off: false,
        }
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// The view itself, and each that it is a view of; the root is none.
    fn lanes_of(&self, first: u32) -> impl Iterator<Item = u32> {
        let view = |at: u32| (at != ROOT).then_some(at);
        std::iter::successors(view(first), move |at| view(self.seen(*at).parent))
    }

    fn for_each_lane(&mut self, view: u32, change: impl Fn(&mut Lane)) {
        let mut at = view;
        while at != ROOT {
            let lane = self.lane(at);
            change(lane);
            at = lane.parent;
        }
    }

    /// The lane of that number. A number is only used by who keeps its lane alive: a handle, a view of it, or a job in it.
    pub(crate) fn lane(&mut self, number: u32) -> &mut Lane {
        match number {
            ROOT => &mut self.root,
            view => {
                self.views.get_mut(view as usize - 1).and_then(Option::as_mut).expect("a lane in use is kept")
            }
        }
    }

    // Submitting.

    fn seen(&self, number: u32) -> &Lane {
        match number {
            ROOT => &self.root,
            view => {
                self.views.get(view as usize - 1).and_then(Option::as_ref).expect("a lane in use is kept")
            }
        }
    }

    /// Lets a job into its lane, if the inbox could not.
    pub(crate) fn submit(&mut self, task: Arc<dyn Task>, entry: Entry) -> Result<Effects, Rejected> {
        let number = task.place().lane;
        let inbox = Arc::clone(&self.inbox);
        // Until the job is counted, so that the inbox lets no other into its place.
        let mut incoming = inbox.lock();
        let own = if number == ROOT { incoming.own } else { 0 };
        let lane = self.lane(number);
        let full = entry == Entry::Ordinary && lane.waiting + own >= lane.waiting_max;
        if lane.closed || full {
            lane.counts.rejected += 1;
            return Err(if lane.closed { Rejected::ShutDown } else { Rejected::QueueFull });
        }
        match entry {
            Entry::Permit => lane.permits -= 1,
            Entry::Ordinary | Entry::MustRun => lane.waiting += 1,
        }
        lane.counts.submitted += 1;
        if number == ROOT {
            incoming.room = self.root.waiting_max.saturating_sub(self.root.waiting + own);
        }
        task.place().set_id(incoming.next_id());
        drop(incoming);
        // Nobody sleeps on it yet, so no place is lent to it.
        self.enter(task, number);
        let mut effects = Effects::default();
        self.baton(&mut effects);
        Ok(effects)
    }

    /// A job came into the inbox while nobody was on the way to it.
    pub(crate) fn called(&mut self) -> Effects {
        let mut effects = Effects::default();
        self.baton(&mut effects);
        effects
    }

    /// Puts a job into the first queue on its way from `at` to the root where it has to wait.
    fn enter(&mut self, task: Arc<dyn Task>, mut at: u32) {
        while at != ROOT {
            let lane = self.lane(at);
            if !lane.has_place() {
                break;
            }
            lane.admitted += 1;
            at = lane.parent;
        }
        self.push(at, task);
    }

    fn push(&mut self, at: u32, task: Arc<dyn Task>) {
        if at == ROOT && task.place().is_awaited() {
            return self.push_first(task);
        }
        if at == ROOT {
            let mut inbox = self.inbox.lock();
            if task.place().lane == ROOT {
                self.root.waiting -= 1;
                inbox.own += 1;
                inbox.room = self.root.waiting_max.saturating_sub(self.root.waiting + inbox.own);
            }
            inbox.push(task);
            return self.inbox.tell(&inbox);
        }
        let queue = &mut self.lane(at).queue;
        task.place().set_queued(at, queue.next_ticket());
        queue.push(task);
    }

    /// Puts a job where it is taken next. Its place in the queue is counted in its lane.
    fn push_first(&mut self, task: Arc<dyn Task>) {
        task.place().set_queued(ROOT, self.first.next_ticket());
        self.first.push(task);
    }

    /// Takes the oldest runnable job. What has come in is fetched when all that was fetched before is taken: all of it at once.
    fn pop(&mut self) -> Option<Arc<dyn Task>> {
        if !self.first.is_empty() {
            return self.first.pop();
        }
        if self.root.queue.is_empty() {
            let mut inbox = self.inbox.lock();
            if inbox.queue.is_empty() {
                return None;
            }
            std::mem::swap(&mut self.root.queue, &mut inbox.queue);
            self.root.waiting += std::mem::take(&mut inbox.own);
            inbox.room = self.root.waiting_max.saturating_sub(self.root.waiting);
            self.inbox.tell(&inbox);
        }
        self.root.queue.pop()
    }

    /// How many jobs any worker may take.
    fn runnable(&self) -> usize {
        self.first.len() + self.root.queue.len() + self.inbox.lock().queue.len()
    }

    /// Takes a job out of the queue where it stands.
    fn take_out(&mut self, place: &Place) -> Option<Arc<dyn Task>> {
        let Position::Queued(at) = place.position() else { return None };
        let ticket = place.ticket();
        if at != ROOT {
            // A view that is gone had no jobs.
            return self.views.get_mut(at as usize - 1)?.as_mut()?.queue.remove(ticket);
        }
        if let Some(task) = self.first.remove(ticket).or_else(|| self.root.queue.remove(ticket)) {
            return Some(task);
        }
        let mut inbox = self.inbox.lock();
        let task = inbox.queue.remove(ticket)?;
        if place.lane == ROOT {
            inbox.own -= 1;
            self.root.waiting += 1;
        }
        self.inbox.tell(&inbox);
        Some(task)
    }

    /// Threads that do something, or are about to.
    fn active(&self) -> usize {
        self.threads - self.waits.asleep() - self.idle.len()
    }

    /// If a runnable job waits and nobody is on the way to the queue, sends somebody. If none waits, the next to come in must call.
    fn baton(&mut self, effects: &mut Effects) {
        if self.to_look_again || !self.went_back.is_empty() {
            self.to_look_again = false;
            self.went_back.clear();
            self.refuse_held_up(effects);
        }
        if self.searching > 0 {
            return;
        }
        if self.first.is_empty() && self.root.queue.is_empty() {
            let mut inbox = self.inbox.lock();
            if inbox.queue.is_empty() {
                inbox.call = true;
                return;
            }
        }
        if self.active() >= self.bounds.max {
            return;
        }
        if let Some(worker) = self.idle.pop() {
            worker.signal(Signal::Work);
            self.searching += 1;
            effects.unpark = Some(worker);
        } else if self.starting > 0 || (self.preparing > 0 && self.preparing >= self.runnable()) {
            // They are coming.
        } else if self.may_start() {
            self.threads += 1;
            self.starting += 1;
            effects.start_thread = true;
        } else {
            effects.wake.extend(self.help());
            // Each that comes in may find that it is time to ask for a thread again.
            self.inbox.lock().call = self.held_off;
        }
    }

    /// Whether there is a thread for what is queued, or one can be started.
    fn has_thread(&self) -> bool {
        self.active() > 0 || !self.idle.is_empty() || self.may_start()
    }

    fn may_start(&self) -> bool {
        // Without any thread, each that comes in asks: it is rejected at once if that is refused.
        let asks = !self.held_off || self.threads == 0;
        asks && self.threads < self.bounds.max + self.bounds.extra
    }

    // A worker's round.

    /// What `me` does next.
    pub(crate) fn next(&mut self, me: &Arc<Worker>, from: CameFrom, tally: &mut Tally) -> (Next, Effects) {
        let mut effects = Effects::default();
        match from {
            CameFrom::Search => self.searching -= 1,
            CameFrom::Start => {
                self.preparing -= 1;
                me.preparing.store(false, Ordering::Relaxed);
            }
            CameFrom::Job | CameFrom::Close => {}
        }
        // A sleeper that was replaced has gone on.
        let crowded = self.active() > self.bounds.max;
        let task = if crowded { None } else { self.pop() };
        let next = match task {
            Some(task) => {
                self.started(&task, me, &mut effects);
                if tally.jobs >= 64 {
                    self.add(tally);
                }
                Next::Run(task)
            }
            None => {
                self.add(tally);
                if self.root.closed {
                    self.threads -= 1;
                    self.leaving += 1;
                    Next::Exit
                } else if from == CameFrom::Job {
                    self.searching += 1;
                    Next::Search { alone: self.searching == 1 }
                } else {
                    self.idle.push(Arc::clone(me));
                    Next::Park { reap: self.threads > self.bounds.min }
                }
            }
        };
        self.baton(&mut effects);
        (next, effects)
    }

    /// A worker that has got this as its next step has something to do before, which may take long. It asks again then.
    pub(crate) fn postpone(&mut self, next: Next) -> Effects {
        let mut effects = Effects::default();
        match next {
            Next::Run(task) => {
                // Its place in the queue may have been given to another already; then there is one job too many for a moment.
                let number = task.place().lane;
                let lane = self.lane(number);
                lane.running -= 1;
                lane.waiting += 1;
                self.for_each_lane(number, |lane| lane.inside -= 1);
                let given_back = Arc::clone(&task);
                self.push_first(task);
                self.unclaimed(given_back.place(), &mut effects.wake);
            }
            Next::Search { .. } => self.searching -= 1,
            Next::Park { .. } => unreachable!("a worker does not sleep before its result is seen"),
            Next::Exit => {
                self.leaving -= 1;
                self.threads += 1;
            }
        }
        self.baton(&mut effects);
        effects
    }

    /// A job was taken out of its queue to be run.
    fn started(&mut self, task: &Arc<dyn Task>, me: &Worker, effects: &mut Effects) {
        let place = task.place();
        self.is_no_longer_ahead(place);
        place.set_running(me.number);
        let lane = self.lane(place.lane);
        lane.running += 1;
        lane.vacate(&mut effects.wake);
        self.for_each_lane(place.lane, |lane| lane.inside += 1);
    }

    /// If that job was let through before others, another may be now.
    fn is_no_longer_ahead(&mut self, job: &Place) {
        if self.ahead == Some(job.id()) {
            self.ahead = None;
            self.to_look_again = true;
        }
    }

    /// A job has ended; its result is not yet seen.
    pub(crate) fn finish(&mut self, place: &Place, done: &Done, tally: &mut Tally) -> Vec<Waker> {
        place.set_gone();
        let lane = self.lane(place.lane);
        lane.running -= 1;
        match done.how {
            Finish::Withdrawn => lane.counts.cancelled += 1,
            Finish::Returned | Finish::Panicked => lane.counts.completed += 1,
        }
        lane.counts.panicked += u64::from(done.how == Finish::Panicked);
        if done.how == Finish::Withdrawn {
            // It has neither waited for a worker nor run.
        } else if place.lane == ROOT {
            tally.wait.record(done.waited);
            tally.run.record(done.ran);
            // A long job's counts are not kept back behind another that may be as long.
            tally.jobs += if done.ran > 1_000_000 { 64 } else { 1 };
        } else {
            lane.counts.wait.record(done.waited);
            lane.counts.run.record(done.ran);
        }
        if place.lane == ROOT {
            return Vec::new();
        }
        self.for_each_lane(place.lane, |lane| lane.inside -= 1);
        let mut wakers = Vec::new();
        self.release(place, place.lane, ROOT, &mut wakers);
        wakers.extend(self.ended(place.lane));
        wakers
    }

    pub(crate) fn add(&mut self, tally: &mut Tally) {
        if tally.jobs > 0 {
            self.root.counts.wait.absorb(&mut tally.wait);
            self.root.counts.run.absorb(&mut tally.run);
            tally.jobs = 0;
        }
    }

    /// Gives back what a job holds from one lane on its way to another, exclusive: each freed place goes to the next in that lane's
    /// queue.
    fn release(&mut self, place: &Place, from: u32, until: u32, wakers: &mut Vec<Waker>) {
        let mut at = from;
        while at != until {
            let lane = self.lane(at);
            let (parent, borrowed) = (lane.parent, lane.borrowed > 0);
            lane.admitted -= 1;
            if borrowed {
                self.repay(place, at, wakers);
            }
            if self.waits.some_taking_back() {
                self.give_back(at, wakers);
            }
            while let Some(next) = self.let_through(at) {
                self.enter(next, parent);
            }
            at = parent;
        }
        if self.waits.some_unlent() {
            self.lend();
        }
    }

    /// The next job that the view may let through, already counted.
    fn let_through(&mut self, view: u32) -> Option<Arc<dyn Task>> {
        let lane = self.lane(view);
        if lane.queue.is_empty() || !lane.has_place() {
            return None;
        }
        lane.admitted += 1;
        lane.queue.pop()
    }

    /// Says who wants to know if lane `number`, or one that it is a view of, has come to its end; frees views that nobody can reach any
    /// more.
    fn ended(&mut self, number: u32) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut at = number;
        while self.enders > 0 {
            self.tell_end(at, &mut wakers);
            if at == ROOT {
                break;
            }
            at = self.lane(at).parent;
        }
        let mut at = number;
        while at != ROOT && self.lane(at).handles == 0 && self.lane(at).is_empty() {
            let (parent, name) = (self.lane(at).parent, Arc::clone(&self.lane(at).name));
            // A view that was shut down may have been followed by another of its name.
            if self.names.get(&(parent, Arc::clone(&name))) == Some(&at) {
                self.names.remove(&(parent, name));
            }
            let gone = self.views.get_mut(at as usize - 1).and_then(Option::take);
            let gone = gone.expect("a lane in use is kept");
            self.enders -= gone.end.len();
            self.lane(parent).counts.absorb(gone.counts);
            self.lane(parent).handles -= 1;
            self.free.push(at);
            at = parent;
        }
        wakers
    }

    /// Says who is to be woken because lane `number` has come to its end.
    fn tell_end(&mut self, number: u32, wakers: &mut Vec<Waker>) {
        if self.lane(number).closed && !self.lane(number).end.is_empty() && self.is_over(number) {
            let end = std::mem::take(&mut self.lane(number).end);
            self.enders -= end.len();
            wakers.extend(end.into_iter().map(|(_, waker)| waker));
        }
    }

    /// A worker has fallen asleep. If that is on a job that waits for an end itself, it is not waited for either.
    fn ended_by_a_sleep(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        if self.enders > 0 {
            for lane in self.views_of(ROOT) {
                self.tell_end(lane, &mut wakers);
            }
        }
        wakers
    }

    /// Whether nothing of the lane is left: of the root, no thread and no job; of a view, no job in it or in a view of it. What itself
    /// waits for such an end is not waited for, nor is what sleeps on that.
    fn is_over(&self, number: u32) -> bool {
        let ending = self.ending();
        if number == ROOT {
            // A job that has come in, and has not called yet, will start a thread.
            return self.runnable() == 0 && self.threads + self.leaving <= ending.len();
        }
        let lanes = self.views_of(number);
        let running: usize = lanes.iter().map(|view| self.seen(*view).running).sum();
        let ending = ending.iter().flat_map(|(_, jobs)| jobs).filter(|job| self.within(job.lane, number));
        running <= ending.count() && self.queued(&lanes) == 0
    }

    /// The workers that cannot end before a wait for an end does, with the jobs on them of which that is true.
    fn ending(&self) -> Vec<(u32, Vec<Running>)> {
        let ending = self.workers.iter().filter(|worker| worker.is_ending());
        let mut found: Vec<(u32, Vec<Running>)> =
            ending.map(|worker| (worker.number, worker.ending())).collect();
        while !found.is_empty() {
            let is_found = |worker: u32| found.iter().any(|(number, _)| *number == worker);
            let new: Vec<_> = self
                .waits
                .sleepers()
                .filter(|wait| !is_found(wait.worker.number) && wait.needs_one_of(is_found))
                .map(|wait| (wait.worker.number, wait.worker.stack()))
                .collect();
            if new.is_empty() {
                break;
            }
            found.extend(new);
        }
        found
    }

    /// How many jobs of these lanes wait to be run.
    fn queued(&self, lanes: &[u32]) -> usize {
        let own = if lanes.contains(&ROOT) { self.inbox.lock().own } else { 0 };
        let waiting = lanes.iter().map(|lane| self.seen(*lane)).map(|lane| lane.waiting - lane.permits);
        own + waiting.sum::<usize>()
    }

    /// The lane itself and its views, and theirs.
    pub(crate) fn views_of(&self, number: u32) -> Vec<u32> {
        let live = self.views.iter().zip(1..).filter(|(view, _)| view.is_some()).map(|(_, view)| view);
        let mut views: Vec<u32> = live.filter(|view| self.within(*view, number)).collect();
        if number == ROOT {
            views.push(ROOT);
        }
        views
    }

    // Sleeping, waiting, leaving.

    /// A worker that sleeps for want of work.
    pub(crate) fn idle_worker(&self) -> Option<Arc<Worker>> {
        self.idle.last().map(Arc::clone)
    }

    /// `me` slept as long as it was to. Says whether it leaves; if not, it stays idle, or has been signalled meanwhile.
    pub(crate) fn reap(&mut self, me: &Arc<Worker>) -> bool {
        if self.threads <= self.bounds.min {
            return false;
        }
        let Some(at) = self.idle.iter().position(|worker| Arc::ptr_eq(worker, me)) else { return false };
        self.idle.remove(at);
        self.threads -= 1;
        self.leaving += 1;
        true
    }

    /// A new thread has come. It has a start hook to run before it looks for work.
    pub(crate) fn arrived(&mut self, me: &Arc<Worker>) -> Effects {
        self.workers.push(Arc::clone(me));
        self.starting -= 1;
        self.preparing += 1;
        me.preparing.store(true, Ordering::Relaxed);
        let mut effects = Effects::default();
        self.baton(&mut effects);
        effects
    }

    /// The thread of `me` is as good as gone.
    pub(crate) fn left(&mut self, me: &Arc<Worker>) -> Vec<Waker> {
        self.leaving -= 1;
        self.workers.retain(|worker| !Arc::ptr_eq(worker, me));
        self.ended(ROOT)
    }

    /// A thread could not be started. If nobody is left who could run what is queued, it is handed out to be rejected.
    pub(crate) fn refused(&mut self) -> (Vec<Arc<dyn Task>>, Effects) {
        self.threads -= 1;
        self.starting -= 1;
        self.held_off = true;
        self.waits.hopes_fall();
        let (mut tasks, mut effects) = (Vec::new(), Effects::default());
        let orphaned = self.threads == 0 || {
            self.baton(&mut effects);
            let help = effects.unpark.is_some() || !effects.wake.is_empty();
            !help && self.threads == self.waits.asleep() && self.waits.are_hopeless()
        };
        if orphaned {
            let wakers;
            (tasks, wakers) = self.cancel_queued(ROOT);
            effects.wake.extend(wakers);
            effects.wake.extend(self.ended(ROOT));
            self.baton(&mut effects);
        }
        (tasks, effects)
    }

    /// It is time to ask for a thread again.
    pub(crate) fn retry(&mut self) -> Effects {
        self.held_off = false;
        self.called()
    }

    // Taking jobs back.

    /// Takes a job out of its queue for good.
    pub(crate) fn remove(&mut self, place: &Place) -> Option<(Arc<dyn Task>, Effects)> {
        let at = place.at();
        let task = self.take_out(place)?;
        let mut effects = Effects { wake: self.cancelled(place, at), ..Effects::default() };
        self.baton(&mut effects);
        Some((task, effects))
    }

    /// A job was taken out of the queue of lane `at`, and will not run.
    fn cancelled(&mut self, place: &Place, at: u32) -> Vec<Waker> {
        self.is_no_longer_ahead(place);
        place.set_gone();
        let lane = self.lane(place.lane);
        lane.counts.cancelled += 1;
        let mut wakers = Vec::new();
        lane.vacate(&mut wakers);
        self.release(place, place.lane, at, &mut wakers);
        wakers.extend(self.ended(place.lane));
        wakers
    }

    /// Whether `lane` is `outer` or a view of it.
    fn within(&self, mut lane: u32, outer: u32) -> bool {
        while lane != outer && lane != ROOT {
            lane = self.seen(lane).parent;
        }
        lane == outer
    }

    /// Takes what is queued in the lane and in its views out, to be discarded. What else is queued keeps its order.
    pub(crate) fn cancel_queued(&mut self, number: u32) -> (Vec<Arc<dyn Task>>, Vec<Waker>) {
        let lanes = self.views_of(number);
        let wanted = |task: &Arc<dyn Task>| lanes.contains(&task.place().lane);
        // Out of all queues first: so nothing moves up while places are given back.
        let mut tasks: Vec<Arc<dyn Task>> = Vec::new();
        tasks.extend(self.first.extract(wanted));
        tasks.extend(self.root.queue.extract(wanted));
        {
            let mut inbox = self.inbox.lock();
            let incoming = inbox.queue.extract(wanted);
            let own = incoming.iter().filter(|task| task.place().lane == ROOT).count();
            inbox.own -= own;
            self.root.waiting += own;
            self.inbox.tell(&inbox);
            tasks.extend(incoming);
        }
        for view in self.views.iter_mut().flatten() {
            tasks.extend(view.queue.extract(wanted));
        }
        // Nor is any of them lent a place.
        tasks.iter().for_each(|task| task.place().set_gone());
        let mut wakers = Vec::new();
        for task in &tasks {
            wakers.extend(self.cancelled(task.place(), task.place().at()));
        }
        (tasks, wakers)
    }
}
