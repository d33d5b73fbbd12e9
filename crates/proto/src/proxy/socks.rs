//! The conversation with a SOCKS proxy, version 5 (RFC 1928), with a user name and a password where it wants them (RFC 1929).
//! Each answer has a known length, so that nothing behind the last one is read.

use std::net::IpAddr;

use super::Proxy;
use crate::error::ErrorKind;
use crate::outcome::Failure;

/// Where the proxy is to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A name, which the proxy resolves.
    Name(&'a str),
    /// An address.
    Address(IpAddr),
}

/// The conversation: bytes to send, then the number of bytes to read, in turn.
///
/// ```
/// use overlapped_proto::proxy::{Proxy, Socks5, Target};
///
/// let proxy = Proxy::parse("socks5h://127.0.0.1")?;
/// let (mut socks, first) = Socks5::begin(&proxy, Target::Name("a.test"), 80)?;
/// assert_eq!((first, socks.wants()), (vec![5, 1, 0], 2));
/// let request = socks.take(&[5, 0])?;
/// assert_eq!((request.len(), socks.wants()), (13, 5));
/// socks.take(&[5, 0, 0, 1, 127])?;
/// socks.take(&[0, 0, 1, 0, 80])?;
/// assert_eq!(socks.wants(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Socks5<'a> {
    proxy: &'a Proxy,
    request: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Method,
    Credentials,
    Reply,
    /// The rest of the reply, which says from which address the proxy connects.
    Bound(usize),
    Done,
}

impl<'a> Socks5<'a> {
    /// The conversation and the bytes that begin it.
    ///
    /// # Errors
    ///
    /// `input.url`: the name is longer than the 255 bytes that the protocol has room for. `proxy.auth`: the same for the user
    /// name or the password of the proxy.
    pub fn begin(proxy: &'a Proxy, target: Target<'_>, port: u16) -> Result<(Self, Vec<u8>), Failure> {
        let mut request = vec![5, 1, 0];
        match target {
            Target::Address(IpAddr::V4(address)) => {
                request.push(1);
                request.extend(address.octets());
            }
            Target::Address(IpAddr::V6(address)) => {
                request.push(4);
                request.extend(address.octets());
            }
            Target::Name(name) => {
                let message = "the name is longer than the 255 bytes that a SOCKS proxy takes";
                request.push(3);
                put(name, &mut request).ok_or_else(|| Failure::new(ErrorKind::InputUrl, message))?;
            }
        }
        request.extend(port.to_be_bytes());
        let greeting = if proxy.credentials().is_some() { vec![5, 2, 0, 2] } else { vec![5, 1, 0] };
        let socks = Self { proxy, request, state: State::Method };
        socks.credentials()?;
        Ok((socks, greeting))
    }

    /// Bytes to read next; 0: the connection is open.
    #[must_use]
    pub const fn wants(&self) -> usize {
        match self.state {
            State::Method | State::Credentials => 2,
            State::Reply => 5,
            State::Bound(rest) => rest,
            State::Done => 0,
        }
    }

    /// Takes as many bytes as [`Socks5::wants`], and returns what is to be sent, which may be nothing.
    ///
    /// # Errors
    ///
    /// `proxy.auth`: the proxy wants other credentials. `proxy.denied`: it does not connect to this host. `proxy.failed`: it
    /// could not, or does not speak the protocol.
    pub fn take(&mut self, answer: &[u8]) -> Result<Vec<u8>, Failure> {
        match (self.state, answer) {
            (State::Method, [5, 0]) => Ok(self.ask()),
            (State::Method, [5, 2]) if self.proxy.credentials().is_some() => {
                self.state = State::Credentials;
                self.credentials()
            }
            (State::Method, [5, 0xff]) => {
                let what = match self.proxy.credentials() {
                    None => "wants a user name and a password: socks5h://NAME:PASSWORD@HOST:PORT",
                    Some(_) => "takes no user name and password",
                };
                Err(self.failure(ErrorKind::ProxyAuth, what))
            }
            (State::Credentials, [_, 0]) => Ok(self.ask()),
            (State::Credentials, [_, _]) => {
                Err(self.failure(ErrorKind::ProxyAuth, "does not accept the user name and the password"))
            }
            (State::Reply, [5, 0, _, kind, first]) => {
                let rest = match kind {
                    1 => 4 - 1 + 2,
                    4 => 16 - 1 + 2,
                    3 => usize::from(*first) + 2,
                    _ => return Err(self.failure(ErrorKind::ProxyFailed, "does not speak SOCKS 5")),
                };
                self.state = State::Bound(rest);
                Ok(Vec::new())
            }
            (State::Reply, [5, code, ..]) => Err(self.refused(*code)),
            (State::Bound(rest), bound) if bound.len() == rest => {
                self.state = State::Done;
                Ok(Vec::new())
            }
            (State::Method | State::Reply | State::Credentials | State::Bound(_) | State::Done, _) => {
                Err(self.failure(ErrorKind::ProxyFailed, "does not speak SOCKS 5"))
            }
        }
    }

    fn ask(&mut self) -> Vec<u8> {
        self.state = State::Reply;
        std::mem::take(&mut self.request)
    }

