//! The hosts that no proxy is used for, as `no_proxy` lists them.

use std::net::IpAddr;

use url::{Host, Url};

use crate::address::Network;

/// A list of hosts, separated by commas or blanks: names, which include all names below them, addresses, networks in CIDR
/// notation, each optionally with a port, or `*` for all.
///
/// ```
/// use overlapped_proto::proxy::Exceptions;
/// use url::Url;
///
/// let hosts = Exceptions::parse("example.org, 10.0.0.0/8");
/// let has = |url| hosts.has(&Url::parse(url).unwrap());
/// assert!(has("http://www.example.org/") && has("http://10.1.2.3/"));
/// assert!(!has("http://notexample.org/"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions(Vec<(Hosts, Option<u16>)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// A name, without dots at its ends, and all below it.
    Below(Box<str>),
    Address(IpAddr),
    Network(Network),
}

impl Exceptions {
    /// Parses a list. What is no host matches nothing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(parts(text).filter_map(entry).collect())
    }

    /// The first part of a list that is no host, and so matches nothing.
    #[must_use]
    pub fn unknown(text: &str) -> Option<&str> {
        parts(text).find(|part| entry(part).is_none())
    }

    /// True if the host of a URL is among them.
    #[must_use]
    pub fn has(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        self.0.iter().any(|(hosts, only)| (only.is_none() || *only == port) && hosts.have(url))
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Hosts {
    fn have(&self, url: &Url) -> bool {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        match self {
            Self::All => true,
            // ::ffff:127.0.0.1 is 127.0.0.1.
            Self::Address(ours) => {
                address.is_some_and(|address| ours.to_canonical() == address.to_canonical())
            }
            Self::Network(network) => address.is_some_and(|address| network.contains(address)),
            Self::Below(name) => {
                let host =
                    url.host_str().map(|host| host.strip_suffix('.').unwrap_or(host)).unwrap_or_default();
                let above = host.strip_suffix(&**name);
                address.is_none() && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
        }
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|part| !part.is_empty())
}

fn entry(text: &str) -> Option<(Hosts, Option<u16>)> {
    if text == "*" {
        return Some((Hosts::All, None));
    }
    let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').to_owned();
    // An IPv6 address has colons of its own.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, Some(port.parse().ok()?)),
        Some(_) | None => (text, None),
    };
    if let Ok(address) = bare(host).parse() {
        return Some((Hosts::Address(address), port));
    }
    if host.contains('/') {
        return host.replace(['[', ']'], "").parse().ok().map(|network| (Hosts::Network(network), port));
    }
    let name = host.trim_start_matches("*.").trim_start_matches('.').trim_end_matches('.');
    match Host::parse(name).ok()? {
        Host::Domain(name) => (!name.contains('*')).then(|| (Hosts::Below(name.into()), port)),
        // An address in another form, such as 1 for 0.0.0.1, is meant as something else.
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let check = |list: &str, url: &str, expected: bool| {
            assert_eq!(Exceptions::parse(list).has(&Url::parse(url).unwrap()), expected, "{list:?}: {url}");
        };
        for list in
            ["example.org", ".example.org", "EXAMPLE.org.", "*.example.org", "a,example.org", "a example.org"]
        {
            check(list, "http://example.org/", true);
            check(list, "https://www.example.org.:81/", true);
            check(list, "http://notexample.org/", false);
            check(list, "http://example.org.test/", false);
        }
        check("*", "http://anything/", true);
        check("", "http://anything/", false);
        check("b\u{fc}cher.test", "http://b\u{fc}cher.test/", true);
        check("localhost:81", "http://localhost:81/", true);
        check("localhost:80", "http://localhost/", true);
        check("localhost:81", "http://localhost/", false);
        check("localhost:x", "http://localhost/", false);
        check("127.0.0.1", "http://127.0.0.1/", true);
        check("127.0.0.1:8", "http://127.0.0.1:8/", true);
        check("0.0.1", "http://127.0.0.1/", false);
        check("27.0.0.1", "http://127.0.0.1/", false);
        check("127.0.0.0/8", "http://127.9.9.9/", true);
        check("127.0.0.0/8", "http://128.0.0.1/", false);
        check("127.0.0.0/33", "http://127.0.0.1/", false);
        check("::1", "http://[::1]/", true);
        check("[::1]", "http://[::1]/", true);
        check("[::1]:81", "http://[::1]:81/", true);
        check("[::1]:81", "http://[::1]/", false);
        check("fe80::/10", "http://[fe80::1]/", true);
        check("::ffff:127.0.0.1", "http://127.0.0.1/", true);
        check("127.0.0.1", "http://[::ffff:127.0.0.1]/", true);
        check("127.0.0.0/8", "http://[::ffff:127.0.0.1]/", true);
        check("::ffff:127.0.0.2", "http://127.0.0.1/", false);
        check("1.com", "http://1.com/", true);
        check("1", "http://0.0.0.1/", false);
        check("a.*", "http://a.test/", false);
    }

    #[test]
    fn what_is_no_host_is_found() {
        let check = |list: &str, expected| assert_eq!(Exceptions::unknown(list), expected, "{list:?}");
        check("", None);
        check(
            "*, .a.test *.b.test:80,A.test.,127.0.0.1:8,10.0.0.0/8,::1,[::1]:81,fe80::/10,_a.test,1.com",
            None,
        );
        for wrong in [
            "127.0.0.1/33",
            "http://a.test",
            "a.*",
            "*a.test",
            "1",
            "0x7f.1",
            "127.1",
            "a.test:x",
            "a.test:",
            ".",
            "a/b",
            "a.test/",
            "::1/129",
            "a@b",
        ] {
            check(wrong, Some(wrong));
            check(&format!("a.test, {wrong} ,b.test"), Some(wrong));
        }
    }
}
