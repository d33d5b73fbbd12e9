//! HTTP/2 in the client for single requests: threads and runtimes share its connections, and bodies are streamed both ways.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, select};
use futures_util::{FutureExt, stream};
use overlapped_fetch::record::HttpVersion;
use overlapped_fetch::{Client, Config, Http, Network, PreparedRequest, RequestBody, Row, blocking};
use overlapped_testkit::{Asked, Http2, Http2Rules, Http2Server, Reply, Server, row_of};
use support::{LONG, body, config, error, retrying, within_long};
use tokio::runtime::{Builder, Runtime};

const CANCEL: u32 = 8;
const REFUSED_STREAM: u32 = 7;

/// Each request gets what its path says.
fn answer(asked: &Asked) -> Reply {
    let number: u64 =
        asked.path.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
    match asked.path.split(['/', '?']).nth(1).unwrap() {
        "row" => Reply::ok(row_of(number)),
        "large" => Reply::Large(number),
        "length" => Reply::ok(asked.body.len().to_string()),
        "silence" => Reply::Silence,
        "refused" => Reply::Reset(REFUSED_STREAM),
        other => panic!("{other}"),
    }
}

fn tls() -> Http2Server {
    Http2Server::start_tls(&["h2", "http/1.1"], |_| Http2::Rules(Http2Rules::new(answer)))
}

fn trusting(server: &Http2Server, http: Http) -> Config {
    let network = Network { ca_pem: server.ca_pem().map(Into::into), http, ..Network::default() };
    Config { network, ..config() }
}

fn client(server: &Http2Server) -> Client {
    Client::new(trusting(server, Http::Negotiated)).unwrap()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn the_settings_say_which_versions_are_spoken() {
    let server = tls();
    for (http, expected) in [
        (Http::Negotiated, HttpVersion::Http2),
        (Http::Http1, HttpVersion::Http11),
        (Http::Http2, HttpVersion::Http2),
    ] {
        let client = blocking::Client::new(trusting(&server, http)).unwrap();
        for row in 0..3 {
            let response = client.get(server.url(&format!("/row/{row}"))).send().unwrap();
            assert_eq!((response.version(), response.is_reused()), (expected, row > 0), "{http:?}");
            assert_eq!(response.bytes().unwrap(), row_of(row));
        }
        let record = client.fetch(Row::new(server.url("/row/3")));
        assert_eq!((error(&record), body(&record)), ("", &row_of(3)[..]));
        assert_eq!(record.connection.http_version, Some(expected));
    }
    assert_eq!(server.connections(), 3, "one for each client");
    let old = Server::builder().tls().alpn(&["http/1.1"]).start();
    let network = Network { ca_pem: old.ca_pem().map(Into::into), ..Network::default() };
    let client = blocking::Client::new(Config { network, ..config() }).unwrap();
    assert_eq!(client.get(old.url("/ok")).send().unwrap().version(), HttpVersion::Http11);
    // By prior knowledge, without TLS.
    let plain = Http2Server::start(|_| Http2::Rules(Http2Rules::new(answer)));
    let client = blocking::Client::new(trusting(&plain, Http::Http2)).unwrap();
    let response = client.get(plain.url("/row/7")).send().unwrap();
    assert_eq!((response.version(), response.bytes().unwrap()), (HttpVersion::Http2, row_of(7).into()));
}

#[test]
fn a_request_has_the_versions_that_it_asks_for() {
    let server = tls();
    let client = blocking::Client::new(trusting(&server, Http::Negotiated)).unwrap();
    let url = server.url("/row/1");
    let expected = [
        (Http::Negotiated, HttpVersion::Http2),
        (Http::Http1, HttpVersion::Http11),
        (Http::Http2, HttpVersion::Http2),
    ];
    for turn in 0..3 {
        for (http, expected) in expected {
            let response = client.get(&url).http(http).send().unwrap();
            assert_eq!((response.version(), response.is_reused()), (expected, turn > 0), "{http:?}");
            assert_eq!(response.bytes().unwrap(), row_of(1));
        }
        assert_eq!(client.get(&url).send().unwrap().version(), HttpVersion::Http2);
    }
    assert_eq!(server.connections(), 3, "one for each");
    // The other way round, and by prior knowledge to a server without TLS.
    let client = blocking::Client::new(trusting(&server, Http::Http1)).unwrap();
    assert_eq!(client.get(&url).send().unwrap().version(), HttpVersion::Http11);
    assert_eq!(client.get(&url).http(Http::Negotiated).send().unwrap().version(), HttpVersion::Http2);
    let plain = Http2Server::start(|_| Http2::Rules(Http2Rules::new(answer)));
    let response = client.get(plain.url("/row/7")).http(Http::Http2).send().unwrap();
    assert_eq!((response.version(), response.bytes().unwrap()), (HttpVersion::Http2, row_of(7).into()));
}

#[test]
fn threads_share_a_connection_and_each_gets_its_own_answers() {
    let server = tls();
    let client = blocking::Client::new(trusting(&server, Http::Negotiated)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (client, server) = (&client, &server);
            scope.spawn(move || {
                for row in (thread..400).step_by(8) {
                    let response = client.get(server.url(&format!("/row/{row}"))).send().unwrap();
                    assert_eq!(response.bytes().unwrap(), row_of(row));
                }
            });
        }
    });
    assert_eq!((server.connections(), server.seen().len()), (1, 400));
}

