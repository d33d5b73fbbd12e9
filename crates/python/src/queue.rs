//! The queue of an executor of Python, and the threads that wait for it. It is independent of the interpreter.
//!
//! The executor of Rust has a queue and workers of its own, and this is not a second one of the same kind: a worker of
//! Python keeps the interpreter's lock (GIL) from one task to the next, which saves two context switches for each short task,
//! and marks itself free before it releases the lock, so that the next thread that takes the lock finds it free. A worker
//! that is unaware of that lock can do neither.
//!
//! The order of events: a task is appended, then a free worker is woken, or a thread asked for if there are fewer than the
//! most. One worker at a time is on its way from being woken to its first task; with its task it wakes the next, if tasks
//! are left.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The queue of the executor itself; each view has one more.
pub(crate) const ROOT: usize = 0;

/// Tasks, lanes and workers.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Signalled when the queue has room.
    room: Condvar,
}

struct State<T> {
    /// What any worker may take, each with its lane.
    ready: VecDeque<(T, usize)>,
    lanes: Vec<Lane<T>>,
    /// Free workers; the one that became free last is woken first, so that the others can go.
    free: Vec<Arc<Sleeper>>,
    /// Workers that were woken, or asked for, and have not come for a task.
    coming: usize,
    workers: usize,
    workers_max: usize,
    waiting_max: usize,
    running: usize,
    closed: bool,
    counts: Counts,
}

/// A view: a limit, and the tasks that wait for it.
struct Lane<T> {
    limit: usize,
    /// Tasks that are ready or run.
    admitted: usize,
    waiting: VecDeque<T>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    submitted: u64,
    completed: u64,
    cancelled: u64,
}

/// A snapshot of a queue.
pub(crate) struct Stats {
    pub(crate) workers: usize,
    pub(crate) idle: usize,
    pub(crate) running: usize,
    pub(crate) queued: usize,
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
    pub(crate) cancelled: u64,
}

/// A worker that sleeps.
#[derive(Default)]
pub(crate) struct Sleeper {
    bell: Condvar,
    woken: AtomicBool,
}

/// What became of a task that was submitted.
pub(crate) enum Submitted {
    /// It waits, or a worker is on its way to it.
    Queued,
    /// The same, and a further thread is to be started.
    NeedsThread,
}

/// Why a task was not let in.
pub(crate) enum Refused<T> {
    /// The queue is full.
    Full(T),
    /// The executor is shut down.
    Closed(T),
}

/// What a worker does next.
pub(crate) enum Next<T> {
    /// It runs this task.
    Task(T, usize),
    /// It sleeps; it counts as free already.
    Sleep,
    /// It ends.
    End,
}

impl<T> Queue<T> {
    pub(crate) fn new(workers_max: usize, waiting_max: usize) -> Self {
        let root = Lane { limit: usize::MAX, admitted: 0, waiting: VecDeque::new() };
        let state = State {
            ready: VecDeque::new(),
            lanes: vec![root],
            free: Vec::new(),
            coming: 0,
            workers: 0,
            workers_max,
            waiting_max,
            running: 0,
            closed: false,
            counts: Counts::default(),
        };
        Self { state: Mutex::new(state), room: Condvar::new() }
    }

    /// No code panics while it holds the lock, so a poisoned value is consistent.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A further lane, with a limit of its own.
    pub(crate) fn add_lane(&self, limit: usize) -> usize {
        let mut state = self.lock();
        state.lanes.push(Lane { limit, admitted: 0, waiting: VecDeque::new() });
        state.lanes.len() - 1
    }

