//! A record as bytes, in a private format: a finished row that waits on disk for an earlier one.
//!
//! The body follows the other columns and is not encoded here, so that a large one is neither copied nor read whole.

use std::path::PathBuf;

use bytes::Bytes;

use super::spooled::Form;
use super::{Body, Connection, Headers, HttpVersion, Record, Sent};
use crate::error::ErrorKind;
use crate::job::{Method, Row};
use crate::notes::Notes;
use crate::outcome::{Failure, Heads, Hop};
use crate::time::Nanos;
use crate::timing::Timing;
use crate::varint;

/// What is to be read behind the other columns of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: there is no body.
    None,
    /// So many bytes of a body that belongs in memory.
    Inline(u64),
    /// A body that is read in pieces.
    Spooled(Form),
    /// Nothing: the body is in a file of its own, of this name in the directory of these files, or with this path.
    File(PathBuf),
}

/// Appends all columns but the body, and what follows them.
pub fn pack(record: &Record, rest: &Rest, out: &mut Vec<u8>) {
    // Destructured, so that a new column is not forgotten.
    let Record {
        row,
        id,
        url,
        final_url,
        host,
        method,
        status,
        ok,
        failure,
        attempts,
        chain,
        connection: Connection { http_version, remote, reused },
        headers,
        raw_head,
        sent,
        bytes,
        wire_bytes,
        body: _,
        notes,
        sha256,
        truncated,
        started_unix_us,
        timing: Timing { blocked, dns, connect, tls, send, wait, receive },
        elapsed,
        out: wanted,
        meta,
        hold: _,
        row_hold: _,
    } = record;
    varint::put(row.0, out);
    for text in [id, final_url, host, wanted, meta] {
        put_option(text.as_deref(), out, |text, out| put_bytes(text.as_bytes(), out));
    }
    put_bytes(url.as_bytes(), out);
    put_bytes(method.as_str().as_bytes(), out);
    put_option(*status, out, |status, out| varint::put(status.into(), out));
    out.push(u8::from(*ok));
    put_option(failure.as_ref(), out, |Failure { kind, message }, out| {
        put_bytes(kind.name().as_bytes(), out);
        put_bytes(message.as_bytes(), out);
    });
    varint::put((*attempts).into(), out);
    varint::put(chain.len() as u64, out);
    for Hop { url, status, total, remote, heads } in chain {
        put_bytes(url.as_bytes(), out);
        varint::put((*status).into(), out);
        varint::put(total.0, out);
        put_option(*remote, out, |remote, out| put_bytes(remote.to_string().as_bytes(), out));
        put_option(heads.as_deref(), out, |Heads { request, response, body }, out| {
            put_bytes(request, out);
            put_bytes(response, out);
            put_option(body.as_deref(), out, put_bytes);
        });
    }
    put_option(*http_version, out, |version, out| {
        out.push(match version {
            HttpVersion::Http10 => 0,
            HttpVersion::Http11 => 1,
            HttpVersion::Http2 => 2,
        });
    });
    put_option(*remote, out, |remote, out| put_bytes(remote.to_string().as_bytes(), out));
    put_option(*reused, out, |reused, out| out.push(u8::from(reused)));
    put_bytes(&headers.packed, out);
    put_bytes(raw_head, out);
    put_option(sent.as_deref(), out, |Sent { head, body, is_whole, is_direct }, out| {
        put_bytes(head, out);
        put_bytes(body, out);
        out.extend([u8::from(*is_whole), u8::from(*is_direct)]);
    });
    varint::put(*bytes, out);
    varint::put(*wire_bytes, out);
    varint::put(u64::from(notes.bits()), out);
    put_option(sha256.as_ref(), out, |digest, out| out.extend_from_slice(digest));
    put_option(*truncated, out, |truncated, out| out.push(u8::from(truncated)));
    put_option(*started_unix_us, out, |at, out| varint::put(at.cast_unsigned(), out));
    for phase in [blocked, dns, connect, tls, send, wait, receive] {
        put_option(*phase, out, |phase, out| varint::put(phase.0, out));
    }
    varint::put(elapsed.0, out);
    put_rest(rest, out);
}

