//! `Client`: single requests for `overlapped.requests`, each sent as Python has prepared it.
//!
//! A thread of Python makes its request by itself, detached from the interpreter. A request of an event loop is made by the
//! client's own thread, as is one whose body comes from an iterator: the iterator may make requests too.

use std::sync::Arc;
use std::time::Duration;

use overlapped_fetch::wording::Reader;
use overlapped_fetch::{
    Config, Http, Identity, Method, Network, PreparedRequest, RequestBuilder, RequestError, TlsConfig,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bridge::Bridge;
use crate::call::{failed, waited};
use crate::failure::exception_for;
use crate::incoming::{Arrived, Incoming};
use crate::pending::{Make, Pending};
use crate::relay::Relay;
use crate::upload::{Feed, Sent};

/// A client for single requests, with its connections. Threads and event loops may share it.
#[pyclass(frozen, module = "overlapped._overlapped")]
pub(crate) struct Client {
    client: overlapped_fetch::Client,
    relay: Arc<Relay>,
}

/// Settings of TLS.
#[pyclass(frozen, module = "overlapped._overlapped")]
pub(crate) struct Tls(overlapped_fetch::Tls);

#[pymethods]
impl Tls {
    /// `ca_pem`: trusted instead of the system's certificates. `cert_pem`, `key_pem`: the client certificate and its key.
    #[new]
    #[pyo3(signature = (verify, ca_pem=None, cert_pem=None, key_pem=None))]
    fn new(
        py: Python<'_>,
        verify: bool,
        ca_pem: Option<Vec<u8>>,
        cert_pem: Option<Vec<u8>>,
        key_pem: Option<Vec<u8>>,
    ) -> PyResult<Self> {
        let identity = cert_pem.map(|chain_pem| {
            let key_pem = key_pem.unwrap_or_else(|| chain_pem.clone());
            Identity { chain_pem, key_pem }
        });
        let config = TlsConfig { verify, ca_pem, identity };
        let tls = py.detach(|| overlapped_fetch::Tls::new(&config));
        tls.map(Self).map_err(|error| exception_for(&error, Reader::Session))
    }
}

/// A request as Python has prepared it: what is asked for, what is sent, and its limits.
#[derive(FromPyObject)]
pub(crate) struct Prepared<'py>(
    /// The method.
    String,
    /// A URL that determines where to connect.
    String,
    /// The target of the request line.
    String,
    /// The header fields.
    Vec<(String, Bound<'py, PyBytes>)>,
    /// The body.
    Option<Bound<'py, PyBytes>>,
    /// Seconds for opening a connection; None: no limit.
    Option<f64>,
    /// Seconds in which something must come; None: no limit.
    Option<f64>,
    /// Settings of TLS, if they are not the client's.
    Option<Bound<'py, Tls>>,
    /// Further attempts after a failure that may pass.
    u16,
    /// The URL of a proxy.
    Option<String>,
);

pub(crate) type Builder = RequestBuilder<overlapped_fetch::Client>;

impl Client {
    fn builder(&self, prepared: Prepared<'_>) -> PyResult<Builder> {
        let Prepared(method, url, target, headers, body, connect, read, tls, retries, proxy) = prepared;
        let unknown = || PyValueError::new_err(format!("{method:?} is no method that can be asked for"));
        let method = Method::parse(&method).ok_or_else(unknown)?;
        let headers =
            headers.into_iter().map(|(name, value)| (name.into(), value.as_bytes().into())).collect();
        let request = PreparedRequest { method, url, target: Some(target), headers };
        let mut builder = self.limited(request, retries, connect, read)?;
        if let Some(tls) = tls {
            builder = builder.tls(&tls.get().0);
        }
        if let Some(proxy) = proxy {
            builder = builder.proxy(&proxy);
        }
        Ok(match body {
            Some(body) => builder.body(body.as_bytes().to_vec()),
            None => builder,
        })
    }

    pub(crate) fn limited(
        &self,
        request: PreparedRequest,
        retries: u16,
        connect: Option<f64>,
        read: Option<f64>,
    ) -> PyResult<Builder> {
        Ok(self
            .client
            .prepared(request)
            .decode(false)
            .raw_head()
            .max_bytes(u64::MAX)
            .retries(retries)
            .timeout(Duration::ZERO)
            .connect_timeout(limit(connect)?)
            .read_timeout(limit(read)?))
    }

    /// Sends a request on the client's thread. What is returned has what `make` makes of the response, when all of its body has
    /// come (`reads`), or its head.
    pub(crate) fn submit(
        &self,
        builder: Builder,
        bridge: &Bound<'_, Bridge>,
        reads: bool,
        make: impl FnOnce(Python<'_>, Incoming) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Py<Pending>> {
        let (client, relay) = (self.client.clone(), Arc::clone(&self.relay));
        let work = move || async move {
            let answered = match builder.send().await {
                Ok(response) if reads => Arrived::whole(response).await,
                Ok(response) => Arrived::new(response).await,
                Err(error) => Err(error),
            };
            let make = move |py: Python<'_>| {
                let arrived = answered.map_err(|error| failed(&error, 0))?;
                make(py, Incoming::new(client, relay, arrived))
            };
            Box::new(make) as Box<Make>
        };
        Bridge::submit(bridge, &self.client, &self.relay, work)
    }

    /// Sends a request on this thread, and waits for the response with its body.
    pub(crate) fn whole(
        &self,
        py: Python<'_>,
        builder: Builder,
        abort: Option<&Py<PyAny>>,
    ) -> PyResult<Incoming> {
        let work = async { Arrived::whole(builder.send().await?).await };
        self.incoming(waited(py, &self.client, abort, work)?)
    }
}

#[pymethods]
impl Client {
    /// `http2`: servers over TLS may choose HTTP/2, whose responses have no reason phrase and no case of their header fields.
    #[new]
    #[pyo3(signature = (http2=false))]
    fn new(py: Python<'_>, http2: bool) -> PyResult<Self> {
        let http = if http2 { Http::Negotiated } else { Http::Http1 };
        let network = Network { http, ..Network::default() };
        let client = py.detach(|| overlapped_fetch::Client::new(Config { network, ..Config::default() }));
        client
            .map(|client| Self { client, relay: Arc::default() })
            .map_err(|error| exception_for(&error, Reader::Session))
    }

    /// Makes a request, and waits for the head of the response. `abort`: has an attribute `is_aborted`, which becomes true
    /// when the request is to be given up.
    fn send(&self, py: Python<'_>, prepared: Prepared<'_>, abort: Option<Py<PyAny>>) -> PyResult<Incoming> {
        let builder = self.builder(prepared)?;
        let work = async { Arrived::new(builder.send().await?).await };
        let answered = waited(py, &self.client, abort.as_ref(), work)?;
        self.incoming(answered)
    }

    /// The same, with a body that comes from an iterator of bytes: `length` of them, or in chunks until its end.
    fn send_from(
        &self,
        py: Python<'_>,
        prepared: Prepared<'_>,
        blocks: &Bound<'_, PyAny>,
        length: Option<u64>,
        abort: Option<Py<PyAny>>,
    ) -> PyResult<Incoming> {
        let feed = Arc::new(Feed::default());
        let builder = self.builder(prepared)?.body(feed.body(length));
        let sent = Sent::new(Arc::clone(&feed));
        let work = async move { sent.answer(builder.send().await) };
        let task = self.client.spawn(work).map_err(|error| failed(&error, 0))?;
        let answered = feed.give(py, blocks, abort.as_ref()).inspect_err(|_| task.abort())?;
        let arrived = answered.map(Arrived::open);
        self.incoming(arrived)
    }

    /// Makes a request for an event loop, to be awaited: until the head of the response has come, or all of its body
    /// (`reads`).
    fn send_soon(
        &self,
        bridge: &Bound<'_, Bridge>,
        prepared: Prepared<'_>,
        reads: bool,
    ) -> PyResult<Py<Pending>> {
        let make = |py: Python<'_>, incoming| Ok(Py::new(py, incoming)?.into_any());
        self.submit(self.builder(prepared)?, bridge, reads, make)
    }

    /// Closes the connections that are free.
    fn close_idle(&self) -> usize {
        self.client.close_idle()
    }
}

impl Client {
    fn incoming(&self, answered: Result<Arrived, RequestError>) -> PyResult<Incoming> {
        let arrived = answered.map_err(|error| failed(&error, 0))?;
        Ok(Incoming::new(self.client.clone(), Arc::clone(&self.relay), arrived))
    }
}

/// Seconds as a limit of the client, to which zero is none.
fn limit(seconds: Option<f64>) -> PyResult<Duration> {
    let Some(seconds) = seconds.filter(|seconds| *seconds < 1e9) else { return Ok(Duration::ZERO) };
    // A limit that was set is never rounded to zero, which means none.
    let time =
        Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(time.max(Duration::from_nanos(1)))
}
