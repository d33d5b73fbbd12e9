//! The task that waits for what a job puts in stock.
//!
//! Must never clone, drop or wake a waker under a lock: that is the user's code, and may wait for the very job that needs the lock.

use std::task::{Context, Waker};

use crate::guard::wake_guarded;
use crate::sync::Mutex;

pub(super) struct Listener(Mutex<Option<Waker>>);

impl Listener {
    pub(super) fn new() -> Self {
        Listener(Mutex::new(None))
    }

    /// From now on this task is woken. Look at the stock once more after this: what was put in before woke another task, or none.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        if self.is(cx) {
            return;
        }
        let new = cx.waker().clone();
        let old = self.0.lock().replace(new);
        drop(old);
    }

    /// Whether this task would be woken.
    pub(super) fn is(&self, cx: &Context<'_>) -> bool {
        self.0.lock().as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// Something was put in stock.
    pub(super) fn wake(&self) {
        let waker = self.0.lock().take();
        wake_guarded(waker);
    }
}
