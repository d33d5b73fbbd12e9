//! Parses the URL of a row, and refuses those that cannot be fetched.
//!
//! The URL parser is that of the WHATWG standard. This module only adds refusals and does not repair a URL: a corrected
//! one is a hint in the message.

use std::net::Ipv6Addr;

use url::{Host, ParseError, Url};

use crate::error::ErrorKind;
use crate::limits;
use crate::origin::{Scheme, is_localhost};
use crate::outcome::Failure;
use crate::sanitize;

/// Parses the URL of a row.
///
/// ```
/// use overlapped_proto::input::url;
///
/// assert_eq!(url::parse("HTTP://Example.org").unwrap().as_str(), "http://example.org/");
/// assert_eq!(
///     url::parse("example.org:8080/a").unwrap_err().to_string(),
///     "input.url: example.org:8080/a has no scheme; perhaps https://example.org:8080/a is meant"
/// );
/// ```
///
/// # Errors
///
/// What is wrong with it, with a hint where one can be given.
pub fn parse(text: &str) -> Result<Url, Failure> {
    if text.is_empty() {
        return Err(Failure::new(ErrorKind::InputEmpty, "there is no URL"));
    }
    if has_control(text) {
        let message = format!("{} holds a control character", quote(text));
        return Err(Failure::new(ErrorKind::InputUrl, message));
    }
    match Url::parse(text) {
        Ok(url) if Scheme::of(&url).is_none() => Err(other_scheme(text, &url)),
        Ok(url) if url.port() == Some(0) => {
            Err(Failure::new(ErrorKind::PolicyPort, format!("{}: there is no port 0", quote(text))))
        }
        Ok(url) => Ok(url),
        Err(ParseError::RelativeUrlWithoutBase) => Err(no_scheme(text)),
        Err(ParseError::InvalidPort) => {
            let message = format!("{}: a port is a number from 1 to 65535", quote(text));
            Err(with_hint(message, without_port(text)))
        }
        Err(ParseError::EmptyHost) => {
            Err(with_hint(format!("{}: there is no host in it", quote(text)), None))
        }
        Err(ParseError::IdnaError | ParseError::InvalidDomainCharacter) => {
            let message = "its host has a character that no host may have, such as a blank";
            Err(with_hint(format!("{}: {message}", quote(text)), None))
        }
        Err(error) => Err(with_hint(format!("{}: {error}", quote(text)), None)),
    }
}

/// Parses one URL after the other. In a list neighbours are often of one server, and finding out that a host is one
/// costs more than the rest of the URL; so as long as everything before the path is the same, only the path is parsed.
///
/// ```
/// use overlapped_proto::input::url::{Parser, parse};
///
/// let mut parser = Parser::default();
/// for text in ["http://a.test/1", "http://a.test/2?q#f", "http://b.test/3", "ftp://a.test/4"] {
///     assert_eq!(parser.parse(text).ok(), parse(text).ok());
/// }
/// ```
#[derive(Debug, Default)]
pub struct Parser {
    /// The part of the last URL before its path.
    before: String,
    /// The last URL; `None` if the part before its path cannot be reused.
    last: Option<Url>,
}

impl Parser {
    /// As [`parse`].
    ///
    /// # Errors
    ///
    /// As [`parse`].
    pub fn parse(&mut self, text: &str) -> Result<Url, Failure> {
        if let Some(path) = text.strip_prefix(&*self.before)
            && is_path(path)
            && !has_control(text)
            && let Some(last) = &self.last
            && let Ok(url) = last.join(if path.is_empty() { "/" } else { path })
        {
            return Ok(url);
        }
        let url = parse(text)?;
        let before = path_start(text).and_then(|end| text.get(..end));
        before.unwrap_or_default().clone_into(&mut self.before);
        self.last = before.map(|_| url.clone());
        Ok(url)
    }
}

/// Where the path begins, if it is one that means the same after any `scheme://authority`.
fn path_start(text: &str) -> Option<usize> {
    let authority = text.find("://")? + 3;
    let after = text.get(authority..)?;
    let end = authority + after.find(['/', '\\', '?', '#']).unwrap_or(after.len());
    (end > authority && is_path(text.get(end..)?)).then_some(end)
}

/// True if it means the same after any `scheme://authority`: with two slashes it could be read as the authority. Nothing is the
/// path `/`.
fn is_path(text: &str) -> bool {
    text.is_empty() || text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\")
}

fn has_control(text: &str) -> bool {
    text.bytes().fold(false, |any, byte| any | (byte < 0x20))
}

