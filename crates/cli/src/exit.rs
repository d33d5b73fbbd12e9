//! How a command ends: its exit code, and its error message of one line. Nothing here prints.

use std::fmt;
use std::io;
use std::path::Path;

use overlapped_proto::sanitize::shown;

/// The result of a command that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Every row succeeded.
    Succeeded,
    /// At least one row failed.
    RowsFailed,
    /// A limit stopped the run before the end of the list.
    Stopped,
    /// A signal stopped it, by number.
    Interrupted(u8),
}

impl Ending {
    /// The program's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::RowsFailed => 1,
            Self::Stopped => 4,
            // The exit status that a shell reports for a process killed by this signal.
            Self::Interrupted(signal) => signal.saturating_add(128),
        }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// A flag, a setting or an input is wrong; the text names it and the remedy.
    Usage(String),
    /// An output could not be written; the text names it.
    Output(String),
    /// The state of a run is damaged; the text says at which place.
    Journal(String),
    /// The reader of standard output has closed it, as in `| head -1`, and nothing was to be written elsewhere. This is no failure,
    /// and prints no message.
    OutputClosed,
}

impl Error {
    /// A file that could not be read.
    pub(crate) fn reading(path: &Path, error: &io::Error) -> Self {
        Self::Usage(format!("cannot read {}: {}", name(path), reason(error)))
    }

    /// A file that could not be written.
    pub(crate) fn writing(path: &Path, error: &io::Error) -> Self {
        Self::Output(format!("cannot write {}: {}", name(path), reason(error)))
    }

    /// Standard input that could not be read.
    pub(crate) fn stdin(error: &io::Error) -> Self {
        Self::Usage(format!("cannot read standard input: {}", reason(error)))
    }

    /// A failed write to standard output.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Output(format!("cannot write to standard output: {}", reason(error)))
    }

    /// The program's exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Output(_) => 3,
            Self::Journal(_) => 4,
            Self::OutputClosed => 0,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Output(text) | Self::Journal(text) => f.write_str(text),
            Self::OutputClosed => f.write_str("standard output was closed"),
        }
    }
}

impl std::error::Error for Error {}

/// The name of a file for a message. If a URL was given by mistake, its secrets are removed.
fn name(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains("://") { shown(&text) } else { text }
}

/// The message of the operating system, without its suffix "(os error 2)".
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
