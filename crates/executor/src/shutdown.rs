//! The end of an executor, or of a view: three ways to come to it, with or without a time limit, and a report.
//!
//! A shutdown that is called in a job does not wait for that job.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::block_on::{Awaits, Stop, drive};
use crate::core::{Elsewhere, Refusal, Unit};
use crate::error::JobError;
use crate::executor::Executor;
use crate::metrics::StillRunning;
use crate::pool::{self, Pool, Whom};
use crate::timer::Timer;
use crate::worker::Worker;

/// What becomes of the jobs when an executor is shut down. In each case, no new ones are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Queued jobs still run.
    Drain,
    /// Queued jobs are cancelled; running ones are waited for.
    CancelQueued,
    /// Queued jobs are cancelled; running ones are asked to stop, through their tokens.
    CancelAll,
}

/// The result of a shutdown.
#[derive(Clone, Debug)]
pub struct Report {
    /// Queued jobs that were cancelled.
    pub cancelled: usize,
    /// Running jobs whose token was cancelled.
    pub asked_to_stop: usize,
    /// Jobs that were still running when the wait ended. Jobs that cannot end before it, such as the one that waits, are not among them.
    pub still_running: Vec<StillRunning>,
    /// Jobs that were still queued when the wait ended.
    pub still_queued: usize,
}

impl Report {
    /// True if no job is left.
    pub fn is_complete(&self) -> bool {
        self.still_running.is_empty() && self.still_queued == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { cancelled, asked_to_stop, still_running, still_queued } = self;
        let state = if self.is_complete() { "complete" } else { "not complete" };
        write!(f, "the shutdown is {state} ({cancelled} jobs cancelled, {asked_to_stop} asked to stop)")?;
        if !self.is_complete() {
            write!(f, ": {} still running, {still_queued} still queued", still_running.len())?;
        }
        still_running.iter().try_for_each(|job| write!(f, "\n- {job}"))
    }
}

impl Executor {
    /// Shuts the executor down; on a view, the view alone. Resolves when the last job has ended and, but for a view, the last thread
    /// is gone; [`within`](ShuttingDown::within) sets a time after which it resolves anyway.
    ///
    /// The shutdown begins with this call, not with the first poll. It may be called from anywhere, and more than once.
    ///
    /// # In jobs
    ///
    /// A job may wait for the end of its own executor, or of the view that it belongs to. A job cannot wait for its own end, so it is not
    /// waited for; nor are jobs that wait for it, or that wait for the end of another view which it is in. All others are. While the job
    /// sleeps, another thread takes its place, and its places in views go to the jobs that are queued there. If no thread can come,
    /// [`shutdown_blocking`](Executor::shutdown_blocking) without a time limit runs what is queued inside the wait; any other wait ends with
    /// a report of what is left, which runs after the job that waited: at once if nothing else can wake it
    /// (see [`block_on`](crate::block_on())), otherwise at its time limit. The same becomes of a wait in a circle.
    ///
    /// ```
    /// use std::time::Duration;
    /// use overlapped::{Executor, Shutdown, block_on};
    ///
    /// let executor = Executor::builder().max_workers(2).build()?;
    /// let job = executor.submit(|| "done");
    /// let report = block_on(executor.shutdown(Shutdown::Drain).within(Duration::from_secs(5)));
    /// assert!(report.is_complete());
    /// assert_eq!(job.wait().unwrap(), "done");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> ShuttingDown {
        let (pool, lane) = (self.pool(), self.lane());
        let mut report =
            Report { cancelled: 0, asked_to_stop: 0, still_running: Vec::new(), still_queued: 0 };
        if pool.is_forked() {
            return ShuttingDown::of(self, report);
        }
        let (workers, wakers) = pool.core().close(lane);
        pool.notify(&workers, wakers);
        if how != Shutdown::Drain {
            let (tasks, wakers) = pool.core().cancel_queued(lane);
            report.cancelled = tasks.len();
            pool.discard(tasks, || JobError::Cancelled);
            pool.notify(&[], wakers);
        }
        if how == Shutdown::CancelAll {
            report.asked_to_stop = pool.stop_running(lane);
        }
        ShuttingDown::of(self, report)
    }

    /// As [`shutdown`](Executor::shutdown), on this thread.
    ///
    /// # Blocking
    ///
    /// Until the last job has ended, or for `timeout`; in a job of a view, until a place that was lent to another job of it has come back: see
    /// [`limited`](Executor::limited).
    pub fn shutdown_blocking(&self, how: Shutdown, timeout: Option<Duration>) -> Report {
        let mut end = self.shutdown(how);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let over = Arc::clone(&end.over);
        let unit = |own: &_| self.end_unit(&over, own);
        match drive(Pin::new(&mut end), deadline, Awaits::Jobs { unit: &unit, refusal: Refusal::Error }) {
            Ok(report) => report,
            Err(Stop::TimedOut | Stop::Deadlock) => end.report(),
        }
    }

    /// The end, as a worker of the pool `own` sees it when it waits for it.
    fn end_unit(&self, over: &Arc<AtomicBool>, own: &Arc<Pool>) -> Arc<Unit> {
        let elsewhere =
            (!Arc::ptr_eq(self.pool(), own)).then(|| Arc::clone(self.pool()) as Arc<dyn Elsewhere>);
        Unit::of_end(self.lane(), elsewhere, over)
    }

    /// The jobs of this executor, or of this view, that are running now, and for how long.
    pub fn running(&self) -> Vec<StillRunning> {
        self.pool().running(self.lane(), Whom::All)
    }
}

