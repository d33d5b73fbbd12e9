//! The system's limit on open files, which is what a run with thousands of requests in flight meets first.

use overlapped_proto::limits;
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
    let wanted = u64::try_from(parallel_max).unwrap_or(u64::MAX).saturating_add(limits::FILES_RESERVED);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut now = current.unwrap_or(u64::MAX);
    if now < wanted {
        let raised = wanted.min(maximum.unwrap_or(u64::MAX));
        if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).is_ok() {
            now = raised;
        }
    }
    usize::try_from(now.saturating_sub(limits::FILES_RESERVED)).unwrap_or(usize::MAX)
}
