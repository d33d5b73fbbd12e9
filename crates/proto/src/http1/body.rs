//! The framing of a response body: which of the bytes received are its data, and where it ends. Nothing is copied.

use super::chunked::{Chunked, Piece};
use crate::error::ErrorKind;
use crate::outcome::Failure;

/// Finds the data and the end of one body.
#[derive(Debug)]
pub struct Body(State);

#[derive(Debug)]
enum State {
    /// The number of bytes still to come (`Content-Length`).
    Length(u64),
    Chunked(Chunked),
    /// Everything until the connection ends.
    UntilClose,
}

impl Body {
    pub(super) fn empty() -> Self {
        Self::of(0)
    }

    pub(super) fn of(length: u64) -> Self {
        Self(State::Length(length))
    }

    pub(super) fn chunked() -> Self {
        Self(State::Chunked(Chunked::default()))
    }

    pub(super) fn until_close() -> Self {
        Self(State::UntilClose)
    }

    /// The piece that `input` begins with. Its bytes are consumed: the next call expects the bytes behind them.
    ///
    /// # Errors
    ///
    /// `body.framing`: a chunk violates RFC 9112, or what is around the chunks is larger than the limits.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, Failure> {
        match &mut self.0 {
            State::Length(left) => {
                let data = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= data as u64;
                Ok(Piece { framing: 0, data })
            }
            State::Chunked(chunked) => {
                chunked.next(input).map_err(|message| Failure::new(ErrorKind::BodyFraming, message))
            }
            State::UntilClose => Ok(Piece { framing: 0, data: input.len() }),
        }
    }

    /// True once the body is complete. A body that ends with the connection never is: see [`Body::end`].
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.0 {
            State::Length(left) => *left == 0,
            State::Chunked(chunked) => chunked.is_done(),
            State::UntilClose => false,
        }
    }

    /// False if the body ends with the connection, so that a truncated one looks like a whole one.
    #[must_use]
    pub fn tells_its_end(&self) -> bool {
        !matches!(self.0, State::UntilClose)
    }

    /// The number of bytes still to come, if it is known.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        match &self.0 {
            State::Length(left) => Some(*left),
            State::Chunked(_) | State::UntilClose => None,
        }
    }

    /// The connection has ended.
    ///
    /// # Errors
    ///
    /// `body.truncated`: the body has not.
    pub fn end(&self) -> Result<(), Failure> {
        if self.is_done() || !self.tells_its_end() {
            return Ok(());
        }
        Err(Failure::new(ErrorKind::BodyTruncated, "the connection ended before the body did"))
    }
}
