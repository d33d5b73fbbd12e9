//! Runtimes of a client: a blocking call runs on the calling thread with a runtime of its own; a thread drives another one, for
//! the connections of HTTP/2, which requests of several runtimes share, and for the sockets of tasks whose executor has no
//! runtime.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;

use atomic_waker::AtomicWaker;
use overlapped::Executor;
use overlapped_proto::limits;
use tokio::runtime::{Builder, Handle, Runtime};

/// The runtimes of one client.
#[derive(Default)]
pub(super) struct Runtimes {
    /// Those of blocking calls that are not in use, the one that was used last at the end.
    idle: Mutex<Vec<Runtime>>,
    watcher: OnceLock<Watcher>,
}

/// A runtime that a thread of the executor drives.
struct Watcher {
    handle: Handle,
    stop: Arc<Stop>,
}

/// Ends that thread.
#[derive(Default)]
struct Stop {
    is_set: AtomicBool,
    waker: AtomicWaker,
}

impl Stop {
    fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.waker.wake();
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            // Registered before the flag is read, so that no wake-up is lost.
            self.waker.register(cx.waker());
            if self.is_set.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Runtimes {
    /// Runs `work` on the calling thread.
    ///
    /// # Errors
    ///
    /// The system provides no event queue.
    ///
    /// # Panics
    ///
    /// Within an asynchronous task of tokio, whose thread must not be blocked.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> io::Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let last = idle().pop();
        let runtime = last.map_or_else(runtime, Ok)?;
        let result = runtime.block_on(work);
        let mut idle = idle();
        if idle.len() < limits::CLIENT_RUNTIMES_IDLE_MAX {
            idle.push(runtime);
        }
        Ok(result)
    }

    /// The runtime that a thread of `executor` drives.
    ///
    /// # Errors
    ///
    /// The system provides no event queue.
    pub(super) fn watcher(&self, executor: &Executor) -> io::Result<&Handle> {
        if let Some(watcher) = self.watcher.get() {
            return Ok(&watcher.handle);
        }
        let mut made = Some(runtime()?);
        let watcher = self.watcher.get_or_init(|| {
            let runtime = made.take().expect("it is used once");
            let (handle, stop) = (runtime.handle().clone(), Arc::new(Stop::default()));
            let stopped = Arc::clone(&stop);
            executor.submit(move || runtime.block_on(stopped.wait())).detach();
            Watcher { handle, stop }
        });
        // Another thread was faster. An asynchronous task must not wait for the end of a runtime.
        if let Some(unused) = made {
            unused.shutdown_background();
        }
        Ok(&watcher.handle)
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.stop.set();
        }
        // An asynchronous task may drop the client, and must not wait for a runtime.
        for runtime in self.idle.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            runtime.shutdown_background();
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().enable_time().build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Barrier;

    use super::*;

    /// The first requests of several threads over HTTP/2 panicked: all but one dropped the runtime that they had made within a task.
    #[test]
    fn threads_that_need_the_watcher_at_once_get_the_same() {
        let executor = Executor::builder().build().unwrap();
        for _ in 0..200 {
            let (runtimes, barrier) = (Runtimes::default(), Barrier::new(4));
            let ids: Vec<_> = std::thread::scope(|scope| {
                let asked = || {
                    runtimes.block_on(async {
                        barrier.wait();
                        runtimes.watcher(&executor).unwrap().id()
                    })
                };
                let threads = [(); 4].map(|()| scope.spawn(asked));
                threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
            });
            assert!(ids.iter().all(|id| *id == ids[0]));
        }
    }
}
