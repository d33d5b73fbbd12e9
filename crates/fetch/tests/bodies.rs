//! Bodies of every size and coding: kept, spooled, cut, or refused; never more in memory than allowed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use overlapped_fetch::{Bulk, Config, Input, Pace, Request, Response, Sink, sink};
use overlapped_proto::filename::Template;
use overlapped_proto::record::{Body, Record};
use overlapped_testkit::{Script, Server, bytes_of, text_of};
use support::{Scratch, body, config, error, fetch, fetch_one, header, retrying, run};

#[test]
fn sizes() {
    let server = Server::start();
    for size in [0, 1, 255, 8_191, 8_192, 65_536, 1 << 20, (5 << 20) + 7] {
        for route in ["bytes", "text", "chunked"] {
            let target = format!("/{route}/{size}");
            let record = fetch_one(config(), server.url(&target));
            let expected = if route == "bytes" { bytes_of(&target, size) } else { text_of(&target, size) };
            assert_eq!((error(&record), record.bytes, record.wire_bytes), ("", size as u64, size as u64));
            assert!(body(&record) == expected, "{target} is not the body that was sent");
        }
    }
}

#[test]
fn every_coding_is_undone() {
    let server = Server::start();
    for coding in ["gzip", "deflate", "raw-deflate", "br", "zstd"] {
        for size in [0, 1, 1_000, 300_000] {
            for how in ["", "?deliver=split-20"] {
                let target = format!("/{coding}/{size}{how}");
                let record = fetch_one(config(), server.url(&target));
                assert_eq!((error(&record), record.bytes), ("", size as u64), "{target}");
                assert!(body(&record) == text_of(&target, size), "{target}");
                assert!(
                    record.wire_bytes > 0 && (size < 1_000 || record.wire_bytes < size as u64),
                    "{target}"
                );
            }
        }
    }
}

#[test]
fn a_coded_body_in_single_bytes_is_the_same() {
    let server = Server::start();
    for coding in ["gzip", "deflate", "raw-deflate", "br", "zstd"] {
        let target = format!("/{coding}/300?deliver=bytes");
        let record = fetch_one(config(), server.url(&target));
        assert_eq!((error(&record), body(&record)), ("", &text_of(&target, 300)[..]), "{target}");
    }
}

#[test]
fn damage_is_found_and_named() {
    let server = Server::start();
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let target = format!("/{coding}/50000?damage=truncated");
        let record = fetch_one(config(), server.url(&target));
        assert_eq!((error(&record), record.status), ("decode.corrupt", Some(200)), "{target}");
        assert_eq!(record.body, Body::None, "{target}");
    }
    // Only these have a checksum at their end.
    for coding in ["gzip", "deflate"] {
        let target = format!("/{coding}/50000?damage=tail");
        assert_eq!(error(&fetch_one(config(), server.url(&target))), "decode.corrupt", "{target}");
    }
    for coding in ["gzip", "zstd"] {
        let target = format!("/{coding}/50000?damage=plain");
        assert_eq!(error(&fetch_one(config(), server.url(&target))), "decode.corrupt", "{target}");
        let target = format!("/{coding}/50000?damage=members");
        let record = fetch_one(config(), server.url(&target));
        assert!(error(&record).is_empty() && body(&record) == text_of(&target, 50_000), "{target}");
    }
    let target = "/gzip/50000?damage=garbage";
    let record = fetch_one(config(), server.url(target));
    assert!(
        error(&record).is_empty() && body(&record) == text_of(target, 50_000),
        "garbage behind is passed over"
    );
}

#[test]
fn codings_are_limited() {
    let server = Server::start();
    let check = |target: &str, expected: &str| {
        assert_eq!(error(&fetch_one(config(), server.url(target))), expected, "{target}");
    };
    check("/gzip/10?as=gzip,gzip,gzip,gzip,gzip,gzip", "decode.chain");
    check("/zstd/5000?window_log=23", "");
    check("/zstd/5000?window_log=24", "decode.window");
    check("/zstd/5000?window_log=31", "decode.window");
}

