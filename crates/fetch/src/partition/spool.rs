//! The rows of all shards in one unlinked file: a shard has a buffer, which is appended as a block when it is full.
//!
//! One file and one buffer a shard, however many rows there are. The places of a shard's blocks are in memory, eight bytes
//! each.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use overlapped_proto::limits::{SHARD_BLOCK_BYTES, SHARD_BLOCKS_BYTES, SHARD_TAIL_BYTES};

use crate::fs::{punch_hole, unnamed};

/// The spool while it is written.
pub(super) struct Spool {
    file: File,
    block: usize,
    end: u64,
    parts: Vec<Part>,
}

/// What a shard has.
#[derive(Default)]
struct Part {
    blocks: Vec<u64>,
    tail: Vec<u8>,
    /// The number of its last row.
    row: u64,
}

/// The spool once it is whole.
pub(super) struct Spooled {
    file: File,
    block: usize,
    parts: Vec<Part>,
}

impl Spool {
    /// A spool in a directory, for so many shards.
    pub(super) fn new(directory: &Path, shards: u32) -> io::Result<Self> {
        let share = SHARD_BLOCKS_BYTES / (shards as usize).max(1);
        let (least, most) = SHARD_BLOCK_BYTES;
        let block = (share & !(least - 1)).clamp(least, most);
        let parts = (0..shards).map(|_| Part::default()).collect();
        Ok(Self { file: unnamed(directory, ".spool")?, block, end: 0, parts })
    }

    /// Appends a row to a shard. `host` tells rows of different hosts apart; `fields` appends what it has.
    pub(super) fn append(
        &mut self,
        shard: u32,
        row: u64,
        host: u32,
        fields: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<()> {
        let Self { file, block, end, parts } = self;
        let part = parts.get_mut(shard as usize).expect("a shard is one of those");
        let gap = row.checked_sub(part.row).expect("rows come in their order");
        part.row = row;
        let tail = &mut part.tail;
        if tail.capacity() == 0 {
            tail.reserve_exact(*block + SHARD_TAIL_BYTES);
        }
        push_number(gap, tail);
        tail.extend_from_slice(&host.to_le_bytes());
        fields(tail);
        tail.push(END);
        if tail.len() < *block {
            return Ok(());
        }
        let mut written = 0;
        while let Some(full) = tail.get(written..written + *block) {
            file.write_all_at(full, *end)?;
            part.blocks.push(*end);
            *end += *block as u64;
            written += *block;
        }
        tail.drain(..written);
        // One long row is no reason to keep a long buffer.
        tail.shrink_to(*block + SHARD_TAIL_BYTES);
        Ok(())
    }

    /// Ends it.
    pub(super) fn end(self) -> Spooled {
        let Self { file, block, parts, .. } = self;
        Spooled { file, block, parts }
    }
}

/// The end of a row's fields; else the kind of a field.
pub(super) const END: u8 = 0xff;

/// Appends a field of a row.
pub(super) fn push_field(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    push_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Seven bits a byte, the lowest first.
fn push_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

impl Spooled {
    /// What a shard has, from its beginning.
    pub(super) fn rows(&self, shard: u32) -> Rows<'_> {
        let part = self.parts.get(shard as usize).expect("a shard is one of those");
        Rows { read: Blocks { spooled: self, part, next: 0, block: Vec::new(), at: 0 }, row: 0 }
    }

    /// Gives the space of a shard back.
    pub(super) fn free(&self, shard: u32) {
        let part = self.parts.get(shard as usize).expect("a shard is one of those");
        part.blocks.iter().for_each(|offset| punch_hole(&self.file, *offset, self.block as u64));
    }
}

/// The rows of a shard.
pub(super) struct Rows<'a> {
    read: Blocks<'a>,
    row: u64,
}

/// A row's number, what tells its host apart, and where its fields begin in the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) row: u64,
    pub(super) host: u32,
    pub(super) at: usize,
}

