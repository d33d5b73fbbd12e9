//! `Record`: one finished row as plain data, the same for every format. This file holds no format.

pub mod mark;
pub mod packed;
pub mod tsv;
pub mod csv;
pub mod ndjson;
pub mod har;
pub mod cdxj;
pub mod warc;
pub mod column;
pub mod spooled;
mod debug;
pub(crate) mod text;

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;

pub use self::text::{header_text, push_json, push_time};
pub use crate::hold::Hold;

use self::spooled::Spooled;
use crate::job::{Method, Row};
use crate::notes::Notes;
use crate::outcome::{Failure, Hop};
use crate::time::Nanos;
use crate::timing::Timing;

/// The day of a time in seconds since 1970, as records write it: `2026-01-31`.
#[must_use]
pub fn date(unix_s: i64) -> String {
    let mut text = Vec::new();
    text::push_time(unix_s.saturating_mul(1_000_000), &mut text);
    let day = text.split(|&byte| byte == b'T').next().unwrap_or_default();
    String::from_utf8_lossy(day).into_owned()
}

/// One finished row.
///
/// `None` means that it did not happen or is not known, never zero.
#[derive(Clone)]
pub struct Record {
    /// Its number in the list.
    pub row: Row,
    /// Its own name, from the list.
    pub id: Option<Box<str>>,
    /// The URL as the list gave it.
    pub url: Box<str>,
    /// Where redirects led, if there were any.
    pub final_url: Option<Box<str>>,
    /// The host of the URL that was asked last; `None` if the row has no valid URL.
    pub host: Option<Box<str>>,
    /// The method of the row, as first sent.
    pub method: Method,
    /// The status of the last response.
    pub status: Option<u16>,
    /// True if the row succeeded.
    pub ok: bool,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Attempts started, over all hops.
    pub attempts: u16,
    /// The redirects followed.
    pub chain: Vec<Hop>,
    /// The connection of the last attempt.
    pub connection: Connection,
    /// The headers of the last response.
    pub headers: Headers,
    /// The bytes of its head as they came, if a sink needs them; else empty.
    pub raw_head: Bytes,
    /// The last request, if a sink needs it.
    pub sent: Option<Box<Sent>>,
    /// Decoded bytes of the body.
    pub bytes: u64,
    /// Bytes of the body as they came over the wire, without its framing.
    pub wire_bytes: u64,
    /// The body, or where it is.
    pub body: Body,
    /// The departures from a standard that were accepted.
    pub notes: Notes,
    /// The SHA-256 of the decoded body, where it was asked for.
    pub sha256: Option<[u8; 32]>,
    /// True if the body was cut at a limit; `None` if that cannot be known: it ended with the connection.
    pub truncated: Option<bool>,
    /// When the first attempt started, in microseconds since 1970 (UTC); `None` if none did.
    pub started_unix_us: Option<i64>,
    /// The phases of the last attempt.
    pub timing: Timing,
    /// From the moment the row was first ready until it was done: all attempts and waits.
    pub elapsed: Nanos,
    /// Where the row wants its file, relative to the output directory.
    pub out: Option<Box<str>>,
    /// The other columns of the row as one JSON object.
    pub meta: Option<Box<str>>,
    /// A guard that lives as long as the record: the engine's count of its memory.
    pub hold: Hold,
    /// The same for the texts that the record has from the list and from redirects; given back when a sink has taken it.
    pub row_hold: Hold,
}

impl Record {
    /// The record of a row to which nothing has happened yet: not ok, without a failure.
    #[must_use]
    pub fn new(row: Row, url: impl Into<Box<str>>) -> Self {
        Self {
            row,
            id: None,
            url: url.into(),
            final_url: None,
            host: None,
            method: Method::Get,
            status: None,
            ok: false,
            failure: None,
            attempts: 0,
            chain: Vec::new(),
            connection: Connection::default(),
            headers: Headers::default(),
            raw_head: Bytes::new(),
            sent: None,
            bytes: 0,
            wire_bytes: 0,
            body: Body::None,
            notes: Notes::default(),
            sha256: None,
            truncated: None,
            started_unix_us: None,
            timing: Timing::default(),
            elapsed: Nanos::ZERO,
            out: None,
            meta: None,
            hold: Hold::default(),
            row_hold: Hold::default(),
        }
    }
}

/// A request that was answered, for archives; what came may be no response.
#[derive(Clone, PartialEq, Eq)]
pub struct Sent {
    /// Its head as HTTP/1.1 writes it, without the values of fields that may be credentials.
    pub head: Bytes,
    /// Its body.
    pub body: Bytes,
    /// False if it had a body that was not kept, because it came from a file.
    pub is_whole: bool,
    /// False if it went through a proxy, so that the address at the other end is not the server's.
    pub is_direct: bool,
}

impl Sent {
    /// The memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// The connection that carried an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The version of HTTP.
    pub http_version: Option<HttpVersion>,
    /// The address at the other end.
    pub remote: Option<SocketAddr>,
    /// True if an earlier request opened it.
    pub reused: Option<bool>,
}

