//! Draws a chart as a self-contained SVG file without scripts, fonts or links. All text is escaped, so that the file is
//! safe to open.

use std::fmt::Write as _;

use overlapped_proto::plural::counted;
use overlapped_proto::sanitize::is_unsafe;

use super::layout::{self, Axis, Drawn, Rows, columns, seconds};
use super::{Bar, Chart, Phase};

/// The width of the picture and its right margin, in pixels.
const WIDTH: usize = 1_200;
const RIGHT: usize = 90;
/// The left margin.
const MARGIN: usize = 24;
/// The heights of a row, of a line of a long label, and of a lane.
const ROW: usize = 22;
const LINE: usize = 15;
const LANE: usize = 6;
/// The columns for a label beside its bar; a longer label is placed above, wrapped to the second number of columns.
const LABEL_COLUMNS: usize = 40;
const LINE_COLUMNS: usize = 160;
/// The most columns of the common prefix in the header.
const PREFIX_COLUMNS: usize = 110;
/// The most lanes that are drawn; the curve above them counts all requests.
const LANES_MAX: usize = 100;
const CURVE: usize = 140;
/// The top of the plot, below the title and the legend.
const TOP: usize = 116;

/// Draws a chart under a title.
pub(crate) fn draw(chart: &Chart, title: &str) -> String {
    let (bars, told) = chart.with_bars();
    let (mut prefix, mut names) = layout::labels(&bars);
    if columns(prefix) > PREFIX_COLUMNS {
        (prefix, names) = ("", bars.iter().map(|bar| bar.label.as_str()).collect());
    }
    let mut page = Page::new(chart, &bars, &names);
    let mut bottom = TOP;
    if let Some(told) = told {
        bottom = page.lanes(bottom) + LINE;
        page.text(page.left, bottom, "dim", &told);
        bottom += 8;
    }
    bottom = page.bars(&bars, &names, bottom);
    // The grid and the header depend on the height, which is known only now.
    let drawn = std::mem::take(&mut page.out);
    page.head(prefix);
    page.grid(bottom);
    page.out.push_str(&drawn);
    let left_out = chart.left_out().unwrap_or_default();
    page.text(MARGIN, bottom + 24, "dim", &left_out);
    let height = bottom + 40;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text x=\"{MARGIN}\" y=\"36\" class=\"title\">{1}</text>\n{2}</svg>\n",
        escape(title),
        escape(&ending(title, 110)),
        page.out,
    )
}

/// The state of the drawing.
struct Page<'a> {
    chart: &'a Chart,
    span_s: f64,
    /// The left end and the length of the time axis.
    labels: usize,
    left: usize,
    plot: usize,
    drawn: Drawn,
    out: String,
}

impl<'a> Page<'a> {
    fn new(chart: &'a Chart, bars: &[&Bar], names: &[&str]) -> Self {
        let numbers = bars.iter().map(|bar| bar.row.to_string().len()).max().unwrap_or(0);
        let beside = names.iter().map(|name| columns(name)).filter(|length| *length <= LABEL_COLUMNS);
        let labels = MARGIN + wide(numbers) + 14;
        let left = (labels + wide(beside.max().unwrap_or(0)) + 64).max(110);
        let span_s = chart.span_s().max(1e-9);
        let plot = WIDTH - left - RIGHT;
        Self { chart, span_s, labels, left, plot, drawn: Drawn::default(), out: String::new() }
    }

    /// Draws one row per line from `top` on. Returns the bottom.
    fn bars(&mut self, bars: &[&Bar], names: &[&str], top: usize) -> usize {
        let mut y = top + 4;
        for (bar, name) in bars.iter().zip(names) {
            let _ = write!(self.out, "<g><title>{}</title>", escape(&tooltip(bar)));
            let class = if bar.ok { "label" } else { "label bad" };
            self.text(MARGIN, y + 11, "label dim", &bar.row.to_string());
            if columns(name) <= LABEL_COLUMNS {
                self.text(self.labels, y + 11, class, name);
            } else {
                for line in layout::wrap(name, LINE_COLUMNS) {
                    self.text(self.labels, y + 11, class, line);
                    y += LINE;
                }
            }
            let is_status = bar.result.len() <= 3;
            let class = if bar.ok { "label end" } else { "label end bad" };
            self.text(self.left - 12, y + 11, class, if is_status { &bar.result } else { "error" });
            for (phase, from, to) in bar.segments() {
                self.segment(phase, from, to, y);
            }
            self.told(bar, y + 11);
            self.out.push_str("</g>\n");
            y += ROW;
        }
        y
    }

