//! A connection: reads requests and plays scripts.
//!
//! Only this file uses an open socket. While a script waits (a pause, silence) the connection is still read, so that a
//! disconnect is noticed; pipelined bytes are kept for later. A client that closes its sending direction while it waits for a
//! response counts as disconnected.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::oracle::Pattern;
use crate::record::{Connection, Recorder, Ticket};
use crate::request::{BODY_KEPT_BYTES_MAX, Framing, Request};
use crate::script::{Delivery, Script, Step};

/// The longest head that is read.
const HEAD_BYTES_MAX: usize = 4 << 20;

/// The most bytes that are read ahead while a script waits.
const AHEAD_BYTES_MAX: usize = 64 << 10;

/// The size of a write of a long body.
const BLOCK_BYTES: usize = 64 << 10;

/// The time between two evaluations of the condition of [`Script::until`].
const UNTIL_POLL: Duration = Duration::from_millis(5);

/// A stream over TCP that can be reset.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn tcp(&self) -> &TcpStream;
}

impl Transport for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

/// The reason why there is no further request.
#[derive(Debug)]
pub(crate) enum End {
    /// The client closed, or the connection broke.
    Gone,
    /// The bytes are not HTTP/1.
    Malformed(&'static str),
}

/// The state of the connection after a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Open,
    Closed,
}

pub(crate) struct Wire<S> {
    stream: S,
    inbox: BytesMut,
    connection: Connection,
    recorder: Arc<Recorder>,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Gone
    }
}

impl<S: Transport> Wire<S> {
    pub(crate) fn new(stream: S, connection: Connection, recorder: Arc<Recorder>) -> Wire<S> {
        Wire { stream, inbox: BytesMut::new(), connection, recorder }
    }

    pub(crate) fn connection_number(&self) -> u64 {
        self.connection.number()
    }

    /// Closes cleanly.
    pub(crate) async fn close(mut self) {
        // After an error the drop closes it.
        let _ = self.stream.shutdown().await;
    }

    /// Reads one request and records it, unless it requests the record.
    pub(crate) async fn request(&mut self) -> Result<(Arc<Request>, Option<Ticket>), End> {
        let mut request = self.head().await?;
        let framing = request.framing().map_err(|why| self.malformed(why))?;
        let waits = request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        if waits && self.inbox.is_empty() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut body = Body::default();
        match framing {
            Framing::Length(length) => self.take_body(length, &mut body).await?,
            Framing::Chunked => self.chunked_body(&mut body).await?,
        }
        request.body = body.kept.freeze();
        request.body_bytes = body.bytes;
        let request = Arc::new(request);
        let ticket = self.connection.arrived(&request);
        Ok((request, ticket))
    }

    /// Plays a script as the response to a request that has been read, or from the start of a connection.
    pub(crate) async fn play(&mut self, script: &Script, ticket: Option<Ticket>) -> Result<After, End> {
        let mut playing = Playing { script, ticket, position: 0, completes: false };
        for (index, step) in script.steps.iter().enumerate() {
            playing.completes = script.completes_answer(index);
            if self.perform(step, &mut playing).await? == After::Closed {
                return Ok(After::Closed);
            }
        }
        playing.completes = true;
        playing.answered();
        Ok(After::Open)
    }

    async fn perform(&mut self, step: &Step, playing: &mut Playing<'_>) -> Result<After, End> {
        match step {
            Step::Send(bytes) => self.send(bytes, playing).await?,
            Step::Fill(pattern, bytes) => self.send_pattern(*pattern, *bytes, playing).await?,
            Step::Repeat(block, times) => self.send_again(block, *times, playing).await?,
            Step::Drip { bytes, each, every } => self.drip(bytes, (*each).max(1), *every, playing).await?,
            Step::Pause(time) => {
                self.wait(Some(*time)).await?;
                playing.answered();
            }
            Step::Until(condition) => {
                while !(condition.0)() {
                    self.wait(Some(UNTIL_POLL)).await?;
                }
                playing.answered();
            }
            Step::Silence => self.wait(None).await?,
            Step::ExpectRequest => (_, playing.ticket) = self.request().await?,
            Step::ExpectHead => {
                let head = Arc::new(self.head().await?);
                playing.ticket = self.connection.arrived(&head);
            }
            Step::HalfClose => self.stream.shutdown().await?,
            Step::Close => {
                playing.answered();
                self.stream.shutdown().await?;
                return Ok(After::Closed);
            }
            Step::Cut => {
                playing.answered();
                return Ok(After::Closed);
            }
            Step::Reset => {
                playing.answered();
                self.stream.tcp().set_zero_linger()?;
                return Ok(After::Closed);
            }
        }
        Ok(After::Open)
    }

