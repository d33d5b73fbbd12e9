//! `Incoming`: a response whose head has come, and whose body is read when it is asked for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlapped_fetch::record::{Headers, HttpVersion};
use overlapped_fetch::{Bytes, Client, ClientResponse, RequestError};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt as _;
use pyo3::types::PyBytes;

use crate::bridge::Bridge;
use crate::call::{failed, waited};
use crate::limits;
use crate::pending::{Make, Pending};
use crate::record::Timings;
use crate::relay::Relay;

/// A response, and what has come of its body. One that has arrived whole has given its connection back.
pub(crate) struct Arrived {
    response: ClientResponse,
    /// Of the body: what has come and was not taken.
    rest: Bytes,
    state: State,
    /// How many bytes of the body have come.
    came: u64,
}

enum State {
    /// There may be more of the body.
    Open,
    /// All of it came.
    Ended,
    /// What follows cannot be had any more.
    Failed(RequestError),
}

impl Arrived {
    pub(crate) fn open(response: ClientResponse) -> Self {
        Self { response, rest: Bytes::new(), state: State::Open, came: 0 }
    }

    /// With the body, if it came with its head.
    pub(crate) async fn new(response: ClientResponse) -> Result<Self, RequestError> {
        let arrived = Self::open(response);
        Ok(if arrived.response.has_arrived() { arrived.read(usize::MAX, true).await } else { arrived })
    }

    /// Waits for the body. If it does not come whole, the error is returned when it is read.
    pub(crate) async fn whole(response: ClientResponse) -> Result<Self, RequestError> {
        Ok(Self::open(response).read(usize::MAX, true).await)
    }

    /// Waits until there are `most` bytes to be taken (`fills`), or any; or the rest.
    async fn read(mut self, most: usize, fills: bool) -> Self {
        let least = if fills { most } else { most.min(1) };
        let mut pieces = Vec::new();
        while matches!(self.state, State::Open) && self.rest.len() + pieces.len() < least {
            self.next(&mut pieces).await;
        }
        if !pieces.is_empty() {
            self.rest = pieces.into();
        }
        // The connection returns to the pool with the last byte, not at the next read.
        if matches!(self.state, State::Open) && self.response.bytes_left() == Some(0) {
            self.next(&mut Vec::new()).await;
        }
        self
    }

    /// Takes the next piece: as it is if there is no other, else into `pieces`, which then has the rest too.
    async fn next(&mut self, pieces: &mut Vec<u8>) {
        match self.response.chunk().await {
            Ok(Some(piece)) => {
                self.came += piece.len() as u64;
                if self.rest.is_empty() && pieces.is_empty() {
                    self.rest = piece;
                    return;
                }
                if pieces.is_empty() {
                    let left = self.response.bytes_left().and_then(|bytes| usize::try_from(bytes).ok());
                    let left = left.unwrap_or(0).min(limits::RESERVED_BYTES_MAX);
                    pieces.reserve(self.rest.len() + piece.len() + left);
                    pieces.extend_from_slice(&std::mem::take(&mut self.rest));
                }
                pieces.extend_from_slice(&piece);
            }
            Ok(None) => self.state = State::Ended,
            Err(error) => self.state = State::Failed(error),
        }
    }

    /// Takes at most `most` bytes of what is there; nothing at the end.
    ///
    /// # Errors
    ///
    /// The body has failed, and nothing that came before is left; or less than `most`, if that many are to be had (`fills`).
    fn take(&mut self, most: usize, fills: bool) -> PyResult<Bytes> {
        let least = if fills { most } else { most.min(1) };
        if let State::Failed(error) = &self.state
            && self.rest.len() < least
        {
            return Err(failed(error, self.came));
        }
        Ok(self.rest.split_to(most.min(self.rest.len())))
    }

    fn is_over(&self) -> bool {
        self.rest.is_empty() && matches!(self.state, State::Ended)
    }
}

/// A response to a request of `Client`. What Python sees of its head is made when it is asked for.
#[pyclass(frozen, module = "overlapped._overlapped")]
pub(crate) struct Incoming {
    client: Client,
    relay: Arc<Relay>,
    /// The status.
    #[pyo3(get)]
    status: u16,
    version: HttpVersion,
    headers: Headers,
    raw_head: Bytes,
    /// Whether an earlier request had opened the connection.
    #[pyo3(get)]
    reused: bool,
    remote: Option<SocketAddr>,
    /// Whether nothing follows from it but its body, which has come whole: no redirect, no cookie, no decoding.
    is_plain: bool,
    /// `None`: it is closed, or being read.
    body: Arc<Mutex<Option<Arrived>>>,
}

