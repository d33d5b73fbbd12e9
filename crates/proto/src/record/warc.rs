//! WARC 1.1 (ISO 28500:2017): the heads of its records, and the messages of HTTP in them. Digests are computed by the caller.
//!
//! Credentials are removed here too: a [`Sent`](super::Sent) has none, and what [`target`] returns has no userinfo. What a server
//! sent is kept as it came.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use url::Url;
use xxhash_rust::xxh3::xxh3_128;

use super::text::{hex, push_address, push_number, push_time};
use super::{Body, Headers, Record};
use crate::error::ErrorKind;
use crate::job::{Method, Row};

/// Bytes of a digest (SHA-1).
pub const DIGEST_BYTES: usize = 20;

/// A SHA-1.
pub type Digest = [u8; DIGEST_BYTES];

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What is known of a file. The first record of each.
    Info,
    /// A request.
    Request,
    /// A response with its payload.
    Response,
    /// A response without its payload, which another record has.
    Identical,
    /// A response without a payload: the server says that it has not changed (304).
    NotModified,
    /// What the program knows of a row.
    Metadata,
}

/// The name of a record in `WARC-Record-ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordId(u128);

impl RecordId {
    /// The name of the record of this kind of a row whose records begin at `place` in the output of a run; `None`: that of the
    /// file. `hop`: the redirects that come after it. A run that is resumed gives the same place to another row only after it has truncated its output to there.
    #[must_use]
    pub fn new(run: u64, place: u64, row: Option<Row>, hop: usize, kind: Kind) -> Self {
        let row = row.map_or(u64::MAX, |row| row.0);
        let kind = match kind {
            Kind::Info => 0,
            Kind::Request => 1,
            Kind::Response | Kind::Identical | Kind::NotModified => 2,
            Kind::Metadata => 3,
        };
        let mut bytes = [0; 40];
        let words = bytes.as_chunks_mut::<8>().0;
        words
            .iter_mut()
            .zip([run, place, row, hop as u64, kind])
            .for_each(|(to, part)| *to = part.to_le_bytes());
        // Version 8 of RFC 9562: bits of the program's own choice.
        let free = xxh3_128(&bytes) & !(0xf << 76) & !(0x3 << 62);
        Self(free | (0x8 << 76) | (0x2 << 62))
    }

    fn push(self, out: &mut Vec<u8>) {
        /// Where the two digits of each byte are.
        const PLACES: [usize; 16] = [10, 12, 14, 16, 19, 21, 24, 26, 29, 31, 34, 36, 38, 40, 42, 44];
        let mut text = *b"<urn:uuid:00000000-0000-0000-0000-000000000000>";
        for (place, byte) in PLACES.into_iter().zip(self.0.to_be_bytes()) {
            if let Some(to) = text.get_mut(place..place + 2) {
                to.copy_from_slice(&hex(byte));
            }
        }
        out.extend_from_slice(&text);
    }
}

/// A `WARC-Date`: the records of a row have the same one, which is formatted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    unix_us: i64,
    text: [u8; 27],
}

impl Date {
    /// A time in microseconds since 1970 (UTC).
    #[must_use]
    pub fn new(unix_us: i64) -> Self {
        let mut text = Vec::with_capacity(27);
        push_time(unix_us, &mut text);
        Self { unix_us, text: text.try_into().expect("a time has 27 characters") }
    }

    /// In microseconds since 1970 (UTC).
    #[must_use]
    pub fn unix_us(self) -> i64 {
        self.unix_us
    }
}

/// The record that has the payload of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original<'a> {
    /// Its name.
    pub id: RecordId,
    /// Its `WARC-Date`.
    pub unix_us: i64,
    /// Its `WARC-Target-URI`.
    pub target: &'a str,
}

