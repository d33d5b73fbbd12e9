//! Decides whether a redirect is followed, and which headers and body go with it. The caller applies the decision to the
//! job.
//!
//! A credential is sent only to the origin it was given for. It is dropped at the first redirect to another origin, and
//! not restored if a later one leads back. A header that is not on the list of harmless ones counts as a credential.

use std::borrow::Cow;
use std::fmt::Write as _;

use url::Url;

use crate::error::ErrorKind;
use crate::job::{Job, Method};
use crate::limits;
use crate::origin::{self, Scheme};
use crate::outcome::Failure;
use crate::plural::counted;
use crate::sanitize;

/// The redirect policy of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Redirects followed for one row; `None`: none is followed, the 3xx is the result (`--no-location`).
    pub max: Option<u16>,
    /// Whether a redirect may lead from https to http.
    pub downgrade: Downgrade,
}

impl Default for Policy {
    fn default() -> Self {
        Self { max: Some(limits::REDIRECTS_MAX), downgrade: Downgrade::Bare }
    }
}

/// From https to http.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Downgrade {
    /// Only if the request carried neither a secret nor a body.
    #[default]
    Bare,
    /// Never.
    Refuse,
}

/// What the request that was answered carried.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Its method.
    pub method: &'a Method,
    /// True if it had a body.
    pub body: bool,
    /// True if it had a credential, a cookie, a client certificate, or any header that is not [`harmless`].
    pub secret: bool,
}

/// What to do with a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is the result.
    Stay,
    /// Ask again, at another URL.
    Follow(Follow),
    /// It ends the row.
    Fail(Failure),
}

/// How to follow a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Where to. It has no userinfo but the row's own, and that only while on the origin it was given for.
    pub url: Url,
    /// From now on the method is GET and there is no body: set `Job::became_get`.
    pub becomes_get: bool,
    /// From now on no credential is sent: set `Job::crossed_origin`.
    pub crosses_origin: bool,
    /// The redirect leads from https to http.
    pub downgraded: bool,
    /// The host has wanted https instead of the http of the redirect (HSTS): set by the caller, who has changed the `Location`.
    pub upgraded: bool,
}

/// What a response with this status and `Location` means for the job.
///
/// `location` is the first `Location` field as it came; without one, or with an empty one, the response is the
/// result. Only 301, 302, 303, 307 and 308 redirect.
///
/// ```
/// use overlapped_proto::job::{Job, Method, Row};
/// use overlapped_proto::redirect::{Decision, Policy, Sent, decide};
///
/// let job = Job::new(Row(0), "http://example.org/a".parse().unwrap());
/// let sent = Sent { method: &Method::Post, body: true, secret: false };
/// let Decision::Follow(follow) = decide(&job, sent, 303, Some(b"/b"), &Policy::default()) else { panic!() };
/// assert_eq!(follow.url.as_str(), "http://example.org/b");
/// assert!(follow.becomes_get && !follow.crosses_origin);
/// ```
#[must_use]
pub fn decide(job: &Job, sent: Sent<'_>, status: u16, location: Option<&[u8]>, policy: &Policy) -> Decision {
    let (Some(max), 301 | 302 | 303 | 307 | 308) = (policy.max, status) else { return Decision::Stay };
    let Some(location) = location.map(<[u8]>::trim_ascii).filter(|text| !text.is_empty()) else {
        return Decision::Stay;
    };
    if job.chain.len() >= usize::from(max) {
        let message =
            format!("more than {}; the next would be {}", counted(max.into(), "redirect"), shown(location));
        return Decision::Fail(Failure::new(ErrorKind::RedirectTooMany, message));
    }
    match follow(job, sent, status, location, policy) {
        Ok(follow) => Decision::Follow(follow),
        Err(failure) => Decision::Fail(failure),
    }
}

/// Where a `Location` leads to from `base`, if a redirect to it may be followed.
#[must_use]
pub fn target(base: &Url, location: &[u8]) -> Option<Url> {
    resolve(base, location.trim_ascii()).ok()
}

/// True if this header of the caller may be sent on the job's next request.
///
/// After a change to GET the fields that describe a body stay behind; after another origin was seen, all that are not
/// [`harmless`].
#[must_use]
pub fn may_send(header: &str, job: &Job) -> bool {
    let describes_body = header.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
    let of_a_lost_body = job.became_get && describes_body;
    !of_a_lost_body && (!job.crossed_origin || harmless(header))
}

/// True for the headers that may be sent to another origin. An allowlist, because the deny lists of other clients have
/// missed headers with credentials.
///
/// `Content-*` is allowed because a body that a 307 forwards cannot be interpreted without it.
#[must_use]
pub fn harmless(header: &str) -> bool {
    const HARMLESS: &[&str] = &[
        "accept",
        "accept-encoding",
        "accept-language",
        "content-encoding",
        "content-language",
        "content-type",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
        "user-agent",
    ];
    HARMLESS.iter().any(|name| header.eq_ignore_ascii_case(name))
}

