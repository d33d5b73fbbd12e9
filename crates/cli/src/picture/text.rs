//! A chart as lines of text, for a terminal or a log. Never wider than it is told to be.

use std::fmt::Write as _;

use super::layout::{self, Axis, Rows, seconds};
use super::{BARS_MAX, Chart, Phase};

/// Lines that lanes may take; the curve above them counts what is beyond.
const LANES_MAX: usize = 24;
/// Lines of the curve.
const CURVE_LINES: usize = 6;
/// The glyphs of an eighth to eight eighths of a line.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How text is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Characters in a line.
    pub(crate) width: usize,
    /// Colour beside the glyphs.
    pub(crate) colour: bool,
    /// Seconds that the width stands for; `None`: as many as the run took. Charts to be compared share it.
    pub(crate) span_s: Option<f64>,
}

/// Draws a chart.
pub(crate) fn draw(chart: &Chart, style: &Style) -> String {
    let span_s = style.span_s.unwrap_or_else(|| chart.span_s()).max(1e-9);
    let mut out = String::new();
    if chart.bars.is_empty() {
        out.push_str("no row was started\n");
    } else if chart.bars.len() <= BARS_MAX {
        bars(&mut out, chart, style, span_s);
    } else {
        lanes(&mut out, chart, style, span_s);
    }
    if let Some(text) = chart.left_out() {
        let _ = writeln!(out, "{text}");
    }
    out
}

/// A line a row: number, result, label, bar, time.
fn bars(out: &mut String, chart: &Chart, style: &Style, span_s: f64) {
    let numbers = chart.bars.len().to_string().len();
    let (prefix, names) = layout::labels(&chart.bars);
    let longest = |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| text.chars().count()).max();
    let results = longest(&mut chart.bars.iter().map(|bar| &*bar.result)).unwrap_or(0).min(style.width / 5);
    let labels = longest(&mut names.iter().copied()).unwrap_or(0).min(style.width / 5);
    let left = numbers + results + labels + 6;
    let cells = style.width.saturating_sub(left + 10).max(4);
    if !prefix.is_empty() {
        let _ = writeln!(out, "{}", shorten(prefix, style.width));
    }
    axis(out, &Axis::new(span_s, cells / 10), left, cells);
    for (i, (bar, name)) in chart.bars.iter().zip(names).enumerate() {
        let (result, name) = (shorten(&bar.result, results), shorten(name, labels));
        let _ = write!(out, "{:>numbers$}  {result:<results$}  {name:<labels$}  ", i + 1);
        paint(out, &layout::cells(&[bar], span_s, cells, Rows::Bars), style.colour);
        let _ = writeln!(out, " {:>9}", seconds(bar.took_s()));
    }
    legend(out, chart, style, left);
}

/// The curve of what was in flight, and below it the rows packed into lanes.
fn lanes(out: &mut String, chart: &Chart, style: &Style, span_s: f64) {
    let left = 10;
    let cells = style.width.saturating_sub(left + 1).max(8);
    curve(out, &layout::in_flight(&chart.bars, span_s, cells), left);
    axis(out, &Axis::new(span_s, cells / 10), left, cells);
    let lanes = layout::lanes(&chart.bars);
    for (i, lane) in lanes.iter().take(LANES_MAX).enumerate() {
        let _ = write!(out, "{:>1$}  ", format!("lane {}", i + 1), left - 2);
        paint(out, &layout::cells(lane, span_s, cells, Rows::Lanes), style.colour);
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
    }
    if lanes.len() > LANES_MAX {
        let _ =
            writeln!(out, "{:>1$} more lanes are counted in the curve", lanes.len() - LANES_MAX, left - 2);
    }
    let failed = chart.bars.iter().filter(|bar| !bar.ok).count();
    let _ = writeln!(out, "{:left$}{} rows, {failed} failed", "", chart.bars.len());
    legend(out, chart, style, left);
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

/// The phases that occur, with their glyphs, in as many lines as they need.
fn legend(out: &mut String, chart: &Chart, style: &Style, left: usize) {
    // The longest name fits any width.
    let left = left.min(style.width.saturating_sub(20));
    let _ = write!(out, "{:left$}", "");
    let mut used = left;
    for phase in chart.phases() {
        let length = phase.name().len() + 2;
        if used > left && used + 3 + length > style.width {
            let _ = write!(out, "\n{:left$}", "");
            used = left;
        } else if used > left {
            out.push_str("   ");
            used += 3;
        }
        paint(out, &[Some(phase)], style.colour);
        let _ = write!(out, " {}", phase.name());
        used += length;
    }
    out.push('\n');
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

/// The colour of a phase, as an ANSI number of the terminal's own palette.
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

/// The text in at most `width` characters, with the middle left out.
fn shorten(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let (head, tail) = (width.saturating_sub(1) / 2, width.saturating_sub(1) - width.saturating_sub(1) / 2);
    text.chars().take(head).chain(['…']).chain(text.chars().skip(length - tail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Bar;

    fn chart(rows: usize) -> Chart {
        let mut chart = Chart::default();
        for i in 0..rows {
            let mut bar = Bar::new(&format!("http://example.org/page/{i}"), "200", true, i as f64 * 0.1);
            bar.set(Phase::Connect, 0.1);
            bar.set(Phase::Wait, 0.5);
            bar.set(Phase::Receive, 0.4);
            chart.add(Some(bar));
        }
        chart.since_start()
    }

    #[test]
    fn a_bar_a_row() {
        let style = Style { width: 60, colour: false, span_s: None };
        let drawn = draw(&chart(3), &style);
        assert!(!drawn.contains('\x1b'));
        assert!(drawn.lines().any(|line| line.starts_with("1  200  /0  cc")), "{drawn}");
        assert!(drawn.contains("c connect   ─ wait   █ receive"), "{drawn}");
        assert!(drawn.lines().all(|line| line.chars().count() <= 60), "{drawn}");
    }

    #[test]
    fn no_line_is_too_wide() {
        let mut chart = chart(80);
        let mut failed = Bar::new("http://example.org/a/long/way/down", "connect.refused", false, 0.0);
        for phase in [Phase::Blocked, Phase::Earlier, Phase::Dns, Phase::Tls] {
            failed.set(phase, 0.1);
        }
        chart.bars.pop();
        chart.add(Some(failed));
        for width in [40, 57, 80, 133] {
            let drawn = draw(&chart, &Style { width, colour: false, span_s: None });
            assert!(drawn.lines().all(|line| line.chars().count() <= width), "{width}\n{drawn}");
        }
    }

    #[test]
    fn many_rows_share_lanes() {
        for width in [40, 80, 200] {
            let drawn = draw(&chart(500), &Style { width, colour: false, span_s: None });
            assert!(drawn.lines().count() < 50, "{drawn}");
            assert!(drawn.contains("lane 10"), "{drawn}");
            assert!(drawn.contains("500 rows, 0 failed"), "{drawn}");
            assert!(drawn.lines().all(|line| line.chars().count() <= width), "{width}\n{drawn}");
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
        assert_eq!(drawn, "no row was started\n1 rows were never started\n");
    }

    #[test]
    fn long_labels_lose_their_middle() {
        assert_eq!(shorten("abcdefghij", 5), "ab…ij");
        assert_eq!(shorten("abc", 5), "abc");
    }
}
