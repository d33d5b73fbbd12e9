//! One request on one connection, in HTTP/1.1.
//!
//! The attempt loop that makes the request reads and writes the socket itself, without a second task or a channel. All
//! connections of a shard share one buffer to read into and one to write from, so that a waiting or idle connection holds
//! only its socket. The codec is in `proto`.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::buf::Chain;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use overlapped_proto::error::ErrorKind;
use overlapped_proto::http1::{Body, Head, HeadReader, Piece, Strictness, TargetForm, write_request};
use overlapped_proto::keepalive::Extra;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::connect::{Look, Stream};
use super::request::Request;
use super::tls_failure::told;
use crate::memory::Share;

/// The buffers that all connections of a shard share.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    read: RefCell<BytesMut>,
    /// Holds the head of a request while it is written, within one poll.
    write: RefCell<Vec<u8>>,
}

/// An open connection that carries one request at a time.
pub(crate) struct Connection {
    stream: Stream,
    blocks: Rc<Blocks>,
    /// The part of the request that the socket has not taken yet. Boxed, because it nearly always takes all at once.
    unsent: Option<Box<Chain<Bytes, Bytes>>>,
    /// Bytes that were read but not consumed.
    unread: Bytes,
    /// The body of the last response; `None` until its head has been read.
    body: Option<Body>,
    /// True if the server accepts another request after the body.
    keeps_alive: bool,
    /// The write error after which nothing can be sent.
    broken: Option<io::Error>,
    /// The peer's address.
    pub(crate) remote: SocketAddr,
    /// When it was opened.
    pub(crate) opened: Nanos,
    /// Bytes of bodies consumed, including their framing.
    pub(crate) body_bytes: u64,
    /// When its last response was complete.
    pub(crate) idle_since: Nanos,
    /// Requests completed on it.
    pub(crate) answers: u32,
    /// True if anything was received since the last request was sent.
    pub(crate) heard: bool,
}

impl Connection {
    /// HTTP/1.1 over an open stream.
    pub(crate) fn new(stream: Stream, blocks: Rc<Blocks>, remote: SocketAddr, opened: Nanos) -> Self {
        Self {
            stream,
            blocks,
            unsent: None,
            unread: Bytes::new(),
            body: None,
            keeps_alive: true,
            broken: None,
            remote,
            opened,
            body_bytes: 0,
            idle_since: opened,
            answers: 0,
            heard: false,
        }
    }

    /// True if the connection can be kept alive: the request was sent, the response is complete, nothing follows it, and
    /// its head allows another request. [`Connection::look`] checks the socket again before reuse.
    pub(crate) fn is_reusable(&self) -> bool {
        let done = self.body.as_ref().is_some_and(Body::is_done) && self.unread.is_empty();
        let sent = self.unsent.is_none() && self.broken.is_none();
        self.keeps_alive && done && sent
    }

    /// True if the response is complete and followed by bytes that no request asked for. Empty lines are passed over.
    pub(crate) fn has_unasked(&mut self) -> bool {
        if self.unread.is_empty() || !self.body.as_ref().is_some_and(Body::is_done) {
            return false;
        }
        let extra = Extra::of(&self.unread);
        if extra == Some(Extra::EmptyLines) {
            self.unread.clear();
        }
        extra.is_none()
    }

    /// Checks for unsolicited bytes or a close before a request is sent. Such bytes would be taken for the response.
    pub(crate) fn look(&mut self) -> Look {
        self.stream.look()
    }

    /// Waits until an idle connection receives something or is closed.
    pub(crate) async fn stirred(&mut self) {
        poll_fn(|cx| self.poll_read(limits::READ_BYTES, cx).map(drop)).await;
    }

