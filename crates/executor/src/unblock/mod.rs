//! `Unblock`: a blocking object as an asynchronous one. The state and the one function that changes it; each trait has its own file.
//!
//! No byte that was read, or accepted for writing, is lost.
//!
//! The object is [lent](crate::lend) to one operation at a time. Each operation first writes what was accepted before it. What an
//! operation needs beyond the object is shared with its job and not moved into it, so a job that the executor does not take leaves
//! everything as it was, and the operation can be asked for again:
//!
//! | asked for | at rest | lent | panicked, closed |
//! | --- | --- | --- | --- |
//! | read | gives unread bytes, or starts a read | gives unread bytes, unless the operation moves the object; else waits | an error |
//! | write | takes bytes in; a full buffer is started | takes bytes in while there is room, unless it is a close; else waits | an error |
//! | flush, seek, `with` | starts it | waits, then starts it | an error |
//! | close | starts it | waits, then starts it | an error; nothing, if closed |
//! | `into_inner` | writes what was accepted, gives the object | waits | an error |
//! | next item | gives an item, or starts to pull | gives an item, or waits | the end |
//! | drop | a job writes what was accepted and drops the object | the operation's job does so | nothing |

mod calls;
mod end;
mod stream;
mod write;
mod read;
mod seek;
mod accepted;
mod listener;

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

pub use end::{IntoInnerError, Parts};

use self::accepted::Accepted;
use self::read::Reading;
use self::seek::Seeking;
use crate::error::{JobError, Rejected};
use crate::executor::Executor;
use crate::lend::Loan;
use crate::limits;
use crate::reserve::Reserve;
use crate::sync::Mutex;

/// A blocking object (`Read`, `Write`, `Seek` or `Iterator`) as an asynchronous one (`AsyncRead`, `AsyncBufRead`, `AsyncWrite`,
/// `AsyncSeek` of futures-io, and `Stream`; with feature `tokio`, tokio's traits too).
///
/// Every operation is one job on an executor and moves a whole buffer, up to 256 KiB unless [set](Unblock::buffer), so that the hop to
/// another thread costs little by the byte. Small reads and writes are served from the buffer.
///
/// ```
/// use overlapped::{Unblock, block_on};
/// use std::pin::Pin;
/// use futures_io::AsyncRead;
///
/// let mut file = Unblock::new(std::fs::File::open("Cargo.toml")?);
/// let mut head = [0; 9];
/// block_on(std::future::poll_fn(|cx| Pin::new(&mut file).poll_read(cx, &mut head)))?;
/// assert_eq!(&head, b"[package]");
///
/// // The bytes that were read ahead are not lost.
/// let (_file, unread) = block_on(file.into_inner())?;
/// assert!(unread.starts_with(b"\nname = "));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The object is used by one operation at a time. A socket that is to be read and written at once needs two, over `try_clone`: a read
/// that waits for bytes would hold up the write that asks for them. An object that is both read and written and has one position for
/// both needs a seek between, as C's streams do, because reading runs ahead; the seek puts that right. A regular
/// [`File`](std::fs::File), and any object that was sought before, is put right without one.
///
/// # Cancel safety
///
/// Dropping a future that reads or writes loses nothing: what the job brings is kept for the next. An operation that has been started
/// takes effect, also if its future is dropped: a seek moves the object. Dropping an `Unblock` hands what was accepted for writing to
/// the object all the same, and drops the object, on the executor; errors are then lost, so flush or close first. Only if
/// the executor is shut down by then, the dropping thread does this itself.
///
/// # Errors
///
/// The object's own; and, with a [`JobError`](crate::JobError) inside, when the executor does not take the job or the object panics. After
/// a job that was not taken, or a write that failed, everything is as it was before, and the operation may be tried again: bytes that
/// were accepted stay accepted until the object has taken them. An error of an operation whose future was dropped is returned by the next.
/// After a panic the object is not used again.
pub struct Unblock<T: Send + 'static> {
    loan: Loan<T, Done>,
    stage: Stage,
    /// Most bytes that one job moves.
    block_bytes: usize,
    reading: Reading,
    /// How the object moves back over unread bytes, if it is known to have one position for reading and writing.
    rewind: Option<Rewind<T>>,
    accepted: Arc<Mutex<Accepted<T>>>,
    /// The object was flushed after the last write.
    clean: bool,
    /// An error of a write that ran behind.
    failed: Option<io::Error>,
    seeking: Seeking,
    #[cfg(feature = "tokio")]
    wanted: Option<io::SeekFrom>,
    /// A call of `with` was left on the object; nothing else may come before it.
    called: bool,
    /// Items of an iterator.
    items: Option<Box<dyn Any + Send>>,
    /// A place in the queue for the job that pulls items.
    reserve: Option<Reserve>,
}

type Rewind<T> = fn(&mut T, u64) -> io::Result<()>;

