//! The timers of one pool: deadlines of jobs, and delayed calls. Timer threads exist only while there are timers.
//!
//! A job without a deadline takes no lock and makes no call here. User code that a timer runs (a waker, a `Drop`) delays no other timer.
//!
//! One thread at a time is on *watch*: it sleeps until the first timer is due. Before it runs a due timer, another thread takes over the
//! watch; afterwards it waits for a short time as a spare. Each pool has its own timers: a slow `Drop` in one pool does not delay another,
//! and an executor that is built in a forked child starts its own threads.
//!
//! If the system refuses a timer thread, the pool retries with exponential back-off. Meanwhile due timers are run by idle workers of the
//! pool, by every worker between two jobs, and by every thread that blocks in a wait of this crate.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::cancel::WeakToken;
use crate::cell::Task;
use crate::deadlines::{Deadlines, Dropped, Dues};
use crate::fork;
use crate::guard::guarded;
use crate::limits;

pub(crate) type Spawn = Box<dyn Fn(Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync>;
pub(crate) type Rouse = Box<dyn Fn() + Send + Sync>;
/// Ends a job whose time is over.
pub(crate) type Expire = Box<dyn Fn(&dyn Task, DeadlineOf, Option<WeakToken>) + Send + Sync>;

/// Which point of a job has the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeadlineOf {
    Start,
    End,
}

pub(crate) struct Timers {
    state: Mutex<State>,
    /// Counts timers whose owner is gone.
    dropped: Dropped,
    /// Notified when a timer becomes the first, for the thread on watch, and when the watch is free, for a spare.
    changed: Condvar,
    epoch: Instant,
    spawn: Spawn,
    /// Wakes an idle worker to run due timers, because no thread is on watch.
    rouse: Rouse,
    expire: Expire,
    /// The last request for a timer thread was refused.
    refused: AtomicBool,
    generation: u32,
}

struct State {
    /// By nanoseconds since the epoch.
    deadlines: Deadlines<Due>,
    threads: usize,
    /// A thread is on watch.
    watched: bool,
    /// When the thread on watch wakes by itself; `AWAKE` if it does not sleep.
    sleeps_until: u64,
    /// Threads that wait to take over the watch.
    spares: usize,
    /// After a refused thread: how long the system is left alone, and until when.
    pause: Duration,
    ask_at: Option<Instant>,
}

/// In `sleeps_until`: no deadline is before it.
const AWAKE: u64 = 0;

/// What a timer does. All references are weak, so dropping one frees memory but never runs user code.
enum Due {
    Job(Weak<dyn Task>, DeadlineOf, Option<WeakToken>),
    Call(Weak<Call>),
}

