//! Follow a redirect or not, and what may go along. It never touches the job: the answer says what to do.
//!
//! The rules: a credential stays with the origin it was given for and is never taken up again, on the way back
//! neither; a header that nobody has listed as harmless counts as a credential.

use std::borrow::Cow;
use std::fmt::Write as _;

use url::Url;

use crate::display;
use crate::error::ErrorKind;
use crate::job::{Job, Method};
use crate::limits;
use crate::origin::{self, Scheme};
use crate::outcome::Failure;

/// What the user wants of redirects.
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
    /// The step left TLS behind.
    pub downgraded: bool,
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
        let message = format!("more than {max} redirects; the next would be {}", shown(location));
        return Decision::Fail(Failure::new(ErrorKind::RedirectTooMany, message));
    }
    match follow(job, sent, status, location, policy) {
        Ok(follow) => Decision::Follow(follow),
        Err(failure) => Decision::Fail(failure),
    }
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

/// True for the headers that may go to a stranger. Lists of the harmful ones have failed everywhere.
///
/// `Content-*` is here because a body that a 307 sends on is not understood without it.
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
    Ok(Follow { url, becomes_get: becomes_get(sent, status), crosses_origin, downgraded })
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
    if location.len() > limits::INPUT_ROW_BYTES_MAX {
        return Err(invalid(location, "it is too long"));
    }
    let url = base.join(&text(location)).map_err(|error| invalid(location, &error.to_string()))?;
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

/// Servers send UTF-8 or their own code page. Bytes that are not UTF-8 go on as they are, percent-encoded.
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

fn invalid(location: &[u8], why: &str) -> Failure {
    Failure::new(ErrorKind::RedirectInvalid, format!("a redirect to {}: {why}", shown(location)))
}

fn shown(location: &[u8]) -> String {
    display::quote(location, limits::QUOTE_BYTES_MAX)
}
