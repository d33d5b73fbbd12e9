//! WARC 1.1 as an output, and its index: what is in them, and their lifecycle. That others read them is tested in
//! `crates/python/tests/test_archives.py`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod archive;
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use archive::{Record, records};
use overlapped_testkit::{
    Asked, Http2, Http2Rules, Http2Server, ProxyRules, ProxyServer, RawServer, Reply, Script, Server, text_of,
};
use program::{Directory, killed_after, list, run};

/// The records of a row.
fn of(records: &[Record], row: u64) -> Vec<&Record> {
    records.iter().filter(|record| record.row() == Some(row)).collect()
}

fn kinds<'a>(records: &[&'a Record]) -> Vec<&'a str> {
    records.iter().map(|record| record.kind()).collect()
}

/// Names are there once, and what they refer to is there.
fn check_names(records: &[Record]) {
    let names: BTreeSet<_> = records.iter().map(|record| record.field("WARC-Record-ID")).collect();
    assert_eq!(names.len(), records.len(), "a name is there twice");
    for record in records {
        for name in ["WARC-Concurrent-To", "WARC-Refers-To"] {
            assert!(record.fields.get(name).is_none_or(|name| names.contains(&**name)), "{record:?}");
        }
    }
}

/// How often each row has metadata that say that it is ok, or that it is not.
fn rows(records: &[Record], ok: bool) -> BTreeMap<u64, u64> {
    let mut rows = BTreeMap::new();
    for record in records.iter().filter(|record| record.kind() == "metadata") {
        let json = record.json();
        assert_eq!(json["row"].as_u64(), record.row());
        if json["ok"] == ok {
            *rows.entry(record.row().unwrap()).or_default() += 1;
        }
    }
    rows
}

fn once(rows: impl IntoIterator<Item = u64>) -> BTreeMap<u64, u64> {
    rows.into_iter().map(|row| (row, 1)).collect()
}

