//! HTTP/2 with servers that violate it, frame by frame: what ends is told, nothing grows, and no other row is harmed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overlapped_fetch::record::{Method, Record};
use overlapped_fetch::{Bulk, Config, Http, Input, Network, Pace, Request, Response, Row, Timeouts};
use overlapped_testkit::frames::{
    END_HEADERS, END_STREAM, Frames, block, frame, goaway, head, kind, settings,
};
use overlapped_testkit::{Http2, Http2Rules, Http2Server, RawServer, Reply, Script, Server, row_of};
use support::{body, config, error, fetch, fetch_one, header, one_by_one, retrying, run};

fn known(config: Config) -> Config {
    Config { network: Network { http: Http::Http2, ..config.network }, ..config }
}

/// A server whose connections are all played by this function, from the first request on.
fn play(
    script: impl Fn(&mut Frames, u32) -> std::io::Result<()> + Clone + Send + Sync + 'static,
) -> Http2Server {
    Http2Server::start(move |_| {
        let script = script.clone();
        Http2::Frames(Box::new(move |mut frames| {
            if let Ok(streams) = frames.begin(1) {
                // An error: the client has closed the connection, as it should.
                let _ = frames.send(&settings(&[])).and_then(|()| script(&mut frames, streams[0]));
                frames.rest();
            }
        }))
    })
}

/// What one row gets of such a server, without retries.
fn outcome(
    script: impl Fn(&mut Frames, u32) -> std::io::Result<()> + Clone + Send + Sync + 'static,
) -> Record {
    let server = play(script);
    let timeouts = Timeouts { total: Some(Duration::from_secs(10)), ..Timeouts::default() };
    let record = fetch_one(Config { timeouts, ..known(config()) }, server.url("/"));
    assert_eq!(server.connections(), 1);
    record
}

fn check(
    expected: &str,
    script: impl Fn(&mut Frames, u32) -> std::io::Result<()> + Clone + Send + Sync + 'static,
) {
    let record = outcome(script);
    assert_eq!(error(&record), expected, "{:?}", record.failure);
}

#[test]
fn streams_above_the_last_of_goaway_are_sent_again_and_those_below_go_on() {
    for method in [Method::Get, Method::Post] {
        let server = Http2Server::start(|number| match number {
            0 => Http2::Frames(Box::new(|mut frames| {
                let streams = frames.begin(4).unwrap();
                assert_eq!(streams, [1, 3, 5, 7]);
                frames.send(&settings(&[])).unwrap();
                // The second one is not answered before the first two are known to be the last.
                frames.send(&head(1, 200, &[("x-from", "first")], false)).unwrap();
                frames.send(&goaway(3, 0)).unwrap();
                frames.send(&frame(kind::DATA, END_STREAM, 1, b"first")).unwrap();
                frames.send(&head(3, 200, &[], false)).unwrap();
                frames.send(&frame(kind::DATA, END_STREAM, 3, b"second")).unwrap();
                frames.rest();
            })),
            _ => Http2::Rules(Http2Rules::new(|asked| Reply::ok(asked.path.clone()))),
        });
        let pace = Pace { parallel_max: 4, ..Pace::default() };
        let request = Request { method, body: Some("x".into()), ..Request::default() };
        let config = Config { pace, shards: Some(1), request, ..known(config()) };
        let fetched = fetch(config, (0..4).map(|row| server.url(&format!("/{row}"))));
        let bodies: Vec<_> = fetched.records.iter().map(body).collect();
        assert_eq!(bodies, [&b"first"[..], b"second", b"/2", b"/3"]);
        assert_eq!((server.connections(), server.seen().len()), (2, 2));
    }
}

