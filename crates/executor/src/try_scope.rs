//! A scope whose jobs may fail: the first failure cancels the rest, as in trio's nursery and Java's `StructuredTaskScope`.
//!
//! It is built on [`Scope`], whose wait makes the borrowed closures sound, and has no `unsafe` and no wait of its own.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::cancel::CancelToken;
use crate::error::Panic;
use crate::executor::Executor;
use crate::guard::guarded;
use crate::job::CancelHandle;
use crate::limits;
use crate::pool;
use crate::scope::{Latch, Scope, ScopedJob};
use crate::sync::Mutex;

impl Executor {
    /// As [`scope`](Executor::scope), for jobs that may fail. The first job that returns an error or panics cancels the rest: what is
    /// queued is removed, what runs is asked to stop through its [`CancelToken`], and what is submitted later does not run. An error of
    /// `f` does the same. The call still waits for all jobs, and then gives that first error.
    ///
    /// ```
    /// let executor = overlapped::Executor::builder().max_workers(2).build()?;
    /// let words = ["1", "2", "three"];
    /// let sum = executor.try_scope(|scope| {
    ///     let jobs = words.map(|word| scope.submit(|| word.parse::<i32>()));
    ///     // A job that has failed gives nothing here: its error is the scope's.
    ///     Ok(jobs.into_iter().filter_map(|job| job.wait().ok()).sum::<i32>())
    /// });
    /// assert!(sum.is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// Scopes may be nested: when a job is asked to stop that is in the middle of a `try_scope` of its own, the jobs of that scope are
    /// asked, too.
    ///
    /// # Errors
    ///
    /// The first error, in time. Errors and panics of jobs after the first failure are dropped.
    ///
    /// # Panics
    ///
    /// Goes on panicking if `f` does, or if the first failure is a job's panic, after all jobs are done. If a job did not run because
    /// the executor was shut down, that is a panic, as in a `scope`.
    ///
    /// # Blocking
    ///
    /// As [`scope`](Executor::scope): until all jobs are done.
    pub fn try_scope<'env, F, T, E>(&self, f: F) -> Result<T, E>
    where
        F: for<'scope> FnOnce(&'scope TryScope<'scope, 'env, E>) -> Result<T, E>,
        E: Send + 'env,
    {
        let scope = Scope::new(self);
        let (token, latch) = (CancelToken::new(), scope.latch());
        let rest = Arc::new(Rest { token, latch, jobs: Mutex::new(Jobs::new()) });
        let scope = TryScope { scope, rest, first: Arc::new(Mutex::new(None)) };
        let own = scope.rest.token.clone();
        let _outer = CancelToken::current().map(|outer| outer.on_cancel(move || own.cancel()));
        let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
        if !matches!(result, Ok(Ok(_))) {
            scope.rest.cancel();
        }
        scope.scope.finish();
        let first = scope.first.lock().take();
        match (result, first) {
            (Err(payload), _) => resume_unwind(payload),
            (Ok(_), Some(Failure::Panic(panic))) => panic.resume(),
            (Ok(_), Some(Failure::Error(error))) => Err(error),
            (Ok(result), None) => scope.scope.panic().map_or(result, |panic| panic.resume()),
        }
    }
}

/// Where jobs that borrow and may fail are submitted; see [`Executor::try_scope`].
pub struct TryScope<'scope, 'env, E: 'env> {
    scope: Scope<'scope, 'env>,
    rest: Arc<Rest>,
    first: Arc<Mutex<Option<Failure<E>>>>,
}

enum Failure<E> {
    Error(E),
    Panic(Panic),
}

impl<'scope, 'env, E: Send + 'env> TryScope<'scope, 'env, E> {
    /// As [`Scope::submit`]. The handle of a job that has failed, or was cancelled by another's failure, gives
    /// [`Cancelled`](crate::JobError::Cancelled).
    ///
    /// # Blocking
    ///
    /// As [`Scope::submit`]: while the queue is full.
    #[track_caller]
    pub fn submit<F, R>(&'scope self, closure: F) -> ScopedJob<'scope, R>
    where
        F: FnOnce() -> Result<R, E> + Send + 'scope,
        R: Send + 'scope,
    {
        self.submit_cancellable(move |_| closure())
    }

    /// As [`submit`](TryScope::submit), for a closure that can be asked to stop while it runs. All jobs of the scope share one token.
    ///
    /// # Blocking
    ///
    /// As [`Scope::submit`]: while the queue is full.
    #[track_caller]
    pub fn submit_cancellable<F, R>(&'scope self, closure: F) -> ScopedJob<'scope, R>
    where
        F: FnOnce(&CancelToken) -> Result<R, E> + Send + 'scope,
        R: Send + 'scope,
    {
        let (rest, first) = (Arc::clone(&self.rest), Arc::clone(&self.first));
        let job = self.scope.submit_fallible(move || {
            if rest.is_cancelled() {
                return None;
            }
            let result = catch_unwind(AssertUnwindSafe(|| pool::with_token(&rest.token, closure)));
            let failure = match result {
                Ok(Ok(value)) => return Some(value),
                Ok(Err(error)) => Failure::Error(error),
                Err(payload) => Failure::Panic(Panic::new(payload)),
            };
            keep_first(&first, failure);
            rest.cancel();
            None
        });
        self.rest.add(job.cancel_handle());
        job
    }
}

fn keep_first<E>(first: &Mutex<Option<Failure<E>>>, failure: Failure<E>) {
    let mut kept = first.lock();
    let late = if kept.is_some() { Some(failure) } else { kept.replace(failure) };
    drop(kept);
    guarded(move || drop(late));
}

impl<'env, E: 'env> fmt::Debug for TryScope<'_, 'env, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryScope").field("cancelled", &self.rest.is_cancelled()).finish_non_exhaustive()
    }
}

/// What the first failure cancels.
struct Rest {
    token: CancelToken,
    latch: Arc<Latch>,
    jobs: Mutex<Jobs>,
}

struct Jobs {
    cancelled: bool,
    handles: Vec<CancelHandle>,
    /// When there are this many handles, those of jobs that are over are dropped.
    sweep_at: usize,
}

impl Jobs {
    fn new() -> Self {
        Jobs { cancelled: false, handles: Vec::new(), sweep_at: limits::SCOPE_SWEEP_MIN }
    }
}

impl Rest {
    fn is_cancelled(&self) -> bool {
        self.jobs.lock().cancelled
    }

    /// A job was submitted: it is cancelled with the rest, or at once.
    fn add(&self, handle: Option<CancelHandle>) {
        let Some(handle) = handle else { return };
        let mut jobs = self.jobs.lock();
        if jobs.cancelled {
            // Its own failure may be the one that has cancelled the rest; to cancel it now does nothing then.
            drop(jobs);
            handle.cancel();
            return;
        }
        jobs.handles.push(handle);
        if jobs.handles.len() >= jobs.sweep_at {
            jobs.handles.retain(|handle| !handle.is_over());
            jobs.sweep_at = (jobs.handles.len() * 2).max(limits::SCOPE_SWEEP_MIN);
        }
    }

    fn cancel(&self) {
        let handles = {
            let mut jobs = self.jobs.lock();
            jobs.cancelled = true;
            std::mem::take(&mut jobs.handles)
        };
        self.latch.set_cancelled();
        self.token.cancel();
        for handle in handles {
            handle.cancel();
        }
    }
}
