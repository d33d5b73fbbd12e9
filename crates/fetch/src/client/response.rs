//! The response to a single request: its head, how it came, and its body, which is read when the caller wants it.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::Job;
use overlapped_proto::limits;
use overlapped_proto::notes::Notes;
use overlapped_proto::outcome::Failure;
use overlapped_proto::record::{Headers, HttpVersion};
use overlapped_proto::timing::Timing;
use serde::de::DeserializeOwned;

use super::core::{Call, Core, Redirect};
use super::error::RequestError;
use super::incoming::Reading;
use super::text;
use crate::body::decode::Decoder;
use crate::engine::outcome::Outcome;
use crate::net::alarm::Alarm;

/// A response whose head has come. It derefs to its [`ResponseHead`].
///
/// Dropping it before the body was read to its end closes its connection, or resets its stream of HTTP/2.
pub struct Response {
    /// Boxed, since a response is moved often.
    parts: Box<Parts>,
}

struct Parts {
    head: ResponseHead,
    core: Arc<Core>,
    reading: Reading,
}

/// The head of a response, and how it came.
pub struct ResponseHead {
    status: u16,
    version: HttpVersion,
    headers: Headers,
    raw_head: Bytes,
    notes: Notes,
    final_url: String,
    history: Vec<Hop>,
    timings: Timings,
    remote: Option<SocketAddr>,
    reused: bool,
    attempts: u16,
}

/// A redirect that was followed.
#[derive(Clone, Debug)]
pub struct Hop {
    /// The URL that answered with the redirect.
    pub url: String,
    /// Its status.
    pub status: u16,
    /// Its header fields, in the order and case of the wire.
    pub headers: Headers,
    /// The phases of its request.
    pub timings: Timings,
    /// The address that answered.
    pub remote: Option<SocketAddr>,
}

/// How long the phases of a request took. `None`: the phase did not happen, or is not over.
///
/// ```
/// # let server = overlapped_testkit::Server::start();
/// # let url = server.url("/ok?delay_ms=20");
/// # let client = overlapped_fetch::blocking::Client::new(Default::default())?;
/// let response = client.get(url).send()?;
/// let timings = response.timings();
/// assert!(timings.wait.is_some_and(|wait| wait.as_millis() >= 20));
/// assert!(timings.total() >= timings.wait.unwrap_or_default());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Resolving the name.
    pub dns: Option<Duration>,
    /// Opening the connection, without TLS.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// Sending the request.
    pub send: Option<Duration>,
    /// From the end of the request to the head of the response.
    pub wait: Option<Duration>,
    /// From the head of the response to the end of its body.
    pub receive: Option<Duration>,
}

impl Timings {
    /// The sum of the phases.
    #[must_use]
    pub fn total(&self) -> Duration {
        let Self { dns, connect, tls, send, wait, receive } = self;
        [dns, connect, tls, send, wait, receive].into_iter().flatten().sum()
    }
}

impl From<Timing> for Timings {
    fn from(timing: Timing) -> Self {
        let Timing { blocked: _, dns, connect, tls, send, wait, receive } = timing;
        Self {
            dns: dns.map(Into::into),
            connect: connect.map(Into::into),
            tls: tls.map(Into::into),
            send: send.map(Into::into),
            wait: wait.map(Into::into),
            receive: receive.map(Into::into),
        }
    }
}

impl From<Redirect> for Hop {
    fn from(Redirect { url, outcome }: Redirect) -> Self {
        let timings = outcome.watch.timing().into();
        let Outcome { status, headers, wire, .. } = *outcome;
        let status = status.expect("a redirect has a status");
        Self { url, status, headers, timings, remote: wire.remote }
    }
}

impl ResponseHead {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The version of HTTP.
    #[must_use]
    pub fn version(&self) -> HttpVersion {
        self.version
    }

    /// The header fields, in the order and case of the wire. Over HTTP/2 all names are in lower case, and fields of the same name
    /// stand together.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The first value of a header field, whatever the case of its name, if it is UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.first(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The bytes of the head as they came, if the settings ask for them
    /// ([`RequestBuilder::raw_head`](super::RequestBuilder::raw_head)); else, and over HTTP/2, empty.
    #[must_use]
    pub fn raw_head(&self) -> &Bytes {
        &self.raw_head
    }

    /// The departures from a standard that were accepted.
    #[must_use]
    pub fn notes(&self) -> Notes {
        self.notes
    }

    /// The URL that was asked last: where redirects led.
    #[must_use]
    pub fn final_url(&self) -> &str {
        &self.final_url
    }

    /// The redirects that were followed.
    #[must_use]
    pub fn history(&self) -> &[Hop] {
        &self.history
    }

    /// The phases of the last request.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// The address that answered.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// True if an earlier request has opened the connection.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Attempts started, over all redirects.
    #[must_use]
    pub fn attempts(&self) -> u16 {
        self.attempts
    }

    fn check_status(&self) -> Result<(), RequestError> {
        if self.status < 400 {
            return Ok(());
        }
        let status = http::StatusCode::from_u16(self.status).ok();
        let reason = status.and_then(|status| status.canonical_reason()).unwrap_or_default();
        let message = format!("{} {reason}", self.status);
        let failure = Failure::new(ErrorKind::Status, message.trim_end());
        Err(RequestError::new(failure, Some(&self.final_url), Some(self.status)))
    }
}

