//! Finds secrets in a text: userinfo, and the values of query parameters, header fields and members of objects with names
//! of secrets.
//!
//! A URL that parses is read as the URL standard defines. Any other text may be anything, so the search errs on the side
//! of redaction: a password may contain every character, and a row may be truncated anywhere.

use std::borrow::Cow;
use std::ops::Range;

use url::Url;

/// Which secrets are searched for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secrets {
    /// Values of query parameters.
    pub(crate) queries: bool,
    /// Values of header fields and members.
    pub(crate) fields: bool,
    /// The text is only the beginning of a longer one: a userinfo may have no end in it.
    pub(crate) cut: bool,
}

impl Secrets {
    pub(crate) const ALL: Self = Self { queries: true, fields: true, cut: false };
}

/// The secrets of a text in order, each with its replacement.
pub(crate) fn find(text: &[u8], secrets: Secrets) -> Vec<(Range<usize>, &'static str)> {
    let mut found: Vec<_> = userinfo(text, secrets.cut).into_iter().map(|range| (range, "")).collect();
    let behind = found.first().map_or(0, |(range, _)| range.end);
    // One that parses may carry another URL, with a userinfo of its own.
    if let Some(nested) = nested(text, behind) {
        found.push((nested, ""));
    }
    let mut at = 0;
    while let Some(value) = next_value(text, at, secrets) {
        at = value.end.max(at + 1);
        found.push((value, HIDDEN));
    }
    found.retain(|(range, _)| !range.is_empty());
    found.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
    let mut end = 0;
    found.retain(|(range, _)| {
        let apart = range.start >= end;
        end = end.max(range.end);
        apart
    });
    found
}

const HIDDEN: &str = "***";

// --- userinfo ----------------------------------------------------------------------------------------------------

/// Where `user:password@` is. `cut`: the text goes on where this ends.
pub(crate) fn userinfo(text: &[u8], cut: bool) -> Option<Range<usize>> {
    if !cut && last_at(text).is_none() {
        return None;
    }
    match std::str::from_utf8(text).ok().and_then(|text| Url::parse(text).ok()) {
        Some(url) if url.has_host() && url.username().is_empty() && url.password().is_none() => None,
        Some(url) if url.has_host() && is_http(url.scheme().as_bytes()) => in_authority(text, start(text)),
        _ => anywhere(text, start(text), cut),
    }
}

/// Up to the last `@` before the path, as browsers read it.
fn in_authority(text: &[u8], start: usize) -> Option<Range<usize>> {
    let at = memchr::memrchr(b'@', authority(text.get(start..)?))?;
    Some(start..start + at + 1)
}

/// From the first part that could be one to the last `@` of all.
fn anywhere(text: &[u8], mut start: usize, cut: bool) -> Option<Range<usize>> {
    loop {
        let rest = text.get(start..)?;
        let authority = authority(rest);
        if !is_host(authority) {
            return match last_at(rest) {
                Some(end) => Some(start..start + end),
                None => cut.then_some(start..text.len()),
            };
        }
        start += authority.len();
        start += behind_slashes(text.get(start..)?)?;
    }
}

/// The userinfo of a URL that is part of another one.
fn nested(text: &[u8], from: usize) -> Option<Range<usize>> {
    let rest = text.get(from..)?;
    last_at(rest)?;
    let first = from + if from == 0 { start(text) } else { 0 };
    let authority = authority(text.get(first..)?).len();
    let behind = first + authority + behind_slashes(text.get(first + authority..)?)?;
    anywhere(text, behind, false)
}

/// The text before the path.
fn authority(text: &[u8]) -> &[u8] {
    text.split(|byte| matches!(byte, b'/' | b'\\' | b'?' | b'#')).next().unwrap_or_default()
}

/// True for what can be a host and a port, or has neither `@` nor `:`, so that it is no userinfo.
fn is_host(authority: &[u8]) -> bool {
    if last_at(authority).is_some() {
        return false;
    }
    let (host, port) = match memchr::memrchr(b':', authority) {
        Some(colon) if !authority.ends_with(b"]") => authority.split_at(colon),
        _ => (authority, &b""[..]),
    };
    let is_address = host.starts_with(b"[") && host.ends_with(b"]");
    let has_colon = memchr::memchr(b':', host).is_some() || holds(host, &[b"%3a"]);
    port.iter().skip(1).all(u8::is_ascii_digit) && (is_address || !has_colon)
}

