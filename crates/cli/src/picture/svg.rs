//! A chart as one self-contained SVG file: no script, no font, no address. Safe to open whatever a server sent.

use std::fmt::Write as _;

use super::layout::{self, Axis, seconds};
use super::{BARS_MAX, Bar, Chart, Phase};

/// Width of the picture, and of its parts, in pixels.
const WIDTH: usize = 1_200;
const LEFT: usize = 300;
const PLOT: usize = 810;
/// Height of the line of one row, and of one lane.
const ROW: usize = 22;
const LANE: usize = 6;
/// Lanes drawn; the curve above them counts what is beyond.
const LANES_MAX: usize = 100;
const CURVE: usize = 140;
/// Where the plot begins, below the title and the legend.
const TOP: usize = 112;

/// Draws a chart under a title.
pub(crate) fn draw(chart: &Chart, title: &str) -> String {
    let span_s = chart.span_s().max(1e-9);
    let (body, height) =
        if chart.bars.len() <= BARS_MAX { bars(chart, span_s) } else { lanes(chart, span_s) };
    let mut out = head(chart, title, height + 40);
    out.push_str(&body);
    let left_out = chart.left_out().unwrap_or_default();
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\" class=\"dim\">{left_out}</text>\n</svg>", height + 24);
    out
}

/// A line a row. Returns what is drawn, and where it ends.
fn bars(chart: &Chart, span_s: f64) -> (String, usize) {
    let height = TOP + chart.bars.len() * ROW + 8;
    let mut out = grid(span_s, TOP, height);
    for (i, bar) in chart.bars.iter().enumerate() {
        let y = TOP + i * ROW + 4;
        let class = if bar.ok { "label" } else { "label bad" };
        let label = escape(&ending(&bar.label, 34));
        let result = escape(&bar.result);
        let _ = writeln!(
            out,
            "<g><title>{}</title>\
             <text x=\"{}\" y=\"{}\" class=\"{class}\" text-anchor=\"end\">{label}</text>\
             <text x=\"{}\" y=\"{}\" class=\"{class}\" text-anchor=\"end\">{}</text>",
            escape(&tooltip(bar)),
            LEFT - 64,
            y + 11,
            LEFT - 12,
            y + 11,
            if result.len() > 6 { "error" } else { &result },
        );
        for (phase, from, to) in bar.segments() {
            rectangle(&mut out, phase, from / span_s, to / span_s, y, ROW - 8);
        }
        let end = LEFT as f64 + bar.end_s() / span_s * PLOT as f64 + 6.0;
        let took = seconds(bar.end_s() - bar.start_s);
        let fault = if bar.ok { String::new() } else { format!(" ✗ {result}") };
        let (x, anchor) = if end > (WIDTH - 90) as f64 && !bar.ok { (end - 12.0, "end") } else { (end, "start") };
        let _ = writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{}\" class=\"{}\" text-anchor=\"{anchor}\">{took}{fault}</text></g>",
            y + 11,
            if bar.ok { "dim" } else { "bad" },
        );
    }
    (out, height)
}

/// The curve of what was in flight, and below it the rows packed into lanes.
fn lanes(chart: &Chart, span_s: f64) -> (String, usize) {
    let lanes = layout::lanes(&chart.bars);
    let first_lane = TOP + CURVE + 16;
    let height = first_lane + lanes.len().min(LANES_MAX) * LANE + 4;
    let mut out = grid(span_s, TOP, height);
    curve(&mut out, &layout::in_flight(&chart.bars, span_s, PLOT));
    let count = match lanes.len() {
        n if n > LANES_MAX => format!("{LANES_MAX} of {n} lanes"),
        n => format!("{n} lanes"),
    };
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" class=\"dim\" text-anchor=\"end\">{count}</text>",
        LEFT - 12,
        first_lane + 10
    );
    // One path a phase: a rectangle a row would make the file grow with the list.
    let drawn: Vec<_> = lanes.iter().take(LANES_MAX).map(|lane| layout::cells(lane, span_s, PLOT, false)).collect();
    for phase in Phase::ALL {
        let mut path = String::new();
        for (i, cells) in drawn.iter().enumerate() {
            let mut x = LEFT;
            for run in cells.chunk_by(|a, b| a == b) {
                if run.first() == Some(&Some(phase)) {
                    let (top, tall) = shape(phase, first_lane + i * LANE, LANE - 1);
                    let _ = write!(path, "M{x} {top}h{}v{tall}h-{}z", run.len(), run.len());
                }
                x += run.len();
            }
        }
        if !path.is_empty() {
            let _ = writeln!(out, "<path class=\"{}\" d=\"{path}\"/>", class(phase));
        }
    }
    (out, height)
}

fn curve(out: &mut String, peaks: &[u32]) {
    let peak = peaks.iter().copied().max().unwrap_or(0).max(1);
    let bottom = TOP + CURVE;
    let mut path = format!("M{LEFT} {bottom}");
    let mut x = LEFT;
    for run in peaks.chunk_by(|a, b| a == b) {
        let count = run.first().copied().unwrap_or(0);
        let y = bottom as f64 - f64::from(count) / f64::from(peak) * (CURVE - 10) as f64;
        x += run.len();
        let _ = write!(path, "V{y:.1}H{x}");
    }
    let _ = writeln!(
        out,
        "<path class=\"curve\" d=\"{path}V{bottom}z\"/>\
         <text x=\"{0}\" y=\"{1}\" class=\"dim\" text-anchor=\"end\">{peak}</text>\
         <text x=\"{0}\" y=\"{bottom}\" class=\"dim\" text-anchor=\"end\">in flight</text>",
        LEFT - 12,
        TOP + 16,
    );
}

