//! Threads, locks and atomics: those of std, or of loom or shuttle under the model checkers. No logic of the pool belongs here.

#[cfg(not(any(loom, shuttle)))]
use std as imp;

#[cfg(loom)]
use loom as imp;
#[cfg(shuttle)]
use shuttle as imp;

pub(crate) use imp::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub(crate) use imp::thread;
pub(crate) use imp::thread::ThreadId;

/// A mutex without poisoning: no user code runs while one is held, so a panic cannot leave a partial update.
pub(crate) struct Mutex<T>(imp::sync::Mutex<T>);

pub(crate) type Guard<'a, T> = imp::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(imp::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Parks one thread; wake-ups may be spurious.
pub(crate) struct Parker {
    #[cfg(not(loom))]
    thread: thread::Thread,
    // Under loom, an unpark of a thread that is blocked on a mutex is lost.
    #[cfg(loom)]
    token: (imp::sync::Mutex<bool>, imp::sync::Condvar),
}

#[cfg(not(loom))]
impl Parker {
    /// For the current thread.
    pub(crate) fn new() -> Self {
        Parker { thread: thread::current() }
    }

    /// Sleeps until unparked or until the time is over. shuttle has no clock: there it never is.
    pub(crate) fn park(&self, timeout: Option<std::time::Duration>) {
        match timeout {
            Some(timeout) if cfg!(not(shuttle)) => thread::park_timeout(timeout),
            Some(_) | None => thread::park(),
        }
    }

    pub(crate) fn unpark(&self) {
        self.thread.unpark();
    }

    pub(crate) fn thread_name(&self) -> String {
        self.thread.name().unwrap_or_default().to_owned()
    }
}

#[cfg(loom)]
impl Parker {
    pub(crate) fn new() -> Self {
        Parker { token: (imp::sync::Mutex::new(false), imp::sync::Condvar::new()) }
    }

    pub(crate) fn park(&self, _timeout: Option<std::time::Duration>) {
        let mut token = self.token.0.lock().expect("no panic under the lock");
        while !*token {
            token = self.token.1.wait(token).expect("no panic under the lock");
        }
        *token = false;
    }

    pub(crate) fn unpark(&self) {
        *self.token.0.lock().expect("no panic under the lock") = true;
        self.token.1.notify_one();
    }

    pub(crate) fn thread_name(&self) -> String {
        String::new()
    }
}

/// One step of a spin loop.
pub(crate) fn relax() {
    #[cfg(not(any(loom, shuttle)))]
    std::hint::spin_loop();
    #[cfg(any(loom, shuttle))]
    thread::yield_now();
}

/// Declares a thread-local `RefCell<Option<_>>` that starts empty.
macro_rules! local {
    ($name:ident: $type:ty) => {
        #[cfg(not(any(loom, shuttle)))]
        std::thread_local! { static $name: std::cell::RefCell<Option<$type>> = const { std::cell::RefCell::new(None) } }
        #[cfg(loom)]
        loom::thread_local! { static $name: std::cell::RefCell<Option<$type>> = std::cell::RefCell::new(None) }
        #[cfg(shuttle)]
        shuttle::thread_local! { static $name: std::cell::RefCell<Option<$type>> = std::cell::RefCell::new(None) }
    };
}
pub(crate) use local;
