//! Many jobs, one waiter: all in the order of the input, each as it is done, or until something happens.
//!
//! A burst of completions causes one wake-up, not one for each job.

use std::cell::OnceCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;

use crate::block_on::{Awaits, Stop, drive};
use crate::cell::Task;
use crate::core::{Need, Refusal, Settles, Unit};
use crate::error::JobError;
use crate::group::{Group, Wake};
use crate::job::{Job, target_of};
use crate::pool::{self, Pool};
use crate::timer::Timer;
use crate::waiter::Waiter;

/// Awaits all jobs; their results come in the order of the jobs, whatever order they ended in.
///
/// The first failure ends the wait and cancels what has not started; see [`Gather::return_errors`] and [`Gather::keep_going`] for
/// other ways. However many jobs there are, the waiter is woken once.
///
/// ```
/// use overlapped::{Executor, block_on, gather};
///
/// let executor = Executor::builder().max_workers(5).build()?;
/// let squares = gather((0..100).map(|n| executor.submit(move || n * n)));
/// assert_eq!(block_on(squares).unwrap().last(), Some(&9801));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
///
/// If a job has given its result already.
///
/// # Cancel safety
///
/// Dropping it drops the jobs: what is queued is removed.
pub fn gather<R, I>(jobs: I) -> Gather<R>
where
    I: IntoIterator<Item = Job<R>>,
    R: Send + 'static,
{
    Gather { many: Many::new(jobs, Wake::Failure), keep_going: false }
}

/// See [`gather`].
#[must_use = "the jobs are dropped, and so cancelled, if this is not awaited"]
pub struct Gather<R> {
    many: Many<R>,
    keep_going: bool,
}

/// See [`Gather::return_errors`].
#[must_use = "the jobs are dropped, and so cancelled, if this is not awaited"]
pub struct GatherAll<R> {
    many: Many<R>,
}

impl<R: Send + 'static> Gather<R> {
    /// Waits for all, and gives each job's result or error in its place. In a job of an executor, those that could never end while this waits
    /// for them give [`JobError::WouldDeadlock`], and the others their results.
    pub fn return_errors(self) -> GatherAll<R> {
        let jobs = self.many.jobs.into_iter().flatten();
        GatherAll { many: Many::new(jobs, Wake::All) }
    }

    /// The first failure still ends the wait, but what has not started will run.
    pub fn keep_going(mut self) -> Self {
        self.keep_going = true;
        self
    }

    /// The same on this thread. In a job of the same executor it is as safe as [`Job::wait`], and in the same way.
    ///
    /// # Errors
    ///
    /// As awaiting it; and [`JobError::WouldDeadlock`] as [`Job::wait`], as soon as one of the jobs could never end.
    ///
    /// # Blocking
    ///
    /// Until all jobs have ended.
    pub fn wait(mut self) -> Result<Vec<R>, JobError> {
        let targets = self.many.awaited();
        let unit = OnceCell::new();
        let unit = |own: &Arc<Pool>| {
            Arc::clone(unit.get_or_init(|| {
                let target = |(task, pool, settles): &_| target_of(task, pool, *settles, own);
                Unit::new(Need::All, targets.iter().map(target).collect())
            }))
        };
        let awaits = Awaits::Jobs { unit: &unit, refusal: Refusal::Error };
        match drive(Pin::new(&mut self), None, awaits) {
            Ok(results) => results,
            Err(Stop::TimedOut | Stop::Deadlock) => Err(JobError::WouldDeadlock),
        }
    }
}

impl<R: Send + 'static> Future for Gather<R> {
    type Output = Result<Vec<R>, JobError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let group = self.many.listen(cx);
        if let Some(failed) = group.failure() {
            let error = self.many.take(failed).and_then(|(_, result)| result.err());
            let rest = self.many.end();
            if self.keep_going {
                rest.into_iter().flatten().for_each(Job::detach);
            }
            return Poll::Ready(Err(error.unwrap_or(JobError::Cancelled)));
        }
        if group.all_done() {
            return Poll::Ready(self.many.end().into_iter().flatten().map(finished).collect());
        }
        if self.many.is_dead(cx) {
            self.many.stop();
            return Poll::Ready(Err(JobError::WouldDeadlock));
        }
        Poll::Pending
    }
}

