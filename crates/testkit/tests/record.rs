//! What the server says it saw.

mod client;

use std::io::{Read, Write};
use std::time::Duration;

use client::{connect, exchange, get, get_on, response};
use overlapped_testkit::{Script, Server};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_request_is_kept_as_it_came() {
    let server = Server::start();
    let head = "POST /echo?x=1 HTTP/1.1\r\nHost: Example.ORG:80\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
    exchange(server.addr(), format!("{head}a\0b").as_bytes());
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].head, head.as_bytes());
    assert_eq!((seen[0].body.as_ref(), seen[0].body_bytes), (b"a\0b".as_slice(), 3));
    assert_eq!(
        (seen[0].method.as_str(), seen[0].path(), seen[0].query("x").as_deref()),
        ("POST", "/echo", Some("1"))
    );
    assert_eq!(seen[0].all_headers("x-a").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((&*seen[0].host, seen[0].connection, seen[0].in_flight), ("example.org:80", 0, 1));
    assert_eq!(seen[0].local, server.addr());
    assert!(server.received("example.org") == server.received("EXAMPLE"), "a search is for exact bytes");
    assert!(server.received("Example.ORG") && server.received(b"a\0b".to_vec()));
}

#[test]
fn bodies_in_chunks_and_with_continue() {
    let server = Server::start();
    let mut stream = connect(server.addr());
    stream.write_all(b"PUT /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n").unwrap();
    response(&mut stream);
    stream.write_all(b"PUT /echo HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert!(response(&mut stream).0.starts_with("HTTP/1.1 100 "));
    stream.write_all(b"hi").unwrap();
    response(&mut stream);
    let bodies: Vec<_> = server.seen().iter().map(|seen| seen.body.clone()).collect();
    assert_eq!(bodies, [b"abcde".as_slice(), b"hi"]);
    assert_eq!(server.connections(), 1);
}

#[test]
fn counts_outlive_the_record() {
    let server = Server::builder().record_limit(3).start();
    let mut stream = connect(server.addr());
    for index in 0..10 {
        get_on(&mut stream, &format!("/row/{}", index % 4));
    }
    get_on(&mut stream, "/ok");
    assert_eq!((server.seen().len(), server.requests()), (3, 11));
    assert_eq!(
        (server.count("/row/"), server.count("/r"), server.count("/ok"), server.count("/")),
        (10, 10, 1, 11)
    );
    assert_eq!(server.row_hits(), [3, 3, 2, 2]);
    server.forget();
    assert_eq!((server.seen().len(), server.requests(), server.count("/row/1")), (0, 0, 0));
    get_on(&mut stream, "/row/1");
    assert_eq!((server.count("/row/1"), server.connections()), (1, 1));
}

#[test]
#[should_panic(expected = "raise the record_limit")]
fn a_count_that_nobody_can_know() {
    let server = Server::builder().record_limit(0).start();
    get(server.addr(), "/row/1");
    server.count("/row/1");
}

#[test]
fn concurrency_is_seen_as_a_whole_and_by_host() {
    let server = Server::builder().hosts(3).start();
    assert_eq!(server.addresses().len(), 3);
    let mut streams = Vec::new();
    for index in 0..9 {
        let address = server.addresses()[index % 3];
        let mut stream = connect(address);
        stream.write_all(format!("GET /delay/60000 HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
        streams.push(stream);
    }
    assert!(server.wait_for_requests(9, LONG));
    assert_eq!((server.in_flight(), server.max_in_flight(), server.open_connections()), (9, 9, 9));
    for address in server.addresses() {
        let host = server.host(&address.to_string());
        assert_eq!((host.requests, host.max_in_flight, host.arrivals.len()), (3, 3, 3));
    }
    assert_eq!(server.hosts().len(), 3);
    drop(streams);
    assert!(server.wait_until(LONG, |server| server.in_flight() == 0 && server.open_connections() == 0));
    assert_eq!((server.max_in_flight(), server.max_open_connections()), (9, 9));
}

/// A client that starts its next request as soon as it has an answer has never two in flight: not on another connection, not while the
/// server is still busy with the end of the first, and however the answer is delivered.
#[test]
fn a_polite_client_never_looks_greedy() {
    let server = Server::builder().route("/script", Script::response(200, &[], "x").close()).start();
    for round in 0..200 {
        let target = ["/ok", "/chunked/3000", "/text/100000", "/script", "/ok?deliver=bytes"][round % 5];
        let mut stream = connect(server.addr());
        stream.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        let expected: usize = match target {
            "/chunked/3000" => 3000 + 3 * 7 + 5,
            "/text/100000" => 100_000,
            "/script" => 1,
            _ => 3,
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.read_exact(&mut vec![0; expected]).unwrap();
    }
    assert_eq!((server.requests(), server.max_in_flight()), (200, 1));
}

#[test]
fn a_server_ends_with_its_connections() {
    let server = Server::start();
    let address = server.addr();
    let mut stream = connect(address);
    stream.write_all(b"GET /silent HTTP/1.1\r\n\r\n").unwrap();
    assert!(server.wait_for_requests(1, LONG));
    drop(server);
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).is_err() || rest.is_empty());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn many_connections_wait_at_once() {
    let server = Server::builder().connections(1000).start();
    let mut streams: Vec<_> = (0..1000).map(|_| connect(server.addr())).collect();
    for stream in &mut streams {
        stream.write_all(b"GET /delay/500 HTTP/1.1\r\n\r\n").unwrap();
    }
    for stream in &mut streams {
        assert_eq!(response(stream).1, b"delay 500\n");
    }
    assert_eq!((server.connections(), server.requests(), server.in_flight()), (1000, 1000, 0));
}

#[test]
fn a_host_refuses_more_than_it_can_bear() {
    let server = Server::start();
    let mut waiting = connect(server.addr());
    waiting.write_all(b"GET /capacity/1?ms=60000 HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    assert!(server.wait_for_requests(1, LONG));
    let mut stream = connect(server.addr());
    assert!(get_on(&mut stream, "/capacity/1").0.starts_with("HTTP/1.1 503 "));
    assert_eq!(get_on(&mut stream, "/capacity/2").1, b"served\n");
}

#[test]
fn the_record_is_open_to_other_languages() {
    let server = Server::start();
    let mut stream = connect(server.addr());
    get_on(&mut stream, "/ok");
    let (_, seen) = get_on(&mut stream, "/testkit/seen");
    let mut record = Vec::new();
    server.write_record(&mut record).unwrap();
    assert_eq!((seen.iter().filter(|byte| **byte == b'\n').count(), &seen), (1, &record));
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_server_can_start_and_end_inside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let server = Server::start();
        assert_eq!(get(server.addr(), "/ok").1, b"ok\n");
        let taken = Server::builder().port(server.addr().port()).try_start();
        assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    });
}
