//! Cooperative cancellation of running jobs: a flag to poll, and hooks that interrupt a blocking call. Hooks and wakers run, and are
//! dropped, without a lock.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use crate::guard::guarded;
use crate::sync::{AtomicBool, Mutex, Ordering, ThreadId, local, thread};

/// Cancelled when the job's handle is dropped or cancelled, and by a shutdown that cancels all.
///
/// A thread cannot be stopped from outside, so cancellation is cooperative: between two steps the job calls
/// [`check`](CancelToken::check); before a step that blocks it registers a hook with [`on_cancel`](CancelToken::on_cancel) that interrupts
/// the step, such as shutting down a socket or interrupting a database. Clones share one flag.
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
    /// The hook that is being run now, and by which thread.
    running: Option<(u64, ThreadId)>,
    /// Who waits for the end of the hook that is being run.
    hook_ended: Vec<Waker>,
    wakers: Vec<(u64, Waker)>,
}

impl Listeners {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

pub(crate) type Hook = Box<dyn FnOnce() + Send>;

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
        // Not `Interrupted`: `std::io` tries again after that, for ever.
        std::io::Error::other(cancelled)
    }
}

/// A reference to a token that does not keep it alive.
pub(crate) struct WeakToken(Weak<Token>);

impl WeakToken {
    pub(crate) fn cancel(&self) {
        if let Some(token) = self.0.upgrade() {
            CancelToken(token).cancel();
        }
    }
}

local!(CURRENT: CancelToken);

impl CancelToken {
    pub(crate) fn new() -> Self {
        CancelToken(Arc::new(Token {
            cancelled: AtomicBool::new(false),
            listeners: Mutex::new(Listeners {
                next: 0,
                hooks: Vec::new(),
                running: None,
                hook_ended: Vec::new(),
                wakers: Vec::new(),
            }),
        }))
    }

    pub(crate) fn downgrade(&self) -> WeakToken {
        WeakToken(Arc::downgrade(&self.0))
    }

    /// The token of the job that this thread runs, if it was submitted with
    /// [`submit_cancellable`](crate::Executor::submit_cancellable): for code deep below the closure.
    pub fn current() -> Option<CancelToken> {
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    /// Runs `f` with this token as the thread's current one.
    pub(crate) fn enter<R>(&self, f: impl FnOnce(&CancelToken) -> R) -> R {
        struct Leave(Option<CancelToken>);
        impl Drop for Leave {
            fn drop(&mut self) {
                let inner =
                    CURRENT.with(|current| std::mem::replace(&mut *current.borrow_mut(), self.0.take()));
                drop(inner);
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
        CancelledFuture { token: self, number: None }
    }

    /// Keeps the hook until the job is asked to stop, under the number that comes back. If that has already happened, the hook comes back.
    pub(crate) fn add_hook(&self, hook: Hook) -> Result<u64, Hook> {
        let mut listeners = self.0.listeners.lock();
        // Read under the lock: `cancel` sets the flag before it takes the lock, so it sees the hook or this sees the flag.
        if self.is_cancelled() {
            return Err(hook);
        }
        let number = listeners.number();
        listeners.hooks.push((number, hook));
        Ok(number)
    }

    /// Takes a hook back, if it has not run. Not ready while another thread runs it.
    pub(crate) fn poll_take_back(&self, number: u64, cx: &Context<'_>) -> Poll<Option<Hook>> {
        let waker = cx.waker().clone();
        let here = thread::current().id();
        let mut listeners = self.0.listeners.lock();
        // A hook that takes itself back cannot wait for its own end.
        if listeners.running.is_some_and(|(running, by)| running == number && by != here) {
            listeners.hook_ended.push(waker);
            return Poll::Pending;
        }
        let at = listeners.hooks.iter().position(|(n, _)| *n == number);
        let hook = at.map(|at| listeners.hooks.remove(at).1);
        drop(listeners);
        Poll::Ready(hook)
    }

    pub(crate) fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        let wakers = std::mem::take(&mut self.0.listeners.lock().wakers);
        for (_, waker) in wakers {
            guarded(move || waker.wake());
        }
        // One by one, because a hook may be removed while an earlier one runs.
        while let Some(hook) = self.begin_hook() {
            guarded(hook);
            let ended = {
                let mut listeners = self.0.listeners.lock();
                listeners.running = None;
                std::mem::take(&mut listeners.hook_ended)
            };
            for waker in ended {
                guarded(move || waker.wake());
            }
        }
    }

    /// Takes the next hook. `None` while another thread runs one: that thread runs the rest.
    fn begin_hook(&self) -> Option<Hook> {
        let mut listeners = self.0.listeners.lock();
        if listeners.running.is_some() || listeners.hooks.is_empty() {
            return None;
        }
        let (number, hook) = listeners.hooks.remove(0);
        listeners.running = Some((number, thread::current().id()));
        Some(hook)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

/// See [`CancelToken::cancelled`].
#[derive(Debug)]
pub struct CancelledFuture<'a> {
    token: &'a CancelToken,
    /// Under which its waker is kept.
    number: Option<u64>,
}

impl Future for CancelledFuture<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Cloning and dropping a waker is user code: not under the lock.
        let waker = cx.waker().clone();
        let mut listeners = self.token.0.listeners.lock();
        if self.token.is_cancelled() {
            drop(listeners);
            drop(waker);
            return Poll::Ready(());
        }
        let number = self.number.unwrap_or_else(|| listeners.number());
        let old = match listeners.wakers.iter_mut().find(|(other, _)| *other == number) {
            Some((_, old)) => Some(std::mem::replace(old, waker)),
            None => {
                listeners.wakers.push((number, waker));
                None
            }
        };
        drop(listeners);
        drop(old);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for CancelledFuture<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut listeners = self.token.0.listeners.lock();
        let at = listeners.wakers.iter().position(|(other, _)| *other == number);
        let waker = at.map(|at| listeners.wakers.swap_remove(at));
        drop(listeners);
        drop(waker);
    }
}
