//! The network layer: opens connections and makes one request on a connection. It is independent of rows and retries.

pub(crate) mod http1;
pub(crate) mod exchange;
pub(crate) mod request;
pub(crate) mod connect;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod tls_failure;
pub(crate) mod resolve;
pub(crate) mod alarm;

/// The engine's connections. A second protocol or kind of socket makes this an enum that implements
/// [`Exchange`](exchange::Exchange).
pub(crate) type Connection = http1::Connection<tokio::net::TcpStream>;
