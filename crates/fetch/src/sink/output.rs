//! A file that records are appended to. Its errors say which file.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Cut, Existing, at, sync_name};

/// A file that records are appended to, and nothing else.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    file: Arc<File>,
    length: u64,
    /// Its name may not be on the disk yet.
    fresh: bool,
}

impl OutputFile {
    /// A new file. One that holds nothing, such as an empty file or a device, is taken as it is.
    ///
    /// # Errors
    ///
    /// It is there and is to be kept ([`io::ErrorKind::AlreadyExists`]), or it cannot be made.
    ///
    /// # Blocking
    ///
    /// On the disk, like all of this type.
    pub fn create(path: PathBuf, existing: Existing) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true);
        match existing {
            Existing::Replace => options.create(true).truncate(true),
            Existing::Keep => options.create_new(true),
        };
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && holds_nothing(&path) => {
                OpenOptions::new().write(true).open(&path)
            }
            opened => opened,
        };
        Ok(Self { file: Arc::new(file?), path, length: 0, fresh: true })
    }

    /// The file of a run that goes on: what is behind `length` is cut off, since it is written again.
    ///
    /// # Errors
    ///
    /// It is shorter than that, or cannot be opened.
    pub fn resume(path: PathBuf, length: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create(length == 0).truncate(false).open(&path)?;
        let found = file.metadata()?.len();
        if found < length {
            let what = format!("it has {found} bytes and the run has written {length}: it was changed since");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        if found > length {
            file.set_len(length)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(length))?;
        Ok(Self { file: Arc::new(file), path, length, fresh: length == 0 })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What was written up to here, and how to have it on the disk.
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
        Ok(Cut { offset: Some(self.length), names: Vec::new(), sync: Some(Box::new(sync)) })
    }
}

fn holds_nothing(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_dir() && (!found.is_file() || found.len() == 0))
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = (&*self.file).write(bytes).map_err(|error| at(&self.path, &error))?;
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
