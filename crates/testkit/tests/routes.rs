//! The built-in routes, byte for byte.

mod client;

use client::{connect, exchange, get, get_on, header, status};
use overlapped_testkit::{Server, bytes_of, row_of, text_of};

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
