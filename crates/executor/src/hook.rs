//! Hooks of tokens: what interrupts a job that blocks, and how it is taken back.
//!
//! No lock is held while a hook runs or is dropped.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use crate::block_on::block_on;
use crate::cancel::CancelToken;

impl CancelToken {
    /// Runs `hook` when the job is asked to stop, on the thread that asks; at once, if that has already happened. Dropping the guard
    /// takes the hook back: after that it does not run, nor is it still running, so what it refers to may be closed.
    ///
    /// # Blocking
    ///
    /// The hook runs on the thread that cancels, which waits for it; so does the drop of its guard if another thread is running it. There,
    /// as in any other wait, a stand-in takes the place of a worker. The hook should return quickly. It must not wait for its own job, which
    /// may be in that drop.
    pub fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> HookGuard {
        match self.add_hook(Box::new(hook)) {
            Ok(number) => HookGuard { token: self.clone(), number: Some(number) },
            Err(hook) => {
                hook();
                HookGuard { token: self.clone(), number: None }
            }
        }
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
        // Hardly ever does one run just now.
        let hook = match self.token.poll_take_back(number, &Context::from_waker(Waker::noop())) {
            Poll::Ready(hook) => hook,
            Poll::Pending => block_on(poll_fn(|cx| self.token.poll_take_back(number, cx))),
        };
        drop(hook);
    }
}