#[test]
fn a_connection_that_ends_without_goaway_is_opened_again_for_idempotent_requests_only() {
    for (method, expected) in [(Method::Get, ""), (Method::Post, "http.no_response")] {
        let server = Http2Server::start(|number| match number {
            0 => Http2::Frames(Box::new(|mut frames| {
                frames.begin(1).unwrap();
                frames.send(&settings(&[])).unwrap();
                frames.send(&head(1, 204, &[], true)).unwrap();
                // It reads the second request and closes the connection.
                let _ = frames.requests(1);
            })),
            _ => Http2::Rules(Http2Rules::new(|asked| Reply::ok(asked.path.clone()))),
        });
        let request = Request { method, ..Request::default() };
        let fetched = fetch(
            Config { request, ..known(one_by_one()) },
            (0..2).map(|row| server.url(&format!("/{row}"))),
        );
        assert_eq!(fetched.errors(), ["", expected]);
    }
}

#[test]
fn a_setting_lowered_in_the_middle_sends_further_requests_elsewhere() {
    let server = Http2Server::start(|number| match number {
        0 => Http2::Frames(Box::new(|mut frames| {
            frames.begin(1).unwrap();
            frames.send(&settings(&[(3, 100)])).unwrap();
            frames.send(&[settings(&[(3, 0), (4, 10)]), head(1, 204, &[], true)].concat()).unwrap();
            frames.rest();
        })),
        _ => Http2::Rules(Http2Rules::new(|asked| Reply::ok(asked.path.clone()))),
    });
    let fetched = fetch(known(one_by_one()), (0..3).map(|row| server.url(&format!("/{row}"))));
    assert_eq!(fetched.errors(), ["", "", ""]);
    assert_eq!((body(&fetched.records[1]), server.connections()), (&b"/1"[..], 2));
}

#[test]
fn a_server_must_begin_with_settings() {
    for first in [head(1, 200, &[], true), frame(kind::PING, 0, 0, &[0; 8]), b"SSH-2.0-x\r\n".to_vec()] {
        let server = Http2Server::start(move |_| {
            let first = first.clone();
            Http2::Frames(Box::new(move |mut frames| {
                let _ = frames.begin(1).and_then(|_| frames.send(&first));
                frames.rest();
            }))
        });
        let record = fetch_one(known(config()), server.url("/"));
        assert_eq!(error(&record), "h2.protocol", "{:?}", record.failure);
    }
}

#[test]
fn a_server_of_http1_is_told_by_its_first_bytes() {
    let server = Http2Server::start(|_| {
        Http2::Frames(Box::new(|mut frames| {
            let _ = frames.begin(1);
            let _ = frames.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            frames.rest();
        }))
    });
    let record = fetch_one(known(config()), server.url("/"));
    assert_eq!(error(&record), "h2.protocol");
    assert!(record.failure.unwrap().message.contains("speaks HTTP/1"));
    assert_eq!(server.connections(), 1, "by prior knowledge nothing else is tried");
}

#[test]
fn a_server_that_chooses_http2_and_speaks_http1_gets_http1() {
    let server = Server::builder().tls().alpn(&["h2", "http/1.1"]).start();
    let network = Network { ca_pem: server.ca_pem().map(Into::into), ..Network::default() };
    let fetched =
        fetch(Config { network, ..config() }, (0..30).map(|row| server.url(&format!("/row/{row}"))));
    for record in &fetched.records {
        assert_eq!(error(record), "", "{:?}", record.failure);
        assert_eq!(body(record), row_of(record.row.0));
        let notes: Vec<_> = record.notes.iter().map(|note| note.name()).collect();
        assert_eq!(notes, ["http2-left"]);
    }
    assert_eq!(server.row_hits()[..30], [1; 30]);
}

#[test]
fn a_server_that_speaks_http2_unasked_is_no_server_of_http1() {
    let server = RawServer::start(Script::new().expect_request().send(settings(&[(3, 100)])).silence());
    let record = fetch_one(config(), server.url("/"));
    assert_eq!(error(&record), "http.parse");
}