#[test]
fn what_was_asked_and_answered() {
    for suffix in ["warc.gz", "warc"] {
        let server = Server::start();
        let directory = Directory::new();
        let pages = [
            "/ok?a=1",
            "/status/404",
            "/chunked/200000",
            "/gzip/20000",
            "/bytes/300000",
            "/bytes/300000",
            "/redirect/2",
            "/status/304",
            "/truncate",
        ];
        let other = "no url\nhttp://127.0.0.1:1/\n";
        let lines = pages.map(|page| server.url(page) + "\n").concat() + other;
        let list = format!("@{}", directory.write("urls.txt", lines));
        let path = directory.path(&format!("crawl.{suffix}"));
        run(&["-s", "--ordered", "--retry=0", "--max-host-errors=0", "-o", &path, &list]).check_code(1);
        let records = records(&path);
        check_names(&records);
        let info = &records[0];
        assert_eq!((info.kind(), info.field("WARC-Filename")), ("warcinfo", &*format!("crawl.{suffix}")));
        assert!(String::from_utf8_lossy(&info.block).contains("software: overlapped/"));
        let exchange = ["request", "response", "metadata"];
        for row in [0, 1, 2, 3, 4] {
            assert_eq!(kinds(&of(&records, row)), exchange, "row {row}");
        }
        let [request, response, metadata] = of(&records, 0)[..] else { panic!("three records") };
        let target = server.url("/ok?a=1");
        for record in [request, response, metadata] {
            assert_eq!(record.field("WARC-Target-URI"), target);
        }
        assert_eq!(request.field("WARC-Concurrent-To"), response.field("WARC-Record-ID"));
        assert_eq!(response.field("WARC-IP-Address"), "127.0.0.1");
        assert!(request.message().0.starts_with("GET /ok?a=1 HTTP/1.1\r\nhost: 127.0.0.1"));
        let (head, body) = response.message();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body == b"ok\n", "{head}");
        // The SHA-1 of `ok` and a line end.
        assert_eq!(response.field("WARC-Payload-Digest"), "sha1:SKUUT7KBQRHBXOGGQEWN5IICOCH54I5E");
        // What came in chunks is in chunks again, and what was compressed stays so.
        let (head, body) = of(&records, 2)[1].message();
        assert!(
            head.to_lowercase().contains("transfer-encoding: chunked") && body.ends_with(b"\r\n0\r\n\r\n")
        );
        assert!(body.starts_with(b"10000\r\n") && dechunked(body) == text_of("/chunked/200000", 200_000));
        let (head, body) = of(&records, 3)[1].message();
        assert!(head.to_lowercase().contains("content-encoding: gzip") && body.starts_with(&[0x1f, 0x8b]));
        // The same again, and what has not changed.
        let [_, revisit, _] = of(&records, 5)[..] else { panic!("three records") };
        assert_eq!((revisit.kind(), revisit.message().1), ("revisit", &b""[..]));
        assert_eq!(revisit.field("WARC-Refers-To"), of(&records, 4)[1].field("WARC-Record-ID"));
        assert_eq!(revisit.field("WARC-Refers-To-Target-URI"), server.url("/bytes/300000"));
        assert!(revisit.field("WARC-Profile").ends_with("/identical-payload-digest"));
        let unchanged = of(&records, 7)[1];
        assert!(unchanged.field("WARC-Profile").ends_with("/server-not-modified"));
        // Each redirect is there, with its body.
        let redirects = of(&records, 6);
        let all = ["request", "response", "request", "response", "request", "response", "metadata"];
        assert_eq!(kinds(&redirects), all);
        for (record, page) in redirects.iter().zip(["/redirect/2", "/redirect/2", "/redirect/1"]) {
            assert_eq!(record.field("WARC-Target-URI"), server.url(page));
        }
        let (head, body) = redirects[1].message();
        assert!(head.starts_with("HTTP/1.1 302 ") && !body.is_empty(), "{head}");
        // What failed.
        let cut = of(&records, 8)[1];
        assert_eq!((cut.field("WARC-Truncated"), cut.field("WARC-Payload-Digest")), ("disconnect", ""));
        let [metadata] = of(&records, 9)[..] else { panic!("metadata alone") };
        assert_eq!(metadata.json()["error"], "input.url");
        let [metadata] = of(&records, 10)[..] else { panic!("metadata alone") };
        assert_eq!(metadata.json()["error"], "connect.refused");
        assert_eq!(metadata.field("WARC-Target-URI"), "http://127.0.0.1:1/");
    }
}

fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let end = body.windows(2).position(|bytes| bytes == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        all.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 4 + length..];
        if length == 0 {
            assert!(body.is_empty());
            return all;
        }
    }
}

