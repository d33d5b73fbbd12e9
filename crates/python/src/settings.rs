//! The options of `overlapped.fetch` as settings of the engine. Their defaults are the engine's.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use overlapped_fetch::record::Nanos;
use overlapped_fetch::{Config, HostConfig, Method, Proxies, Rate};
use overlapped_proto::limits::SHARDS_MAX;
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyList, PyString, PyTuple};

/// The options, as the function `fetch` of the Python side passes them; None: the default.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Options {
    ordered: bool,
    limit: Option<usize>,
    per_host: Option<usize>,
    rate: Option<f64>,
    rate_per_host: Option<f64>,
    retries: Option<u16>,
    /// Seconds for an attempt; infinity is no limit.
    timeout: Option<f64>,
    connect_timeout: Option<f64>,
    /// How long a host may be down before its rows fail, likewise.
    host_down_after: Option<f64>,
    max_body: Option<u64>,
    max_redirects: Option<u16>,
    max_memory: Option<u64>,
    threads: Option<usize>,
    method: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    user: Option<(String, String)>,
    bearer: Option<String>,
    keep_body: bool,
    sha256: bool,
    robots: bool,
    public_only: bool,
    fail: Option<Vec<(u16, u16)>>,
    ca_file: Option<PathBuf>,
    insecure_hosts: Vec<String>,
    hsts: bool,
    body_dir: Option<PathBuf>,
    hosts: Vec<Host>,
    /// The proxies for http and for https, and the hosts that are reached without.
    proxies: Named,
}

/// What differs for one host.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Host {
    name: String,
    limit: Option<usize>,
    rate: Option<f64>,
    headers: Vec<(String, String)>,
    user: Option<(String, String)>,
    bearer: Option<String>,
    /// Whether it has a proxy of its own, or none whatever `proxies` says; and which.
    own_proxy: bool,
    proxy: Option<String>,
}

impl Host {
    fn config(self) -> PyResult<HostConfig> {
        let Self { name, limit, rate: per_second, headers, user, bearer, own_proxy, proxy } = self;
        let rate = per_second.map(rate).transpose()?;
        let proxy = own_proxy.then_some(proxy);
        Ok(HostConfig { name, parallel_max: limit, rate, headers, user, bearer, proxy })
    }
}

/// The proxies for http and for https, and the hosts that are reached without.
pub(crate) type Named = (Option<String>, Option<String>, String);

/// Proxies by their schemes.
pub(crate) fn proxies((http, https, no_proxy): Named) -> Proxies {
    Proxies { http, https, no_proxy, ..Proxies::default() }
}

impl Options {
    /// The settings of the engine.
    ///
    /// # Errors
    ///
    /// A value is out of its range, or the file with certificates cannot be read.
    pub(crate) fn config(self) -> PyResult<Config> {
        let mut config = Config { ordered: self.ordered, ..Config::default() };
        set(&mut config.pace.parallel_max, self.limit);
        config.pace.parallel_max_host = self.per_host.or(config.pace.parallel_max_host);
        config.pace.rate = self.rate.map(rate).transpose()?;
        config.pace.rate_host = self.rate_per_host.map(rate).transpose()?;
        config.pace.robots = self.robots;
        set(&mut config.retry.retries, self.retries);
        set(&mut config.timeouts.total, self.timeout.map(time).transpose()?);
        set(&mut config.timeouts.connect, self.connect_timeout.map(time).transpose()?);
        set(&mut config.pace.host_down_after, self.host_down_after.map(time).transpose()?);
        set(&mut config.response.max_bytes, self.max_body);
        config.response.body = self.keep_body;
        config.response.sha256 = self.sha256;
        config.response.memory_max = self.max_memory.or(config.response.memory_max);
        if let Some(fail) = self.fail {
            let ranges = fail.into_iter().map(|(first, last)| RangeInclusive::new(first, last));
            config.response.fail = ranges.collect();
        }
        set(&mut config.max_redirects, self.max_redirects);
        config.shards = self.threads.map(threads).transpose()?.or(config.shards);
        set(&mut config.request.method, self.method.as_deref().map(method).transpose()?);
        config.request.headers = self.headers;
        config.request.body = self.body.map(Into::into);
        config.request.user = self.user;
        config.request.bearer = self.bearer;
        config.request.body_dir = self.body_dir;
        config.hosts = self.hosts.into_iter().map(Host::config).collect::<PyResult<_>>()?;
        config.network.public_only = self.public_only;
        config.network.insecure_hosts = self.insecure_hosts;
        config.network.hsts = self.hsts;
        config.network.proxies = proxies(self.proxies);
        config.network.ca_pem = self.ca_file.map(certificates).transpose()?;
        Ok(config)
    }
}

