//! Finds secrets in a text: userinfo, and the values of query parameters, header fields and members of objects with names
//! of secrets.
//!
//! A URL that parses is read as the URL standard defines. Any other text may be anything, so the search errs on the side
//! of redaction: a password may contain every character, and a row may be truncated anywhere.

use std::borrow::Cow;
use std::ops::Range;

use url::Url;

use crate::limits;

/// Which secrets are searched for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secrets {
    /// Values of query parameters.
    pub(crate) queries: bool,
    /// Values of header fields and members.
    pub(crate) fields: bool,
    /// `user:password@` without a scheme, even if all is a URL. In what is no URL it is always searched for.
    pub(crate) bare: bool,
    /// The text is only the beginning of a longer one: a userinfo may have no end in it.
    pub(crate) cut: bool,
}

impl Secrets {
    /// Those of a text that may be anything.
    pub(crate) const ALL: Self = Self { queries: true, fields: true, bare: true, cut: false };
    /// Those of a text that is probably a URL.
    pub(crate) const OF_URL: Self = Self { bare: false, ..Self::ALL };
}

/// The secrets of a text in order, each with its replacement.
pub(crate) fn find(text: &[u8], secrets: Secrets) -> Vec<(Range<usize>, &'static str)> {
    let mut found = as_written(text, secrets);
    // A URL inside a parameter of another one is percent-encoded, once for each URL around it.
    let mut decoded = Decoded::of(text);
    for _ in 0..limits::NESTED_ENCODINGS_MAX {
        let Some(plain) = decoded else { break };
        let inner = as_written(&plain.text, secrets).into_iter();
        found.extend(inner.map(|(range, instead)| (plain.in_original(range), instead)));
        decoded = plain.again();
    }
    if let Some(first) = decoded.and_then(|deeper| deeper.first) {
        found.push((first..text.len(), HIDDEN));
    }
    found.retain(|(range, _)| !range.is_empty());
    found.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
    found.dedup_by(|(range, _), (before, instead)| {
        let apart = range.start >= before.end;
        if !apart && range.end > before.end {
            (before.end, *instead) = (range.end, HIDDEN);
        }
        !apart
    });
    found
}

/// The secrets of a text as it is written, in any order.
fn as_written(text: &[u8], secrets: Secrets) -> Vec<(Range<usize>, &'static str)> {
    let mut found: Vec<_> = userinfos(text, secrets).into_iter().map(|range| (range, "")).collect();
    let mut at = 0;
    while let Some(value) = next_value(text, at, secrets) {
        at = value.end.max(at + 1);
        found.push((value, HIDDEN));
    }
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
        Some(url) if is_web(&url) => in_authority(text, start(text)),
        _ => anywhere(text, start(text), cut),
    }
}

/// The userinfo of a text and of the URLs that are parts of it.
fn userinfos(text: &[u8], Secrets { cut, bare: also_bare, .. }: Secrets) -> Vec<Range<usize>> {
    if !cut && last_at(text).is_none() {
        return Vec::new();
    }
    let own = userinfo(text, cut);
    let behind = own.as_ref().map_or(0, |own| own.end);
    // Text before the userinfo that was found may hold one too.
    let begins = start(text);
    let from = if own.as_ref().is_some_and(|own| own.start <= begins) { behind } else { begins };
    let bare = if also_bare || !is_row(text) { bare(text, from) } else { None };
    [own, nested(text, behind, cut), bare].into_iter().flatten().collect()
}

/// True for a URL that a row may have.
fn is_row(text: &[u8]) -> bool {
    let url = std::str::from_utf8(text).ok().and_then(|text| Url::parse(text).ok());
    let has_control = text.iter().any(|byte| *byte < 0x20);
    !has_control && url.is_some_and(|url| is_web(&url) && url.port() != Some(0))
}

fn is_web(url: &Url) -> bool {
    url.has_host() && is_http(url.scheme().as_bytes())
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
        start = next_start(text, start)?;
    }
}

/// The userinfo of a URL that is part of another one.
fn nested(text: &[u8], from: usize, cut: bool) -> Option<Range<usize>> {
    let first = from + if from == 0 { start(text) } else { 0 };
    let behind = first + authority(text.get(first..)?).len();
    anywhere(text, next_start(text, behind)?, cut)
}