impl Rows<'_> {
    /// Reads the next row, and appends its fields to `fields`. `None`: there is no further one.
    pub(super) fn next(&mut self, fields: &mut Vec<u8>) -> io::Result<Option<Spot>> {
        if self.read.is_over()? {
            return Ok(None);
        }
        self.row += self.read.number()?;
        let mut host = [0; 4];
        self.read.read_exact(&mut host)?;
        let at = fields.len();
        loop {
            let kind = self.read.byte()?;
            fields.push(kind);
            if kind == END {
                return Ok(Some(Spot { row: self.row, host: u32::from_le_bytes(host), at }));
            }
            let length = self.read.number()?;
            push_number(length, fields);
            let length = usize::try_from(length).map_err(io::Error::other)?;
            self.read.copy(length, fields)?;
        }
    }
}

/// The fields of a row that begin there.
pub(super) fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&kind, rest) = bytes.split_first().filter(|(kind, _)| **kind != END)?;
        let mut read = rest;
        let mut length = 0_usize;
        for shift in (0..).step_by(7) {
            let (&byte, after) = read.split_first()?;
            read = after;
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        let (field, after) = read.split_at_checked(length)?;
        bytes = after;
        Some((kind, field))
    })
}

/// The blocks of a shard as one stream.
struct Blocks<'a> {
    spooled: &'a Spooled,
    part: &'a Part,
    next: usize,
    block: Vec<u8>,
    at: usize,
}

impl Blocks<'_> {
    /// Reads the next block, if this one is over. True: there is none.
    fn is_over(&mut self) -> io::Result<bool> {
        while self.at == self.block.len() {
            self.at = 0;
            match self.part.blocks.get(self.next) {
                Some(offset) => {
                    self.block.resize(self.spooled.block, 0);
                    self.spooled.file.read_exact_at(&mut self.block, *offset)?;
                }
                None if self.next == self.part.blocks.len() => self.block.clone_from(&self.part.tail),
                None => return Ok(true),
            }
            self.next += 1;
        }
        Ok(false)
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.read_exact(&mut byte)?;
        Ok(u8::from_le_bytes(byte))
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(number)
    }

    fn copy(&mut self, mut bytes: usize, into: &mut Vec<u8>) -> io::Result<()> {
        while bytes > 0 {
            if self.is_over()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let rest = self.block.get(self.at..).unwrap_or_default();
            let (piece, _) = rest.split_at(rest.len().min(bytes));
            into.extend_from_slice(piece);
            self.at += piece.len();
            bytes -= piece.len();
        }
        Ok(())
    }
}

impl Read for Blocks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_over()? {
            return Ok(0);
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        let ((from, _), (to, _)) = (rest.split_at(count), buffer.split_at_mut(count));
        to.copy_from_slice(from);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_went() {
        let shards = 3_000;
        let mut spool = Spool::new(&std::env::temp_dir(), shards).unwrap();
        let text = |row: u64| vec![b'x'; (row * 37 % 9_000) as usize];
        let rows = 9_000;
        for row in 0..rows {
            spool
                .append((row % 7) as u32, row, row as u32, |out| {
                    push_field(0, &text(row), out);
                    push_field(3, b"", out);
                })
                .unwrap();
        }
        let spooled = spool.end();
        let mut seen = 0;
        for shard in 0..8 {
            let (mut read, mut buffer) = (spooled.rows(shard), Vec::new());
            while let Some(spot) = read.next(&mut buffer).unwrap() {
                assert_eq!((spot.row % 7, spot.host), (u64::from(shard), spot.row as u32));
                let fields: Vec<_> = fields(&buffer[spot.at..]).collect();
                assert_eq!(fields, [(0, &*text(spot.row)), (3, &b""[..])]);
                seen += 1;
            }
            spooled.free(shard);
        }
        assert_eq!(seen, rows);
    }
}
