//! The threads: the only file that starts any. A worker's life, and what the pool does once its lock is released.
//!
//! Must never run the user's code (a job, a waker, a hook, a `Drop`) while the lock is held.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use crate::cancel::{CancelToken, WeakToken};
use crate::cell::{Ended, Ending, Place, Position, Task};
use crate::core::{
    Across, Bounds, CameFrom, Core, Done, Effects, Elsewhere, Entry, Next, On, Tally, Unit, Verdict, Woken,
    refuse_across,
};
use crate::error::{JobError, Panic, Rejected};
use crate::fork;
use crate::guard::guarded;
use crate::inbox::{Brought, Inbox};
use crate::lane::ROOT;
use crate::limits;
use crate::metrics::StillRunning;
use crate::sync::{self, AtomicBool, AtomicUsize, Guard, Mutex, Ordering, local, thread};
use crate::timer::{self, DeadlineOf, Timer, Timers};
use crate::trace;
use crate::worker::{Signal, Sleeper, Worker};

/// A thread that the pool wants; see [`Builder::spawn_thread`](crate::Builder::spawn_thread).
#[derive(Clone, Debug)]
pub struct NewThread {
    /// Its name.
    pub name: String,
    /// The size of its stack in bytes, if the builder was told one.
    pub stack_size: Option<usize>,
}

pub(crate) type Hook = Box<dyn Fn() + Send + Sync>;
pub(crate) type PanicHook = Box<dyn Fn(&Panic) + Send + Sync>;
pub(crate) type Spawner = Box<dyn Fn(NewThread, Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync>;

/// What the builder decides, but for the numbers of `Core`.
pub(crate) struct Settings {
    pub(crate) keep_alive: Duration,
    pub(crate) thread_name: String,
    pub(crate) stack_size: Option<usize>,
    pub(crate) on_thread_start: Option<Hook>,
    pub(crate) on_thread_stop: Option<Hook>,
    pub(crate) on_panic: Option<PanicHook>,
    pub(crate) spawn: Spawner,
    #[cfg(feature = "tokio")]
    pub(crate) tokio_context: bool,
}

/// Which running jobs are asked about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    All,
    /// But for those that themselves wait for the end.
    NotEnding,
}

pub(crate) struct Pool {
    core: Mutex<Core>,
    inbox: Arc<Inbox>,
    settings: Settings,
    epoch: Instant,
    generation: u32,
    timers: Arc<Timers>,
    started: AtomicUsize,
    /// How many times running jobs were asked to stop.
    stops: AtomicUsize,
    /// How many waits for an end there were.
    ends: AtomicUsize,
    /// The system has refused a thread; when it is asked again.
    held_off: AtomicBool,
    refusal: Mutex<Refusal>,
}

/// The exponential back-off after a refused thread.
struct Refusal {
    pause: Duration,
    until: Instant,
    timer: Option<Timer>,
}

local!(CURRENT: Current);
// A worker's next step, from the end of a job until its result is delivered. Apart from the rest, since every job comes by here.
local!(NEXT: Next);

/// What a worker's thread knows of itself. It is made before anything else in the thread, so that it is dropped after all other values
/// of the thread: then the thread is gone.
struct Current {
    pool: Arc<Pool>,
    worker: Arc<Worker>,
    /// The views of the jobs that it is in the middle of.
    lanes: Vec<u32>,
    /// Jobs that are run inside others, here and now.
    depth: usize,
    /// What the innermost `block_on` has come upon; none outside a `block_on`.
    awaited: Option<Awaiting>,
    others: Others,
    /// It has had its last job.
    leaving: bool,
}

impl Drop for Current {
    fn drop(&mut self) {
        if self.pool.is_forked() {
            return std::mem::forget(Arc::clone(&self.pool));
        }
        let wakers = self.pool.core().left(&self.worker);
        self.pool.notify(&[], wakers);
    }
}

/// What a `block_on` on a worker has come upon.
pub(crate) struct Awaiting {
    waker: Waker,
    /// In the last poll, with this very waker.
    units: Vec<Arc<Unit>>,
    /// Where else the waker is kept, for one of these to use and for nothing else.
    beside: Vec<usize>,
    /// More than it is worth to look at.
    many: bool,
    /// Units that would never be done while this thread waits for them: they say so at the next poll.
    dead: Vec<Arc<Unit>>,
}

/// A `block_on` that polls more units than this with its own waker is not looked into.
const NOTED_MAX: usize = 64;

