//! Reads a `Set-Cookie` field (RFC 6265bis, section 5.6). Octets beyond ASCII are kept as they are.
//!
//! `SameSite` says which pages may cause a request. Nothing here is a page, so it is passed over.

use super::date;
use crate::limits;

/// A parsed `Set-Cookie` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SetCookie<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    /// Not empty, and without a leading dot.
    pub(super) domain: Option<&'a [u8]>,
    /// Begins with a slash.
    pub(super) path: Option<&'a [u8]>,
    pub(super) secure: bool,
    pub(super) http_only: bool,
    /// In seconds since 1970; `None`: until the end of the session.
    pub(super) expires: Option<i64>,
}

impl<'a> SetCookie<'a> {
    /// `None`: a browser ignores it.
    pub(super) fn parse(field: &'a [u8], now: i64) -> Option<Self> {
        if field.iter().any(|&byte| is_control(byte)) {
            return None;
        }
        let mut parts = field.split(|&byte| byte == b';');
        let (name, value) = match split(parts.next()?) {
            (value, None) => (&b""[..], value),
            (name, Some(value)) => (name, value),
        };
        if !fits(name, value) {
            return None;
        }
        let mut cookie =
            Self { name, value, domain: None, path: None, secure: false, http_only: false, expires: None };
        let mut lasts_until = None;
        for part in parts {
            let (attribute, value) = split(part);
            let value = value.unwrap_or_default();
            if value.len() > limits::COOKIE_ATTRIBUTE_BYTES_MAX {
                continue;
            }
            let is = |name: &str| attribute.eq_ignore_ascii_case(name.as_bytes());
            if is("expires") {
                cookie.expires = date::parse(value).or(cookie.expires);
            } else if is("max-age") {
                lasts_until = age(value).map(|age| now.saturating_add(age)).or(lasts_until);
            } else if is("domain") {
                let bare = value.strip_prefix(b".").unwrap_or(value);
                cookie.domain = Some(bare).filter(|bare| !bare.is_empty());
            } else if is("path") {
                cookie.path = Some(value).filter(|path| path.starts_with(b"/"));
            } else if is("secure") {
                cookie.secure = true;
            } else if is("httponly") {
                cookie.http_only = true;
            }
        }
        let latest = now.saturating_add(limits::COOKIE_AGE_MAX_S);
        cookie.expires = lasts_until.or(cookie.expires).map(|at| at.min(latest));
        Some(cookie)
    }
}

/// True if a cookie may have this name and value: not both empty, and not too long.
pub(super) fn fits(name: &[u8], value: &[u8]) -> bool {
    (1..=limits::COOKIE_BYTES_MAX).contains(&(name.len() + value.len()))
}

/// Control characters but the tab.
pub(super) fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// At the first `=`, without blanks around both parts.
fn split(part: &[u8]) -> (&[u8], Option<&[u8]>) {
    match part.iter().position(|&byte| byte == b'=').and_then(|at| part.split_at_checked(at)) {
        Some((name, value)) => (trimmed(name), Some(trimmed(value.get(1..).unwrap_or_default()))),
        None => (trimmed(part), None),
    }
}

fn trimmed(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().take_while(|byte| is_blank(byte)).count();
    let rest = text.get(start..).unwrap_or_default();
    let end = rest.len() - rest.iter().rev().take_while(|byte| is_blank(byte)).count();
    rest.get(..end).unwrap_or_default()
}

/// The seconds of a `Max-Age`; what is too large counts as the largest, and what is not positive as over.
fn age(value: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let is_number = digits.iter().all(u8::is_ascii_digit) && (is_negative || !digits.is_empty());
    let over = i64::MIN / 2;
    let sum = || {
        digits.iter().fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')))
    };
    match is_number.then(|| if is_negative { 0 } else { sum() })? {
        0 => Some(over),
        age => Some(age),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn parse(field: &str) -> Option<SetCookie<'_>> {
        SetCookie::parse(field.as_bytes(), NOW)
    }

    fn check(field: &str, expected: Option<(&str, &str)>) {
        let seen = parse(field).map(|cookie| (cookie.name, cookie.value));
        assert_eq!(seen, expected.map(|(name, value)| (name.as_bytes(), value.as_bytes())), "{field:?}");
    }

    #[test]
    fn names_and_values() {
        check("a=b", Some(("a", "b")));
        check("a=b; Path=/", Some(("a", "b")));
        check(" \ta\t = \tb c ", Some(("a", "b c")));
        check("a=b=c", Some(("a", "b=c")));
        check("a=\"b, c\"", Some(("a", "\"b, c\"")));
        check("a=b\tc", Some(("a", "b\tc")));
        check("a=", Some(("a", "")));
        check("=b", Some(("", "b")));
        check("b", Some(("", "b")));
        check("=a=b", Some(("", "a=b")));
        check("a\u{e4}=\u{f6}", Some(("a\u{e4}", "\u{f6}")));
        check("", None);
        check("=", None);
        check(" ; Secure", None);
        for control in ["a=b\0", "a=b\x1f", "a=b\x7f", "a=b; Path=/\n"] {
            check(control, None);
        }
        assert_eq!(SetCookie::parse(b"a=\xff\xfe", NOW).unwrap().value, b"\xff\xfe");
        let longest = "x".repeat(limits::COOKIE_BYTES_MAX - 1);
        check(&format!("a={longest}"), Some(("a", &longest)));
        check(&format!("ab={longest}"), None);
    }

    #[test]
    fn attributes() {
        let cookie = parse("a=b; SECURE ;httponly=x; Domain=.Example.org; Path=/x; Unknown=1").unwrap();
        assert!(cookie.secure && cookie.http_only);
        assert_eq!((cookie.domain, cookie.path), (Some(&b"Example.org"[..]), Some(&b"/x"[..])));
        assert_eq!(parse("a=b; Domain=x; Domain=").unwrap().domain, None);
        assert_eq!(parse("a=b; Path=/x; Path=y").unwrap().path, None);
        let long = format!("a=b; Path=/y; Path=/{}", "x".repeat(limits::COOKIE_ATTRIBUTE_BYTES_MAX));
        assert_eq!(parse(&long).unwrap().path, Some(&b"/y"[..]), "too long to count");
    }

    #[test]
    fn how_long_it_lasts() {
        let check = |attributes: &str, expected| {
            assert_eq!(parse(&format!("a=b; {attributes}")).unwrap().expires, expected, "{attributes}");
        };
        let latest = NOW + limits::COOKIE_AGE_MAX_S;
        check("", None);
        check("Max-Age=60", Some(NOW + 60));
        check("Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", Some(NOW + 60));
        check("Expires=Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Expires=Thu, 01 Jan 1601 00:00:00 GMT", Some(-11_644_473_600));
        check("Expires=Fri, 31 Dec 9999 23:59:59 GMT", Some(latest));
        check("Expires=never", None);
        check("Max-Age=99999999999999999999", Some(latest));
        check("Max-Age=1; Max-Age=2", Some(NOW + 2));
        for over in ["0", "-1", "-", "-99999999999999999999"] {
            assert!(parse(&format!("a=b; Max-Age={over}")).unwrap().expires.unwrap() < NOW, "{over}");
        }
        for no_number in ["", "+1", "1.5", "x", "1x"] {
            check(&format!("Max-Age={no_number}"), None);
        }
    }
}
