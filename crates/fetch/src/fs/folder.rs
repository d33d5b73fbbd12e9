//! Open directories. Files below one are accessed relative to its handle, one path component at a time, and symbolic
//! links are not followed, so that a directory cannot be swapped for a link.
//!
//! `openat2` with `RESOLVE_BENEATH` does the same in one call, on Linux only. Names are at most
//! [`overlapped_proto::limits::FILE_DEPTH_MAX`] deep, so one portable way is enough.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode, Stat, fchmod, fstat, mkdirat, openat, renameat,
    statat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};

use super::open_files::patiently;
use super::system;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Shared with the directories that [`Folder::below`] returns for the same one, so that they take no other descriptor.
    handle: Arc<File>,
    /// Its path when it was opened, for messages and records.
    path: PathBuf,
}

/// A file by device and inode number, which do not depend on its name.
pub(crate) type FileId = (u64, u64);

/// A file system's change time (ctime), in seconds and nanoseconds.
pub type Moment = (i64, u64);

/// The metadata of a directory entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) id: FileId,
    pub(crate) kind: FileType,
    pub(crate) bytes: u64,
    pub(crate) owner: u32,
    /// The permission bits.
    pub(crate) mode: u32,
    /// Its number of hard links.
    pub(crate) links: u64,
    /// When its content or an attribute was changed last (ctime). No call sets it to another time.
    pub(crate) changed: Moment,
}

impl Found {
    pub(crate) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    pub(crate) fn is_link(&self) -> bool {
        self.kind == FileType::Symlink
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// True if it belongs to the user of this process.
    pub(crate) fn is_own(&self) -> bool {
        self.owner == rustix::process::geteuid().as_raw()
    }

    /// True if another user may change it.
    pub(crate) fn is_shared(&self) -> bool {
        !self.is_own() || self.mode & 0o022 != 0
    }

    #[allow(clippy::unnecessary_cast, reason = "these fields have other types on other systems")]
    fn of(stat: &Stat) -> Self {
        Self {
            id: (stat.st_dev as u64, stat.st_ino as u64),
            kind: FileType::from_raw_mode(stat.st_mode as _),
            bytes: stat.st_size as u64,
            owner: stat.st_uid as u32,
            mode: stat.st_mode as u32 & 0o7777,
            links: stat.st_nlink as u64,
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }
}

/// The metadata of an open file.
pub(crate) fn found(file: &File) -> io::Result<Found> {
    Ok(Found::of(&fstat(file)?))
}

/// All methods block on the disk.
impl Folder {
    /// Opens a directory given by the user, which may be a link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let named = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = open(CWD, named, flags, Mode::empty())?;
        Ok(Self { handle: Arc::new(handle), path: path.to_owned() })
    }

    /// The parent directory of this path.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Self::open(path.parent().unwrap_or(Path::new("")))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its metadata.
    pub(crate) fn found(&self) -> io::Result<Found> {
        found(&self.handle)
    }

    /// Opens a directory in this one.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotADirectory`]: it is something else, such as a link to a directory.
    pub(crate) fn folder(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = open(self.handle.as_fd(), Path::new(name), flags, Mode::empty());
        let handle = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
            // Some systems report a link in this way.
            Some(Errno::LOOP | Errno::MLINK) => io::ErrorKind::NotADirectory.into(),
            _ => error,
        })?;
        Ok(Self { handle: Arc::new(handle), path: self.path.join(name) })
    }

    /// Opens a directory below this one.
    ///
    /// # Errors
    ///
    /// As [`Folder::folder`]; the path leaves this directory.
    pub(crate) fn below(&self, relative: &Path) -> io::Result<Self> {
        self.walk(relative, |folder, name| folder.folder(name))
    }

    /// The same, and creates missing directories.
    pub(crate) fn make_below(&self, relative: &Path) -> io::Result<Self> {
        self.walk(relative, |folder, name| match folder.folder(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                folder.make(name, 0o777)?;
                folder.folder(name)
            }
            opened => opened,
        })
    }

    fn walk(&self, relative: &Path, step: impl Fn(&Self, &OsStr) -> io::Result<Self>) -> io::Result<Self> {
        let mut folder = Self { handle: Arc::clone(&self.handle), path: self.path.clone() };
        for component in relative.components() {
            let Component::Normal(name) = component else { return Err(io::ErrorKind::InvalidInput.into()) };
            folder = step(&folder, name)?;
        }
        Ok(folder)
    }

    /// Creates a directory in this one; false if the name is taken.
    pub(crate) fn make(&self, name: &OsStr, mode: u32) -> io::Result<bool> {
        match mkdirat(&self.handle, name, permissions(mode)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a file for reading and writing, or creates it with this mode. A named pipe does not block.
    pub(crate) fn open_or_create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        self.file(name, OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK, mode)
    }

    /// Opens a file in this directory with these flags; `mode` is that of a new one.
    fn file(&self, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<File> {
        let (flags, mode) = (flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, permissions(mode));
        open(self.handle.as_fd(), Path::new(name), flags, mode)
    }

    /// Creates a file. Fails if the name is taken.
    pub(crate) fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        self.file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode)
    }

    /// Creates a file, replacing what has its name, even a link.
    pub(crate) fn create_anew(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        match self.create(name, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove_if_there(name)?;
                self.create(name, mode)
            }
            created => created,
        }
    }

    /// Opens a regular file for reading; anything else is an error, and a pipe does not block.
    pub(crate) fn read(&self, name: &OsStr) -> io::Result<File> {
        let file = self.file(name, OFlags::RDONLY | OFlags::NONBLOCK, 0)?;
        match found(&file)?.is_file() {
            true => Ok(file),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a plain file")),
        }
    }

    /// The metadata of a name; `None` if it does not exist.
    pub(crate) fn find(&self, name: &OsStr) -> io::Result<Option<Found>> {
        match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Found::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Renames a file, also into another directory, replacing what has that name.
    pub(crate) fn rename(&self, name: &OsStr, to: &Self, to_name: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.handle, name, &to.handle, to_name)?)
    }

    /// Moves the file at `path` here, under this name.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`]: the name is taken, and `replace` is not set.
    pub(crate) fn take(&self, from: (BorrowedFd<'_>, &Path), name: &OsStr, replace: bool) -> io::Result<()> {
        match replace {
            true => Ok(renameat(from.0, from.1, &self.handle, name)?),
            false => system::rename_new(from, self.handle.as_fd(), name),
        }
    }

    /// The location of the file at `path`: relative to this directory if it is directly in it.
    pub(crate) fn place<'a>(&'a self, path: &'a Path) -> (BorrowedFd<'a>, &'a Path) {
        match (path.parent() == Some(&self.path), path.file_name()) {
            (true, Some(name)) => (self.handle.as_fd(), Path::new(name)),
            _ => (CWD, path),
        }
    }

    /// Opens the file at `path`, which is no link, by [`Folder::place`].
    pub(crate) fn placed(&self, path: &Path) -> io::Result<File> {
        let (folder, name) = self.place(path);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        open(folder, name, flags, Mode::empty())
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    /// Removes a file, if there is one.
    pub(crate) fn remove_if_there(&self, name: &OsStr) -> io::Result<()> {
        match self.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Removes a directory that is empty.
    pub(crate) fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.handle, name, AtFlags::REMOVEDIR)?)
    }

    /// The names in it, in no particular order.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in retry_on_intr(|| Dir::read_from(&self.handle))? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Syncs its entries.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Syncs its whole file system; false: the system has no such call, and files are to be synced one by one.
    pub(crate) fn sync_system(&self) -> io::Result<bool> {
        system::sync_system(&self.handle)
    }
}

