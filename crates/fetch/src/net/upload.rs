//! The body of a request that is produced while it is sent.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::http1::{CHUNK_END, LAST_CHUNK, write_chunk_size};
use overlapped_proto::outcome::Failure;
use overlapped_proto::request::BodyLength;
use overlapped_proto::time::Nanos;

use super::alarm::Deadline;
use crate::clock::Clock;

/// Where such a body comes from.
pub(crate) trait Source: Send {
    /// The next piece, or `None` at the end. Not called again after the end or an error.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;
}

/// A body that is being sent. It can be sent once.
pub(crate) struct Upload {
    /// Its lock is never taken; it makes the upload `Sync`.
    source: Mutex<Box<dyn Source>>,
    length: BodyLength,
    /// Data sent so far.
    sent: u64,
    ended: bool,
    has_begun: bool,
    progress: Arc<Progress>,
}

/// How far a body is sent, for those who watch it while a connection has it.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Bytes that the system has taken.
    taken: AtomicU64,
    /// It waits for the server, not for its source.
    is_held_up: AtomicBool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { taken: AtomicU64::new(0), is_held_up: AtomicBool::new(true) }
    }
}

impl Progress {
    pub(crate) fn took(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What sending waits for.
    pub(crate) fn waits_for_server(&self, it_does: bool) {
        self.is_held_up.store(it_does, Ordering::Relaxed);
    }
}

/// Notices a server that takes no more of a body. It is asked whenever the sending waits.
pub(crate) struct Stall {
    progress: Option<Arc<Progress>>,
    clock: Clock,
    limit: Option<Nanos>,
    /// What had been taken, and since when.
    seen: Option<(u64, Nanos)>,
}

impl Stall {
    pub(crate) fn new(progress: Option<Arc<Progress>>, clock: Clock, limit: Option<Nanos>) -> Self {
        Self { progress, clock, limit, seen: None }
    }

    /// When the server must have taken more.
    pub(crate) fn deadline(&mut self) -> Deadline {
        let Some(progress) = &self.progress else { return Deadline::NEVER };
        if !progress.is_held_up.load(Ordering::Relaxed) {
            self.seen = None;
            return Deadline::NEVER;
        }
        let taken = progress.taken.load(Ordering::Relaxed);
        let since = match self.seen {
            Some((before, since)) if before == taken => since,
            Some(_) | None => self.clock.now(),
        };
        self.seen = Some((taken, since));
        Deadline::after(since, self.limit, ErrorKind::TimeoutFirstByte)
    }

    /// What missing that deadline means.
    pub(crate) fn failure(&self, failure: Failure) -> Failure {
        match self.limit {
            Some(limit) if failure.kind == ErrorKind::TimeoutFirstByte => {
                let limit = std::time::Duration::from(limit);
                let told =
                    format!("the server took no more of the body to send: {limit:?} (--first-byte-timeout)");
                Failure::new(failure.kind, told)
            }
            Some(_) | None => failure,
        }
    }
}

impl Upload {
    pub(crate) fn new(source: Box<dyn Source>, length: BodyLength) -> Self {
        Self {
            source: Mutex::new(source),
            length,
            sent: 0,
            ended: false,
            has_begun: false,
            progress: Arc::default(),
        }
    }

    pub(crate) fn length(&self) -> BodyLength {
        self.length
    }

    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// True once its source was asked for anything: it cannot be sent from its beginning again.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Its source has no more for now.
    pub(crate) fn waits(&self) {
        self.progress.waits_for_server(false);
    }

    /// The next piece, not empty; `None` once the body is complete. To be called again after each piece.
    ///
    /// # Errors
    ///
    /// The source failed, or did not have as many bytes as it should.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.has_begun = true;
        while !self.ended {
            let source = self.source.get_mut().unwrap_or_else(PoisonError::into_inner);
            return Poll::Ready(match ready!(source.poll_next(cx))? {
                Some(data) if data.is_empty() => continue,
                Some(data) => self.count(&data).map(|()| Some(data)),
                None => self.end().map(|()| None),
            });
        }
        Poll::Ready(Ok(None))
    }

    /// The same in the framing of HTTP/1.1: bytes before the data, and the data.
    ///
    /// # Errors
    ///
    /// As [`Upload::poll_piece`].
    pub(crate) fn poll_framed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<(Bytes, Bytes)>>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let is_first = self.sent == 0;
        let data = ready!(self.poll_piece(cx))?;
        if matches!(self.length, BodyLength::Known(_)) {
            return Poll::Ready(Ok(data.map(|data| (Bytes::new(), data))));
        }
        let mut line = Vec::new();
        if !is_first {
            line.extend_from_slice(CHUNK_END);
        }
        // An empty chunk ends the body.
        match &data {
            Some(data) => write_chunk_size(data.len(), &mut line),
            None => line.extend_from_slice(LAST_CHUNK),
        }
        Poll::Ready(Ok(Some((line.into(), data.unwrap_or_default()))))
    }

    fn count(&mut self, data: &Bytes) -> io::Result<()> {
        let length = data.len() as u64;
        match self.length {
            BodyLength::Known(bytes) if length > bytes - self.sent => {
                return Err(io::Error::other(format!("the body to send is longer than {bytes} bytes")));
            }
            BodyLength::Known(_) | BodyLength::Chunked => {}
        }
        self.sent += length;
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.ended = true;
        match self.length {
            BodyLength::Known(bytes) if self.sent < bytes => {
                Err(io::Error::other(format!("the body to send has {} bytes instead of {bytes}", self.sent)))
            }
            BodyLength::Known(_) | BodyLength::Chunked => Ok(()),
        }
    }
}
