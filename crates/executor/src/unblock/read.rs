//! Reading: a block at a time, with read-ahead on request, or when the object is detected to be read sequentially in bulk.

use std::any::{Any, TypeId};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::listener::Listener;
use super::seek::rewind;
use super::{Done, Operation, Rewind, Stage, Unblock};
use crate::limits;
use crate::pool::{self, Pool};
use crate::sync::{AtomicBool, Mutex, Ordering};

/// The reader's side.
pub(super) struct Reading {
    /// The block that is being given, from `at` on.
    block: Block,
    at: usize,
    stock: Arc<Stock>,
    /// How many blocks to read ahead, if set.
    ahead: Option<usize>,
    /// How long the next block will be.
    next_bytes: usize,
    /// How much was asked for at once, and how much of that one job may read beyond a block.
    wanted: usize,
    one_read_bytes: usize,
}

/// Bytes, of which the first `len` were read. The rest is zeroed once, and not on every use.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    len: usize,
}

impl Block {
    fn read(&self) -> &[u8] {
        self.bytes.get(..self.len).expect("what was read is within the block")
    }

    /// Adds bytes if there is room for them.
    fn append(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }
}

/// What a job does after a short read, one that gave less than it was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ShortRead {
    Ends,
    Continues,
}

/// The blocks that are shared by the job that reads and the reader.
pub(super) struct Stock {
    blocks: Mutex<Blocks>,
    /// The task that waits for a block, or for an item.
    pub(super) listener: Listener,
    /// The job is to end after the read that it is in.
    stop: AtomicBool,
}

struct Blocks {
    /// Read and not yet given.
    full: VecDeque<Block>,
    /// Given back, to be filled again.
    spare: Vec<Block>,
    /// An end or an error, which follows the blocks.
    after: Option<io::Result<()>>,
    /// Whole blocks that came in a row, and their bytes.
    whole: (usize, usize),
    /// The object is a regular file, which has one position for reading and writing. Unknown until it was read.
    regular: Option<bool>,
}

impl Reading {
    pub(super) fn new() -> Self {
        let blocks =
            Blocks { full: VecDeque::new(), spare: Vec::new(), after: None, whole: (0, 0), regular: None };
        let stock =
            Stock { blocks: Mutex::new(blocks), listener: Listener::new(), stop: AtomicBool::new(false) };
        Reading {
            block: Block::default(),
            at: 0,
            stock: Arc::new(stock),
            ahead: None,
            next_bytes: limits::FIRST_READ_BYTES,
            wanted: 0,
            one_read_bytes: limits::ONE_READ_BYTES,
        }
    }

    /// No block is longer than this.
    pub(super) fn bounded(&mut self, bytes: usize) {
        self.one_read_bytes = bytes;
    }

    pub(super) fn read_ahead(&mut self, blocks: usize) {
        self.ahead = Some(blocks);
    }

    /// Asks a job that reads or pulls ahead to end soon.
    pub(super) fn stop(&self) {
        self.stock.stop.store(true, Ordering::Relaxed);
    }

    /// Resets the stop flag, and returns the stock for the next job.
    pub(super) fn go(&self) -> Arc<Stock> {
        self.stock.stop.store(false, Ordering::Relaxed);
        Arc::clone(&self.stock)
    }

    /// This task is woken when something is put in stock; look once more after this.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        self.stock.listener.listen(cx);
    }

    /// A task that waits for the job, and is known to `block_on` by it, may have left its waker here, too: only the job will wake it.
    pub(super) fn note_listener(&self, pool: &Arc<Pool>, cx: &Context<'_>) {
        if self.stock.listener.is(cx) {
            pool::note_beside(pool, cx, Arc::as_ptr(&self.stock).addr());
        }
    }

    /// It waits for nothing in stock any more.
    pub(super) fn unlisten(&self) {
        pool::forget(Arc::as_ptr(&self.stock).addr());
        self.stock.listener.unlisten(pool::is_own);
    }

    fn has_unread(&self) -> bool {
        self.at < self.block.len || !self.stock.blocks.lock().full.is_empty()
    }

    /// How many bytes were read and not given. No job is under way.
    pub(super) fn unread_bytes(&self) -> u64 {
        let stocked: usize = self.stock.blocks.lock().full.iter().map(|block| block.len).sum();
        (self.block.len - self.at + stocked) as u64
    }

    /// Takes out what was read and not given. No job is under way.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        let mut unread = self.block.read().get(self.at..).unwrap_or_default().to_vec();
        self.stock.blocks.lock().full.iter().for_each(|block| unread.extend_from_slice(block.read()));
        self.forget();
        unread
    }

    /// Lets go of what was read and not given, and of what followed it; reading begins anew. No job is under way.
    pub(super) fn forget(&mut self) {
        let mut stock = self.stock.blocks.lock();
        self.at = self.block.len;
        while let Some(block) = stock.full.pop_front() {
            stock.spare.push(block);
        }
        stock.whole = (0, 0);
        self.next_bytes = limits::FIRST_READ_BYTES;
        let after = stock.after.take();
        drop(stock);
        // To drop an error may be the user's code: not under the lock.
        drop(after);
    }
}

