//! The main loop of a worker: it takes jobs, runs them, searches for more, sleeps. It starts no thread.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::Pool;
use super::current::with_current;
use crate::cell::{Ended, Ending, Place, Task};
use crate::core::{CameFrom, Done, Effects, Next, Tally};
use crate::guard::guarded;
use crate::sync::{self, local, thread};
use crate::view_id::ROOT;
use crate::worker::{Signal, Worker};

// A worker's next step, from the end of a job until its result is delivered. Apart from the rest, since every job comes by here.
local!(NEXT: Next);

impl Pool {
    pub(super) fn work(self: &Arc<Self>, me: &Arc<Worker>) {
        let mut tally = Tally::new();
        let mut next = self.next(me, CameFrom::Start, &mut tally);
        let mut now = self.now();
        loop {
            if self.timers.help_by().is_some_and(|at| at <= Instant::now()) {
                // Timers run user code.
                if let Next::Run(_) = next {
                    self.postpone(next);
                    self.timers.help();
                    next = self.next(me, CameFrom::Job, &mut tally);
                    now = self.now();
                } else {
                    self.timers.help();
                }
            }
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

    fn next(self: &Arc<Self>, me: &Arc<Worker>, mut from: CameFrom, tally: &mut Tally) -> Next {
        // Only once: a slow waiter for a place in the queue may be there again each time.
        let mut may_postpone = true;
        loop {
            let mut effects = Effects::default();
            let next = self.core().next(me, from, tally, &mut effects);
            let slow = may_postpone && effects.wake.iter().any(Self::may_take_long);
            let next = match next {
                Next::Run(_) if slow => {
                    self.postpone(next);
                    None
                }
                Next::Run(_) | Next::Search { .. } | Next::Park { .. } | Next::Exit => Some(next),
            };
            self.apply(effects);
            self.retry_if_due();
            match next {
                Some(next) => return next,
                None => (from, may_postpone) = (CameFrom::Job, false),
            }
        }
    }

    /// Something else takes long: another worker is to do what this one would have done next.
    fn postpone(self: &Arc<Self>, next: Next) {
        let effects = self.core().postpone(next);
        self.apply(effects);
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
    pub(super) fn run_inside(self: &Arc<Self>, me: &Arc<Worker>, task: Arc<dyn Task>) {
        let outer = with_current(self, |current| {
            current.depth += 1;
            (current.awaited.take(), current.polled.take())
        });
        let (now, mut tally) = (self.now(), Tally::new());
        let mut round =
            Round { pool: self, me, place: task.place(), started: now, tally: &mut tally, inside: true };
        round.begin();
        task.run(now, &mut round);
        guarded(move || drop(task));
        let (awaited, polled) = outer.expect("it is a worker that runs a job");
        let inner = with_current(self, |current| {
            current.depth -= 1;
            current.awaited = awaited;
            std::mem::replace(&mut current.polled, polled)
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
        if self.place.lane != ROOT || self.me.is_noting() {
            let polled = with_current(self.pool, |current| {
                if self.place.lane != ROOT {
                    current.lanes.pop();
                }
                current.polled.take()
            });
            self.me.set_noting(self.inside);
            if let Some(polled) = polled.flatten() {
                guarded(move || drop(polled));
            }
        }
        self.me.end(self.inside);
        let done = Done {
            how: end.how,
            waited: self.started.saturating_sub(end.submitted),
            ran: now.saturating_sub(self.started),
        };
        self.started = now;
        let mut effects = Effects::default();
        {
            let mut core = self.pool.core();
            core.finish(self.place, &done, self.tally, &mut effects.wake);
            if self.inside {
                core.add(self.tally);
                core.baton(&mut effects);
            } else {
                let next = core.next(self.me, CameFrom::Job, self.tally, &mut effects);
                NEXT.with(|slot| *slot.borrow_mut() = Some(next));
            }
        }
        if effects.wake.iter().any(Pool::may_take_long) {
            postpone_next(self.pool);
        }
        self.pool.apply(effects);
        now
    }

    fn waking(&mut self, waker: &Waker) {
        if Pool::may_take_long(waker) {
            postpone_next(self.pool);
        }
    }

    fn dropping(&mut self) {
        postpone_next(self.pool);
    }
}

fn take_next() -> Option<Next> {
    NEXT.try_with(|slot| slot.borrow_mut().take()).ok().flatten()
}

/// The delivery of a result takes long: another worker is to do what this one would have done next.
pub(super) fn postpone_next(pool: &Arc<Pool>) {
    if let Some(next) = take_next() {
        pool.postpone(next);
    }
}
