//! A body on disk, as a record has it: its length, its form, and how to read it. The file itself is the engine's.

use std::fmt;
use std::io;
use std::sync::Arc;

/// Bytes that can be read from any offset. Implemented by what owns the file.
pub trait ReadAt: fmt::Debug + Send + Sync {
    /// Reads from `offset` into the front of `block`; 0: the end.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    ///
    /// # Blocking
    ///
    /// On the disk.
    fn read_at(&self, offset: u64, block: &mut [u8]) -> io::Result<usize>;
}

/// A body on disk. Its space is freed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Spooled {
    bytes: u64,
    first: Option<u8>,
    is_text: bool,
    blocks: Arc<dyn ReadAt>,
}

/// The length and the form of a body on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Its length.
    pub bytes: u64,
    /// Its first byte.
    pub first: Option<u8>,
    /// True if it is UTF-8.
    pub is_text: bool,
}

impl Spooled {
    /// A body in `blocks`, whose bytes were passed to `seen`.
    pub fn new(seen: &Seen, blocks: impl ReadAt + 'static) -> Self {
        Self { bytes: seen.bytes, first: seen.first, is_text: seen.is_text(), blocks: Arc::new(blocks) }
    }

    /// A body in `blocks` of which this is known from [`Spooled::form`].
    pub fn again(form: Form, blocks: impl ReadAt + 'static) -> Self {
        let Form { bytes, first, is_text } = form;
        Self { bytes, first, is_text, blocks: Arc::new(blocks) }
    }

    /// What is known of it without reading it.
    #[must_use]
    pub fn form(&self) -> Form {
        Form { bytes: self.bytes, first: self.first, is_text: self.is_text }
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// True if it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Its first byte.
    #[must_use]
    pub fn first(&self) -> Option<u8> {
        self.first
    }

    /// True if it is UTF-8.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.is_text
    }

    /// Reads it from its beginning.
    ///
    /// # Blocking
    ///
    /// Reading blocks on the disk.
    #[must_use]
    pub fn reader(&self) -> impl io::Read {
        Reader { body: self, offset: 0 }
    }
}

/// Two are equal if they are the same body, not if their bytes are alike.
impl PartialEq for Spooled {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.blocks, &other.blocks)
    }
}

impl Eq for Spooled {}

struct Reader<'a> {
    body: &'a Spooled,
    offset: u64,
}

impl io::Read for Reader<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let read = self.body.blocks.read_at(self.offset, block)?;
        self.offset += read as u64;
        if read == 0 && !block.is_empty() && self.offset < self.body.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(read)
    }
}

/// What is known of a body that is written block by block: its length, its first byte, and whether it is UTF-8.
#[derive(Debug, Default)]
pub struct Seen {
    bytes: u64,
    first: Option<u8>,
    /// The beginning of a character whose end has not come.
    begun: Vec<u8>,
    is_other: bool,
}

impl Seen {
    /// Adds the next block.
    pub fn push(&mut self, block: &[u8]) {
        self.bytes += block.len() as u64;
        self.first = self.first.or(block.first().copied());
        let mut rest = block;
        while let (false, true, Some((&byte, behind))) =
            (self.is_other, !self.begun.is_empty(), rest.split_first())
        {
            self.begun.push(byte);
            rest = behind;
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) => self.is_other = error.error_len().is_some(),
            }
        }
        if self.is_other {
            return;
        }
        if let Err(error) = std::str::from_utf8(rest) {
            self.is_other = error.error_len().is_some();
            self.begun = rest.get(error.valid_up_to()..).expect("the valid part is within the text").to_vec();
        }
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn is_text(&self) -> bool {
        !self.is_other && self.begun.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_known_in_every_split() {
        let check = |bytes: &[u8], expected: bool| {
            for piece in 1..=bytes.len().max(1) {
                let mut seen = Seen::default();
                bytes.chunks(piece).for_each(|block| seen.push(block));
                assert_eq!(
                    (seen.is_text(), seen.bytes()),
                    (expected, bytes.len() as u64),
                    "{bytes:?} by {piece}"
                );
            }
        };
        check(b"", true);
        check("a\u{e9}\u{20ac}\u{1f600}z".as_bytes(), true);
        check(b"\xff\xfe", false);
        check(b"a\xc3", false);
        check(b"\xe2\x82a", false);
        check(b"ok\xf0\x9f\x98\x80\x80", false);
    }
}
