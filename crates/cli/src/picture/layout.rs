//! Where things go in a picture, whatever it is drawn with: ticks, lanes, cells, and the curve of what is in flight.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Bar, Phase};

/// The marks of a time axis.
pub(super) struct Axis {
    /// Seconds that the whole width stands for.
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

    /// Each mark: where it stands, as a part of the width, and what it says.
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

/// A time for a person: three figures and a unit.
pub(super) fn seconds(s: f64) -> String {
    match s {
        s if s < 0.999_5 => format!("{:.*} ms", if s < 0.099_95 { 1 } else { 0 }, s * 1e3),
        s if s < 99.995 => format!("{s:.*} s", if s < 9.999_5 { 3 } else { 2 }),
        s => format!("{s:.0} s"),
    }
}

/// Packs bars into lanes such that no two in a lane overlap: as few as there were ever in flight.
pub(super) fn lanes(bars: &[Bar]) -> Vec<Vec<&Bar>> {
    let mut order: Vec<&Bar> = bars.iter().collect();
    order.sort_by(|a, b| a.active_s().total_cmp(&b.active_s()));
    let mut lanes: Vec<Vec<&Bar>> = Vec::new();
    // Nanoseconds, because a heap needs a total order. The lowest free lane is taken, so that long-lived ones lie
    // at the top and the picture is the same for the same run.
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
        busy.push(Reverse((nanos(bar.end_s()), lane)));
    }
    lanes
}

/// The most requests in flight within each of `cells` equal stretches of the span.
pub(super) fn in_flight(bars: &[Bar], span_s: f64, cells: usize) -> Vec<u32> {
    let cell = |s: f64| ((s / span_s * cells as f64) as usize).min(cells.saturating_sub(1));
    let mut events: Vec<(f64, bool)> = Vec::with_capacity(bars.len() * 2);
    for bar in bars {
        events.push((bar.active_s(), true));
        events.push((bar.end_s(), false));
    }
    // An end comes before a start at the same moment: one took the other's place.
    events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut peaks = vec![0; cells];
    let (mut now, mut at) = (0_u32, 0);
    for (time, starts) in events {
        // What was in flight before this moment was so in every cell up to here, but not in one that begins here.
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

/// What fills each of `cells` equal stretches of the span: the phase that lasts longest within it.
///
/// Every bar gets at least one cell, however short it was. `blocked` says whether waiting for a place is drawn:
/// with a bar a row it is, in lanes others run meanwhile.
pub(super) fn cells(bars: &[&Bar], span_s: f64, cells: usize, blocked: bool) -> Vec<Option<Phase>> {
    let scale = cells as f64 / span_s;
    let mut shares = vec![[0_f32; Phase::COUNT]; cells];
    for (phase, from, to) in bars.iter().flat_map(|bar| bar.segments()) {
        if phase == Phase::Blocked && !blocked {
            continue;
        }
        let (from, to) = (from * scale, to * scale);
        let first = (from as usize).min(cells.saturating_sub(1));
        for (i, share) in shares.iter_mut().enumerate().take(to.ceil() as usize).skip(first) {
            let overlap = to.min(i as f64 + 1.0) - from.max(i as f64);
            if let Some(sum) = share.get_mut(phase as usize) {
                *sum += overlap as f32;
            }
        }
    }
    let mut drawn: Vec<Option<Phase>> = shares.iter().map(longest).collect();
    for bar in bars {
        // Less than half a cell rounds to nothing, except for a whole bar.
        let at = ((bar.active_s() * scale) as usize).min(cells.saturating_sub(1));
        if let Some(cell @ (None | Some(Phase::Blocked))) = drawn.get_mut(at) {
            let last = bar.segments().map(|(phase, ..)| phase).last();
            *cell = last.or(Some(Phase::Request));
        }
    }
    drawn
}

fn longest(shares: &[f32; Phase::COUNT]) -> Option<Phase> {
    let (phase, share) = Phase::ALL.into_iter().zip(*shares).max_by(|a, b| a.1.total_cmp(&b.1))?;
    // A sliver at the end of a bar would make it a cell too long.
    (share >= 0.5 || (share > 0.0 && shares.iter().sum::<f32>() >= 0.5)).then_some(phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(start_s: f64, phases: &[(Phase, f64)]) -> Bar {
        let mut bar = Bar::new("http://a/".into(), "200".into(), true, start_s);
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
        let texts = [0.0021, 0.2381, 2.381, 23.81, 238.1].map(seconds);
        assert_eq!(texts, ["2.1 ms", "238 ms", "2.381 s", "23.81 s", "238 s"]);
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
        assert_eq!(cells(&[&long], 5.0, 5, true), [c, w, w, w, None]);
        let short = bar(3.0, &[(Phase::Wait, 0.001)]);
        assert_eq!(cells(&[&short], 5.0, 5, true), [None, None, None, w, None]);
        let nothing = bar(5.0, &[]);
        assert_eq!(cells(&[&nothing], 5.0, 5, true).iter().flatten().count(), 1);
        assert!(cells(&[&long], 5.0, 0, true).is_empty());
    }
}
