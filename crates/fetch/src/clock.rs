//! The only module that reads the clock. Other code gets `now` as an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use overlapped_proto::time::Nanos;

/// A monotonic clock that starts with the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_unix: Duration,
}

impl Clock {
    /// A run that starts now.
    pub(crate) fn start() -> Self {
        let start_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_unix }
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Nanos {
        self.start.elapsed().into()
    }

    /// A time of this clock as the runtime's timers use it.
    pub(crate) fn instant(&self, at: Nanos) -> tokio::time::Instant {
        let far = Duration::from_secs(86_400 * 365);
        tokio::time::Instant::from_std(self.start + Duration::from(at).min(far))
    }

    /// A time of this clock as wall-clock time, in microseconds since 1970. It is derived from the start of the run, so
    /// that setting the system clock does not make a record end before it began.
    pub(crate) fn unix_us(&self, at: Nanos) -> i64 {
        i64::try_from((self.start_unix + Duration::from(at)).as_micros()).unwrap_or(i64::MAX)
    }

    /// A time of this clock as wall-clock time, in seconds since 1970.
    pub(crate) fn unix_s(&self, at: Nanos) -> i64 {
        self.unix_us(at) / 1_000_000
    }
}