    /// Writes in segments. If these bytes complete the response, the request counts as answered just before the last segment.
    async fn send(&mut self, bytes: &[u8], playing: &mut Playing<'_>) -> Result<(), End> {
        let mut rest = bytes;
        loop {
            let (segment, behind) = rest.split_at(playing.segment(rest.len()));
            if behind.is_empty() {
                playing.answered();
            }
            self.stream.write_all(segment).await?;
            self.stream.flush().await?;
            playing.position += segment.len() as u64;
            rest = behind;
            if rest.is_empty() {
                return Ok(());
            }
            if playing.script.gap.is_zero() {
                tokio::task::yield_now().await;
            } else {
                self.wait(Some(playing.script.gap)).await?;
            }
        }
    }

    async fn send_pattern(
        &mut self,
        pattern: Pattern,
        bytes: u64,
        playing: &mut Playing<'_>,
    ) -> Result<(), End> {
        let completes = playing.completes;
        let mut block = Vec::new();
        let mut from = 0;
        while from < bytes {
            let length = usize::try_from(bytes - from).map_or(BLOCK_BYTES, |rest| rest.min(BLOCK_BYTES));
            block.clear();
            pattern.append(from, length, &mut block);
            from += length as u64;
            playing.completes = completes && from == bytes;
            self.send(&block, playing).await?;
        }
        Ok(())
    }

    async fn send_again(&mut self, block: &[u8], times: u64, playing: &mut Playing<'_>) -> Result<(), End> {
        let completes = playing.completes;
        let at_once =
            usize::try_from(times).unwrap_or(usize::MAX).min((BLOCK_BYTES / block.len().max(1)).max(1));
        let blocks = block.repeat(at_once);
        let mut left = times;
        while left > 0 {
            let now = usize::try_from(left).map_or(at_once, |left| left.min(at_once));
            left -= now as u64;
            playing.completes = completes && left == 0;
            self.send(blocks.get(..now * block.len()).unwrap_or_default(), playing).await?;
        }
        Ok(())
    }

    async fn drip(
        &mut self,
        bytes: &[u8],
        each: usize,
        every: Duration,
        playing: &mut Playing<'_>,
    ) -> Result<(), End> {
        let completes = playing.completes;
        let count = bytes.len().div_ceil(each);
        for (number, piece) in (1..).zip(bytes.chunks(each)) {
            if number > 1 {
                self.wait(Some(every)).await?;
            }
            playing.completes = completes && number == count;
            self.send(piece, playing).await?;
        }
        Ok(())
    }

    /// Waits for a time, or for ever, and reads meanwhile. Ends with `Gone` when the client disconnects.
    async fn wait(&mut self, time: Option<Duration>) -> Result<(), End> {
        let deadline = time.map(|time| Instant::now() + time);
        let alarm = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(alarm);
        while self.inbox.len() < AHEAD_BYTES_MAX {
            self.inbox.reserve(64);
            tokio::select! {
                () = &mut alarm => return Ok(()),
                read = self.stream.read_buf(&mut self.inbox) => if read? == 0 { return Err(End::Gone) },
            }
        }
        alarm.await;
        Ok(())
    }

