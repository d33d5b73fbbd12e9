//! The body of a request that is produced while it is sent.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use overlapped_proto::http1::{CHUNK_END, LAST_CHUNK, write_chunk_size};
use overlapped_proto::request::BodyLength;

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
}

impl Upload {
    pub(crate) fn new(source: Box<dyn Source>, length: BodyLength) -> Self {
        Self { source: Mutex::new(source), length, sent: 0, ended: false, has_begun: false }
    }

    pub(crate) fn length(&self) -> BodyLength {
        self.length
    }

    /// True once its source was asked for anything: it cannot be sent from its beginning again.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
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
