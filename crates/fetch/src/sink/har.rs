//! HAR 1.2. An archive has an end that closes it, so it gets its name at the end, like a table.
//!
//! Until then it is in a spool beside it, `F.har.part`, that has all but the end: its beginning and its entries are lines, of which each
//! but the first entry begins with a comma. So it is appended to and truncated like lines of NDJSON. [`Sink::seal`] adds the end and
//! moves it to its name: nothing is copied. If the list grows afterwards, the entries are copied back.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use overlapped_proto::record::{Record, har};

use super::built::{build, check};
use super::{Cut, Lines, OutputFile, Sink, SinkId};
use crate::fs::open_own;

/// The most bytes of the line with which an archive begins.
const BEGIN_BYTES_MAX: u64 = 1 << 10;

/// An archive, in its spool.
pub(super) struct Har {
    path: PathBuf,
    entries: Lines<OutputFile>,
}

impl Har {
    /// The archive at `path`, with what is in its spool already. `id`: its name in a durable run.
    ///
    /// # Errors
    ///
    /// Something else than a plain file is at `path` ([`io::ErrorKind::InvalidInput`]).
    pub(super) fn new(path: PathBuf, entries: Lines<OutputFile>, id: Option<SinkId>) -> io::Result<Self> {
        check(&path)?;
        let entries = match id {
            Some(id) => entries.durable(id),
            None => entries,
        };
        Ok(Self { path, entries })
    }
}

impl Sink for Har {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        self.entries.accept(record)
    }

    fn commit(&mut self) -> io::Result<()> {
        self.entries.commit()
    }

    fn cut(&mut self) -> io::Result<Cut> {
        self.entries.cut()
    }

    fn id(&self) -> Option<&SinkId> {
        self.entries.id()
    }

    fn seal(&mut self) -> io::Result<()> {
        self.entries.write_end(har::END)?.publish(&self.path)
    }
}

/// Makes the spool of the first `bytes` of a complete archive, which a run goes on with that had ended.
pub(super) fn take_back(archive: &Path, spool: &Path, bytes: u64) -> io::Result<()> {
    let archive = open_own(archive, OpenOptions::new().read(true))?;
    build(spool, |mut file| io::copy(&mut archive.take(bytes), &mut file).map(drop))
}

/// True if there are entries in the first `bytes` of a spool.
///
/// # Errors
///
/// It does not begin as an archive ([`io::ErrorKind::InvalidData`]): earlier versions have written it in another way.
pub(super) fn has_entries(spool: &Path, bytes: u64) -> io::Result<bool> {
    if bytes == 0 {
        return Ok(false);
    }
    let begin = first_line(spool)?;
    if !is_begin(&begin) || !begin.ends_with(b"\n") {
        let what = "it is of another version of this program: resume it with that one, or begin anew with --overwrite";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(bytes > begin.len() as u64)
}

/// True if the file at `path` begins as an archive of this program.
pub(crate) fn begins(path: &Path) -> io::Result<bool> {
    match first_line(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
        line => line.map(|line| is_begin(&line)),
    }
}

fn first_line(path: &Path) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let file = open_own(path, OpenOptions::new().read(true))?;
    BufReader::new(file.take(BEGIN_BYTES_MAX)).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// True if `line` is how an archive of this program begins.
pub(crate) fn is_begin(line: &[u8]) -> bool {
    line.starts_with(har::MARK)
}

/// True if `line` is how an archive ends.
pub(crate) fn is_end(line: &[u8]) -> bool {
    line == har::END
}
