//! A lane: a queue with a name, a limit and counters. The pool itself is the root lane; each view is a further one. It has no threads:
//! `core` assigns the jobs that a lane lets through to workers.

use std::sync::Arc;
// Changed under the pool's mutex alone: no order for the checkers to try.
use std::sync::atomic::AtomicBool;
use std::task::Waker;

use crate::cell::Task;
use crate::metrics::Histogram;
use crate::queue::Queue;
use crate::sync::Mutex;
use crate::view_id::ViewId;

pub(crate) struct Lane {
    pub(crate) name: Arc<str>,
    /// The lane that this one is a view of.
    pub(crate) parent: ViewId,
    /// How many jobs it lets through at a time, and has let through. The root lets all through.
    pub(crate) limit: usize,
    pub(crate) admitted: usize,
    /// How many of them are in the place of a sleeper that waits for them: they take none of their own.
    pub(crate) borrowed: usize,
    /// Root: jobs that any worker may take, fetched from the inbox. View: jobs that wait until the view lets them through to its parent.
    pub(crate) queue: Queue<Arc<dyn Task>>,
    /// How many jobs may wait to be run, and how many do; permits that were handed out count as waiting, the root's jobs in the inbox
    /// do not.
    pub(crate) waiting_max: usize,
    pub(crate) waiting: usize,
    pub(crate) permits: usize,
    pub(crate) running: usize,
    /// How many jobs of a view, and of views of it, run; and how many of these are on threads that sleep in the middle of a job.
    pub(crate) inside: usize,
    pub(crate) asleep: usize,
    /// Waiters for a place in the queue, FIFO.
    pub(crate) admission: Queue<Arc<Applicant>>,
    pub(crate) closed: bool,
    /// Its running jobs are to stop, also those that were just about to start.
    pub(crate) stopping: bool,
    /// Waiters for the end of the lane.
    pub(crate) end: Vec<Ender>,
    /// Handles and views of this lane. Without any no job can be submitted to it.
    pub(crate) handles: usize,
    pub(crate) counts: Counts,
}

/// A waiter for the end of a lane.
pub(crate) struct Ender {
    /// No other has it.
    pub(crate) id: u64,
    pub(crate) waker: Waker,
    /// Set when the end has come.
    pub(crate) over: Arc<AtomicBool>,
}

#[derive(Clone, Default)]
pub(crate) struct Counts {
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
    pub(crate) cancelled: u64,
    pub(crate) rejected: u64,
    pub(crate) panicked: u64,
    pub(crate) wait: Histogram,
    pub(crate) run: Histogram,
}

impl Counts {
    /// Adds what another lane has counted.
    pub(crate) fn absorb(&mut self, mut other: Counts) {
        self.submitted += other.submitted;
        self.completed += other.completed;
        self.cancelled += other.cancelled;
        self.rejected += other.rejected;
        self.panicked += other.panicked;
        self.wait.absorb(&mut other.wait);
        self.run.absorb(&mut other.run);
    }
}

impl Lane {
    pub(crate) fn new(name: &str, parent: ViewId, limit: usize, waiting_max: usize) -> Self {
        Lane {
            name: Arc::from(name),
            parent,
            limit,
            admitted: 0,
            borrowed: 0,
            queue: Queue::new(),
            waiting_max,
            waiting: 0,
            permits: 0,
            running: 0,
            inside: 0,
            asleep: 0,
            admission: Queue::new(),
            closed: false,
            stopping: false,
            end: Vec::new(),
            handles: 1,
            counts: Counts::default(),
        }
    }

    /// A place in the queue became free: it is given to the first waiter that holds a place when woken. Waiters before it that only ask
    /// for a notification are woken. True if the place was given.
    #[inline]
    pub(crate) fn vacate(&mut self, wake: &mut Vec<Waker>) -> bool {
        self.waiting -= 1;
        !self.admission.is_empty() && self.admit(wake)
    }

    #[inline(never)]
    fn admit(&mut self, wake: &mut Vec<Waker>) -> bool {
        while let Some(next) = self.admission.pop() {
            if next.wants_to_know {
                wake.extend(next.admit(Admission::Ask));
                continue;
            }
            self.waiting += 1;
            self.permits += 1;
            wake.extend(next.admit(Admission::Granted));
            return true;
        }
        false
    }

    /// Whether it may let another job through.
    pub(crate) fn has_place(&self) -> bool {
        self.admitted - self.borrowed < self.limit
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0 && self.running == 0
    }
}

/// A waiter for a place in the queue.
pub(crate) struct Applicant {
    state: Mutex<(Admission, Option<Waker>)>,
    /// It is only notified that a place may be free, because it might not be polled again and so would keep a place that it was given.
    wants_to_know: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Waiting,
    Granted,
    /// There may be a place: apply again.
    Ask,
    Closed,
}

impl Applicant {
    pub(crate) fn new(waker: Waker, wants_to_know: bool) -> Self {
        Applicant { state: Mutex::new((Admission::Waiting, Some(waker))), wants_to_know }
    }

    pub(crate) fn admit(&self, how: Admission) -> Option<Waker> {
        let mut state = self.state.lock();
        state.0 = how;
        state.1.take()
    }

    /// Its state; while it waits, `waker` is the one to wake.
    pub(crate) fn ask(&self, waker: &Waker) -> Admission {
        // To clone or to drop a waker is the user's code: not under the lock.
        let new = waker.clone();
        let mut state = self.state.lock();
        let (how, old) = match state.0 {
            Admission::Waiting => (Admission::Waiting, state.1.replace(new)),
            done @ (Admission::Granted | Admission::Ask | Admission::Closed) => (done, Some(new)),
        };
        drop(state);
        drop(old);
        how
    }

    pub(crate) fn admission(&self) -> Admission {
        self.state.lock().0
    }
}