fn put_rest(rest: &Rest, out: &mut Vec<u8>) {
    match rest {
        Rest::None => out.push(0),
        Rest::Inline(bytes) => {
            out.push(1);
            varint::put(*bytes, out);
        }
        Rest::Spooled(Form { bytes, first, is_text }) => {
            out.push(2);
            varint::put(*bytes, out);
            put_option(*first, out, |first, out| out.push(first));
            out.push(u8::from(*is_text));
        }
        Rest::File(path) => {
            out.push(3);
            put_bytes(path.as_os_str().as_encoded_bytes(), out);
        }
    }
}

fn put_option<T>(value: Option<T>, out: &mut Vec<u8>, put: impl FnOnce(T, &mut Vec<u8>)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(value, out);
    }
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    varint::put(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// The record that [`pack`] has encoded, without its body; `path`: makes a path of its bytes. `None`: these bytes are not
/// such a record.
pub fn unpack(mut bytes: &[u8], path: impl Fn(&[u8]) -> PathBuf) -> Option<(Record, Rest)> {
    let from = &mut bytes;
    let mut record = Record::new(Row(varint::take(from)?), "");
    record.id = take_option(from, take_text)?;
    record.final_url = take_option(from, take_text)?;
    record.host = take_option(from, take_text)?;
    record.out = take_option(from, take_text)?;
    record.meta = take_option(from, take_text)?;
    record.url = take_text(from)?;
    record.method = Method::parse(&take_text(from)?)?;
    record.status = take_option(from, take_small)?;
    record.ok = take_flag(from)?;
    record.failure = take_option(from, |from| {
        let name = take_text(from)?;
        let kind = ErrorKind::ALL.iter().copied().find(|kind| kind.name() == &*name)?;
        Some(Failure::new(kind, take_text(from)?))
    })?;
    record.attempts = take_small(from)?;
    for _ in 0..varint::take(from)? {
        let (url, status, total) = (take_text(from)?, take_small(from)?, Nanos(varint::take(from)?));
        let remote = take_option(from, |from| take_text(from)?.parse().ok())?;
        let heads = take_option(from, |from| {
            let mut taken = || take_bytes(from).map(Bytes::copy_from_slice);
            let (request, response) = (taken()?, taken()?);
            let body = take_option(from, |from| take_bytes(from).map(Bytes::copy_from_slice))?;
            Some(Box::new(Heads { request, response, body }))
        })?;
        record.chain.push(Hop { url, status, total, remote, heads });
    }
    record.connection = Connection {
        http_version: take_option(from, |from| match take_byte(from)? {
            0 => Some(HttpVersion::Http10),
            1 => Some(HttpVersion::Http11),
            2 => Some(HttpVersion::Http2),
            _ => None,
        })?,
        remote: take_option(from, |from| take_text(from)?.parse().ok())?,
        reused: take_option(from, take_flag)?,
    };
    record.headers = Headers::from_packed(take_bytes(from)?.to_vec());
    record.raw_head = Bytes::copy_from_slice(take_bytes(from)?);
    record.sent = take_option(from, |from| {
        let mut taken = || take_bytes(from).map(Bytes::copy_from_slice);
        let (head, body) = (taken()?, taken()?);
        Some(Box::new(Sent { head, body, is_whole: take_flag(from)?, is_direct: take_flag(from)? }))
    })?;
    record.bytes = varint::take(from)?;
    record.wire_bytes = varint::take(from)?;
    record.notes = Notes::from_bits(take_small(from)?);
    record.sha256 = take_option(from, |from| varint::take_bytes(from, 32)?.try_into().ok())?;
    record.truncated = take_option(from, take_flag)?;
    record.started_unix_us = take_option(from, |from| Some(varint::take(from)?.cast_signed()))?;
    let mut phase = || take_option(from, |from| varint::take(from).map(Nanos));
    record.timing = Timing {
        blocked: phase()?,
        dns: phase()?,
        connect: phase()?,
        tls: phase()?,
        send: phase()?,
        wait: phase()?,
        receive: phase()?,
    };
    record.elapsed = Nanos(varint::take(from)?);
    let rest = match take_byte(from)? {
        0 => Rest::None,
        1 => Rest::Inline(varint::take(from)?),
        2 => {
            let (bytes, first) = (varint::take(from)?, take_option(from, take_byte)?);
            Rest::Spooled(Form { bytes, first, is_text: take_flag(from)? })
        }
        3 => {
            let path = path(take_bytes(from)?);
            record.body = Body::File(path.clone());
            Rest::File(path)
        }
        _ => return None,
    };
    bytes.is_empty().then_some((record, rest))
}

/// The outer `None`: the bytes are malformed.
fn take_option<T>(from: &mut &[u8], take: impl FnOnce(&mut &[u8]) -> Option<T>) -> Option<Option<T>> {
    if take_flag(from)? { take(from).map(Some) } else { Some(None) }
}

fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = varint::take(from)?;
    varint::take_bytes(from, length)
}

