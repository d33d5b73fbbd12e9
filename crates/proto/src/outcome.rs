//! The outcome of an attempt, and the redirects before it.

use std::fmt;
use std::net::IpAddr;

use crate::error::ErrorKind;
use crate::time::Nanos;

/// One redirect that was followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The URL that answered with the redirect.
    pub url: Box<str>,
    /// Its status.
    pub status: u16,
    /// How long the request took, without the time in the queue.
    pub total: Nanos,
    /// The address that answered.
    pub remote: Option<IpAddr>,
}

/// Why a row failed: a kind of the error table and a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub kind: ErrorKind,
    /// What happened, in one sentence for a person.
    pub message: Box<str>,
}

impl Failure {
    /// A failure of a kind, with what was seen.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Box<str>>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Failure {}

/// How one attempt ended, as far as it matters to scheduling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A response came whole.
    Response {
        /// Its status.
        status: u16,
        /// Its `Retry-After`, as a span from now.
        retry_after: Option<Nanos>,
    },
    /// No whole response came.
    Failed(ErrorKind),
}