#[test]
fn heads_that_never_end_or_are_too_large_are_refused() {
    check("h2.limit", |frames, stream| {
        frames.send(&frame(kind::HEADERS, END_STREAM, stream, &block(200, &[])))?;
        (0..100_000).try_for_each(|_| frames.send(&frame(kind::CONTINUATION, 0, stream, &[])))
    });
    let value = "x".repeat(10_000);
    let long = |fields: usize| {
        let fields = vec![("x-long", &*value); fields];
        let block = block(200, &fields);
        move |frames: &mut Frames, stream: u32| {
            let mut parts = block.chunks(16 << 10).peekable();
            let mut kind = kind::HEADERS;
            while let Some(part) = parts.next() {
                let end = if parts.peek().is_none() { END_HEADERS } else { 0 };
                let end_stream = if kind == kind::HEADERS { END_STREAM } else { 0 };
                frames.send(&frame(kind, end | end_stream, stream, part))?;
                kind = kind::CONTINUATION;
            }
            Ok(())
        }
    };
    check("", long(20));
    check("h2.protocol", long(30));
    check("h2.limit", long(200));
    let many = vec![("a", "b"); 1_001];
    let many = block(200, &many);
    check("http.limit", move |frames, stream| {
        frames.send(&frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, &many))
    });
}

#[test]
fn frames_that_lead_nowhere_end_the_connection() {
    let floods = [
        frame(kind::PING, 0, 0, &[7; 8]),
        settings(&[(3, 100)]),
        frame(kind::DATA, 0, 1, &[]),
        frame(0xee, 0, 0, &[0; 1_000]),
        frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
    ];
    for flood in floods {
        let kind = flood[3];
        let many = flood.repeat(1_000);
        let record = outcome(move |frames, stream| {
            frames.send(&head(stream, 200, &[], false))?;
            (0..100).try_for_each(|_| frames.send(&many))
        });
        let expected = ["h2.limit", "h2.protocol"];
        assert!(expected.contains(&error(&record)), "frames of kind {kind}: {:?}", record.failure);
    }
}

#[test]
fn frames_that_are_wrong_end_the_connection() {
    let wrong: [(&str, Vec<u8>); 9] = [
        ("PUSH_PROMISE", frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x88])),
        ("DATA on stream 0", frame(kind::DATA, 0, 0, b"x")),
        ("HEADERS on an idle stream", head(9, 200, &[], true)),
        ("DATA on an idle stream", frame(kind::DATA, 0, 9, b"x")),
        ("a window that overflows", frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("padding longer than the frame", frame(kind::DATA, 8, 1, &[200, 1, 2])),
        ("a frame that is too long", frame(kind::DATA, 0, 1, &[0; 17 << 10])),
        ("a broken header block", frame(kind::HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff])),
        ("CONTINUATION alone", frame(kind::CONTINUATION, END_HEADERS, 1, &[])),
    ];
    for (what, bytes) in wrong {
        let record = outcome(move |frames, _| frames.send(&bytes));
        assert_eq!(error(&record), "h2.protocol", "{what}: {:?}", record.failure);
    }
}

#[test]
fn heads_that_are_wrong_fail_their_row() {
    let wrong: [(&str, Vec<u8>); 4] = [
        ("a name in capitals", block(200, &[("X-Upper", "1")])),
        ("a field of a connection", block(200, &[("connection", "close")])),
        ("a status that is none", {
            let mut block = block(200, &[]);
            block[10..].copy_from_slice(b"2x0");
            block
        }),
        ("no status", block(200, &[])[13..].to_vec()),
    ];
    for (what, block) in wrong {
        let record = outcome(move |frames, stream| {
            frames.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block))
        });
        assert_eq!(error(&record), "h2.protocol", "{what}: {:?}", record.failure);
    }
}

#[test]
fn a_body_where_there_can_be_none_is_refused() {
    check("body.framing", |frames, stream| {
        frames.send(&head(stream, 204, &[], false))?;
        frames.send(&frame(kind::DATA, END_STREAM, stream, b"hello"))
    });
}