fn follow(
    job: &Job,
    sent: Sent<'_>,
    status: u16,
    location: &[u8],
    policy: &Policy,
) -> Result<Follow, Failure> {
    let mut url = resolve(&job.url, location)?;
    let crosses_origin = !origin::same(&job.url, &url);
    let keeps_userinfo = !crosses_origin && !job.crossed_origin;
    let (user, password) = if keeps_userinfo { (job.url.username(), job.url.password()) } else { ("", None) };
    if url.set_username(user).is_err() || url.set_password(password).is_err() {
        return Err(invalid(location, "it cannot carry the credential of the row"));
    }
    if url.fragment().is_none() {
        url.set_fragment(job.url.fragment());
    }
    let downgraded = Scheme::of(&job.url) == Some(Scheme::Https) && Scheme::of(&url) == Some(Scheme::Http);
    let may_downgrade = match policy.downgrade {
        Downgrade::Bare => !sent.secret && !sent.body,
        Downgrade::Refuse => false,
    };
    if downgraded && !may_downgrade {
        let message = format!("from https to plain http at {}", shown(location));
        return Err(Failure::new(ErrorKind::RedirectDowngrade, message));
    }
    let becomes_get = becomes_get(sent, status);
    Ok(Follow { url, becomes_get, crosses_origin, downgraded, upgraded: false })
}

/// As browsers do it: 301 and 302 turn POST into GET, 303 turns all but HEAD, 307 and 308 change nothing.
fn becomes_get(sent: Sent<'_>, status: u16) -> bool {
    match status {
        301 | 302 => *sent.method == Method::Post,
        303 => *sent.method != Method::Head && (*sent.method != Method::Get || sent.body),
        _ => false,
    }
}

fn resolve(base: &Url, location: &[u8]) -> Result<Url, Failure> {
    // Resolved and escaped it may be longer than it came.
    let too_long = || {
        let max = limits::REDIRECT_URL_BYTES_MAX;
        invalid(location, &format!("it is longer than the {max} bytes that servers take"))
    };
    if location.len() > limits::REDIRECT_URL_BYTES_MAX {
        return Err(too_long());
    }
    let url = base
        .join(&as_many_slashes_as_count(text(location)))
        .map_err(|error| invalid(location, &error.to_string()))?;
    if url.as_str().len() > limits::REDIRECT_URL_BYTES_MAX {
        return Err(too_long());
    }
    if Scheme::of(&url).is_none() {
        let message = format!("a redirect to {}: only http and https are followed", shown(location));
        return Err(Failure::new(ErrorKind::PolicyScheme, message));
    }
    if url.port() == Some(0) {
        let message = format!("a redirect to {}: there is no port 0", shown(location));
        return Err(Failure::new(ErrorKind::PolicyPort, message));
    }
    Ok(url)
}