impl<R: Send + 'static> Future for GatherAll<R> {
    type Output = Vec<Result<R, JobError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while !self.many.listen(cx).all_done() {
            if !self.many.is_dead(cx) {
                return Poll::Pending;
            }
            self.many.refuse_stuck();
        }
        let jobs = self.many.end().into_iter();
        Poll::Ready(jobs.map(|job| job.map_or(Err(JobError::WouldDeadlock), finished)).collect())
    }
}

/// Gives each job's result as soon as it is there, with the number of the job in the input.
///
/// ```
/// use overlapped::{Executor, as_completed, block_on};
///
/// let executor = Executor::builder().max_workers(2).build()?;
/// let mut stream = as_completed((0..10).map(|n| executor.submit(move || n * 10)));
/// let mut sum = 0;
/// block_on(async {
///     while let Some((number, result)) = stream.next().await {
///         assert_eq!(result.unwrap(), number * 10);
///         sum += number;
///     }
/// });
/// assert_eq!(sum, 45);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Cancel safety
///
/// `next` loses nothing when it is dropped. Dropping the stream drops the jobs that it has not given.
///
/// In a job of an executor, when none of the jobs could end while this waits for them, each gives [`JobError::WouldDeadlock`].
pub fn as_completed<R, I>(jobs: I) -> AsCompleted<R>
where
    I: IntoIterator<Item = Job<R>>,
    R: Send + 'static,
{
    let many = Many::new(jobs, Wake::Each);
    AsCompleted { left: many.jobs.len(), many, ready: Vec::new() }
}

/// See [`as_completed`].
#[must_use = "the jobs are dropped, and so cancelled, if this is not awaited"]
pub struct AsCompleted<R> {
    many: Many<R>,
    left: usize,
    /// Jobs that are done and not yet given, the next one last.
    ready: Vec<u32>,
}

impl<R: Send + 'static> AsCompleted<R> {
    /// The next result, or `None` after the last.
    pub async fn next(&mut self) -> Option<(usize, Result<R, JobError>)> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<R: Send + 'static> Stream for AsCompleted<R> {
    type Item = (usize, Result<R, JobError>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        loop {
            let this = &mut *self;
            if this.ready.is_empty() {
                this.many.waiter().drain(cx, &mut this.ready);
                this.ready.reverse();
            }
            let Some(number) = self.ready.pop() else { break };
            // One whose wait was refused reports its end later.
            if let Some(given) = self.many.take(number) {
                self.left -= 1;
                self.many.stop();
                return Poll::Ready(Some(given));
            }
        }
        if !self.many.is_dead(cx) {
            return Poll::Pending;
        }
        self.left -= 1;
        self.many.stop();
        Poll::Ready(self.many.refuse())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// How long [`wait`] waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until one job has ended.
    First,
    /// Until one has failed, or all have ended.
    FirstError,
    /// Until all have ended.
    All,
}

/// Waits until something is true of the jobs, and gives all of them back: those that have ended, and those that have not.
///
/// ```
/// use std::time::Duration;
/// use overlapped::{Executor, Until, block_on, wait};
///
/// let executor = Executor::builder().max_workers(2).build()?;
/// let jobs = vec![
///     executor.submit_cancellable(|token| { while token.check().is_ok() {} "slow" }),
///     executor.submit(|| "fast"),
/// ];
/// let waited = block_on(wait(jobs, Until::First).within(Duration::from_secs(10)));
/// assert_eq!(waited.done.len(), 1);
/// assert_eq!(waited.pending.len(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// In a job of an executor, jobs that could never end while this waits for them are among those that have ended, with
/// [`JobError::WouldDeadlock`]. So they end a wait until the first error; until all have ended, the others are still waited for. Until the first
/// has ended, a job is refused only when none can end. With a [time limit](Wait::within), they are pending when it is over.
pub fn wait<R, I>(jobs: I, until: Until) -> Wait<R>
where
    I: IntoIterator<Item = Job<R>>,
    R: Send + 'static,
{
    let wake = match until {
        Until::First => Wake::Each,
        Until::FirstError => Wake::Failure,
        Until::All => Wake::All,
    };
    Wait { many: Many::new(jobs, wake), until, limit: None, deadline: None, timer: None }
}

