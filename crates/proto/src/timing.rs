//! When the phases of one attempt ended. Stamps are taken once and in order; what did not happen stays empty.

use crate::time::Nanos;

/// The phases of one attempt, as durations. `None`: it did not happen, as `dns` on a connection that is used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Waiting for a place: from the moment the row was ready until the attempt started.
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
    /// The sum of all phases that happened.
    #[must_use]
    pub fn total(&self) -> Nanos {
        [self.blocked, self.dns, self.connect, self.tls, self.send, self.wait, self.receive]
            .into_iter()
            .flatten()
            .fold(Nanos::ZERO, |sum, phase| sum + phase)
    }
}

/// Takes the stamps of one attempt, in the order of [`Timing`]'s fields.
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
/// assert_eq!(timing.total(), Nanos(90));
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
