//! HAR 1.2: an entry for each record, as browsers and their tools read it. Fields of this program's own begin with `_`.
//!
//! An entry is a line, so that entries can be appended, counted and left out like lines of NDJSON; an archive is [`begin`], the
//! entries, of which each but the first has a comma before it, and [`END`]. There is one entry for each row: the request of its last attempt, with the
//! redirects before it in `_redirects`. Times are in milliseconds. `send`, `wait` and `receive` are never negative; any other
//! phase that did not happen is -1. `connect` includes `ssl`, and `time` is the sum of all others that are not -1.
//!
//! No secret is in it: URLs have no userinfo, `Authorization`, `Proxy-Authorization`, `Cookie` and `Set-Cookie` have the value
//! `***`, and so has every field of a request that is not known to be harmless.

use url::Url;

use super::column::{Fields, Form, Gap, in_pieces, push_chain};
use super::text::{
    header_text, push_address, push_json, push_json_header, push_millis, push_number, push_plain,
    push_quoted, push_time,
};
use super::{Body, HttpVersion, Record};
use crate::base64;
use crate::sanitize::redact;
use crate::time::Nanos;
use crate::timing::Timing;

/// How an archive of this program begins, up to its version.
pub const MARK: &[u8] = b"{\"log\":{\"version\":\"1.2\",\"creator\":{\"name\":\"overlapped\"";

/// What follows the entries.
pub const END: &[u8] = b"]}}\n";

/// Fields that are in no archive.
const HIDDEN: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// Appends what comes before the entries. `version`: of the program.
pub fn begin(version: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(MARK);
    out.extend_from_slice(b",\"version\":");
    push_json(version, out);
    out.extend_from_slice(b"},\"entries\":[\n");
}

/// Appends the record as an entry, with a line end behind it. A record without a start, whose request was never begun, gets the
/// time `unix_us`, since an entry must have one.
///
/// The body is left out if it is on disk or larger than `whole_max`: it belongs where the answer says, by
/// [`ndjson::push_piece`](super::ndjson::push_piece).
///
/// ```
/// use overlapped_proto::job::Row;
/// use overlapped_proto::record::{Record, column::Fields, har};
///
/// let mut entry = Vec::new();
/// har::write_around(&Record::new(Row(7), "http://me:secret@example.org/?q=1"), Fields::default(), 0, 100, &mut entry);
/// let text = String::from_utf8(entry).unwrap();
/// assert!(text.starts_with(r#"{"_row":7,"_ok":false,"startedDateTime":"1970-01-01T00:00:00.000000Z","time":0.000,"#));
/// assert!(text.contains(r#""url":"http://example.org/?q=1","#));
/// assert!(text.ends_with("}\n"));
/// ```
pub fn write_around(
    record: &Record,
    fields: Fields,
    unix_us: i64,
    whole_max: usize,
    out: &mut Vec<u8>,
) -> Option<Gap> {
    out.extend_from_slice(b"{\"_row\":");
    push_number(record.row.0, out);
    out.extend_from_slice(if record.ok { b",\"_ok\":true" } else { b",\"_ok\":false" });
    // An entry begins with its wait in a queue, a record with its first attempt.
    let blocked = record.timing.blocked.map_or(0, |span| i64::try_from(span.0 / 1_000).unwrap_or(i64::MAX));
    let started = record.started_unix_us.map_or(unix_us, |started| started.saturating_sub(blocked));
    out.extend_from_slice(b",\"startedDateTime\":\"");
    push_time(started, out);
    out.extend_from_slice(b"\",\"time\":");
    let phases = Phases::of(&record.timing);
    push_millis(phases.sum(), out);
    out.extend_from_slice(b",\"request\":{");
    push_request(record, fields, out);
    out.extend_from_slice(b"},\"response\":{");
    let gap = push_response(record, fields, whole_max, out);
    out.extend_from_slice(b"},\"cache\":{},\"timings\":{");
    phases.push(out);
    out.push(b'}');
    push_own(record, out);
    out.extend_from_slice(b"}\n");
    gap
}

/// The number of the row of an entry, which may have a comma before it, and whether it is ok; `None`: the line is no entry of
/// this program.
#[must_use]
pub fn row_of(line: &[u8]) -> Option<(u64, bool)> {
    let text = line.strip_prefix(b",").unwrap_or(line).strip_prefix(b"{\"_row\":")?;
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(digits)?;
    let row = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let ok = rest.strip_prefix(b",\"_ok\":")?;
    Some((row, ok.starts_with(b"true,")))
}

