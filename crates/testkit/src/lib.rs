//! A real loopback HTTP server that misbehaves on request, and records what it saw.

// From the outside in; a module imports only modules listed below it.
mod coding;
mod json;
mod oracle;
mod record;
mod request;
mod routes;
mod script;
mod server;
mod wire;

pub use oracle::{bytes_of, row_of, text_of};
pub use record::{ARRIVALS_MAX, Ending, HostRecord, ROWS_MAX, Seen};
pub use request::{BODY_KEPT_BYTES_MAX, Request};
pub use routes::EXPERIMENT_MS;
pub use script::{Delivery, Script};
pub use server::{Builder, RECORD_LIMIT, Server};
