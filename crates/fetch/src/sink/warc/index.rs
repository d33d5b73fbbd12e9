//! The index of an archive: its lines wait in a file beside it, `F.cdxj.part`, and are sorted at the end, in bounded memory.
//!
//! Parts that fit into memory are sorted and written to an unlinked file, one after the other; then they are merged. A part is
//! read through a buffer of its own, so that memory is the same for any number of lines.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use overlapped_proto::journal::End;
use overlapped_proto::limits;
use overlapped_proto::record::cdxj::{self, Capture};

use super::super::built::{build, building, check, expect_free, taken};
use super::super::{Existing, OutputFile};
use super::Sync;
use super::place::{self, Place};
use crate::fs::{open_own, unnamed};

/// An index, and the lines for it.
pub(super) struct Index {
    path: PathBuf,
    lines: OutputFile,
    lines_path: PathBuf,
    buffer: Vec<u8>,
}

impl Index {
    /// The index of the archive at `path`, with the lines up to `place`.
    ///
    /// # Errors
    ///
    /// One is there that is to be kept ([`io::ErrorKind::AlreadyExists`]); those of [`OutputFile`].
    pub(super) fn open(path: &Path, place: &Place, is_new: bool, existing: Existing) -> io::Result<Self> {
        let path = place::index(path);
        check(&path)?;
        let lines_path = lines(&path);
        if is_new && existing == Existing::Keep {
            expect_free(&[path.clone(), building(&path)])?;
        }
        let lines = if is_new {
            let is_taken = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
            let created = OutputFile::create(lines_path.clone(), existing);
            created.map_err(|error| if is_taken(&error) { taken(&lines_path) } else { error })?
        } else {
            OutputFile::resume(lines_path.clone(), &place.index.into())?
        };
        Ok(Self { path, lines, lines_path, buffer: Vec::new() })
    }

    pub(super) fn push(&mut self, capture: &Capture<'_>) -> io::Result<()> {
        cdxj::write(capture, &mut self.buffer);
        if self.buffer.len() >= limits::OUTPUT_BUFFER_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.lines.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.write_out()?;
        self.lines.flush()
    }

    /// Where its lines end, and how to sync them.
    pub(super) fn cut(&mut self) -> io::Result<(End, Option<Sync>)> {
        self.flush()?;
        let sync = self.lines.cut()?.sync;
        Ok((self.lines.end(), sync))
    }

    /// Sorts the lines. `stays`: they are kept as long as the state of the run.
    pub(super) fn seal(&mut self, stays: bool) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        build(&self.path, |file| {
            let lines = open_own(&self.lines_path, OpenOptions::new().read(true))?;
            let mut to = BufWriter::with_capacity(limits::OUTPUT_BUFFER_BYTES, file);
            let scratch = || unnamed(&folder, ".overlapped-sorting");
            sort(BufReader::new(lines), &mut to, scratch, limits::SORT_BYTES)?;
            to.flush()
        })?;
        if stays { Ok(()) } else { std::fs::remove_file(&self.lines_path) }
    }
}

/// Where the lines of an index wait.
pub(crate) fn lines(index: &Path) -> PathBuf {
    let mut name = index.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Sorts lines by their bytes, in about `memory` bytes. `scratch` gives a file for what does not fit.
fn sort(
    mut from: impl BufRead,
    to: &mut impl Write,
    scratch: impl FnOnce() -> io::Result<File>,
    memory: usize,
) -> io::Result<()> {
    let mut part = Part::default();
    part.fill(&mut from, memory)?;
    if from.fill_buf()?.is_empty() {
        return part.write(to);
    }
    let mut file = scratch()?;
    let (mut ends, mut end) = (Vec::new(), 0);
    while !part.is_empty() {
        let mut writer = BufWriter::with_capacity(limits::OUTPUT_BUFFER_BYTES, &mut file);
        part.write(&mut writer)?;
        writer.flush()?;
        end += part.text.len() as u64;
        ends.push(end);
        part.fill(&mut from, memory)?;
    }
    drop(part);
    merge(&file, &ends, to, memory)
}

/// Lines in memory.
#[derive(Default)]
struct Part {
    text: Vec<u8>,
    /// Where each line is.
    lines: Vec<(usize, usize)>,
}

impl Part {
    /// Reads the next lines.
    fn fill(&mut self, from: &mut impl BufRead, memory: usize) -> io::Result<()> {
        self.text.clear();
        self.lines.clear();
        while self.text.len() + self.lines.len() * size_of::<(usize, usize)>() < memory {
            let start = self.text.len();
            if from.read_until(b'\n', &mut self.text)? == 0 {
                break;
            }
            self.lines.push((start, self.text.len()));
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn write(&mut self, to: &mut impl Write) -> io::Result<()> {
        let text = &self.text;
        let line = |(start, end): (usize, usize)| text.get(start..end).expect("a line is in the text");
        self.lines.sort_unstable_by(|a, b| line(*a).cmp(line(*b)));
        self.lines.iter().try_for_each(|at| to.write_all(line(*at)))
    }
}

/// Merges the sorted parts of a file that end there.
fn merge(file: &File, ends: &[u64], to: &mut impl Write, memory: usize) -> io::Result<()> {
    let buffer =
        (memory / ends.len().max(1)).clamp(limits::SORT_BUFFER_BYTES_MIN, limits::OUTPUT_BUFFER_BYTES);
    let mut start = 0;
    let mut parts = Vec::new();
    for &end in ends {
        parts.push(BufReader::with_capacity(buffer, Span { file, at: start, end }));
        start = end;
    }
    let mut next = BinaryHeap::new();
    for (number, part) in parts.iter_mut().enumerate() {
        let mut line = Vec::new();
        if part.read_until(b'\n', &mut line)? > 0 {
            next.push(Reverse((line, number)));
        }
    }
    while let Some(Reverse((mut line, number))) = next.pop() {
        to.write_all(&line)?;
        line.clear();
        let part = parts.get_mut(number).expect("a line is of a part");
        if part.read_until(b'\n', &mut line)? > 0 {
            next.push(Reverse((line, number)));
        }
    }
    Ok(())
}

/// A part of a file.
struct Span<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Span<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(block.len());
        let block = block.get_mut(..most).expect("at most the length of the block");
        let read = self.file.read_at(block, self.at)?;
        self.at += read as u64;
        if read == 0 && !block.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_in_any_memory() {
        let line =
            |number: u64| format!("{:05} {}\n", number * 7_919 % 10_007, "x".repeat((number % 90) as usize));
        let lines: Vec<_> = (0..2_000).map(line).collect();
        let mut expected = lines.clone();
        expected.sort();
        for memory in [1, 500, 20_000, 1 << 20] {
            let mut sorted = Vec::new();
            let scratch = || unnamed(&std::env::temp_dir(), ".overlapped-sort-test");
            sort(lines.concat().as_bytes(), &mut sorted, scratch, memory).unwrap();
            assert!(sorted == expected.concat().as_bytes(), "in {memory} bytes");
        }
        let mut none = Vec::new();
        sort(&b""[..], &mut none, || Err(io::ErrorKind::Other.into()), 1).unwrap();
        assert!(none.is_empty());
    }
}
