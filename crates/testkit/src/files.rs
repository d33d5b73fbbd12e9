//! The limit on open files, which tests with thousands of connections reach.

/// Raises the soft limit on open files of this process to its hard limit, and returns the limit; `None` if there is none or it
/// is unknown on this system. It never lowers the limit.
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
