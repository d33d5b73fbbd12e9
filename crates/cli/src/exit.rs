//! How a command ends: the exit codes, and the one line that says why. Nothing here prints.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use overlapped_proto::sanitize::shown;

/// How a command that did its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Every row succeeded.
    Succeeded,
    /// Some row failed.
    RowsFailed,
    /// A limit stopped the run before the end of the list.
    Stopped,
    /// A signal stopped it, by number.
    Interrupted(u8),
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Succeeded => Self::SUCCESS,
            Ending::RowsFailed => Self::from(1),
            Ending::Stopped => Self::from(4),
            // As a shell reports a process that the signal killed.
            Ending::Interrupted(signal) => Self::from(signal.saturating_add(128)),
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Error {
    /// A flag, a setting or an input is wrong; the text says which and what to do.
    Usage(String),
    /// Something could not be written; the text says what.
    Output(String),
    /// The state of a run is damaged; the text says where.
    Journal(String),
    /// Whoever read the output went away, as in `| head -1`. Nobody is left to tell.
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
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Output(_) => ExitCode::from(3),
            Self::Journal(_) => ExitCode::from(4),
            Self::OutputClosed => ExitCode::SUCCESS,
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

/// The name of a file, or of a URL that was given for one, without what is secret in it.
fn name(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains("://") { shown(&text) } else { text }
}

/// The operating system's words without "(os error 2)", which helps nobody.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
