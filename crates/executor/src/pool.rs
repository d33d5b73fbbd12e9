//! The threads: the only file that starts any. A worker's life, and what the pool does once its lock is released.
//!
//! Must never run the user's code (a job, a waker, a hook, a `Drop`) while the lock is held.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::cell::{Place, Task};
use crate::core::{Bounds, Core, Done, Effects, Entry, From, Next, Tally};
use crate::error::{JobError, Panic, Rejected};
use crate::fork;
use crate::guard::guarded;
use crate::inbox::{Brought, Inbox};
use crate::lane::ROOT;
use crate::metrics::StillRunning;
use crate::sync::{self, AtomicUsize, Guard, Mutex, Ordering, local, thread};
use crate::worker::{Signal, Sleeper, Worker};

/// A thread that the pool wants; see [`Builder::spawn_thread`](crate::Builder::spawn_thread).
#[derive(Clone, Debug)]
pub struct NewThread {
    /// Its name.
    pub name: String,
    /// The size of its stack in bytes, if the builder was told one.
    pub stack_size: Option<usize>,
}

/// Jobs that a `block_on` has come upon, to be run where they are waited for.
pub(crate) type Awaiting = VecDeque<Arc<dyn Task>>;

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
    started: AtomicUsize,
    /// How many times running jobs were asked to stop.
    stops: AtomicUsize,
}

local!(CURRENT: Current);

/// What a worker's thread knows of itself.
struct Current {
    pool: Arc<Pool>,
    worker: Arc<Worker>,
    /// The views of the jobs that it is in the middle of.
    lanes: Vec<u32>,
    /// Unfinished jobs of this pool that the innermost `block_on` has come upon; none outside a `block_on`.
    awaited: Option<Awaiting>,
}

/// Starts a thread in the ordinary way.
pub(crate) fn spawn_std(new: NewThread, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let mut builder = thread::Builder::new().name(new.name);
    if let Some(bytes) = new.stack_size {
        builder = builder.stack_size(bytes);
    }
    builder.spawn(run).map(drop)
}

impl Pool {
    pub(crate) fn new(bounds: Bounds, queue_limit: usize, settings: Settings) -> Arc<Self> {
        fork::watch();
        let core = Core::new(bounds, queue_limit);
        Arc::new(Pool {
            inbox: Arc::clone(core.inbox()),
            core: Mutex::new(core),
            settings,
            epoch: Instant::now(),
            generation: fork::generation(),
            started: AtomicUsize::new(0),
            stops: AtomicUsize::new(0),
        })
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
        Ok(())
    }

    fn bring(&self, task: Arc<dyn Task>) -> Result<Brought, Rejected> {
        let mut state = self.inbox.lock();
        let brought = state.bring(task);
        self.inbox.tell(&state);
        brought
    }

    /// Takes a job back out of its queue, if it is still there, and drops its closure here and now.
    pub(crate) fn cancel(self: &Arc<Self>, place: &Place, why: JobError) -> bool {
        if self.is_forked() {
            return false;
        }
        let removed = self.core().remove(place);
        let Some((task, effects)) = removed else { return false };
        self.apply(effects);
        task.discard(why);
        guarded(move || drop(task));
        true
    }

    /// Does what the core has decided. The lock is not held.
    pub(crate) fn apply(self: &Arc<Self>, effects: Effects) {
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
        let start = Start(Some(Arc::clone(self)));
        (self.settings.spawn)(new, Box::new(move || start.run()))
    }

