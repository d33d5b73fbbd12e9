//! CDXJ: the lines of an index of WARC files, each with the key by which a URL is found (SURT), as pywb makes it.

use percent_encoding::{percent_decode, percent_encode_byte};
use url::{Host, Url};

use super::text::{push_json, push_json_header, push_number, push_time};
use super::warc::{Digest, push_digest};

/// A capture, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Capture<'a> {
    /// The URL.
    pub target: &'a str,
    /// When it was captured, in microseconds since 1970 (UTC).
    pub unix_us: i64,
    /// The status.
    pub status: u16,
    /// The media type; `None`: the payload is that of another record.
    pub media_type: Option<&'a [u8]>,
    /// The digest of its payload.
    pub digest: Option<&'a Digest>,
    /// Where its record begins in the file.
    pub offset: u64,
    /// The length of the record there.
    pub bytes: u64,
    /// The name of the file.
    pub file: &'a str,
}

/// Appends its line; nothing if the URL has no key.
pub fn write(capture: &Capture<'_>, out: &mut Vec<u8>) {
    let Some(key) = key(capture.target) else { return };
    out.extend_from_slice(key.as_bytes());
    out.push(b' ');
    let mut time = Vec::with_capacity(27);
    push_time(capture.unix_us, &mut time);
    out.extend(time.into_iter().take_while(|byte| *byte != b'.').filter(u8::is_ascii_digit));
    out.extend_from_slice(b" {\"url\": ");
    push_json(capture.target, out);
    out.extend_from_slice(b", \"mime\": ");
    match capture.media_type {
        Some(text) => {
            let name = text.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let name = if name.is_empty() { &b"unk"[..] } else { name };
            push_json_header(&name.to_ascii_lowercase(), out);
        }
        None => out.extend_from_slice(b"\"warc/revisit\""),
    }
    out.extend_from_slice(b", \"status\": \"");
    push_number(capture.status.into(), out);
    out.push(b'"');
    if let Some(digest) = capture.digest {
        out.extend_from_slice(b", \"digest\": \"");
        push_digest(digest, out);
        out.push(b'"');
    }
    out.extend_from_slice(b", \"length\": \"");
    push_number(capture.bytes, out);
    out.extend_from_slice(b"\", \"offset\": \"");
    push_number(capture.offset, out);
    out.extend_from_slice(b"\", \"filename\": ");
    push_json(capture.file, out);
    out.extend_from_slice(b"}\n");
}

/// The key of a URL, as `surt`, which pywb asks with, makes it: the labels of the host from the last one on, then the path and the
/// query with its parameters sorted, all in lower case, percent-encoded as little as possible, without `www.`, a default port, numbers of
/// sessions in the query and a slash at the end. `None`: the URL has no host.
///
/// ```
/// use overlapped_proto::record::cdxj::key;
///
/// assert_eq!(key("https://www.Example.org/A/?b=2&a=1").as_deref(), Some("org,example)/a?a=1&b=2"));
/// assert_eq!(key("http://127.0.0.1:8080/").as_deref(), Some("1,0,0,127:8080)/"));
/// ```
#[must_use]
pub fn key(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let mut key = match url.host()? {
        Host::Domain(name) => reversed(without_www(name.trim_end_matches('.'))),
        Host::Ipv4(address) => reversed(&address.to_string()),
        Host::Ipv6(address) => address.to_string(),
    };
    if let Some(port) = url.port() {
        key.push(':');
        key.push_str(&port.to_string());
    }
    key.push(')');
    let path = escaped(&normal_path(&decoded(url.path()))).to_ascii_lowercase();
    key.push_str(if path.len() > 1 { path.strip_suffix('/').unwrap_or(&path) } else { &path });
    let query = escaped(&decoded(url.query().unwrap_or_default())).to_ascii_lowercase();
    let query = without_sessions(query);
    if !query.is_empty() {
        let mut parts: Vec<_> = query.split('&').map(|part| (part.split('=').next(), part)).collect();
        // A name without a value comes before the same one with an empty value.
        parts.sort_unstable();
        key.push('?');
        key.push_str(&parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join("&"));
    }
    Some(key)
}

fn reversed(host: &str) -> String {
    host.split('.').rev().collect::<Vec<_>>().join(",")
}

/// Without `www.`, `www2.` and the like.
fn without_www(name: &str) -> &str {
    let rest = name.strip_prefix("www").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    rest.and_then(|rest| rest.strip_prefix('.')).unwrap_or(name)
}

/// Percent-decoded until nothing is left to decode.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    // Each round makes it shorter.
    while memchr::memchr(b'%', &bytes).is_some() {
        let next: Vec<u8> = percent_decode(&bytes).collect();
        if next == bytes {
            break;
        }
        bytes = next;
    }
    bytes
}

