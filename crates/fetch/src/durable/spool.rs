//! Copies a list that comes through a pipe, which cannot be read again after a crash.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;

use overlapped_proto::journal::{self, Listed};
use overlapped_proto::prefix::Prefix;

use super::manifest::hash;
use crate::error::Error;
use crate::fs::Folder;
use crate::sink::at;

/// The copy while it grows, its checksum, and the complete copy.
pub(super) const NAMES: [&str; 3] = [LIST, SUM, WHOLE];
const LIST: &str = "list";
const SUM: &str = "list.sum";
const WHOLE: &str = "list.whole";

/// A list that is copied to the run directory.
pub(crate) enum Spooled {
    /// The copy is complete.
    Whole(PathBuf),
    /// The list is still being read.
    Coming(Box<dyn Read + Send>),
}

/// Opens the copy in `folder`; the missing part is read `from` the pipe.
///
/// # Errors
///
/// The disk fails; the complete copy does not have its checksum.
pub(super) fn open(folder: &Folder, from: Box<dyn Read + Send>) -> Result<Spooled, Error> {
    let [path, whole] = [LIST, WHOLE].map(|name| folder.path().join(name));
    let failed = |error: io::Error| Error::output(at(&path, &error));
    match folder.read(OsStr::new(WHOLE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(Error::journal(&whole, &error.to_string()));
        }
        Err(error) => return Err(Error::output_path(&whole, error)),
        Ok(file) => {
            return match is_whole(folder, &file) {
                true => Ok(Spooled::Whole(whole)),
                false => Err(Error::journal(
                    &whole,
                    "the copy of the list is damaged or was truncated: only --overwrite begins anew",
                )),
            };
        }
    }
    let file = folder.open_or_create(OsStr::new(LIST), 0o600).map_err(failed)?;
    let known = file.metadata().map_err(failed)?.len();
    let folder = folder.below(std::path::Path::new("")).map_err(failed)?;
    let tee = Tee { from, file, known, folder, path, written: 0, prefix: Prefix::default() };
    Ok(Spooled::Coming(Box::new(tee)))
}

/// True if the copy has its checksum.
fn is_whole(folder: &Folder, file: &File) -> bool {
    let mut prefix = Prefix::default();
    let mut sum = Vec::new();
    let read = folder.read(OsStr::new(SUM)).and_then(|mut file| file.read_to_end(&mut sum));
    let hashed = read.and_then(|_| hash(file, u64::MAX, &mut prefix));
    hashed.is_ok() && sum == sum_of(prefix.listed())
}

fn sum_of(Listed { bytes, sum }: Listed) -> Vec<u8> {
    let text = format!("{bytes} bytes, xxh3 {sum:016x}");
    format!("{text}, crc32c {:08x}\n", journal::checksum(text.as_bytes())).into_bytes()
}

/// The inner error of an [`io::Error`] if the pipe could be read but the copy could not be written.
#[derive(Debug)]
pub(crate) struct DiskFailed(pub(crate) io::Error);

impl DiskFailed {
    /// True if this is the inner error.
    pub(crate) fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl fmt::Display for DiskFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for DiskFailed {}

struct Tee {
    from: Box<dyn Read + Send>,
    file: File,
    /// Bytes of the copy by an earlier process that have not been read from the pipe again.
    known: u64,
    folder: Folder,
    path: PathBuf,
    /// Bytes read from the pipe.
    written: u64,
    prefix: Prefix,
}

impl Tee {
    fn keep(&mut self, block: &[u8], ended: bool) -> io::Result<()> {
        self.file.write_all(block)?;
        if ended {
            self.file.sync_all()?;
            self.seal().map_err(|error| at(&self.folder.path().join(SUM), &error))?;
            self.folder.rename(OsStr::new(LIST), &self.folder, OsStr::new(WHOLE))?;
            self.folder.sync()?;
        }
        Ok(())
    }

    /// Writes the checksum, before the copy is renamed to its complete name.
    fn seal(&self) -> io::Result<()> {
        let mut sum = self.folder.create_anew(OsStr::new(SUM), 0o600)?;
        sum.write_all(&sum_of(self.prefix.listed()))?;
        sum.sync_all()?;
        self.folder.sync()
    }

    fn note(&mut self, block: &[u8]) {
        self.prefix.read(self.written, block);
        self.written += block.len() as u64;
    }

    /// Compares a block with the copy. After a power failure the unsynced part of the copy may read as zeros; these are
    /// written again.
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
            let count = self.from.read(buffer.get_mut(..room).expect("the room is within the buffer"))?;
            self.note(buffer.get(..count).expect("a read fits into its buffer"));
            self.compare(buffer.get(..count).expect("a read fits into its buffer"))?;
            return Ok(count);
        }
        let count = self.from.read(buffer)?;
        self.note(buffer.get(..count).expect("a read fits into its buffer"));
        let ended = count == 0 && !buffer.is_empty();
        let kept = self.keep(buffer.get(..count).expect("a read fits into its buffer"), ended);
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
        let folder = Folder::open(&directory).unwrap();
        let Spooled::Coming(mut read) = open(&folder, Box::new(io::Cursor::new(list.to_vec()))).unwrap()
        else {
            panic!("it is not all there")
        };
        let mut given = Vec::new();
        match (read.read_to_end(&mut given), expected) {
            (Ok(_), Ok(())) => {
                assert_eq!(given, list);
                assert_eq!(std::fs::read(directory.join("list.whole")).unwrap(), list);
                check_whole(&folder, list);
            }
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    /// Damage to a complete copy was not detected.
    fn check_whole(folder: &Folder, list: &[u8]) {
        let opened = || open(folder, Box::new(io::empty()));
        assert!(matches!(opened(), Ok(Spooled::Whole(_))));
        let mut other = list.to_vec();
        other.rotate_left(1);
        for damaged in [&list[..list.len() - 1], &other] {
            std::fs::write(folder.path().join(WHOLE), damaged).unwrap();
            assert!(opened().err().unwrap().to_string().contains("--overwrite"));
        }
        std::fs::write(folder.path().join(WHOLE), list).unwrap();
        std::fs::remove_file(folder.path().join(SUM)).unwrap();
        assert!(opened().is_err());
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
