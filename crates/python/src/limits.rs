//! The bounds of what lies between Python and the engine, and how often a waiting thread looks for signals.

use std::time::Duration;

/// Rows that wait for the engine to read them.
pub(crate) const ROWS_WAITING: usize = 2_048;
/// More are asked for when fewer than this wait.
pub(crate) const ROWS_LOW: usize = 1_024;
/// Records that wait to be taken.
pub(crate) const RECORDS_WAITING: usize = 1_024;
/// Records that the sink gathers before it hands them over, unless the engine pauses first.
pub(crate) const RECORDS_TOGETHER: usize = 64;
/// A thread that waits looks for signals, such as Ctrl-C, so often.
pub(crate) const SIGNALS_EVERY: Duration = Duration::from_millis(50);
/// A run with an output that is dropped is waited for so long, until its output is written.
pub(crate) const DROP_WAITS: Duration = Duration::from_secs(10);
/// Requests of a run of which the phases are kept for its picture.
pub(crate) const BARS_MAX: usize = 48;
/// What is kept of a URL for the picture.
pub(crate) const BAR_LABEL_CHARS: usize = 80;
/// Blocks of a request's body that were taken from an iterator and not sent.
pub(crate) const BLOCKS_WAITING: usize = 4;
/// The most that is reserved for a body by its announced length.
pub(crate) const RESERVED_BYTES_MAX: usize = 1 << 20;
/// Requests of an event loop that are handed over without waiting for those of further tasks.
pub(crate) const SUBMISSIONS_HELD: usize = 16;
/// Records of one batch of Arrow.
pub(crate) const RECORDS_BATCH: usize = 4_096;
/// A batch of Arrow ends with the record that brings its bodies to so many bytes.
pub(crate) const BATCH_BODY_BYTES: u64 = 64 << 20;