impl Awaiting {
    fn new(waker: Waker) -> Self {
        Awaiting { waker, units: Vec::new(), beside: Vec::new(), many: false, dead: Vec::new() }
    }
}

/// What a job that has a place to lend has polled with other wakers than that of its `block_on`, since it began: what has a waker of its
/// own, as in `FuturesUnordered`, is not polled each time.
#[derive(Default)]
struct Others {
    units: BTreeMap<usize, Arc<Unit>>,
    /// At so many, those that are over are dropped.
    sweep_at: usize,
}

impl Others {
    /// Gives back what is to be dropped while nothing is borrowed.
    fn note(&mut self, unit: Arc<Unit>) -> Vec<Arc<Unit>> {
        let mut dropped: Vec<Arc<Unit>> = self.units.insert(unit.key(), unit).into_iter().collect();
        if self.units.len() >= self.sweep_at {
            dropped.extend(self.sweep());
            self.sweep_at = (self.units.len() * 2).max(NOTED_MAX);
        }
        dropped
    }

    /// Takes out those that are over.
    fn sweep(&mut self) -> Vec<Arc<Unit>> {
        let (over, open): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.units).into_iter().partition(|(_, unit)| unit.is_over());
        self.units = open;
        over.into_values().collect()
    }
}

/// What is known of a poll.
pub(crate) struct Noted {
    pub(crate) units: Vec<Arc<Unit>>,
    /// How many copies of the waker these keep.
    pub(crate) copies: usize,
    /// Whether that is all that was polled with it.
    pub(crate) all: bool,
    /// What was polled with other wakers.
    pub(crate) others: Vec<Arc<Unit>>,
}

/// Starts a thread for deadlines: in the ordinary way, because a spawner may refuse threads; if the system refuses that, as a worker's.
fn timer_thread_of(pool: Weak<Pool>) -> timer::Spawn {
    Box::new(move |run| {
        let name = "overlapped-timer".to_owned();
        let slot = Arc::new(Mutex::new(Some(run)));
        let theirs = Arc::clone(&slot);
        let take = move || {
            let run = theirs.lock().take();
            run.into_iter().for_each(|run| run());
        };
        let started = spawn_std(NewThread { name: name.clone(), stack_size: None }, Box::new(take));
        let Err(error) = started else { return Ok(()) };
        let run = slot.lock().take().expect("a thread that was refused has run nothing");
        let pool = pool.upgrade().ok_or(error)?;
        pool.spawn(NewThread { name, stack_size: pool.settings.stack_size }, run)
    })
}

fn rouse_of(pool: Weak<Pool>) -> timer::Rouse {
    Box::new(move || {
        let idle = pool.upgrade().and_then(|pool| pool.core().idle_worker());
        if let Some(worker) = idle {
            worker.rouse();
        }
    })
}

fn expire_of(pool: Weak<Pool>) -> timer::Expire {
    Box::new(move |job, of, token| {
        if let Some(pool) = pool.upgrade() {
            pool.expire(job, of, token);
        }
    })
}

/// Starts a thread in the ordinary way.
pub(crate) fn spawn_std(new: NewThread, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let mut builder = thread::Builder::new().name(new.name);
    if let Some(bytes) = new.stack_size {
        builder = builder.stack_size(bytes);
    }
    builder.spawn(run).map(drop)
}

impl Elsewhere for Pool {
    fn core(&self) -> Guard<'_, Core> {
        self.core.lock()
    }
}

impl Pool {
    pub(crate) fn new(bounds: Bounds, queue_limit: usize, settings: Settings) -> Arc<Self> {
        fork::watch();
        let core = Core::new(bounds, queue_limit);
        Arc::new_cyclic(|pool| Pool {
            inbox: Arc::clone(core.inbox()),
            core: Mutex::new(core),
            settings,
            epoch: Instant::now(),
            generation: fork::generation(),
            timers: Timers::new(
                timer_thread_of(Weak::clone(pool)),
                rouse_of(Weak::clone(pool)),
                expire_of(Weak::clone(pool)),
            ),
            started: AtomicUsize::new(0),
            stops: AtomicUsize::new(0),
            ends: AtomicUsize::new(0),
            held_off: AtomicBool::new(false),
            refusal: Mutex::new(Refusal { pause: Duration::ZERO, until: Instant::now(), timer: None }),
        })
    }

    pub(crate) fn timers(&self) -> &Arc<Timers> {
        &self.timers
    }

