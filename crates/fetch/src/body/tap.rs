//! Streams the body of a run's only row to a receiver.
//!
//! What was streamed cannot be taken back. So only the body of a response that counts is streamed, and the row is not
//! retried once that has begun.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use overlapped::Executor;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::outcome::Failure;
use overlapped_proto::record::{Headers, HttpVersion};

/// Receives the body of a row as it arrives, from [`Bulk::receiver`](crate::Bulk::receiver).
///
/// ```
/// use std::io::{self, Write, stdout};
///
/// use overlapped_fetch::{Begun, Receiver};
///
/// /// Prints the body as it arrives.
/// struct Print;
///
/// impl Receiver for Print {
///     fn begin(&mut self, _: &Begun) -> io::Result<()> {
///         Ok(())
///     }
///
///     fn write(&mut self, block: &[u8]) -> io::Result<()> {
///         stdout().write_all(block)
///     }
/// }
/// # use overlapped_fetch::{Bulk, Config, Input};
/// # let server = overlapped_testkit::Server::start();
/// # let url = server.url("/ok");
/// let input = Input::Urls(Box::new([url].into_iter()));
/// Bulk::new(Config::default())?.input(input).receiver(Print).start()?.wait()?;
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
///
/// # Blocking
///
/// Both methods may block; they run on a thread of the executor, one call at a time.
pub trait Receiver: Send {
    /// A response that counts has arrived; its body follows.
    ///
    /// # Errors
    ///
    /// The receiver failed; the run ends.
    fn begin(&mut self, head: &Begun) -> io::Result<()>;

    /// The next piece of the body, decoded.
    ///
    /// # Errors
    ///
    /// As [`Receiver::begin`].
    fn write(&mut self, block: &[u8]) -> io::Result<()>;
}

/// The head of the response.
///
/// ```
/// use std::io;
/// use std::sync::mpsc::{Sender, channel};
///
/// use overlapped_fetch::{Begun, Bulk, Config, Input, Receiver, Response};
/// # let server = overlapped_testkit::Server::start();
/// # let url = server.url("/ok");
///
/// /// Sends the first line of the head, and drops the body.
/// struct FirstLine(Sender<String>);
///
/// impl Receiver for FirstLine {
///     fn begin(&mut self, head: &Begun) -> io::Result<()> {
///         assert_eq!((head.status, head.headers.first("content-length").is_some()), (200, head.bytes.is_some()));
///         let line = String::from_utf8_lossy(&head.raw_head).lines().next().unwrap_or_default().to_owned();
///         self.0.send(line).map_err(io::Error::other)
///     }
///
///     fn write(&mut self, _: &[u8]) -> io::Result<()> {
///         Ok(())
///     }
/// }
///
/// let (line, lines) = channel();
/// let response = Response { raw_head: true, ..Response::default() };
/// Bulk::new(Config { response, ..Config::default() })?
///     .input(Input::Urls(Box::new([url].into_iter())))
///     .receiver(FirstLine(line))
///     .start()?
///     .wait()?;
/// assert_eq!(lines.recv().unwrap(), "HTTP/1.1 200 OK");
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Begun {
    /// Its status.
    pub status: u16,
    /// The version of HTTP.
    pub version: HttpVersion,
    /// Its header fields.
    pub headers: Headers,
    /// The bytes of the head as they came, if they are kept ([`Response::raw_head`](crate::Response::raw_head)).
    pub raw_head: Bytes,
    /// The length of the body, if it is known.
    pub bytes: Option<u64>,
}

/// A receiver, and its first error.
#[derive(Clone)]
pub(crate) struct Tap(Arc<Mutex<State>>);

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}

struct State {
    receiver: Box<dyn Receiver>,
    error: Option<io::Error>,
}

impl Tap {
    pub(crate) fn new(receiver: Box<dyn Receiver>) -> Self {
        Self(Arc::new(Mutex::new(State { receiver, error: None })))
    }

    /// The error of the receiver, if it ended the run.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.lock().error.take()
    }

    pub(crate) async fn begin(&self, view: &Executor, head: Begun) -> Result<(), Failure> {
        self.have(view, move |receiver| receiver.begin(&head)).await
    }

    pub(crate) async fn write(&self, view: &Executor, block: Bytes) -> Result<(), Failure> {
        self.have(view, move |receiver| receiver.write(&block)).await
    }

    async fn have(
        &self,
        view: &Executor,
        act: impl FnOnce(&mut dyn Receiver) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Failure> {
        let tap = self.clone();
        let acted = view.submit(move || {
            let mut state = tap.lock();
            act(state.receiver.as_mut()).map_err(|error| {
                let failure = Failure::new(ErrorKind::SinkIo, error.to_string());
                state.error = Some(error);
                failure
            })
        });
        let stopped = |error| Failure::new(ErrorKind::Resource, format!("no thread for the disk: {error}"));
        acted.await.map_err(stopped)?
    }

    /// A panic of the receiver has failed its row already, so the poison flag is ignored.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