struct Call(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Dues for Due {
    fn is_dropped(&self) -> bool {
        match self {
            Due::Job(job, ..) => job.strong_count() == 0,
            Due::Call(call) => call.strong_count() == 0,
        }
    }
}

/// A delayed call; dropping this cancels it.
pub(crate) struct Timer {
    timers: Arc<Timers>,
    call: Option<Arc<Call>>,
}

impl Timers {
    pub(crate) fn new(spawn: Spawn, rouse: Rouse, expire: Expire) -> Arc<Self> {
        let state = State {
            deadlines: Deadlines::new(),
            threads: 0,
            watched: false,
            sleeps_until: AWAKE,
            spares: 0,
            pause: Duration::ZERO,
            ask_at: None,
        };
        Arc::new(Timers {
            state: Mutex::new(state),
            dropped: Dropped::new(),
            changed: Condvar::new(),
            epoch: Instant::now(),
            spawn,
            rouse,
            expire,
            refused: AtomicBool::new(false),
            generation: fork::generation(),
        })
    }

    /// Runs `action` after this time. `None` if the time overflows the clock, and in a forked child.
    pub(crate) fn after(
        self: &Arc<Self>,
        wait: Duration,
        action: impl FnOnce() + Send + 'static,
    ) -> Option<Timer> {
        let at = self.after_now(wait)?;
        let call = Arc::new(Call(Mutex::new(Some(Box::new(action)))));
        self.push(at, Due::Call(Arc::downgrade(&call)));
        Some(Timer { timers: Arc::clone(self), call: Some(call) })
    }

    /// Ends the job after this time, and cancels the token if the job is running then. Returns false if the time overflows the clock,
    /// and in a forked child. The owner of the job calls [`let_go`](Timers::let_go) once for each deadline.
    pub(crate) fn expire_after(
        self: &Arc<Self>,
        wait: Duration,
        job: Weak<dyn Task>,
        of: DeadlineOf,
        token: Option<WeakToken>,
    ) -> bool {
        let Some(at) = self.after_now(wait) else { return false };
        self.push(at, Due::Job(job, of, token));
        true
    }

    /// The owner of a timer is gone, or about to be: counts it, and removes such timers when there are many.
    pub(crate) fn let_go(&self) {
        if !self.is_forked() && self.dropped.add() {
            let mut state = self.lock();
            // Another may just have done it.
            if self.dropped.is_due() {
                state.deadlines.sweep(&self.dropped);
            }
        }
    }

    fn after_now(&self, wait: Duration) -> Option<u64> {
        if self.is_forked() {
            return None;
        }
        self.now().checked_add(u64::try_from(wait.as_nanos()).ok()?)
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn push(self: &Arc<Self>, at: u64, due: Due) {
        let mut state = self.lock();
        state.deadlines.push(at, due);
        if !state.watched {
            self.staff(state);
        } else if at < state.sleeps_until {
            self.changed.notify_all();
        }
    }

    /// Gets a thread on watch, if there is none and a timer is set.
    fn staff(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.watched || state.deadlines.is_empty() {
            return;
        }
        if state.spares > 0 {
            self.changed.notify_all();
        } else if state.ask_at.is_some_and(|at| Instant::now() < at) {
            // The new deadline may be the first.
            drop(state);
            (self.rouse)();
        } else if state.threads < limits::TIMER_THREADS_MAX {
            state.threads += 1;
            // Counted as on watch before it has started, so that no second one is started.
            state.watched = true;
            drop(state);
            let watch = Watch(Some(Arc::clone(self)));
            // A refusal drops the closure, and so the watch, which handles it.
            let _ = (self.spawn)(Box::new(move || watch.run()));
        }
    }

    /// The system has refused the thread that was counted as on watch.
    fn refused(self: &Arc<Self>) {
        let mut state = self.lock();
        state.threads -= 1;
        state.watched = false;
        state.pause = (state.pause * 2).clamp(limits::REFUSAL_PAUSE_MIN, limits::REFUSAL_PAUSE_MAX);
        state.ask_at = Some(Instant::now() + state.pause);
        drop(state);
        if !self.refused.swap(true, Ordering::SeqCst) {
            let me = Arc::downgrade(self);
            let mut all = unwatched();
            all.retain(|other| !other.ptr_eq(&me));
            all.push(me);
            drop(all);
            ANY_UNWATCHED.store(true, Ordering::SeqCst);
        }
        (self.rouse)();
    }

    fn set_watched(&self, state: &mut State) {
        state.watched = true;
        state.pause = Duration::ZERO;
        state.ask_at = None;
        self.refused.store(false, Ordering::SeqCst);
    }

    /// The main loop of a timer thread. It starts on watch.
    fn run(self: Arc<Self>) {
        let mut state = self.lock();
        self.set_watched(&mut state);
        loop {
            let now = self.now();
            if let Some(due) = state.deadlines.pop(now) {
                state.watched = false;
                self.staff(state);
                self.act(due);
                match self.come_back() {
                    Some(on_watch) => state = on_watch,
                    None => return,
                }
            } else if let Some(at) = state.deadlines.first() {
                let wait = Duration::from_nanos(at - now).min(limits::TIMER_SLEEP_MAX);
                let timed_out;
                (state, timed_out) = self.watch(state, now, wait);
                // Removing a timer does not wake this thread. And the timer of a job that was dropped while it ran cannot be removed
                // when it is counted, but only after the job has ended.
                if timed_out {
                    state.deadlines.sweep(&self.dropped);
                }
            } else {
                let (woken, timed_out) = self.watch(state, now, limits::TIMER_LINGER);
                state = woken;
                if timed_out && state.deadlines.is_empty() {
                    state.threads -= 1;
                    state.watched = false;
                    return;
                }
            }
        }
    }

    /// After a timer was run: takes the watch back if it is free or becomes free within the linger time. At most one thread waits so.
    fn come_back(&self) -> Option<MutexGuard<'_, State>> {
        let mut state = self.lock();
        let mut timed_out = false;
        while state.watched && state.spares == 0 && !timed_out {
            state.spares += 1;
            (state, timed_out) = self.sleep(state, limits::TIMER_LINGER);
            state.spares -= 1;
        }
        if state.watched {
            state.threads -= 1;
            return None;
        }
        self.set_watched(&mut state);
        Some(state)
    }

    fn watch<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        now: u64,
        wait: Duration,
    ) -> (MutexGuard<'a, State>, bool) {
        state.sleeps_until = now.saturating_add(wait.as_nanos() as u64);
        let (mut state, timed_out) = self.sleep(state, wait);
        state.sleeps_until = AWAKE;
        (state, timed_out)
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>, wait: Duration) -> (MutexGuard<'a, State>, bool) {
        let (state, waited) = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
        (state, waited.timed_out())
    }

    /// Runs a due timer. No lock is held.
    fn act(&self, due: Due) {
        guarded(move || match due {
            Due::Job(job, of, token) => {
                if let Some(job) = job.upgrade().filter(|job| !job.place().is_detached()) {
                    (self.expire)(&*job, of, token);
                }
            }
            Due::Call(call) => {
                let action = call.upgrade().and_then(|call| call.take());
                action.into_iter().for_each(|action| action());
            }
        });
    }

    /// If no thread is on watch: when the first timer is due, or the back-off ends, whichever is first.
    #[inline]
    pub(crate) fn help_by(&self) -> Option<Instant> {
        if self.refused.load(Ordering::SeqCst) { self.help_refused_by() } else { None }
    }

    #[cold]
    fn help_refused_by(&self) -> Option<Instant> {
        if self.is_forked() {
            return None;
        }
        let mut state = self.lock();
        let first = if state.watched { None } else { state.deadlines.first() };
        let first = self.epoch + Duration::from_nanos(first?);
        Some(state.ask_at.map_or(first, |ask_at| ask_at.min(first)))
    }

    /// Runs due timers on this thread if no thread is on watch, and retries to start one once the back-off has ended.
    #[inline]
    pub(crate) fn help(self: &Arc<Self>) {
        if self.refused.load(Ordering::SeqCst) {
            self.help_refused();
        }
    }

    #[cold]
    fn help_refused(self: &Arc<Self>) {
        if self.is_forked() {
            return;
        }
        let now = self.now();
        let mut state = self.lock();
        while !state.watched {
            let Some(due) = state.deadlines.pop(now) else { break };
            drop(state);
            self.act(due);
            state = self.lock();
        }
        if state.ask_at.is_none_or(|at| at <= Instant::now()) {
            self.staff(state);
        }
    }

    fn is_forked(&self) -> bool {
        fork::generation() != self.generation
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    fn take(&self) -> Option<Box<dyn FnOnce() + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A timer thread that is counted but has not started. Dropped without `run`, the thread was refused.
struct Watch(Option<Arc<Timers>>);

impl Watch {
    fn run(mut self) {
        if let Some(timers) = self.0.take() {
            timers.run();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(timers) = self.0.take() {
            timers.refused();
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // This drops the action, unless it is running.
        drop(self.call.take());
        self.timers.let_go();
    }
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timer").finish_non_exhaustive()
    }
}

/// The timers of all executors whose timer thread was refused.
static UNWATCHED: Mutex<Vec<Weak<Timers>>> = Mutex::new(Vec::new());
static ANY_UNWATCHED: AtomicBool = AtomicBool::new(false);

fn unwatched() -> MutexGuard<'static, Vec<Weak<Timers>>> {
    UNWATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first moment at which [`help`] has something to do: the deadline for any sleep of this crate.
pub(crate) fn wake_by() -> Option<Instant> {
    if !ANY_UNWATCHED.load(Ordering::SeqCst) {
        return None;
    }
    // Not `lock`: in a forked child the mutex may be held for ever by a thread of the parent.
    match UNWATCHED.try_lock() {
        Ok(all) => all.iter().filter_map(Weak::upgrade).filter_map(|timers| timers.help_by()).min(),
        Err(_) => Some(Instant::now() + limits::TIMER_CONTENDED),
    }
}

/// Runs due timers that have no timer thread.
pub(crate) fn help() {
    if !ANY_UNWATCHED.load(Ordering::SeqCst) {
        return;
    }
    let Ok(mut all) = UNWATCHED.try_lock() else { return };
    let refused = |timers: &Arc<Timers>| timers.refused.load(Ordering::SeqCst);
    let (kept, timers): (Vec<_>, Vec<_>) =
        all.iter().filter_map(|timers| Some((timers.clone(), timers.upgrade().filter(refused)?))).unzip();
    *all = kept;
    ANY_UNWATCHED.store(!timers.is_empty(), Ordering::SeqCst);
    drop(all);
    timers.iter().for_each(Timers::help);
}
