//! The engine: reads rows, makes requests, hands records to the sinks. `proto` makes the decisions.
//!
//! A *shard* is one thread with its own runtime, scheduler and connection pool. A host belongs to exactly one shard, so
//! per-host state needs no lock. The *conductor* feeds the shards and collects their results.

pub(crate) mod conductor;
pub(crate) mod checkpoints;
pub(crate) mod feed;
pub(crate) mod unpack;
pub(crate) mod driver;
mod robots;
pub(crate) mod attempt;
pub(crate) mod shard;
pub(crate) mod requester;
pub(crate) mod openings;
pub(crate) mod spill;
pub(crate) mod list_file;
pub(crate) mod outcome;
pub(crate) mod conservation;
