//! The outcome of an attempt, and the redirects before it.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;

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
    /// Its request and response, if a sink needs them and they are not large.
    pub heads: Option<Box<Heads>>,
}

/// A redirect as it was asked for and answered, for archives.
#[derive(Clone, PartialEq, Eq)]
pub struct Heads {
    /// The head of the request, without credentials.
    pub request: Bytes,
    /// The head of the response as it came, or as HTTP/1.1 would write it.
    pub response: Bytes,
    /// Its body, if that is known.
    pub body: Option<Bytes>,
}

impl Heads {
    /// The memory that they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.request.len() + self.response.len() + self.body.as_ref().map_or(0, Bytes::len)
    }
}

/// Lengths only: a server may have sent secrets.
impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes())
    }
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
