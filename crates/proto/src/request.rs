//! The head of a request as a structure: what is asked for, independent of the version of HTTP that writes it.
//!
//! Its parts are validated when it is made, so that a row cannot smuggle a second request, in any version of HTTP.

use std::borrow::Cow;
use std::fmt;

use crate::error::ErrorKind;
use crate::header::{self, is_token};
use crate::job::Method;
use crate::origin::Scheme;
use crate::outcome::Failure;

/// A header field: its name in lower case, and its value.
pub type Field = (Box<str>, Box<str>);

/// A header field that is sent as it is: its name and its value.
pub type RawField = (Box<str>, Box<[u8]>);

/// The head of a request.
///
/// ```
/// use overlapped_proto::job::Method;
/// use overlapped_proto::origin::Scheme;
/// use overlapped_proto::request::RequestHead;
///
/// let head = |path| RequestHead::new(&Method::Get, Scheme::Http, "a.test:81", path, &[][..], 0);
/// assert_eq!(head("/x?y")?.host(), "a.test:81");
/// assert!(head("/ HTTP/1.1\r\nx: y").is_err());
/// # Ok::<(), overlapped_proto::outcome::Failure>(())
/// ```
#[derive(Clone)]
pub struct RequestHead<'a> {
    method: &'a Method,
    scheme: Scheme,
    authority: &'a str,
    path: &'a str,
    fields: Cow<'a, [Field]>,
    /// Sent behind `fields`, as its only `cookie`. A cookie may have any octets.
    cookie: Option<Box<[u8]>>,
    /// Sent instead of `fields`, and without any that are not among them.
    raw: Option<&'a [RawField]>,
    body: BodyLength,
}

/// How much of a body follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// This number of bytes.
    Known(u64),
    /// Any number, in chunks.
    Chunked,
}

impl From<u64> for BodyLength {
    fn from(bytes: u64) -> Self {
        Self::Known(bytes)
    }
}

impl<'a> RequestHead<'a> {
    /// The head of a request for `path`, with its query, at `authority`: host and port without user name and password. A
    /// `host` among `fields` is sent instead of `authority`.
    ///
    /// The fields must have passed [`header::check`], which also refuses those that frame a message.
    ///
    /// # Errors
    ///
    /// `input.format`: the method is not a token. `input.url`: the host or the path has a character that would end it early.
    pub fn new(
        method: &'a Method,
        scheme: Scheme,
        authority: &'a str,
        path: &'a str,
        fields: impl Into<Cow<'a, [Field]>>,
        body: impl Into<BodyLength>,
    ) -> Result<Self, Failure> {
        let (fields, body) = (fields.into(), body.into());
        let head = Self { method, scheme, authority, path, fields, cookie: None, raw: None, body };
        head.check(&[authority, head.host(), path])?;
        Ok(head)
    }

    /// The head of a request that is sent as it is: the target of its request line, and these fields, in their order and case
    /// and without any others. They say whether a body follows, and how long it is: a `Content-Length`,
    /// `Transfer-Encoding: chunked`, or neither for none.
    ///
    /// # Errors
    ///
    /// As [`RequestHead::new`]. `input.header`: a field would break the message apart, or the fields do not say clearly
    /// where the body ends.
    pub fn as_it_is(
        method: &'a Method,
        scheme: Scheme,
        authority: &'a str,
        target: &'a str,
        fields: &'a [RawField],
    ) -> Result<Self, Failure> {
        let body = framing_of(fields)?;
        let none: &[Field] = &[];
        let head = Self {
            method,
            scheme,
            authority,
            path: target,
            fields: none.into(),
            cookie: None,
            raw: Some(fields),
            body,
        };
        head.check(&[authority, target])?;
        Ok(head)
    }

    /// The same with a `Cookie` field, which is not among its fields yet.
    ///
    /// # Errors
    ///
    /// `input.header`: the value has a character that would end the line or the message.
    pub fn with_cookie(mut self, value: Vec<u8>) -> Result<Self, Failure> {
        header::check_raw("cookie", &value)?;
        self.cookie = Some(value.into());
        Ok(self)
    }

    fn check(&self, parts: &[&str]) -> Result<(), Failure> {
        let method = self.method;
        if let Method::Other(token) = method
            && (token.is_empty() || !token.bytes().all(is_token))
        {
            return Err(Failure::new(ErrorKind::InputFormat, format!("{method} is not a method")));
        }
        if !parts.iter().all(|part| is_visible(part)) {
            return Err(Failure::new(ErrorKind::InputUrl, "the URL cannot be sent in a request"));
        }
        Ok(())
    }

