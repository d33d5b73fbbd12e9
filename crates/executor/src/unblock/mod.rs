//! `Unblock`: a blocking object as an asynchronous one. The state and the one function that moves it; each trait has its own file.
//!
//! Must never hold the object while a job uses it, nor lose a byte that was read, or accepted for writing.

mod read;
mod seek;
mod stream;
mod write;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::executor::Executor;
use crate::job::Job;
use crate::sync::Mutex;

/// A blocking object (`Read`, `Write`, `Seek` or `Iterator`) as an asynchronous one (`AsyncRead`, `AsyncBufRead`, `AsyncWrite`,
/// `AsyncSeek` of futures-io, and `Stream`; with feature `tokio`, tokio's traits too).
///
/// Every operation is one job on an executor and moves a whole buffer, 256 KiB unless [set](Unblock::buffer), so that the hop to
/// another thread costs little by the byte.
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
/// that waits for bytes would hold up the write that asks for them. A file that is both read and written needs a seek between, as C's
/// streams do, because reading runs ahead; the seek puts that right.
///
/// # Cancel safety
///
/// Dropping a future that reads or writes loses nothing: what the job brings is kept for the next. Dropping an `Unblock` hands what
/// was accepted for writing to the object all the same, on the executor; errors are then seen by nobody, so flush or close first.
///
/// # Errors
///
/// The object's own; and, with a [`JobError`](crate::JobError) inside, when the executor does not take the job or the object panics. After
/// a panic the object is not used again.
pub struct Unblock<T: Send + 'static> {
    executor: Executor,
    shared: Arc<Mutex<Shared<T>>>,
    block_bytes: usize,
    blocks_ahead: usize,
    job: Option<Job<Done>>,
    /// The block that is being given, from `at` on, and those that follow.
    block: Vec<u8>,
    at: usize,
    read: Arc<read::Blocks>,
    /// Bytes that were accepted for writing and not yet handed to a job.
    dirty: Vec<u8>,
    /// Handed to the object, but the object was not told to flush.
    unflushed: bool,
    failed_write: Option<io::Error>,
    sought: Option<io::Result<u64>>,
    seeking: Option<io::SeekFrom>,
    #[cfg(feature = "tokio")]
    wanted: Option<io::SeekFrom>,
    /// How to write, known since the first write: for `drop`, which does not know that `T` can.
    writer: Option<Writer<T>>,
    /// Items of an iterator.
    items: Option<Box<dyn Any + Send>>,
    broken: bool,
}

type Writer<T> = fn(&mut T, &[u8]) -> io::Result<()>;

/// What a job needs. Only a job locks it, and only one at a time; or this side, when there is no job.
struct Shared<T> {
    object: Option<T>,
    /// Bytes that are on their way to the object: kept here, so that they survive a job that is not taken.
    out: Vec<u8>,
}

/// What a job brings back.
enum Done {
    Wrote(io::Result<()>),
    Sought(io::Result<u64>),
    /// What it was for is elsewhere.
    Used,
}

