//! Files that are sent as the body of requests, one behind the other, with bytes between them.
//!
//! They stay open, and are read by position, so that several requests may send them at once, and a request may send them again.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
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

/// An open file whose content is sent as the body of requests, or several that are [joined](UploadFile::joined).
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
    parts: Arc<[Part]>,
    bytes: u64,
}

#[derive(Clone, Debug)]
enum Part {
    Held(Bytes),
    /// A file as it was when it was opened.
    File(Arc<File>, State),
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
    /// Of the reader, or of the disk; it has more than 16 GiB.
    ///
    /// # Blocking
    ///
    /// On the reader and on the disk.
    pub fn spool(reader: impl Read) -> io::Result<Self> {
        Self::spool_at_most(reader, limits::UPLOAD_SPOOL_BYTES_MAX)
    }

    fn spool_at_most(mut reader: impl Read, most: u64) -> io::Result<Self> {
        let (folder, name) = (std::env::temp_dir(), format!("overlapped-upload-{}", std::process::id()));
        let copying = |error: io::Error| {
            let what = format!("what is no plain file is copied to {} first: {error}", folder.display());
            io::Error::new(error.kind(), what)
        };
        let mut file = unnamed(&folder, &name).map_err(copying)?;
        let (mut block, mut copied) = (vec![0; limits::UPLOAD_BLOCK_BYTES], 0);
        loop {
            let read = match reader.read(&mut block) {
                Ok(0) => return Self::of(file),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            copied += read as u64;
            if copied > most {
                return Err(copying(io::Error::other(format!("it has more than {most} bytes"))));
            }
            file.write_all(block.get(..read).unwrap_or_default()).map_err(copying)?;
        }
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

    /// What is held in memory, to be [joined](UploadFile::joined) with files.
    pub fn held(content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self { bytes: content.len() as u64, parts: [Part::Held(content)].into() }
    }

    /// The content of all of these, in their order.
    pub fn joined(files: impl IntoIterator<Item = Self>) -> Self {
        let files: Vec<Self> = files.into_iter().collect();
        let bytes = files.iter().map(Self::bytes).sum();
        Self { parts: files.iter().flat_map(|file| file.parts.iter().cloned()).collect(), bytes }
    }

    fn of(file: File) -> io::Result<Self> {
        let state = State::of(&file)?;
        Ok(Self { parts: [Part::File(Arc::new(file), state)].into(), bytes: state.bytes })
    }

    /// Its length when it was opened.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The files themselves.
    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        self.parts.iter().filter_map(|part| match part {
            Part::Held(_) => None,
            Part::File(file, _) => Some(&**file),
        })
    }

    /// Some of its bytes, at most `most`, from the position `at`, which is before its end. With the last of a file it is checked
    /// that it is still as it was.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has changed since it was opened.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn read(&self, at: u64, most: usize) -> io::Result<Bytes> {
        let mut at = at;
        for part in &*self.parts {
            if at < part.bytes() {
                return part.read(at, most);
            }
            at -= part.bytes();
        }
        Ok(Bytes::new())
    }

    /// Reads it from its beginning.
    ///
    /// # Blocking
    ///
    /// Reading blocks on the disk, and fails if a file has changed since it was opened.
    #[must_use]
    pub fn reader(&self) -> impl Read + use<> {
        Reader { file: self.clone(), at: 0, block: Bytes::new() }
    }

    /// The SHA-256 of its content.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has changed since it was opened.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn sha256(&self) -> io::Result<[u8; 32]> {
        let (mut digest, mut at) = (Sha256::new(), 0);
        while at < self.bytes {
            let block = self.read(at, limits::UPLOAD_BLOCK_BYTES)?;
            digest.update(&block);
            at += block.len() as u64;
        }
        Ok(digest.finalize().into())
    }
}

struct Reader {
    file: UploadFile,
    at: u64,
    /// What was read and not given on.
    block: Bytes,
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.block.is_empty() && self.at < self.file.bytes {
            self.block = self.file.read(self.at, limits::UPLOAD_BLOCK_BYTES)?;
            self.at += self.block.len() as u64;
        }
        let read = Read::read(&mut &*self.block, into)?;
        let _ = self.block.split_to(read);
        Ok(read)
    }
}

impl Part {
    fn bytes(&self) -> u64 {
        match self {
            Self::Held(content) => content.len() as u64,
            Self::File(_, state) => state.bytes,
        }
    }

    /// At most `most` of its bytes, from the position `at`, which is before its end.
    fn read(&self, at: u64, most: usize) -> io::Result<Bytes> {
        let left = self.bytes() - at;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(most);
        let (file, state) = match self {
            Self::Held(content) => {
                // What is held has a length that fits.
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                return Ok(content.slice(at..at + length));
            }
            Self::File(file, state) => (file, state),
        };
        let mut block = vec![0; length];
        let changed = || io::Error::other("the file was changed while it was sent");
        let read = file.read_exact_at(&mut block, at);
        read.map_err(|error| if error.kind() == io::ErrorKind::UnexpectedEof { changed() } else { error })?;
        if length as u64 == left && State::of(file)? != *state {
            return Err(changed());
        }
        Ok(block.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn content(file: &UploadFile) -> Vec<u8> {
        let mut content = Vec::new();
        file.reader().read_to_end(&mut content).unwrap();
        content
    }

    #[test]
    fn a_reader_without_an_end_fills_no_disk() {
        let endless = UploadFile::spool_at_most(io::repeat(b'x'), 100_000).unwrap_err();
        assert!(endless.to_string().contains("more than 100000 bytes"), "{endless}");
        let file = UploadFile::spool_at_most(io::repeat(b'x').take(100_000), 100_000).unwrap();
        assert_eq!((file.bytes(), content(&file) == vec![b'x'; 100_000]), (100_000, true));
    }

    #[test]
    fn what_is_joined_is_read_in_order_from_any_position() {
        let spooled = |bytes: &'static [u8]| UploadFile::spool(bytes).unwrap();
        let none = || UploadFile::held(&b""[..]);
        let inner = UploadFile::joined([spooled(b"cde"), none(), UploadFile::held(&b"f"[..])]);
        let file = UploadFile::joined([
            none(),
            UploadFile::held(&b"ab"[..]),
            spooled(b""),
            inner,
            spooled(b"gh"),
            none(),
        ]);
        assert_eq!((file.bytes(), content(&file)), (8, b"abcdefgh".to_vec()));
        for (at, expected) in ["ab", "b", "cd", "de", "e", "f", "gh", "h", ""].into_iter().enumerate() {
            assert_eq!(file.read(at as u64, 2).unwrap(), expected);
        }
        assert_eq!(file.sha256().unwrap(), UploadFile::held(&b"abcdefgh"[..]).sha256().unwrap());
        assert_eq!(content(&UploadFile::joined([])), b"");
    }

    #[test]
    fn each_file_that_is_joined_must_stay_as_it_is() {
        let one = UploadFile::spool(&b"ab"[..]).unwrap();
        let file = UploadFile::joined([one.clone(), UploadFile::held(&b"cd"[..])]);
        one.files().next().unwrap().set_len(1).unwrap();
        assert!(file.read(0, 9).is_err() && file.sha256().is_err());
        assert_eq!(file.read(2, 9).unwrap(), "cd");
    }
}