/// `example.org:80` reads as a scheme `example.org`: if what follows the colon is a port, it was no scheme.
fn other_scheme(text: &str, url: &Url) -> Failure {
    let after = text.split_once(':').map_or("", |(_, after)| after);
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 && matches!(after.as_bytes().get(digits), None | Some(b'/' | b'?' | b'#')) {
        return no_scheme(text);
    }
    let message = format!("{}: {} is not fetched, only http and https are", quote(text), url.scheme());
    Failure::new(ErrorKind::PolicyScheme, message)
}

fn no_scheme(text: &str) -> Failure {
    // As it is copied from a table, from code or from prose.
    let around =
        |c: char| c.is_whitespace() || "\"'`<>()[]{},;\u{feff}\u{201c}\u{201d}\u{2018}\u{2019}".contains(c);
    let bare = if is_bracketed(text) { text } else { text.trim_matches(around) };
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let hint = if is_path {
        None
    } else if Url::parse(bare).is_ok_and(|url| Scheme::of(&url).is_some()) {
        Some(bare.to_owned())
    } else {
        let rest = bare.trim_start_matches(['/', '\\']);
        let http = format!("http://{rest}");
        Some(if Url::parse(&http).is_ok_and(|url| is_local(&url)) { http } else { format!("https://{rest}") })
    };
    with_hint(format!("{} has no scheme", quote(text)), hint)
}

/// True for an IPv6 address in brackets, which belong to it.
fn is_bracketed(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    inner.is_some_and(|(inner, _)| inner.parse::<Ipv6Addr>().is_ok())
}

/// True for a server of this machine, or a private address, which seldom has a certificate.
fn is_local(url: &Url) -> bool {
    let is_private = match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_private(),
        Some(Host::Ipv6(address)) => address.is_loopback() || address.is_unique_local(),
        None => false,
    };
    is_private && url.port() != Some(443)
}

/// The URL without the text in the place of a port.
fn without_port(text: &str) -> Option<String> {
    let start = text.find("//")? + 2;
    let authority = text.get(start..)?.split(['/', '\\', '?', '#']).next()?;
    let host = authority.rfind(['@', ']']).map_or(0, |at| at + 1);
    let colon = start + host + authority.get(host..)?.find(':')?;
    let rest = text.get(start + authority.len()..)?;
    Some(format!("{}{rest}", text.get(..colon)?))
}

fn with_hint(message: String, hint: Option<String>) -> Failure {
    let message = match hint.filter(|hint| parse(hint).is_ok_and(|url| is_likely(&url))) {
        Some(hint) => format!("{message}; perhaps {} is meant", quote(&hint)),
        None => message,
    };
    Failure::new(ErrorKind::InputUrl, message)
}

/// True for a host that can exist: an address, or a name of two labels or more. The URL standard allows almost every
/// character in a host.
fn is_likely(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
            plain && (name.trim_matches('.').contains('.') || is_localhost(name))
        }
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    }
}

