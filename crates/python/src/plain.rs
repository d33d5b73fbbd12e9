//! `Plain`: the way of plain requests, which are GETs of which only the URL differs from what their session sends with each.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use overlapped_fetch::{Method, PreparedRequest, RawHeaders};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt as _;
use pyo3::types::PyString;

use crate::bridge::Bridge;
use crate::client::{Builder, Client};
use crate::incoming::Incoming;
use crate::pending::Pending;
use crate::plain_url::PlainUrl;
use crate::watch::Watch;

/// What the plain requests of a session over one adapter are sent with, and all that must be as it was for a request to be plain.
#[pyclass(frozen, module = "overlapped._overlapped")]
pub(crate) struct Plain {
    watch: Watch,
    /// Files that must not be there.
    absent: Vec<PathBuf>,
    client: Py<Client>,
    headers: Headers,
    responses: Arc<Responses>,
    /// The bridge and the burst in which the files were last looked for: that takes as long as all the rest.
    looked: Mutex<(usize, u64)>,
}

/// Header fields without `Host`, and further attempts.
struct Headers {
    fields: Vec<(String, Vec<u8>)>,
    retries: u16,
    /// The last `Host`, and the fields with it: most requests are to the server of the one before.
    last: Mutex<Option<(Box<str>, RawHeaders)>>,
}

impl Headers {
    fn with_host(&self, py: Python<'_>, host: &str) -> RawHeaders {
        let mut last = lock(&self.last, py);
        match &*last {
            Some((known, fields)) if **known == *host => Arc::clone(fields),
            Some(_) | None => {
                let own = (Box::from("Host"), Box::from(host.as_bytes()));
                let shared = self.fields.iter().map(|(name, value)| ((&**name).into(), (&**value).into()));
                let fields: RawHeaders = std::iter::once(own).chain(shared).collect();
                *last = Some((host.into(), Arc::clone(&fields)));
                fields
            }
        }
    }
}

/// No code panics while it holds the lock, so a poisoned value is consistent.
fn lock<'a, T>(mutex: &'a Mutex<T>, py: Python<'_>) -> MutexGuard<'a, T> {
    mutex.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
}

/// How the objects of responses are made.
struct Responses {
    /// The class, and its `__new__`.
    kind: Py<PyAny>,
    new: Py<PyAny>,
    /// What completes a response of which more is asked for than its status and its body.
    common: Py<PyAny>,
}

impl Responses {
    /// The response to a request that was sent at `start`. One that is plain is completed when more of it is asked for.
    fn made(
        &self,
        py: Python<'_>,
        incoming: Incoming,
        url: Py<PyString>,
        start: Instant,
    ) -> PyResult<Py<PyAny>> {
        let seconds = start.elapsed().as_secs_f64();
        if !incoming.is_plain() {
            let complete = self.common.bind(py).getattr(intern!(py, "complete"))?;
            return complete.call1((incoming, url, seconds)).map(Bound::unbind);
        }
        let response = self.new.bind(py).call1((&self.kind,))?;
        response.setattr(intern!(py, "status_code"), incoming.status())?;
        response.setattr(intern!(py, "_content"), incoming.whole_body(py)?)?;
        response.setattr(intern!(py, "_content_consumed"), true)?;
        response.setattr(intern!(py, "_rest"), (&self.common, incoming, url, seconds))?;
        Ok(response.unbind())
    }
}

impl Plain {
    /// The request; `None`: something is not as it was, or the URL is not plain.
    fn builder(
        &self,
        session: &Bound<'_, PyAny>,
        url: &Bound<'_, PyAny>,
        connect: Option<f64>,
        read: Option<f64>,
        looks: bool,
    ) -> PyResult<Option<Builder>> {
        let py = session.py();
        let Ok(url) = url.cast_exact::<PyString>() else { return Ok(None) };
        let Ok(url) = url.to_str() else { return Ok(None) };
        let Some(PlainUrl { origin, host, target }) = PlainUrl::of(url) else { return Ok(None) };
        if !self.watch.is_same(session)? || (looks && self.absent.iter().any(|path| path.exists())) {
            return Ok(None);
        }
        let request = PreparedRequest {
            method: Method::Get,
            url: origin.to_owned(),
            target: Some(target.to_owned()),
            headers: self.headers.with_host(py, host),
        };
        self.client.get().limited(request, self.headers.retries, connect, read).map(Some)
    }

    /// Whether the files are to be looked for: once in a burst.
    fn looks(&self, bridge: &Bound<'_, Bridge>) -> bool {
        let this = (bridge.as_ptr() as usize, bridge.get().burst());
        let mut looked = lock(&self.looked, bridge.py());
        let is_known = this.1 != 0 && *looked == this;
        *looked = this;
        !is_known
    }
}

#[pymethods]
impl Plain {
    /// `watched`: a dict, as [`Watch`] has it. `absent`: files that must not be there. `response`: the class of responses, and
    /// `common` completes them.
    #[new]
    fn new(
        client: Py<Client>,
        fields: Vec<(String, Vec<u8>)>,
        retries: u16,
        watched: Watch,
        absent: Vec<PathBuf>,
        response: &Bound<'_, PyAny>,
        common: Py<PyAny>,
    ) -> PyResult<Self> {
        let headers = Headers { fields, retries, last: Mutex::default() };
        let new = response.getattr(intern!(response.py(), "__new__"))?.unbind();
        let responses = Arc::new(Responses { kind: response.clone().unbind(), new, common });
        Ok(Self { watch: watched, absent, client, headers, responses, looked: Mutex::default() })
    }

    /// Whether a URL is plain: it is sent as it is.
    #[staticmethod]
    fn takes(url: &Bound<'_, PyString>) -> bool {
        url.to_str().is_ok_and(|url| PlainUrl::of(url).is_some())
    }

    /// Makes a GET, and waits for the response with its body. None: something is not as it was, or the URL is not one that is
    /// sent as it is; nothing was sent then. `abort`: as in `Client.send`.
    fn get(
        &self,
        session: &Bound<'_, PyAny>,
        url: &Bound<'_, PyAny>,
        connect: Option<f64>,
        read: Option<f64>,
        abort: Option<Py<PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let (py, start) = (session.py(), Instant::now());
        let Some(builder) = self.builder(session, url, connect, read, true)? else { return Ok(None) };
        let incoming = self.client.get().whole(py, builder, abort.as_ref())?;
        self.responses.made(py, incoming, url.cast::<PyString>()?.clone().unbind(), start).map(Some)
    }

    /// The same for an event loop, to be awaited.
    fn get_soon(
        &self,
        session: &Bound<'_, PyAny>,
        bridge: &Bound<'_, Bridge>,
        url: &Bound<'_, PyAny>,
        connect: Option<f64>,
        read: Option<f64>,
    ) -> PyResult<Option<Py<Pending>>> {
        let start = Instant::now();
        let looks = self.looks(bridge);
        let Some(builder) = self.builder(session, url, connect, read, looks)? else { return Ok(None) };
        let (responses, url) = (Arc::clone(&self.responses), url.cast::<PyString>()?.clone().unbind());
        let make = move |py: Python<'_>, incoming| responses.made(py, incoming, url, start);
        self.client.get().submit(builder, bridge, true, make).map(Some)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.watch.traverse(&visit)?;
        visit.call(&self.responses.common)
    }
}
