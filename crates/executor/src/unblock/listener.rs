//! The waker of the task that waits for blocks or items of a job.
//!
//! A waker is cloned, dropped and woken outside the mutex: that is user code, and may wait for the very job that needs the mutex.

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

    /// This task waits no longer: lets go of a waker of this kind.
    pub(super) fn unlisten(&self, is_own: impl FnOnce(&Waker) -> bool) {
        let old = self.0.lock().take_if(|waker| is_own(waker));
        drop(old);
    }

    /// Something was put in stock.
    pub(super) fn wake(&self) {
        let waker = self.0.lock().take();
        wake_guarded(waker);
    }
}
