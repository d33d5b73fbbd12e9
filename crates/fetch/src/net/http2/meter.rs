//! The socket of a connection as `h2` sees it: checks the first frame of the server, and counts the frames that belong to no
//! response, or to one that nobody reads.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::strays::Strays;
use crate::net::tls_failure::{Identify, of_identity, told};

/// What is known of the bytes that were received. The task of the connection and its streams share it; see
/// [`Shared`](super::shared::Shared) about the order of the accesses.
#[derive(Debug)]
pub(super) struct Received {
    /// The most bytes of a head, which were announced.
    head_bytes_max: usize,
    /// Whether the server may have got a client certificate.
    identify: Identify,
    /// Which streams are read.
    strays: Arc<Strays>,
    /// Frames that belong to no response, since a request or a response has last moved on.
    idle_frames: AtomicU32,
    /// Too many of them, or of those that nobody reads.
    is_flooded: AtomicBool,
    /// The first bytes were a status line of HTTP/1.
    is_http1: AtomicBool,
    /// The first frame was none of SETTINGS.
    is_foreign: AtomicBool,
    /// The failure of a handshake that the server has refused behind it: `h2` passes on the kind of an error alone.
    refusal: OnceLock<Failure>,
}

impl Received {
    /// For streams with a window of `window` bytes, and heads of at most `head` bytes.
    pub(super) fn new(window: u32, head: u32, identify: Identify) -> Self {
        Self {
            head_bytes_max: head as usize,
            identify,
            strays: Arc::new(Strays::new(window, head)),
            idle_frames: AtomicU32::new(0),
            is_flooded: AtomicBool::new(false),
            is_http1: AtomicBool::new(false),
            is_foreign: AtomicBool::new(false),
            refusal: OnceLock::new(),
        }
    }

    pub(super) fn strays(&self) -> &Arc<Strays> {
        &self.strays
    }

    pub(super) fn head_bytes_max(&self) -> usize {
        self.head_bytes_max
    }

    /// A request or a response has moved on.
    pub(super) fn progress(&self) {
        self.idle_frames.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_flooded(&self) -> bool {
        self.is_flooded.load(Ordering::Relaxed)
    }

    /// True if it was a response that nobody reads which has flooded the connection.
    pub(super) fn is_strayed(&self) -> bool {
        self.strays.are_exceeded()
    }

    pub(super) fn is_http1(&self) -> bool {
        self.is_http1.load(Ordering::Relaxed)
    }

    pub(super) fn refusal(&self) -> Option<&Failure> {
        self.refusal.get()
    }

    pub(super) fn is_foreign(&self) -> bool {
        self.is_foreign.load(Ordering::Relaxed)
    }
}

/// Length, kind, flags, stream.
const FRAME_HEAD_BYTES: usize = 9;
/// Kinds of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

/// A socket under a connection of HTTP/2.
pub(super) struct Meter<S> {
    socket: S,
    received: Arc<Received>,
    /// The head of a frame, as far as it has come.
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    /// Bytes of a frame that follow its head.
    payload: usize,
    has_begun: bool,
}

impl<S> Meter<S> {
    pub(super) fn new(socket: S, received: Arc<Received>) -> Self {
        Self { socket, received, head: [0; FRAME_HEAD_BYTES], head_bytes: 0, payload: 0, has_begun: false }
    }

    /// Passes over received bytes, from head to head.
    fn check(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let (passed, rest) = data.split_at(self.payload.min(data.len()));
            self.payload -= passed.len();
            let missing = (FRAME_HEAD_BYTES - self.head_bytes).min(rest.len());
            let (part, rest) = rest.split_at(missing);
            for (place, byte) in self.head.iter_mut().skip(self.head_bytes).zip(part) {
                *place = *byte;
            }
            self.head_bytes += part.len();
            data = rest;
            // The fourth byte tells what speaks there, and a server of HTTP/1 may not send many more.
            if !self.has_begun && self.head_bytes > 3 {
                self.begin()?;
            }
            if self.head_bytes == FRAME_HEAD_BYTES {
                self.head_bytes = 0;
                self.count()?;
            }
        }
        Ok(())
    }

