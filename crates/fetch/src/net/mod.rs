//! The network layer: opens connections and makes one request on a connection. It is independent of rows and retries.

mod connection;
pub(crate) mod tunnel;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod exchange;
pub(crate) mod request;
pub(crate) mod file_body;
pub(crate) mod upload;
pub(crate) mod connect;
pub(crate) mod link;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod tls_failure;
mod tls_pinned;
pub(crate) mod resolve;
pub(crate) mod lookups;
pub(crate) mod alarm;

pub(crate) use connection::Connection;

#[cfg(test)]
pub(crate) mod pipe;