    /// Nanoseconds since the pool was built.
    pub(crate) fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    pub(crate) fn core(&self) -> Guard<'_, Core> {
        self.core.lock()
    }

    /// Whether this process is a fork of the one that has the threads. Then no lock of the pool may be taken: a thread that the fork
    /// did not bring along may hold it.
    pub(crate) fn is_forked(&self) -> bool {
        fork::generation() != self.generation
    }

    /// The closure, to be run in the runtime in which this is called, if that was asked for.
    #[cfg(feature = "tokio")]
    pub(crate) fn in_context<F: FnOnce() -> R, R>(&self, closure: F) -> impl FnOnce() -> R + use<F, R> {
        let runtime =
            if self.settings.tokio_context { tokio::runtime::Handle::try_current().ok() } else { None };
        // In a box: one word in each job for those that do not ask for it.
        let runtime = runtime.map(Box::new);
        move || {
            let _entered = runtime.as_deref().map(tokio::runtime::Handle::enter);
            closure()
        }
    }

    /// Lets a job in, or says why not.
    pub(crate) fn submit(self: &Arc<Self>, task: Arc<dyn Task>, entry: Entry) -> Result<(), Rejected> {
        if self.is_forked() {
            return Err(Rejected::Forked);
        }
        let task = if task.place().lane == ROOT && entry == Entry::Ordinary {
            match self.bring(task)? {
                Brought::In => return Ok(()),
                Brought::Call => None,
                Brought::Ask(task) => Some(task),
            }
        } else {
            Some(task)
        };
        let effects = {
            let mut core = self.core();
            match task {
                None => core.called(),
                Some(task) => core.submit(task, entry)?,
            }
        };
        self.apply(effects);
        self.retry_if_due();
        Ok(())
    }

    fn bring(&self, task: Arc<dyn Task>) -> Result<Brought, Rejected> {
        let mut state = self.inbox.lock();
        let brought = state.bring(task);
        self.inbox.tell(&state);
        brought
    }

    /// Takes a job back out of its queue, if it has not been started, and drops its closure here and now.
    pub(crate) fn cancel(self: &Arc<Self>, job: &dyn Task, why: JobError) -> bool {
        if self.is_forked() {
            return false;
        }
        loop {
            let removed = self.core().remove(job.place());
            if let Some((task, effects)) = removed {
                self.apply(effects);
                task.discard(why);
                guarded(move || drop(task));
                return true;
            }
            match job.place().position() {
                // A worker has taken it, and may still be busy with the waker of the job before.
                Position::Running(_) => return job.withdraw(why),
                Position::Gone => return false,
                // That worker has put it back since.
                Position::Queued(_) => sync::relax(),
            }
        }
    }

    /// The job was to have started, or ended, by now.
    fn expire(self: &Arc<Self>, job: &dyn Task, of: DeadlineOf, token: Option<WeakToken>) {
        if self.cancel(job, JobError::TimedOut { started: false }) || of == DeadlineOf::Start {
            return;
        }
        if let Some(token) = token {
            token.cancel();
        }
        job.give_up(JobError::TimedOut { started: true });
    }

    /// The job has no handle, and so no deadline, any more.
    pub(crate) fn detach(&self, job: &Place) {
        let core = self.core();
        job.set_detached();
        drop(core);
    }

    /// Does what the core has decided, which is mostly nothing. The lock is not held.
    #[inline]
    pub(crate) fn apply(self: &Arc<Self>, effects: Effects) {
        if !effects.is_empty() {
            self.apply_all(effects);
        }
    }

    // Not inlined: a call that every job makes stays a few instructions.
    #[inline(never)]
    fn apply_all(self: &Arc<Self>, effects: Effects) {
        if let Some(worker) = effects.unpark {
            worker.unpark();
        }
        if effects.start_thread {
            // Refusal is dealt with where the start is dropped.
            let _ = self.start_thread();
        }
        self.notify(&[], effects.wake);
    }

    /// Starts the thread that the core counts already.
    pub(crate) fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let new = NewThread {
            name: format!("{}-{number}", self.settings.thread_name),
            stack_size: self.settings.stack_size,
        };
        let start = Start { pool: Some(Arc::clone(self)), number: number as u32 + 1 };
        self.spawn(new, Box::new(move || start.run()))
    }

    fn spawn(&self, new: NewThread, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        // `std::thread::spawn` panics where a builder's gives an error.
        let spawned = catch_unwind(AssertUnwindSafe(|| (self.settings.spawn)(new, run)))
            .unwrap_or_else(|payload| Err(io::Error::other(Panic::new(payload))));
        spawned.inspect_err(trace::thread_refused)
    }

    /// After a refused thread: when to ask again.
    fn back_off(self: &Arc<Self>) {
        let pause = {
            let mut refusal = self.refusal.lock();
            refusal.pause = (refusal.pause * 2).clamp(limits::REFUSAL_PAUSE_MIN, limits::REFUSAL_PAUSE_MAX);
            refusal.until = Instant::now() + refusal.pause;
            refusal.pause
        };
        self.held_off.store(true, Ordering::Relaxed);
        // The checkers have no clock.
        if cfg!(any(loom, shuttle)) {
            return;
        }
        let pool = Arc::downgrade(self);
        let timer = self.timers.after(pause, move || {
            if let Some(pool) = pool.upgrade() {
                pool.retry();
            }
        });
        let old = std::mem::replace(&mut self.refusal.lock().timer, timer);
        drop(old);
    }

    /// Asks for a thread again if it is time: the timer may itself have been refused its thread.
    #[inline]
    fn retry_if_due(self: &Arc<Self>) {
        if self.held_off.load(Ordering::Relaxed) && self.refusal.lock().until <= Instant::now() {
            self.retry();
        }
    }

    fn retry(self: &Arc<Self>) {
        self.held_off.store(false, Ordering::Relaxed);
        let effects = self.core().retry();
        self.apply(effects);
    }

    /// Wakes workers and others that the core has named.
    #[inline]
    pub(crate) fn notify(&self, workers: &[Arc<Worker>], wakers: Vec<Waker>) {
        if !(workers.is_empty() && wakers.is_empty()) {
            Self::notify_all(workers, wakers);
        }
    }

    #[inline(never)]
    fn notify_all(workers: &[Arc<Worker>], wakers: Vec<Waker>) {
        for worker in workers {
            worker.unpark();
        }
        for waker in wakers {
            guarded(move || waker.wake());
        }
    }

    /// Asks the running jobs of a lane to stop; says how many could be asked.
    pub(crate) fn stop_running(&self, lane: u32) -> usize {
        self.stops.fetch_add(1, Ordering::SeqCst);
        let tokens = self.core().stop(lane);
        for token in &tokens {
            token.cancel();
        }
        tokens.len()
    }

    /// Whether a job of the lane that is just starting is to stop.
    fn is_stopping(&self, lane: u32) -> bool {
        self.stops.load(Ordering::SeqCst) > 0 && self.core().is_stopping(lane)
    }

    /// What runs in a lane.
    pub(crate) fn running(&self, lane: u32, whom: Whom) -> Vec<StillRunning> {
        if self.is_forked() {
            return Vec::new();
        }
        let now = self.now();
        let core = self.core();
        let running =
            core.running(lane, whom == Whom::All).into_iter().map(|(running, worker)| StillRunning {
                job: running.job,
                label: running.origin.label.map(|label| label.to_string()),
                submitted_at: running.origin.at,
                view: core.name(running.lane),
                thread: worker.thread_name(),
                running_for: Duration::from_nanos(now.saturating_sub(running.since)),
            });
        running.collect()
    }

    /// A number for one who waits for an end.
    pub(crate) fn next_end(&self) -> u64 {
        self.ends.fetch_add(1, Ordering::Relaxed) as u64
    }

    /// Discards jobs that were taken out of the queues.
    pub(crate) fn discard(&self, tasks: Vec<Arc<dyn Task>>, why: impl Fn() -> JobError) {
        for task in tasks {
            task.discard(why());
            guarded(move || drop(task));
        }
    }

    // A worker's life.

    fn work(self: &Arc<Self>, me: &Arc<Worker>) {
        let mut tally = Tally::new();
        let mut next = self.next(me, CameFrom::Start, &mut tally);
        let mut now = self.now();
        loop {
            self.timers.help();
            next = match next {
                Next::Run(task) => self.run(me, task, &mut now, &mut tally),
                Next::Search { alone } => {
                    if alone {
                        self.search();
                    }
                    let next = self.next(me, CameFrom::Search, &mut tally);
                    now = self.now();
                    next
                }
                Next::Park { reap } => {
                    let help_by = self.timers.help_by();
                    let wait = match help_by {
                        Some(at) => Some(at.saturating_duration_since(Instant::now())),
                        None => reap.then_some(self.settings.keep_alive),
                    };
                    let from = match me.sleep(wait) {
                        Some(Signal::Work) => CameFrom::Search,
                        Some(Signal::Close) => CameFrom::Close,
                        Some(Signal::Look) => {
                            next = Next::Park { reap };
                            continue;
                        }
                        None if help_by.is_some() => {
                            next = Next::Park { reap };
                            continue;
                        }
                        None => {
                            if self.core().reap(me) {
                                return;
                            }
                            next = Next::Park { reap: false };
                            continue;
                        }
                    };
                    let next = self.next(me, from, &mut tally);
                    now = self.now();
                    next
                }
                Next::Exit => return,
            }
        }
    }

    fn next(self: &Arc<Self>, me: &Arc<Worker>, from: CameFrom, tally: &mut Tally) -> Next {
        let (next, effects) = self.core().next(me, from, tally);
        self.apply(effects);
        self.retry_if_due();
        next
    }

    /// Runs a job. By the time its result can be seen, this worker has its next job or is counted as searching.
    fn run(
        self: &Arc<Self>,
        me: &Arc<Worker>,
        task: Arc<dyn Task>,
        now: &mut u64,
        tally: &mut Tally,
    ) -> Next {
        let mut round = Round { pool: self, me, place: task.place(), started: *now, tally, inside: false };
        round.begin();
        let rest = task.run(*now, &mut round);
        *now = round.started;
        // Without a handle, the result is dropped here.
        if rest && Arc::strong_count(&task) == 1 {
            round.dropping();
        }
        guarded(move || drop(task));
        match take_next() {
            Some(next) => next,
            None => {
                let next = self.next(me, CameFrom::Job, tally);
                *now = self.now();
                next
            }
        }
    }

    /// Runs a job here and now, inside the job that waits for it.
    pub(crate) fn run_inside(self: &Arc<Self>, me: &Arc<Worker>, task: Arc<dyn Task>) {
        let outer = with_current(self, |current| {
            current.depth += 1;
            (current.awaited.take(), std::mem::take(&mut current.others))
        });
        let (now, mut tally) = (self.now(), Tally::new());
        let mut round =
            Round { pool: self, me, place: task.place(), started: now, tally: &mut tally, inside: true };
        round.begin();
        task.run(now, &mut round);
        guarded(move || drop(task));
        let (awaited, others) = outer.expect("it is a worker that runs a job");
        let inner = with_current(self, |current| {
            current.depth -= 1;
            current.awaited = awaited;
            std::mem::replace(&mut current.others, others)
        });
        guarded(move || drop(inner));
    }

    /// Looks for work for a little while, without sleeping: a thread that sleeps costs its waker a system call.
    fn search(&self) {
        for step in 0..SEARCH_STEPS {
            if !self.inbox.seems_empty() {
                return;
            }
            if step < SPIN_STEPS {
                sync::relax();
                continue;
            }
            // On a busy machine a yield can take many time slices, while idle workers are not woken because this one searches.
            let before = Instant::now();
            thread::yield_now();
            if before.elapsed() > YIELD_MAX {
                return;
            }
        }
    }
}

