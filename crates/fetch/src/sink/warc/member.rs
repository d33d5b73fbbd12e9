//! The records of a file: each is a member of gzip of its own, so that a reader can begin with any of them, or plain.
//!
//! Three small records a row cost more time to compress than all else of the row, and become hardly shorter; and most bodies are compressed
//! already. Both are in stored blocks, which cost a copy and a checksum.

use std::io::{self, Write as _};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use overlapped_proto::journal::End;
use overlapped_proto::limits;
use overlapped_proto::record::warc::{END, Head};

use super::super::OutputFile;
use super::{Sync, digest_of};

/// A file, and what is to be written to it.
pub(super) struct Members {
    file: OutputFile,
    pack: Option<Pack>,
    /// What is not written yet.
    out: Vec<u8>,
}

/// Compresses one member after the other.
struct Pack {
    deflate: Compress,
    crc: Crc,
    /// The member is not compressed.
    is_stored: bool,
}

/// How a member begins: deflate, no flags, no time; the fastest algorithm, on Unix (RFC 1952).
const MEMBER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 3];

/// What comes before the bytes of a stored block.
const STORED_HEAD_BYTES: usize = 5;

/// The most that a stored block has.
const STORED_BYTES_MAX: usize = u16::MAX as usize;

/// Where a file ends, and how to sync it.
pub(super) struct FileCut {
    pub(super) end: End,
    pub(super) sync: Option<Sync>,
}

impl Members {
    pub(super) fn new(file: OutputFile, is_packed: bool) -> Self {
        let pack =
            || Pack { deflate: Compress::new(Compression::fast(), false), crc: Crc::new(), is_stored: false };
        Self { file, pack: is_packed.then(pack), out: Vec::new() }
    }

    /// Goes on with another file, when all was written to the one before.
    pub(super) fn go_on(&mut self, file: OutputFile) {
        assert!(self.out.is_empty(), "a file that is full was written");
        self.file = file;
    }

    /// Where the next record begins.
    pub(super) fn offset(&self) -> u64 {
        self.file.end().bytes + self.out.len() as u64
    }

    /// Writes a record whose block is in memory.
    pub(super) fn write(&mut self, head: &Head<'_>, block: &[&[u8]]) -> io::Result<()> {
        self.write_digested(&Head { block: &digest_of(block), ..*head }, block)
    }

    /// The same if the head has the digest of the block.
    pub(super) fn write_digested(&mut self, head: &Head<'_>, block: &[&[u8]]) -> io::Result<()> {
        let bytes = block.iter().map(|part| part.len() as u64).sum();
        let head = Head { bytes, ..*head };
        if bytes >= limits::WARC_PACKED_BYTES_MIN {
            self.begin(&head, false)?;
            block.iter().try_for_each(|part| self.put(part))?;
            return self.end();
        }
        // All of it is one stored block, written in its place.
        let Self { pack, out, .. } = self;
        if pack.is_some() {
            out.extend_from_slice(MEMBER);
        }
        let start = out.len();
        if pack.is_some() {
            out.extend_from_slice(&[0; STORED_HEAD_BYTES]);
        }
        head.push(out);
        block.iter().for_each(|part| out.extend_from_slice(part));
        out.extend_from_slice(END);
        if let Some(pack) = pack {
            pack.store(start, out);
        }
        self.write_if_full()
    }

    /// Begins a record, which is not compressed if it `is_stored`. Its block follows by [`Members::put`].
    pub(super) fn begin(&mut self, head: &Head<'_>, is_stored: bool) -> io::Result<()> {
        if let Some(pack) = &mut self.pack {
            pack.is_stored = is_stored;
            self.out.extend_from_slice(MEMBER);
        }
        let mut text = Vec::with_capacity(640);
        head.push(&mut text);
        self.put(&text)
    }

    /// Appends to the block of the record.
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(pack) = &mut self.pack else {
            self.out.extend_from_slice(bytes);
            return self.write_if_full();
        };
        pack.crc.update(bytes);
        if pack.is_stored {
            for block in bytes.chunks(STORED_BYTES_MAX) {
                push_stored(block, false, &mut self.out);
            }
            return self.write_if_full();
        }
        while !bytes.is_empty() {
            self.out.reserve(limits::WARC_PIECE_BYTES);
            let before = pack.deflate.total_in();
            let packed = pack.deflate.compress_vec(bytes, &mut self.out, FlushCompress::None);
            packed.map_err(io::Error::other)?;
            let taken = usize::try_from(pack.deflate.total_in() - before).map_err(io::Error::other)?;
            bytes = bytes.get(taken..).expect("no more is taken than there was");
        }
        self.write_if_full()
    }

    /// Ends the record.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.put(END)?;
        let Some(pack) = &mut self.pack else { return Ok(()) };
        if pack.is_stored {
            push_stored(&[], true, &mut self.out);
        } else {
            pack.finish(&mut self.out)?;
        }
        pack.push_foot(&mut self.out);
        self.write_if_full()
    }

    fn write_if_full(&mut self) -> io::Result<()> {
        if self.out.len() >= limits::OUTPUT_BUFFER_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.file.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.write_out()?;
        self.file.flush()
    }

    /// Flushes, and tells where the file ends.
    pub(super) fn cut(&mut self) -> io::Result<FileCut> {
        self.flush()?;
        let sync = self.file.cut()?.sync;
        Ok(FileCut { end: self.file.end(), sync })
    }
}

impl Pack {
    /// Ends a member whose content stands in `out`, behind room for the head of a stored block at `start`.
    fn store(&mut self, start: usize, out: &mut Vec<u8>) {
        let (room, content) = out
            .get_mut(start..)
            .and_then(|stored| stored.split_first_chunk_mut::<STORED_HEAD_BYTES>())
            .expect("there is room for the head");
        self.crc.update(content);
        if content.len() <= STORED_BYTES_MAX {
            *room = stored_head(content.len(), true);
        } else {
            let content = content.to_vec();
            out.truncate(start);
            content.chunks(STORED_BYTES_MAX).for_each(|block| push_stored(block, false, out));
            push_stored(&[], true, out);
        }
        self.push_foot(out);
    }

    fn push_foot(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.crc.sum().to_le_bytes());
        out.extend_from_slice(&self.crc.amount().to_le_bytes());
        self.crc.reset();
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            out.reserve(limits::WARC_PIECE_BYTES);
            let packed = self.deflate.compress_vec(&[], out, FlushCompress::Finish);
            if packed.map_err(io::Error::other)? == Status::StreamEnd {
                self.deflate.reset();
                return Ok(());
            }
        }
    }
}

/// Appends a block that is not compressed.
fn push_stored(block: &[u8], is_last: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(&stored_head(block.len(), is_last));
    out.extend_from_slice(block);
}

/// How a block begins that is not compressed (RFC 1951, section 3.2.4).
fn stored_head(bytes: usize, is_last: bool) -> [u8; STORED_HEAD_BYTES] {
    let [l0, l1] = u16::try_from(bytes).expect("a stored block is short").to_le_bytes();
    [u8::from(is_last), l0, l1, !l0, !l1]
}