#[test]
fn a_body_that_stalls_ends_at_its_deadline() {
    let server = play(|frames, stream| {
        frames.send(&head(stream, 200, &[], false))?;
        frames.send(&frame(kind::DATA, 0, stream, b"hello"))
    });
    let timeouts = Timeouts { total: Some(Duration::from_millis(300)), ..Timeouts::default() };
    let record = fetch_one(Config { timeouts, ..known(config()) }, server.url("/"));
    assert_eq!((error(&record), record.truncated), ("timeout.total", Some(true)));
}

#[test]
fn a_connection_that_breaks_inside_a_body_truncates_it() {
    let server = Http2Server::start(|_| {
        Http2::Frames(Box::new(|mut frames| {
            let streams = frames.begin(1).unwrap();
            frames.send(&settings(&[])).unwrap();
            frames.send(&head(streams[0], 200, &[("content-length", "10")], false)).unwrap();
            frames.send(&frame(kind::DATA, 0, streams[0], b"hello")).unwrap();
        }))
    });
    let record = fetch_one(known(config()), server.url("/"));
    assert!(["body.truncated", "body.reset"].contains(&error(&record)), "{:?}", record.failure);
    assert_eq!(record.truncated, Some(true));
}

#[test]
fn goaway_on_every_connection_costs_a_bounded_number_of_them() {
    let server = Http2Server::start(|_| {
        Http2::Frames(Box::new(|mut frames| {
            let _ = frames.begin(1).and_then(|_| frames.send(&[settings(&[]), goaway(0, 0)].concat()));
            frames.rest();
        }))
    });
    let record = fetch_one(known(retrying(1)), server.url("/"));
    assert_eq!((error(&record), record.attempts), ("h2.refused", 2));
    assert_eq!(server.connections(), 6, "three times for each attempt");
}

#[test]
fn a_broken_connection_costs_the_rows_that_share_it_nothing() {
    // What ends the connection belongs to no row; on later connections all goes well.
    let server = Http2Server::start(|number| match number {
        0 => Http2::Frames(Box::new(|mut frames| {
            let _ = frames.begin(8);
            let _ = frames.send(&[settings(&[]), frame(kind::DATA, 0, 0, b"x")].concat());
            frames.rest();
        })),
        _ => Http2::Rules(Http2Rules::new(|asked| {
            let row = asked.path.trim_start_matches("/row/").parse().unwrap();
            Reply::ok(row_of(row))
        })),
    });
    let pace = Pace { parallel_max: 8, ..Pace::default() };
    let fetched = fetch(
        Config { pace, shards: Some(1), ..known(config()) },
        (0..8).map(|row| server.url(&format!("/row/{row}"))),
    );
    for record in &fetched.records {
        assert_eq!((error(record), record.attempts), ("", 1), "{:?}", record.failure);
        assert_eq!(body(record), row_of(record.row.0));
    }
    assert_eq!(server.connections(), 2);
}

/// One row in fifty gets a head of more than a MiB, which ends a connection of HTTP/2; the others their number in a header.
fn poisoned() -> Http2Rules {
    Http2Rules::new(|asked| {
        let row: u64 = asked.path.trim_start_matches("/row/").parse().unwrap();
        let fields = if row % 50 == 7 {
            vec![("x-long", "x".repeat(10_000)); 120]
        } else {
            vec![("x-row", row.to_string())]
        };
        Reply::Response(200, fields, Vec::new(), Vec::new())
    })
}

/// Fetches rows of such a server without retries: exactly the poisoned ones fail, as is expected of them.
fn fetch_poisoned(config: Config, server: &Http2Server, rows: u64, expected: &str) {
    let fetched = fetch(config, (0..rows).map(|row| server.url(&format!("/row/{row}"))));
    for record in &fetched.records {
        let row = record.row.0;
        let (wanted, number) = if row % 50 == 7 { (expected, None) } else { ("", Some(row.to_string())) };
        assert_eq!(error(record), wanted, "row {row}: {:?}", record.failure);
        assert_eq!(header(record, "x-row"), number.as_deref());
        assert_eq!(record.attempts, 1);
    }
}

