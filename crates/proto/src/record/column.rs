//! The columns of a record: one list, in one order, for every format. A format is an implementation of [`Cells`].
//!
//! Credentials are removed here, for every format: URLs are written without their userinfo.

use std::net::IpAddr;

use crate::job::Method;
use crate::notes::Notes;
use crate::outcome::Hop;
use crate::sanitize::redact;
use crate::time::Nanos;
use crate::timing::Timing;

use super::text::{push_json, push_json_header, push_millis, push_number};
use super::{Body, Connection, Headers, Record};

/// Which of the large columns a record is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// `headers`: all response headers.
    pub headers: bool,
    /// `body`, `body_base64` or `body_path`.
    pub body: bool,
}

impl Default for Fields {
    fn default() -> Self {
        Self { headers: true, body: true }
    }
}

/// The name of a column, plain and as it begins a JSON member, so that writing one is a single copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// Such as `url`.
    pub plain: &'static str,
    /// Such as `,"url":`.
    pub(super) json: &'static str,
    /// Such as `,"url":null`.
    pub(super) json_null: &'static str,
}

macro_rules! name {
    ($name:literal) => {
        Name { plain: $name, json: concat!(",\"", $name, "\":"), json_null: concat!(",\"", $name, "\":null") }
    };
}

/// A record format: a visitor of the columns of a record, which come in order, each exactly once.
pub trait Cells {
    /// A plain value.
    fn cell(&mut self, name: Name, value: Value<'_>);
    /// A structure; `push` appends it as JSON.
    fn json(&mut self, name: Name, push: impl FnOnce(&mut Vec<u8>));
    /// The body.
    fn body(&mut self, names: BodyNames, body: &Body);
}

/// The value of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// It did not happen, or is not known.
    Null,
    /// True or false.
    Truth(bool),
    /// A whole number.
    Number(u64),
    /// A span of time, written in milliseconds.
    Millis(Nanos),
    /// A point in time, in microseconds since 1970 (UTC).
    Time(i64),
    /// Bytes that are written in hexadecimal.
    Hex(&'a [u8]),
    /// The address of a machine.
    Address(IpAddr),
    /// Text of this program's own: plain ASCII that needs no quoting in any format.
    Word(&'a str),
    /// Any text.
    Text(&'a str),
    /// The value of a header: bytes that are mostly text.
    Header(&'a [u8]),
}

impl<'a> Value<'a> {
    fn or_null<T>(value: Option<T>, of: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Null, of)
    }

    fn text(value: Option<&'a str>) -> Self {
        Self::or_null(value, Self::Text)
    }

    fn millis(value: Option<Nanos>) -> Self {
        Self::or_null(value, Self::Millis)
    }
}

/// The three forms of a body: text, Base64 of bytes that are not UTF-8, the path of a file.
#[derive(Clone, Copy, Debug)]
pub struct BodyNames {
    /// `body`
    pub text: Name,
    /// `body_base64`
    pub base64: Name,
    /// `body_path`
    pub path: Name,
}

/// How the bytes of a body are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// UTF-8, as text.
    Text,
    /// Anything else, as Base64.
    Base64,
}

/// The place of a body that is written in pieces, because all of it at once would take too much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The place in the buffer: the body goes between what is before and what is behind it.
    pub at: usize,
    /// How its bytes are written there.
    pub form: Form,
}

/// The form of a body that is larger than `whole_max` or not in memory, with its first byte; `None`: it is written whole.
pub(super) fn in_pieces(body: &Body, whole_max: usize) -> Option<(Form, Option<u8>)> {
    let (is_text, first) = match body {
        Body::Inline(bytes) if bytes.len() > whole_max => {
            (std::str::from_utf8(bytes).is_ok(), bytes.first().copied())
        }
        Body::Spooled(body) => (body.is_text(), body.first()),
        Body::None | Body::Inline(_) | Body::File(_) => return None,
    };
    Some((if is_text { Form::Text } else { Form::Base64 }, first))
}

/// Passes every column of the record to `cells`.
pub fn visit(record: &Record, fields: Fields, cells: &mut impl Cells) {
    request(record, cells);
    outcome(record, cells);
    connection(record, cells);
    response(record, fields, cells);
    time(record, cells);
    match &record.meta {
        Some(meta) => cells.json(name!("meta"), |out| out.extend_from_slice(meta.as_bytes())),
        None => cells.cell(name!("meta"), Value::Null),
    }
}

fn request(record: &Record, cells: &mut impl Cells) {
    let final_url = record.final_url.as_deref().map(redact);
    cells.cell(name!("row"), Value::Number(record.row.0));
    cells.cell(name!("id"), Value::text(record.id.as_deref()));
    cells.cell(name!("url"), Value::Text(&redact(&record.url)));
    cells.cell(name!("final_url"), Value::text(final_url.as_deref()));
    cells.cell(name!("host"), Value::text(record.host.as_deref()));
    let method = match &record.method {
        Method::Other(token) => Value::Text(token),
        Method::Get
        | Method::Head
        | Method::Post
        | Method::Put
        | Method::Patch
        | Method::Delete
        | Method::Options => Value::Word(record.method.as_str()),
    };
    cells.cell(name!("method"), method);
}

fn outcome(record: &Record, cells: &mut impl Cells) {
    let failure = record.failure.as_ref();
    let exitcode = failure.map_or(0, |failure| failure.kind.curl_code());
    cells.cell(name!("status"), Value::or_null(record.status, |status| Value::Number(status.into())));
    cells.cell(name!("ok"), Value::Truth(record.ok));
    cells.cell(name!("error"), Value::or_null(failure, |failure| Value::Word(failure.kind.name())));
    cells.cell(name!("error_message"), Value::text(failure.map(|failure| &*failure.message)));
    cells.cell(name!("exitcode"), Value::Number(exitcode.into()));
    cells.cell(name!("attempts"), Value::Number(record.attempts.into()));
    cells.cell(name!("redirects"), Value::Number(record.chain.len() as u64));
    cells.json(name!("chain"), |out| push_chain(&record.chain, out));
}

fn connection(record: &Record, cells: &mut impl Cells) {
    let Connection { http_version, remote, reused } = record.connection;
    let version = Value::or_null(http_version, |version| Value::Word(version.as_str()));
    cells.cell(name!("http_version"), version);
    cells.cell(name!("remote_ip"), Value::or_null(remote, |remote| Value::Address(remote.ip())));
    cells.cell(name!("remote_port"), Value::or_null(remote, |remote| Value::Number(remote.port().into())));
    cells.cell(name!("reused"), Value::or_null(reused, Value::Truth));
}

fn response(record: &Record, fields: Fields, cells: &mut impl Cells) {
    let headers = &record.headers;
    if fields.headers {
        cells.json(name!("headers"), |out| push_headers(headers, out));
    }
    let [content_type, etag, last_modified] = own_columns(headers);
    cells.cell(name!("content_type"), Value::or_null(content_type, Value::Header));
    cells.cell(name!("etag"), Value::or_null(etag, Value::Header));
    cells.cell(name!("last_modified"), Value::or_null(last_modified, Value::Header));
    cells.cell(name!("bytes"), Value::Number(record.bytes));
    cells.cell(name!("wire_bytes"), Value::Number(record.wire_bytes));
    if fields.body {
        let names = BodyNames { text: name!("body"), base64: name!("body_base64"), path: name!("body_path") };
        cells.body(names, &record.body);
    }
    cells.cell(name!("sha256"), Value::or_null(record.sha256.as_ref(), |digest| Value::Hex(digest)));
    cells.cell(name!("truncated"), Value::or_null(record.truncated, Value::Truth));
    cells.json(name!("notes"), |out| push_notes(record.notes, out));
}

/// The first values of the headers with columns of their own: `content_type`, `etag`, `last_modified`.
fn own_columns(headers: &Headers) -> [Option<&[u8]>; 3] {
    let [mut content_type, mut etag, mut last_modified] = [None; 3];
    for (name, value) in headers.fields() {
        let column = match name {
            b"content-type" => &mut content_type,
            b"etag" => &mut etag,
            b"last-modified" => &mut last_modified,
            _ => continue,
        };
        column.get_or_insert(value);
    }
    [content_type, etag, last_modified]
}

fn time(record: &Record, cells: &mut impl Cells) {
    let Timing { blocked, dns, connect, tls, send, wait, receive } = record.timing;
    cells.cell(name!("started"), Value::or_null(record.started_unix_us, Value::Time));
    cells.cell(name!("blocked_ms"), Value::millis(blocked));
    cells.cell(name!("dns_ms"), Value::millis(dns));
    cells.cell(name!("connect_ms"), Value::millis(connect));
    cells.cell(name!("tls_ms"), Value::millis(tls));
    cells.cell(name!("send_ms"), Value::millis(send));
    cells.cell(name!("wait_ms"), Value::millis(wait));
    cells.cell(name!("receive_ms"), Value::millis(receive));
    cells.cell(name!("total_ms"), Value::millis(total(&record.timing)));
    cells.cell(name!("elapsed_ms"), Value::Millis(record.elapsed));
}

/// The duration of the request: the sum of its phases as written, in whole microseconds, so that a reader's sum agrees.
fn total(timing: &Timing) -> Option<Nanos> {
    let Timing { blocked: _, dns, connect, tls, send, wait, receive } = *timing;
    [dns, connect, tls, send, wait, receive]
        .into_iter()
        .flatten()
        .map(|phase| Nanos(phase.0 - phase.0 % 1_000))
        .reduce(|sum, phase| sum + phase)
}

pub(super) fn push_chain(chain: &[Hop], out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, hop) in chain.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"{\"url\":" } else { b",{\"url\":" });
        push_json(&redact(&hop.url), out);
        out.extend_from_slice(b",\"status\":");
        push_number(hop.status.into(), out);
        out.extend_from_slice(b",\"total_ms\":");
        push_millis(hop.total, out);
        out.push(b'}');
    }
    out.push(b']');
}

