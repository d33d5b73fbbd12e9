//! A FIFO queue with removal of any entry in constant time. Plain data: the owner holds a lock.

use std::collections::VecDeque;

use crate::limits::QUEUE_SEGMENT as SEGMENT;

/// A list of segments. An entry is identified by its ticket, a number that the queue never reuses.
///
/// A segment whose entries are all removed is freed, wherever it is in the list: a hundred thousand cancelled jobs hold no memory, even
/// behind one that still waits.
pub(crate) struct Queue<T> {
    segments: VecDeque<Segment<T>>,
    /// Ticket of the first slot of the first segment.
    base: u64,
    /// Tickets below this are gone.
    head: u64,
    /// The next ticket.
    tail: u64,
    live: usize,
}

struct Segment<T> {
    slots: Vec<Option<T>>,
    live: usize,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        // Below it there is room for what comes in at the front.
        Self::starting_at(1 << 32)
    }

    /// The first ticket will be this.
    pub(crate) fn starting_at(ticket: u64) -> Self {
        Queue { segments: VecDeque::new(), base: ticket, head: ticket, tail: ticket, live: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The ticket that the next entry will get.
    pub(crate) fn next_ticket(&self) -> u64 {
        self.tail
    }

    /// Appends an entry; returns its ticket.
    pub(crate) fn push(&mut self, item: T) -> u64 {
        let ticket = self.tail;
        if ticket - self.base == (self.segments.len() * SEGMENT) as u64 {
            self.segments.push_back(Segment { slots: Vec::with_capacity(SEGMENT), live: 0 });
        }
        let last = self.segments.back_mut().expect("a segment with room was just ensured");
        last.slots.push(Some(item));
        last.live += 1;
        self.live += 1;
        self.tail += 1;
        ticket
    }

    /// Prepends an entry; returns its ticket, which an entry that was removed had before.
    pub(crate) fn push_front(&mut self, item: T) -> u64 {
        while self.segments.front().is_some_and(|first| first.live == 0) {
            self.segments.pop_front();
            self.base += SEGMENT as u64;
        }
        self.head = self.head.max(self.base);
        if self.segments.is_empty() {
            (self.head, self.tail) = (self.base, self.base);
        }
        if self.head == self.base {
            self.segments.push_front(Segment { slots: (0..SEGMENT).map(|_| None).collect(), live: 0 });
            self.base -= SEGMENT as u64;
        }
        self.head -= 1;
        let slot = narrow(self.head - self.base);
        let first = self.segments.front_mut().expect("a segment with room was just ensured");
        *first.slots.get_mut(slot).expect("a slot before the head was used, or is new") = Some(item);
        first.live += 1;
        self.live += 1;
        self.head
    }

    /// Takes the oldest entry.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.live == 0 {
            return None;
        }
        loop {
            let first = self.segments.front_mut().expect("live entries are in segments");
            if first.live == 0 {
                self.segments.pop_front();
                self.base += SEGMENT as u64;
                self.head = self.head.max(self.base);
                continue;
            }
            let slot = narrow(self.head - self.base);
            self.head += 1;
            if let Some(item) = first.slots.get_mut(slot).and_then(Option::take) {
                first.lost_one();
                self.live -= 1;
                self.tidy();
                return Some(item);
            }
        }
    }

    /// Takes the entry with this ticket, if it is still there.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<T> {
        if ticket < self.head || ticket >= self.tail {
            return None;
        }
        let offset = narrow(ticket - self.base);
        let segment = self.segments.get_mut(offset / SEGMENT)?;
        let item = segment.slots.get_mut(offset % SEGMENT)?.take()?;
        segment.lost_one();
        self.live -= 1;
        self.tidy();
        Some(item)
    }

    /// All entries, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flat_map(|segment| segment.slots.iter().flatten())
    }

    /// Takes every entry that `wanted` names, and leaves the others in their order.
    pub(crate) fn extract(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for segment in &mut self.segments {
            let before = taken.len();
            taken.extend(segment.slots.iter_mut().filter_map(|slot| slot.take_if(|item| wanted(item))));
            for _ in before..taken.len() {
                segment.lost_one();
            }
        }
        self.live -= taken.len();
        self.tidy();
        taken
    }

    /// An empty queue starts over in the one segment it keeps, which is warm.
    fn tidy(&mut self) {
        if self.live > 0 {
            return;
        }
        self.segments.truncate(1);
        if let Some(first) = self.segments.front_mut() {
            if first.slots.capacity() < SEGMENT {
                self.segments.clear();
            } else {
                first.slots.clear();
            }
        }
        if self.segments.capacity() > 1024 {
            self.segments.shrink_to(16);
        }
        self.head = self.tail;
        self.base = self.tail;
    }
}