#[test]
fn responses_that_end_their_connections_fail_no_other_row() {
    let server = Http2Server::start(|_| Http2::Rules(poisoned()));
    fetch_poisoned(known(config()), &server, 1_000, "h2.limit");
    // Three times at most for each row.
    let asked = server.seen().len();
    assert!(asked <= 3 * 1_000, "{asked} requests");
}

#[test]
fn an_origin_that_ends_its_connections_of_http2_gets_http1() {
    let server = Http2Server::start_tls(&["h2", "http/1.1"], |_| Http2::Rules(poisoned()));
    let network = Network { ca_pem: server.ca_pem().map(Into::into), ..Network::default() };
    fetch_poisoned(Config { network, ..config() }, &server, 200, "http.limit");
}

#[test]
fn an_origin_that_speaks_http2_only_and_ends_its_connections_gets_one_for_each_request() {
    let server = Http2Server::start_tls(&["h2"], |_| Http2::Rules(poisoned()));
    let network = Network { ca_pem: server.ca_pem().map(Into::into), ..Network::default() };
    fetch_poisoned(Config { network, ..config() }, &server, 200, "h2.limit");
}

/// A server that answers each request with its body, one after the other; one that is bad, of each twenty, ends the connection
/// with GOAWAY of this code, or without a word, and with it all those that were not answered.
fn ended_by_bad_rows(code: Option<u32>) -> Http2Server {
    Http2Server::start(move |_| {
        Http2::Frames(Box::new(move |mut frames| {
            let serve = |frames: &mut Frames| -> std::io::Result<()> {
                frames.preface()?;
                frames.send(&settings(&[]))?;
                loop {
                    let asked = frames.read()?;
                    if asked.kind != kind::DATA {
                        continue;
                    }
                    let row: u64 = std::str::from_utf8(&asked.payload).unwrap().parse().unwrap();
                    if row % 20 == 7 {
                        return match code {
                            Some(code) => frames.send(&goaway(0, code)),
                            None => frames.half_close(),
                        };
                    }
                    frames.send(&head(asked.stream, 200, &[], false))?;
                    frames.send(&frame(kind::DATA, END_STREAM, asked.stream, &asked.payload))?;
                }
            };
            let _ = serve(&mut frames);
            frames.rest();
        }))
    })
}

/// Fetches 400 rows of such a server. None but the bad ones fails, or uses more than one attempt.
fn fetch_beside_bad_rows(code: Option<u32>, expected: &[&str]) {
    let server = ended_by_bad_rows(code);
    let pace = Pace { parallel_max: 16, ..Pace::default() };
    let config = Config { pace, shards: Some(1), ..known(config()) };
    let url = server.url("/");
    let rows = (0..400).map(move |row| Row {
        method: Some(Method::Put),
        body: Some(row.to_string().into_bytes()),
        ..Row::new(&url)
    });
    let bulk = Bulk::new(config).unwrap().input(Input::Rows(Box::new(rows)));
    let fetched = run(bulk);
    fetched.assert_complete(400);
    for record in &fetched.records {
        let row = record.row.0;
        assert_eq!(record.attempts, 1, "row {row}");
        match row % 20 {
            7 => assert!(expected.contains(&error(record)), "row {row}: {record:?}"),
            _ => assert_eq!((error(record), body(record)), ("", row.to_string().as_bytes()), "row {row}"),
        }
    }
    assert!(server.connections() <= 3 * 400, "three times at most for each row");
}

#[test]
fn goaway_that_one_row_causes_costs_no_other_row_an_attempt() {
    const NO_ERROR: u32 = 0;
    const ENHANCE_YOUR_CALM: u32 = 11;
    for code in [NO_ERROR, ENHANCE_YOUR_CALM] {
        fetch_beside_bad_rows(Some(code), &["h2.refused"]);
    }
}

