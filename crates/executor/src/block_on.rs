//! Waiting on a thread for a future, and what makes such a wait safe on a worker of the pool.
//!
//! Must never start a thread: it only tells the pool that one is asleep.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::pool::{self, Awaiting, Blocked, Pool};
use crate::sync::local;
use crate::worker::Sleeper;

/// Runs a future to its end on this thread.
///
/// Inside a job it is safe to wait for other jobs of the same executor: one that is still queued is run here and now, as a direct
/// call would be; while one runs elsewhere, another thread may stand in for this one.
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
    match drive(pin!(future), None, Wakers::Any) {
        Ok(output) => output,
        Err(Stop::TimedOut | Stop::Stuck) => unreachable!("neither a deadline nor a wait for jobs alone"),
    }
}

/// Why `drive` came back without the output.
pub(crate) enum Stop {
    TimedOut,
    /// The future waits for jobs of this worker's pool, and none of them can ever end.
    Stuck,
}

/// What can wake the future.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wakers {
    Any,
    /// Nothing but jobs of this pool.
    JobsOf(*const Pool),
}

pub(crate) fn drive<F: Future>(
    mut future: Pin<&mut F>,
    deadline: Option<Instant>,
    wakers: Wakers,
) -> Result<F::Output, Stop> {
    let sleeper = sleeper();
    let waker = Waker::from(Arc::clone(&sleeper));
    let mut cx = Context::from_waker(&waker);
    let noting = pool::current_pool().map(Noting::begin);
    let mut looked_twice = false;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            SLEEPER.with(|slot| *slot.borrow_mut() = Some(sleeper));
            return Ok(output);
        }
        match &noting {
            None => {
                // The first sleep is short, for a second look: in a forked child nobody will wake this thread.
                let second_look = Instant::now().checked_add(SECOND_LOOK).filter(|_| !looked_twice);
                if sleeper.sleep(second_look.into_iter().chain(deadline).min()) {
                    continue;
                }
                looked_twice = true;
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return Err(Stop::TimedOut);
                }
            }
            Some(noting) => sleep_on_worker(&noting.pool, &sleeper, deadline, wakers)?,
        }
    }
}

const SECOND_LOOK: Duration = Duration::from_millis(250);

/// Helps with what is awaited; then sleeps, with another thread as a stand-in if one is wanted.
fn sleep_on_worker(
    pool: &Arc<Pool>,
    sleeper: &Arc<Sleeper>,
    deadline: Option<Instant>,
    wakers: Wakers,
) -> Result<(), Stop> {
    // A job that is run here may take longer than a deadline allows.
    while deadline.is_none() && !sleeper.is_woken() {
        match pool::pop_awaited(pool) {
            Some(task) => pool.run_inline(&task),
            None => break,
        };
    }
    if sleeper.take_woken() {
        return Ok(());
    }
    let on_jobs = deadline.is_none() && wakers == Wakers::JobsOf(Arc::as_ptr(pool));
    let _blocked = Blocked::new(pool, on_jobs.then_some(sleeper));
    if !on_jobs {
        return if sleeper.sleep(deadline) { Ok(()) } else { Err(Stop::TimedOut) };
    }
    let mut pause = Duration::from_millis(5);
    let mut suspected = false;
    loop {
        if sleeper.sleep(Instant::now().checked_add(pause)) {
            return Ok(());
        }
        let stuck = pool.core().is_stuck();
        if stuck && suspected {
            return Err(Stop::Stuck);
        }
        suspected = stuck;
        pause = if stuck { pause } else { (pause * 2).min(Duration::from_secs(1)) };
    }
}

local!(SLEEPER: Arc<Sleeper>);

/// This thread's sleeper from the last time, unless an outer `block_on` uses it.
fn sleeper() -> Arc<Sleeper> {
    #[cfg(not(any(loom, shuttle)))]
    if let Some(sleeper) = SLEEPER.with(|slot| slot.borrow_mut().take()) {
        return sleeper;
    }
    Arc::new(Sleeper::new())
}

/// While it lives, unfinished jobs that are polled on this worker are noted.
struct Noting {
    pool: Arc<Pool>,
    outer: Option<Awaiting>,
}

impl Noting {
    fn begin(pool: Arc<Pool>) -> Self {
        let outer = pool::swap_awaited(&pool, Some(Awaiting::new()));
        Noting { pool, outer }
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        drop(pool::swap_awaited(&self.pool, self.outer.take()));
    }
}
