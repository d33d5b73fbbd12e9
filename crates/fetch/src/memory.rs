//! The memory budget of responses, over all shards of a run, and the back-pressure when it is used up.
//!
//! A response counts from its first byte until its record is written or its bytes have moved to disk. When half of the
//! budget is used, bodies and finished rows are spooled to disk; when all of it is used, what cannot be spooled (heads
//! and decoders of requests in flight) waits before it reads on.
//!
//! The run makes progress even if no response fits into the budget. Finished rows hold at most the first half, so a row
//! that waits depends only on requests in flight, which end by their deadlines. One row at a time is exempt: the
//! earliest that waits, until its attempt has ended.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use overlapped_proto::hold::Hold;
use overlapped_proto::job::Row;
use overlapped_proto::limits;

/// The budget of a run.
#[derive(Debug)]
pub(crate) struct Memory {
    max: usize,
    /// Finished responses that hold less are not counted.
    counted: usize,
    used: AtomicUsize,
    /// Bytes of the texts of long rows, from when they are dispatched until a sink has taken their records.
    rows: AtomicUsize,
    peak: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Rows that wait for room, and their wakers.
    waiting: BTreeMap<Row, Waker>,
    /// A row is exempt from the limit.
    exempt: bool,
}

/// The part of the budget that one response holds. Returned on drop.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    row: Row,
    bytes: usize,
    turn: Turn,
}

/// What the texts of one row have of it.
struct RowShare {
    memory: Arc<Memory>,
    bytes: usize,
}

/// The state of a response towards the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It has not waited.
    Free,
    /// It waits in the queue.
    Waiting,
    /// It is the exempt one.
    Exempt,
}

impl Memory {
    pub(crate) fn new(max: Option<u64>) -> Arc<Self> {
        Self::counting(limits::MEMORY_COUNTED_BYTES, max)
    }

    /// A budget of a run whose responses wait for those of earlier rows, so that many small ones count as well.
    pub(crate) fn ordered(max: Option<u64>) -> Arc<Self> {
        Self::counting(limits::MEMORY_COUNTED_BYTES_ORDERED, max)
    }

    fn counting(counted: usize, max: Option<u64>) -> Arc<Self> {
        let max = max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        Arc::new(Self {
            max,
            counted,
            used: AtomicUsize::new(0),
            rows: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            queue: Mutex::default(),
        })
    }

    pub(crate) fn share(self: &Arc<Self>, row: Row) -> Share {
        Share { memory: Arc::clone(self), row, bytes: 0, turn: Turn::Free }
    }

    /// Counts the texts of a row, until the guard is dropped; short ones are not counted.
    pub(crate) fn row(self: &Arc<Self>, bytes: usize) -> Hold {
        if bytes < limits::MEMORY_COUNTED_ROW_BYTES {
            return Hold::default();
        }
        self.rows.fetch_add(bytes, Ordering::SeqCst);
        Hold::new(RowShare { memory: Arc::clone(self), bytes })
    }

    /// True if no further row should be dispatched. Every row that is counted ends without a further one: it waits for
    /// nothing but its host, the sinks, and in ordered mode for earlier rows, which were dispatched before it.
    pub(crate) fn has_many_rows(&self) -> bool {
        self.rows.load(Ordering::SeqCst) > self.max / limits::MEMORY_ROWS_SHARE
    }

    /// True if the rows that were dispatched have grown so much by redirects that none should start beside those in
    /// flight. A shard without any in flight starts one nevertheless.
    pub(crate) fn has_long_chains(&self) -> bool {
        self.rows.load(Ordering::SeqCst) > self.max / limits::MEMORY_DISK_SHARE
    }

    /// The peak of the bytes held.
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// True if the budget is used up.
    fn is_full(&self) -> bool {
        self.used.load(Ordering::SeqCst) > self.max
    }