/// Decodes a `Location`. Servers send UTF-8 or another code page; bytes that are not UTF-8 are percent-encoded.
fn text(location: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(location) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(location.len() + 32);
    for &byte in location {
        if byte.is_ascii() {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    Cow::Owned(text)
}

/// Reduces more than two slashes or backslashes before a host to two (the URL Standard, "special authority ignore slashes
/// state"). The URL parser does so, except for a third slash behind `//`.
fn as_many_slashes_as_count(location: Cow<'_, str>) -> Cow<'_, str> {
    let text = location.trim_start_matches(|c: char| c <= ' ');
    // The parser ignores tabs and line ends anywhere.
    let rest = text.trim_start_matches(['/', '\\', '\t', '\n', '\r']);
    let slashes =
        text.bytes().take(text.len() - rest.len()).filter(|byte| matches!(byte, b'/' | b'\\')).count();
    if slashes > 2 { Cow::Owned(format!("//{rest}")) } else { location }
}

fn invalid(location: &[u8], why: &str) -> Failure {
    Failure::new(ErrorKind::RedirectInvalid, format!("a redirect to {}: {why}", shown(location)))
}

fn shown(location: &[u8]) -> String {
    sanitize::quote(location, limits::QUOTE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Row;
    use crate::outcome::Hop;
    use crate::time::Nanos;

    const GET: Sent<'_> = Sent { method: &Method::Get, body: false, secret: false };

    fn job(url: &str) -> Job {
        Job::new(Row(0), Url::parse(url).unwrap())
    }

    /// `expected` is the URL, or the name of the failure, or `stay`.
    fn check(from: &str, location: &[u8], expected: &str) {
        let seen = match decide(&job(from), GET, 302, Some(location), &Policy::default()) {
            Decision::Stay => "stay".to_owned(),
            Decision::Follow(follow) => follow.url.into(),
            Decision::Fail(failure) => failure.kind.name().to_owned(),
        };
        assert_eq!(seen, expected, "{from} -> {}", String::from_utf8_lossy(location));
    }

    #[test]
    fn location_is_resolved_as_browsers_do() {
        let from = "http://a.example/dir/page?query";
        check(from, b"other", "http://a.example/dir/other");
        check(from, b"/root", "http://a.example/root");
        check(from, b"../..", "http://a.example/");
        check(from, b"?q", "http://a.example/dir/page?q");
        check(from, b"//b.example/x", "http://b.example/x");
        check(from, b"\\\\b.example", "http://b.example/");
        for slashes in ["//", "\\\\", "/\\", "\\/"] {
            for more in ["", "/", "\\", "//", "\\/\\"] {
                let location = format!("{slashes}{more}b.example/x/../y");
                check(from, location.as_bytes(), "http://b.example/y");
                check("https://a.example/", location.as_bytes(), "https://b.example/y");
            }
        }
        check(from, b"///me:secret@b.example:81//x", "http://b.example:81//x");
        check(from, b" \x01///b.example/x", "http://b.example/x");
        check(from, b"/\t/\t/b.example/\tx", "http://b.example/x");
        check(from, b"\t//\t\\b.example", "http://b.example/");
        check(from, b"http:///b.example/x", "http://b.example/x");
        check(from, b"http:\\\\\\b.example/x", "http://b.example/x");
        check(from, b"https:/b.example/x", "https://b.example/x");
        check(from, b"http:/x", "http://a.example/x");
        check(from, b"http:x", "http://a.example/dir/x");
        check(from, b"http:\\x", "http://a.example/x");
        check(from, b"\\x", "http://a.example/x");
        check(from, b"/x///y", "http://a.example/x///y");
        check(from, b"/.//b.example/x", "http://a.example//b.example/x");
        check(from, b"?///b.example/x", "http://a.example/dir/page?///b.example/x");
        check(from, b"///", "redirect.invalid");
        check(from, b"///?x", "redirect.invalid");
        check(from, b" /spaces around\t", "http://a.example/spaces%20around");
        check(from, "/\u{e4}".as_bytes(), "http://a.example/%C3%A4");
        check(from, b"/\xe4", "http://a.example/%E4");
        check(from, b"", "stay");
        check(from, b"  ", "stay");
    }

    #[test]
    fn a_fragment_is_inherited() {
        check("http://a.example/#here", b"/b", "http://a.example/b#here");
        check("http://a.example/#here", b"/b#there", "http://a.example/b#there");
    }

    #[test]
    fn what_is_no_target() {
        check("http://a.example/", b"http://", "redirect.invalid");
        check("http://a.example/", b"http://a:99999/", "redirect.invalid");
        check("http://a.example/", b"http://[::1", "redirect.invalid");
        check("http://a.example/", b"http://a%2fb/", "redirect.invalid");
        check("http://a.example/", b"http://a\xe4/", "redirect.invalid");
        let longest = limits::REDIRECT_URL_BYTES_MAX - "http://a.example/".len();
        let fits = format!("/{}", "a".repeat(longest));
        check("http://a.example/", fits.as_bytes(), &format!("http://a.example{fits}"));
        check("http://a.example/", format!("{fits}a").as_bytes(), "redirect.invalid");
        check("http://a.example/", "\u{e4}".repeat(longest / 4).as_bytes(), "redirect.invalid");
        check("http://a.example/", b"http://a:0/", "policy.port");
        for scheme in ["ftp://a/", "file:///etc/passwd", "data:,x", "javascript:alert(1)", "mailto:a@b"] {
            check("http://a.example/", scheme.as_bytes(), "policy.scheme");
        }
    }

    #[test]
    fn only_five_statuses_redirect() {
        for status in 100..600 {
            let decision = decide(&job("http://a.example/"), GET, status, Some(b"/b"), &Policy::default());
            let follows = matches!(decision, Decision::Follow(_));
            assert_eq!(follows, [301, 302, 303, 307, 308].contains(&status), "{status}");
        }
        let stay = |location, policy| {
            decide(&job("http://a.example/"), GET, 302, location, &policy) == Decision::Stay
        };
        assert!(stay(None, Policy::default()));
        assert!(stay(Some(b"/b"), Policy { max: None, ..Policy::default() }));
    }

    #[test]
    fn the_eleventh_is_one_too_many() {
        let mut job = job("http://a.example/");
        for _ in 0..limits::REDIRECTS_MAX {
            let decision = decide(&job, GET, 302, Some(b"/"), &Policy::default());
            let Decision::Follow(follow) = decision else { panic!("{decision:?}") };
            let hop = Hop {
                url: job.url.as_str().into(),
                status: 302,
                total: Nanos::ZERO,
                remote: None,
                heads: None,
            };
            job.redirect(follow.url, hop);
        }
        let Decision::Fail(failure) = decide(&job, GET, 302, Some(b"/"), &Policy::default()) else {
            panic!()
        };
        assert_eq!(failure.kind, ErrorKind::RedirectTooMany);
    }

    #[test]
    fn methods() {
        let check = |method: Method, body, becomes_get: [bool; 3]| {
            let sent = Sent { method: &method, body, secret: false };
            let statuses = [301, 303, 307];
            assert_eq!(statuses.map(|status| super::becomes_get(sent, status)), becomes_get, "{method}");
            assert_eq!(super::becomes_get(sent, 302), super::becomes_get(sent, 301));
            assert_eq!(super::becomes_get(sent, 308), super::becomes_get(sent, 307));
        };
        check(Method::Get, false, [false, false, false]);
        check(Method::Get, true, [false, true, false]);
        check(Method::Head, false, [false, false, false]);
        check(Method::Post, true, [true, true, false]);
        check(Method::Put, true, [false, true, false]);
        check(Method::Delete, false, [false, true, false]);
    }

    #[test]
    fn userinfo_stays_with_its_origin() {
        let from = "http://me:secret@a.example/";
        check(from, b"/b", "http://me:secret@a.example/b");
        check(from, b"http://A.example:80/b", "http://me:secret@a.example/b");
        check(from, b"http://you:other@a.example/b", "http://me:secret@a.example/b");
        check(from, b"http://a.example:8080/b", "http://a.example:8080/b");
        check(from, b"https://a.example/b", "https://a.example/b");
        check(from, b"//b.example/", "http://b.example/");
        check(from, b"//you:other@b.example/", "http://b.example/");

        let mut back = job("http://me:secret@a.example/");
        back.crossed_origin = true;
        let Decision::Follow(follow) = decide(&back, GET, 302, Some(b"/b"), &Policy::default()) else {
            panic!()
        };
        assert_eq!(follow.url.as_str(), "http://a.example/b");
    }

    #[test]
    fn every_way_to_another_origin_is_seen() {
        let check = |location: &str, expected| {
            let decision =
                decide(&job("https://a.example/"), GET, 302, Some(location.as_bytes()), &Policy::default());
            let Decision::Follow(follow) = decision else { panic!("{location}: {decision:?}") };
            assert_eq!(follow.crosses_origin, expected, "{location}");
        };
        for same in ["/b", "https://A.EXAMPLE/", "https://a.example./", "https://a.example:443/", "https:b"] {
            check(same, false);
        }
        for other in
            ["http://a.example/", "https://a.example:444/", "https://b.a.example/", "https://a.example@b/"]
        {
            check(other, true);
        }
    }

    #[test]
    fn from_https_to_http_only_bare() {
        let decide = |secret, body, downgrade| {
            let sent = Sent { body, secret, ..GET };
            let policy = Policy { downgrade, ..Policy::default() };
            match decide(&job("https://a.example/"), sent, 302, Some(b"http://a.example/"), &policy) {
                Decision::Follow(follow) => Ok(follow.downgraded),
                Decision::Fail(failure) => Err(failure.kind),
                Decision::Stay => panic!(),
            }
        };
        assert_eq!(decide(false, false, Downgrade::Bare), Ok(true));
        assert_eq!(decide(true, false, Downgrade::Bare), Err(ErrorKind::RedirectDowngrade));
        assert_eq!(decide(false, true, Downgrade::Bare), Err(ErrorKind::RedirectDowngrade));
        assert_eq!(decide(false, false, Downgrade::Refuse), Err(ErrorKind::RedirectDowngrade));
    }

    #[test]
    fn a_stranger_gets_only_what_is_harmless() {
        let mut job = job("http://a.example/");
        let secrets =
            ["Authorization", "Cookie", "X-API-Key", "Private-Token", "Host", "Referer", "Anything"];
        let harmless = ["Accept", "USER-AGENT", "range", "If-None-Match", "Content-Type"];
        assert!(secrets.iter().chain(&harmless).all(|name| may_send(name, &job)));
        job.crossed_origin = true;
        assert!(secrets.iter().all(|name| !may_send(name, &job)));
        assert!(harmless.iter().all(|name| may_send(name, &job)));
        job.became_get = true;
        assert!(
            !may_send("content-type", &job)
                && !may_send("Content-Anything", &job)
                && may_send("accept", &job)
        );
    }
}
