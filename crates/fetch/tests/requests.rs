//! Single requests: what a client sends and what it makes of the response, for tasks and for threads.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use overlapped::block_on;
use overlapped_fetch::{
    Client, Config, CookieStore, ErrorKind, Identity, Network, PreparedRequest, RequestBody, Tls, TlsConfig,
    blocking,
};
use overlapped_testkit::{Server, bytes_of, refused, row_of, text_of};
use serde_json::Value;
use support::{config, retrying};

fn client() -> blocking::Client {
    blocking::Client::new(config()).unwrap()
}

/// A server that answers each request of each connection with the same bytes.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut tcp, _)) = listener.accept() {
            let mut lines = BufReader::new(tcp.try_clone().unwrap()).lines();
            while lines.by_ref().map_while(Result::ok).any(|line| line.is_empty()) {
                let _ = tcp.write_all(answer);
            }
        }
    });
    address
}

/// A header field in the report of `/echo`.
fn echoed(echo: &Value, name: &str) -> Option<String> {
    let mut pairs = echo["headers"].as_array().unwrap().iter();
    let found = pairs.find(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
    found.map(|pair| pair[1].as_str().unwrap().to_owned())
}

fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn a_request_is_sent_as_it_was_built() {
    let server = Server::start();
    let sent = client()
        .put(server.url("/echo?a=1"))
        .query([("b", "x y"), ("c", "&")])
        .header("X-Own", "7")
        .basic_auth("me", Some("s3cret"))
        .body("the body")
        .send()
        .unwrap();
    assert_eq!((sent.status(), sent.attempts(), sent.is_reused()), (200, 1, false));
    let echo: Value = sent.json().unwrap();
    assert_eq!((&echo["method"], &echo["target"]), (&"PUT".into(), &"/echo?a=1&b=x+y&c=%26".into()));
    assert_eq!(echo["body"], "the body");
    assert_eq!(echoed(&echo, "x-own").as_deref(), Some("7"));
    assert_eq!(echoed(&echo, "authorization").as_deref(), Some("Basic bWU6czNjcmV0"));

    let echo: Value = client().post(server.url("/echo")).form([("a", "1 2")]).send().unwrap().json().unwrap();
    assert_eq!(
        (&echo["body"], echoed(&echo, "content-type").unwrap().as_str()),
        (&"a=1+2".into(), "application/x-www-form-urlencoded")
    );
    let wrong = client().get(server.url("/echo")).header("x", "a\r\nb: c").send().unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::InputHeader);
    assert_eq!(client().get("no url").send().unwrap_err().kind(), ErrorKind::InputUrl);
}

#[test]
fn headers_come_in_the_order_and_case_of_the_wire() {
    const HEAD: &[u8] =
        b"HTTP/1.1 200 OK\r\nX-Zulu: 1\r\nx-alpha:  2\r\nCONTENT-length: 2\r\nX-Zulu: \xff\r\n\r\n";
    static ANSWER: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| [HEAD, b"ok"].concat());
    let url = format!("http://{}/", answering(&ANSWER));
    let response = client().get(&url).raw_head().send().unwrap();
    let fields: Vec<_> = response.headers().iter().collect();
    assert_eq!(
        fields,
        [("X-Zulu", &b"1"[..]), ("x-alpha", b"2"), ("CONTENT-length", b"2"), ("X-Zulu", b"\xff")]
    );
    assert_eq!((response.header("X-ALPHA"), response.headers().all("x-zulu").count()), (Some("2"), 2));
    assert_eq!(response.raw_head(), HEAD);
    assert_eq!(response.text().unwrap(), "ok");
    assert!(client().get(url).send().unwrap().raw_head().is_empty());
}

