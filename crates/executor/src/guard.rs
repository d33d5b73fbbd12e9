//! Catches panics of user code that has no caller to propagate to: a `Drop`, a waker, a hook. Not for a job's closure, whose panic is
//! returned by the job.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Runs `f` and discards its panic.
pub(crate) fn guarded(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        // Dropping the payload may panic as well; the payload of that second panic is leaked.
        if let Err(again) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            mem::forget(again);
        }
    }
}

/// Wakes the waker, if there is one. Its panic must not end a worker, nor prevent the next wake-up.
pub(crate) fn wake_guarded(waker: Option<Waker>) {
    if let Some(waker) = waker {
        guarded(move || waker.wake());
    }
}
