//! A real loopback HTTP server that misbehaves on request, and records what it saw.
//!
//! A test of a client asserts what reached a server: the number of requests, their order and bytes, the connections and the
//! concurrency. [`Server`] is such a server, on 127.0.0.1 or other loopback addresses, over TCP or TLS, with a
//! [table of routes](#routes) for the faults of real servers. [`Script`] sends any bytes in any segments, as the response of
//! a route or on a whole connection ([`RawServer`]). [`blackhole`] and [`refused`] are addresses without a server.
//!
//! This crate imports none of the crates under test and asserts no times. Every byte goes through a socket; there are no mocks.
//!
//! ```
//! use std::io::{Read, Write};
//! use overlapped_testkit::{Script, Server};
//!
//! let server = Server::builder()
//!     .route("/slow-head", Script::response(200, &[], "late").byte_by_byte())
//!     .start();
//!
//! // A test fetches server.url("/slow-head") with the client under test; here a bare socket must do.
//! let mut client = std::net::TcpStream::connect(server.addr())?;
//! client.write_all(b"GET /slow-head HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
//! let mut answer = [0; 42];
//! client.read_exact(&mut answer)?;
//!
//! let seen = server.seen();
//! assert_eq!(seen.len(), 1);
//! assert_eq!(seen[0].target, "/slow-head");
//! assert_eq!(seen[0].header("host"), Some("a"));
//! assert_eq!(server.max_in_flight(), 1);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Routes
//!
#![doc = include_str!("../ROUTES.md")]

// From the outside in; a module imports only modules listed below it.

// A server whose connections are scripts.
mod raw;

// A proxy that records what it is asked for.
mod proxy;

// A server of HTTP/2.
#[cfg(feature = "http2")]
mod http2;

// Frames of HTTP/2 by hand.
pub mod frames;

// The server: its builder, and accessors for what it has recorded.
mod server;

// The server's thread: listens, accepts, serves.
mod service;

// The built-in routes: a request in, a script out.
mod routes;

// A well-formed response and its encoding.
mod answer;

// A certificate authority, with valid and invalid leaf certificates.
#[cfg(feature = "tls")]
mod tls;

// One connection: reads requests from it and plays scripts on it.
mod wire;

// Encoded bodies, damaged bodies, decompression bombs.
mod coding;

// The steps that the server performs on a connection.
mod script;

// JSON output of the record.
mod json;

// The record of requests.
mod record;

// A request as received.
mod request;

// The expected bodies, computed by a test.
mod oracle;

// Addresses without a server.
#[cfg(unix)]
mod void;

// The limit on open files.
mod files;

pub use files::raise_open_files;
#[cfg(feature = "http2")]
pub use http2::{Asked, Http2, Http2Rules, Http2Server, Reply};
pub use oracle::{bytes_of, row_of, text_of};
pub use proxy::{Errand, ProxyRules, ProxyServer};
pub use raw::RawServer;
pub use record::{ARRIVALS_MAX, Ending, HOSTS_MAX, HostRecord, ROWS_MAX, Seen};
pub use request::{BODY_KEPT_BYTES_MAX, Request};
pub use routes::EXPERIMENT_MS;
pub use script::{Delivery, Script};
pub use server::{Builder, RECORD_LIMIT, Server};
#[cfg(feature = "tls")]
pub use tls::Certificate;
#[cfg(unix)]
pub use void::{Blackhole, Refused, blackhole, blackhole_on, refused, refused_on};
