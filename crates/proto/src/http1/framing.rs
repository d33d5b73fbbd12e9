//! Message framing: from the fields of a head, where its body ends (RFC 9112, section 6.3) and whether the connection is
//! kept alive (section 9.3).

use super::body::Body;
use crate::notes::{Note, Notes};
use crate::record::HttpVersion;

/// How heads are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// As browsers and curl do, as long as no two readers can differ about where the message ends; departures are noted.
    #[default]
    Lenient,
    /// As RFC 9112 defines; anything else is an error.
    Strict,
}

/// The fields of a head that concern its framing.
#[derive(Default)]
pub(super) struct Signs {
    length: Option<u64>,
    length_is_unclear: bool,
    coding: Option<Coding>,
    close: bool,
    keep_alive: bool,
    /// True if another reader might not see the length, or not the coding.
    pub(super) doubtful_length: bool,
}

/// The `Transfer-Encoding`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// Nothing that changes the body.
    Identity,
    /// `chunked`, and nothing behind it.
    Chunked,
    /// The same behind `identity`.
    IdentityChunked,
    /// Something else, which only a request with `TE` asks for.
    Unasked,
    /// `chunked` twice.
    Unclear,
}

impl Signs {
    /// False if [`Signs::note`] has no use for a field, whatever the case of its name.
    pub(super) fn may_note(name: &str) -> bool {
        ["connection", "content-length", "transfer-encoding"].iter().any(|known| known.len() == name.len())
    }

    /// Records a field; `name` in lower case.
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"connection" if value == b"keep-alive" => self.keep_alive = true,
            b"connection" => {
                for token in tokens(value) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            b"content-length" => {
                for length in tokens(value).map(number) {
                    self.length_is_unclear |=
                        length.is_none() || self.length.is_some_and(|known| Some(known) != length);
                    self.length = self.length.or(length);
                }
            }
            b"transfer-encoding" => {
                let is_named = |token: &&[u8]| !token.is_empty();
                if tokens(value).any(|token| is_named(&token)) {
                    // Empty members are passed over (RFC 9110, section 5.6.1), which not every reader does.
                    self.doubtful_length |= !tokens(value).all(|token| is_named(&token));
                    for token in tokens(value).filter(is_named) {
                        self.coding = Some(Coding::with(self.coding, token));
                    }
                } else {
                    self.coding = Some(Coding::with(self.coding, b""));
                }
            }
            _ => {}
        }
    }

    /// The body of a response that may have one, with the departures accepted; an error says what is ambiguous.
    pub(super) fn body(
        &self,
        version: HttpVersion,
        strictness: Strictness,
        notes: &mut Notes,
    ) -> Result<Body, &'static str> {
        let old = version == HttpVersion::Http10;
        match (self.coding, strictness) {
            (Some(_), Strictness::Strict) if old => Err("HTTP/1.0 has no Transfer-Encoding"),
            (Some(Coding::Unclear), _) => Err("the Transfer-Encoding is chunked twice"),
            (Some(Coding::Unasked), _) => Err("the Transfer-Encoding is one that was not asked for"),
            (Some(Coding::Chunked | Coding::IdentityChunked), _) if old && self.has_length() => {
                Err("HTTP/1.0 with both a Transfer-Encoding and a Content-Length")
            }
            (Some(Coding::Chunked | Coding::IdentityChunked), _) => {
                if old {
                    notes.add(Note::Http10Chunked);
                }
                if self.coding == Some(Coding::IdentityChunked) {
                    notes.add(Note::TeIdentity);
                }
                Ok(Body::chunked())
            }
            (Some(Coding::Identity), Strictness::Strict) => Ok(Body::until_close()),
            (Some(Coding::Identity), Strictness::Lenient) => {
                notes.add(Note::TeIdentity);
                self.body_by_length()
            }
            (None, _) => self.body_by_length(),
        }
    }

    fn body_by_length(&self) -> Result<Body, &'static str> {
        match self.length {
            _ if self.length_is_unclear => Err("the Content-Length is not one number"),
            Some(length) => Ok(Body::of(length)),
            None => Ok(Body::until_close()),
        }
    }

    fn has_length(&self) -> bool {
        self.length.is_some() || self.length_is_unclear
    }

    /// True if it announces a body. Where the protocol allows none, a server may send one all the same, and late; its
    /// bytes would be taken for the next response.
    pub(super) fn announces_body(&self) -> bool {
        self.coding.is_some() || self.length_is_unclear || self.length.is_some_and(|length| length > 0)
    }

    /// True if the connection is kept alive behind the response. False if both ways of framing are used at once, a mark
    /// of response smuggling, or if another reader might see another end.
    pub(super) fn keeps_alive(&self, version: HttpVersion) -> bool {
        let both = self.coding.is_some() && self.has_length();
        let wanted = match version {
            HttpVersion::Http10 => self.keep_alive && self.coding.is_none(),
            HttpVersion::Http11 | HttpVersion::Http2 => true,
        };
        wanted && !self.close && !both && !self.doubtful_length
    }
}

impl Coding {
    /// The coding after one more token.
    fn with(before: Option<Self>, token: &[u8]) -> Self {
        let chunked = token.eq_ignore_ascii_case(b"chunked");
        let identity = token.is_empty() || token.eq_ignore_ascii_case(b"identity");
        match before {
            None if chunked => Self::Chunked,
            Some(Self::Identity) if chunked => Self::IdentityChunked,
            None | Some(Self::Identity) if identity => Self::Identity,
            Some(Self::Chunked | Self::IdentityChunked | Self::Unclear) if chunked => Self::Unclear,
            Some(Self::Unclear) => Self::Unclear,
            None | Some(Self::Identity | Self::Chunked | Self::IdentityChunked | Self::Unasked) => {
                Self::Unasked
            }
        }
    }
}

/// The members of a list (RFC 9110, section 5.6.1); an empty value is one empty member.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}

/// Without the blanks around it (OWS; RFC 9110, section 5.6.3).
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
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
