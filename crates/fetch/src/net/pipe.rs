//! Sockets in memory, for tests that decide when each byte arrives.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::stream::InMemory;

/// A socket in memory. It waits before each read and each write, and answers once it has the whole request.
#[derive(Default)]
pub(crate) struct Pipe {
    /// What comes, one piece a read; then the end.
    pub(crate) pieces: VecDeque<Vec<u8>>,
    pub(crate) sent: Vec<u8>,
    /// Bytes of the request that it waits for before it answers.
    pub(crate) asks: usize,
    /// Bytes that one write takes.
    pub(crate) takes: usize,
    pub(crate) has_waited_to_read: bool,
    pub(crate) has_waited_to_write: bool,
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

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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

impl InMemory for Pipe {}
impl InMemory for DuplexStream {}
