//! HTTP/2 with servers that keep to it: streams of shared connections, what is sent again, and what ends one stream alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use overlapped_fetch::record::Method;
use overlapped_fetch::{Config, Http, Network, Pace, Request, Response, Retry, Timeouts};
use overlapped_proto::record::HttpVersion;
use overlapped_testkit::{Asked, Http2, Http2Rules, Http2Server, Reply, Server, row_of};
use support::{body, config, error, fetch, fetch_one, header, one_by_one, retrying};

const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const INTERNAL_ERROR: u32 = 2;
const HTTP_1_1_REQUIRED: u32 = 13;

/// HTTP/2 without TLS.
fn known(config: Config) -> Config {
    Config { network: Network { http: Http::Http2, ..config.network }, ..config }
}

/// So many requests at once, on one shard.
fn parallel(requests: usize) -> Config {
    let pace = Pace { parallel_max: requests, ..Pace::default() };
    Config { pace, shards: Some(1), ..known(config()) }
}

fn post(config: Config) -> Config {
    let request = Request { method: Method::Post, body: Some("asked".into()), ..config.request };
    Config { request, ..config }
}

fn serve(answer: impl Fn(&Asked) -> Reply + Clone + Send + Sync + 'static) -> Http2Server {
    Http2Server::start(move |_| Http2::Rules(Http2Rules::new(answer.clone())))
}

fn number(asked: &Asked) -> u64 {
    let digits: String = asked.path.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// The body with the row's number, in frames of several sizes, or later.
fn rows(asked: &Asked) -> Reply {
    let row = number(asked);
    let body = Bytes::from(row_of(row));
    let parts = match row % 4 {
        0 => vec![body.clone()],
        1 => vec![body.slice(..1), body.slice(1..), Bytes::new()],
        2 if row % 40 == 2 => vec![Bytes::new(), body.slice(..3), body.slice(3..)],
        _ => vec![body.slice(..body.len() / 2), body.slice(body.len() / 2..)],
    };
    let length = ("content-length", body.len().to_string());
    let fields = if row.is_multiple_of(3) { vec![] } else { vec![length] };
    let trailers = if row.is_multiple_of(5) { vec![("x-sum", "1".to_owned())] } else { vec![] };
    let reply = Reply::Response(200, fields, parts, trailers);
    if row.is_multiple_of(7) { Reply::Late(Duration::from_millis(row % 20), Box::new(reply)) } else { reply }
}

fn urls(server: &Http2Server, rows: u64) -> Vec<String> {
    (0..rows).map(|row| server.url(&format!("/row/{row}"))).collect()
}

/// Each row has its own body.
fn assert_own(fetched: &support::Fetched) {
    for record in &fetched.records {
        assert_eq!(error(record), "", "{:?}", record.failure);
        assert_eq!(body(record), row_of(record.row.0), "row {}", record.row.0);
        assert_eq!(record.connection.http_version, Some(HttpVersion::Http2));
    }
}

#[test]
fn requests_at_once_share_one_connection_and_each_gets_its_own_answer() {
    let server = serve(rows);
    let fetched = fetch(parallel(64), urls(&server, 1_000));
    assert_own(&fetched);
    assert_eq!((server.connections(), server.seen().len()), (1, 1_000));
    assert!((2..=64).contains(&server.streams_peak()), "{}", server.streams_peak());
    let reused = fetched.records.iter().filter(|record| record.connection.reused == Some(true)).count();
    assert_eq!(reused, 999);
}

#[test]
fn over_tls_the_server_chooses_the_version() {
    let trusting = |pem: Option<&str>, http| {
        let network = Network { ca_pem: pem.map(Into::into), http, ..Network::default() };
        Config { network, ..parallel(32) }
    };
    let server = Http2Server::start_tls(&["h2", "http/1.1"], |_| Http2::Rules(Http2Rules::new(rows)));
    for http in [Http::Negotiated, Http::Http2] {
        let before = server.connections();
        assert_own(&fetch(trusting(server.ca_pem(), http), urls(&server, 100)));
        assert_eq!(server.connections() - before, 1, "the others wait for the first connection");
    }

    for protocols in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
        let server = Server::builder().tls().alpn(protocols).start();
        let http = if protocols.len() == 2 { Http::Http1 } else { Http::Negotiated };
        let urls = (0..40).map(|row| server.url(&format!("/row/{row}")));
        let fetched = fetch(trusting(server.ca_pem(), http), urls);
        for record in &fetched.records {
            assert_eq!(body(record), row_of(record.row.0), "{protocols:?}: {:?}", record.failure);
            assert_eq!(record.connection.http_version, Some(HttpVersion::Http11), "{protocols:?}");
        }
    }
}

