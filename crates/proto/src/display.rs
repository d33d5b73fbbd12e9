//! Text from strangers, made fit for a person's eyes: no control of the terminal, no credential, no endless line.
//!
//! What is written here is for reading; it is never parsed again and never sent.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::limits;

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
    for c in text.chars() {
        if is_unsafe(c) {
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Bytes of unknown origin for a message: without userinfo, cut, made UTF-8, escaped.
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = redact(&text);
    let cut = text.char_indices().map(|(at, _)| at).find(|&at| at >= limits::QUOTE_BYTES_MAX);
    match cut.and_then(|at| text.get(..at)) {
        Some(start) => format!("{}\u{2026}", escape(start)),
        None => escape(&text).into_owned(),
    }
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
    if memchr::memchr(b'@', url.as_bytes()).is_none() {
        return Cow::Borrowed(url);
    }
    let start = authority_start(url);
    let (head, rest) = url.split_at(start);
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    match rest.get(..end).and_then(|authority| authority.rfind('@')) {
        Some(at) => Cow::Owned(format!("{head}{}", rest.get(at + 1..).unwrap_or_default())),
        None => Cow::Borrowed(url),
    }
}

/// Where `user:password@host` would begin: after `scheme:` and any slashes, as browsers read it.
fn authority_start(url: &str) -> usize {
    let slashes = |from: usize| {
        let rest = url.get(from..).unwrap_or_default();
        from + rest.len() - rest.trim_start_matches(['/', '\\']).len()
    };
    match url.split_once(':') {
        Some((scheme, rest))
            if rest.starts_with(['/', '\\'])
                || scheme.trim().eq_ignore_ascii_case("http")
                || scheme.trim().eq_ignore_ascii_case("https") =>
        {
            slashes(scheme.len() + 1)
        }
        _ => slashes(0),
    }
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