#[test]
fn a_connection_that_is_closed_for_one_row_costs_no_other_row_an_attempt() {
    fetch_beside_bad_rows(None, &["http.no_response", "http.reset"]);
}

/// Its handshake for HTTP/1.1 fails, so it gets HTTP/2 again, and asks for HTTP/1.1 again.
#[test]
fn an_origin_that_asks_for_http1_and_does_not_take_it_is_asked_a_bounded_number_of_times() {
    const HTTP_1_1_REQUIRED: u32 = 13;
    let server = Http2Server::start_tls(&["h2"], |connection| match connection {
        0 | 1 => Http2::Rules(poisoned()),
        _ => Http2::Rules(Http2Rules::new(|_| Reply::Reset(HTTP_1_1_REQUIRED))),
    });
    let network = Network { ca_pem: server.ca_pem().map(Into::into), ..Network::default() };
    let pace = Pace { parallel_max: 16, ..Pace::default() };
    let config = Config { network, pace, shards: Some(1), ..config() };
    let rows = 200;
    let fetched = fetch(config, (0..rows).map(|row| server.url(&format!("/row/{row}"))));
    for record in &fetched.records {
        let expected = ["", "h2.limit", "h2.refused", "h2.reset", "tls.handshake"];
        assert!(expected.contains(&error(record)), "{:?}", record.failure);
    }
    assert!(server.seen().len() <= 6 * 200, "{} requests", server.seen().len());
}

#[test]
fn a_head_has_its_part_of_the_memory_budget() {
    let value = "x".repeat(10_000);
    for (fields, expected) in [(1, ""), (2, "h2.protocol")] {
        let block = block(200, &vec![("x-long", &*value); fields]);
        let server = play(move |frames, stream| {
            let (first, rest) = block.split_at(block.len().min(16 << 10));
            frames.send(&frame(kind::HEADERS, END_STREAM, stream, first))?;
            frames.send(&frame(kind::CONTINUATION, END_HEADERS, stream, rest))
        });
        let response = Response { memory_max: Some(8 << 20), ..Response::default() };
        let record = fetch_one(Config { response, ..known(config()) }, server.url("/"));
        assert_eq!(error(&record), expected, "{:?}", record.failure);
        let told = record.failure.is_none_or(|failure| failure.message.contains("larger than 16 KiB"));
        assert!(told);
    }
}

#[test]
fn trailers_have_the_limit_of_http1() {
    for (length, expected) in [(16_000, ""), (17_000, "body.framing")] {
        let trailers = block(200, &[("x-trailer", &"x".repeat(length))]).split_off(13);
        check(expected, move |frames, stream| {
            frames.send(&head(stream, 200, &[], false))?;
            frames.send(&frame(kind::DATA, 0, stream, b"hello"))?;
            let (first, rest) = trailers.split_at(trailers.len().min(16 << 10));
            frames.send(&frame(kind::HEADERS, END_STREAM, stream, first))?;
            frames.send(&frame(kind::CONTINUATION, END_HEADERS, stream, rest))
        });
    }
}

/// Sends a flood for as long as this client takes it, and heeds nothing but the window of the connection. 256 MiB are as good
/// as no end.
fn send_for_ever(frames: &mut Frames, begin: &[u8], flood: &[u8], sent: &AtomicUsize) -> std::io::Result<()> {
    let (mut window, mut requests) = (65_535, 0);
    let mut read = |frames: &mut Frames, window: &mut usize| {
        let frame = frames.read()?;
        requests += usize::from(frame.kind == kind::HEADERS);
        if (frame.kind, frame.stream) == (kind::WINDOW_UPDATE, 0) {
            *window += u32::from_be_bytes(frame.payload.try_into().unwrap()) as usize;
        }
        std::io::Result::Ok(requests)
    };
    frames.preface()?;
    while read(frames, &mut window)? < 2 {}
    frames.send(&[&settings(&[]), begin].concat())?;
    while sent.load(Ordering::Relaxed) < 256 << 20 {
        if flood[3] == kind::DATA {
            while window < flood.len() {
                read(frames, &mut window)?;
            }
            window -= flood.len() - 9;
        }
        frames.send(flood)?;
        sent.fetch_add(flood.len(), Ordering::Relaxed);
    }
    Ok(())
}