/// Retries while connections use up all file descriptors, and after a signal.
fn open(folder: BorrowedFd<'_>, name: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
    patiently(|| Ok(retry_on_intr(|| openat(folder, name, flags, mode))?.into()))
}

/// The file that a path leads to, through links.
pub(crate) fn file_id(path: &Path) -> io::Result<FileId> {
    Ok(Found::of(&statat(CWD, path, AtFlags::empty())?).id)
}

/// True if it is a named pipe.
pub(crate) fn is_pipe(path: &Path) -> bool {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode as _) == FileType::Fifo)
}

#[allow(clippy::unnecessary_cast, reason = "permission bits have another type on other systems")]
fn permissions(bits: u32) -> Mode {
    Mode::from_raw_mode((bits & 0o7777) as RawMode)
}

/// Sets the permission bits.
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(fchmod(file, permissions(mode))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_is_followed_and_no_path_leads_out() {
        let root = std::env::temp_dir().join(format!("overlapped-folder-{}", std::process::id()));
        std::fs::create_dir_all(root.join("in/deep")).unwrap();
        std::fs::create_dir_all(root.join("out")).unwrap();
        symlink(root.join("out"), root.join("in/link")).unwrap();
        symlink("../deep", root.join("in/deep/up")).unwrap();
        std::fs::write(root.join("out/theirs"), "theirs").unwrap();
        symlink(root.join("out/theirs"), root.join("in/file")).unwrap();
        let folder = Folder::open(&root.join("in")).unwrap();
        for path in ["link", "link/x", "deep/up", "file/x"] {
            let refused = folder.make_below(Path::new(path)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::NotADirectory, "{path}");
        }
        for path in ["..", "deep/../../out", "/"] {
            let refused = folder.make_below(Path::new(path)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        assert!(folder.read(OsStr::new("file")).is_err() && folder.read(OsStr::new("deep")).is_err());
        folder.create_anew(OsStr::new("file"), 0o600).unwrap();
        assert_eq!(std::fs::read(root.join("out/theirs")).unwrap(), b"theirs");
        // A directory that is swapped for a link while it is open.
        let deep = folder.make_below(Path::new("deep/er")).unwrap();
        std::fs::rename(root.join("in/deep"), root.join("in/away")).unwrap();
        symlink(root.join("out"), root.join("in/deep")).unwrap();
        deep.create(OsStr::new("x"), 0o600).unwrap();
        assert!(folder.below(Path::new("deep")).is_err());
        assert_eq!(std::fs::read_dir(root.join("out")).unwrap().count(), 1);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
