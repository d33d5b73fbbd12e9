//! Those who sleep: a worker, with what it is doing, and a thread that waits for a future.
//!
//! Must never decide when they are woken.

use std::sync::Arc;
use std::task::Wake;
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering, Parker};

/// A thread that waits for a future: its waker.
pub(crate) struct Sleeper {
    parker: Parker,
    woken: AtomicBool,
}

impl Sleeper {
    /// For the current thread.
    pub(crate) fn new() -> Self {
        Sleeper { parker: Parker::new(), woken: AtomicBool::new(false) }
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// Whether it was woken since it last asked.
    pub(crate) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// Sleeps until woken; says whether it was, before the deadline.
    pub(crate) fn sleep(&self, deadline: Option<Instant>) -> bool {
        loop {
            if self.take_woken() {
                return true;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            self.parker.park(left);
        }
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Who is awake already need not be woken again: one system call less.
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.parker.unpark();
        }
    }
}

/// Why a sleeping worker is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Signal {
    Work = 1,
    Close = 2,
}

pub(crate) struct Worker {
    parker: Parker,
    signal: AtomicU8,
    /// The job that runs here: its number, 0 for none; its lane; when it started.
    job: AtomicU64,
    lane: AtomicU32,
    since: AtomicU64,
    /// That job waits for the end of the pool, or of a view.
    ending: AtomicBool,
    /// The token of that job, if it has one.
    pub(crate) token: Mutex<Option<CancelToken>>,
}

impl Worker {
    /// The worker of the current thread.
    pub(crate) fn new() -> Self {
        Worker {
            parker: Parker::new(),
            signal: AtomicU8::new(0),
            job: AtomicU64::new(0),
            lane: AtomicU32::new(0),
            since: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            token: Mutex::new(None),
        }
    }

    /// Set under the pool's lock, when the worker is taken off the idle stack.
    pub(crate) fn signal(&self, signal: Signal) {
        // A swap, as in `take_signal`: so the two have one order.
        self.signal.swap(signal as u8, Ordering::AcqRel);
    }

    /// Ends its sleep. The signal is set by now; a job that uses `std::thread::park` may see a wake-up for nothing, as it must expect.
    pub(crate) fn unpark(&self) {
        self.parker.unpark();
    }

    pub(crate) fn take_signal(&self) -> Option<Signal> {
        match self.signal.swap(0, Ordering::AcqRel) {
            0 => None,
            1 => Some(Signal::Work),
            _ => Some(Signal::Close),
        }
    }

    /// Sleeps until signalled; `None` when the time was over first.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) -> Option<Signal> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(signal) = self.take_signal() {
                return Some(signal);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            self.parker.park(left);
        }
    }

    /// Says what runs here now, and gives back what did.
    pub(crate) fn set_running(&self, job: (u64, u32, u64)) -> (u64, u32, u64) {
        let old = self.running();
        self.lane.store(job.1, Ordering::Relaxed);
        self.since.store(job.2, Ordering::Relaxed);
        self.job.store(job.0, Ordering::Release);
        old
    }

    /// (job, lane, since); job 0 is none.
    pub(crate) fn running(&self) -> (u64, u32, u64) {
        let job = self.job.load(Ordering::Acquire);
        (job, self.lane.load(Ordering::Relaxed), self.since.load(Ordering::Relaxed))
    }

    pub(crate) fn set_ending(&self, ending: bool) {
        self.ending.store(ending, Ordering::Relaxed);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    pub(crate) fn thread_name(&self) -> String {
        self.parker.thread_name()
    }
}