#[cfg(not(any(loom, shuttle)))]
const SEARCH_STEPS: u32 = 40;
#[cfg(not(any(loom, shuttle)))]
const SPIN_STEPS: u32 = 32;
/// A yield that takes longer than this has let other threads run: then a search ends.
const YIELD_MAX: Duration = Duration::from_micros(50);
// The checkers try the other orders themselves.
#[cfg(any(loom, shuttle))]
const SEARCH_STEPS: u32 = 0;
#[cfg(any(loom, shuttle))]
const SPIN_STEPS: u32 = 0;

/// One job on its way through a worker.
struct Round<'a> {
    pool: &'a Arc<Pool>,
    me: &'a Arc<Worker>,
    place: &'a Place,
    /// When the job started; once it has ended, when it did.
    started: u64,
    tally: &'a mut Tally,
    /// The job is run inside another, and the worker needs no next one.
    inside: bool,
}

impl Round<'_> {
    /// From here on others can see what runs here.
    fn begin(&self) {
        let lane = self.place.lane;
        self.me.begin(self.place, self.started, self.inside);
        if lane != ROOT {
            with_current(self.pool, |current| current.lanes.push(lane));
        }
    }
}

impl Ending for Round<'_> {
    fn ended(&mut self, end: Ended<'_>) -> u64 {
        let now = self.pool.now();
        if let (Some(panic), Some(hook)) = (end.panic, &self.pool.settings.on_panic) {
            guarded(|| hook(panic));
        }
        if self.place.lane != ROOT {
            let others = with_current(self.pool, |current| {
                current.lanes.pop();
                (!current.others.units.is_empty()).then(|| std::mem::take(&mut current.others))
            });
            if let Some(others) = others.flatten() {
                guarded(move || drop(others));
            }
        }
        self.me.end(self.inside);
        let done = Done {
            how: end.how,
            waited: self.started.saturating_sub(end.submitted),
            ran: now.saturating_sub(self.started),
        };
        self.started = now;
        let (effects, wakers) = {
            let mut core = self.pool.core();
            let wakers = core.finish(self.place, &done, self.tally);
            if self.inside {
                core.add(self.tally);
                (core.called(), wakers)
            } else {
                let (next, effects) = core.next(self.me, CameFrom::Job, self.tally);
                NEXT.with(|slot| *slot.borrow_mut() = Some(next));
                (effects, wakers)
            }
        };
        self.pool.apply(effects);
        self.pool.notify(&[], wakers);
        now
    }

    fn dropping(&mut self) {
        postpone_next(self.pool);
    }
}