/// The bytes of a range are those of the encoded body, from anywhere within it.
#[test]
fn a_part_of_an_encoded_body_is_kept_as_it_came() {
    let part =
        Script::response(206, &[("Content-Encoding", "gzip"), ("Content-Range", "bytes 5-8/99")], "part");
    let server = Server::builder().route("/part", part).start();
    let record = fetch_one(config(), server.url("/part"));
    assert_eq!((error(&record), body(&record), record.wire_bytes), ("", &b"part"[..], 4));
}

#[test]
fn an_unknown_coding_is_kept_as_it_came() {
    let server = Server::start();
    let record = fetch_one(config(), server.url("/gzip/1000?as=klingon"));
    assert_eq!((error(&record), record.bytes), ("", record.wire_bytes));
    assert_eq!(&body(&record)[..2], b"\x1f\x8b");
    assert_eq!(header(&record, "content-encoding"), Some("klingon"));
}

#[test]
fn nothing_is_decoded_where_nothing_was_asked_for() {
    let server = Server::start();
    let request = Request { compressed: false, ..Request::default() };
    let record = fetch_one(Config { request, ..config() }, server.url("/gzip/1000"));
    assert_eq!(&body(&record)[..2], b"\x1f\x8b");
    assert_eq!(server.seen()[0].header("accept-encoding"), None);
}

#[test]
fn a_bomb_is_refused_at_the_limit() {
    let server = Server::start();
    let check = |kind: &str, max_bytes: u64, limit: u64| {
        let response = Response { max_bytes, ..Response::default() };
        let url = server.url(&format!("/bomb/{kind}/1099511627776"));
        let record = fetch_one(Config { response, ..config() }, url);
        assert_eq!((error(&record), record.truncated), ("body.too_large", Some(true)), "{kind}");
        assert!(record.bytes <= limit + (64 << 10), "{kind}: {} bytes", record.bytes);
        assert_eq!(record.body, Body::None);
    };
    for kind in ["gzip", "deflate", "raw-deflate", "br", "zstd"] {
        check(kind, 4 << 20, 4 << 20);
    }
}

#[test]
fn a_body_is_cut_at_the_callers_limit() {
    let server = Server::start();
    let response = Response { max_bytes: 1_000, ..Response::default() };
    let paths = ["/text/1000", "/text/1001", "/gzip/1000", "/gzip/1001", "/endless", "/bomb/br/1000000000"];
    let fetched = fetch(Config { response, ..config() }, paths.map(|path| server.url(path)));
    let large = "body.too_large";
    assert_eq!(fetched.errors(), ["", large, "", large, large, large]);
}

/// Remembers which bodies came in files, and what was in them.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Option<Vec<u8>>>>>);

