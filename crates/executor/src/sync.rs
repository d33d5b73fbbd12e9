//! The threads, locks and atomics that everything above is built on: std's, or loom's and shuttle's when the protocol is being checked.
//!
//! Must never hold anything but these names: whatever decides something belongs above.

#[cfg(not(any(loom, shuttle)))]
use std as imp;

#[cfg(loom)]
use loom as imp;
#[cfg(shuttle)]
use shuttle as imp;

pub(crate) use imp::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub(crate) use imp::thread::{self, Thread};
pub(crate) use imp::thread_local;

/// A lock that does not know poison: no user code runs while one is held, so a panic cannot leave half a change behind.
pub(crate) struct Mutex<T>(imp::sync::Mutex<T>);

pub(crate) type Guard<'a, T> = imp::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(imp::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes the lock if nobody holds it.
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

/// Sleeps until woken or until the time is over; may wake for nothing. The checkers have no clock: there the time never ends.
pub(crate) fn park(timeout: Option<std::time::Duration>) {
    match timeout {
        #[cfg(not(any(loom, shuttle)))]
        Some(timeout) => thread::park_timeout(timeout),
        #[cfg(any(loom, shuttle))]
        Some(_) => thread::park(),
        None => thread::park(),
    }
}

/// One step of waiting without sleeping.
pub(crate) fn relax() {
    #[cfg(not(any(loom, shuttle)))]
    std::hint::spin_loop();
    #[cfg(any(loom, shuttle))]
    thread::yield_now();
}
