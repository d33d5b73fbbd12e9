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
//!   before it runs its own job.
//! - A worker is counted as searching before the result of its job can be seen: who waits for the result and submits the next job
//!   needs no second thread.

mod lanes;

use std::sync::Arc;
use std::task::Waker;

use crate::cell::{Place, Task};
use crate::error::Rejected;
use crate::inbox::Inbox;
use crate::lane::{Lane, ROOT};
use crate::metrics::Histogram;
use crate::worker::{Signal, Sleeper, Worker};

/// How many threads the pool may have.
pub(crate) struct Bounds {
    pub(crate) min: usize,
    pub(crate) max: usize,
    /// Threads beyond `max` that stand in for workers whose job waits for another.
    pub(crate) extra: usize,
}

pub(crate) struct Core {
    root: Lane,
    inbox: Arc<Inbox>,
    views: Vec<Option<Lane>>,
    bounds: Bounds,
    /// Workers that sleep, the one that slept in last on top: the coldest is at the bottom and is the first to be let go.
    idle: Vec<Arc<Worker>>,
    pub(crate) workers: Vec<Arc<Worker>>,
    threads: usize,
    searching: usize,
    /// Workers whose job waits for another job of the pool, and those among them that nothing but a job can wake.
    blocked: usize,
    blocked_on_jobs: Vec<Arc<Sleeper>>,
    /// Threads on their way out.
    leaving: usize,
    /// After the system refused a thread: how many wishes for one are passed over before it is asked again.
    refusals: u32,
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
    Exit,
}

/// How a worker comes to the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// From a job. It may not sleep yet: the result must first be seen.
    Job,
    /// It is one of those counted as searching.
    Search,
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
        Tally { wait: Histogram::new(), run: Histogram::new(), jobs: 0 }
    }
}

/// A job that ran to its end.
pub(crate) struct Done {
    pub(crate) lane: u32,
    /// The lane up to which it was let through, exclusive: the root, but for a job that was run inside one of its own lane.
    pub(crate) until: u32,
    pub(crate) panicked: bool,
    pub(crate) waited: u64,
    pub(crate) ran: u64,
}

impl Core {
    pub(crate) fn new(bounds: Bounds, queue_limit: usize) -> Self {
        Core {
            root: Lane::new("", ROOT, usize::MAX, queue_limit),
            inbox: Arc::new(Inbox::new(queue_limit)),
            views: Vec::new(),
            bounds,
            idle: Vec::new(),
            workers: Vec::new(),
            threads: 0,
            searching: 0,
            blocked: 0,
            blocked_on_jobs: Vec::new(),
            leaving: 0,
            refusals: 0,
        }
    }

    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
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

