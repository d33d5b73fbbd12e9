//! The deadlines of one pool, and the threads that wait for them; there are such threads only while there are deadlines.
//!
//! Must never be on the way of a job that has no deadline, nor let what one deadline does (a waker, a `Drop`) delay another.
//!
//! One thread at a time, the *watch*, sleeps until the next deadline. Before it does what a deadline asks for, which runs the user's
//! code, another thread takes the watch over, and it comes back as a spare. A pool has its own deadlines, so a slow `Drop` in one is
//! nothing to another, and an executor that is built in a forked child has threads of its own.
//!
//! When the system refuses the watch its thread, it is asked again with exponential back-off. Meanwhile an idle worker of the pool, every
//! worker between two jobs, and every thread that blocks in a wait of this crate, for whatever job, do what is due.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::fork;
use crate::guard::guarded;
use crate::limits;

type Key = (Instant, u64);
type Action = Box<dyn FnOnce() + Send>;
pub(crate) type Spawn = Box<dyn Fn(Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync>;
pub(crate) type Rouse = Box<dyn Fn() + Send + Sync>;

pub(crate) struct Timers {
    state: Mutex<State>,
    /// The first deadline has changed, for the watch; or the watch is free, for a spare.
    changed: Condvar,
    spawn: Spawn,
    /// Makes an idle worker of the pool look at the deadlines, because no thread watches them.
    rouse: Rouse,
    /// The system has refused the watch its thread.
    refused: AtomicBool,
    generation: u32,
}

struct State {
    entries: BTreeMap<Key, Action>,
    next: u64,
    threads: usize,
    /// A thread is on watch.
    watched: bool,
    /// When the thread on watch wakes by itself.
    sleeps_until: Option<Instant>,
    /// Threads that wait to take over the watch.
    spares: usize,
    /// After a refused thread: how long the system is left alone, and until when.
    pause: Duration,
    ask_at: Option<Instant>,
}

/// Something that will be done at its time, unless this is dropped before.
pub(crate) struct Timer {
    timers: Arc<Timers>,
    key: Key,
}

impl Timers {
    pub(crate) fn new(spawn: Spawn, rouse: Rouse) -> Arc<Self> {
        let state = State {
            entries: BTreeMap::new(),
            next: 0,
            threads: 0,
            watched: false,
            sleeps_until: None,
            spares: 0,
            pause: Duration::ZERO,
            ask_at: None,
        };
        Arc::new(Timers {
            state: Mutex::new(state),
            changed: Condvar::new(),
            spawn,
            rouse,
            refused: AtomicBool::new(false),
            generation: fork::generation(),
        })
    }

    /// Does `action` after this time. `None` for a time so far off that it never comes, and in a forked child.
    pub(crate) fn after(
        self: &Arc<Self>,
        wait: Duration,
        action: impl FnOnce() + Send + 'static,
    ) -> Option<Timer> {
        let at = Instant::now().checked_add(wait).filter(|_| !self.is_forked())?;
        let action = Box::new(action);
        let mut state = self.lock();
        let key = (at, state.next);
        state.next += 1;
        state.entries.insert(key, action);
        if !state.watched {
            self.staff(state);
        } else if state.sleeps_until.is_some_and(|until| at < until) {
            self.changed.notify_all();
        }
        Some(Timer { timers: Arc::clone(self), key })
    }

    /// Sees to it that a thread takes the watch, if there is anything to watch for.
    fn staff(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.watched || state.entries.is_empty() {
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
            // From here on the new thread is counted on.
            state.watched = true;
            drop(state);
            let watch = Watch(Some(Arc::clone(self)));
            // Refusal is dealt with where the watch is dropped.
            let _ = (self.spawn)(Box::new(move || watch.run()));
        }
    }

    /// The thread that was counted on does not come.
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

    /// There is a thread on watch.
    fn is_watched_now(&self, state: &mut State) {
        state.watched = true;
        state.pause = Duration::ZERO;
        state.ask_at = None;
        self.refused.store(false, Ordering::SeqCst);
    }

    /// A thread's life. It begins on watch.
    fn run(self: Arc<Self>) {
        let mut state = self.lock();
        self.is_watched_now(&mut state);
        loop {
            let now = Instant::now();
            match state.entries.first_key_value() {
                Some((&(at, _), _)) if at <= now => {
                    let action = state.entries.pop_first().map(|(_, action)| action);
                    state.watched = false;
                    self.staff(state);
                    action.into_iter().for_each(guarded);
                    match self.come_back() {
                        Some(on_watch) => state = on_watch,
                        None => return,
                    }
                }
                // It looks now and then, because a deadline that is taken back wakes nobody.
                Some((&(at, _), _)) => state = self.watch(state, (at - now).min(limits::TIMER_SLEEP_MAX)).0,
                None => {
                    let (woken, timed_out) = self.watch(state, limits::TIMER_LINGER);
                    state = woken;
                    if timed_out && state.entries.is_empty() {
                        state.threads -= 1;
                        state.watched = false;
                        return;
                    }
                }
            }
        }
    }

    /// A thread that was off watch: takes it over if it is free, or becomes free within a moment. One spare is enough.
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
        self.is_watched_now(&mut state);
        Some(state)
    }

    fn watch<'a>(&self, mut state: MutexGuard<'a, State>, wait: Duration) -> (MutexGuard<'a, State>, bool) {
        state.sleeps_until = Instant::now().checked_add(wait);
        let (mut state, timed_out) = self.sleep(state, wait);
        state.sleeps_until = None;
        (state, timed_out)
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>, wait: Duration) -> (MutexGuard<'a, State>, bool) {
        let (state, waited) = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
        (state, waited.timed_out())
    }

    /// When the next deadline is due that no thread watches, or the system can be asked for a thread again.
    pub(crate) fn help_by(&self) -> Option<Instant> {
        if !self.refused.load(Ordering::SeqCst) || self.is_forked() {
            return None;
        }
        let state = self.lock();
        let first = state.entries.first_key_value().map(|((at, _), _)| *at).filter(|_| !state.watched)?;
        Some(state.ask_at.map_or(first, |ask_at| ask_at.min(first)))
    }

    /// Does, on this thread, what is due, for want of a thread on watch; and asks for one again when it is time.
    pub(crate) fn help(self: &Arc<Self>) {
        if !self.refused.load(Ordering::SeqCst) || self.is_forked() {
            return;
        }
        let now = Instant::now();
        let mut state = self.lock();
        while !state.watched && state.entries.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
            let action = state.entries.pop_first();
            drop(state);
            if let Some((_, action)) = action {
                guarded(action);
            }
            state = self.lock();
        }
        if state.ask_at.is_none_or(|at| at <= now) {
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

/// A thread that is counted and on its way. To drop this without running it is to refuse the thread.
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
        if !self.timers.is_forked() {
            let action = self.timers.lock().entries.remove(&self.key);
            drop(action);
        }
    }
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timer").field("at", &self.key.0).finish_non_exhaustive()
    }
}

/// The deadlines of all executors for which the system gave no thread.
static UNWATCHED: Mutex<Vec<Weak<Timers>>> = Mutex::new(Vec::new());
static ANY_UNWATCHED: AtomicBool = AtomicBool::new(false);

fn unwatched() -> MutexGuard<'static, Vec<Weak<Timers>>> {
    UNWATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When this thread, if it sleeps now, must wake for deadlines that no thread watches.
pub(crate) fn wake_by() -> Option<Instant> {
    if !ANY_UNWATCHED.load(Ordering::SeqCst) {
        return None;
    }
    // In a forked child a thread of the parent may hold the lock for ever.
    match UNWATCHED.try_lock() {
        Ok(all) => all.iter().filter_map(Weak::upgrade).filter_map(|timers| timers.help_by()).min(),
        Err(_) => Some(Instant::now() + limits::TIMER_CONTENDED),
    }
}

/// Does what such deadlines ask for.
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
