//! The body of a response: which of the bytes that come are its data, and which come no more. Nothing is copied.

use super::chunked::{Chunked, Piece};
use crate::error::ErrorKind;
use crate::outcome::Failure;

/// Finds the data and the end of one body.
#[derive(Debug)]
pub struct Body(State);

#[derive(Debug)]
enum State {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Chunked),
    /// Whatever comes until the connection ends.
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

    /// Says what `input` begins with. The bytes of the piece are taken then: the next call goes on behind them.
    ///
    /// # Errors
    ///
    /// `body.framing`: a chunk is not what RFC 9112 says, or what is around the chunks is larger than the limits.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, Failure> {
        match &mut self.0 {
            State::Length(left) => {
                let data = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left = left.saturating_sub(u64::try_from(data).unwrap_or(u64::MAX));
                Ok(Piece { framing: 0, data })
            }
            State::Chunked(chunked) => {
                chunked.next(input).map_err(|message| Failure::new(ErrorKind::BodyFraming, message))
            }
            State::UntilClose => Ok(Piece { framing: 0, data: input.len() }),
        }
    }

    /// True once nothing more belongs to it. A body that ends with the connection is never done: see [`Body::end`].
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.0 {
            State::Length(left) => *left == 0,
            State::Chunked(chunked) => chunked.is_done(),
            State::UntilClose => false,
        }
    }

    /// False if the body says nothing about its end, so that one that was cut short looks the same as a whole one.
    #[must_use]
    pub fn tells_its_end(&self) -> bool {
        !matches!(self.0, State::UntilClose)
    }

    /// How many bytes are still to come, if that is known.
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