    fn give_back(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::SeqCst);
        // A row checks again after it has entered the queue, so no wake-up is lost.
        if before > self.max && before - bytes <= self.max {
            self.queue().waiting.values().for_each(Waker::wake_by_ref);
        }
    }

    /// The lock is never held across a panic, so a poisoned one is whole.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Sets the bytes that the response holds. Amounts below a threshold are not counted.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.count(bytes, limits::MEMORY_COUNTED_BYTES);
    }

    /// The same for a response that has finished.
    pub(crate) fn rest(&mut self, bytes: usize) {
        self.count(bytes, self.memory.counted);
    }

    fn count(&mut self, bytes: usize, counted: usize) {
        let bytes = if bytes < counted { 0 } else { bytes };
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes > before {
            let used = self.memory.used.fetch_add(bytes - before, Ordering::SeqCst) + bytes - before;
            self.memory.peak.fetch_max(used, Ordering::Relaxed);
        } else if bytes < before {
            self.memory.give_back(before - bytes);
        }
    }

    /// The bytes that are counted.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True if everything that can be spooled to disk should be.
    pub(crate) fn is_short(&self) -> bool {
        self.memory.used.load(Ordering::SeqCst) > self.memory.max / limits::MEMORY_DISK_SHARE
    }

    /// True if the budget is used up.
    pub(crate) fn is_full(&self) -> bool {
        self.memory.is_full()
    }

    /// Waits until the response may read on.
    pub(crate) async fn room(&mut self) {
        poll_fn(|cx| self.poll_room(cx)).await;
    }

    /// Ready once the response may read on. To be called again after each wake-up.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn == Turn::Exempt || !self.memory.is_full() {
            self.leave_queue();
            return Poll::Ready(());
        }
        let mut queue = self.memory.queue();
        queue.waiting.insert(self.row, cx.waker().clone());
        self.turn = Turn::Waiting;
        let is_first = queue.waiting.first_key_value().is_none_or(|(row, _)| *row == self.row);
        if is_first && !queue.exempt {
            queue.exempt = true;
            queue.waiting.remove(&self.row);
            self.turn = Turn::Exempt;
            return Poll::Ready(());
        }
        // Bytes may have been returned before the row entered the queue.
        if self.memory.is_full() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Ends the attempt: it reads nothing more, so another row may be exempt.
    pub(crate) fn end(&mut self) {
        if self.turn == Turn::Exempt {
            self.turn = Turn::Free;
            let mut queue = self.memory.queue();
            queue.exempt = false;
            queue.wake_first();
        }
        self.leave_queue();
    }

    fn leave_queue(&mut self) {
        if self.turn == Turn::Waiting {
            self.turn = Turn::Free;
            let mut queue = self.memory.queue();
            queue.waiting.remove(&self.row);
            queue.wake_first();
        }
    }
}

impl Queue {
    fn wake_first(&self) {
        if let Some((_, first)) = self.waiting.first_key_value() {
            first.wake_by_ref();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.end();
        self.set(0);
    }
}

impl Drop for RowShare {
    fn drop(&mut self) {
        self.memory.rows.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = limits::MEMORY_COUNTED_BYTES;

    fn may_read(share: &mut Share) -> bool {
        share.poll_room(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn one_row_at_a_time_is_exempt() {
        let memory = Memory::new(Some(0));
        let mut finished = memory.share(Row(0));
        finished.set(BYTES);
        let [mut first, mut second] = [1, 2].map(|row| memory.share(Row(row)));
        assert!(may_read(&mut first) && may_read(&mut first));
        assert!(!may_read(&mut second), "one is exempt already");
        // What it has read is still held, but its attempt has ended.
        first.set(BYTES);
        first.end();
        assert!(may_read(&mut second));
        drop(second);
        let mut third = memory.share(Row(3));
        assert!(may_read(&mut third), "dropping an attempt ends its exemption");
    }

    #[test]
    fn the_earliest_comes_first() {
        let memory = Memory::new(Some(0));
        let mut rows = [0, 3, 2].map(|row| memory.share(Row(row)));
        rows[0].set(BYTES);
        assert!(may_read(&mut rows[0]));
        assert!(!may_read(&mut rows[1]) && !may_read(&mut rows[2]));
        rows[0].end();
        assert!(!may_read(&mut rows[1]), "an earlier one waits");
        assert!(may_read(&mut rows[2]));
    }

    #[test]
    fn room_is_for_everyone() {
        let memory = Memory::new(Some(BYTES as u64));
        let mut rows = [1, 2, 3].map(|row| memory.share(Row(row)));
        rows[0].set(2 * BYTES);
        assert!(may_read(&mut rows[1]) && !may_read(&mut rows[2]));
        rows[0].set(BYTES);
        assert!(may_read(&mut rows[2]) && !rows[2].is_full() && rows[2].is_short());
        assert_eq!(memory.peak(), 2 * BYTES);
    }

    #[test]
    fn long_rows_are_counted_until_they_are_gone() {
        let memory = Memory::new(Some(4 * BYTES as u64));
        let short = memory.row(limits::MEMORY_COUNTED_ROW_BYTES - 1);
        let rows = [memory.row(BYTES), memory.row(1 + BYTES)];
        assert!(memory.has_many_rows() && memory.has_long_chains());
        let [first, second] = rows;
        drop((first, short));
        let clone = second.clone();
        drop(second);
        assert!(memory.has_many_rows() && !memory.has_long_chains());
        drop(clone);
        assert!(!memory.has_many_rows());
    }
}
