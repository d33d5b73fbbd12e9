//! A jar: which cookies of a response are kept (RFC 6265bis, section 5.7), and which a request carries (section 5.8).
//!
//! Cookies are kept by site: the host's registrable domain by the public suffix list, or the host itself. A cookie never leaves
//! its site.

use std::collections::BTreeMap;
use std::fmt;

use url::{Host, Url};

use super::parse::SetCookie;
use crate::limits;
use crate::origin::is_local;

/// How much a jar holds. Above a bound the cookies that were not used for the longest are removed, those without `Secure` of
/// the same site first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Cookies in all.
    pub cookies: usize,
    /// Cookies of one site.
    pub site: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Bounds {
    /// Of a jar for a whole run or client.
    pub const RUN: Self = Self {
        cookies: limits::COOKIES_MAX,
        site: limits::COOKIES_SITE_MAX,
        bytes: limits::COOKIES_BYTES_MAX,
    };
    /// Of a jar for the redirects of one row.
    pub const ROW: Self = Self { bytes: limits::COOKIES_ROW_BYTES_MAX, ..Self::RUN };
}

/// Cookies, with the rules of browsers.
///
/// ```
/// use overlapped_proto::cookie::{Bounds, Jar};
/// use url::Url;
///
/// let url = |url: &str| Url::parse(url).unwrap();
/// let mut jar = Jar::new(Bounds::RUN);
/// jar.store(&url("https://www.example.org/a"), [&b"id=1; Domain=example.org"[..]], 0);
/// assert_eq!(jar.header(&url("http://example.org/"), 0), Some(b"id=1".to_vec()));
/// assert_eq!(jar.header(&url("http://example.com/"), 0), None);
/// ```
#[derive(Clone)]
pub struct Jar {
    bounds: Bounds,
    /// By site. None is empty.
    sites: BTreeMap<Box<str>, Vec<Cookie>>,
    cookies: usize,
    bytes: usize,
    /// Counts what has happened to it, for the order of creation and of use.
    events: u64,
}

/// A cookie that is kept.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Cookie {
    pub(super) name: Box<[u8]>,
    pub(super) value: Box<[u8]>,
    /// Without a trailing dot.
    pub(super) domain: Box<str>,
    /// For this host only, not for those below it.
    pub(super) host_only: bool,
    pub(super) path: Box<[u8]>,
    pub(super) secure: bool,
    pub(super) http_only: bool,
    /// In seconds since 1970; `None`: until the end of the session.
    pub(super) expires: Option<i64>,
    pub(super) created: u64,
    used: u64,
}

/// Why a cookie of a file is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is none.
    Strange,
    /// It is for all domains below a public suffix.
    Suffix,
    /// It breaks the promise of its name.
    Misnamed,
}

