//! What crosses between the conductor and the shards: whole batches, under a lock held for a push or a swap.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use atomic_waker::AtomicWaker;

/// A queue with one reader, who is woken when something comes or when somebody says so.
///
/// It has no bound of its own: who pushes asks first ([`Mailbox::len`]), because a finished record must always find a
/// place, and what is in flight is bounded elsewhere.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    queue: Mutex<VecDeque<T>>,
    reader: AtomicWaker,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Self { queue: Mutex::new(VecDeque::new()), reader: AtomicWaker::new() }
    }

    pub(crate) fn push(&self, item: T) {
        self.lock().push_back(item);
        self.wake();
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.lock().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Must be called before the queue is looked at, so that nothing that comes in between is missed.
    pub(crate) fn register(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    /// Has the reader look again.
    pub(crate) fn wake(&self) {
        self.reader.wake();
    }

    /// Nobody panics with the lock held, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
