//! Waiting on a thread for a future, and what makes such a wait safe on a worker of the pool.
//!
//! It starts no thread: it only reports to the pool that this one sleeps.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::core::{Beside, On, Polled, Refusal, Runs, Unit};
use crate::fork;
use crate::limits;
use crate::pool::{self, Awaiting, Noted, Pool, Slept, Waiting};
use crate::sync::local;
use crate::timer;
use crate::worker::Sleeper;

/// Runs a future to its end on this thread.
///
/// Inside a job it is safe to wait for other jobs of the same executor: while this thread sleeps, another takes its place, up to
/// [`stand_in_workers`](crate::Builder::stand_in_workers) of them. No job is ever run inside the future: it may hold anything. If the
/// future waits for jobs alone, and these could never end, each of them gives
/// [`JobError::WouldDeadlock`](crate::JobError::WouldDeadlock); a future that something else can wake, too (a channel, a timer, a combinator
/// with wakers of its own), or that polls more than 64 jobs one by one, is not looked into. Places in views are lent to what it has polled in
/// any case.
///
/// A combinator with wakers of its own, as `FuturesUnordered`, hides what else it waits for. If no thread is left for the jobs that it has
/// polled, because all of the executor's sleep in such waits or in waits for jobs, and no other may be started, then one after the other
/// gives `WouldDeadlock`; also when something inside the combinator would have come in the end.
///
/// ```
/// use overlapped::{Executor, block_on};
///
/// let executor = Executor::builder().max_workers(1).build()?;
/// let inner = executor.clone();
/// let job = executor.submit(move || block_on(inner.submit(|| 20)).map(|n| n + 1));
/// assert_eq!(block_on(job).unwrap().unwrap(), 21);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Blocking
///
/// The thread sleeps until the future is ready. Do not call it on a thread of an async runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    match drive(pin!(future), None, Awaits::Unknown) {
        Ok(output) => output,
        Err(Stop::TimedOut | Stop::Deadlock) => unreachable!("neither a deadline nor a wait for jobs alone"),
    }
}

/// Why `drive` came back without the output.
pub(crate) enum Stop {
    TimedOut,
    /// The future waits for jobs of this worker's pool, and they can never end.
    Deadlock,
}

/// What the future waits for.
pub(crate) enum Awaits<'a> {
    /// It shows when it is polled, or never.
    Unknown,
    /// These jobs and nothing else, as they are seen from this pool, whose worker waits; what becomes of a wait that would never end.
    Jobs { unit: &'a dyn Fn(&Arc<Pool>) -> Arc<Unit>, refusal: Refusal },
}

pub(crate) fn drive<F: Future>(
    mut future: Pin<&mut F>,
    deadline: Option<Instant>,
    awaits: Awaits<'_>,
) -> Result<F::Output, Stop> {
    let sleeper = sleeper();
    let waker = sleeper.waker();
    let mut cx = Context::from_waker(&waker);
    let mut on_worker = pool::current_pool().map(|pool| OnWorker::begin(pool, &waker, &awaits));
    loop {
        let generation = fork::generation();
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            let _ = SLEEPER.try_with(|slot| *slot.borrow_mut() = Some(sleeper));
            return Ok(output);
        }
        if fork::generation() != generation {
            // The future has forked, and this is the child: jobs that it polled before the fork wake no thread here, and give `Forked`.
            on_worker = None;
            continue;
        }
        match &mut on_worker {
            None => {
                let wake_by = deadline.into_iter().chain(timer::wake_by()).min();
                if sleeper.sleep(wake_by) {
                    continue;
                }
                timer::help();
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return Err(Stop::TimedOut);
                }
            }
            Some(worker) => worker.sleep(&sleeper, deadline, &awaits)?,
        }
    }
}

/// A wait on a worker.
struct OnWorker {
    pool: Arc<Pool>,
    outer: Option<Awaiting>,
    /// Registered when it first sleeps.
    waiting: Option<Waiting>,
}

