//! A first-in, first-out queue out of which an entry can be taken anywhere in constant time.
//!
//! Must never lock, wait or run what it holds: it is plain data, and whoever owns it owns a lock.

use std::collections::VecDeque;

/// Entries a segment: 256 of a job's 16 bytes are one page.
const SEGMENT: usize = 256;

/// A row of segments; each entry is known by its ticket, a number that is never given twice.
///
/// A segment whose entries are all gone gives its memory back, wherever it stands in the row: so a hundred thousand cancelled
/// jobs cost nothing, even behind one that still waits.
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
        Self::starting_at(0)
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

    /// Puts an entry at the end and says under which ticket.
    pub(crate) fn push(&mut self, item: T) -> u64 {
        let ticket = self.tail;
        if (ticket - self.base) as usize == self.segments.len() * SEGMENT {
            self.segments.push_back(Segment { slots: Vec::with_capacity(SEGMENT), live: 0 });
        }
        let last = self.segments.back_mut().expect("a segment with room was just ensured");
        last.slots.push(Some(item));
        last.live += 1;
        self.live += 1;
        self.tail += 1;
        ticket
    }

    /// Takes the oldest entry.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.live == 0 {
            return None;
        }
        loop {
            let first = self.segments.front_mut().expect("live entries stand in segments");
            if first.live == 0 {
                self.segments.pop_front();
                self.base += SEGMENT as u64;
                self.head = self.head.max(self.base);
                continue;
            }
            let slot = (self.head - self.base) as usize;
            self.head += 1;
            if let Some(item) = first.slots.get_mut(slot).and_then(Option::take) {
                first.live -= 1;
                self.live -= 1;
                self.tidy();
                return Some(item);
            }
        }
    }

    /// Takes the entry with this ticket, if it is still there.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<T> {
        if ticket < self.head {
            return None;
        }
        let offset = (ticket - self.base) as usize;
        let segment = self.segments.get_mut(offset / SEGMENT)?;
        let item = segment.slots.get_mut(offset % SEGMENT)?.take()?;
        segment.live -= 1;
        self.live -= 1;
        // Only a full segment is done with: the last one still takes new entries.
        if segment.live == 0 && segment.slots.len() == SEGMENT {
            segment.slots = Vec::new();
        }
        self.tidy();
        Some(item)
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
