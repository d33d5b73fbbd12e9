//! Sanitizes untrusted text for people to read: escapes terminal control characters, redacts credentials, limits the
//! length.
//!
//! The output is for display only; it is not parsed again and not sent. Every text that does not come from a parsed URL
//! goes through [`quote`] or [`given`] before it is shown or written. In doubt they redact.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use crate::limits;
use crate::secret::{self, Secrets};

/// Text without terminal control or bidirectional reordering: control characters (C0, C1, DEL), line and
/// paragraph separators, and the invisible and bidirectional formatting characters become `\u{…}`.
///
/// ```
/// use overlapped_proto::sanitize::escape;
///
/// assert_eq!(escape("plain \u{e4}"), "plain \u{e4}");
/// assert_eq!(escape("red \u{1b}[31m"), "red \\u{1b}[31m");
/// assert_eq!(escape("exe.\u{202e}gpj"), "exe.\\u{202e}gpj");
/// ```
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push_safe(c, &mut safe));
    Cow::Owned(safe)
}

/// Bytes of unknown origin for a message: without userinfo and without the values of what looks like a secret (query
/// parameters, header fields, members of an object), cut to about `bytes_max`, escaped; bytes that are not UTF-8 become
/// `\x…`.
///
/// ```
/// use overlapped_proto::sanitize::quote;
///
/// assert_eq!(quote(b"http://me:secret@a/\xff\n", 100), "http://a/\\xff\\u{a}");
/// assert_eq!(quote(b"http://a b/?page=1&token=secret", 100), "http://a b/?page=1&token=***");
/// assert_eq!(quote(b"abcdef", 3), "abc\u{2026}");
/// ```
#[must_use]
pub fn quote(bytes: &[u8], bytes_max: usize) -> String {
    render(bytes, Secrets::ALL, bytes_max)
}

/// The same for the name of a file. It may be a URL by mistake, but without a colon, an equals sign or a percent sign there is no
/// secret in it, and an `@` is a character as any other.
///
/// ```
/// use overlapped_proto::sanitize::quote_name;
///
/// assert_eq!(quote_name(b"icons/logo@2x.png", 100), "icons/logo@2x.png");
/// assert_eq!(quote_name(b"http://me:secret@a/\n", 100), "http://a/\\u{a}");
/// ```
#[must_use]
pub fn quote_name(bytes: &[u8], bytes_max: usize) -> String {
    if bytes.iter().any(|byte| b":=%".contains(byte)) {
        return quote(bytes, bytes_max);
    }
    let mut quoted = String::new();
    push_part(bytes, bytes_max, &mut quoted);
    quoted
}

/// The same as [`quote`] for the record of a row that cannot be fetched: the values of query parameters are kept, as they are in the
/// URL of any other record. `whole`: these are not only the first bytes of the row.
///
/// ```
/// use overlapped_proto::sanitize::given;
///
/// assert_eq!(given(b"me:secret@a/?token=1", true, 100), "a/?token=1");
/// assert_eq!(given(b"http://me:secr", false, 100), "http://");
/// ```
#[must_use]
pub fn given(bytes: &[u8], whole: bool, bytes_max: usize) -> String {
    render(bytes, Secrets { queries: false, cut: !whole, ..Secrets::ALL }, bytes_max)
}

/// A URL without its userinfo (`user:password@`), whether or not it is a valid one.
///
/// ```
/// use overlapped_proto::sanitize::redact;
///
/// assert_eq!(redact("https://user:secret@example.org/a@b"), "https://example.org/a@b");
/// assert_eq!(redact("https://example.org/a@b"), "https://example.org/a@b");
/// ```
#[must_use]
pub fn redact(url: &str) -> Cow<'_, str> {
    // Most URLs have none, and this runs for every record.
    let userinfo = memchr::memchr(b'@', url.as_bytes()).and_then(|_| secret::userinfo(url.as_bytes(), false));
    match userinfo {
        Some(hidden) => {
            let rest = |range| url.get(range).unwrap_or_default();
            Cow::Owned([rest(0..hidden.start), rest(hidden.end..url.len())].concat())
        }
        None => Cow::Borrowed(url),
    }
}

/// A URL for a terminal or a log: [`redact`]ed, [`escape`]d, and with `***` for the values of secret-looking
/// parameters such as `api_key` and `X-Amz-Signature`.
///
/// ```
/// use overlapped_proto::sanitize::shown;
///
/// assert_eq!(shown("http://me:x@a/?q=1&access_token=2#key=3"), "http://a/?q=1&access_token=***#key=***");
/// ```
#[must_use]
pub fn shown(url: &str) -> String {
    render(url.as_bytes(), Secrets::OF_URL, usize::MAX)
}

