//! Writing: bytes are buffered in a block; while one block is written, the next is filled. Accepted bytes are never dropped.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::accepted::write_all;
use super::{Done, Operation, Stage, Unblock};

impl<T: Write + Send + 'static> Unblock<T> {
    fn poll_accept(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.abandon_seek();
        ready!(self.poll_stop_reading(cx))?;
        if self.stage == Stage::Lent(Operation::Close) {
            // Nothing would write them.
            ready!(self.poll_rest(cx))?;
        }
        loop {
            let (n, full) = {
                let mut accepted = self.accepted.lock();
                accepted.written_by(write_all::<T>);
                accepted.take_in(bytes, self.block_bytes)
            };
            if n > 0 {
                self.clean = false;
                if full {
                    self.write_behind(cx);
                }
                return Poll::Ready(Ok(n));
            }
            ready!(self.poll_rest(cx))?;
            self.start(Operation::Write, |_| Done::Used);
        }
    }

    /// Starts to write a full block, if nothing else is under way. An error is returned by the next operation.
    fn write_behind(&mut self, cx: &mut Context<'_>) {
        match self.poll_rest(cx) {
            Poll::Ready(Ok(())) => self.start(Operation::WriteBehind, |_| Done::Used),
            Poll::Ready(Err(error)) => self.failed = Some(error),
            Poll::Pending => {}
        }
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.abandon_seek();
        loop {
            ready!(self.poll_rest(cx))?;
            if self.clean && self.accepted.lock().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.start(Operation::Flush, |object| Done::Flushed(object.flush()));
        }
    }

    /// Flushes, and drops the object on the executor.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.stage == Stage::Closed {
                return Poll::Ready(Ok(()));
            }
            let rest = ready!(self.poll_rest(cx));
            if self.stage == Stage::Closed {
                return Poll::Ready(Ok(()));
            }
            rest?;
            self.start_last(Operation::Close, |object| {
                let flushed = object.as_mut().map_or(Ok(()), T::flush);
                if flushed.is_ok() {
                    drop(object.take());
                }
                Done::Closed(flushed)
            });
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

    /// Flushes, and drops the object on the executor: a file's descriptor is closed when this is ready. After an error the object is
    /// still there.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_closed(cx)
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

    /// Flushes, as that of `tokio::fs::File`. The object stays open, for what is still to be read.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }
}