/// The engine would speak of shards.
fn threads(count: usize) -> PyResult<usize> {
    if count <= SHARDS_MAX {
        return Ok(count);
    }
    Err(PyValueError::new_err(format!("threads is {count}; it must be between 1 and {SHARDS_MAX}")))
}

fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

/// The file of `ca_file`.
fn certificates(path: PathBuf) -> PyResult<Vec<u8>> {
    std::fs::read(&path).map_err(|error| {
        let text = format!("ca_file: cannot read {}", path.display());
        match error.raw_os_error() {
            Some(number) => PyOSError::new_err((number, text)),
            None => std::io::Error::new(error.kind(), text).into(),
        }
    })
}

fn method(text: &str) -> PyResult<Method> {
    let wrong =
        || PyValueError::new_err(format!("method is {text:?}; it must be one of HTTP, such as \"GET\""));
    Method::parse(text).ok_or_else(wrong)
}

/// Seconds; infinity is no limit.
fn time(seconds: f64) -> PyResult<Option<Duration>> {
    if seconds == f64::INFINITY {
        return Ok(None);
    }
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero());
    let message = if seconds > 1.0 { "it is too long; infinity is no limit" } else { "it must be above 0" };
    time.ok_or_else(|| PyValueError::new_err(format!("timeout is {seconds:?} s; {message}"))).map(Some)
}

/// Requests per second.
fn rate(per_second: f64) -> PyResult<Rate> {
    if !(per_second.is_finite() && per_second > 0.0) {
        return Err(PyValueError::new_err(format!("a rate of {per_second} per second; it must be above 0")));
    }
    Ok(Rate { count: 1, per: Nanos((1e9 / per_second).max(1.0) as u64) })
}

/// The row of a list that has this number, from its item.
///
/// # Errors
///
/// As [`row`], with the number.
pub(crate) fn numbered_row(number: usize, item: &Bound<'_, PyAny>) -> PyResult<overlapped_fetch::Row> {
    row(item).map_err(|error| in_row(item.py(), number, error))
}

/// A row from an item of a list: the URL, or a dict with the columns of a list.
///
/// # Errors
///
/// It is neither, or a value has the wrong type: a TypeError or ValueError that names the column. What is wrong with a URL is
/// no error here: the row has a record.
pub(crate) fn row(item: &Bound<'_, PyAny>) -> PyResult<overlapped_fetch::Row> {
    if let Some(url) = url(item)? {
        return Ok(overlapped_fetch::Row::new(url));
    }
    let Ok(columns) = item.cast::<PyDict>() else {
        let kind = item.get_type().name()?;
        return Err(PyTypeError::new_err(format!("a row is a str or a dict, not {kind}")));
    };
    columns_of(columns)
}

/// An error about a row, with the row's number. Errors of a caller's own code stay as they are.
fn in_row(py: Python<'_>, number: usize, error: PyErr) -> PyErr {
    let message = format!("row {number}: {}", error.value(py));
    let named = if error.is_instance_of::<PyTypeError>(py) {
        PyTypeError::new_err(message)
    } else if error.is_instance_of::<PyValueError>(py) {
        PyValueError::new_err(message)
    } else {
        return error;
    };
    named.set_cause(py, Some(error));
    named
}

/// A URL from a str or bytes. Bytes that are not UTF-8, which are lone surrogates in a str that Python made of a name of a
/// file, are percent-encoded; other lone surrogates become U+FFFD, as in browsers.
fn url(item: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if let Ok(text) = item.cast::<PyString>() {
        if let Ok(text) = text.to_str() {
            return Ok(Some(text.to_owned()));
        }
        return Ok(Some(match text.call_method1("encode", ("utf-8", "surrogateescape")) {
            Ok(bytes) => percent_encoded(bytes.extract()?),
            Err(_) => text.to_string_lossy().into_owned(),
        }));
    }
    Ok(item.cast::<PyBytes>().ok().map(|bytes| percent_encoded(bytes.as_bytes())))
}

/// Text of UTF-8 in which bytes of something else are percent-encoded.
fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("%{byte:02X}")));
    }
    text
}

