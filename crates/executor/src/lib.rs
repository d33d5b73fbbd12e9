//! Any blocking call or object, awaitable.
//!
//! # The story in five steps
//!
//! Five addresses are to be fetched with a client that blocks. One after the other, the program waits for each request, and all of them
//! take as long as the sum:
//!
//! ```
//! # use std::time::Duration;
//! # fn get(url: &'static str) -> usize { std::thread::sleep(Duration::from_millis(2)); url.len() }
//! let urls = ["/a", "/bb", "/ccc", "/dddd", "/eeeee"];
//! let lengths: Vec<usize> = urls.iter().map(|url| get(url)).collect();
//! assert_eq!(lengths, [2, 3, 4, 5, 6]);
//! ```
//!
//! An [`Executor`] has threads for such calls. [`submit`](Executor::submit) hands one over and gives a [`Job`], which is a future of
//! the result; [`gather`] awaits many and returns their results in input order. Now all of them take as long as the longest:
//!
//! ```
//! # use std::time::Duration;
//! # fn get(url: &'static str) -> usize { std::thread::sleep(Duration::from_millis(2)); url.len() }
//! use overlapped::{Executor, block_on, gather};
//!
//! let executor = Executor::builder().max_workers(5).build()?;
//! let urls = ["/a", "/bb", "/ccc", "/dddd", "/eeeee"];
//! let jobs = urls.map(|url| executor.submit(move || get(url)));
//! assert_eq!(block_on(gather(jobs)).unwrap(), [2, 3, 4, 5, 6]);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A job belongs to no runtime: it can be awaited under tokio, under smol, under [`block_on`], or [waited for](Job::wait) without any
//! `async` at all. While it waits, the awaiting side is free for other work. [`as_completed`] gives each result as it comes, and
//! [`Executor::map`] calls one function with every item of a list that may be endless:
//!
//! ```
//! # use std::time::Duration;
//! # fn get(url: String) -> usize { std::thread::sleep(Duration::from_millis(1)); url.len() }
//! # use overlapped::{Executor, block_on};
//! # let executor = Executor::builder().max_workers(5).build()?;
//! let mut lengths = executor.map((0..).map(|page| format!("/{page}")), get).window(10);
//! block_on(async {
//!     for _ in 0..20 {
//!         assert!(lengths.next().await.unwrap().unwrap() >= 2);
//!     }
//! });
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! What blocks may be an object rather than a call. [`Unblock`] makes a reader, a writer, a file or an iterator asynchronous, a buffer
//! at a time:
//!
//! ```
//! use std::io::Write;
//! use overlapped::{Unblock, block_on};
//! # use futures_io::AsyncWrite;
//! # use std::pin::Pin;
//!
//! let mut out = Unblock::new(Vec::new());
//! # let write = std::future::poll_fn(|cx| Pin::new(&mut out).poll_write(cx, b"some bytes"));
//! # block_on(write)?;
//! // … any AsyncWrite code, and then:
//! let (bytes, _unread) = block_on(out.into_inner())?;
//! assert_eq!(bytes, b"some bytes");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A job can be dropped, [cancelled](Job::cancel), given a [deadline](Job::timeout), and the
//! whole executor [shut down](Executor::shutdown), with a report of the jobs that did not end: where each was submitted, and its
//! [label](Executor::labelled).
//!
//! # What one may rely on
//!
//! - **Bounds.** At most `max_workers` jobs run, at most `queue_limit` wait; [`reserve`](Executor::reserve) waits for a place in the queue.
//!   A job that has waited for another continues beside the one that took its place, until that one ends.
//!   [Views](Executor::limited) put a limit of their own on one kind of job, and share the threads; no wait goes beyond that limit.
//! - **Order.** Jobs of one submitter start in the order in which they were submitted, but for those that another job waits for: these
//!   are started first.
//! - **Cancellation frees memory.** A job that is cancelled while it is queued is removed at once and its closure dropped, on the thread
//!   that cancels. One that runs is [asked](Executor::submit_cancellable) to stop.
//! - **Waits in jobs.** A job may wait for another of its own executor. While it sleeps, another thread takes its place, and begins with
//!   what is waited for. Only if none can come, [`Job::wait`], [`Gather::wait`] and [`scope`](Executor::scope) run that very job inside
//!   the wait. While it sleeps in any wait of this crate, its places in [views](Executor::limited) are lent to what it waits for. Jobs
//!   that wait for each other in a circle, also over views, ends of scopes and of executors, several results of which one is enough, and several
//!   executors, are found, and one of the waits is [an error](JobError::WouldDeadlock); a circle with a deadline in it ends at the deadline at the
//!   latest. Not found is what the executor cannot look into: circles through a mutex, a channel, a place in a full queue
//!   ([`reserve`](Executor::reserve), [`map`](Executor::map)), or a [`block_on`] that something
//!   else can wake as well; and waits of threads that are no workers.
//! - **The pool shrinks.** Idle threads are woken in LIFO order, so those that are not needed end after `keep_alive`. An idle executor
//!   causes no wake-ups.
//! - **Panics are contained.** A panic of a closure is returned by its job. One in a `Drop`, a waker or a hook ends no thread.
//! - **Forks.** In a forked child the executor has no threads, and every call returns an error ([`Rejected::Forked`]); build a new one there.
//!   No thread can start in a child that was forked while another thread was starting or ending: the standard library holds a lock then.
//!
//! # Features
//!
//! All are off by default, and only add API.
//!
//! - `tokio`: tokio's traits for [`Unblock`], and jobs that run in the runtime of their submitter.
//! - `tracing`: each job is a span `job` of level `DEBUG` and target `overlapped`, a child of the span it was submitted in: created when
//!   it is queued, entered when it starts, closed when it has ended or was discarded. Its fields are `label`, `view`, `submitted_at`, `job`
//!   (the number), `waited_us`, `ran_us` and `outcome` (`returned`, `panicked`, `not run`). Threads that start, end (`DEBUG`) and are
//!   refused (`WARN`) are events. A subscriber runs on the threads of the executor, so a slow one delays jobs.
//! - `metrics`: `Exporter` exports [`Metrics`] to the recorder of the crate `metrics`.
//!
//! # When not to use it
//!
//! Threads hide waiting; they do not remove it. For thousands of sockets at a time, an asynchronous client costs a fraction. For long
//! computations, one thread per processor is enough, and a work-stealing pool such as rayon's does it better.

