//! The positions of a list at which a resumed run may start reading, one for each block that is not wholly done.
//!
//! Reading may run far ahead of what is done. The number of marks is bounded: when it reaches its limit, every second
//! mark is dropped and the interval between marks doubles. A resumed run then reads a little more of the list again.

use std::collections::VecDeque;

use crate::job::Row;
use crate::journal::Mark;
use crate::limits;

/// Marks of a list, in its order.
#[derive(Debug)]
pub struct ResumeMarks {
    marks: VecDeque<Mark>,
    /// One mark is kept for this number of blocks.
    every: u64,
    /// Blocks since the last mark that was kept.
    since: u64,
}

impl Default for ResumeMarks {
    fn default() -> Self {
        Self { marks: VecDeque::new(), every: 1, since: 0 }
    }
}

impl ResumeMarks {
    /// Adds the mark of a block that was read.
    pub fn push(&mut self, mark: Mark) {
        self.since += 1;
        if self.since < self.every && !self.marks.is_empty() {
            return;
        }
        self.since = 0;
        self.marks.push_back(mark);
        if self.marks.len() > limits::MARKS_MAX {
            let mut second = true;
            self.marks.retain(|_| {
                second = !second;
                !second
            });
            self.every *= 2;
        }
    }

    /// Removes the marks at or below the low-water mark `low`, and returns the last of them.
    pub fn take(&mut self, low: Row) -> Option<Mark> {
        let mut last = None;
        while self.marks.front().is_some_and(|mark| mark.row <= low) {
            last = self.marks.pop_front();
        }
        if self.marks.is_empty() {
            self.every = 1;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_remembered_and_none_is_too_late() {
        for count in [1, 2, 100, 300_000] {
            let mut marks = ResumeMarks::default();
            let mark = |block| Mark { row: Row(block * 10), offset: block * 100 };
            (0..count).for_each(|block| marks.push(mark(block)));
            assert!(marks.marks.len() <= limits::MARKS_MAX);
            let slack = marks.every;
            for low in (0..count * 10).step_by(777) {
                if let Some(mark) = marks.take(Row(low)) {
                    assert!(mark.row <= Row(low) && low - mark.row.0 <= 777 + slack * 20, "{low}: {mark:?}");
                    assert_eq!(mark.row.0 * 10, mark.offset);
                }
            }
            let left = marks.marks.back().copied();
            assert_eq!(marks.take(Row(u64::MAX)), left);
            marks.push(mark(count));
            assert_eq!(marks.take(Row(u64::MAX)), Some(mark(count)));
        }
    }
}
