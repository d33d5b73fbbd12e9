//! The errors that end a run or keep it from starting. A failure of a single row is a record, not an [`Error`].

use std::fmt;
use std::io;
use std::path::Path;

use overlapped::{JobError, Rejected};
use overlapped_proto::outcome::Failure;
use overlapped_proto::plural::counted;

/// The part of a run that an [`Error`] concerns.
///
/// ```
/// use overlapped_fetch::{Bulk, Config, ErrorClass, Input};
///
/// let list = Input::File("no/such/list.txt".into());
/// let error = Bulk::new(Config::default())?.input(list).start().err().expect("there is no list");
/// assert_eq!(error.class(), ErrorClass::Input);
/// assert!(error.to_string().contains("no/such/list.txt"));
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// A setting is wrong; nothing was fetched.
    Config,
    /// The list cannot be read.
    Input,
    /// The results cannot be written.
    Output,
    /// The reader of the results has closed its end (`EPIPE`).
    OutputClosed,
    /// There is the state of an earlier run, and the command does not say what to do with it.
    StateExists,
    /// The run cannot resume: another process uses its state, or its list or settings differ.
    State,
    /// The state of the run is damaged, or contradicts the list or the outputs.
    Journal,
    /// Rows and records do not add up.
    Sum,
    /// The system has no thread, no event queue or too few open files for the run.
    Resource,
    /// A defect in this library.
    Internal,
}

/// An error that ends a run or keeps it from starting, as one line that says what to do.
pub struct Error(Box<Inner>);

struct Inner {
    class: ErrorClass,
    message: String,
    source: Option<io::Error>,
}

impl Error {
    /// The part of the run that it concerns.
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

    /// The list cannot be read, or not beyond this number of rows.
    pub(crate) fn input(name: &str, rows: u64, source: io::Error) -> Self {
        let after = if rows > 0 { format!(" after {}", counted(rows, "row")) } else { String::new() };
        Self::new(ErrorClass::Input, format!("cannot read the list {name}{after}"), Some(source))
    }

    /// The list does not follow its format.
    pub(crate) fn list(name: &str, failure: &Failure) -> Self {
        Self::new(ErrorClass::Input, format!("cannot read the list {name}: {}", failure.message), None)
    }

    pub(crate) fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(
                ErrorClass::OutputClosed,
                "the reader of the output has closed it".into(),
                Some(source),
            );
        }
        Self::new(ErrorClass::Output, "cannot write the results".into(), Some(source))
    }

    /// Spilled rows cannot be read back.
    pub(crate) fn spill(source: io::Error) -> Self {
        Self::new(ErrorClass::Output, "cannot read back the rows that waited on disk".into(), Some(source))
    }

    /// The list cannot be read again for spilled rows.
    pub(crate) fn reread(source: io::Error) -> Self {
        Self::new(ErrorClass::Output, "cannot read rows of the list once more".into(), Some(source))
    }

    /// A shard cannot wait for its sockets.
    pub(crate) fn event_queue(source: io::Error) -> Self {
        let message = "cannot wait for sockets; a higher limit of open files (ulimit -n) may help";
        Self::new(ErrorClass::Resource, message.into(), Some(source))
    }

    /// The system refuses a thread.
    pub(crate) fn no_thread(source: Option<io::Error>) -> Self {
        let message = "no thread can be started; a higher limit of processes (ulimit -u, or pids.max of the \
                       container) may help";
        Self::new(ErrorClass::Resource, message.into(), source)
    }

    /// A task of the engine has given no result.
    pub(crate) fn task(what: &str, error: &JobError) -> Self {
        match error {
            JobError::Rejected(Rejected::NoThread) => Self::no_thread(None),
            JobError::Rejected(Rejected::QueueFull | Rejected::ShutDown | Rejected::Forked)
            | JobError::Cancelled
            | JobError::TimedOut { .. }
            | JobError::Panicked(_)
            | JobError::WouldDeadlock => Self::internal(format!("{what}: {error}")),
        }
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

    /// Some rows of the list have no record, or more than one.
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

/// The text without the numbers of system errors, such as "(os error 2)", which only repeat the message.
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