impl<T: Send + 'static> Unblock<T> {
    /// On the process's common executor.
    pub fn new(object: T) -> Self {
        Self::on(Executor::global(), object)
    }

    /// On this executor, or view.
    pub fn on(executor: &Executor, object: T) -> Self {
        Unblock {
            executor: executor.clone(),
            shared: Arc::new(Mutex::new(Shared { object: Some(object), out: Vec::new() })),
            block_bytes: 256 * 1024,
            blocks_ahead: 0,
            job: None,
            block: Vec::new(),
            at: 0,
            read: Arc::new(read::Blocks::new()),
            dirty: Vec::new(),
            unflushed: false,
            failed_write: None,
            sought: None,
            seeking: None,
            #[cfg(feature = "tokio")]
            wanted: None,
            writer: None,
            items: None,
            broken: false,
        }
    }

    /// How many bytes one job moves at most; and for an iterator, counted at a thousand bytes an item, how many items are in stock.
    pub fn buffer(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes.max(1);
        self
    }

    /// Reads this many buffers ahead while the earlier ones are being used. 0, the default, reads only when asked: right for a pipe or
    /// a socket, where a read may wait for what is yet to be written.
    pub fn read_ahead(mut self, blocks: usize) -> Self {
        self.blocks_ahead = blocks;
        self
    }

    /// Uses the object itself, on the executor, once all that was accepted for writing is written.
    ///
    /// Of an object that is being read, the position is that after the bytes read ahead; seek first.
    ///
    /// # Errors
    ///
    /// See [`Unblock`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the closure back: it runs, and the next operation waits for it.
    pub async fn with<F, R>(&mut self, f: F) -> io::Result<R>
    where
        F: FnOnce(&mut T) -> R + Send + 'static,
        R: Send + 'static,
    {
        std::future::poll_fn(|cx| self.poll_written(cx)).await?;
        self.check()?;
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        self.start(move |object, _| {
            *slot.lock() = Some(f(object));
            Done::Used
        });
        std::future::poll_fn(|cx| self.poll_job(cx)).await?;
        let result = result.lock().take();
        result.ok_or_else(gone)
    }

    /// Gives the object back, and the bytes that were read from it but not yet asked for.
    ///
    /// # Errors
    ///
    /// If what was accepted for writing could not be written, or the object has panicked.
    pub async fn into_inner(mut self) -> io::Result<(T, Vec<u8>)> {
        std::future::poll_fn(|cx| self.poll_written(cx)).await?;
        self.check()?;
        let object = self.shared.lock().object.take().ok_or_else(gone)?;
        Ok((object, self.unread().concat()))
    }

    // The state, and what moves it.

    /// Takes out what was read and not given. No job is under way.
    fn unread(&mut self) -> Vec<Vec<u8>> {
        let first = std::mem::take(&mut self.block).split_off(std::mem::take(&mut self.at));
        std::iter::once(first).chain(self.read.clear()).collect()
    }

    fn check(&self) -> io::Result<()> {
        if self.broken { Err(gone()) } else { Ok(()) }
    }

    /// Waits for the job, if there is one, and takes in what it brings.
    fn poll_job(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(job) = &mut self.job else { return Poll::Ready(self.check()) };
        let result = ready!(Pin::new(job).poll(cx));
        self.job = None;
        match result {
            Ok(Done::Wrote(Ok(())) | Done::Used) => {}
            Ok(Done::Wrote(Err(error))) => self.failed_write = Some(error),
            Ok(Done::Sought(result)) => self.sought = Some(result),
            Err(error) => {
                self.broken |= matches!(error, crate::JobError::Panicked(_));
                return Poll::Ready(Err(error.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Starts a job on the object. There is none at this time.
    fn start(&mut self, f: impl FnOnce(&mut T, &mut Vec<u8>) -> Done + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        self.job = Some(self.executor.submit(move || {
            let mut shared = shared.lock();
            let Shared { object, out } = &mut *shared;
            match object {
                Some(object) => f(object, out),
                None => Done::Wrote(Err(gone())),
            }
        }));
    }

    /// Hands the accepted bytes to a job. There is none at this time.
    fn start_writing(&mut self) {
        let Some(writer) = self.writer else { return };
        {
            let mut shared = self.shared.lock();
            if shared.out.is_empty() {
                std::mem::swap(&mut shared.out, &mut self.dirty);
            } else {
                // A job that was not taken has left these.
                shared.out.append(&mut self.dirty);
            }
        }
        self.unflushed = true;
        self.start(move |object, out| {
            let result = writer(object, out);
            out.clear();
            Done::Wrote(result)
        });
    }

    /// Ready when no job is under way and the object has all bytes that were accepted.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.job.is_some() {
            self.read.stop();
        }
        loop {
            ready!(self.poll_job(cx))?;
            if let Some(error) = self.failed_write.take() {
                return Poll::Ready(Err(error));
            }
            if self.dirty.is_empty() && self.shared.lock().out.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.start_writing();
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the object panicked in an earlier operation and is not used again")
}

impl<T: Send + 'static> Drop for Unblock<T> {
    fn drop(&mut self) {
        let (job, dirty, writer) = (self.job.take(), std::mem::take(&mut self.dirty), self.writer);
        let written = job.is_none() && dirty.is_empty() && self.shared.lock().out.is_empty();
        let Some(writer) = writer.filter(|_| !self.broken && !written) else {
            // What is only being read need not be; the object goes when the job lets go of it.
            return drop(job);
        };
        let shared = Arc::clone(&self.shared);
        let rest = move || {
            if let Some(job) = job {
                let _ = job.wait();
            }
            let mut shared = shared.lock();
            let Shared { object, out } = &mut *shared;
            out.extend_from_slice(&dirty);
            if let (Some(object), false) = (object, out.is_empty()) {
                let _ = writer(object, out);
            }
            out.clear();
        };
        match self.executor.try_submit(rest) {
            Ok(job) => job.detach(),
            // Shut down, or full: then here, late, rather than never.
            Err(full) => (full.closure)(),
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Unblock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unblock")
            .field("unread_bytes", &(self.block.len() - self.at))
            .field("dirty_bytes", &self.dirty.len())
            .field("busy", &self.job.is_some())
            .finish_non_exhaustive()
    }
}
