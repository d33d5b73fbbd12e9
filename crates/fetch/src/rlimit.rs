//! The system's limit on open files, which is what a run with thousands of requests in flight meets first.

use std::fs::File;
use std::io;
use std::path::Path;

use overlapped_proto::limits;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files so that `parallel_max` requests can be in flight, and says how many can.
///
/// An answer below `parallel_max` means that the hard limit is in the way, which only `ulimit -Hn` or the system's
/// administrator can move.
///
/// ```
/// assert!(overlapped_fetch::raise_open_files_limit(64) > 0);
/// ```
pub fn raise_open_files_limit(parallel_max: usize) -> usize {
    let requests = u64::try_from(parallel_max).unwrap_or(u64::MAX);
    let idle = u64::try_from(limits::IDLE_MAX).unwrap_or(u64::MAX);
    let wanted = requests.saturating_add(idle).saturating_add(limits::FILES_RESERVED);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut now = current.unwrap_or(u64::MAX);
    if now < wanted {
        let raised = wanted.min(maximum.unwrap_or(u64::MAX));
        if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).is_ok() {
            now = raised;
        }
    }
    // Where there are very few, half of them are requests.
    usize::try_from(now.saturating_sub(limits::FILES_RESERVED).max(now / 2)).unwrap_or(usize::MAX)
}

/// How many connections may be idle beside `parallel_max` that are in use, so that the list, the sinks and the journal
/// find files to open.
pub(crate) fn idle_connections_max(parallel_max: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    files.saturating_sub(parallel_max).saturating_sub(limits::FILES_OWN).clamp(2, limits::IDLE_MAX)
}

/// Opens a file or directory of the run's own, and waits for a while if connections hold all the files there are.
///
/// # Blocking
///
/// On the disk, and for `limits::OPEN_TRIES` pauses at the most.
pub(crate) fn open_patiently(path: &Path) -> io::Result<File> {
    patiently(|| File::open(path))
}

/// The same for whatever opens a file.
///
/// # Blocking
///
/// As [`open_patiently`].
pub(crate) fn patiently(open: impl Fn() -> io::Result<File>) -> io::Result<File> {
    for _ in 1..limits::OPEN_TRIES {
        match open() {
            Err(error) if is_out_of_files(&error) => std::thread::sleep(limits::OPEN_PAUSE.into()),
            result => return result,
        }
    }
    open()
}

/// True if the system, or this process, has no more open files or memory for a socket.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}
