//! One request on one connection, over hyper.
//!
//! The lane that asks also drives the connection: no second task, no hand-over between them. So whoever holds a
//! [`Connection`] owns its socket, and an idle one costs nothing until it is taken up again.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderValue;
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connect::Stream;

/// The body of a request.
pub(crate) type Payload = Full<Bytes>;

type Driver = http1::Connection<TokioIo<Metered>, Payload>;

/// What may be read before the head of a response is complete, interim responses (1xx) included. More than one head,
/// because the first bytes of the body may come along with it.
const HEADS_BYTES_MAX: usize = 2 * limits::HEAD_BYTES_MAX;

/// How many fields the heads of responses may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heads {
    /// A hundred. hyper keeps the places for them on the stack.
    Usual,
    /// `limits::HEADERS_MAX`. hyper makes and clears the places for all of them for every response, which costs more
    /// than everything else it does; so this is for the few servers that need it.
    Large,
}

/// An open connection on which one request at a time is made.
pub(crate) struct Connection {
    sender: http1::SendRequest<Payload>,
    driver: Driver,
    /// Bytes that may still be read; [`usize::MAX`] once the head is complete.
    allowance: Rc<Cell<usize>>,
    /// Where it leads.
    pub(crate) remote: SocketAddr,
    /// What the `Host` field says on it.
    pub(crate) host: HeaderValue,
    /// When it was opened.
    pub(crate) opened: Nanos,
    /// How many fields a head may have on it.
    pub(crate) heads: Heads,
    /// When it was last found reusable: within one turn it is not looked at twice.
    looked: Option<Nanos>,
    /// A response has come over it before.
    pub(crate) used: bool,
    /// Something came since the last request was sent.
    pub(crate) heard: bool,
}

impl Connection {
    /// Speaks HTTP/1.1 over an open stream.
    pub(crate) async fn open(
        stream: Stream,
        remote: SocketAddr,
        host: HeaderValue,
        heads: Heads,
        opened: Nanos,
    ) -> Result<Self, Failure> {
        let allowance = Rc::new(Cell::new(HEADS_BYTES_MAX));
        let stream = Metered { stream, allowance: allowance.clone() };
        let mut builder = http1::Builder::new();
        // A request fits one buffer, and one plain write costs less than a vectored one.
        builder.max_buf_size(limits::HEAD_BYTES_MAX).writev(false);
        match heads {
            Heads::Usual => {}
            Heads::Large => drop(builder.max_headers(limits::HEADERS_MAX)),
        }
        let (sender, driver) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failure(&error, ErrorKind::HttpReset))?;
        Ok(Self {
            sender,
            driver,
            allowance,
            remote,
            host,
            opened,
            heads,
            looked: None,
            used: false,
            heard: false,
        })
    }

    /// True if another request can be made at `now`; looks whether the server has closed it in the meantime.
    pub(crate) fn is_reusable(&mut self, now: Nanos) -> bool {
        if self.looked == Some(now) {
            return true;
        }
        // The next request brings its own waker: nobody waits for what happens until then.
        let pending = Pin::new(&mut self.driver).poll(&mut Context::from_waker(Waker::noop())).is_pending();
        let reusable = pending && self.sender.is_ready();
        self.looked = if reusable { Some(now) } else { None };
        reusable
    }

    /// Sends `request`; `sent` is called once it is handed to the system, the answer is the head of the response.
    ///
    /// # Cancel safety
    ///
    /// A connection on which this was dropped half-way must be dropped too.
    pub(crate) async fn send(
        &mut self,
        request: http::Request<Payload>,
        mut sent: impl FnMut(),
    ) -> Result<http::Response<Incoming>, Failure> {
        let used = self.used;
        self.used = true;
        self.looked = None;
        self.allowance.set(HEADS_BYTES_MAX);
        let mut answer = pin!(self.sender.send_request(request));
        let driver = &mut self.driver;
        let mut first = true;
        let response = poll_fn(|cx| {
            let ended = Pin::new(&mut *driver).poll(cx);
            if std::mem::take(&mut first) {
                sent();
            }
            // Only the driver can bring the answer, and it has just been polled: no waker is needed, and none is
            // woken for nothing.
            let answer = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            match (answer, ended) {
                (Poll::Ready(answer), _) => {
                    Poll::Ready(answer.map_err(|error| failure(&error, ErrorKind::HttpReset)))
                }
                (Poll::Pending, Poll::Ready(_)) => Poll::Ready(Err(no_response(used))),
                (Poll::Pending, Poll::Pending) => Poll::Pending,
            }
        })
        .await;
        self.heard = self.allowance.replace(usize::MAX) < HEADS_BYTES_MAX;
        response
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Cancel safety
    ///
    /// A connection on which this was dropped half-way must be dropped too.
    pub(crate) async fn frame(&mut self, body: &mut Incoming) -> Option<Result<Bytes, Failure>> {
        poll_fn(|cx| {
            if let Poll::Ready(frame) = next_data(body) {
                return Poll::Ready(frame);
            }
            let ended = Pin::new(&mut self.driver).poll(cx);
            match (next_data(body), ended) {
                (Poll::Pending, Poll::Ready(_)) => Poll::Ready(Some(Err(Failure::new(
                    ErrorKind::BodyTruncated,
                    "the connection ended before the body did",
                )))),
                (frame, _) => frame,
            }
        })
        .await
    }
}

