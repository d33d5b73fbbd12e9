//! How many bytes of responses a run holds in memory, over all its shards: beyond the budget a head or a body waits
//! before it reads on, or a body is written out.
//!
//! One response always reads on, that of the earliest row, so that a run cannot stand still; in ordered mode that is
//! the row that the others wait for.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use overlapped_proto::job::Row;
use overlapped_proto::limits;

/// The budget of a run.
#[derive(Debug)]
pub(crate) struct Memory {
    max: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
    /// Those that met the limit, and how to wake them.
    queue: Mutex<BTreeMap<Row, Waker>>,
}

/// What one response has of it. Gives it back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    row: Row,
    bytes: usize,
    queued: bool,
}

/// A body with its share.
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    #[expect(dead_code, reason = "kept for its drop")]
    pub(crate) share: Share,
}

impl Memory {
    pub(crate) fn new(max: Option<u64>) -> Arc<Self> {
        let max = max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        Arc::new(Self { max, used: AtomicUsize::new(0), peak: AtomicUsize::new(0), queue: Mutex::default() })
    }

    pub(crate) fn share(self: &Arc<Self>, row: Row) -> Share {
        Share { memory: Arc::clone(self), row, bytes: 0, queued: false }
    }

    /// The most bytes that were held at once.
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// True if more is held than may be.
    fn is_full(&self) -> bool {
        self.used.load(Ordering::SeqCst) > self.max
    }

    fn give_back(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::SeqCst);
        // Whoever joins the queue looks again once it is in: it sees this, or is woken.
        if before > self.max && before - bytes <= self.max {
            self.queue().values().for_each(Waker::wake_by_ref);
        }
    }

    /// Nobody panics with the lock held, so a poisoned one is whole.
    fn queue(&self) -> MutexGuard<'_, BTreeMap<Row, Waker>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// The response holds so many bytes now; few are none.
    pub(crate) fn set(&mut self, bytes: usize) {
        let bytes = if bytes < limits::MEMORY_COUNTED_BYTES { 0 } else { bytes };
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

    /// True if there is no room for more, whoever holds it.
    pub(crate) fn is_scarce(&self) -> bool {
        self.memory.is_full()
    }

    /// True if the response holds something while there is no room for more.
    pub(crate) fn is_tight(&self) -> bool {
        self.bytes > 0 && self.memory.is_full()
    }

    /// Waits until the response may read on. True: it had to wait.
    pub(crate) async fn room(&mut self) -> bool {
        let mut waited = false;
        poll_fn(|cx| {
            let ready = self.poll_room(cx);
            waited |= ready.is_pending();
            ready
        })
        .await;
        waited
    }

    /// Ready once the response may read on.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.memory.is_full() {
            self.leave();
            return Poll::Ready(());
        }
        self.queued = true;
        let mut queue = self.memory.queue();
        queue.insert(self.row, cx.waker().clone());
        let first = queue.first_key_value().is_none_or(|(row, _)| *row == self.row);
        if first || !self.memory.is_full() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Leaves the queue, with its bytes: it does not read on for now. The next one is the first then.
    pub(crate) fn leave(&mut self) {
        if std::mem::take(&mut self.queued) {
            let mut queue = self.memory.queue();
            queue.remove(&self.row);
            if let Some((_, next)) = queue.first_key_value() {
                next.wake_by_ref();
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
        self.leave();
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
