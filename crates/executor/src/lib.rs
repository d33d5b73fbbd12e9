//! Any blocking call or object, awaitable.

mod block_on;
mod cancel;
mod cell;
mod core;
mod error;
mod executor;
mod group;
mod guard;
mod inbox;
mod job;
mod join;
mod lane;
mod map;
mod metrics;
mod pool;
mod queue;
mod scope;
mod shutdown;
mod sync;
mod timer;
mod unblock;
mod worker;

pub use crate::block_on::block_on;
pub use crate::cancel::{CancelToken, Cancelled, CancelledFuture, HookGuard};
pub use crate::error::{Full, JobError, Panic, Rejected};
pub use crate::executor::{Builder, Executor, Permit, Reserve};
pub use crate::job::{CancelOutcome, Job, JobState};
pub use crate::join::{AsCompleted, Gather, GatherAll, Until, Wait, Waited, as_completed, gather, wait};
pub use crate::map::Map;
pub use crate::metrics::{Histogram, Metrics, StillRunning, Timings};
pub use crate::pool::NewThread;
pub use crate::scope::{Scope, ScopedJob};
pub use crate::shutdown::{Report, Shutdown, ShuttingDown};
pub use crate::unblock::Unblock;