    /// Writes the duration and the error beside a bar. The text stays within the right edge.
    fn told(&mut self, bar: &Bar, y: usize) {
        let end = (self.x(bar.end_s()) as usize).min(WIDTH - RIGHT) + 6;
        let took = layout::took(bar);
        match bar.ok {
            true => self.text(end, y, "label dim", &took),
            false => {
                let text = format!("{took} ✗ {}", bar.result);
                let length = wide(columns(&text));
                let begin = (self.x(bar.start_s) as usize).saturating_sub(6);
                let (x, class) = if end + length < WIDTH {
                    (end, "label bad")
                } else if begin > self.left + length {
                    (begin, "label bad end")
                } else {
                    // The bar fills the line: the text is drawn over it, with a background.
                    (WIDTH - 8, "label bad end on-bar")
                };
                self.text(x, y, class, &text);
            }
        }
    }

    fn segment(&mut self, phase: Phase, from: f64, to: f64, y: usize) {
        self.drawn.note([phase]);
        let (x, end) = (self.x(from), self.x(to));
        let (top, tall) = shape(phase, y, ROW - 8);
        // Half a pixel is the smallest visible width.
        let wide = (end - x).max(0.5);
        let class = class(phase);
        let _ = write!(
            self.out,
            "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{top:.1}\" width=\"{wide:.2}\" height=\"{tall:.1}\"/>"
        );
    }

    /// Draws the curve of the requests in flight from `top` on, below it the failures and the lanes. Returns the bottom.
    fn lanes(&mut self, top: usize) -> usize {
        let chart = self.chart;
        self.curve();
        let mut y = top + CURVE + 16;
        if chart.failed() > 0 {
            let marks = layout::failures(&chart.bars, self.span_s, self.plot);
            self.paths(&[marks], y, 2 * LANE);
            self.text(self.left - 12, y + 9, "dim end", "failed");
            y += 2 * LANE + 6;
        }
        let lanes = layout::lanes(&chart.bars);
        let drawn = lanes.iter().take(LANES_MAX);
        let drawn: Vec<_> =
            drawn.map(|lane| layout::cells(lane, self.span_s, self.plot, Rows::Lanes)).collect();
        self.paths(&drawn, y, LANE);
        let count = if lanes.len() > LANES_MAX {
            format!("{LANES_MAX} of {}", lanes.len())
        } else {
            lanes.len().to_string()
        };
        self.text(self.left - 12, y + 10, "dim end", &format!("{count} lanes"));
        // The label beside the lanes takes at least one line.
        y + (drawn.len() * LANE + 4).max(LINE)
    }

