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
}

impl Upload {
    pub(crate) fn new(source: Box<dyn Source>, length: BodyLength) -> Self {
        Self { source: Mutex::new(source), length, sent: 0, ended: false }
    }

    pub(crate) fn length(&self) -> BodyLength {
        self.length
    }

    /// The next piece in the framing of HTTP/1.1: bytes before the data, and the data; `None` once the body is complete. To
    /// be called again after each piece.
    ///
    /// # Errors
    ///
    /// As [`Upload::poll_data`].
    pub(crate) fn poll_framed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<(Bytes, Bytes)>>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let is_first = self.sent == 0;
        let data = ready!(self.poll_data(cx))?;
        let mut before = Vec::new();
        if self.length == BodyLength::Chunked {
            if !is_first {
                before.extend_from_slice(CHUNK_END);
            }
            match &data {
                Some(data) => write_chunk_size(data.len(), &mut before),
                None => before.extend_from_slice(LAST_CHUNK),
            }
        } else if data.is_none() {
            return Poll::Ready(Ok(None));
        }
        Poll::Ready(Ok(Some((before.into(), data.unwrap_or_default()))))
    }

    /// The next piece of data, which is not empty; `None` once all of it was given. To be called again after each piece.
    ///
    /// # Errors
    ///
    /// The source failed, or did not have as many bytes as it should.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        while !self.ended {
            let source = self.source.get_mut().unwrap_or_else(PoisonError::into_inner);
            match ready!(source.poll_next(cx))? {
                Some(data) if data.is_empty() => {}
                Some(data) => {
                    self.sent += data.len() as u64;
                    return Poll::Ready(match self.length {
                        BodyLength::Known(bytes) if self.sent > bytes => {
                            Err(io::Error::other(format!("the body to send is longer than {bytes} bytes")))
                        }
                        BodyLength::Known(_) | BodyLength::Chunked => Ok(Some(data)),
                    });
                }
                None => self.ended = true,
            }
        }
        Poll::Ready(match self.length {
            BodyLength::Known(bytes) if self.sent < bytes => {
                Err(io::Error::other(format!("the body to send has {} bytes instead of {bytes}", self.sent)))
            }
            BodyLength::Known(_) | BodyLength::Chunked => Ok(None),
        })
    }
}
