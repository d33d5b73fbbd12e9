//! The engine: rows in, attempts out to the network, records to the sinks; every decision asked of `proto`.
//!
//! A *shard* is one thread with a runtime, a scheduler and a connection pool of its own; a host belongs to exactly one
//! of them, so nothing per host is ever locked. The *conductor* feeds the shards and collects from them.

pub(crate) mod conductor;
pub(crate) mod ledger;
pub(crate) mod feed;
pub(crate) mod unpack;
pub(crate) mod driver;
mod robots;
pub(crate) mod attempt;
pub(crate) mod shard;
pub(crate) mod spill;
pub(crate) mod listed;
pub(crate) mod answer;