/// What the head of a record says.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub id: RecordId,
    /// When it was captured.
    pub date: Date,
    /// The row; `None`: it belongs to the file.
    pub row: Option<Row>,
    /// The URL.
    pub target: Option<&'a str>,
    /// The address of the server.
    pub ip: Option<IpAddr>,
    /// Another record of the same event.
    pub concurrent: Option<RecordId>,
    /// Where its payload is.
    pub original: Option<Original<'a>>,
    /// Why some of its content is missing.
    pub truncated: Option<&'static str>,
    /// True if it came by HTTP/2, and its head was written anew.
    pub is_http2: bool,
    /// The name of the file.
    pub file: Option<&'a str>,
    /// The digest of its payload.
    pub payload: Option<&'a Digest>,
    /// The digest of its block.
    pub block: &'a Digest,
    /// The length of its block.
    pub bytes: u64,
}

/// Room that most heads fit into.
const HEAD_BYTES: usize = 1 << 10;

impl Head<'_> {
    /// Appends it, up to the block. Behind the block comes [`END`].
    pub fn push(&self, out: &mut Vec<u8>) {
        const SAME: &[u8] = b"http://netpreserve.org/warc/1.1/revisit/identical-payload-digest";
        const UNCHANGED: &[u8] = b"http://netpreserve.org/warc/1.1/revisit/server-not-modified";
        const MESSAGE: &[u8] = b"application/http; msgtype=response";
        let (name, profile, content_type): (&[u8], _, &[u8]) = match self.kind {
            Kind::Info => (b"warcinfo", None, b"application/warc-fields"),
            Kind::Request => (b"request", None, b"application/http; msgtype=request"),
            Kind::Response => (b"response", None, MESSAGE),
            Kind::Identical => (b"revisit", Some(SAME), MESSAGE),
            Kind::NotModified => (b"revisit", Some(UNCHANGED), MESSAGE),
            Kind::Metadata => (b"metadata", None, b"application/json"),
        };
        out.reserve(HEAD_BYTES);
        out.extend_from_slice(b"WARC/1.1\r\n");
        field(out, "WARC-Type", |out| out.extend_from_slice(name));
        field(out, "WARC-Record-ID", |out| self.id.push(out));
        field(out, "WARC-Date", |out| out.extend_from_slice(&self.date.text));
        if let Some(target) = self.target {
            field(out, "WARC-Target-URI", |out| out.extend_from_slice(target.as_bytes()));
        }
        if let Some(file) = self.file {
            field(out, "WARC-Filename", |out| out.extend_from_slice(file.as_bytes()));
        }
        if let Some(ip) = self.ip {
            field(out, "WARC-IP-Address", |out| push_address(ip, out));
        }
        if self.is_http2 {
            field(out, "WARC-Protocol", |out| out.extend_from_slice(b"h2"));
        }
        if let Some(id) = self.concurrent {
            field(out, "WARC-Concurrent-To", |out| id.push(out));
        }
        if let Some(profile) = profile {
            field(out, "WARC-Profile", |out| out.extend_from_slice(profile));
        }
        if let Some(Original { id, unix_us, target }) = self.original {
            field(out, "WARC-Refers-To", |out| id.push(out));
            field(out, "WARC-Refers-To-Target-URI", |out| out.extend_from_slice(target.as_bytes()));
            field(out, "WARC-Refers-To-Date", |out| push_time(unix_us, out));
        }
        if let Some(reason) = self.truncated {
            field(out, "WARC-Truncated", |out| out.extend_from_slice(reason.as_bytes()));
        }
        if let Some(Row(row)) = self.row {
            field(out, "Overlapped-Row", |out| push_number(row, out));
        }
        if let Some(digest) = self.payload {
            field(out, "WARC-Payload-Digest", |out| push_digest(digest, out));
        }
        field(out, "WARC-Block-Digest", |out| push_digest(self.block, out));
        field(out, "Content-Type", |out| out.extend_from_slice(content_type));
        field(out, "Content-Length", |out| push_number(self.bytes, out));
        out.extend_from_slice(b"\r\n");
    }
}

