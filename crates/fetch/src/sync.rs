//! Locks and atomics of what the threads of a run share: std's, or loom's where a model checks the protocol.
//!
//! The modules that have a model use these names: `mailbox`, `budget`, `channels` and `shared`.

#[cfg(model)]
use loom as imp;
#[cfg(not(model))]
use std as imp;

#[cfg(not(model))]
pub(crate) use atomic_waker::AtomicWaker;
#[cfg(model)]
pub(crate) use imp::future::AtomicWaker;
pub(crate) use imp::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// A mutex without poisoning: no user code runs while one is held, so a panic cannot leave half a change behind.
#[derive(Debug)]
pub(crate) struct Mutex<T>(imp::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> imp::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Registers the waker to be woken by [`AtomicWaker::wake`].
pub(crate) fn register(waker: &AtomicWaker, by: &std::task::Waker) {
    #[cfg(not(model))]
    waker.register(by);
    #[cfg(model)]
    waker.register_by_ref(by);
}

/// The fence between "set a flag" and "check again" on both sides of a hand-over.
///
/// The accesses are `SeqCst`, which is enough: one of two threads sees what the other has stored. loom treats `SeqCst`
/// accesses as `AcqRel`, so a model needs an explicit fence.
pub(crate) fn store_then_load() {
    #[cfg(model)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}