/// Without `.`, `..` and empty parts.
fn normal_path(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/').skip(1) {
        match part {
            b"." => {}
            b".." if !kept.is_empty() => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let last = kept.len().saturating_sub(1);
    let mut normal = b"/".to_vec();
    for (number, part) in kept.into_iter().enumerate() {
        normal.extend_from_slice(part);
        if number < last && !part.is_empty() {
            normal.push(b'/');
        }
    }
    normal
}

/// Percent-encodes what cannot stand in a URL.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'#' | b'%' | ..=b' ' | 0x7f.. => text.push_str(percent_encode_byte(byte)),
            byte => text.push(byte.into()),
        }
    }
    text
}

/// Without the last parameter of each kind that numbers a session.
fn without_sessions(mut query: String) -> String {
    for name in ["jsessionid=", "phpsessid=", "sid=", "aspsessionid", "cfid="] {
        let ends = query.rmatch_indices(name).filter_map(|(at, _)| {
            let length = session(name, query.get(at + name.len()..)?)?;
            let end = at + name.len() + length;
            let is_last = end == query.len();
            (is_last || query.as_bytes().get(end) == Some(&b'&')).then_some((at, end + usize::from(!is_last)))
        });
        if let Some((start, end)) = { ends }.next() {
            query.replace_range(start..end, "");
        }
    }
    query
}

/// The length of what follows the name of a parameter, if that numbers a session.
fn session(name: &str, rest: &str) -> Option<usize> {
    let all = |text: &str, length: usize, is: fn(&u8) -> bool| {
        text.as_bytes().get(..length).is_some_and(|bytes| bytes.iter().all(is))
    };
    match name {
        "aspsessionid" => {
            let value = rest.get(8..)?.strip_prefix('=')?;
            (all(rest, 8, u8::is_ascii_alphabetic) && all(value, 24, u8::is_ascii_alphabetic)).then_some(33)
        }
        "cfid=" => {
            let (value, token) = rest.split_once("&cftoken=")?;
            let length = token.split('&').next().unwrap_or_default().len();
            let is_session = !value.is_empty() && !value.contains('&') && length > 0;
            is_session.then_some(rest.len() - token.len() + length)
        }
        _ => all(rest, 32, u8::is_ascii_alphanumeric).then_some(32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `surt` 0.3.1 says.
    #[test]
    fn keys() {
        let check = |url: &str, expected: &str| assert_eq!(key(url).as_deref(), Some(expected), "{url}");
        check("http://example.com", "com,example)/");
        check("http://www2.a.co.uk:80/index.html#x", "uk,co,a)/index.html");
        check("http://a.test/X?", "test,a)/x");
        check("http://a.test/X?b&a=&A=1", "test,a)/x?a=&a=1&b");
        check("http://a.test/x//y/../z/", "test,a)/x/z");
        check("http://u:p@a.test:8080/%7Efoo/%E9?q=%20x+y", "test,a:8080)/~foo/%e9?q=%20x+y");
        check("http://[::1]:81/a", "::1:81)/a");
        check("http://a.test/a%2Fb?x=%26", "test,a)/a/b?&x=");
        check("http://a.test/?a=1&&b=2", "test,a)/?&a=1&b=2");
        check("http://www.www.com/", "com,www)/");
        check("http://a.test//", "test,a)/");
        check("http://a.test/x?sid=9682993c8daa2c5497996114facdc805", "test,a)/x");
        check("http://a.test/?PHPSESSID=9682993c8daa2c5497996114facdc805&a=1", "test,a)/?a=1");
        check("http://a.test/x?cfid=1&cftoken=2&z=3", "test,a)/x?z=3");
        check("http://a.test/x?ASPSESSIONIDAQBSDSRT=EOHBLBDDPFCLHKPGGKLILNAM&q=1", "test,a)/x?q=1");
        assert_eq!(key("data:x"), None);
    }

    #[test]
    fn a_line() {
        let capture = Capture {
            target: "http://a.test/X?\"",
            unix_us: 1_000_000,
            status: 200,
            media_type: Some(b"Text/HTML; charset=x"),
            digest: Some(&[0; 20]),
            offset: 7,
            bytes: 9,
            file: "c.warc.gz",
        };
        let mut out = Vec::new();
        write(&capture, &mut out);
        let text = String::from_utf8(out).unwrap();
        let (head, json) = text.split_once(" {").unwrap();
        assert_eq!(head, "test,a)/x?\" 19700101000001");
        let fields: serde_json::Value = serde_json::from_str(&format!("{{{json}")).unwrap();
        assert_eq!((&fields["mime"], &fields["offset"]), (&"text/html".into(), &"7".into()));
        assert_eq!(fields["digest"], format!("sha1:{}", "A".repeat(32)));
    }
}
