//! The layout of a picture, for text and for SVG: ticks, lanes, cells, and the curve of the requests in flight.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use unicode_width::UnicodeWidthStr as _;

use super::{Bar, Phase};

/// The marks of a time axis.
pub(super) struct Axis {
    /// The seconds of the whole width.
    pub(super) span_s: f64,
    step_s: f64,
}

impl Axis {
    /// An axis over `span_s` with at most `ticks_max` marks after the first, at round numbers.
    pub(super) fn new(span_s: f64, ticks_max: usize) -> Self {
        let span_s = if span_s > 0.0 { span_s } else { 1.0 };
        let least = span_s / ticks_max.max(1) as f64;
        let decade = 10_f64.powf(least.log10().floor());
        let step_s = [1.0, 2.0, 5.0].map(|m| m * decade).into_iter().find(|step| *step >= least);
        Self { span_s, step_s: step_s.unwrap_or(10.0 * decade) }
    }

    /// Each tick: its position as a fraction of the width, and its label.
    pub(super) fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        let count = (self.span_s / self.step_s + 1e-6).floor() as usize;
        (0..=count).map(|i| {
            let at = i as f64 * self.step_s;
            (at / self.span_s, self.label(at))
        })
    }

    fn label(&self, at: f64) -> String {
        let decimals = |step: f64| (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
        if at == 0.0 {
            "0".to_owned()
        } else if self.span_s < 1.0 {
            format!("{:.*} ms", decimals(self.step_s * 1e3), at * 1e3)
        } else {
            format!("{at:.*} s", decimals(self.step_s))
        }
    }
}

