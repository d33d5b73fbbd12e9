//! Whole exchanges over sockets in memory and over real ones.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};

use overlapped_proto::http1::{Keep, Strictness};
use overlapped_proto::job::{Method, Row};
use overlapped_proto::origin::Scheme;
use overlapped_proto::request::RequestHead;
use overlapped_testkit::{Server, row_of};
use tokio::io::{AsyncWriteExt as _, copy_bidirectional, duplex};
use tokio::net::TcpStream;

use super::super::pipe::Pipe;
use super::*;
use crate::memory::Memory;
use crate::net::tls::{Alpn, Trust};
use crate::net::tls_failure::Identify;

fn connection<S: Socket>(stream: Stream<S>) -> Connection<S> {
    Connection::new(stream, None, Some((Ipv4Addr::LOCALHOST, 1).into()), Nanos::ZERO)
}

const STRICT: Reading = Reading { strictness: Strictness::Strict, keep: Keep { case: false, raw: false } };

/// One request with its response: the status and the body.
async fn exchange(
    connection: &mut impl Exchange,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Result<(u16, Vec<u8>), Failure> {
    let fields = [("accept", "*/*")].map(|(name, value)| (name.into(), value.into()));
    let head = RequestHead::new(method, Scheme::Http, "a.test", path, &fields[..], body.len() as u64)?;
    let mut request = Request { head, body: Bytes::copy_from_slice(body), upload: None };
    let mut share = Memory::new(None).share(Row(0));
    let mut sent = 0;
    let head = connection.send(&mut request, STRICT, &mut share, || sent += 1).await?;
    assert_eq!(sent, 1);
    let mut read = Vec::new();
    while let Some(frame) = connection.frame(limits::READ_BYTES).await? {
        read.extend_from_slice(&frame);
        connection.leave_block();
    }
    assert!(connection.body_bytes() >= read.len() as u64);
    Ok((head.status, read))
}

fn plain<S>(connection: &mut Connection<S>) -> &mut S {
    match &mut connection.stream {
        Stream::Plain(socket) => socket,
        Stream::Tls(_) => panic!("the stream has TLS"),
    }
}

/// All bytes at once, one by one, and in two pieces at every offset.
fn deliveries(response: &[u8]) -> Vec<VecDeque<Vec<u8>>> {
    let one_by_one = response.iter().map(|byte| vec![*byte]).collect();
    let split = |at| [&response[..at], &response[at..]].map(<[u8]>::to_vec);
    let splits = (1..response.len()).map(|at| split(at).into());
    [[response.to_vec()].into(), one_by_one].into_iter().chain(splits).collect()
}

const RESPONSES: [(&[u8], u16, &[u8]); 4] = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nrow 1", 200, b"row 1"),
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, b""),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nrow\r\n2\r\n 3\r\n0\r\nT: 1\r\n\r\n",
        200,
        b"row 3",
    ),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, b""),
];

