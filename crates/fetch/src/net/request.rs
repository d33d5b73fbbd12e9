//! Builds the request of a row from the settings of the run and of the row, without what a redirect forbids. It is a
//! structure until the protocol of its connection writes it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use overlapped_proto::base64;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::{Ask, Job, Method};
use overlapped_proto::netrc::Netrc;
use overlapped_proto::origin::Scheme;
use overlapped_proto::outcome::Failure;
use overlapped_proto::request::{BodyLength, Field, RawField, RequestHead};
use overlapped_proto::{cookie, header, redirect};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

use super::upload::Upload;
use crate::config::{self, HostConfig};
use crate::error::Error;
use crate::fs::UploadFile;

/// A request. It borrows from the run and from the row, and can be sent again on another connection, unless its body is
/// uploaded as it is produced.
pub(crate) struct Request<'a> {
    pub(crate) head: RequestHead<'a>,
    pub(crate) body: Bytes,
    /// The body, if it is produced while it is sent.
    pub(crate) upload: Option<Box<Upload>>,
}

/// A request that is sent as it is, to the origin of a URL.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) method: Method,
    /// The target of the request line.
    pub(crate) target: Box<str>,
    pub(crate) fields: Arc<[RawField]>,
    pub(crate) body: Bytes,
}

impl Prepared {
    /// The request of an attempt, whose body is `upload`, if there is one.
    pub(crate) fn build<'a>(
        &'a self,
        job: &'a Job,
        upload: Option<BodyLength>,
    ) -> Result<Request<'a>, Failure> {
        let scheme = scheme(&job.url)?;
        let authority = &job.url[Position::BeforeHost..Position::AfterPort];
        let head = RequestHead::as_it_is(&self.method, scheme, authority, &self.target, &self.fields)?;
        let given = upload.unwrap_or(BodyLength::Known(self.body.len() as u64));
        if head.body() != given {
            let message = "the headers of the request do not announce the body that it has";
            return Err(Failure::new(ErrorKind::InputHeader, message));
        }
        Ok(Request { head, body: self.body.clone(), upload: None })
    }
}

/// The part that all requests of a run share, checked once.
#[derive(Debug)]
pub(crate) struct Template {
    method: Method,
    shared: Shared,
    /// Those of hosts that have fields of their own.
    hosts: HashMap<Box<str>, Shared>,
    body: Option<Bytes>,
    body_file: Option<UploadFile>,
    netrc: Option<Arc<Netrc>>,
}

/// The header fields of all requests to a host.
#[derive(Debug)]
struct Shared {
    fields: Fields,
    /// The subset of `fields` that may be sent to another origin after a redirect.
    harmless: Fields,
    /// True if that leaves out more than a `Host`, which is no secret.
    has_secret: bool,
}

impl Shared {
    fn new(fields: Fields) -> Self {
        let mut harmless = fields.clone();
        harmless.0.retain(|(name, _)| redirect::harmless(name));
        let has_secret = fields.0.iter().filter(|(name, _)| **name != *"host").count() > harmless.0.len();
        Self { fields, harmless, has_secret }
    }
}

