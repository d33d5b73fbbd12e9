//! The system's limit on open files, which is what a run with thousands of requests in flight meets first.

use std::io;

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

/// True if the system, or this process, has no more open files or memory for a socket.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}
