//! Origin and connection identity: whether two URLs share an origin, and whether two requests may share a connection.
//!
//! Only this module compares hosts, and only those of parsed URLs. Vulnerabilities of other clients came from two places
//! in the code that answered these questions differently.

use url::{Host, Url};

/// The two schemes that are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme of a URL, if it is one of the two.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        match url.scheme() {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    /// The default port.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Scheme and port, in one word: which of its host's origins a URL belongs to.
///
/// ```
/// use overlapped_proto::origin::Endpoint;
/// use url::Url;
///
/// let endpoint = |url| Endpoint::of(&Url::parse(url).unwrap());
/// assert_eq!(endpoint("https://a.test/"), endpoint("https://b.test:443/"));
/// assert_ne!(endpoint("https://a.test:80/"), endpoint("http://a.test/"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(u32);

impl Endpoint {
    /// The endpoint of an http or https URL.
    #[must_use]
    pub fn of(url: &Url) -> Self {
        let scheme = Scheme::of(url).unwrap_or(Scheme::Http);
        Self::new(scheme, url.port().unwrap_or(scheme.default_port()))
    }

    /// The endpoint of a scheme and a port.
    #[must_use]
    pub const fn new(scheme: Scheme, port: u16) -> Self {
        let secure = match scheme {
            Scheme::Http => 0,
            Scheme::Https => 1 << 16,
        };
        Self(secure | port as u32)
    }
}

/// Scheme, host and port (RFC 6454). No credential is sent to another origin.
///
/// The URL parser has brought the host to lower case and Punycode and filled in the port; a trailing dot is taken off
/// here, because `example.org.` is the same server.
///
/// ```
/// use overlapped_proto::origin::Origin;
/// use url::Url;
///
/// let origin = |url| Origin::of(&Url::parse(url).unwrap());
/// assert_eq!(origin("https://EXAMPLE.org:443/a"), origin("https://example.org./b"));
/// assert_ne!(origin("https://example.org/"), origin("http://example.org/"));
/// assert_eq!(origin("ftp://example.org/"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
}

impl Origin {
    /// The origin of an http or https URL.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        let (scheme, host, port) = parts(url)?;
        Some(Self { scheme, host: host.into(), port })
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host as in the URL, without a trailing dot; an IPv6 address is in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own if the URL names none.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// True if both URLs have the same origin; false if either has none.
#[must_use]
pub fn same(a: &Url, b: &Url) -> bool {
    matches!((parts(a), parts(b)), (Some(a), Some(b)) if a == b)
}

/// True for this machine itself: `localhost` and names below it, 127.0.0.0/8 and `[::1]`, which need no politeness.
#[must_use]
pub fn is_local(url: &Url) -> bool {
    url.host().is_some_and(|host| is_this_machine(&host))
}

/// The same for a host.
#[must_use]
pub fn is_this_machine(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => is_localhost(name),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// True for `localhost` and all names below it, also with a dot at the end, in the spelling of a URL. They are addresses of this machine
/// without a look-up (RFC 6761, section 6.3): no name server may say otherwise.
#[must_use]
pub fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.strip_suffix("localhost").is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

/// What, besides the origin, keeps connections apart.
///
/// Each field is a number that the engine gives to a distinct setting; 0 is the setting of the run. Two rows that
/// differ in any of them never share a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Route {
    /// The TLS settings: roots, verification, client certificate.
    pub tls: u32,
    /// The versions of HTTP that may be spoken.
    pub http: u32,
    /// The way there: a proxy with its credential, a Unix socket, or another address by `--connect-to`.
    pub proxy: u32,
    /// The local address or interface.
    pub local: u32,
    /// The address policy under which the address was judged.
    pub policy: u32,
}

/// Requests with equal keys, and no others, may use the same connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnKey {
    /// The server.
    pub origin: Origin,
    /// Everything else.
    pub route: Route,
}

impl ConnKey {
    /// The key of a connection for `url` by `route`; `None` if the URL is not http or https.
    #[must_use]
    pub fn new(url: &Url, route: Route) -> Option<Self> {
        Some(Self { origin: Origin::of(url)?, route })
    }
}

fn parts(url: &Url) -> Option<(Scheme, &str, u16)> {
    let scheme = Scheme::of(url)?;
    let host = url.host_str()?;
    Some((scheme, host.strip_suffix('.').unwrap_or(host), url.port().unwrap_or(scheme.default_port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, expected: bool) {
        let (a, b) = (Url::parse(a).unwrap(), Url::parse(b).unwrap());
        assert_eq!(same(&a, &b), expected, "{a} and {b}");
        assert_eq!(Origin::of(&a) == Origin::of(&b), expected, "{a} and {b}");
        assert_eq!(
            ConnKey::new(&a, Route::default()) == ConnKey::new(&b, Route::default()),
            expected,
            "{a} and {b}"
        );
    }

    #[test]
    fn spelling_does_not_make_an_origin() {
        check("http://example.org/", "http://example.org/other?query#fragment", true);
        check("http://example.org/", "HTTP://EXAMPLE.ORG:80/", true);
        check("http://example.org/", "http://example.org./", true);
        check("http://example.org/", "http://user:password@example.org/", true);
        check("http://b\u{fc}cher.example/", "http://xn--bcher-kva.example/", true);
        check("http://127.0.0.1/", "http://0x7f.1/", true);
        check("http://127.0.0.1/", "http://2130706433/", true);
        check("http://[::1]/", "http://[0:0::0:1]/", true);
    }

    #[test]
    fn scheme_host_and_port_do() {
        check("http://example.org/", "https://example.org/", false);
        check("http://example.org/", "https://example.org:80/", false);
        check("http://example.org/", "http://example.org:8080/", false);
        check("http://example.org/", "http://www.example.org/", false);
        check("http://example.org/", "http://example.org.evil.example/", false);
        check("http://example.org/", "http://example.org@evil.example/", false);
        check("http://127.0.0.1/", "http://[::ffff:127.0.0.1]/", false);
    }

    #[test]
    fn this_machine_is_local() {
        for (url, local) in [
            ("http://localhost:1/", true),
            ("http://127.0.0.9/", true),
            ("http://[::1]/", true),
            ("http://0x7f.1/", true),
            ("http://10.0.0.1/", false),
            ("http://LOCALHOST./", true),
            ("http://app.localhost/", true),
            ("http://a.b.localhost./", true),
            ("http://notlocalhost/", false),
            ("http://localhost.test/", false),
            ("http://localhost../", false),
        ] {
            assert_eq!(is_local(&Url::parse(url).unwrap()), local, "{url}");
        }
    }

    #[test]
    fn route_keeps_connections_apart() {
        let url = Url::parse("https://example.org/").unwrap();
        let key = |route| ConnKey::new(&url, route).unwrap();
        let plain = Route::default();
        for other in [
            Route { tls: 1, ..plain },
            Route { http: 1, ..plain },
            Route { proxy: 1, ..plain },
            Route { local: 1, ..plain },
            Route { policy: 1, ..plain },
        ] {
            assert_ne!(key(plain), key(other));
        }
    }
}
