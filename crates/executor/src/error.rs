//! The errors of a job.

use std::any::Any;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::panic_site;

/// Why a [`Job`](crate::Job) gave no result.
///
/// ```
/// use overlapped::Executor;
///
/// let executor = Executor::builder().max_workers(1).build()?;
/// let error = executor.submit(|| panic!("no such shelf")).wait().map(|()| "?").unwrap_err();
/// assert!(error.is_panic() && error.to_string().contains("no such shelf"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub enum JobError {
    /// It was cancelled before it ran: by [`Job::cancel`](crate::Job::cancel) or by a shutdown.
    Cancelled,
    /// It never entered the queue.
    Rejected(Rejected),
    /// Its deadline has passed. If `started`, the closure had begun to run, and its thread is busy until it returns.
    TimedOut {
        /// Whether the closure had begun to run, and so may have had effects.
        started: bool,
    },
    /// The closure panicked.
    Panicked(Panic),
    /// Waiting for it would have been a deadlock: it waits, directly or through other jobs, for the job that waits for it; or it is queued,
    /// and every thread of the pool waits for another job of the pool.
    WouldDeadlock,
}

impl JobError {
    /// Whether it was cancelled before it ran.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, JobError::Cancelled)
    }

    /// Whether the closure panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, JobError::Panicked(_))
    }

    /// Whether its deadline has passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, JobError::TimedOut { .. })
    }

    /// The panic, if the closure panicked.
    pub fn into_panic(self) -> Option<Panic> {
        match self {
            JobError::Panicked(panic) => Some(panic),
            JobError::Cancelled
            | JobError::Rejected(_)
            | JobError::TimedOut { .. }
            | JobError::WouldDeadlock => None,
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobError::Cancelled => f.write_str("the job was cancelled before it ran"),
            JobError::Rejected(why) => write!(f, "the job was rejected: {why}"),
            JobError::TimedOut { started: false } => f.write_str("the job's time was over before it started"),
            JobError::TimedOut { started: true } => f.write_str("the job's time was over while it ran"),
            JobError::Panicked(panic) => write!(f, "the job panicked: {}", panic.message()),
            JobError::WouldDeadlock => f.write_str(
                "waiting for the job would never end: it waits for the job that waits, or no thread is left to run it",
            ),
        }
    }
}

impl std::error::Error for JobError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            JobError::Rejected(why) => Some(why),
            JobError::Panicked(panic) => Some(panic),
            JobError::Cancelled | JobError::TimedOut { .. } | JobError::WouldDeadlock => None,
        }
    }
}

impl From<JobError> for std::io::Error {
    fn from(error: JobError) -> Self {
        use std::io::ErrorKind;
        let kind = match &error {
            JobError::TimedOut { .. } => ErrorKind::TimedOut,
            JobError::WouldDeadlock => ErrorKind::Deadlock,
            // `Interrupted` would be tried again by `io::copy` and its like, for ever.
            JobError::Cancelled | JobError::Rejected(_) | JobError::Panicked(_) => ErrorKind::Other,
        };
        std::io::Error::new(kind, error)
    }
}

/// Why a job was not let into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The queue holds as many jobs as it may.
    QueueFull,
    /// The executor is shut down.
    ShutDown,
    /// The system refused to start a thread, and the pool has none.
    NoThread,
    /// The process was forked: the pool's threads are in the parent. Build a new executor in the child.
    Forked,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rejected::QueueFull => "the queue is full",
            Rejected::ShutDown => "the executor is shut down",
            Rejected::NoThread => "the system refused to start a thread",
            Rejected::Forked => {
                "the process was forked and the executor's threads are in the parent; build a new one"
            }
        })
    }
}

impl std::error::Error for Rejected {}

/// What [`Executor::try_submit`](crate::Executor::try_submit) gives back: the closure, and why it was not taken.
///
/// ```
/// use overlapped::{Executor, Rejected, Shutdown};
///
/// let executor = Executor::builder().max_workers(1).build()?;
/// executor.shutdown_blocking(Shutdown::Drain, None);
/// let full = executor.try_submit(|| "by hand").err().expect("it is shut down");
/// assert_eq!(full.why, Rejected::ShutDown);
/// assert_eq!((full.closure)(), "by hand");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Full<F> {
    /// The closure, as it was.
    pub closure: F,
    /// Why it was not taken.
    pub why: Rejected,
}

impl<F> fmt::Debug for Full<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Full").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<F> fmt::Display for Full<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<F> std::error::Error for Full<F> {}

/// A closure's panic, caught on the worker and returned to the caller that awaits the job.
pub struct Panic(Box<Caught>);

struct Caught {
    message: String,
    location: Option<String>,
    // The mutex makes a payload that is only `Send` `Sync`, as errors should be.
    payload: Mutex<Box<dyn Any + Send>>,
}

impl Panic {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Self {
        let message = panic_site::text(&*payload).unwrap_or("(the payload is not text)").to_owned();
        let location = panic_site::take(&*payload);
        Panic(Box::new(Caught { message, location, payload: Mutex::new(payload) }))
    }

    /// The panic message, if the payload is a string.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where it happened, as `file:line:column`. Known if an executor was built with
    /// [`panic_locations`](crate::Builder::panic_locations) and the program has set no panic hook of its own since.
    pub fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }

    /// The payload, as `std::thread::JoinHandle::join` would give it.
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.0.payload.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resumes the panic on this thread.
    ///
    /// # Panics
    ///
    /// Always; that is what it is for.
    pub fn resume(self) -> ! {
        std::panic::resume_unwind(self.into_payload())
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.message()).finish()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Panic {}
