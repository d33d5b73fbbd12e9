//! A typed row, for lists that a program generates: nothing is formatted as text and parsed again.

use std::time::Duration;

use overlapped_proto::job::{Ask, Method};
use overlapped_proto::time::Nanos;

/// One row, with the fields of a list's columns (`docs/reference/input.md`).
///
/// ```
/// use overlapped_fetch::{Bulk, Config, Input, Row, sink};
/// # let server = overlapped_testkit::Server::start();
/// # let url = server.url("/echo");
///
/// let rows = (0..3).map(move |number| Row {
///     id: Some(format!("row {number}")),
///     headers: vec![("x-number".into(), number.to_string())],
///     body: Some(b"hello".to_vec()),
///     ..Row::new(&url)
/// });
/// let (records, collected) = sink::collect();
/// let bulk = Bulk::new(Config { ordered: true, ..Config::default() })?;
/// bulk.input(Input::Rows(Box::new(rows))).sink(records).start()?.wait()?;
///
/// let ids: Vec<_> = collected.take().into_iter().filter_map(|record| record.id).collect();
/// assert_eq!(ids.iter().map(|id| &**id).collect::<Vec<_>>(), ["row 0", "row 1", "row 2"]);
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The URL, with its scheme.
    pub url: String,
    /// An identifier of the row, copied to its record.
    pub id: Option<String>,
    /// Instead of the run's method; a row with a body and no method is a POST.
    pub method: Option<Method>,
    /// Beside the run's headers; a header of the same name wins over the run's.
    pub headers: Vec<(String, String)>,
    /// The body to send.
    pub body: Option<Vec<u8>>,
    /// Instead, a file whose content is sent, beneath [`Request::body_dir`](crate::Request::body_dir).
    pub body_file: Option<String>,
    /// The name of the row's own file, beneath the output directory.
    pub out: Option<String>,
    /// Sent as `If-None-Match`.
    pub etag: Option<String>,
    /// Sent as `If-Modified-Since`.
    pub last_modified: Option<String>,
    /// The SHA-256 that the body must have.
    pub sha256: Option<[u8; 32]>,
    /// For one attempt, instead of the run's limit; zero is no limit.
    pub timeout: Option<Duration>,
    /// A JSON object as text, passed through to the record.
    pub meta: Option<String>,
}

impl Row {
    /// A bare row.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// The URL, and what the row asks for beyond it.
    pub(crate) fn into_parts(self) -> (String, Ask) {
        let ask = Ask {
            id: self.id.map(Into::into),
            method: self.method,
            headers: self.headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            body: self.body.map(Into::into),
            body_file: self.body_file.map(Into::into),
            out: self.out.map(Into::into),
            etag: self.etag.map(Into::into),
            last_modified: self.last_modified.map(Into::into),
            sha256: self.sha256,
            timeout: self.timeout.map(|span| if span.is_zero() { Nanos::MAX } else { span.into() }),
            meta: self.meta.map(Into::into),
            meta_dropped: false,
        };
        (self.url, ask)
    }
}
