//! Files that are replaced as a whole: a reader finds the old one or all of the new one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::own::{flags, is_of_the_system};

/// A file that a program writes beside its records: written under another name, and then moved to its own.
///
/// Nothing at its path is opened, so a symbolic link there is replaced and not followed, and a named pipe is not waited
/// for. Dropped before [`WholeFile::finish`], it is removed. What is below `/dev`, such as `/dev/stderr`, is the system's,
/// and is written to as it is.
///
/// ```
/// use std::io::Write as _;
/// use overlapped_fetch::WholeFile;
///
/// let path = std::env::temp_dir().join(format!("whole-{}.json", std::process::id()));
/// WholeFile::check(&path)?;
/// let mut file = WholeFile::create(&path, 0o666)?;
/// file.write_all(b"{}")?;
/// assert!(!path.exists());
/// file.finish()?;
/// assert_eq!(std::fs::read(&path)?, b"{}");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct WholeFile {
    file: File,
    /// Its name until it is whole, and its own; `None` below `/dev`.
    names: Option<(PathBuf, PathBuf)>,
}

impl WholeFile {
    /// Returns whether a file may be put at `path`: there is none yet, or a plain file or a symbolic link to be replaced.
    ///
    /// # Errors
    ///
    /// A directory, named pipe, socket or device is there ([`io::ErrorKind::InvalidInput`]), or a file that only another
    /// user may replace ([`io::ErrorKind::PermissionDenied`]).
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn check(path: &Path) -> io::Result<()> {
        // What cannot be looked at is an error when the file is made.
        let Ok(found) = path.symlink_metadata() else { return Ok(()) };
        let kind = found.file_type();
        let what = if is_of_the_system(path) {
            return Ok(());
        } else if kind.is_file() || kind.is_symlink() {
            return if is_kept(path, found.uid()) { Err(kept()) } else { Ok(()) };
        } else if kind.is_dir() {
            "it is a directory, not a plain file"
        } else if kind.is_fifo() {
            "it is a named pipe, not a plain file"
        } else if kind.is_socket() {
            "it is a socket, not a plain file"
        } else {
            "it is a device, not a plain file"
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, what))
    }

    /// A new file beside `path`, with these permission bits. What has its name, such as a link that another user has put
    /// there, is left alone.
    ///
    /// # Errors
    ///
    /// It cannot be created; `path` ends with no name; of a pipe below `/dev`: nobody reads it.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn create(path: &Path, mode: u32) -> io::Result<Self> {
        if is_of_the_system(path) && path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            return Ok(Self { file: open_system(path)?, names: None });
        }
        let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "it is no file name");
        let name = path.file_name().ok_or_else(no_name)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let mut tries = 0..PART_TRIES_MAX;
        loop {
            let number = tries.next();
            let mut part = OsString::from(".");
            part.push(name);
            part.push(format!(".{}-{}.part", std::process::id(), number.unwrap_or(PART_TRIES_MAX)));
            let part = path.with_file_name(part);
            match options.open(&part) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number.is_some() => {}
                made => return Ok(Self { file: made?, names: Some((part, path.to_owned())) }),
            }
        }
    }

    /// Syncs what is written.
    ///
    /// # Errors
    ///
    /// That of the disk.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn sync(&self) -> io::Result<()> {
        if self.names.is_some() { self.file.sync_all() } else { Ok(()) }
    }

    /// Closes the file, which keeps the name that it has until it is whole.
    #[cfg(feature = "tables")]
    pub(crate) fn close(mut self) -> ClosedFile {
        ClosedFile { names: self.names.take() }
    }

    /// Moves the file to its path. Whatever was put there since is replaced, unless it is a directory.
    ///
    /// # Errors
    ///
    /// It cannot be moved; then it is removed.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some((part, path)) = &self.names {
            fs::rename(part, path)?;
        }
        self.names = None;
        Ok(())
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.names {
            let _ = fs::remove_file(part);
        }
    }
}

/// A [`WholeFile`] that is written and closed: many of them may wait until all are synced together. Dropped before
/// [`ClosedFile::finish`], it is removed.
#[cfg(feature = "tables")]
#[derive(Debug)]
pub(crate) struct ClosedFile {
    names: Option<(PathBuf, PathBuf)>,
}