impl Incoming {
    pub(crate) fn new(client: Client, relay: Arc<Relay>, arrived: Arrived) -> Self {
        let head = &arrived.response;
        let headers = head.headers().clone();
        let has = |name| headers.first(name).is_some();
        let is_plain = matches!(arrived.state, State::Ended)
            && !(300..400).contains(&head.status())
            && !["set-cookie", "set-cookie2", "content-encoding"].into_iter().any(has);
        Self {
            client,
            relay,
            status: head.status(),
            version: head.version(),
            raw_head: head.raw_head().clone(),
            reused: head.is_reused(),
            remote: head.remote(),
            is_plain,
            headers,
            body: Arc::new(Mutex::new(Some(arrived))),
        }
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// The body of one that is plain.
    pub(crate) fn whole_body<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.read_here(py, usize::MAX, true, None)
    }

    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, Option<Arrived>> {
        self.body.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn taken(&self, py: Python<'_>) -> PyResult<Arrived> {
        let closed = || PyRuntimeError::new_err("the body is closed, or another thread reads it");
        self.lock(py).take().ok_or_else(closed)
    }

    /// Refuses to read from a connection of the parent in a forked child. The connection is left as it is: closing it would also
    /// remove it from the event queue of the parent, which would then wait for ever.
    fn check_forks(&self, py: Python<'_>) -> PyResult<()> {
        if self.client.is_forked() && !self.has_arrived(py) {
            waited(py, &self.client, None, async { Ok(()) })?.map_err(|error| failed(&error, 0))?;
        }
        Ok(())
    }

    /// Reads on this thread. It waits for nothing if that is there.
    fn read_here<'py>(
        &self,
        py: Python<'py>,
        most: usize,
        fills: bool,
        abort: Option<&Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.check_forks(py)?;
        let mut arrived = self.taken(py)?;
        if matches!(arrived.state, State::Open) && arrived.rest.len() < if fills { most } else { 1 } {
            let read = arrived.read(most, fills);
            arrived = match waited(py, &self.client, abort, async { Ok(read.await) })? {
                Ok(arrived) => arrived,
                Err(error) => return Err(failed(&error, 0)),
            };
        }
        let taken = arrived.take(most, fills);
        *self.lock(py) = Some(arrived);
        Ok(PyBytes::new(py, &taken?))
    }
}

#[pymethods]
impl Incoming {
    /// The next `most` bytes of the body, fewer only at its end; None: all. `abort`: as in `Client.send`.
    fn read<'py>(
        &self,
        py: Python<'py>,
        most: Option<usize>,
        abort: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let most = most.unwrap_or(usize::MAX);
        self.read_here(py, most, true, abort.as_ref())
    }

    /// The next piece of the body as it came, of `most` bytes at most; nothing at its end.
    fn read_piece<'py>(
        &self,
        py: Python<'py>,
        most: usize,
        abort: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.read_here(py, most, false, abort.as_ref())
    }

    /// The same for an event loop, to be awaited. `fills`: as `read`, else as `read_piece`.
    fn read_soon(
        &self,
        py: Python<'_>,
        bridge: &Bound<'_, Bridge>,
        most: Option<usize>,
        fills: bool,
    ) -> PyResult<Py<Pending>> {
        let most = most.unwrap_or(usize::MAX);
        self.check_forks(py)?;
        let (arrived, body) = (self.taken(py)?, Arc::clone(&self.body));
        let work = move || async move {
            let arrived = arrived.read(most, fills).await;
            let make = move |py: Python<'_>| {
                let mut arrived = arrived;
                let taken = arrived.take(most, fills);
                *body.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner) = Some(arrived);
                Ok(PyBytes::new(py, &taken?).into_any().unbind())
            };
            Box::new(make) as Box<Make>
        };
        Bridge::submit(bridge, &self.client, &self.relay, work)
    }

    /// Whether all of the body was taken.
    fn is_over(&self, py: Python<'_>) -> bool {
        self.lock(py).as_ref().is_none_or(Arrived::is_over)
    }

    /// Whether all of the body has come: its connection is free.
    fn has_arrived(&self, py: Python<'_>) -> bool {
        self.lock(py).as_ref().is_none_or(|arrived| !matches!(arrived.state, State::Open))
    }

    /// Closes the connection, unless it was given back.
    fn close(&self, py: Python<'_>) {
        let closed = self.lock(py).take();
        if self.client.is_forked() {
            std::mem::forget(closed);
        }
    }

    /// The version of HTTP, as http.client has it: 10, 11 or 20.
    #[getter]
    fn version(&self) -> u8 {
        match self.version {
            HttpVersion::Http10 => 10,
            HttpVersion::Http11 => 11,
            HttpVersion::Http2 => 20,
        }
    }

    /// The reason phrase, which HTTP/2 does not have.
    #[getter]
    fn reason(&self) -> String {
        reason(&self.raw_head)
    }

    /// The header fields in their order: pairs of name and value.
    #[getter]
    fn headers(&self) -> Vec<(String, String)> {
        self.headers.iter().map(|(name, value)| (name.to_owned(), latin1(value))).collect()
    }

    /// The address at the other end.
    #[getter]
    fn remote_ip(&self) -> Option<String> {
        self.remote.map(|remote| remote.ip().to_string())
    }

    /// The phases of the request, in milliseconds.
    #[getter]
    fn timings(&self, py: Python<'_>) -> Option<Timings> {
        self.lock(py).as_ref().map(|arrived| Timings::of_request(arrived.response.timings()))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // The event queue of its socket is that of the parent.
        if self.client.is_forked() {
            std::mem::forget(self.body.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

/// The text behind the status in the first line of a head.
fn reason(head: &[u8]) -> String {
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = lines.find(|line| line.starts_with(b"HTTP/")).unwrap_or_default();
    let text = line.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default();
    latin1(text.trim_ascii())
}

/// Bytes of a head as text: each as the character of its number, as http.client has it.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
