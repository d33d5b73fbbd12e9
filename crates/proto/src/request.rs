//! The head of a request as a structure: what is asked for, independent of the version of HTTP that writes it.
//!
//! Its parts are validated when it is made, so that a row cannot smuggle a second request, whoever writes it.

use std::borrow::Cow;
use std::fmt;

use crate::error::ErrorKind;
use crate::header::is_token;
use crate::job::Method;
use crate::origin::Scheme;
use crate::outcome::Failure;

/// A header field: its name in lower case, and its value.
pub type Field = (Box<str>, Box<str>);

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
    body_bytes: u64,
}

impl<'a> RequestHead<'a> {
    /// The head of a request for `path`, with its query, at `authority`: host and port without user name and password. A
    /// `host` among `fields` is sent instead of `authority`.
    ///
    /// The fields must have passed [`header::check`](crate::header::check), which also refuses those that frame a message.
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
        body_bytes: u64,
    ) -> Result<Self, Failure> {
        if let Method::Other(token) = method
            && (token.is_empty() || !token.bytes().all(is_token))
        {
            return Err(Failure::new(ErrorKind::InputFormat, format!("{method} is not a method")));
        }
        let head = Self { method, scheme, authority, path, fields: fields.into(), body_bytes };
        if ![authority, head.host(), path].into_iter().all(is_visible) {
            return Err(Failure::new(ErrorKind::InputUrl, "the URL cannot be sent in a request"));
        }
        Ok(head)
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
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().filter(|(name, _)| !is_host(name)).map(|(name, value)| (&**name, &**value))
    }

    /// The length of the body to send, or `None` if there is none and its absence is not worth saying.
    #[must_use]
    pub fn body_length(&self) -> Option<u64> {
        (self.body_bytes > 0 || has_body(self.method)).then_some(self.body_bytes)
    }
}

/// Names only: values may be secret, and so may a path.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.method, self.authority)?;
        f.debug_list().entries(self.fields.iter().map(|(name, _)| name)).finish()
    }
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

    #[test]
    fn nothing_secret_is_in_a_debug_print() {
        let fields = vec![field("cookie", "hidden")];
        let head = RequestHead::new(&Method::Get, Scheme::Http, "a", "/?token=hidden", fields, 0).unwrap();
        assert_eq!(format!("{head:?}"), r#"GET a ["cookie"]"#);
    }
}