#[test]
fn redirects_are_followed_and_told_or_left() {
    let server = Server::start();
    let response = client().get(server.url("/redirect/3")).send().unwrap();
    let history: Vec<_> = response.history().iter().map(|hop| (hop.url.clone(), hop.status)).collect();
    assert_eq!(history, [3, 2, 1].map(|left| (server.url(&format!("/redirect/{left}")), 302)));
    assert!(response.history().iter().all(|hop| hop.headers.first("LOCATION").is_some()));
    assert_eq!((response.status(), response.final_url()), (200, &*server.url("/redirect/0")));
    assert_eq!((response.attempts(), server.connections()), (4, 1));

    let left = client().get(server.url("/redirect/3")).max_redirects(0).send().unwrap();
    assert_eq!((left.status(), left.history().len()), (302, 0));
    let limited = client().get(server.url("/redirect/3")).max_redirects(2).send().unwrap_err();
    assert_eq!((limited.kind(), limited.status()), (ErrorKind::RedirectTooMany, Some(302)));
    let more = client().get(server.url("/redirect/20")).max_redirects(20).send().unwrap();
    assert_eq!(more.history().len(), 20);
}

#[test]
fn a_body_is_decoded_unless_it_is_wanted_as_it_came() {
    let server = Server::start();
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let path = format!("/{coding}/300000");
        let decoded = client().get(server.url(&path)).send().unwrap().bytes().unwrap();
        assert!(decoded == text_of(&path, 300_000), "{coding}");
        let mut response = client().get(server.url(&path)).decode(false).send().unwrap();
        assert_eq!(response.header("content-encoding"), Some(coding));
        let mut raw = Vec::new();
        response.read_to_end(&mut raw).unwrap();
        assert!(raw.len() < 200_000 && response.timings().receive.is_some(), "{coding}: {}", raw.len());
    }
    let bomb = client().get(server.url("/bomb/gzip/100000000")).max_bytes(1_000_000).send().unwrap();
    assert_eq!(bomb.bytes().unwrap_err().kind(), ErrorKind::BodyTooLarge);
    let large = client().get(server.url("/bytes/101")).max_bytes(100).send().unwrap();
    assert_eq!(large.bytes().unwrap_err().kind(), ErrorKind::BodyTooLarge);
}

#[test]
fn a_large_body_comes_in_pieces() {
    const SIZE: usize = 3_000_000;
    let server = Server::start();
    let path = format!("/bytes/{SIZE}");
    let client = client();
    let mut response = client.get(server.url(&path)).send().unwrap();
    let (mut all, mut pieces) = (Vec::new(), 0);
    while let Some(piece) = response.chunk().unwrap() {
        all.extend_from_slice(&piece);
        pieces += 1;
    }
    assert!(all == bytes_of(&path, SIZE) && pieces > 3, "{pieces} pieces");
    assert_eq!(response.chunk().unwrap(), None);
    assert_eq!(client.idle_connections(), 1, "it was read to its end");
    drop(client.get(server.url(&path)).send().unwrap());
    assert_eq!(client.idle_connections(), 0, "it was not");
    assert_eq!(client.get(server.url("/row/7")).send().unwrap().bytes().unwrap(), row_of(7));
    let cut = client.get(server.url("/truncate?length=400000&sent=300000")).send().unwrap();
    assert_eq!(cut.bytes().unwrap_err().kind(), ErrorKind::BodyTruncated);
}

#[test]
fn a_body_is_uploaded_while_it_is_read() {
    let server = Server::start();
    let client = client();
    let upload = |body: RequestBody| client.post(server.url("/echo")).body(body).send();
    let text = "0123456789".repeat(50_000);
    let reader = || io::Cursor::new(text.clone().into_bytes());
    for (length, framing) in [(Some(500_000), "content-length"), (None, "transfer-encoding")] {
        let echo: Value = upload(RequestBody::reader(reader(), length)).unwrap().json().unwrap();
        assert_eq!(echo["body_bytes"], 500_000, "{framing}");
        assert!(echo["body"].as_str().unwrap() == text && echoed(&echo, framing).is_some(), "{framing}");
    }
    let empty: Value = upload(RequestBody::reader(io::empty(), None)).unwrap().json().unwrap();
    assert_eq!(empty["body_bytes"], 0);
    for (length, what) in [(499_999, "longer than 499999"), (500_001, "500000 bytes instead of 500001")] {
        let error = upload(RequestBody::reader(reader(), Some(length))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InputBody);
        assert!(error.to_string().contains(what), "{error}");
    }
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("planted"))
        }
    }
    let error = upload(RequestBody::reader(Fails, None)).unwrap_err();
    assert!(error.kind() == ErrorKind::InputBody && error.to_string().contains("planted"), "{error}");
    // A redirect that needs the body again is the response; one that does not is followed.
    let redirected = |status: u16| {
        let to = server.url(&format!("/redirect/1?status={status}"));
        client.post(to).body(RequestBody::reader(io::Cursor::new("x"), None)).send().unwrap().status()
    };
    assert_eq!((redirected(307), redirected(303)), (307, 200));
}