/// A file whose content is the body of a request.
pub(crate) enum BodyFile<'a> {
    /// That of all rows.
    Open(&'a UploadFile),
    /// That of a row, by its path beneath the directory that the run allows.
    Named(&'a str),
}

impl Template {
    pub(crate) fn new(request: &config::Request, hosts: &[HostConfig]) -> Result<Self, Error> {
        let mut fields = Fields::default();
        fields.set("user-agent", concat!("overlapped/", env!("CARGO_PKG_VERSION")));
        fields.set("accept", "*/*");
        if request.compressed {
            fields.set("accept-encoding", "gzip, deflate, br, zstd");
        }
        fields.give_all(request.user.as_ref(), request.bearer.as_deref(), &request.headers)?;
        let of_host = |host: &HostConfig| {
            let mut fields = fields.clone();
            fields.give_all(host.user.as_ref(), host.bearer.as_deref(), &host.headers)?;
            Ok((Box::from(&*host.name), Shared::new(fields)))
        };
        let hosts = hosts.iter().map(of_host).collect::<Result<_, Error>>()?;
        if request.body.is_some() && request.body_file.is_some() {
            return Err(Error::config("request: body and body_file are two bodies"));
        }
        Ok(Self {
            method: request.method.clone(),
            shared: Shared::new(fields),
            hosts,
            body: request.body.clone(),
            body_file: request.body_file.clone(),
            netrc: request.netrc.clone(),
        })
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

    /// The file that all rows send.
    pub(crate) fn body_file(&self) -> Option<&UploadFile> {
        self.body_file.as_ref()
    }

    /// The file that the next attempt sends.
    pub(crate) fn body_file_of<'a>(&'a self, job: &'a Job) -> Option<BodyFile<'a>> {
        match job.ask.as_deref() {
            _ if job.became_get => None,
            Some(Ask { body_file: Some(path), .. }) => Some(BodyFile::Named(path)),
            Some(ask) if ask.body.is_some() => None,
            Some(_) | None => self.body_file.as_ref().map(BodyFile::Open),
        }
    }

    /// What the next attempt sends, for the redirect policy.
    pub(crate) fn sent<'a>(&'a self, job: &'a Job) -> redirect::Sent<'a> {
        let ask = job.ask.as_deref();
        let has_body = self.body.is_some() || self.body_file.is_some() || ask.is_some_and(Ask::has_body);
        let body = !job.became_get && has_body;
        let secret = !job.crossed_origin
            && (has_userinfo(&job.url)
                || self.shared(job).has_secret
                || self.entry(job).is_some()
                || ask.is_some_and(|ask| ask.headers.iter().any(|(name, _)| !redirect::harmless(name))));
        redirect::Sent { method: self.method_now(job), body, secret }
    }

    /// The fields of the host that a row asks now.
    fn shared(&self, job: &Job) -> &Shared {
        if self.hosts.is_empty() {
            return &self.shared;
        }
        let host = job.url.host_str().unwrap_or_default();
        self.hosts.get(host.strip_suffix('.').unwrap_or(host)).unwrap_or(&self.shared)
    }

    /// What the netrc file has for a row, for the user of its URL if that names one. A password in the URL takes precedence.
    fn entry(&self, job: &Job) -> Option<(&str, &str)> {
        let netrc = self.netrc.as_deref().filter(|_| !job.crossed_origin && job.url.password().is_none())?;
        let user = percent_decode_str(job.url.username()).decode_utf8_lossy();
        netrc.find(job.url.host_str()?, Some(&*user).filter(|user| !user.is_empty()))
    }

    /// The request of the next attempt, with cookies. Its body is `upload`, if there is one and no redirect has made it a GET.
    pub(crate) fn build<'a>(
        &'a self,
        job: &'a Job,
        cookies: Cookies,
        upload: Option<BodyLength>,
    ) -> Result<Request<'a>, Failure> {
        let shared = self.shared(job);
        let mut fields = Cow::Borrowed(if job.crossed_origin { &shared.harmless } else { &shared.fields });
        if has_userinfo(&job.url) && !job.crossed_origin {
            fields.to_mut().set("authorization", userinfo(&job.url));
        }
        if let Some((user, password)) = self.entry(job)
            && (!fields.has("authorization") || is_user_alone(&job.url))
        {
            fields.to_mut().set("authorization", basic(user, password));
        }
        let mut body = self.body.clone();
        if let Some(ask) = job.ask.as_deref() {
            apply(ask, job, &mut fields)?;
            if ask.has_body() {
                body = ask.body.as_deref().map(Bytes::copy_from_slice);
            }
        }
        if job.became_get {
            body = None;
            fields.to_mut().0.retain(|(name, _)| redirect::may_send(name, job));
        }
        let cookie = match cookies {
            Cookies::None => None,
            Cookies::Instead(_) if fields.has("cookie") => None,
            Cookies::Instead(value) => Some(value),
            Cookies::Beside(value) => {
                let own: Vec<_> = fields.all("cookie").collect();
                Some(if own.is_empty() { value } else { cookie::merged(&value, &own.join("; ")) })
            }
        };
        if cookie.is_some() && fields.has("cookie") {
            fields.to_mut().remove("cookie");
        }
        let body = body.unwrap_or_default();
        let length = upload.unwrap_or(BodyLength::Known(body.len() as u64));
        let fields: Cow<'_, [Field]> = match fields {
            Cow::Borrowed(fields) => (&*fields.0).into(),
            Cow::Owned(fields) => fields.0.into(),
        };
        let scheme = scheme(&job.url)?;
        let authority = &job.url[Position::BeforeHost..Position::AfterPort];
        let path = &job.url[Position::BeforePath..Position::AfterQuery];
        let mut head = RequestHead::new(self.method_now(job), scheme, authority, path, fields, length)?;
        if let Some(cookie) = cookie {
            head = head.with_cookie(cookie)?;
        }
        Ok(Request { head, body, upload: None })
    }
}

