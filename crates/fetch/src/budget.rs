//! Requests in flight over all shards. The budget is not divided beforehand, because one busy host should be able to
//! use what the other shards do not.

use crate::per_shard::{PerShard, ShardId};
use crate::sync::{AtomicBool, AtomicUsize, Ordering, store_then_load};

/// A counting semaphore that shards take requests from without a lock.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    /// What may be used at once; less than `used` for a while after it was lowered.
    max: AtomicUsize,
    /// For each shard: it has a row that could start and found nothing free.
    waiting: PerShard<AtomicBool>,
}

impl Budget {
    pub(crate) fn new(requests: usize, shards: usize) -> Self {
        let waiting = PerShard::new(shards, || AtomicBool::new(false));
        Self { used: AtomicUsize::new(0), max: AtomicUsize::new(requests), waiting }
    }

    /// Takes a request for `shard`, which has `held` of them. False: none is free, or the shard is over its share while
    /// another waits. It is woken when one is given back ([`Budget::give`]), or has requests of its own after which it
    /// asks again.
    pub(crate) fn take(&self, shard: ShardId, held: usize) -> bool {
        if held >= self.share() && self.others(shard).any(|(_, waiting)| waiting.load(Ordering::SeqCst)) {
            return false;
        }
        self.try_take() || {
            self.waiting.get(shard).store(true, Ordering::SeqCst);
            store_then_load();
            self.try_take()
        }
    }

    /// Gives a request of `shard` back, and calls `wake` with each other shard that waits for one.
    ///
    /// # Panics
    ///
    /// More is given back than was taken.
    pub(crate) fn give(&self, shard: ShardId, wake: impl Fn(ShardId)) {
        let before = self.used.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "a request is given back once");
        store_then_load();
        for (other, waiting) in self.others(shard) {
            if waiting.load(Ordering::SeqCst) && waiting.swap(false, Ordering::SeqCst) {
                wake(other);
            }
        }
    }

    /// Requests that are taken.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Changes how many may be taken. What is taken already stays so.
    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::SeqCst);
    }

    #[cfg(all(test, model))]
    pub(crate) fn max(&self) -> usize {
        self.max.load(Ordering::SeqCst)
    }

    pub(crate) fn has_free(&self) -> bool {
        self.used() < self.max.load(Ordering::SeqCst)
    }

    /// What a shard may hold while another one waits.
    fn share(&self) -> usize {
        (self.max.load(Ordering::SeqCst) / self.waiting.len().max(1)).max(1)
    }

    fn try_take(&self) -> bool {
        let max = self.max.load(Ordering::SeqCst);
        let one_more = |used| if used < max { Some(used + 1) } else { None };
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_ok()
    }

    /// The other shards, and whether each waits.
    fn others(&self, shard: ShardId) -> impl Iterator<Item = (ShardId, &AtomicBool)> {
        self.waiting.entries().filter(move |(other, _)| *other != shard)
    }
}
