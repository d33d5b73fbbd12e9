//! Responses that are not what HTTP/1 says, and right ones that come in any pieces.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use overlapped_fetch::{Config, Request, Response, Timeouts};
use overlapped_proto::input::Format;
use overlapped_proto::job::Method;
use overlapped_proto::notes::Note;
use overlapped_testkit::{RawServer, Script, Server};
use support::{body, config, error, fetch, fetch_list, fetch_one, header, one_by_one, text};

/// The error and the status of what a server answers with these bytes before it closes.
fn answered(bytes: impl Into<Vec<u8>>) -> (&'static str, Option<u16>) {
    let server = RawServer::start(Script::new().expect_request().send(bytes.into()).close());
    let record = fetch_one(config(), server.url("/"));
    assert_eq!(server.requests(), 1);
    (error(&record), record.status)
}

fn check(response: &str, expected: &str, status: Option<u16>) {
    assert_eq!(answered(response), (expected, status), "{response:?}");
}

const OK: &str = "HTTP/1.1 200 OK\r\n";

#[test]
fn lengths() {
    check(&format!("{OK}Content-Length: 2\r\n\r\nok"), "", Some(200));
    check(&format!("{OK}Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"), "", Some(200));
    check(&format!("{OK}Content-Length: 3\r\n\r\nok"), "body.truncated", Some(200));
    for wrong in ["2\r\nContent-Length: 3", "-1", "+2", "0x2", "18446744073709551616", "two", ""] {
        check(&format!("{OK}Content-Length: {wrong}\r\n\r\nok"), "http.parse", None);
    }
}

#[test]
fn chunks() {
    let chunked = format!("{OK}Transfer-Encoding: chunked\r\n\r\n");
    check(&format!("{chunked}2\r\nok\r\n0\r\n\r\n"), "", Some(200));
    check(&format!("{chunked}2;a=b\r\nok\r\n0\r\nX-T: 1\r\n\r\n"), "", Some(200));
    check(&chunked, "body.truncated", Some(200));
    check(&format!("{chunked}2\r\nok\r\n"), "body.truncated", Some(200));
    check(&format!("{chunked}5\r\nok"), "body.truncated", Some(200));
    for wrong in ["x\r\nok\r\n", "-2\r\nok\r\n", "11111111111111111\r\nok\r\n", "2\r\nokay\r\n", "\r\nok\r\n"]
    {
        check(&format!("{chunked}{wrong}0\r\n\r\n"), "body.framing", Some(200));
    }
    let flood = "e".repeat(1 << 20);
    check(&format!("{chunked}2;{flood}\r\nok\r\n0\r\n\r\n"), "body.framing", Some(200));
    let extension = "e".repeat(12_000);
    let flood = format!("1;{extension}\r\no\r\n").repeat(6);
    check(&format!("{chunked}{flood}0\r\n\r\n"), "body.framing", Some(200));
    let flood = "e".repeat(1 << 20);
    check(&format!("{chunked}0\r\nX: {flood}\r\n\r\n"), "body.framing", Some(200));
    check(&format!("{chunked}0\r\n{}\r\n", "X: y\r\n".repeat(5_000)), "body.framing", Some(200));
}

