//! A connection that speaks HTTP/1.1: one request at a time.
//!
//! The attempt loop that makes the request reads and writes the socket itself, without a second task or a channel. All
//! connections of a shard share one buffer to read into and one to write from, so that a waiting or idle connection holds
//! only its socket. The codec is in `proto`.

use std::cell::{Cell, RefCell};
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
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::exchange::{After, Exchange};
use super::request::Request;
use super::stream::{Look, Socket, Stream};
use super::tls_failure::told;
use crate::memory::Share;

/// The buffers that all connections of a shard share.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    read: RefCell<BytesMut>,
    /// Holds the head of a request while it is written, within one poll.
    write: RefCell<Vec<u8>>,
    /// Reads so far, and turns of the shard.
    steps: Cell<u64>,
}

/// An open connection that carries one request at a time.
pub(crate) struct Connection<S> {
    stream: Stream<S>,
    blocks: Rc<Blocks>,
    /// The part of the request that the socket has not taken yet. Boxed, because it nearly always takes all at once.
    unsent: Option<Box<Chain<Bytes, Bytes>>>,
    /// Bytes that were read but not consumed.
    unread: Bytes,
    /// The step of the shard in which the last read emptied the socket; `None` if it may not have.
    emptied_in: Option<u64>,
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
    body_bytes: u64,
    /// When its last response was complete.
    pub(crate) idle_since: Nanos,
    /// Requests completed on it.
    pub(crate) answers: u32,
    /// True if anything was received since the last request was sent.
    heard: bool,
}

