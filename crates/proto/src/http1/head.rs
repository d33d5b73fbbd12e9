//! An incremental parser of the head of a response. Interim responses (1xx) are skipped.
//!
//! httparse parses the grammar. This module adds the limits and the order of the checks, and avoids quadratic work: a
//! head that arrives byte by byte is not parsed again with each byte. What httparse refuses is passed to `lenient`, unless
//! the reader is strict.

use std::mem::MaybeUninit;

use bytes::Bytes;

use super::body::Body;
use super::framing::{Signs, Strictness};
use super::lenient::{Lines, end_of_head, is_no_head};
use crate::error::ErrorKind;
use crate::job::Method;
use crate::limits;
use crate::notes::{Note, Notes};
use crate::outcome::Failure;
use crate::plural::counted;
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
    /// True if the connection is kept alive behind the body. False if this or an interim response before it announces a
    /// body where there can be none: for 1xx, 204, 304 and an answer to HEAD.
    pub keeps_alive: bool,
    /// The departures accepted in it, and in what came before it.
    pub notes: Notes,
    /// Its bytes as they came, up to and with the empty line, if [`Keep::raw`] asks for them.
    pub raw: Bytes,
}

/// What a reader keeps of a head beyond its meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// The names of fields in their own case, instead of in lower case.
    pub case: bool,
    /// The bytes of the head.
    pub raw: bool,
}

/// Reads the head of one response.
#[derive(Debug)]
pub struct HeadReader {
    /// The request was HEAD: its answer has no body, whatever its fields are.
    asked_head: bool,
    strictness: Strictness,
    keep: Keep,
    /// Bytes of the head that were searched for its end.
    searched: usize,
    /// Empty lines that were skipped.
    blank_lines: u32,
    /// Interim responses that were skipped.
    interim: u32,
    /// One of them announced a body.
    forbidden_body: bool,
    /// The departures accepted in what was skipped.
    notes: Notes,
}

impl HeadReader {
    /// Reads the answer to a request with this method.
    #[must_use]
    pub fn new(method: &Method, strictness: Strictness) -> Self {
        Self {
            asked_head: *method == Method::Head,
            strictness,
            keep: Keep::default(),
            searched: 0,
            blank_lines: 0,
            interim: 0,
            forbidden_body: false,
            notes: Notes::default(),
        }
    }

    /// The same reader, which keeps more of the head.
    #[must_use]
    pub fn keeping(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// Consumes heads from the front of `input` up to the final one, and returns it with its body. `None`: more bytes are
    /// needed; to be called again with the rest of `input` and the bytes received behind it.
    ///
    /// # Errors
    ///
    /// `http.parse`: it is not HTTP/1.0 or 1.1, does not say clearly where its body ends, or brings a transfer coding or
    /// another protocol that was not asked for. `http.limit`: it is larger than the limits, or too many interim responses came.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<(Head, Body)>, Failure> {
        loop {
            if self.searched == 0 && self.strictness == Strictness::Lenient {
                self.skip_blank_lines(input)?;
                if *input == b"\r" {
                    return Ok(None); // perhaps one more of them
                }
            }
            let window = input.get(..limits::HEAD_BYTES_MAX).unwrap_or(input);
            let full = window.len() == limits::HEAD_BYTES_MAX;
            // Most heads arrive whole, so they are parsed at once; later calls parse only when the end has arrived.
            let may_be_whole = self.searched == 0 || full || ends(window, self.searched);
            if window.is_empty() || !may_be_whole {
                self.searched = window.len();
                return Ok(None);
            }
            self.searched = window.len();
            match self.parse(window)? {
                Parsed::Partial if full => return Err(too_large("the head of the response is too large")),
                Parsed::Partial => return Ok(None),
                Parsed::Final(bytes, mut head, body) => {
                    if self.keep.raw {
                        head.raw = Bytes::copy_from_slice(window.get(..bytes).unwrap_or(window));
                    }
                    *input = input.get(bytes..).expect("a head is within its input");
                    return Ok(Some((head, body)));
                }
                Parsed::Interim { bytes, announces_body, notes } => {
                    *input = input.get(bytes..).expect("a head is within its input");
                    self.forbidden_body |= announces_body;
                    self.notes.extend(notes);
                    self.searched = 0;
                    self.interim += 1;
                    if self.interim > limits::INTERIM_RESPONSES_MAX {
                        return Err(too_large("too many interim responses came before the one that counts"));
                    }
                }
            }
        }
    }

