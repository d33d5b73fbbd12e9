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
//!   needs no second thread. It counts no longer, and a job that it has claimed goes back to the queue, before it calls user code that
//!   may take any time: a waker that is not of this crate, the `Drop` of a result.

mod lanes;
mod ends;
mod threads;
mod round;
mod queues;
mod deadlock;
mod lending;
mod waits;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use crate::cell::{Finish, Task};
use crate::inbox::Inbox;
use crate::lane::{Lane, ROOT};
use crate::metrics::Histogram;
use crate::queue::Queue;
use crate::worker::{Signal, Worker};

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

    fn seen(&self, number: u32) -> &Lane {
        match number {
            ROOT => &self.root,
            view => {
                self.views.get(view as usize - 1).and_then(Option::as_ref).expect("a lane in use is kept")
            }
        }
    }

    /// A job came into the inbox while nobody was on the way to it.
    pub(crate) fn called(&mut self) -> Effects {
        let mut effects = Effects::default();
        self.baton(&mut effects);
        effects
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

    /// The lane itself and its views, and theirs.
    pub(crate) fn views_of(&self, number: u32) -> Vec<u32> {
        let live = self.views.iter().zip(1..).filter(|(view, _)| view.is_some()).map(|(_, view)| view);
        let mut views: Vec<u32> = live.filter(|view| self.within(*view, number)).collect();
        if number == ROOT {
            views.push(ROOT);
        }
        views
    }

    /// Whether `lane` is `outer` or a view of it.
    fn within(&self, mut lane: u32, outer: u32) -> bool {
        while lane != outer && lane != ROOT {
            lane = self.seen(lane).parent;
        }
        lane == outer
    }
}
