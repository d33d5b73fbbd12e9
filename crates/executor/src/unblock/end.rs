//! `into_inner`, `into_parts` and drop: the object is returned, or finished on the executor. An error loses neither the object nor accepted
//! bytes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};

use super::accepted::Accepted;
use super::{Done, Operation, Unblock, gone};

impl<T: Send + 'static> Unblock<T> {
    /// Gives the object back, and the bytes that were read from it but not yet asked for.
    ///
    /// What was accepted for writing is written before; the object is not flushed.
    ///
    /// # Errors
    ///
    /// If what was accepted for writing could not be written, or the object has panicked or was closed. The error has the `Unblock`
    /// inside, as it was: to try again, or to take it [apart](Unblock::into_parts).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the `Unblock`.
    pub async fn into_inner(mut self) -> Result<(T, Vec<u8>), IntoInnerError<T>> {
        let written = std::future::poll_fn(|cx| {
            loop {
                ready!(self.poll_rest(cx))?;
                if self.accepted.lock().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.start(Operation::Write, |_| Done::Used);
            }
        });
        match written.await {
            Ok(()) => match self.loan.take_back() {
                Some(object) => Ok((object, self.reading.take_unread())),
                None => Err(IntoInnerError { error: gone(), unblock: self }),
            },
            Err(error) => Err(IntoInnerError { error, unblock: self }),
        }
    }

    /// Takes it apart as it is, once the operation under way is over: nothing more is written.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the `Unblock`.
    pub async fn into_parts(mut self) -> Parts<T> {
        let error = std::future::poll_fn(|cx| self.poll_rest(cx)).await.err();
        if self.loan.executor().is_forked() {
            return Parts { object: None, unread: Vec::new(), unwritten: Vec::new(), error };
        }
        let object = self.loan.take_back();
        Parts { object, unread: self.reading.take_unread(), unwritten: self.accepted.lock().take(), error }
    }
}

/// What an [`Unblock`] consists of; see [`Unblock::into_parts`].
#[derive(Debug)]
pub struct Parts<T> {
    /// The object, unless it has panicked or was closed.
    pub object: Option<T>,
    /// Bytes that were read from it but not yet asked for.
    pub unread: Vec<u8>,
    /// Bytes that were accepted for writing but not written.
    pub unwritten: Vec<u8>,
    /// An error that no operation has returned yet.
    pub error: Option<io::Error>,
}

/// Why [`Unblock::into_inner`] did not give the object back, with the `Unblock` inside.
pub struct IntoInnerError<T: Send + 'static> {
    error: io::Error,
    unblock: Unblock<T>,
}

impl<T: Send + 'static> IntoInnerError<T> {
    /// What went wrong.
    pub fn error(&self) -> &io::Error {
        &self.error
    }

    /// The `Unblock`, to try again.
    pub fn into_inner(self) -> Unblock<T> {
        self.unblock
    }

    /// Both.
    pub fn into_parts(self) -> (io::Error, Unblock<T>) {
        (self.error, self.unblock)
    }
}

impl<T: Send + 'static> From<IntoInnerError<T>> for io::Error {
    fn from(error: IntoInnerError<T>) -> Self {
        error.error
    }
}

impl<T: Send + 'static> fmt::Debug for IntoInnerError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: Send + 'static> fmt::Display for IntoInnerError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: Send + 'static> std::error::Error for IntoInnerError<T> {}

impl<T: Send + 'static> Drop for Unblock<T> {
    fn drop(&mut self) {
        if self.loan.executor().is_forked() {
            return;
        }
        self.reading.stop();
        self.reading.unlisten();
        let accepted = Arc::clone(&self.accepted);
        accepted.lock().seal();
        self.loan.part(move |mut object| {
            let _ = Accepted::write(&accepted, &mut object);
        });
    }
}
