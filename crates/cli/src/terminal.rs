//! Standard output and standard error: their width, whether they are terminals, and escaping.
//!
//! All untrusted text (URLs, header fields, file names, arguments) reaches a terminal through this module, which escapes
//! control and bidirectional characters. Only bodies are written unchanged.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use overlapped_proto::sanitize::{escape, is_unsafe};
use unicode_width::UnicodeWidthStr as _;

/// The default width, of a page or a log.
const WIDTH: usize = 100;

/// Writes a line to standard error, with control characters and line ends escaped. A write error is ignored, because
/// there is no other place to report it.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{}", escape(&line.to_string()));
}

/// Writes several lines to standard error, each as [`say`] does.
pub(crate) fn say_lines(text: &str) {
    text.lines().for_each(|line| say(format_args!("{line}")));
}

/// The same; on a terminal, lines that are too long go on in the next line at a word, and not within it.
pub(crate) fn say_wrapped(text: &str) {
    let width = if io::stderr().is_terminal() { stderr_width() } else { usize::MAX };
    for line in text.lines() {
        let _ = writeln!(io::stderr().lock(), "{}", wrapped(&escape(line), width));
    }
}

/// The line in pieces of `width` columns. Those behind the first are indented as its text is, or less if there is little
/// room.
fn wrapped(line: &str, width: usize) -> String {
    let indent = if width < WRAPPED_FAR_FROM { WRAPPED_NEAR } else { WRAPPED_FAR };
    let mut text = String::new();
    let mut column = 0;
    for piece in line.split_inclusive(' ') {
        let is_begun = column > indent;
        if is_begun && column + piece.trim_end().width() > width {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        }
        text.push_str(piece);
        column += piece.width();
    }
    text
}

/// The indentation of further pieces of a line: that of the text of a summary, or less.
const WRAPPED_FAR: usize = 14;
const WRAPPED_NEAR: usize = 4;
/// The narrowest terminal with the former.
const WRAPPED_FAR_FROM: usize = 60;

/// Standard output for text: escaped if it is a terminal, else unchanged.
pub(crate) fn stdout() -> Box<dyn Write + Send> {
    if stdout_is_seen() { Box::new(Screen::new(io::stdout())) } else { Box::new(io::stdout()) }
}

/// A writer that escapes text for a terminal: control characters become `\uXXXX` as in JSON, so that a record keeps its
/// meaning. Bytes that are not UTF-8 become U+FFFD. LF, CRLF and tabs are kept.
struct Screen<W> {
    out: W,
    /// The incomplete character or CRLF at the end of the last write.
    cut: Vec<u8>,
}

impl<W> Screen<W> {
    fn new(out: W) -> Self {
        Self { out, cut: Vec::new() }
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = std::mem::take(&mut self.cut);
        text.extend_from_slice(bytes);
        let whole = text.len() - cut_at_end(&text);
        self.cut = text.split_off(whole);
        self.out.write_all(shown(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The number of bytes at the end that are an incomplete character or CRLF.
fn cut_at_end(text: &[u8]) -> usize {
    if text.ends_with(b"\r") {
        return 1;
    }
    let from = text.len().saturating_sub(3);
    let last = text.get(from..).unwrap_or_default();
    (1..=last.len())
        .find(|count| {
            let tail = last.get(last.len() - count..).unwrap_or_default();
            std::str::from_utf8(tail)
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .unwrap_or(0)
}

fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut safe = String::with_capacity(text.len());
    let mut units = [0; 2];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' => safe.push(c),
            '\r' if chars.peek() == Some(&'\n') => safe.push(c),
            c if is_unsafe(c) => {
                safe.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            }
            c => safe.push(c),
        }
    }
    safe
}

/// The width of standard output, in columns.
pub(crate) fn width() -> usize {
    let asked = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    asked.or_else(|| columns(io::stdout())).unwrap_or(WIDTH).clamp(40, 1000)
}

/// The width of standard error, in columns.
pub(crate) fn stderr_width() -> usize {
    columns(io::stderr()).unwrap_or(WIDTH).max(2)
}

#[cfg(unix)]
fn columns(stream: impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

#[cfg(not(unix))]
fn columns(_: impl Sized) -> Option<usize> {
    None
}

/// True if standard output is a terminal.
pub(crate) fn stdout_is_seen() -> bool {
    io::stdout().is_terminal()
}

/// True if standard error is a terminal that can redraw a line, which `TERM=dumb` cannot.
pub(crate) fn stderr_is_seen() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// True if standard output may be coloured: on a terminal, unless `NO_COLOR` is set, and elsewhere if `CLICOLOR_FORCE` is.
/// <https://no-color.org>, <https://bixense.com/clicolors>
pub(crate) fn colour() -> bool {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let is_forced = variable("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    variable("NO_COLOR").is_none() && (is_forced || stdout_is_seen())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &[u8], expected: &str) {
        for size in 1..=written.len() {
            let mut screen = Screen::new(Vec::new());
            for piece in written.chunks(size) {
                screen.write_all(piece).unwrap();
            }
            assert_eq!(String::from_utf8(screen.out).unwrap(), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn nothing_steers_the_terminal_in_whatever_pieces_it_comes() {
        check("plain \u{e4} \u{1f600} \t\r\n".as_bytes(), "plain \u{e4} \u{1f600} \t\r\n");
        check(b"red \x1b[31m\n", "red \\u001b[31m\n");
        check(b"over\rwritten\n", "over\\u000dwritten\n");
        check("csi \u{9b}31m\n".as_bytes(), "csi \\u009b31m\n");
        check("exe.\u{202e}gpj\u{2028}\n".as_bytes(), "exe.\\u202egpj\\u2028\n");
        check("tag \u{e0041}\n".as_bytes(), "tag \\udb40\\udc41\n");
        check(b"latin \xe9 and csi \x9b31m\n", "latin \u{fffd} and csi \u{fffd}31m\n");
        check(b"bell \x07 del \x7f\n", "bell \\u0007 del \\u007f\n");
    }

    #[test]
    fn a_long_line_is_divided_between_words() {
        let line = "  rows        1,000 ok · 4xx 12 · failed 3";
        assert_eq!(wrapped(line, 80), line);
        assert_eq!(wrapped(line, 42), line);
        assert_eq!(wrapped(line, 40), "  rows        1,000 ok · 4xx 12 · failed\n    3");
        assert_eq!(wrapped(line, 25), "  rows        1,000 ok ·\n    4xx 12 · failed 3");
        assert_eq!(
            wrapped("  a https://example.org/longer/than/that b", 10),
            "  a https://example.org/longer/than/that\n    b"
        );
        let line = format!("  bad row     {}", "word ".repeat(12));
        assert_eq!(wrapped(&line, 60).lines().nth(1), Some("              word word word "));
    }

    #[test]
    fn every_dangerous_character_is_escaped() {
        let dangerous = (0..0x20).chain(0x7f..0xa0).chain([0x61c, 0x200e, 0x200f, 0x2028, 0x2029]);
        let dangerous = dangerous.chain(0x202a..=0x202e).chain(0x2066..=0x2069);
        for c in dangerous.filter_map(char::from_u32).filter(|c| !matches!(c, '\n' | '\t')) {
            assert_eq!(shown(c.to_string().as_bytes()), format!("\\u{:04x}", u32::from(c)));
        }
    }
}
