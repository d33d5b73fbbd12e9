//! Writing: bytes are gathered into a block; while one is being written, the next is gathered.
//!
//! Must never say that bytes are accepted and then drop them.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{Done, Unblock};

impl<T: Write + Send + 'static> Unblock<T> {
    fn poll_accept(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writer = Some(|object, bytes| object.write_all(bytes));
        if self.dirty.len() >= self.block_bytes || self.failed_write.is_some() {
            ready!(self.poll_written(cx))?;
        }
        let n = bytes.len().min(self.block_bytes - self.dirty.len());
        self.dirty.extend_from_slice(bytes.get(..n).unwrap_or_default());
        if self.dirty.len() >= self.block_bytes {
            // If the last block is still being written, this one waits; an error is told with the next bytes.
            match self.poll_job(cx) {
                Poll::Ready(Ok(())) if self.failed_write.is_none() => self.start_writing(),
                Poll::Ready(Err(error)) => self.failed_write = Some(error),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_written(cx))?;
            if !self.unflushed {
                return Poll::Ready(Ok(()));
            }
            self.unflushed = false;
            self.start(|object, _| Done::Wrote(object.flush()));
        }
    }
}

impl<T: Write + Send + 'static> futures_io::AsyncWrite for Unblock<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_accept(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }
}

#[cfg(feature = "tokio")]
impl<T: Write + Send + 'static> tokio::io::AsyncWrite for Unblock<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_accept(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }
}