    /// The fields of a request that is sent as it is.
    #[must_use]
    pub const fn raw_fields(&self) -> Option<&'a [RawField]> {
        self.raw
    }

    /// How the body that follows is framed.
    #[must_use]
    pub const fn body(&self) -> BodyLength {
        self.body
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// The scheme of the URL.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host of the URL, with its port if it is not the default.
    #[must_use]
    pub const fn authority(&self) -> &'a str {
        self.authority
    }

    /// The path and query of the URL.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// The host that the request names to the server: that of the URL unless the caller has set another.
    #[must_use]
    pub fn host(&self) -> &str {
        self.fields.iter().find(|(name, _)| is_host(name)).map_or(self.authority, |(_, value)| value)
    }

    /// The header fields in their order, without `host` and those that frame the message.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let given = self.fields.iter().filter(|(name, _)| !is_host(name));
        let cookie = self.cookie.as_deref().map(|value| ("cookie", value));
        given.map(|(name, value)| (&**name, value.as_bytes())).chain(cookie)
    }

    /// The body to be announced, or `None` if there is none and its absence is not worth saying.
    #[must_use]
    pub fn body_length(&self) -> Option<BodyLength> {
        (self.body != BodyLength::Known(0) || has_body(self.method)).then_some(self.body)
    }
}

/// Names only: values may be secret, and so may a path.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.method, self.authority)?;
        let raw = self.raw.unwrap_or_default().iter().map(|(name, _)| name);
        f.debug_list().entries(self.fields.iter().map(|(name, _)| name).chain(raw)).finish()
    }
}

/// What the fields of a request say of its body.
fn framing_of(fields: &[RawField]) -> Result<BodyLength, Failure> {
    let mut found = None;
    for (name, value) in fields {
        header::check_raw(name, value)?;
        let says = if name.eq_ignore_ascii_case("content-length") {
            let digits =
                std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|digits| digits.parse().ok()).map(BodyLength::Known)
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            value.eq_ignore_ascii_case(b"chunked").then_some(BodyLength::Chunked)
        } else {
            continue;
        };
        if says.is_none() || found.is_some() {
            let message = format!("the header {name} does not say clearly where the body ends");
            return Err(Failure::new(ErrorKind::InputHeader, message));
        }
        found = says;
    }
    Ok(found.unwrap_or(BodyLength::Known(0)))
}

fn is_host(name: &str) -> bool {
    *name == *"host"
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// True for methods whose semantics anticipate a body; then `Content-Length: 0` is sent if there is none (RFC 9110,
/// section 8.6).
fn has_body(method: &Method) -> bool {
    match method {
        Method::Post | Method::Put | Method::Patch => true,
        Method::Get | Method::Head | Method::Delete | Method::Options | Method::Other(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Field {
        (name.into(), value.into())
    }

    #[test]
    fn what_would_be_two_requests_is_none() {
        for (path, host) in
            [("/a b", "a"), ("/\r\n", "a"), ("", "a"), ("/", "a\r\nx: y"), ("/", ""), ("/\0", "a")]
        {
            let check = |authority, fields: Vec<Field>| {
                let head = RequestHead::new(&Method::Get, Scheme::Http, authority, path, fields, 0);
                assert_eq!(head.unwrap_err().kind, ErrorKind::InputUrl, "{path:?} at {host:?}");
            };
            check(host, Vec::new());
            check("a", vec![field("host", host), field("host-of", "b")]);
        }
        for token in ["", "GET /", "A\r\nB"] {
            let method = Method::Other(token.into());
            let head = RequestHead::new(&method, Scheme::Http, "a", "/", Vec::new(), 0);
            assert_eq!(head.unwrap_err().kind, ErrorKind::InputFormat, "{token:?}");
        }
    }

    fn as_it_is(fields: &[(&str, &str)]) -> Result<BodyLength, ErrorKind> {
        let fields: Vec<RawField> =
            fields.iter().map(|(name, value)| ((*name).into(), value.as_bytes().into())).collect();
        let head = RequestHead::as_it_is(&Method::Post, Scheme::Http, "a", "/", &fields);
        head.map(|head| head.body()).map_err(|failure| failure.kind)
    }

    #[test]
    fn the_fields_of_a_request_that_is_sent_as_it_is_frame_it_in_one_way() {
        let check = |fields: &[(&str, &str)], expected| assert_eq!(as_it_is(fields), expected, "{fields:?}");
        let refused = Err(ErrorKind::InputHeader);
        check(&[("Host", "a"), ("Connection", "close")], Ok(BodyLength::Known(0)));
        check(&[("Content-Length", "12")], Ok(BodyLength::Known(12)));
        check(&[("transfer-encoding", "Chunked")], Ok(BodyLength::Chunked));
        check(&[("Content-Length", "1"), ("Content-Length", "1")], refused);
        check(&[("Content-Length", "1"), ("Transfer-Encoding", "chunked")], refused);
        for value in ["", "-1", "+1", "1, 1", "99999999999999999999", " 1"] {
            check(&[("Content-Length", value)], refused);
        }
        for value in ["", "gzip", "gzip, chunked", "chunked, chunked"] {
            check(&[("Transfer-Encoding", value)], refused);
        }
        check(&[("X", "a\r\nHost: b")], refused);
        check(&[("X Y", "a")], refused);
    }

    #[test]
    fn nothing_secret_is_in_a_debug_print() {
        let fields = vec![field("cookie", "hidden")];
        let head = RequestHead::new(&Method::Get, Scheme::Http, "a", "/?token=hidden", fields, 0).unwrap();
        assert_eq!(format!("{head:?}"), r#"GET a ["cookie"]"#);
    }
}