#[test]
fn a_connection_outlives_the_runtime_that_opened_it() {
    let server = tls();
    let client = client(&server);
    let row = |row: u64| {
        let request = client.get(server.url(&format!("/row/{row}")));
        async move {
            let response = request.send().await.unwrap();
            assert_eq!(response.bytes().await.unwrap(), row_of(row));
        }
    };
    for turn in 0..3 {
        runtime().block_on(join_all((0..20).map(|at| row(20 * turn + at))));
    }
    overlapped::block_on(row(60));
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(row(61));
    // Runtimes at once.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let row = &row;
            scope.spawn(move || runtime().block_on(join_all((0..50).map(|at| row(100 + 50 * thread + at)))));
        }
    });
    assert_eq!((server.connections(), server.seen().len()), (1, 262));
}

#[test]
fn a_response_is_read_in_another_runtime_than_it_was_asked_in() {
    let server = tls();
    let client = client(&server);
    let mut response = runtime().block_on(client.get(server.url("/large/3000000")).send()).unwrap();
    let first = runtime().block_on(response.chunk()).unwrap().unwrap();
    let rest = overlapped::block_on(response.bytes()).unwrap();
    assert_eq!(first.len() + rest.len(), 3_000_000);
}

#[test]
fn bodies_are_produced_while_they_are_sent() {
    const BYTES: usize = 1_000_000;
    let server = tls();
    let client = blocking::Client::new(trusting(&server, Http::Negotiated)).unwrap();
    let url = server.url("/length");
    let send = |body: RequestBody| client.post(&url).body(body).send().and_then(|response| response.text());
    let reader = || std::io::repeat(b'x').take(BYTES as u64);
    assert_eq!(send(RequestBody::reader(reader(), Some(BYTES as u64))).unwrap(), BYTES.to_string());
    assert_eq!(send(RequestBody::reader(reader(), None)).unwrap(), BYTES.to_string());
    let pieces = (0..1_000).map(|piece| Ok(Bytes::from(vec![b'x'; piece])));
    let sum = (0..1_000).sum::<usize>().to_string();
    assert_eq!(send(RequestBody::stream(stream::iter(pieces), None)).unwrap(), sum);
    assert_eq!(send(RequestBody::stream(stream::empty(), None)).unwrap(), "0");
    let lengths: Vec<_> = server
        .seen()
        .iter()
        .map(|asked| asked.fields.iter().any(|(name, _)| name == "content-length"))
        .collect();
    assert_eq!(lengths, [true, false, false, false]);
    // What cannot be produced ends its stream alone.
    for body in [
        RequestBody::reader(reader(), Some(BYTES as u64 + 1)),
        RequestBody::reader(reader(), Some(BYTES as u64 - 1)),
        RequestBody::stream(
            stream::iter([Ok(Bytes::from_static(b"x")), Err(std::io::ErrorKind::Other.into())]),
            None,
        ),
    ] {
        assert_eq!(send(body).unwrap_err().kind().name(), "input.body");
    }
    assert_eq!(send("abc".into()).unwrap(), "3");
    assert_eq!(server.connections(), 1);
}