    /// The preface of a server is a frame of SETTINGS (RFC 9113, section 3.4).
    fn begin(&mut self) -> io::Result<()> {
        self.has_begun = true;
        let [a, b, c, kind, ..] = self.head;
        if kind == SETTINGS {
            return Ok(());
        }
        self.received.is_http1.store([a, b, c, kind] == *b"HTTP", Ordering::Relaxed);
        self.received.is_foreign.store(true, Ordering::Relaxed);
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Counts a frame by its head.
    fn count(&mut self) -> io::Result<()> {
        let [l0, l1, l2, kind, _, s0, s1, s2, s3] = self.head;
        self.payload = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        // The first bit is reserved.
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        if self.payload > limits::H2_FRAME_BYTES_MAX as usize {
            // `h2` refuses it by its head, when it has taken what came before it.
            return Ok(());
        }
        let received = &*self.received;
        let has_room = match kind {
            // Those of responses that are read have limits in `h2`.
            HEADERS => received.strays.take_head(stream, self.payload),
            DATA | CONTINUATION => received.strays.take_data(stream, self.payload),
            _ => received.idle_frames.fetch_add(1, Ordering::Relaxed) < limits::H2_IDLE_FRAMES_MAX,
        };
        if !has_room {
            received.is_flooded.store(true, Ordering::Relaxed);
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Meter<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let meter = self.get_mut();
        let before = buf.filled().len();
        if let Err(error) = ready!(Pin::new(&mut meter.socket).poll_read(cx, buf)) {
            let failure = of_identity(&error, meter.received.identify);
            if let Some(failure) = failure.filter(|_| !meter.has_begun) {
                meter.received.refusal.get_or_init(|| failure);
            }
            return Poll::Ready(Err(io::Error::new(error.kind(), told(&error))));
        }
        Poll::Ready(meter.check(buf.filled().get(before..).expect("a read only adds to the buffer")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Meter<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was found in these bytes, in pieces of a length: the result, frames counted, bytes of the last payload to come.
    fn check(bytes: &[u8], length: usize, expected: Result<(u32, usize), [bool; 3]>) {
        let mut meter = Meter::new((), Arc::new(Received::new(0, 0, Identify::No)));
        let result = bytes.chunks(length).try_for_each(|piece| meter.check(piece));
        let received = &meter.received;
        let found = match result {
            Ok(()) => Ok((received.idle_frames.load(Ordering::Relaxed), meter.payload)),
            Err(_) => Err([received.is_flooded(), received.is_foreign(), received.is_http1()]),
        };
        assert_eq!(found, expected, "in pieces of {length}");
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let frame = |kind: u8, payload: &[u8]| {
            let length = u8::try_from(payload.len()).unwrap();
            [&[0, 0, length, kind, 0, 0, 0, 0, 0], payload].concat()
        };
        let begin = frame(SETTINGS, &[9; 12]);
        let some = [
            begin.clone(),
            frame(DATA, &[6; 50]),
            frame(6, &[6; 8]),
            frame(HEADERS, &[6]),
            frame(8, &[6; 4]),
        ]
        .concat();
        let many = [begin.clone(), frame(6, &[0; 8]).repeat(limits::H2_IDLE_FRAMES_MAX as usize)].concat();
        for length in [1, 2, 7, 9, 10, 64, 100_000] {
            check(&some, length, Ok((3, 0)));
            check(&some[..some.len() - 3], length, Ok((3, 3)));
            check(&many, length, Err([true, false, false]));
            check(&many[..many.len() - 17], length, Ok((limits::H2_IDLE_FRAMES_MAX, 0)));
            check(b"HTTP/1.1 200 OK\r\n\r\n", length, Err([false, true, true]));
            check(b"HTTP", length, Err([false, true, true]));
            check(&frame(DATA, b"x"), length, Err([false, true, false]));
        }
    }
}