#[test]
fn no_credential_of_a_request_is_in_an_archive() {
    let server = Server::start();
    let directory = Directory::new();
    let page = server.url("/ok").replacen("http://", "http://me:s3cr3t@", 1);
    let path = directory.path("c.warc");
    let elsewhere = server.url("/redirect-to?url=/ok").replacen("http://", "http://me:s3cr3t@", 1);
    let list = directory.write("urls.txt", format!("{page}\n{elsewhere}\n"));
    let words = ["-s", "-H", "Cookie: a=s3cr3t", "-H", "X-Api-Key: s3cr3t", "-H", "Accept: text/plain"];
    run(&[&words[..], &["-o", &path, "--cdxj", &format!("@{list}")]].concat()).check_code(0);
    assert_eq!(server.seen().len(), 3);
    assert!(server.seen().iter().all(|seen| seen.header("x-api-key") == Some("s3cr3t")));
    for name in ["c.warc", "c.cdxj", "c.cdxj.part"] {
        assert!(!directory.read(name).contains("s3cr3t"), "{name}");
    }
    let records = records(&path);
    let (head, _) = of(&records, 0)[0].message();
    for line in ["accept: text/plain", "cookie: ***", "authorization: ***", "x-api-key: ***"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
}

#[test]
fn what_is_sent_is_archived() {
    let server = Server::start();
    let directory = Directory::new();
    let path = directory.path("c.warc.gz");
    let file = directory.write("body", vec![b'x'; 3 << 20]);
    run(&["-s", "-d", "a=b", "-o", &path, &server.url("/echo")]).check_code(0);
    let first = records(&path);
    let (head, body) = first[1].message();
    assert!(head.starts_with("POST /echo ") && body == b"a=b", "{head}");
    let path = directory.path("d.warc.gz");
    run(&["-s", "-T", &file, "-o", &path, &server.url("/ok")]).check_code(0);
    let request = &records(&path)[1];
    assert_eq!((request.field("WARC-Truncated"), request.message().1), ("unspecified", &b""[..]));
}

#[test]
fn a_head_of_http2_is_written_as_one_of_http1() {
    let answer = |_: &Asked| Reply::ok("of HTTP/2");
    let server = Http2Server::start(move |_| Http2::Rules(Http2Rules::new(answer)));
    let directory = Directory::new();
    let path = directory.path("c.warc");
    run(&["-s", "--http2-prior-knowledge", "-o", &path, &server.url("/x?y")]).check_code(0);
    let records = records(&path);
    let [request, response, _] = of(&records, 0)[..] else { panic!("three records") };
    assert!(request.message().0.starts_with("GET /x?y HTTP/1.1\r\nhost: 127.0.0.1"));
    let (head, body) = response.message();
    assert!(head.starts_with("HTTP/1.1 200 \r\n") && body == b"of HTTP/2", "{head}");
    assert_eq!(response.field("WARC-Protocol"), "h2");
}

/// What is between is not archived: neither its address, nor what it is told.
#[test]
fn a_proxy_leaves_no_trace_in_an_archive() {
    let (server, proxy) = (Server::start(), ProxyServer::start(ProxyRules::default()));
    let directory = Directory::new();
    let path = directory.path("c.warc");
    let at = proxy.url("http");
    let url = server.url("/redirect/1");
    run(&["-s", "-x", &at, "-U", "me:s3cr3t", "-o", &path, &url]).check_code(0);
    assert_eq!(proxy.errands().len(), 2);
    let records = records(&path);
    assert_eq!(kinds(&of(&records, 0)), ["request", "response", "request", "response", "metadata"]);
    for record in of(&records, 0) {
        assert_eq!(record.field("WARC-IP-Address"), "", "{record:?}");
        if record.kind() == "request" {
            let (head, _) = record.message();
            assert!(head.starts_with("GET /redirect/") && !head.contains("proxy-authorization"), "{head}");
        }
    }
}

/// Heads are as servers write them, unless HTTP/2 is asked for.
#[test]
fn http1_is_spoken_unless_another_version_is_asked_for() {
    let answer = |_: &Asked| Reply::ok("of HTTP/2");
    let server = Http2Server::start_tls(&["h2"], move |_| Http2::Rules(Http2Rules::new(answer)));
    let directory = Directory::new();
    let ca = directory.write("ca.pem", server.ca_pem().unwrap());
    let (path, url) = (directory.path("c.warc"), server.url("/"));
    let words = ["-s", "--retry=0", "--overwrite", "--cacert", &ca, "-o", &path, &url];
    // A server without HTTP/1.1 is not understood.
    run(&words).check_code(1);
    assert_eq!(server.seen().len(), 0);
    run(&[&words[..], &["--http2"]].concat()).check_code(0);
    assert_eq!(records(&path)[2].field("WARC-Protocol"), "h2");
}

#[test]
fn a_body_that_is_larger_than_memory_is_streamed() {
    let server = Server::start();
    let directory = Directory::new();
    let path = directory.path("c.warc");
    let bytes = 20 << 20;
    let urls = [server.url(&format!("/text/{bytes}?n=1")), server.url(&format!("/text/{bytes}?n=2"))];
    run(&["-s", "--max-memory=1M", "-o", &path, &urls[0], &urls[1]]).check_code(0);
    let records = records(&path);
    for row in 0..2 {
        let response = of(&records, row)[1];
        assert!(response.message().1 == text_of(&format!("/text/{bytes}?n={}", row + 1), bytes));
    }
}

#[test]
fn bodies_that_others_want_decoded_are_refused() {
    let server = Server::start();
    let directory = Directory::new();
    let url = server.url("/gzip/2000");
    let (warc, json) = (directory.path("c.warc.gz"), directory.path("r.ndjson"));
    run(&["-s", "-o", &warc, "-o", &json, &url]).check_refused(2, "--no-compressed");
    run(&["-s", "-o", &warc, "-o", "-", &url]).check_refused(2, "standard output");
    run(&["-s", "-o", &warc, "--no-body", &url]).check_refused(2, "--no-body");
    run(&["-s", "-o", &json, "--cdxj", &url]).check_refused(2, "--cdxj is for");
    run(&["-s", "-o", &warc, "--warc-max-size=10", &url]).check_refused(2, "at least 1000000");
    run(&["-s", "-o", &warc, "-o", &json, &url]).check_refused(2, "--no-body");
    assert_eq!((server.requests(), directory.names().len()), (0, 0));
    let pages = directory.path("pages/");
    run(&["-s", "--no-compressed", "-o", &warc, "-o", &json, "-o", &pages, &server.url("/text/300000")])
        .check_code(0);
    let text = text_of("/text/300000", 300_000);
    assert!(records(&warc)[2].message().1 == text);
    assert!(fs::read(fs::read_dir(&pages).unwrap().next().unwrap().unwrap().path()).unwrap() == text);
}

#[test]
fn an_archive_keeps_the_bodies_that_the_records_beside_it_leave_out() {
    let server = Server::start();
    let directory = Directory::new();
    let list = list(&server, &directory, 4, |row| format!("/gzip/{}", 20_000 + row));
    let (warc, json) = (directory.path("c.warc.gz"), directory.path("r.ndjson"));
    let words = ["-s", "-o", &warc, "-o", &json, &list];
    let ran = run(&[&words[..], &["-o", "-", "--no-body", "--limit=2"]].concat());
    ran.check_code(0);
    assert_eq!(server.seen()[0].header("accept-encoding"), Some("gzip, deflate, br, zstd"));
    for lines in [directory.read("r.ndjson"), ran.stdout.clone()] {
        assert_eq!(lines.lines().count(), 2);
        for line in lines.lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            let bodies = ["body", "body_base64"].map(|name| record[name].is_null());
            assert_eq!((bodies, record["ok"].as_bool()), ([true; 2], Some(true)), "{line}");
        }
    }
    for row in [0, 1] {
        assert!(of(&records(&warc), row)[1].message().1.starts_with(&[0x1f, 0x8b]));
    }
    // Bodies do not begin in the middle of a result.
    let (warc, json) = (directory.path("d.warc.gz"), directory.path("s.ndjson"));
    let words = ["-s", "--no-compressed", "-o", &warc, "-o", &json, &list];
    run(&[&words[..], &["--no-body"]].concat()).check_code(0);
    run(&[&words[..], &["--resume"]].concat()).check_refused(2, "--no-body was true");
}