    /// The failure of a connection that ended behind `input` while more bytes were needed.
    #[must_use]
    pub fn end(&self, input: &[u8]) -> Failure {
        if input.is_empty() {
            return Failure::new(ErrorKind::HttpNoResponse, "the connection ended before the response began");
        }
        match self.parse(input) {
            Err(failure) => failure,
            Ok(_) => Failure::new(
                ErrorKind::HttpTruncated,
                format!(
                    "the connection ended inside the head of the response, {} into it",
                    counted(input.len() as u64, "byte")
                ),
            ),
        }
    }

    /// Skips empty lines, which servers with a wrong `Content-Length` send before the next response.
    fn skip_blank_lines(&mut self, input: &mut &[u8]) -> Result<(), Failure> {
        while let [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] = input {
            *input = rest;
            self.notes.add(Note::BlankLines);
            self.blank_lines += 1;
            if self.blank_lines > limits::BLANK_LINES_MAX {
                return Err(not_http("too many empty lines came before the response"));
            }
        }
        Ok(())
    }

    fn parse(&self, window: &[u8]) -> Result<Parsed, Failure> {
        match window {
            // The rest of an empty line may come yet.
            b"\r" if self.strictness == Strictness::Lenient => return Ok(Parsed::Partial),
            // Empty lines in front of a response belong to nothing that was asked for.
            [b'\r' | b'\n', ..] => return Err(not_http("the response begins with an empty line")),
            _ => {}
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
            Err(error) => return self.parse_leniently(window, error),
        };
        let version = if response.version == Some(0) { HttpVersion::Http10 } else { HttpVersion::Http11 };
        let fields = response.headers.iter().map(|field| (field.name, field.value));
        self.judge(bytes, response.code.unwrap_or(0), version, fields, Notes::default(), false)
    }

    /// Parses a head that httparse refuses, once it is whole.
    fn parse_leniently(&self, window: &[u8], error: httparse::Error) -> Result<Parsed, Failure> {
        if self.strictness == Strictness::Strict || is_no_head(window) {
            return Err(not_http(format!("the head of the response is not HTTP: {error}")));
        }
        let Some(bytes) = end_of_head(window) else { return Ok(Parsed::Partial) };
        let Lines { status, version, fields, notes, doubtful_length } =
            Lines::read(window.get(..bytes).unwrap_or(window))?;
        let fields = fields.iter().map(|(name, value)| (*name, &**value));
        self.judge(bytes, status, version, fields, notes, doubtful_length)
    }

    /// Classifies a parsed head of `bytes` bytes.
    fn judge<'a>(
        &self,
        bytes: usize,
        status: u16,
        version: HttpVersion,
        fields: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
        notes: Notes,
        doubtful_length: bool,
    ) -> Result<Parsed, Failure> {
        let bytes_kept = fields.clone().map(|(name, value)| Headers::size_of(name, value)).sum();
        let mut headers = Headers::with_capacity(bytes_kept);
        let mut signs = Signs::default();
        signs.doubtful_length = doubtful_length;
        if self.keep.case {
            fields.for_each(|(name, value)| {
                headers.push_as_sent(name, value);
                if Signs::may_note(name) {
                    signs.note(name.to_ascii_lowercase().as_bytes(), value);
                }
            });
        } else {
            fields.for_each(|(name, value)| headers.push(name, value));
            headers.fields().for_each(|(name, value)| signs.note(name, value));
        }
        match status {
            101 => Err(not_http("the server switches to another protocol, which was not asked for")),
            100..=199 => Ok(Parsed::Interim { bytes, announces_body: signs.announces_body(), notes }),
            200..=999 => {
                let (head, body) = self.head(status, version, headers, &signs, notes)?;
                Ok(Parsed::Final(bytes, head, body))
            }
            _ => Err(not_http("the response has no valid status")),
        }
    }

    fn head(
        &self,
        status: u16,
        version: HttpVersion,
        headers: Headers,
        signs: &Signs,
        mut notes: Notes,
    ) -> Result<(Head, Body), Failure> {
        notes.extend(self.notes);
        let without_body = self.asked_head || matches!(status, 204 | 304);
        let body = match without_body {
            true => Body::empty(),
            false => signs.body(version, self.strictness, &mut notes).map_err(not_http)?,
        };
        let forbidden_body = self.forbidden_body || (without_body && signs.announces_body());
        let keeps_alive = signs.keeps_alive(version) && !forbidden_body;
        Ok((Head { status, version, headers, keeps_alive, notes, raw: Bytes::new() }, body))
    }
}

enum Parsed {
    Partial,
    /// An interim response.
    Interim {
        bytes: usize,
        /// Which it cannot have.
        announces_body: bool,
        notes: Notes,
    },
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
