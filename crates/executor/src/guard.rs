//! Running the user's code where its panic has nobody to go to: a `Drop`, a waker, a hook.
//!
//! Must never be used for a job's closure: that panic has somebody to go to.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Runs it, and swallows its panic.
pub(crate) fn guarded(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        // A payload may panic in its own Drop, and that payload too: the third is leaked.
        if let Err(again) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            mem::forget(again);
        }
    }
}

/// Wakes; a waker's panic must not end a worker, nor keep the next waiter from being woken.
pub(crate) fn wake_guarded(waker: Option<Waker>) {
    if let Some(waker) = waker {
        guarded(move || waker.wake());
    }
}