#[test]
fn a_response_without_chunks_refers_to_none_in_chunks() {
    let payload = "The same bytes. ".repeat(100);
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n640\r\n{payload}\r\n0\r\n\r\n");
    let plain = format!("HTTP/1.1 200 OK\r\nContent-Length: 1600\r\n\r\n{payload}");
    let script = |answer: &str| Script::new().expect_request().send(answer.to_owned()).close();
    let answers = [&chunked, &plain, &chunked, &plain].map(|answer| script(answer));
    let server = RawServer::start_each(answers);
    let directory = Directory::new();
    let lines: String = (0..4).map(|row| server.url(&format!("/{row}")) + "\n").collect();
    let list = format!("@{}", directory.write("urls.txt", lines));
    let path = directory.path("c.warc");
    run(&["-s", "-j", "1", "--ordered", "--retry=0", "-o", &path, &list]).check_code(0);
    let records = records(&path);
    let response = |row| of(&records, row)[1];
    assert_eq!([0, 1, 2, 3].map(|row| response(row).kind()), ["response", "response", "revisit", "revisit"]);
    // A reader takes the framing of a body from the head of the revisit.
    for (revisit, original) in [(2, 0), (3, 1)] {
        assert_eq!(response(revisit).field("WARC-Refers-To"), response(original).field("WARC-Record-ID"));
    }
    let digest = |row| response(row).field("WARC-Payload-Digest");
    assert_eq!(digest(0), digest(1));
}