/// See [`wait`].
#[must_use = "the jobs are dropped, and so cancelled, if this is not awaited"]
pub struct Wait<R> {
    many: Many<R>,
    until: Until,
    limit: Option<Duration>,
    deadline: Option<Instant>,
    timer: Option<Timer>,
}

/// What [`wait`] gives: each job with its number in the input.
#[derive(Debug)]
pub struct Waited<R> {
    /// The jobs that have ended.
    pub done: Vec<(usize, Result<R, JobError>)>,
    /// The jobs that have not. They go on; dropping them cancels them.
    pub pending: Vec<(usize, Job<R>)>,
}

impl<R: Send + 'static> Wait<R> {
    /// Waits at most this long, counted from the first poll.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    fn is_enough(&mut self, cx: &Context<'_>) -> bool {
        let group = self.many.listen(cx);
        let enough = match self.until {
            Until::First => {
                let mut done = Vec::new();
                group.drain(&mut done);
                !done.is_empty()
            }
            Until::FirstError => group.failure().is_some() || self.many.some_refused(),
            Until::All => false,
        };
        enough || group.all_done()
    }
}

impl<R: Send + 'static> Future for Wait<R> {
    type Output = Waited<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(limit) = self.limit.take() {
            self.deadline = Instant::now().checked_add(limit);
        }
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let expired = left.is_some_and(|left| left.is_zero());
        // With a deadline, which has the waker as well, no wait is refused.
        while !expired && !self.is_enough(cx) {
            if !self.many.is_dead(cx) {
                let waker = cx.waker().clone();
                let timers = self.many.jobs.iter().flatten().next().map(|job| job.pool().timers());
                self.timer =
                    timers.zip(left).and_then(|(timers, left)| timers.after(left, move || waker.wake()));
                return Poll::Pending;
            }
            self.many.refuse_stuck();
        }
        self.timer = None;
        let mut waited = Waited { done: Vec::new(), pending: Vec::new() };
        for (number, job) in self.many.end().into_iter().enumerate() {
            let Some(mut job) = job else {
                waited.done.push((number, Err(JobError::WouldDeadlock)));
                continue;
            };
            match job.take() {
                Some(result) => waited.done.push((number, result)),
                None => waited.pending.push((number, job)),
            }
        }
        Poll::Ready(waited)
    }
}

/// Jobs that report their end to one group.
struct Many<R> {
    /// Dropped before the jobs: their ends wake nobody then.
    waiter: Option<Waiter>,
    jobs: Vec<Option<Job<R>>>,
    wake: Wake,
    /// The jobs as a worker sees them that waits for them.
    unit: Option<Seen>,
}

struct Seen {
    unit: Arc<Unit>,
    /// The number of each job in it.
    numbers: Vec<u32>,
    /// Whose worker waits.
    pool: Arc<Pool>,
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.unit.set_all_given();
    }
}

