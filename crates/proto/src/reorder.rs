//! A reorder buffer: rows go in as they finish and come out in the order of the list.
//!
//! Its memory is bounded by a window of rows. A row beyond the window is refused; [`Reorder::room_for`] checks for that.

use std::collections::VecDeque;

use crate::job::Row;

/// Finished rows that wait for an earlier row.
///
/// ```
/// use overlapped_proto::job::Row;
/// use overlapped_proto::reorder::Reorder;
///
/// let mut reorder = Reorder::new(Row(0), 10);
/// reorder.push(Row(1), "b").unwrap();
/// assert_eq!(reorder.pop(), None); // row 0 is not there yet
/// reorder.push(Row(0), "a").unwrap();
/// assert_eq!((reorder.pop(), reorder.pop(), reorder.pop()), (Some("a"), Some("b"), None));
/// assert!(!reorder.room_for(Row(12)));
/// ```
#[derive(Debug)]
pub struct Reorder<T> {
    /// The row that comes out next.
    next: u64,
    rows: usize,
    /// The states of `next` and the rows after it, without those in gaps.
    window: VecDeque<Slot<T>>,
    /// Ranges of rows that will not come, in order; they take no slot of the window.
    gaps: VecDeque<Gap>,
    /// No gap begins before this row.
    known: u64,
    /// Rows in all gaps so far, including those that were passed.
    passed: u64,
}

#[derive(Debug)]
struct Gap {
    first: u64,
    end: u64,
    /// Rows in this gap and all before it.
    passed: u64,
}

#[derive(Debug)]
enum Slot<T> {
    Missing,
    Skipped,
    Done(T),
}

impl<T> Reorder<T> {
    /// An empty window of `rows` rows, of which `first` comes out first.
    #[must_use]
    pub fn new(first: Row, rows: usize) -> Self {
        Self {
            next: first.0,
            rows: rows.max(1),
            window: VecDeque::new(),
            gaps: VecDeque::new(),
            known: first.0,
            passed: 0,
        }
    }

    /// The row that comes out next.
    #[must_use]
    pub fn next(&self) -> Row {
        Row(self.next)
    }

    /// True if the row fits in the window. False as well for a row that has come out already.
    #[must_use]
    pub fn room_for(&self, row: Row) -> bool {
        self.offset(row).is_some()
    }

    /// Adds a finished row.
    ///
    /// # Errors
    ///
    /// Returns the value if the row is outside the window or was added before.
    pub fn push(&mut self, row: Row, value: T) -> Result<(), T> {
        match self.missing(row) {
            Some(slot) => *slot = Slot::Done(value),
            None => return Err(value),
        }
        Ok(())
    }