fn quote(text: &str) -> String {
    sanitize::quote(text.as_bytes(), limits::QUOTE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let parsed = parse(text);
        match expected {
            Ok(url) => assert_eq!(parsed.unwrap().as_str(), url, "{text}"),
            Err(failure) => assert_eq!(parsed.unwrap_err().to_string(), failure, "{text}"),
        }
    }

    proptest! {
        #[test]
        fn neighbours_are_parsed_as_if_alone(
            texts in vec("(http|HTTPS|ftp|)(:|)(//|/|\\\\\\\\|///)(A.test|a.test:80|u:p@a.test|127\\.1|\\[::1\\]|)([/\\\\?#.%a \u{e4}]{0,6}|/[a-z?#/]{0,4})", 1..12),
        ) {
            let mut parser = Parser::default();
            for text in &texts {
                prop_assert_eq!(parser.parse(text), parse(text), "{}", text);
            }
        }
    }

    #[test]
    fn what_may_be_fetched() {
        check("http://example.org", Ok("http://example.org/"));
        check("https://Example.ORG:443/a b?c#d", Ok("https://example.org/a%20b?c#d"));
        check("http://b\u{fc}cher.example/\u{e4}", Ok("http://xn--bcher-kva.example/%C3%A4"));
        check("http://user:password@example.org/", Ok("http://user:password@example.org/"));
        check("http://example.org./", Ok("http://example.org./"));
        check("http:\\\\example.org\\a", Ok("http://example.org/a"));
    }

    #[test]
    fn hosts_are_read_as_browsers_do() {
        check("http://0x7f.1/", Ok("http://127.0.0.1/"));
        check("http://2130706433/", Ok("http://127.0.0.1/"));
        check("http://0177.0.0.1/", Ok("http://127.0.0.1/"));
        check("http://127.1/", Ok("http://127.0.0.1/"));
        check("http://\u{ff11}27.0.0.1/", Ok("http://127.0.0.1/"));
        check("http://[::ffff:127.0.0.1]/", Ok("http://[::ffff:7f00:1]/"));
        check("http://example\u{3002}org/", Ok("http://example.org/"));
        check("http://h#@evil.example/", Ok("http://h/#@evil.example/"));
        check("http://h\\@evil.example/", Ok("http://h/@evil.example/"));
        check("http://h;@evil.example/", Ok("http://h%3B@evil.example/"));
        check("http://a@b@c.example/", Ok("http://a%40b@c.example/"));
    }

    #[test]
    fn no_scheme_gets_a_hint() {
        let hint = |text, hint: &str| {
            check(text, Err(&format!("input.url: {text} has no scheme; perhaps {hint} is meant")));
        };
        hint("example.org", "https://example.org/".trim_end_matches('/'));
        hint("//example.org/a", "https://example.org/a");
        hint("example.org:80", "https://example.org:80");
        hint("localhost:8080/a", "http://localhost:8080/a");
        hint("localhost:443", "https://localhost:443");
        hint("127.0.0.1:8080/a", "http://127.0.0.1:8080/a");
        hint("192.168.1.1", "http://192.168.1.1");
        hint("[::1]", "http://[::1]");
        hint("[::1]:8080/a", "http://[::1]:8080/a");
        hint("[2001:db8::1]/a", "https://[2001:db8::1]/a");
        check("/a/path", Err("input.url: /a/path has no scheme"));
        check("word", Err("input.url: word has no scheme"));
        check("", Err("input.empty: there is no URL"));
    }

    /// It was `perhaps https://"http://a.example/" is meant`.
    #[test]
    fn a_hint_is_never_nonsense() {
        let check = |text: &str, expected: Option<&str>| {
            let message = parse(text).unwrap_err().message;
            let hint = message.split_once("; perhaps ").map(|(_, hint)| hint.trim_end_matches(" is meant"));
            assert_eq!(hint, expected, "{message}");
        };
        check("\"http://a.example/\"", Some("http://a.example/"));
        check("'https://a.example/x?y',", Some("https://a.example/x?y"));
        check("<http://a.example>", Some("http://a.example"));
        check("\u{201c}a.example\u{201d}", Some("https://a.example"));
        check("\"", None);
        check("\"http://\"", None);
        check("\"a\".example", None);
        check("key=a.example", None);
        check("http//a.example/", None);
        check("a b.example", None);
        check("...", None);
        check("{\"url\":\"http://a.example/\"}", None);
        check("http://a.example:x,y/", Some("http://a.example/"));
        check("http://a,b:x/", None);
        check("192.0.2.1/x", Some("https://192.0.2.1/x"));
    }

    #[test]
    fn ports() {
        let range = "a port is a number from 1 to 65535";
        check(
            "http://a.example:65536/b",
            Err(&format!(
                "input.url: http://a.example:65536/b: {range}; perhaps http://a.example/b is meant"
            )),
        );
        check(
            "http://a.example:80:80",
            Err(&format!("input.url: http://a.example:80:80: {range}; perhaps http://a.example is meant")),
        );
        check("http://a.example:0/", Err("policy.port: http://a.example:0/: there is no port 0"));
        check("http://a.example:/", Ok("http://a.example/"));
    }

    #[test]
    fn other_schemes() {
        for scheme in
            ["ftp://example.org/", "file:///etc/passwd", "unix:/run/x", "data:,a", "javascript:alert(1)"]
        {
            assert_eq!(parse(scheme).unwrap_err().kind, ErrorKind::PolicyScheme, "{scheme}");
        }
    }

    #[test]
    fn nothing_splits_a_host() {
        for host in [
            "a%2Fb",
            "a%00b",
            "a%0d%0ab",
            "a b",
            "a<b",
            "a^b",
            "a|b",
            "[::1",
            "::1",
            "",
            "a\tb",
            "xn--a-\u{fc}",
        ] {
            let text = format!("http://{host}/");
            assert_eq!(parse(&text).map_err(|failure| failure.kind), Err(ErrorKind::InputUrl), "{text}");
        }
    }

    #[test]
    fn no_message_shows_a_password() {
        for text in [
            "http://me:secret@example.org:0/",
            "http://me:secret@a b/",
            "me:secret@example.org/",
            "ftp://me:secret@a/",
        ] {
            let message = parse(text).unwrap_err().message;
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
