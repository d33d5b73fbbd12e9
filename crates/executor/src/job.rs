//! The handle of a job: await it, wait for it, cancel it, detach it. Dropping the handle cancels the job.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::block_on::{Awaits, Stop, drive};
use crate::cancel::CancelToken;
use crate::cell::{Awaited, Look, Position, Task};
use crate::core::{Elsewhere, Need, Refusal, Settles, Target, Unit};
use crate::error::{JobError, Rejected};
use crate::group::Group;
use crate::guard::{guarded, wake_guarded};
use crate::metrics::Timings;
use crate::pool::{self, Pool};
use crate::timer::DeadlineOf;

/// A blocking call on its way: a future of its result.
///
/// ```
/// use overlapped::{Executor, block_on};
///
/// let executor = Executor::builder().max_workers(4).build()?;
/// let job = executor.submit(|| std::fs::read_to_string("/no/such/file"));
/// let read = block_on(job).unwrap(); // or `job.await`, or `job.wait()`
/// assert!(read.is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Cancel safety
///
/// Dropping a job that waits in the queue removes it: its closure is dropped at once, on this thread, and its memory is given back.
/// One that runs cannot be stopped from outside; its [`CancelToken`], if it has one, is cancelled, and its result is dropped.
/// [`detach`](Job::detach) lets it run on without a handle. Polling through `&mut job` and dropping the reference cancels nothing.
///
/// # Panics
///
/// When polled again after it has given its result.
#[must_use = "dropping a job cancels it, as `let _ = …` does: await it, `.wait()` for it, or call `.detach()` to let it run on"]
pub struct Job<R> {
    cell: Arc<dyn Awaited<R>>,
    pool: Arc<Pool>,
    token: Option<CancelToken>,
    /// How many deadlines it has.
    deadlines: u32,
    /// One of them ends the job, whether it has begun or not.
    in_time: bool,
    /// The result was handed out, or the job was detached: there is nothing to cancel.
    over: bool,
    /// A worker has noted that it was polled, and may have to be told that it is not waited for any more.
    noted: bool,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It waits to be run.
    Queued,
    /// A thread runs it.
    Running,
    /// It has a result, or has failed; or was given up by [`Job::timeout`] and may still run.
    Finished,
}

/// What [`Job::cancel`] has achieved.
///
/// ```
/// use std::sync::mpsc::channel;
/// use overlapped::{CancelOutcome, Executor};
///
/// let executor = Executor::builder().max_workers(1).build()?;
/// let (release, released) = channel::<()>();
/// let first = executor.submit(move || released.recv());
/// let second = executor.submit(|| "never");
/// assert_eq!(second.cancel(), CancelOutcome::Removed);
/// release.send(()).unwrap();
/// assert!(first.wait().is_ok() && second.wait().unwrap_err().is_cancelled());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It was still queued. It will not run; its closure has been dropped; awaiting it gives [`JobError::Cancelled`].
    Removed,
    /// It runs, and its token was cancelled. Awaiting it gives what the closure returns.
    Requested,
    /// It has ended, or runs and has no token.
    TooLate,
}

