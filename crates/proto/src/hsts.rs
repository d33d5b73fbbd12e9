//! HTTP Strict Transport Security (RFC 6797): hosts that have said over https that they are to be reached by https only.
//!
//! They are known as long as the run or the client lasts, and as long as they have said. The caller keeps only what came over a
//! connection whose certificate was verified.

use std::hash::BuildHasher;

use url::{Host, Url};

use crate::limits;
use crate::lru::Lru;

/// The value of a `Strict-Transport-Security` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For how many seconds it holds; 0: no longer.
    pub max_age: i64,
    /// It holds for all names below the host too.
    pub subdomains: bool,
}

impl Policy {
    /// Reads the value; `None` if it is to be ignored as a whole: a directive is there twice, or has an invalid value, or there
    /// is no `max-age` (section 6.1).
    ///
    /// ```
    /// use overlapped_proto::hsts::Policy;
    ///
    /// let policy = Policy::parse(b"max-age=31536000; includeSubDomains; preload");
    /// assert_eq!(policy, Some(Policy { max_age: 31_536_000, subdomains: true }));
    /// assert_eq!(Policy::parse(b"includeSubDomains"), None);
    /// ```
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (mut max_age, mut subdomains) = (None, false);
        for directive in std::str::from_utf8(value).ok()?.split(';') {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (directive.trim(), None),
            };
            if name.eq_ignore_ascii_case("max-age") {
                let seconds = seconds(unquoted(value?))?;
                if max_age.replace(seconds).is_some() {
                    return None;
                }
            } else if name.eq_ignore_ascii_case("includeSubDomains") {
                if subdomains || value.is_some() {
                    return None;
                }
                subdomains = true;
            }
        }
        Some(Self { max_age: max_age?, subdomains })
    }
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

/// Any number of digits, of which more than a century counts as one.
fn seconds(text: &str) -> Option<i64> {
    const CENTURY: i64 = 100 * 366 * 86_400;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(CENTURY).min(CENTURY))
}

/// The hosts that are known.
#[derive(Debug)]
pub struct Hosts<S> {
    known: Lru<Box<str>, Known, S>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// In seconds since 1970.
    until: i64,
    subdomains: bool,
}

impl<S: Default> Default for Hosts<S> {
    fn default() -> Self {
        Self { known: Lru::default() }
    }
}

impl<S: BuildHasher> Hosts<S> {
    /// Keeps what a response to `url`, which is https, has said in its first `Strict-Transport-Security`, at `now` in seconds
    /// since 1970. Addresses have no such policy (section 8.1.1). Above [`limits::HSTS_HOSTS_MAX`] the host that was not needed
    /// for the longest time is forgotten.
    pub fn learn(&mut self, url: &Url, value: &[u8], now: i64) {
        let (Some(name), Some(policy)) = (name(url), Policy::parse(value)) else { return };
        if policy.max_age == 0 {
            self.known.remove(name);
            return;
        }
        self.known.insert(name.into(), Known { until: now + policy.max_age, subdomains: policy.subdomains });
        if self.known.len() > limits::HSTS_HOSTS_MAX {
            self.known.pop_oldest();
        }
    }

    /// The URL of https that is to be asked for instead of one of http: port 80 becomes 443, any other port stays (section
    /// 8.3). `None`: this one.
    pub fn upgrade(&mut self, url: &Url, now: i64) -> Option<Url> {
        if url.scheme() != "http" || !self.holds(name(url)?, now) {
            return None;
        }
        let mut upgraded = url.clone();
        upgraded.set_scheme("https").ok().map(|()| upgraded)
    }

