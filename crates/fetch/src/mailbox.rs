//! What crosses between the conductor and the shards: whole batches, under a lock held for a push or a swap. Emptied
//! ones go back the same way: allocated in one thread and freed in another, each would leave memory behind in both.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use overlapped_proto::limits;

/// A queue of batches with one reader, who is woken when something comes or when somebody says so.
///
/// It has no bound of its own: who pushes asks first ([`Mailbox::len`]), because a finished record must always find a
/// place, and what is in flight is bounded elsewhere.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    queue: Mutex<Queue<T>>,
    reader: AtomicWaker,
}

#[derive(Debug)]
struct Queue<T> {
    batches: VecDeque<Vec<T>>,
    spare: Vec<Vec<T>>,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        let queue = Queue { batches: VecDeque::new(), spare: Vec::new() };
        Self { queue: Mutex::new(queue), reader: AtomicWaker::new() }
    }

    pub(crate) fn push(&self, batch: Vec<T>) {
        self.lock().batches.push_back(batch);
        self.wake();
    }

    pub(crate) fn pop(&self) -> Option<Vec<T>> {
        self.lock().batches.pop_front()
    }

    /// How many batches wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().batches.len()
    }

    /// Pushes what is in `batch`, and leaves an emptied one in its place.
    pub(crate) fn send(&self, batch: &mut Vec<T>) {
        let spare = self.spare();
        self.push(std::mem::replace(batch, spare));
    }

    fn spare(&self) -> Vec<T> {
        self.lock().spare.pop().unwrap_or_default()
    }

    /// Takes back a batch that was popped; what is still in it is dropped.
    pub(crate) fn reuse(&self, mut batch: Vec<T>) {
        batch.clear();
        let mut queue = self.lock();
        if queue.spare.len() < limits::BATCHES_SPARE_MAX {
            queue.spare.push(batch);
        }
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
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptied_batches_are_filled_again_and_only_some_are_kept() {
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.spare().capacity(), 0);
        for _ in 0..2 * limits::BATCHES_SPARE_MAX {
            mailbox.push(vec![1, 2, 3]);
        }
        while let Some(batch) = mailbox.pop() {
            assert_eq!(batch, [1, 2, 3]);
            mailbox.reuse(batch);
        }
        let spares = std::iter::from_fn(|| Some(mailbox.spare()).filter(|spare| spare.capacity() > 0));
        let spares: Vec<_> = spares.collect();
        assert!(spares.iter().all(Vec::is_empty));
        assert_eq!(spares.len(), limits::BATCHES_SPARE_MAX);
    }
}
