//! Pictures of a run: who waited for what, and when. Plain data in, text or SVG out; no file, no clock.
//!
//! A [`Chart`] holds one [`Bar`] a row. Up to [`BARS_MAX`] rows are drawn a bar a row; more are packed into lanes
//! under a curve of the requests in flight. Phases differ by glyph or shape as well as by colour, because colour
//! alone tells nothing to some readers and nothing at all in a log.

pub(crate) mod source;
pub(crate) mod svg;
pub(crate) mod text;
mod layout;

use overlapped_proto::display::{escape, redact};
use serde::{Deserialize, Serialize};

/// Rows that get a bar of their own; what fits a screen or a page.
const BARS_MAX: usize = 80;

/// Rows that a picture remembers. Beyond it they are counted, not drawn: a picture must not grow with the list.
const ROWS_MAX: usize = 100_000;

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
    pub(crate) fn new(label: &str, result: &str, ok: bool, start_s: f64) -> Self {
        let (label, result) = (escape(&redact(label)).into_owned(), escape(result).into_owned());
        Self { label, result, ok, start_s, phases_s: [0.0; Phase::COUNT] }
    }

    /// Sets how long a phase took.
    pub(crate) fn set(&mut self, phase: Phase, seconds: f64) {
        if let Some(slot) = self.phases_s.get_mut(phase as usize) {
            *slot = seconds.max(0.0) as f32;
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

/// A run: its rows, with time counted from its start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chart {
    bars: Vec<Bar>,
    /// Rows that were never started, such as a line that is no URL.
    never_started: u64,
    /// Rows beyond [`ROWS_MAX`].
    not_drawn: u64,
}

impl Chart {
    /// Takes one row, `None` if it was never started; beyond [`ROWS_MAX`] it is only counted.
    pub(crate) fn add(&mut self, bar: Option<Bar>) {
        match bar {
            None => self.never_started += 1,
            Some(bar) if self.bars.len() < ROWS_MAX => self.bars.push(bar),
            Some(_) => self.not_drawn += 1,
        }
    }

    /// The rows in the order in which they began, with time counted from the earliest.
    pub(crate) fn since_start(mut self) -> Self {
        self.bars.sort_by(|a, b| a.active_s().total_cmp(&b.active_s()));
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

    /// The phases that occur, in the order in which they happen.
    fn phases(&self) -> impl Iterator<Item = Phase> {
        let lanes = self.bars.len() > BARS_MAX;
        Phase::ALL.into_iter().filter(move |phase| {
            // In lanes a row's wait for its place is another row's bar, and its failure has no line of its own.
            let marked = lanes && *phase == Phase::Failed;
            let drawn = !(lanes && *phase == Phase::Blocked);
            self.bars.iter().any(|bar| drawn && bar.length(*phase) > 0.0 || marked && !bar.ok)
        })
    }

    /// What the picture leaves out, in words.
    fn left_out(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.never_started > 0 {
            parts.push(format!("{} rows were never started", self.never_started));
        }
        if self.not_drawn > 0 {
            parts.push(format!("{} rows beyond the first {ROWS_MAX} are not drawn", self.not_drawn));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}