    fn holds(&mut self, host: &str, now: i64) -> bool {
        let mut name = host;
        loop {
            match self.known.get(name).copied() {
                Some(known) if known.until <= now => {
                    self.known.remove(name);
                }
                Some(known) if known.subdomains || name.len() == host.len() => return true,
                Some(_) | None => {}
            }
            match name.split_once('.') {
                Some((_, above)) => name = above,
                None => return false,
            }
        }
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True if none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// The name of a host, without the dot at its end.
fn name(url: &Url) -> Option<&str> {
    match url.host()? {
        Host::Domain(name) => Some(name.strip_suffix('.').unwrap_or(name)),
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Known = Hosts<foldhash::fast::FixedState>;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn values_are_read_by_the_rules() {
        let check = |value: &str, expected: Option<(i64, bool)>| {
            let found = Policy::parse(value.as_bytes()).map(|policy| (policy.max_age, policy.subdomains));
            assert_eq!(found, expected, "{value}");
        };
        check("max-age=5", Some((5, false)));
        check(" MAX-AGE = \"5\" ; INCLUDEsubdomains ", Some((5, true)));
        check(";;max-age=0;;", Some((0, false)));
        check("preload; max-age=1; other=\"a\"", Some((1, false)));
        check("max-age=99999999999999999999999", Some((3_162_240_000, false)));
        for ignored in [
            "",
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=+1",
            "max-age=1 2",
            "max-age=\"1",
            "max-age=1; max-age=1",
            "max-age=1; includeSubDomains; includeSubDomains",
            "max-age=1; includeSubDomains=1",
            "includeSubDomains",
        ] {
            check(ignored, None);
        }
        assert_eq!(Policy::parse(b"max-age=1; \xff"), None);
    }

    #[test]
    fn urls_of_known_hosts_are_upgraded() {
        let mut known = Known::default();
        known.learn(&url("https://a.test/"), b"max-age=10", 100);
        known.learn(&url("https://all.test:444/"), b"max-age=10; includeSubDomains", 100);
        known.learn(&url("https://127.0.0.1/"), b"max-age=10", 100);
        known.learn(&url("https://[::1]/"), b"max-age=10", 100);
        assert_eq!(known.len(), 2);
        let mut check = |text: &str, expected: Option<&str>| {
            let found = known.upgrade(&url(text), 105);
            assert_eq!(found.as_ref().map(Url::as_str), expected, "{text}");
        };
        check("http://a.test/x?y#z", Some("https://a.test/x?y#z"));
        check("http://u:p@A.test.:80/", Some("https://u:p@a.test./"));
        check("http://a.test:8080/", Some("https://a.test:8080/"));
        check("http://a.test:443/", Some("https://a.test/"));
        check("https://a.test/", None);
        check("http://b.a.test/", None);
        check("http://all.test/", Some("https://all.test/"));
        check("http://deep.er.all.test/", Some("https://deep.er.all.test/"));
        check("http://overall.test/", None);
        check("http://test/", None);
        check("http://127.0.0.1/", None);
        check("http://[::1]/", None);
    }

    #[test]
    fn a_policy_ends() {
        let mut known = Known::default();
        known.learn(&url("https://a.test/"), b"max-age=10; includeSubDomains", 100);
        known.learn(&url("https://b.a.test/"), b"max-age=20", 100);
        let mut holds = |text: &str, now| known.upgrade(&url(text), now).is_some();
        assert!(holds("http://a.test/", 109) && holds("http://c.b.a.test/", 109));
        assert!(!holds("http://a.test/", 110) && !holds("http://c.b.a.test/", 110));
        assert!(holds("http://b.a.test/", 110));
        known.learn(&url("https://b.a.test/"), b"garbage", 111);
        assert!(known.upgrade(&url("http://b.a.test/"), 111).is_some());
        known.learn(&url("https://b.a.test/"), b"max-age=0", 111);
        assert!(known.is_empty());
    }

    #[test]
    fn what_is_not_needed_is_forgotten_first() {
        let mut known = Known::default();
        let host = |number| url(&format!("https://h{number}.test/"));
        known.learn(&host(0), b"max-age=10", 0);
        for number in 1..=limits::HSTS_HOSTS_MAX {
            assert!(known.upgrade(&url("http://h0.test/"), 0).is_some());
            known.learn(&host(number), b"max-age=10", 0);
        }
        assert_eq!(known.len(), limits::HSTS_HOSTS_MAX);
        assert!(known.upgrade(&url("http://h0.test/"), 0).is_some());
        assert!(known.upgrade(&url("http://h1.test/"), 0).is_none());
    }
}
