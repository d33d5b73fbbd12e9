//! Fork detection in one atomic load: a counter that a `pthread_atfork` handler increments in the child.
//!
//! The handler neither locks nor allocates: in the child, a mutex may be held by a thread that no longer exists. Comparing process ids
//! would do as well, but costs a system call, a third of a whole job.

// `pthread_atfork` is a foreign function, and there is no safe interface to it.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);
static WATCHED: AtomicBool = AtomicBool::new(false);

/// How many forks lie between this process and the one that first watched.
pub(crate) fn generation() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Counts forks from now on.
pub(crate) fn watch() {
    if !WATCHED.swap(true, Ordering::AcqRel) {
        register();
    }
}

#[cfg(all(unix, not(any(loom, shuttle, miri))))]
fn register() {
    type Handler = extern "C" fn();
    unsafe extern "C" {
        fn pthread_atfork(
            prepare: Option<Handler>,
            parent: Option<Handler>,
            child: Option<Handler>,
        ) -> std::ffi::c_int;
    }
    extern "C" fn forked() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the signature is that of POSIX; the handler lives as long as the program and does nothing but add to an atomic, which
    // is allowed in a forked child of a process with threads.
    let refused = unsafe { pthread_atfork(None, None, Some(forked)) };
    assert!(refused == 0, "the C library has no memory for a fork handler");
}

#[cfg(not(all(unix, not(any(loom, shuttle, miri)))))]
fn register() {}
