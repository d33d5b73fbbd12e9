//! Rows that a program makes: typed, checked like those of a list, and each with its record.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use overlapped_fetch::{Bulk, Input, Row, sink};
use overlapped_proto::job::Method;
use overlapped_testkit::Server;
use support::one_by_one;

#[test]
fn a_typed_row_asks_for_all_that_a_list_can() {
    let server = Server::start();
    let url = server.url("/echo");
    let rows = vec![
        Row::new(format!(" {url} ")),
        Row {
            id: Some("a \"name\"\n".into()),
            headers: vec![("x-one".into(), "1".into()), ("x-one".into(), "2".into())],
            body: Some(vec![0, 255, b'"', b'\n']),
            etag: Some("\"v1\"".into()),
            last_modified: Some("Tue, 15 Nov 1994 12:45:26 GMT".into()),
            timeout: Some(Duration::ZERO),
            meta: Some("{\"a\":\n1.0}".into()),
            ..Row::new(&url)
        },
        Row { method: Some(Method::Put), body: Some(Vec::new()), ..Row::new(&url) },
        Row { sha256: Some([0; 32]), ..Row::new(&url) },
        Row::new("me:s3cr3t@h.example/"),
        Row::new(""),
        Row::new(format!("http://h.example/{}", "x".repeat(70_000))),
        Row { headers: vec![("x".into(), "1\r\ny: 2".into())], id: Some("bad".into()), ..Row::new(&url) },
        Row { meta: Some("[1]".into()), ..Row::new(&url) },
    ];
    let count = rows.len();
    let (records, collected) = sink::collect();
    let bulk = Bulk::new(one_by_one()).unwrap().input(Input::Rows(Box::new(rows.into_iter()))).sink(records);
    bulk.start().unwrap().wait().unwrap();

    let records = collected.take();
    let errors: Vec<_> = records
        .iter()
        .map(|record| record.failure.as_ref().map_or("", |failure| failure.kind.name()))
        .collect();
    let expected = [
        "",
        "",
        "",
        "body.hash_mismatch",
        "policy.scheme",
        "input.empty",
        "input.too_long",
        "input.header",
        "input.format",
    ];
    assert_eq!((records.len(), errors), (count, expected.to_vec()));
    assert_eq!(records[1].id.as_deref(), Some("a \"name\"\n"));
    assert_eq!(records[1].meta.as_deref(), Some("{\"a\": 1.0}"));
    assert_eq!((&*records[4].url, records[7].id.as_deref()), ("h.example/", Some("bad")));

    let seen = server.seen();
    assert_eq!(seen.iter().map(|seen| &*seen.method).collect::<Vec<_>>(), ["GET", "POST", "PUT", "GET"]);
    assert_eq!(&*seen[1].body, [0, 255, b'"', b'\n']);
    let ones: Vec<_> = seen[1].headers.iter().filter(|(name, _)| name == "x-one").collect();
    assert_eq!(ones.len(), 2);
    assert_eq!(seen[1].header("if-none-match"), Some("\"v1\""));
    assert_eq!(seen[1].header("if-modified-since"), Some("Tue, 15 Nov 1994 12:45:26 GMT"));
}

/// An iterator is asked for a whole block of rows before the first of them starts, and would wait here for ever.
#[test]
fn a_batch_is_fetched_before_the_next_one_is_asked_for() {
    let server = Server::start();
    let url = server.url("/ok");
    let (records, collected) = sink::collect();
    let (answers, mut asked) = (collected.clone(), 0);
    let batches = Box::new(move |_most: usize| {
        let mut seen = 0;
        while asked > 0 && seen == 0 {
            std::thread::sleep(Duration::from_millis(1));
            seen = answers.take().len();
        }
        asked += 1;
        Ok(if asked > 5 { Vec::new() } else { vec![Row::new(&url)] })
    });
    let summary = Bulk::new(one_by_one()).unwrap().input(Input::Batches(batches)).sink(records);
    let summary = summary.start().unwrap().wait().unwrap();
    assert_eq!((summary.progress.rows_done, summary.progress.ok), (5, 5));
    drop(collected);
}
