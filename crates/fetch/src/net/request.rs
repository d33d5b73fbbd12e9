//! From a row to the request that goes out: what the run says, what the row says, and what may not go along any more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH, USER_AGENT,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use http_body_util::Full;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::{Ask, Job, Method};
use overlapped_proto::outcome::Failure;
use overlapped_proto::{header, redirect};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

use super::exchange::Payload;
use crate::config;
use crate::error::Error;

/// What every request of a run says, checked and ready to be copied.
#[derive(Debug)]
pub(crate) struct Template {
    method: Method,
    /// `Host` stands first, to be filled in.
    headers: HeaderMap,
    /// What is left of `headers` once a redirect has led to another origin.
    harmless: HeaderMap,
    /// The caller has set `Host`, for the origin of the row's own URL.
    names_host: bool,
    body: Option<Bytes>,
}

impl Template {
    pub(crate) fn new(request: &config::Request) -> Result<Self, Error> {
        let mut headers = HeaderMap::new();
        let placeholder = HeaderValue::from_static("placeholder");
        headers.insert(HOST, placeholder.clone());
        let agent = concat!("overlapped/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if request.compressed {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, br, zstd"));
        }
        if let Some((user, password)) = &request.user {
            headers.insert(AUTHORIZATION, basic(user, password));
        }
        if let Some(token) = &request.bearer {
            headers.insert(AUTHORIZATION, secret(&format!("Bearer {token}")).map_err(Error::config)?);
        }
        add_given(&mut headers, request.headers.iter().map(|(n, v)| (&**n, &**v))).map_err(Error::config)?;
        let harmless = headers
            .iter()
            .filter(|(name, _)| **name == HOST || redirect::harmless(name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let names_host = headers.get(HOST) != Some(&placeholder);
        Ok(Self { method: request.method.clone(), headers, harmless, names_host, body: request.body.clone() })
    }

    /// The method of a row, before any redirect changed it.
    pub(crate) fn method<'a>(&'a self, job: &'a Job) -> &'a Method {
        let own = job.ask.as_deref().and_then(|ask| ask.method.as_ref());
        own.unwrap_or(&self.method)
    }

    /// The method of the next attempt.
    pub(crate) fn method_now<'a>(&'a self, job: &'a Job) -> &'a Method {
        if job.became_get { &Method::Get } else { self.method(job) }
    }

    /// What goes along with the next attempt, for a redirect to judge.
    pub(crate) fn sent<'a>(&'a self, job: &'a Job) -> redirect::Sent<'a> {
        let ask = job.ask.as_deref();
        let body = !job.became_get && (self.body.is_some() || ask.is_some_and(|ask| ask.body.is_some()));
        let secret = !job.crossed_origin
            && (has_userinfo(&job.url)
                || self.headers.len() > self.harmless.len()
                || ask.is_some_and(|ask| ask.headers.iter().any(|(name, _)| !redirect::harmless(name))));
        redirect::Sent { method: self.method_now(job), body, secret }
    }

    /// The request of the next attempt.
    pub(crate) fn build(&self, job: &Job, host: &HeaderValue) -> Result<http::Request<Payload>, Failure> {
        let mut headers = if job.crossed_origin { self.harmless.clone() } else { self.headers.clone() };
        if job.crossed_origin || !self.names_host {
            headers.insert(HOST, host.clone());
        }
        if has_userinfo(&job.url) && !job.crossed_origin {
            headers.insert(AUTHORIZATION, userinfo(&job.url));
        }
        let mut body = self.body.clone();
        if let Some(ask) = job.ask.as_deref() {
            apply(ask, job, &mut headers).map_err(|what| Failure::new(ErrorKind::InputHeader, what))?;
            if let Some(own) = &ask.body {
                body = Some(Bytes::copy_from_slice(own));
            }
        }
        if job.became_get {
            body = None;
            let about_body = |name: &&HeaderName| !redirect::may_send(name.as_str(), job) && **name != HOST;
            let lost: Vec<HeaderName> = headers.keys().filter(about_body).cloned().collect();
            for name in lost {
                headers.remove(name);
            }
        }
        let mut request = http::Request::new(body.map(Full::new).unwrap_or_default());
        *request.method_mut() = method(self.method_now(job))?;
        *request.uri_mut() = origin_form(&job.url)?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// The `Host` field of a URL.
pub(crate) fn host(url: &Url) -> Result<HeaderValue, Failure> {
    let invalid = || Failure::new(ErrorKind::InputUrl, "the URL's host cannot be sent");
    HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]).map_err(|_| invalid())
}

