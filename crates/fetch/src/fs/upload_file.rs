//! A file that is sent as the body of requests.
//!
//! It stays open, and is read by position, so that several requests may send it at once, and a request may send it again.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use overlapped_proto::limits;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::retry_on_intr;
use sha2::{Digest, Sha256};

use super::folder::Folder;
use super::open_files::patiently;
use super::unnamed::unnamed;

/// An open file whose content is sent as the body of requests.
///
/// ```
/// use overlapped_fetch::{Config, Request, UploadFile};
///
/// # let path = std::env::temp_dir().join(format!("overlapped-doc-{}", std::process::id()));
/// # std::fs::write(&path, "hello")?;
/// let file = UploadFile::open(&path)?;
/// assert_eq!(file.bytes(), 5);
/// let config = Config { request: Request { body_file: Some(file), ..Request::default() }, ..Config::default() };
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UploadFile {
    file: Arc<File>,
    state: State,
}

/// What shows that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    bytes: u64,
    modified: SystemTime,
}

impl UploadFile {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or is no plain file: what a pipe has can be [spooled](UploadFile::spool).
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn open(path: &Path) -> io::Result<Self> {
        // A named pipe that nobody writes to does not block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Self::of(patiently(|| Ok(retry_on_intr(|| openat(CWD, path, flags, Mode::empty()))?.into()))?)
    }

    /// Copies what a reader has into an unnamed file in the directory for temporary files.
    ///
    /// # Errors
    ///
    /// Of the reader, or of the disk.
    ///
    /// # Blocking
    ///
    /// On the reader and on the disk.
    pub fn spool(mut reader: impl Read) -> io::Result<Self> {
        let name = format!("overlapped-upload-{}", std::process::id());
        let mut file = unnamed(&std::env::temp_dir(), &name)?;
        io::copy(&mut reader, &mut file)?;
        file.flush()?;
        file.seek(SeekFrom::Start(0))?;
        Self::of(file)
    }

    /// Opens a file beneath a directory, and follows no symbolic link on the way.
    ///
    /// # Errors
    ///
    /// As [`UploadFile::open`]; the path leads out of the directory.
    pub(crate) fn beneath(folder: &Folder, path: &Path) -> io::Result<Self> {
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if !path.components().all(inside) || path.components().count() > limits::FILE_DEPTH_MAX {
            return Err(io::Error::other("the path leads out of the directory, or is too deep"));
        }
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let parent: PathBuf = path
            .parent()
            .into_iter()
            .flat_map(Path::components)
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        Self::of(folder.below(&parent)?.read(name)?)
    }

    fn of(file: File) -> io::Result<Self> {
        let state = State::of(&file)?;
        Ok(Self { file: Arc::new(file), state })
    }

    /// Its length when it was opened.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.state.bytes
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// At most `most` of its bytes, from the position `at`, which is before its end. With the last of them it is checked that the
    /// file is still as it was.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has changed since it was opened.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn read(&self, at: u64, most: usize) -> io::Result<Bytes> {
        let left = self.state.bytes - at;
        let mut block = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(most)];
        let changed = || io::Error::other("the file was changed while it was sent");
        let read = self.file.read_exact_at(&mut block, at);
        read.map_err(|error| if error.kind() == io::ErrorKind::UnexpectedEof { changed() } else { error })?;
        if block.len() as u64 == left && State::of(&self.file)? != self.state {
            return Err(changed());
        }
        Ok(block.into())
    }

    /// The SHA-256 of its content.
    ///
    /// # Errors
    ///
    /// As [`UploadFile::read`].
    pub(crate) fn sha256(&self) -> io::Result<[u8; 32]> {
        let (mut digest, mut at) = (Sha256::new(), 0);
        while at < self.state.bytes {
            let block = self.read(at, limits::UPLOAD_BLOCK_BYTES)?;
            digest.update(&block);
            at += block.len() as u64;
        }
        Ok(digest.finalize().into())
    }
}

impl State {
    fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a plain file"));
        }
        Ok(Self { bytes: found.len(), modified: found.modified()? })
    }
}