fn take_next() -> Option<Next> {
    NEXT.try_with(|slot| slot.borrow_mut().take()).ok().flatten()
}

/// The delivery of a result takes long: another worker is to do what this one would have done next.
fn postpone_next(pool: &Arc<Pool>) {
    if let Some(next) = take_next() {
        let effects = pool.core().postpone(next);
        pool.apply(effects);
    }
}

/// A thread that is counted and on its way. Whoever drops this without running it has refused the thread.
struct Start {
    pool: Option<Arc<Pool>>,
    number: u32,
}

impl Start {
    fn run(mut self) {
        let Some(pool) = self.pool.take() else { return };
        let me = Arc::new(Worker::new(self.number));
        CURRENT.with(|current| {
            *current.borrow_mut() = Some(Current {
                pool: Arc::clone(&pool),
                worker: Arc::clone(&me),
                lanes: Vec::new(),
                depth: 0,
                awaited: None,
                others: Others::default(),
                leaving: false,
            });
        });
        pool.refusal.lock().pause = Duration::ZERO;
        let effects = pool.core().arrived(&me);
        pool.apply(effects);
        trace::thread_started(|| me.thread_name());
        if let Some(hook) = &pool.settings.on_thread_start {
            guarded(hook);
        }
        pool.work(&me);
        with_current(&pool, |current| current.leaving = true);
        if let Some(hook) = &pool.settings.on_thread_stop {
            guarded(hook);
        }
        trace::thread_ended(|| me.thread_name());
        // Otherwise the thread's end does it, after the destructors of all its other values.
        #[cfg(any(loom, shuttle))]
        drop(CURRENT.with(|current| current.borrow_mut().take()));
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        let Some(pool) = self.pool.take() else { return };
        let (tasks, effects) = pool.core().refused();
        pool.back_off();
        pool.discard(tasks, || JobError::Rejected(Rejected::NoThread));
        pool.apply(effects);
    }
}

