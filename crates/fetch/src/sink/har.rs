//! HAR 1.2. An archive has an end that closes it, so it is built at the end, like a table.
//!
//! Entries are appended to a spool beside it, `F.har.part`, one a line. [`Sink::seal`] copies them between the beginning and the
//! end of an archive, under a temporary name. Neither holds more than a piece of an entry in memory. The spool of a run that keeps
//! its state is kept with it, and removed with it, as with tables.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;

use overlapped_proto::limits;
use overlapped_proto::record::{Record, har};

use super::built::{build, check};
use super::{Cut, Lines, OutputFile, Sink, SinkId};
use crate::fs::open_own;

/// An archive, and its spool.
pub(super) struct Har {
    path: PathBuf,
    spool: Lines<OutputFile>,
    spool_path: PathBuf,
    /// The spool goes with the state of a durable run.
    stays: bool,
}

impl Har {
    /// The archive at `path`, with what is in its spool already. `id`: its name in a durable run.
    ///
    /// # Errors
    ///
    /// Something else than a plain file is at `path` ([`io::ErrorKind::InvalidInput`]).
    pub(super) fn new(
        path: PathBuf,
        (spool, spool_path): (Lines<OutputFile>, PathBuf),
        id: Option<SinkId>,
    ) -> io::Result<Self> {
        check(&path)?;
        let (stays, spool) = match id {
            Some(id) => (true, spool.durable(id)),
            None => (false, spool),
        };
        Ok(Self { path, spool, spool_path, stays })
    }

    fn write_to(&self, file: &File) -> io::Result<()> {
        let spool = open_own(&self.spool_path, OpenOptions::new().read(true))?;
        let spool = BufReader::with_capacity(limits::OUTPUT_BUFFER_BYTES, spool);
        let mut archive = BufWriter::with_capacity(limits::OUTPUT_BUFFER_BYTES, file);
        let mut begin = Vec::new();
        har::begin(env!("CARGO_PKG_VERSION"), &mut begin);
        archive.write_all(&begin)?;
        join(spool, &mut archive)?;
        archive.write_all(har::END)?;
        archive.flush()
    }
}

/// Copies lines with commas between them.
fn join(mut lines: impl BufRead, to: &mut impl Write) -> io::Result<()> {
    let mut is_ended = false;
    loop {
        let block = lines.fill_buf()?;
        if block.is_empty() {
            return if is_ended { to.write_all(b"\n") } else { Ok(()) };
        }
        if is_ended {
            to.write_all(b",\n")?;
        }
        let line = block.split(|byte| *byte == b'\n').next().unwrap_or(block);
        to.write_all(line)?;
        is_ended = line.len() < block.len();
        let used = line.len() + usize::from(is_ended);
        lines.consume(used);
    }
}

impl Sink for Har {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        self.spool.accept(record)
    }

    fn commit(&mut self) -> io::Result<()> {
        self.spool.commit()
    }

    fn cut(&mut self) -> io::Result<Cut> {
        self.spool.cut()
    }

    fn id(&self) -> Option<&SinkId> {
        self.spool.id()
    }

    fn seal(&mut self) -> io::Result<()> {
        self.commit()?;
        build(&self.path, |file| self.write_to(file))?;
        if self.stays { Ok(()) } else { std::fs::remove_file(&self.spool_path) }
    }
}

/// True if `line` is how an archive of this program begins.
pub(crate) fn is_begin(line: &[u8]) -> bool {
    line.starts_with(har::MARK)
}

/// True if `line` is how an archive ends.
pub(crate) fn is_end(line: &[u8]) -> bool {
    line == har::END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_wherever_a_block_ends() {
        for capacity in 1..12 {
            for (lines, expected) in [("", ""), ("a\n", "a\n"), ("a\nbc\nd\n", "a,\nbc,\nd\n")] {
                let mut joined = Vec::new();
                join(BufReader::with_capacity(capacity, lines.as_bytes()), &mut joined).unwrap();
                assert_eq!(String::from_utf8(joined).unwrap(), expected, "by {capacity}");
            }
        }
    }
}
