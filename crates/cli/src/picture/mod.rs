//! Pictures of a run: who waited for what, and when. Plain data in, text or SVG out; no file, no clock.
//!
//! A [`Chart`] holds one [`Bar`] a row. Up to [`BARS_MAX`] rows are drawn a bar a row; more are packed into lanes
//! under a curve of the requests in flight, and of those the slowest and the failed get bars as well. Phases differ by glyph or shape as well as by colour, because colour
//! alone tells nothing to some readers and nothing at all in a log.

pub(crate) mod source;
pub(crate) mod svg;
pub(crate) mod text;
mod layout;
mod chart;

use overlapped_proto::sanitize::{escape, shown};
use serde::{Deserialize, Serialize};

pub(crate) use chart::Chart;

/// Rows that get a bar of their own; what fits a screen or a page.
const BARS_MAX: usize = 80;

/// Characters of a label: no URL that a person writes is longer, and a picture holds the labels of all its rows.
const LABEL_CHARS_MAX: usize = 2_048;
/// Characters of a result: the longest name of an error has 24.
const RESULT_CHARS_MAX: usize = 64;
/// The longest phase that is drawn, in seconds: some thirty years. A number beyond it is a mistake, or malice.
const PHASE_S_MAX: f64 = 1e9;

/// What fills a stretch of a bar, in the order in which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for a place to run.
    Blocked,
    /// Earlier attempts, redirects, and the waits between them.
    Earlier,
    /// Resolving the name.
    Dns,
    /// Opening the connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Sending the request.
    Send,
    /// All of the above up to the first byte, for a client that does not tell them apart.
    Request,
    /// Waiting for the first byte of the response.
    Wait,
    /// Receiving the response.
    Receive,
    /// No time at all: where a row failed, marked in a picture whose rows have no line of their own.
    Failed,
}

impl Phase {
    const COUNT: usize = 10;

    /// Every phase, in the order in which it happens.
    const ALL: [Self; Self::COUNT] = [
        Self::Blocked,
        Self::Earlier,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Send,
        Self::Request,
        Self::Wait,
        Self::Receive,
        Self::Failed,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Earlier => "earlier attempts",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Send => "send",
            Self::Request => "request",
            Self::Wait => "wait",
            Self::Receive => "receive",
            Self::Failed => "failed",
        }
    }
}

/// One row of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Bar {
    /// Its number in the list, from 0, as in its record.
    pub(crate) row: u64,
    /// What it is called: its URL.
    pub(crate) label: String,
    /// Its status, or the name of its error.
    pub(crate) result: String,
    /// False if it failed.
    pub(crate) ok: bool,
    /// When its first phase began, in seconds; from 1970 or from any other moment, the same for all.
    pub(crate) start_s: f64,
    /// How long each phase took, in the order of [`Phase::ALL`]. They follow each other without a gap.
    pub(crate) phases_s: [f32; Phase::COUNT],
}

impl Bar {
    /// A row whose phases are still to be set. URLs and, in a file, names of errors are strangers' text: here they are
    /// made fit for a terminal, without a password.
    pub(crate) fn new(row: u64, label: &str, result: &str, ok: bool, start_s: f64) -> Self {
        let label = bounded(&shown(label), LABEL_CHARS_MAX);
        let result = bounded(&escape(result), RESULT_CHARS_MAX);
        Self { row, label, result, ok, start_s, phases_s: [0.0; Phase::COUNT] }
    }

    /// Sets how long a phase took. What is no time, such as a negative number, is none.
    pub(crate) fn set(&mut self, phase: Phase, seconds: f64) {
        let seconds = if seconds.is_finite() { seconds.clamp(0.0, PHASE_S_MAX) } else { 0.0 };
        if let Some(slot) = self.phases_s.get_mut(phase as usize) {
            *slot = seconds as f32;
        }
    }

    /// The phases that took time: which, from, to.
    fn segments(&self) -> impl Iterator<Item = (Phase, f64, f64)> {
        let mut at = self.start_s;
        Phase::ALL.into_iter().zip(self.phases_s).filter(|(_, length)| *length > 0.0).map(
            move |(phase, length)| {
                let from = at;
                at += f64::from(length);
                (phase, from, at)
            },
        )
    }

    fn length(&self, phase: Phase) -> f64 {
        self.phases_s.get(phase as usize).copied().map_or(0.0, f64::from)
    }

    /// When it got its place and the first attempt began.
    pub(crate) fn active_s(&self) -> f64 {
        self.start_s + self.length(Phase::Blocked)
    }

    /// When its last phase ended.
    pub(crate) fn end_s(&self) -> f64 {
        self.start_s + self.phases_s.iter().copied().map(f64::from).sum::<f64>()
    }

    /// From its first attempt to its end.
    pub(crate) fn took_s(&self) -> f64 {
        self.end_s() - self.active_s()
    }
}

/// The beginning of a text that is longer than anything that makes sense.
fn bounded(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => [text.get(..end).unwrap_or(text), "…"].concat(),
        None => text.to_owned(),
    }
}
