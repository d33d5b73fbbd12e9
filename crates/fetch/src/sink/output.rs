//! An append-only output file, plain or compressed. Its errors name the path.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions, rename};
use std::io::{self, Read as _, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use overlapped_proto::journal::{Checkpoint, End};
use overlapped_proto::limits::OUTPUT_BUFFER_BYTES;

use super::packed::Packer;
use super::{Cut, Existing, at, sync_name};
use crate::fs::{open_own, open_pipe};
use crate::packing::Packing;

/// A file that records are appended to.
pub struct OutputFile {
    path: PathBuf,
    file: Arc<File>,
    /// Its length, and the checksum of all of it.
    end: End,
    /// Its directory entry may not be synced yet.
    fresh: bool,
    /// It has old content, which is truncated by the first write, not when a command is refused.
    replaces: bool,
    /// Compresses what is written.
    packer: Option<Packer>,
}

impl fmt::Debug for OutputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputFile").field("path", &self.path).field("end", &self.end).finish_non_exhaustive()
    }
}

impl OutputFile {
    /// A new file. An empty file, or whatever is below `/dev`, is used as it is. Content to be replaced is kept until the
    /// run begins to write. A file is replaced by writing to it, so it must be a plain file of this user with one name:
    /// what a link or a second name leads to would be lost.
    ///
    /// # Errors
    ///
    /// It exists and is to be kept ([`io::ErrorKind::AlreadyExists`]); it is something else than such a file
    /// ([`io::ErrorKind::InvalidInput`]); it cannot be created.
    ///
    /// # Blocking
    ///
    /// On the disk, like all of this type. A named pipe is not waited for; [`OutputFile::pipe`] does that.
    pub fn create(path: PathBuf, existing: Existing) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true);
        let file = match existing {
            Existing::Replace => open_own(&path, options.create(true).truncate(false)),
            Existing::Keep => match options.clone().create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !holds_records(&path) => {
                    open_own(&path, &mut options)
                }
                opened => opened,
            },
        }?;
        let meta = file.metadata()?;
        let replaces = meta.is_file() && meta.len() > 0;
        if replaces && existing == Existing::Keep {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Self { file: Arc::new(file), path, end: End::default(), fresh: true, replaces, packer: None })
    }

    /// A named pipe, once it has a reader. It keeps nothing, so a run that writes to it cannot be durable.
    ///
    /// # Errors
    ///
    /// It is no named pipe, or cannot be opened.
    ///
    /// # Blocking
    ///
    /// Until the pipe has a reader.
    pub fn pipe(path: PathBuf) -> io::Result<Self> {
        let file = open_pipe(&path)?;
        Ok(Self {
            file: Arc::new(file),
            path,
            end: End::default(),
            fresh: false,
            replaces: false,
            packer: None,
        })
    }

    /// The file of a resumed run, truncated to its `checkpoint`; what followed is written again. Its content was compared
    /// with the checksum when the state was opened.
    ///
    /// # Errors
    ///
    /// It is shorter than that; it is no plain file of this user with one name; it cannot be opened; the checkpoint is
    /// that of another kind of sink.
    pub fn resume(path: PathBuf, checkpoint: &Checkpoint) -> io::Result<Self> {
        let other = || io::Error::new(io::ErrorKind::InvalidData, "the state has no length of it");
        let end = checkpoint.end().ok_or_else(other)?;
        let (mut options, length) = (OpenOptions::new(), end.bytes);
        options.read(true).write(true).create(length == 0).truncate(false);
        let mut file = open_own(&path, &mut options)?;
        let meta = file.metadata()?;
        let found = meta.len();
        if found < length {
            let what =
                format!("it has {found} bytes, but the run has written {length}: it was changed since");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        if found > length {
            file.set_len(length)?;
            file.sync_all()?;
        }
        if meta.is_file() {
            file.seek(SeekFrom::Start(length))?;
        }
        Ok(Self { file: Arc::new(file), path, end, fresh: length == 0, replaces: false, packer: None })
    }

    /// Compresses what is written from now on.
    pub(super) fn packed(self, packing: Option<Packing>) -> Self {
        Self { packer: packing.map(Packer::new), ..self }
    }

    /// Gives it another name, beside its own, now that it is whole.
    pub(super) fn publish(&mut self, path: &Path) -> io::Result<()> {
        self.file
            .sync_all()
            .and_then(|()| rename(&self.path, path))
            .map_err(|error| at(&self.path, &error))?;
        path.clone_into(&mut self.path);
        sync_name(path)
    }

    fn make_room(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.replaces) {
            self.file.set_len(0).map_err(|error| at(&self.path, &error))?;
        }
        Ok(())
    }

    /// Fails if another program has removed, replaced or truncated the file, so that records would be lost.
    fn check(&self) -> io::Result<()> {
        let own = self.file.metadata()?;
        let is_own = |found: &Metadata| (found.dev(), found.ino()) == (own.dev(), own.ino());
        let what = if !own.is_file() {
            return Ok(());
        } else if !self.path.metadata().as_ref().is_ok_and(is_own) {
            "it was removed or replaced while the run wrote to it".to_owned()
        } else if own.len() < self.end.bytes {
            let (found, written) = (own.len(), self.end.bytes);
            format!(
                "it has {found} bytes, but the run has written {written}: another program has truncated it"
            )
        } else {
            return Ok(());
        };
        Err(at(&self.path, &io::Error::other(what)))
    }

    /// Its length so far, and the checksum of all of it.
    pub(super) fn end(&self) -> End {
        self.end
    }

    pub(super) fn is_empty(&self) -> bool {
        self.end.bytes == 0
    }

    /// Ends the member of a compressed file, so that the file is whole as it is.
    fn end_member(&mut self) -> io::Result<()> {
        let is_empty = self.is_empty();
        let Some(packer) = &mut self.packer else { return Ok(()) };
        let mut packed = packer.end()?;
        if packed.is_empty() && is_empty {
            packed = packer.empty()?;
        }
        Appended(self).write_all(&packed)
    }

    /// Flushes it, and returns its end so far, and how to sync it. A compressed file is whole up to there.
    pub(super) fn cut(&mut self) -> io::Result<Cut> {
        self.end_member()?;
        self.flush()?;
        if !self.file.metadata()?.is_file() {
            return Ok(Cut::default());
        }
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        let fresh = std::mem::take(&mut self.fresh);
        let sync = move || {
            file.sync_data().map_err(|error| at(&path, &error))?;
            if fresh { sync_name(&path) } else { Ok(()) }
        };
        Ok(Cut { checkpoint: Some(self.end.into()), names: Vec::new(), sync: Some(Box::new(sync)) })
    }
}

