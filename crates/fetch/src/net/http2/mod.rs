//! HTTP/2 (RFC 9113), on the library `h2`: a connection that many requests share, each on a stream of its own.
//!
//! A task does the I/O of a connection ([`connection::open`]). The pool holds a [`Stream`] without a request; a lease is a
//! further one. Attempts and task share the state that `h2` keeps behind a lock: in a shard it is never contended, since they
//! run on one thread; the requests of a client may run on any. Dropping a stream before its response has ended resets it
//! (`CANCEL`); the connection goes on.
//!
//! This module sends a request once. It reports which failures prove that a request was not processed (`h2.refused`), and the
//! attempt decides whether it is sent again.

mod connection;
mod stream;
mod shared;
mod message;
mod failure;
mod meter;
mod strays;

pub(crate) use connection::{Windows, open};
pub(crate) use shared::Vacancy;
pub(crate) use stream::Stream;