    /// Appends a task. `bounded`: only if there is a place for it.
    pub(crate) fn submit(&self, task: T, lane: usize, bounded: bool) -> Result<Submitted, Refused<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed(task));
        }
        if bounded && state.queued() >= state.waiting_max {
            return Err(Refused::Full(task));
        }
        state.counts.submitted += 1;
        state.append(task, lane);
        let sleeper = if state.coming == 0 { state.wake_one() } else { None };
        let is_short = state.ready.len() > state.free.len() + state.coming;
        let needs_thread = is_short && state.workers < state.workers_max;
        if needs_thread {
            state.workers += 1;
            state.coming += 1;
        }
        drop(state);
        sleeper.into_iter().for_each(|sleeper| sleeper.wake());
        Ok(if needs_thread { Submitted::NeedsThread } else { Submitted::Queued })
    }

    /// The thread that was asked for could not be started; true if no other will take the tasks.
    pub(crate) fn thread_refused(&self) -> bool {
        let mut state = self.lock();
        state.workers -= 1;
        state.coming -= 1;
        state.workers == 0
    }

    /// Takes back the task that was appended last.
    pub(crate) fn take_back(&self) -> Option<T> {
        let mut state = self.lock();
        let (task, lane) = state.ready.pop_back()?;
        state.lanes.get_mut(lane).expect("a task is of a lane").admitted -= 1;
        state.counts.submitted -= 1;
        Some(task)
    }

    /// Waits for a place in the queue; false if the time was over first.
    ///
    /// # Blocking
    ///
    /// For `time` at the most.
    pub(crate) fn wait_for_place(&self, time: Duration) -> bool {
        let full = |state: &mut State<T>| !state.closed && state.queued() >= state.waiting_max;
        let (state, _) =
            self.room.wait_timeout_while(self.lock(), time, full).unwrap_or_else(PoisonError::into_inner);
        state.closed || state.queued() < state.waiting_max
    }

    /// Waits until a view has no task; false if the time was over first.
    ///
    /// # Blocking
    ///
    /// For `time` at the most.
    pub(crate) fn wait_for_end(&self, lane: usize, time: Duration) -> bool {
        let busy = |state: &State<T>| state.lanes.get(lane).is_some_and(|lane| lane.admitted > 0);
        let state = self.lock();
        let waited = self.room.wait_timeout_while(state, time, |state| busy(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !busy(&state)
    }

    /// What a worker does next. `arrives`: it was woken or started. `done`: the lane of the task that it has run.
    pub(crate) fn next(&self, sleeper: &Arc<Sleeper>, arrives: bool, done: Option<usize>) -> Next<T> {
        let mut state = self.lock();
        if arrives {
            state.coming -= 1;
        }
        if let Some(lane) = done {
            state.running -= 1;
            state.counts.completed += 1;
            state.leave(lane);
            if lane != ROOT {
                self.room.notify_all();
            }
        }
        let Some((task, lane)) = state.ready.pop_front() else {
            if state.closed {
                state.workers -= 1;
                return Next::End;
            }
            sleeper.woken.store(false, Ordering::Relaxed);
            state.free.push(Arc::clone(sleeper));
            return Next::Sleep;
        };
        state.running += 1;
        let next = if state.ready.is_empty() || state.coming > 0 { None } else { state.wake_one() };
        let was_full = state.waiting_max != usize::MAX && state.queued() + 1 >= state.waiting_max;
        drop(state);
        next.into_iter().for_each(|sleeper| sleeper.wake());
        if was_full {
            self.room.notify_one();
        }
        Next::Task(task, lane)
    }

    /// Sleeps until woken; false if the worker is to end because it had nothing to do for so long.
    ///
    /// # Blocking
    ///
    /// For `time` at the most.
    pub(crate) fn sleep(&self, sleeper: &Arc<Sleeper>, time: Option<Duration>) -> bool {
        let until = time.and_then(|time| Instant::now().checked_add(time));
        let mut state = self.lock();
        while !sleeper.woken.load(Ordering::Relaxed) {
            let Some(until) = until else {
                state = sleeper.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.free.retain(|other| !Arc::ptr_eq(other, sleeper));
                state.workers -= 1;
                return false;
            }
            state = sleeper.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// A worker ends before its first task.
    pub(crate) fn worker_failed(&self) {
        let mut state = self.lock();
        state.coming -= 1;
        state.workers -= 1;
    }

    /// Lets nothing more in. What is queued still runs, unless it is taken out.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let mut woken = Vec::new();
        while let Some(sleeper) = state.wake_one() {
            woken.push(sleeper);
        }
        drop(state);
        woken.into_iter().for_each(|sleeper| sleeper.wake());
        self.room.notify_all();
    }

    /// Takes out all that is queued.
    pub(crate) fn drain(&self) -> Vec<T> {
        let mut state = self.lock();
        let mut tasks = Vec::new();
        while let Some((task, lane)) = state.ready.pop_front() {
            tasks.push(task);
            state.leave(lane);
        }
        state.counts.cancelled += tasks.len() as u64;
        drop(state);
        self.room.notify_all();
        tasks
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = self.lock();
        let Counts { submitted, completed, cancelled } = state.counts;
        Stats {
            workers: state.workers,
            idle: state.free.len(),
            running: state.running,
            queued: state.queued(),
            submitted,
            completed,
            cancelled,
        }
    }
}

impl<T> State<T> {
    fn queued(&self) -> usize {
        self.ready.len() + self.lanes.iter().map(|lane| lane.waiting.len()).sum::<usize>()
    }

    fn append(&mut self, task: T, number: usize) {
        let lane = self.lanes.get_mut(number).expect("a task is of a lane");
        if lane.admitted < lane.limit {
            lane.admitted += 1;
            self.ready.push_back((task, number));
        } else {
            lane.waiting.push_back(task);
        }
    }

    /// A task of a lane is over: the next takes its place.
    fn leave(&mut self, number: usize) {
        let lane = self.lanes.get_mut(number).expect("a task is of a lane");
        match lane.waiting.pop_front() {
            Some(task) => self.ready.push_back((task, number)),
            None => lane.admitted -= 1,
        }
    }

    /// Takes a worker off the free ones. It is to be woken when the lock is released.
    fn wake_one(&mut self) -> Option<Arc<Sleeper>> {
        let sleeper = self.free.pop()?;
        sleeper.woken.store(true, Ordering::Relaxed);
        self.coming += 1;
        Some(sleeper)
    }
}

impl Sleeper {
    fn wake(&self) {
        self.bell.notify_one();
    }
}
