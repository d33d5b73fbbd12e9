//! A connection that speaks HTTP/1.1: one request at a time.
//!
//! The attempt loop that makes the request reads and writes the socket itself, without a second task or a channel. All
//! connections that are polled on a thread share its buffer to read into and its buffer to write from, so that a waiting
//! or idle connection holds only its socket. The codec is in `proto`.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::buf::Chain;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use overlapped_proto::error::ErrorKind;
use overlapped_proto::http1::{Body, Head, HeadReader, Piece, TargetForm, write_request};
use overlapped_proto::keepalive::Extra;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::runtime::Id;

use super::exchange::{After, Exchange, Reading};
use super::request::Request;
use super::stream::{Look, Socket, Stream};
use super::tls_failure::{Identify, of_identity, told};
use super::upload::{Progress, Upload};
use crate::memory::Share;

/// The buffers that all connections share which are polled on one thread. They are used within one poll, so a connection
/// may be polled on another thread next time.
struct Blocks {
    read: Cell<BytesMut>,
    /// Holds the head of a request while it is written.
    write: Cell<Vec<u8>>,
    /// Reads so far, and turns of the shard.
    steps: Cell<u64>,
}

thread_local! {
    static BLOCKS: Blocks =
        Blocks { read: Cell::new(BytesMut::new()), write: const { Cell::new(Vec::new()) }, steps: const { Cell::new(0) } };
}

/// Begins a step: a turn of the shard, or what follows a read.
pub(crate) fn begin_step() {
    BLOCKS.with(|blocks| blocks.steps.set(blocks.steps.get() + 1));
}

fn current_step() -> u64 {
    BLOCKS.with(|blocks| blocks.steps.get())
}

/// An open connection that carries one request at a time.
pub(crate) struct Connection<S> {
    stream: Stream<S>,
    /// The runtime with which its socket is registered, if several runtimes may use it.
    runtime: Option<Id>,
    /// The part of the request that the socket has not taken yet. Boxed, because it nearly always takes all at once.
    unsent: Option<Box<Chain<Bytes, Bytes>>>,
    /// The rest of its body, if that is produced while it is sent.
    upload: Option<Box<Upload>>,
    /// How far that is, or was, sent.
    progress: Option<Arc<Progress>>,
    /// Bytes that were read but not consumed.
    unread: Bytes,
    /// The step of the thread in which the last read emptied the socket; `None` if it may not have.
    emptied_in: Option<u64>,
    /// The body of the last response; `None` until its head has been read.
    body: Option<Body>,
    /// The last response is a success.
    succeeded: bool,
    /// True if the server accepts another request after the body.
    keeps_alive: bool,
    /// The write error after which nothing can be sent.
    broken: Option<io::Error>,
    /// The peer's address, if it has one.
    pub(crate) remote: Option<SocketAddr>,
    /// How a proxy at the other end forwards requests; `None`: the server is there.
    pub(crate) forwarding: Option<Arc<Forwarding>>,
    /// Whether the server may have got a client certificate.
    pub(crate) identify: Identify,
    /// When it was opened.
    pub(crate) opened: Nanos,
    /// Bytes of bodies consumed, including their framing.
    body_bytes: u64,
    /// When its last response was complete.
    pub(crate) idle_since: Nanos,
    /// Requests completed on it.
    pub(crate) answers: u32,
    /// True if anything was received since the last request was sent.
    heard: bool,
}

/// The fields for a proxy that forwards requests.
pub(crate) struct Forwarding {
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<Box<str>>,
}

fn form_of(forwarding: Option<&Forwarding>) -> TargetForm<'_> {
    match forwarding {
        None => TargetForm::Origin,
        Some(Forwarding { authorization }) => {
            TargetForm::Absolute { authorization: authorization.as_deref() }
        }
    }
}