/// A time with three significant digits and a unit.
pub(super) fn seconds(s: f64) -> String {
    match s {
        s if s < 0.999_5 => format!("{:.*} ms", if s < 0.099_95 { 1 } else { 0 }, s * 1e3),
        s if s < 99.995 => format!("{s:.*} s", if s < 9.999_5 { 3 } else { 2 }),
        s if s < 9_999.5 => format!("{s:.0} s"),
        s if s < 359_999.5 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

/// How long a row took, as far as it is known.
pub(super) fn took(bar: &Bar) -> String {
    [if bar.is_at_least() { "≥ " } else { "" }, &seconds(bar.took_s())].concat()
}

/// Packs bars into lanes so that no two in a lane overlap. The number of lanes is the peak of the requests in flight.
pub(super) fn lanes(bars: &[Bar]) -> Vec<Vec<&Bar>> {
    let mut order: Vec<&Bar> = bars.iter().collect();
    order.sort_by(|a, b| a.active_s().total_cmp(&b.active_s()));
    let mut lanes: Vec<Vec<&Bar>> = Vec::new();
    // Nanoseconds, because a heap needs a total order. A bar takes the lowest free lane, so that busy lanes are at the
    // top and the picture is deterministic.
    let nanos = |s: f64| (s * 1e9) as i64;
    let mut busy: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::new();
    let mut free: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    for bar in order {
        while let Some(&Reverse((end, lane))) = busy.peek() {
            if end > nanos(bar.active_s()) {
                break;
            }
            busy.pop();
            free.push(Reverse(lane));
        }
        let lane = free.pop().map_or(lanes.len(), |Reverse(lane)| lane);
        match lanes.get_mut(lane) {
            Some(bars) => bars.push(bar),
            None => lanes.push(vec![bar]),
        }
        busy.push(Reverse((nanos(bar.end_s() - ROUNDING_S), lane)));
    }
    lanes
}

/// The times in records are rounded to microseconds, so a row may seem to begin before the end of the row whose slot it
/// took.
const ROUNDING_S: f64 = 5e-6;

/// The most requests in flight within each of `cells` equal stretches of the span.
pub(super) fn in_flight(bars: &[Bar], span_s: f64, cells: usize) -> Vec<u32> {
    let cell = |s: f64| ((s / span_s * cells as f64) as usize).min(cells.saturating_sub(1));
    let mut events: Vec<(f64, bool)> = Vec::with_capacity(bars.len() * 2);
    for bar in bars {
        events.push((bar.active_s(), true));
        events.push((bar.end_s() - ROUNDING_S, false));
    }
    // At equal times an end is counted before a start: the second row took the slot of the first.
    events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut peaks = vec![0; cells];
    let (mut now, mut at) = (0_u32, 0);
    for (time, starts) in events {
        // The count before this moment holds for every cell up to here, but not for one that begins here.
        let until = cell(time);
        let begun = time / span_s * cells as f64 > until as f64;
        for peak in peaks.iter_mut().take(until + usize::from(begun)).skip(at) {
            *peak = now.max(*peak);
        }
        at = until;
        now = if starts { now + 1 } else { now.saturating_sub(1) };
        if let Some(peak) = peaks.get_mut(at) {
            *peak = now.max(*peak);
        }
    }
    peaks
}

/// How rows are drawn: one bar per line, or packed into lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// The time in the queue is drawn; a failure is written beside the bar.
    Bars,
    /// The time in the queue is left out, since other rows use the lane then; a failure is marked at the end of the bar.
    Lanes,
}

/// The phase of each of `cells` equal parts of the span: the one with the longest share of it.
///
/// Every bar gets at least one cell.
pub(super) fn cells(bars: &[&Bar], span_s: f64, cells: usize, rows: Rows) -> Vec<Option<Phase>> {
    let scale = cells as f64 / span_s;
    let cell = |s: f64| ((s * scale) as usize).min(cells.saturating_sub(1));
    let mut shares = vec![[0_f32; Phase::COUNT]; cells];
    for (phase, from, to) in bars.iter().flat_map(|bar| bar.segments()) {
        if phase == Phase::Blocked && rows == Rows::Lanes {
            continue;
        }
        let (first, from, to) = (cell(from), from * scale, to * scale);
        for (i, share) in shares.iter_mut().enumerate().take(to.ceil() as usize).skip(first) {
            let overlap = to.min(i as f64 + 1.0) - from.max(i as f64);
            if let Some(sum) = share.get_mut(phase as usize) {
                *sum += overlap as f32;
            }
        }
    }
    let mut drawn: Vec<Option<Phase>> = shares.iter().map(longest).collect();
    for bar in bars {
        let (first, last) = (cell(bar.active_s()), cell(bar.end_s()));
        let waits = |cell: &Option<Phase>| matches!(cell, None | Some(Phase::Blocked));
        let own = drawn.get_mut(first..=last).unwrap_or_default();
        if own.iter().all(waits)
            && let Some(cell) = own.first_mut()
        {
            let longest = bar.segments().filter(|(phase, ..)| *phase != Phase::Blocked);
            let longest = longest.max_by(|a, b| (a.2 - a.1).total_cmp(&(b.2 - b.1)));
            *cell = Some(longest.map_or(Phase::Request, |(phase, ..)| phase));
        }
        if rows == Rows::Lanes
            && !bar.ok
            && let Some(cell) = own.last_mut()
        {
            *cell = Some(Phase::Failed);
        }
    }
    drawn
}

/// The failures in `cells` equal parts of the span.
pub(super) fn failures(bars: &[Bar], span_s: f64, cells: usize) -> Vec<Option<Phase>> {
    let mut marks = vec![None; cells];
    for bar in bars.iter().filter(|bar| !bar.ok) {
        let at = ((bar.end_s() / span_s * cells as f64) as usize).min(cells.saturating_sub(1));
        if let Some(mark) = marks.get_mut(at) {
            *mark = Some(Phase::Failed);
        }
    }
    marks
}

/// The phases that a picture shows, for its legend.
#[derive(Debug, Default)]
pub(super) struct Drawn([bool; Phase::COUNT]);

impl Drawn {
    pub(super) fn note(&mut self, phases: impl IntoIterator<Item = Phase>) {
        for phase in phases {
            if let Some(drawn) = self.0.get_mut(phase as usize) {
                *drawn = true;
            }
        }
    }

    pub(super) fn has(&self, phase: Phase) -> bool {
        self.0.get(phase as usize) == Some(&true)
    }

    /// In chronological order.
    pub(super) fn phases(&self) -> impl Iterator<Item = Phase> {
        Phase::ALL.into_iter().filter(|phase| self.has(*phase))
    }
}

/// The common prefix of all labels, which is printed once, and the rest of each. The prefix is at least an origin, and
/// ends before a slash.
pub(super) fn labels<'a>(bars: &[&'a Bar]) -> (&'a str, Vec<&'a str>) {
    let first = bars.first().map_or("", |bar| &*bar.label);
    let same = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let shared = bars.iter().fold(first.len(), |shared, bar| shared.min(same(first, &bar.label)));
    let prefix = first.get(..shared).and_then(|shared| shared.get(..shared.rfind('/')?)).unwrap_or("");
    let has_host = prefix.split_once("://").is_some_and(|(_, rest)| !rest.is_empty());
    let prefix = if has_host { prefix } else { "" };
    (prefix, bars.iter().map(|bar| bar.label.get(prefix.len()..).unwrap_or(&bar.label)).collect())
}

/// The columns of a text on a terminal; a wide character has two.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// Splits the text into lines of at most `columns_max` columns.
pub(super) fn wrap(text: &str, columns_max: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (at, c) in text.char_indices() {
        let wide = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if used + wide > columns_max && used > 0 {
            lines.extend(text.get(start..at));
            (start, used) = (at, 0);
        }
        used += wide;
    }
    lines.extend(text.get(start..));
    lines
}

