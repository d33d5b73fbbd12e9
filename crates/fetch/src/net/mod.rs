//! The network: one request on one connection, and where connections come from. Nothing here knows rows or retries.

pub(crate) mod request;
pub(crate) mod exchange;
pub(crate) mod connect;
pub(crate) mod tls;
pub(crate) mod tls_failure;
pub(crate) mod resolve;
pub(crate) mod alarm;
