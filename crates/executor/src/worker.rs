//! The threads that sleep: a worker, with the job that it runs, and a thread that waits for a future. When they are woken is decided in
//! `core`.

use std::sync::{Arc, OnceLock};
use std::task::{RawWakerVTable, Wake, Waker};
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::cell::Place;
use crate::origin::Origin;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering, Parker};
use crate::view_id::{ROOT, ViewId};

/// A thread that waits for a future: its waker. A wake by value drops its reference before it unparks, so that the thread, once awake,
/// can count the wakers that are left.
pub(crate) struct Sleeper(Arc<Flag>);

struct Flag {
    parker: Parker,
    woken: AtomicBool,
}

impl Sleeper {
    /// For the current thread.
    pub(crate) fn new() -> Self {
        Sleeper(Arc::new(Flag { parker: Parker::new(), woken: AtomicBool::new(false) }))
    }

    /// The vtable by which wakers of sleepers are recognised.
    fn vtable() -> &'static RawWakerVTable {
        Arc::new(Sleeper::new()).waker().vtable()
    }

    // Not inlined: a table of its own in each crate that blocks on a future would make these wakers look like those of others.
    #[inline(never)]
    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    /// Whether it is the waker of some sleeper.
    pub(crate) fn is_of_one(waker: &Waker) -> bool {
        static VTABLE: OnceLock<&RawWakerVTable> = OnceLock::new();
        // The checkers do not allow for what is made in the first of their runs alone.
        let always = cfg!(any(loom, shuttle));
        waker.vtable() == if always { Self::vtable() } else { VTABLE.get_or_init(Self::vtable) }
    }

    /// Whether it was woken since the last call.
    pub(crate) fn take_woken(&self) -> bool {
        self.0.woken.swap(false, Ordering::AcqRel)
    }

    /// Sleeps until woken or until the deadline. True if it was woken.
    pub(crate) fn sleep(&self, deadline: Option<Instant>) -> bool {
        loop {
            if self.take_woken() {
                return true;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            self.0.parker.park(left);
        }
    }
}

impl Flag {
    fn set(&self) {
        // A thread that is awake already is not woken again: one system call less.
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.parker.unpark();
        }
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        let flag = Arc::clone(&self.0);
        drop(self);
        flag.set();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.set();
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("number", &self.number)
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}

/// Why a sleeping worker is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Signal {
    Work = 1,
    Close = 2,
    /// Deadlines have no thread: this one is to see to them while it is idle.
    Look = 3,
}

pub(crate) struct Worker {
    /// No two workers of a pool have the same; never 0.
    pub(crate) number: u32,
    parker: Parker,
    signal: AtomicU8,
    /// The job that runs here: its number, 0 for none; its lane; when it started.
    job: AtomicU64,
    lane: AtomicU32,
    since: AtomicU64,
    /// Its origin, and the addresses of that. Written only when they differ from those of the job before: jobs of one origin, one after
    /// the other, take no lock.
    origin: Mutex<Option<Origin>>,
    origin_addresses: (AtomicUsize, AtomicUsize),
    /// Jobs of which that one is run inside, the outermost first.
    outer: Mutex<Vec<Running>>,
    /// Jobs that wait for the end of a lane, and of which; 0 for what runs here outside any job.
    ending: Mutex<Vec<(u64, ViewId)>>,
    /// The tokens of the jobs that run here, with their lanes, the innermost last.
    pub(crate) tokens: Mutex<Vec<(ViewId, CancelToken)>>,
    /// It runs the start hook, and has not looked for work yet.
    pub(crate) preparing: AtomicBool,
    /// One of its jobs notes what it polls with other wakers, or did. Only its own thread asks.
    noting: std::sync::atomic::AtomicBool,
}

/// A job on a worker.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) job: u64,
    pub(crate) lane: ViewId,
    pub(crate) since: u64,
    pub(crate) origin: Origin,
}

