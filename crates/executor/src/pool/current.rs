//! The thread-local state of a worker's thread, and queries about the current thread. It is never borrowed while user code runs, which
//! may reach it again.

use std::sync::Arc;

use super::Pool;
use super::awaiting::Awaiting;
use crate::cancel::CancelToken;
use crate::core::Polled;
use crate::sync::local;
use crate::view_id::{ROOT, ViewId};
use crate::worker::Worker;

local!(CURRENT: Current);

/// The state of a worker's thread. It is initialized before any other thread-local, so that it is dropped after all of them; its drop
/// reports the thread as ended.
pub(super) struct Current {
    pub(super) pool: Arc<Pool>,
    pub(super) worker: Arc<Worker>,
    /// The views of the jobs that it is in the middle of.
    pub(super) lanes: Vec<ViewId>,
    /// How deep jobs are run inside waits of other jobs on this thread.
    pub(super) depth: usize,
    /// What the innermost `block_on` waits for; none outside a `block_on`.
    pub(super) awaited: Option<Awaiting>,
    /// What the innermost job has polled with other wakers.
    pub(super) polled: Option<Arc<Polled>>,
    /// It has had its last job.
    pub(super) leaving: bool,
}

impl Current {
    /// The thread is a worker from now on.
    pub(super) fn enter(pool: &Arc<Pool>, me: &Arc<Worker>) {
        let new = Current {
            pool: Arc::clone(pool),
            worker: Arc::clone(me),
            lanes: Vec::new(),
            depth: 0,
            awaited: None,
            polled: None,
            leaving: false,
        };
        CURRENT.with(|current| *current.borrow_mut() = Some(new));
    }

    /// It has had its last job.
    pub(super) fn set_leaving() {
        with_any(|current| current.leaving = true);
    }

    /// It ends now, and not when the thread's values are destroyed: the checkers do not destroy them in order.
    #[cfg(any(loom, shuttle))]
    pub(super) fn leave() {
        drop(CURRENT.with(|current| current.borrow_mut().take()));
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        if self.pool.is_forked() {
            return std::mem::forget(Arc::clone(&self.pool));
        }
        let wakers = self.pool.core().left(&self.worker);
        self.pool.notify(&[], wakers);
    }
}

/// `None` on any other thread, and when the thread's values are being destroyed.
pub(super) fn with_current<T>(pool: &Arc<Pool>, f: impl FnOnce(&mut Current) -> T) -> Option<T> {
    with_any(|current| (Arc::ptr_eq(&current.pool, pool) && !pool.is_forked()).then(|| f(current))).flatten()
}

pub(super) fn with_any<T>(f: impl FnOnce(&mut Current) -> T) -> Option<T> {
    CURRENT.try_with(|current| current.borrow_mut().as_mut().map(f)).ok().flatten()
}

/// Whether this thread is a worker of the pool.
pub(crate) fn is_worker(pool: &Arc<Pool>) -> bool {
    with_current(pool, |_| ()).is_some()
}

/// Whether this thread is in the middle of a job of that lane.
pub(crate) fn is_within(pool: &Arc<Pool>, lane: ViewId) -> bool {
    with_current(pool, |current| lane == ROOT || current.lanes.contains(&lane)) == Some(true)
}

/// Runs a job's closure with its token where `CancelToken::current` and a shutdown find it.
pub(crate) fn with_token<R>(token: &CancelToken, closure: impl FnOnce(&CancelToken) -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            let token = with_any(|current| current.worker.tokens.lock().pop());
            drop(token);
        }
    }
    let stopping = with_any(|current| {
        let lane = current.worker.own_lane();
        current.worker.tokens.lock().push((lane, token.clone()));
        // Either the shutdown has seen the token, or this sees the shutdown.
        current.pool.is_stopping(lane)
    });
    let _leave = stopping.is_some().then_some(Leave);
    if stopping == Some(true) {
        token.cancel();
    }
    token.enter(closure)
}

/// The worker that this thread is, if it is one of the pool, and the job that it runs; 0 for none.
pub(crate) fn current_job(pool: &Arc<Pool>) -> Option<(Arc<Worker>, u64)> {
    with_current(pool, |current| {
        let job = current.worker.running().map_or(0, |running| running.job);
        (Arc::clone(&current.worker), job)
    })
}

/// The pool that this thread is a worker of, unless it has had its last job.
pub(crate) fn current_pool() -> Option<Arc<Pool>> {
    let pool = with_any(|current| (!current.leaving).then(|| Arc::clone(&current.pool))).flatten();
    pool.filter(|pool| !pool.is_forked())
}
