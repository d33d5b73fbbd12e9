//! Whether state belongs to one thread or to several: the engine's is a shard's own and takes no lock, a client's is shared.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Handle, Id};

/// The threads that use some state.
pub(crate) trait Locality {
    /// State that is changed by one caller at a time.
    type Cell<T>: Guarded<T>;

    /// True if only one thread uses it, within one runtime.
    const ONE_THREAD: bool;

    /// The runtime that polls the current task, if there may be several.
    fn runtime() -> Option<Id>;
}

/// Access to a value by one caller at a time.
pub(crate) trait Guarded<T> {
    fn new(value: T) -> Self;

    /// Calls `act` with the value. `act` must not come back to the same value.
    fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R;
}

/// State of a shard.
pub(crate) struct OneThread;

/// State of a client.
pub(crate) struct ManyThreads;

impl Locality for OneThread {
    type Cell<T> = RefCell<T>;

    const ONE_THREAD: bool = true;

    fn runtime() -> Option<Id> {
        None
    }
}

impl Locality for ManyThreads {
    type Cell<T> = Mutex<T>;

    const ONE_THREAD: bool = false;

    fn runtime() -> Option<Id> {
        Handle::try_current().ok().map(|handle| handle.id())
    }
}

impl<T> Guarded<T> for RefCell<T> {
    fn new(value: T) -> Self {
        Self::new(value)
    }

    fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        act(&mut self.borrow_mut())
    }
}

impl<T> Guarded<T> for Mutex<T> {
    fn new(value: T) -> Self {
        Self::new(value)
    }

    /// What is done under a lock does not panic halfway, so a poisoned value is whole.
    fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        act(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