/// A shutdown that has begun; see [`Executor::shutdown`]. Dropping it does not stop the shutdown.
#[must_use = "the shutdown has begun, but nothing waits for its end"]
#[derive(Debug)]
pub struct ShuttingDown {
    executor: Executor,
    report: Report,
    limit: Option<Duration>,
    deadline: Option<Instant>,
    timer: Option<Timer>,
    wait: Option<WaitForEnd>,
    /// Set when the end has come.
    over: Arc<AtomicBool>,
}

/// What is known about this wait in other places.
#[derive(Debug)]
struct WaitForEnd {
    id: u64,
    /// The job in the middle of which this was first polled: it cannot end before.
    job: Option<(Arc<Worker>, u64)>,
}

impl ShuttingDown {
    fn of(executor: &Executor, report: Report) -> Self {
        ShuttingDown {
            executor: executor.clone(),
            report,
            limit: None,
            deadline: None,
            timer: None,
            wait: None,
            over: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Waits at most this long, counted from the first poll; in a job of a view, until a place that was lent has come back, as in
    /// [`shutdown_blocking`](Executor::shutdown_blocking).
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    fn report(&mut self) -> Report {
        let mut report = self.report.clone();
        if self.over.load(Ordering::Relaxed) {
            return report;
        }
        report.still_running = self.executor.pool().running(self.executor.lane(), Whom::NotEnding);
        let (pool, lane) = (self.executor.pool(), self.executor.lane());
        report.still_queued = if pool.is_forked() { 0 } else { pool.core().still_queued(lane) };
        report
    }
}

impl ShuttingDown {
    /// Notes the job in which this is polled, which may be another one than at the last poll.
    fn register(&mut self) {
        let (pool, lane) = (self.executor.pool().clone(), self.executor.lane());
        let job = pool::current_job(&pool);
        if let Some((worker, job)) = &job {
            worker.begins_ending(*job, lane);
        }
        match &mut self.wait {
            Some(wait) => {
                if let Some((worker, job)) = std::mem::replace(&mut wait.job, job) {
                    worker.stops_ending(job, lane);
                }
            }
            None => {
                self.wait = Some(WaitForEnd { id: pool.next_end(), job });
                let after = |limit| Instant::now().checked_add(limit);
                self.deadline = self.deadline.or_else(|| self.limit.and_then(after));
            }
        }
        let wakers = pool.core().ended_by_a_wait();
        pool.notify(&[], wakers);
    }
}

impl ShuttingDown {
    fn poll_end(&mut self, cx: &Context<'_>) -> Poll<Report> {
        let (pool, lane) = (self.executor.pool().clone(), self.executor.lane());
        if pool.is_forked() {
            return Poll::Ready(self.report());
        }
        self.register();
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let id = self.wait.as_ref().map_or(0, |wait| wait.id);
        if left.is_some_and(|left| left.is_zero()) {
            return Poll::Ready(self.report());
        }
        // To clone or to drop a waker is the user's code: not under the lock.
        let waker = cx.waker().clone();
        let (over, old) = pool.core().poll_end(lane, id, &self.over, waker);
        old.into_iter().filter(|old| !old.will_wake(cx.waker())).for_each(pool::let_go);
        if over {
            return Poll::Ready(self.report());
        }
        let waker = cx.waker().clone();
        self.timer = left.and_then(|left| pool.timers().after(left, move || waker.wake()));
        if pool::note_awaited(cx, self.address(), |own| [self.executor.end_unit(&self.over, own)]) {
            return Poll::Ready(self.report());
        }
        Poll::Pending
    }

    /// Where its waker is kept, as a worker notes it.
    fn address(&self) -> usize {
        Arc::as_ptr(&self.over).addr()
    }

    /// Nothing waits for the end any more.
    fn stop(&mut self) {
        self.timer = None;
        let Some(wait) = self.wait.take() else { return };
        let (pool, lane) = (self.executor.pool(), self.executor.lane());
        if pool.is_forked() {
            return;
        }
        pool::forget(self.address());
        if let Some((worker, job)) = &wait.job {
            worker.stops_ending(*job, lane);
        }
        let old = pool.core().forget_end(lane, wait.id);
        drop(old);
    }
}

impl Future for ShuttingDown {
    type Output = Report;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        let report = self.poll_end(cx);
        if report.is_ready() {
            self.stop();
        }
        report
    }
}

impl Drop for ShuttingDown {
    fn drop(&mut self) {
        self.stop();
    }
}
