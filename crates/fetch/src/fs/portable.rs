//! The functions of `linux` with what POSIX has.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, linkat, unlinkat};

/// POSIX has no call that syncs one file system and waits for it.
pub(super) fn sync_system(_: &File) -> io::Result<bool> {
    Ok(false)
}

/// A second name and the removal of the first. A crash in between leaves both: the first is a temporary name, which is
/// removed when the run resumes.
pub(super) fn rename_new(from: (BorrowedFd<'_>, &Path), to: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    linkat(from.0, from.1, to, name, AtFlags::empty())?;
    Ok(unlinkat(from.0, from.1, AtFlags::empty())?)
}

/// POSIX has no files without a name; the caller removes the name at once.
pub(super) fn unnamed(_: &Path, _: &OpenOptions) -> io::Result<Option<File>> {
    Ok(None)
}

/// POSIX frees no part of a file. The space is freed when the file is truncated.
pub(super) fn punch_hole(_: &File, _: u64, _: u64) {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs;
    use std::os::fd::AsFd;

    use super::super::{Folder, system};
    use super::*;

    type RenameNew = fn((BorrowedFd<'_>, &Path), BorrowedFd<'_>, &OsStr) -> io::Result<()>;

    /// Both ways move a file to a free name, and leave everything as it is where the name is taken, even by a link that leads
    /// nowhere.
    #[test]
    fn a_file_is_never_moved_over_another() {
        for (kind, rename) in [("portable", rename_new as RenameNew), ("system", system::rename_new)] {
            let root = std::env::temp_dir().join(format!("overlapped-fs-{}-{kind}", std::process::id()));
            fs::create_dir_all(root.join("to")).unwrap();
            fs::write(root.join("part"), "new").unwrap();
            fs::write(root.join("to/taken"), "old").unwrap();
            std::os::unix::fs::symlink("nowhere", root.join("to/link")).unwrap();
            let to = File::open(root.join("to")).unwrap();
            let folder = Folder::open(&root).unwrap();
            let path = root.join("part");
            let moved = |name: &str| rename(folder.place(&path), to.as_fd(), OsStr::new(name));
            for taken in ["taken", "link"] {
                assert_eq!(moved(taken).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "{kind} {taken}");
                assert_eq!(fs::read(&path).unwrap(), b"new");
            }
            moved("free").unwrap();
            assert_eq!(fs::read(root.join("to/free")).unwrap(), b"new");
            assert_eq!(fs::read(root.join("to/taken")).unwrap(), b"old");
            assert!(!path.exists());
            fs::remove_dir_all(&root).unwrap();
        }
    }

    #[test]
    fn what_posix_does_not_have_is_said() {
        let file = File::open(std::env::temp_dir()).unwrap();
        assert!(!sync_system(&file).unwrap());
        assert!(unnamed(&std::env::temp_dir(), &OpenOptions::new()).unwrap().is_none());
        let path = std::env::temp_dir().join(format!("overlapped-hole-{}", std::process::id()));
        fs::write(&path, [7; 8_192]).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        punch_hole(&file, 0, 4_096);
        assert_eq!(fs::read(&path).unwrap(), [7; 8_192], "nothing is lost where nothing is freed");
        fs::remove_file(&path).unwrap();
    }
}