impl<S: Socket> Exchange for Connection<S> {
    async fn send(
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

    async fn frame(&mut self, most: usize) -> Result<Option<Bytes>, Failure> {
        poll_fn(|cx| {
            self.poll_send(cx);
            self.poll_frame(most, cx)
        })
        .await
    }

    fn take_arrived(&mut self) -> Option<Bytes> {
        let bytes = usize::try_from(self.bytes_left()?).ok()?;
        if self.unsent.is_some() || self.unread.len() < bytes {
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
        let is_sent = self.unsent.is_none() && self.broken.is_none();
        if self.is_complete() && is_sent && self.keeps_alive { After::Reuse } else { After::Close }
    }
}

impl<S: Socket> Connection<S> {
    /// HTTP/1.1 over an open stream.
    pub(crate) fn new(stream: Stream<S>, blocks: Rc<Blocks>, remote: SocketAddr, opened: Nanos) -> Self {
        Self {
            stream,
            blocks,
            unsent: None,
            unread: Bytes::new(),
            emptied_in: None,
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

    /// Checks for unsolicited bytes or a close before a request is sent. Such bytes would be taken for the response.
    pub(crate) fn look(&mut self) -> Look {
        self.stream.look()
    }

    /// The same for a request that may be sent again. The system call is left out if the last read has emptied the socket
    /// in this very step of the shard, some microseconds ago, and the runtime has been told of nothing since. The first
    /// answers of a connection are excepted, because an origin that sends bytes unasked shows it there.
    pub(crate) fn glance(&mut self) -> Look {
        let is_settled = self.answers >= limits::LOOKS_MIN;
        if is_settled && self.emptied_in == Some(self.blocks.steps.get()) && !self.stream.is_told_ready() {
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
        // What is read of TLS says nothing of the socket.
        let emptied = matches!(self.stream, Stream::Plain(_)) && !block.is_empty() && block.len() < most;
        self.emptied_in = emptied.then(|| self.blocks.steps.get());
        match &self.broken {
            // The system reports a reset once, and the write has received it.
            Some(error) if block.is_empty() => Poll::Ready(Err(error.kind().into())),
            _ => Poll::Ready(Ok(block)),
        }
    }
}

impl Blocks {
    /// Splits off what was read. The read buffer reuses its memory once no such slice is left.
    fn poll_read(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        let mut block = self.read.borrow_mut();
        block.reserve(limits::READ_BYTES);
        ready!(pin!(stream.read_buf(&mut (&mut *block).limit(most))).poll(cx))?;
        self.step();
        Poll::Ready(Ok(block.split().freeze()))
    }

    /// Begins a step: a turn of the shard, or what follows a read.
    pub(crate) fn step(&self) {
        self.steps.set(self.steps.get() + 1);
    }
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
mod tests {
    use std::collections::VecDeque;
    use std::io::Write as _;
    use std::net::{Ipv4Addr, TcpListener};

    use overlapped_proto::job::{Method, Row};
    use overlapped_proto::origin::Scheme;
    use overlapped_proto::request::RequestHead;
    use overlapped_testkit::{Server, row_of};
    use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadBuf, copy_bidirectional, duplex};
    use tokio::net::TcpStream;

    use super::*;
    use crate::memory::Memory;
    use crate::net::tls::{Alpn, Trust};

    /// A socket in memory. It waits before each read and each write, and answers once it has the whole request.
    #[derive(Default)]
    struct Pipe {
        /// What comes, one piece a read; then the end.
        pieces: VecDeque<Vec<u8>>,
        sent: Vec<u8>,
        /// Bytes of the request that it waits for before it answers.
        asks: usize,
        /// Bytes that one write takes.
        takes: usize,
        has_waited_to_read: bool,
        has_waited_to_write: bool,
    }

    /// Pending every other time.
    fn poll_waited(has_waited: &mut bool, cx: &mut Context<'_>) -> Poll<()> {
        *has_waited = !*has_waited;
        if *has_waited {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    impl Socket for Pipe {
        fn peek_now(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn read_now(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn is_told_ready(&self) -> bool {
            false
        }
    }

    impl AsyncRead for Pipe {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let pipe = self.get_mut();
            // The write that comes next wakes the task.
            if pipe.sent.len() < pipe.asks {
                return Poll::Pending;
            }
            ready!(poll_waited(&mut pipe.has_waited_to_read, cx));
            buf.put_slice(&pipe.pieces.pop_front().unwrap_or_default());
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Pipe {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let pipe = self.get_mut();
            ready!(poll_waited(&mut pipe.has_waited_to_write, cx));
            let taken = buf.len().min(pipe.takes);
            pipe.sent.extend_from_slice(&buf[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            poll_waited(&mut self.get_mut().has_waited_to_write, cx).map(Ok)
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Socket for DuplexStream {
        fn peek_now(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn read_now(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn is_told_ready(&self) -> bool {
            false
        }
    }

    fn connection<S: Socket>(stream: Stream<S>) -> Connection<S> {
        Connection::new(stream, Rc::default(), (Ipv4Addr::LOCALHOST, 1).into(), Nanos::ZERO)
    }

    /// One request with its response: the status and the body.
    async fn exchange(
        connection: &mut impl Exchange,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>), Failure> {
        let fields = [("accept", "*/*")].map(|(name, value)| (name.into(), value.into()));
        let head = RequestHead::new(method, Scheme::Http, "a.test", path, &fields[..], body.len() as u64)?;
        let request = Request { head, body: Bytes::copy_from_slice(body) };
        let mut share = Memory::new(None).share(Row(0));
        let mut sent = 0;
        let head = connection.send(&request, Strictness::Strict, &mut share, || sent += 1).await?;
        assert_eq!(sent, 1);
        let mut read = Vec::new();
        while let Some(frame) = connection.frame(limits::READ_BYTES).await? {
            read.extend_from_slice(&frame);
            connection.leave_block();
        }
        assert!(connection.body_bytes() >= read.len() as u64);
        Ok((head.status, read))
    }

    fn plain<S>(connection: &mut Connection<S>) -> &mut S {
        match &mut connection.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(_) => panic!("the stream has TLS"),
        }
    }

    /// All bytes at once, one by one, and in two pieces at every offset.
    fn deliveries(response: &[u8]) -> Vec<VecDeque<Vec<u8>>> {
        let one_by_one = response.iter().map(|byte| vec![*byte]).collect();
        let split = |at| [&response[..at], &response[at..]].map(<[u8]>::to_vec);
        let splits = (1..response.len()).map(|at| split(at).into());
        [[response.to_vec()].into(), one_by_one].into_iter().chain(splits).collect()
    }

    const RESPONSES: [(&[u8], u16, &[u8]); 4] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nrow 1", 200, b"row 1"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nrow\r\n2\r\n 3\r\n0\r\nT: 1\r\n\r\n",
            200,
            b"row 3",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    ];

    #[tokio::test]
    async fn an_exchange_is_the_same_however_its_bytes_are_split() {
        for (number, (response, status, body)) in RESPONSES.into_iter().enumerate() {
            for pieces in deliveries(response) {
                for takes in [1, 7, usize::MAX] {
                    let shown = format!("{number}, {takes}, {pieces:?}");
                    let mut connection = connection(Stream::Plain(Pipe { takes, ..Pipe::default() }));
                    for path in ["/0", "/1"] {
                        let expected = format!(
                            "POST {path} HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\ncontent-length: 7\r\n\r\nto send"
                        );
                        let pipe = plain(&mut connection);
                        pipe.sent.clear();
                        (pipe.pieces, pipe.asks) = (pieces.clone(), expected.len());
                        let got = exchange(&mut connection, &Method::Post, path, b"to send").await;
                        assert_eq!(got, Ok((status, body.to_vec())), "{shown}");
                        assert_eq!(connection.after(), After::Reuse, "{shown}");
                        assert_eq!(
                            String::from_utf8_lossy(&plain(&mut connection).sent),
                            expected,
                            "{shown}"
                        );
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn a_response_that_is_cut_off_is_a_failure_wherever_that_is() {
        for (response, ..) in RESPONSES {
            // Of an interim response, which is skipped, or of the only one.
            let head_bytes = response.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            let is_interim = response.starts_with(b"HTTP/1.1 100");
            for at in 0..response.len() {
                let pieces =
                    [response[..at].to_vec()].into_iter().filter(|piece| !piece.is_empty()).collect();
                let mut connection =
                    connection(Stream::Plain(Pipe { pieces, takes: usize::MAX, ..Pipe::default() }));
                let got = exchange(&mut connection, &Method::Get, "/", b"").await;
                let expected = match at {
                    0 => ErrorKind::HttpNoResponse,
                    at if is_interim && at == head_bytes => ErrorKind::HttpNoResponse,
                    at if !is_interim && at >= head_bytes => ErrorKind::BodyTruncated,
                    _ => ErrorKind::HttpTruncated,
                };
                assert_eq!(got.map_err(|failure| failure.kind), Err(expected), "{at}");
                assert_eq!(connection.after(), After::Close);
            }
        }
    }

    /// What is left of the request would be read as the beginning of the next one.
    #[tokio::test]
    async fn a_response_before_the_request_is_sent_ends_the_connection() {
        let pieces = [RESPONSES[0].0.to_vec()].into();
        let mut connection = connection(Stream::Plain(Pipe { pieces, takes: 1, ..Pipe::default() }));
        let got = exchange(&mut connection, &Method::Post, "/", &[b'x'; 1_000]).await;
        assert_eq!((got, connection.after()), (Ok((200, b"row 1".to_vec())), After::Close));
    }

    #[tokio::test]
    async fn bytes_behind_a_response_belong_to_no_other() {
        for (response, status, body) in RESPONSES {
            for (extra, expected) in [
                (&b"HTTP/1.1 200 OK\r\n"[..], After::Unasked),
                (b"HTTP/1.1 408 Late\r\n", After::Close),
                (b"\r\n", After::Reuse),
            ] {
                let pieces = [[response, extra].concat()].into();
                let mut connection =
                    connection(Stream::Plain(Pipe { pieces, takes: usize::MAX, ..Pipe::default() }));
                let got = exchange(&mut connection, &Method::Get, "/", b"").await;
                assert_eq!((got, connection.after()), (Ok((status, body.to_vec())), expected));
            }
        }
    }

    /// The pipe holds 64 bytes, so that every record of TLS is split.
    #[tokio::test]
    async fn tls_runs_over_a_stream_that_is_no_socket() {
        let server = Server::builder().tls().start();
        let trust = Trust::new(server.ca_pem().map(str::as_bytes), Vec::new()).unwrap();
        let (near, mut far) = duplex(64);
        let mut tcp = TcpStream::connect(server.addr()).await.unwrap();
        let asking = async {
            let tls = trust.handshake("localhost", near, Alpn::Http1).await.unwrap();
            let mut connection = connection(Stream::Tls(Box::new(tls)));
            for row in 0..3 {
                let got = exchange(&mut connection, &Method::Get, &format!("/row/{row}"), b"").await;
                assert_eq!(got, Ok((200, row_of(row))));
                assert_eq!((connection.after(), connection.proves_the_end()), (After::Reuse, true));
            }
        };
        tokio::select! {
            () = asking => {}
            ended = copy_bidirectional(&mut far, &mut tcp) => panic!("the relay has ended: {ended:?}"),
        }
        assert_eq!(server.connections(), 1);
    }

    /// A connection to a server in the same thread, which has given `answers` before their requests came, so that each was
    /// read in one step.
    async fn answered(answers: u32) -> (Connection<TcpStream>, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut connection = connection(Stream::Plain(tcp));
        let head = RequestHead::new(&Method::Get, Scheme::Http, "a.test", "/", &[], 0).unwrap();
        let request = Request { head, body: Bytes::new() };
        for _ in 0..answers {
            server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            let mut share = Memory::new(None).share(Row(0));
            connection.send(&request, Strictness::Strict, &mut share, || ()).await.unwrap();
            assert_eq!(connection.take_arrived().unwrap(), "ok");
            assert_eq!((connection.after(), connection.glance()), (After::Reuse, Look::Quiet));
        }
        (connection, server)
    }

    fn wait_for(connection: &mut Connection<TcpStream>, expected: Look) {
        while connection.look() != expected {
            std::thread::yield_now();
        }
    }

    /// Without a system call in the step that has read the answer, but not for the first answers of a connection.
    #[tokio::test]
    async fn what_comes_unasked_is_seen_in_the_next_step() {
        let end = |server: &mut std::net::TcpStream| server.shutdown(std::net::Shutdown::Write).unwrap();
        for answers in [1, limits::LOOKS_MIN - 1, limits::LOOKS_MIN, 3 * limits::LOOKS_MIN] {
            let in_step = |expected| if answers < limits::LOOKS_MIN { expected } else { Look::Quiet };
            let (mut connection, mut server) = answered(answers).await;
            server.write_all(b"unasked").unwrap();
            wait_for(&mut connection, Look::Spoke);
            assert_eq!(connection.glance(), in_step(Look::Spoke), "after {answers}");
            connection.blocks.step();
            assert_eq!(connection.glance(), Look::Spoke, "after {answers}");

            let (mut connection, mut server) = answered(answers).await;
            end(&mut server);
            wait_for(&mut connection, Look::Ended);
            assert_eq!(connection.glance(), in_step(Look::Ended), "after {answers}");
            connection.blocks.step();
            assert_eq!(connection.glance(), Look::Ended, "after {answers}");
        }
    }

    #[tokio::test]
    async fn what_the_runtime_was_told_of_is_looked_at_in_the_same_step() {
        let (mut connection, mut server) = answered(limits::LOOKS_MIN).await;
        server.write_all(b"unasked").unwrap();
        plain(&mut connection).readable().await.unwrap();
        assert_eq!(connection.glance(), Look::Spoke);
    }

    /// A second read of the shard, of whatever connection, is another step.
    #[tokio::test]
    async fn a_connection_that_was_read_before_another_is_looked_at() {
        let (mut connection, mut server) = answered(limits::LOOKS_MIN).await;
        server.write_all(b"unasked").unwrap();
        wait_for(&mut connection, Look::Spoke);
        let (near, mut far) = duplex(64);
        far.write_all(b"x").await.unwrap();
        let mut other =
            Connection { blocks: Rc::clone(&connection.blocks), ..self::connection(Stream::Plain(near)) };
        other.stirred().await;
        assert_eq!(connection.glance(), Look::Spoke);
    }
}