fn head(chart: &Chart, title: &str, height: usize) -> String {
    let failed = chart.bars.iter().filter(|bar| !bar.ok).count();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text x=\"24\" y=\"36\" class=\"title\">{0}</text>\n\
         <text x=\"24\" y=\"58\" class=\"dim\">{1} rows in {2}, {failed} failed</text>\n",
        escape(&ending(title, 100)),
        chart.bars.len(),
        seconds(chart.span_s()),
    );
    let mut x = LEFT;
    for phase in Phase::ALL {
        if chart.bars.iter().any(|bar| bar.length(phase) > 0.0) {
            let (top, tall) = shape(phase, 74, 12);
            let _ = write!(
                out,
                "<rect class=\"{}\" x=\"{x}\" y=\"{top}\" width=\"20\" height=\"{tall}\"/>\
                 <text x=\"{}\" y=\"84\" class=\"dim\">{}</text>",
                class(phase),
                x + 26,
                phase.name()
            );
            x += 26 + phase.name().len() * 7 + 22;
        }
    }
    out.push('\n');
    out
}

/// The marks of the time axis, from `top` to `bottom`.
fn grid(span_s: f64, top: usize, bottom: usize) -> String {
    let mut out = String::new();
    for (share, name) in Axis::new(span_s, 8).ticks() {
        let x = LEFT as f64 + share * PLOT as f64;
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{x:.1} {top}V{bottom}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" class=\"dim\" text-anchor=\"middle\">{name}</text>",
            top - 6
        );
    }
    out
}

fn rectangle(out: &mut String, phase: Phase, from: f64, to: f64, y: usize, height: usize) {
    let x = LEFT as f64 + from * PLOT as f64;
    // Half a pixel is the least that is seen.
    let width = ((to - from) * PLOT as f64).max(0.5);
    let (top, tall) = shape(phase, y, height);
    let _ = write!(
        out,
        "<rect class=\"{}\" x=\"{x:.2}\" y=\"{top}\" width=\"{width:.2}\" height=\"{tall}\"/>",
        class(phase)
    );
}

/// Where a phase lies within the height of its bar: what waits is thin, what works is tall. So phases can be told
/// apart without their colours.
fn shape(phase: Phase, y: usize, height: usize) -> (f64, f64) {
    let share = match phase {
        Phase::Blocked => 0.12,
        Phase::Earlier => 0.25,
        Phase::Request | Phase::Wait => 0.5,
        Phase::Dns | Phase::Connect | Phase::Tls | Phase::Send => 0.8,
        Phase::Receive => 1.0,
    };
    let tall = height as f64 * share;
    (y as f64 + (height as f64 - tall) / 2.0, tall)
}

const fn class(phase: Phase) -> &'static str {
    match phase {
        Phase::Blocked => "blocked",
        Phase::Earlier => "earlier",
        Phase::Dns => "dns",
        Phase::Connect => "connect",
        Phase::Tls => "tls",
        Phase::Send => "send",
        Phase::Request => "request",
        Phase::Wait => "wait",
        Phase::Receive => "receive",
    }
}

/// Colours that the common kinds of colour blindness keep apart, on paper and on a dark screen.
const STYLE: &str = "\
text{font:12px system-ui,'DejaVu Sans',sans-serif;fill:#1c2430}\
.title{font-size:18px;font-weight:600}.dim{fill:#66707d}.bad{fill:#b3261e;font-weight:600}\
.paper{fill:#fff}.grid{stroke:#e3e7ec;stroke-width:1}.curve{fill:#c9dcee;stroke:#3f7fb5;stroke-width:1}\
.blocked{fill:#a3adb8}.earlier{fill:#b8860b}.dns{fill:#117a6f}.connect{fill:#e08a1e}.tls{fill:#8e4fb8}\
.send{fill:#5b6673}.request,.wait{fill:#8cb8de}.receive{fill:#1f5f99}\
@media(prefers-color-scheme:dark){text{fill:#e4e8ee}.dim{fill:#9aa5b1}.bad{fill:#ff8a80}.paper{fill:#14181d}\
.grid{stroke:#2a313a}.curve{fill:#24415c;stroke:#6aa9dd}.receive{fill:#3d8bd1}.wait,.request{fill:#5a7f9f}}";

fn tooltip(bar: &Bar) -> String {
    let mut text = format!("{}\n{}", bar.label, bar.result);
    for (phase, from, to) in bar.segments() {
        let _ = write!(text, "\n{} {}", phase.name(), seconds(to - from));
    }
    text
}

/// The end of a text, where URLs of one host differ, in at most `width` characters.
fn ending(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    ['…'].into_iter().chain(text.chars().skip(length - width + 1)).collect()
}

/// Text for XML. Control characters have no place in it at all.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(rows: usize, label: &str) -> Chart {
        let mut chart = Chart::default();
        for i in 0..rows {
            let mut bar = Bar::new(format!("{label}{i}"), "200".into(), true, i as f64 * 0.01);
            bar.set(Phase::Wait, 0.5);
            bar.set(Phase::Receive, 0.4);
            chart.add(Some(bar));
        }
        chart.from_start()
    }

    #[test]
    fn nothing_of_a_url_becomes_markup() {
        let drawn = draw(&chart(2, "http://a/<script>alert(1)</script>&\u{1}"), "<b>");
        assert!(!drawn.contains("<script") && !drawn.contains("<b>") && !drawn.contains('\u{1}'));
        assert!(drawn.contains("&lt;script&gt;"));
    }

    #[test]
    fn size_does_not_grow_with_the_list() {
        let drawn = draw(&chart(50_000, "http://a/"), "run");
        assert!(drawn.len() < 2_000_000, "{}", drawn.len());
        assert!(drawn.contains("50000 rows"));
    }
}
