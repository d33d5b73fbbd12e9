//! The completion of many jobs, for one waiter: a countdown, the order of completion, the first failure. One wake-up a burst. Results stay
//! in their cells until the waiter takes them.

use std::task::{Context, Waker};

use crate::sync::{AtomicUsize, Mutex, Ordering};

/// When the waiter is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// When all are done.
    All,
    /// When all are done, or one has failed.
    Failure,
    /// Whenever one is done; the order is kept.
    Each,
}

pub(crate) struct Group {
    wake: Wake,
    /// Jobs that are not done, and one more while they are being attached.
    left: AtomicUsize,
    /// Number of the first job that failed, plus one.
    failed: AtomicUsize,
    inbox: Mutex<Inbox>,
}

struct Inbox {
    waker: Option<Waker>,
    done: Vec<u32>,
}

impl Group {
    pub(crate) fn new(jobs: usize, wake: Wake) -> Self {
        Group {
            wake,
            left: AtomicUsize::new(jobs + 1),
            failed: AtomicUsize::new(0),
            inbox: Mutex::new(Inbox { waker: None, done: Vec::new() }),
        }
    }

    /// For jobs that are attached one by one; its number is not known, so it never completes as a whole.
    pub(crate) fn growing(wake: Wake) -> Self {
        Self::new(usize::MAX / 2, wake)
    }

    /// The jobs are all attached: from here on the last of them wakes.
    pub(crate) fn attached(&self) {
        self.left.fetch_sub(1, Ordering::AcqRel);
    }

    /// Job `number` is done. Called once for each. Returns the waker to call.
    #[must_use]
    pub(crate) fn complete(&self, number: u32, ok: bool) -> Option<Waker> {
        if self.wake == Wake::Each {
            let mut inbox = self.inbox.lock();
            inbox.done.push(number);
            self.left.fetch_sub(1, Ordering::AcqRel);
            return inbox.waker.take();
        }
        let failed = !ok
            && self
                .failed
                .compare_exchange(0, number as usize + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        let last = self.left.fetch_sub(1, Ordering::AcqRel) == 1;
        if last || (failed && self.wake == Wake::Failure) {
            return self.inbox.lock().waker.take();
        }
        None
    }

    /// Registers the waker, and gives back another that it replaces. To be called before the completions are read, so that no wake-up is
    /// lost.
    pub(crate) fn listen(&self, cx: &Context<'_>) -> Option<Waker> {
        if self.inbox.lock().waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return None;
        }
        let new = cx.waker().clone();
        self.inbox.lock().waker.replace(new)
    }

    /// The waiter waits no longer: lets go of a waker of this kind.
    pub(crate) fn unlisten(&self, is_own: impl FnOnce(&Waker) -> bool) {
        let old = self.inbox.lock().waker.take_if(|waker| is_own(waker));
        drop(old);
    }

    pub(crate) fn all_done(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }

    /// The job that failed first.
    pub(crate) fn failure(&self) -> Option<u32> {
        (self.failed.load(Ordering::Acquire) as u32).checked_sub(1)
    }

    /// Adds the numbers of the jobs that were completed since the last call, in that order.
    pub(crate) fn drain(&self, into: &mut Vec<u32>) {
        into.append(&mut self.inbox.lock().done);
    }
}