/// What follows the block of a record.
pub const END: &[u8] = b"\r\n\r\n";

#[inline(always)]
fn field(out: &mut Vec<u8>, name: &str, push: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    push(out);
    out.extend_from_slice(b"\r\n");
}

/// Appends a digest with its label, such as `sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ`.
pub fn push_digest(digest: &Digest, out: &mut Vec<u8>) {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = [0; 32];
    for (letters, group) in text.as_chunks_mut::<8>().0.iter_mut().zip(digest.as_chunks::<5>().0) {
        let mut bits = group.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for letter in letters.iter_mut().rev() {
            *letter = LETTERS.get((bits & 31) as usize).copied().unwrap_or_default();
            bits >>= 5;
        }
    }
    out.extend_from_slice(b"sha1:");
    out.extend_from_slice(&text);
}

/// The block of a `warcinfo` record.
#[must_use]
pub fn info(version: &str) -> Vec<u8> {
    format!(
        "software: overlapped/{version}\r\nformat: WARC File Format 1.1\r\n\
         conformsTo: http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/\r\n"
    )
    .into_bytes()
}

/// The URL of a request as an archive has it, without userinfo and fragment; `None`: the text cannot be one.
#[must_use]
pub fn target(url: &Url) -> Option<Cow<'_, str>> {
    let is_plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>'));
    if url.username().is_empty() && url.password().is_none() && url.fragment().is_none() {
        return Some(Cow::Borrowed(url.as_str())).filter(|text| is_plain(text));
    }
    let mut url = url.clone();
    url.set_fragment(None);
    url.set_username("").and_then(|()| url.set_password(None)).ok()?;
    Some(Cow::Owned(url.into())).filter(|text: &Cow<'_, str>| is_plain(text))
}

/// True for a URL, as most are, of which each part is what a parser would make of it: a name in lower case or an address of IPv4, a
/// port that is not the default, and a path of plain characters without parts that begin with a dot. So it is its own [`target`].
#[must_use]
pub fn stands_for_itself(url: &str) -> bool {
    let Some((rest, default)) = url
        .strip_prefix("http://")
        .map(|rest| (rest, "80"))
        .or_else(|| url.strip_prefix("https://").map(|rest| (rest, "443")))
    else {
        return false;
    };
    let Some((authority, path)) =
        memchr::memchr(b'/', rest.as_bytes()).and_then(|at| rest.split_at_checked(at))
    else {
        return false;
    };
    let (host, port) = authority.split_once(':').unwrap_or((authority, "1"));
    let is_port = |text: &str| {
        (1..=5).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && !text.starts_with('0')
            && text.parse::<u16>().is_ok()
            && text != default
    };
    let is_name = |host: &str| {
        host.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
            && host.len() < 64
            && host.split('.').all(|label| !label.is_empty() && !label.starts_with("xn--"))
            && host.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    let is_plain = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'/' | b'-' | b'_' | b'.' | b'~' | b'?' | b'&' | b'=' | b'+' | b',' | b':' | b';' | b'@'
            )
    };
    let path = path.as_bytes();
    is_port(port)
        && (is_name(host) || host.parse::<Ipv4Addr>().is_ok())
        && path.iter().all(is_plain)
        && !path.windows(2).any(|pair| pair == b"/.")
}

/// The head of a response: as it came, or, over HTTP/2, as HTTP/1.1 would write it.
#[must_use]
pub fn response_head(record: &Record) -> Cow<'_, [u8]> {
    if !record.raw_head.is_empty() {
        return Cow::Borrowed(&record.raw_head);
    }
    Cow::Owned(head_of(record.status.unwrap_or(0), &record.headers))
}

