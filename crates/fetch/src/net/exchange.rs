//! One request on one connection, in HTTP/1.1.
//!
//! The lane that asks reads and writes the socket itself: no second task, no hand-over. All connections of a shard read
//! into the same block, one after the other, so one that waits or is idle holds nothing but its socket. What the bytes
//! mean is `proto`'s.

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
use overlapped_proto::http1::{Body, Head, HeadReader, Piece, Strictness};
use overlapped_proto::job::Method;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::connect::{Look, Stream};
use super::tls_failure::told;
use crate::memory::Share;

/// A request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Bytes,
}

/// The block that all connections of a shard read into.
#[derive(Debug, Default)]
pub(crate) struct ReadBlock(RefCell<BytesMut>);

/// An open connection on which one request at a time is made.
pub(crate) struct Connection {
    stream: Stream,
    block: Rc<ReadBlock>,
    /// What is not yet sent of the request.
    unsent: Option<Chain<io::Cursor<Vec<u8>>, Bytes>>,
    /// What was read and not yet used.
    unread: Bytes,
    /// Of the last response; `None` before and while a head is awaited.
    body: Option<Body>,
    /// The server takes another request when the body has come.
    keeps_alive: bool,
    /// Why nothing more can be sent.
    broken: Option<io::Error>,
    /// Where it leads.
    pub(crate) remote: SocketAddr,
    /// When it was opened.
    pub(crate) opened: Nanos,
    /// Bytes of bodies that were used, with their framing.
    pub(crate) body_bytes: u64,
    /// When its last answer was whole.
    pub(crate) idle_since: Nanos,
    /// Requests on it that are over.
    pub(crate) answers: u32,
    /// Something came since the last request was sent.
    pub(crate) heard: bool,
}

impl Connection {
    /// Speaks HTTP/1.1 over an open stream.
    pub(crate) fn new(stream: Stream, block: Rc<ReadBlock>, remote: SocketAddr, opened: Nanos) -> Self {
        Self {
            stream,
            block,
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

    /// True if another request can be made once this one is done: it was sent, its answer is whole, nothing is behind
    /// it, and nothing in its head says that more may follow. To be looked at again before it is used.
    pub(crate) fn is_reusable(&self) -> bool {
        let done = self.body.as_ref().is_some_and(Body::is_done) && self.unread.is_empty();
        let sent = self.unsent.is_none() && self.broken.is_none();
        self.keeps_alive && done && sent
    }

    /// What is on the connection before a request is sent. What came before belongs to no request, and everything that
    /// comes later would be taken for its answer.
    pub(crate) fn look(&mut self) -> Look {
        self.stream.look()
    }

    /// Waits until an idle connection brings something or ends.
    pub(crate) async fn stirred(&mut self) {
        poll_fn(|cx| self.poll_read(limits::READ_BYTES, cx).map(drop)).await;
    }

    /// Sends `request`; `sent` is called once it is handed to the system. The answer is the head of the response: it may
    /// come before the request is sent, which then goes on while the body is read. `share` counts it: where memory is
    /// short, a head that is large already waits before it reads on. Its time goes on meanwhile, because hardly an honest
    /// head is so large, and a row that fails for it is tried again.
    ///
    /// # Cancel safety
    ///
    /// A connection on which this was dropped half-way must be dropped too.
    pub(crate) async fn send(
        &mut self,
        request: Request,
        strictness: Strictness,
        share: &mut Share,
        sent: impl FnOnce(),
    ) -> Result<Head, Failure> {
        let mut reader = HeadReader::new(&request.method, strictness);
        self.unsent = Some(Buf::chain(io::Cursor::new(request.head), request.body));
        (self.body, self.heard) = (None, false);
        let mut begun = Vec::new();
        let mut sent = Some(sent);
        let head = poll_fn(|cx| {
            self.poll_send(cx);
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

    /// The next piece of the body, of which no more than `most` is read at once; `None` at its end.
    ///
    /// # Cancel safety
    ///
    /// A connection on which this was dropped half-way must be dropped too.
    pub(crate) async fn frame(&mut self, most: usize) -> Result<Option<Bytes>, Failure> {
        poll_fn(|cx| {
            self.poll_send(cx);
            self.poll_frame(most, cx)
        })
        .await
    }

    /// Before a wait that may be long: what is here already of the body lies in the block, which cannot be used again
    /// before that is gone.
    pub(crate) fn leave_block(&mut self) {
        if !self.unread.is_unique() {
            self.unread = Bytes::copy_from_slice(&self.unread);
        }
    }

    /// How many bytes of the body are still to come, if the server has said it.
    pub(crate) fn bytes_left(&self) -> Option<u64> {
        self.body.as_ref().and_then(Body::bytes_left)
    }

    /// True if the body can not have been cut short unseen: it says where it ends, or TLS does.
    pub(crate) fn proves_the_end(&self) -> bool {
        match self.stream {
            Stream::Plain(_) => self.body.as_ref().is_some_and(Body::tells_its_end),
            Stream::Tls(_) => true,
        }
    }

    /// Looks for the head of a response; `begun` is what has come of it so far.
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
            // What is behind the head came with the last block.
            block.advance(block.len() - rest.len());
            (self.unread, self.body, self.keeps_alive) = (block, Some(body), head.keeps_alive);
            return Poll::Ready(Ok(head));
        }
    }

    fn poll_frame(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(None)) };
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

    /// Sends what is left of the request. That this fails says nothing yet: the server may have answered before it closed.
    fn poll_send(&mut self, cx: &mut Context<'_>) {
        let Some(unsent) = &mut self.unsent else { return };
        match poll_write_all(&mut self.stream, unsent, cx) {
            Poll::Pending => return,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => self.broken = Some(error),
        }
        self.unsent = None;
    }

    /// What the server sends next, of which no more than `most` is taken; empty at the end.
    fn poll_read(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let block = ready!(self.block.poll_read(&mut self.stream, most, cx))?;
        match &self.broken {
            // The system tells of a reset once, and it told the writer.
            Some(error) if block.is_empty() => Poll::Ready(Err(error.kind().into())),
            _ => Poll::Ready(Ok(block)),
        }
    }
}

impl ReadBlock {
    /// What is read is given away; the block is used again once that is gone.
    fn poll_read(&self, stream: &mut Stream, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut block = self.0.borrow_mut();
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
    // Of TLS: an end without `close_notify`.
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
    // Of TLS: an end without `close_notify`, which anybody could have made, and a record that was changed.
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
