//! Draws a chart as lines of text of a given width, for a terminal or a log.

use std::fmt::Write as _;

use super::layout::{self, Axis, Drawn, Rows, columns};
use super::{Bar, Chart, Phase};
use overlapped_proto::plural::{counted, plural};

/// The most lines of lanes; the curve above them counts all requests.
const LANES_MAX: usize = 24;
/// Lines of the curve.
const CURVE_LINES: usize = 6;
/// Glyphs from one eighth to a full line.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How text is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Characters in a line.
    pub(crate) width: usize,
    /// Colour beside the glyphs.
    pub(crate) colour: bool,
    /// The seconds of the whole width; `None`: the duration of the run. Charts that are compared use the same.
    pub(crate) span_s: Option<f64>,
}

/// Draws a chart.
pub(crate) fn draw(chart: &Chart, style: &Style) -> String {
    let span_s = style.span_s.unwrap_or_else(|| chart.span_s()).max(1e-9);
    let mut page = Page { style, span_s, drawn: Drawn::default(), out: String::new() };
    let (bars, told) = chart.with_bars();
    if bars.is_empty() {
        page.out.push_str("no row was started\n");
    } else {
        if let Some(told) = told {
            page.lanes(chart);
            page.say(&format!(
                "{}, {} failed; below them {told}",
                counted(chart.rows(), "row"),
                chart.failed()
            ));
        }
        page.bars(&bars);
        page.legend();
    }
    if let Some(text) = chart.left_out() {
        page.say(&text);
    }
    page.out
}

/// The state of the drawing.
struct Page<'a> {
    style: &'a Style,
    span_s: f64,
    drawn: Drawn,
    out: String,
}

/// The columns to the left of the bars.
struct Left {
    rows: usize,
    results: usize,
    names: usize,
}

impl Left {
    /// Columns for labels that fit; a longer label gets a line of its own above the bar.
    fn new(bars: &[&Bar], names: &[&str], width: usize) -> Self {
        let longest = |texts: &mut dyn Iterator<Item = usize>, most: usize| {
            texts.filter(|length| *length <= most).max().unwrap_or(0)
        };
        Self {
            rows: bars.iter().map(|bar| bar.row.to_string().len()).max().unwrap_or(0),
            results: longest(&mut bars.iter().map(|bar| columns(&bar.result)), width / 5),
            names: longest(&mut names.iter().map(|name| columns(name)), width * 3 / 10),
        }
    }

    fn width(&self) -> usize {
        self.rows + self.results + self.names + 6
    }
}

impl Page<'_> {
    /// Draws one line per row: number, result, label, bar, time.
    fn bars(&mut self, bars: &[&Bar]) {
        let width = self.style.width;
        let (prefix, names) = layout::labels(bars);
        let left = Left::new(bars, &names, width);
        let cells = width.saturating_sub(left.width() + 10).max(4);
        if !prefix.is_empty() {
            self.say(prefix);
        }
        axis(&mut self.out, &Axis::new(self.span_s, cells / 10), left.width(), cells);
        for (bar, name) in bars.iter().zip(names) {
            self.label(bar, name, &left);
            let cells = layout::cells(&[bar], self.span_s, cells, Rows::Bars);
            self.paint(&cells);
            let _ = writeln!(self.out, " {:>9}", layout::took(bar));
        }
    }

    /// Writes the number, result and label of a row, in lines of their own if they do not fit.
    fn label(&mut self, bar: &Bar, name: &str, left: &Left) {
        let Left { rows, results, names } = *left;
        let _ = write!(self.out, "{:>rows$}  ", bar.row);
        if columns(&bar.result) <= results && columns(name) <= names {
            self.padded(&bar.result, results + 2);
            self.padded(name, names + 2);
            return;
        }
        let indent = rows + 2;
        for (i, line) in
            layout::wrap(&format!("{}  {name}", bar.result), self.style.width - indent).iter().enumerate()
        {
            let indent = if i == 0 { 0 } else { indent };
            let _ = writeln!(self.out, "{:indent$}{}", "", line.trim_end());
        }
        let _ = write!(self.out, "{:1$}", "", left.width());
    }

    fn padded(&mut self, text: &str, width: usize) {
        let missing = width.saturating_sub(columns(text));
        let _ = write!(self.out, "{text}{:missing$}", "");
    }

    fn say(&mut self, text: &str) {
        say(&mut self.out, self.style.width, text);
    }

    /// Draws the curve of the requests in flight, and below it the lanes.
    fn lanes(&mut self, chart: &Chart) {
        let left = 10;
        let cells = self.style.width.saturating_sub(left + 1).max(8);
        curve(&mut self.out, &layout::in_flight(&chart.bars, self.span_s, cells), left);
        axis(&mut self.out, &Axis::new(self.span_s, cells / 10), left, cells);
        let lanes = layout::lanes(&chart.bars);
        for (i, lane) in lanes.iter().take(LANES_MAX).enumerate() {
            let cells = layout::cells(lane, self.span_s, cells, Rows::Lanes);
            self.lane(&format!("lane {}", i + 1), left, &cells);
        }
        if chart.failed() > 0 {
            self.lane("failed", left, &layout::failures(&chart.bars, self.span_s, cells));
        }
        let more = lanes.len().saturating_sub(LANES_MAX) as u64;
        if more > 0 {
            self.say(&format!("{more} more {} counted in the curve", plural(more, "lane is", "lanes are")));
        }
    }

    fn lane(&mut self, name: &str, left: usize, cells: &[Option<Phase>]) {
        let _ = write!(self.out, "{name:>0$}  ", left - 2);
        self.paint(cells);
        while self.out.ends_with(' ') {
            self.out.pop();
        }
        self.out.push('\n');
    }

    fn paint(&mut self, cells: &[Option<Phase>]) {
        self.drawn.note(cells.iter().copied().flatten());
        paint(&mut self.out, cells, self.style.colour);
    }

    /// Writes the legend of the phases.
    fn legend(&mut self) {
        let mut used = 0;
        for phase in self.drawn.phases() {
            let length = phase.name().len() + 2;
            if used > 0 && used + 3 + length > self.style.width {
                self.out.push('\n');
                used = 0;
            } else if used > 0 {
                self.out.push_str("   ");
                used += 3;
            }
            paint(&mut self.out, &[Some(phase)], self.style.colour);
            let _ = write!(self.out, " {}", phase.name());
            used += length;
        }
        self.out.push('\n');
    }
}

