//! Coded bodies that are costly to decode: deadlines hold, other rows go on, and reading stops at the limits.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use overlapped_fetch::{Config, Response, Timeouts};
use overlapped_proto::limits::{ENCODED_BYTES_MIN, READ_BYTES};
use overlapped_testkit::{Script, Server};
use support::{config, error, fetch, fetch_one};

/// What is taken of a body that gives nothing: the limit, and what is read at once.
const TAKEN_MAX: u64 = ENCODED_BYTES_MIN + 2 * READ_BYTES as u64;

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn head(codings: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Encoding: {codings}\r\nConnection: close\r\n\r\n")
}

/// `begin`, then 4 GiB of `block` again and again.
fn endless(codings: &str, begin: &[u8], block: &[u8]) -> Script {
    let block = block.repeat((64 << 10) / block.len());
    let times = (4 << 30) / block.len() as u64;
    Script::new().send(head(codings)).send(begin.to_vec()).repeat(block, times)
}

fn limited() -> Config {
    Config { response: Response { max_bytes: 1 << 20, ..Response::default() }, ..config() }
}

#[test]
fn streams_that_give_nothing_take_no_gigabytes_from_the_wire() {
    let header_with_a_name = [0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
    let cases = [
        ("/gzip-name", endless("gzip", &header_with_a_name, b"n")),
        ("/gzip-members", endless("gzip", b"", &gzip(b""))),
        // Stored blocks of no bytes.
        ("/gzip-blocks", endless("gzip", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], &[0, 0, 0, 0xff, 0xff])),
        ("/deflate-blocks", endless("deflate", &[0x78, 0x9c], &[0, 0, 0, 0xff, 0xff])),
        ("/zstd-frames", endless("zstd", b"", &zstd::encode_all(&[][..], 1).unwrap())),
        ("/zstd-skipped", endless("zstd", b"", &[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, b's', b's'])),
        // Empty metadata blocks: ISLAST 0, MNIBBLES 0, and a skip length of no bytes, up to the next whole byte.
        ("/br-blocks", endless("br", &[0x0c], &[0x06])),
    ];
    let server =
        cases.iter().fold(Server::builder(), |server, (path, script)| server.route(*path, script.clone()));
    let server = server.start();
    let fetched = fetch(limited(), cases.iter().map(|(path, _)| server.url(path)));
    for record in &fetched.records {
        assert!(["body.too_large", "decode.corrupt"].contains(&error(record)), "{record:?}");
        assert!(record.wire_bytes <= TAKEN_MAX, "{}: {} bytes", record.url, record.wire_bytes);
    }
    let too_large = fetched.errors().iter().filter(|error| **error == "body.too_large").count();
    assert!(too_large >= 6, "{:?}", fetched.errors());
}

#[test]
fn what_is_behind_the_end_of_the_data_is_not_read() {
    let behind = endless("gzip", &gzip(b"the body"), b"x");
    let server = Server::builder().route("/behind", behind).start();
    let record = fetch_one(limited(), server.url("/behind"));
    assert_eq!((error(&record), support::text(&record)), ("", "the body"));
    assert!(record.wire_bytes <= 2 * READ_BYTES as u64, "{} bytes", record.wire_bytes);
}

/// A few KB that another gzip inside turns into a lot of nothing: a name of 256 MiB.
fn quiet() -> Vec<u8> {
    let name = [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3][..], &[b'n'; 1 << 20]].concat();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&name).unwrap();
    (0..16).for_each(|_| encoder.write_all(&name[10..]).unwrap());
    gzip(&encoder.finish().unwrap())
}

#[test]
fn quiet_bodies_stop_neither_their_run_nor_its_other_rows() {
    let script = Script::response(200, &[("Content-Encoding", "gzip, gzip, gzip")], quiet());
    let server = Server::builder().route("/quiet", script).start();
    for body in [true, false] {
        let urls = (0..80).map(|row| server.url(if row % 2 == 0 { "/quiet" } else { "/gzip/1000" }));
        let response = Response { body, ..Response::default() };
        let fetched = fetch(Config { response, ..config() }, urls);
        for (row, record) in fetched.records.iter().enumerate() {
            assert_eq!(error(record), ["body.too_large", ""][row % 2]);
        }
    }
}

/// 4 GiB of zeros in 12 KB: without a limit of the size the deadline still holds.
#[test]
fn a_deadline_holds_while_a_decoder_is_busy() {
    let zeros = gzip(&vec![0; 1 << 20]);
    let bomb = gzip(&zeros.repeat(4_096));
    assert!(bomb.len() < 64 << 10, "{}", bomb.len());
    let script = Script::response(200, &[("Content-Encoding", "gzip, gzip")], bomb);
    let server = Server::builder().route("/busy", script).start();
    let response = Response { body: false, max_bytes: u64::MAX, ..Response::default() };
    let timeouts = Timeouts { total: Some(Duration::from_millis(500)), ..Timeouts::default() };
    let busy = Config { response, timeouts, shards: Some(1), ..config() };
    let fetched = fetch(busy, [server.url("/busy"), server.url("/busy"), server.url("/busy")]);
    assert_eq!(fetched.errors(), ["timeout.total"; 3]);
}

/// A decoder's window counts against the budget: here not even one fits, and each row is decoded all the same.
#[test]
fn decoders_wait_for_room_and_go_on() {
    let server = Server::start();
    let response = Response { memory_max: Some(1), ..Response::default() };
    let paths = (0..60).map(|row| format!("/{}/5000?{row}", ["zstd", "br", "gzip", "deflate"][row % 4]));
    let fetched = fetch(Config { response, ..config() }, paths.map(|path| server.url(&path)));
    assert_eq!(fetched.errors(), [""; 60]);
    // The window of the one that may read on, and what all others may hold before they wait.
    assert!(fetched.summary.body_bytes_peak < 24 << 20, "{}", fetched.summary.body_bytes_peak);
}
