//! Ordered mode: when results that wait for an earlier row are made durable. They are written to a file of their own,
//! in groups, because each fsync costs the disk a rotation or a flash page.

use std::collections::VecDeque;

use crate::commit::{Durability, When};
use crate::job::Row;
use crate::limits::{COMMIT_BYTES, COMMIT_DELAY, COMMIT_RESULTS, WAITS_BLOCKED};
use crate::time::Nanos;

/// The results that wait in memory only.
///
/// A result that has waited for [`COMMIT_DELAY`] is written, with those that have waited for half of that. Sooner if there
/// are many, or they are large, but only while the row that they wait for does not come: otherwise nearly all results of a
/// run whose hosts answer would be written twice.
///
/// ```
/// use overlapped_proto::commit::{Durability, When};
/// use overlapped_proto::job::Row;
/// use overlapped_proto::limits::COMMIT_DELAY;
/// use overlapped_proto::time::Nanos;
/// use overlapped_proto::waits::Waits;
///
/// let mut waits = Waits::new(Durability::Group);
/// let now = Nanos::from_secs(1);
/// waits.add(Row(7), 100, now);
/// assert_eq!(waits.when(Row(3), now), When::At(now + COMMIT_DELAY));
/// assert_eq!(waits.when(Row(3), now + COMMIT_DELAY), When::Now);
/// assert_eq!(waits.take(Row(3), now + COMMIT_DELAY), [Row(7)]);
/// assert_eq!(waits.when(Row(3), now), When::Never);
/// ```
#[derive(Debug)]
pub struct Waits {
    durability: Durability,
    /// In the order in which they finished. Rows that have come out meanwhile are removed when they are first, or when many
    /// have gathered.
    queue: VecDeque<Wait>,
    /// The sum of their bytes.
    bytes: u64,
    /// The row that is next in order, and since when.
    next: (Row, Nanos),
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    row: Row,
    bytes: u64,
    since: Nanos,
}

impl Waits {
    /// None wait.
    #[must_use]
    pub const fn new(durability: Durability) -> Self {
        Self { durability, queue: VecDeque::new(), bytes: 0, next: (Row(0), Nanos::ZERO) }
    }

    /// Adds a result that waits; `bytes` is the length of its body.
    pub fn add(&mut self, row: Row, bytes: u64, now: Nanos) {
        self.queue.push_back(Wait { row, bytes, since: now });
        self.bytes += bytes;
    }

    /// When [`Waits::take`] is due. To be called again after [`Waits::add`], and when another row is `next` in order.
    pub fn when(&mut self, next: Row, now: Nanos) -> When {
        if self.next.0 != next {
            self.next = (next, now);
        }
        while let Some(passed) = self.queue.front().copied().filter(|wait| wait.row < next) {
            self.queue.pop_front();
            self.bytes -= passed.bytes;
        }
        let Some(first) = self.queue.front().copied() else { return When::Never };
        let blocked = self.next.1 + WAITS_BLOCKED;
        match self.durability {
            Durability::None => When::Never,
            Durability::Each => When::Now,
            Durability::Group if now >= first.since + COMMIT_DELAY => When::Now,
            Durability::Group if !self.has_many(COMMIT_RESULTS, COMMIT_BYTES) => {
                When::At(first.since + COMMIT_DELAY)
            }
            Durability::Group if now < blocked => When::At(blocked.min(first.since + COMMIT_DELAY)),
            Durability::Group => {
                self.forget(next);
                // At half the number, so that at least half of them are new when they are counted again.
                match self.has_many(COMMIT_RESULTS / 2, COMMIT_BYTES / 2) {
                    true => When::Now,
                    false => When::At(first.since + COMMIT_DELAY),
                }
            }
        }
    }

    /// Takes the results that are to be written now, sorted.
    pub fn take(&mut self, next: Row, now: Nanos) -> Vec<Row> {
        self.forget(next);
        let all = self.durability == Durability::Each || now >= self.next.1 + WAITS_BLOCKED;
        let old = |wait: &Wait| all || now >= wait.since + Nanos(COMMIT_DELAY.0 / 2);
        let count = self.queue.iter().take_while(|wait| old(wait)).count();
        self.drain(count)
    }