fn longest(shares: &[f32; Phase::COUNT]) -> Option<Phase> {
    let (phase, share) = Phase::ALL.into_iter().zip(*shares).max_by(|a, b| a.1.total_cmp(&b.1))?;
    // A tiny remainder at the end of a bar must not take a cell.
    (share >= 0.5 || (share > 0.0 && shares.iter().sum::<f32>() >= 0.5)).then_some(phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_tell_what_differs() {
        let named = |names: &[&str]| -> Vec<Bar> {
            names.iter().map(|name| Bar::new(0, name, "200", true, 0.0)).collect()
        };
        let check = |names: &[&str], prefix: &str, left: &[&str]| {
            let bars = named(names);
            assert_eq!(labels(&bars.iter().collect::<Vec<_>>()), (prefix, left.to_vec()));
        };
        check(&["http://a/x/1", "http://a/x/22"], "http://a/x", &["/1", "/22"]);
        check(&["http://a/", "http://a/b"], "http://a", &["/", "/b"]);
        check(&["http://a/b"], "http://a", &["/b"]);
        check(&["a/b", "a/c"], "", &["a/b", "a/c"]);
        check(&[], "", &[]);
    }

    #[test]
    fn labels_of_several_origins_keep_their_scheme() {
        for names in [
            ["http://127.0.0.1:8001/a", "http://127.0.0.1:8002/b"],
            ["http://a/", "https://a/"],
            ["http://a/", "http://ab/"],
            ["http://a.example/x/", "http://b.example/x/"],
        ] {
            let bars = names.map(|name| Bar::new(0, name, "200", true, 0.0));
            assert_eq!(labels(&bars.iter().collect::<Vec<_>>()), ("", names.to_vec()));
        }
    }

    #[test]
    fn wrapping_loses_nothing() {
        let check = |text: &str, lines: &[&str]| assert_eq!(wrap(text, 4), lines, "{text}");
        check("", &[""]);
        check("abcd", &["abcd"]);
        check("abcdefghi", &["abcd", "efgh", "i"]);
        check("\u{6f22}\u{5b57}\u{6f22}", &["\u{6f22}\u{5b57}", "\u{6f22}"]);
        assert_eq!(wrap("\u{6f22}\u{5b57}", 1), ["\u{6f22}", "\u{5b57}"]);
    }

    fn bar(start_s: f64, phases: &[(Phase, f64)]) -> Bar {
        let mut bar = Bar::new(0, "http://a/", "200", true, start_s);
        for (phase, seconds) in phases {
            bar.set(*phase, *seconds);
        }
        bar
    }

    #[test]
    fn ticks_stand_at_round_numbers() {
        let check = |span, max, expected: &[&str]| {
            let labels: Vec<String> = Axis::new(span, max).ticks().map(|(_, label)| label).collect();
            assert_eq!(labels, expected, "{span} s, {max} ticks");
        };
        check(2.4, 5, &["0", "0.5 s", "1.0 s", "1.5 s", "2.0 s"]);
        check(0.24, 5, &["0", "50 ms", "100 ms", "150 ms", "200 ms"]);
        check(10.0, 5, &["0", "2 s", "4 s", "6 s", "8 s", "10 s"]);
        check(0.0, 2, &["0", "0.5 s", "1.0 s"]);
        check(0.001, 2, &["0", "0.5 ms", "1.0 ms"]);
    }

    #[test]
    fn times_have_three_figures() {
        let texts = [0.0021, 0.2381, 2.381, 23.81, 238.1, 36_000.0, 1e9].map(seconds);
        assert_eq!(texts, ["2.1 ms", "238 ms", "2.381 s", "23.81 s", "238 s", "10.0 h", "11574 d"]);
    }

    #[test]
    fn lanes_are_as_many_as_were_in_flight() {
        let bars: Vec<Bar> = (0..10).map(|i| bar(f64::from(i), &[(Phase::Wait, 2.0)])).collect();
        assert_eq!(lanes(&bars).len(), 2);
        assert_eq!(in_flight(&bars, 11.0, 11), [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
    }

    #[test]
    fn waiting_for_a_place_takes_no_lane() {
        let bars = [bar(0.0, &[(Phase::Wait, 1.0)]), bar(0.0, &[(Phase::Blocked, 1.0), (Phase::Wait, 1.0)])];
        assert_eq!(lanes(&bars).len(), 1);
        assert_eq!(in_flight(&bars, 2.0, 2), [1, 1]);
    }

    #[test]
    fn cells_show_the_longest_phase_and_every_bar() {
        let long = bar(0.0, &[(Phase::Connect, 1.0), (Phase::Wait, 3.0), (Phase::Receive, 0.2)]);
        let (c, w) = (Some(Phase::Connect), Some(Phase::Wait));
        assert_eq!(cells(&[&long], 5.0, 5, Rows::Bars), [c, w, w, w, None]);
        let short = bar(3.0, &[(Phase::Wait, 0.001)]);
        assert_eq!(cells(&[&short], 5.0, 5, Rows::Bars), [None, None, None, w, None]);
        let mut failed = short.clone();
        failed.ok = false;
        assert_eq!(cells(&[&failed], 5.0, 5, Rows::Lanes), [None, None, None, Some(Phase::Failed), None]);
        let nothing = bar(5.0, &[]);
        assert_eq!(cells(&[&nothing], 5.0, 5, Rows::Bars).iter().flatten().count(), 1);
        assert!(cells(&[&long], 5.0, 0, Rows::Bars).is_empty());
    }
}
