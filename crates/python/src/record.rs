//! `Record`: one finished row, as an object of Python. Its attributes are made when they are asked for.

use std::borrow::Cow;
use std::io::Read as _;

use overlapped_fetch::record::{self, Body, Nanos};
use overlapped_proto::record::packed::Rest;
use overlapped_proto::sanitize::redact;
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use crate::pickled;

/// One finished row: a response, or why there is none. It does not change, and can be pickled.
#[pyclass(frozen, module = "overlapped")]
pub(crate) struct Record {
    record: record::Record,
    body: PyOnceLock<Py<PyBytes>>,
}

/// The phases of the last attempt, in milliseconds; None: it did not happen.
#[pyclass(frozen, get_all, module = "overlapped")]
pub(crate) struct Timings {
    /// Waiting for a place.
    blocked: Option<f64>,
    /// Resolving the name.
    dns: Option<f64>,
    /// Opening the connection.
    connect: Option<f64>,
    /// The TLS handshake.
    tls: Option<f64>,
    /// Sending the request.
    send: Option<f64>,
    /// From the end of the request to the first byte of the response.
    wait: Option<f64>,
    /// From the first byte of the response to its last.
    receive: Option<f64>,
    /// All of them but `blocked`.
    total: f64,
}

impl Timings {
    pub(crate) fn of(timing: &record::Timing) -> Self {
        Self {
            blocked: timing.blocked.map(ms),
            dns: timing.dns.map(ms),
            connect: timing.connect.map(ms),
            tls: timing.tls.map(ms),
            send: timing.send.map(ms),
            wait: timing.wait.map(ms),
            receive: timing.receive.map(ms),
            total: ms(timing.total()),
        }
    }

    /// Of a single request, which waits for no place.
    pub(crate) fn of_request(timings: overlapped_fetch::Timings) -> Self {
        let total = timings.total();
        let overlapped_fetch::Timings { dns, connect, tls, send, wait, receive } = timings;
        let [dns, connect, tls, send, wait, receive] =
            [dns, connect, tls, send, wait, receive].map(|phase| phase.map(|time| time.as_secs_f64() * 1e3));
        let total = total.as_secs_f64() * 1e3;
        Self { blocked: None, dns, connect, tls, send, wait, receive, total }
    }
}

#[pymethods]
impl Timings {
    fn __repr__(&self) -> String {
        let phases = [
            ("blocked", self.blocked),
            ("dns", self.dns),
            ("connect", self.connect),
            ("tls", self.tls),
            ("send", self.send),
            ("wait", self.wait),
            ("receive", self.receive),
            ("total", Some(self.total)),
        ];
        let phases = phases.into_iter().filter_map(|(name, ms)| Some(format!("{name}={:.3}", ms?)));
        format!("Timings({})", phases.collect::<Vec<_>>().join(", "))
    }
}

impl Record {
    pub(crate) fn new(record: record::Record) -> Self {
        Self { record, body: PyOnceLock::new() }
    }

    fn header<'py>(&self, py: Python<'py>, name: &str) -> Option<Bound<'py, PyString>> {
        self.record.headers.first(name).map(|value| text(py, value))
    }

    fn bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.body.get_or_try_init(py, || match &self.record.body {
            Body::None => Ok(PyBytes::new(py, b"").unbind()),
            Body::Inline(bytes) => Ok(PyBytes::new(py, bytes).unbind()),
            Body::File(path) => read(py, || std::fs::read(path)),
            Body::Spooled(spooled) => read(py, || {
                let mut bytes = Vec::new();
                spooled.reader().read_to_end(&mut bytes).map(|_| bytes)
            }),
        });
        bytes.map(|bytes| bytes.bind(py).clone())
    }
}

fn read(py: Python<'_>, read: impl FnOnce() -> std::io::Result<Vec<u8>> + Send) -> PyResult<Py<PyBytes>> {
    let bytes = py.detach(read).map_err(|error| PyOSError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &bytes).unbind())
}

fn text<'py>(py: Python<'py>, value: &[u8]) -> Bound<'py, PyString> {
    PyString::new(py, &record::header_text(value))
}

fn ms(time: Nanos) -> f64 {
    time.as_millis_f64()
}

#[pymethods]
impl Record {
    /// The number of the row in its list, from 0.
    #[getter]
    fn row(&self) -> u64 {
        self.record.row.0
    }

    /// The row's own name, from the list.
    #[getter]
    fn id(&self) -> Option<&str> {
        self.record.id.as_deref()
    }