    /// Sends `request` and returns the head of the response; `sent` is called once the request is handed to the system.
    /// The head may arrive before the request is sent; sending then goes on while the body is read. `share` counts the
    /// head. While memory is short, a head that is already large waits before it reads on. Its deadline runs meanwhile,
    /// since heads of that size are rare, and a row that times out is retried.
    ///
    /// # Cancel safety
    ///
    /// A connection on which this future was dropped before it was ready must be closed.
    pub(crate) async fn send(
        &mut self,
        request: &Request<'_>,
        strictness: Strictness,
        share: &mut Share,
        sent: impl FnOnce(),
    ) -> Result<Head, Failure> {
        let mut reader = HeadReader::new(request.head.method(), strictness);
        (self.body, self.heard) = (None, false);
        let mut begun = Vec::new();
        let mut sent = Some(sent);
        let mut request = Some(request);
        let head = poll_fn(|cx| {
            match request.take() {
                Some(request) => self.poll_begin(request, cx),
                None => self.poll_send(cx),
            }
            if self.unsent.is_none() {
                sent.take().into_iter().for_each(|sent| sent());
            }
            self.poll_head(&mut reader, &mut begun, share, cx)
        })
        .await;
        share.set(head.as_ref().map_or(0, |head| head.headers.bytes()));
        sent.take().into_iter().for_each(|sent| sent());
        self.answers = self.answers.saturating_add(1);
        head
    }

    /// The next piece of the body, or `None` at its end. Reads at most `most` bytes at once.
    ///
    /// # Cancel safety
    ///
    /// A connection on which this future was dropped before it was ready must be closed.
    pub(crate) async fn frame(&mut self, most: usize) -> Result<Option<Bytes>, Failure> {
        poll_fn(|cx| {
            self.poll_send(cx);
            self.poll_frame(most, cx)
        })
        .await
    }

    /// Copies unread bytes out of the shared read buffer. To be called before a long wait, because the buffer can be used
    /// again only when no slice of it is left.
    pub(crate) fn leave_block(&mut self) {
        if !self.unread.is_unique() {
            self.unread = Bytes::copy_from_slice(&self.unread);
        }
    }

    /// How many bytes of the body are still to come, if its length is known.
    pub(crate) fn bytes_left(&self) -> Option<u64> {
        self.body.as_ref().and_then(Body::bytes_left)
    }

    /// True if a truncated body would be detected: by its framing, or by TLS.
    pub(crate) fn proves_the_end(&self) -> bool {
        match self.stream {
            Stream::Plain(_) => self.body.as_ref().is_some_and(Body::tells_its_end),
            Stream::Tls(_) => true,
        }
    }

    /// Reads the head of a response. `begun` holds what has been received of it.
    fn poll_head(
        &mut self,
        reader: &mut HeadReader,
        begun: &mut Vec<u8>,
        share: &mut Share,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Failure>> {
        loop {
            share.set(begun.capacity());
            if share.bytes() > 0 {
                ready!(share.poll_room(cx));
            }
            let most = if share.is_short() { limits::READ_BYTES_SHORT } else { limits::READ_BYTES };
            let mut block =
                ready!(self.poll_read(most, cx)).map_err(|error| head_failure(&error, self.heard))?;
            if block.is_empty() {
                return Poll::Ready(Err(if self.heard {
                    reader.end(begun)
                } else {
                    no_response(self.answers > 0)
                }));
            }
            self.heard = true;
            let is_first = begun.is_empty();
            if !is_first {
                begun.extend_from_slice(&block);
            }
            let all = if is_first { &*block } else { &*begun };
            let mut rest = all;
            let found = reader.read(&mut rest)?;
            let used = all.len() - rest.len();
            let Some((head, body)) = found else {
                if is_first {
                    *begun = rest.to_vec();
                } else {
                    begun.drain(..used);
                }
                continue;
            };
            // The bytes after the head are at the end of the last block.
            block.advance(block.len() - rest.len());
            (self.unread, self.body, self.keeps_alive) = (block, Some(body), head.keeps_alive);
            return Poll::Ready(Ok(head));
        }
    }

    fn poll_frame(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            let body = self.body.as_mut().expect("a body is read after its head");
            let Piece { framing, data } = body.next(&self.unread)?;
            self.unread.advance(framing);
            self.body_bytes += (framing + data) as u64;
            if data > 0 {
                return Poll::Ready(Ok(Some(self.unread.split_to(data))));
            }
            if body.is_done() {
                return Poll::Ready(Ok(None));
            }
            let read = ready!(self.poll_read(most, cx));
            let block = read.map_err(|error| body_failure(&error))?;
            if block.is_empty() {
                return Poll::Ready(self.body.as_ref().map_or(Ok(()), Body::end).map(|()| None));
            }
            self.unread = block;
        }
    }

