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