#[tokio::test]
async fn an_exchange_is_the_same_however_its_bytes_are_split() {
    for (number, (response, status, body)) in RESPONSES.into_iter().enumerate() {
        for pieces in deliveries(response) {
            for takes in [1, 7, usize::MAX] {
                let shown = format!("{number}, {takes}, {pieces:?}");
                let mut connection = connection(Stream::Plain(Pipe { takes, ..Pipe::default() }));
                for path in ["/0", "/1"] {
                    let expected = format!(
                        "POST {path} HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\ncontent-length: 7\r\n\r\nto send"
                    );
                    let pipe = plain(&mut connection);
                    pipe.sent.clear();
                    (pipe.pieces, pipe.asks) = (pieces.clone(), expected.len());
                    let got = exchange(&mut connection, &Method::Post, path, b"to send").await;
                    assert_eq!(got, Ok((status, body.to_vec())), "{shown}");
                    assert_eq!(connection.after(), After::Reuse, "{shown}");
                    assert_eq!(String::from_utf8_lossy(&plain(&mut connection).sent), expected, "{shown}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_response_that_is_cut_off_is_a_failure_wherever_that_is() {
    for (response, ..) in RESPONSES {
        // Of an interim response, which is skipped, or of the only one.
        let head_bytes = response.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let is_interim = response.starts_with(b"HTTP/1.1 100");
        for at in 0..response.len() {
            let pieces = [response[..at].to_vec()].into_iter().filter(|piece| !piece.is_empty()).collect();
            let mut connection =
                connection(Stream::Plain(Pipe { pieces, takes: usize::MAX, ..Pipe::default() }));
            let got = exchange(&mut connection, &Method::Get, "/", b"").await;
            let expected = match at {
                0 => ErrorKind::HttpNoResponse,
                at if is_interim && at == head_bytes => ErrorKind::HttpNoResponse,
                at if !is_interim && at >= head_bytes => ErrorKind::BodyTruncated,
                _ => ErrorKind::HttpTruncated,
            };
            assert_eq!(got.map_err(|failure| failure.kind), Err(expected), "{at}");
            assert_eq!(connection.after(), After::Close);
        }
    }
}

/// What is left of the request would be read as the beginning of the next one.
#[tokio::test]
async fn a_response_before_the_request_is_sent_ends_the_connection() {
    let pieces = [RESPONSES[0].0.to_vec()].into();
    let mut connection = connection(Stream::Plain(Pipe { pieces, takes: 1, ..Pipe::default() }));
    let got = exchange(&mut connection, &Method::Post, "/", &[b'x'; 1_000]).await;
    assert_eq!((got, connection.after()), (Ok((200, b"row 1".to_vec())), After::Close));
}

#[tokio::test]
async fn bytes_behind_a_response_belong_to_no_other() {
    for (response, status, body) in RESPONSES {
        for (extra, expected) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], After::Unasked),
            (b"HTTP/1.1 408 Late\r\n", After::Close),
            (b"\r\n", After::Reuse),
        ] {
            let pieces = [[response, extra].concat()].into();
            let mut connection =
                connection(Stream::Plain(Pipe { pieces, takes: usize::MAX, ..Pipe::default() }));
            let got = exchange(&mut connection, &Method::Get, "/", b"").await;
            assert_eq!((got, connection.after()), (Ok((status, body.to_vec())), expected));
        }
    }
}

/// The pipe holds 64 bytes, so that every record of TLS is split.
#[tokio::test]
async fn tls_runs_over_a_stream_that_is_no_socket() {
    let server = Server::builder().tls().start();
    let trust = Trust::new(server.ca_pem().map(str::as_bytes), Vec::new(), None).unwrap();
    let (near, mut far) = duplex(64);
    let mut tcp = TcpStream::connect(server.addr()).await.unwrap();
    let asking = async {
        let tls = trust.handshake("localhost", near, Alpn::Http1, Identify::No).await.unwrap();
        let mut connection = connection(Stream::Tls(Box::new(tls)));
        for row in 0..3 {
            let got = exchange(&mut connection, &Method::Get, &format!("/row/{row}"), b"").await;
            assert_eq!(got, Ok((200, row_of(row))));
            assert_eq!((connection.after(), connection.proves_the_end()), (After::Reuse, true));
        }
    };
    tokio::select! {
        () = asking => {}
        ended = copy_bidirectional(&mut far, &mut tcp) => panic!("the relay has ended: {ended:?}"),
    }
    assert_eq!(server.connections(), 1);
}

/// A connection to a server in the same thread, which has given `answers` before their requests came, so that each was
/// read in one step.
async fn answered(answers: u32) -> (Connection<TcpStream>, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut connection = connection(Stream::Plain(tcp));
    let head = RequestHead::new(&Method::Get, Scheme::Http, "a.test", "/", &[], 0).unwrap();
    let mut request = Request { head, body: Bytes::new(), upload: None };
    for _ in 0..answers {
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        let mut share = Memory::new(None).share(Row(0));
        connection.send(&mut request, STRICT, &mut share, || ()).await.unwrap();
        assert_eq!(connection.take_arrived().unwrap(), "ok");
        assert_eq!((connection.after(), connection.glance()), (After::Reuse, Look::Quiet));
    }
    (connection, server)
}

fn wait_for(connection: &mut Connection<TcpStream>, expected: Look) {
    while connection.look() != expected {
        std::thread::yield_now();
    }
}

/// Without a system call in the step that has read the answer, but not for the first answers of a connection.
#[tokio::test]
async fn what_comes_unasked_is_seen_in_the_next_step() {
    let end = |server: &mut std::net::TcpStream| server.shutdown(std::net::Shutdown::Write).unwrap();
    for answers in [1, limits::LOOKS_MIN - 1, limits::LOOKS_MIN, 3 * limits::LOOKS_MIN] {
        let in_step = |expected| if answers < limits::LOOKS_MIN { expected } else { Look::Quiet };
        let (mut connection, mut server) = answered(answers).await;
        server.write_all(b"unasked").unwrap();
        wait_for(&mut connection, Look::Spoke);
        assert_eq!(connection.glance(), in_step(Look::Spoke), "after {answers}");
        begin_step();
        assert_eq!(connection.glance(), Look::Spoke, "after {answers}");

        let (mut connection, mut server) = answered(answers).await;
        end(&mut server);
        wait_for(&mut connection, Look::Ended);
        assert_eq!(connection.glance(), in_step(Look::Ended), "after {answers}");
        begin_step();
        assert_eq!(connection.glance(), Look::Ended, "after {answers}");
    }
}

#[tokio::test]
async fn what_the_runtime_was_told_of_is_looked_at_in_the_same_step() {
    let (mut connection, mut server) = answered(limits::LOOKS_MIN).await;
    server.write_all(b"unasked").unwrap();
    plain(&mut connection).readable().await.unwrap();
    assert_eq!(connection.glance(), Look::Spoke);
}

/// A second read of the shard, of whatever connection, is another step.
#[tokio::test]
async fn a_connection_that_was_read_before_another_is_looked_at() {
    let (mut connection, mut server) = answered(limits::LOOKS_MIN).await;
    server.write_all(b"unasked").unwrap();
    wait_for(&mut connection, Look::Spoke);
    let (near, mut far) = duplex(64);
    far.write_all(b"x").await.unwrap();
    let mut other = self::connection(Stream::Plain(near));
    other.stirred().await;
    assert_eq!(connection.glance(), Look::Spoke);
}