impl Response {
    pub(super) fn new(
        core: Arc<Core>,
        job: Job,
        call: Call,
        outcome: Box<Outcome>,
        alarm: Alarm,
    ) -> Result<Self, RequestError> {
        let (final_url, settings) = (String::from(job.url), call.settings);
        let failed = |failure, status| RequestError::new(failure, Some(&final_url), status);
        let timings = outcome.watch.timing().into();
        let Outcome { failure, status, headers, raw_head, notes, incoming, wire, .. } = *outcome;
        let (incoming, status, version) = match (failure, incoming, status, wire.http_version) {
            (None, Some(incoming), Some(status), Some(version)) => (incoming, status, version),
            (Some(failure), ..) => return Err(failed(failure, status)),
            (None, ..) => return Err(failed(Failure::new(ErrorKind::Internal, "no response"), status)),
        };
        // A range of an encoded body cannot be decoded.
        let decodes = settings.decodes && status != 206;
        let codings = || headers.all("content-encoding");
        let decoder = if decodes { Decoder::new(codings(), settings.max_bytes) } else { Ok(None) };
        let decoder = decoder.map_err(|failure| failed(failure, Some(status)))?;
        let reading = Reading::new(incoming, decoder, settings.timeouts, settings.max_bytes, alarm, &core);
        let head = ResponseHead {
            status,
            version,
            headers,
            raw_head,
            notes,
            final_url,
            history: call.redirects.into_iter().map(Into::into).collect(),
            timings,
            remote: wire.remote,
            reused: wire.reused.unwrap_or_default(),
            attempts: job.attempts,
        };
        Ok(Self { parts: Box::new(Parts { head, core, reading }) })
    }

    /// The next piece of the body, decoded, or `None` at its end.
    ///
    /// # Errors
    ///
    /// The body does not come whole, comes too slowly, or is larger than the limits.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection is closed or the stream reset, and every later read fails.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        if let Some(rest) = self.arrived() {
            return rest.map(|rest| (!rest.is_empty()).then_some(rest));
        }
        let core = Arc::clone(&self.parts.core);
        core.in_runtime(Box::pin(self.next())).await
    }

    /// The next piece, in the current runtime.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, RequestError> {
        let was_open = self.parts.reading.ended.is_none();
        let next = self.parts.reading.next(&self.parts.core).await;
        if let Some(ended) = self.parts.reading.ended.filter(|_| was_open) {
            self.parts.head.timings.receive = Some((ended - self.parts.reading.began).into());
        }
        next.map_err(|failure| self.failed(failure))
    }

    /// How many bytes of the body are still to be taken, if that is known: it is not where the body is decoded, comes in
    /// chunks, or ends with its connection.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        self.parts.reading.bytes_left()
    }

    /// True if all of the body has come: taking the rest of it waits for nothing.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        self.parts.reading.ended.is_some()
    }

    /// The body.
    ///
    /// # Errors
    ///
    /// As [`Response::chunk`].
    pub async fn bytes(mut self) -> Result<Bytes, RequestError> {
        self.rest().await
    }

    async fn rest(&mut self) -> Result<Bytes, RequestError> {
        if let Some(rest) = self.arrived() {
            return rest;
        }
        let core = Arc::clone(&self.parts.core);
        // Boxed, since it is large and most small bodies have come with their heads.
        core.in_runtime(Box::pin(self.all())).await
    }

    /// The rest of the body, if it is there: there is nothing to wait for.
    pub(super) fn arrived(&mut self) -> Option<Result<Bytes, RequestError>> {
        let arrived = self.parts.reading.arrived()?;
        Some(arrived.map_err(|failure| self.failed(failure)))
    }

    /// The rest of the body, in the current runtime.
    pub(super) async fn all(&mut self) -> Result<Bytes, RequestError> {
        let expected = self.parts.reading.bytes_left().and_then(|bytes| usize::try_from(bytes).ok());
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut all = Vec::with_capacity(expected.unwrap_or(0).min(limits::BODY_HELD_BYTES_MAX));
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(piece) = self.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }

    /// The body as text. A byte order mark decides its charset, else the `Content-Type`, else it is UTF-8; what is not valid
    /// in it becomes U+FFFD.
    ///
    /// # Errors
    ///
    /// As [`Response::chunk`].
    pub async fn text(mut self) -> Result<String, RequestError> {
        let body = self.rest().await?;
        Ok(self.text_of(&body))
    }

    pub(super) fn text_of(&self, body: &[u8]) -> String {
        text::decode(body, self.headers.first("content-type"))
    }

    /// The body, parsed as JSON.
    ///
    /// # Errors
    ///
    /// As [`Response::chunk`]; or `input.format`: the body is not JSON, or not of this type.
    pub async fn json<T: DeserializeOwned>(mut self) -> Result<T, RequestError> {
        let body = self.rest().await?;
        self.json_of(&body)
    }

    pub(super) fn json_of<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, RequestError> {
        serde_json::from_slice(body).map_err(|error| {
            self.failed(Failure::new(
                ErrorKind::InputFormat,
                format!("the body is not the expected JSON: {error}"),
            ))
        })
    }

    /// The body as a stream of pieces, which ends with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, RequestError>> + Send {
        futures_util::stream::unfold(Some(self), |response: Option<Self>| async move {
            let mut response = response?;
            match response.chunk().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(response))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// This response, or an error if its status is 400 or above.
    ///
    /// # Errors
    ///
    /// `status`.
    pub fn error_for_status(self) -> Result<Self, RequestError> {
        self.check_status().map(|()| self)
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.parts.core
    }

    pub(super) fn failed(&self, failure: Failure) -> RequestError {
        RequestError::new(failure, Some(&self.final_url), Some(self.status))
    }
}

impl Deref for Response {
    type Target = ResponseHead;

    fn deref(&self) -> &ResponseHead {
        &self.parts.head
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = overlapped_proto::sanitize::shown(&self.final_url);
        let mut shown = f.debug_struct("Response");
        shown.field("status", &self.status).field("url", &url).field("version", &self.version);
        shown.field("headers", &self.headers).finish_non_exhaustive()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.head.fmt(f)
    }
}