/// What such a server can send of a response that this client has given up, in bytes; and the errors of its row and of another one
/// on the same connection.
fn sent_to_nobody(begin: Vec<u8>, flood: Vec<u8>, config: Config) -> (usize, [String; 2]) {
    let sent = Arc::new(AtomicUsize::new(0));
    let sum = Arc::clone(&sent);
    let server = Http2Server::start(move |number| match number {
        0 => {
            let (begin, flood, sum) = (begin.clone(), flood.clone(), Arc::clone(&sum));
            Http2::Frames(Box::new(move |mut frames| {
                // An error: the client has closed the connection, as it should.
                let _ = send_for_ever(&mut frames, &begin, &flood, &sum);
            }))
        }
        _ => Http2::Rules(Http2Rules::new(|_| Reply::ok("ok"))),
    });
    let pace = Pace { parallel_max: 2, ..Pace::default() };
    let config = Config { pace, shards: Some(1), ..known(config) };
    let fetched = fetch(config, (0..2).map(|row| server.url(&format!("/{row}"))));
    (sent.load(Ordering::Relaxed), [0, 1].map(|row: usize| error(&fetched.records[row]).to_owned()))
}

#[test]
fn heads_for_a_response_that_was_given_up_end_the_connection() {
    let interim = head(1, 103, &[], false).repeat(1_000);
    let (sent, errors) = sent_to_nobody(Vec::new(), interim, config());
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    assert_eq!(errors, ["http.limit", ""], "the other row is sent again");
}

#[test]
fn data_of_a_response_that_was_given_up_ends_the_connection() {
    let flood = frame(kind::DATA, 0, 1, &[b'x'; 16_000]);
    let limits = Response { max_bytes: 100_000, ..Response::default() };
    let config = Config { response: limits, ..config() };
    let (sent, errors) = sent_to_nobody(head(1, 200, &[], false), flood, config);
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    // Of a row that is not given up yet, it ignores the window.
    assert!(["body.too_large", "body.framing"].contains(&&*errors[0]), "{errors:?}");
    assert_eq!(errors[1], "", "the other row is sent again");
}

/// A server that keeps to the windows is not blamed for what it has sent before it learns of a reset.
#[test]
fn what_is_in_transit_at_a_reset_costs_no_other_row() {
    let server = Http2Server::start(|_| {
        Http2::Frames(Box::new(|mut frames| {
            let serve = |frames: &mut Frames| -> std::io::Result<()> {
                frames.preface()?;
                frames.send(&settings(&[]))?;
                loop {
                    let asked = frames.read()?;
                    if asked.kind != kind::HEADERS {
                        continue;
                    }
                    // Every other response has a whole window, and no end.
                    let is_long = asked.stream % 4 == 1;
                    frames.send(&head(asked.stream, 200, &[], !is_long))?;
                    let piece = frame(kind::DATA, 0, asked.stream, &[b'x'; 16_000]);
                    frames.send(&piece.repeat(if is_long { 4 } else { 0 }))?;
                }
            };
            let _ = serve(&mut frames);
        }))
    });
    let response = Response { max_bytes: 10_000, ..Response::default() };
    let config = Config { response, ..known(one_by_one()) };
    let fetched = fetch(config, (0..40).map(|row| server.url(&format!("/{row}"))));
    let expected = ["body.too_large", ""].repeat(20);
    assert_eq!((fetched.errors(), server.connections()), (expected, 1), "its connection goes on");
}
