//! Reading: a block at a time, ahead if asked to.
//!
//! Must never drop a block that was not given.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use super::{Done, Unblock};
use crate::guard::wake_guarded;
use crate::sync::Mutex;

/// Blocks between the job that reads and the reader.
pub(super) struct Blocks(Mutex<Stock>);

struct Stock {
    /// Read and not yet given.
    blocks: VecDeque<Vec<u8>>,
    /// Given back, to be filled again.
    spare: Vec<Vec<u8>>,
    /// An end or an error, which follows the blocks.
    after: Option<io::Result<()>>,
    /// The job is to end after the read that it is in.
    stop: bool,
    waker: Option<Waker>,
}

impl Blocks {
    pub(super) fn new() -> Self {
        Blocks(Mutex::new(Stock {
            blocks: VecDeque::new(),
            spare: Vec::new(),
            after: None,
            stop: false,
            waker: None,
        }))
    }

    /// The job: reads until `room` blocks are in stock.
    fn fill(&self, object: &mut impl Read, room: usize, bytes: usize) {
        loop {
            let mut block = self.0.lock().spare.pop().unwrap_or_default();
            // A block that was filled before keeps its length: it is zeroed once, not on every use.
            block.resize(bytes, 0);
            let read = loop {
                match object.read(&mut block) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            let (waker, more) = {
                let mut stock = self.0.lock();
                match read {
                    Ok(0) => stock.after = Some(Ok(())),
                    Err(error) => stock.after = Some(Err(error)),
                    Ok(n) => {
                        block.truncate(n);
                        stock.blocks.push_back(block);
                    }
                }
                let more = stock.after.is_none() && !stock.stop && stock.blocks.len() < room;
                (stock.waker.take(), more)
            };
            wake_guarded(waker);
            if !more {
                return;
            }
        }
    }

    /// Asks a job that reads ahead to end soon.
    pub(super) fn stop(&self) {
        self.0.lock().stop = true;
    }

    /// Takes all that is unread out; what followed it is forgotten.
    pub(super) fn clear(&self) -> VecDeque<Vec<u8>> {
        let mut stock = self.0.lock();
        stock.after = None;
        std::mem::take(&mut stock.blocks)
    }

    fn give_back(&self, block: Vec<u8>) {
        self.0.lock().spare.push(block);
    }
}

impl<T: Read + Send + 'static> Unblock<T> {
    /// Ready when there are unread bytes, or none will come: then the slice is empty.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        while self.at >= self.block.len() {
            let (next, stocked) = {
                let mut stock = self.read.0.lock();
                let next = stock.blocks.pop_front();
                if next.is_none() && stock.after.is_none() {
                    stock.waker = Some(cx.waker().clone());
                }
                (next, stock.blocks.len())
            };
            if let Some(next) = next {
                let used = std::mem::replace(&mut self.block, next);
                self.at = 0;
                self.read.give_back(used);
                if stocked <= self.blocks_ahead / 2 && self.blocks_ahead > 0 {
                    self.read_on(cx);
                }
                continue;
            }
            if let Some(after) = self.read.0.lock().after.take() {
                // An end may be followed by more, as when a file grows.
                return Poll::Ready(after.map(|()| [].as_slice()));
            }
            if self.job.is_none() {
                // What was written before is written before this reads.
                ready!(self.poll_written(cx))?;
                self.start_reading(1 + self.blocks_ahead);
            }
            // Either the job ends, or it puts a block in stock and goes on.
            ready!(self.poll_job(cx))?;
        }
        Poll::Ready(Ok(self.block.get(self.at..).unwrap_or_default()))
    }

    /// Keeps a job reading ahead, unless the end is in sight.
    fn read_on(&mut self, cx: &mut Context<'_>) {
        if self.job.is_some() && !matches!(self.poll_job(cx), Poll::Ready(Ok(()))) {
            return;
        }
        if self.read.0.lock().after.is_none() && self.dirty.is_empty() {
            self.start_reading(self.blocks_ahead);
        }
    }

    fn start_reading(&mut self, room: usize) {
        let (read, bytes) = (Arc::clone(&self.read), self.block_bytes);
        read.0.lock().stop = false;
        self.start(move |object, _| {
            read.fill(object, room, bytes);
            Done::Used
        });
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
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
        let n = ready!(self.get_mut().poll_copy(cx, into.initialize_unfilled()))?;
        into.advance(n);
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