impl Worker {
    /// The worker of the current thread.
    pub(crate) fn new(number: u32) -> Self {
        Worker {
            number,
            parker: Parker::new(),
            signal: AtomicU8::new(0),
            job: AtomicU64::new(0),
            lane: AtomicU32::new(0),
            since: AtomicU64::new(0),
            origin: Mutex::new(None),
            origin_addresses: (AtomicUsize::new(0), AtomicUsize::new(0)),
            outer: Mutex::new(Vec::new()),
            ending: Mutex::new(Vec::new()),
            tokens: Mutex::new(Vec::new()),
            preparing: AtomicBool::new(false),
            noting: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Set under the pool's lock, when the worker is taken off the idle stack.
    pub(crate) fn signal(&self, signal: Signal) {
        // A swap, as in `take_signal`: so the two have one order.
        self.signal.swap(signal as u8, Ordering::AcqRel);
    }

    /// Signals an idle worker to look at the deadlines, unless it was signalled already: then it is awake.
    pub(crate) fn rouse(&self) {
        let look = Signal::Look as u8;
        if self.signal.compare_exchange(0, look, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.unpark();
        }
    }

    /// Ends its sleep. The signal is set by now; a job that uses `std::thread::park` may see a wake-up for nothing, as it must expect.
    pub(crate) fn unpark(&self) {
        self.parker.unpark();
    }

    pub(crate) fn take_signal(&self) -> Option<Signal> {
        match self.signal.swap(0, Ordering::AcqRel) {
            0 => None,
            1 => Some(Signal::Work),
            2 => Some(Signal::Close),
            _ => Some(Signal::Look),
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

    /// A job begins here; with `inside`, in the middle of the one that runs here already.
    #[inline]
    pub(crate) fn begin(&self, job: &Place, since: u64, inside: bool) {
        if inside {
            self.outer.lock().extend(self.running());
        }
        self.set(job.id(), job.lane, since, &job.origin);
    }

    /// The innermost job has ended: what it was run inside goes on. `inside`: there is such a job.
    pub(crate) fn end(&self, inside: bool) {
        match if inside { self.outer.lock().pop() } else { None } {
            Some(outer) => self.set(outer.job, outer.lane, outer.since, &outer.origin),
            None => self.job.store(0, Ordering::Release),
        }
    }

    #[inline]
    fn set(&self, job: u64, lane: ViewId, since: u64, origin: &Origin) {
        // Not the one before any more, while the rest is written.
        self.job.store(0, Ordering::Release);
        let (at, label) = &self.origin_addresses;
        let new = origin.addresses();
        if (at.load(Ordering::Relaxed), label.load(Ordering::Relaxed)) != new {
            self.set_origin(origin);
        }
        self.lane.store(lane.0, Ordering::Relaxed);
        self.since.store(since, Ordering::Relaxed);
        self.job.store(job, Ordering::Release);
    }

    #[inline(never)]
    fn set_origin(&self, origin: &Origin) {
        // The old one is kept alive until here, so no other can have had its address.
        let old = self.origin.lock().replace(origin.clone());
        drop(old);
        let (at, label) = origin.addresses();
        self.origin_addresses.0.store(at, Ordering::Relaxed);
        self.origin_addresses.1.store(label, Ordering::Relaxed);
    }

    /// The innermost job.
    pub(crate) fn running(&self) -> Option<Running> {
        loop {
            let job = self.job.load(Ordering::Acquire);
            if job == 0 {
                return None;
            }
            let (lane, since) =
                (ViewId(self.lane.load(Ordering::Relaxed)), self.since.load(Ordering::Relaxed));
            let origin = self.origin.lock().clone();
            // Otherwise that job has ended meanwhile, and this may be the origin of the next.
            if self.job.load(Ordering::Acquire) == job {
                return origin.map(|origin| Running { job, lane, since, origin });
            }
        }
    }

    /// The lane of the innermost job, for the worker's own thread.
    pub(crate) fn own_lane(&self) -> ViewId {
        if self.job.load(Ordering::Relaxed) == 0 { ROOT } else { ViewId(self.lane.load(Ordering::Relaxed)) }
    }

    /// All jobs that are in the middle of something here, the innermost last.
    pub(crate) fn stack(&self) -> Vec<Running> {
        let mut stack = self.outer.lock().clone();
        stack.extend(self.running());
        stack
    }

    /// A job of this worker waits for the end of that lane.
    pub(crate) fn begins_ending(&self, job: u64, lane: ViewId) {
        self.ending.lock().push((job, lane));
    }

    /// It no longer does.
    pub(crate) fn stops_ending(&self, job: u64, lane: ViewId) {
        let mut jobs = self.ending.lock();
        if let Some(at) = jobs.iter().position(|other| *other == (job, lane)) {
            jobs.swap_remove(at);
        }
    }

    /// The lanes whose end jobs here wait for.
    pub(crate) fn ends(&self) -> Vec<ViewId> {
        self.ending.lock().iter().map(|(_, lane)| *lane).collect()
    }

    /// The jobs here that cannot end before such a wait, for one of these lanes, does: the one that waits, and those it is run inside.
    /// `None` if there is no such wait.
    pub(crate) fn ending(&self, of: impl Fn(ViewId) -> bool) -> Option<Vec<Running>> {
        let waits: Vec<u64> = {
            let jobs = self.ending.lock();
            jobs.iter().filter(|(_, lane)| of(*lane)).map(|(job, _)| *job).collect()
        };
        if waits.is_empty() {
            return None;
        }
        let mut stack = self.stack();
        let innermost = stack.iter().rposition(|running| waits.contains(&running.job));
        stack.truncate(innermost.map_or(0, |at| at + 1));
        (waits.contains(&0) || !stack.is_empty()).then_some(stack)
    }

    pub(crate) fn is_noting(&self) -> bool {
        self.noting.load(Ordering::Relaxed)
    }

    pub(crate) fn set_noting(&self, noting: bool) {
        self.noting.store(noting, Ordering::Relaxed);
    }

    pub(crate) fn is_preparing(&self) -> bool {
        self.preparing.load(Ordering::Relaxed)
    }

    pub(crate) fn thread_name(&self) -> String {
        self.parker.thread_name()
    }
}