fn columns_of(columns: &Bound<'_, PyDict>) -> PyResult<overlapped_fetch::Row> {
    let mut row = overlapped_fetch::Row::default();
    for (name, value) in columns {
        let name = name.cast::<PyString>()?.to_string();
        if value.is_none() {
            continue;
        }
        match name.as_str() {
            "url" => row.url = url(&value)?.ok_or_else(|| not_wanted(&name, &value, "a str"))?,
            "id" => row.id = Some(value.str()?.to_string()),
            "method" => row.method = Some(method(&column::<String>(&name, &value, "a str")?)?),
            "headers" => row.headers = headers(&value)?,
            "body" => row.body = Some(body(&value)?),
            "body_file" => row.body_file = Some(path(&value)?),
            "out" => row.out = Some(value.str()?.to_string()),
            "etag" => row.etag = Some(column(&name, &value, "a str")?),
            "last_modified" => row.last_modified = Some(column(&name, &value, "a str")?),
            "sha256" => row.sha256 = Some(digest(&column::<String>(&name, &value, "a str")?)?),
            "timeout" => row.timeout = Some(time(seconds(&value)?)?.unwrap_or_default()),
            "meta" => row.meta = Some(dumps(&value)?),
            _ => return Err(PyValueError::new_err(format!("a row has no column {name:?}"))),
        }
    }
    if row.body.is_some() && row.body_file.is_some() {
        return Err(PyValueError::new_err("a row has either a body or a body_file"));
    }
    Ok(row)
}

/// A number of seconds, which a bool is not.
fn seconds(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let wanted = "a number";
    if value.is_instance_of::<PyBool>() {
        return Err(not_wanted("timeout", value, wanted));
    }
    column("timeout", value, wanted)
}

/// The value of a column as another type.
fn column<'py, T: FromPyObjectOwned<'py>>(
    name: &str,
    value: &Bound<'py, PyAny>,
    wanted: &str,
) -> PyResult<T> {
    value.extract::<T>().map_err(|error| {
        let (py, error) = (value.py(), Into::<PyErr>::into(error));
        if error.is_instance_of::<PyTypeError>(py) {
            not_wanted(name, value, wanted)
        } else if error.is_instance_of::<PyValueError>(py) {
            // A str with a lone surrogate, for example.
            PyValueError::new_err(format!("{name}: {}", error.value(py)))
        } else {
            error
        }
    })
}

fn not_wanted(name: &str, value: &Bound<'_, PyAny>, wanted: &str) -> PyErr {
    match value.get_type().name() {
        Ok(kind) => PyTypeError::new_err(format!("{name} must be {wanted}, not {kind}")),
        Err(error) => error,
    }
}

fn headers(value: &Bound<'_, PyAny>) -> PyResult<Vec<(String, String)>> {
    let wanted = "a dict of str";
    match value.cast::<PyDict>() {
        Ok(dict) => {
            let field = |(name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
                let name: String = column("a name in headers", &name, "a str")?;
                let value = column(&format!("headers[{name:?}]"), &value, "a str")?;
                Ok((name, value))
            };
            dict.iter().map(field).collect()
        }
        // Of which the empty one would be taken for a sequence without pairs.
        Err(_) if value.is_instance_of::<PyBytes>() => Err(not_wanted("headers", value, wanted)),
        Err(_) => column("headers", value, wanted),
    }
}

fn body(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    let wanted = "bytes or a str";
    if value.is_instance_of::<PyString>() {
        return column::<String>("body", value, wanted).map(String::into_bytes);
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        return Err(not_wanted("body", value, wanted));
    }
    column("body", value, wanted)
}

/// A path of UTF-8, from a str or an object that has one.
fn path(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let path: PathBuf = column("body_file", value, "a path")?;
    path.into_os_string().into_string().map_err(|path| {
        PyValueError::new_err(format!("the column \"body_file\" is {path:?}, which is not UTF-8"))
    })
}

fn digest(text: &str) -> PyResult<[u8; 32]> {
    let byte = |at: usize| text.get(2 * at..2 * at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
    let digest = bytes.filter(|_| text.len() == 64).and_then(|bytes| bytes.try_into().ok());
    digest.ok_or_else(|| PyValueError::new_err("sha256 must be 64 hexadecimal digits"))
}

fn dumps(value: &Bound<'_, PyAny>) -> PyResult<String> {
    value.py().import("json")?.call_method1("dumps", (value,))?.extract()
}