/// The version of HTTP that a response came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl HttpVersion {
    /// In the form of curl's `%{http_version}`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// The body of a response.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Body {
    /// There is none, or it is not kept.
    #[default]
    None,
    /// In memory, decoded.
    Inline(Bytes),
    /// In a file of its own, at this path.
    File(PathBuf),
    /// On disk, decoded, because it is large or memory was short.
    Spooled(Spooled),
}

impl Body {
    /// The bytes, if they are in memory.
    #[must_use]
    pub fn inline(&self) -> Option<&[u8]> {
        match self {
            Self::Inline(bytes) => Some(bytes),
            Self::None | Self::File(_) | Self::Spooled(_) => None,
        }
    }
}

/// Header fields in the order of the wire, in one allocation. Names are in lower case, or as they were sent; they are found in
/// any case.
///
/// ```
/// use overlapped_proto::record::Headers;
///
/// let mut headers = Headers::default();
/// headers.push("content-type", b"text/html");
/// headers.push("set-cookie", b"a=1");
/// assert_eq!(headers.first("content-type"), Some(&b"text/html"[..]));
/// assert_eq!(headers.iter().count(), 2);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// For each field: name length (u16), value length (u32), name, value.
    packed: Vec<u8>,
}

impl Headers {
    const PREFIX: usize = 6;

    /// Reserves room for fields of `bytes` bytes in all.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { packed: Vec::with_capacity(bytes) }
    }

    /// The room that a field takes.
    #[must_use]
    pub fn size_of(name: &str, value: &[u8]) -> usize {
        Self::PREFIX + name.len() + value.len()
    }

    /// Adds a field, its name in lower case. A name longer than 64 KiB is cut, and so is a value longer than 4 GiB.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.push_with(name, value, push_lower_case);
    }

    /// The same with the name as it is.
    pub fn push_as_sent(&mut self, name: &str, value: &[u8]) {
        self.push_with(name, value, |name, out| out.extend_from_slice(name));
    }

    fn push_with(&mut self, name: &str, value: &[u8], push_name: impl FnOnce(&[u8], &mut Vec<u8>)) {
        let name_len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        let value_len = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let ([n0, n1], [v0, v1, v2, v3]) = (name_len.to_le_bytes(), value_len.to_le_bytes());
        self.packed.extend_from_slice(&[n0, n1, v0, v1, v2, v3]);
        let name = name.as_bytes();
        push_name(name.get(..usize::from(name_len)).unwrap_or(name), &mut self.packed);
        self.packed.extend_from_slice(value.get(..value_len as usize).unwrap_or(value));
    }

    /// The fields as they lie in memory, for [`Headers::from_packed`].
    #[must_use]
    pub fn into_packed(self) -> Vec<u8> {
        self.packed
    }

    /// The fields that [`Headers::into_packed`] gave.
    #[must_use]
    pub fn from_packed(packed: Vec<u8>) -> Self {
        Self { packed }
    }

    /// The memory that the fields take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.packed.len()
    }

    /// The fields in order: name, value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields().map(|(name, value)| (std::str::from_utf8(name).unwrap_or_default(), value))
    }

    /// The first value of a field.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The values of a field.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// As [`Headers::iter`], without looking at the names.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.packed.as_slice();
        std::iter::from_fn(move || {
            let (prefix, tail) = rest.split_first_chunk::<{ Self::PREFIX }>()?;
            let [n0, n1, v0, v1, v2, v3] = *prefix;
            let name_len = usize::from(u16::from_le_bytes([n0, n1]));
            let (name, tail) = tail.split_at_checked(name_len)?;
            let (value, tail) = tail.split_at_checked(u32::from_le_bytes([v0, v1, v2, v3]) as usize)?;
            rest = tail;
            Some((name, value))
        })
    }

    /// True if there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }
}

/// Appends a name in lower case, a word at a time; the last word overlaps the one before it.
fn push_lower_case(name: &[u8], out: &mut Vec<u8>) {
    let (words, rest) = name.as_chunks::<8>();
    for word in words {
        out.extend_from_slice(&lower_case(*word));
    }
    match (rest, name.last_chunk::<8>()) {
        ([], _) => {}
        (rest, Some(last)) => {
            let known = 8 - rest.len();
            out.extend_from_slice(lower_case(*last).get(known..).expect("a part of a word"));
        }
        (rest, None) => out.extend(rest.iter().map(u8::to_ascii_lowercase)),
    }
}

/// Eight bytes in lower case. Only ASCII letters are changed.
const fn lower_case(word: [u8; 8]) -> [u8; 8] {
    const EACH: u64 = u64::MAX / 0xff;
    let word = u64::from_le_bytes(word);
    let low = word & (EACH * 0x7f);
    let from_a = low + EACH * (0x80 - b'A' as u64);
    let above_z = low + EACH * (0x7f - b'Z' as u64);
    let is_upper = from_a & !above_z & !word & (EACH * 0x80);
    (word | (is_upper >> 2)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_lower_case() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in 1..40 {
            for name in all.windows(bytes) {
                let mut out = Vec::new();
                push_lower_case(name, &mut out);
                assert_eq!(out, name.to_ascii_lowercase());
            }
        }
    }
}