/// No request says `TE: gzip`: the body would be told as the site's own, and is not.
#[test]
fn a_transfer_coding_that_nobody_asked_for_is_no_answer() {
    for coding in ["gzip, chunked", "gzip", "xchunked"] {
        check(&format!("{OK}Transfer-Encoding: {coding}\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "http.parse", None);
    }
}

#[test]
fn trailers_are_not_headers() {
    let bytes = format!(
        "{OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 1\r\nContent-Length: 9\r\n\r\n"
    );
    let server = RawServer::start(Script::new().expect_request().send(bytes));
    let record = fetch_one(config(), server.url("/"));
    assert_eq!((error(&record), text(&record)), ("", "ok"));
    assert_eq!((record.headers.first("x-trailer"), record.headers.first("content-length")), (None, None));
}

#[test]
fn what_is_no_head() {
    for wrong in [
        "garbage\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 99 x\r\n\r\n",
        "HTTP/1.1 abc x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n Content-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "<html>hello</html>",
    ] {
        check(wrong, "http.parse", None);
    }
    check("", "http.no_response", None);
    check("HTTP/1.1 200 O", "http.truncated", None);
    check("HTTP/1.1 200 OK\r\nContent-Le", "http.truncated", None);
}

/// What browsers, curl and Python accept, and what of it the record and the summary say.
#[test]
fn a_head_that_browsers_accept_is_no_failure() {
    let responses: [(&str, &str, &[&str]); 6] = [
        ("/fold", "HTTP/1.1 200 OK\r\nX-A: one\r\n two\r\nContent-Length: 5\r\n\r\nhello", &["obs-fold"]),
        (
            "/blank",
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n \t\r\n\r\nhello",
            &["blank-lines", "obs-fold"],
        ),
        (
            "/space",
            "HTTP/1.1 200 OK\r\nX-A : one two\r\nContent-Length: 5\r\n\r\nhello",
            &["space-before-colon"],
        ),
        (
            "/name",
            "HTTP/1.1 200 OK\r\nX Bad: x\r\nno colon\r\nContent-Length: 5\r\n\r\nhello",
            &["line-skipped"],
        ),
        (
            "/old",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            &["http10-chunked"],
        ),
        ("/right", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", &[]),
    ];
    let mut builder = Server::builder();
    for (path, response, _) in responses {
        builder = builder.route(path, Script::new().send(response));
    }
    let server = builder.start();
    let urls = responses.map(|(path, ..)| server.url(path));
    let fetched = fetch(one_by_one(), urls.clone());
    for (record, (path, _, notes)) in fetched.records.iter().zip(responses) {
        let found: Vec<_> = record.notes.iter().map(Note::name).collect();
        assert_eq!((error(record), text(record), &*found), ("", "hello", notes), "{path}");
    }
    assert_eq!(header(&fetched.records[0], "x-a"), Some("one two"));
    assert_eq!(header(&fetched.records[2], "x-a"), Some("one two"));
    let counted: Vec<_> = fetched.summary.by_note.iter().map(|(name, count)| (*name, *count)).collect();
    let expected = [
        ("blank-lines", 1),
        ("http10-chunked", 1),
        ("line-skipped", 1),
        ("obs-fold", 2),
        ("space-before-colon", 1),
    ];
    assert_eq!(counted, expected);

    let response = Response { strict_http: true, ..Response::default() };
    let fetched = fetch(Config { response, ..one_by_one() }, urls);
    let refused = "http.parse";
    assert_eq!(fetched.errors(), [refused, refused, refused, refused, refused, ""]);
}

/// Sizes that are padded with blanks, or signed, as some servers send every chunk.
#[test]
fn chunk_extensions_grow_with_the_body() {
    let signature = format!("400;chunk-signature={}\r\n", "a".repeat(64));
    for (line, chunks) in [("400     \r\n", 8_000), (&*signature, 2_000)] {
        let chunk = format!("{line}{}\r\n", "z".repeat(1_024));
        let script = Script::new().send(format!("{OK}Transfer-Encoding: chunked\r\n\r\n"));
        let server = Server::builder().route("/", script.repeat(chunk, chunks).send("0\r\n\r\n")).start();
        let record = fetch_one(config(), server.url("/"));
        assert_eq!((error(&record), record.bytes), ("", chunks * 1_024), "{line:?}");
    }
}

#[test]
fn a_protocol_that_nobody_asked_for_is_no_answer() {
    check("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nnoise", "http.parse", None);
}

#[test]
fn interim_responses_are_passed_over_but_not_for_ever() {
    check(
        &format!(
            "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{OK}Content-Length: 0\r\n\r\n"
        ),
        "",
        Some(200),
    );
    let interim = "HTTP/1.1 102 Processing\r\n\r\n";
    check(&format!("{}{OK}Content-Length: 0\r\n\r\n", interim.repeat(32)), "", Some(200));
    check(&format!("{}{OK}Content-Length: 0\r\n\r\n", interim.repeat(33)), "http.limit", None);
    let timeouts = Timeouts { first_byte: None, total: None, ..Timeouts::default() };
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"] {
        let flood = Script::new().repeat(interim.repeat(1_000), u64::MAX);
        let server = Server::builder().route("/flood", flood).start();
        let record = fetch_one(Config { timeouts: timeouts.clone(), ..config() }, server.url("/flood"));
        assert_eq!((error(&record), record.status), ("http.limit", None));
    }
}

#[test]
fn heads_have_a_limit() {
    let server = Server::start();
    let record = fetch_one(config(), server.url("/headers?n=990&size=200"));
    assert_eq!((error(&record), record.headers.iter().count()), ("", 992));
    let record = fetch_one(config(), server.url("/headers?n=1&size=200000"));
    assert_eq!((error(&record), record.status), ("", Some(200)));
    for path in ["/headers?n=1001&size=1", "/headers?n=1&size=1000000", "/headers?n=900&size=1000"] {
        let record = fetch_one(config(), server.url(path));
        assert_eq!((error(&record), record.status), ("http.limit", None), "{path}");
    }
}

#[test]
fn many_fields_need_no_second_request() {
    let server = Server::start();
    let row = |path: &str, body: &str| format!(r#"{{"url":"{}"{body}}}"#, server.url(path));
    let post = r#","body":"once""#;
    let list =
        [row("/ok", ""), row("/headers?n=500", post), row("/headers?n=990", ""), row("/headers?n=500", post)];
    let fetched = fetch_list(one_by_one(), Format::Ndjson, list.join("\n"), 4);
    assert_eq!(fetched.errors(), [""; 4]);
    assert_eq!((server.requests(), server.connections()), (4, 1));
}

#[test]
fn a_large_head_that_drips_is_read_to_its_end() {
    let head = format!("{OK}{}Content-Length: 2\r\n\r\n", "X-Field: value\r\n".repeat(900));
    let drip = Script::new().drip(head, 97, Duration::from_millis(1)).send("ok");
    let server = Server::builder().route("/drip", drip).start();
    let record = fetch_one(config(), server.url("/drip"));
    assert_eq!((error(&record), text(&record), record.headers.iter().count()), ("", "ok", 901));
}

#[test]
fn a_head_without_an_end_is_limited() {
    let endless = Script::new().send(OK).repeat("X-Again: and again\r\n".repeat(100), u64::MAX);
    let server = Server::builder().route("/endless-head", endless).start();
    let record = fetch_one(config(), server.url("/endless-head"));
    assert_eq!((error(&record), record.status), ("http.limit", None));
}

/// It cannot be told from one that was cut short: it is no failure, and `truncated` is unknown.
#[test]
fn a_body_that_ends_with_the_connection() {
    let unknown = [
        "HTTP/1.1 200 OK\r\n\r\nok",
        "HTTP/1.0 200 OK\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
    ];
    let known = ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 204 No\r\n\r\n"];
    for (responses, truncated) in [(&unknown[..], None), (&known[..], Some(false))] {
        for response in responses {
            let server = RawServer::start(Script::new().expect_request().send(*response).close());
            let record = fetch_one(config(), server.url("/"));
            assert_eq!((error(&record), record.truncated), ("", truncated), "{response:?}");
        }
    }
    let server = RawServer::start(Script::new().expect_request().send(format!("{OK}\r\nok")).reset());
    let record = fetch_one(config(), server.url("/"));
    assert_eq!((error(&record), record.status), ("body.reset", Some(200)));
}

#[test]
fn bytes_behind_the_body_belong_to_nobody() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for status in ["200 OK\r\nContent-Length: 2\r\n\r\nok", "204 No\r\n\r\n", "304 No\r\n\r\n"] {
        let bytes = format!("HTTP/1.1 {status}{poison}");
        let server = Server::builder().route("/first", Script::new().send(bytes)).start();
        let urls = ["/first", "/ok", "/ok", "/first", "/row/1"].map(|path| server.url(path));
        let fetched = fetch(one_by_one(), urls);
        assert_eq!(fetched.errors(), [""; 5]);
        assert_eq!((text(&fetched.records[1]), text(&fetched.records[2])), ("ok\n", "ok\n"), "{status}");
        assert_eq!(body(&fetched.records[4]), overlapped_testkit::row_of(1));
        assert_eq!(server.connections(), 5, "no connection of an origin that answers unasked is used again");
    }
}

#[test]
fn an_answer_before_the_request_is_sent_counts() {
    let refusal = Script::new().expect_head().send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n");
    for script in [refusal.clone().close(), refusal.pause(Duration::from_millis(50)).close()] {
        let server = RawServer::start(script);
        let request =
            Request { method: Method::Put, body: Some(vec![b'x'; 8 << 20].into()), ..Request::default() };
        let record = fetch_one(Config { request, ..config() }, server.url("/"));
        assert_eq!((record.status, text(&record)), (Some(413), "no\n"), "{:?}", record.failure);
    }
}

/// What is left of the first request would be read as the beginning of the second.
#[test]
fn a_connection_whose_request_was_not_sent_is_not_used_again() {
    let refusal =
        Script::new().expect_head().send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n").silence();
    let server = RawServer::start(refusal);
    let request =
        Request { method: Method::Post, body: Some(vec![b'x'; 32 << 20].into()), ..Request::default() };
    let fetched = fetch(Config { request, ..one_by_one() }, ["/0", "/1"].map(|path| server.url(path)));
    assert_eq!(fetched.statuses(), [413, 413]);
    assert_eq!(server.connections(), 2);
}

/// The answer begins while the request is still being sent, and cannot end before all of it is.
#[test]
fn a_request_is_sent_on_while_its_answer_is_read() {
    const BYTES: usize = 8 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        // What comes before the request has begun is no answer.
        socket.read_exact(&mut [0]).unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha").unwrap();
        socket.read_exact(&mut vec![0; BYTES]).unwrap();
        socket.write_all(b"lf").unwrap();
    });
    let request =
        Request { method: Method::Post, body: Some(vec![b'x'; BYTES].into()), ..Request::default() };
    let record = fetch_one(Config { request, ..config() }, url);
    assert_eq!((error(&record), text(&record)), ("", "half"));
    server.join().unwrap();
}