/// Writes wrapped text. A word that is wider than a line, such as a URL, is split.
pub(crate) fn say(out: &mut String, width: usize, text: &str) {
    let mut line = String::new();
    for word in text.split(' ').flat_map(|word| layout::wrap(word, width)) {
        if !line.is_empty() && columns(&line) + 1 + columns(word) > width {
            let _ = writeln!(out, "{line}");
            line.clear();
        }
        let blank = if line.is_empty() { "" } else { " " };
        line.extend([blank, word]);
    }
    let _ = writeln!(out, "{line}");
}

fn curve(out: &mut String, peaks: &[u32], left: usize) {
    let peak = peaks.iter().copied().max().unwrap_or(0).max(1);
    for line in (0..CURVE_LINES).rev() {
        let name = match line {
            line if line + 1 == CURVE_LINES => format!("{peak} ┤"),
            0 => "in flight ".to_owned(),
            _ => "│".to_owned(),
        };
        let _ = write!(out, "{name:>left$}");
        let eighths = |count: &u32| {
            let filled = (f64::from(*count) / f64::from(peak) * (CURVE_LINES * 8) as f64).ceil() as usize;
            EIGHTHS.get(filled.saturating_sub(line * 8).min(8)).copied().unwrap_or(' ')
        };
        let text: String = peaks.iter().map(eighths).collect();
        let _ = writeln!(out, "{}", text.trim_end());
    }
}

fn axis(out: &mut String, axis: &Axis, left: usize, cells: usize) {
    let (mut names, mut marks) = (String::new(), String::new());
    for (share, name) in axis.ticks() {
        let at = ((share * cells as f64).round() as usize).min(cells - 1);
        pad(&mut marks, at, '─');
        marks.push(if at == 0 { '├' } else { '┬' });
        let length = name.chars().count();
        let start = at.saturating_sub(length / 2).min(cells.saturating_sub(length));
        if names.is_empty() || names.chars().count() < start {
            pad(&mut names, start, ' ');
            names.push_str(&name);
        }
    }
    pad(&mut marks, cells, '─');
    let _ = writeln!(out, "{:left$}{names}\n{:left$}{marks}", "", "");
}

fn pad(text: &mut String, width: usize, with: char) {
    let missing = width.saturating_sub(text.chars().count());
    text.extend(std::iter::repeat_n(with, missing));
}

const fn glyph(phase: Phase) -> char {
    match phase {
        Phase::Blocked => '·',
        Phase::Earlier => '~',
        Phase::Dns => 'd',
        Phase::Connect => 'c',
        Phase::Tls => 't',
        Phase::Send => 's',
        Phase::Request => '━',
        Phase::Wait => '─',
        Phase::Receive => '█',
        Phase::Failed => '×',
    }
}

/// The colour of a phase in the terminal's ANSI palette.
const fn ansi(phase: Phase) -> u8 {
    match phase {
        Phase::Blocked => 90,
        Phase::Earlier => 33,
        Phase::Dns => 36,
        Phase::Connect => 32,
        Phase::Tls => 35,
        Phase::Send => 37,
        Phase::Request | Phase::Wait => 94,
        Phase::Receive => 34,
        Phase::Failed => 91,
    }
}