/// `user:password@` without a scheme, in a text that is no URL: from the first part with a colon that is not before a
/// port to the last `@` of all.
fn bare(text: &[u8], from: usize) -> Option<Range<usize>> {
    let last = last_at(text)?;
    let mut at = from;
    while at < last {
        let chunk = authority(text.get(at..)?);
        if let Some(colon) = memchr::memchr(b':', chunk) {
            let begins =
                |byte: &u8| byte.is_ascii_whitespace() || is_quote(byte) || b"=&;,(<[{|".contains(byte);
            let start = chunk.get(..colon)?.iter().rposition(begins).map_or(0, |before| before + 1);
            let part = chunk.get(start..)?;
            let is_user = memchr::memrchr(b'@', part).is_none_or(|at| at + start > colon);
            if is_user && !is_host(part) {
                return Some(at + start..last);
            }
        }
        at += chunk.len() + 1;
    }
    None
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

/// Where the next authority may begin: behind two slashes, behind a scheme with a slash, or behind `http:`.
fn next_start(text: &[u8], from: usize) -> Option<usize> {
    let is_slash = |byte: Option<&u8>| matches!(byte, Some(b'/' | b'\\'));
    for (at, byte) in text.iter().enumerate().skip(from) {
        let (next, behind) = (at + 1, text.get(at + 1..)?);
        let starts = match byte {
            b'/' | b'\\' => is_slash(behind.first()),
            b':' => slashes(behind) > 0 || ends_with_http(text.get(..at)?),
            _ => false,
        };
        if starts {
            return Some(next + slashes(behind));
        }
    }
    None
}

fn ends_with_http(text: &[u8]) -> bool {
    let ends_with = |scheme: &[u8]| {
        let at = text.len().checked_sub(scheme.len());
        let tail = at.and_then(|at| text.split_at_checked(at));
        tail.is_some_and(|(before, tail)| {
            tail.eq_ignore_ascii_case(scheme) && !before.last().is_some_and(u8::is_ascii_alphanumeric)
        })
    };
    ends_with(b"http") || ends_with(b"https")
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

// --- encodings ---------------------------------------------------------------------------------------------------

/// A text with its escapes decoded once more, such as `%3A`, `\x3a` and `&#58;`.
struct Decoded {
    text: Vec<u8>,
    /// Where each of its bytes begins in the original text, and the end of that.
    places: Vec<usize>,
    /// Where the first of the escapes that were decoded begins in the original text.
    first: Option<usize>,
}

impl Decoded {
    /// `None` if there is no escape.
    fn of(text: &[u8]) -> Option<Self> {
        memchr::memchr3(b'%', b'\\', b'&', text)?;
        Self::from(text, |at| at)
    }

    fn again(&self) -> Option<Self> {
        Self::from(&self.text, |at| self.place(at))
    }

    fn from(text: &[u8], place: impl Fn(usize) -> usize) -> Option<Self> {
        let mut decoded = Self { text: Vec::new(), places: Vec::new(), first: None };
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let escape = escape(rest);
            if escape.is_some() && decoded.first.is_none() {
                decoded.first = Some(place(at));
            }
            let (byte, length) = escape.or_else(|| Some((*rest.first()?, 1)))?;
            decoded.text.push(byte);
            decoded.places.push(place(at));
            at += length;
        }
        decoded.places.push(place(at));
        decoded.first.is_some().then_some(decoded)
    }

    fn in_original(&self, range: Range<usize>) -> Range<usize> {
        self.place(range.start)..self.place(range.end)
    }

    fn place(&self, at: usize) -> usize {
        *self.places.get(at).expect("each byte and the end have a place")
    }
}

/// The byte that an escape at the front stands for, and the length of the escape.
fn escape(text: &[u8]) -> Option<(u8, usize)> {
    let number = |digits: &[u8], radix| u8::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok();
    let hex = |from: usize| {
        let digits = text.get(from..from + 2)?;
        digits.iter().all(u8::is_ascii_hexdigit).then(|| number(digits, 16))?
    };
    match text {
        [b'%', ..] => Some((hex(1)?, 3)),
        [b'\\', b'x', ..] => Some((hex(2)?, 4)),
        [b'\\', b'u', b'0', b'0', ..] => Some((hex(4)?, 6)),
        [b'&', b'#', rest @ ..] => {
            let end = rest.iter().take(limits::ENTITY_BYTES_MAX).position(|byte| *byte == b';')?;
            let code = match rest.get(..end)? {
                [b'x' | b'X', digits @ ..] => number(digits, 16)?,
                digits => number(digits, 10)?,
            };
            Some((code, end + 3))
        }
        _ => None,
    }
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