#[test]
fn a_stream_is_uploaded_and_a_response_is_one() {
    let server = Server::start();
    let client = Client::new(config()).unwrap();
    let work = async {
        let pieces = ["a", "", "bc"].map(|piece| io::Result::Ok(Bytes::from(piece)));
        let body = RequestBody::stream(futures_util::stream::iter(pieces), None);
        let echo: Value =
            client.post(server.url("/echo")).body(body).send().await.unwrap().json().await.unwrap();
        assert_eq!(echo["body"], "abc");
        let response = client.get(server.url("/chunked/100000?size=1000")).send().await.unwrap();
        let pieces: Vec<_> = futures_util::StreamExt::collect(response.into_stream()).await;
        let all: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.unwrap()).collect();
        assert!(all == text_of("/chunked/100000?size=1000", 100_000));
    };
    block_on(is_send(work));
}

#[test]
fn a_prepared_request_has_nothing_added() {
    let server = Server::start();
    let headers = [("hOsT", "x"), ("Z", "1"), ("a", "\u{e4}"), ("Content-Length", "2")];
    let headers = headers.map(|(name, value)| (Box::from(name), Box::from(value.as_bytes()))).into();
    let prepared = PreparedRequest {
        method: overlapped_fetch::Method::Post,
        target: Some("/echo?%7e=[".into()),
        headers,
        ..PreparedRequest::new(server.url("/else"))
    };
    let echo: Value = client().prepared(prepared.clone()).body("hi").send().unwrap().json().unwrap();
    let names: Vec<_> = echo["headers"].as_array().unwrap().iter().map(|pair| pair[0].clone()).collect();
    assert_eq!(names, ["hOsT", "Z", "a", "Content-Length"]);
    assert_eq!((&echo["target"], &echo["body"]), (&"/echo?%7e=[".into(), &"hi".into()));
    for body in ["", "h", "hi!"] {
        let error = client().prepared(prepared.clone()).body(body).send().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InputHeader, "{body}");
    }
    let redirect = PreparedRequest::new(server.url("/redirect/1"));
    assert_eq!(client().prepared(redirect).send().unwrap().status(), 302);
}

#[test]
fn time_limits_name_what_was_slow() {
    let server = Server::start();
    let short = Duration::from_millis(50);
    let check = |builder: overlapped_fetch::RequestBuilder<blocking::Client>, expected: ErrorKind| {
        let result = builder.send().and_then(|response| response.bytes());
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.is_timeout()), (expected, true));
    };
    check(client().get(server.url("/silent")).timeout(short), ErrorKind::TimeoutTotal);
    check(client().get(server.url("/silent")).read_timeout(short), ErrorKind::TimeoutFirstByte);
    // Of an upload, the limit begins when it is over.
    let upload = client().post(server.url("/silent")).body(RequestBody::reader(io::Cursor::new("x"), None));
    check(upload.read_timeout(short), ErrorKind::TimeoutFirstByte);
    // The head must come in time.
    check(client().get(server.url("/stall")).read_timeout(Duration::from_secs(3)), ErrorKind::TimeoutSlow);
    check(client().get(server.url("/stall")).timeout(short), ErrorKind::TimeoutTotal);
    let drip = "/drip?bytes=20&every_ms=20";
    check(client().get(server.url(drip)).timeout(short), ErrorKind::TimeoutTotal);
    let slow = client().get(server.url(drip)).read_timeout(Duration::from_secs(20)).send().unwrap();
    assert_eq!(slow.bytes().unwrap().len(), 20);
}

