//! Why a request has no response, or one that counts as a failure.

use std::{fmt, io};

use overlapped_proto::error::{ErrorKind, Phase};
use overlapped_proto::outcome::Failure;
use overlapped_proto::sanitize::shown;
use overlapped_proto::wording::{Reader, told};

/// The error of a single request: a kind of the [table of errors](ErrorKind), a message, and the URL.
///
/// ```
/// let client = overlapped_fetch::blocking::Client::new(Default::default())?;
/// let error = client.get("http://127.0.0.1:1/").send().err().expect("nothing listens there");
/// assert_eq!(error.kind().name(), "connect.refused");
/// assert_eq!((error.status(), error.is_timeout()), (None, false));
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
pub struct RequestError(Box<Parts>);

struct Parts {
    failure: Failure,
    /// Its message, with settings by their names in Rust.
    message: Box<str>,
    url: Option<Box<str>>,
    status: Option<u16>,
}

impl RequestError {
    pub(super) fn new(failure: Failure, url: Option<&str>, status: Option<u16>) -> Self {
        let message = told(&failure.message, Reader::Rust).into();
        Self(Box::new(Parts { failure, message, url: url.map(Into::into), status }))
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.failure.kind
    }

    /// What happened, without the URL. Settings have the names of their fields.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The same as a record has it: settings have the names of the program's flags.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.0.failure
    }

    /// The URL that was asked last. It may have a user name and a password.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.0.url.as_deref()
    }

    /// The same error without its URL, which may be secret.
    #[must_use]
    pub fn without_url(mut self) -> Self {
        self.0.url = None;
        self
    }

    /// The status of the response, if there is one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// True if a time limit has passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind().name().contains("timeout")
    }

    /// True if no connection was opened.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self.kind().phase(), Phase::Dns | Phase::Connect | Phase::Tls)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind(), self.message())?;
        match &self.0.url {
            Some(url) => write!(f, " ({})", shown(url)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestError({self})")
    }
}

impl std::error::Error for RequestError {}

impl From<RequestError> for io::Error {
    fn from(error: RequestError) -> Self {
        let kind = if error.is_timeout() { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
        Self::new(kind, error)
    }
}