// What other files ask about the thread they are on.

/// `None` on any other thread, and when the thread's values are being destroyed.
fn with_current<T>(pool: &Arc<Pool>, f: impl FnOnce(&mut Current) -> T) -> Option<T> {
    with_any(|current| (Arc::ptr_eq(&current.pool, pool) && !pool.is_forked()).then(|| f(current))).flatten()
}

fn with_any<T>(f: impl FnOnce(&mut Current) -> T) -> Option<T> {
    CURRENT.try_with(|current| current.borrow_mut().as_mut().map(f)).ok().flatten()
}

/// Whether this thread is a worker of the pool.
pub(crate) fn is_worker(pool: &Arc<Pool>) -> bool {
    with_current(pool, |_| ()).is_some()
}

/// Whether this thread is in the middle of a job of that lane.
pub(crate) fn is_within(pool: &Arc<Pool>, lane: u32) -> bool {
    with_current(pool, |current| lane == ROOT || current.lanes.contains(&lane)) == Some(true)
}

/// Runs a job's closure with its token where `CancelToken::current` and a shutdown find it.
pub(crate) fn with_token<R>(token: &CancelToken, closure: impl FnOnce(&CancelToken) -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            let token = with_any(|current| current.worker.tokens.lock().pop());
            drop(token);
        }
    }
    let stopping = with_any(|current| {
        let lane = current.worker.own_lane();
        current.worker.tokens.lock().push((lane, token.clone()));
        // Either the shutdown has seen the token, or this sees the shutdown.
        current.pool.is_stopping(lane)
    });
    let _leave = stopping.is_some().then_some(Leave);
    if stopping == Some(true) {
        token.cancel();
    }
    token.enter(closure)
}