#[test]
fn the_index_is_sorted_and_leads_to_the_records() {
    let server = Server::start();
    for durability in ["group", "none"] {
        let directory = Directory::new();
        let list = list(&server, &directory, 300, |row| match row % 3 {
            0 => format!("/row/{row}"),
            1 => format!("/text/2000?n={}", row % 9),
            _ => format!("/status/404?n={row}"),
        });
        let path = directory.path("c.warc.gz");
        let words = ["-s", "--max-host-errors=0", "--durability", durability, "--cdxj", "-o", &path, &list];
        run(&words).check_code(1);
        let text = directory.read("c.cdxj");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.is_sorted());
        assert_eq!(lines.len(), 300);
        let bytes = fs::read(&path).unwrap();
        for line in lines {
            let (key, json) = line.split_at(line.find(" {").unwrap());
            let fields: serde_json::Value = serde_json::from_str(json).unwrap();
            let number = |name: &str| fields[name].as_str().unwrap().parse::<usize>().unwrap();
            let (offset, length) = (number("offset"), number("length"));
            let [record] = &archive::records_of(&bytes[offset..offset + length]).unwrap()[..] else {
                panic!()
            };
            assert_eq!(record.field("WARC-Target-URI"), fields["url"].as_str().unwrap());
            assert_eq!(record.kind() == "revisit", fields["mime"] == "warc/revisit");
            let time: String =
                record.field("WARC-Date").chars().filter(char::is_ascii_digit).take(14).collect();
            assert!(key.ends_with(&time), "{line}");
            assert_eq!(record.field("WARC-Payload-Digest"), fields["digest"].as_str().unwrap());
        }
        let mut names = vec!["c.cdxj", "c.warc.gz", "urls.txt"];
        if durability == "group" {
            names.splice(1..1, ["c.cdxj.part"]);
            names.insert(3, "c.warc.gz.run");
        }
        assert_eq!(directory.names(), names);
    }
}

#[test]
fn a_run_that_is_over_has_nothing_to_do_and_replaces_nothing() {
    let server = Server::start();
    let directory = Directory::new();
    let list = list(&server, &directory, 10, |row| format!("/row/{row}"));
    let path = directory.path("c.warc.gz");
    let words = ["-s", "-o", &path, &list];
    run(&words).check_code(0);
    let whole = fs::read(&path).unwrap();
    run(&words).check_refused(2, "--overwrite");
    let ran = run(&["-o", &path, "--resume", &list]);
    ran.check_code(0);
    assert!(ran.stderr.contains("nothing to do"), "{}", ran.stderr);
    assert!(fs::read(&path).unwrap() == whole);
    run(&["-s", "--overwrite", "-o", &path, &server.url("/row/1")]).check_code(0);
    assert_eq!(rows(&records(&path), true), once([0]));
}

/// The files of an archive in order.
fn files(directory: &Directory) -> Vec<String> {
    let is_file = |name: &String| name.starts_with("c-") || name == "c.warc.gz";
    let mut names: Vec<_> = directory.names().into_iter().filter(is_file).collect();
    names.sort_by_key(|name| name.len());
    names.into_iter().map(|name| directory.path(&name)).collect()
}