impl<R: Send + 'static> Job<R> {
    /// Blocks this thread until the job has ended.
    ///
    /// Inside a job of the same executor this does not deadlock. While the thread sleeps, another takes its place, up to
    /// [`stand_in_workers`](crate::Builder::stand_in_workers) of them. Only if none can come, and the awaited job is still queued, it
    /// is run here and now, as a direct call would be: whatever the caller holds (a lock, a borrow of a thread-local value) is held
    /// meanwhile. A job with a [timeout](Job::timeout) is never run here: it could not end by that. One that
    /// [expires](Job::expires_in) may be.
    ///
    /// # Errors
    ///
    /// As awaiting it; and [`JobError::WouldDeadlock`] on a worker, when the job could never end: because it waits itself, directly or
    /// through others, for the job that calls this; or because no thread is left, and jobs are run inside waits 64 deep already.
    ///
    /// # Blocking
    ///
    /// Until the job has ended.
    pub fn wait(mut self) -> Result<R, JobError> {
        let (task, pool, settles) = self.awaited();
        let unit = |own: &_| Unit::new(Need::All, vec![target_of(&task, &pool, settles, own)]);
        let awaits = Awaits::Jobs { unit: &unit, refusal: Refusal::Error };
        match drive(Pin::new(&mut self), None, awaits) {
            Ok(result) => result,
            Err(Stop::TimedOut | Stop::Deadlock) => Err(JobError::WouldDeadlock),
        }
    }

    /// Blocks this thread until the job has ended, or for this long: then `None`, and the job continues.
    ///
    /// # Errors
    ///
    /// As awaiting it.
    ///
    /// # Blocking
    ///
    /// At most for `timeout`. The job is never run on this thread: it might take longer. In a job of a view, the place that was lent to the
    /// job must come back first: see [`limited`](crate::Executor::limited).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<R, JobError>> {
        let deadline = Instant::now().checked_add(timeout);
        let (task, pool, settles) = self.awaited();
        let unit = |own: &_| Unit::new(Need::All, vec![target_of(&task, &pool, settles, own)]);
        let awaits = Awaits::Jobs { unit: &unit, refusal: Refusal::Error };
        drive(Pin::new(self), deadline, awaits).ok()
    }

    /// Gives the job this long, from now, to end. After that it resolves to [`JobError::TimedOut`]: removed if it was queued; if it
    /// runs, its token is cancelled, and its thread stays busy until the closure ends.
    ///
    /// What a deadline makes the user's code do (wakers, hooks of tokens, a `Drop` of what a closure owns) runs on one of at most 16 threads
    /// of the executor that are for deadlines alone. While all of them are busy, as when more than 15 slow `Drop`s are due at once, the
    /// executor's other deadlines are late. If the system refuses such a thread, idle workers, workers between two jobs, and threads that
    /// block in a wait of this crate keep the deadlines until it gives one.
    pub fn timeout(mut self, wait: Duration) -> Job<R> {
        self.add_deadline(wait, DeadlineOf::End);
        self
    }

    /// Gives the job this long, from now, to start. If it is still queued then, it is removed and resolves to
    /// [`JobError::TimedOut`] with `started: false`; once started it has all the time it needs.
    pub fn expires_in(mut self, wait: Duration) -> Job<R> {
        self.add_deadline(wait, DeadlineOf::Start);
        self
    }

    fn add_deadline(&mut self, wait: Duration, of: DeadlineOf) {
        let job = Arc::downgrade(&self.cell) as Weak<dyn Task>;
        let token = self.token.as_ref().map(CancelToken::downgrade);
        if self.pool.timers().expire_after(wait, job, of, token) {
            self.deadlines += 1;
            self.in_time |= of == DeadlineOf::End;
        }
    }

    pub(crate) fn task(&self) -> Arc<dyn Task> {
        Arc::clone(&self.cell) as Arc<dyn Task>
    }

    /// What is waited for when the job is: it, its pool, and what settles it.
    pub(crate) fn awaited(&self) -> (Arc<dyn Task>, Arc<Pool>, Settles) {
        let settles = match (self.deadlines, self.in_time) {
            (_, true) => Settles::InTime,
            (0, false) => Settles::ByItself,
            (_, false) => Settles::UnlessBegun,
        };
        (self.task(), Arc::clone(&self.pool), settles)
    }

    /// The job as a worker of the pool `own` sees it, when it waits for it.
    pub(crate) fn target(&self, own: &Arc<Pool>) -> Target {
        let (task, pool, settles) = self.awaited();
        target_of(&task, &pool, settles, own)
    }
}

impl<R> Job<R> {
    pub(crate) fn new(cell: Arc<dyn Awaited<R>>, pool: Arc<Pool>, token: Option<CancelToken>) -> Self {
        Job { cell, pool, token, deadlines: 0, in_time: false, over: false, noted: false }
    }

    pub(crate) fn with_token(self, token: CancelToken) -> Self {
        let mut job = self;
        job.token = Some(token);
        job
    }

    /// A handle that cancels the job while another task awaits it.
    pub fn cancel_handle(&self) -> CancelHandle
    where
        R: Send + 'static,
    {
        let task = Arc::clone(&self.cell) as Arc<dyn Task>;
        CancelHandle { task: Arc::downgrade(&task), pool: Arc::clone(&self.pool), token: self.token.clone() }
    }

    /// Takes the job out of the queue, or asks it to stop.
    ///
    /// The closure of a removed job is dropped here, on this thread, outside all locks.
    pub fn cancel(&self) -> CancelOutcome {
        if self.pool.is_forked() {
            return CancelOutcome::TooLate;
        }
        if self.pool.cancel(&*self.cell, JobError::Cancelled) {
            return CancelOutcome::Removed;
        }
        ask_to_stop(&self.cell.look(), self.token.as_ref())
    }

    /// Lets the job run without a handle. Its result is dropped; a panic goes to the builder's `on_panic` hook.
    ///
    /// Deadlines set on the handle are gone with it.
    pub fn detach(mut self) {
        self.over = true;
        if self.deadlines > 0 && !self.pool.is_forked() {
            self.pool.detach(self.cell.place());
        }
        // If it has ended already, its result is dropped here.
        guarded(move || drop(self));
    }

    /// A number that no other job of this executor has; 0 for a job that was rejected.
    pub fn id(&self) -> u64 {
        self.cell.place().id()
    }

    /// The state of the job at the time of the call.
    pub fn state(&self) -> JobState {
        if self.pool.is_forked() {
            return JobState::Finished;
        }
        match self.cell.look() {
            Look::Queued { .. } => JobState::Queued,
            Look::Running { .. } => JobState::Running,
            Look::Settled { .. } => JobState::Finished,
        }
    }