/// The bytes of a text that [`shown`] hides, in order.
#[must_use]
pub fn secrets(text: &str) -> Vec<Range<usize>> {
    secret::find(text.as_bytes(), Secrets::OF_URL).into_iter().map(|(range, _)| range).collect()
}

fn render(bytes: &[u8], mut secrets: Secrets, bytes_max: usize) -> String {
    // A row may be long; the search is bounded.
    let bytes = match bytes.get(..limits::REDACTED_BYTES_MAX.max(bytes_max)) {
        Some(beginning) if beginning.len() < bytes.len() => {
            secrets.cut = true;
            beginning
        }
        Some(_) | None => bytes,
    };
    let decoded = secret::without_json_escapes(bytes);
    let bytes = decoded.as_deref().unwrap_or(bytes);
    let mut quoted = String::new();
    let mut from = 0;
    for (hidden, instead) in secret::find(bytes, secrets) {
        if !push_part(bytes.get(from..hidden.start).unwrap_or_default(), bytes_max, &mut quoted) {
            return quoted;
        }
        quoted.push_str(instead);
        from = hidden.end;
    }
    push_part(bytes.get(from..).unwrap_or_default(), bytes_max, &mut quoted);
    quoted
}

/// Appends a part; false if the limit is reached.
fn push_part(part: &[u8], bytes_max: usize, quoted: &mut String) -> bool {
    for chunk in part.utf8_chunks() {
        for c in chunk.valid().chars() {
            if quoted.len() >= bytes_max {
                quoted.push('\u{2026}');
                return false;
            }
            push_safe(c, quoted);
        }
        for byte in chunk.invalid() {
            let _ = write!(quoted, "\\x{byte:02x}");
        }
    }
    true
}

fn push_safe(c: char, safe: &mut String) {
    if is_unsafe(c) {
        let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
    } else {
        safe.push(c);
    }
}

/// True for the characters that [`escape`] replaces.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn userinfo_goes_however_it_is_written() {
        let check = |url: &str, expected: &str| {
            assert_eq!(redact(url), expected);
            assert_eq!(quote(url.as_bytes(), 1_000), escape(expected));
            assert_eq!(given(url.as_bytes(), true, 1_000), escape(expected));
        };
        check("http://example.org/", "http://example.org/");
        check("http://example.org/@x?a@b#c@d", "http://example.org/@x?a@b#c@d");
        check("http://a:b@example.org/@", "http://example.org/@");
        check("http://a:b@c@example.org", "http://example.org");
        check("HTTPS:a:b@example.org", "HTTPS:example.org");
        check("http:/\\/a:b@example.org", "http:/\\/example.org");
        check("http://h\\@evil.example", "http://h\\@evil.example");
        check("ftp://a:b@example.org/", "ftp://example.org/");
        check("a:b@example.org/", "example.org/");
        check("//a:b@example.org/", "//example.org/");
        check("https//a:b@example.org/", "https//example.org/");
        check("http:/\t/a:b@example.org/", "http:/\t/example.org/");
        check("http://\u{e4}:\u{202e}@\u{fc}.example/\u{85}", "http://\u{fc}.example/\u{85}");
    }

    #[test]
    fn secret_parameters() {
        let check = |url: &str, expected: &str| assert_eq!(shown(url), expected);
        check("http://a/?author=1&monkey=2&keys=3", "http://a/?author=1&monkey=2&keys=3");
        check("http://a/?x=1;api_key=2;y=3", "http://a/?x=1;api_key=***;y=3");
        check(
            "http://a/?X-Amz-Signature=1&X-Amz-Credential=2",
            "http://a/?X-Amz-Signature=***&X-Amz-Credential=***",
        );
        check("http://a/?accessToken=a=b&z", "http://a/?accessToken=***&z");
        check("http://a/key=1", "http://a/key=1");
        check("http://a/?key", "http://a/?key");
        check("http://a/\u{1b}?pwd=1", "http://a/\\u{1b}?pwd=***");
    }

    #[test]
    fn a_cut_does_not_uncover_userinfo() {
        let url = format!("http://me:{}@example.org/", "secret".repeat(1_000));
        assert_eq!(quote(url.as_bytes(), 10), "http://exa\u{2026}");
    }
}