fn push_notes(notes: Notes, out: &mut Vec<u8>) {
    if notes.is_empty() {
        return out.extend_from_slice(b"[]");
    }
    out.push(b'[');
    for (i, note) in notes.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"\"" } else { b",\"" });
        out.extend_from_slice(note.name().as_bytes());
        out.push(b'"');
    }
    out.push(b']');
}

/// Headers as an object of lists: each name once, at its first place, with all its values in order.
fn push_headers(headers: &Headers, out: &mut Vec<u8>) {
    let repeated = Repeated::among(headers);
    out.push(b'{');
    let mut first = true;
    for (i, (name, value)) in headers.fields().enumerate() {
        let maybe_repeated = repeated.maybe(name);
        if maybe_repeated && headers.fields().take(i).any(|(earlier, _)| earlier == name) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        push_json_header(name, out);
        out.extend_from_slice(b":[");
        push_json_header(value, out);
        if maybe_repeated {
            for (_, later) in headers.fields().skip(i + 1).filter(|(other, _)| *other == name) {
                out.push(b',');
                push_json_header(later, out);
            }
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// A Bloom filter of 64 bits for names that occur among the headers twice: most heads have none, and need no search.
struct Repeated(u64);

impl Repeated {
    fn among(headers: &Headers) -> Self {
        let (mut once, mut twice) = (0, 0);
        for (name, _) in headers.fields() {
            twice |= once & Self::mark(name);
            once |= Self::mark(name);
        }
        Self(twice)
    }

    fn maybe(&self, name: &[u8]) -> bool {
        self.0 & Self::mark(name) != 0
    }

    fn mark(name: &[u8]) -> u64 {
        let (first, last) = (name.first(), name.last());
        let mix = name.len() * 7 + usize::from(*first.unwrap_or(&0)) * 5 + usize::from(*last.unwrap_or(&0));
        1 << (mix % 64)
    }
}
