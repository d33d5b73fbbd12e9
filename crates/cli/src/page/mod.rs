//! The report of a run: one self-contained HTML page, from a row at a time, in bounded memory. No I/O, no clock.
//!
//! The page is `page.html` with the figures as JSON in it; its script draws them. Its size does not grow with the run: of
//! hosts, failed rows, slow rows and rows in the waterfall a bounded number is kept ([`Page::html`]).

mod eras;
mod timeline;
mod hosts;
mod rows;
mod histogram;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use overlapped_proto::sanitize;
use serde_json::{Value, json};

use self::eras::Eras;
use self::histogram::Histogram;
use self::hosts::Hosts;
use self::rows::{Failures, Slowest, line};
use crate::picture::svg::escape;
use crate::picture::{Bars, Phase, RESULT_CHARS_MAX, bounded};
use crate::results::{Entry, PHASES};

/// The page, without its title and its figures.
const TEMPLATE: &str = include_str!("page.html");
/// Where they go.
const TITLE: &str = "{{title}}";
const FIGURES: &str = "{{figures}}";

/// The most bytes of a page.
const PAGE_BYTES_MAX: usize = 2_000_000;
/// What the page calls the phases of [`Entry::phases_s`].
const PHASE_NAMES: [&str; PHASES] =
    ["waiting for a place", "dns", "connect", "tls", "send", "wait", "receive"];
/// The most names of errors that are counted apart; a file from elsewhere may have any.
const ERRORS_MAX: usize = 200;

/// The figures of a run.
#[derive(Default)]
pub(crate) struct Page {
    rows: u64,
    ok: u64,
    never_started: u64,
    /// Rows whose start is unknown.
    untimed: u64,
    retries: u64,
    bytes: u64,
    statuses: BTreeMap<u16, u64>,
    errors: BTreeMap<String, u64>,
    total: Histogram,
    phases: [Histogram; PHASES],
    bars: Bars,
    eras: Eras,
    hosts: Hosts,
    slowest: Slowest,
    failures: Failures,
}

impl Page {
    /// Adds a row.
    pub(crate) fn add(&mut self, entry: &Entry) {
        self.rows += 1;
        self.ok += u64::from(entry.ok);
        let first_attempts = u64::from(entry.redirects) + 1;
        self.retries += u64::from(entry.attempts).saturating_sub(first_attempts);
        self.never_started += u64::from(entry.attempts == 0);
        self.bytes = self.bytes.saturating_add(entry.bytes);
        if let Some(status) = entry.status {
            *self.statuses.entry(status).or_default() += 1;
        }
        if let Some(error) = entry.error.as_ref().filter(|_| !entry.ok) {
            let name = bounded(&sanitize::escape(error), RESULT_CHARS_MAX);
            let is_counted = self.errors.len() < ERRORS_MAX || self.errors.contains_key(&name);
            *self.errors.entry(if is_counted { name } else { "others".to_owned() }).or_default() += 1;
        }
        let bar = self.bars.measured(entry);
        let took_s = took_s(entry);
        for (histogram, phase) in self.phases.iter_mut().zip(entry.phases_s) {
            phase.into_iter().for_each(|s| histogram.add(s));
        }
        took_s.into_iter().for_each(|s| self.total.add(s));
        self.hosts.add(entry, took_s);
        if !entry.ok {
            self.failures.add(entry, bar.as_ref());
        }
        let Some(bar) = bar else {
            self.untimed += u64::from(entry.attempts > 0);
            return;
        };
        self.slowest.add(&bar, entry);
        self.eras.add(bar, entry);
    }

    /// The page, under a title, with a note if these are not all rows of the run.
    pub(crate) fn html(&self, title: &str, note: Option<&str>) -> String {
        let title = sanitize::escape(title);
        // A row takes some 150 bytes, but up to a hundred times as many if its URL is long: then there are fewer.
        let page = |share: usize| {
            let figures = self.figures(share, note).to_string();
            // So that no text ends the element, or begins a comment.
            let figures = figures.replace('<', "\\u003c").replace('\u{2028}', "\\u2028");
            let page = TEMPLATE.replace(TITLE, &escape(&title));
            // Behind the last place of the title, which may have any text.
            let (before, after) =
                page.rsplit_once(FIGURES).expect("the template has a place for the figures");
            [before, &figures, after].concat()
        };
        let shares = [1, 2, 4, 8, 16, 32, 64, 1_024].map(page).into_iter();
        let mut last = String::new();
        for page in shares {
            last = page;
            if last.len() <= PAGE_BYTES_MAX {
                break;
            }
        }
        last
    }

    /// The figures, with one of `share` of the rows and hosts that are kept.
    fn figures(&self, share: usize, note: Option<&str>) -> Value {
        let era = self.eras.main();
        let origin_s = era.timeline.first_s().unwrap_or_default();
        let phases = PHASE_NAMES.iter().zip(&self.phases);
        json!({
            "note": note,
            "rows": self.rows,
            "ok": self.ok,
            "never_started": self.never_started,
            "untimed": self.untimed,
            "retries": self.retries,
            "bytes": self.bytes,
            "started": era.timeline.first_s(),
            "span_s": era.timeline.span_s(),
            "elsewhen": self.eras.others(),
            "statuses": self.statuses,
            "errors": self.errors,
            "total": self.total.figures(),
            "phases": phases.map(|(name, histogram)| json!([name, histogram.figures()])).collect::<Value>(),
            "phase_names": Phase::ALL.map(Phase::name),
            "timeline": era.timeline.figures(),
            "hosts": self.hosts.figures(share),
            "slowest": self.slowest.bars(share).map(|bar| line(bar, origin_s)).collect::<Value>(),
            "failures": self.failures.figures(|bar| era.has(bar), origin_s, share),
            "sample": era.sample.figures(origin_s, share),
        })
    }
}

/// What the request took, from name resolution to its last byte; `None` if nothing was sent.
fn took_s(entry: &Entry) -> Option<f64> {
    let [_blocked, rest @ ..] = entry.phases_s;
    let known = rest.iter().flatten();
    (known.clone().count() > 0).then(|| known.sum())
}