    /// The URL as the list gave it, without its userinfo.
    #[getter]
    fn url(&self) -> Cow<'_, str> {
        redact(&self.record.url)
    }

    /// Where redirects led; None if there were none.
    #[getter]
    fn final_url(&self) -> Option<Cow<'_, str>> {
        self.record.final_url.as_deref().map(redact)
    }

    /// The host of the URL that was asked last.
    #[getter]
    fn host(&self) -> Option<&str> {
        self.record.host.as_deref()
    }

    /// The method, as first sent.
    #[getter]
    fn method(&self) -> &str {
        self.record.method.as_str()
    }

    /// The status of the last response.
    #[getter]
    fn status(&self) -> Option<u16> {
        self.record.status
    }

    /// Whether the row succeeded.
    #[getter]
    fn ok(&self) -> bool {
        self.record.ok
    }

    /// Why not: a name of the error table.
    #[getter]
    fn error(&self) -> Option<&'static str> {
        self.record.failure.as_ref().map(|failure| failure.kind.name())
    }

    /// What was seen, for a person.
    #[getter]
    fn error_message(&self) -> Option<&str> {
        self.record.failure.as_ref().map(|failure| &*failure.message)
    }

    /// What curl would have exited with; 0 if the row succeeded.
    #[getter]
    fn exitcode(&self) -> u8 {
        self.record.failure.as_ref().map_or(0, |failure| failure.kind.curl_code())
    }

    /// Attempts started, over all redirects.
    #[getter]
    fn attempts(&self) -> u16 {
        self.record.attempts
    }

    /// Redirects followed.
    #[getter]
    fn redirects(&self) -> usize {
        self.record.chain.len()
    }

    /// Each redirect in order: its URL, status and time in milliseconds.
    #[getter]
    fn chain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let hops = self.record.chain.iter().map(|hop| {
            let dict = PyDict::new(py);
            dict.set_item(intern!(py, "url"), redact(&hop.url))?;
            dict.set_item(intern!(py, "status"), hop.status)?;
            dict.set_item(intern!(py, "total_ms"), ms(hop.total))?;
            Ok(dict)
        });
        PyList::new(py, hops.collect::<PyResult<Vec<_>>>()?)
    }

    /// The version of HTTP.
    #[getter]
    fn http_version(&self) -> Option<&'static str> {
        self.record.connection.http_version.map(record::HttpVersion::as_str)
    }

    /// The address at the other end.
    #[getter]
    fn remote_ip(&self) -> Option<String> {
        self.record.connection.remote.map(|remote| remote.ip().to_string())
    }

    /// Its port.
    #[getter]
    fn remote_port(&self) -> Option<u16> {
        self.record.connection.remote.map(|remote| remote.port())
    }

    /// Whether an earlier request had opened the connection.
    #[getter]
    fn reused(&self) -> Option<bool> {
        self.record.connection.reused
    }

    /// The headers of the last response: name in lower case, and all its values in order.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, value) in self.record.headers.iter() {
            let value = text(py, value);
            match dict.get_item(name)? {
                Some(values) => values.cast::<PyList>()?.append(value)?,
                None => dict.set_item(name, PyList::new(py, [value])?)?,
            }
        }
        Ok(dict)
    }

    /// The first `content-type`.
    #[getter]
    fn content_type<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyString>> {
        self.header(py, "content-type")
    }

    /// The first `etag`.
    #[getter]
    fn etag<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyString>> {
        self.header(py, "etag")
    }

    /// The first `last-modified`.
    #[getter]
    fn last_modified<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyString>> {
        self.header(py, "last-modified")
    }

    /// Bytes of the body, decoded.
    #[getter(bytes)]
    fn body_bytes(&self) -> u64 {
        self.record.bytes
    }

    /// Bytes of the body as they came, without framing.
    #[getter]
    fn wire_bytes(&self) -> u64 {
        self.record.wire_bytes
    }

    /// The body, decoded; b"" if there is none.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.bytes(py)
    }

    /// The body in Base64, if it is not UTF-8; `body` has it in any case.
    #[getter]
    fn body_base64<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let body = self.bytes(py)?;
        if std::str::from_utf8(body.as_bytes()).is_ok() {
            return Ok(None);
        }
        let encoded = py.import(intern!(py, "base64"))?.call_method1(intern!(py, "b64encode"), (body,))?;
        encoded.call_method1(intern!(py, "decode"), ("ascii",)).map(Some)
    }

    /// The body's file, if it has one of its own.
    #[getter]
    fn body_path(&self) -> Option<&std::path::Path> {
        match &self.record.body {
            Body::File(path) => Some(path),
            Body::None | Body::Inline(_) | Body::Spooled(_) => None,
        }
    }

    /// The SHA-256 of the decoded body in lower-case hexadecimal, where it was asked for.
    #[getter]
    fn sha256(&self) -> Option<String> {
        self.record.sha256.map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether the body was cut; None if nothing proves that it is whole.
    #[getter]
    fn truncated(&self) -> Option<bool> {
        self.record.truncated
    }

    /// What was overlooked in the head of the last response, or in the row.
    #[getter]
    fn notes(&self) -> Vec<&'static str> {
        self.record.notes.iter().map(record::Note::name).collect()
    }

    /// When the first attempt started, in seconds since 1970.
    #[getter]
    fn started(&self) -> Option<f64> {
        self.record.started_unix_us.map(|us| us as f64 / 1e6)
    }

    /// The phases of the last attempt, in milliseconds.
    #[getter]
    fn timings(&self) -> Timings {
        Timings::of(&self.record.timing)
    }

    /// Waiting for a place, in milliseconds: from the moment the row was ready for its last attempt until that started.
    #[getter]
    fn blocked_ms(&self) -> Option<f64> {
        self.record.timing.blocked.map(ms)
    }

    /// Resolving the name, in milliseconds.
    #[getter]
    fn dns_ms(&self) -> Option<f64> {
        self.record.timing.dns.map(ms)
    }

    /// Opening the connection, in milliseconds.
    #[getter]
    fn connect_ms(&self) -> Option<f64> {
        self.record.timing.connect.map(ms)
    }

    /// The TLS handshake, in milliseconds.
    #[getter]
    fn tls_ms(&self) -> Option<f64> {
        self.record.timing.tls.map(ms)
    }

    /// Sending the request, in milliseconds.
    #[getter]
    fn send_ms(&self) -> Option<f64> {
        self.record.timing.send.map(ms)
    }

    /// From the end of the request to the first byte of the response, in milliseconds.
    #[getter]
    fn wait_ms(&self) -> Option<f64> {
        self.record.timing.wait.map(ms)
    }

    /// From the first byte of the response to its last, in milliseconds.
    #[getter]
    fn receive_ms(&self) -> Option<f64> {
        self.record.timing.receive.map(ms)
    }

    /// What the request took, in milliseconds: the sum of the phases but `blocked_ms`. None: no attempt was made.
    #[getter]
    fn total_ms(&self) -> Option<f64> {
        let record::Timing { blocked: _, dns, connect, tls, send, wait, receive } = self.record.timing;
        let is_known = [dns, connect, tls, send, wait, receive].iter().any(Option::is_some);
        is_known.then(|| ms(self.record.timing.total()))
    }

    /// From the moment the row was first ready until it was done, in milliseconds: all attempts and waits.
    #[getter]
    fn elapsed_ms(&self) -> f64 {
        ms(self.record.elapsed)
    }

    /// The other columns of the row, as the list had them.
    #[getter]
    fn meta<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.record.meta.as_deref().map(|meta| loads(py, (meta,))).transpose()
    }

    /// The body as text: in the charset of its `content-type`, or else UTF-8. What cannot be decoded becomes U+FFFD.
    #[getter]
    fn text<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let body = self.bytes(py)?;
        let charset = self.record.headers.first("content-type").and_then(charset).unwrap_or("utf-8");
        let decode = |charset: &str| body.call_method1(intern!(py, "decode"), (charset, "replace"));
        // A charset that Python does not know.
        decode(charset).or_else(|_| decode("utf-8"))
    }

    /// The body, parsed as JSON.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        loads(py, (self.bytes(py)?,))
    }

    /// For `pickle`: a body in memory or in a temporary file comes along, of a body in a file of its own the path.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Pickled<'py>> {
        let (rest, body) = match &self.record.body {
            Body::None => (Rest::None, None),
            Body::File(path) => (Rest::File(path.clone()), None),
            Body::Inline(_) | Body::Spooled(_) => {
                let body = self.bytes(py)?;
                (Rest::Inline(body.as_bytes().len() as u64), Some(body))
            }
        };
        let bytes = PyBytes::new(py, &pickled::bytes_of(&self.record, &rest));
        let function =
            py.import(intern!(py, "overlapped._overlapped"))?.getattr(intern!(py, "_unpickled"))?;
        Ok((function, (pickled::VERSION, bytes, body)))
    }

    /// The record itself, which does not change.
    fn __copy__(this: Py<Self>) -> Py<Self> {
        this
    }

    /// The record itself, which does not change.
    #[pyo3(signature = (_memo, /))]
    fn __deepcopy__(this: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        this
    }

    fn __repr__(&self) -> String {
        let outcome = match (&self.record.failure, self.record.status) {
            (Some(failure), Some(status)) => format!("{status} {}", failure.kind.name()),
            (Some(failure), None) => failure.kind.name().to_owned(),
            (None, Some(status)) => status.to_string(),
            (None, None) => "no response".to_owned(),
        };
        format!("<Record {} [{outcome}] {}>", self.record.row.0, redact(&self.record.url))
    }
}

/// The function that makes a record again, and its arguments.
type Pickled<'py> = (Bound<'py, PyAny>, (&'static str, Bound<'py, PyBytes>, Option<Bound<'py, PyBytes>>));

/// The record that was pickled with these arguments.
#[pyfunction]
#[pyo3(name = "_unpickled")]
pub(crate) fn unpickled(
    py: Python<'_>,
    version: &str,
    columns: &[u8],
    body: Option<Py<PyBytes>>,
) -> PyResult<Record> {
    let mut record = pickled::record_of(version, columns)?;
    if let Some(bytes) = &body {
        record.body = Body::Inline(Vec::from(bytes.as_bytes(py)).into());
    }
    Ok(Record::new(record))
}

fn loads<'py>(py: Python<'py>, text: impl pyo3::call::PyCallArgs<'py>) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "json"))?.call_method1(intern!(py, "loads"), text)
}

/// The charset of a `content-type`.
fn charset(value: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(value).ok()?;
    let parameters = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut charsets = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    charsets.next().map(|(_, value)| value.trim().trim_matches('"'))
}