    /// Lets a job into its lane, if the inbox could not.
    pub(crate) fn submit(&mut self, task: Arc<dyn Task>, entry: Entry) -> Result<Effects, Rejected> {
        let number = task.place().lane;
        let full = entry == Entry::Ordinary && self.room(number) == 0;
        let lane = self.lane(number);
        if lane.closed || full {
            lane.counts.rejected += 1;
            return Err(if lane.closed { Rejected::ShutDown } else { Rejected::QueueFull });
        }
        match entry {
            Entry::Permit => lane.permits -= 1,
            Entry::Ordinary | Entry::MustRun => lane.waiting += 1,
        }
        lane.counts.submitted += 1;
        task.place().name(self.inbox.lock().next_id());
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

    /// How many more jobs may wait in the lane.
    fn room(&mut self, number: u32) -> usize {
        let own = if number == ROOT { self.inbox.lock().own } else { 0 };
        let lane = self.lane(number);
        lane.waiting_max.saturating_sub(lane.waiting + own)
    }

    /// Puts a job into the first queue on its way from `at` to the root where it has to wait.
    fn enter(&mut self, task: Arc<dyn Task>, mut at: u32) {
        while at != ROOT {
            let lane = self.lane(at);
            if lane.admitted >= lane.limit {
                break;
            }
            lane.admitted += 1;
            at = lane.parent;
        }
        self.push(at, task);
    }

    fn push(&mut self, at: u32, task: Arc<dyn Task>) {
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
        task.place().queued(at, queue.next_ticket());
        queue.push(task);
    }

    /// Takes the oldest runnable job. What has come in is fetched when all that was fetched before is taken: all of it at once.
    fn pop(&mut self) -> Option<Arc<dyn Task>> {
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

    /// Takes a job out of the queue where it stands.
    fn take_out(&mut self, place: &Place) -> Option<Arc<dyn Task>> {
        let (at, ticket) = (place.at(), place.ticket());
        if at != ROOT {
            // A view that is gone had no jobs.
            let lane = self.views.get_mut(at as usize - 1)?.as_mut()?;
            let task = lane.queue.remove(ticket)?;
            place.left();
            return Some(task);
        }
        if let Some(task) = self.root.queue.remove(ticket) {
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

    /// If a runnable job waits and nobody is on the way to the queue, sends somebody. If none waits, the next to come in must call.
    fn baton(&mut self, effects: &mut Effects) {
        if self.searching > 0 {
            return;
        }
        if self.root.queue.is_empty() {
            let mut inbox = self.inbox.lock();
            if inbox.queue.is_empty() {
                inbox.call = true;
                return;
            }
        }
        if let Some(worker) = self.idle.pop() {
            worker.signal(Signal::Work);
            self.searching += 1;
            effects.unpark = Some(worker);
        } else if self.may_start() {
            self.threads += 1;
            self.searching += 1;
            effects.start_thread = true;
        }
    }

    fn may_start(&mut self) -> bool {
        let room = self.threads - self.blocked < self.bounds.max
            && self.threads < self.bounds.max + self.bounds.extra;
        if room && self.refusals > 0 && self.threads > self.blocked {
            self.refusals -= 1;
            return false;
        }
        room
    }

    // A worker's round.

    /// What `me` does next.
    pub(crate) fn next(&mut self, me: &Arc<Worker>, from: From, tally: &mut Tally) -> (Next, Effects) {
        let mut effects = Effects::default();
        if from == From::Search {
            self.searching -= 1;
        }
        let crowded = self.threads - self.blocked > self.bounds.max;
        let task = if crowded { None } else { self.pop() };
        let next = match task {
            Some(task) => {
                effects.wake.extend(self.started(&task));
                if tally.jobs >= 64 {
                    self.add(tally);
                }
                Next::Run(task)
            }
            None => {
                self.add(tally);
                if crowded || self.root.closed {
                    self.threads -= 1;
                    self.leaving += 1;
                    Next::Exit
                } else if from == From::Job {
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

    /// A job was taken out of its queue to be run.
    fn started(&mut self, task: &Arc<dyn Task>) -> Option<Waker> {
        let lane = self.lane(task.place().lane);
        lane.running += 1;
        lane.vacate()
    }

    /// A job has ended; its result is not yet seen.
    pub(crate) fn finish(&mut self, done: &Done, tally: &mut Tally) -> Vec<Waker> {
        let lane = self.lane(done.lane);
        lane.running -= 1;
        lane.counts.completed += 1;
        lane.counts.panicked += u64::from(done.panicked);
        if done.lane == ROOT {
            tally.wait.record(done.waited);
            tally.run.record(done.ran);
            // A long job's counts are not kept back behind another that may be as long.
            tally.jobs += if done.ran > 1_000_000 { 64 } else { 1 };
            return Vec::new();
        }
        lane.counts.wait.record(done.waited);
        lane.counts.run.record(done.ran);
        self.release(done.lane, done.until);
        self.ended(done.lane)
    }

    pub(crate) fn add(&mut self, tally: &mut Tally) {
        if tally.jobs > 0 {
            self.root.counts.wait.absorb(&mut tally.wait);
            self.root.counts.run.absorb(&mut tally.run);
            tally.jobs = 0;
        }
    }

    /// Gives back what a job held on its way from its lane to `until`: each freed place goes to the next in that lane's queue.
    fn release(&mut self, mut at: u32, until: u32) {
        while at != until {
            let lane = self.lane(at);
            let parent = lane.parent;
            match lane.queue.pop() {
                Some(next) => self.enter(next, parent),
                None => lane.admitted -= 1,
            }
            at = parent;
        }
    }

    /// Says who wants to know if lane `number`, or one that it is a view of, has come to its end; frees a view that nobody can
    /// reach any more.
    fn ended(&mut self, number: u32) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut at = number;
        loop {
            if self.lane(at).closed && !self.lane(at).end.is_empty() && self.is_over(at) {
                wakers.append(&mut self.lane(at).end);
            }
            if at == ROOT {
                break;
            }
            at = self.lane(at).parent;
        }
        if number != ROOT && self.lane(number).handles == 0 && self.lane(number).is_empty() {
            let parent = self.lane(number).parent;
            if let Some(slot) = self.views.get_mut(number as usize - 1) {
                *slot = None;
            }
            wakers.extend(self.drop_handle(parent));
        }
        wakers
    }

    /// Whether nothing of the lane is left: of the root, no thread and no job; of a view, no job in it or in a view of it.
    fn is_over(&mut self, number: u32) -> bool {
        if number == ROOT {
            // A job that has come in, and has not called yet, will start a thread.
            let empty = self.root.queue.is_empty() && self.inbox.lock().queue.is_empty();
            return empty && self.threads + self.leaving <= self.root.enders;
        }
        for view in self.views_of(number) {
            let lane = self.lane(view);
            if lane.waiting > 0 || lane.running > lane.enders {
                return false;
            }
        }
        true
    }

    /// The lane itself and its views, and theirs.
    fn views_of(&mut self, number: u32) -> Vec<u32> {
        let all = 1..=self.views.len() as u32;
        let live: Vec<u32> =
            all.filter(|view| self.views.get(*view as usize - 1).is_some_and(Option::is_some)).collect();
        let mut views: Vec<u32> = live.into_iter().filter(|view| self.within(*view, number)).collect();
        if number == ROOT {
            views.push(ROOT);
        }
        views
    }

    // Sleeping, waiting, leaving.

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

    /// The thread of `me` is as good as gone.
    pub(crate) fn left(&mut self, me: &Arc<Worker>) -> Vec<Waker> {
        self.leaving -= 1;
        self.workers.retain(|worker| !Arc::ptr_eq(worker, me));
        self.ended(ROOT)
    }

    /// A thread could not be started. If nobody is left to run what is queued, it is handed out to be rejected.
    pub(crate) fn refused(&mut self) -> (Vec<Arc<dyn Task>>, Effects) {
        self.threads -= 1;
        self.searching -= 1;
        self.refusals = 64;
        let (mut tasks, mut effects) = (Vec::new(), Effects::default());
        if self.threads == self.blocked {
            (tasks, effects.wake) = self.cancel_queued(ROOT);
            effects.wake.extend(self.ended(ROOT));
        }
        self.baton(&mut effects);
        (tasks, effects)
    }

    /// The job of a worker waits for another: a thread may stand in for it. With `on_jobs`, nothing but jobs of this pool can wake
    /// the sleeper.
    pub(crate) fn block(&mut self, on_jobs: Option<&Arc<Sleeper>>) -> Effects {
        self.blocked += 1;
        self.blocked_on_jobs.extend(on_jobs.cloned());
        let mut effects = Effects::default();
        self.baton(&mut effects);
        effects
    }

    pub(crate) fn unblock(&mut self, on_jobs: Option<&Arc<Sleeper>>) {
        self.blocked -= 1;
        if let Some(sleeper) = on_jobs {
            self.blocked_on_jobs.retain(|other| !Arc::ptr_eq(other, sleeper));
        }
    }

    /// Whether no job will ever end again: every thread that is not idle waits for a job, none of them has been woken, and there is
    /// neither an idle worker nor a new thread for what is queued. A result that is being delivered does not show here if it is
    /// delivered from outside the pool, so look twice.
    pub(crate) fn is_stuck(&self) -> bool {
        let busy = self.threads - self.blocked - self.idle.len();
        busy == 0
            && self.leaving == 0
            && self.blocked == self.blocked_on_jobs.len()
            && !self.blocked_on_jobs.iter().any(|sleeper| sleeper.is_woken())
    }

    // Taking jobs back.

    /// Takes a job out of its queue for good.
    pub(crate) fn remove(&mut self, place: &Place) -> Option<(Arc<dyn Task>, Effects)> {
        let at = place.at();
        let task = self.take_out(place)?;
        let mut effects = Effects::default();
        let lane = self.lane(place.lane);
        lane.counts.cancelled += 1;
        effects.wake.extend(lane.vacate());
        self.release(place.lane, at);
        effects.wake.extend(self.ended(place.lane));
        self.baton(&mut effects);
        Some((task, effects))
    }

    /// Takes a job out of its queue to be run at once by a worker whose job waits for it. `held`: the lanes of the jobs that this
    /// worker is in the middle of; a job that waits for a place in one of these may share theirs, as a direct call would.
    pub(crate) fn claim(&mut self, place: &Place, held: &[u32]) -> Option<(Arc<dyn Task>, u32, Effects)> {
        let at = place.at();
        if at != ROOT && !held.iter().any(|lane| self.within(*lane, at)) {
            return None;
        }
        let task = self.take_out(place)?;
        let mut effects = Effects::default();
        effects.wake.extend(self.started(&task));
        Some((task, at, effects))
    }

    /// Whether `lane` is `outer` or a view of it.
    fn within(&mut self, mut lane: u32, outer: u32) -> bool {
        while lane != outer && lane != ROOT {
            lane = self.lane(lane).parent;
        }
        lane == outer
    }

    /// Takes what is queued in the lane and in its views out, to be discarded.
    pub(crate) fn cancel_queued(&mut self, number: u32) -> (Vec<Arc<dyn Task>>, Vec<Waker>) {
        let mut tasks = Vec::new();
        // Views stand before the root here: so nothing moves up while the root's jobs give back their places.
        let mut queues: Vec<u32> = self.views_of(ROOT);
        queues.sort_unstable_by(|a, b| b.cmp(a));
        for queue in queues {
            let mut kept = Vec::new();
            while let Some(task) = if queue == ROOT { self.pop() } else { self.lane(queue).queue.pop() } {
                if self.within(task.place().lane, number) { tasks.push(task) } else { kept.push(task) }
            }
            for task in kept {
                self.push(queue, task);
            }
        }
        let mut wakers = Vec::new();
        for task in &tasks {
            let place = task.place();
            let lane = self.lane(place.lane);
            lane.counts.cancelled += 1;
            wakers.extend(lane.vacate());
            self.release(place.lane, place.at());
            place.left();
            wakers.extend(self.ended(place.lane));
        }
        (tasks, wakers)
    }
}
