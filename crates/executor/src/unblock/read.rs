//! Reading: a block at a time, ahead if asked to.
//!
//! Must never drop a block that was not given.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{Done, Unblock};

impl<T: Read + Send + 'static> Unblock<T> {
    /// Ready when there are unread bytes, or none will come: then the slice is empty.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        loop {
            if self.blocks.is_empty() {
                if let Some(after) = self.after.take() {
                    return Poll::Ready(after.map(|()| [].as_slice()));
                }
                if self.job.is_none() {
                    // What was written before is written before this reads.
                    ready!(self.poll_written(cx))?;
                    self.start_reading();
                }
                ready!(self.poll_job(cx))?;
                continue;
            }
            if self.job.is_none() && self.after.is_none() && self.blocks.len() <= self.blocks_ahead {
                self.start_reading();
            }
            let unread = self.blocks.front().and_then(|block| block.get(self.at..)).unwrap_or_default();
            return Poll::Ready(Ok(unread));
        }
    }

    fn start_reading(&mut self) {
        let mut block = self.spare.pop().unwrap_or_default();
        let bytes = self.block_bytes;
        self.start(move |object, _| {
            // A spare block keeps its length, so that it is zeroed once, not on every use.
            block.resize(bytes, 0);
            let result = loop {
                match object.read(&mut block) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            if let Ok(n) = result {
                block.truncate(n);
            }
            Done::Read(block, result)
        });
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
        if self.blocks.front().is_some_and(|block| self.at >= block.len()) {
            self.at = 0;
            self.spare.extend(self.blocks.pop_front());
        }
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if into.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let unread = ready!(self.poll_bytes(cx))?;
        let n = unread.len().min(into.len());
        if let (Some(from), Some(into)) = (unread.get(..n), into.get_mut(..n)) {
            into.copy_from_slice(from);
        }
        self.consume(n);
        Poll::Ready(Ok(n))
    }
}

impl<T: Read + Send + 'static> futures_io::AsyncRead for Unblock<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_copy(cx, into)
    }
}

impl<T: Read + Send + 'static> futures_io::AsyncBufRead for Unblock<T> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.get_mut().poll_bytes(cx)
    }

    fn consume(self: Pin<&mut Self>, bytes: usize) {
        self.get_mut().consume(bytes);
    }
}

#[cfg(feature = "tokio")]
impl<T: Read + Send + 'static> tokio::io::AsyncRead for Unblock<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let this = self.get_mut();
        let unread = ready!(this.poll_bytes(cx))?;
        let n = unread.len().min(into.remaining());
        into.put_slice(unread.get(..n).unwrap_or_default());
        this.consume(n);
        Poll::Ready(Ok(()))
    }
}

#[cfg(feature = "tokio")]
impl<T: Read + Send + 'static> tokio::io::AsyncBufRead for Unblock<T> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.get_mut().poll_bytes(cx)
    }

    fn consume(self: Pin<&mut Self>, bytes: usize) {
        self.get_mut().consume(bytes);
    }
}