fn all_records(directory: &Directory) -> Vec<Record> {
    files(directory).iter().flat_map(|path| records(path)).collect()
}

/// Bodies that gzip makes little of, so that files fill.
fn page(row: u64) -> String {
    format!("/bytes/150000?n={row}&delay_ms=1")
}

#[test]
fn a_full_file_is_followed_by_another() {
    let server = Server::start();
    let directory = Directory::new();
    let list = list(&server, &directory, 40, page);
    let path = directory.path("c.warc.gz");
    let words = ["-s", "--warc-max-size=1M", "--cdxj", "-o", &path, &list];
    run(&words).check_code(0);
    let files = files(&directory);
    assert!(files.len() >= 5, "{files:?}");
    for (number, file) in files.iter().enumerate() {
        let records = records(file);
        let name = if number == 0 { "c.warc.gz".to_owned() } else { format!("c-{number:05}.warc.gz") };
        assert!(file.ends_with(&name) && records[0].field("WARC-Filename") == name, "{file}");
        let (last, length) = (records.last().unwrap(), fs::metadata(file).unwrap().len());
        assert!(number + 1 == files.len() || length >= 1_000_000, "{file} has {length} bytes");
        assert_eq!((records[0].kind(), last.kind()), ("warcinfo", "metadata"), "a row is in one file");
        let in_index = directory.read("c.cdxj").matches(&format!("\"{name}\"")).count();
        assert_eq!(in_index, records.iter().filter(|record| record.kind() == "response").count());
    }
    let records = all_records(&directory);
    check_names(&records);
    assert_eq!(rows(&records, true), once(0..40));
    // What would be mixed up with another archive is refused.
    let others = directory.path("c.warc.gz");
    fs::remove_dir_all(format!("{others}.run")).unwrap();
    fs::remove_file(&others).unwrap();
    fs::remove_file(directory.path("c.cdxj")).unwrap();
    fs::remove_file(directory.path("c.cdxj.part")).unwrap();
    run(&["-s", "-o", &others, &server.url("/ok")]).check_refused(3, "c-00001.warc.gz");
    run(&["-s", "--overwrite", "-o", &others, &server.url("/ok")]).check_refused(3, "c-00001.warc.gz");
}

#[test]
fn a_killed_run_is_resumed_in_the_file_that_it_wrote() {
    const ROWS: u64 = 60;
    let server = Server::start();
    let mut resumed = BTreeSet::new();
    for after in [3, 20, 33, 50] {
        let directory = Directory::new();
        let list = list(&server, &directory, ROWS, page);
        let path = directory.path("c.warc.gz");
        let words =
            ["-s", "-j", "4", "--durability=each", "--warc-max-size=1M", "--cdxj", "-o", &path, &list];
        killed_after(&words, &server, after);
        if directory.names().contains(&"c.warc.gz.run".to_owned()) {
            resumed.insert(files(&directory).len());
        }
        run(&[&words[..], &["--resume"]].concat()).check_code(0);
        let records = all_records(&directory);
        check_names(&records);
        assert_eq!(rows(&records, true), once(0..ROWS), "after {after}");
        let responses = records.iter().filter(|record| record.kind() == "response").count();
        assert_eq!((responses, directory.read("c.cdxj").lines().count()), (ROWS as usize, ROWS as usize));
    }
    assert!(resumed.len() > 1, "killed in several files: {resumed:?}");
}

/// An archive is a history: a failed row stays, and what came of it later follows.
#[test]
fn a_failed_row_is_added_once_more() {
    let server = Server::start();
    let directory = Directory::new();
    let page = |row| match row % 10 {
        3 => format!("/flaky?fail=1&status=404&key={row}"),
        _ => format!("/row/{row}"),
    };
    let list = list(&server, &directory, 60, page);
    let path = directory.path("c.warc.gz");
    let words = ["-s", "--retry=0", "--max-host-errors=0", "--cdxj", "-o", &path, &list];
    run(&words).check_code(1);
    let before = fs::read(&path).unwrap();
    run(&[&words[..], &["--retry-failed"]].concat()).check_code(0);
    assert!(fs::read(&path).unwrap().starts_with(&before), "nothing was rewritten");
    let records = records(&path);
    check_names(&records);
    assert_eq!(rows(&records, true), once(0..60));
    assert_eq!(rows(&records, false), once((0..60).filter(|row| row % 10 == 3)));
    assert_eq!(directory.read("c.cdxj").lines().count(), 66);
}

