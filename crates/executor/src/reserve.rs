//! Awaitable admission: waiting for a place in a queue, and the permit that holds one. A dropped permit, or a dropped future that was
//! granted one, passes the place to the next in line.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::cancel::CancelToken;
use crate::core::Entry;
use crate::error::Rejected;
use crate::executor::Executor;
use crate::job::Job;
use crate::lane::{Admission, Applicant};
use crate::pool;

impl Executor {
    /// Waits for a place in the queue. Places are granted in FIFO order.
    ///
    /// ```
    /// use overlapped::{Executor, block_on};
    ///
    /// let executor = Executor::builder().max_workers(1).queue_limit(2).build()?;
    /// let sum = block_on(async {
    ///     let mut sum = 0;
    ///     for n in 0..100 {
    ///         let job = executor.reserve().await?.submit(move || n);
    ///         sum += job.await?;
    ///     }
    ///     Ok::<i32, Box<dyn std::error::Error>>(sum)
    /// });
    /// assert_eq!(sum.unwrap(), 4950);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Rejected::ShutDown`] once the executor is shut down.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the line; a place that it had just been given goes to the next.
    pub fn reserve(&self) -> Reserve {
        Reserve { executor: self.clone(), state: Reserving::New, wants_to_know: false }
    }

    /// As `reserve`, for a caller that may not poll again: a place is granted only during a poll.
    pub(crate) fn ask_for_place(&self) -> Reserve {
        Reserve { executor: self.clone(), state: Reserving::New, wants_to_know: true }
    }
}

/// Waits for a place in the queue; see [`Executor::reserve`].
#[must_use = "nothing is reserved until this is awaited"]
pub struct Reserve {
    executor: Executor,
    state: Reserving,
    wants_to_know: bool,
}

impl Reserve {
    pub(crate) fn only_asks(&self) -> bool {
        self.wants_to_know
    }
}

enum Reserving {
    New,
    Waiting(Arc<Applicant>, u64),
    Done,
}

impl Future for Reserve {
    type Output = Result<Permit, Rejected>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.executor.is_forked() {
            return Poll::Ready(Err(Rejected::Forked));
        }
        let (pool, lane) = (Arc::clone(self.executor.pool()), self.executor.lane());
        let granted = match &self.state {
            Reserving::New => {
                let applicant = Arc::new(Applicant::new(cx.waker().clone(), self.wants_to_know));
                let applied = pool.core().apply(lane, &applicant);
                match applied {
                    Ok(None) => Ok(()),
                    Err(why) => Err(why),
                    Ok(Some(ticket)) => {
                        self.state = Reserving::Waiting(applicant, ticket);
                        return Poll::Pending;
                    }
                }
            }
            Reserving::Waiting(applicant, _) => match applicant.ask(cx.waker()) {
                Admission::Waiting => return Poll::Pending,
                Admission::Granted => Ok(()),
                Admission::Ask => {
                    self.state = Reserving::New;
                    return self.poll(cx);
                }
                Admission::Closed => Err(Rejected::ShutDown),
            },
            Reserving::Done => unreachable!("polled after it was ready"),
        };
        self.state = Reserving::Done;
        Poll::Ready(granted.map(|()| Permit { executor: self.executor.clone(), used: false }))
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let Reserving::Waiting(applicant, ticket) = &self.state else { return };
        let (pool, lane) = (self.executor.pool(), self.executor.lane());
        if pool.is_forked() {
            return;
        }
        let wakers = {
            let mut core = pool.core();
            core.lane(lane).admission.remove(*ticket);
            // Granted, but not taken by a poll: the place goes to the next.
            match applicant.admission() {
                Admission::Granted => core.give_back_permit(lane),
                Admission::Waiting | Admission::Ask | Admission::Closed => Vec::new(),
            }
        };
        pool.notify(&[], wakers);
    }
}

impl fmt::Debug for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserve").finish_non_exhaustive()
    }
}

/// A place in the queue, for one job. Dropping it gives the place back.
#[must_use = "a permit holds a place in the queue until it is used or dropped"]
pub struct Permit {
    executor: Executor,
    used: bool,
}

impl Permit {
    /// As [`Executor::submit`], into the reserved place: the queue cannot be full.
    #[track_caller]
    pub fn submit<F, R>(mut self, closure: F) -> Job<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let job = self.executor.send(closure, None, Entry::Permit);
        // A permit that a shutdown has overtaken still holds its place.
        self.used = job.id() != 0;
        job
    }

    /// As [`submit`](Permit::submit), for a closure that can be asked to stop while it runs.
    #[track_caller]
    pub fn submit_cancellable<F, R>(self, closure: F) -> Job<R>
    where
        F: FnOnce(&CancelToken) -> R + Send + 'static,
        R: Send + 'static,
    {
        let token = CancelToken::new();
        let own = token.clone();
        self.submit(move || pool::with_token(&own, closure)).with_token(token)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.used && !self.executor.is_forked() {
            let (pool, lane) = (self.executor.pool(), self.executor.lane());
            let wakers = pool.core().give_back_permit(lane);
            pool.notify(&[], wakers);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
