//! Rows that are shown one by one: failed ones, slow ones, and some of all for the waterfall.

use overlapped_proto::sanitize::{escape, shown};
use serde_json::{Value, json};

use super::histogram::millis;
use crate::picture::{Bar, RESULT_CHARS_MAX, bounded};
use crate::results::Entry;

/// The most failed rows.
const FAILED_MAX: usize = 500;
/// The most of them with one error, so that a common one does not hide the others.
const FAILED_ALIKE_MAX: usize = 100;
/// The slowest rows.
const SLOWEST: usize = 100;
/// The most rows in the waterfall.
const SAMPLE_MAX: usize = 3_000;
/// The most characters of a URL or a message.
const TEXT_CHARS_MAX: usize = 300;

/// A row as the page reads it: number, URL, result, whether it succeeded, its start, and its phases with a duration, in
/// milliseconds.
pub(super) fn line(bar: &Bar, origin_s: f64) -> Value {
    let phases = bar.phases_s.iter().enumerate().filter(|(_, s)| **s > 0.0);
    let phases: Vec<Value> = phases.map(|(phase, s)| json!([phase, millis(f64::from(*s))])).collect();
    json!([
        bar.row,
        bounded(&bar.label, TEXT_CHARS_MAX),
        bar.result,
        u8::from(bar.ok),
        millis(bar.start_s - origin_s),
        phases
    ])
}

/// The rows that took longest.
#[derive(Default)]
pub(super) struct Slowest(Vec<Bar>);

impl Slowest {
    pub(super) fn add(&mut self, bar: &Bar, entry: &Entry) {
        let took_s = bar.took_s();
        if self.0.len() == SLOWEST && self.0.last().is_some_and(|last| last.took_s() >= took_s) {
            return;
        }
        let at = self.0.partition_point(|slower| slower.took_s() >= took_s);
        self.0.insert(at, bar.clone().labelled(entry));
        self.0.truncate(SLOWEST);
    }

    pub(super) fn bars(&self, share: usize) -> impl Iterator<Item = &Bar> {
        self.0.iter().take(SLOWEST / share)
    }
}

/// Failed rows, the first of each error.
#[derive(Default)]
pub(super) struct Failures {
    rows: Vec<Failed>,
    left_out: u64,
}

struct Failed {
    bar: Option<Bar>,
    row: u64,
    url: String,
    error: String,
    message: String,
    attempts: u16,
}

impl Failures {
    pub(super) fn add(&mut self, entry: &Entry, bar: Option<&Bar>) {
        if self.rows.len() >= FAILED_MAX {
            self.left_out += 1;
            return;
        }
        let error = bounded(&escape(&entry.result()), RESULT_CHARS_MAX);
        let alike = self.rows.iter().filter(|row| row.error == error).count();
        if alike >= FAILED_ALIKE_MAX {
            self.left_out += 1;
            return;
        }
        self.rows.push(Failed {
            bar: bar.map(|bar| bar.clone().labelled(entry)),
            row: entry.row,
            url: bounded(&shown(&entry.url), TEXT_CHARS_MAX),
            error,
            message: bounded(&escape(entry.message.as_deref().unwrap_or_default()), TEXT_CHARS_MAX),
            attempts: entry.attempts,
        });
    }

    /// Each row: number, URL, error, message, attempts, milliseconds; those that are drawn as [`line`]; and how many are left out.
    pub(super) fn figures(&self, is_drawn: impl Fn(&Bar) -> bool, origin_s: f64, share: usize) -> Value {
        let shown = self.rows.iter().take(FAILED_MAX / share);
        let left_out = self.left_out + (self.rows.len() - shown.len()) as u64;
        let list: Value = shown
            .map(|row| {
                let took = row.bar.as_ref().map(|bar| millis(bar.took_s()));
                json!([row.row, row.url, row.error, row.message, row.attempts, took])
            })
            .collect();
        let bars = self.rows.iter().take(FAILED_MAX / share).filter_map(|row| row.bar.as_ref());
        let bars: Value = bars.filter(|bar| is_drawn(bar)).map(|bar| line(bar, origin_s)).collect();
        json!({"list": list, "bars": bars, "left_out": left_out})
    }
}

/// Every n-th row, where n doubles when there are too many.
pub(super) struct Sample {
    bars: Vec<Bar>,
    seen: u64,
    step: u64,
}

impl Default for Sample {
    fn default() -> Self {
        Self { bars: Vec::new(), seen: 0, step: 1 }
    }
}

impl Sample {
    pub(super) fn add(&mut self, bar: Bar, entry: &Entry) {
        if self.seen.is_multiple_of(self.step) {
            if self.bars.len() == SAMPLE_MAX {
                let mut odd = false;
                self.bars.retain(|_| {
                    odd = !odd;
                    odd
                });
                self.step *= 2;
            }
            if self.seen.is_multiple_of(self.step) {
                self.bars.push(bar.labelled(entry));
            }
        }
        self.seen += 1;
    }

    /// The rows by their start, and of how many each is one.
    pub(super) fn figures(&self, origin_s: f64, share: usize) -> Value {
        let mut bars: Vec<&Bar> = self.bars.iter().step_by(share).collect();
        bars.sort_by(|a, b| a.active_s().total_cmp(&b.active_s()).then(a.row.cmp(&b.row)));
        let list: Value = bars.into_iter().map(|bar| line(bar, origin_s)).collect();
        json!({"list": list, "step": self.step * share as u64, "rows": self.seen})
    }
}
