//! The body of a run's one row, handed on while it comes.
//!
//! What was handed on cannot be taken back: so it is that of an answer which counts, and the row is not tried again once
//! it has begun.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use overlapped::Executor;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::outcome::Failure;
use overlapped_proto::record::{Headers, HttpVersion};

/// Takes the body of a row while it comes, from [`Bulk::receiver`](crate::Bulk::receiver).
///
/// # Blocking
///
/// Both methods may block; they run on a thread of the executor, one call at a time.
pub trait Receiver: Send {
    /// A response has come that counts; its body follows.
    ///
    /// # Errors
    ///
    /// It could not be taken; the run ends.
    fn begin(&mut self, head: &Begun) -> io::Result<()>;

    /// The next piece of the body, decoded.
    ///
    /// # Errors
    ///
    /// As [`Receiver::begin`].
    fn write(&mut self, block: &[u8]) -> io::Result<()>;
}

/// The head of a response whose body comes.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Its status.
    pub status: u16,
    /// The version of HTTP.
    pub version: HttpVersion,
    /// Its header fields.
    pub headers: Headers,
    /// Bytes that the body has, if that is known.
    pub bytes: Option<u64>,
}

/// A receiver, and what it could not do.
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

    /// What ended the run, if it was the receiver.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.lock().error.take()
    }

    pub(crate) async fn begin(&self, lane: &Executor, head: Begun) -> Result<(), Failure> {
        self.have(lane, move |receiver| receiver.begin(&head)).await
    }

    pub(crate) async fn write(&self, lane: &Executor, block: Bytes) -> Result<(), Failure> {
        self.have(lane, move |receiver| receiver.write(&block)).await
    }

    async fn have(
        &self,
        lane: &Executor,
        act: impl FnOnce(&mut dyn Receiver) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Failure> {
        let tap = self.clone();
        let acted = lane.submit(move || {
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

    /// A receiver that has panicked has ended its row; the lock says nothing more.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
