//! The data of a picture: a bounded number of rows, and the choice of those that are always drawn.

use std::cmp::Ordering;

use super::{BARS_MAX, Bar};
use overlapped_proto::plural::{counted, plural};

/// The most rows that are kept. Further rows are only counted, so that the memory does not grow with the list.
const ROWS_MAX: usize = 100_000;
/// The most failed rows that are kept beyond [`ROWS_MAX`].
const FAILED_MAX: usize = 10_000;
/// The number of slowest rows that get a bar when the others are packed into lanes.
const SLOWEST: usize = 8;
/// The number of failed rows that get a bar besides; further ones are marked.
const FAILED_BARS: usize = 16;

/// The rows of a run; time starts with the run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chart {
    pub(super) bars: Vec<Bar>,
    /// The failed and the slowest of the rows beyond [`ROWS_MAX`].
    failed_beyond: Vec<Bar>,
    slowest_beyond: Vec<Bar>,
    /// Rows that were never started, such as a line that is no URL.
    never_started: u64,
    /// Rows that are only counted, and the number of them that failed.
    not_drawn: u64,
    failed_not_drawn: u64,
}

impl Chart {
    /// Adds a row, `None` if it was never started. Beyond [`ROWS_MAX`] it is kept only if it failed or is one of the
    /// slowest.
    pub(crate) fn add(&mut self, bar: Option<Bar>) {
        let Some(bar) = bar else {
            self.never_started += 1;
            return;
        };
        if self.bars.len() < ROWS_MAX {
            self.bars.push(bar);
        } else if !bar.ok && self.failed_beyond.len() < FAILED_MAX {
            self.failed_beyond.push(bar);
        } else if bar.ok {
            let at = self.slowest_beyond.partition_point(|slower| slower.took_s() >= bar.took_s());
            self.slowest_beyond.insert(at, bar);
            self.not_drawn += u64::from(self.slowest_beyond.len() > SLOWEST);
            self.slowest_beyond.truncate(SLOWEST);
        } else {
            self.not_drawn += 1;
            self.failed_not_drawn += 1;
        }
    }

    /// Sorts the rows by their start, and moves the origin of time to the earliest.
    pub(crate) fn since_start(mut self) -> Self {
        self.bars.append(&mut self.failed_beyond);
        self.bars.append(&mut self.slowest_beyond);
        self.bars.sort_by(|a, b| a.active_s().total_cmp(&b.active_s()).then(a.row.cmp(&b.row)));
        let start = self.bars.iter().map(|bar| bar.start_s).fold(f64::INFINITY, f64::min);
        for bar in &mut self.bars {
            bar.start_s -= start;
        }
        self
    }

    /// When the last row ended.
    pub(crate) fn span_s(&self) -> f64 {
        self.bars.iter().map(Bar::end_s).fold(0.0, f64::max)
    }

    /// Rows that were started.
    pub(super) fn rows(&self) -> u64 {
        self.bars.len() as u64 + self.not_drawn
    }

    /// Those of them that failed.
    pub(super) fn failed(&self) -> u64 {
        self.bars.iter().filter(|bar| !bar.ok).count() as u64 + self.failed_not_drawn
    }

    /// The rows that get a bar of their own, and the title of that section if these are not all rows.
    pub(super) fn with_bars(&self) -> (Vec<&Bar>, Option<String>) {
        if self.bars.len() <= BARS_MAX {
            return (self.bars.iter().collect(), None);
        }
        let mut slowest: Vec<&Bar> = self.bars.iter().collect();
        let by_time = |a: &&Bar, b: &&Bar| b.took_s().total_cmp(&a.took_s()).then(a.row.cmp(&b.row));
        let (slow, _, _) = slowest.select_nth_unstable_by(SLOWEST, by_time);
        let mut chosen = slow.to_vec();
        let is_chosen = |row: &Bar| chosen.iter().any(|slow| std::ptr::eq(*slow, row));
        let failed: Vec<&Bar> = self.bars.iter().filter(|bar| !bar.ok).collect();
        let further: Vec<&Bar> =
            failed.iter().copied().filter(|bar| !is_chosen(bar)).take(FAILED_BARS).collect();
        chosen.extend(&further);
        chosen.sort_by(|a, b| a.active_s().total_cmp(&b.active_s()).then(a.row.cmp(&b.row)));
        let shown = chosen.iter().filter(|bar| !bar.ok).count() as u64;
        let failures = match shown.cmp(&self.failed()) {
            Ordering::Equal if shown == 0 => String::new(),
            Ordering::Equal => " and those that failed".to_owned(),
            Ordering::Less | Ordering::Greater => {
                format!(" and {shown} of the {} that failed", self.failed())
            }
        };
        (chosen, Some(format!("the {SLOWEST} slowest rows{failures}")))
    }

    /// A sentence on the rows that are not drawn.
    pub(super) fn left_out(&self) -> Option<String> {
        let mut parts = Vec::new();
        let never = self.never_started;
        if never > 0 {
            parts.push(format!("{} {} never started", counted(never, "row"), plural(never, "was", "were")));
        }
        if self.not_drawn > 0 {
            let failed = match self.failed_not_drawn {
                0 => String::new(),
                failed => format!(", {failed} of which failed"),
            };
            parts.push(format!(
                "{} of the rows beyond the first {ROWS_MAX} are not drawn{failed}",
                self.not_drawn
            ));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Phase;
    use super::*;

    fn bar(row: u64, ok: bool, wait_s: f64) -> Bar {
        let mut bar =
            Bar::new(row, &format!("http://a/{row}"), if ok { "200" } else { "503" }, ok, row as f64);
        bar.set(Phase::Wait, wait_s);
        bar
    }

    #[test]
    fn what_failed_and_what_was_slow_is_remembered_beyond_the_bound() {
        let rows = ROWS_MAX as u64;
        let mut chart = Chart::default();
        (0..rows + 1_000).for_each(|row| chart.add(Some(bar(row, true, 0.5))));
        chart.add(Some(bar(rows + 1_000, false, 0.1)));
        chart.add(Some(bar(rows + 1_001, true, 90.0)));
        let chart = chart.since_start();
        assert_eq!((chart.rows(), chart.failed()), (rows + 1_002, 1));
        let (bars, told) = chart.with_bars();
        let rows_drawn: Vec<u64> = bars.iter().map(|bar| bar.row).collect();
        assert!(
            rows_drawn.contains(&(rows + 1_000)) && rows_drawn.contains(&(rows + 1_001)),
            "{rows_drawn:?}"
        );
        assert_eq!(told.unwrap(), "the 8 slowest rows and those that failed");
        assert!(chart.bars.len() <= ROWS_MAX + SLOWEST + 1);
        let left_out = chart.left_out().unwrap();
        assert!(left_out.starts_with("993 of the rows beyond the first 100000"), "{left_out}");
    }

    #[test]
    fn failures_are_bounded_and_counted() {
        let mut chart = Chart::default();
        (0..(ROWS_MAX + FAILED_MAX + 5) as u64).for_each(|row| chart.add(Some(bar(row, row < 10, 0.1))));
        let chart = chart.since_start();
        assert_eq!((chart.failed_not_drawn, chart.not_drawn), (5, 5));
        assert_eq!(chart.failed(), (ROWS_MAX + FAILED_MAX + 5 - 10) as u64);
        assert!(chart.left_out().unwrap().ends_with("5 of which failed"));
    }
}