/// The cookies of a request, beside those that its caller has set.
pub(crate) enum Cookies {
    None,
    /// Only if the caller has set none: from a store of the caller.
    Instead(Vec<u8>),
    /// Together with the caller's, of which those that a site has replaced are left out.
    Beside(Vec<u8>),
}

/// Header fields, names in lower case. A `Host` among them was set by the caller.
#[derive(Clone, Default)]
struct Fields(Vec<Field>);

impl Fields {
    /// Sets a field, replacing those of the same name.
    fn set(&mut self, name: &str, value: impl Into<Box<str>>) {
        let at = self.0.iter().position(|(known, _)| **known == *name).unwrap_or(self.0.len());
        self.remove(name);
        self.0.insert(at, (name.into(), value.into()));
    }

    /// Sets credentials, then fields from outside.
    fn give_all(
        &mut self,
        user: Option<&(String, String)>,
        bearer: Option<&str>,
        headers: &[(String, String)],
    ) -> Result<(), Error> {
        if let Some((user, password)) = user {
            self.set("authorization", basic(user, password));
        }
        if let Some(token) = bearer {
            let field = [("authorization", &*format!("Bearer {token}"))];
            self.give(field.into_iter()).map_err(config_error)?;
        }
        self.give(headers.iter().map(|(name, value)| (&**name, &**value))).map_err(config_error)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| **known == *name)
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| **known != *name);
    }

    /// Adds fields from outside: the first of a name replaces what was there, an empty value removes it.
    fn give<'a>(&mut self, given: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Result<(), Failure> {
        for (at, (name, value)) in given.clone().enumerate() {
            header::check(name, value)?;
            let again = given.clone().take(at).any(|(before, _)| before.eq_ignore_ascii_case(name));
            let name = name.to_ascii_lowercase();
            // A request has exactly one Host.
            match (&*name, value) {
                ("host", "") => {}
                (_, "") => self.remove(&name),
                (other, _) if again && other != "host" => self.0.push((name.into(), value.into())),
                _ => self.set(&name, value),
            }
        }
        Ok(())
    }
}

/// Names only: values may be secret.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

fn apply(ask: &Ask, job: &Job, fields: &mut Cow<'_, Fields>) -> Result<(), Failure> {
    let own = ask.headers.iter().map(|(name, value)| (&**name, &**value));
    let mut own = own.filter(|(name, _)| redirect::may_send(name, job)).peekable();
    if own.peek().is_some() {
        fields.to_mut().give(own)?;
    }
    for (name, value) in [("if-none-match", &ask.etag), ("if-modified-since", &ask.last_modified)] {
        if let Some(value) = value {
            header::check(name, value)?;
            fields.to_mut().set(name, &**value);
        }
    }
    Ok(())
}

fn scheme(url: &Url) -> Result<Scheme, Failure> {
    Scheme::of(url).ok_or_else(|| Failure::new(ErrorKind::PolicyScheme, "the scheme is not http or https"))
}

fn config_error(failure: Failure) -> Error {
    Error::config(failure.message)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::encode(format!("{user}:{password}").as_bytes()))
}

fn is_user_alone(url: &Url) -> bool {
    !url.username().is_empty() && url.password().is_none()
}

