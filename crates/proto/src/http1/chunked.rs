//! The chunked transfer coding (RFC 9112, section 7.1): chunk sizes, data, and trailer fields, which are discarded.

use crate::header::is_token;
use crate::limits;

/// The piece at the front of the bytes received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The number of bytes of framing, which come first.
    pub framing: usize,
    /// The number of bytes of data behind them. 0: any rest belongs to the next message.
    pub data: usize,
}

/// An incremental decoder of the chunked coding. It sees each byte once and buffers none.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    /// The size of the chunk, then what is still to come of it.
    left: u64,
    /// Digits of the size.
    digits: u32,
    /// Bytes of extensions, of this chunk.
    extension_bytes: u64,
    /// The same of all chunks.
    extensions_bytes: u64,
    /// Data so far.
    data_bytes: u64,
    trailer_bytes: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// White space behind the size, which RFC 9112 forbids and servers send.
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// A field, or the empty line at the end.
    Line,
    Name,
    Value,
    ValueLf,
    EndLf,
    Done,
}

impl Chunked {
    /// The piece that `input` begins with; the next call expects the bytes behind it.
    pub(super) fn next(&mut self, input: &[u8]) -> Result<Piece, &'static str> {
        let mut framing = 0;
        for &byte in input {
            if self.is_done() {
                break;
            }
            if self.state == State::Data {
                let here = input.len() - framing;
                let data = usize::try_from(self.left).unwrap_or(usize::MAX).min(here);
                let taken = data as u64;
                self.left -= taken;
                self.data_bytes += taken;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Piece { framing, data });
            }
            self.state = self.step(byte)?;
            framing += 1;
        }
        Ok(Piece { framing, data: 0 })
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The state after `byte`.
    fn step(&mut self, byte: u8) -> Result<State, &'static str> {
        Ok(match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte)?,
            (State::Size, b'\r' | b';' | b' ' | b'\t') if self.digits == 0 => {
                return Err("a chunk has no size");
            }
            (State::Size | State::Blank | State::Extension, b'\r') => State::SizeLf,
            (State::Size | State::Blank, b';') => State::Extension,
            (State::Size | State::Blank, b' ' | b'\t') => self.extension(State::Blank)?,
            (State::Size | State::Blank, _) => return Err("the size of a chunk is not a number"),
            (State::Extension, b'\n' | 0) => return Err("a chunk extension is malformed"),
            (State::Extension, _) => self.extension(State::Extension)?,
            (State::SizeLf, b'\n') if self.left == 0 => State::Line,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                (self.digits, self.extension_bytes) = (0, 0);
                State::Size
            }
            (State::DataCr | State::DataLf, _) => return Err("a chunk is longer than its size"),
            (State::Line, b'\r') => State::EndLf,
            (State::Line | State::Name, _) if is_token(byte) => self.trailer(State::Name)?,
            (State::Name, b':') => self.trailer(State::Value)?,
            (State::Value, b'\r') => State::ValueLf,
            (State::Value, b'\n' | 0) => return Err("a trailer field is malformed"),
            (State::Value, _) => self.trailer(State::Value)?,
            (State::ValueLf, b'\n') => self.trailer(State::Line)?,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err("the framing of a chunk is malformed"),
        })
    }

    fn digit(&mut self, byte: u8) -> Result<State, &'static str> {
        self.digits += 1;
        if self.digits > limits::CHUNK_DIGITS_MAX {
            return Err("the size of a chunk has too many digits");
        }
        let value = char::from(byte).to_digit(16).expect("step passes hexadecimal digits");
        self.left = self.left << 4 | u64::from(value);
        Ok(State::Size)
    }

    fn extension(&mut self, next: State) -> Result<State, &'static str> {
        self.extension_bytes += 1;
        self.extensions_bytes += 1;
        let share = self.data_bytes.saturating_mul(limits::CHUNK_EXTENSIONS_BYTES_PER_BYTE);
        let in_all = limits::CHUNK_EXTENSIONS_BYTES_FREE.saturating_add(share);
        if self.extension_bytes > limits::CHUNK_EXTENSION_BYTES_MAX || self.extensions_bytes > in_all {
            return Err("the chunk extensions are too large");
        }
        Ok(next)
    }

    fn trailer(&mut self, next: State) -> Result<State, &'static str> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > limits::TRAILER_BYTES_MAX {
            return Err("the trailer fields are too large");
        }
        Ok(next)
    }
}
