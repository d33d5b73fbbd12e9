//! The phase timings of one attempt. Timestamps are taken once and in order; a phase that did not happen has none.

use crate::error::Phase;
use crate::time::Nanos;

/// The durations of the phases of one attempt. `None`: the phase did not happen, such as `dns` on a reused connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// The time in the queue: from the moment the row was ready until the attempt started. Not part of the total.
    pub blocked: Option<Nanos>,
    /// Resolving the name.
    pub dns: Option<Nanos>,
    /// Opening the connection, without TLS.
    pub connect: Option<Nanos>,
    /// The TLS handshake.
    pub tls: Option<Nanos>,
    /// Sending the request.
    pub send: Option<Nanos>,
    /// From the end of the request to the first byte of the response.
    pub wait: Option<Nanos>,
    /// From the first byte of the response to its last.
    pub receive: Option<Nanos>,
}

impl Timing {
    /// The duration of the request: the sum of all phases that happened, without the time in the queue.
    #[must_use]
    pub fn total(&self) -> Nanos {
        [self.dns, self.connect, self.tls, self.send, self.wait, self.receive]
            .into_iter()
            .flatten()
            .fold(Nanos::ZERO, |sum, phase| sum + phase)
    }
}

/// Takes the timestamps of one attempt, in the order of [`Timing`]'s fields.
///
/// ```
/// use overlapped_proto::time::Nanos;
/// use overlapped_proto::timing::Stopwatch;
///
/// let mut watch = Stopwatch::start(Nanos(10), Nanos(25));
/// let timing = {
///     watch.wait(Nanos(75));
///     watch.receive(Nanos(100));
///     watch.timing()
/// };
/// assert_eq!(timing.blocked, Some(Nanos(15)));
/// assert_eq!(timing.connect, None);
/// assert_eq!(timing.wait, Some(Nanos(50)));
/// assert_eq!(timing.total(), Nanos(75));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    timing: Timing,
    started: Nanos,
    last: Nanos,
}

macro_rules! laps {
    ($($(#[doc = $doc:literal])+ $phase:ident)+) => {
        $($(#[doc = $doc])+
        pub fn $phase(&mut self, now: Nanos) {
            self.timing.$phase = Some(now - self.last);
            self.last = now;
        })+
    };
}

impl Stopwatch {
    /// Starts an attempt at `now` on a row that has been ready since `ready`.
    #[must_use]
    pub fn start(ready: Nanos, now: Nanos) -> Self {
        Self { timing: Timing { blocked: Some(now - ready), ..Timing::default() }, started: now, last: now }
    }

    laps! {
        /// The name is resolved.
        dns
        /// The connection is open.
        connect
        /// The TLS handshake is done.
        tls
        /// The request is sent.
        send
        /// The first byte of the response is here.
        wait
        /// The last byte of the response is here, or the attempt ended early.
        receive
    }

    /// The attempt failed in this phase: what has passed since the last stamp belongs to it. Where the phase does not
    /// tell, it belongs to what comes next.
    pub fn fail(&mut self, phase: Phase, now: Nanos) {
        match phase {
            Phase::Dns => self.dns(now),
            Phase::Connect => self.connect(now),
            Phase::Tls => self.tls(now),
            Phase::Send => self.send(now),
            Phase::Body => self.receive(now),
            Phase::Head | Phase::Input | Phase::Sink | Phase::Run => match self.timing {
                Timing { wait: Some(_), .. } => self.receive(now),
                Timing { send: Some(_), .. } => self.wait(now),
                Timing { connect: Some(_), .. } => self.send(now),
                Timing { connect: None, .. } if phase == Phase::Head => self.send(now),
                Timing { connect: None, .. } => self.connect(now),
            },
        }
    }

    /// When the attempt started.
    #[must_use]
    pub fn started(&self) -> Nanos {
        self.started
    }

    /// The phases so far.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attempt that passes phases of 10 ns each and fails 5 ns later: what is reported of `connect`, `send`, `wait`.
    fn check(passed: &[fn(&mut Stopwatch, Nanos)], phase: Phase, expected: [Option<u64>; 3], total: u64) {
        let mut watch = Stopwatch::start(Nanos(0), Nanos(100));
        let mut now = Nanos(100);
        for stamp in passed {
            now += Nanos(10);
            stamp(&mut watch, now);
        }
        watch.fail(phase, now + Nanos(5));
        let Timing { connect, send, wait, .. } = watch.timing();
        assert_eq!([connect, send, wait].map(|phase| phase.map(|span| span.0)), expected, "{phase:?}");
        assert_eq!(watch.timing().total(), Nanos(total), "{phase:?}");
    }

    #[test]
    fn a_failed_attempt_took_its_time_all_the_same() {
        let (connect, send) = (Stopwatch::connect, Stopwatch::send);
        check(&[], Phase::Connect, [Some(5), None, None], 5);
        check(&[], Phase::Run, [Some(5), None, None], 5);
        check(&[connect], Phase::Run, [Some(10), Some(5), None], 15);
        check(&[connect, send], Phase::Head, [Some(10), Some(10), Some(5)], 25);
        check(&[send], Phase::Head, [None, Some(10), Some(5)], 15);
        check(&[], Phase::Head, [None, Some(5), None], 5);
        check(&[connect, send], Phase::Body, [Some(10), Some(10), None], 25);
    }
}