#[test]
fn an_error_says_what_and_where_and_no_password() {
    let server = Server::start();
    let response = client().get(server.url("/status/503")).send().unwrap();
    let error = response.error_for_status().unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Status, Some(503)));
    assert!(error.to_string().contains("503 Service Unavailable"), "{error}");
    assert!(client().get(server.url("/ok")).send().unwrap().error_for_status().is_ok());
    let dead = refused();
    let error = client().get(dead.url("/").replace("http://", "http://me:s3cret@")).send().unwrap_err();
    assert_eq!((error.kind(), error.is_connect()), (ErrorKind::ConnectRefused, true));
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    assert!(error.url().unwrap().contains("s3cret") && error.without_url().url().is_none());
}

#[test]
fn retries_are_made_if_they_are_asked_for() {
    let server = Server::builder().hosts(4).start();
    let get = |host, path: &str| client().get(server.url_on(host, path));
    assert_eq!(get(0, "/flaky?0").send().unwrap().status(), 503);
    let response = get(1, "/flaky?1").retries(1).send().unwrap();
    assert_eq!((response.status(), response.attempts()), (200, 2));
    assert_eq!(get(2, "/flaky/close?fail=1").retries(1).send().unwrap().status(), 200);
    let retrying = blocking::Client::new(retrying(1)).unwrap();
    assert_eq!(retrying.post(server.url_on(3, "/flaky?3")).body("x").send().unwrap().status(), 503);
    assert_eq!(retrying.get(server.url_on(3, "/flaky?4")).retries(0).send().unwrap().status(), 503);
}

#[derive(Default)]
struct Jar(Mutex<Vec<String>>);

impl CookieStore for Jar {
    fn cookies(&self, url: &str) -> Option<String> {
        let cookies = self.0.lock().unwrap().join("; ");
        (!url.contains("/row/") && !cookies.is_empty()).then_some(cookies)
    }

    fn store(&self, _: &str, set_cookie: &mut dyn Iterator<Item = &[u8]>) {
        let pair = |value: &[u8]| String::from_utf8_lossy(value).split(';').next().unwrap().to_owned();
        self.0.lock().unwrap().extend(set_cookie.map(pair));
    }
}

#[test]
fn a_store_of_cookies_is_asked_and_told() {
    let server = Server::start();
    let jar = Arc::new(Jar::default());
    let client = blocking::Client::with_cookies(config(), Arc::clone(&jar) as _).unwrap();
    client.get(server.url("/set-cookie?a=1&b=2")).send().unwrap();
    assert_eq!(*jar.0.lock().unwrap(), ["a=1", "b=2"]);
    let cookie = |builder: overlapped_fetch::RequestBuilder<blocking::Client>| {
        echoed(&builder.send().unwrap().json().unwrap(), "cookie")
    };
    assert_eq!(cookie(client.get(server.url("/echo"))).as_deref(), Some("a=1; b=2"));
    assert_eq!(cookie(client.get(server.url("/echo")).header("Cookie", "own=1")).as_deref(), Some("own=1"));
}

#[test]
fn settings_of_tls_are_of_one_request() {
    let server = Server::builder().tls().start();
    let tls = |config: &TlsConfig| Tls::new(config).unwrap();
    let ca_pem = server.ca_pem().unwrap().as_bytes().to_vec();
    let trusting = tls(&TlsConfig { ca_pem: Some(ca_pem.clone()), ..TlsConfig::default() });
    let unverified = tls(&TlsConfig { verify: false, ..TlsConfig::default() });
    let client = client();
    let get = |tls: Option<&Tls>| {
        let builder = client.get(server.url("/row/1"));
        let builder = if let Some(tls) = tls { builder.tls(tls) } else { builder };
        builder.send().map(|response| (response.is_reused(), response.bytes().unwrap()))
    };
    assert_eq!(get(None).unwrap_err().kind(), ErrorKind::TlsCertificate);
    assert_eq!(get(Some(&unverified)).unwrap(), (false, row_of(1).into()));
    assert_eq!(get(Some(&trusting)).unwrap(), (false, row_of(1).into()));
    assert!(get(Some(&trusting.clone())).unwrap().0 && get(Some(&unverified)).unwrap().0);
    assert_eq!(
        get(None).unwrap_err().kind(),
        ErrorKind::TlsCertificate,
        "no verified connection is left to it"
    );
    assert_eq!(server.requests(), 4);
    let network = Network { ca_pem: Some(ca_pem.clone()), ..Network::default() };
    let own = blocking::Client::new(Config { network, ..config() }).unwrap();
    assert_eq!(own.get(server.url("/ok")).send().unwrap().status(), 200);
    let identity = Identity { chain_pem: ca_pem, key_pem: b"no key".to_vec() };
    let error = Tls::new(&TlsConfig { identity: Some(identity), ..TlsConfig::default() }).unwrap_err();
    assert!(error.to_string().contains("the private key"), "{error}");
}