/// Where the authority begins: behind the scheme and any slashes.
fn start(text: &[u8]) -> usize {
    let blank = |byte: &u8| !byte.is_ascii_graphic() || b"\"'`<([".contains(byte);
    let from = text.iter().take_while(|byte| blank(byte)).count();
    let rest = text.get(from..).unwrap_or_default();
    let in_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let scheme = rest.iter().take_while(|byte| in_scheme(byte)).count();
    let colon = usize::from(rest.get(scheme) == Some(&b':'));
    let slashes = slashes(rest.get(scheme + colon..).unwrap_or_default());
    let is_http = is_http(rest.get(..scheme).unwrap_or_default());
    // `me:secret@host` has no scheme, although it could be read as one.
    if colon > 0 && (slashes > 0 || is_http) || scheme == 0 { from + scheme + colon + slashes } else { from }
}

fn is_http(scheme: &[u8]) -> bool {
    [&b"http"[..], b"https"].iter().any(|http| scheme.eq_ignore_ascii_case(http))
}

/// The length of the slashes at the front, with the characters that the URL standard ignores between them.
fn slashes(text: &[u8]) -> usize {
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let taken =
        text.iter().take_while(|byte| is_slash(byte) || matches!(byte, b'\t' | b'\n' | b'\r')).count();
    if text.get(..taken).is_some_and(|taken| taken.iter().any(is_slash)) { taken } else { 0 }
}

/// How far it is to what follows the next two slashes.
fn behind_slashes(text: &[u8]) -> Option<usize> {
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let at = text.windows(2).position(|pair| pair.iter().all(is_slash))?;
    Some(at + slashes(text.get(at..)?))
}

/// The end of the last `@`, in any spelling.
fn last_at(text: &[u8]) -> Option<usize> {
    const SPELLINGS: [&[u8]; 9] = [
        b"%40",
        b"%2540",
        b"\\x40",
        b"\\u{40}",
        b"&#64;",
        b"&#x40;",
        b"&#X40;",
        "\u{ff20}".as_bytes(),
        "\u{fe6b}".as_bytes(),
    ];
    let plain = memchr::memrchr(b'@', text).map(|at| at + 1);
    let end = |spelling: &&[u8]| Some(memchr::memmem::rfind(text, spelling)? + spelling.len());
    plain.max(SPELLINGS.iter().filter_map(end).max())
}

fn holds(text: &[u8], spellings: &[&[u8]]) -> bool {
    spellings
        .iter()
        .any(|spelling| text.windows(spelling.len()).any(|part| part.eq_ignore_ascii_case(spelling)))
}

// --- values ------------------------------------------------------------------------------------------------------

/// The next value from `from` on whose name says that it is a secret.
fn next_value(text: &[u8], from: usize, secrets: Secrets) -> Option<Range<usize>> {
    let mut at = from;
    while let Some(found) = text.get(at..)?.iter().position(|byte| matches!(byte, b'=' | b':' | b' ' | b'\t'))
    {
        at += found;
        let (before, sign) = (text.get(..at)?, *text.get(at)?);
        let value = match sign {
            b'=' if secrets.queries => parameter(before, text, at + 1),
            b':' if secrets.fields => field(before, text, at + 1),
            b' ' | b'\t' if secrets.fields => scheme(before, text, at + 1),
            _ => None,
        };
        if let Some(value) = value.filter(|value| !value.is_empty() && value.end > from) {
            return Some(value.start.max(from)..value.end);
        }
        at += 1;
    }
    None
}

/// `?name=value`
fn parameter(before: &[u8], text: &[u8], from: usize) -> Option<Range<usize>> {
    let name = name_at_end(before);
    let sign = before.get(..before.len() - name.len())?.last();
    let begins =
        sign.is_none_or(|byte| b"?&;#{,(".contains(byte) || byte.is_ascii_whitespace() || is_quote(byte));
    if !begins || !is_secret(name) {
        return None;
    }
    let end = text.get(from..)?.iter().position(|byte| b"?&;#\"'`".contains(byte));
    Some(from..end.map_or(text.len(), |end| from + end))
}