    /// Closes a connection after an invalid request. It waits until the client has read the response: closing a socket with
    /// unread bytes sends a reset, which may discard the response.
    pub(crate) async fn refuse(&mut self, why: &str) {
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{why}",
            why.len()
        );
        let sent = async {
            self.stream.write_all(answer.as_bytes()).await?;
            self.stream.shutdown().await
        };
        if sent.await.is_ok() {
            let deadline = Instant::now() + Duration::from_secs(1);
            loop {
                self.inbox.clear();
                tokio::select! {
                    read = self.stream.read_buf(&mut self.inbox) => if !matches!(read, Ok(1..)) { return },
                    () = sleep_until(deadline) => return,
                }
            }
        }
    }

    async fn head(&mut self) -> Result<Request, End> {
        let mut searched = 0_usize;
        loop {
            // Empty lines before a request are ignored (RFC 9112, section 2.2).
            while searched == 0 && self.inbox.starts_with(b"\r\n") {
                self.inbox.advance(2);
            }
            let unsearched = self.inbox.get(searched..).unwrap_or_default();
            if let Some(found) = unsearched.windows(4).position(|window| window == b"\r\n\r\n") {
                // A copy, so that the record does not keep the read buffers.
                let head = Bytes::copy_from_slice(&self.inbox.split_to(searched + found + 4));
                return Request::parse(head).map_err(|why| self.malformed(why));
            }
            searched = self.inbox.len().saturating_sub(3);
            if self.inbox.len() > HEAD_BYTES_MAX {
                return Err(self.malformed("the head is too long"));
            }
            if self.fill().await? == 0 {
                return Err(End::Gone);
            }
        }
    }

    fn malformed(&self, why: &'static str) -> End {
        self.recorder.saw_malformed();
        End::Malformed(why)
    }

    async fn chunked_body(&mut self, body: &mut Body) -> Result<(), End> {
        loop {
            let line = self.line().await?;
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let size =
                std::str::from_utf8(digits).ok().and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
            let Some(size) = size else {
                return Err(self.malformed("not the size of a chunk"));
            };
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(());
            }
            self.take_body(size, body).await?;
            if !self.line().await?.is_empty() {
                return Err(self.malformed("a chunk longer than its size"));
            }
        }
    }

    async fn take_body(&mut self, bytes: u64, body: &mut Body) -> Result<(), End> {
        let mut left = bytes;
        while left > 0 {
            if self.inbox.is_empty() && self.fill().await? == 0 {
                return Err(End::Gone);
            }
            let now = usize::try_from(left).map_or(self.inbox.len(), |left| left.min(self.inbox.len()));
            body.take(&self.inbox.split_to(now));
            left -= now as u64;
        }
        Ok(())
    }

    async fn line(&mut self) -> Result<Bytes, End> {
        loop {
            if let Some(found) = self.inbox.windows(2).position(|window| window == b"\r\n") {
                let line = self.inbox.split_to(found).freeze();
                self.inbox.advance(2);
                return Ok(line);
            }
            if self.inbox.len() > HEAD_BYTES_MAX {
                return Err(self.malformed("a line is too long"));
            }
            if self.fill().await? == 0 {
                return Err(End::Gone);
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.inbox.reserve(1024);
        self.stream.read_buf(&mut self.inbox).await
    }
}

#[derive(Default)]
struct Body {
    kept: BytesMut,
    bytes: u64,
}

impl Body {
    fn take(&mut self, part: &[u8]) {
        let room = BODY_KEPT_BYTES_MAX - self.kept.len();
        self.kept.extend_from_slice(part.get(..room).unwrap_or(part));
        self.bytes += part.len() as u64;
    }
}

/// The progress of a script.
struct Playing<'a> {
    script: &'a Script,
    /// The request of the current response.
    ticket: Option<Ticket>,
    /// The number of bytes of the script that have been sent.
    position: u64,
    /// True if the next bytes complete the response.
    completes: bool,
}

impl Playing<'_> {
    fn answered(&mut self) {
        if self.completes
            && let Some(ticket) = self.ticket.take()
        {
            ticket.answered();
        }
    }

    /// The length of the next segment.
    fn segment(&self, length: usize) -> usize {
        match self.script.delivery {
            Delivery::Whole => length,
            Delivery::ByteByByte => length.min(1),
            Delivery::SplitAt(offset) => match offset.checked_sub(self.position) {
                None | Some(0) => length,
                Some(before) => usize::try_from(before).map_or(length, |before| before.min(length)),
            },
        }
    }
}
