//! A chart as one self-contained SVG file: no script, no font, no address. Safe to open whatever a server sent.

use std::fmt::Write as _;

use overlapped_proto::display::is_unsafe;

use super::layout::{self, Axis, Rows, seconds};
use super::{BARS_MAX, Bar, Chart, Phase};

/// Width of the picture, and what is left free at its right, in pixels.
const WIDTH: usize = 1_200;
const RIGHT: usize = 90;
/// Height of the line of one row, and of one lane.
const ROW: usize = 22;
const LANE: usize = 6;
/// Lanes drawn; the curve above them counts what is beyond.
const LANES_MAX: usize = 100;
const CURVE: usize = 140;
/// Where the plot begins, below the title and the legend.
const TOP: usize = 116;

/// Draws a chart under a title.
pub(crate) fn draw(chart: &Chart, title: &str) -> String {
    let mut page = Page::new(chart);
    let bottom = if chart.bars.len() <= BARS_MAX { page.bars() } else { page.lanes() };
    let left_out = chart.left_out().unwrap_or_default();
    page.text(page.left, bottom + 24, "dim", &left_out);
    let height = bottom + 40;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text x=\"24\" y=\"36\" class=\"title\">{0}</text>\n{1}</svg>\n",
        escape(&ending(title, 100)),
        page.out,
    )
}

/// A picture while it is drawn.
struct Page<'a> {
    chart: &'a Chart,
    span_s: f64,
    /// Where the time axis begins, and how long it is.
    left: usize,
    plot: usize,
    out: String,
}

impl<'a> Page<'a> {
    fn new(chart: &'a Chart) -> Self {
        let left = if chart.bars.len() <= BARS_MAX { 300 } else { 110 };
        let span_s = chart.span_s().max(1e-9);
        Self { chart, span_s, left, plot: WIDTH - left - RIGHT, out: String::new() }
    }

    /// A line a row. Returns where it ends.
    fn bars(&mut self) -> usize {
        let bottom = TOP + self.chart.bars.len() * ROW + 4;
        let (prefix, names) = layout::labels(&self.chart.bars);
        self.head(prefix);
        self.grid(bottom);
        for (i, (bar, name)) in self.chart.bars.iter().zip(names).enumerate() {
            let y = TOP + i * ROW + 4;
            let _ = write!(self.out, "<g><title>{}</title>", escape(&tooltip(bar)));
            let class = if bar.ok { "end" } else { "end bad" };
            self.text(self.left - 62, y + 11, class, &ending(name, 30));
            let is_status = bar.result.len() <= 3;
            self.text(self.left - 12, y + 11, class, if is_status { &bar.result } else { "error" });
            for (phase, from, to) in bar.segments() {
                self.segment(phase, from, to, y);
            }
            self.told(bar, y + 11);
            self.out.push_str("</g>\n");
        }
        bottom
    }

    /// Beside a bar: how long it took, and what went wrong. Inside the picture even at its right edge.
    fn told(&mut self, bar: &Bar, y: usize) {
        let end = (self.x(bar.end_s()) as usize).min(WIDTH - RIGHT) + 6;
        let took = seconds(bar.took_s());
        match bar.ok {
            true => self.text(end, y, "dim", &took),
            false => {
                let text = format!("{took} ✗ {}", bar.result);
                let fits = end + text.chars().count() * 8 < WIDTH;
                // Left of the bar's end it would be unreadable on the bar itself: it stands on paper.
                let (x, class) = if fits { (end, "bad") } else { (WIDTH - 8, "bad end on-bar") };
                self.text(x, y, class, &text);
            }
        }
    }

    fn segment(&mut self, phase: Phase, from: f64, to: f64, y: usize) {
        let (x, end) = (self.x(from), self.x(to));
        let (top, tall) = shape(phase, y, ROW - 8);
        // Half a pixel is the least that is seen.
        let wide = (end - x).max(0.5);
        let class = class(phase);
        let _ = write!(
            self.out,
            "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{top:.1}\" width=\"{wide:.2}\" height=\"{tall:.1}\"/>"
        );
    }

    /// The curve of what was in flight, and below it the rows packed into lanes. Returns where it ends.
    fn lanes(&mut self) -> usize {
        let lanes = layout::lanes(&self.chart.bars);
        let first = TOP + CURVE + 16;
        let bottom = first + lanes.len().min(LANES_MAX) * LANE + 4;
        self.head("");
        self.grid(bottom);
        self.curve();
        let drawn = lanes.iter().take(LANES_MAX);
        let drawn: Vec<_> =
            drawn.map(|lane| layout::cells(lane, self.span_s, self.plot, Rows::Lanes)).collect();
        // One path a phase: a rectangle a row would make the file grow with the list.
        for phase in self.chart.phases() {
            let mut path = String::new();
            for (i, cells) in drawn.iter().enumerate() {
                let (top, tall) = shape(phase, first + i * LANE, LANE - 1);
                let mut x = self.left;
                for run in cells.chunk_by(|a, b| a == b) {
                    if run.first() == Some(&Some(phase)) {
                        let _ = write!(path, "M{x} {top:.1}h{0}v{tall:.1}h-{0}z", run.len());
                    }
                    x += run.len();
                }
            }
            let _ = writeln!(self.out, "<path class=\"{}\" d=\"{path}\"/>", class(phase));
        }
        let count = if lanes.len() > LANES_MAX {
            format!("{LANES_MAX} of {}", lanes.len())
        } else {
            lanes.len().to_string()
        };
        self.text(self.left - 12, first + 10, "dim end", &format!("{count} lanes"));
        bottom
    }

