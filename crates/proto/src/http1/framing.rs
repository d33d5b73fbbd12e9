//! Where a body ends (RFC 9112, section 6.3) and whether the connection lives on (section 9.3), from the fields of a head.

use super::body::Body;
use crate::record::HttpVersion;

/// What the fields of a head say about its framing.
#[derive(Default)]
pub(super) struct Signs {
    length: Option<u64>,
    length_is_unclear: bool,
    coding: Option<Coding>,
    close: bool,
    keep_alive: bool,
}

/// What `Transfer-Encoding` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// Nothing that changes the body: it ends with the connection.
    Identity,
    /// `chunked`, and nothing behind it.
    Chunked,
    /// Something else, which only a request with `TE` asks for.
    Unasked,
    /// `chunked` twice.
    Unclear,
}

impl Signs {
    /// Takes note of a field.
    pub(super) fn note(&mut self, name: &str, value: &[u8]) {
        // Most fields are told apart by their length alone.
        match name.len() {
            10 if name.eq_ignore_ascii_case("connection") => {
                for token in tokens(value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                for length in tokens(value).map(number) {
                    self.length_is_unclear |=
                        length.is_none() || self.length.is_some_and(|known| Some(known) != length);
                    self.length = self.length.or(length);
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                for token in tokens(value) {
                    self.coding = Some(Coding::with(self.coding, token));
                }
            }
            _ => {}
        }
    }

    /// The body of a response that may have one; an error says what is unclear.
    pub(super) fn body(&self, version: HttpVersion) -> Result<Body, &'static str> {
        match (self.coding, self.length) {
            (Some(_), _) if version == HttpVersion::Http10 => Err("HTTP/1.0 has no Transfer-Encoding"),
            (Some(Coding::Unclear), _) => Err("the Transfer-Encoding is chunked twice"),
            (Some(Coding::Unasked), _) => Err("the Transfer-Encoding is one that nobody asked for"),
            (Some(Coding::Chunked), _) => Ok(Body::chunked()),
            (Some(Coding::Identity), _) => Ok(Body::until_close()),
            (None, _) if self.length_is_unclear => Err("the Content-Length is not one number"),
            (None, Some(length)) => Ok(Body::of(length)),
            (None, None) => Ok(Body::until_close()),
        }
    }

    /// True if it announces bytes of a body. Where the protocol allows none, a server may send them all the same, and
    /// late: they would be taken for the next response.
    pub(super) fn announces_body(&self) -> bool {
        self.coding.is_some() || self.length_is_unclear || self.length.is_some_and(|length| length > 0)
    }

    /// True if the server takes another request behind the response. Not where both ways of framing are used at once,
    /// which an honest server does not do.
    pub(super) fn keeps_alive(&self, version: HttpVersion) -> bool {
        let both = self.coding.is_some() && (self.length.is_some() || self.length_is_unclear);
        let wanted = match version {
            HttpVersion::Http10 => self.keep_alive,
            HttpVersion::Http11 | HttpVersion::Http2 => true,
        };
        wanted && !self.close && !both
    }
}

impl Coding {
    /// What the codings come to with one more.
    fn with(before: Option<Self>, token: &[u8]) -> Self {
        let chunked = token.eq_ignore_ascii_case(b"chunked");
        let identity = token.is_empty() || token.eq_ignore_ascii_case(b"identity");
        match before {
            None | Some(Self::Identity) if chunked => Self::Chunked,
            None | Some(Self::Identity) if identity => Self::Identity,
            Some(Self::Chunked | Self::Unclear) if chunked => Self::Unclear,
            Some(Self::Unclear) => Self::Unclear,
            None | Some(Self::Identity | Self::Chunked | Self::Unasked) => Self::Unasked,
        }
    }
}

/// The members of a list (RFC 9110, section 5.6.1); an empty value is one empty member.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Digits and nothing else, of 64 bits.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| match byte {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}