    /// Writes the request from the buffer that all connections share, and keeps what the socket does not take.
    fn poll_begin(&mut self, request: &Request<'_>, cx: &mut Context<'_>) {
        let mut head = self.blocks.write.borrow_mut();
        head.clear();
        write_request(&request.head, TargetForm::Origin, &mut head);
        let mut unsent = Buf::chain(&head[..], request.body.clone());
        match poll_write_all(&mut self.stream, &mut unsent, cx) {
            Poll::Pending => {
                let (head, body) = unsent.into_inner();
                self.unsent = Some(Box::new(Buf::chain(Bytes::copy_from_slice(head), body)));
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => self.broken = Some(error),
        }
    }

    /// Sends the rest of the request. A write error is kept until a read: the server may have answered before it closed.
    fn poll_send(&mut self, cx: &mut Context<'_>) {
        let Some(unsent) = &mut self.unsent else { return };
        match poll_write_all(&mut self.stream, &mut **unsent, cx) {
            Poll::Pending => return,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => self.broken = Some(error),
        }
        self.unsent = None;
    }

    /// Reads at most `most` bytes; empty at the end of the stream.
    fn poll_read(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let block = ready!(self.blocks.poll_read(&mut self.stream, most, cx))?;
        match &self.broken {
            // The system reports a reset once, and the write has received it.
            Some(error) if block.is_empty() => Poll::Ready(Err(error.kind().into())),
            _ => Poll::Ready(Ok(block)),
        }
    }
}

impl Blocks {
    /// Splits off what was read. The read buffer reuses its memory once no such slice is left.
    fn poll_read(&self, stream: &mut Stream, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut block = self.read.borrow_mut();
        block.reserve(limits::READ_BYTES);
        ready!(pin!(stream.read_buf(&mut (&mut *block).limit(most))).poll(cx))?;
        Poll::Ready(Ok(block.split().freeze()))
    }
}

fn poll_write_all(stream: &mut Stream, unsent: &mut impl Buf, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut stream = Pin::new(stream);
    while unsent.has_remaining() {
        let mut parts = [IoSlice::new(&[]); 2];
        let written = match unsent.chunks_vectored(&mut parts) {
            // One plain write costs less than a vectored one.
            1 => ready!(stream.as_mut().poll_write(cx, unsent.chunk()))?,
            _ => ready!(stream.as_mut().poll_write_vectored(cx, &parts))?,
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        unsent.advance(written);
    }
    stream.poll_flush(cx)
}

fn no_response(used: bool) -> Failure {
    let when =
        if used { "an idle connection as the request was sent" } else { "the connection without an answer" };
    Failure::new(ErrorKind::HttpNoResponse, format!("the server closed {when}"))
}

fn head_failure(error: &io::Error, heard: bool) -> Failure {
    // rustls: the stream ended without `close_notify`.
    if heard && error.kind() == io::ErrorKind::UnexpectedEof {
        return Failure::new(
            ErrorKind::HttpTruncated,
            "the connection ended inside the head of the response",
        );
    }
    let place = if heard { "inside the head of" } else { "before" };
    Failure::new(ErrorKind::HttpReset, format!("the connection broke {place} the response: {}", told(error)))
}

fn body_failure(error: &io::Error) -> Failure {
    // rustls: the stream ended without `close_notify`, which an attacker could cause; or a record was modified.
    const KINDS: [(io::ErrorKind, ErrorKind); 2] = [
        (io::ErrorKind::UnexpectedEof, ErrorKind::BodyTruncated),
        (io::ErrorKind::InvalidData, ErrorKind::BodyFraming),
    ];
    let known = KINDS.iter().find(|(io, _)| *io == error.kind()).map(|(_, kind)| *kind);
    Failure::new(
        known.unwrap_or(ErrorKind::BodyReset),
        format!("the connection broke inside the body: {}", told(error)),
    )
}
