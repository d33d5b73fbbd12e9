//! What a run did at each moment: rows that ended, and rows in flight.

use serde_json::{Value, json};

use super::histogram::millis;

/// The most intervals.
const BINS: usize = 480;
/// The shortest interval, in seconds.
const BIN_S: f64 = 0.001;

/// An interval.
#[derive(Clone, Copy, Default)]
struct Bin {
    started: u64,
    /// The sum of the parts of the interval that come after a start, or after an end.
    after_starts: f64,
    ended: u64,
    after_ends: f64,
    failed: u64,
}

/// The intervals of a run, all of one length. They become longer when the run does, so their number is bounded.
#[derive(Default)]
pub(super) struct Timeline {
    /// Since 1970.
    origin_s: Option<f64>,
    first_s: f64,
    last_s: f64,
    /// The length of an interval is `BIN_S` times this power of two.
    doublings: i32,
    bins: Vec<Bin>,
}

impl Timeline {
    /// Adds a row that started and ended at these times, in seconds since 1970.
    pub(super) fn add(&mut self, from_s: f64, to_s: f64, ok: bool) {
        let origin_s = match self.origin_s {
            None => {
                (self.first_s, self.last_s, self.bins) = (from_s, to_s, vec![Bin::default(); BINS]);
                *self.origin_s.insert(from_s)
            }
            Some(origin_s) => origin_s,
        };
        self.first_s = self.first_s.min(from_s);
        self.last_s = self.last_s.max(to_s);
        if from_s < origin_s {
            self.begin_at(from_s);
        }
        while self.place(to_s).0 >= BINS {
            self.double();
        }
        let (start, rest) = self.place(from_s);
        if let Some(bin) = self.bins.get_mut(start) {
            bin.started += 1;
            bin.after_starts += rest;
        }
        let (end, rest) = self.place(to_s);
        if let Some(bin) = self.bins.get_mut(end) {
            bin.ended += 1;
            bin.after_ends += rest;
            bin.failed += u64::from(!ok);
        }
    }

    /// When the first row started, in seconds since 1970.
    pub(super) fn first_s(&self) -> Option<f64> {
        self.origin_s.map(|_| self.first_s)
    }

    /// From the first start to the last end.
    pub(super) fn span_s(&self) -> f64 {
        self.last_s - self.first_s
    }

    /// The length of an interval, and for each the rows that ended, those of them that failed, and the mean number in flight.
    pub(super) fn figures(&self) -> Value {
        let used = self.origin_s.map_or(0, |_| self.place(self.last_s).0 + 1);
        let (mut ended, mut failed, mut in_flight) = (Vec::new(), Vec::new(), Vec::new());
        let mut before = 0;
        for bin in self.bins.iter().take(used) {
            ended.push(bin.ended);
            failed.push(bin.failed);
            let mean = before as f64 + (bin.after_starts - bin.after_ends) / self.length_s();
            in_flight.push((mean.max(0.0) * 10.0).round() / 10.0);
            before = (before + bin.started).saturating_sub(bin.ended);
        }
        let offset_s = self.origin_s.unwrap_or_default() - self.first_s;
        json!({"bin_ms": millis(self.length_s()), "offset_ms": millis(offset_s), "ended": ended, "failed": failed, "in_flight": in_flight})
    }

    fn length_s(&self) -> f64 {
        BIN_S * 2_f64.powi(self.doublings)
    }

    /// The interval of a time, and how much of it follows.
    fn place(&self, at_s: f64) -> (usize, f64) {
        let since = (at_s - self.origin_s.unwrap_or_default()).max(0.0);
        let bin = (since / self.length_s()).floor();
        (bin as usize, ((bin + 1.0) * self.length_s() - since).max(0.0))
    }

    /// Joins each interval with its neighbour.
    fn double(&mut self) {
        let length_s = self.length_s();
        let joined: Vec<Bin> = self.bins.chunks(2).map(|pair| join(pair, length_s)).collect();
        self.bins = joined;
        self.bins.resize(BINS, Bin::default());
        self.doublings += 1;
    }

    /// Moves the origin to a time before it.
    fn begin_at(&mut self, at_s: f64) {
        let origin_s = self.origin_s.unwrap_or_default();
        loop {
            let shift = ((origin_s - at_s) / self.length_s()).ceil();
            let used =
                self.bins.iter().rposition(|bin| bin.started + bin.ended > 0).map_or(0, |last| last + 1);
            if shift + used as f64 <= BINS as f64 {
                self.bins.rotate_right(shift as usize);
                self.origin_s = Some(origin_s - shift * self.length_s());
                return;
            }
            self.double();
        }
    }
}

/// Two intervals of `length_s` as one.
fn join(pair: &[Bin], length_s: f64) -> Bin {
    let mut joined = Bin::default();
    for (further, bin) in (0..pair.len()).rev().zip(pair) {
        let further_s = further as f64 * length_s;
        joined.started += bin.started;
        joined.after_starts += bin.after_starts + bin.started as f64 * further_s;
        joined.ended += bin.ended;
        joined.after_ends += bin.after_ends + bin.ended as f64 * further_s;
        joined.failed += bin.failed;
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(timeline: &Timeline) -> (u64, f64) {
        let figures = timeline.figures();
        let list = |name: &str| figures[name].as_array().unwrap().clone();
        let ended = list("ended").iter().map(|n| n.as_u64().unwrap()).sum();
        let busy: f64 = list("in_flight").iter().map(|n| n.as_f64().unwrap()).sum();
        (ended, busy * figures["bin_ms"].as_f64().unwrap() / 1e3)
    }

    /// Time in flight is conserved, whatever the order of the rows.
    #[test]
    fn the_time_in_flight_is_that_of_the_rows() {
        for reverse in [false, true] {
            let mut rows: Vec<(f64, f64)> = (0..2_000).map(|i| (1e9 + f64::from(i) * 0.05, 0.8)).collect();
            if reverse {
                rows.reverse();
            }
            let mut timeline = Timeline::default();
            rows.iter().for_each(|(from, took)| timeline.add(*from, from + took, true));
            let (ended, busy_s) = totals(&timeline);
            assert_eq!(ended, 2_000);
            assert!((busy_s - 1_600.0).abs() < 30.0, "{busy_s}");
            assert!((timeline.span_s() - 100.75).abs() < 1e-3, "{}", timeline.span_s());
            assert!(timeline.figures()["ended"].as_array().unwrap().len() <= BINS);
        }
    }

    #[test]
    fn a_row_of_thirty_years_is_drawn() {
        let mut timeline = Timeline::default();
        timeline.add(1e9, 1e9 + 0.001, true);
        timeline.add(0.0, 2e9, false);
        assert_eq!(totals(&timeline).0, 2);
        assert!(Timeline::default().figures()["ended"].as_array().unwrap().is_empty());
    }
}