#[test]
fn bodies_that_wait_for_the_caller_stop_no_other_stream() {
    const BYTES: usize = 20_000_000;
    let server = tls();
    let client = client(&server);
    let large = || client.get(server.url(&format!("/large/{BYTES}"))).send();
    let mut unread = runtime().block_on(join_all((0..30).map(|_| large())));
    for row in 0..10 {
        let response = overlapped::block_on(async {
            // The window of the stream is full, and its server waits.
            unread[0].as_mut().unwrap().chunk().await.unwrap().unwrap();
            client.get(server.url(&format!("/row/{row}"))).send().await.unwrap().bytes().await.unwrap()
        });
        assert_eq!(response, row_of(row));
    }
    // What was not read is given back.
    drop(unread);
    for _ in 0..3 {
        assert_eq!(
            overlapped::block_on(async { large().await.unwrap().bytes().await.unwrap() }).len(),
            BYTES
        );
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn what_is_given_up_resets_its_stream_and_the_others_go_on() {
    let server = tls();
    let client = client(&server);
    runtime().block_on(async {
        client.get(server.url("/row/1")).send().await.unwrap();
        let given_up = (0..10).map(|_| {
            let asked = Box::pin(client.get(server.url("/silence")).send());
            let other = Box::pin(async {
                let sent = client.get(server.url("/row/2")).send().await.unwrap();
                assert_eq!(sent.bytes().await.unwrap(), row_of(2));
                // The request is dropped only after the server has it.
                while server.seen().iter().filter(|asked| asked.path == "/silence").count() < 10 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
            select(asked, other)
        });
        join_all(given_up).await;
        let response = client.get(server.url("/row/3")).send().await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), row_of(3));
    });
    assert!(server.wait_until(LONG, |server| server.resets() == [CANCEL; 10]));
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_prepared_request_has_its_own_fields_alone() {
    let server = tls();
    let client = blocking::Client::new(trusting(&server, Http::Negotiated)).unwrap();
    let field = |name: &str, value: &str| (Box::from(name), Box::from(value.as_bytes()));
    let request = PreparedRequest {
        method: overlapped_fetch::Method::Post,
        target: Some("/length?%7E".into()),
        headers: [
            field("Host", "other.test"),
            field("X-B", "1"),
            field("Connection", "keep-alive"),
            field("Transfer-Encoding", "chunked"),
            field("X-A", "2"),
        ]
        .into(),
        ..PreparedRequest::new(server.url("/"))
    };
    let body = RequestBody::reader(&b"hello"[..], None);
    assert_eq!(client.prepared(request).body(body).send().unwrap().text().unwrap(), "5");
    let mut request = PreparedRequest::new(server.url("/row/4"));
    request.headers = [field("Content-Length", "3"), field("Cookie", "a=1; b=2")].into();
    request.method = overlapped_fetch::Method::Put;
    assert_eq!(client.prepared(request).body("abc").send().unwrap().bytes().unwrap(), row_of(4));
    let seen = server.seen();
    assert_eq!((&*seen[0].authority, &*seen[0].path), ("other.test", "/length?%7E"));
    assert_eq!(seen[0].fields, [("x-b".to_owned(), b"1".to_vec()), ("x-a".to_owned(), b"2".to_vec())]);
    assert_eq!(seen[1].authority, server.addr().to_string());
    let fields: Vec<_> = seen[1].fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(fields, [("content-length", &b"3"[..]), ("cookie", b"a=1"), ("cookie", b"b=2")]);
    assert_eq!(seen[1].body, b"abc");
}

#[test]
fn what_was_not_processed_is_sent_again_also_with_a_body_that_was_not_begun() {
    let server =
        Http2Server::start(|_| Http2::Rules(Http2Rules { goaway_after: Some(3), ..Http2Rules::new(answer) }));
    let config = Config { network: trusting(&server, Http::Http2).network, ..retrying(0) };
    let client = blocking::Client::new(config).unwrap();
    for _ in 0..20 {
        let body = RequestBody::reader(&b"hello"[..], None);
        let sent = client.post(server.url("/length")).body(body).send();
        assert_eq!(sent.and_then(|response| response.text()).unwrap(), "5");
    }
    assert_eq!(server.seen().len(), 20);
    let refused = client.get(server.url("/refused")).send().unwrap_err();
    assert_eq!((refused.kind().name(), server.seen().len()), ("h2.refused", 23));
}

#[test]
fn connections_end_with_the_client() {
    let server = tls();
    let client = client(&server);
    let sent = runtime().block_on(client.get(server.url("/row/1")).send()).unwrap();
    assert_eq!((client.idle_connections(), server.open_connections()), (1, 1));
    assert_eq!(overlapped::block_on(sent.bytes()).unwrap(), row_of(1));
    assert_eq!((client.close_idle(), client.idle_connections()), (1, 0));
    assert!(server.wait_until(LONG, |server| server.open_connections() == 0));
    let pending = client.get(server.url("/silence")).send().now_or_never();
    assert!(pending.is_none());
    assert!(runtime().block_on(client.get(server.url("/row/2")).send()).is_ok());
    within_long(move || drop(client));
    assert!(server.wait_until(LONG, |server| server.open_connections() == 0));
}
