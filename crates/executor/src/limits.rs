//! The defaults and fixed bounds of an executor, but for how long a worker spins before it sleeps (`pool/work`). What a caller can set is
//! documented at `Builder`, `Map` and `Unblock`.

use std::time::Duration;

// Defaults of the builder.

/// `max_workers`.
pub(crate) const MAX_WORKERS: usize = 512;
/// `queue_limit`.
pub(crate) const QUEUE_JOBS: usize = 1 << 20;
/// `keep_alive`.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// `stand_in_workers`: enough for a tree of jobs that wait for jobs, however few workers there are.
pub(crate) fn stand_in_workers(max_workers: usize) -> usize {
    max_workers.saturating_mul(4).max(256)
}

/// More threads than this are refused as a mistake: no supported system can start as many.
pub(crate) const THREADS_MAX: usize = 1 << 20;

/// The same of a stack: a quarter of the address space that a process has.
pub(crate) const STACK_BYTES_MAX: usize = if usize::BITS == 64 { 1 << 45 } else { 1 << 30 };

// After a refused thread.

/// The first pause of the exponential back-off, enough for a burst of other threads to end, and the longest, which bounds how long a
/// queue waits after threads have become available.
pub(crate) const REFUSAL_PAUSE_MIN: Duration = Duration::from_millis(10);
pub(crate) const REFUSAL_PAUSE_MAX: Duration = Duration::from_secs(1);

// Deadlines.

/// How long a timer thread stays without timers, so that a program with one deadline at a time does not start a thread for each.
pub(crate) const TIMER_LINGER: Duration = Duration::from_millis(100);
/// The longest sleep of the thread on watch. When it wakes it removes the deadlines of jobs that have ended.
pub(crate) const TIMER_SLEEP_MAX: Duration = Duration::from_secs(1);
/// Timer threads of one executor. While all of them are busy, as with 16 slow `Drop`s at once, further deadlines are late.
pub(crate) const TIMER_THREADS_MAX: usize = 16;
/// Deleted deadlines are removed when they reach this number and half of what the previous sweep left.
pub(crate) const DEADLINES_SWEEP_MIN: usize = 64;
/// How long to wait before trying again to lock the list of executors without a timer thread.
pub(crate) const TIMER_CONTENDED: Duration = Duration::from_millis(1);

// Waits.

/// How deep jobs are run inside waits for them on one thread, before such a wait is an error instead: a stack of 2 MiB has room for
/// that many, at 16 KiB for each and what it calls.
pub(crate) const RUN_INSIDE_MAX: usize = 64;
/// A `block_on` that polls more units than this with its own waker is not searched for circles.
pub(crate) const NOTED_MAX: usize = 64;
/// Units that a job has polled with other wakers, and that are kept without a sweep.
pub(crate) const POLLED_SWEEP_MIN: usize = 64;
/// Handles of a `try_scope` that are kept without a sweep.
pub(crate) const SCOPE_SWEEP_MIN: usize = 64;

// Streams.

/// Items of a `Map` in flight.
pub(crate) const MAP_WINDOW: usize = 64;

// `Unblock`.

/// Bytes that one job moves.
pub(crate) const BLOCK_BYTES: usize = 256 * 1024;
/// What an item of an iterator counts for in such a block.
pub(crate) const ITEM_BYTES: usize = 1000;
/// The first block of a reader, and the first after a seek. Each of those that follow is twice as long.
pub(crate) const FIRST_READ_BYTES: usize = 16 * 1024;
/// A reader that asks for more than a block gets it from one job, up to this.
pub(crate) const ONE_READ_BYTES: usize = 1024 * 1024;
/// An object is read ahead once this many bytes, in at least this many whole blocks, came in a row.
pub(crate) const BULK_BYTES: usize = 512 * 1024;
pub(crate) const BULK_BLOCKS: usize = 3;
/// How many blocks such an object is read ahead.
pub(crate) const BULK_READ_AHEAD: usize = 2;
/// Empty blocks that are kept.
pub(crate) const SPARE_BLOCKS: usize = 4;

// Memory.

/// Entries in a segment of a queue: 256 of a job's 16 bytes are one page.
pub(crate) const QUEUE_SEGMENT: usize = 256;
