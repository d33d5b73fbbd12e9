//! The only clock. Everything else is given `now`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use overlapped_proto::time::Nanos;

/// Tells the time since the start of the run.
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

    /// The same moment as the runtime's timers know it.
    pub(crate) fn instant(&self, at: Nanos) -> tokio::time::Instant {
        let far = Duration::from_secs(86_400 * 365);
        tokio::time::Instant::from_std(self.start + Duration::from(at).min(far))
    }

    /// The same moment on the wall, in microseconds since 1970: the monotonic time since the start, so that a clock
    /// set during the run does not make a record end before it began.
    pub(crate) fn unix_us(&self, at: Nanos) -> i64 {
        i64::try_from((self.start_unix + Duration::from(at)).as_micros()).unwrap_or(i64::MAX)
    }

    /// The same moment on the wall, in whole seconds since 1970.
    pub(crate) fn unix_s(&self, at: Nanos) -> i64 {
        self.unix_us(at) / 1_000_000
    }
}
