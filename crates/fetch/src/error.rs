//! What can end a run, or keep it from starting. What goes wrong with one row is a record, never one of these.

use std::fmt;
use std::io;
use std::path::Path;

use overlapped_proto::outcome::Failure;

/// Which side of a run an [`Error`] concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// A setting is wrong; nothing was fetched.
    Config,
    /// The list cannot be read.
    Input,
    /// The results cannot be written.
    Output,
    /// Nobody reads the results any more (`EPIPE`).
    OutputClosed,
    /// There is the state of an earlier run, and nothing was said about what becomes of it.
    StateExists,
    /// The run cannot go on: another process is at work on it, or it is not the run that was begun.
    State,
    /// The state of the run is damaged, or does not agree with its list or its outputs.
    Journal,
    /// Rows and records do not add up.
    Sum,
    /// A defect in this library.
    Internal,
}

/// What ended a run, or kept it from starting: one line that says what to do.
pub struct Error(Box<Inner>);

struct Inner {
    class: ErrorClass,
    message: String,
    source: Option<io::Error>,
}

impl Error {
    /// Which side of the run it concerns.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    fn new(class: ErrorClass, message: String, source: Option<io::Error>) -> Self {
        Self(Box::new(Inner { class, message, source }))
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Config, message.into(), None)
    }

    /// A list that cannot be read, or no further than so many rows.
    pub(crate) fn input(name: &str, rows: u64, source: io::Error) -> Self {
        let after = if rows > 0 { format!(" after {rows} rows") } else { String::new() };
        Self::new(ErrorClass::Input, format!("cannot read the list {name}{after}"), Some(source))
    }

    /// A list that is not what its format says.
    pub(crate) fn list(name: &str, failure: &Failure) -> Self {
        Self::new(ErrorClass::Input, format!("cannot read the list {name}: {}", failure.message), None)
    }

    pub(crate) fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(
                ErrorClass::OutputClosed,
                "nobody reads the output any more".into(),
                Some(source),
            );
        }
        Self::new(ErrorClass::Output, "cannot write the results".into(), Some(source))
    }

    /// Rows that were put aside and cannot be had back.
    pub(crate) fn spill(source: io::Error) -> Self {
        Self::new(ErrorClass::Output, "cannot read back the rows that waited on disk".into(), Some(source))
    }

    /// A list that cannot be read at some place once more.
    pub(crate) fn reread(source: io::Error) -> Self {
        Self::new(ErrorClass::Output, "cannot read rows of the list once more".into(), Some(source))
    }

    /// An output that cannot be opened.
    #[must_use]
    pub fn output_path(path: &Path, source: io::Error) -> Self {
        Self::new(ErrorClass::Output, format!("cannot write to {}", path.display()), Some(source))
    }

    pub(crate) fn state_exists(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::StateExists, message.into(), None)
    }

    pub(crate) fn state(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::State, message.into(), None)
    }

    /// A file of the run's state that is damaged.
    pub(crate) fn journal(path: &Path, damage: &str) -> Self {
        Self::new(ErrorClass::Journal, format!("{}: {damage}", path.display()), None)
    }

    /// Rows of the list that have no record, or more than one.
    pub(crate) fn sum(message: &str) -> Self {
        Self::new(ErrorClass::Sum, format!("the rows and their records do not add up: {message}"), None)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Internal, message.into(), None)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.source {
            Some(source) => f.write_str(&words(&format!("{}: {source}", self.0.message))),
            None => f.write_str(&words(&self.0.message)),
        }
    }
}

/// The text without the numbers of system errors: beside their words, "(os error 2)" says nothing more.
fn words(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut words = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        words.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(')'));
    }
    words
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.0.class)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}
