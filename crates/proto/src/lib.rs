//! The decisions of overlapped and its formats, as pure functions and state machines (sans-I/O).
//!
//! This crate does no I/O, reads no clock, starts no thread and draws no random number: `now` and random draws are
//! arguments, and the return value is the next action. So tests, simulations and fuzzers can drive all of it, and the
//! engine (`overlapped-fetch`) only performs the actions.
//!
//! This crate is internal: its items may change in any release. Use `overlapped-fetch`, which exports the types that its
//! signatures need.
//!
//! The modules are listed from the outside in; a module imports only modules listed below it.

pub mod survey;
pub mod machines;
pub mod unread;
pub mod partition;
pub mod spill;
pub mod input;
pub mod glob;
pub mod filename;
pub mod disposition;
pub mod schedule;
pub mod keepalive;
pub mod hsts;
pub mod protocol;
pub mod lru;
pub mod reorder;
pub mod waits;
pub mod commit;
pub mod resume_marks;
pub mod prefix;
pub mod journal;
pub mod row_set;
pub mod retry;
pub mod robots;
pub mod bucket;
pub mod max_errors;
pub mod adaptive_limit;
mod slab;
pub mod http1;
pub mod request;
pub mod redirect;
pub mod range;
pub mod proxy;
pub mod netrc;
pub mod address;
pub mod archive;
pub mod httpdate;
pub mod record;
pub mod header;
pub mod notes;
pub mod sanitize;
mod secret;
pub mod job;
pub mod cookie;
pub mod hold;
pub mod origin;
pub mod outcome;
pub mod timing;
pub mod wording;
pub mod error;
pub mod limits;
pub mod plural;
pub mod time;
pub mod calendar;
pub mod base64;
mod varint;