impl<S: Socket> Exchange for Connection<S> {
    async fn send(
        &mut self,
        request: &mut Request<'_>,
        reading: Reading,
        share: &mut Share,
        sent: impl FnOnce(),
    ) -> Result<Head, Failure> {
        let mut reader = HeadReader::new(request.head.method(), reading.strictness).keeping(reading.keep);
        (self.body, self.heard, self.upload) = (None, false, request.upload.take());
        self.progress = self.upload.as_deref().map(Upload::progress);
        let mut begun = Vec::new();
        let mut sent = Some(sent);
        let mut request = Some(&*request);
        let head = poll_fn(|cx| {
            if let Some(request) = request.take() {
                self.poll_begin(request, cx);
            }
            self.poll_send(cx)?;
            if self.is_sent() {
                sent.take().into_iter().for_each(|sent| sent());
            }
            self.poll_head(&mut reader, &mut begun, share, cx)
        })
        .await;
        self.succeeded = head.as_ref().is_ok_and(|head| (200..300).contains(&head.status));
        share.set(head.as_ref().map_or(0, |head| head.headers.bytes() + head.raw.len()));
        sent.take().into_iter().for_each(|sent| sent());
        self.answers = self.answers.saturating_add(1);
        head
    }

    async fn frame(&mut self, most: usize) -> Result<Option<Bytes>, Failure> {
        poll_fn(|cx| {
            self.poll_send(cx)?;
            self.poll_frame(most, cx)
        })
        .await
    }

