//! The limit of open files, which ten thousand connections reach.

/// Raises the soft limit of open files of this process to its hard limit, and says what it is now; `None` means without limit, or
/// unknown on this system. Never lowers it.
pub fn raise_open_files() -> Option<u64> {
    raise()
}

#[cfg(unix)]
fn raise() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }
}

#[cfg(not(unix))]
fn raise() -> Option<u64> {
    None
}
