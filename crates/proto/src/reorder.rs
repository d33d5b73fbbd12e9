//! From the order in which rows finish to the order of the list, in bounded memory.
//!
//! Nothing is dropped and nothing grows beyond the window: a row that is too far ahead is refused, so whoever starts
//! rows asks [`Reorder::room_for`] before.

use std::collections::VecDeque;

use crate::job::Row;

/// Finished rows that wait for an earlier one.
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
    /// What is known of `next` and the rows after it.
    window: VecDeque<Slot<T>>,
}

#[derive(Debug)]
enum Slot<T> {
    Missing,
    Skipped,
    Done(T),
}

impl<T> Reorder<T> {
    /// An empty window of so many rows, of which `first` comes out first.
    #[must_use]
    pub fn new(first: Row, rows: usize) -> Self {
        Self { next: first.0, rows: rows.max(1), window: VecDeque::new() }
    }

    /// The row that comes out next.
    #[must_use]
    pub fn next(&self) -> Row {
        Row(self.next)
    }

    /// True if the row fits in the window. One that has come out already has no room either.
    #[must_use]
    pub fn room_for(&self, row: Row) -> bool {
        self.offset(row).is_some()
    }

    /// Puts a finished row in its place.
    ///
    /// # Errors
    ///
    /// Gives the value back if the row is outside the window or was there before.
    pub fn push(&mut self, row: Row, value: T) -> Result<(), T> {
        match self.missing(row) {
            Some(slot) => *slot = Slot::Done(value),
            None => return Err(value),
        }
        Ok(())
    }

    /// A row that will produce nothing, such as one that an earlier run has finished. False if it is outside the
    /// window or was there before.
    pub fn skip(&mut self, row: Row) -> bool {
        let slot = self.missing(row);
        let found = slot.is_some();
        slot.into_iter().for_each(|slot| *slot = Slot::Skipped);
        found
    }

    /// The next row in order, once it is there. To be called until it answers `None`.
    pub fn pop(&mut self) -> Option<T> {
        loop {
            match self.window.front()? {
                Slot::Missing => return None,
                Slot::Skipped | Slot::Done(_) => self.next += 1,
            }
            if let Some(Slot::Done(value)) = self.window.pop_front() {
                return Some(value);
            }
        }
    }

    fn offset(&self, row: Row) -> Option<usize> {
        let offset = usize::try_from(row.0.checked_sub(self.next)?).ok()?;
        (offset < self.rows).then_some(offset)
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

    /// Steps: a number pushes that row, `s4` skips row 4; `!` before a step says that it is refused.
    fn check(rows: usize, steps: &str, expected: &[u64]) {
        let mut reorder = Reorder::new(Row(0), rows);
        let mut out = Vec::new();
        for step in steps.split_whitespace() {
            let (refused, step) = step.strip_prefix('!').map_or((false, step), |step| (true, step));
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
    fn the_window_has_an_end() {
        check(3, "2 !3 !18446744073709551615 0 3 1", &[0, 1, 2, 3]);
    }

    #[test]
    fn a_row_comes_once() {
        check(3, "0 !0 !s0 2 !2 !s2 1", &[0, 1, 2]);
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
