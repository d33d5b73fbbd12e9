//! Records parse back with other people's readers, whatever a server sent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may, as tests do")]

use overlapped_proto::error::ErrorKind;
use overlapped_proto::input::url::parse;
use overlapped_proto::job::{Method, Row};
use overlapped_proto::notes::Note;
use overlapped_proto::outcome::{Failure, Hop};
use overlapped_proto::record::{Body, Connection, HttpVersion, Record, csv as csv_format, ndjson, warc};
use overlapped_proto::time::Nanos;
use overlapped_proto::timing::Timing;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const ALL: ndjson::Fields = ndjson::Fields { headers: true, body: true };

fn to_json(record: &Record) -> Map<String, Value> {
    let mut line = Vec::new();
    ndjson::write(record, &ALL, &mut line);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
    assert_eq!(line.last(), Some(&b'\n'));
    match serde_json::from_slice(&line) {
        Ok(Value::Object(members)) => members,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(&line)),
    }
}

/// The columns of a table of one record, by name.
fn to_cells(record: &Record, guard: csv_format::Guard) -> Vec<(String, String)> {
    let mut table = Vec::new();
    csv_format::header(&ALL, &mut table);
    csv_format::write(record, &ALL, guard, &mut table);
    let mut reader = csv::Reader::from_reader(&table[..]);
    let names: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    names
        .into_iter()
        .zip(rows.into_iter().flat_map(|row| row.iter().map(str::to_owned).collect::<Vec<_>>()))
        .collect()
}

fn cell(cells: &[(String, String)], name: &str) -> String {
    cells.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("no {name}")).1.clone()
}

fn full() -> Record {
    let mut record = Record::new(Row(7), "http://me:secret@a.example/x");
    record.id = Some("seven".into());
    record.final_url = Some("http://b.example/".into());
    record.host = Some("b.example".into());
    record.method = Method::Post;
    record.status = Some(404);
    record.failure = Some(Failure::new(ErrorKind::Status, "404 counts as a failure"));
    record.attempts = 3;
    record.chain = vec![Hop {
        url: "http://me:secret@a.example/x".into(),
        status: 302,
        total: Nanos(1_234_567),
        remote: None,
        heads: None,
    }];
    record.connection = Connection {
        http_version: Some(HttpVersion::Http11),
        remote: Some("[2001:db8::1]:80".parse().unwrap()),
        reused: Some(true),
    };
    record.headers.push("content-type", b"text/plain");
    record.headers.push("set-cookie", b"a=1");
    record.headers.push("etag", b"\"e\"");
    record.headers.push("set-cookie", b"b=\xe4");
    record.headers.push("last-modified", b"Tue, 01 Jan 2030 00:00:00 GMT");
    record.bytes = 5;
    record.wire_bytes = 25;
    record.body = Body::Inline("h\u{e9}\n\"".into());
    record.sha256 = Some([0xab; 32]);
    record.truncated = Some(false);
    record.started_unix_us = Some(1_000_001);
    record.timing = Timing {
        blocked: Some(Nanos(1_000_999)),
        send: Some(Nanos(999)),
        wait: Some(Nanos(2_000_999)),
        receive: Some(Nanos(0)),
        ..Timing::default()
    };
    record.notes.add(Note::LineSkipped);
    record.notes.add(Note::ObsFold);
    record.elapsed = Nanos::from_secs(2);
    record.meta = Some(r#"{"n":1.0}"#.into());
    record
}

#[test]
fn every_column_of_a_full_record() {
    let expected = json!({
        "row": 7, "id": "seven", "url": "http://a.example/x", "final_url": "http://b.example/", "host": "b.example",
        "method": "POST", "status": 404, "ok": false, "error": "status", "error_message": "404 counts as a failure",
        "exitcode": 22, "attempts": 3, "redirects": 1,
        "chain": [{"url": "http://a.example/x", "status": 302, "total_ms": 1.234}],
        "http_version": "1.1", "remote_ip": "2001:db8::1", "remote_port": 80, "reused": true,
        "headers": {"content-type": ["text/plain"], "set-cookie": ["a=1", "b=\u{e4}"], "etag": ["\"e\""],
            "last-modified": ["Tue, 01 Jan 2030 00:00:00 GMT"]},
        "content_type": "text/plain", "etag": "\"e\"", "last_modified": "Tue, 01 Jan 2030 00:00:00 GMT",
        "bytes": 5, "wire_bytes": 25, "body": "h\u{e9}\n\"", "sha256": "ab".repeat(32), "truncated": false,
        "notes": ["obs-fold", "line-skipped"],
        "started": "1970-01-01T00:00:01.000001Z", "blocked_ms": 1.0, "dns_ms": null, "connect_ms": null,
        "tls_ms": null, "send_ms": 0.0, "wait_ms": 2.0, "receive_ms": 0.0, "total_ms": 2.0, "elapsed_ms": 2000.0,
        "meta": {"n": 1.0},
    });
    assert_eq!(Value::Object(to_json(&full())), expected);

    let cells = to_cells(&full(), csv_format::Guard::Off);
    for (name, value) in expected.as_object().unwrap() {
        let cell = cell(&cells, name);
        match value {
            Value::Null => assert_eq!(cell, "", "{name}"),
            Value::String(text) => assert_eq!(&cell, text, "{name}"),
            Value::Number(number) => assert_eq!(cell.parse(), Ok(number.as_f64().unwrap()), "{name}"),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                assert_eq!(serde_json::from_str::<Value>(&cell).unwrap(), *value, "{name}");
            }
        }
    }
}