impl Jar {
    /// An empty jar.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self { bounds, sites: BTreeMap::new(), cookies: 0, bytes: 0, events: 0 }
    }

    /// The number of cookies, with those that are over but were not removed yet.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.cookies
    }

    /// True if it has no cookie.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cookies == 0
    }

    /// The memory that its cookies take.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps the cookies that a response from `url` sets, at most [`limits::COOKIES_RESPONSE_MAX`]. `now` is in seconds since
    /// 1970.
    pub fn store<'a>(&mut self, url: &Url, set_cookie: impl IntoIterator<Item = &'a [u8]>, now: i64) {
        for field in set_cookie.into_iter().take(limits::COOKIES_RESPONSE_MAX) {
            if let Some(cookie) = SetCookie::parse(field, now).and_then(|set| accept(url, set)) {
                self.add(cookie, is_secure(url), now);
            }
        }
    }

    /// The value of the `Cookie` field of a request to `url`, if there are cookies for it: those of longer paths first, and
    /// then the older ones. It is at most [`limits::COOKIE_HEADER_BYTES_MAX`] long.
    pub fn header(&mut self, url: &Url, now: i64) -> Option<Vec<u8>> {
        let (header, mut sent) = self.fitting(url, now)?;
        sent.sort_unstable();
        self.events += 1;
        let cookies = self.sites.get_mut(site_of(url, host_of(url)?))?;
        for cookie in cookies.iter_mut().filter(|cookie| sent.binary_search(&cookie.created).is_ok()) {
            cookie.used = self.events;
        }
        Some(header)
    }

    /// The same, without noting that the cookies were used.
    #[must_use]
    pub fn peek(&self, url: &Url, now: i64) -> Option<Vec<u8>> {
        self.fitting(url, now).map(|(header, _)| header)
    }

    /// The cookies for `url`, as a field and by the number of their creation.
    fn fitting(&self, url: &Url, now: i64) -> Option<(Vec<u8>, Vec<u64>)> {
        let host = host_of(url)?;
        let cookies = self.sites.get(site_of(url, host))?;
        let (is_secure, path) = (is_secure(url), url.path().as_bytes());
        let is_for_host = |cookie: &Cookie| {
            *cookie.domain == *host
                || (!cookie.host_only && !is_address(url) && is_below(host, &cookie.domain))
        };
        let mut fitting: Vec<&Cookie> = cookies
            .iter()
            .filter(|cookie| (!cookie.secure || is_secure) && !cookie.is_over(now))
            .filter(|cookie| covers_path(&cookie.path, path) && is_for_host(cookie))
            .collect();
        fitting.sort_by_key(|cookie| (usize::MAX - cookie.path.len(), cookie.created));
        let (mut header, mut sent) = (Vec::new(), Vec::new());
        for cookie in fitting.into_iter().take(limits::COOKIES_HEADER_MAX) {
            if header.len() + cookie.name.len() + cookie.value.len() + 3 > limits::COOKIE_HEADER_BYTES_MAX {
                break;
            }
            if !sent.is_empty() {
                header.extend_from_slice(b"; ");
            }
            if !cookie.name.is_empty() {
                header.extend_from_slice(&cookie.name);
                header.push(b'=');
            }
            header.extend_from_slice(&cookie.value);
            sent.push(cookie.created);
        }
        (!sent.is_empty()).then_some((header, sent))
    }

    /// Keeps a cookie, unless it would replace one that only a secure origin may set.
    pub(super) fn add(&mut self, mut cookie: Cookie, from_secure: bool, now: i64) {
        self.events += 1;
        (cookie.created, cookie.used) = (self.events, self.events);
        let site: Box<str> = site(&cookie.domain).into();
        let cookies = self.sites.entry(site.clone()).or_default();
        let shadows = |known: &Cookie| {
            known.secure
                && known.name == cookie.name
                && (is_below(&known.domain, &cookie.domain) || is_below(&cookie.domain, &known.domain))
                && covers_path(&known.path, &cookie.path)
        };
        if from_secure || !cookies.iter().any(shadows) {
            let same = |known: &Cookie| {
                known.name == cookie.name
                    && known.domain == cookie.domain
                    && known.host_only == cookie.host_only
                    && known.path == cookie.path
            };
            if let Some(at) = cookies.iter().position(same) {
                let known = cookies.remove(at);
                self.cookies -= 1;
                self.bytes -= known.bytes();
                cookie.created = known.created;
            }
            if !cookie.is_over(now) {
                self.cookies += 1;
                self.bytes += cookie.bytes();
                cookies.push(cookie);
            }
        }
        self.keep_bounds(&site, now);
    }

    /// Every cookie, by site and in the order of creation.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Cookie> {
        self.sites.values().flat_map(|cookies| {
            let mut cookies: Vec<&Cookie> = cookies.iter().collect();
            cookies.sort_by_key(|cookie| cookie.created);
            cookies
        })
    }

    fn keep_bounds(&mut self, changed: &str, now: i64) {
        let of_site = self.sites.get(changed).map_or(0, Vec::len);
        if of_site == 0 {
            self.sites.remove(changed);
        }
        if of_site > self.bounds.site {
            self.remove(
                |site, cookie| {
                    (site == changed).then_some((!cookie.is_over(now), cookie.secure, cookie.used))
                },
                1,
            );
        }
        if self.cookies > self.bounds.cookies {
            // Several at once, so that the search through all of them is rare.
            let surplus = self.cookies - self.bounds.cookies;
            self.remove(
                |_, cookie| Some((!cookie.is_over(now), false, cookie.used)),
                surplus + self.bounds.cookies / 10,
            );
        }
        while self.bytes > self.bounds.bytes {
            self.remove(|_, cookie| Some((!cookie.is_over(now), false, cookie.used)), 1 + self.cookies / 10);
        }
    }

    /// Removes the first `count` cookies in an order.
    fn remove(&mut self, order: impl Fn(&str, &Cookie) -> Option<(bool, bool, u64)>, count: usize) {
        let all =
            self.sites.iter().flat_map(|(site, cookies)| cookies.iter().map(move |cookie| (site, cookie)));
        let mut places: Vec<_> =
            all.filter_map(|(site, cookie)| Some((order(site, cookie)?, cookie.created))).collect();
        places.sort_unstable();
        let mut gone: Vec<u64> = places.into_iter().take(count).map(|(_, created)| created).collect();
        gone.sort_unstable();
        let (mut number, mut bytes) = (0, 0);
        self.sites.retain(|_, cookies| {
            cookies.retain(|cookie| {
                let stays = gone.binary_search(&cookie.created).is_err();
                if !stays {
                    (number, bytes) = (number + 1, bytes + cookie.bytes());
                }
                stays
            });
            !cookies.is_empty()
        });
        self.cookies -= number;
        self.bytes -= bytes;
    }
}

