//! A set of jobs that grows while it is awaited: jobs are inserted at any time and removed as they end.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::core::{Need, Unit};
use crate::error::JobError;
use crate::group::{Group, Wake};
use crate::job::Job;
use crate::pool::{self, Pool};
use crate::waiter::Waiter;

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
    /// Dropped before the jobs: their ends wake nobody then.
    waiter: Waiter,
    /// A job's place is its number in the group; places of jobs that were given are used again.
    jobs: Vec<Option<Job<R>>>,
    free: Vec<u32>,
    /// Jobs that are done and not yet given, the next one last.
    ready: Vec<u32>,
    /// Places of jobs whose wait was refused, and which have not reported their end.
    refused: Vec<u32>,
    /// The jobs as a worker of this pool sees them that waits for them.
    seen_by: Option<Arc<Pool>>,
    /// Each with less than half as many jobs as the one before. So a job that is added is at most about as often part of a new unit as the
    /// number of jobs has bits.
    seen: Vec<Seen>,
    /// Places of jobs that are in none of these yet.
    added: Vec<u32>,
}

/// Some of the jobs.
struct Seen {
    unit: Arc<Unit>,
    /// The place of each, in ascending order.
    places: Vec<u32>,
    /// How many of them were not given.
    left: usize,
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.unit.set_all_given();
    }
}

impl<R: Send + 'static> JobSet<R> {
    /// An empty set.
    pub fn new() -> Self {
        JobSet {
            waiter: Waiter::new(Group::growing(Wake::Each)),
            jobs: Vec::new(),
            free: Vec::new(),
            ready: Vec::new(),
            refused: Vec::new(),
            seen_by: None,
            seen: Vec::new(),
            added: Vec::new(),
        }
    }

    /// Adds a job, which may have ended already.
    ///
    /// # Panics
    ///
    /// If the job has given its result already. The set is as it was before.
    pub fn insert(&mut self, mut job: Job<R>) {
        assert!(!job.is_over(), "a job was added to a set after it had given its result");
        let number = self.free.pop().unwrap_or(self.jobs.len() as u32);
        job.attach(self.waiter.group(), number);
        if self.seen_by.is_some() {
            self.added.push(number);
        }
        if self.added.len() > self.jobs.len() {
            // It is no longer polled on a worker.
            (self.seen_by, self.seen, self.added) = (None, Vec::new(), Vec::new());
        }
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
    /// What a worker of that pool sleeps on.
    fn units(&mut self, own: &Arc<Pool>) -> Vec<Arc<Unit>> {
        if !self.seen_by.as_ref().is_some_and(|pool| Arc::ptr_eq(pool, own)) {
            self.seen_by = Some(Arc::clone(own));
            self.seen.clear();
            self.added = (0..self.jobs.len() as u32).collect();
        }
        if !self.added.is_empty() {
            let mut places = std::mem::take(&mut self.added);
            while let Some(last) = self.seen.pop_if(|last| last.left <= 2 * places.len()) {
                places.extend(&last.places);
            }
            self.see(places, own);
        }
        self.seen.iter().map(|seen| Arc::clone(&seen.unit)).collect()
    }

    /// Makes a unit of the jobs that are left in these places.
    fn see(&mut self, mut places: Vec<u32>, own: &Arc<Pool>) {
        places.sort_unstable();
        places.dedup();
        let job = |place: &u32| self.jobs.get(*place as usize).and_then(Option::as_ref);
        places.retain(|place| job(place).is_some());
        let targets: Vec<_> = places.iter().filter_map(job).map(|job| job.target(own)).collect();
        if !targets.is_empty() {
            self.seen.push(Seen { unit: Unit::new(Need::Any, targets), left: places.len(), places });
        }
    }

    fn set_given(&mut self, place: u32) {
        // In an older one the place may be that of a job that was given before.
        for seen in &mut self.seen {
            if let Ok(at) = seen.places.binary_search(&place) {
                seen.left -= usize::from(seen.unit.set_given(at));
            }
        }
        self.seen.retain(|seen| seen.left > 0);
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
        if this.waiter.is_forked() {
            // In a new group each job says that it is there.
            let jobs = std::mem::take(&mut this.jobs);
            *this = JobSet::new();
            jobs.into_iter().flatten().for_each(|job| this.insert(job));
        }
        if this.is_empty() {
            return Poll::Ready(None);
        }
        loop {
            if this.ready.is_empty() {
                this.waiter.drain(cx, &mut this.ready);
                this.ready.reverse();
            }
            let Some(number) = this.ready.pop() else { break };
            this.free.push(number);
            if let Some(at) = this.refused.iter().position(|refused| *refused == number) {
                this.refused.swap_remove(at);
                continue;
            }
            this.set_given(number);
            this.waiter.stop();
            let job = this.jobs.get_mut(number as usize).and_then(Option::take);
            let result = job.and_then(|mut job| job.take());
            return Poll::Ready(Some(result.expect("the group said that the job has ended")));
        }
        if pool::note_awaited(cx, this.waiter.address(), |own| this.units(own)) {
            this.waiter.stop();
            return Poll::Ready(Some(this.refuse()));
        }
        Poll::Pending
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
