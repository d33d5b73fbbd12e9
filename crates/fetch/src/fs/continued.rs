//! A file whose body is fetched in several runs (`-C -`).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use overlapped_proto::limits;
use sha2::{Digest, Sha256};

use super::{WholeFile, file_id, found, open_own, try_lock};

/// A body that is not whole yet, in `NAME.part`, until it is moved to its name. `NAME.part.from` has what it is of: a hash of the
/// URL, how much of it is synced, and the validator of the response, without which a body cannot be continued.
///
/// Dropped before [`PartFile::finish`], it is kept for another run.
#[derive(Debug)]
pub struct PartFile {
    file: File,
    path: PathBuf,
    url: String,
    validator: Option<String>,
    bytes: u64,
    synced: u64,
    is_finished: bool,
}

/// What an earlier run has left of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its bytes.
    pub bytes: u64,
    /// The entity tag or the date of the response that they are of.
    pub validator: String,
}

impl PartFile {
    /// What is left of the body of `url` for the file at `path`; `None`: nothing with which it could be continued.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not a plain file of this user.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn left(path: &Path, url: &str) -> io::Result<Option<Left>> {
        let mut text = String::new();
        match open_own(&beside(path, FROM), OpenOptions::new().read(true)) {
            Ok(file) => file.take(limits::PART_FROM_BYTES_MAX).read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut lines = text.lines();
        let (Some(of), Some(bytes), Some(validator)) = (lines.next(), lines.next(), lines.next()) else {
            return Ok(None);
        };
        let length = beside(path, PART).symlink_metadata().map_or(0, |found| found.len());
        let bytes = bytes.parse().ok().filter(|bytes| (1..=length).contains(bytes) && of == hash(url));
        Ok(bytes.map(|bytes| Left { bytes, validator: validator.to_owned() }))
    }

    /// Lets the next run begin anew.
    ///
    /// # Errors
    ///
    /// What is left cannot be removed.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn forget(path: &Path) -> io::Result<()> {
        remove(&beside(path, FROM))
    }

    /// Begins the body of `url` anew, or goes on behind `left` without its last `again` bytes, which come again.
    ///
    /// # Errors
    ///
    /// Another process has it, or has changed it; the disk.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn open(
        path: &Path,
        url: &str,
        validator: Option<String>,
        left: Option<(&Left, u64)>,
        mode: u32,
    ) -> io::Result<Self> {
        let part = beside(path, PART);
        let mut options = OpenOptions::new();
        let mut file = open_own(&part, options.write(true).create(true).truncate(false).mode(mode))?;
        let is_there = || Ok::<_, io::Error>(file_id(&part)? == found(&file)?.id);
        if !try_lock(&file)? || !is_there()? {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process fetches it"));
        }
        let bytes = match left {
            Some((left, again)) => {
                if Self::left(path, url)?.as_ref() != Some(left) {
                    return Err(io::Error::other("another process has changed it"));
                }
                left.bytes.checked_sub(again).expect("no more comes again than there is")
            }
            None => {
                remove(&beside(path, FROM))?;
                0
            }
        };
        file.set_len(bytes)?;
        file.seek(SeekFrom::Start(bytes))?;
        let (path, url) = (path.to_owned(), url.to_owned());
        Ok(Self { file, path, url, validator, bytes, synced: bytes, is_finished: false })
    }

    /// Moves the whole body to its name.
    ///
    /// # Errors
    ///
    /// It cannot be moved; then it is kept.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn finish(mut self) -> io::Result<()> {
        fs::rename(beside(&self.path, PART), &self.path)?;
        self.is_finished = true;
        remove(&beside(&self.path, FROM))
    }

    /// Syncs what is written, and records its length.
    fn sync(&mut self) -> io::Result<()> {
        let Some(validator) = &self.validator else { return Ok(()) };
        self.file.sync_data()?;
        let mut from = WholeFile::create(&beside(&self.path, FROM), MODE)?;
        write!(from, "{}\n{}\n{validator}\n", hash(&self.url), self.bytes)?;
        from.sync()?;
        from.finish()?;
        self.synced = self.bytes;
        Ok(())
    }
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        if self.bytes - self.synced >= limits::PART_SYNC_BYTES {
            self.sync()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        // An error: less of it can be continued, or it is left for another run to begin anew.
        let _ = match &self.validator {
            Some(_) => self.sync(),
            None => remove(&beside(&self.path, PART)),
        };
    }
}

const PART: &str = ".part";
const FROM: &str = ".part.from";
/// The validator may tell of content that is not public.
const MODE: u32 = 0o600;

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A URL may hold secrets.
fn hash(url: &str) -> String {
    Sha256::digest(url).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
