//! The request for a tunnel through an HTTP proxy (RFC 9110, section 9.3.6), and what its answer means.

use super::Proxy;
use crate::error::ErrorKind;
use crate::limits;
use crate::outcome::Failure;
use crate::record::Headers;
use crate::sanitize;

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

/// What the answer of a proxy to a CONNECT means, or its own to a request that it forwards.
///
/// # Errors
///
/// `proxy.auth`: the proxy wants other credentials. `proxy.failed`: it could not reach the host, or is overloaded.
/// `proxy.denied`: it does not open a tunnel to this host.
pub fn judge(proxy: &Proxy, status: u16, headers: &Headers) -> Result<(), Failure> {
    let (kind, what) = match status {
        200..=299 => return Ok(()),
        407 => {
            let what = match (foreign_schemes(headers), proxy.authorization()) {
                (Some(schemes), _) => {
                    format!(
                        "wants the authentication {schemes}; of those for proxies only Basic is supported"
                    )
                }
                (None, None) => "wants a user name and a password: http://NAME:PASSWORD@HOST:PORT".to_owned(),
                (None, Some(_)) => "does not accept the user name and the password".to_owned(),
            };
            (ErrorKind::ProxyAuth, what)
        }
        429 | 500..=599 => (ErrorKind::ProxyFailed, "could not connect to the host".to_owned()),
        _ => (ErrorKind::ProxyDenied, "does not connect to the host".to_owned()),
    };
    Err(Failure::new(kind, format!("the proxy {proxy} {what}: it answered {status}")))
}

/// The schemes that a proxy offers (RFC 9110, section 11.7.1), if Basic is none of them.
fn foreign_schemes(headers: &Headers) -> Option<String> {
    let mut schemes: Vec<String> = Vec::new();
    for (name, value) in headers.fields() {
        if !name.eq_ignore_ascii_case(b"proxy-authenticate") {
            continue;
        }
        // A member is a scheme, one with a parameter or token, or a further parameter.
        for member in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            let word = member.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
            if word.is_empty() || !word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
                continue;
            }
            if word.eq_ignore_ascii_case(b"basic") {
                return None;
            }
            if schemes.len() < limits::HOSTS_TOLD {
                schemes.push(sanitize::quote(word, limits::QUOTE_BYTES_MAX));
            }
        }
    }
    (!schemes.is_empty()).then(|| schemes.join(", "))
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
        let none = Headers::with_capacity(0);
        let kind = |status| judge(&proxy, status, &none).err().map(|failure| failure.kind);
        assert_eq!([200, 204].map(kind), [None; 2]);
        assert_eq!(kind(407), Some(ErrorKind::ProxyAuth));
        assert_eq!([429, 500, 502, 503, 504].map(kind), [Some(ErrorKind::ProxyFailed); 5]);
        assert_eq!([302, 400, 401, 403, 405].map(kind), [Some(ErrorKind::ProxyDenied); 5]);
        assert!(!judge(&proxy, 407, &none).unwrap_err().message.contains("secret"));
    }

    #[test]
    fn authentication_that_is_not_supported_is_named() {
        let check = |fields: &[&str], expected: &str| {
            let mut headers = Headers::with_capacity(0);
            fields.iter().for_each(|field| headers.push("proxy-authenticate", field.as_bytes()));
            let proxy = Proxy::parse("me:secret@p").unwrap();
            let message = judge(&proxy, 407, &headers).unwrap_err().message;
            assert!(message.contains(expected), "{fields:?}: {message}");
        };
        check(&[], "does not accept the user name");
        check(&["Basic realm=\"a, b\""], "does not accept the user name");
        check(&["NTLM", "basic realm=x"], "does not accept the user name");
        check(&["NTLM"], "wants the authentication NTLM; ");
        check(&["Negotiate, NTLM"], "wants the authentication Negotiate, NTLM; ");
        check(&["Digest realm=\"x\", nonce=\"y\""], "wants the authentication Digest; ");
        check(&["\u{1b}[31m"], "does not accept the user name");
    }
}
