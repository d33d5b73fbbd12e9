//! Files that the user has named for the run to write: plain files of this user with one name.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::found;

/// Opens the file of an output, which is a plain file of this user with one name. No link is followed, and no named pipe
/// waited for: either may have been put there by another user. What is below `/dev`, such as `/dev/stdout`, is the
/// system's, and is opened as it is.
///
/// # Errors
///
/// It is something else ([`io::ErrorKind::InvalidInput`]), or cannot be opened.
///
/// # Blocking
///
/// On the disk.
pub(crate) fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    if is_of_the_system(path) {
        return options.open(path);
    }
    // O_NONBLOCK means nothing to a plain file, and so it need not be cleared.
    let opened = options.custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)).open(path);
    let file = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::LOOP | Errno::MLINK) => refused("it is a symbolic link, and an output is a plain file"),
        // A named pipe without a reader, or a socket.
        Some(Errno::NXIO) => refused(NO_FILE),
        _ => error,
    })?;
    let found = found(&file)?;
    if !found.is_file() {
        return Err(refused(NO_FILE));
    }
    if !found.is_own() {
        return Err(refused("it belongs to another user"));
    }
    if found.links > 1 {
        return Err(refused("it has a second name (a hard link), and what is written would be there too"));
    }
    Ok(file)
}

/// Opens a named pipe for writing, once it has a reader. No link is followed.
///
/// # Errors
///
/// It is no named pipe, or cannot be opened.
///
/// # Blocking
///
/// Until the pipe has a reader.
pub(crate) fn open_pipe(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).custom_flags(flags(OFlags::NOFOLLOW)).open(path)?;
    if found(&file)?.kind != FileType::Fifo {
        return Err(refused("it is not a named pipe any more"));
    }
    Ok(file)
}

#[allow(clippy::useless_conversion, reason = "the flags are signed on some systems")]
pub(super) fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).expect("the flags of open fit in its argument")
}

const NO_FILE: &str =
    "it is not a plain file (a named pipe takes lines only, and of a run with --durability none)";

fn refused(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// True if the path is below `/dev`, but not in `/dev/shm`, where any user may put files.
pub(crate) fn is_of_the_system(path: &Path) -> bool {
    path.starts_with("/dev") && !path.starts_with("/dev/shm")
}