    /// Draws lanes of `height` from `top` on, as one path per phase. A rectangle per row would let the file grow with the
    /// list.
    fn paths(&mut self, lanes: &[Vec<Option<Phase>>], top: usize, height: usize) {
        for phase in Phase::ALL {
            let mut path = String::new();
            for (i, cells) in lanes.iter().enumerate() {
                let (top, tall) = shape(phase, top + i * height, height - 1);
                let mut x = self.left;
                for run in cells.chunk_by(|a, b| a == b) {
                    if run.first() == Some(&Some(phase)) {
                        let _ = write!(path, "M{x} {top:.1}h{0}v{tall:.1}h-{0}z", run.len());
                    }
                    x += run.len();
                }
            }
            if !path.is_empty() {
                self.drawn.note([phase]);
                let _ = writeln!(self.out, "<path class=\"{}\" d=\"{path}\"/>", class(phase));
            }
        }
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

    /// Writes the totals and the legend.
    fn head(&mut self, prefix: &str) {
        let (rows, failed, took) = (self.chart.rows(), self.chart.failed(), seconds(self.chart.span_s()));
        let of = if prefix.is_empty() { String::new() } else { format!(" · {prefix}") };
        let told = format!("{} in {took}, {failed} failed{of}", counted(rows, "row"));
        self.text(MARGIN, 58, "label dim", &told);
        let mut x = MARGIN;
        let phases: Vec<_> = self.drawn.phases().collect();
        for phase in phases {
            let (top, tall) = shape(phase, 74, 12);
            let class = class(phase);
            let _ = write!(
                self.out,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{top:.1}\" width=\"20\" height=\"{tall:.1}\"/>"
            );
            self.text(x + 26, 84, "label dim", phase.name());
            x += 26 + wide(phase.name().len()) + 18;
        }
    }

    /// Draws the grid of the time axis, down to `bottom`.
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

/// The width of a label of `columns` columns, in pixels.
const fn wide(columns: usize) -> usize {
    columns * 67 / 10
}

/// The offset and height of a phase within its bar: waiting phases are thin, working phases are tall, so that they
/// differ without colour.
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

/// Colours that are distinct with the common kinds of colour blindness, in light and dark mode.
const STYLE: &str = "\
text{font:12px system-ui,'DejaVu Sans',sans-serif;fill:#1c2430}\
.label{font:11px 'DejaVu Sans Mono',Menlo,Consolas,monospace}.title{font-size:18px;font-weight:600}.dim{fill:#66707d}.bad{fill:#b3261e;font-weight:600}\
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

/// The end of a text in at most `width` characters: URLs of one host differ at their ends.
fn ending(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    ['…'].into_iter().chain(text.chars().skip(length - width + 1)).collect()
}

/// Escapes text for XML and HTML. Control characters, which XML does not allow, and bidirectional controls are written as `\u{…}`.
pub(crate) fn escape(text: &str) -> String {
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
            let mut bar = Bar::new(i as u64, &format!("{label}{i}"), "200", true, i as f64 * 0.01);
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
    fn no_label_is_cut_and_the_legend_tells_what_is_drawn() {
        let long = format!("http://a/{}", "path/".repeat(300));
        let mut chart = chart(1, "http://b/");
        let mut failed = Bar::new(41, &long, "body.content_encoding", false, 0.0);
        failed.set(Phase::Dns, 0.9);
        chart.add(Some(failed));
        let drawn = draw(&chart.since_start(), "run");
        let text =
            |line: &str| line.split_once("class=\"label bad\">").map(|(_, text)| text.replace("</text>", ""));
        let told: String = drawn.lines().filter_map(text).collect();
        assert!(told.contains(&long), "{told}");
        assert!(drawn.contains("body.content_encoding</text>"), "{drawn}");
        let legend: Vec<_> =
            Phase::ALL.into_iter().filter(|phase| drawn.contains(&format!(">{}<", phase.name()))).collect();
        assert_eq!(legend, [Phase::Dns, Phase::Wait, Phase::Receive]);
        assert!(drawn.contains(">41</text>"));
    }

    #[test]
    fn failures_and_the_slowest_rows_are_drawn_among_many_lanes() {
        let mut chart = Chart::default();
        for row in 0..5_000 {
            let mut bar = Bar::new(row, &format!("http://a/{row}/"), "200", row != 4_321, 0.0);
            bar.set(Phase::Wait, if row == 3_210 { 2.0 } else { 1.0 });
            chart.add(Some(bar));
        }
        let drawn = draw(&chart.since_start(), "run");
        assert!(drawn.contains(">/4321/<") && drawn.contains(">/3210/<"));
        assert!(drawn.contains("<path class=\"failed\""));
    }

    #[test]
    fn size_does_not_grow_with_the_list() {
        let drawn = draw(&chart(50_000, "http://a/"), "run");
        assert!(drawn.len() < 2_000_000, "{}", drawn.len());
        assert!(drawn.contains("50000 rows"));
    }
}
