//! Builds a single request, for the asynchronous and for the blocking client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use overlapped_proto::base64;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::{Ask, Job, Method};
use overlapped_proto::outcome::Failure;
use overlapped_proto::proxy::Proxy;
use overlapped_proto::time::Nanos;
use serde::Serialize;
use url::form_urlencoded;

use super::Client;
use super::body::{Payload, RequestBody};
use super::core::{Call, Core, Settings};
use super::error::RequestError;
use super::response::Response;
use super::tls::Tls;
use crate::config::Http;
use crate::net::request::Prepared;

/// A request that is being built. `C` is the client that makes it: [`Client`] or [`blocking::Client`](super::blocking::Client).
///
/// `send` returns the error of an argument that is not valid.
#[must_use = "a request is made by `send`"]
pub struct RequestBuilder<C> {
    client: C,
    /// Boxed, since each method moves the builder.
    draft: Box<Draft>,
}

/// A request as far as it is built.
struct Draft {
    url: String,
    ask: Ask,
    query: String,
    body: Option<RequestBody>,
    settings: Settings,
    prepared: Option<AsItIs>,
    /// The first thing that is wrong with it.
    wrong: Option<Failure>,
}

/// What a prepared request has instead of the fields that are built.
struct AsItIs {
    target: Option<String>,
    headers: RawHeaders,
}

/// Header fields that are sent as they are. Requests may share them.
pub type RawHeaders = Arc<[(Box<str>, Box<[u8]>)]>;

/// A request that is sent as it is.
#[derive(Clone)]
pub struct PreparedRequest {
    /// The method.
    pub method: Method,
    /// The URL, which determines where to connect.
    pub url: String,
    /// The target of the request line; `None`: the path and query of the URL, in its normal form.
    pub target: Option<String>,
    /// The header fields, in their order and case. A body must be announced: by a `Content-Length` of its length, or by
    /// `Transfer-Encoding: chunked` for one whose length is not known. There should be a `Host`.
    pub headers: RawHeaders,
}

impl PreparedRequest {
    /// A GET without any header fields.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { method: Method::Get, url: url.into(), target: None, headers: Arc::default() }
    }
}

impl<C> RequestBuilder<C> {
    pub(super) fn new(client: C, core: &Core, method: Method, url: String) -> Self {
        let draft = Draft {
            url,
            ask: Ask { method: Some(method), ..Ask::default() },
            query: String::new(),
            body: None,
            settings: core.settings(),
            prepared: None,
            wrong: None,
        };
        Self { client, draft: Box::new(draft) }
    }

    pub(super) fn prepared(client: C, core: &Core, request: PreparedRequest) -> Self {
        let PreparedRequest { method, url, target, headers } = request;
        let mut builder = Self::new(client, core, method, url);
        builder.draft.settings.redirect.max = None;
        builder.draft.prepared = Some(AsItIs { target, headers });
        builder
    }

