//! The request for a tunnel through an HTTP proxy (RFC 9110, section 9.3.6), and what its answer means.

use super::Proxy;
use crate::error::ErrorKind;
use crate::outcome::Failure;

/// The head of a CONNECT. It carries the credentials of the proxy, and none of the origin.
#[must_use]
pub fn request(proxy: &Proxy, host: &str, port: u16) -> Vec<u8> {
    let mut head = format!("CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\n");
    if let Some(authorization) = proxy.authorization() {
        head.push_str(&format!("proxy-authorization: {authorization}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// What the status of the answer to a CONNECT means.
///
/// # Errors
///
/// `proxy.auth`: the proxy wants other credentials. `proxy.failed`: it could not reach the host, or is overloaded.
/// `proxy.denied`: it does not open a tunnel to this host.
pub fn judge(proxy: &Proxy, status: u16) -> Result<(), Failure> {
    let (kind, what) = match status {
        200..=299 => return Ok(()),
        407 => {
            let what = match proxy.authorization() {
                None => "wants a user name and a password: http://NAME:PASSWORD@HOST:PORT",
                Some(_) => "does not accept the user name and the password",
            };
            (ErrorKind::ProxyAuth, what)
        }
        429 | 500..=599 => (ErrorKind::ProxyFailed, "could not connect to the host"),
        _ => (ErrorKind::ProxyDenied, "does not connect to the host"),
    };
    Err(Failure::new(kind, format!("the proxy {proxy} {what}: it answered {status}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_asked_for_with_the_credentials_of_the_proxy() {
        let head = |proxy| request(&Proxy::parse(proxy).unwrap(), "a.test", 443);
        let plain = "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n";
        assert_eq!(head("p"), format!("{plain}\r\n").into_bytes());
        assert_eq!(
            head("me:secret@p"),
            format!("{plain}proxy-authorization: Basic bWU6c2VjcmV0\r\n\r\n").into_bytes()
        );
    }

    #[test]
    fn answers() {
        let proxy = Proxy::parse("me:secret@p").unwrap();
        let kind = |status| judge(&proxy, status).err().map(|failure| failure.kind);
        assert_eq!([200, 204].map(kind), [None; 2]);
        assert_eq!(kind(407), Some(ErrorKind::ProxyAuth));
        assert_eq!([429, 500, 502, 503, 504].map(kind), [Some(ErrorKind::ProxyFailed); 5]);
        assert_eq!([302, 400, 401, 403, 405].map(kind), [Some(ErrorKind::ProxyDenied); 5]);
        assert!(!judge(&proxy, 407).unwrap_err().message.contains("secret"));
    }
}