/// The phases of an entry, in whole microseconds, so that a reader's sum agrees.
struct Phases([(&'static str, Option<Nanos>); 7]);

impl Phases {
    fn of(timing: &Timing) -> Self {
        let Timing { blocked, dns, connect, tls, send, wait, receive } = *timing;
        let whole = |span: Nanos| Nanos(span.0 - span.0 % 1_000);
        let [blocked, dns, connect, tls] = [blocked, dns, connect, tls].map(|span| span.map(whole));
        let [send, wait, receive] = [send, wait, receive].map(|span| Some(span.map_or(Nanos::ZERO, whole)));
        let connect = match (connect, tls) {
            (Some(connect), Some(tls)) => Some(connect + tls),
            (connect, tls) => connect.or(tls),
        };
        Self([
            ("blocked", blocked),
            ("dns", dns),
            ("connect", connect),
            ("ssl", tls),
            ("send", send),
            ("wait", wait),
            ("receive", receive),
        ])
    }

    fn sum(&self) -> Nanos {
        let counted = self.0.iter().filter(|(name, _)| *name != "ssl");
        counted.filter_map(|(_, span)| *span).fold(Nanos::ZERO, |sum, span| sum + span)
    }

    fn push(&self, out: &mut Vec<u8>) {
        for (number, (name, span)) in self.0.iter().enumerate() {
            out.extend_from_slice(if number == 0 { b"\"" } else { b",\"" });
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            match span {
                Some(span) => push_millis(*span, out),
                None => out.extend_from_slice(b"-1"),
            }
        }
    }
}

fn push_request(record: &Record, fields: Fields, out: &mut Vec<u8>) {
    let asked = redact(record.final_url.as_deref().unwrap_or(&record.url));
    let url = Url::parse(&asked).ok();
    let asked = if url.is_some() { without_fragment(&asked) } else { &*asked };
    let head = record.sent.as_deref().map_or(&[][..], |sent| &sent.head);
    let (line, names) = split_head(head);
    let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
    member("\"method\":", out);
    match words.first().filter(|word| !word.is_empty()) {
        // A redirect may have made it a GET.
        Some(method) => push_json_header(method, out),
        None => push_json(record.method.as_str(), out),
    }
    member(",\"url\":", out);
    push_json(asked, out);
    member(",\"httpVersion\":", out);
    // A server that answers by HTTP/1.0 was asked by HTTP/1.1.
    let version = record.connection.http_version;
    push_version(
        version.map(|version| if version == HttpVersion::Http10 { HttpVersion::Http11 } else { version }),
        out,
    );
    member(",\"cookies\":[],\"headers\":[", out);
    if fields.headers {
        push_fields(lines(names), out);
    }
    member("],\"queryString\":[", out);
    if let Some(url) = url.filter(|url| url.query().is_some()) {
        for (number, (name, value)) in url.query_pairs().enumerate() {
            push_pair(number, name.as_bytes(), value.as_bytes(), out);
        }
    }
    member("],\"headersSize\":-1,\"bodySize\":", out);
    match record.sent.as_deref().filter(|sent| sent.is_whole) {
        Some(sent) => push_number(sent.body.len() as u64, out),
        None => member("-1", out),
    }
}

/// A URL as a request of HAR has it.
fn without_fragment(url: &str) -> &str {
    url.split_once('#').map_or(url, |(url, _)| url)
}

/// True if the request of this row has another URL than the row.
fn is_asked_without_fragment(url: &str) -> bool {
    url.contains('#') && Url::parse(url).is_ok()
}

fn push_response(record: &Record, fields: Fields, whole_max: usize, out: &mut Vec<u8>) -> Option<Gap> {
    let headers = &record.headers;
    let first = |name: &str| headers.first(name).unwrap_or_default();
    member("\"status\":", out);
    push_number(record.status.unwrap_or(0).into(), out);
    member(",\"statusText\":", out);
    let (line, _) = split_head(&record.raw_head);
    push_json_header(line.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default(), out);
    member(",\"httpVersion\":", out);
    push_version(record.connection.http_version, out);
    member(",\"cookies\":[],\"headers\":[", out);
    if fields.headers {
        push_fields(headers.fields(), out);
    }
    member("],\"redirectURL\":", out);
    push_json(&redact(&header_text(first("location"))), out);
    member(",\"headersSize\":", out);
    push_size(Some(record.raw_head.len() as u64).filter(|bytes| *bytes > 0), out);
    member(",\"bodySize\":", out);
    push_size(record.status.map(|_| record.wire_bytes), out);
    if let Some(failure) = &record.failure {
        member(",\"_error\":", out);
        push_json(failure.kind.name(), out);
        member(",\"_errorMessage\":", out);
        push_json(&failure.message, out);
    }
    member(",\"content\":{\"size\":", out);
    push_number(record.bytes, out);
    member(",\"mimeType\":", out);
    push_json_header(first("content-type"), out);
    let gap = if fields.body { push_body(&record.body, whole_max, out) } else { None };
    out.push(b'}');
    gap
}

fn push_body(body: &Body, whole_max: usize, out: &mut Vec<u8>) -> Option<Gap> {
    if let Some((form, _)) = in_pieces(body, whole_max) {
        member(encoding(form), out);
        member(",\"text\":\"", out);
        let at = out.len();
        out.push(b'"');
        return Some(Gap { at, form });
    }
    match body {
        Body::None | Body::Spooled(_) => {}
        Body::File(path) => {
            member(",\"_path\":", out);
            push_json(&path.to_string_lossy(), out);
        }
        Body::Inline(bytes) => {
            let start = out.len();
            member(",\"text\":", out);
            if push_plain(bytes, out) {
                return None;
            }
            match std::str::from_utf8(bytes) {
                Ok(text) => push_quoted(text.as_bytes(), out),
                Err(_) => {
                    out.truncate(start);
                    member(encoding(Form::Base64), out);
                    member(",\"text\":\"", out);
                    base64::push(bytes, out);
                    out.push(b'"');
                }
            }
        }
    }
    None
}

const fn encoding(form: Form) -> &'static str {
    match form {
        Form::Text => "",
        Form::Base64 => ",\"encoding\":\"base64\"",
    }
}

/// What an entry has beyond the standard.
fn push_own(record: &Record, out: &mut Vec<u8>) {
    if let Some(remote) = record.connection.remote {
        member(",\"serverIPAddress\":\"", out);
        push_address(remote.ip(), out);
        out.push(b'"');
    }
    if record.final_url.is_some() || is_asked_without_fragment(&record.url) {
        member(",\"_url\":", out);
        push_json(&redact(&record.url), out);
    }
    if let Some(id) = &record.id {
        member(",\"_id\":", out);
        push_json(id, out);
    }
    member(",\"_attempts\":", out);
    push_number(record.attempts.into(), out);
    if !record.chain.is_empty() {
        member(",\"_redirects\":", out);
        push_chain(&record.chain, out);
    }
    if let Some(truncated) = record.truncated {
        member(if truncated { ",\"_truncated\":true" } else { ",\"_truncated\":false" }, out);
    }
    member(",\"_elapsed\":", out);
    push_millis(record.elapsed, out);
    if let Some(meta) = &record.meta {
        member(",\"_meta\":", out);
        out.extend_from_slice(meta.as_bytes());
    }
}

fn push_version(version: Option<HttpVersion>, out: &mut Vec<u8>) {
    member(
        match version {
            Some(HttpVersion::Http10) => "\"HTTP/1.0\"",
            Some(HttpVersion::Http11) => "\"HTTP/1.1\"",
            Some(HttpVersion::Http2) => "\"HTTP/2\"",
            None => "\"\"",
        },
        out,
    );
}

fn push_size(bytes: Option<u64>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => push_number(bytes, out),
        None => member("-1", out),
    }
}

fn push_fields<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, out: &mut Vec<u8>) {
    for (number, (name, value)) in fields.enumerate() {
        let is_hidden = HIDDEN.iter().any(|hidden| name.eq_ignore_ascii_case(hidden.as_bytes()));
        push_pair(number, name, if is_hidden { b"***" } else { value }, out);
    }
}