fn origin_form(url: &Url) -> Result<Uri, Failure> {
    let invalid = || Failure::new(ErrorKind::InputUrl, "the URL's path cannot be sent");
    let path = &url[Position::BeforePath..Position::AfterQuery];
    PathAndQuery::try_from(path).map(Uri::from).map_err(|_| invalid())
}

fn method(method: &Method) -> Result<http::Method, Failure> {
    if *method == Method::Get {
        return Ok(http::Method::GET);
    }
    http::Method::from_bytes(method.as_str().as_bytes())
        .map_err(|_| Failure::new(ErrorKind::InputFormat, format!("{method} is not a method")))
}

fn apply(ask: &Ask, job: &Job, headers: &mut HeaderMap) -> Result<(), String> {
    let own = ask.headers.iter().map(|(name, value)| (&**name, &**value));
    add_given(headers, own.filter(|(name, _)| redirect::may_send(name, job)))?;
    for (name, value) in [(IF_NONE_MATCH, &ask.etag), (IF_MODIFIED_SINCE, &ask.last_modified)] {
        if let Some(value) = value {
            headers.insert(name, value_of(value)?);
        }
    }
    Ok(())
}

/// Fields that somebody gave: the first of a name takes the place of what was there, an empty value removes it.
fn add_given<'a>(
    headers: &mut HeaderMap,
    given: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> Result<(), String> {
    for (at, (name, value)) in given.clone().enumerate() {
        let again = given.clone().take(at).any(|(before, _)| before.eq_ignore_ascii_case(name));
        let (name, value) = checked(name, value)?;
        if name == HOST {
            // A request has exactly one.
            if !value.is_empty() {
                headers.insert(name, value);
            }
        } else if value.is_empty() {
            headers.remove(name);
        } else if again {
            headers.append(name, value);
        } else {
            headers.insert(name, value);
        }
    }
    Ok(())
}

/// A field that a caller may set: not one that frames the message.
fn checked(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    header::check(name, value).map_err(|failure| failure.message.to_string())?;
    let parsed =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a header name"))?;
    Ok((parsed, value_of(value)?))
}

fn value_of(value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(value.as_bytes()).map_err(|_| "a header value has a control character".to_owned())
}

fn secret(value: &str) -> Result<HeaderValue, String> {
    let mut value = value_of(value)?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(user: &str, password: &str) -> HeaderValue {
    let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    secret(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn has_userinfo(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn userinfo(url: &Url) -> HeaderValue {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    basic(&decoded(url.username()), &decoded(url.password().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use overlapped_proto::job::Row;

    use super::*;

    fn built(config: &config::Request, change: impl FnOnce(&mut Job)) -> http::request::Parts {
        let mut job = Job::new(Row(0), Url::parse("http://u:p%40@a.example:81/x?y#z").unwrap());
        change(&mut job);
        let host = host(&job.url).unwrap();
        Template::new(config).unwrap().build(&job, &host).unwrap().into_parts().0
    }

    fn config() -> config::Request {
        let headers = [("X-Api-Key", "k"), ("Accept-Language", "de"), ("User-Agent", "x")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        config::Request { headers, ..config::Request::default() }
    }

    fn names(parts: &http::request::Parts) -> Vec<&str> {
        parts.headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn origin_form_host_and_userinfo() {
        let parts = built(&config(), |_| {});
        assert_eq!(parts.uri, "/x?y");
        assert_eq!(parts.headers[HOST], "a.example:81");
        assert_eq!(parts.headers[AUTHORIZATION], format!("Basic {}", STANDARD.encode("u:p@")));
        let expected = [
            "host",
            "user-agent",
            "accept",
            "accept-encoding",
            "x-api-key",
            "accept-language",
            "authorization",
        ];
        assert_eq!(names(&parts), expected);
    }

    #[test]
    fn nothing_secret_crosses_an_origin() {
        let parts = built(&config(), |job| {
            job.crossed_origin = true;
            let headers = vec![("Cookie".into(), "a=1".into()), ("Accept".into(), "x/y".into())];
            job.ask = Some(Box::new(Ask { headers, ..Ask::default() }));
        });
        assert_eq!(names(&parts), ["host", "user-agent", "accept", "accept-encoding", "accept-language"]);
    }

    #[test]
    fn headers_that_would_break_the_message_are_refused() {
        for (name, value) in [("Content-Length", "1"), ("a b", "1"), ("x", "1\r\ny: 2"), ("x", "\0")] {
            let headers = vec![(name.to_owned(), value.to_owned())];
            let refused = Template::new(&config::Request { headers, ..config::Request::default() });
            assert!(refused.is_err(), "{name}: {value:?}");
        }
    }
}
