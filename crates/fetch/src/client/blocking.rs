//! The same client for threads: each request runs on the calling thread, without a hand-over to another one but for name
//! resolution and the I/O of HTTP/2.

use std::fmt;
use std::io::{self, Read};
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use overlapped_proto::job::Method;
use overlapped_proto::record::Record;
use serde::de::DeserializeOwned;

use super::cookies::CookieStore;
use super::error::RequestError;
use super::request::{PreparedRequest, RequestBuilder};
use super::response::ResponseHead;
use crate::config::Config;
use crate::error::Error;
use crate::row::Row;

/// A client for single requests, which run on the calling thread.
///
/// It is cheap to clone, and its clones and threads share one pool of connections. The documentation of [`super::Client`] about
/// settings, dropped responses and forks is also true here.
///
/// ```
/// use overlapped_fetch::{Config, blocking};
/// # let server = overlapped_testkit::Server::start();
/// # let url = server.url("/echo");
///
/// let client = blocking::Client::new(Config::default())?;
/// let echo: serde_json::Value = client.post(url).json(&[1, 2]).send()?.error_for_status()?.json()?;
/// assert_eq!(echo["body"], "[1,2]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Panics
///
/// Its requests panic within an asynchronous task of tokio, whose thread must not be blocked.
#[derive(Clone, Debug)]
pub struct Client(super::Client);

impl Client {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// As [`super::Client::new`].
    pub fn new(config: Config) -> Result<Self, Error> {
        super::Client::new(config).map(Self)
    }

    /// The same, with a store of cookies.
    ///
    /// # Errors
    ///
    /// As [`super::Client::new`].
    pub fn with_cookies(config: Config, cookies: Arc<dyn CookieStore>) -> Result<Self, Error> {
        super::Client::with_cookies(config, cookies).map(Self)
    }

    /// A request with any method.
    #[must_use = "a request is made by `send`"]
    pub fn request(&self, method: Method, url: impl Into<String>) -> RequestBuilder<Self> {
        RequestBuilder::new(self.clone(), &self.0.core, method, url.into())
    }

    /// A request that is sent as it is; see [`super::Client::prepared`].
    #[must_use = "a request is made by `send`"]
    pub fn prepared(&self, request: PreparedRequest) -> RequestBuilder<Self> {
        RequestBuilder::prepared(self.clone(), &self.0.core, request)
    }

    /// Fetches a row; see [`super::Client::fetch`].
    ///
    /// # Panics
    ///
    /// Within an asynchronous task of tokio.
    ///
    /// # Blocking
    ///
    /// Until the response is there or has failed.
    pub fn fetch(&self, row: Row) -> Record {
        let core = &self.0.core;
        let (url, given) = (row.url.clone(), core.number());
        core.block_on(core.fetch(given, row)).unwrap_or_else(|failure| {
            let mut record = Record::new(given, url);
            record.failure = Some(failure);
            record
        })
    }

    /// Closes all idle connections, and returns their number.
    pub fn close_idle(&self) -> usize {
        self.0.close_idle()
    }

    /// The number of idle connections; see [`super::Client::idle_connections`].
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.0.idle_connections()
    }
}

impl RequestBuilder<Client> {
    /// Makes the request, and waits for the head of the response.
    ///
    /// # Errors
    ///
    /// The request is not valid, or has no response. A status is no error.
    ///
    /// # Panics
    ///
    /// Within an asynchronous task of tokio.
    ///
    /// # Blocking
    ///
    /// Until the head of the response is there.
    pub fn send(self) -> Result<Response, RequestError> {
        let core = Arc::clone(&self.client().0.core);
        let performed = pin!(self.perform(Arc::clone(&core)));
        let sent = core.block_on(performed);
        let response = sent.unwrap_or_else(|failure| Err(RequestError::new(failure, None, None)))?;
        Ok(Response { response, rest: Bytes::new() })
    }
}

/// A response whose head has come. It derefs to its [`ResponseHead`], and its body can be read.
///
/// Dropping it before the body was read to its end closes its connection, or resets its stream of HTTP/2.
///
/// # Blocking
///
/// What reads the body waits for it.
///
/// # Panics
///
/// Reading the body panics within an asynchronous task of tokio.
pub struct Response {
    response: super::Response,
    /// Of the piece that is being read by [`Read`].
    rest: Bytes,
}

impl Response {
    /// The next piece of the body, decoded, or `None` at its end.
    ///
    /// # Errors
    ///
    /// The body does not come whole, comes too slowly, or is larger than the limits.
    pub fn chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let core = Arc::clone(self.response.core());
        let next = core.block_on(self.response.next());
        next.unwrap_or_else(|failure| Err(self.response.failed(failure)))
    }

    /// The rest of the body.
    ///
    /// # Errors
    ///
    /// As [`Response::chunk`].
    pub fn bytes(mut self) -> Result<Bytes, RequestError> {
        self.all()
    }

    fn all(&mut self) -> Result<Bytes, RequestError> {
        let arrived = self.response.arrived();
        let all = arrived.unwrap_or_else(|| {
            let core = Arc::clone(self.response.core());
            core.block_on(self.response.all()).unwrap_or_else(|failure| Err(self.response.failed(failure)))
        })?;
        let rest = std::mem::take(&mut self.rest);
        Ok(if rest.is_empty() { all } else { [rest, all].concat().into() })
    }

    /// The rest of the body as text; see [`super::Response::text`].
    ///
    /// # Errors
    ///
    /// As [`Response::chunk`].
    pub fn text(mut self) -> Result<String, RequestError> {
        let body = self.all()?;
        Ok(self.response.text_of(&body))
    }

    /// The rest of the body, parsed as JSON.
    ///
    /// # Errors
    ///
    /// As [`Response::chunk`]; or `input.format`: the body is not JSON, or not of this type.
    pub fn json<T: DeserializeOwned>(mut self) -> Result<T, RequestError> {
        let body = self.all()?;
        self.response.json_of(&body)
    }

    /// This response, or an error if its status is 400 or above.
    ///
    /// # Errors
    ///
    /// `status`.
    pub fn error_for_status(self) -> Result<Self, RequestError> {
        let Self { response, rest } = self;
        response.error_for_status().map(|response| Self { response, rest })
    }
}

impl Read for Response {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        if block.is_empty() {
            return Ok(0);
        }
        if self.rest.is_empty() {
            self.rest = self.chunk()?.unwrap_or_default();
        }
        let bytes = self.rest.len().min(block.len());
        self.rest.copy_to_slice(block.get_mut(..bytes).expect("at most the length of the block"));
        Ok(bytes)
    }
}

impl Deref for Response {
    type Target = ResponseHead;

    fn deref(&self) -> &ResponseHead {
        &self.response
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.response.fmt(f)
    }
}
