//! The built-in routes, byte for byte.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use std::io::{Read, Write};
use std::time::Duration;

use client::{connect, exchange, get, get_on, header, response, split, status};
use overlapped_testkit::{Script, Server, bytes_of, row_of, text_of};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn plain_answers() {
    let server = Server::start();
    let answer = exchange(server.addr(), b"GET /ok HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(
        String::from_utf8(answer).unwrap(),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
    );
    let (head, body) = get(server.addr(), "/status/503");
    assert_eq!((status(&head), body.as_slice()), (503, b"status 503\n".as_slice()));
    let (head, body) = get(server.addr(), "/status/204");
    assert_eq!((status(&head), header(&head, "content-length"), body.len()), (204, None, 0));
    let (head, _) = get(server.addr(), "/delay/1");
    assert_eq!(status(&head), 200);
    let (head, _) = get(server.addr(), "/nothing/here");
    assert_eq!(status(&head), 404);
    let (head, _) = get(server.addr(), "/bytes/many");
    assert_eq!(status(&head), 400);
}

#[test]
fn requests_wait_until_they_are_together() {
    let server = Server::start();
    let mut streams = [(); 3].map(|()| connect(server.addr()));
    for (count, stream) in (1..).zip(&mut streams) {
        stream.write_all(b"GET /together/3 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert!(server.wait_for_requests(count, LONG));
        assert!(count == 3 || server.in_flight() as u64 == count, "one was answered too early");
    }
    for stream in &mut streams {
        assert_eq!(response(stream).1, b"together\n");
    }
    assert_eq!(server.max_in_flight(), 3);
}

#[test]
fn bodies_are_functions_of_their_target() {
    let server = Server::start();
    for length in [0, 1, 1000, 65_536, 65_537, 1_000_000] {
        let target = format!("/bytes/{length}?i=7");
        assert_eq!(get(server.addr(), &target).1, bytes_of(&target, length));
        let target = format!("/text/{length}");
        assert_eq!(get(server.addr(), &target).1, text_of(&target, length));
    }
    for row in [0, 1, 17, 123_456] {
        assert_eq!(get(server.addr(), &format!("/row/{row}")).1, row_of(row));
    }
    assert_eq!(server.row_hits()[17], 1);
}

#[test]
fn redirects_end() {
    let server = Server::start();
    let mut stream = connect(server.addr());
    let (head, _) = get_on(&mut stream, "/redirect/2");
    assert_eq!((status(&head), header(&head, "location")), (302, Some("/redirect/1")));
    let (head, _) = get_on(&mut stream, "/redirect/1?status=307");
    assert_eq!((status(&head), header(&head, "location")), (307, Some("/redirect/0?status=307")));
    let (head, _) = get_on(&mut stream, "/redirect/0");
    assert_eq!(status(&head), 200);
    let (head, _) = get_on(&mut stream, "/redirect-to?url=http%3A%2F%2Fh%2F%3Fa&status=308");
    assert_eq!((status(&head), header(&head, "location")), (308, Some("http://h/?a")));
    let (head, _) = get_on(&mut stream, "/loop");
    assert_eq!((status(&head), header(&head, "location")), (302, Some("/loop")));
    assert_eq!(server.connections(), 1);
}

#[test]
fn the_experiment_answers_five_times() {
    let server = Server::builder().scale(0.001).start();
    for index in 0..5 {
        assert_eq!(
            get(server.addr(), &format!("/experiment/{index}")).1,
            format!("experiment {index}\n").as_bytes()
        );
    }
    assert_eq!(status(&get(server.addr(), "/experiment/5").0), 400);
    assert_eq!(server.count("/experiment/"), 6);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let answer = exchange(
        server.addr(),
        b"GET /delay/20 HTTP/1.1\r\nHost: h\r\n\r\nPOST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi\
          GET /ok HTTP/1.1\r\nConnection: close\r\n\r\n",
    );
    let text = String::from_utf8(answer).unwrap();
    let places = ["delay 20\n", "\"body\":\"hi\"", "\r\n\r\nok\n"].map(|part| text.find(part).expect(part));
    assert!(places.is_sorted(), "{text}");
    assert_eq!(server.max_in_flight(), 1);
}

#[test]
fn chunks_end() {
    let server = Server::start();
    let answer = exchange(server.addr(), b"GET /chunked/5?size=2 HTTP/1.1\r\nConnection: close\r\n\r\n");
    let (head, body) = split(&answer);
    let text = String::from_utf8(text_of("/chunked/5?size=2", 5)).unwrap();
    let expected = format!("2\r\n{}\r\n2\r\n{}\r\n1\r\n{}\r\n0\r\n\r\n", &text[..2], &text[2..4], &text[4..]);
    assert_eq!(
        (header(&head, "transfer-encoding"), header(&head, "content-length")),
        (Some("chunked"), None)
    );
    assert_eq!(String::from_utf8(body).unwrap(), expected);
}

#[test]
fn packed_bodies_unpack_to_their_text() {
    let server = Server::start();
    let check = |target: &str, token: &str, unpack: fn(&[u8]) -> std::io::Result<Vec<u8>>| {
        let (head, body) = get(server.addr(), target);
        assert_eq!(header(&head, "content-encoding"), Some(token), "{target}");
        assert_eq!(unpack(&body).unwrap(), text_of(target, 5000), "{target}");
        let (_, body) = get(server.addr(), &format!("{target}?damage=truncated"));
        assert!(unpack(&body).map_or(true, |body| body.len() < 5000), "{target}");
        assert_eq!(get(server.addr(), &format!("{target}?as=x-y&damage=plain")).1.len(), 5000);
    };
    check("/gzip/5000", "gzip", |packed| all(flate2::read::GzDecoder::new(packed)));
    check("/deflate/5000", "deflate", |packed| all(flate2::read::ZlibDecoder::new(packed)));
    check("/raw-deflate/5000", "deflate", |packed| all(flate2::read::DeflateDecoder::new(packed)));
    check("/br/5000", "br", |packed| all(brotli::Decompressor::new(packed, 4096)));
    check("/zstd/5000", "zstd", |packed| all(zstd::Decoder::new(packed)?));
    let (_, body) = get(server.addr(), "/gzip/5000?damage=members");
    let unpacked = all(flate2::read::MultiGzDecoder::new(body.as_slice())).unwrap();
    assert_eq!(unpacked, text_of("/gzip/5000?damage=members", 5000));
    for damage in ["corrupt", "tail"] {
        let (_, body) = get(server.addr(), &format!("/gzip/5000?damage={damage}"));
        assert!(all(flate2::read::GzDecoder::new(body.as_slice())).is_err(), "{damage}");
    }
    let (_, body) = get(server.addr(), "/zstd/5000?window_log=23");
    assert_eq!(all(zstd::Decoder::new(body.as_slice()).unwrap()).unwrap().len(), 5000);
}

#[test]
fn bombs_go_over_the_wire() {
    let server = Server::start();
    let (head, body) = get(server.addr(), "/bomb/gzip/100000000");
    assert_eq!(header(&head, "content-encoding"), Some("gzip"));
    assert_eq!(header(&head, "content-length"), Some(body.len().to_string().as_str()));
    let unpacked =
        std::io::copy(&mut flate2::read::GzDecoder::new(body.as_slice()), &mut std::io::sink()).unwrap();
    assert_eq!(unpacked, 100_000_000);
}

fn all(mut reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    reader.read_to_end(&mut body).map(|_| body)
}

#[test]
fn conditions_and_ranges() {
    let server = Server::start();
    let ask = |target: &str, header: &str| {
        split(&exchange(
            server.addr(),
            format!("GET {target} HTTP/1.1\r\n{header}\r\nConnection: close\r\n\r\n").as_bytes(),
        ))
    };
    let (head, body) = ask("/etag/v1", "If-None-Match: \"v0\"");
    assert_eq!((status(&head), header(&head, "etag"), body.is_empty()), (200, Some("\"v1\""), false));
    for known in ["\"v1\"", "\"v0\", W/\"v1\"", "*"] {
        let (head, body) = ask("/etag/v1", &format!("If-None-Match: {known}"));
        assert_eq!((status(&head), body.len()), (304, 0), "{known}");
    }
    let whole = text_of("/range/100", 100);
    for (range, first, end) in [("0-9", 0, 10), ("90-", 90, 100), ("-5", 95, 100), ("50-500", 50, 100)] {
        let (head, body) = ask("/range/100", &format!("Range: bytes={range}"));
        let content_range = format!("bytes {first}-{}/100", end - 1);
        assert_eq!((status(&head), header(&head, "content-range")), (206, Some(content_range.as_str())));
        assert_eq!(body, whole[first..end]);
    }
    let (head, _) = ask("/range/100", "Range: bytes=100-");
    assert_eq!((status(&head), header(&head, "content-range")), (416, Some("bytes */100")));
    let (head, body) = ask("/range/100", "Range: bytes=1-2\r\nIf-Range: \"other\"");
    assert_eq!((status(&head), body), (200, whole));
}

#[test]
fn heads_of_many_kinds() {
    let server = Server::builder().robots("User-agent: *\n").start();
    let (head, _) = get(server.addr(), "/headers?n=1000&size=3");
    assert_eq!(head.lines().filter(|line| line.starts_with("X-") && line.ends_with(": vvv")).count(), 1000);
    let (head, _) = get(server.addr(), "/set-cookie?a=1&b=2");
    let cookies: Vec<_> = head.lines().filter(|line| line.starts_with("Set-Cookie")).collect();
    assert_eq!(cookies, ["Set-Cookie: a=1; Path=/", "Set-Cookie: b=2; Path=/"]);
    assert_eq!(get(server.addr(), "/robots.txt").1, b"User-agent: *\n");
    assert_eq!(status(&get(Server::start().addr(), "/robots.txt").0), 404);
    let answer = exchange(server.addr(), b"HEAD /text/500 HTTP/1.1\r\nConnection: close\r\n\r\n");
    let (head, body) = split(&answer);
    assert_eq!((header(&head, "content-length"), body.len()), (Some("500"), 0));
}

#[test]
fn an_echo_is_json() {
    let server = Server::start();
    let answer = exchange(
        server.addr(),
        b"POST http://h/echo?q=\"1\" HTTP/1.0\r\nHost: h\r\nContent-Length: 3\r\n\r\na\tb",
    );
    let (head, body) = split(&answer);
    assert_eq!(header(&head, "content-type"), Some("application/json"));
    assert_eq!(
        String::from_utf8(body).unwrap(),
        r#"{"method":"POST","target":"http://h/echo?q=\"1\"","version":"HTTP/1.0","headers":[["Host","h"],["Content-Length","3"]],"body":"a\tb","body_bytes":3}"#
    );
}

#[test]
fn routes_of_a_test() {
    let server = Server::builder()
        .route("/ok", Script::response(418, &[("X-A", "1")], "teapot"))
        .handler("/twice/", |request| Script::response(200, &[], request.path().repeat(2)))
        .start();
    let mut stream = connect(server.addr());
    let (head, body) = get_on(&mut stream, "/ok?whatever");
    assert_eq!((status(&head), header(&head, "x-a"), body), (418, Some("1"), b"teapot".to_vec()));
    assert_eq!(get_on(&mut stream, "/twice/a").1, b"/twice/a/twice/a");
    assert_eq!(get_on(&mut stream, "/").1, b"ok\n");
}
