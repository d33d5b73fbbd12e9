//! The deadlines of one pool, and the threads that wait for them; there are such threads only while there are deadlines.
//!
//! Must never be on the way of a job that has no deadline, nor let what one deadline does (a waker, a `Drop`) delay another.
//!
//! One thread at a time, the *watch*, sleeps until the next deadline. Before it does what a deadline asks for, which runs the user's
//! code, another thread takes the watch over, and it comes back as a spare. A pool has its own deadlines, so a slow `Drop` in one is
//! nothing to another, and an executor that is built in a forked child has threads of its own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::fork;
use crate::guard::guarded;

type Key = (Instant, u64);
type Action = Box<dyn FnOnce() + Send>;
type Spawn = Box<dyn Fn(Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync>;

/// How long the last thread stays when there is nothing left to wait for: a thread costs less than this keeps it.
const LINGER: Duration = Duration::from_millis(100);
/// The longest sleep of the thread on watch.
const LOOK: Duration = Duration::from_secs(1);
/// At most so many threads: when what all but one of them do does not end, further deadlines are late.
const THREADS_MAX: usize = 16;

pub(crate) struct Timers {
    state: Mutex<State>,
    /// The first deadline has changed, for the watch; or the watch is free, for a spare.
    changed: Condvar,
    spawn: Spawn,
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
}

/// Something that will be done at its time, unless this is dropped before.
pub(crate) struct Timer {
    timers: Arc<Timers>,
    key: Key,
}

impl Timers {
    pub(crate) fn new(spawn: Spawn) -> Arc<Self> {
        let state = State {
            entries: BTreeMap::new(),
            next: 0,
            threads: 0,
            watched: false,
            sleeps_until: None,
            spares: 0,
        };
        Arc::new(Timers {
            state: Mutex::new(state),
            changed: Condvar::new(),
            spawn,
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

    /// Sees to it that somebody takes the watch, if there is anything to watch for.
    fn staff(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.watched || state.entries.is_empty() {
            return;
        }
        if state.spares > 0 {
            self.changed.notify_all();
        } else if state.threads < THREADS_MAX {
            state.threads += 1;
            // From here on the new thread is counted on.
            state.watched = true;
            drop(state);
            let timers = Arc::clone(self);
            if (self.spawn)(Box::new(move || timers.run())).is_err() {
                let mut state = self.lock();
                state.threads -= 1;
                state.watched = false;
                drop(state);
                // Those who wait on a thread of their own see to it meanwhile; the next deadline asks for a thread again.
                UNWATCHED.with(|unwatched| *unwatched.borrow_mut() = Some(Arc::downgrade(self)));
            }
        }
    }

    /// A thread's life. It begins on watch.
    fn run(self: Arc<Self>) {
        let mut state = self.lock();
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
                Some((&(at, _), _)) => state = self.watch(state, (at - now).min(LOOK)).0,
                None => {
                    let (woken, timed_out) = self.watch(state, LINGER);
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
            (state, timed_out) = self.sleep(state, LINGER);
            state.spares -= 1;
        }
        if state.watched {
            state.threads -= 1;
            return None;
        }
        state.watched = true;
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

    /// Does, on this thread, what is due; for want of a thread on watch.
    fn help(self: &Arc<Self>) {
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
        self.staff(state);
    }

    fn is_forked(&self) -> bool {
        fork::generation() != self.generation
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

std::thread_local! {
    /// Deadlines that this thread has set, and for which the system gave no thread.
    static UNWATCHED: RefCell<Option<Weak<Timers>>> = const { RefCell::new(None) };
}

fn unwatched() -> Option<Arc<Timers>> {
    UNWATCHED.try_with(|unwatched| unwatched.try_borrow().ok()?.as_ref()?.upgrade()).ok().flatten()
}

/// When this thread, if it sleeps now, must wake for a deadline that nobody else watches.
pub(crate) fn wake_by() -> Option<Instant> {
    let timers = unwatched().filter(|timers| !timers.is_forked())?;
    let state = timers.lock();
    if state.watched {
        return None;
    }
    state.entries.first_key_value().map(|((at, _), _)| *at)
}

/// Does what such a deadline asks for.
pub(crate) fn help() {
    if let Some(timers) = unwatched().filter(|timers| !timers.is_forked()) {
        timers.help();
    }
}
