//! An append-only output file. Its errors name the path.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use overlapped_proto::journal::{End, checksum};
use overlapped_proto::limits::OUTPUT_END_BYTES;

use super::{Cut, Existing, at, sync_name};

/// A file that records are appended to.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    file: Arc<File>,
    length: u64,
    /// Its last bytes, for the checksum of its end.
    last: Vec<u8>,
    /// Its directory entry may not be synced yet.
    fresh: bool,
    /// It has old content, which is truncated by the first write, not when a command is refused.
    replaces: bool,
}

impl OutputFile {
    /// A new file. An existing file without content, or a device, is used as it is. Content to be replaced is kept until
    /// the run begins to write.
    ///
    /// # Errors
    ///
    /// It exists and is to be kept ([`io::ErrorKind::AlreadyExists`]), or it cannot be created.
    ///
    /// # Blocking
    ///
    /// On the disk, like all of this type.
    pub fn create(path: PathBuf, existing: Existing) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true);
        match existing {
            Existing::Replace => options.create(true).truncate(false),
            Existing::Keep => options.create_new(true),
        };
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && holds_nothing(&path) => {
                OpenOptions::new().write(true).open(&path)
            }
            opened => opened,
        }?;
        let meta = file.metadata()?;
        let replaces = meta.is_file() && meta.len() > 0;
        Ok(Self { file: Arc::new(file), path, length: 0, last: Vec::new(), fresh: true, replaces })
    }

    /// The file of a resumed run, truncated to `length`; what followed is written again.
    ///
    /// # Errors
    ///
    /// It is shorter than that, or cannot be opened.
    pub fn resume(path: PathBuf, length: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(length == 0).truncate(false).open(&path)?;
        let found = file.metadata()?.len();
        if found < length {
            let what =
                format!("it has {found} bytes, but the run has written {length}: it was changed since");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        if found > length {
            file.set_len(length)?;
            file.sync_all()?;
        }
        let last = last_bytes(&file, length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Self { file: Arc::new(file), path, length, last, fresh: length == 0, replaces: false })
    }

    fn make_room(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.replaces) {
            self.file.set_len(0).map_err(|error| at(&self.path, &error))?;
        }
        Ok(())
    }

    /// Records the last bytes.
    fn note(&mut self, written: &[u8]) {
        self.length += written.len() as u64;
        let kept = OUTPUT_END_BYTES.saturating_sub(written.len()).min(self.last.len());
        self.last.drain(..self.last.len() - kept);
        self.last.extend_from_slice(
            written.get(written.len().saturating_sub(OUTPUT_END_BYTES)..).unwrap_or_default(),
        );
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Its end so far, and how to sync it.
    pub(super) fn cut(&mut self) -> io::Result<Cut> {
        if !self.file.metadata()?.is_file() {
            return Ok(Cut::default());
        }
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        let fresh = std::mem::take(&mut self.fresh);
        let sync = move || {
            file.sync_data().map_err(|error| at(&path, &error))?;
            if fresh { sync_name(&path) } else { Ok(()) }
        };
        let end = End { bytes: self.length, sum: checksum(&self.last) };
        Ok(Cut { end: Some(end), names: Vec::new(), sync: Some(Box::new(sync)) })
    }
}

fn holds_nothing(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_dir() && (!found.is_file() || found.len() == 0))
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.make_room()?;
        let written = (&*self.file).write(bytes).map_err(|error| at(&self.path, &error))?;
        self.note(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    /// Nothing is buffered here. Truncates old content, so that a run without records has an empty output.
    fn flush(&mut self) -> io::Result<()> {
        self.make_room()
    }
}

/// True if the file has at least this length, and the bytes before it have this checksum.
pub(crate) fn ends_with(file: &File, end: End) -> io::Result<bool> {
    let last = last_bytes(file, end.bytes)?;
    let whole = usize::try_from(end.bytes).unwrap_or(usize::MAX).min(OUTPUT_END_BYTES);
    Ok(last.len() == whole && checksum(&last) == end.sum)
}

/// The last bytes of the first `length`, or fewer if the file is shorter.
fn last_bytes(file: &File, length: u64) -> io::Result<Vec<u8>> {
    let from = length.saturating_sub(OUTPUT_END_BYTES as u64);
    let mut last = vec![0; usize::try_from(length - from).unwrap_or(OUTPUT_END_BYTES)];
    let mut read = 0;
    while let Some(rest) = last.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, from + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    last.truncate(read);
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However it was written, the end is that of the file.
    #[test]
    fn the_end_is_known_again() {
        let path = std::env::temp_dir().join(format!("overlapped-output-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut output = OutputFile::create(path.clone(), Existing::Keep).unwrap();
        let mut length = 0;
        for (number, bytes) in [1, 4_000, 3, 200, 4_096, 9_000, 0, 5].into_iter().enumerate() {
            output.write_all(&vec![number as u8 + b'a'; bytes]).unwrap();
            length += bytes as u64;
            let end = output.cut().unwrap().end.unwrap();
            let file = File::open(&path).unwrap();
            assert!(end.bytes == length && ends_with(&file, end).unwrap(), "{length}");
            let other = End { bytes: length + 1, ..end };
            assert!(!ends_with(&file, other).unwrap(), "{length}");
            drop(std::mem::replace(&mut output, OutputFile::resume(path.clone(), length).unwrap()));
        }
        std::fs::remove_file(&path).unwrap();
    }

    /// It was emptied though the command was refused afterwards.
    #[test]
    fn what_is_replaced_stays_until_something_is_written() {
        let path = std::env::temp_dir().join(format!("overlapped-replaced-{}", std::process::id()));
        std::fs::write(&path, "of another day").unwrap();
        drop(OutputFile::create(path.clone(), Existing::Replace).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"of another day");
        OutputFile::create(path.clone(), Existing::Replace).unwrap().flush().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        std::fs::remove_file(&path).unwrap();
    }
}