#[test]
fn a_row_to_which_nothing_happened() {
    let members = to_json(&Record::new(Row(0), "nowhere"));
    let known = [
        "row",
        "url",
        "method",
        "ok",
        "exitcode",
        "attempts",
        "redirects",
        "bytes",
        "wire_bytes",
        "elapsed_ms",
    ];
    for (name, value) in &members {
        let empty = matches!(&**name, "chain" | "headers" | "notes");
        assert_eq!(value.is_null(), !empty && !known.contains(&&**name), "{name}: {value}");
    }
}

#[test]
fn a_body_has_one_form() {
    let check = |body: Body, name: &str, expected: Value| {
        let record = Record { body, ..Record::new(Row(0), "http://a/") };
        let members = to_json(&record);
        let forms: Vec<_> = members.iter().filter(|(name, _)| name.starts_with("body")).collect();
        assert_eq!(forms, [(&name.to_owned(), &expected)]);
        let cells = to_cells(&record, csv_format::Guard::Off);
        for form in ["body", "body_base64", "body_path"] {
            assert_eq!(
                cell(&cells, form),
                if form == name { expected.as_str().unwrap_or_default() } else { "" }
            );
        }
    };
    check(Body::None, "body", Value::Null);
    check(Body::Inline("".into()), "body", "".into());
    check(Body::Inline("text".into()), "body", "text".into());
    check(Body::Inline(b"\xff\xfe".as_slice().into()), "body_base64", "//4=".into());
    check(Body::File("out/7.html".into()), "body_path", "out/7.html".into());
}

#[test]
fn large_columns_can_be_left_out() {
    let mut line = Vec::new();
    ndjson::write(&full(), &ndjson::Fields { headers: false, body: false }, &mut line);
    let members: Map<String, Value> = serde_json::from_slice(&line).unwrap();
    assert!(members.keys().all(|name| name != "headers" && !name.starts_with("body")), "{members:?}");
    assert_eq!(members["etag"], "\"e\"");
}

#[test]
fn a_table_tells_nothing_from_empty() {
    let mut table = Vec::new();
    let mut record = Record::new(Row(0), "http://a/");
    csv_format::write(&record, &ALL, csv_format::Guard::Off, &mut table);
    assert!(table.starts_with(b"0,,http://a/,"));
    record.id = Some("".into());
    table.clear();
    csv_format::write(&record, &ALL, csv_format::Guard::Off, &mut table);
    assert!(table.starts_with(b"0,\"\",http://a/,"));
}

#[test]
fn no_formula_with_the_guard_on() {
    for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
        let record = Record { id: Some(text.into()), ..Record::new(Row(0), "http://a/") };
        assert_eq!(cell(&to_cells(&record, csv_format::Guard::Formulas), "id"), format!("'{text}"));
        assert_eq!(cell(&to_cells(&record, csv_format::Guard::Off), "id"), text);
    }
}

fn header() -> impl Strategy<Value = (String, Vec<u8>)> {
    ("[a-c-]{1,3}", proptest::collection::vec(any::<u8>(), 0..20))
}

proptest! {
    /// A URL that an archive takes as it is, without parsing it.
    #[test]
    fn a_target_that_stands_for_itself_is_what_the_parser_makes_of_it(
        url in "https?://([a-z0-9.:-]{0,12}|[0-9.]{7,11}|a\\.test)(:[0-9]{0,5})?/[a-zA-Z0-9./?&=+,:;@_~-]{0,12}",
    ) {
        if warc::stands_for_itself(&url) {
            let parsed = parse(&url).ok();
            let target = parsed.as_ref().and_then(warc::target);
            prop_assert_eq!(target.as_deref(), Some(&*url));
        }
    }

    #[test]
    fn whatever_a_server_sent_parses_back(
        headers in proptest::collection::vec(header(), 0..12),
        body in prop_oneof![any::<Vec<u8>>(), "(\\PC|[\\x00-\\x1f\"\\\\,])*".prop_map(String::into_bytes)],
        url in "(\\PC|[\\x00-\\x1f\"\\\\,])*",
    ) {
        let url = url.replace('@', "");
        let mut record = Record::new(Row(1), &*url);
        for (name, value) in &headers {
            record.headers.push(name, value);
        }
        record.body = Body::Inline(body.clone().into());

        let members = to_json(&record);
        prop_assert_eq!(members["url"].as_str(), Some(&*url));
        match std::str::from_utf8(&body) {
            Ok(text) => prop_assert_eq!(members["body"].as_str(), Some(text)),
            Err(_) => prop_assert!(!members.contains_key("body")),
        }
        for (name, _) in &headers {
            let expected: Vec<_> = headers
                .iter()
                .filter(|(other, _)| other == name)
                .map(|(_, value)| match std::str::from_utf8(value) {
                    Ok(text) => text.to_owned(),
                    Err(_) => value.iter().map(|byte| char::from(*byte)).collect(),
                })
                .collect();
            prop_assert_eq!(&members["headers"][name], &json!(expected));
        }

        let cells = to_cells(&record, csv_format::Guard::Off);
        prop_assert_eq!(cell(&cells, "url"), url);
        prop_assert_eq!(cell(&cells, "body"), String::from_utf8(body).unwrap_or_default());
        let headers: Value = serde_json::from_str(&cell(&cells, "headers")).unwrap();
        prop_assert_eq!(&headers, &members["headers"]);
    }
}