fn has_userinfo(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn userinfo(url: &Url) -> String {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    basic(&decoded(url.username()), &decoded(url.password().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use overlapped_proto::http1::{TargetForm, write_request};
    use overlapped_proto::job::Row;

    use super::*;

    fn built(config: &config::Request, change: impl FnOnce(&mut Job)) -> Vec<String> {
        let mut job = Job::new(Row(0), Url::parse("http://u:p%40@a.example:81/x?y#z").unwrap());
        change(&mut job);
        let template = Template::new(config, &[]).unwrap();
        let mut head = Vec::new();
        write_request(
            &template.build(&job, Cookies::None, None).unwrap().head,
            TargetForm::Origin,
            &mut head,
        );
        String::from_utf8(head).unwrap().split_terminator("\r\n").map(str::to_owned).collect()
    }

    fn config() -> config::Request {
        let headers = [("X-Api-Key", "k"), ("Accept-Language", "de"), ("User-Agent", "x")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        config::Request { headers, ..config::Request::default() }
    }

    fn ask(headers: &[(&str, &str)]) -> Option<Box<Ask>> {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Some(Box::new(Ask { headers, ..Ask::default() }))
    }

    #[test]
    fn origin_form_host_and_userinfo() {
        let authorization = format!("authorization: Basic {}", base64::encode(b"u:p@"));
        let expected = [
            "GET /x?y HTTP/1.1",
            "host: a.example:81",
            "user-agent: x",
            "accept: */*",
            "accept-encoding: gzip, deflate, br, zstd",
            "x-api-key: k",
            "accept-language: de",
            &authorization,
            "",
        ];
        assert_eq!(built(&config(), |_| {}), expected);
    }

    #[test]
    fn a_row_changes_what_the_run_says() {
        let own = [
            ("Accept", ""),
            ("X-API-key", "1"),
            ("x-api-key", "2"),
            ("Host", "b"),
            ("host", "c"),
            ("HOST", ""),
        ];
        let lines = built(&config(), |job| job.ask = ask(&own));
        assert_eq!(
            lines[1..5],
            ["host: c", "user-agent: x", "accept-encoding: gzip, deflate, br, zstd", "x-api-key: 1"]
        );
        assert!(lines.contains(&"x-api-key: 2".to_owned()));
        assert!(!lines.iter().any(|line| line.starts_with("accept:")));
    }

    #[test]
    fn nothing_secret_crosses_an_origin() {
        let lines = built(&config(), |job| {
            job.crossed_origin = true;
            job.ask = ask(&[("Cookie", "a=1"), ("Accept", "x/y"), ("Host", "b")]);
        });
        let expected = [
            "GET /x?y HTTP/1.1",
            "host: a.example:81",
            "user-agent: x",
            "accept: x/y",
            "accept-encoding: gzip, deflate, br, zstd",
            "accept-language: de",
            "",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn headers_that_would_break_the_message_are_refused() {
        for (name, value) in [("Content-Length", "1"), ("a b", "1"), ("x", "1\r\ny: 2"), ("x", "\0")] {
            let headers = vec![(name.to_owned(), value.to_owned())];
            let refused = Template::new(&config::Request { headers, ..config::Request::default() }, &[]);
            assert!(refused.is_err(), "{name}: {value:?}");
        }
    }

    #[test]
    fn nothing_secret_is_in_a_debug_print() {
        let bearer = config::Request { bearer: Some("hidden".to_owned()), ..config() };
        let template = Template::new(&bearer, &[]).unwrap();
        assert!(!format!("{template:?}").contains("hidden"));
        let job = Job::new(Row(0), Url::parse("http://me:hidden@a.example/?token=hidden").unwrap());
        assert!(!format!("{:?}", template.build(&job, Cookies::None, None).unwrap().head).contains("hidden"));
    }

    #[test]
    fn a_site_replaces_the_cookies_of_the_caller() {
        let check = |own: &[(&str, &str)], cookies, expected: &[&str]| {
            let mut job = Job::new(Row(0), Url::parse("http://a.example/").unwrap());
            job.ask = ask(own);
            let template = Template::new(&config::Request::default(), &[]).unwrap();
            let request = template.build(&job, cookies, None).unwrap();
            let sent: Vec<_> = request.head.fields().filter(|(name, _)| *name == "cookie").collect();
            let expected: Vec<_> = expected.iter().map(|value| ("cookie", value.as_bytes())).collect();
            assert_eq!(sent, expected);
        };
        let own = [("Cookie", "a=1; b=2"), ("cookie", "c=3")];
        check(&own, Cookies::None, &["a=1; b=2", "c=3"]);
        check(&own, Cookies::Instead(b"d=4".to_vec()), &["a=1; b=2", "c=3"]);
        check(&own, Cookies::Beside(b"b=5; d=4".to_vec()), &["b=5; d=4; a=1; c=3"]);
        check(&[], Cookies::Beside(b"b=5".to_vec()), &["b=5"]);
        check(&[], Cookies::Instead(b"b=5".to_vec()), &["b=5"]);
    }
}
