//! Starts threads: the only file that does. It retries refused ones with back-off, and has the first and the last instruction of a
//! worker's thread. The core decides whether a thread is started.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::current::Current;
use super::{NewThread, Pool};
use crate::error::{JobError, Panic, Rejected};
use crate::guard::guarded;
use crate::limits;
use crate::sync::{Mutex, Ordering, thread};
use crate::timer::{self, Timer};
use crate::trace;
use crate::worker::Worker;

/// The exponential back-off after a refused thread.
pub(super) struct Refusal {
    pause: Duration,
    until: Instant,
    timer: Option<Timer>,
}

impl Refusal {
    pub(super) fn none() -> Self {
        Refusal { pause: Duration::ZERO, until: Instant::now(), timer: None }
    }
}

/// Starts a thread in the ordinary way.
pub(crate) fn spawn_std(new: NewThread, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let mut builder = thread::Builder::new().name(new.name);
    if let Some(bytes) = new.stack_size {
        builder = builder.stack_size(bytes);
    }
    builder.spawn(run).map(drop)
}

/// Starts a thread for deadlines: in the ordinary way, because a spawner may refuse threads; if the system refuses that, as a worker's.
pub(super) fn timer_thread_of(pool: Weak<Pool>) -> timer::Spawn {
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

impl Pool {
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

    /// After a refused thread: sets when the next one is requested.
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
    pub(super) fn retry_if_due(self: &Arc<Self>) {
        if self.held_off.load(Ordering::Relaxed) && self.refusal.lock().until <= Instant::now() {
            self.retry();
        }
    }

    fn retry(self: &Arc<Self>) {
        self.held_off.store(false, Ordering::Relaxed);
        let effects = self.core().retry();
        self.apply(effects);
    }
}

/// A thread that is counted and is to be started. Dropping this without running it reports the thread as refused.
struct Start {
    pool: Option<Arc<Pool>>,
    number: u32,
}

impl Start {
    fn run(mut self) {
        let Some(pool) = self.pool.take() else { return };
        let me = Arc::new(Worker::new(self.number));
        Current::enter(&pool, &me);
        pool.refusal.lock().pause = Duration::ZERO;
        let effects = pool.core().arrived(&me);
        pool.apply(effects);
        trace::thread_started(|| me.thread_name());
        if let Some(hook) = &pool.settings.on_thread_start {
            guarded(hook);
        }
        pool.work(&me);
        Current::set_leaving();
        if let Some(hook) = &pool.settings.on_thread_stop {
            guarded(hook);
        }
        trace::thread_ended(|| me.thread_name());
        // Otherwise the thread's end does it, after the destructors of all its other values.
        #[cfg(any(loom, shuttle))]
        Current::leave();
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
