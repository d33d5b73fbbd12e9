//! What crosses between the conductor and the shards: whole batches, under a mutex held for a push or a pop.
//!
//! Emptied batches go back the same way: allocated in one thread and freed in another, each would leave memory behind
//! in both allocators' caches.

use std::collections::VecDeque;
use std::task::Waker;

use overlapped_proto::limits;

use crate::sync::{self, AtomicUsize, AtomicWaker, Mutex, Ordering};

/// An unbounded FIFO queue of batches with one reader, which is woken by each push and by [`Mailbox::wake`].
///
/// It needs no bound of its own: a finished record must always find a place, rows in flight are bounded elsewhere, and
/// a writer asks for [`Mailbox::len`] before it starts more work.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    queue: Mutex<Queue<T>>,
    /// `queue.batches.len()`, so that a look at the length takes no lock.
    len: AtomicUsize,
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
        Self { queue: Mutex::new(queue), len: AtomicUsize::new(0), reader: AtomicWaker::new() }
    }

    pub(crate) fn push(&self, batch: Vec<T>) {
        let mut queue = self.queue.lock();
        queue.batches.push_back(batch);
        self.len.store(queue.batches.len(), Ordering::SeqCst);
        drop(queue);
        self.wake();
    }

    pub(crate) fn pop(&self) -> Option<Vec<T>> {
        if self.len() == 0 {
            return None;
        }
        let mut queue = self.queue.lock();
        let batch = queue.batches.pop_front();
        self.len.store(queue.batches.len(), Ordering::SeqCst);
        batch
    }

    /// How many batches wait.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    /// Pushes what is in `batch`, and leaves an emptied one in its place.
    pub(crate) fn send(&self, batch: &mut Vec<T>) {
        let spare = self.spare();
        self.push(std::mem::replace(batch, spare));
    }

    fn spare(&self) -> Vec<T> {
        self.queue.lock().spare.pop().unwrap_or_default()
    }

    /// Takes back a batch that was popped; what is still in it is dropped.
    pub(crate) fn reuse(&self, mut batch: Vec<T>) {
        batch.clear();
        let mut queue = self.queue.lock();
        if queue.spare.len() < limits::BATCHES_SPARE_MAX {
            queue.spare.push(batch);
        }
    }

    /// Registers the reader. It must do so before it looks at the queue, or a push in between is a lost wake-up.
    pub(crate) fn register(&self, waker: &Waker) {
        sync::register(&self.reader, waker);
    }

    /// Wakes the reader.
    pub(crate) fn wake(&self) {
        self.reader.wake();
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn emptied_batches_are_filled_again_and_only_some_are_kept() {
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.spare().capacity(), 0);
        for _ in 0..2 * limits::BATCHES_SPARE_MAX {
            mailbox.push(vec![1, 2, 3]);
        }
        assert_eq!(mailbox.len(), 2 * limits::BATCHES_SPARE_MAX);
        while let Some(batch) = mailbox.pop() {
            assert_eq!(batch, [1, 2, 3]);
            mailbox.reuse(batch);
        }
        assert_eq!(mailbox.len(), 0);
        let spares = std::iter::from_fn(|| Some(mailbox.spare()).filter(|spare| spare.capacity() > 0));
        let spares: Vec<_> = spares.collect();
        assert!(spares.iter().all(Vec::is_empty));
        assert_eq!(spares.len(), limits::BATCHES_SPARE_MAX);
    }
}