/// Where the object is, as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No operation is under way.
    Rest,
    /// This operation is.
    Lent(Operation),
    /// An operation panicked, or the object is lost in another process.
    Panicked,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Read,
    /// A read that was not asked for yet.
    ReadAhead,
    Write,
    /// A write that is not waited for yet.
    WriteBehind,
    Flush,
    Seek,
    Call,
    Pull,
    Close,
}

impl Operation {
    /// Whether its caller waits for it. One that runs ahead or behind is simply started again if the executor does not take it.
    fn is_awaited(self) -> bool {
        match self {
            Operation::ReadAhead | Operation::WriteBehind => false,
            Operation::Read
            | Operation::Write
            | Operation::Flush
            | Operation::Seek
            | Operation::Call
            | Operation::Pull
            | Operation::Close => true,
        }
    }

    /// Whether it may move the object, so that what is unread must wait for it.
    fn moves(self) -> bool {
        match self {
            Operation::Seek | Operation::Call | Operation::Close => true,
            Operation::Read
            | Operation::ReadAhead
            | Operation::Write
            | Operation::WriteBehind
            | Operation::Flush
            | Operation::Pull => false,
        }
    }
}

/// What an operation brings back.
enum Done {
    /// What it was for is elsewhere.
    Used,
    /// What was accepted before could not be written, and the operation was not begun.
    NotWritten(io::Error),
    Flushed(io::Result<()>),
    /// With `Keep`, the unread bytes still follow.
    Sought(io::Result<u64>, Unread),
    Closed(io::Result<()>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    Keep,
    Forget,
}

impl<T: Send + 'static> Unblock<T> {
    /// On the process's common executor.
    #[track_caller]
    pub fn new(object: T) -> Self {
        Self::on(Executor::global(), object)
    }

    /// On this executor, or view.
    #[track_caller]
    pub fn on(executor: &Executor, object: T) -> Self {
        Unblock {
            loan: Loan::new(&executor.located(), object),
            stage: Stage::Rest,
            block_bytes: limits::BLOCK_BYTES,
            reading: Reading::new(),
            rewind: read::rewind_of_a_file(),
            accepted: Arc::new(Mutex::new(Accepted::new())),
            clean: false,
            failed: None,
            seeking: Seeking::Idle,
            #[cfg(feature = "tokio")]
            wanted: None,
            called: false,
            items: None,
            reserve: None,
        }
    }

    /// How many bytes one job moves at most; and for an iterator, counted at a thousand bytes an item, how many items are in stock.
    ///
    /// A reader begins with less and comes to this when it reads on, so a few small reads here and there do not cost whole buffers. If it
    /// is not set, a read that asks for more than 256 KiB gets up to 1 MiB from one job.
    pub fn buffer(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes.max(1);
        self.reading.bounded(self.block_bytes);
        self
    }

    /// Reads this many buffers ahead while the earlier ones are being used. 0 reads only when asked: right for a pipe or a socket, where
    /// a read may wait for what is yet to be written.
    ///
    /// By default an object is read when asked, until several whole buffers in a row, of half a MiB together, came from an object that
    /// was never written to: then it is taken for a file or its like, and read two buffers ahead, each of up to
    /// 1 MiB unless it was [set](Unblock::buffer), until it gives less than it was asked for.
    pub fn read_ahead(mut self, blocks: usize) -> Self {
        self.reading.read_ahead(blocks);
        self
    }

    /// Uses the object itself, on the executor, once all that was accepted for writing is written.
    ///
    /// Of an object that was read, the position is that after all bytes read ahead, also those not given yet. To use it where the reader is,
    /// [seek](Unblock::seek) first to an absolute position; `SeekFrom::Current(0)` only tells the reader's position, and moves nothing. What
    /// the closure does to the position shows after the unread bytes: they are still given first.
    ///
    /// # Errors
    ///
    /// See [`Unblock`]. With an error, the closure has not run and will not run.
    ///
    /// # Cancel safety
    ///
    /// Once polled, dropping the future does not take the closure back: it runs, and the next operation waits for it.
    pub async fn with<F, R>(&mut self, f: F) -> io::Result<R>
    where
        F: FnOnce(&mut T) -> R + Send + 'static,
        R: Send + 'static,
    {
        let call = Arc::new(Mutex::new(Call::Waiting(f)));
        let theirs = Arc::clone(&call);
        self.check()?;
        self.clean = false;
        self.called = true;
        self.abandon_seek();
        let accepted = self.accepted_so_far();
        self.loan.follow(Box::new(move |object| {
            let Call::Waiting(f) = swap(&theirs, Call::Taken) else { return };
            let done = match Accepted::write(&accepted, object) {
                Ok(()) => Call::Done(f(object)),
                Err(error) => Call::NotWritten(error),
            };
            drop(swap(&theirs, done));
        }));
        std::future::poll_fn(move |cx| {
            loop {
                let rest = ready!(self.poll_rest(cx));
                match (swap(&call, Call::Taken), rest) {
                    (Call::Done(result), rest) => {
                        // An error of the operation before is returned by the next.
                        self.failed = self.failed.take().or(rest.err());
                        return Poll::Ready(Ok(result));
                    }
                    (Call::NotWritten(error), _) | (_, Err(error)) => return Poll::Ready(Err(error)),
                    (Call::Taken, Ok(())) => return Poll::Ready(Err(gone())),
                    (waiting @ Call::Waiting(_), Ok(())) => {
                        drop(swap(&call, waiting));
                        self.called = true;
                        self.start(Operation::Call, |_| Done::Used);
                    }
                }
            }
        })
        .await
    }