#[test]
fn a_host_has_as_many_streams_as_its_limit_of_requests() {
    let server = serve(|asked| Reply::Late(Duration::from_millis(5), Box::new(rows(asked))));
    let mut config = parallel(64);
    config.pace.parallel_max_host = Some(3);
    assert_own(&fetch(config, urls(&server, 100)));
    assert_eq!((server.connections(), server.streams_peak()), (1, 3));
}

#[test]
fn a_full_connection_gets_a_neighbour() {
    let late = |asked: &Asked| Reply::Late(Duration::from_millis(3), Box::new(rows(asked)));
    let server = Http2Server::start(move |_| {
        Http2::Rules(Http2Rules { streams_max: Some(4), ..Http2Rules::new(late) })
    });
    // Each new connection refuses what is sent before its SETTINGS have arrived, and on a busy machine that is more than once.
    let mut config = parallel(16);
    config.retry.retries = 20;
    assert_own(&fetch(config, urls(&server, 200)));
    assert!(server.streams_peak() <= 4, "{}", server.streams_peak());
    assert!((2..=16).contains(&server.connections()), "{}", server.connections());
    assert_eq!(server.seen().len(), 200, "what was refused was not processed");
}

#[test]
fn a_server_that_takes_no_streams_refuses_and_is_not_stormed() {
    let server =
        Http2Server::start(|_| Http2::Rules(Http2Rules { streams_max: Some(0), ..Http2Rules::new(rows) }));
    let total = Timeouts { total: Some(Duration::from_millis(500)), ..Timeouts::default() };
    let record = fetch_one(Config { timeouts: total, ..parallel(4) }, server.url("/row/1"));
    assert!(["h2.refused", "timeout.total"].contains(&error(&record)), "{:?}", record.failure);
    assert!(server.connections() <= 3 && server.seen().is_empty());
}

#[test]
fn goaway_costs_no_row_and_doubles_none() {
    for method in ["GET", "POST"] {
        let server = Http2Server::start(|_| {
            Http2::Rules(Http2Rules { goaway_after: Some(10), ..Http2Rules::new(rows) })
        });
        let config = if method == "POST" { post(parallel(8)) } else { parallel(8) };
        assert_own(&fetch(config, urls(&server, 200)));
        let mut seen = HashMap::<String, u32>::new();
        server.seen().into_iter().for_each(|asked| *seen.entry(asked.path).or_default() += 1);
        assert!(seen.len() == 200 && seen.values().all(|&times| times == 1), "{method}: {seen:?}");
        assert!(server.connections() >= 10);
    }
}

#[test]
fn what_was_refused_is_sent_again_whatever_its_method() {
    let refused = std::sync::Arc::new(Mutex::new(HashMap::<String, u32>::new()));
    let server = serve(move |asked| {
        let mut refused = refused.lock().unwrap();
        let times = refused.entry(asked.path.clone()).or_default();
        *times += 1;
        if *times == 1 { Reply::Reset(REFUSED_STREAM) } else { rows(asked) }
    });
    let fetched = fetch(post(parallel(16)), urls(&server, 50));
    assert_own(&fetched);
    assert!(fetched.records.iter().all(|record| record.attempts == 1));
    assert_eq!((server.seen().len(), server.connections()), (100, 1));
}

