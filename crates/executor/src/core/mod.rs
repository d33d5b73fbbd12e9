//! The state of the pool: which job goes to which worker, which workers sleep, which is woken, when a thread is requested. Plain data
//! under one short lock, so that every decision sees the whole; but for the inbox, which has a lock of its own.
//!
//! Nothing is run, woken, dropped or started here: each call returns the effects to be carried out once the lock is released.
//!
//! The rules, which the loom models check:
//!
//! - A worker that finds the inbox empty sets `call` under the inbox's lock, while it holds the core's, before it parks. A submitter
//!   reads `call` under the same lock as it pushes its job, and calls the core if it is set. So no wake-up is lost.
//! - While a runnable job waits and a thread could be had for it, some worker is *searching*: it is certain to come to the queue
//!   before it sleeps. A worker that was woken or is being started counts as searching from the moment of that decision.
//! - At most one worker is woken or started at a time: the one that comes to the queue and leaves jobs behind passes the baton on,
//!   before it runs its own job. A thread that is being started does not count as searching: it may take long, and a worker that falls
//!   idle meanwhile is woken instead.
//! - A worker that sleeps in the middle of its job is no longer active, and another may take its place. Only if none can, a job that
//!   such a sleeper waits for is run by the sleeper itself (`waits`).
//! - A worker counts as searching before the result of its job can be seen, so that a waiter that then submits the next job needs no
//!   second thread. It counts no longer, and a job that it has claimed goes back to the queue, before it calls user code that may take
//!   any time: a waker that is not of this crate, the `Drop` of a result.

mod lanes;
mod ends;
mod threads;
mod round;
mod queues;
mod deadlock;
mod lending;
mod exhausted;
mod waits;
mod units;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use crate::cell::{Finish, Task};
use crate::inbox::Inbox;
use crate::lane::Lane;
use crate::metrics::Histogram;
use crate::queue::Queue;
use crate::view_id::{ROOT, ViewId};
use crate::worker::{Signal, Worker};

pub(crate) use deadlock::{Across, refuse_across};
pub(crate) use units::{Beside, Elsewhere, Need, On, Polled, Refusal, Runs, Settles, Target, Unit};
use waits::Waits;
pub(crate) use waits::{Verdict, Woken};

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
    free: Vec<ViewId>,
    /// Views by the lane that they are views of, and their name.
    names: HashMap<(ViewId, Arc<str>), ViewId>,
    bounds: Bounds,
    /// Idle workers, as a LIFO stack: the one that has been idle for longest is at the bottom, and the first to reach its keep-alive time.
    idle: Vec<Arc<Worker>>,
    pub(crate) workers: Vec<Arc<Worker>>,
    threads: usize,
    searching: usize,
    /// Threads that were requested and have not started yet; and those that run their start hook.
    starting: usize,
    preparing: usize,
    /// The workers that sleep in the middle of a job.
    waits: Waits,
    /// Threads that are ending.
    leaving: usize,
    /// The number of waiters for the end of any lane.
    enders: usize,
    /// A sleeper ended its wait early, or a job that was let through before others has begun or is gone: others may have counted on a
    /// place that this one would have lent next.
    to_look_again: bool,
    /// Views in which a place went back to the sleeper that had lent it, and was not lent again at once: others may have counted on it.
    went_back: Vec<ViewId>,
    /// A job that was let through before others, and has not begun; and its lane.
    ahead: Option<(u64, ViewId)>,
    /// Sleepers were stuck when it was let through, and may be when it has begun.
    unsettled: bool,
    /// The system has refused a thread: none is requested until `retry`.
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
    /// Whether there is nothing to be done, nor to be dropped.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.unpark.is_none() && !self.start_thread && self.wake.capacity() == 0
    }
}

/// What a worker does next.
pub(crate) enum Next {
    Run(Arc<dyn Task>),
    /// Look again soon. `alone`: no other worker searches.
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
    /// It was signalled that the pool closes.
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
    fn lanes_of(&self, first: ViewId) -> impl Iterator<Item = ViewId> {
        let view = |at: ViewId| (at != ROOT).then_some(at);
        std::iter::successors(view(first), move |at| view(self.seen(*at).parent))
    }

    fn for_each_lane(&mut self, view: ViewId, change: impl Fn(&mut Lane)) {
        let mut at = view;
        while at != ROOT {
            let lane = self.lane(at);
            change(lane);
            at = lane.parent;
        }
    }

    /// The lane of that number. Only what keeps a lane alive has its number: a handle, a view of it, or a job in it.
    pub(crate) fn lane(&mut self, number: ViewId) -> &mut Lane {
        match number {
            ROOT => &mut self.root,
            view => self.views.get_mut(view.index()).and_then(Option::as_mut).expect("a lane in use is kept"),
        }
    }

    fn seen(&self, number: ViewId) -> &Lane {
        match number {
            ROOT => &self.root,
            view => self.views.get(view.index()).and_then(Option::as_ref).expect("a lane in use is kept"),
        }
    }

    /// A job was pushed to the inbox while `call` was set.
    pub(crate) fn called(&mut self) -> Effects {
        let mut effects = Effects::default();
        self.baton(&mut effects);
        effects
    }

    /// Threads that do something, or are about to.
    fn active(&self) -> usize {
        self.threads - self.waits.asleep() - self.idle.len()
    }

    /// If a runnable job waits and no worker searches, wakes or requests one. If none waits, sets `call` for the next submitter.
    pub(crate) fn baton(&mut self, effects: &mut Effects) {
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
            // Those will take the jobs.
        } else if self.may_start() {
            self.threads += 1;
            self.starting += 1;
            effects.start_thread = true;
        } else {
            effects.wake.extend(self.help());
            // While threads are refused every submitter calls, because the pause before the next request may be over.
            self.inbox.lock().call = self.held_off;
        }
    }

    /// Whether there is a thread for what is queued, or one can be started.
    fn has_thread(&self) -> bool {
        self.active() > 0 || !self.idle.is_empty() || self.may_start()
    }

    fn may_start(&self) -> bool {
        // Without any thread every submission requests one; the job is rejected at once if the thread is refused.
        let asks = !self.held_off || self.threads == 0;
        asks && self.threads < self.bounds.max + self.bounds.extra
    }

    /// The lane itself and its views, and theirs.
    pub(crate) fn views_of(&self, number: ViewId) -> Vec<ViewId> {
        let live = self.views.iter().enumerate().filter(|(_, view)| view.is_some());
        let live = live.map(|(index, _)| ViewId::at(index));
        let mut views: Vec<ViewId> = live.filter(|view| self.within(*view, number)).collect();
        if number == ROOT {
            views.push(ROOT);
        }
        views
    }

    /// Whether `lane` is `outer` or a view of it.
    fn within(&self, mut lane: ViewId, outer: ViewId) -> bool {
        while lane != outer && lane != ROOT {
            lane = self.seen(lane).parent;
        }
        lane == outer
    }
}

#[cfg(test)]
pub(crate) use units::looks;
