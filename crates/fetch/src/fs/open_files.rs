//! `RLIMIT_NOFILE`, the first system limit that a run with thousands of requests in flight reaches.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use overlapped_proto::limits;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files for `parallel_max` requests in flight; returns how many are possible.
///
/// A result below `parallel_max` means that the hard limit is too low (`ulimit -Hn`), which only an administrator can
/// raise.
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
    usize::try_from(requests_max(now, needed(used(), 1))).unwrap_or(usize::MAX)
}

/// The requests that a limit of `files` allows a run which itself needs `needed` of them. Where there are few, an eighth of the
/// connections are idle ones, and no request is planned that would find only the [last](LastFiles) files. Where there are hardly any, some
/// are planned nevertheless: what a run needs at the most is seldom all open.
fn requests_max(files: u64, needed: u64) -> u64 {
    let free = files.saturating_sub(needed);
    let connections = free - limits::FILES_LAST.min(free / 2);
    let idle = (connections / 8).max(limits::IDLE_LEAST);
    let planned = connections.saturating_sub(idle).max(files.saturating_sub(limits::FILES_RESERVED));
    planned.max(files / 8).max(1)
}

/// Checks that as many files may be open as a run with this number of outputs needs at the least. To be called before anything
/// is opened for writing.
///
/// ```
/// overlapped_fetch::check_open_files_limit(1)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The limit is lower. The message has the number that is needed.
pub fn check_open_files_limit(outputs: usize) -> io::Result<()> {
    let (limit, needed) = (limit(), needed(used(), outputs));
    if limit >= needed {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "this run needs {needed} open files at the least, and {limit} are allowed: \
         `ulimit -n {needed}`, or more, in the shell raises the limit"
    )))
}

/// The number of shards, at most `shards`, that the limit of open files allows beside one output and a few connections.
pub(crate) fn shards_max(shards: usize) -> usize {
    let free = limit().saturating_sub(needed(used(), 1)) / limits::FILES_SHARD;
    shards.min(usize::try_from(free).unwrap_or(usize::MAX)).max(1)
}

/// The open files of a run with one shard, of which `used` are open.
fn needed(used: u64, outputs: usize) -> u64 {
    used + limits::FILES_RUN + limits::FILES_SHARD + u64::try_from(outputs).unwrap_or(u64::MAX)
}

/// The limit of open files.
fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Files that are open now, or more precisely the lowest number that is free.
fn used() -> u64 {
    File::open("/dev/null").map_or_else(|_| limit(), |file| number(&file))
}

/// How many idle connections may be kept beside `parallel_max` busy ones, so that files remain for the list, the sinks
/// and the journal, and for bodies.
pub(crate) fn idle_connections_max(parallel_max: usize) -> usize {
    let least = usize::try_from(limits::IDLE_LEAST).unwrap_or(usize::MAX);
    usize::try_from(idle_max(limit(), parallel_max)).unwrap_or(usize::MAX).clamp(least, limits::IDLE_MAX)
}

fn idle_max(files: u64, parallel_max: usize) -> u64 {
    let busy = u64::try_from(parallel_max).unwrap_or(u64::MAX);
    files.saturating_sub(busy).saturating_sub(limits::FILES_OWN).saturating_sub(limits::FILES_LAST)
}

/// The rule for the last free file descriptors: connections leave some to bodies, and both leave some to the sinks and the
/// journal, which cannot do without.
///
/// The system gives a new file the lowest number that is free. So a high number means that nearly all are in use, and
/// no count has to be kept.
#[derive(Debug, Default)]
pub(crate) struct LastFiles(Mutex<Option<Ends>>);

/// One past the highest number that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    connections: u64,
    bodies: u64,
}

impl LastFiles {
    /// True if the run can do with the descriptors that are left when a connection has this one. To be asked first when
    /// everything else is open.
    pub(crate) fn spare_connection(&self, file: &impl AsFd) -> bool {
        number(file) < self.ends(number(file)).connections
    }

    /// The same for the file of a body.
    pub(crate) fn spare_body(&self, file: &impl AsFd) -> bool {
        number(file) < self.ends(number(file)).bodies
    }

    /// Counts again what is in use when the next file is opened. To be called when a connection finds no descriptor though there
    /// is no other: files of the run that were opened since have taken what was left to them.
    pub(crate) fn renew(&self) {
        *self.lock() = None;
    }

    fn ends(&self, used: u64) -> Ends {
        *self.lock().get_or_insert_with(|| Ends::of(limit(), used))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Ends>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ends {
    /// With a limit of `files`, of which `used` are in use.
    fn of(files: u64, used: u64) -> Self {
        let free = files.saturating_sub(used);
        let kept = |most: u64, part: u64| files - most.min(free / part);
        Self { connections: kept(limits::FILES_LAST, 2), bodies: kept(limits::FILES_LAST_SINKS, 3) }
    }
}

fn number(file: &impl AsFd) -> u64 {
    u64::try_from(file.as_fd().as_raw_fd()).expect("the number of an open file is positive")
}

/// The error of a system without a free file descriptor.
pub(crate) fn out_of_files() -> io::Error {
    Errno::MFILE.into()
}

/// Opens a file of the run, and retries for a while if connections use up all file descriptors.
///
/// # Blocking
///
/// On the disk, and for `limits::OPEN_TRIES` pauses at the most.
pub(crate) fn open_patiently(path: &Path) -> io::Result<File> {
    patiently(|| File::open(path))
}

/// [`open_patiently`] for any function that opens a file.
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

/// True if the system or this process has run out of file descriptors or socket memory.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With 64 files 32 requests were planned, and files ran out hundreds of times.
    #[test]
    fn what_is_planned_leaves_the_last_files() {
        let check = |files, requests| {
            assert_eq!(requests_max(files, 25), requests, "{files}");
            let idle = idle_max(files, usize::try_from(requests).unwrap()).max(limits::IDLE_LEAST);
            // A run with an output, and the state beside it, has 21 files open.
            let most = Ends::of(files, 21).connections;
            assert!(21 + requests + idle <= most, "{files}: {requests} and {idle} of {most}");
        };
        check(30, 3);
        check(40, 6);
        check(64, 21);
        check(100, 52);
        check(128, 77);
        check(256, 192);
        check(1_024, 960);
        assert_eq!((requests_max(24, 25), requests_max(4, 25)), (3, 1));
    }

    #[test]
    fn the_last_files_are_for_the_sinks() {
        let check = |files, used, connections, bodies| {
            let ends = Ends::of(files, used);
            assert_eq!(ends, Ends { connections, bodies }, "{used} of {files}");
            assert!(used >= files || used < ends.connections, "one connection is possible");
        };
        check(1_024, 20, 1_008, 1_014);
        check(40, 20, 30, 34);
        check(32, 23, 28, 29);
        check(32, 31, 32, 32);
        check(32, 40, 32, 32);
        check(u64::MAX, 9, u64::MAX - 16, u64::MAX - 10);
    }
}
