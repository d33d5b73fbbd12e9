//! Standard output and standard error: their width, whether a person reads them, and one line to that person.

use std::fmt;
use std::io::{self, IsTerminal, Write as _};

/// The width where nobody tells one: of a page, or of a log.
const WIDTH: usize = 100;

/// A line on standard error. A failure to write it is not told: there is nobody left to tell.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// The characters that a line on standard output has room for.
pub(crate) fn width() -> usize {
    let asked = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    asked.or_else(|| columns(io::stdout())).unwrap_or(WIDTH).clamp(40, 1000)
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

/// True if a person sees what goes to standard output.
pub(crate) fn stdout_is_seen() -> bool {
    io::stdout().is_terminal()
}

/// True if a person sees what goes to standard error as it comes. `TERM=dumb` cannot redraw a line.
pub(crate) fn stderr_is_seen() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// True if colour on standard output helps. <https://no-color.org>
pub(crate) fn colour() -> bool {
    stdout_is_seen() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
