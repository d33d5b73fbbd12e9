//! The head of a response, from bytes that come in any pieces. Interim responses (1xx) are passed over.
//!
//! httparse knows the grammar; here are its limits, the order of what counts, and that a head which drips in byte by
//! byte is not parsed again with each byte.

use std::mem::MaybeUninit;

use super::body::Body;
use super::framing::Signs;
use crate::error::ErrorKind;
use crate::job::Method;
use crate::limits;
use crate::outcome::Failure;
use crate::record::{Headers, HttpVersion};

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    /// Its status: from 200 to 999.
    pub status: u16,
    /// The version of HTTP that the server speaks.
    pub version: HttpVersion,
    /// Its fields.
    pub headers: Headers,
    /// True if the server will take another request when the body has come. Never if it or an interim response before
    /// it announces a body where there can be none: for 1xx, 204, 304 and an answer to HEAD.
    pub keeps_alive: bool,
}

/// Reads the head of one response.
#[derive(Debug)]
pub struct HeadReader {
    /// The request was HEAD: its answer has no body, whatever it says.
    asked_head: bool,
    /// Bytes of the head in which no end was found.
    searched: usize,
    /// Interim responses that were passed over.
    interim: u32,
    /// One of them announced a body.
    forbidden_body: bool,
}

impl HeadReader {
    /// Reads the answer to a request with this method.
    #[must_use]
    pub fn new(method: &Method) -> Self {
        Self { asked_head: *method == Method::Head, searched: 0, interim: 0, forbidden_body: false }
    }

    /// Takes heads off the front of `input` until there is one that counts, and says what body follows it. `None`: more is
    /// needed; what is left of `input` must come again, with more behind it.
    ///
    /// # Errors
    ///
    /// `http.parse`: it is not HTTP/1.0 or 1.1, does not say clearly where its body ends, or brings a transfer coding or
    /// another protocol for which nobody asked. `http.limit`: it is larger than the limits, or too many interim responses came.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<(Head, Body)>, Failure> {
        loop {
            let window = input.get(..limits::HEAD_BYTES_MAX).unwrap_or(input);
            let full = window.len() == limits::HEAD_BYTES_MAX;
            // Most heads come whole, so the first look is the parser's own; further ones cost it only when it can finish.
            let may_be_whole = self.searched == 0 || full || ends(window, self.searched);
            self.searched = window.len();
            if window.is_empty() || !may_be_whole {
                return Ok(None);
            }
            match self.parse(window)? {
                Parsed::Partial if full => return Err(too_large("the head of the response is too large")),
                Parsed::Partial => return Ok(None),
                Parsed::Final(bytes, head, body) => {
                    *input = input.get(bytes..).unwrap_or_default();
                    return Ok(Some((head, body)));
                }
                Parsed::Interim(bytes, announces_body) => {
                    self.forbidden_body |= announces_body;
                    *input = input.get(bytes..).unwrap_or_default();
                    self.searched = 0;
                    self.interim += 1;
                    if self.interim > limits::INTERIM_RESPONSES_MAX {
                        return Err(too_large("too many interim responses came before the one that counts"));
                    }
                }
            }
        }
    }

    /// Why there is no head: the connection has ended behind `input`, for which more was needed.
    #[must_use]
    pub fn end(&self, input: &[u8]) -> Failure {
        match self.parse(input) {
            Err(failure) => failure,
            Ok(_) => {
                Failure::new(ErrorKind::HttpNoResponse, "the connection ended before the response began")
            }
        }
    }

    fn parse(&self, window: &[u8]) -> Result<Parsed, Failure> {
        // Empty lines in front of a response belong to nothing that was asked for.
        if matches!(window.first(), Some(b'\r' | b'\n')) {
            return Err(not_http("the response begins with an empty line"));
        }
        let mut places = [const { MaybeUninit::uninit() }; limits::HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let parsed = config.parse_response_with_uninit_headers(&mut response, window, &mut places);
        let bytes = match parsed {
            Ok(httparse::Status::Complete(bytes)) => bytes,
            Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(too_large("the response has too many fields"));
            }
            Err(error) => return Err(not_http(format!("the head of the response is not HTTP: {error}"))),
        };
        match response.code {
            Some(101) => Err(not_http("the server switches to another protocol, for which nobody asked")),
            Some(100..=199) => Ok(Parsed::Interim(bytes, signs(response.headers).announces_body())),
            Some(status @ 200..=999) => {
                let version =
                    if response.version == Some(0) { HttpVersion::Http10 } else { HttpVersion::Http11 };
                let (head, body) = self.head(status, version, response.headers)?;
                Ok(Parsed::Final(bytes, head, body))
            }
            _ => Err(not_http("the response has no valid status")),
        }
    }

    fn head(
        &self,
        status: u16,
        version: HttpVersion,
        fields: &[httparse::Header<'_>],
    ) -> Result<(Head, Body), Failure> {
        let bytes = fields.iter().map(|field| Headers::size_of(field.name, field.value)).sum();
        let mut headers = Headers::with_capacity(bytes);
        fields.iter().for_each(|field| headers.push(field.name, field.value));
        let signs = signs(fields);
        let without_body = self.asked_head || matches!(status, 204 | 304);
        let body = if without_body { Body::empty() } else { signs.body(version).map_err(not_http)? };
        let forbidden_body = self.forbidden_body || (without_body && signs.announces_body());
        let keeps_alive = signs.keeps_alive(version) && !forbidden_body;
        Ok((Head { status, version, headers, keeps_alive }, body))
    }
}

fn signs(fields: &[httparse::Header<'_>]) -> Signs {
    let mut signs = Signs::default();
    fields.iter().for_each(|field| signs.note(field.name, field.value));
    signs
}

enum Parsed {
    Partial,
    /// A response before the one that counts: its bytes, and whether it announces a body, which it cannot have.
    Interim(usize, bool),
    Final(usize, Head, Body),
}

/// True if a head ends in `window`, of which `searched` bytes have been looked at before. A line may end without CR, as
/// the parser takes it.
fn ends(window: &[u8], searched: usize) -> bool {
    let unsure = window.get(searched.saturating_sub(2)..).unwrap_or_default();
    memchr::memchr_iter(b'\n', unsure).any(|at| {
        let next = unsure.get(at + 1..).unwrap_or_default();
        next.starts_with(b"\n") || next.starts_with(b"\r\n")
    })
}

fn not_http(message: impl Into<Box<str>>) -> Failure {
    Failure::new(ErrorKind::HttpParse, message)
}

fn too_large(message: &str) -> Failure {
    Failure::new(ErrorKind::HttpLimit, message)
}