/// The worker that this thread is, if it is one of the pool, and the job that it runs; 0 for none.
pub(crate) fn current_job(pool: &Arc<Pool>) -> Option<(Arc<Worker>, u64)> {
    with_current(pool, |current| {
        let job = current.worker.running().map_or(0, |running| running.job);
        (Arc::clone(&current.worker), job)
    })
}

/// The pool that this thread is a worker of, unless it has had its last job.
pub(crate) fn current_pool() -> Option<Arc<Pool>> {
    let pool = with_any(|current| (!current.leaving).then(|| Arc::clone(&current.pool))).flatten();
    pool.filter(|pool| !pool.is_forked())
}

/// A future that this thread polls waits for jobs. Says whether they would never end while this thread waits: then it must say so.
pub(crate) fn note_awaited(cx: &Context<'_>, unit: impl FnOnce(&Arc<Pool>) -> Arc<Unit>) -> bool {
    let noting = with_any(|current| {
        let awaited = current.awaited.as_ref()?;
        let in_full = !awaited.many && awaited.waker.will_wake(cx.waker());
        (in_full || !current.lanes.is_empty()).then(|| Arc::clone(&current.pool))
    });
    let Some(pool) = noting.flatten() else { return false };
    // Made, and dropped, while nothing is borrowed.
    let unit = unit(&pool);
    let noted = with_current(&pool, |current| {
        let awaited = current.awaited.as_mut()?;
        let (in_full, in_view) = (awaited.waker.will_wake(cx.waker()), !current.lanes.is_empty());
        if in_full && awaited.dead.iter().any(|dead| dead.is(&unit)) {
            return None;
        }
        awaited.many |= in_full && awaited.units.len() >= NOTED_MAX;
        if in_full && !awaited.many {
            if !awaited.units.iter().any(|other| other.is(&unit)) {
                awaited.units.push(Arc::clone(&unit));
            }
            return Some(Vec::new());
        }
        Some(if in_view { current.others.note(Arc::clone(&unit)) } else { Vec::new() })
    });
    noted.is_some_and(|noted| noted.is_none())
}

/// The waker is also kept at this address, where only a job that was noted uses it.
pub(crate) fn note_beside(pool: &Arc<Pool>, cx: &Context<'_>, address: usize) {
    with_current(pool, |current| {
        let Some(awaited) = &mut current.awaited else { return };
        if !awaited.many && awaited.waker.will_wake(cx.waker()) && !awaited.beside.contains(&address) {
            awaited.beside.push(address);
        }
    });
}

/// A `block_on` begins, or with `None` something else that polls; gives back what was noted outside it.
pub(crate) fn swap_awaited(pool: &Arc<Pool>, waker: Option<&Waker>) -> Option<Awaiting> {
    let new = waker.cloned().map(Awaiting::new);
    with_current(pool, |current| std::mem::replace(&mut current.awaited, new)).flatten()
}

/// It ends.
pub(crate) fn restore_awaited(pool: &Arc<Pool>, outer: Option<Awaiting>) {
    let inner = with_current(pool, |current| std::mem::replace(&mut current.awaited, outer));
    drop(inner);
}

/// What the last poll has come upon.
pub(crate) fn take_awaited(pool: &Arc<Pool>) -> Noted {
    let taken = with_current(pool, |current| {
        let awaited = current.awaited.as_mut()?;
        let (units, dead) = (std::mem::take(&mut awaited.units), std::mem::take(&mut awaited.dead));
        let over = current.others.sweep();
        let noted = Noted {
            copies: units.len() + std::mem::take(&mut awaited.beside).len(),
            units,
            all: !std::mem::take(&mut awaited.many),
            others: current.others.units.values().cloned().collect(),
        };
        Some((noted, dead, over))
    });
    let nothing = || Noted { units: Vec::new(), copies: 0, all: false, others: Vec::new() };
    taken.flatten().map_or_else(nothing, |(noted, ..)| noted)
}

/// In the next poll, these are to say that they would never end.
pub(crate) fn set_dead(pool: &Arc<Pool>, units: Vec<Arc<Unit>>) {
    let old = with_current(pool, |current| {
        current.awaited.as_mut().map(|awaited| std::mem::replace(&mut awaited.dead, units))
    });
    drop(old);
}