/// The head of a response as HTTP/1.1 would write it.
#[must_use]
pub fn head_of(status: u16, headers: &Headers) -> Vec<u8> {
    let mut head = b"HTTP/1.1 ".to_vec();
    push_number(status.into(), &mut head);
    head.extend_from_slice(b" \r\n");
    for (name, value) in headers.fields() {
        head.extend_from_slice(name);
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The first value of a field in a head as it came.
#[must_use]
pub fn field_of<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let first = name.as_bytes().first()?;
    let mut rest = head;
    loop {
        rest = rest.get(memchr::memchr(b'\n', rest)? + 1..)?;
        // Most names differ in their first letter.
        if rest.first().is_some_and(|letter| !letter.eq_ignore_ascii_case(first) && letter.is_ascii_graphic())
        {
            continue;
        }
        let line = memchr::memchr(b'\n', rest).map_or(rest, |end| rest.get(..end).unwrap_or(rest));
        let Some((found, value)) = memchr::memchr(b':', line).and_then(|at| line.split_at_checked(at)) else {
            continue;
        };
        if found.trim_ascii().eq_ignore_ascii_case(name.as_bytes()) {
            return value.get(1..).map(<[u8]>::trim_ascii);
        }
    }
}

/// True if the head of a response with a body announces chunks. Then its body is written in chunks again: how long they were is not kept.
#[must_use]
pub fn is_chunked(head: &[u8], status: u16, method: &Method) -> bool {
    let codings = field_of(head, "transfer-encoding").unwrap_or_default();
    let last = codings.rsplit(|byte| *byte == b',').next().unwrap_or_default();
    let has_body = *method != Method::Head && !matches!(status, 204 | 304);
    has_body && head.starts_with(b"HTTP/1.1 ") && last.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// True if the head of a response says that its body is compressed, so that compressing it again would save nothing.
#[must_use]
pub fn is_compressed(head: &[u8]) -> bool {
    const TYPES: [&[u8]; 9] = [
        b"image/",
        b"video/",
        b"audio/",
        b"font/woff",
        b"application/zip",
        b"application/gzip",
        b"application/x-gzip",
        b"application/zstd",
        b"application/x-7z",
    ];
    let starts = |text: &[u8], with: &[u8]| {
        text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    let is_encoded = field_of(head, "content-encoding").is_some_and(|codings| !starts(codings, b"identity"));
    let media_type = field_of(head, "content-type").unwrap_or_default();
    is_encoded || !starts(media_type, b"image/svg") && TYPES.iter().any(|known| starts(media_type, known))
}

/// Why the payload of a response is not all of it; `None`: it is.
#[must_use]
pub fn truncated(record: &Record) -> Option<&'static str> {
    let kind = match &record.failure {
        None if record.truncated == Some(true) => return Some("length"),
        None => return None,
        // The response is there; its status counts as a failure.
        Some(failure) if failure.kind == ErrorKind::Status => return None,
        Some(_) if record.body != Body::None => return None,
        Some(failure) => failure.kind,
    };
    let name = kind.name();
    Some(if kind == ErrorKind::BodyTooLarge {
        "length"
    } else if name.starts_with("timeout.") {
        "time"
    } else if kind == ErrorKind::BodyTruncated || name.starts_with("http.") || name.starts_with("h2.") {
        "disconnect"
    } else {
        "unspecified"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_in_base32() {
        let mut out = Vec::new();
        // The SHA-1 of no bytes.
        let digest = [
            0xda, 0x39, 0xa3, 0xee, 0x5e, 0x6b, 0x4b, 0x0d, 0x32, 0x55, 0xbf, 0xef, 0x95, 0x60, 0x18, 0x90,
            0xaf, 0xd8, 0x07, 0x09,
        ];
        push_digest(&digest, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ");
    }

    #[test]
    fn names_of_records_differ_and_are_uuids() {
        let name = |run, place, row, kind| {
            let mut out = Vec::new();
            RecordId::new(run, place, row, 0, kind).push(&mut out);
            String::from_utf8(out).unwrap()
        };
        let row = Some(Row(1));
        let one = name(1, 2, row, Kind::Request);
        assert_eq!(one, name(1, 2, row, Kind::Request));
        let others = [
            name(2, 2, row, Kind::Request),
            name(1, 3, row, Kind::Request),
            name(1, 2, Some(Row(2)), Kind::Request),
            name(1, 2, row, Kind::Response),
            name(1, 2, None, Kind::Info),
        ];
        assert!(others.iter().all(|other| *other != one));
        let text = one.strip_prefix("<urn:uuid:").and_then(|text| text.strip_suffix('>')).unwrap();
        let lengths: Vec<_> = text.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(text.as_bytes()[14] == b'8' && b"89ab".contains(&text.as_bytes()[19]), "{text}");
    }

    #[test]
    fn targets_have_no_secret() {
        let check = |url: &str, expected: &str| {
            assert_eq!(target(&Url::parse(url).unwrap()).as_deref(), Some(expected));
        };
        check("http://a.test/x?y", "http://a.test/x?y");
        check("HTTP://me:secret@A.test/x#y", "http://a.test/x");
        check("http://a.test/\u{e9} <b>", "http://a.test/%C3%A9%20%3Cb%3E");
    }

    #[test]
    fn what_stands_for_itself_is_what_the_parser_makes_of_it() {
        let check = |url: &str, expected: bool| {
            assert_eq!(stands_for_itself(url), expected, "{url}");
            if expected {
                assert_eq!(target(&Url::parse(url).unwrap()).as_deref(), Some(url));
            }
        };
        check("http://127.0.0.1:8080/row/7", true);
        check("https://a-b.c1.test/X/~y?q=1&r=a+b,c;d:e@f", true);
        check("https://a.test/a//b", true);
        for url in [
            "http://a.test",
            "http://A.test/",
            "http://a.test:80/",
            "https://a.test:443/",
            "http://a.test:080/",
            "http://a.test:/",
            "http://a.test:70000/",
            "http://me@a.test/",
            "http://127.1/",
            "http://127.0.0.01/",
            "http://a.0x1/",
            "http://a.7/",
            "http://xn--a.test/",
            "http://a..test/",
            "http://a.test./",
            "http://[::1]/",
            "http:///a.test/",
            "http://a.test/../b",
            "http://a.test/.b",
            "http://a.test/%2e",
            "http://a.test/a b",
            "http://a.test/#x",
            "http://a.test/\\x",
            "ftp://a.test/",
            "http://a.test/\u{e9}",
            "http://a.test/'",
            "http://a.test/a\tb",
            "",
        ] {
            check(url, false);
        }
    }

    #[test]
    fn what_is_compressed_is_known_by_its_head() {
        let check = |fields: &str, expected| {
            let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            assert_eq!(is_compressed(head.as_bytes()), expected, "{fields}");
        };
        check("Content-Type: text/html\r\nContent-Encoding: br", true);
        check("Content-Type: text/html\r\nContent-Encoding: identity", false);
        check("content-type: Image/PNG", true);
        check("content-type: image/svg+xml", false);
        check("via: a", false);
    }

    #[test]
    fn chunks_are_written_where_they_are_announced() {
        let check = |method, status, head: &str, expected| {
            let head = format!("{head}\r\nVia: a\r\n\r\n");
            assert_eq!(is_chunked(head.as_bytes(), status, &method), expected, "{status} {head}");
        };
        check(Method::Get, 200, "HTTP/1.1 200 OK\r\ntransfer-Encoding : Chunked", true);
        check(Method::Get, 200, "HTTP/1.1 200 OK\nTransfer-Encoding:gzip, chunked", true);
        check(Method::Get, 200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity", false);
        check(Method::Head, 200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", false);
        check(Method::Get, 304, "HTTP/1.1 304 OK\r\nTransfer-Encoding: chunked", false);
        check(Method::Get, 200, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", false);
    }
}
