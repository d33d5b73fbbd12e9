//! Times that belong together. A clock that was not set, or a line that somebody has edited, puts a row into 1970 or 9999: drawn
//! with all others, it would press them into one point. So rows that are years apart are kept apart, and the page draws the time
//! in which most rows are.

use super::rows::Sample;
use super::timeline::Timeline;
use crate::picture::Bar;
use crate::results::Entry;

/// The most eras that are kept; rows that belong to none of them are only counted.
const ERAS_MAX: usize = 4;
/// How far a row may be from the first one of its era, in seconds: two years, for a run that was resumed again and again.
const REACH_S: f64 = 2.0 * 366.0 * 86_400.0;

/// The eras of a run.
#[derive(Default)]
pub(super) struct Eras {
    eras: Vec<Era>,
    /// What there is of a run without a start.
    none: Era,
    rows: u64,
}

/// Rows whose times belong together.
#[derive(Default)]
pub(super) struct Era {
    /// The start of its first row, in seconds since 1970.
    around_s: f64,
    rows: u64,
    pub(super) timeline: Timeline,
    /// Some of its rows, for the waterfall.
    pub(super) sample: Sample,
}

impl Eras {
    /// Adds the row of a result.
    pub(super) fn add(&mut self, bar: Bar, entry: &Entry) {
        self.rows += 1;
        let era = match self.eras.iter().position(|era| era.has(&bar)) {
            Some(at) => self.eras.get_mut(at),
            None if self.eras.len() < ERAS_MAX => {
                let era = Era { around_s: bar.active_s(), ..Era::default() };
                // A row that lasts for decades belongs nowhere.
                era.has(&bar).then(|| self.eras.push(era));
                self.eras.last_mut().filter(|era| era.has(&bar))
            }
            None => None,
        };
        let Some(era) = era else { return };
        era.rows += 1;
        era.timeline.add(bar.active_s(), bar.end_s(), bar.ok);
        era.sample.add(bar, entry);
    }

    /// The one that has the most rows.
    pub(super) fn main(&self) -> &Era {
        // Of several with equally many the first.
        self.eras.iter().rev().max_by_key(|era| era.rows).unwrap_or(&self.none)
    }

    /// The rows that are not in that one.
    pub(super) fn others(&self) -> u64 {
        self.rows - self.main().rows
    }
}

impl Era {
    /// True if all of the row is near its other rows.
    pub(super) fn has(&self, bar: &Bar) -> bool {
        [bar.start_s, bar.active_s(), bar.end_s()].iter().all(|at_s| (at_s - self.around_s).abs() < REACH_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Bars;

    fn bar(row: u64, started_s: f64, elapsed_s: f64) -> Bar {
        let entry = Entry {
            row,
            attempts: 1,
            started_s: Some(started_s),
            phases_s: [None, None, None, None, None, None, Some(elapsed_s)],
            ..Entry::default()
        };
        Bars::default().bar(&entry).unwrap()
    }

    /// One such row made a run of a minute one of decades.
    #[test]
    fn rows_of_another_era_do_not_stretch_the_run() {
        const YEAR_9999_S: f64 = 253_402_300_799.0;
        for odd_first in [true, false] {
            let mut rows: Vec<_> = (0..500).map(|row| bar(row, 1.7e9 + row as f64 / 10.0, 0.1)).collect();
            let odd = [bar(1_000, 0.0, 0.1), bar(1_001, YEAR_9999_S, 0.1), bar(1_002, 1.7e9, 1e8)];
            if odd_first {
                rows.splice(0..0, odd);
            } else {
                rows.extend(odd);
            }
            let mut eras = Eras::default();
            rows.into_iter().for_each(|bar| eras.add(bar, &Entry::default()));
            assert_eq!((eras.main().rows, eras.others()), (500, 3));
            assert!((eras.main().timeline.span_s() - 50.0).abs() < 0.1);
        }
    }

    #[test]
    fn a_machine_without_a_clock_has_its_time_too() {
        let mut eras = Eras::default();
        (0..10).for_each(|row| eras.add(bar(row, row as f64, 0.1), &Entry::default()));
        assert_eq!((eras.main().rows, eras.others()), (10, 0));
        assert!(Eras::default().main().timeline.first_s().is_none());
    }
}