fn paint(out: &mut String, cells: &[Option<Phase>], colour: bool) {
    for run in cells.chunk_by(|a, b| a == b) {
        let text = |phase: &Option<Phase>| phase.map_or(' ', glyph);
        match run.first().copied().flatten().filter(|_| colour) {
            Some(phase) => {
                let _ = write!(out, "\x1b[{}m", ansi(phase));
                out.extend(run.iter().map(text));
                out.push_str("\x1b[0m");
            }
            None => out.extend(run.iter().map(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(rows: usize) -> Chart {
        let mut chart = Chart::default();
        for i in 0..rows {
            let mut bar =
                Bar::new(i as u64, &format!("http://example.org/page/{i}"), "200", true, i as f64 * 0.1);
            bar.set(Phase::Connect, 0.1);
            bar.set(Phase::Wait, 0.5);
            bar.set(Phase::Receive, 0.4);
            chart.add(Some(bar));
        }
        chart.since_start()
    }

    fn style(width: usize) -> Style {
        Style { width, colour: false, span_s: None }
    }

    /// Draws at some widths, and checks what holds for every picture.
    #[track_caller]
    fn drawn(chart: &Chart) -> Vec<String> {
        let draw_at = |width| {
            let drawn = draw(chart, &style(width));
            assert!(drawn.lines().all(|line| columns(line) <= width), "{width}\n{drawn}");
            assert!(!drawn.contains("NaN") && !drawn.contains("inf "), "{drawn}");
            drawn
        };
        [40, 57, 80, 133].map(draw_at).into()
    }

    #[test]
    fn a_bar_a_row() {
        let drawn = draw(&chart(3), &style(60));
        assert!(!drawn.contains('\x1b'));
        assert!(drawn.lines().any(|line| line.starts_with("0  200  /0  cc")), "{drawn}");
        assert!(drawn.ends_with("\nc connect   ─ wait   █ receive\n"), "{drawn}");
    }

    #[test]
    fn no_line_is_too_wide_and_no_label_is_cut() {
        let labels = [
            "http://127.0.0.1:8001/".to_owned(),
            format!("http://example.org/{}", "a/long/way/down/".repeat(20)),
            format!("https://example.org/{}?x=1", "\u{6f22}".repeat(150)),
        ];
        let mut chart = chart(77);
        for (row, label) in (1_000..).zip(&labels) {
            let mut failed = Bar::new(row, label, "body.content_encoding", false, 0.0);
            for phase in [Phase::Blocked, Phase::Earlier, Phase::Dns, Phase::Tls] {
                failed.set(phase, 0.1);
            }
            chart.add(Some(failed));
        }
        for drawn in drawn(&chart.since_start()) {
            // Without the line ends and the blanks that wrapping puts in.
            let joined: String = drawn.chars().filter(|c| !c.is_whitespace()).collect();
            for label in &labels {
                assert!(joined.contains(&format!("body.content_encoding{label}")), "{label}\n{drawn}");
            }
            assert!(!drawn.contains('…'), "{drawn}");
        }
    }

    #[test]
    fn the_legend_tells_what_is_drawn_and_nothing_else() {
        let mut bar = Bar::new(0, "http://a/", "200", true, 0.0);
        bar.set(Phase::Connect, 0.001);
        bar.set(Phase::Wait, 1.0);
        let mut chart = Chart::default();
        chart.add(Some(bar));
        for drawn in drawn(&chart.since_start()) {
            assert!(drawn.ends_with("\n─ wait\n"), "{drawn}");
        }
    }

    #[test]
    fn many_rows_share_lanes() {
        for drawn in drawn(&chart(500)) {
            assert!(drawn.lines().count() < 60, "{drawn}");
            assert!(drawn.contains("lane 10"), "{drawn}");
            assert!(drawn.contains("500 rows, 0 failed"), "{drawn}");
        }
    }

    #[test]
    fn failures_and_the_slowest_rows_are_drawn_among_many_lanes() {
        let mut chart = Chart::default();
        for row in 0..5_000 {
            let ok = row != 4_321;
            let mut bar = Bar::new(row, &format!("http://a/{row}/"), if ok { "200" } else { "503" }, ok, 0.0);
            bar.set(Phase::Wait, if row == 3_210 { 2.0 } else { 1.0 });
            chart.add(Some(bar));
        }
        for drawn in drawn(&chart.since_start()) {
            let line = |begin: &str| drawn.lines().find(|line| line.starts_with(begin)).unwrap_or_default();
            assert!(line("4321  503  /4321/").contains('─'), "{drawn}");
            assert!(line("3210  200  /3210/").contains('─'), "{drawn}");
            assert!(line("  failed").contains('×'), "{drawn}");
            assert!(drawn.contains("4976 more lanes"), "{drawn}");
        }
    }

    #[test]
    fn colour_comes_on_top_of_glyphs() {
        let plain = draw(&chart(3), &Style { width: 80, colour: false, span_s: None });
        let colour = draw(&chart(3), &Style { width: 80, colour: true, span_s: None });
        let mut stripped = String::new();
        for part in colour.split('\x1b') {
            stripped.push_str(
                part.split_once('m').filter(|_| part.starts_with('[')).map_or(part, |(_, rest)| rest),
            );
        }
        assert_eq!(stripped, plain);
    }

    #[test]
    fn nothing_to_draw_is_said() {
        let mut chart = Chart::default();
        chart.add(None);
        let drawn = draw(&chart, &Style { width: 80, colour: false, span_s: None });
        assert_eq!(drawn, "no row was started\n1 row was never started\n");
    }
}