#[test]
fn an_archive_that_was_changed_is_refused() {
    let page = |row| if row == 30 { "/flaky?fail=1&status=404&key=x".to_owned() } else { page(row) };
    for (file, what) in [
        ("c.warc.gz", "was changed"),
        ("c-00002.warc.gz", "was changed"),
        ("c-00003.warc.gz", "was changed"),
        ("c.cdxj.part", "was changed"),
    ] {
        let (server, directory) = (Server::start(), Directory::new());
        let list = list(&server, &directory, 31, page);
        let path = directory.path("c.warc.gz");
        let words = ["-s", "--retry=0", "--ordered", "--warc-max-size=1M", "--cdxj", "-o", &path, &list];
        run(&words).check_code(1);
        server.forget();
        let changed = directory.path(file);
        let mut bytes = fs::read(&changed).unwrap();
        bytes[20] ^= 1;
        fs::write(&changed, &bytes).unwrap();
        let retry = [&words[..], &["--retry-failed"]].concat();
        run(&retry).check_refused(4, what);
        fs::remove_file(&changed).unwrap();
        run(&retry).check_refused(4, "missing");
        assert_eq!(server.requests(), 0);
    }
}

/// What came was no response, and nothing told what had been asked.
#[test]
fn a_request_that_was_answered_by_no_response_is_archived() {
    let directory = Directory::new();
    let server = RawServer::start(Script::new().expect_request().send("no response at all\r\n\r\n").close());
    let path = directory.path("c.warc");
    run(&["-s", "--retry=0", "--cdxj", "-o", &path, &server.url("/odd")]).check_code(1);
    let records = records(&path);
    check_names(&records);
    let [request, metadata] = of(&records, 0)[..] else { panic!("two records") };
    assert_eq!((request.kind(), metadata.json()["error"].as_str()), ("request", Some("http.parse")));
    assert!(request.message().0.starts_with("GET /odd HTTP/1.1\r\n"), "{}", request.message().0);
    assert_eq!(metadata.field("WARC-Concurrent-To"), request.field("WARC-Record-ID"));
    assert_eq!(request.field("WARC-Concurrent-To"), "");
    assert_eq!(directory.read("c.cdxj"), "");
}

/// Its head tells a length that does not follow: a server that plays it back ends in the middle.
#[test]
fn what_is_not_whole_is_not_in_the_index() {
    let server = Server::start();
    let directory = Directory::new();
    let list = list(&server, &directory, 2, |row| ["/ok", "/truncate"][row as usize].to_owned());
    let path = directory.path("c.warc.gz");
    run(&["-s", "--retry=0", "--max-host-errors=0", "--cdxj", "-o", &path, &list]).check_code(1);
    assert_eq!(of(&records(&path), 1)[1].field("WARC-Truncated"), "disconnect");
    let index = directory.read("c.cdxj");
    assert!(index.lines().count() == 1 && index.contains("/ok\""), "{index}");
}

/// The error named the archive, which was not there.
#[test]
fn an_index_that_is_there_is_named() {
    let server = Server::start();
    let directory = Directory::new();
    let path = directory.path("c.warc.gz");
    for name in ["c.cdxj", "c.cdxj.part"] {
        directory.write(name, "of another crawl\n");
        let words = ["-s", "--cdxj", "-o", &path, &server.url("/ok")];
        run(&words).check_refused(2, &format!("/{name} exists: --overwrite replaces it"));
        fs::remove_file(directory.path(name)).unwrap();
    }
}