/// The distance of two tickets, which have 64 bits on every machine, as an index. Where a pointer has fewer, this cuts: a ticket is compared
/// before. In tests it cuts to 16 bits, so that they see it.
fn narrow(distance: u64) -> usize {
    if cfg!(test) { usize::from(distance as u16) } else { distance as usize }
}

impl<T> Segment<T> {
    fn lost_one(&mut self) {
        self.live -= 1;
        // Only a full segment is done with: the last one still takes new entries.
        if self.live == 0 && self.slots.len() == SEGMENT {
            self.slots = Vec::new();
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle, asan))))]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::{Queue, SEGMENT};

    #[derive(Clone, Debug)]
    enum Operation {
        Push(usize),
        PushFront(usize),
        Pop(usize),
        /// Removes one of the tickets given so far, live or not.
        Remove(prop::sample::Index),
        /// Removes all that is queued but for the first.
        Clear,
        /// Removes every entry whose ticket is a multiple of this.
        Extract(u64),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let operation = prop_oneof![
            (1..2 * SEGMENT).prop_map(Operation::Push),
            (1..SEGMENT + 5).prop_map(Operation::PushFront),
            (1..2 * SEGMENT).prop_map(Operation::Pop),
            any::<prop::sample::Index>().prop_map(Operation::Remove),
            any::<prop::sample::Index>().prop_map(Operation::Remove),
            Just(Operation::Clear),
            (2..5_u64).prop_map(Operation::Extract),
        ];
        prop::collection::vec(operation, 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300 * ProptestConfig::default().cases / 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_behaves_as_a_plain_queue_does(operations in operations()) {
            // The model's entries are (ticket, item).
            let (mut queue, mut model) = (Queue::starting_at(1 << 63), VecDeque::<(u64, u64)>::new());
            let (mut tickets, mut items) = (Vec::new(), 0..);
            for operation in operations {
                match operation {
                    Operation::Push(n) => {
                        for item in items.by_ref().take(n) {
                            let ticket = queue.next_ticket();
                            prop_assert_eq!(queue.push(item), ticket);
                            model.push_back((ticket, item));
                            tickets.push(ticket);
                        }
                    }
                    Operation::PushFront(n) => {
                        for item in items.by_ref().take(n) {
                            let ticket = queue.push_front(item);
                            prop_assert!(model.iter().all(|(live, _)| ticket < *live));
                            model.push_front((ticket, item));
                            tickets.push(ticket);
                        }
                    }
                    Operation::Pop(n) => {
                        for _ in 0..n {
                            prop_assert_eq!(queue.pop(), model.pop_front().map(|(_, item)| item));
                        }
                    }
                    Operation::Remove(index) if !tickets.is_empty() => {
                        let ticket = *index.get(&tickets);
                        let at = model.iter().position(|(live, _)| *live == ticket);
                        let expected = at.and_then(|at| model.remove(at)).map(|(_, item)| item);
                        prop_assert_eq!(queue.remove(ticket), expected);
                    }
                    Operation::Remove(_) => prop_assert_eq!(queue.remove(7), None),
                    Operation::Extract(n) => {
                        let (taken, kept): (Vec<_>, Vec<_>) = model.iter().partition(|(_, item)| *item % n == 0);
                        let taken: Vec<u64> = taken.into_iter().map(|(_, item)| item).collect();
                        prop_assert_eq!(queue.extract(|item| item % n == 0), taken);
                        model = kept.into();
                    }
                    Operation::Clear => {
                        for (ticket, item) in model.drain(model.len().min(1)..) {
                            prop_assert_eq!(queue.remove(ticket), Some(item));
                        }
                    }
                }
                prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
                // What is gone weighs nothing: no more full segments than live entries, and the last.
                let held = queue.segments.iter().filter(|segment| segment.slots.capacity() > 0).count();
                prop_assert!(held <= model.len() + 1);
            }
        }
    }

    #[test]
    fn a_ticket_of_another_queue_removes_nothing_where_a_pointer_has_fewer_bits() {
        // Such tickets were cut down to those of this queue: jobs 100 to 107 were cancelled, 0 to 7 went.
        let mut queue = Queue::starting_at(0);
        (0..8).for_each(|n| {
            queue.push(n);
        });
        for n in 0..8_u64 {
            for bits in [16, 32, 63] {
                assert_eq!(queue.remove((1 << bits) + n), None);
            }
        }
        assert_eq!(queue.len(), 8);
    }
}