/// `Name: value`, `"name": "value"`, and the same within other quotes.
fn field(before: &[u8], text: &[u8], mut from: usize) -> Option<Range<usize>> {
    let is_between = |byte: &&u8| byte.is_ascii_whitespace() || is_quote(byte) || **byte == b'\\';
    let name = before.len() - before.iter().rev().take_while(is_between).count();
    if !is_secret_field(name_at_end(before.get(..name)?)) {
        return None;
    }
    from += text.get(from..)?.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let value = text.get(from..)?;
    let quotes = value.iter().take_while(|byte| is_quote(byte) || **byte == b'\\').count();
    let (open, rest) = value.split_at_checked(quotes)?;
    let end = match open {
        [] => match rest.first() {
            Some(b'[') => memchr::memchr(b']', rest),
            Some(b'{') => memchr::memchr(b'}', rest),
            _ => memchr::memchr2(b'\n', b'\r', rest),
        },
        _ => closed(open, rest),
    };
    Some(from + quotes..end.map_or(text.len(), |end| from + quotes + end))
}

/// The end of a value behind the opening quote `open`: at the same quote, unless what follows belongs to the value.
fn closed(open: &[u8], rest: &[u8]) -> Option<usize> {
    let ends = |at: &usize| {
        let behind = rest.get(at + open.len()..).unwrap_or_default().trim_ascii_start();
        let before = at.checked_sub(1).and_then(|before| rest.get(before));
        behind.first().is_none_or(|byte| b",}])".contains(byte)) && before != Some(&b'\\')
    };
    memchr::memmem::find_iter(rest, open).find(ends)
}

/// `Bearer value`, as in a header field.
fn scheme(before: &[u8], text: &[u8], from: usize) -> Option<Range<usize>> {
    let name = name_at_end(before);
    let is_scheme = [&b"bearer"[..], b"basic", b"authorization", b"proxy-authorization"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known));
    if !is_scheme {
        return None;
    }
    let end = text.get(from..)?.iter().position(|byte| is_quote(byte) || *byte == b'\n');
    Some(from..end.map_or(text.len(), |end| from + end))
}

fn is_quote(byte: &u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

fn name_at_end(text: &[u8]) -> &[u8] {
    let in_name = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-.[]%$".contains(byte);
    let length = text.iter().rev().take_while(in_name).count();
    text.get(text.len() - length..).unwrap_or_default()
}

fn is_secret_field(name: &[u8]) -> bool {
    is_secret(name) || holds(name, &[b"cookie"])
}

/// Matches whole words, so that `author` and `monkey` do not match; some names join words without a separator.
fn is_secret(name: &[u8]) -> bool {
    const WORDS: &[&str] = &[
        "auth",
        "authorization",
        "apikey",
        "bearer",
        "credential",
        "credentials",
        "hmac",
        "jwt",
        "key",
        "otp",
        "pass",
        "psw",
        "pwd",
        "session",
        "sessionid",
        "sid",
        "sig",
    ];
    const PARTS: &[&str] =
        &["accesskey", "apikey", "passphrase", "passw", "privatekey", "secret", "signature", "token"];
    let name = percent_decoded(name);
    let lower = name.to_ascii_lowercase();
    let words =
        |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| WORDS.contains(&word));
    words(&lower) || words(&split_camel(&name)) || PARTS.iter().any(|part| lower.contains(part))
}

/// `userKey` as `user-key`.
fn split_camel(name: &str) -> String {
    let mut split = String::with_capacity(name.len() + 4);
    let mut after_small = false;
    for c in name.chars() {
        if after_small && c.is_ascii_uppercase() {
            split.push('-');
        }
        after_small = c.is_ascii_lowercase();
        split.push(c.to_ascii_lowercase());
    }
    split
}

fn percent_decoded(name: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'%', name).is_none() {
        return String::from_utf8_lossy(name);
    }
    let mut decoded = String::new();
    let mut rest = String::from_utf8_lossy(name).into_owned();
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        decoded.push_str(before);
        let code = after.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(code.filter(u8::is_ascii).map_or('%', char::from));
        rest = after.get(if code.is_some() { 3 } else { 1 }..).unwrap_or_default().to_owned();
    }
    decoded.push_str(&rest);
    Cow::Owned(decoded)
}

/// The text with escapes such as `\u0040` decoded, where they are plain ASCII; `None` if it has none.
pub(crate) fn without_json_escapes(text: &[u8]) -> Option<Vec<u8>> {
    memchr::memmem::find(text, b"\\u00")?;
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, b"\\u00") {
        let (before, after) = rest.split_at_checked(at)?;
        plain.extend_from_slice(before);
        let digits = after.get(4..6).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code.filter(|code| (0x20..0x7f).contains(code)) {
            Some(code) => {
                plain.push(code);
                rest = after.get(6..).unwrap_or_default();
            }
            None => {
                plain.extend_from_slice(after.get(..4)?);
                rest = after.get(4..)?;
            }
        }
    }
    plain.extend_from_slice(rest);
    Some(plain)
}
