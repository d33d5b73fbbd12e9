//! A priority queue of deadlines with lazy deletion, as plain data.
//!
//! Nearly every deadline of a job is deleted before it is due, because the job ends first. In a binary heap, pushing an entry that is due
//! after all others takes constant time; deleting one only increments a counter. A sweep removes deleted entries when they are half as many
//! as the previous sweep left, so a deletion costs amortized constant time, and deleted entries never outnumber 64 and half of the rest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits;

/// An entry's payload. Dropping it must not run user code: that happens under the owner's lock.
pub(crate) trait Dues {
    /// Whether its owner is gone, which deletes the entry.
    fn is_dropped(&self) -> bool;
}

pub(crate) struct Deadlines<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
}

struct Entry<T> {
    at: u64,
    due: T,
}

/// The number of entries deleted since the last sweep; atomic, so that a deletion takes no lock.
pub(crate) struct Dropped {
    count: AtomicUsize,
    sweep_at: AtomicUsize,
}

impl Dropped {
    pub(crate) fn new() -> Self {
        Dropped { count: AtomicUsize::new(0), sweep_at: AtomicUsize::new(limits::DEADLINES_SWEEP_MIN) }
    }

    /// Counts one more. Returns whether a sweep is due.
    pub(crate) fn add(&self) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed) + 1 >= self.sweep_at.load(Ordering::Relaxed)
    }

    pub(crate) fn is_due(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= self.sweep_at.load(Ordering::Relaxed)
    }
}

impl<T: Dues> Deadlines<T> {
    pub(crate) fn new() -> Self {
        Deadlines { heap: BinaryHeap::new() }
    }

    /// Whether there are no entries, not even deleted ones.
    pub(crate) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    pub(crate) fn push(&mut self, at: u64, due: T) {
        self.heap.push(Reverse(Entry { at, due }));
    }

    /// When the first entry is due that is not deleted.
    pub(crate) fn first(&mut self) -> Option<u64> {
        while self.heap.peek()?.0.due.is_dropped() {
            self.heap.pop();
        }
        self.heap.peek().map(|Reverse(first)| first.at)
    }

    /// Removes the first entry if it is due.
    pub(crate) fn pop(&mut self, now: u64) -> Option<T> {
        self.first().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse(entry)| entry.due)
    }

    /// Removes all deleted entries.
    pub(crate) fn sweep(&mut self, dropped: &Dropped) {
        dropped.count.store(0, Ordering::Relaxed);
        self.heap.retain(|Reverse(entry)| !entry.due.is_dropped());
        self.heap.shrink_to(2 * self.heap.len());
        let sweep_at = (self.heap.len() / 2).max(limits::DEADLINES_SWEEP_MIN);
        dropped.sweep_at.store(sweep_at, Ordering::Relaxed);
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(all(test, not(any(loom, shuttle, asan))))]
mod tests {
    use std::sync::{Arc, Weak};

    use proptest::prelude::*;

    use super::{Deadlines, Dropped, Dues};
    use crate::limits::DEADLINES_SWEEP_MIN;

    impl Dues for Weak<u64> {
        fn is_dropped(&self) -> bool {
            self.strong_count() == 0
        }
    }

    #[derive(Clone, Debug)]
    enum Operation {
        /// So many, due after this, and each that much later than the one before.
        Push(usize, u64, u64),
        /// The oldest owners go.
        DropOldest(usize),
        Drop(prop::sample::Index),
        /// This much time passes.
        Pop(u64),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let operation = prop_oneof![
            (1..300_usize, 0..1000_u64, 0..3_u64).prop_map(|(n, at, step)| Operation::Push(n, at, step)),
            (1..300_usize).prop_map(Operation::DropOldest),
            any::<prop::sample::Index>().prop_map(Operation::Drop),
            (0..500_u64).prop_map(Operation::Pop),
        ];
        prop::collection::vec(operation, 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn all_that_is_due_comes_in_its_order_and_what_has_no_owner_is_not_kept(operations in operations()) {
            let (mut deadlines, dropped) = (Deadlines::<Weak<u64>>::new(), Dropped::new());
            // An owner knows when it is due.
            let (mut owners, mut now, mut after_sweep) = (Vec::<Arc<u64>>::new(), 0, 0);
            for operation in operations {
                let gone = match operation {
                    Operation::Push(n, after, step) => {
                        for k in 0..n as u64 {
                            let owner = Arc::new(now + after + k * step);
                            deadlines.push(*owner, Arc::downgrade(&owner));
                            owners.push(owner);
                        }
                        0..0
                    }
                    Operation::DropOldest(n) => 0..n.min(owners.len()),
                    Operation::Drop(index) if !owners.is_empty() => {
                        let at = index.index(owners.len());
                        at..at + 1
                    }
                    Operation::Drop(_) => 0..0,
                    Operation::Pop(time) => {
                        now += time;
                        while let Some(due) = deadlines.pop(now) {
                            let first = owners.iter().map(|owner| **owner).min();
                            let due = due.upgrade().expect("only what has an owner is due");
                            prop_assert_eq!(Some(*due), first);
                            let at = owners.iter().position(|owner| Arc::ptr_eq(owner, &due));
                            owners.swap_remove(at.expect("it comes once"));
                        }
                        prop_assert!(owners.iter().all(|at| **at > now));
                        0..0
                    }
                };
                for owner in owners.drain(gone).collect::<Vec<_>>() {
                    drop(owner);
                    if dropped.add() {
                        deadlines.sweep(&dropped);
                        after_sweep = deadlines.heap.len();
                        prop_assert!(!dropped.is_due());
                    }
                }
                let without = deadlines.heap.len() - owners.len();
                prop_assert!(without < DEADLINES_SWEEP_MIN.max(after_sweep / 2 + 1));
                prop_assert_eq!(deadlines.first(), owners.iter().map(|owner| **owner).min());
            }
        }
    }
}