#[cfg(feature = "tables")]
impl ClosedFile {
    /// Syncs it.
    ///
    /// # Errors
    ///
    /// That of the disk, or the file cannot be opened.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.names.as_ref().map_or(Ok(()), |(part, _)| File::open(part)?.sync_all())
    }

    /// As [`WholeFile::finish`].
    ///
    /// # Errors
    ///
    /// It cannot be moved; then it is removed.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if let Some((part, path)) = &self.names {
            fs::rename(part, path)?;
        }
        self.names = None;
        Ok(())
    }
}

#[cfg(feature = "tables")]
impl Drop for ClosedFile {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.names {
            let _ = fs::remove_file(part);
        }
    }
}

fn kept() -> io::Error {
    let what =
        "it belongs to another user, and its directory (with the sticky bit) lets nobody else replace it";
    io::Error::new(io::ErrorKind::PermissionDenied, what)
}

/// True if a file of `owner` at `path` cannot be replaced by this user, because of the sticky bit of its directory.
fn is_kept(path: &Path, owner: u32) -> bool {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let user = geteuid().as_raw();
    above.metadata().is_ok_and(|above| is_kept_in((above.mode(), above.uid()), owner, user))
}

/// The rule of the sticky bit, of a directory with this mode and owner. It does not hold for the super-user.
fn is_kept_in((mode, directory): (u32, u32), owner: u32, user: u32) -> bool {
    const STICKY: u32 = 0o1000;
    mode & STICKY != 0 && user != 0 && user != owner && user != directory
}

/// Opens what is below `/dev` for writing at its end. A pipe is not waited for.
fn open_system(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().append(true).custom_flags(flags(OFlags::NONBLOCK)).open(path);
    let file = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NXIO) => io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads it"),
        _ => error,
    })?;
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Names that are tried for a file that is not whole yet.
const PART_TRIES_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &Path, bytes: &[u8]) {
        let mut file = WholeFile::create(path, 0o600).unwrap();
        file.write_all(bytes).unwrap();
        file.finish().unwrap();
    }

    /// The link was followed, and what it led to overwritten.
    #[test]
    fn a_link_in_the_place_of_a_part_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("overlapped-part-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("theirs"), "theirs").unwrap();
        for number in 0..2 {
            symlink("theirs", folder.join(format!(".s.json.{}-{number}.part", std::process::id()))).unwrap();
        }
        write(&folder.join("s.json"), b"{}");
        drop(WholeFile::create(&folder.join("dropped"), 0o666).unwrap());
        assert_eq!(fs::read(folder.join("s.json")).unwrap(), b"{}");
        assert_eq!(fs::read(folder.join("theirs")).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4, "a file that is dropped is removed");
        fs::remove_dir_all(&folder).unwrap();
    }

    /// It was noticed when the run had ended.
    #[test]
    fn a_file_of_another_user_in_a_shared_directory_cannot_be_replaced() {
        const SHARED: (u32, u32) = (0o1777, 0);
        for (directory, owner, user, kept) in [
            (SHARED, 1000, 1001, true),
            (SHARED, 0, 1001, true),
            (SHARED, 1001, 1001, false),
            (SHARED, 1000, 0, false),
            ((0o1777, 1001), 1000, 1001, false),
            ((0o777, 0), 1000, 1001, false),
        ] {
            assert_eq!(is_kept_in(directory, owner, user), kept, "{directory:?} {owner} {user}");
        }
    }

    /// As the super-user, a file was put in the place of the device.
    #[test]
    fn what_is_below_dev_is_written_to() {
        for path in ["/dev/null", "/dev/stderr"] {
            let kind = || Path::new(path).symlink_metadata().unwrap().file_type();
            let before = kind();
            WholeFile::check(Path::new(path)).unwrap();
            write(Path::new(path), b"");
            assert_eq!(kind(), before, "{path}");
        }
        assert!(!is_of_the_system(Path::new("/dev/shm/s.json")), "any user may put a link there");
    }

    /// The open waited for a reader.
    #[test]
    fn a_pipe_below_dev_that_nobody_reads_is_not_waited_for() {
        use std::os::fd::AsRawFd as _;
        let (reader, writer) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/dev/fd/{}", writer.as_raw_fd()));
        write(&path, b"");
        drop(reader);
        // A system whose /dev/fd duplicates descriptors opens it, and does not wait either.
        if let Err(error) = WholeFile::create(&path, 0o666) {
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
