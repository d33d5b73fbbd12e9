//! A list that comes through a pipe is gone when the process is; so it is written down while it is read.

use std::error::Error;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::sink::{at, sync_name};

/// What the list is called while it is being read, and when it is all there.
pub(super) const NAMES: [&str; 2] = ["list", "list.whole"];

/// A list on its way through the run directory.
pub(crate) enum Spooled {
    /// It is all there, as a file.
    Whole(PathBuf),
    /// It is still read.
    Coming(Box<dyn Read + Send>),
}

/// Opens the list of the run in `directory`; what is not there yet comes `from` the pipe.
pub(super) fn open(directory: &Path, from: Box<dyn Read + Send>) -> io::Result<Spooled> {
    let [path, whole] = NAMES.map(|name| directory.join(name));
    if whole.exists() {
        return Ok(Spooled::Whole(whole));
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    let known = file.metadata()?.len();
    Ok(Spooled::Coming(Box::new(Tee { from, file, known, path, whole })))
}

/// What stands in the [`io::Error`] of a list on its way if the pipe can be read, and the disk has failed.
#[derive(Debug)]
pub(crate) struct DiskFailed(pub(crate) io::Error);

impl DiskFailed {
    /// True if this is why a list cannot be read.
    pub(crate) fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl fmt::Display for DiskFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for DiskFailed {}

struct Tee {
    from: Box<dyn Read + Send>,
    file: File,
    /// Bytes that an earlier process has written down, and that are yet to come again.
    known: u64,
    path: PathBuf,
    whole: PathBuf,
}

impl Tee {
    fn keep(&mut self, block: &[u8], ended: bool) -> io::Result<()> {
        self.file.write_all(block)?;
        if ended {
            self.file.sync_all()?;
            std::fs::rename(&self.path, &self.whole)?;
            sync_name(&self.whole)?;
        }
        Ok(())
    }

    /// What comes again must be what came before, but for what the power went before it was on the disk: there the
    /// file has zeros, and is written once more.
    fn compare(&mut self, block: &[u8]) -> io::Result<()> {
        let differs = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
        let mut before = vec![0; block.len()];
        self.file.read_exact(&mut before).map_err(|error| self.failed(&error))?;
        self.known -= block.len() as u64;
        if block.is_empty() {
            return differs("it ends before the point that the stopped run had read: give all of it again");
        }
        if before.iter().zip(block).any(|(&was, &is)| was != is && was != 0) {
            return differs("it is not the list that the stopped run was reading");
        }
        if before != block {
            let back = self.file.seek_relative(-(block.len() as i64));
            back.and_then(|()| self.file.write_all(block)).map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), DiskFailed(at(&self.path, error)))
    }
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.known > 0 {
            let room = buffer.len().min(usize::try_from(self.known).unwrap_or(usize::MAX));
            let count = self.from.read(buffer.get_mut(..room).unwrap_or_default())?;
            self.compare(buffer.get(..count).unwrap_or_default())?;
            return Ok(count);
        }
        let count = self.from.read(buffer)?;
        let ended = count == 0 && !buffer.is_empty();
        let kept = self.keep(buffer.get(..count).unwrap_or_default(), ended);
        kept.map(|()| count).map_err(|error| self.failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of which so much was written down, as bytes, is given again.
    fn check(before: &[u8], list: &[u8], expected: Result<(), &str>) {
        let name = format!("overlapped-spool-{}-{:x}", std::process::id(), before.len() * 256 + list.len());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("list"), before).unwrap();
        let Spooled::Coming(mut read) = open(&directory, Box::new(io::Cursor::new(list.to_vec()))).unwrap()
        else {
            panic!("it is not all there")
        };
        let mut given = Vec::new();
        match (read.read_to_end(&mut given), expected) {
            (Ok(_), Ok(())) => {
                assert_eq!(given, list);
                assert_eq!(std::fs::read(directory.join("list.whole")).unwrap(), list);
            }
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_list_that_comes_again_is_the_same() {
        check(b"", b"a\nb\n", Ok(()));
        check(b"a\nb", b"a\nb\nc\n", Ok(()));
        check(b"a\nb\n", b"a\nx\nc\n", Err("not the list"));
        check(b"a\nb\nc\n", b"a\nb\n", Err("give all of it again"));
    }

    /// It was taken for another list.
    #[test]
    fn a_list_with_zeros_where_the_power_went_is_written_again() {
        check(b"a\n\0\0", b"a\nb\nc\n", Ok(()));
        check(b"\0\0b\n", b"a\nb\nc\nd\n", Ok(()));
    }
}
