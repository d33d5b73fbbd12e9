//! The pool: the calls on an executor, and the effects that are carried out once the lock of the core is released. Threads are started in
//! `threads`, the main loop of a worker is in `work`, a job that waits in `waiting`.
//!
//! User code (a job, a waker, a hook, a `Drop`) never runs while the lock is held.

mod waiting;
mod threads;
mod work;
mod notes;
mod current;
mod awaiting;

use std::io;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

pub(crate) use awaiting::{Awaiting, Noted};
pub(crate) use current::{current_job, current_pool, is_within, is_worker, with_token};
pub(crate) use notes::{
    forget, is_own, let_go, note_awaited, note_beside, restore_awaited, set_dead, swap_awaited, take_awaited,
};
pub(crate) use threads::spawn_std;
use threads::{Refusal, timer_thread_of};
pub(crate) use waiting::{Slept, Waiting};

use crate::cancel::WeakToken;
use crate::cell::{Place, Position, Task};
use crate::core::{Bounds, Core, Effects, Elsewhere, Entry};
use crate::error::{JobError, Panic, Rejected};
use crate::fork;
use crate::guard::guarded;
use crate::inbox::{Brought, Inbox};
use crate::metrics::StillRunning;
use crate::sync::{self, AtomicBool, AtomicUsize, Guard, Mutex, Ordering};
use crate::timer::{self, DeadlineOf, Timers};
use crate::view_id::{ROOT, ViewId};
use crate::worker::{Sleeper, Worker};

/// A thread that the pool wants; see [`Builder::spawn_thread`](crate::Builder::spawn_thread).
#[derive(Clone, Debug)]
pub struct NewThread {
    /// Its name.
    pub name: String,
    /// The size of its stack in bytes, if the builder set one.
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

impl Elsewhere for Pool {
    fn core(&self) -> Guard<'_, Core> {
        self.core.lock()
    }

    fn carry_out(self: Arc<Self>, effects: Effects) {
        self.apply(effects);
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
            refusal: Mutex::new(Refusal::none()),
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

    /// Admits a job, or returns why it is refused.
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
        if effects.is_empty() {
            // Its drop glue is not inlined.
            std::mem::forget(effects);
        } else {
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

    /// Whether to wake this may take any time: those of this crate's own waits only wake a thread, others are user code.
    fn may_take_long(waker: &Waker) -> bool {
        !Sleeper::is_of_one(waker)
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

    /// Asks the running jobs of a lane to stop; returns how many were asked.
    pub(crate) fn stop_running(&self, lane: ViewId) -> usize {
        self.stops.fetch_add(1, Ordering::SeqCst);
        let tokens = self.core().stop(lane);
        for token in &tokens {
            token.cancel();
        }
        tokens.len()
    }

    /// Whether a job of the lane that is just starting is to stop.
    fn is_stopping(&self, lane: ViewId) -> bool {
        self.stops.load(Ordering::SeqCst) > 0 && self.core().is_stopping(lane)
    }

    /// What runs in a lane.
    pub(crate) fn running(&self, lane: ViewId, whom: Whom) -> Vec<StillRunning> {
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

    /// A unique number for a waiter for an end.
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
}