    fn curve(&mut self) {
        let peaks = layout::in_flight(&self.chart.bars, self.span_s, self.plot);
        let peak = peaks.iter().copied().max().unwrap_or(0).max(1);
        let bottom = TOP + CURVE;
        let mut path = format!("M{} {bottom}", self.left);
        let mut x = self.left;
        for run in peaks.chunk_by(|a, b| a == b) {
            let count = run.first().copied().unwrap_or(0);
            let y = bottom as f64 - f64::from(count) / f64::from(peak) * (CURVE - 10) as f64;
            x += run.len();
            let _ = write!(path, "V{y:.1}H{x}");
        }
        let _ = writeln!(self.out, "<path class=\"curve\" d=\"{path}V{bottom}z\"/>");
        self.text(self.left - 12, TOP + 14, "dim end", &peak.to_string());
        self.text(self.left - 12, bottom, "dim end", "in flight");
    }

    /// What is told of the whole, and what the shapes mean.
    fn head(&mut self, prefix: &str) {
        let failed = self.chart.bars.iter().filter(|bar| !bar.ok).count();
        let took = seconds(self.chart.span_s());
        let of = if prefix.is_empty() { String::new() } else { format!(" · {}", ending(prefix, 100)) };
        self.text(24, 58, "dim", &format!("{} rows in {took}, {failed} failed{of}", self.chart.bars.len()));
        let mut x = self.left;
        for phase in self.chart.phases() {
            let (top, tall) = shape(phase, 74, 12);
            let class = class(phase);
            let _ = write!(
                self.out,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{top:.1}\" width=\"20\" height=\"{tall:.1}\"/>"
            );
            self.text(x + 26, 84, "dim", phase.name());
            x += 26 + phase.name().len() * 7 + 22;
        }
    }

    /// The marks of the time axis, down to `bottom`.
    fn grid(&mut self, bottom: usize) {
        for (share, name) in Axis::new(self.span_s, 8).ticks() {
            let x = self.x(share * self.span_s);
            let _ = writeln!(self.out, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>");
            self.text(x as usize, TOP - 6, "dim mid", &name);
        }
    }

    fn x(&self, s: f64) -> f64 {
        self.left as f64 + s / self.span_s * self.plot as f64
    }

    fn text(&mut self, x: usize, y: usize, class: &str, text: &str) {
        let _ = writeln!(self.out, "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{}</text>", escape(text));
    }
}

/// Where a phase lies within the height of its bar: what waits is thin, what works is tall. So phases can be told
/// apart without their colours.
fn shape(phase: Phase, y: usize, height: usize) -> (f64, f64) {
    let share = match phase {
        Phase::Blocked => 0.12,
        Phase::Earlier => 0.25,
        Phase::Request | Phase::Wait => 0.5,
        Phase::Dns | Phase::Connect | Phase::Tls | Phase::Send => 0.8,
        Phase::Receive | Phase::Failed => 1.0,
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
        Phase::Failed => "failed",
    }
}

/// Colours that the common kinds of colour blindness keep apart, on paper and on a dark screen.
const STYLE: &str = "\
text{font:12px system-ui,'DejaVu Sans',sans-serif;fill:#1c2430}\
.title{font-size:18px;font-weight:600}.dim{fill:#66707d}.bad{fill:#b3261e;font-weight:600}\
.end{text-anchor:end}.mid{text-anchor:middle}.on-bar{paint-order:stroke;stroke:#fff;stroke-width:4px}.failed{fill:#d3312a;stroke:#d3312a;stroke-width:1.5}\
.paper{fill:#fff}.grid{stroke:#e3e7ec;stroke-width:1}.curve{fill:#c9dcee;stroke:#3f7fb5;stroke-width:1}\
.blocked{fill:#a3adb8}.earlier{fill:#b8860b}.dns{fill:#117a6f}.connect{fill:#e08a1e}.tls{fill:#8e4fb8}\
.send{fill:#5b6673}.request,.wait{fill:#8cb8de}.receive{fill:#1f5f99}\
@media(prefers-color-scheme:dark){text{fill:#e4e8ee}.dim{fill:#9aa5b1}.bad{fill:#ff8a80}.paper{fill:#14181d}.on-bar{stroke:#14181d}\
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

/// Text for XML. Control characters have no place in it at all, and what would reorder the text is escaped.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            c if is_unsafe(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
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
            let mut bar = Bar::new(&format!("{label}{i}"), "200", true, i as f64 * 0.01);
            bar.set(Phase::Wait, 0.5);
            bar.set(Phase::Receive, 0.4);
            chart.add(Some(bar));
        }
        chart.since_start()
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