impl OnWorker {
    fn begin(pool: Arc<Pool>, waker: &Waker, awaits: &Awaits<'_>) -> Self {
        let noted = match awaits {
            Awaits::Unknown => Some(waker),
            Awaits::Jobs { .. } => None,
        };
        OnWorker { outer: pool::swap_awaited(&pool, noted), pool, waiting: None }
    }

    fn sleep(
        &mut self,
        sleeper: &Arc<Sleeper>,
        deadline: Option<Instant>,
        awaits: &Awaits<'_>,
    ) -> Result<(), Stop> {
        if sleeper.take_woken() {
            drop(pool::take_awaited(&self.pool));
            return Ok(());
        }
        if self.waiting.is_none() {
            self.waiting = Waiting::begin(&self.pool, sleeper);
        }
        let waiting = self.waiting.as_ref().expect("this thread is a worker");
        let on = match awaits {
            Awaits::Unknown => self.noted(sleeper, deadline),
            Awaits::Jobs { unit, refusal } => {
                let may_run = deadline.is_none() && waiting.depth() < limits::RUN_INSIDE_MAX;
                On {
                    units: vec![unit(&self.pool)],
                    beside: if deadline.is_some() { Beside::Something } else { Beside::Nothing },
                    polled: None,
                    runs: if may_run { Runs::Awaited } else { Runs::Nothing },
                    refusal: *refusal,
                }
            }
        };
        let told = if on.beside == Beside::Nothing { on.units.clone() } else { Vec::new() };
        match waiting.sleep(sleeper, on, deadline) {
            Slept::Woken => Ok(()),
            Slept::TimedOut => Err(Stop::TimedOut),
            Slept::Deadlock if matches!(awaits, Awaits::Unknown) => {
                pool::set_dead(&self.pool, told);
                Ok(())
            }
            Slept::Deadlock => Err(Stop::Deadlock),
        }
    }

    /// What the last poll waits for, and whether nothing else can wake this thread: every holder of its waker is known.
    fn noted(&self, sleeper: &Arc<Sleeper>, deadline: Option<Instant>) -> On {
        // The sleeper itself, the waker, the copy by which units are known, and the registered wait.
        const OWN: usize = 4;
        // A combinator that gives each job a waker of its own keeps one copy.
        const COMBINATOR: usize = 1;
        let Noted { mut units, copies, all, polled } = pool::take_awaited(&self.pool);
        let held = Arc::strong_count(sleeper);
        let beside = if deadline.is_some() {
            Beside::Something
        } else if all && !units.is_empty() && held == OWN + copies {
            Beside::Nothing
        } else if held <= OWN + copies + COMBINATOR
            && polled.as_ref().is_some_and(|polled| !polled.is_empty())
        {
            Beside::Wakers
        } else {
            Beside::Something
        };
        // Also of a job that has no place itself: a place that it waits for may be one of those that wait for it.
        let may_be_lent = |_: &&Arc<Polled>| beside != Beside::Nothing && self.pool.core().has_views();
        if let Some(polled) = polled.as_ref().filter(may_be_lent) {
            drop(polled.sweep());
            units.extend(polled.units());
        }
        let polled = polled.filter(|_| beside == Beside::Wakers);
        On { units, beside, polled, runs: Runs::Nothing, refusal: Refusal::Error }
    }
}

impl Drop for OnWorker {
    fn drop(&mut self) {
        pool::restore_awaited(&self.pool, self.outer.take());
    }
}

local!(SLEEPER: Arc<Sleeper>);

/// This thread's sleeper from the last call, unless an outer `block_on` uses it or a copy of its waker is left.
fn sleeper() -> Arc<Sleeper> {
    #[cfg(not(any(loom, shuttle)))]
    if let Ok(Some(sleeper)) = SLEEPER.try_with(|slot| slot.borrow_mut().take())
        && Arc::strong_count(&sleeper) == 1
    {
        return sleeper;
    }
    Arc::new(Sleeper::new())
}