    /// Takes an error that no operation has returned: that of a stream that ended before its iterator, or of a write in the background.
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    // The state, and what moves it.

    /// Whether the object can be used at all.
    fn check(&self) -> io::Result<()> {
        if self.loan.executor().is_forked() {
            return Err(JobError::Rejected(Rejected::Forked).into());
        }
        match self.stage {
            Stage::Rest | Stage::Lent(_) => Ok(()),
            Stage::Panicked => Err(gone()),
            Stage::Closed => Err(closed()),
        }
    }

    /// Ready when no operation is under way; one that reads ahead is asked to end. Returns the error of the one that was, if it failed.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.reading.stop();
        self.poll_job(cx)
    }

    fn poll_job(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        if let Stage::Lent(operation) = self.stage {
            let result = self.loan.poll(cx);
            if result.is_pending() {
                self.reading.note_listener(self.loan.executor().pool(), cx);
            }
            let result = ready!(result);
            self.reading.unlisten();
            self.settle(operation, result)?;
            // It may have closed the object.
            self.check()?;
        }
        Poll::Ready(self.failed.take().map_or(Ok(()), Err))
    }

    /// The one function that moves the state when an operation is over.
    fn settle(&mut self, operation: Operation, result: Result<Option<Done>, JobError>) -> io::Result<()> {
        self.called = false;
        self.stage = match &result {
            Ok(Some(Done::Closed(Ok(())))) => Stage::Closed,
            Ok(Some(
                Done::Closed(Err(_)) | Done::Used | Done::NotWritten(_) | Done::Flushed(_) | Done::Sought(..),
            )) => Stage::Rest,
            Ok(None) | Err(JobError::Panicked(_)) => Stage::Panicked,
            Err(
                JobError::Cancelled
                | JobError::Rejected(_)
                | JobError::TimedOut { .. }
                | JobError::WouldDeadlock,
            ) => Stage::Rest,
        };
        match result {
            Ok(Some(Done::Used)) => Ok(()),
            Ok(Some(Done::NotWritten(error))) if operation.is_awaited() => {
                self.seeking = Seeking::Idle;
                Err(error)
            }
            Ok(Some(Done::NotWritten(error))) => {
                self.failed = Some(error);
                Ok(())
            }
            Ok(Some(Done::Flushed(result))) => {
                self.clean = result.is_ok() && self.accepted.lock().is_empty();
                result
            }
            Ok(Some(Done::Sought(result, unread))) => {
                self.sought(result, unread);
                Ok(())
            }
            Ok(Some(Done::Closed(result))) => result,
            Ok(None) => Err(gone()),
            Err(error) => {
                self.seeking = Seeking::Idle;
                let told = operation.is_awaited() || self.stage == Stage::Panicked;
                if told { Err(error.into()) } else { Ok(()) }
            }
        }
    }

    /// Starts an operation, once what was accepted so far is written. None is under way.
    fn start(&mut self, operation: Operation, f: impl FnOnce(&mut T) -> Done + Send + 'static) {
        self.start_last(operation, |object| f(object.as_mut().expect("only `close` consumes the object")));
    }

    /// As `start`, for an operation that may consume the object.
    fn start_last(&mut self, operation: Operation, f: impl FnOnce(&mut Option<T>) -> Done + Send + 'static) {
        let accepted = self.accepted_so_far();
        self.stage = Stage::Lent(operation);
        self.loan.start(move |object| {
            let written = Accepted::write(&accepted, object.as_mut().expect("the object was on the desk"));
            match written {
                Ok(()) => f(object),
                Err(error) => Done::NotWritten(error),
            }
        });
    }

    /// Marks off what the next operation writes before it begins.
    fn accepted_so_far(&mut self) -> Arc<Mutex<Accepted<T>>> {
        if self.accepted.lock().seal() {
            self.clean = false;
        }
        Arc::clone(&self.accepted)
    }
}

/// What became of a closure of `with`.
enum Call<F, R> {
    Waiting(F),
    Taken,
    Done(R),
    NotWritten(io::Error),
}

fn swap<C>(call: &Mutex<C>, new: C) -> C {
    std::mem::replace(&mut *call.lock(), new)
}

fn gone() -> io::Error {
    io::Error::other("the object panicked in an earlier operation and is not used again")
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the object was closed")
}

impl<T: Send + 'static> fmt::Debug for Unblock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unblock").field("stage", &self.stage).finish_non_exhaustive()
    }
}
