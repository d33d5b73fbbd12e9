//! Lists that are compressed: read like others, in bounded memory; one that breaks off keeps the rows before.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io::{Cursor, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use overlapped_fetch::{Bulk, ErrorClass, Input, sink};
use overlapped_testkit::Server;
use support::{Scratch, config, run, wait};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(text, 1).unwrap()
}

fn list(server: &Server, rows: usize) -> String {
    (0..rows).map(|row| format!("{}\n", server.url(&format!("/row/{row}")))).collect()
}

#[test]
fn a_packed_list_is_read_like_a_plain_one() {
    let server = Server::start();
    let scratch = Scratch::new();
    let ndjson: String =
        (0..50).map(|row| format!("{{\"url\":\"{}\"}}\n", server.url(&format!("/row/{row}")))).collect();
    for (name, bytes) in [
        ("urls.txt.gz", gzip(list(&server, 50).as_bytes())),
        ("urls.ndjson.zst", zstd(ndjson.as_bytes())),
        ("urls.jsonl.gz", gzip(ndjson.as_bytes())),
        ("urls", zstd(list(&server, 50).as_bytes())),
    ] {
        let path = scratch.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let fetched = run(Bulk::new(config()).unwrap().input(Input::File(path)));
        fetched.assert_complete(50);
        assert_eq!(fetched.summary.progress.ok, 50, "{name}");
        // How far a run is, is told in bytes of the file.
        let (read, whole) = (fetched.summary.progress.input_bytes_read, bytes.len() as u64);
        assert_eq!((read, fetched.summary.progress.input_bytes), (whole, Some(whole)), "{name}");
        let fetched = run(Bulk::new(config()).unwrap().input(stream(bytes)));
        fetched.assert_complete(50);
    }
}

#[test]
fn a_list_that_is_cut_short_keeps_the_rows_before() {
    let server = Server::start();
    let text = list(&server, 2_000);
    for whole in [gzip(text.as_bytes()), zstd(text.as_bytes())] {
        let half = whole[..whole.len() - 1].to_vec();
        let (sink, collected) = sink::collect();
        let bulk = Bulk::new(config()).unwrap().input(stream(half.clone())).sink(sink);
        let error = wait(bulk.start().unwrap()).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Input);
        assert!(error.to_string().contains("cut short"), "{error}");
        let mut unpacked = Vec::new();
        let _ = overlapped_fetch::Unpack::new(Box::new(Cursor::new(half)), "").read_to_end(&mut unpacked);
        let rows: Vec<u64> = collected.take().iter().map(|record| record.row.0).collect();
        let expected = unpacked.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(rows, (0..expected).collect::<Vec<_>>(), "{error}");
    }
}

#[test]
fn a_bomb_is_read_a_block_at_a_time() {
    let server = Server::start();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..256 {
        encoder.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    encoder.write_all(format!("\n{}\n", server.url("/ok")).as_bytes()).unwrap();
    let fetched = run(Bulk::new(config()).unwrap().input(stream(encoder.finish().unwrap())));
    fetched.assert_complete(2);
    assert_eq!(fetched.errors(), ["input.too_long", ""]);
}

fn stream(bytes: Vec<u8>) -> Input {
    Input::Read(Box::new(Cursor::new(bytes)), "of the test".into())
}
