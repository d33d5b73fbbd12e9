//! curl's URL globbing: `{a,b}`, `[1-9]`, `[001-100:2]`, `[a-z]`. One pattern expands to many URLs, the last part
//! changing fastest.
//!
//! Patterns are expanded lazily, so one may have more URLs than fit in memory.

use std::fmt;
use std::fmt::Write as _;

use crate::{limits, sanitize};

/// A pattern that was read.
///
/// ```
/// use overlapped_proto::glob::Glob;
///
/// let glob = Glob::parse("http://{a,b}.example/[08-10].png")?;
/// assert_eq!(glob.count(), 6);
/// assert_eq!(glob.iter().next().as_deref(), Some("http://a.example/08.png"));
/// assert_eq!(glob.iter().last().as_deref(), Some("http://b.example/10.png"));
/// # Ok::<(), overlapped_proto::glob::GlobError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    parts: Vec<Part>,
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Set(Vec<String>),
    Letters { first: char, count: u64, step: u64 },
    Numbers { first: u64, count: u64, step: u64, digits: usize },
}

impl Glob {
    /// Reads a pattern. A backslash takes a brace or bracket literally, an IPv6 address keeps its brackets, and `{}` and
    /// `[]` are literal, as in curl.
    ///
    /// # Errors
    ///
    /// What is wrong, and at which byte.
    pub fn parse(pattern: &str) -> Result<Self, GlobError> {
        let error = |at, problem| GlobError { pattern: pattern.into(), at, problem };
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut at = 0;
        while let Some(rest) = pattern.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some(literal) = literal(rest) {
                text.push_str(literal.text);
                at += literal.bytes;
                continue;
            }
            let (part, bytes) = match rest.as_bytes().first() {
                Some(b'{') => set(rest),
                Some(b'[') => range(rest),
                _ => Err((0, "closes nothing")),
            }
            .map_err(|(offset, problem)| error(at + offset, problem))?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(part);
            at += bytes;
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let count = parts.iter().try_fold(1_u64, |count, part| count.checked_mul(part.count()));
        Ok(Self { parts, count: count.ok_or_else(|| error(0, "expands to too many URLs"))? })
    }

    /// The number of URLs.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The URLs in order.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.count).map(|index| self.url(index))
    }

    /// The URL at this place, from 0: the digits of `index`, with each part's own base.
    fn url(&self, index: u64) -> String {
        let mut url = String::new();
        let mut below = self.count;
        for part in &self.parts {
            below /= part.count();
            part.push(index / below % part.count(), &mut url);
        }
        url
    }
}

impl Part {
    fn count(&self) -> u64 {
        match self {
            Self::Text(_) => 1,
            Self::Set(texts) => texts.len() as u64,
            Self::Letters { count, .. } | Self::Numbers { count, .. } => *count,
        }
    }

    fn push(&self, index: u64, url: &mut String) {
        match self {
            Self::Text(text) => url.push_str(text),
            Self::Set(texts) => {
                let text = usize::try_from(index).ok().and_then(|index| texts.get(index));
                url.push_str(text.map_or("", String::as_str));
            }
            Self::Letters { first, step, .. } => {
                let code = u64::from(u32::from(*first)) + index * step;
                url.extend(u32::try_from(code).ok().and_then(char::from_u32));
            }
            Self::Numbers { first, step, digits, .. } => {
                let _ = write!(url, "{:0digits$}", first + index * step);
            }
        }
    }
}

/// A pattern that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobError {
    pattern: Box<str>,
    /// The byte at which the problem begins.
    pub at: usize,
    problem: &'static str,
}

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pattern, at, problem } = self;
        // No more than the bracket itself: what follows may be a secret.
        let bracket = pattern.get(*at..).and_then(|rest| rest.chars().next());
        let bracket = bracket.map(|c| format!("{c} at byte {at} ")).unwrap_or_default();
        let shown = sanitize::quote(pattern.as_bytes(), limits::QUOTE_BYTES_MAX);
        write!(f, "in the URL pattern {shown}: {bracket}{problem}; -g takes braces and brackets literally")
    }
}

impl std::error::Error for GlobError {}

type Problem = (usize, &'static str);

struct Literal<'a> {
    text: &'a str,
    bytes: usize,
}

/// The literal text at the front of `rest`, if it is not part of a pattern.
fn literal(rest: &str) -> Option<Literal<'_>> {
    if let Some(escaped) = rest.strip_prefix('\\').filter(|after| after.starts_with(['{', '}', '[', ']'])) {
        return Some(Literal { text: escaped.get(..1)?, bytes: 2 });
    }
    let bytes = match rest.as_bytes().first()? {
        b'{' if rest.starts_with("{}") => 2,
        b'[' if rest.starts_with("[]") => 2,
        b'[' => ipv6(rest)?,
        b'{' | b'}' | b']' => return None,
        b'\\' => 1,
        _ => rest.find(['{', '}', '[', ']', '\\']).unwrap_or(rest.len()),
    };
    Some(Literal { text: rest.get(..bytes)?, bytes })
}

/// The length of an IPv6 address in brackets, with or without a zone.
fn ipv6(rest: &str) -> Option<usize> {
    let (inside, _) = rest.strip_prefix('[')?.split_once(']')?;
    let address = inside.split_once('%').map_or(inside, |(address, _)| address);
    address.parse::<std::net::Ipv6Addr>().ok().map(|_| inside.len() + 2)
}