/// Its size only: cookies are secret.
impl fmt::Debug for Jar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jar").field("cookies", &self.cookies).finish_non_exhaustive()
    }
}

impl Cookie {
    /// A cookie that a file names.
    ///
    /// # Errors
    ///
    /// No server could have set it.
    pub(super) fn new(set: SetCookie<'_>, host_only: bool) -> Result<Self, Refused> {
        let domain = set.domain.and_then(|domain| canonical(std::str::from_utf8(domain).ok()?));
        let (domain, path) = domain.zip(set.path).ok_or(Refused::Strange)?;
        if !host_only && is_suffix(&domain) {
            return Err(Refused::Suffix);
        }
        let cookie = Self::of(set, domain, host_only, path);
        if is_allowed(&cookie, true) { Ok(cookie) } else { Err(Refused::Misnamed) }
    }

    fn of(set: SetCookie<'_>, domain: Box<str>, host_only: bool, path: &[u8]) -> Self {
        Self {
            name: set.name.into(),
            value: set.value.into(),
            domain,
            host_only,
            path: path.into(),
            secure: set.secure,
            http_only: set.http_only,
            expires: set.expires,
            created: 0,
            used: 0,
        }
    }

    pub(super) fn is_over(&self, now: i64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.value.len() + self.domain.len() + self.path.len()
    }
}

/// The cookie that a response from `url` sets; `None` if a browser would refuse it.
fn accept(url: &Url, set: SetCookie<'_>) -> Option<Cookie> {
    let host = host_of(url)?;
    let (domain, host_only) = match set.domain {
        None => (host.into(), true),
        Some(domain) => {
            let domain = canonical(std::str::from_utf8(domain).ok()?)?;
            let is_host = *domain == *host;
            if is_address(url) || (is_suffix(&domain) && is_host) {
                (is_host.then_some(domain)?, true)
            } else if is_below(host, &domain) && !is_suffix(&domain) && site(&domain) == site(host) {
                (domain, false)
            } else {
                return None;
            }
        }
    };
    let has_root_path = set.path == Some(b"/");
    let cookie = Cookie::of(set, domain, host_only, set.path.unwrap_or_else(|| default_path(url)));
    ((!set.secure || is_secure(url)) && is_allowed(&cookie, has_root_path)).then_some(cookie)
}