/// A stream of which only so much is read: hyper passes over any number of interim responses, and while they keep
/// coming it does not come back.
struct Metered {
    stream: Stream,
    allowance: Rc<Cell<usize>>,
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, allowance } = self.get_mut();
        if allowance.get() == 0 {
            let message = "the head of the response does not end";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::FileTooLarge, message)));
        }
        let before = buf.filled().len();
        let ready = Pin::new(stream).poll_read(cx, buf);
        let left = allowance.get();
        if left != usize::MAX {
            allowance.set(left.saturating_sub(buf.filled().len() - before));
        }
        ready
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The next piece of data that is already here; trailers are passed over.
fn next_data(body: &mut Incoming) -> Poll<Option<Result<Bytes, Failure>>> {
    loop {
        let frame = Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop()));
        match frame {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => return Poll::Ready(Some(Ok(data))),
                Err(_trailers) => {}
            },
            Poll::Ready(Some(Err(error))) => {
                return Poll::Ready(Some(Err(failure(&error, ErrorKind::BodyReset))));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        }
    }
}

fn no_response(used: bool) -> Failure {
    let when =
        if used { "an idle connection as the request was sent" } else { "the connection without an answer" };
    Failure::new(ErrorKind::HttpNoResponse, format!("the server closed {when}"))
}

/// What hyper says, in the words of the table; `broken` is the kind for a connection that broke.
fn failure(error: &hyper::Error, broken: ErrorKind) -> Failure {
    let in_body = broken == ErrorKind::BodyReset;
    let kind = if error.is_parse_too_large() {
        ErrorKind::HttpLimit
    } else if error.is_parse() {
        if in_body { ErrorKind::BodyFraming } else { ErrorKind::HttpParse }
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        if in_body { ErrorKind::BodyTruncated } else { ErrorKind::HttpNoResponse }
    } else {
        io_kind(error, broken)
    };
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Failure::new(kind, format!("{error}{cause}"))
}

fn io_kind(error: &hyper::Error, broken: ErrorKind) -> ErrorKind {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    match source.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::FileTooLarge) => ErrorKind::HttpLimit,
        Some(std::io::ErrorKind::UnexpectedEof) if broken == ErrorKind::BodyReset => ErrorKind::BodyTruncated,
        Some(std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput)
            if broken == ErrorKind::BodyReset =>
        {
            ErrorKind::BodyFraming
        }
        _ => broken,
    }
}