mod unblock;
mod lend;
mod try_scope;
mod scope;
mod map;
mod job_set;
mod join;
mod waiter;
mod shutdown;
#[cfg(all(feature = "metrics", not(any(loom, shuttle))))]
mod export;
mod builder;
mod reserve;
mod executor;
mod job;
mod hook;
mod block_on;
mod pool;
mod core;
mod worker;
mod timer;
mod deadlines;
mod inbox;
mod lane;
mod cell;
mod group;
mod cancel;
mod metrics;
mod trace;
mod guard;
mod origin;
mod fork;
mod queue;
mod error;
mod panic_site;
mod limits;
mod view_id;
mod sync;

pub use crate::block_on::block_on;
pub use crate::builder::Builder;
pub use crate::cancel::{CancelToken, Cancelled, CancelledFuture};
pub use crate::error::{Full, JobError, Panic, Rejected};
pub use crate::executor::Executor;
#[cfg(all(feature = "metrics", not(any(loom, shuttle))))]
pub use crate::export::Exporter;
pub use crate::hook::HookGuard;
pub use crate::job::{CancelHandle, CancelOutcome, Job, JobState};
pub use crate::job_set::JobSet;
pub use crate::join::{AsCompleted, Gather, GatherAll, Until, Wait, Waited, as_completed, gather, wait};
pub use crate::map::Map;
pub use crate::metrics::{Histogram, Metrics, StillRunning, Timings};
pub use crate::pool::NewThread;
pub use crate::reserve::{Permit, Reserve};
pub use crate::scope::{Scope, ScopedJob};
pub use crate::shutdown::{Report, Shutdown, ShuttingDown};
pub use crate::try_scope::TryScope;
pub use crate::unblock::{IntoInnerError, Parts, Unblock};

#[cfg(test)]
mod looks;