/// The promises of names that begin with `__Secure-` and `__Host-`.
fn is_allowed(cookie: &Cookie, has_root_path: bool) -> bool {
    let begins = |text: &[u8], prefix: &str| {
        text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    let (secure, host) = ("__Secure-", "__Host-");
    // A cookie without a name is sent as its value alone.
    if cookie.name.is_empty() && (begins(&cookie.value, secure) || begins(&cookie.value, host)) {
        return false;
    }
    let is_host = begins(&cookie.name, host);
    let fits_host = cookie.host_only && has_root_path && *cookie.path == *b"/";
    (cookie.secure || !(is_host || begins(&cookie.name, secure))) && (fits_host || !is_host)
}

/// The host without a trailing dot.
fn host_of(url: &Url) -> Option<&str> {
    url.host_str().map(|host| host.strip_suffix('.').unwrap_or(host))
}

fn is_address(url: &Url) -> bool {
    matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)))
}

/// A domain in the spelling of a URL's host.
fn canonical(domain: &str) -> Option<Box<str>> {
    let bare = domain.strip_suffix('.').unwrap_or(domain);
    if bare.is_ascii() && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte)) {
        return (!bare.is_empty()).then(|| bare.to_ascii_lowercase().into());
    }
    Host::parse(bare).ok().map(|host| host.to_string().into())
}

/// True if `host` is `domain` or below it.
fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// True if names of different owners may be registered right below `domain`.
fn is_suffix(domain: &str) -> bool {
    psl::suffix_str(domain) == Some(domain)
}

fn site_of<'a>(url: &Url, host: &'a str) -> &'a str {
    if is_address(url) { host } else { site(host) }
}

/// The registrable domain of a host, or the host itself if it has none.
#[must_use]
pub fn site(host: &str) -> &str {
    let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    if is_address { host } else { psl::domain_str(host).unwrap_or(host) }
}

/// As browsers do, connections to this machine count as secure.
fn is_secure(url: &Url) -> bool {
    url.scheme() == "https" || is_local(url)
}

/// The directory of a URL's path.
fn default_path(url: &Url) -> &[u8] {
    let path = url.path().as_bytes();
    match path.iter().rposition(|&byte| byte == b'/') {
        None | Some(0) => b"/",
        Some(end) => path.get(..end).unwrap_or(b"/"),
    }
}