#[test]
fn threads_share_the_connections_of_a_client() {
    let server = Server::start();
    let client = client();
    for thread in 0..3 {
        let (client, url) = (client.clone(), server.url(&format!("/row/{thread}")));
        let body = std::thread::spawn(move || client.get(url).send().unwrap().bytes().unwrap());
        assert_eq!(body.join().unwrap(), row_of(thread));
    }
    assert_eq!(server.connections(), 1, "a connection outlives the thread that opened it");
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (client, server) = (client.clone(), server.url("/row/"));
            std::thread::spawn(move || {
                for round in 0..20 {
                    let row = thread * 1_000 + round;
                    let body = client.get(format!("{server}{row}")).send().unwrap().bytes().unwrap();
                    assert_eq!(body, row_of(row));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(server.connections() <= 8, "{}", server.connections());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_client_goes_from_one_runtime_to_the_next_and_to_none() {
    let server = Server::start();
    let client = Client::new(config()).unwrap();
    let get = async |row: u64| {
        let response = client.get(server.url(&format!("/row/{row}"))).send().await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), row_of(row));
    };
    let (first, second) = (runtime(), runtime());
    first.block_on(get(1));
    second.block_on(get(2));
    drop(first);
    second.block_on(get(3));
    drop(second);
    block_on(get(4));
    runtime().block_on(get(5));
    assert_eq!(server.connections(), 1);
    // A response that is read where its request was not made.
    let path = "/bytes/2000000";
    let response = runtime().block_on(client.get(server.url(path)).send()).unwrap();
    let body = runtime().block_on(response.bytes()).unwrap();
    assert!(body == bytes_of(path, 2_000_000));
}

#[test]
fn a_runtime_may_end_while_requests_are_in_flight() {
    let server = Server::start();
    let client = Client::new(config()).unwrap();
    let first = runtime();
    let (clone, url) = (client.clone(), server.url("/silent"));
    first.spawn(is_send(async move { clone.get(url).send().await.map(drop) }));
    first.block_on(async {
        while server.requests() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    drop(first);
    assert_eq!(client.idle_connections(), 0);
    let body = runtime().block_on(async { client.get(server.url("/row/7")).send().await?.bytes().await });
    assert_eq!(body.unwrap(), row_of(7));
}

#[test]
fn a_request_that_is_dropped_at_any_time_poisons_nothing() {
    let server = Server::start();
    let client = Client::new(config()).unwrap();
    runtime().block_on(async {
        for round in 0..200_u64 {
            let dropped = async {
                let response =
                    client.get(server.url(&format!("/bytes/{}?{round}", 1_000 * round))).send().await;
                response.unwrap().bytes().await.unwrap()
            };
            // Polled so often, and then dropped.
            let mut dropped = Box::pin(dropped);
            for _ in 0..round % 7 {
                if (&mut dropped).now_or_never().is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(dropped);
            let response = client.get(server.url(&format!("/row/{round}"))).send().await.unwrap();
            assert_eq!(response.bytes().await.unwrap(), row_of(round), "round {round}");
        }
    });
}

#[test]
fn many_requests_at_once_get_their_own_answers() {
    let server = Server::start();
    let client = Client::new(config()).unwrap();
    let rows = (0..500_u64).map(|row| {
        let (client, url) = (&client, server.url(&format!("/row/{row}")));
        async move {
            let response = client.get(url).send().await.unwrap();
            (row, response.bytes().await.unwrap())
        }
    });
    let answers = runtime().block_on(futures_util::future::join_all(rows));
    assert!(answers.iter().all(|(row, body)| *body == row_of(*row)));
}