#[test]
fn a_request_that_nobody_reads_ends_in_time() {
    let server = RawServer::start(Script::new().expect_head().silence());
    let request =
        Request { method: Method::Put, body: Some(vec![b'x'; 32 << 20].into()), ..Request::default() };
    let timeouts = Timeouts { first_byte: Some(Duration::from_millis(300)), ..Timeouts::default() };
    let record = fetch_one(Config { request, timeouts, ..config() }, server.url("/"));
    assert_eq!(error(&record), "timeout.first_byte");
}

/// One response in every framing, delivered in every way that it can be cut in two, and byte by byte.
#[test]
fn pieces_make_no_difference() {
    let responses = [
        format!("{OK}Content-Type: a/b\r\nContent-Length: 12\r\n\r\nhello, world"),
        format!(
            "{OK}Transfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n7\r\n, world\r\n0\r\nT: 1\r\n\r\n"
        ),
        format!("HTTP/1.1 100 Continue\r\n\r\n{OK}Content-Length: 12\r\n\r\nhello, world"),
    ];
    for response in responses {
        let whole = Script::new().send(response.clone());
        let gap = Duration::from_millis(1);
        let mut builder = Server::builder().route("/bytes", whole.clone().byte_by_byte().gap(gap));
        for at in 1..whole.bytes() {
            builder = builder.route(format!("/split/{at}"), whole.clone().split_at(at).gap(gap));
        }
        let server = builder.start();
        let splits = (1..whole.bytes()).map(|at| format!("/split/{at}"));
        let urls = splits.chain(["/bytes".to_owned()]).map(|path| server.url(&path));
        let fetched = fetch(config(), urls);
        for record in &fetched.records {
            assert_eq!((error(record), record.status), ("", Some(200)), "{} of {response:?}", record.url);
            assert_eq!(text(record), "hello, world", "{} of {response:?}", record.url);
        }
    }
}

