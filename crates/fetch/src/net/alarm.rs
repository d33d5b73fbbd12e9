//! Deadlines at little cost: one lazily re-armed timer for each attempt loop. It is reset only when a deadline is
//! earlier than its own, and polled only when there is nothing else to do.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use overlapped_proto::error::ErrorKind;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;
use tokio::time::{Sleep, sleep_until};

use crate::clock::Clock;

/// The timer of one attempt loop.
pub(crate) struct Alarm {
    clock: Clock,
    /// Lazily re-armed: it fires at `armed`, which may be earlier than the deadline, and is then set again. A deadline
    /// that moves with every request costs one reset per timeout, not one per request.
    timer: Option<(Pin<Box<Sleep>>, Nanos)>,
    /// The deadline of the whole attempt.
    total: Deadline,
}

/// A point in time, and the error when it is missed.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    at: Nanos,
    kind: ErrorKind,
    /// The span that it ends, where that is known.
    limit: Option<Nanos>,
}

impl Deadline {
    /// No deadline beside that of the whole attempt.
    pub(crate) const NEVER: Self = Self { at: Nanos::MAX, kind: ErrorKind::TimeoutTotal, limit: None };

    /// `limit` after `now`; never if there is none.
    pub(crate) fn after(now: Nanos, limit: Option<Nanos>, kind: ErrorKind) -> Self {
        Self { at: limit.map_or(Nanos::MAX, |limit| now + limit), kind, limit }
    }

    /// At a point in time.
    pub(crate) fn at(at: Nanos, kind: ErrorKind) -> Self {
        Self { at, kind, limit: None }
    }

    fn earlier(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }
}

impl Alarm {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, timer: None, total: Deadline::NEVER }
    }

    /// Begins an attempt.
    pub(crate) fn begin(&mut self, now: Nanos, total: Option<Nanos>) {
        self.total = Deadline::after(now, total, ErrorKind::TimeoutTotal);
    }

    /// Runs `work` until it is done or the earlier of `deadline` and that of the whole attempt has passed.
    pub(crate) async fn within<T>(
        &mut self,
        deadline: Deadline,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let deadline = self.total.earlier(deadline);
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_at(deadline.at, cx).map(|()| Err(timed_out(deadline))),
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

fn timed_out(Deadline { kind, limit, .. }: Deadline) -> Failure {
    let flag = FLAGS.iter().find(|(of, _)| *of == kind);
    match limit.zip(flag) {
        Some((limit, (_, flag))) => {
            let meaning = kind.meaning().trim_end_matches('.');
            Failure::new(kind, format!("{meaning}: {:?} ({flag})", std::time::Duration::from(limit)))
        }
        None => Failure::new(kind, kind.meaning()),
    }
}

/// The flags that set the limits.
const FLAGS: [(ErrorKind, &str); 5] = [
    (ErrorKind::TimeoutTotal, "-m"),
    (ErrorKind::DnsTimeout, "--connect-timeout"),
    (ErrorKind::ConnectTimeout, "--connect-timeout"),
    (ErrorKind::TlsTimeout, "--connect-timeout"),
    (ErrorKind::TimeoutFirstByte, "--first-byte-timeout"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timeout_names_the_flag_that_moves_it() {
        // A body that is slow is judged where it is read.
        let is_here = |kind: &&ErrorKind| kind.name().contains("timeout") && **kind != ErrorKind::TimeoutSlow;
        let kinds: Vec<_> = ErrorKind::ALL.iter().filter(is_here).collect();
        assert_eq!(kinds.len(), FLAGS.len());
        for kind in kinds {
            let limit = Some(Nanos::from_millis(1_500));
            let failure = timed_out(Deadline::after(Nanos::ZERO, limit, *kind));
            let (_, flag) = FLAGS.iter().find(|(of, _)| of == kind).unwrap();
            assert!(failure.message.ends_with(&format!(": 1.5s ({flag})")), "{failure}");
        }
    }
}
