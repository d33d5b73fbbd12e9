//! Deadlines at little cost: one lazily re-armed timer for each attempt loop. It is reset only when a deadline is
//! earlier than its own, and polled only when there is nothing else to do.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use overlapped_proto::error::ErrorKind;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock::Clock;

/// The timer of one attempt loop.
pub(crate) struct Alarm {
    clock: Clock,
    /// Lazily re-armed: it fires at `armed`, which may be earlier than the deadline, and is then set again. A deadline
    /// that moves with every request costs one reset per timeout, not one per request.
    timer: Option<Timer>,
    /// The deadline of the whole attempt.
    total: Deadline,
}

struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// When it fires.
    armed: Nanos,
    /// The waker to call then; `None` if it was not polled since it was set.
    waker: Option<Waker>,
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

    /// Begins an attempt for which `spent` of a limit is used up.
    pub(crate) fn begin(&mut self, now: Nanos, total: Option<Nanos>, spent: Nanos) {
        let left = total.map(|total| total - spent);
        self.total = Deadline { limit: total, ..Deadline::after(now, left, ErrorKind::TimeoutTotal) };
    }

    /// Leaves the runtime in which it was used: the next deadline gets a timer of the current one.
    pub(crate) fn leave_runtime(&mut self) {
        self.timer = None;
    }

    /// Runs `work` until it is done or the earlier of `deadline` and that of the whole attempt has passed.
    pub(crate) async fn within<T>(
        &mut self,
        deadline: Deadline,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        self.within_that(|| deadline, work).await
    }

    /// The same with a deadline that depends on how far the work is. It is asked for whenever the work waits.
    pub(crate) async fn within_that<T>(
        &mut self,
        mut deadline: impl FnMut() -> Deadline,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => {
                let deadline = self.total.earlier(deadline());
                self.poll_at(deadline.at, cx).map(|()| Err(timed_out(deadline)))
            }
        })
        .await
    }

    /// Ready once `at` has passed.
    pub(crate) fn poll_at(&mut self, at: Nanos, cx: &mut Context<'_>) -> Poll<()> {
        if at == Nanos::MAX {
            return Poll::Pending;
        }
        loop {
            let clock = self.clock;
            let timer = self.timer.get_or_insert_with(|| {
                let sleep = Box::pin(sleep_until(clock.instant(at)));
                Timer { sleep, armed: at, waker: None }
            });
            if at < timer.armed {
                timer.set(at, clock.instant(at));
            }
            if timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
            if clock.now() >= at {
                return Poll::Ready(());
            }
            timer.set(at, clock.instant(at));
        }
    }
}

impl Timer {
    fn set(&mut self, at: Nanos, instant: Instant) {
        self.sleep.as_mut().reset(instant);
        (self.armed, self.waker) = (at, None);
    }

    /// Ready when it has fired. It is asked again only if that may have happened, or another task is to be woken.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_registered = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_registered && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        let polled = self.sleep.as_mut().poll(cx);
        self.waker = polled.is_pending().then(|| cx.waker().clone());
        polled
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

    #[tokio::test]
    async fn the_limit_is_told_and_not_what_redirects_have_left_of_it() {
        let mut alarm = Alarm::new(Clock::start());
        alarm.begin(Nanos::ZERO, Some(Nanos::from_secs(2)), Nanos::from_millis(1_999));
        let never = std::future::pending::<()>();
        let failure = alarm.within(Deadline::NEVER, never).await.unwrap_err();
        assert!(failure.message.ends_with(": 2s (-m)"), "{failure}");
    }

    /// Whatever task polled before, and whatever the timer was set to.
    #[tokio::test]
    async fn the_task_that_asks_last_is_woken() {
        let clock = Clock::start();
        let mut alarm = Alarm::new(clock);
        for before in [Nanos::ZERO, Nanos::from_secs(3_600), Nanos::MAX] {
            let at = clock.now() + Nanos::from_millis(20);
            let _ = alarm.poll_at(before.max(at), &mut Context::from_waker(Waker::noop()));
            // Asked twice, as after a wake-up for something else.
            let asked = poll_fn(|cx| {
                let first = alarm.poll_at(at, cx);
                if first.is_ready() { first } else { alarm.poll_at(at, cx) }
            });
            tokio::time::timeout(std::time::Duration::from_secs(60), asked).await.expect("it is woken");
            assert!(clock.now() >= at);
        }
    }
}
