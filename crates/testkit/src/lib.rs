//! A real loopback HTTP server that misbehaves on request, and records what it saw.
//!
//! Tests of a client should not ask a mock what it was told, but a server what arrived: how many requests, in which order, over how many
//! connections, how many at the same time, with which bytes. [`Server`] is such a server, on 127.0.0.1 or any other loopback
//! addresses, over TCP or TLS, with a [table of routes](#routes) for whatever an HTTP server can do to its clients. [`Script`] sends
//! any bytes in any segments, as the answer of a route or on a whole connection ([`RawServer`]). [`blackhole`] and [`refused`] are
//! addresses without a server.
//!
//! Nothing here may know the crates under test, assert a time, or pretend: every byte goes through a socket.
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

// A server that plays a script from the moment of the connect.
mod raw;

// The server: its builder, and the questions a test asks it.
mod server;

// The server's thread: listens, accepts, serves.
mod service;

// The built-in routes: a request in, a script out.
mod routes;

// A proper response, and how it becomes bytes.
mod answer;

// A certificate authority of its own, and leaves that are right or wrong.
#[cfg(feature = "tls")]
mod tls;

// One connection: reads requests from it and plays scripts on it.
mod wire;

// Packed bodies, damaged bodies, bombs.
mod coding;

// What to do on a connection, step by step.
mod script;

// JSON out of what the server saw.
mod json;

// What the server saw.
mod record;

// One request, byte for byte.
mod request;

// The bodies that a test can compute for itself.
mod oracle;

// Addresses where no server is.
#[cfg(unix)]
mod void;

// The limit of open files.
mod files;

pub use files::raise_open_files;
pub use oracle::{bytes_of, row_of, text_of};
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