fn covers_path(cookie: &[u8], path: &[u8]) -> bool {
    let rest = path.strip_prefix(cookie);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || cookie.ends_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn url(url: &str) -> Url {
        Url::parse(url).unwrap()
    }

    fn jar(set: &[(&str, &str)]) -> Jar {
        let mut jar = Jar::new(Bounds::RUN);
        for (from, field) in set {
            jar.store(&url(from), [field.as_bytes()], NOW);
        }
        jar
    }

    /// What a request to `to` carries after `from` has set `field`.
    fn check(from: &str, field: &str, to: &str, expected: &str) {
        let sent = jar(&[(from, field)]).header(&url(to), NOW).unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&sent), expected, "{from} sets {field:?}, then {to}");
    }

    #[test]
    fn domains() {
        let from = "http://www.example.org/";
        check(from, "a=1", from, "a=1");
        check(from, "a=1", "http://example.org/", "");
        check(from, "a=1", "http://a.www.example.org/", "");
        check(from, "a=1", "https://www.example.org:81/", "a=1");
        check(from, "a=1", "http://WWW.example.org./", "a=1");
        for domain in ["example.org", ".example.org", "EXAMPLE.org", "example.org."] {
            check(from, &format!("a=1; Domain={domain}"), "http://b.example.org/", "a=1");
            check(from, &format!("a=1; Domain={domain}"), "http://example.org/", "a=1");
            check(from, &format!("a=1; Domain={domain}"), "http://anexample.org/", "");
        }
        for domain in
            ["a.www.example.org", "b.example.org", "ample.org", "example.com", "..example.org", "\u{e4}"]
        {
            check(from, &format!("a=1; Domain={domain}"), from, "");
        }
        check(
            "http://b\u{fc}cher.example/",
            "a=1; Domain=b\u{fc}cher.example",
            "http://x.b\u{fc}cher.example/",
            "a=1",
        );
        check("http://localhost/", "a=1; Domain=localhost", "http://localhost/", "a=1");
    }

    #[test]
    fn no_cookie_for_a_public_suffix() {
        for (host, domain) in [
            ("a.example.com", "com"),
            ("a.co.uk", "co.uk"),
            ("a.co.uk", "CO.uk"),
            ("a.co.uk.", "co.uk."),
            ("a.co.uk", ".co.uk"),
            ("me.github.io", "github.io"),
            ("a.unknown", "unknown"),
        ] {
            let from = format!("http://{host}/");
            check(&from, &format!("a=1; Domain={domain}"), &from, "");
        }
        check("http://github.io/", "a=1; Domain=github.io", "http://github.io/", "a=1");
        check("http://github.io/", "a=1; Domain=github.io", "http://me.github.io/", "");
        check("http://a.b.github.io/", "a=1; Domain=b.github.io", "http://c.b.github.io/", "a=1");
    }

    #[test]
    fn addresses_have_no_domain() {
        check("http://1.2.3.4/", "a=1", "http://1.2.3.4/", "a=1");
        check("http://1.2.3.4/", "a=1; Domain=1.2.3.4", "http://0x1020304/", "a=1");
        check("http://1.2.3.4/", "a=1; Domain=3.4", "http://1.2.3.4/", "");
        check("http://[::1]/", "a=1; Domain=[::1]", "http://[0::1]/", "a=1");
        check("http://[::1]/", "a=1", "http://[::2]/", "");
    }

    #[test]
    fn paths() {
        let from = "http://a.test/dir/page?/x";
        check(from, "a=1", "http://a.test/dir", "a=1");
        check(from, "a=1", "http://a.test/dir/", "a=1");
        check(from, "a=1", "http://a.test/dir/other/more", "a=1");
        check(from, "a=1", "http://a.test/directory", "");
        check(from, "a=1", "http://a.test/", "");
        check(from, "a=1; Path=/", "http://a.test/", "a=1");
        check(from, "a=1; Path=/x/", "http://a.test/x/y", "a=1");
        check(from, "a=1; Path=/x/", "http://a.test/x", "");
        check(from, "a=1; Path=x", "http://a.test/dir/", "a=1");
        check(from, "a=1; Path=/x", "http://a.test/dir/../x", "a=1");
        check("http://a.test", "a=1", "http://a.test/any", "a=1");
    }

    #[test]
    fn secure_cookies() {
        check("https://a.test/", "a=1; Secure", "https://a.test/", "a=1");
        check("https://a.test/", "a=1; Secure", "http://a.test/", "");
        check("http://a.test/", "a=1; Secure", "https://a.test/", "");
        check("http://127.0.0.1/", "a=1; Secure", "http://127.0.0.1:81/", "a=1");
        let secure = ("https://a.test/x", "a=1; Secure; Path=/x");
        let sent = |second| jar(&[secure, second]).header(&url("https://a.test/x/y"), NOW);
        assert_eq!(sent(("http://a.test/x", "a=2; Path=/x")).unwrap(), b"a=1");
        assert_eq!(sent(("http://a.test/x/y", "a=2; Path=/x/y")).unwrap(), b"a=1");
        assert_eq!(sent(("http://a.test/", "a=2; Path=/")).unwrap(), b"a=1; a=2", "it shadows nothing");
        assert_eq!(sent(("http://a.test/x", "b=2; Path=/x")).unwrap(), b"a=1; b=2");
        assert_eq!(sent(("https://a.test/x", "a=2; Path=/x")).unwrap(), b"a=2");
    }

    #[test]
    fn names_that_promise() {
        let from = "https://a.example.org/dir/";
        let check = |field: &str, is_kept: bool| {
            assert_eq!(jar(&[(from, field)]).len(), usize::from(is_kept), "{field}");
        };
        check("__Secure-a=1; Secure", true);
        check("__Secure-a=1", false);
        check("__SECURE-a=1", false);
        check("__Host-a=1; Secure; Path=/", true);
        check("__Host-a=1; Path=/", false);
        check("__Host-a=1; Secure", false);
        check("__host-a=1; Secure; Path=/dir", false);
        check("__Host-a=1; Secure; Path=/; Domain=a.example.org", false);
        check("=__Host-a=1", false);
        check("__Secure-a", false);
        assert_eq!(jar(&[("https://a.test/", "__Host-a=1; Secure")]).len(), 0, "the path is to be named");
    }

    #[test]
    fn order_and_replacement() {
        let from = "http://a.test/x/y/";
        let mut jar = jar(&[
            (from, "a=1; Path=/"),
            (from, "b=2; Path=/x/y"),
            (from, "c=3; Path=/"),
            (from, "=nameless; Path=/x"),
            (from, "a=4; Path=/"),
            (from, "d=; Path=/"),
        ]);
        let sent =
            |jar: &mut Jar, now| jar.header(&url(from), now).map(|sent| String::from_utf8(sent).unwrap());
        assert_eq!(sent(&mut jar, NOW).unwrap(), "b=2; nameless; a=4; c=3; d=");
        jar.store(&url(from), [&b"b=; Path=/x/y; Max-Age=0"[..], b"c=5; Path=/; Max-Age=10"], NOW);
        assert_eq!(sent(&mut jar, NOW).unwrap(), "nameless; a=4; c=5; d=");
        assert_eq!(sent(&mut jar, NOW + 10).unwrap(), "nameless; a=4; d=");
    }

    #[test]
    fn octets_are_passed_as_they_are() {
        let from = url("http://a.test/");
        let mut jar = Jar::new(Bounds::RUN);
        jar.store(&from, [&b"a\xe4=\xff\xfe \"x, y\""[..]], NOW);
        assert_eq!(jar.header(&from, NOW).unwrap(), b"a\xe4=\xff\xfe \"x, y\"");
    }

    #[test]
    fn everything_has_a_bound() {
        let from = url("https://a.test/");
        let fields: Vec<String> = (0..100).map(|number| format!("n{number}=1")).collect();
        let mut jar = Jar::new(Bounds::RUN);
        jar.store(&from, fields.iter().map(String::as_bytes), NOW);
        assert_eq!(jar.len(), limits::COOKIES_RESPONSE_MAX);
        for round in 0..10 {
            let fields: Vec<String> = (0..50).map(|number| format!("r{round}n{number}=1; Secure")).collect();
            jar.store(&from, fields.iter().map(String::as_bytes), NOW);
        }
        assert_eq!(jar.len(), limits::COOKIES_SITE_MAX);
        assert!(
            !String::from_utf8(jar.header(&from, NOW).unwrap()).unwrap().contains("n0=1; n1="),
            "the oldest went"
        );

        let mut jar = Jar::new(Bounds::RUN);
        for host in 0..2 * limits::COOKIES_MAX {
            jar.store(&url(&format!("http://h{host}.test/")), [&b"a=1"[..]], NOW);
            assert!(jar.header(&url("http://h0.test/"), NOW).is_some(), "what is used stays");
        }
        assert!((limits::COOKIES_MAX * 9 / 10..=limits::COOKIES_MAX).contains(&jar.len()));
        assert_eq!(jar.bytes, jar.iter().map(Cookie::bytes).sum::<usize>());

        let mut jar = Jar::new(Bounds::ROW);
        let large = format!("={}", "x".repeat(4_000));
        for name in 0..100 {
            jar.store(&from, [format!("n{name}{large}").as_bytes()], NOW);
            assert!(jar.bytes() <= limits::COOKIES_ROW_BYTES_MAX && !jar.is_empty());
        }
        let mut jar = Jar::new(Bounds::RUN);
        for name in 0..20 {
            jar.store(&from, [format!("n{name}{large}").as_bytes()], NOW);
        }
        assert!(jar.header(&from, NOW).unwrap().len() <= limits::COOKIE_HEADER_BYTES_MAX);
    }
}
