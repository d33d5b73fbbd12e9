//! A client for single requests: each with its redirects and retries, for callers who have no list. It makes the same
//! attempts as the engine.

pub mod blocking;
mod driving;
mod request;
mod response;
mod incoming;
mod core;
mod runtimes;
mod body;
mod tls;
mod proxies;
mod cookies;
mod text;
mod error;

use std::fmt;
use std::sync::Arc;

use overlapped_proto::job::Method;
use overlapped_proto::record::Record;

pub use body::RequestBody;
pub use cookies::CookieStore;
pub use driving::Spawned;
pub use error::RequestError;
pub use request::{PreparedRequest, RawHeaders, RequestBuilder};
pub use response::{Hop, Response, ResponseHead, Timings};
pub use tls::{Tls, TlsConfig};

use self::core::Core;
use crate::config::Config;
use crate::error::Error;
use crate::row::Row;

/// An asynchronous client for single requests.
///
/// It is cheap to clone, and its clones share one pool of connections. A request runs in the task that awaits it: on the
/// runtime of tokio that polls it, which must have I/O and time enabled, and on any other executor with its sockets watched by
/// a thread of the client. There is no further hand-over between threads, except for name resolution and for the I/O of HTTP/2,
/// which that thread does: requests of several runtimes share its connections.
///
/// Over TLS the server chooses between HTTP/2 and HTTP/1.1, unless [`Network::http`](crate::Network::http) says otherwise.
///
/// Settings about many requests at once have no effect (`ordered`, `window_rows`, `shards`, `max_errors` and most of `pace`),
/// since the caller starts each request. A status is never an error of a request; see [`Response::error_for_status`].
///
/// ```
/// use overlapped_fetch::{Client, Config};
/// # let server = overlapped_testkit::Server::start();
/// # let url = server.url("/redirect/1");
///
/// # overlapped::block_on(async {
/// let client = Client::new(Config::default())?;
/// let response = client.get(url).header("x-number", "7").send().await?;
/// assert_eq!((response.status(), response.history().len()), (200, 1));
/// assert!(response.final_url().ends_with("/redirect/0"));
/// let body = response.bytes().await?;
/// # assert!(!body.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Cancel safety
///
/// Dropping the future of a request, or a response whose body has not been read to its end, closes the connection that it
/// used, or resets its stream of HTTP/2. No other request is affected.
///
/// # Forks
///
/// In a forked child every request fails as `resource`, because the connections belong to the parent. Make another client
/// there.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
}

impl Client {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// A setting is wrong, or limits what a client does not count: `robots`, `rate` and `rate_host` of `pace`. Or the
    /// system provides no thread.
    pub fn new(config: Config) -> Result<Self, Error> {
        Ok(Self { core: Arc::new(Core::new(config, None)?) })
    }

    /// The same, with a store of cookies.
    ///
    /// # Errors
    ///
    /// As [`Client::new`].
    pub fn with_cookies(config: Config, cookies: Arc<dyn CookieStore>) -> Result<Self, Error> {
        Ok(Self { core: Arc::new(Core::new(config, Some(cookies))?) })
    }

    /// A request with any method.
    #[must_use = "a request is made by `send`"]
    pub fn request(&self, method: Method, url: impl Into<String>) -> RequestBuilder<Self> {
        RequestBuilder::new(self.clone(), &self.core, method, url.into())
    }

    /// A request that is sent as it is: with its target and its header fields, in their order and case and without any others.
    /// Over HTTP/2 their names are in lower case, and those that belong to a connection of HTTP/1.1 are left out.
    /// Redirects are not followed, and the cookie store is neither read nor updated.
    ///
    /// ```
    /// use overlapped_fetch::{Client, Config, PreparedRequest};
    /// # let server = overlapped_testkit::Server::start();
    /// # let url = server.url("/");
    ///
    /// # overlapped::block_on(async {
    /// let client = Client::new(Config::default())?;
    /// let request = PreparedRequest {
    ///     target: Some("/echo?%7E".into()),
    ///     headers: [("Host".into(), Box::from(*b"a.test")), ("X-B".into(), Box::from(*b"1"))].into(),
    ///     ..PreparedRequest::new(url)
    /// };
    /// let echo: serde_json::Value = client.prepared(request).send().await?.json().await?;
    /// assert_eq!((&echo["target"], &echo["headers"][1][0]), (&"/echo?%7E".into(), &"X-B".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use = "a request is made by `send`"]
    pub fn prepared(&self, request: PreparedRequest) -> RequestBuilder<Self> {
        RequestBuilder::prepared(self.clone(), &self.core, request)
    }

    /// Fetches a row, and retries it as the settings say: its result is a record, the same as for a list of this one row, and
    /// a failure is a record as well. Records are numbered in the order of the calls.
    ///
    /// ```
    /// use overlapped_fetch::{Client, Config, Row};
    /// # let server = overlapped_testkit::Server::start();
    /// # let url = server.url("/echo");
    ///
    /// # overlapped::block_on(async {
    /// let client = Client::new(Config::default())?;
    /// let record = client.fetch(Row { body: Some(b"hello".to_vec()), ..Row::new(url) }).await;
    /// assert!(record.ok && record.body.inline().is_some());
    /// # Ok::<(), overlapped_fetch::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As for all requests of a client.
    pub async fn fetch(&self, row: Row) -> Record {
        self.core.in_runtime(Box::pin(self.core.fetch(self.core.number(), row))).await
    }

    /// True in a forked child of the process that made the client: its connections belong to the parent. It costs no system call.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.core.is_forked()
    }

    /// Closes all idle connections, and returns their number.
    pub fn close_idle(&self) -> usize {
        self.core.close_idle()
    }

    /// The number of idle connections, and of those of HTTP/2, which take further requests meanwhile.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.core.idle_connections()
    }
}

/// Adds a function for each method of HTTP.
macro_rules! methods {
    ($client:ty) => {
        impl $client {
            /// A GET.
            #[must_use = "a request is made by `send`"]
            pub fn get(&self, url: impl Into<String>) -> RequestBuilder<Self> {
                self.request(Method::Get, url)
            }

            /// A HEAD.
            #[must_use = "a request is made by `send`"]
            pub fn head(&self, url: impl Into<String>) -> RequestBuilder<Self> {
                self.request(Method::Head, url)
            }

            /// A POST.
            #[must_use = "a request is made by `send`"]
            pub fn post(&self, url: impl Into<String>) -> RequestBuilder<Self> {
                self.request(Method::Post, url)
            }

            /// A PUT.
            #[must_use = "a request is made by `send`"]
            pub fn put(&self, url: impl Into<String>) -> RequestBuilder<Self> {
                self.request(Method::Put, url)
            }

            /// A PATCH.
            #[must_use = "a request is made by `send`"]
            pub fn patch(&self, url: impl Into<String>) -> RequestBuilder<Self> {
                self.request(Method::Patch, url)
            }

            /// A DELETE.
            #[must_use = "a request is made by `send`"]
            pub fn delete(&self, url: impl Into<String>) -> RequestBuilder<Self> {
                self.request(Method::Delete, url)
            }
        }
    };
}

methods! { Client }
methods! { blocking::Client }

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("idle_connections", &self.idle_connections()).finish_non_exhaustive()
    }
}