#[test]
fn what_is_refused_for_good_fails_after_its_retries() {
    let server = serve(|_| Reply::Reset(REFUSED_STREAM));
    let pace = Pace { adaptive: false, ..Pace::default() };
    let config = post(Config { pace, ..known(retrying(1)) });
    let record = fetch_one(config, server.url("/row/1"));
    assert_eq!((error(&record), record.attempts), ("h2.refused", 2));
    assert_eq!(server.seen().len(), 6, "three times for each attempt");
}

#[test]
fn a_reset_is_retried_only_if_the_method_allows_it() {
    let server = serve(|_| Reply::Reset(INTERNAL_ERROR));
    let record = fetch_one(known(retrying(1)), server.url("/row/1"));
    assert_eq!((error(&record), record.attempts, server.seen().len()), ("h2.reset", 2, 2));
    let record = fetch_one(post(known(retrying(1))), server.url("/row/1"));
    assert_eq!((error(&record), record.attempts, server.seen().len()), ("h2.reset", 1, 3));
    assert!(record.failure.unwrap().message.contains("INTERNAL_ERROR"));
}

#[test]
fn a_reset_inside_a_body_fails_its_row_alone() {
    let server = serve(|asked| match number(asked) % 2 {
        0 => Reply::Broken(Bytes::from_static(b"half"), INTERNAL_ERROR),
        _ => rows(asked),
    });
    let fetched = fetch(parallel(8), urls(&server, 40));
    for record in &fetched.records {
        match record.row.0 % 2 {
            0 => assert_eq!((error(record), record.truncated), ("body.reset", Some(true))),
            _ => assert_eq!(body(record), row_of(record.row.0)),
        }
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_row_that_times_out_resets_its_stream_and_no_other() {
    let server = serve(|asked| if number(asked) < 3 { Reply::Silence } else { rows(asked) });
    let timeouts = Timeouts { first_byte: Some(Duration::from_millis(200)), ..Timeouts::default() };
    let fetched = fetch(Config { timeouts, ..parallel(8) }, urls(&server, 60));
    for record in &fetched.records {
        let expected = if record.row.0 < 3 { "timeout.first_byte" } else { "" };
        assert_eq!(error(record), expected);
    }
    assert!(server.wait_until(Duration::from_secs(5), |server| server.resets() == [CANCEL; 3]));
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_body_that_is_too_large_is_cancelled_and_the_connection_goes_on() {
    let server = serve(|asked| match number(asked) % 2 {
        0 => Reply::Large(64 << 20),
        _ => rows(asked),
    });
    let response = Response { max_bytes: 1 << 20, ..Response::default() };
    let fetched = fetch(Config { response, ..parallel(4) }, urls(&server, 20));
    for record in &fetched.records {
        let expected = if record.row.0.is_multiple_of(2) { "body.too_large" } else { "" };
        assert_eq!(error(record), expected);
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn large_bodies_pass_through_small_windows() {
    let server = serve(|_| Reply::Large(3 << 20));
    let response = Response { memory_max: Some(4 << 20), sha256: true, ..Response::default() };
    let fetched = fetch(Config { response, ..parallel(16) }, urls(&server, 32));
    assert!(fetched.records.iter().all(|record| record.ok && record.bytes == 3 << 20));
    let sums: Vec<_> = fetched.records.iter().map(|record| record.sha256).collect();
    assert!(sums[0].is_some() && sums.iter().all(|sum| *sum == sums[0]));
    assert_eq!(server.connections(), 1);
}

#[test]
fn bodies_of_requests_wait_for_the_windows_of_the_server() {
    let server = serve(|asked| Reply::ok(asked.body.len().to_string()));
    let sent = Bytes::from(vec![b'x'; 1 << 20]);
    let request = Request { method: Method::Put, body: Some(sent), ..Request::default() };
    let fetched = fetch(Config { request, ..parallel(8) }, urls(&server, 16));
    assert!(fetched.records.iter().all(|record| body(record) == b"1048576"));
    assert_eq!(server.connections(), 1);
}

#[test]
fn heads_are_written_by_the_rules_of_http2() {
    let server = serve(|asked| {
        let cookies = vec![("set-cookie", "a=1".to_owned()), ("set-cookie", "b=2".to_owned())];
        Reply::Response(if asked.method == "GET" { 200 } else { 500 }, cookies, vec![], vec![])
    });
    let fields = [("X-Upper", "Value"), ("Cookie", "a=1; b=2; c=3")];
    let headers = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config = Config { request: Request { headers, ..Request::default() }, ..parallel(1) };
    let record = fetch_one(config, server.url("/a?b=%20c"));
    assert_eq!(record.headers.all("set-cookie").collect::<Vec<_>>(), [b"a=1", b"b=2"]);
    let asked = server.seen().remove(0);
    assert_eq!((&*asked.method, &*asked.path), ("GET", "/a?b=%20c"));
    assert_eq!(asked.authority, server.addr().to_string());
    let values = |name: &str| -> Vec<String> {
        let found = asked.fields.iter().filter(|(known, _)| known == name);
        found.map(|(_, value)| String::from_utf8(value.clone()).unwrap()).collect()
    };
    assert_eq!(values("cookie").join("; "), "a=1; b=2; c=3");
    assert_eq!(values("x-upper"), ["Value"]);
    for name in ["connection", "keep-alive", "te", "host", "transfer-encoding"] {
        assert!(values(name).is_empty(), "{name}");
    }
}

#[test]
fn interim_responses_are_passed_over_up_to_a_limit() {
    let server = serve(|asked| Reply::Interim(u32::try_from(number(asked)).unwrap(), Box::new(rows(asked))));
    for (count, expected) in [(1, ""), (20, ""), (100, "http.limit")] {
        let record = fetch_one(parallel(1), server.url(&format!("/row/{count}")));
        assert_eq!(error(&record), expected, "{count}");
    }
}

#[test]
fn responses_without_a_body_have_none() {
    let server = serve(|asked| {
        let status = u16::try_from(number(asked)).unwrap();
        Reply::Response(status, vec![("content-length", "5".to_owned())], vec![], vec![])
    });
    for (method, status) in [(Method::Head, 200), (Method::Get, 304), (Method::Get, 204)] {
        let request = Request { method, ..Request::default() };
        let record = fetch_one(Config { request, ..parallel(1) }, server.url(&format!("/{status}")));
        assert_eq!((error(&record), record.status, record.bytes), ("", Some(status), 0));
        assert_eq!(header(&record, "content-length"), Some("5"));
    }
}

#[test]
fn a_length_that_does_not_hold_is_an_error() {
    for (length, sent) in [("4", "hello"), ("6", "hello"), ("5", ""), ("0", "x")] {
        let server = serve(move |_| {
            let parts = vec![Bytes::from(sent)];
            Reply::Response(
                200,
                vec![("content-length", length.to_owned())],
                parts,
                vec![("x", "y".to_owned())],
            )
        });
        let record = fetch_one(parallel(1), server.url("/"));
        assert_eq!(error(&record), "body.framing", "{sent} as {length}");
    }
}

#[test]
fn a_server_that_asks_for_http1_gets_it() {
    let http2 = Http2Server::start_tls(&["h2"], |_| {
        Http2::Rules(Http2Rules::new(|_| Reply::Reset(HTTP_1_1_REQUIRED)))
    });
    let network = Network { ca_pem: http2.ca_pem().map(Into::into), ..Network::default() };
    let record = fetch_one(Config { network, ..config() }, http2.url("/row/1"));
    // The server offers HTTP/2 only, so the handshake for HTTP/1.1 fails: it shows what was asked for.
    assert_eq!(error(&record), "tls.handshake");
    assert_eq!((http2.seen().len(), http2.connections()), (1, 2));
}

#[test]
fn rows_one_after_the_other_use_one_connection() {
    let server = serve(rows);
    let mut config = known(one_by_one());
    config.retry = Retry { retries: 0, ..Retry::default() };
    assert_own(&fetch(config.clone(), urls(&server, 30)));
    assert_own(&fetch(post(config), urls(&server, 30)));
    assert_eq!(server.connections(), 2, "one for each run");
    assert!(server.wait_until(Duration::from_secs(5), |server| server.open_connections() == 0));
}
