//! What overlapped decides, and the formats it reads and writes, as pure functions and plain data.
//!
//! Nothing here does I/O, reads a clock, starts a thread or draws a random number: `now` and every draw are
//! arguments, and the answer says what to do next. So a test, a simulation and a fuzzer can own all of it, and the
//! engine (`overlapped-fetch`) stays a thin shell that acts on the answers.
//!
//! The modules are listed from the outside in; a module imports only modules listed below it.

pub mod survey;
pub mod unread;
pub mod spill;
pub mod input;
pub mod glob;
pub mod filename;
pub mod schedule;
pub mod keepalive;
pub mod lru;
pub mod reorder;
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
mod varint;
pub mod http1;
pub mod redirect;
pub mod address;
pub mod archive;
pub mod httpdate;
pub mod record;
pub mod header;
pub mod notes;
pub mod sanitize;
mod secret;
pub mod job;
pub mod origin;
pub mod outcome;
pub mod timing;
pub mod error;
pub mod limits;
pub mod time;
