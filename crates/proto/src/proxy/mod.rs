//! Proxies: what their URLs mean, which requests go through which, and the conversations with them. Names of variables and the
//! rules are curl's.

mod choice;
mod exceptions;
mod socks;
mod tunnel;

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::base64;

pub use choice::{Environment, Proxies, Variable};
pub use exceptions::Exceptions;
pub use socks::{Socks5, Target};
pub use tunnel::{judge, request};

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS version 5 (RFC 1928) with addresses that were resolved here.
    Socks5,
    /// The same with names, which the proxy resolves.
    Socks5h,
}

/// A proxy, from a URL like `http://user:password@proxy.test:3128`.
///
/// Without a scheme it is http. The port is 1080 if the URL names none, as with curl, or 443 for https.
///
/// ```
/// use overlapped_proto::proxy::{Kind, Proxy};
///
/// let proxy = Proxy::parse("socks5h://me:secret@proxy.test")?;
/// assert_eq!((proxy.kind(), proxy.port()), (Kind::Socks5h, 1080));
/// assert_eq!(proxy.to_string(), "socks5h://proxy.test:1080");
/// # Ok::<(), overlapped_proto::proxy::Invalid>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    kind: Kind,
    host: Host<String>,
    port: u16,
    credentials: Option<(Box<str>, Box<str>)>,
}

/// Why a text is no proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(&'static str);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Invalid {}

impl Proxy {
    /// Parses the URL of a proxy.
    ///
    /// # Errors
    ///
    /// It is none, or of another kind. The error does not repeat the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "http" => Kind::Http,
            "https" => Kind::Https,
            "socks5" => Kind::Socks5,
            "socks5h" => Kind::Socks5h,
            _ => return Err(Invalid("a proxy is http://, https://, socks5:// or socks5h://")),
        };
        // The port of a scheme that is not known to the parser is never a default one.
        let url = Url::parse(&format!("proxy://{rest}"));
        let url = url.map_err(|_| Invalid("this is no URL of a proxy: http://proxy.example:3128"))?;
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.and_then(|host| Host::parse(&percent_decode_str(host).decode_utf8_lossy()).ok());
        let host = host.ok_or(Invalid("the URL of the proxy has no host"))?;
        let default = if kind == Kind::Https { 443 } else { 1080 };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned().into();
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        let credentials =
            has_credentials.then(|| (decoded(url.username()), decoded(url.password().unwrap_or_default())));
        match url.port().unwrap_or(default) {
            0 => Err(Invalid("the proxy has the port 0")),
            port => Ok(Self { kind, host, port, credentials }),
        }
    }

    /// The same with a user name and a password, if its URL has none.
    #[must_use]
    pub fn with_user(mut self, user: &str, password: &str) -> Self {
        self.credentials.get_or_insert_with(|| (user.into(), password.into()));
        self
    }

    /// How it is spoken to.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its host.
    #[must_use]
    pub const fn host(&self) -> &Host<String> {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The value of `Proxy-Authorization`, if the proxy has credentials.
    #[must_use]
    pub fn authorization(&self) -> Option<String> {
        let (user, password) = self.credentials.as_ref()?;
        Some(format!("Basic {}", base64::encode(format!("{user}:{password}").as_bytes())))
    }

    /// True if requests for http are sent to it as they are, and not through a tunnel.
    #[must_use]
    pub const fn forwards(&self) -> bool {
        matches!(self.kind, Kind::Http | Kind::Https)
    }

    fn credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(user, password)| (&**user, &**password))
    }
}

/// Without the credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            Kind::Http => "http",
            Kind::Https => "https",
            Kind::Socks5 => "socks5",
            Kind::Socks5h => "socks5h",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// Without the credentials.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_proxies() {
        let check = |text: &str, expected: &str, authorization: Option<&str>| {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!(proxy.to_string(), expected, "{text}");
            let expected = authorization.map(|plain| format!("Basic {}", base64::encode(plain.as_bytes())));
            assert_eq!(proxy.authorization(), expected, "{text}");
        };
        check("proxy.test", "http://proxy.test:1080", None);
        check("proxy.test:80", "http://proxy.test:80", None);
        check(" HTTP://Proxy.Test:3128/ ", "http://proxy.test:3128", None);
        check("https://proxy.test", "https://proxy.test:443", None);
        check("socks5://127.0.0.1:9050", "socks5://127.0.0.1:9050", None);
        check("socks5h://[::1]", "socks5h://[::1]:1080", None);
        check("http://b\u{fc}cher.test:1", "http://xn--bcher-kva.test:1", None);
        check("http://me:a%40b%3Ac@proxy.test", "http://proxy.test:1080", Some("me:a@b:c"));
        check("me@proxy.test", "http://proxy.test:1080", Some("me:"));
        for wrong in
            ["", "http://", "socks4://a", "ftp://a", "a:b:c", "http://a:99999", "http://a:0", "a b", ":3128"]
        {
            assert!(Proxy::parse(wrong).is_err(), "{wrong:?}");
        }
        let secret = Proxy::parse("http://me:hidden@a").unwrap();
        assert!(!format!("{secret:?} {secret}").contains("hidden"));
        assert_eq!(
            secret.with_user("x", "y").authorization(),
            Proxy::parse("me:hidden@a").unwrap().authorization()
        );
    }
}
