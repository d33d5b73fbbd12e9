//! Waterfalls of a run, from plain data to text or SVG. There is no I/O and no clock here.
//!
//! A [`Chart`] holds a [`Bar`] for each row. Up to [`BARS_MAX`] rows are drawn as one bar per line; more are packed into
//! lanes under a curve of the requests in flight, and the slowest and the failed ones get bars as well. Phases differ by
//! glyph or shape as well as by colour, for colour-blind readers and for logs without colour.

mod source;
pub(crate) mod svg;
pub(crate) mod text;
mod layout;
mod chart;

use overlapped_proto::sanitize::{escape, shown};
use serde::{Deserialize, Serialize};

pub(crate) use chart::Chart;
pub(crate) use source::Bars;

/// The most rows that are drawn one per line, so that they fit a screen or a page.
const BARS_MAX: usize = 80;

/// The most characters of a label, which bounds the memory of a picture.
const LABEL_CHARS_MAX: usize = 2_048;
/// The most characters of a result; the longest name of an error has 24.
pub(crate) const RESULT_CHARS_MAX: usize = 64;
/// The longest phase that is drawn, in seconds: about thirty years. A larger number in a file is invalid.
const PHASE_S_MAX: f64 = 1e9;

/// The phases of a bar, in chronological order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In the queue.
    Blocked,
    /// Earlier attempts, redirects, and the waits between them, as far as they are known: it may have been longer.
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
    /// Not a duration: the mark of a failed row in a lane.
    Failed,
}

impl Phase {
    pub(crate) const COUNT: usize = 10;

    /// Every phase, in chronological order.
    pub(crate) const ALL: [Self; Self::COUNT] = [
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

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Earlier => "earlier attempts, at least",
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
    /// Its URL.
    pub(crate) label: String,
    /// Its status, or the name of its error.
    pub(crate) result: String,
    /// False if it failed.
    pub(crate) ok: bool,
    /// When its first phase began, in seconds since an origin that all bars share, such as 1970.
    pub(crate) start_s: f64,
    /// The duration of each phase, in the order of [`Phase::ALL`]. There are no gaps between phases.
    pub(crate) phases_s: [f32; Phase::COUNT],
}

impl Bar {
    /// A row without phases. URLs and, in a file, names of errors are untrusted text: they are escaped for a terminal
    /// here, and passwords are removed.
    pub(crate) fn new(row: u64, label: &str, result: &str, ok: bool, start_s: f64) -> Self {
        let label = bounded(&shown(label), LABEL_CHARS_MAX);
        let result = bounded(&escape(result), RESULT_CHARS_MAX);
        Self { row, label, result, ok, start_s, phases_s: [0.0; Phase::COUNT] }
    }

    /// Sets the duration of a phase. An invalid one, such as a negative number, counts as zero.
    pub(crate) fn set(&mut self, phase: Phase, seconds: f64) {
        let seconds = if seconds.is_finite() { seconds.clamp(0.0, PHASE_S_MAX) } else { 0.0 };
        if let Some(slot) = self.phases_s.get_mut(phase as usize) {
            *slot = seconds as f32;
        }
    }

    /// The phases with a duration: phase, start, end.
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

    /// When it left the queue and its first attempt began.
    pub(crate) fn active_s(&self) -> f64 {
        self.start_s + self.length(Phase::Blocked)
    }

    /// When its last phase ended.
    pub(crate) fn end_s(&self) -> f64 {
        self.start_s + self.phases_s.iter().copied().map(f64::from).sum::<f64>()
    }

    /// True if it may have taken longer than it is drawn, since it had earlier attempts.
    pub(crate) fn is_at_least(&self) -> bool {
        self.length(Phase::Earlier) > 0.0
    }

    /// From its first attempt to its end, at the least if it [is so](Self::is_at_least).
    pub(crate) fn took_s(&self) -> f64 {
        self.end_s() - self.active_s()
    }
}

/// Truncates a text to a number of characters.
pub(crate) fn bounded(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => [text.get(..end).unwrap_or(text), "…"].concat(),
        None => text.to_owned(),
    }
}