fn take_text(from: &mut &[u8]) -> Option<Box<str>> {
    std::str::from_utf8(take_bytes(from)?).ok().map(Box::from)
}

fn take_small(from: &mut &[u8]) -> Option<u16> {
    varint::take(from)?.try_into().ok()
}

fn take_byte(from: &mut &[u8]) -> Option<u8> {
    varint::take_bytes(from, 1)?.first().copied()
}

fn take_flag(from: &mut &[u8]) -> Option<bool> {
    match take_byte(from)? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::column::Fields;
    use super::super::ndjson;
    use super::*;

    fn full() -> Record {
        let mut record = Record::new(Row(70_000), "http://a/\u{e9}");
        for (number, text) in
            [&mut record.id, &mut record.final_url, &mut record.host].into_iter().enumerate()
        {
            *text = Some(format!("text-{number}").into());
        }
        (record.out, record.meta) = (Some("a/b".into()), Some("{\"a\":1}".into()));
        (record.method, record.status, record.ok) = (Method::Other("PURGE".into()), Some(404), false);
        record.failure = Some(Failure::new(ErrorKind::ALL[7], "why"));
        record.attempts = 3;
        for remote in [None, Some("::1".parse().unwrap())] {
            let [request, response] = [&b"GET"[..], b"HTTP"].map(Bytes::from_static);
            let heads = remote.map(|_| Box::new(Heads { request, response, body: Some(Bytes::new()) }));
            record.chain.push(Hop { url: "http://b/".into(), status: 301, total: Nanos(77), remote, heads });
        }
        let remote = Some("127.0.0.1:81".parse().unwrap());
        record.connection =
            Connection { http_version: Some(HttpVersion::Http11), remote, reused: Some(true) };
        record.headers.push("etag", b"\xff\0");
        let part = |text: &'static [u8]| Bytes::from_static(text);
        record.sent =
            Some(Box::new(Sent { head: part(b"GET"), body: part(b"\0"), is_whole: true, is_direct: false }));
        (record.bytes, record.wire_bytes) = (1 << 40, 9);
        record.notes = Notes::from_bits(0b1010_0001);
        (record.sha256, record.truncated) = (Some([7; 32]), Some(false));
        record.started_unix_us = Some(-5);
        record.timing = Timing { wait: Some(Nanos(1_000)), receive: Some(Nanos::ZERO), ..Timing::default() };
        record.elapsed = Nanos(u64::MAX);
        record
    }

    fn path(bytes: &[u8]) -> PathBuf {
        String::from_utf8(bytes.to_vec()).unwrap().into()
    }

    fn line(record: &Record) -> Vec<u8> {
        let mut line = Vec::new();
        ndjson::write(record, &Fields::default(), &mut line);
        line
    }

    /// A record comes back with every column, and no part of its bytes is a record.
    fn check(record: &Record, rest: &Rest) {
        let mut bytes = Vec::new();
        pack(record, rest, &mut bytes);
        let (back, found) = unpack(&bytes, path).unwrap();
        assert_eq!(&found, rest);
        assert_eq!(line(&back), line(record));
        let of = |record: &Record| {
            let chain = record.chain.clone();
            (
                record.out.clone(),
                record.method.clone(),
                record.failure.clone(),
                record.sent.clone().map(|sent| (sent.head, sent.body, sent.is_whole, sent.is_direct)),
                chain,
                record.timing,
                record.elapsed,
            )
        };
        assert_eq!(of(&back), of(record));
        for cut in 0..bytes.len() {
            assert!(unpack(&bytes[..cut], path).is_none(), "cut at {cut}");
        }
        bytes.push(0);
        assert!(unpack(&bytes, path).is_none(), "with more behind it");
    }

    #[test]
    fn every_column_comes_back() {
        check(&Record::new(Row(0), ""), &Rest::None);
        check(&full(), &Rest::Inline(5));
        check(&full(), &Rest::Spooled(Form { bytes: 1 << 33, first: Some(b'['), is_text: true }));
        let mut record = full();
        record.body = Body::File("dir/part".into());
        check(&record, &Rest::File("dir/part".into()));
    }
}