impl Stock {
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The job: reads until `room` bytes are in stock, a block at a time; at least once, unless it is stopped before. A read that gave less
    /// than it was asked for is the last, unless more were asked for ahead: the next one may block, as a pipe does until its other end is written to.
    fn fill<T: Read + 'static>(&self, object: &mut T, room: usize, bytes: usize, short: ShortRead) {
        if TypeId::of::<T>() == TypeId::of::<File>() && self.blocks.lock().regular.is_none() {
            let regular = is_regular_file(object);
            self.blocks.lock().regular = Some(regular);
        }
        let mut block = Block::default();
        while !self.is_stopped() {
            if block.bytes.len() < bytes {
                block = self.empty_block(bytes);
            }
            let space = block.bytes.get_mut(..bytes).expect("a block has its length");
            let read = loop {
                match object.read(space) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            if let Ok(n) = read {
                assert!(n <= bytes, "a reader said that it gave more than there was room for");
                block.len = n;
            }
            let may_block =
                matches!(read, Ok(n) if n < bytes) && short == ShortRead::Ends && !self.is_regular();
            let more = self.blocks.lock().put(&mut block, read, room, bytes) && !may_block;
            self.listener.wake();
            if !more {
                break;
            }
        }
        if !block.bytes.is_empty() {
            self.give_back(block);
        }
    }

    /// A regular file does not block, so one more read finds its end without another job.
    fn is_regular(&self) -> bool {
        self.blocks.lock().regular == Some(true)
    }

    fn empty_block(&self, bytes: usize) -> Block {
        let spare = self.blocks.lock().spare.pop();
        match spare {
            Some(block) if block.bytes.len() >= bytes => Block { bytes: block.bytes, len: 0 },
            Some(_) | None => Block { bytes: vec![0; bytes], len: 0 },
        }
    }

    fn give_back(&self, block: Block) {
        let mut stock = self.blocks.lock();
        if stock.spare.len() < limits::SPARE_BLOCKS && !block.bytes.is_empty() {
            stock.spare.push(block);
        }
    }
}

impl Blocks {
    /// Stores the result of a read; a small one is appended to the last block, so that small reads are coalesced. True if there is
    /// room for more.
    fn put(&mut self, block: &mut Block, read: io::Result<usize>, room: usize, bytes: usize) -> bool {
        match read {
            Ok(0) => self.after = Some(Ok(())),
            Err(error) => self.after = Some(Err(error)),
            Ok(n) => {
                self.whole = if n == bytes { (self.whole.0 + 1, self.whole.1 + n) } else { (0, 0) };
                let joined =
                    n <= bytes / 4 && self.full.back_mut().is_some_and(|last| last.append(block.read()));
                if !joined {
                    self.full.push_back(std::mem::take(block));
                }
            }
        }
        let stocked: usize = self.full.iter().map(|block| block.len).sum();
        self.after.is_none() && stocked < room
    }
}

/// How a file moves back. Decided by its type, because no trait tells whether reading and writing share a position.
pub(super) fn rewind_of_a_file<T: 'static>() -> Option<Rewind<T>> {
    fn of_a_file<T: 'static>(object: &mut T, by: u64) -> io::Result<()> {
        (object as &mut dyn Any).downcast_mut::<File>().map_or(Ok(()), |file| rewind(file, by))
    }
    (TypeId::of::<T>() == TypeId::of::<File>()).then_some(of_a_file::<T> as Rewind<T>)
}

fn is_regular_file<T: 'static>(object: &T) -> bool {
    let file = (object as &dyn Any).downcast_ref::<File>();
    file.and_then(|file| file.metadata().ok()).is_some_and(|metadata| metadata.is_file())
}