    /// Takes all results, because the run ends. Sorted.
    pub fn take_all(&mut self, next: Row) -> Vec<Row> {
        self.forget(next);
        self.drain(self.queue.len())
    }

    fn drain(&mut self, count: usize) -> Vec<Row> {
        let taken: Vec<_> = self.queue.drain(..count).collect();
        self.bytes -= taken.iter().map(|wait| wait.bytes).sum::<u64>();
        let mut rows: Vec<_> = taken.into_iter().map(|wait| wait.row).collect();
        rows.sort_unstable();
        rows
    }

    /// True if four groups wait, so that no result should be added while a group is written: what a crash may cost is bounded.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.has_many(4 * COMMIT_RESULTS, 4 * COMMIT_BYTES)
    }

    fn has_many(&self, results: u64, bytes: u64) -> bool {
        self.queue.len() as u64 >= results || self.bytes >= bytes
    }

    /// Forgets those that have come out.
    fn forget(&mut self, next: Row) {
        self.queue.retain(|wait| wait.row >= next);
        self.bytes = self.queue.iter().map(|wait| wait.bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(durability: Durability, rows: std::ops::Range<u64>, bytes: u64, now: Nanos) -> Waits {
        let mut waits = Waits::new(durability);
        waits.next = (Row(0), Nanos::ZERO);
        rows.rev().for_each(|row| waits.add(Row(row), bytes, now));
        waits
    }

    const NOW: Nanos = Nanos::from_secs(9);

    #[test]
    fn many_results_are_written_only_while_the_row_before_them_is_missing() {
        for (rows, bytes) in [(1..COMMIT_RESULTS + 1, 0), (1..3, COMMIT_BYTES / 2)] {
            let mut waits = waits(Durability::Group, rows.clone(), bytes, NOW);
            let end = Row(rows.end - 1);
            assert_eq!(waits.when(end, NOW), When::At(NOW + WAITS_BLOCKED), "it has just become the next");
            assert_eq!(waits.when(Row(0), NOW), When::At(NOW + WAITS_BLOCKED));
            assert_eq!(waits.when(Row(0), NOW + WAITS_BLOCKED), When::Now);
            let taken = waits.take(Row(0), NOW + WAITS_BLOCKED);
            assert!(taken.into_iter().eq(rows.map(Row)), "sorted, each once");
            assert_eq!((waits.when(Row(0), NOW), waits.bytes), (When::Never, 0));
        }
    }

    #[test]
    fn results_that_have_come_out_are_not_counted() {
        let mut waits = waits(Durability::Group, 1..COMMIT_RESULTS + 1, 1, NOW);
        let next = Row(COMMIT_RESULTS - 5);
        let _ = waits.when(next, NOW);
        let when = waits.when(next, NOW + WAITS_BLOCKED);
        assert_eq!((when, waits.bytes), (When::At(NOW + COMMIT_DELAY), 6));
        assert_eq!(waits.take(Row(COMMIT_RESULTS), NOW + COMMIT_DELAY), [Row(COMMIT_RESULTS)]);
    }

    /// The row before them changes all the time, and yet some of them wait for long.
    #[test]
    fn old_results_are_written_and_young_ones_stay() {
        let mut waits = waits(Durability::Group, 5..6, 0, NOW);
        let late = NOW + COMMIT_DELAY;
        waits.add(Row(9), 0, late);
        let _ = waits.when(Row(3), late - Nanos(1));
        assert_eq!(waits.when(Row(4), late), When::Now);
        assert_eq!(waits.take(Row(4), late), [Row(5)]);
        assert_eq!(waits.when(Row(4), late), When::At(late + COMMIT_DELAY));
    }

    #[test]
    fn each_result_is_written_at_once_or_none_is() {
        assert_eq!(waits(Durability::Each, 5..6, 0, NOW).when(Row(1), NOW), When::Now);
        assert_eq!(waits(Durability::None, 5..6, 0, NOW).when(Row(1), NOW), When::Never);
        assert_eq!(waits(Durability::Each, 5..6, 0, NOW).when(Row(6), NOW), When::Never);
    }
}