fn push_pair(number: usize, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    member(if number == 0 { "{\"name\":" } else { ",{\"name\":" }, out);
    push_json_header(name, out);
    member(",\"value\":", out);
    push_json_header(value, out);
    out.push(b'}');
}

fn member(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
}

/// The first line of a head, and its other lines.
fn split_head(head: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', head).unwrap_or(head.len());
    let (line, rest) = head.split_at(end);
    (line.trim_ascii_end(), rest.get(1..).unwrap_or_default())
}

/// The fields of a head that this program has written.
fn lines(fields: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = line.split_at(colon);
        Some((name, value.get(1..).unwrap_or_default().trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Connection, Sent};
    use super::*;
    use crate::error::ErrorKind;
    use crate::job::Row;
    use crate::outcome::Failure;

    fn entry(record: &Record) -> Value {
        let mut out = Vec::new();
        assert!(write_around(record, Fields::default(), 5, usize::MAX, &mut out).is_none());
        assert_eq!(row_of(&out), Some((record.row.0, record.ok)));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_response() {
        let mut record = Record::new(Row(3), "http://me:secret@a.test/x");
        record.final_url = Some("https://me:secret@b.test/y?a=1&b=%20".into());
        (record.ok, record.status) = (true, Some(200));
        record.raw_head = (&b"HTTP/1.1 200 Very well\r\nSet-Cookie: a=secret\r\n\r\n"[..]).into();
        record.headers.push("set-cookie", b"a=secret");
        record.headers.push("content-type", b"text/plain");
        record.connection = Connection { http_version: Some(HttpVersion::Http11), ..Connection::default() };
        let head = &b"GET /y?a=1&b=%20 HTTP/1.1\r\nhost: b.test\r\ncookie: secret\r\naccept: */*\r\n\r\n"[..];
        record.sent = Some(Box::new(Sent {
            head: head.into(),
            body: Default::default(),
            is_whole: true,
            is_direct: true,
        }));
        record.body = Body::Inline((&b"\xffx"[..]).into());
        record.started_unix_us = Some(1_000_000);
        let span = |us: u64| Some(Nanos(us * 1_000 + 999));
        record.timing = Timing {
            blocked: span(500_000),
            connect: span(10),
            tls: span(20),
            wait: span(30),
            ..Timing::default()
        };
        let entry = entry(&record);
        assert!(!entry.to_string().contains("secret"), "{entry}");
        assert_eq!(entry["startedDateTime"], "1970-01-01T00:00:00.500000Z");
        assert_eq!(entry["time"], json!(500.060));
        let timings = json!({"blocked": 500.0, "dns": -1, "connect": 0.03, "ssl": 0.02, "send": 0.0, "wait": 0.03, "receive": 0.0});
        assert_eq!(entry["timings"], timings);
        let query = json!([{"name": "a", "value": "1"}, {"name": "b", "value": " "}]);
        assert_eq!(entry["request"]["queryString"], query);
        assert_eq!(entry["request"]["headers"][2], json!({"name": "accept", "value": "*/*"}));
        assert_eq!(entry["request"]["headers"].as_array().map(Vec::len), Some(3));
        let response = &entry["response"];
        assert_eq!((&response["statusText"], &response["headersSize"]), (&json!("Very well"), &json!(48)));
        let content = json!({"size": 0, "mimeType": "text/plain", "encoding": "base64", "text": "/3g="});
        assert_eq!(response["content"], content);
        assert_eq!(entry["_url"], "http://a.test/x");
    }

    #[test]
    fn a_request_has_no_fragment_and_the_version_that_was_sent() {
        let mut record = Record::new(Row(0), "http://me:secret@a.test/x?a=1#here");
        record.connection = Connection { http_version: Some(HttpVersion::Http10), ..Connection::default() };
        let entry = entry(&record);
        assert_eq!(entry["request"]["url"], "http://a.test/x?a=1");
        assert_eq!(entry["_url"], "http://a.test/x?a=1#here");
        let versions = ["request", "response"].map(|part| entry[part]["httpVersion"].clone());
        assert_eq!(versions, ["HTTP/1.1", "HTTP/1.0"]);
    }

    #[test]
    fn a_row_without_a_response() {
        let mut record = Record::new(Row(9), "no URL \u{1}\"");
        record.failure = Some(Failure::new(ErrorKind::InputUrl, "why \"not\""));
        let entry = entry(&record);
        let response = &entry["response"];
        assert_eq!((&response["status"], &response["_error"]), (&json!(0), &json!("input.url")));
        assert_eq!((&response["bodySize"], &entry["time"]), (&json!(-1), &json!(0.0)));
        assert_eq!(entry["startedDateTime"], "1970-01-01T00:00:00.000005Z");
        let phases = ["send", "wait", "receive"].map(|phase| entry["timings"][phase].as_f64());
        assert_eq!(phases, [Some(0.0); 3]);
    }

    #[test]
    fn what_is_no_entry_has_no_row() {
        for line in [&b""[..], b"{\"_row\":}", b"{\"_row\":1}", b"]}}\n", b"{\"_row\":x,\"_ok\":true,"] {
            assert_eq!(row_of(line), None);
        }
    }
}
