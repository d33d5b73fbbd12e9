//! The body of a request that is produced while it is sent.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
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
    /// The source failed, or did not have as many bytes as it should.
    pub(crate) fn poll_framed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<(Bytes, Bytes)>>> {
        while !self.ended {
            let source = self.source.get_mut().unwrap_or_else(PoisonError::into_inner);
            return Poll::Ready(match ready!(source.poll_next(cx))? {
                // An empty chunk would end the body.
                Some(data) if data.is_empty() => continue,
                Some(data) => self.frame(data).map(Some),
                None => self.end(),
            });
        }
        Poll::Ready(Ok(None))
    }

    fn frame(&mut self, data: Bytes) -> io::Result<(Bytes, Bytes)> {
        let before = match self.length {
            BodyLength::Known(bytes) => {
                if data.len() as u64 > bytes - self.sent {
                    return Err(io::Error::other(format!("the body to send is longer than {bytes} bytes")));
                }
                Bytes::new()
            }
            BodyLength::Chunked => {
                let mut line = Vec::new();
                if self.sent > 0 {
                    line.extend_from_slice(CHUNK_END);
                }
                write_chunk_size(data.len(), &mut line);
                line.into()
            }
        };
        self.sent += data.len() as u64;
        Ok((before, data))
    }

    fn end(&mut self) -> io::Result<Option<(Bytes, Bytes)>> {
        self.ended = true;
        match self.length {
            BodyLength::Known(bytes) if self.sent < bytes => {
                Err(io::Error::other(format!("the body to send has {} bytes instead of {bytes}", self.sent)))
            }
            BodyLength::Known(_) => Ok(None),
            BodyLength::Chunked => {
                let mut line = BytesMut::new();
                if self.sent > 0 {
                    line.put_slice(CHUNK_END);
                }
                line.put_slice(LAST_CHUNK);
                Ok(Some((line.freeze(), Bytes::new())))
            }
        }
    }
}
