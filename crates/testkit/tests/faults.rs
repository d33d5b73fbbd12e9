//! Answers that break off, never come, or come in pieces; and what the record says of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use client::{connect, get, get_on, header, split, status};
use overlapped_testkit::{Ending, RawServer, Script, Server, text_of};

const LONG: Duration = Duration::from_secs(60);

/// Everything up to the end of the connection, and how it ended.
fn read_all(server: &Server, target: &str) -> (Vec<u8>, Option<ErrorKind>) {
    let mut stream = connect(server.addr());
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer).err().map(|error| error.kind());
    (answer, end)
}

#[test]
fn resets() {
    let server = Server::start();
    assert_eq!(read_all(&server, "/reset"), (Vec::new(), Some(ErrorKind::ConnectionReset)));
    let (answer, end) = read_all(&server, "/reset?head=20");
    assert_eq!(
        (answer.as_slice(), end),
        (b"HTTP/1.1 200 OK\r\nCon".as_slice(), Some(ErrorKind::ConnectionReset))
    );
    let (answer, end) = read_all(&server, "/reset?at=300&length=400");
    let (head, body) = split(&answer);
    assert_eq!((header(&head, "content-length"), end), (Some("400"), Some(ErrorKind::ConnectionReset)));
    assert_eq!(body, text_of("/reset?at=300&length=400", 300));
}

#[test]
fn closes_in_good_order() {
    let server = Server::start();
    assert_eq!(read_all(&server, "/close"), (Vec::new(), None));
    let (answer, end) = read_all(&server, "/truncate?length=9&sent=4");
    let (head, body) = split(&answer);
    assert_eq!((header(&head, "content-length"), body.len(), end), (Some("9"), 4, None));
    let (answer, end) = read_all(&server, "/truncate?sent=3&chunked=1");
    let (head, body) = split(&answer);
    assert_eq!((header(&head, "transfer-encoding"), end), (Some("chunked"), None));
    assert!(body.starts_with(b"3\r\n") && body.ends_with(b"\r\n") && body.len() == 8);
    assert!(server.seen().iter().all(|seen| matches!(seen.ending, Ending::Answered(_))));
}

#[test]
fn a_client_that_leaves_is_noticed() {
    let server = Server::start();
    for (count, target) in (1..).zip(["/silent", "/stall?after=10", "/delay/60000"]) {
        let mut stream = connect(server.addr());
        stream.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        assert!(server.wait_for_requests(count, LONG));
        assert_eq!(server.in_flight(), 1, "{target}");
        drop(stream);
        assert!(server.wait_until(LONG, |server| server.in_flight() == 0), "{target}");
    }
    assert!(server.wait_until(LONG, |server| server.open_connections() == 0));
    assert!(server.seen().iter().all(|seen| matches!(seen.ending, Ending::Left(_))));
}

#[test]
fn a_client_that_stops_reading_an_endless_body() {
    let server = Server::start();
    let mut stream = connect(server.addr());
    stream.write_all(b"GET /endless HTTP/1.1\r\n\r\n").unwrap();
    stream.read_exact(&mut vec![0; 1 << 20]).unwrap();
    drop(stream);
    assert!(server.wait_until(LONG, |server| server.in_flight() == 0));
}

#[test]
fn flaky_routes_recover() {
    let server = Server::start();
    let mut stream = connect(server.addr());
    let mut statuses = |target: &str| [0; 4].map(|_| status(&get_on(&mut stream, target).0));
    assert_eq!(statuses("/flaky?fail=2"), [503, 503, 200, 200]);
    assert_eq!(statuses("/flaky?fail=1&status=500&key=a"), [500, 200, 200, 200]);
    assert_eq!(statuses("/retry-after/7?times=2"), [429, 429, 200, 200]);
    let (head, _) = get_on(&mut stream, "/retry-after/7?status=503");
    assert_eq!((status(&head), header(&head, "retry-after")), (503, Some("7")));
    let (head, _) = get_on(&mut stream, "/retry-after/7?date=1");
    assert!(header(&head, "retry-after").unwrap().ends_with(" GMT"), "{head}");
    assert_eq!(read_all(&server, "/flaky/close"), (Vec::new(), None));
    assert_eq!(read_all(&server, "/flaky/reset?k"), (Vec::new(), Some(ErrorKind::ConnectionReset)));
    assert_eq!(status(&get(server.addr(), "/flaky/reset?k").0), 200);
}

#[test]
fn pieces_add_up() {
    let server = Server::start();
    let whole = |target: &str| {
        let (head, body) = get(server.addr(), target);
        (status(&head), body.len())
    };
    for target in [
        "/bytes/100?deliver=bytes",
        "/bytes/100?deliver=split-30&gap_ms=2",
        "/drip?bytes=100&every_ms=1&each=30",
    ] {
        assert_eq!(whole(target), (200, 100), "{target}");
    }
    assert_eq!(whole("/bytes/100?deliver=never").0, 400);
    assert_eq!(whole("/bytes/100?delay_ms=soon").0, 400);
}

/// A client that is slow may get both pieces at once, so that it is asked more than once.
#[test]
fn a_split_is_two_reads() {
    let script = Script::new().expect_request().send("abcdef").split_at(2).gap(Duration::from_millis(100));
    let server = RawServer::start(script);
    let reads = || {
        let mut stream = connect(server.addr());
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut block = [0; 100];
        [0; 3].map(|_| stream.read(&mut block).unwrap())
    };
    assert!((0..20).any(|_| reads() == [2, 4, 0]));
}

#[test]
fn a_raw_connection_follows_its_script() {
    let server = RawServer::start_each([
        Script::new().send("hello").expect_head().send(" head").half_close().expect_request(),
        Script::new().repeat("ab", 3).close(),
    ]);
    let mut stream = connect(server.addr());
    stream.write_all(b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"hello head");
    stream.write_all(b"GET /b HTTP/1.1\r\n\r\n").unwrap();
    assert!(server.wait_for_requests(2, LONG));
    for _ in 0..2 {
        let mut answer = Vec::new();
        connect(server.addr()).read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"ababab");
    }
    let targets: Vec<_> = server.seen().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(targets, ["/a", "/b"]);
}

#[test]
fn bytes_that_are_no_request_are_refused() {
    let server = Server::start();
    let answer = client::exchange(server.addr(), b"\x16\x03\x01 what\r\n\r\n");
    assert_eq!(status(&split(&answer).0), 400);
    assert_eq!((server.malformed(), server.requests()), (1, 0));
}
