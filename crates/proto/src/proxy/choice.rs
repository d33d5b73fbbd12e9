//! Which proxy a request goes through.

use std::collections::HashMap;

use url::Url;

use super::{Exceptions, Proxy};
use crate::origin::Scheme;

/// The proxies of a run or of a client. Each has a number of its own, from 1 on, and 0 is none.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Exceptions,
    /// For single hosts, as URLs have them: they precede all others.
    single: HashMap<Box<str>, (Option<Proxy>, u32)>,
    /// For hosts that are told by patterns; the first that fits counts.
    hosts: Vec<(Exceptions, Option<Proxy>)>,
}

/// The number of the first proxy of a host.
const FIRST_OF_HOSTS: u32 = 3;

impl Proxies {
    /// A proxy for URLs of http and one for those of https, but for `exceptions`; and proxies, or none, for `single` hosts, whose
    /// names are as URLs have them, and for `hosts` that are told by patterns.
    #[must_use]
    pub fn new(
        http: Option<Proxy>,
        https: Option<Proxy>,
        exceptions: Exceptions,
        single: Vec<(Box<str>, Option<Proxy>)>,
        hosts: Vec<(Exceptions, Option<Proxy>)>,
    ) -> Self {
        let numbered = single.into_iter().zip(FIRST_OF_HOSTS..);
        let single = numbered.map(|((host, proxy), number)| (host, (proxy, number))).collect();
        Self { http, https, exceptions, single, hosts }
    }

    /// The proxy for a URL, with its number.
    #[must_use]
    pub fn of(&self, url: &Url) -> Option<(&Proxy, u32)> {
        // Most runs have none, and need no text of the host.
        if !self.single.is_empty() {
            let host = url.host_str().unwrap_or_default();
            if let Some((own, number)) = self.single.get(host.strip_suffix('.').unwrap_or(host)) {
                return own.as_ref().map(|own| (own, *number));
            }
        }
        let mut told = self.hosts.iter().zip(self.first_of_patterns()..);
        if let Some(((_, own), number)) = told.find(|((hosts, _), _)| hosts.has(url)) {
            return own.as_ref().map(|own| (own, number));
        }
        let (proxy, number) = match Scheme::of(url)? {
            Scheme::Http => (self.http.as_ref()?, 1),
            Scheme::Https => (self.https.as_ref()?, 2),
        };
        (!self.exceptions.has(url)).then_some((proxy, number))
    }

    /// The first number that no proxy has.
    #[must_use]
    pub fn numbers(&self) -> u32 {
        self.first_of_patterns().saturating_add(u32::try_from(self.hosts.len()).unwrap_or(u32::MAX))
    }

    fn first_of_patterns(&self) -> u32 {
        FIRST_OF_HOSTS.saturating_add(u32::try_from(self.single.len()).unwrap_or(u32::MAX))
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.http.is_none() && self.https.is_none() && self.single.is_empty() && self.hosts.is_empty()
    }
}

/// A variable of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

/// What the environment says about proxies, as texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// For http: `http_proxy`, in lower case only, since a web server sets `HTTP_PROXY` for its scripts from a header field of
    /// the client; or `all_proxy`.
    pub http: Option<Variable>,
    /// For https: `https_proxy` or `all_proxy`.
    pub https: Option<Variable>,
    /// `no_proxy`.
    pub exceptions: Option<Variable>,
}

impl Environment {
    /// Reads the variables by `variable`, in lower case first and then in upper case. One that is empty is as one that is not set.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &&'static str| {
            let value = variable(name).filter(|value| !value.trim().is_empty())?;
            Some(Variable { name, value })
        };
        let first = |names: &[&'static str]| names.iter().find_map(set);
        Self {
            http: first(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            exceptions: first(&["no_proxy", "NO_PROXY"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Option<Proxy> {
        Some(Proxy::parse(text).unwrap())
    }

    #[test]
    fn by_scheme_and_host() {
        let single = vec![("one.own.test".into(), proxy("d:4")), ("own.direct.test".into(), None)];
        let hosts =
            vec![(Exceptions::parse("own.test"), proxy("c:3")), (Exceptions::parse("direct.test"), None)];
        let exceptions = Exceptions::parse("no.test, own.test");
        let proxies = Proxies::new(proxy("a:1"), proxy("b:2"), exceptions, single, hosts);
        let check = |url: &str, expected: Option<(&str, u32)>| {
            let found = proxies.of(&Url::parse(url).unwrap());
            let found = found.map(|(proxy, number)| (proxy.to_string(), number));
            assert_eq!(found, expected.map(|(proxy, number)| (proxy.to_owned(), number)), "{url}");
        };
        check("http://x.test/", Some(("http://a:1", 1)));
        check("https://x.test/", Some(("http://b:2", 2)));
        check("https://no.test/", None);
        check("https://www.own.test/", Some(("http://c:3", 5)));
        check("http://direct.test/", None);
        check("http://one.own.test/", Some(("http://d:4", 3)));
        check("https://one.own.test.:9/", Some(("http://d:4", 3)));
        check("http://below.one.own.test/", Some(("http://c:3", 5)));
        check("http://own.direct.test/", None);
        assert_eq!(proxies.numbers(), 7);
        assert!(Proxies::default().of(&Url::parse("http://x.test/").unwrap()).is_none());
    }

    #[test]
    fn the_environment() {
        let check = |set: &[(&str, &str)], expected: [Option<&str>; 3]| {
            let read = Environment::read(|name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            });
            let seen = [read.http, read.https, read.exceptions];
            for variable in seen.iter().flatten() {
                assert!(set.contains(&(variable.name, &variable.value)), "{variable:?}: {set:?}");
            }
            let seen = seen.map(|variable| variable.map(|variable| variable.value));
            assert_eq!(seen, expected.map(|value| value.map(str::to_owned)), "{set:?}");
        };
        check(&[("http_proxy", "a")], [Some("a"), None, None]);
        check(&[("HTTP_PROXY", "a")], [None, None, None]);
        check(&[("https_proxy", "a"), ("HTTPS_PROXY", "b")], [None, Some("a"), None]);
        check(&[("HTTPS_PROXY", "b")], [None, Some("b"), None]);
        check(&[("all_proxy", "a")], [Some("a"), Some("a"), None]);
        check(&[("ALL_PROXY", "a"), ("http_proxy", "b"), ("https_proxy", "")], [Some("b"), Some("a"), None]);
        check(&[("no_proxy", "a"), ("NO_PROXY", "b")], [None, None, Some("a")]);
        check(&[("NO_PROXY", "b")], [None, None, Some("b")]);
    }
}