    async fn finish(&mut self) -> Result<(), Failure> {
        if !self.succeeded {
            return Ok(());
        }
        poll_fn(|cx| {
            self.poll_send(cx)?;
            if self.is_sent() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    fn progress(&self) -> Option<Arc<Progress>> {
        self.progress.clone()
    }

    fn take_arrived(&mut self) -> Option<Bytes> {
        let bytes = usize::try_from(self.bytes_left()?).ok()?;
        if !self.is_sent() || self.unread.len() < bytes {
            return None;
        }
        let body = self.body.as_mut().expect("a body is read after its head");
        let piece = body.next(&self.unread);
        assert!(
            matches!(piece, Ok(Piece { framing: 0, data }) if data == bytes),
            "a body of known length is all data"
        );
        self.body_bytes += bytes as u64;
        Some(self.unread.split_to(bytes))
    }

    fn leave_block(&mut self) {
        if !self.unread.is_unique() {
            self.unread = Bytes::copy_from_slice(&self.unread);
        }
    }

    fn bytes_left(&self) -> Option<u64> {
        self.body.as_ref().and_then(Body::bytes_left)
    }

    fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Its framing may prove the end, or TLS does.
    fn proves_the_end(&self) -> bool {
        self.stream.proves_the_end() || self.body.as_ref().is_some_and(Body::tells_its_end)
    }

    fn is_answered(&self) -> bool {
        self.heard
    }

    /// Empty lines behind the response are passed over. [`Connection::look`] checks the socket again before reuse.
    fn after(&mut self) -> After {
        if self.is_complete() && !self.unread.is_empty() {
            match Extra::of(&self.unread) {
                Some(Extra::EmptyLines) => self.unread.clear(),
                Some(Extra::Timeout) => return After::Close,
                None => return After::Unasked,
            }
        }
        let is_sent = self.is_sent() && self.broken.is_none();
        if self.is_complete() && is_sent && self.keeps_alive { After::Reuse } else { After::Close }
    }
}

impl<S: Socket> Connection<S> {
    /// HTTP/1.1 over a stream that was opened in `runtime`, if several runtimes may use it.
    pub(crate) fn new(
        stream: Stream<S>,
        runtime: Option<Id>,
        remote: Option<SocketAddr>,
        opened: Nanos,
    ) -> Self {
        Self {
            stream,
            runtime,
            unsent: None,
            upload: None,
            progress: None,
            unread: Bytes::new(),
            emptied_in: None,
            body: None,
            succeeded: false,
            keeps_alive: true,
            broken: None,
            remote,
            forwarding: None,
            identify: Identify::No,
            opened,
            body_bytes: 0,
            idle_since: opened,
            answers: 0,
            heard: false,
        }
    }

    /// Prepares it to be polled by tasks of `runtime`, if several share it.
    pub(crate) fn move_to(&mut self, runtime: Option<Id>) -> io::Result<()> {
        if self.runtime != runtime {
            self.stream.rehome()?;
            (self.runtime, self.emptied_in) = (runtime, None);
        }
        Ok(())
    }

    /// Checks for unsolicited bytes or a close before a request is sent. Such bytes would be taken for the response.
    pub(crate) fn look(&mut self) -> Look {
        self.stream.look()
    }

    /// The same for a request that may be sent again. The system call is left out if the last read has emptied the socket
    /// in this very step of the shard, some microseconds ago, and the runtime has been notified of nothing since. The first
    /// answers of a connection are excepted, because an origin that sends bytes unasked shows it there.
    pub(crate) fn glance(&mut self) -> Look {
        let is_settled = self.answers >= limits::LOOKS_MIN;
        if is_settled && self.emptied_in == Some(current_step()) && !self.stream.is_told_ready() {
            return Look::Quiet;
        }
        self.look()
    }

    /// Waits until an idle connection receives something or is closed.
    pub(crate) async fn stirred(&mut self) {
        poll_fn(|cx| self.poll_read(limits::READ_BYTES, cx).map(drop)).await;
    }

    fn is_complete(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_done)
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
            let mut block = ready!(self.poll_read(most, cx)).map_err(|error| {
                let identity = of_identity(&error, self.identify).filter(|_| self.answers == 0);
                identity.unwrap_or_else(|| head_failure(&error, self.heard))
            })?;
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
        let mut head = BLOCKS.with(|blocks| blocks.write.take());
        head.clear();
        write_request(&request.head, form_of(self.forwarding.as_deref()), &mut head);
        let mut unsent = Buf::chain(&head[..], request.body.clone());
        match poll_write_all(&mut self.stream, &mut unsent, cx) {
            Poll::Pending => {
                let (head, body) = unsent.into_inner();
                self.unsent = Some(Box::new(Buf::chain(Bytes::copy_from_slice(head), body)));
                self.progress.get_or_insert_default();
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => (self.broken, self.upload) = (Some(error), None),
        }
        BLOCKS.with(|blocks| blocks.write.set(head));
    }

    /// Sends the rest of the request, as far as that is possible without waiting. A write error is kept until a read: the
    /// server may have answered before it closed.
    ///
    /// # Errors
    ///
    /// The body cannot be produced; the request is never complete.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        while !self.is_sent() {
            if let Some(unsent) = &mut self.unsent {
                let before = unsent.remaining();
                let written = poll_write_all(&mut self.stream, &mut **unsent, cx);
                if let Some(progress) = &self.progress {
                    progress.took(before - unsent.remaining());
                    progress.waits_for_server(written.is_pending());
                }
                match written {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => (self.broken, self.upload) = (Some(error), None),
                }
                self.unsent = None;
            } else if let Some(upload) = &mut self.upload {
                match upload.poll_framed(cx) {
                    Poll::Pending => {
                        upload.waits();
                        return Ok(());
                    }
                    Poll::Ready(Ok(Some((before, data)))) => self.unsent = Some(Box::new(before.chain(data))),
                    Poll::Ready(Ok(None)) => self.upload = None,
                    Poll::Ready(Err(error)) => {
                        self.keeps_alive = false;
                        return Err(Failure::new(ErrorKind::InputBody, error.to_string()));
                    }
                }
            }
        }
        Ok(())
    }

    /// True if nothing of the request is left to send.
    fn is_sent(&self) -> bool {
        self.unsent.is_none() && self.upload.is_none()
    }

    /// Reads at most `most` bytes; empty at the end of the stream.
    fn poll_read(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let block = ready!(poll_read_block(&mut self.stream, most, cx))?;
        // What is read of TLS says nothing of the socket.
        let emptied = matches!(self.stream, Stream::Plain(_)) && !block.is_empty() && block.len() < most;
        self.emptied_in = emptied.then(current_step);
        match &self.broken {
            // The system reports a reset once, and the write has received it.
            Some(error) if block.is_empty() => Poll::Ready(Err(error.kind().into())),
            _ => Poll::Ready(Ok(block)),
        }
    }
}

/// Splits off what was read. The read buffer reuses its memory once no such slice is left. It is taken out of its place
/// meanwhile, so that a waker that polls another connection finds a buffer too.
fn poll_read_block(
    stream: &mut (impl AsyncRead + Unpin),
    most: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    let mut block = BLOCKS.with(|blocks| blocks.read.take());
    block.reserve(limits::READ_BYTES);
    let read = pin!(stream.read_buf(&mut (&mut block).limit(most))).poll(cx);
    let bytes = block.split().freeze();
    BLOCKS.with(|blocks| blocks.read.set(block));
    ready!(read)?;
    begin_step();
    Poll::Ready(Ok(bytes))
}

fn poll_write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    unsent: &mut impl Buf,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
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

#[cfg(test)]
mod tests;