    /// Adds a header field. The first of a name replaces a default of the client, further ones of that name are added, and an
    /// empty value removes the default.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if self.draft.prepared.is_some() {
            let message = "a prepared request has the header fields that it was prepared with";
            self.refuse(Failure::new(ErrorKind::InputHeader, message));
        }
        self.draft.ask.headers.push((name.into().into(), value.into().into()));
        self
    }

    /// Adds parameters to the query of the URL.
    pub fn query<N: AsRef<str>, V: AsRef<str>>(
        mut self,
        parameters: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        push_form(&mut self.draft.query, parameters);
        self
    }

    /// Authorization by user name and password. It is sent to the origin of the URL only.
    pub fn basic_auth(self, user: &str, password: Option<&str>) -> Self {
        let text = format!("{user}:{}", password.unwrap_or_default());
        self.header("authorization", format!("Basic {}", base64::encode(text.as_bytes())))
    }

    /// Authorization by a token. It is sent to the origin of the URL only.
    pub fn bearer_auth(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Sends the request through this proxy, a URL as in [`Proxies`](crate::Proxies), whatever the client's settings say.
    pub fn proxy(mut self, proxy: &str) -> Self {
        match Proxy::parse(proxy) {
            Ok(proxy) => self.draft.settings.proxy = Some(Some(Arc::new(proxy))),
            Err(invalid) => self.refuse(Failure::new(ErrorKind::ProxyUnreachable, invalid.to_string())),
        }
        self
    }

    /// Sends the request through no proxy.
    pub fn no_proxy(mut self) -> Self {
        self.draft.settings.proxy = Some(None);
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<RequestBody>) -> Self {
        self.draft.body = Some(body.into());
        self
    }

    /// Sets the body to `value` as JSON, and its `Content-Type` unless a header has set that.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => self.body(json).content_type("application/json"),
            Err(error) => {
                self.refuse(Failure::new(
                    ErrorKind::InputBody,
                    format!("it cannot be written as JSON: {error}"),
                ));
                self
            }
        }
    }

    /// Sets the body to the fields of a form, and its `Content-Type` unless a header has set that.
    pub fn form<N: AsRef<str>, V: AsRef<str>>(self, fields: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut form = String::new();
        push_form(&mut form, fields);
        self.body(form).content_type("application/x-www-form-urlencoded")
    }

    fn content_type(self, value: &str) -> Self {
        let is_set = self.draft.ask.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if is_set { self } else { self.header("content-type", value) }
    }

    /// The limit for the whole request: its redirects, retries and the reading of its body. Zero is no limit.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.draft.settings.timeouts.total = (!limit.is_zero()).then(|| limit.into());
        self
    }

    /// The limit for each of name resolution, opening the connection and the TLS handshake. Zero is no limit.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        let limit: Option<Nanos> = (!limit.is_zero()).then(|| limit.into());
        let timeouts = &mut self.draft.settings.timeouts;
        (timeouts.dns, timeouts.connect, timeouts.tls) = (limit, limit, limit);
        self
    }

    /// How long nothing may come from the server: from the request to the head of the response, and then in the body. Zero is
    /// no limit.
    pub fn read_timeout(mut self, limit: Duration) -> Self {
        let limit: Option<Nanos> = (!limit.is_zero()).then(|| limit.into());
        let timeouts = &mut self.draft.settings.timeouts;
        (timeouts.first_byte, timeouts.speed) = (limit, limit.map(|limit| (0, limit)));
        self
    }

    /// How many redirects are followed; 0: none, a redirect is the response.
    pub fn max_redirects(mut self, redirects: u16) -> Self {
        if self.draft.prepared.is_none() {
            self.draft.settings.redirect.max = (redirects > 0).then_some(redirects);
        }
        self
    }

    /// How often it is retried after the first attempt, where that is safe: a failure that may pass, or a status such as 503,
    /// and a method that may be repeated, unless no connection was opened.
    pub fn retries(mut self, retries: u16) -> Self {
        self.draft.settings.retries = Some(retries);
        self
    }

    /// Whether the content codings of the body are removed. Without it the body is as it came.
    pub fn decode(mut self, decodes: bool) -> Self {
        self.draft.settings.decodes = decodes;
        self
    }

    /// The largest body, decoded.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.draft.settings.max_bytes = bytes;
        self
    }

    /// Keep the bytes of the response's head ([`ResponseHead::raw_head`](super::ResponseHead::raw_head)).
    ///
    /// ```
    /// # let server = overlapped_testkit::Server::start();
    /// # let url = server.url("/ok");
    /// # let client = overlapped_fetch::blocking::Client::new(Default::default())?;
    /// let response = client.get(url).raw_head().send()?;
    /// assert!(response.raw_head().starts_with(b"HTTP/1.1 200 "));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn raw_head(mut self) -> Self {
        self.draft.settings.raw_head = true;
        self
    }

    /// The versions of HTTP for this request, whatever the client's settings say. Connections are shared only by requests that may
    /// speak the same.
    pub fn http(mut self, http: Http) -> Self {
        self.draft.settings.http = http;
        self
    }

    /// Settings of TLS instead of the client's: which certificates are trusted, if any are verified, and a client certificate.
    /// Connections are shared only by requests with the same.
    pub fn tls(mut self, tls: &Tls) -> Self {
        self.draft.settings.tls = Some(tls.clone());
        self
    }

    pub(super) fn client(&self) -> &C {
        &self.client
    }

    fn refuse(&mut self, failure: Failure) {
        self.draft.wrong.get_or_insert(failure);
    }

    /// Makes the request, in the current runtime.
    pub(super) async fn perform(self, core: Arc<Core>) -> Result<Response, RequestError> {
        let (mut job, mut call) = self.into_call(&core)?;
        let mut alarm = core.alarm();
        match core.call(&mut job, &mut call, &mut alarm).await {
            Ok(outcome) => Response::new(core, job, call, outcome, alarm),
            Err(failure) => Err(RequestError::new(failure, Some(job.url.as_str()), None)),
        }
    }

    fn into_call(self, core: &Core) -> Result<(Job, Call), RequestError> {
        let Draft { url, mut ask, query, body, settings, prepared, wrong } = *self.draft;
        let mut upload = None;
        let mut prepared_body = bytes::Bytes::new();
        match body.map(|body| body.0) {
            Some(Payload::Bytes(bytes)) if prepared.is_some() => prepared_body = bytes,
            Some(Payload::Bytes(bytes)) => ask.body = Some(bytes.to_vec().into()),
            Some(Payload::Upload(body)) => upload = Some(body),
            None => {}
        }
        let made = match wrong {
            Some(failure) => Err(failure),
            None => core.job(core.number(), url.trim(), ask).map_err(|bad| bad.failure),
        };
        let mut job: Job = made.map_err(|failure| RequestError::new(failure, Some(&url), None))?;
        if !query.is_empty() {
            let all =
                job.url.query().filter(|query| !query.is_empty()).map(|before| format!("{before}&{query}"));
            job.url.set_query(Some(&all.unwrap_or(query)));
        }
        let path = &job.url[url::Position::BeforePath..url::Position::AfterQuery];
        let prepared = prepared.map(|AsItIs { target, headers }| Prepared {
            method: job.ask.as_deref().and_then(|ask| ask.method.clone()).unwrap_or_default(),
            target: target.as_deref().unwrap_or(path).into(),
            fields: headers,
            body: prepared_body,
        });
        let uploads = upload.is_some();
        Ok((job, Call { settings, prepared, uploads, upload, redirects: Vec::new() }))
    }
}