    /// How long it waited and ran, so far.
    pub fn timings(&self) -> Timings {
        if self.pool.is_forked() {
            return Timings { waited: Duration::ZERO, ran: None };
        }
        let now = self.pool.now();
        let (waited, ran) = match self.cell.look() {
            Look::Queued { submitted } => (now.saturating_sub(submitted), None),
            Look::Running { waited, started } => (waited, Some(now.saturating_sub(started))),
            Look::Settled { waited, ran } => (waited, ran),
        };
        Timings { waited: Duration::from_nanos(waited), ran: ran.map(Duration::from_nanos) }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// From now on the group is notified, instead of a waker.
    pub(crate) fn attach(&mut self, group: &Arc<Group>, number: u32) {
        if self.pool.is_forked() {
            return wake_guarded(group.complete(number, false));
        }
        self.forget();
        self.cell.attach(group, number, &pool::let_go);
    }

    pub(crate) fn take(&mut self) -> Option<Result<R, JobError>> {
        if self.pool.is_forked() {
            self.over = true;
            return Some(Err(JobError::Rejected(Rejected::Forked)));
        }
        let result = self.cell.take();
        self.over |= result.is_some();
        result
    }
}

/// A job of `pool` as a worker of the pool `own` sees it, when it waits for it.
pub(crate) fn target_of(task: &Arc<dyn Task>, pool: &Arc<Pool>, settles: Settles, own: &Arc<Pool>) -> Target {
    let elsewhere = (!Arc::ptr_eq(pool, own)).then(|| Arc::clone(pool) as Arc<dyn Elsewhere>);
    Target::new(Arc::clone(task), settles, elsewhere)
}

impl<R> Job<R> {
    /// The result was handed out.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Where its waker is kept, as a worker notes it.
    fn address(&self) -> usize {
        std::ptr::from_ref(self.cell.place()).addr()
    }

    /// It is waited for no longer: this thread's `block_on`, if this is a worker, counts on no wake-up by it.
    fn forget(&mut self) {
        if std::mem::replace(&mut self.noted, false) && !self.pool.is_forked() {
            pool::forget(self.address());
            self.cell.unlisten(&pool::is_own);
        }
    }
}

impl<R: Send + 'static> Future for Job<R> {
    type Output = Result<R, JobError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.over, "a job was polled after it had given its result");
        if self.pool.is_forked() {
            self.over = true;
            return Poll::Ready(Err(JobError::Rejected(Rejected::Forked)));
        }
        if let Poll::Ready(result) = self.cell.poll(cx, &pool::let_go) {
            self.over = true;
            self.forget();
            return Poll::Ready(result);
        }
        let mut noted = self.noted;
        let dead = pool::note_awaited(cx, self.address(), |own| {
            noted = true;
            [Unit::new(Need::All, vec![self.target(own)])]
        });
        self.noted = noted;
        if dead {
            self.forget();
            return Poll::Ready(Err(JobError::WouldDeadlock));
        }
        Poll::Pending
    }
}

fn ask_to_stop(job: &Look, token: Option<&CancelToken>) -> CancelOutcome {
    match (job, token) {
        (Look::Queued { .. } | Look::Running { .. }, Some(token)) => {
            token.cancel();
            CancelOutcome::Requested
        }
        (Look::Queued { .. } | Look::Running { .. }, None) | (Look::Settled { .. }, _) => {
            CancelOutcome::TooLate
        }
    }
}

/// Cancels a job while another task awaits it; see [`Job::cancel_handle`]. It keeps neither the job nor its result alive.
///
/// ```
/// use overlapped::{Executor, block_on};
///
/// let executor = Executor::builder().max_workers(1).build()?;
/// let job = executor.submit_cancellable(|token| { while token.check().is_ok() {} "stopped" });
/// let handle = job.cancel_handle();
/// let other = std::thread::spawn(move || handle.cancel());
/// match block_on(job) {
///     Ok(how) => assert_eq!(how, "stopped"),
///     // It had not begun.
///     Err(error) => assert!(error.is_cancelled()),
/// }
/// other.join().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct CancelHandle {
    task: Weak<dyn Task>,
    pool: Arc<Pool>,
    token: Option<CancelToken>,
}

impl CancelHandle {
    /// As [`Job::cancel`].
    pub fn cancel(&self) -> CancelOutcome {
        let Some(task) = self.task.upgrade().filter(|_| !self.pool.is_forked()) else {
            return CancelOutcome::TooLate;
        };
        if self.pool.cancel(&*task, JobError::Cancelled) {
            return CancelOutcome::Removed;
        }
        ask_to_stop(&task.look(), self.token.as_ref())
    }
}

impl CancelHandle {
    /// Whether the job has ended or was never let in.
    pub(crate) fn is_over(&self) -> bool {
        self.task.upgrade().is_none_or(|task| task.place().position() == Position::Gone)
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelHandle").finish_non_exhaustive()
    }
}

impl<R> Drop for Job<R> {
    fn drop(&mut self) {
        if !self.over {
            self.cancel();
        }
        self.forget();
        for _ in 0..self.deadlines {
            self.pool.timers().let_go();
        }
    }
}

impl<R> fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.id()).field("state", &self.state()).finish()
    }
}
