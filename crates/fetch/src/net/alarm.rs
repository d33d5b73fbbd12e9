//! Deadlines that cost next to nothing when they are kept: one timer for each lane, moved only when it must ring
//! earlier, and looked at only when there is nothing else to do.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use overlapped_proto::error::ErrorKind;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;
use tokio::time::{Sleep, sleep_until};

use crate::clock::Clock;

/// The timer of one lane.
pub(crate) struct Alarm {
    clock: Clock,
    /// Rings at `armed`, which may be earlier than what is waited for; then it is set anew. A deadline that moves on
    /// with every request so touches the timer once in a deadline's length, not once a request.
    timer: Option<(Pin<Box<Sleep>>, Nanos)>,
    /// The deadline of the whole attempt.
    total: Deadline,
}

/// When something must be done, and how it failed if it was not.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    at: Nanos,
    kind: ErrorKind,
}

impl Deadline {
    /// None of its own: only that of the whole attempt holds.
    pub(crate) const NEVER: Self = Self { at: Nanos::MAX, kind: ErrorKind::TimeoutTotal };

    /// `limit` from `now`; for ever if there is none.
    pub(crate) fn after(now: Nanos, limit: Option<Nanos>, kind: ErrorKind) -> Self {
        Self { at: limit.map_or(Nanos::MAX, |limit| now + limit), kind }
    }

    /// At a point in time.
    pub(crate) fn at(at: Nanos, kind: ErrorKind) -> Self {
        Self { at, kind }
    }

    fn earlier(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }
}

impl Alarm {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, timer: None, total: Deadline { at: Nanos::MAX, kind: ErrorKind::TimeoutTotal } }
    }

    /// Begins an attempt.
    pub(crate) fn begin(&mut self, now: Nanos, total: Option<Nanos>) {
        self.total = Deadline::after(now, total, ErrorKind::TimeoutTotal);
    }

    /// Polls until `work` is done, or until the deadline or that of the whole attempt has passed.
    pub(crate) async fn within<T>(
        &mut self,
        deadline: Deadline,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let deadline = self.total.earlier(deadline);
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_at(deadline.at, cx).map(|()| Err(timed_out(deadline.kind))),
        })
        .await
    }

    /// Ready once `at` has passed.
    pub(crate) fn poll_at(&mut self, at: Nanos, cx: &mut Context<'_>) -> Poll<()> {
        if at == Nanos::MAX {
            return Poll::Pending;
        }
        loop {
            let (timer, armed) = match &mut self.timer {
                Some(timer) => timer,
                empty @ None => empty.insert((Box::pin(sleep_until(self.clock.instant(at))), at)),
            };
            if at < *armed {
                timer.as_mut().reset(self.clock.instant(at));
                *armed = at;
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.clock.now() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.clock.instant(at));
            *armed = at;
        }
    }
}

fn timed_out(kind: ErrorKind) -> Failure {
    Failure::new(kind, kind.meaning())
}