impl RequestBuilder<Client> {
    /// Makes the request, and waits for the head of the response.
    ///
    /// # Errors
    ///
    /// The request is not valid, or has no response. A status is no error.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the request is given up: its connection is closed, or its stream of HTTP/2 reset. No other request
    /// is affected.
    pub async fn send(self) -> Result<Response, RequestError> {
        let core = Arc::clone(&self.client.core);
        // Boxed, since it is large and what is built around it is moved several times.
        let performed = Box::pin(self.perform(Arc::clone(&core)));
        core.in_runtime(performed).await
    }
}

fn push_form<N: AsRef<str>, V: AsRef<str>>(text: &mut String, pairs: impl IntoIterator<Item = (N, V)>) {
    let mut form = form_urlencoded::Serializer::for_suffix(std::mem::take(text), 0);
    form.extend_pairs(pairs);
    *text = form.finish();
}

/// Names only: values may be secret.
impl<C> fmt::Debug for RequestBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.draft.ask.headers.iter().map(|(name, _)| name).collect();
        let url = overlapped_proto::sanitize::shown(&self.draft.url);
        let mut shown = f.debug_struct("RequestBuilder");
        shown
            .field("method", &self.draft.ask.method)
            .field("url", &url)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PreparedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        let url = overlapped_proto::sanitize::shown(&self.url);
        let mut shown = f.debug_struct("PreparedRequest");
        shown
            .field("method", &self.method)
            .field("url", &url)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}
