//! Asking a running job to stop: a flag that it can look at, and hooks that pull it out of whatever it waits for.
//!
//! Must never run a hook while a lock is held.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::guard::guarded;
use crate::sync::{AtomicBool, Mutex, Ordering, local};

/// Told to stop when the job's handle is dropped or cancelled, and by a shutdown that cancels all.
///
/// A thread cannot be stopped from outside; the job has to look. Between two steps it asks [`check`](CancelToken::check); before a
/// step that blocks it registers with [`on_cancel`](CancelToken::on_cancel) what will end the step: shut a socket down, interrupt a
/// database. Clones share one flag.
///
/// ```
/// use overlapped::{Executor, block_on};
///
/// let executor = Executor::builder().max_workers(1).build()?;
/// let job = executor.submit_cancellable(|token| {
///     let mut steps = 0_u64;
///     while token.check().is_ok() {
///         steps += 1;
///         std::thread::yield_now();
///     }
///     steps
/// });
/// while job.state() != overlapped::JobState::Running {}
/// job.cancel();
/// assert!(block_on(job).is_ok());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct CancelToken(Arc<Token>);

struct Token {
    cancelled: AtomicBool,
    listeners: Mutex<Listeners>,
}

struct Listeners {
    next: u64,
    hooks: Vec<(u64, Hook)>,
    wakers: Vec<Waker>,
}

type Hook = Box<dyn FnOnce() + Send>;

/// The job was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the job was asked to stop")
    }
}

impl std::error::Error for Cancelled {}

impl From<Cancelled> for std::io::Error {
    fn from(cancelled: Cancelled) -> Self {
        std::io::Error::new(std::io::ErrorKind::Interrupted, cancelled)
    }
}

local!(CURRENT: CancelToken);

impl CancelToken {
    pub(crate) fn new() -> Self {
        CancelToken(Arc::new(Token {
            cancelled: AtomicBool::new(false),
            listeners: Mutex::new(Listeners { next: 0, hooks: Vec::new(), wakers: Vec::new() }),
        }))
    }

    /// The token of the job that this thread runs, if it was submitted with
    /// [`submit_cancellable`](crate::Executor::submit_cancellable): for code deep below the closure.
    pub fn current() -> Option<CancelToken> {
        CURRENT.with(|current| current.borrow().clone())
    }

    /// Runs `f` with this token as the thread's current one.
    pub(crate) fn enter<R>(&self, f: impl FnOnce(&CancelToken) -> R) -> R {
        struct Leave(Option<CancelToken>);
        impl Drop for Leave {
            fn drop(&mut self) {
                CURRENT.with(|current| *current.borrow_mut() = self.0.take());
            }
        }
        let _leave = Leave(CURRENT.with(|current| current.borrow_mut().replace(self.clone())));
        f(self)
    }

    /// Whether the job was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// The same as an error, for `?`.
    ///
    /// # Errors
    ///
    /// [`Cancelled`], once the job was asked to stop.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Resolves when the job is asked to stop.
    pub fn cancelled(&self) -> CancelledFuture<'_> {
        CancelledFuture(self)
    }

    /// Runs `hook` when the job is asked to stop, on the thread that asks; at once, if that has already happened. Dropping the guard
    /// takes the hook back.
    ///
    /// # Blocking
    ///
    /// The hook delays whoever cancels. It should only poke.
    pub fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> HookGuard {
        let number = {
            let mut listeners = self.0.listeners.lock();
            // Looked at under the lock: `cancel` sets the flag before it takes the lock, so either it sees the hook or we see the flag.
            if self.is_cancelled() {
                None
            } else {
                let number = listeners.next;
                listeners.next += 1;
                listeners.hooks.push((number, Box::new(hook) as Hook));
                return HookGuard { token: self.clone(), number: Some(number) };
            }
        };
        hook();
        HookGuard { token: self.clone(), number }
    }

    pub(crate) fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        let (hooks, wakers) = {
            let mut listeners = self.0.listeners.lock();
            (std::mem::take(&mut listeners.hooks), std::mem::take(&mut listeners.wakers))
        };
        for (_, hook) in hooks {
            guarded(hook);
        }
        for waker in wakers {
            guarded(move || waker.wake());
        }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

/// Keeps a hook registered; see [`CancelToken::on_cancel`].
#[must_use = "dropping the guard takes the hook back"]
#[derive(Debug)]
pub struct HookGuard {
    token: CancelToken,
    number: Option<u64>,
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let hook = {
            let mut listeners = self.token.0.listeners.lock();
            let at = listeners.hooks.iter().position(|(n, _)| *n == number);
            at.map(|at| listeners.hooks.swap_remove(at))
        };
        drop(hook);
    }
}

/// See [`CancelToken::cancelled`].
#[derive(Debug)]
pub struct CancelledFuture<'a>(&'a CancelToken);

impl Future for CancelledFuture<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut listeners = self.0.0.listeners.lock();
        if self.0.is_cancelled() {
            return Poll::Ready(());
        }
        if !listeners.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            listeners.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
