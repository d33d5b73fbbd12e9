//! What Linux has beyond POSIX.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags, RenameFlags, fallocate, renameat_with, syncfs};

use super::is_out_of_files;

/// Syncs the file system that the file is on; false: the system has no such call.
pub(super) fn sync_system(file: &File) -> io::Result<bool> {
    syncfs(file)?;
    Ok(true)
}

/// Moves a file to a name that is free.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`]: the name is taken.
pub(super) fn rename_new(from: (BorrowedFd<'_>, &Path), to: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    Ok(renameat_with(from.0, from.1, to, name, RenameFlags::NOREPLACE)?)
}

/// A file without a name; `None`: the file system does not support it.
pub(super) fn unnamed(folder: &Path, options: &OpenOptions) -> io::Result<Option<File>> {
    let mut options = options.clone();
    match options.custom_flags(OFlags::TMPFILE.bits().cast_signed()).open(folder) {
        Err(error) if !is_out_of_files(&error) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Frees the space of a part of a file, which then reads as zeros. Not every file system supports it.
pub(super) fn punch_hole(file: &File, offset: u64, bytes: u64) {
    let _ = fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, bytes);
}
