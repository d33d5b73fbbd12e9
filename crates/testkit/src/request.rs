//! A request as received, and a minimal parser of HTTP/1.
//!
//! The parser is lenient, since a test server is to record what a client sent, not to refuse it. The head is kept byte for byte.

use bytes::Bytes;

/// A request; its head is kept byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, as received.
    pub method: String,
    /// The request target, as received: `/path?query`, or a URL (absolute form) if the client uses the server as a proxy.
    pub target: String,
    /// `HTTP/1.1`, as received.
    pub version: String,
    /// Names and values as received, in order; bytes that are not UTF-8 are replaced (see `head`).
    pub headers: Vec<(String, String)>,
    /// The head from the method to the empty line.
    pub head: Bytes,
    /// The body without its transfer coding, at most the first [`BODY_KEPT_BYTES_MAX`] bytes of it.
    pub body: Bytes,
    /// The length of the body.
    pub body_bytes: u64,
}

/// The prefix of a request body that is kept; the rest is only counted.
pub const BODY_KEPT_BYTES_MAX: usize = 1 << 20;

/// The framing of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

impl Request {
    /// The first header of this name, ignoring case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all_headers(name).next()
    }

    /// Every header of this name, ignoring case, in order.
    pub fn all_headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Path and query, also of a target in absolute form.
    pub fn path_and_query(&self) -> &str {
        match self.target.split_once("://") {
            Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
            }
            Some(_) | None => &self.target,
        }
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        let whole = self.path_and_query();
        whole.split_once('?').map_or(whole, |(path, _)| path)
    }

    /// A parameter of the query, percent-decoded; the first one of this name.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.path_and_query().split_once('?')?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key) == name).then(|| percent_decode(value))
        })
    }

    /// True if the client keeps the connection alive.
    pub(crate) fn keep_alive(&self) -> bool {
        let says = |word: &str| {
            self.all_headers("connection")
                .any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case(word)))
        };
        if self.version == "HTTP/1.0" { says("keep-alive") } else { !says("close") }
    }

    pub(crate) fn framing(&self) -> Result<Framing, &'static str> {
        if let Some(coding) = self.header("transfer-encoding") {
            let last = coding.rsplit(',').next().unwrap_or(coding).trim();
            return if last.eq_ignore_ascii_case("chunked") {
                Ok(Framing::Chunked)
            } else {
                Err("transfer-encoding is not chunked")
            };
        }
        match self.header("content-length") {
            None => Ok(Framing::Length(0)),
            Some(text) => text.parse().map(Framing::Length).map_err(|_| "content-length is not a number"),
        }
    }

    /// Reads a head that ends with its empty line.
    pub(crate) fn parse(head: Bytes) -> Result<Request, &'static str> {
        let text = String::from_utf8_lossy(&head);
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or("").splitn(3, ' ');
        let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
            return Err("no request line");
        };
        if method.is_empty() || target.is_empty() || !version.starts_with("HTTP/1.") {
            return Err("not a request line of HTTP/1");
        }
        let mut headers = Vec::with_capacity(8);
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
            headers.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
        Ok(Request {
            method: method.to_owned(),
            target: target.to_owned(),
            version: version.to_owned(),
            headers,
            body: Bytes::new(),
            body_bytes: 0,
            head: head.clone(),
        })
    }
}

/// Decodes `%41` and `+`. An invalid escape is kept as it is.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match (first, escape.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            (other, _) => {
                bytes.push(other);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(head: &'static str) -> Request {
        Request::parse(Bytes::from_static(head.as_bytes())).unwrap()
    }

    #[test]
    fn targets_and_queries() {
        let check = |target: &str, path: &str, a: Option<&str>| {
            let mut request = parsed("GET / HTTP/1.1\r\n\r\n");
            request.target = target.to_owned();
            assert_eq!((request.path(), request.query("a").as_deref()), (path, a), "{target}");
        };
        check("/x", "/x", None);
        check("/x?a=1&a=2", "/x", Some("1"));
        check("/x?b=&a", "/x", Some(""));
        check("/x?a=http%3A%2F%2Fh/%zz+%", "/x", Some("http://h/%zz %"));
        check("http://h:1/x?a=1", "/x", Some("1"));
        check("http://h", "/", None);
        check("/x?a=http://h/y", "/x", Some("http://h/y"));
    }

    #[test]
    fn headers_keep_order_and_spelling() {
        let request = parsed("GET / HTTP/1.1\r\nX-A: 1\r\nhost:h\r\nx-a:  2 \r\n\r\n");
        assert_eq!(request.headers[0], ("X-A".into(), "1".into()));
        assert_eq!(request.all_headers("x-A").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(request.header("Host"), Some("h"));
    }

    #[test]
    fn keep_alive() {
        assert!(parsed("GET / HTTP/1.1\r\n\r\n").keep_alive());
        assert!(!parsed("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n").keep_alive());
        assert!(!parsed("GET / HTTP/1.0\r\n\r\n").keep_alive());
        assert!(parsed("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").keep_alive());
    }

    #[test]
    fn no_request() {
        for head in ["\r\n\r\n", "GET /\r\n\r\n", "GET / SPDY\r\n\r\n", "GET / HTTP/1.1\r\nx\r\n\r\n"] {
            assert!(Request::parse(Bytes::from_static(head.as_bytes())).is_err(), "{head:?}");
        }
    }
}