/// True if it is a file with something in it.
fn holds_records(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() > 0)
}

/// The file behind the compression.
struct Appended<'a>(&'a mut OutputFile);

impl Write for Appended<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self(output) = self;
        output.make_room()?;
        output.check()?;
        let written = (&*output.file).write(bytes).map_err(|error| at(&output.path, &error))?;
        output.end.append(bytes.get(..written).expect("no more is written than was given"));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(packer) = &mut self.packer else { return Appended(self).write(bytes) };
        let packed = packer.push(bytes).map_err(|error| at(&self.path, &error))?;
        Appended(self).write_all(&packed)?;
        Ok(bytes.len())
    }

    /// Nothing is buffered here but by the compression. Truncates old content, so that a run without records has an empty
    /// output, and checks that the file is still there.
    fn flush(&mut self) -> io::Result<()> {
        if let Some(packer) = &mut self.packer {
            let packed = packer.flush().map_err(|error| at(&self.path, &error))?;
            Appended(self).write_all(&packed)?;
        }
        self.make_room()?;
        self.check()
    }
}

/// True if the file has at least this length, and everything up to there has this checksum.
///
/// # Blocking
///
/// On the disk, for all of the file.
pub(crate) fn begins_with(file: &File, end: End) -> io::Result<bool> {
    let mut block = vec![0; OUTPUT_BUFFER_BYTES];
    let mut read = End::default();
    while read.bytes < end.bytes {
        let rest = usize::try_from(end.bytes - read.bytes).unwrap_or(usize::MAX).min(block.len());
        let into = block.get_mut(..rest).expect("no more than the block");
        match file.read_at(into, read.bytes) {
            Ok(0) => return Ok(false),
            Ok(count) => read.append(into.get(..count).expect("a read fits into its buffer")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read == end)
}

/// The length and the checksum of a whole file.
///
/// # Blocking
///
/// On the disk, for all of the file.
pub(crate) fn whole_end(mut file: &File) -> io::Result<End> {
    let mut block = vec![0; OUTPUT_BUFFER_BYTES];
    let mut read = End::default();
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(read),
            Ok(count) => read.append(block.get(..count).expect("a read fits into its buffer")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;

    /// However it was written, the checksum is that of the file, and any other byte has another one.
    #[test]
    fn what_was_written_is_known_again() {
        let path = std::env::temp_dir().join(format!("overlapped-output-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut output = OutputFile::create(path.clone(), Existing::Keep).unwrap();
        let mut length = 0;
        for (number, bytes) in [1, 4_000, 3, 200, 4_096, 9_000, 0, 5].into_iter().enumerate() {
            output.write_all(&vec![number as u8 + b'a'; bytes]).unwrap();
            length += bytes as u64;
            let end = output.cut().unwrap().checkpoint.unwrap().end().unwrap();
            let file = File::open(&path).unwrap();
            assert!(end.bytes == length && begins_with(&file, end).unwrap(), "{length}");
            let other = End { bytes: length + 1, ..end };
            assert!(!begins_with(&file, other).unwrap(), "{length}");
            drop(std::mem::replace(&mut output, OutputFile::resume(path.clone(), &end.into()).unwrap()));
        }
        let end = output.cut().unwrap().checkpoint.unwrap().end().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2_000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(!begins_with(&File::open(&path).unwrap(), end).unwrap(), "a bit of an early record");
        std::fs::remove_file(&path).unwrap();
    }

    /// The run ended as if all was well, and its records were gone.
    #[test]
    fn a_file_that_another_program_takes_away_is_noticed() {
        let path = std::env::temp_dir().join(format!("overlapped-taken-{}", std::process::id()));
        let aside = path.with_extension("aside");
        let check = |take: &dyn Fn(), expected: &str| {
            let _ = std::fs::remove_file(&path);
            let mut output = OutputFile::create(path.clone(), Existing::Keep).unwrap();
            output.write_all(b"a record").and_then(|()| output.flush()).unwrap();
            take();
            for error in [output.flush().unwrap_err(), output.write_all(b"another").unwrap_err()] {
                assert!(error.to_string().contains(expected), "{error}");
            }
        };
        check(&|| std::fs::remove_file(&path).unwrap(), "removed or replaced");
        check(&|| std::fs::rename(&path, &aside).unwrap(), "removed or replaced");
        let replace = || {
            std::fs::rename(&path, &aside).unwrap();
            std::fs::write(&path, "of another program").unwrap();
        };
        check(&replace, "removed or replaced");
        check(&|| File::create(&path).unwrap().set_len(3).unwrap(), "has written 8");
        std::fs::remove_file(&path).and_then(|()| std::fs::remove_file(&aside)).unwrap();
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