fn set(rest: &str) -> Result<(Part, usize), Problem> {
    let mut texts = vec![String::new()];
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '}' => return Ok((Part::Set(texts), at + 1)),
            ',' => texts.push(String::new()),
            '{' | '[' | ']' => return Err((at, "is not allowed within braces")),
            _ => {
                let escaped = chars
                    .next_if(|&(_, next)| c == '\\' && matches!(next, '{' | '}' | '[' | ']' | ',' | '\\'));
                texts.last_mut().into_iter().for_each(|text| text.push(escaped.map_or(c, |(_, next)| next)));
            }
        }
    }
    Err((0, "is never closed"))
}

fn range(rest: &str) -> Result<(Part, usize), Problem> {
    let Some((inside, _)) = rest.get(1..).and_then(|rest| rest.split_once(']')) else {
        return Err((0, "is never closed"));
    };
    let bad = (0, "is not a range like [1-9], [001-100:2] or [a-z]");
    let (span, step) = inside.split_once(':').unwrap_or((inside, "1"));
    let (first, last) = span.split_once('-').ok_or(bad)?;
    let step = number(step).filter(|step| *step > 0).ok_or(bad)?;
    let part = match (letter(first), letter(last)) {
        (Some(first), Some(last)) if first.is_ascii_lowercase() == last.is_ascii_lowercase() => {
            let count = count(u32::from(first).into(), u32::from(last).into(), step);
            Part::Letters { first, count: count.ok_or((0, "runs backwards"))?, step }
        }
        _ => {
            let (from, to) = (number(first).ok_or(bad)?, number(last).ok_or(bad)?);
            let digits = if first.starts_with('0') { first.len() } else { 1 };
            let count = count(from, to, step).ok_or((0, "runs backwards, or has too many numbers"))?;
            Part::Numbers { first: from, count, step, digits }
        }
    };
    Ok((part, inside.len() + 2))
}

/// How many steps from `first` to `last`; `None` if there are none, or too many to count.
fn count(first: u64, last: u64, step: u64) -> Option<u64> {
    (last.checked_sub(first)? / step).checked_add(1)
}

/// A number of digits only, without a sign; `None` if it does not fit.
fn number(text: &str) -> Option<u64> {
    if text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn letter(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|c| c.is_ascii_alphabetic() && chars.next().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, expected: &[&str]) {
        let glob = Glob::parse(pattern).unwrap();
        assert_eq!(glob.iter().collect::<Vec<_>>(), expected, "{pattern}");
        assert_eq!(glob.count(), u64::try_from(expected.len()).unwrap(), "{pattern}");
    }

    fn check_error(pattern: &str, at: usize, problem: &str) {
        let error = Glob::parse(pattern).unwrap_err();
        assert_eq!((error.at, error.problem), (at, problem), "{pattern}");
    }

    #[test]
    fn patterns() {
        check("http://a/", &["http://a/"]);
        check("", &[""]);
        check("{a,b}", &["a", "b"]);
        check("{a}", &["a"]);
        check("{a,,b}", &["a", "", "b"]);
        check("[1-3]", &["1", "2", "3"]);
        check("[9-11]", &["9", "10", "11"]);
        check("[08-10]", &["08", "09", "10"]);
        check("[001-006:2]", &["001", "003", "005"]);
        check("[0-0]", &["0"]);
        check("[a-e:2]", &["a", "c", "e"]);
        check("[X-Z]", &["X", "Y", "Z"]);
        check("{a,b}[1-2]{x,y}", &["a1x", "a1y", "a2x", "a2y", "b1x", "b1y", "b2x", "b2y"]);
        check(
            "[18446744073709551614-18446744073709551615]",
            &["18446744073709551614", "18446744073709551615"],
        );
    }

    #[test]
    fn what_is_taken_literally() {
        check("http://[::1]:8080/[1-2]", &["http://[::1]:8080/1", "http://[::1]:8080/2"]);
        check("http://[fe80::1%25eth0]/", &["http://[fe80::1%25eth0]/"]);
        check("{}", &["{}"]);
        check("x?ids[]=1&ids[]=[1-2]", &["x?ids[]=1&ids[]=1", "x?ids[]=1&ids[]=2"]);
        check(r"\{a\}\[1\]", &["{a}[1]"]);
        check(r"a\b", &[r"a\b"]);
        check(r"{a\,b,c\}}", &["a,b", "c}"]);
        check("\u{e4}{\u{f6},\u{fc}}", &["\u{e4}\u{f6}", "\u{e4}\u{fc}"]);
    }

    #[test]
    fn errors_say_where() {
        check_error("a{b", 1, "is never closed");
        check_error("a[1-2", 1, "is never closed");
        check_error("ab}", 2, "closes nothing");
        check_error("ab]", 2, "closes nothing");
        check_error("a[]]", 3, "closes nothing");
        check_error("{a{b}}", 2, "is not allowed within braces");
        check_error("x[5-1]", 1, "runs backwards, or has too many numbers");
        check_error("x[c-a]", 1, "runs backwards");
        let range = "is not a range like [1-9], [001-100:2] or [a-z]";
        for bad in
            ["x[1]", "x[1-]", "x[-1]", "x[1-2:0]", "x[1-2:-1]", "x[a-Z]", "x[+1-2]", "x[\u{e4}-\u{fc}]"]
        {
            check_error(bad, 1, range);
        }
        check_error("[0-99999999999999999999]", 0, range);
        check_error("[0-9999999999][0-9999999999]", 0, "expands to too many URLs");
    }

    proptest! {
        #[test]
        fn never_panics(pattern in "[a-c0-9{}\\[\\],:\\\\-]{0,30}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                prop_assert!(glob.count() > 0);
                prop_assert!(glob.iter().take(3).count() > 0);
                glob.url(glob.count() - 1);
            }
        }
    }
}