    /// Wakes workers and others that the core has named.
    pub(crate) fn notify(&self, workers: &[Arc<Worker>], wakers: Vec<Waker>) {
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
        let workers = self.core().stop(lane);
        let tokens: Vec<CancelToken> =
            workers.iter().filter_map(|worker| worker.token.lock().clone()).collect();
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
        let mut core = self.core();
        let mut workers = core.busy(lane);
        workers.retain(|worker| whom == Whom::All || !worker.is_ending());
        let running = workers.iter().map(|worker| {
            let (job, lane, since) = worker.running();
            let view = core.lane(lane).name.to_string();
            let running_for = Duration::from_nanos(now.saturating_sub(since));
            StillRunning { job, view, thread: worker.thread_name(), running_for }
        });
        running.collect()
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
        let mut next = self.next(me, From::Search, &mut tally);
        let mut now = self.now();
        loop {
            next = match next {
                Next::Run(task) => self.run(me, task, &mut now, &mut tally),
                Next::Search { alone } => {
                    if alone {
                        self.search();
                    }
                    let next = self.next(me, From::Search, &mut tally);
                    now = self.now();
                    next
                }
                Next::Park { reap } => {
                    let from = match me.sleep(reap.then_some(self.settings.keep_alive)) {
                        Some(Signal::Work) => From::Search,
                        Some(Signal::Close) => From::Close,
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

    fn next(self: &Arc<Self>, me: &Arc<Worker>, from: From, tally: &mut Tally) -> Next {
        let (next, effects) = self.core().next(me, from, tally);
        self.apply(effects);
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
        let started = *now;
        let mut next = None;
        self.within(me, &task, started, ROOT, |done| {
            let (then, effects, wakers) = {
                let mut core = self.core();
                let wakers = core.finish(&done, tally);
                let (then, effects) = core.next(me, From::Job, tally);
                (then, effects, wakers)
            };
            *now = started + done.ran;
            next = Some(then);
            self.apply(effects);
            self.notify(&[], wakers);
        });
        guarded(move || drop(task));
        next.expect("a job that was taken out of its queue runs")
    }

    /// Runs a job here and now, inside the job that waits for it, if it is still queued.
    pub(crate) fn run_inline(self: &Arc<Self>, task: &Arc<dyn Task>) -> bool {
        let Some((me, held)) =
            with_current(self, |current| (Arc::clone(&current.worker), current.lanes.clone()))
        else {
            return false;
        };
        let claimed = self.core().claim(task.place(), &held);
        let Some((task, until, effects)) = claimed else { return false };
        self.apply(effects);
        let awaited = with_current(self, |current| current.awaited.take()).flatten();
        self.within(&me, &task, self.now(), until, |done| {
            let mut tally = Tally::new();
            let (effects, wakers) = {
                let mut core = self.core();
                let wakers = core.finish(&done, &mut tally);
                core.add(&mut tally);
                (core.called(), wakers)
            };
            self.apply(effects);
            self.notify(&[], wakers);
        });
        with_current(self, |current| current.awaited = awaited);
        guarded(move || drop(task));
        true
    }

    /// Runs a job with everything set up so that others can see what runs here.
    fn within(
        &self,
        me: &Arc<Worker>,
        task: &Arc<dyn Task>,
        started: u64,
        until: u32,
        mut ended: impl FnMut(Done),
    ) {
        let lane = task.place().lane;
        let outer = me.set_running((task.place().id(), lane, started));
        if lane != ROOT {
            CURRENT.with(|current| {
                if let Some(current) = current.borrow_mut().as_mut() {
                    current.lanes.push(lane);
                }
            });
        }
        task.run(started, &mut |end| {
            let now = self.now();
            if let (Some(panic), Some(hook)) = (end.panic, &self.settings.on_panic) {
                guarded(|| hook(panic));
            }
            if lane != ROOT {
                CURRENT.with(|current| {
                    if let Some(current) = current.borrow_mut().as_mut() {
                        current.lanes.pop();
                    }
                });
            }
            me.set_running(outer);
            ended(Done {
                lane,
                until,
                panicked: end.panic.is_some(),
                waited: started.saturating_sub(end.submitted),
                ran: now.saturating_sub(started),
            });
            now
        });
    }

    /// Looks for work for a little while, without sleeping: a thread that sleeps costs its waker a system call.
    fn search(&self) {
        for step in 0..SEARCH_STEPS {
            if !self.inbox.seems_empty() {
                return;
            }
            if step < SPIN_STEPS { sync::relax() } else { thread::yield_now() }
        }
    }
}

#[cfg(not(any(loom, shuttle)))]
const SEARCH_STEPS: u32 = 40;
#[cfg(not(any(loom, shuttle)))]
const SPIN_STEPS: u32 = 32;
// The checkers try the other orders themselves.
#[cfg(any(loom, shuttle))]
const SEARCH_STEPS: u32 = 0;
#[cfg(any(loom, shuttle))]
const SPIN_STEPS: u32 = 0;

/// A thread that is counted and on its way. Whoever drops this without running it has refused the thread.
struct Start(Option<Arc<Pool>>);

impl Start {
    fn run(mut self) {
        let Some(pool) = self.0.take() else { return };
        let me = Arc::new(Worker::new());
        pool.core().workers.push(Arc::clone(&me));
        CURRENT.with(|current| {
            *current.borrow_mut() = Some(Current {
                pool: Arc::clone(&pool),
                worker: Arc::clone(&me),
                lanes: Vec::new(),
                awaited: None,
            });
        });
        if let Some(hook) = &pool.settings.on_thread_start {
            guarded(hook);
        }
        pool.work(&me);
        if let Some(hook) = &pool.settings.on_thread_stop {
            guarded(hook);
        }
        drop(CURRENT.with(|current| current.borrow_mut().take()));
        let wakers = pool.core().left(&me);
        pool.notify(&[], wakers);
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        let Some(pool) = self.0.take() else { return };
        let (tasks, effects) = pool.core().refused();
        pool.discard(tasks, || JobError::Rejected(Rejected::NoThread));
        pool.apply(effects);
    }
}

// What other files ask about the thread they are on.

fn with_current<T>(pool: &Arc<Pool>, f: impl FnOnce(&mut Current) -> T) -> Option<T> {
    CURRENT.with(|current| {
        let mut current = current.borrow_mut();
        current.as_mut().filter(|current| Arc::ptr_eq(&current.pool, pool) && !pool.is_forked()).map(f)
    })
}

/// Whether this thread is a worker of the pool.
pub(crate) fn is_worker(pool: &Arc<Pool>) -> bool {
    with_current(pool, |_| ()).is_some()
}

/// The lanes of the jobs of this pool that this thread is in the middle of; the root's stands for the thread.
pub(crate) fn current_lanes(pool: &Arc<Pool>) -> Vec<u32> {
    let lanes = with_current(pool, |current| [&[ROOT], current.lanes.as_slice()].concat());
    lanes.unwrap_or_default()
}

/// Runs a job's closure with its token where `CancelToken::current` and a shutdown find it.
pub(crate) fn with_token<R>(token: &CancelToken, closure: impl FnOnce(&CancelToken) -> R) -> R {
    struct Leave(Option<(Arc<Worker>, Option<CancelToken>)>);
    impl Drop for Leave {
        fn drop(&mut self) {
            if let Some((worker, outer)) = self.0.take() {
                *worker.token.lock() = outer;
            }
        }
    }
    let current = CURRENT.with(|current| {
        current.borrow().as_ref().map(|current| (Arc::clone(&current.pool), Arc::clone(&current.worker)))
    });
    let _leave = Leave(current.map(|(pool, worker)| {
        let outer = worker.token.lock().replace(token.clone());
        // Either the shutdown has seen the token, or this sees the shutdown.
        if pool.is_stopping(worker.running().1) {
            token.cancel();
        }
        (worker, outer)
    }));
    token.enter(closure)
}

/// The job of this worker, if it is one, waits for the end of its pool or of a view; or no longer.
pub(crate) fn set_ending(pool: &Arc<Pool>, ending: bool) {
    with_current(pool, |current| current.worker.set_ending(ending));
}

/// The pool whose worker this thread is.
pub(crate) fn current_pool() -> Option<Arc<Pool>> {
    let pool = CURRENT.with(|current| current.borrow().as_ref().map(|current| Arc::clone(&current.pool)));
    pool.filter(|pool| !pool.is_forked())
}

/// A future that this thread polls is waiting for a job. On a worker inside `block_on`, that job may be run here.
pub(crate) fn note_awaited(pool: &Arc<Pool>, task: impl FnOnce() -> Arc<dyn Task>) {
    with_current(pool, |current| {
        if let Some(awaited) = &mut current.awaited {
            awaited.push_back(task());
        }
    });
}

/// Whether this is a worker inside `block_on`.
pub(crate) fn is_noting() -> bool {
    CURRENT.with(|current| current.borrow().as_ref().is_some_and(|current| current.awaited.is_some()))
}

/// Begins or ends the noting of awaited jobs; gives back what was there before.
pub(crate) fn swap_awaited(pool: &Arc<Pool>, awaited: Option<Awaiting>) -> Option<Awaiting> {
    with_current(pool, |current| std::mem::replace(&mut current.awaited, awaited)).flatten()
}

/// The next awaited job that was noted.
pub(crate) fn pop_awaited(pool: &Arc<Pool>) -> Option<Arc<dyn Task>> {
    with_current(pool, |current| current.awaited.as_mut()?.pop_front()).flatten()
}

/// A worker whose job sleeps until another has ended: another thread may take its place meanwhile.
pub(crate) struct Blocked<'a> {
    pool: &'a Arc<Pool>,
    on_jobs: Option<&'a Arc<Sleeper>>,
}

impl<'a> Blocked<'a> {
    pub(crate) fn new(pool: &'a Arc<Pool>, on_jobs: Option<&'a Arc<Sleeper>>) -> Self {
        let effects = pool.core().block(on_jobs);
        pool.apply(effects);
        Blocked { pool, on_jobs }
    }
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        self.pool.core().unblock(self.on_jobs);
    }
}
