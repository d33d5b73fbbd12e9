//! Runs requests for callers that are no asynchronous tasks of Rust, such as the threads and event loops of another language.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::Client;
use super::error::RequestError;

/// Work that a thread of a client does.
#[derive(Clone, Debug)]
pub struct Spawned(AbortHandle);

impl Spawned {
    /// Drops the work, soon, unless it is done.
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl Client {
    /// Runs `work`, such as a request, on the calling thread with a runtime of the client. Every `interval` it asks `goes_on`;
    /// if that is false, the work is dropped and the result is `None`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use overlapped_fetch::{Client, Config};
    /// # let server = overlapped_testkit::Server::start();
    /// # let (url, slow) = (server.url("/ok"), server.url("/delay/600000"));
    ///
    /// let client = Client::new(Config::default())?;
    /// let second = Duration::from_millis(10);
    /// let response = client.block_on(second, || true, client.get(url).send())?.expect("it goes on")?;
    /// assert_eq!(response.status(), 200);
    /// let given_up = client.block_on(second, || false, client.get(slow).send())?;
    /// assert!(given_up.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The system provides no event queue, or this is a forked child.
    ///
    /// # Panics
    ///
    /// Within an asynchronous task of tokio. `goes_on` and `work` must not make another request in this way.
    ///
    /// # Blocking
    ///
    /// Until the work is done or given up.
    pub fn block_on<T>(
        &self,
        interval: Duration,
        mut goes_on: impl FnMut() -> bool,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, RequestError> {
        let asked = async {
            let mut work = pin!(work);
            let mut timer = pin!(sleep(interval));
            poll_fn(|cx| {
                if let Poll::Ready(done) = work.as_mut().poll(cx) {
                    return Poll::Ready(Some(done));
                }
                while timer.as_mut().poll(cx).is_ready() {
                    if !goes_on() {
                        return Poll::Ready(None);
                    }
                    timer.as_mut().reset(Instant::now() + interval);
                }
                Poll::Pending
            })
            .await
        };
        self.core.block_on(asked).map_err(|failure| RequestError::new(failure, None, None))
    }

    /// Runs `work`, such as a request, on the thread of the client that also watches sockets for other executors.
    ///
    /// ```
    /// use overlapped_fetch::{Client, Config};
    /// # let server = overlapped_testkit::Server::start();
    /// # let url = server.url("/ok");
    ///
    /// let client = Client::new(Config::default())?;
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let request = client.get(url).send();
    /// client.spawn(async move { drop(sender.send(request.await)) })?;
    /// assert_eq!(receiver.recv()??.status(), 200);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The system provides no event queue, or this is a forked child.
    ///
    /// # Cancel safety
    ///
    /// The work goes on when the result of this function is dropped. Work that uses no clone of the client is dropped with the
    /// last of them.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<Spawned, RequestError> {
        let watcher = self.core.watcher().map_err(|failure| RequestError::new(failure, None, None))?;
        Ok(Spawned(watcher.spawn(work).abort_handle()))
    }
}
