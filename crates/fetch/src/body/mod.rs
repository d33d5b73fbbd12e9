//! The body of a response on its way in: its limits kept, decoded, hashed, held in memory or put into a file.

pub(crate) mod rest;
pub(crate) mod drain;
pub(crate) mod decode;
pub(crate) mod store;
pub(crate) mod tap;
pub(crate) mod spool;
