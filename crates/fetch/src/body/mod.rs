//! The body of a response as it is received: limited, decoded, hashed, and held in memory or written to disk.

pub(crate) mod rest;
pub(crate) mod drain;
pub(crate) mod intake;
pub(crate) mod decode;
pub(crate) mod store;
pub(crate) mod tap;
pub(crate) mod waiting;
pub(crate) mod spool;