impl<R: Send + 'static> Many<R> {
    fn new(jobs: impl IntoIterator<Item = Job<R>>, wake: Wake) -> Self {
        let jobs: Vec<Option<Job<R>>> = jobs.into_iter().map(Some).collect();
        let used = jobs.iter().flatten().any(Job::is_over);
        assert!(!used, "a job was awaited after it had given its result");
        Many { waiter: None, jobs, wake, unit: None }
    }

    /// The waiting side of the group that all jobs report to. After a fork that is a new one, to which each reports `Forked`.
    fn waiter(&mut self) -> &mut Waiter {
        if self.waiter.as_ref().is_some_and(Waiter::is_forked) {
            self.waiter = None;
        }
        self.waiter.get_or_insert_with(|| {
            let waiter = Waiter::new(Group::new(self.jobs.iter().flatten().count(), self.wake));
            for (number, job) in (0..).zip(&mut self.jobs) {
                if let Some(job) = job {
                    job.attach(waiter.group(), number);
                }
            }
            waiter.group().attached();
            waiter
        })
    }

    /// This task is woken from now on.
    fn listen(&mut self, cx: &Context<'_>) -> Arc<Group> {
        let waiter = self.waiter();
        waiter.listen(cx);
        Arc::clone(waiter.group())
    }

    /// Nothing is waited for until the next poll.
    fn stop(&mut self) {
        self.waiter.iter_mut().for_each(Waiter::stop);
    }

    /// Nothing is waited for any more.
    fn end(&mut self) -> Vec<Option<Job<R>>> {
        self.stop();
        std::mem::take(&mut self.jobs)
    }

    /// The result of a job that the group has named; `None` if it was refused before.
    fn take(&mut self, number: u32) -> Option<(usize, Result<R, JobError>)> {
        let job = self.jobs.get_mut(number as usize)?.take()?;
        self.set_given(number);
        Some((number as usize, finished(job)))
    }

    /// Lets go of a job that would never end while it is waited for.
    fn refuse(&mut self) -> Option<(usize, Result<R, JobError>)> {
        let number = self.jobs.iter().position(Option::is_some)?;
        let job = self.jobs.get_mut(number).and_then(Option::take);
        drop(job);
        self.set_given(number as u32);
        Some((number, Err(JobError::WouldDeadlock)))
    }

    /// Lets go of the jobs that would never end while all are waited for.
    fn refuse_stuck(&mut self) {
        let seen = self.unit.take().expect("what was refused was seen");
        let mut stuck: Vec<u32> =
            seen.unit.refused().filter_map(|at| seen.numbers.get(at).copied()).collect();
        if stuck.is_empty() {
            stuck.clone_from(&seen.numbers);
        }
        // The others report to a new group, which does not count these.
        self.waiter = None;
        for number in stuck {
            drop(self.jobs.get_mut(number as usize).and_then(Option::take));
        }
    }

    fn some_refused(&self) -> bool {
        self.jobs.iter().any(Option::is_none)
    }

    fn set_given(&self, number: u32) {
        if let Some(seen) = &self.unit
            && let Ok(at) = seen.numbers.binary_search(&number)
        {
            seen.unit.set_given(at);
        }
    }

    fn awaited(&self) -> Vec<(Arc<dyn Task>, Arc<Pool>, Settles)> {
        self.jobs.iter().flatten().map(Job::awaited).collect()
    }

    fn unit(&mut self, own: &Arc<Pool>) -> Arc<Unit> {
        let need = match self.wake {
            Wake::Each => Need::Any,
            Wake::Failure | Wake::All => Need::All,
        };
        if let Some(seen) = self.unit.as_ref().filter(|seen| Arc::ptr_eq(&seen.pool, own)) {
            return Arc::clone(&seen.unit);
        }
        let open = || (0..).zip(&self.jobs).filter_map(|(number, job)| Some((number, job.as_ref()?)));
        let unit = Unit::new(need, open().map(|(_, job)| job.target(own)).collect());
        let numbers = open().map(|(number, _)| number).collect();
        self.unit = Some(Seen { unit: Arc::clone(&unit), numbers, pool: Arc::clone(own) });
        unit
    }

    /// Notes what is awaited for an enclosing `block_on` of a worker. True if that would never end.
    fn is_dead(&mut self, cx: &Context<'_>) -> bool {
        let address = self.waiter().address();
        pool::note_awaited(cx, address, |own| [self.unit(own)])
    }
}

fn finished<R: Send + 'static>(mut job: Job<R>) -> Result<R, JobError> {
    job.take().expect("the group said that the job has ended")
}

macro_rules! debug {
    ($($name:ident),*) => {$(
        impl<R> fmt::Debug for $name<R> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("jobs", &self.many.jobs.len()).finish_non_exhaustive()
            }
        }
    )*};
}
debug!(Gather, GatherAll, AsCompleted, Wait);