/// A worker whose job waits: while it sleeps, another thread may take its place.
pub(crate) struct Waiting {
    pool: Arc<Pool>,
    me: Arc<Worker>,
    id: u64,
}

impl Waiting {
    /// `None` on a thread that is no worker of the pool.
    pub(crate) fn begin(pool: &Arc<Pool>, sleeper: &Arc<Sleeper>) -> Option<Self> {
        let (me, held) = with_current(pool, |current| (Arc::clone(&current.worker), current.lanes.clone()))?;
        // In a waker, say, of the job that has just ended here.
        postpone_next(pool);
        let id = pool.core().waits(&me, sleeper, held);
        Some(Waiting { pool: Arc::clone(pool), me, id })
    }

    /// Sleeps until woken or until the deadline. If a job is to be run here meanwhile, it is.
    /// However that ends, it comes back only with all places that this job has in views.
    pub(crate) fn sleep(&self, sleeper: &Sleeper, on: On, deadline: Option<Instant>) -> Slept {
        let slept = self.sleep_on(sleeper, on, deadline);
        // Who wakes it meanwhile does so in vain: what it waits for is looked at after this in any case.
        while !self.has_all_places() {
            sleeper.sleep(None);
        }
        slept
    }

    fn has_all_places(&self) -> bool {
        let (all, effects) = self.pool.core().takes_back(self.id);
        self.pool.apply(effects);
        all
    }

    fn sleep_on(&self, sleeper: &Sleeper, on: On, deadline: Option<Instant>) -> Slept {
        let mut on = Arc::new(on);
        let (verdict, effects) = self.pool.core().sleeps(self.id, &mut on);
        drop(on);
        self.pool.apply(effects);
        match verdict {
            Verdict::Sleep => {}
            Verdict::Deadlock => return Slept::Deadlock,
            Verdict::Ask(others) => self.ask(others),
        }
        let help_by = timer::wake_by();
        let in_time = sleeper.sleep(deadline.into_iter().chain(help_by).min());
        let (woken, effects) = self.pool.core().woken(self.id);
        self.pool.apply(effects);
        match woken {
            Woken::Plainly if in_time => Slept::Woken,
            Woken::Plainly => {
                timer::help();
                let over = deadline.is_some_and(|deadline| deadline <= Instant::now());
                if over { Slept::TimedOut } else { Slept::Woken }
            }
            Woken::ToRun(task) => {
                self.pool.run_inside(&self.me, task);
                Slept::Woken
            }
            Woken::Deadlock => Slept::Deadlock,
        }
    }

    /// Whether it would sleep for ever depends on other pools, too. All are looked at together, so that two who look at the same time refuse
    /// one wait and not two. The mutexes are taken in the order of their addresses.
    fn ask(&self, mut unknown: Vec<Arc<dyn Elsewhere>>) {
        let address = |pool: &Arc<dyn Elsewhere>| Arc::as_ptr(pool).addr();
        let own = Arc::clone(&self.pool) as Arc<dyn Elsewhere>;
        let first = address(&own);
        let mut pools = BTreeMap::from([(first, own)]);
        loop {
            pools.extend(unknown.into_iter().map(|pool| (address(&pool), pool)));
            let mut guards: Vec<(usize, Guard<'_, Core>)> =
                pools.iter().map(|(address, pool)| (*address, pool.core())).collect();
            // The one that asks is the first of the chart.
            guards.sort_by_key(|(address, _)| *address != first);
            let mut cores: Vec<(usize, &mut Core)> =
                guards.iter_mut().map(|(address, core)| (*address, &mut **core)).collect();
            let answer = refuse_across(&mut cores, self.id);
            drop(cores);
            drop(guards);
            match answer {
                Across::Live => return,
                Across::Ask(more) => unknown = more,
                // If it was another's, this one may have completed another circle as well.
                Across::Refused(waker) => {
                    guarded(move || waker.wake());
                    unknown = Vec::new();
                }
            }
        }
    }

    /// How many jobs are run inside others here.
    pub(crate) fn depth(&self) -> usize {
        with_current(&self.pool, |current| current.depth).unwrap_or(0)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.pool.is_forked() {
            return;
        }
        let (on, effects) = self.pool.core().forget(self.id);
        drop(on);
        self.pool.apply(effects);
    }
}

/// How a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slept {
    Woken,
    TimedOut,
    /// It would have lasted for ever.
    Deadlock,
}