    /// A finished row that waits.
    #[must_use]
    pub fn get(&self, row: Row) -> Option<&T> {
        match self.window.get(self.offset(row)?)? {
            Slot::Missing | Slot::Skipped => None,
            Slot::Done(value) => Some(value),
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, row: Row) -> Option<&mut T> {
        let offset = self.offset(row)?;
        match self.window.get_mut(offset)? {
            Slot::Missing | Slot::Skipped => None,
            Slot::Done(value) => Some(value),
        }
    }

    /// Marks a row that will produce no value, such as one that an earlier run has finished. False if it is outside the
    /// window or was added before.
    pub fn skip(&mut self, row: Row) -> bool {
        let slot = self.missing(row);
        let found = slot.is_some();
        slot.into_iter().for_each(|slot| *slot = Slot::Skipped);
        found
    }

    /// Announces the next row of the list: the rows between it and the last one announced will not come. They take no
    /// slot of the window, whatever their number. To be called for each row before it starts, in order.
    pub fn skip_to(&mut self, row: Row) {
        if row.0 > self.known {
            self.passed += row.0 - self.known;
            self.gaps.push_back(Gap { first: self.known, end: row.0, passed: self.passed });
        }
        self.known = self.known.max(row.0.saturating_add(1));
        self.pass_gaps();
    }

    /// The next row in order, if it has finished. To be called after each [`Reorder::push`], [`Reorder::skip`] and
    /// [`Reorder::skip_to`] until it returns `None`.
    pub fn pop(&mut self) -> Option<T> {
        loop {
            match self.window.front()? {
                Slot::Missing => return None,
                Slot::Skipped | Slot::Done(_) => self.next += 1,
            }
            self.pass_gaps();
            if let Some(Slot::Done(value)) = self.window.pop_front() {
                return Some(value);
            }
        }
    }

    /// The index of a row in the window: its distance from `next`, without the gaps between.
    fn offset(&self, row: Row) -> Option<usize> {
        let distance = row.0.checked_sub(self.next)?;
        let before = self.gaps.partition_point(|gap| gap.end <= row.0);
        let over = self.gaps.front().map_or(self.passed, |gap| gap.passed - (gap.end - gap.first));
        let gap =
            before.checked_sub(1).and_then(|last| self.gaps.get(last)).map_or(0, |gap| gap.passed - over);
        let within = self.gaps.get(before).is_some_and(|gap| gap.first <= row.0);
        let offset = usize::try_from(distance - gap).ok()?;
        (!within && offset < self.rows).then_some(offset)
    }

    /// Advances `next` over gaps that begin there.
    fn pass_gaps(&mut self) {
        while let Some(gap) = self.gaps.front().filter(|gap| gap.first <= self.next) {
            self.next = self.next.max(gap.end);
            self.gaps.pop_front();
        }
    }

    fn missing(&mut self, row: Row) -> Option<&mut Slot<T>> {
        let offset = self.offset(row)?;
        if offset >= self.window.len() {
            self.window.resize_with(offset + 1, || Slot::Missing);
        }
        self.window.get_mut(offset).filter(|slot| matches!(slot, Slot::Missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps: a number pushes that row, `s4` skips row 4, `g4` goes on with row 4; `!` before a step says that it is refused.
    fn check(rows: usize, steps: &str, expected: &[u64]) {
        let mut reorder = Reorder::new(Row(0), rows);
        let mut out = Vec::new();
        for step in steps.split_whitespace() {
            let (refused, step) = step.strip_prefix('!').map_or((false, step), |step| (true, step));
            if let Some(row) = step.strip_prefix('g') {
                reorder.skip_to(Row(row.parse().unwrap()));
                continue;
            }
            let done = match step.strip_prefix('s') {
                Some(row) => reorder.skip(Row(row.parse().unwrap())),
                None => {
                    let row = step.parse().unwrap();
                    reorder.push(Row(row), row).is_ok()
                }
            };
            assert_eq!(done, !refused, "{step} of {steps}");
            out.extend(std::iter::from_fn(|| reorder.pop()));
        }
        assert_eq!(out, expected, "{steps}");
        assert!(reorder.window.len() <= rows);
    }

    #[test]
    fn rows_come_out_in_order() {
        check(10, "0 1 2", &[0, 1, 2]);
        check(10, "2 1 0 3", &[0, 1, 2, 3]);
        check(10, "1 2 3", &[]);
        check(10, "s0 1 s3 2 4", &[1, 2, 4]);
        check(10, "s1 s0 s2", &[]);
        check(1, "0 1 !3 2 3", &[0, 1, 2, 3]);
    }

    #[test]
    fn gaps_take_no_place() {
        check(2, "g1000 g2000 2000 1000 g2001 2001", &[1000, 2000, 2001]);
        check(4, "g0 g10 g11 g90 !5 !95 90 11 !9 10 !8 0", &[0, 10, 11, 90]);
        check(2, "g4 g7 g9 4 9 7 g10 10", &[4, 7, 9, 10]);
        check(3, "g0 g5 s5 g9 9 0", &[0, 9]);
    }

    #[test]
    fn the_window_has_an_end() {
        check(3, "2 !3 !18446744073709551615 0 3 1", &[0, 1, 2, 3]);
    }

    #[test]
    fn a_row_comes_once() {
        check(3, "0 !0 !s0 2 !2 !s2 1", &[0, 1, 2]);
    }

    #[test]
    fn a_row_that_waits_can_be_seen_and_changed() {
        let mut reorder = Reorder::new(Row(0), 10);
        reorder.skip_to(Row(0));
        reorder.skip_to(Row(5));
        reorder.push(Row(5), "five").unwrap();
        assert_eq!([0, 3, 5, 6].map(|row| reorder.get(Row(row)).copied()), [None, None, Some("five"), None]);
        *reorder.get_mut(Row(5)).unwrap() = "changed";
        reorder.push(Row(0), "zero").unwrap();
        assert_eq!((reorder.pop(), reorder.pop()), (Some("zero"), Some("changed")));
        assert_eq!(reorder.get(Row(5)), None);
    }

    #[test]
    fn room_moves_with_the_window() {
        let mut reorder = Reorder::new(Row(5), 2);
        assert_eq!([4, 5, 6, 7].map(|row| reorder.room_for(Row(row))), [false, true, true, false]);
        reorder.push(Row(5), ()).unwrap();
        assert!(!reorder.room_for(Row(7)), "row 5 has not come out");
        reorder.pop();
        assert!(reorder.room_for(Row(7)));
        assert_eq!(reorder.next(), Row(6));
    }
}