/// The same for a response that ends too early, at every byte.
#[test]
fn an_end_at_any_byte_is_never_a_success() {
    let head = format!("{OK}Content-Length: 5\r\n\r\n");
    let response = format!("{head}hello");
    let mut builder = Server::builder();
    for at in 0..response.len() {
        builder = builder.route(format!("/cut/{at}"), Script::new().send(response[..at].to_owned()).close());
    }
    let server = builder.start();
    let fetched = fetch(config(), (0..response.len()).map(|at| server.url(&format!("/cut/{at}"))));
    for (at, record) in fetched.records.iter().enumerate() {
        let expected = match at {
            0 => "http.no_response",
            _ if at < head.len() => "http.truncated",
            _ => "body.truncated",
        };
        assert_eq!(error(record), expected, "cut at {at}");
    }
}

/// Whatever bytes come, a row ends with a record of its own, and never with a defect of ours.
#[test]
fn damaged_bytes_are_never_a_defect() {
    const HEADS: [&str; 4] = [
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello, world",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.0 302 Found\r\nLocation: /ok\r\nRetry-After: 0\r\n\r\nbye",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n\x1f\x0b\x08hello",
    ];
    let server = Server::builder()
        .handler("/damaged/", |request| {
            let seed: u64 = request.path().rsplit('/').next().unwrap().parse().unwrap();
            let mut state = seed;
            let mut below = |limit: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % limit
            };
            let mut bytes = HEADS[below(4)].as_bytes().to_vec();
            for _ in 0..=below(3) {
                let at = below(bytes.len());
                match below(4) {
                    0 => bytes[at] = [0, b'\r', b'\n', b' ', b':', b'-', b'9', 0xff][below(8)],
                    1 => drop(bytes.remove(at)),
                    2 => bytes.truncate(at + 1),
                    _ => bytes.extend_from_within(at..),
                }
            }
            Script::new().send(bytes).close()
        })
        .start();
    let fetched = fetch(config(), (0..1_000).map(|seed| server.url(&format!("/damaged/{seed}"))));
    let errors = fetched.errors();
    assert!(!errors.contains(&"internal"), "{:?}", fetched.summary.by_error);
    assert!(
        fetched.summary.by_error.len() > 3,
        "the damage is of many kinds: {:?}",
        fetched.summary.by_error
    );
}