    fn credentials(&self) -> Result<Vec<u8>, Failure> {
        let Some((user, password)) = self.proxy.credentials() else { return Ok(Vec::new()) };
        let mut message = vec![1];
        let put = put(user, &mut message).and_then(|()| put(password, &mut message));
        put.ok_or_else(|| {
            self.failure(ErrorKind::ProxyAuth, "takes names and passwords of at most 255 bytes")
        })?;
        Ok(message)
    }

    fn refused(&self, code: u8) -> Failure {
        let (kind, what) = match code {
            2 => (ErrorKind::ProxyDenied, "does not connect to the host"),
            3 => (ErrorKind::ProxyFailed, "cannot reach the network of the host"),
            4 => (ErrorKind::ProxyFailed, "cannot reach the host"),
            5 => (ErrorKind::ProxyFailed, "was refused by the host"),
            6 => (ErrorKind::ProxyFailed, "got no answer from the host"),
            7 | 8 => (ErrorKind::ProxyDenied, "cannot do what it is asked for"),
            _ => (ErrorKind::ProxyFailed, "could not connect to the host"),
        };
        self.failure(kind, &format!("{what} (code {code})"))
    }

    fn failure(&self, kind: ErrorKind, what: &str) -> Failure {
        Failure::new(kind, format!("the proxy {} {what}", self.proxy))
    }
}

/// A text behind its length in one byte.
fn put(text: &str, out: &mut Vec<u8>) -> Option<()> {
    out.push(u8::try_from(text.len()).ok()?);
    out.extend_from_slice(text.as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Proxy {
        Proxy::parse(text).unwrap()
    }

    /// What is sent in all when the proxy gives these answers, or the kind of the failure.
    fn talk(url: &str, target: Target<'_>, answers: &[u8]) -> Result<Vec<u8>, ErrorKind> {
        let proxy = proxy(url);
        let (mut socks, mut sent) = Socks5::begin(&proxy, target, 0x1234).map_err(|failure| failure.kind)?;
        let mut answers = answers;
        while socks.wants() > 0 {
            let (answer, rest) = answers.split_at(socks.wants());
            answers = rest;
            sent.extend(socks.take(answer).map_err(|failure| failure.kind)?);
        }
        assert!(answers.is_empty(), "what follows belongs to the connection");
        Ok(sent)
    }

    #[test]
    fn conversations() {
        let v4 = Target::Address([1, 2, 3, 4].into());
        let bound = [5, 0, 0, 1, 9, 9, 9, 9, 9, 9];
        let answers = |method: &[u8]| [method, &bound].concat();
        assert_eq!(
            talk("socks5://p", v4, &answers(&[5, 0])),
            Ok(vec![5, 1, 0, 5, 1, 0, 1, 1, 2, 3, 4, 0x12, 0x34])
        );
        let named = [&[5, 1, 0, 5, 1, 0, 3, 6][..], b"a.test", &[0x12, 0x34]].concat();
        assert_eq!(talk("socks5h://p", Target::Name("a.test"), &answers(&[5, 0])), Ok(named));
        let with =
            [&[5, 2, 0, 2, 1, 2][..], b"me", &[6], b"secret", &[5, 1, 0, 1, 1, 2, 3, 4, 0x12, 0x34]].concat();
        assert_eq!(talk("socks5://me:secret@p", v4, &answers(&[5, 2, 1, 0])), Ok(with));
        let v6 = Target::Address(std::net::Ipv6Addr::LOCALHOST.into());
        let reply = [&[5, 0, 5, 0, 0, 4][..], &[0; 18]].concat();
        assert_eq!(talk("socks5://p", v6, &reply).map(|sent| sent.len()), Ok(3 + 22));
        let reply = [&[5, 0, 5, 0, 0, 3, 4][..], b"name", &[0; 2]].concat();
        assert!(talk("socks5://p", v4, &reply).is_ok());
    }

    #[test]
    fn refusals() {
        let target = Target::Name("a.test");
        let check =
            |url, answers: &[u8], kind| assert_eq!(talk(url, target, answers), Err(kind), "{answers:?}");
        check("socks5://p", &[5, 0xff], ErrorKind::ProxyAuth);
        check("socks5://p", &[5, 2], ErrorKind::ProxyFailed);
        check("socks5://me:x@p", &[5, 2, 1, 1], ErrorKind::ProxyAuth);
        check("socks5://p", &[4, 0], ErrorKind::ProxyFailed);
        check("socks5://p", b"HT", ErrorKind::ProxyFailed);
        check("socks5://p", &[5, 0, 5, 2, 0, 1, 0], ErrorKind::ProxyDenied);
        check("socks5://p", &[5, 0, 5, 5, 0, 1, 0], ErrorKind::ProxyFailed);
        check("socks5://p", &[5, 0, 5, 0, 0, 9, 0], ErrorKind::ProxyFailed);
        let long = "x".repeat(256);
        assert_eq!(talk("socks5h://p", Target::Name(&long), &[]), Err(ErrorKind::InputUrl));
        assert_eq!(talk(&format!("socks5h://me:{long}@p"), target, &[]), Err(ErrorKind::ProxyAuth));
    }
}
