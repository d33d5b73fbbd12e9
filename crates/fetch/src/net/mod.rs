//! The network layer: opens connections and makes one request on a connection. It is independent of rows and retries.

pub(crate) mod exchange;
pub(crate) mod request;
pub(crate) mod connect;
pub(crate) mod tls;
pub(crate) mod tls_failure;
pub(crate) mod resolve;
pub(crate) mod alarm;