impl Sink for Seen {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        let file = match &record.body {
            Body::File(path) => Some(std::fs::read(path)?),
            Body::None | Body::Inline(_) | Body::Spooled(_) => None,
        };
        self.0.lock().unwrap().push(file);
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn spooling(scratch: &Scratch) -> Response {
    Response { spool: Some(scratch.path().to_owned()), ..Response::default() }
}

#[test]
fn large_bodies_are_spooled_and_small_ones_are_not() {
    let (server, scratch) = (Server::start(), Scratch::new());
    let targets = ["/text/1000", "/bytes/3000000", "/gzip/3000000"];
    let seen = Seen::default();
    let urls = targets.map(|target| server.url(target));
    let bulk = Bulk::new(Config { response: spooling(&scratch), ..config() }).unwrap();
    let bulk = bulk.input(Input::Urls(Box::new(urls.into_iter()))).sink(Box::new(seen.clone()));
    run(bulk).assert_complete(3);
    let seen = seen.0.lock().unwrap();
    assert_eq!(seen[0], None);
    assert!(seen[1].as_deref() == Some(&bytes_of(targets[1], 3_000_000)));
    assert!(seen[2].as_deref() == Some(&text_of(targets[2], 3_000_000)));
    assert_eq!(scratch.files(), [""; 0], "what no sink has taken is removed");
}

#[test]
fn a_spooled_body_that_fails_leaves_no_file() {
    let (server, scratch) = (Server::start(), Scratch::new());
    let response = Response { max_bytes: 2_000_000, ..spooling(&scratch) };
    let paths = [
        "/truncate?length=1000000&sent=900000",
        "/reset?length=1000000&at=900000",
        "/bomb/gzip/3000000",
        "/gzip/1000000?damage=tail",
    ];
    let fetched = fetch(Config { response, ..config() }, paths.map(|path| server.url(path)));
    assert_eq!(fetched.errors(), ["body.truncated", "body.reset", "body.too_large", "decode.corrupt"]);
    assert_eq!(scratch.files(), [""; 0]);
}

#[test]
fn a_spooled_body_of_an_attempt_that_is_repeated_leaves_no_file() {
    let scratch = Scratch::new();
    let failure = Script::response(503, &[], vec![b'x'; 1 << 20]);
    let server = Server::builder().route("/busy", failure).start();
    let pace = Pace { max_host_errors: 0, ..Pace::default() };
    let config = Config { response: spooling(&scratch), pace, ..retrying(2) };
    let record = fetch_one(config, server.url("/busy"));
    assert_eq!((error(&record), record.attempts), ("status", 3));
    assert_eq!(scratch.files(), [""; 0]);
}

#[test]
fn a_spooled_body_with_the_wrong_hash_leaves_no_file() {
    let (server, scratch) = (Server::start(), Scratch::new());
    let list = format!(r#"{{"url":"{}","sha256":"{}"}}"#, server.url("/bytes/1000000"), "0".repeat(64));
    let config = Config { response: spooling(&scratch), ..config() };
    let fetched = support::fetch_list(config, overlapped_proto::input::Format::Ndjson, list, 1);
    assert_eq!(fetched.errors(), ["body.hash_mismatch"]);
    assert_eq!(scratch.files(), [""; 0]);
}

#[test]
fn a_spooled_body_that_no_sink_takes_any_more_leaves_no_file() {
    struct Full;
    impl Sink for Full {
        fn accept(&mut self, _: &mut Record) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn commit(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (server, scratch) = (Server::start(), Scratch::new());
    let urls: Vec<_> = (0..20).map(|row| server.url(&format!("/bytes/1000000?{row}"))).collect();
    let bulk = Bulk::new(Config { response: spooling(&scratch), ..config() }).unwrap();
    let run = bulk.input(Input::Urls(Box::new(urls.into_iter()))).sink(Box::new(Full)).start().unwrap();
    support::wait(run).unwrap_err();
    assert!(server.wait_until(support::LONG, |_| scratch.files().is_empty()), "{:?}", scratch.files());
}

#[test]
fn two_runs_in_one_directory_do_not_meet() {
    let (server, scratch) = (Server::start(), Scratch::new());
    let start = || {
        let urls: Vec<_> = (0..20).map(|row| server.url(&format!("/bytes/1000000?{row}"))).collect();
        let files =
            sink::Files::open(scratch.path().to_owned(), Template::default(), sink::Existing::Keep).unwrap();
        let bulk = Bulk::new(Config { response: spooling(&scratch), ..config() }).unwrap();
        bulk.input(Input::Urls(Box::new(urls.into_iter()))).sink(Box::new(files)).start().unwrap()
    };
    let (one, two) = (start(), start());
    for run in [one, two] {
        let summary = support::wait(run).unwrap();
        assert_eq!((summary.progress.ok, summary.by_error.len()), (20, 0), "{:?}", summary.by_error);
    }
    assert_eq!(scratch.files().len(), 40);
}

/// In a container every run has the same process number.
#[test]
fn leftovers_of_a_run_that_was_killed_are_not_in_the_way() {
    let (server, scratch) = (Server::start(), Scratch::new());
    let leftover = format!(".overlapped-{}-0-1.part", std::process::id());
    std::fs::write(scratch.path().join(&leftover), "half a bo").unwrap();
    let record = fetch_one(Config { response: spooling(&scratch), ..config() }, server.url("/bytes/1000000"));
    assert_eq!((error(&record), record.bytes), ("", 1_000_000));
}

/// A coded body with any bytes changed is decoded to something or refused; it is never a defect of ours.
#[test]
fn damaged_codes_are_never_a_defect() {
    use std::io::Write;
    let plain = text_of("/plain", 3_000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    let server = Server::builder()
        .handler("/damaged/", move |request| {
            let mut parts = request.path().split('/').skip(2);
            let coding = parts.next().unwrap();
            let seed: usize = parts.next().unwrap().parse().unwrap();
            let mut bytes = if coding == "zstd" { zstd.clone() } else { gzip.clone() };
            let at = seed.wrapping_mul(7_919) % bytes.len();
            bytes[at] ^= 1 << (seed % 8);
            Script::response(200, &[("Content-Encoding", coding)], bytes)
        })
        .start();
    let each = |coding: &'static str| (0..250).map(move |seed| format!("/damaged/{coding}/{seed}"));
    let urls = ["gzip", "deflate", "br", "zstd"].into_iter().flat_map(each).map(|path| server.url(&path));
    let fetched = fetch(config(), urls.collect::<Vec<_>>());
    assert!(!fetched.errors().contains(&"internal"), "{:?}", fetched.summary.by_error);
    // What gzip's checksum does not see is not the body.
    for record in &fetched.records[..250] {
        assert!(!record.ok || body(record) == plain, "{}", record.url);
    }
}

/// What a row that asks for a range gets for this response.
fn part(range: &str, status: u16, fields: &[(&str, &str)], text: &str) -> Record {
    let server = Server::builder().route("/part", Script::response(status, fields, text.to_owned())).start();
    let headers = vec![("Range".to_owned(), range.to_owned())];
    let request = Request { headers, ..Request::default() };
    fetch_one(Config { request, ..config() }, server.url("/part"))
}

#[test]
fn a_part_that_was_not_asked_for_fails_its_row() {
    for (content_range, text, expected) in [
        ("bytes 0-4/200", "right", ""),
        ("bytes 100-104/200", "wrong", "body.range_mismatch"),
        ("bytes 0-9/200", "0123456789", "body.range_mismatch"),
        ("bytes 0-4/200", "longer than that", "body.range_mismatch"),
        ("bytes 4-0/2", "right", "body.range_mismatch"),
    ] {
        let record = part("bytes=0-4", 206, &[("Content-Range", content_range)], text);
        assert_eq!((error(&record), record.status), (expected, Some(206)), "{content_range}");
        assert_eq!(record.body.inline().is_some(), expected.is_empty(), "{content_range}");
    }
    // Its length is only in its range: the connection says where it ends.
    for (text, expected) in [("rig", "body.truncated"), ("right", ""), ("righter", "body.range_mismatch")] {
        let head = "HTTP/1.1 206 x\r\nContent-Range: bytes 0-4/200\r\nConnection: close\r\n\r\n";
        let script = Script::new().send([head.as_bytes(), text.as_bytes()].concat()).close();
        let server = Server::builder().route("/part", script).start();
        let headers = vec![("Range".to_owned(), "bytes=0-4".to_owned())];
        let request = Request { headers, ..Request::default() };
        let record = fetch_one(Config { request, ..config() }, server.url("/part"));
        assert_eq!(error(&record), expected, "{text}");
    }
    let untold = part("bytes=0-4", 206, &[], "untold");
    assert_eq!(error(&untold), "body.range_mismatch");
    let whole = part("bytes=0-4", 200, &[], "0123456789");
    assert_eq!((error(&whole), body(&whole)), ("", &b"0123456789"[..]));
}

#[test]
fn several_ranges_are_kept_as_they_come() {
    let fields = [("Content-Type", "multipart/byteranges; boundary=x")];
    let record = part("bytes=0-4,7-9", 206, &fields, "--x--");
    assert_eq!((error(&record), body(&record)), ("", &b"--x--"[..]));
    assert_eq!(record.notes.iter().map(|note| note.name()).collect::<Vec<_>>(), ["multipart-ranges"]);
    assert_eq!(error(&part("bytes=0-4", 206, &fields, "--x--")), "body.range_mismatch");
}

#[test]
fn a_range_behind_the_end_is_told_with_the_length() {
    let record = part("bytes=500-", 416, &[("Content-Range", "bytes */200")], "");
    let failure = record.failure.unwrap();
    assert_eq!(&*failure.message, "416 Range Not Satisfiable: the body has 200 bytes");
}
