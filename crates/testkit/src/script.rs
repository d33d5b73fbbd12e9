//! A script: what the server does on a connection, step by step, and how its bytes are cut into segments.
//!
//! Every answer of the server is a script, those of the built-in routes too; `wire` plays them. A script knows nothing of sockets.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use crate::oracle::Pattern;

/// What to do on a connection, in order. Bytes are sent as they are given: nothing is added, checked or corrected.
///
/// As the answer of a route (see [`Builder::route`](crate::Builder::route)) it starts when the request has been read, and the
/// connection goes on with its next request at the end, unless a step closes it. As a whole connection
/// (see [`RawServer`](crate::RawServer)) it starts when the connection is accepted, and the connection is closed at the end.
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

/// How the bytes of a script are cut into segments. Each segment is one write on a socket without Nagle's delay; a client that is slow
/// to read may still get two at once unless there is a [`Script::gap`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Each step is written at once.
    #[default]
    Whole,
    /// Each byte is written on its own.
    ByteByByte,
    /// The bytes before and from this offset, counted over the whole script, are written apart.
    SplitAt(u64),
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Bytes),
    /// The first so many bytes of a pattern, which need no memory.
    Fill(Pattern, u64),
    /// A block so many times.
    Repeat(Bytes, u64),
    /// Some bytes at a time, with a pause between.
    Drip {
        bytes: Bytes,
        each: usize,
        every: Duration,
    },
    Pause(Duration),
    /// Waits until the client goes away.
    Silence,
    ExpectRequest,
    ExpectHead,
    HalfClose,
    Close,
    Cut,
    Reset,
}

impl Script {
    /// A script without a step: as a route it never answers this request and goes on with the next.
    pub fn new() -> Script {
        Script::default()
    }

    /// A well-formed response of HTTP/1.1 with this body, `Content-Length` included.
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

    /// Sends this block so many times, without holding more of it than once.
    pub fn repeat(self, block: impl Into<Bytes>, times: u64) -> Script {
        self.step(Step::Repeat(block.into(), times))
    }

    /// Sends `each` bytes at a time, with a pause of `every` between.
    pub fn drip(self, bytes: impl Into<Bytes>, each: usize, every: Duration) -> Script {
        self.step(Step::Drip { bytes: bytes.into(), each, every })
    }

    /// Waits. If the client goes away meanwhile, the script ends.
    pub fn pause(self, time: Duration) -> Script {
        self.step(Step::Pause(time))
    }

    /// Waits until the client goes away, and ends the script.
    pub fn silence(self) -> Script {
        self.step(Step::Silence)
    }

    /// Reads a whole request and records it. If the client goes away instead, the script ends.
    pub fn expect_request(self) -> Script {
        self.step(Step::ExpectRequest)
    }

    /// Reads the head of a request, records it and leaves its body unread.
    pub fn expect_head(self) -> Script {
        self.step(Step::ExpectHead)
    }

    /// Ends our direction (FIN; over TLS `close_notify` first) and goes on reading.
    pub fn half_close(self) -> Script {
        self.step(Step::HalfClose)
    }

    /// Closes the connection in good order: over TLS `close_notify`, then FIN.
    pub fn close(self) -> Script {
        self.step(Step::Close)
    }

    /// Closes the TCP connection at once: over TLS without `close_notify`, which is how a truncation looks.
    pub fn cut(self) -> Script {
        self.step(Step::Cut)
    }

    /// Resets the connection: RST, by `SO_LINGER` 0.
    pub fn reset(self) -> Script {
        self.step(Step::Reset)
    }

    /// Every byte in a segment of its own.
    pub fn byte_by_byte(self) -> Script {
        self.delivered(Delivery::ByteByByte)
    }

    /// The bytes before and from this offset in segments of their own.
    pub fn split_at(self, offset: u64) -> Script {
        self.delivered(Delivery::SplitAt(offset))
    }

    /// Cuts the bytes so.
    pub fn delivered(mut self, delivery: Delivery) -> Script {
        self.delivery = delivery;
        self
    }

    /// Waits so long between two segments that [`Delivery`] made.
    pub fn gap(mut self, gap: Duration) -> Script {
        self.gap = gap;
        self
    }

    /// How many bytes the script sends: the number of offsets at which [`Script::split_at`] makes a difference, and one more.
    pub fn bytes(&self) -> u64 {
        let lengths = self.steps.iter().map(|step| match step {
            Step::Send(bytes) | Step::Drip { bytes, .. } => bytes.len() as u64,
            Step::Fill(_, bytes) => *bytes,
            Step::Repeat(block, times) => (block.len() as u64).saturating_mul(*times),
            Step::Pause(_) | Step::Silence | Step::ExpectRequest | Step::ExpectHead => 0,
            Step::HalfClose | Step::Close | Step::Cut | Step::Reset => 0,
        });
        lengths.fold(0, u64::saturating_add)
    }

    pub(crate) fn step(mut self, step: Step) -> Script {
        self.steps.push(step);
        self
    }

    /// Whether the answer to the current request is complete once the step at this index is done: what follows, up to the next
    /// request, neither sends nor waits.
    pub(crate) fn completes_answer(&self, index: usize) -> bool {
        for step in self.steps.iter().skip(index + 1) {
            match step {
                Step::Send(_) | Step::Fill(..) | Step::Repeat(..) | Step::Drip { .. } => return false,
                Step::Pause(_) | Step::Silence => return false,
                Step::ExpectRequest | Step::ExpectHead => return true,
                Step::HalfClose | Step::Close | Step::Cut | Step::Reset => {}
            }
        }
        true
    }
}

/// The usual phrase for a status.
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
