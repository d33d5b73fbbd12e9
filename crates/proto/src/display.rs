//! Text from strangers, made fit for a person's eyes: no control of the terminal, no credential, no endless line.
//!
//! What is written here is for reading; it is never parsed again and never sent.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

/// Text in which nothing can steer a terminal or reorder what is read: control characters (C0, C1, DEL), line and
/// paragraph separators, and the invisible and bidirectional formatting characters become `\u{…}`.
///
/// ```
/// use overlapped_proto::display::escape;
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

/// Bytes of unknown origin for a message: without userinfo, cut to about `bytes_max`, escaped; bytes that are not
/// UTF-8 become `\x…`.
///
/// ```
/// use overlapped_proto::display::quote;
///
/// assert_eq!(quote(b"http://me:secret@a/\xff\n", 100), "http://a/\\xff\\u{a}");
/// assert_eq!(quote(b"abcdef", 3), "abc\u{2026}");
/// ```
#[must_use]
pub fn quote(bytes: &[u8], bytes_max: usize) -> String {
    let hidden = userinfo(bytes).unwrap_or(0..0);
    let mut quoted = String::new();
    for part in [bytes.get(..hidden.start), bytes.get(hidden.end..)].into_iter().flatten() {
        for chunk in part.utf8_chunks() {
            for c in chunk.valid().chars() {
                if quoted.len() >= bytes_max {
                    quoted.push('\u{2026}');
                    return quoted;
                }
                push_safe(c, &mut quoted);
            }
            for byte in chunk.invalid() {
                let _ = write!(quoted, "\\x{byte:02x}");
            }
        }
    }
    quoted
}

/// A URL without its userinfo (`user:password@`), whether or not it is a valid one.
///
/// ```
/// use overlapped_proto::display::redact;
///
/// assert_eq!(redact("https://user:secret@example.org/a@b"), "https://example.org/a@b");
/// assert_eq!(redact("https://example.org/a@b"), "https://example.org/a@b");
/// ```
#[must_use]
pub fn redact(url: &str) -> Cow<'_, str> {
    match userinfo(url.as_bytes()) {
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
/// use overlapped_proto::display::shown;
///
/// assert_eq!(shown("http://me:x@a/?q=1&access_token=2#key=3"), "http://a/?q=1&access_token=***#key=***");
/// ```
#[must_use]
pub fn shown(url: &str) -> String {
    let url = redact(url);
    let mut safe = String::with_capacity(url.len());
    for (i, piece) in url.split_inclusive(['?', '&', ';', '#']).enumerate() {
        match piece.split_once('=') {
            Some((name, value)) if i > 0 && is_secret(name) => {
                let delimiter = value.chars().next_back().filter(|c| matches!(c, '?' | '&' | ';' | '#'));
                safe.extend([name, "=***"]);
                safe.extend(delimiter);
            }
            Some(_) | None => safe.push_str(piece),
        }
    }
    escape(&safe).into_owned()
}

/// By whole words, so that `author` and `monkey` are none; `accessToken` runs words together.
fn is_secret(name: &str) -> bool {
    const WORDS: &[&str] =
        &["auth", "authorization", "apikey", "credential", "key", "pwd", "session", "sid", "sig"];
    const PARTS: &[&str] = &["passw", "secret", "signature", "token"];
    let name = name.to_ascii_lowercase();
    name.split(['_', '-', '.']).any(|word| WORDS.contains(&word))
        || PARTS.iter().any(|part| name.contains(part))
}

/// Where `user:password@` stands: after the scheme and any slashes, to the last `@` before the path, as browsers read
/// it. Text without a scheme is no URL, and then more is hidden rather than less. All that it looks for is ASCII, so
/// the ends are ends of characters.
fn userinfo(url: &[u8]) -> Option<Range<usize>> {
    memchr::memchr(b'@', url)?;
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let is_passed_over = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r');
    let after_scheme = memchr::memchr(b':', url).map_or(0, |colon| colon + 1);
    let (scheme, rest) = url.split_at_checked(after_scheme)?;
    let is_http =
        [&b"http:"[..], b"https:"].iter().any(|http| scheme.trim_ascii().eq_ignore_ascii_case(http));
    let from = if is_http || rest.first().is_some_and(is_slash) {
        after_scheme
    } else {
        memchr::memmem::find(url, b"//").unwrap_or(0)
    };
    let start =
        from + url.get(from..)?.iter().take_while(|byte| is_slash(byte) || is_passed_over(byte)).count();
    let authority = url.get(start..)?.split(|byte| matches!(byte, b'/' | b'\\' | b'?' | b'#')).next()?;
    let at = memchr::memrchr(b'@', authority)?;
    Some(start..start + at + 1)
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
