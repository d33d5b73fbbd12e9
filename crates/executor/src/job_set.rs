//! A set of jobs that grows while it is awaited: jobs are inserted at any time and removed as they end.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::core::{Need, Unit};
use crate::error::JobError;
use crate::fork;
use crate::group::{Group, Wake};
use crate::job::Job;
use crate::pool::{self, Pool};

/// A set of jobs that grows while it is awaited, as tokio's `JoinSet`.
///
/// ```
/// use overlapped::{Executor, JobSet, block_on};
///
/// let executor = Executor::builder().max_workers(2).build()?;
/// let mut set = JobSet::new();
/// set.insert(executor.submit(|| 1));
/// let mut sum = 0;
/// block_on(async {
///     while let Some(result) = set.next().await {
///         let n = result.unwrap();
///         sum += n;
///         if n < 8 {
///             set.insert(executor.submit(move || n * 2));
///         }
///     }
/// });
/// assert_eq!(sum, 1 + 2 + 4 + 8);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Cancel safety
///
/// `next` loses nothing when it is dropped. Dropping the set drops its jobs: what is queued is removed, what runs is asked to stop.
pub struct JobSet<R> {
    /// A job's place is its number in the group; places of jobs that were given are used again.
    jobs: Vec<Option<Job<R>>>,
    free: Vec<u32>,
    group: Arc<Group>,
    /// Jobs that are done and not yet given, the next one last.
    ready: Vec<u32>,
    /// Places of jobs whose wait was refused, and which have not reported their end.
    refused: Vec<u32>,
    /// The jobs as a worker of that pool sees them that waits for them, with the place of each; made again when jobs were added.
    unit: Option<(Arc<Unit>, Vec<u32>, Arc<Pool>)>,
    generation: u32,
}

impl<R: Send + 'static> JobSet<R> {
    /// An empty set.
    pub fn new() -> Self {
        JobSet {
            jobs: Vec::new(),
            free: Vec::new(),
            group: Arc::new(Group::growing(Wake::Each)),
            ready: Vec::new(),
            refused: Vec::new(),
            unit: None,
            generation: fork::generation(),
        }
    }

    /// Adds a job, which may have ended already.
    ///
    /// # Panics
    ///
    /// If the job has given its result already. The set is as it was before.
    pub fn insert(&mut self, job: Job<R>) {
        assert!(!job.is_over(), "a job was added to a set after it had given its result");
        let number = self.free.pop().unwrap_or(self.jobs.len() as u32);
        job.attach(&self.group, number);
        self.unit = None;
        match self.jobs.get_mut(number as usize) {
            Some(place) => *place = Some(job),
            None => self.jobs.push(Some(job)),
        }
    }

    /// How many jobs are in it: those whose results were not given yet.
    pub fn len(&self) -> usize {
        self.jobs.len() - self.free.len() - self.refused.len()
    }

    /// Whether all were given.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The result of the next job to end; `None` if the set is empty. In a job of an executor, when none of the jobs could end while this
    /// waits for them, one after the other gives [`JobError::WouldDeadlock`].
    pub async fn next(&mut self) -> Option<Result<R, JobError>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Cancels all jobs. Those that were queued give [`JobError::Cancelled`]; all are still given.
    pub fn cancel_all(&self) {
        for job in self.jobs.iter().flatten() {
            job.cancel();
        }
    }

    /// Lets all jobs run without the set.
    pub fn detach_all(&mut self) {
        std::mem::take(self).jobs.into_iter().flatten().for_each(Job::detach);
    }
}

impl<R: Send + 'static> JobSet<R> {
    fn unit(&mut self, own: &Arc<Pool>) -> Arc<Unit> {
        if let Some((unit, ..)) = self.unit.as_ref().filter(|(_, _, pool)| Arc::ptr_eq(pool, own)) {
            return Arc::clone(unit);
        }
        let open = || (0..).zip(&self.jobs).filter_map(|(number, job)| Some((number, job.as_ref()?)));
        let unit = Unit::new(Need::Any, open().map(|(_, job)| job.target(own)).collect());
        let numbers = open().map(|(number, _)| number).collect();
        self.unit = Some((Arc::clone(&unit), numbers, Arc::clone(own)));
        unit
    }

    fn set_given(&self, number: u32) {
        if let Some((unit, numbers, _)) = &self.unit
            && let Ok(at) = numbers.binary_search(&number)
        {
            unit.set_given(at);
        }
    }

    /// Releases a job that would never end while it is waited for. Its place is not used again before it has reported its end.
    fn refuse(&mut self) -> Result<R, JobError> {
        let number = self.jobs.iter().position(Option::is_some).expect("a set that waits has a job");
        let job = self.jobs.get_mut(number).and_then(Option::take);
        drop(job);
        self.refused.push(number as u32);
        self.set_given(number as u32);
        Err(JobError::WouldDeadlock)
    }
}

impl<R: Send + 'static> Default for JobSet<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> Unpin for JobSet<R> {}

impl<R: Send + 'static> Stream for JobSet<R> {
    type Item = Result<R, JobError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if std::mem::replace(&mut this.generation, fork::generation()) != fork::generation() {
            // The group's lock may be held by a thread of the parent; in a new one each job says that it is there.
            let jobs = std::mem::take(&mut this.jobs);
            *this = JobSet::new();
            jobs.into_iter().flatten().for_each(|job| this.insert(job));
        }
        if this.is_empty() {
            return Poll::Ready(None);
        }
        loop {
            if this.ready.is_empty() {
                this.group.listen(cx);
                this.group.drain(&mut this.ready);
                this.ready.reverse();
            }
            let Some(number) = this.ready.pop() else { break };
            this.free.push(number);
            if let Some(at) = this.refused.iter().position(|refused| *refused == number) {
                this.refused.swap_remove(at);
                continue;
            }
            this.set_given(number);
            let job = this.jobs.get_mut(number as usize).and_then(Option::take);
            let result = job.and_then(|mut job| job.take());
            return Poll::Ready(Some(result.expect("the group said that the job has ended")));
        }
        if pool::note_awaited(cx, |own| this.unit(own)) {
            Poll::Ready(Some(this.refuse()))
        } else {
            Poll::Pending
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl<R> fmt::Debug for JobSet<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobSet").field("jobs", &self.jobs.iter().flatten().count()).finish_non_exhaustive()
    }
}
