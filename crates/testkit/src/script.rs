//! A script: the steps that the server performs on a connection, and how its bytes are split into segments.
//!
//! Every response of the server is a script, including those of the built-in routes; `wire` plays them. A script is plain data.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::oracle::Pattern;

/// Steps on a connection, in order. Bytes are sent as given: nothing is added, checked or corrected.
///
/// As the response of a route (see [`Builder::route`](crate::Builder::route)) it starts when the request has been read; at its
/// end the next request is read, unless a step closes the connection. As a whole connection (see
/// [`RawServer`](crate::RawServer)) it starts when the connection is accepted, and the connection is closed at its end.
///
/// ```
/// use std::time::Duration;
/// use overlapped_testkit::Script;
///
/// let slow_head = Script::new()
///     .send("HTTP/1.1 200 OK\r\nContent-Le")
///     .pause(Duration::from_millis(20))
///     .send("ngth: 2\r\n\r\nok");
/// let split = Script::response(200, &[("X-A", "1")], "hello").split_at(17);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub(crate) steps: Vec<Step>,
    pub(crate) delivery: Delivery,
    pub(crate) gap: Duration,
}

/// How the bytes of a script are split into segments. Each segment is one write on a socket with TCP_NODELAY; a client may still
/// receive two in one read unless there is a [`Script::gap`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Each step is one segment.
    #[default]
    Whole,
    /// Each byte is a segment.
    ByteByByte,
    /// The bytes are split at this offset, which counts over the whole script.
    SplitAt(u64),
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Bytes),
    /// A prefix of a pattern, which is computed and needs no memory.
    Fill(Pattern, u64),
    /// A repeated block.
    Repeat(Bytes, u64),
    /// Pieces of a number of bytes, with a pause between them.
    Drip {
        bytes: Bytes,
        each: usize,
        every: Duration,
    },
    Pause(Duration),
    Until(Condition),
    /// Waits until the client disconnects.
    Silence,
    ExpectRequest,
    ExpectHead,
    HalfClose,
    Close,
    Cut,
    Reset,
}

/// A condition of the test.
#[derive(Clone)]
pub(crate) struct Condition(pub(crate) Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condition")
    }
}

impl Script {
    /// A script without steps: as a route it does not respond to this request and reads the next.
    pub fn new() -> Script {
        Script::default()
    }

    /// A well-formed HTTP/1.1 response with this body and a `Content-Length`.
    pub fn response(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Script {
        let body = body.into();
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").expect("a String takes all");
        }
        write!(head, "Content-Length: {}\r\n\r\n", body.len()).expect("a String takes all");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&body);
        Script::new().send(bytes)
    }

    /// Sends these bytes.
    pub fn send(self, bytes: impl Into<Bytes>) -> Script {
        self.step(Step::Send(bytes.into()))
    }

    /// Sends this block `times` times, with one copy of it in memory.
    pub fn repeat(self, block: impl Into<Bytes>, times: u64) -> Script {
        self.step(Step::Repeat(block.into(), times))
    }

    /// Sends `each` bytes at a time, with a pause of `every` between them.
    pub fn drip(self, bytes: impl Into<Bytes>, each: usize, every: Duration) -> Script {
        self.step(Step::Drip { bytes: bytes.into(), each, every })
    }

    /// Waits. If the client disconnects meanwhile, the script ends.
    pub fn pause(self, time: Duration) -> Script {
        self.step(Step::Pause(time))
    }

    /// Waits until a condition holds, which is evaluated every few milliseconds and must not block. If the client disconnects
    /// meanwhile, the script ends.
    pub fn until(self, holds: impl Fn() -> bool + Send + Sync + 'static) -> Script {
        self.step(Step::Until(Condition(Arc::new(holds))))
    }

    /// Waits until the client disconnects, and ends the script.
    pub fn silence(self) -> Script {
        self.step(Step::Silence)
    }

    /// Reads a whole request and records it. If the client disconnects instead, the script ends.
    pub fn expect_request(self) -> Script {
        self.step(Step::ExpectRequest)
    }

    /// Reads the head of a request and records it; its body stays unread.
    pub fn expect_head(self) -> Script {
        self.step(Step::ExpectHead)
    }

    /// Closes the sending direction (FIN; over TLS `close_notify` first) and keeps reading.
    pub fn half_close(self) -> Script {
        self.step(Step::HalfClose)
    }

    /// Closes the connection cleanly: over TLS `close_notify`, then FIN.
    pub fn close(self) -> Script {
        self.step(Step::Close)
    }

    /// Closes the TCP connection at once: over TLS without `close_notify`, as in a truncation attack.
    pub fn cut(self) -> Script {
        self.step(Step::Cut)
    }

    /// Resets the connection: RST, by `SO_LINGER` 0.
    pub fn reset(self) -> Script {
        self.step(Step::Reset)
    }

    /// Sends every byte in its own segment.
    pub fn byte_by_byte(self) -> Script {
        self.delivered(Delivery::ByteByByte)
    }

    /// Splits the bytes into two segments at this offset.
    pub fn split_at(self, offset: u64) -> Script {
        self.delivered(Delivery::SplitAt(offset))
    }

    /// Sets how the bytes are split.
    pub fn delivered(mut self, delivery: Delivery) -> Script {
        self.delivery = delivery;
        self
    }

    /// Sets the pause between two segments of a [`Delivery`].
    pub fn gap(mut self, gap: Duration) -> Script {
        self.gap = gap;
        self
    }

    /// The number of bytes that the script sends. [`Script::split_at`] has an effect at the offsets from 1 to one less.
    pub fn bytes(&self) -> u64 {
        let lengths = self.steps.iter().map(|step| match step {
            Step::Send(bytes) | Step::Drip { bytes, .. } => bytes.len() as u64,
            Step::Fill(_, bytes) => *bytes,
            Step::Repeat(block, times) => (block.len() as u64).saturating_mul(*times),
            Step::Pause(_) | Step::Until(_) | Step::Silence | Step::ExpectRequest | Step::ExpectHead => 0,
            Step::HalfClose | Step::Close | Step::Cut | Step::Reset => 0,
        });
        lengths.fold(0, u64::saturating_add)
    }

    pub(crate) fn step(mut self, step: Step) -> Script {
        self.steps.push(step);
        self
    }

    /// True if the response to the current request is complete after the step at this index: the steps up to the next request
    /// neither send nor wait.
    pub(crate) fn completes_answer(&self, index: usize) -> bool {
        for step in self.steps.iter().skip(index + 1) {
            match step {
                Step::Send(_) | Step::Fill(..) | Step::Repeat(..) | Step::Drip { .. } => return false,
                Step::Pause(_) | Step::Until(_) | Step::Silence => return false,
                Step::ExpectRequest | Step::ExpectHead => return true,
                Step::HalfClose | Step::Close | Step::Cut | Step::Reset => {}
            }
        }
        true
    }
}

/// The standard reason phrase of a status.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        410 => "Gone",
        416 => "Range Not Satisfiable",
        418 => "I'm a teapot",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