impl<T: Send + 'static> Unblock<T> {
    /// Before bytes are accepted: an object with one position must write where the reader is, not where reading ahead has come to. One
    /// that reads here and writes there, as a socket, keeps what is unread.
    pub(super) fn poll_stop_reading(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(rewind) = self.rewind else { return Poll::Ready(Ok(())) };
        let reads = match self.stage {
            Stage::Lent(operation) => matches!(operation, Operation::Read | Operation::ReadAhead),
            Stage::Rest | Stage::Panicked | Stage::Closed => false,
        };
        if reads {
            self.reading.stop();
            ready!(self.poll_rest(cx))?;
        }
        if self.reading.has_unread() && self.reading.stock.blocks.lock().regular != Some(false) {
            let by = self.reading.unread_bytes();
            self.reading.forget();
            self.accepted.lock().after_moving_back(by, rewind);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: Read + Send + 'static> Unblock<T> {
    /// Ready when there are unread bytes, or none will come: then the slice is empty. `wanted` is how many the reader asks for.
    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<&[u8]>> {
        self.abandon_seek();
        while self.must_wait() || self.reading.at >= self.reading.block.len {
            if self.must_wait() {
                ready!(self.poll_job(cx))?;
                continue;
            }
            self.check()?;
            if self.next_block(cx) {
                continue;
            }
            if let Some(after) = self.reading.stock.blocks.lock().after.take() {
                // An end may be followed by more, as when a file grows.
                return Poll::Ready(after.map(|()| [].as_slice()));
            }
            self.reading.wanted = wanted;
            if self.stage == Stage::Rest {
                ready!(self.poll_job(cx))?;
                self.start_reading(Operation::Read);
            } else if self.stage == Stage::Lent(Operation::ReadAhead) {
                // It is asked for now.
                self.stage = Stage::Lent(Operation::Read);
            }
            // Either the job ends, or it puts a block in stock and goes on.
            ready!(self.poll_job(cx))?;
        }
        Poll::Ready(Ok(self.reading.block.read().get(self.reading.at..).unwrap_or_default()))
    }

    /// Whether an operation is under way, or was left on the object, that may move it.
    fn must_wait(&self) -> bool {
        match self.stage {
            Stage::Lent(operation) => self.called || operation.moves(),
            Stage::Rest => false,
            Stage::Panicked | Stage::Closed => true,
        }
    }

    /// Goes on to the next block in stock, if there is one; otherwise the stock will wake this task.
    fn next_block(&mut self, cx: &mut Context<'_>) -> bool {
        let stock = &self.reading.stock;
        let look = || {
            let mut blocks = stock.blocks.lock();
            let next = blocks.full.pop_front();
            (next, blocks.full.len(), blocks.after.is_some())
        };
        let (mut next, mut stocked, over) = look();
        if next.is_none() && !over {
            stock.listener.listen(cx);
            (next, stocked, _) = look();
            if next.is_some() {
                self.reading.unlisten();
            }
        }
        let Some(next) = next else { return false };
        let used = std::mem::replace(&mut self.reading.block, next);
        self.reading.at = 0;
        self.reading.stock.give_back(used);
        let ahead = self.ahead();
        if ahead > 0 && stocked <= ahead / 2 {
            self.read_on(cx);
        }
        true
    }

    /// How many blocks to read ahead.
    fn ahead(&self) -> usize {
        self.reading.ahead.unwrap_or_else(|| {
            let (blocks, bytes) = self.reading.stock.blocks.lock().whole;
            let bulk = blocks >= limits::BULK_BLOCKS && bytes >= limits::BULK_BYTES;
            if bulk && !self.accepted.lock().is_written_to() { limits::BULK_READ_AHEAD } else { 0 }
        })
    }

    /// Keeps a job reading ahead, unless the end is in sight.
    fn read_on(&mut self, cx: &mut Context<'_>) {
        match self.poll_job(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                self.failed = Some(error);
                return;
            }
            Poll::Pending => return,
        }
        if self.reading.stock.blocks.lock().after.is_none() && self.accepted.lock().is_empty() {
            self.start_reading(Operation::ReadAhead);
        }
    }

    fn start_reading(&mut self, operation: Operation) {
        let ahead = self.ahead();
        // In bulk, blocks grow on: each costs the reader a wake-up.
        let wanted = if ahead > 0 { self.reading.one_read_bytes } else { self.reading.wanted };
        let most = self.block_bytes.max(wanted.min(self.reading.one_read_bytes));
        let bytes = self.reading.next_bytes.max(self.reading.wanted).min(most);
        self.reading.next_bytes = bytes.saturating_mul(2).min(most);
        let blocks = ahead.saturating_add(usize::from(operation.is_awaited()));
        let short = if self.reading.ahead.is_some_and(|blocks| blocks > 0) {
            ShortRead::Continues
        } else {
            ShortRead::Ends
        };
        let stock = self.reading.go();
        self.start(operation, move |object| {
            stock.fill(object, blocks.max(1).saturating_mul(bytes), bytes, short);
            Done::Used
        });
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        let reading = &mut self.reading;
        assert!(bytes <= reading.block.len - reading.at, "no more is consumed than was given");
        reading.at += bytes;
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if into.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let unread = ready!(self.poll_bytes(cx, into.len()))?;
        let n = unread.len().min(into.len());
        if let (Some(from), Some(into)) = (unread.get(..n), into.get_mut(..n)) {
            into.copy_from_slice(from);
        }
        self.reading.at += n;
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
        self.get_mut().poll_bytes(cx, 0)
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
        let this = self.get_mut();
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let unread = ready!(this.poll_bytes(cx, into.remaining()))?;
        let n = unread.len().min(into.remaining());
        // Copied, not initialized first: a large buffer is not zeroed for a few bytes.
        into.put_slice(unread.get(..n).expect("at most what is unread"));
        this.reading.at += n;
        Poll::Ready(Ok(()))
    }
}

#[cfg(feature = "tokio")]
impl<T: Read + Send + 'static> tokio::io::AsyncBufRead for Unblock<T> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.get_mut().poll_bytes(cx, 0)
    }

    fn consume(self: Pin<&mut Self>, bytes: usize) {
        self.get_mut().consume(bytes);
    }
}
