//! Connections that are used again, and those that must not be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use overlapped_fetch::record::Record;
use overlapped_fetch::{Bulk, Config, Input, Row, sink};
use overlapped_proto::input::Format;
use overlapped_testkit::{RawServer, Request, Script, Server};
use support::{Fetched, LONG, config, error, fetch, fetch_list, one_by_one, text, wait};

fn answer(body: &'static str) -> Script {
    Script::new()
        .expect_request()
        .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// Gives each row to the run only when all rows before it are done and `next`, which gets their number, has returned.
fn fetch_each_after(config: Config, server: &Server, paths: &[&str], next: impl Fn(usize)) -> Fetched {
    let (give, given) = std::sync::mpsc::channel();
    let (sink, collected) = sink::collect();
    let rows = Input::Batches(Box::new(move |_| Ok(given.recv().ok().into_iter().collect())));
    let run = Bulk::new(config).unwrap().input(rows).sink(sink).start().unwrap();
    let control = run.control();
    for (row, path) in paths.iter().enumerate() {
        assert!(server.wait_until(LONG, |_| control.progress().rows_done == row as u64));
        next(row);
        give.send(Row::new(server.url(path))).unwrap();
    }
    drop(give);
    let summary = wait(run).unwrap();
    let fetched = Fetched { records: collected.take(), summary };
    fetched.assert_complete(paths.len());
    fetched
}

/// What the server has written is in the client's socket after this: on loopback nothing is under way for long.
fn arrive() {
    std::thread::sleep(Duration::from_millis(20));
}

fn connections(server: &Server) -> Vec<u64> {
    server.seen().iter().map(|seen| seen.connection).collect()
}

#[test]
fn a_server_that_says_close_is_believed() {
    let server = Server::builder()
        .route("/close", Script::response(200, &[("Connection", "close")], "bye"))
        .route("/old", Script::new().send("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold"))
        .route(
            "/kept",
            Script::new().send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold"),
        )
        .start();
    let paths = ["/close", "/ok", "/old", "/ok", "/kept", "/ok"];
    let fetched = fetch(one_by_one(), paths.map(|path| server.url(path)));
    assert_eq!(fetched.errors(), [""; 6]);
    assert_eq!(connections(&server), [0, 1, 1, 2, 2, 2]);
}

#[test]
fn a_failed_row_leaves_no_connection_behind() {
    let server = Server::start();
    let paths = ["/truncate", "/ok", "/reset?at=10", "/ok", "/gzip/100?damage=corrupt", "/ok"];
    let fetched = fetch(one_by_one(), paths.map(|path| server.url(path)));
    assert_eq!(fetched.errors(), ["body.truncated", "", "body.reset", "", "decode.corrupt", ""]);
    assert!(fetched.records.iter().filter(|record| record.ok).all(|record| text(record) == "ok\n"));
}

/// Each connection answers once and is closed when the second request has come: no client can see that in time.
#[test]
fn a_request_that_met_the_end_of_an_idle_connection_is_sent_again_once() {
    let server = RawServer::start(answer("ok").expect_request().close());
    let fetched = fetch(one_by_one(), (0..5).map(|row| server.url(&format!("/{row}"))));
    assert_eq!(fetched.errors(), [""; 5]);
    let targets: Vec<_> = server.seen().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(targets, ["/0", "/1", "/1", "/2", "/2", "/3", "/3", "/4", "/4"]);
    assert_eq!(connections(&server), [0, 0, 1, 1, 2, 2, 3, 3, 4]);
    // That is no retry: the row never had an answer that could have failed.
    assert!(fetched.records.iter().all(|record| record.attempts == 1));
    assert_eq!(fetched.summary.retries, 0);
    assert_eq!(fetched.records[4].connection.reused, Some(false));
}

#[test]
fn it_is_sent_again_after_a_reset_too() {
    let server = RawServer::start(answer("ok").expect_request().reset());
    let fetched = fetch(one_by_one(), (0..3).map(|row| server.url(&format!("/{row}"))));
    assert_eq!(fetched.errors(), [""; 3]);
    assert_eq!(server.requests(), 5);
}

#[test]
fn a_fresh_connection_that_ends_is_a_failure_at_once() {
    let server = RawServer::start(Script::new().expect_request().close());
    let fetched = fetch(one_by_one(), [server.url("/")]);
    assert_eq!((fetched.errors()[0], server.requests()), ("http.no_response", 1));
}

#[test]
fn a_post_that_met_the_end_of_an_idle_connection_is_not_sent_again() {
    let server = RawServer::start(answer("ok").expect_request().close());
    let list = format!("{{\"url\":\"{0}\",\"body\":\"once\"}}\n", server.url("/")).repeat(2);
    let fetched = fetch_list(one_by_one(), Format::Ndjson, list, 2);
    assert_eq!(fetched.errors(), ["", "http.no_response"]);
    assert_eq!(server.seen().iter().filter(|seen| seen.method == "POST").count(), 2);
    assert_eq!(connections(&server), [0, 0]);
}

/// The first answer of a connection that is used again has another one behind it, in the same segment. Later ones may come
/// in segments of their own, when it is too late to see them.
#[test]
fn an_origin_that_answered_unasked_has_no_connection_used_again() {
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown".to_owned()
        + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let server = Server::builder().route("/twice", Script::new().send(twice)).start();
    let paths = ["/ok", "/ok", "/twice", "/ok", "/ok", "/ok"];
    let fetched = fetch(one_by_one(), paths.map(|path| server.url(path)));
    assert_eq!(fetched.errors(), [""; 6]);
    assert!(fetched.records.iter().all(|record| text(record) != "evil"));
    assert_eq!(connections(&server), [0, 0, 0, 1, 2, 3]);
    let is_told = |record: &Record| record.notes.iter().any(|note| note.name() == "unasked-bytes");
    let told: Vec<_> = fetched.records.iter().map(is_told).collect();
    assert_eq!(told, [false, false, true, true, true, true]);
}

/// Bytes that come while a connection is idle, with its end or without.
#[test]
fn what_a_server_sends_on_an_idle_connection_is_told_apart() {
    const BEHIND_BODY: &str = "an empty line behind the body";
    let own = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown";
    let (is_idle, is_sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (idle_at, sent_at) = (Arc::clone(&is_idle), Arc::clone(&is_sent));
    let idle = |bytes: &'static str| {
        let (is_idle, is_sent) = (Arc::clone(&idle_at), Arc::clone(&sent_at));
        let late = Script::new().send(own).until(move || is_idle.load(Ordering::SeqCst)).send(bytes);
        late.until(move || {
            is_sent.store(true, Ordering::SeqCst);
            true
        })
    };
    let late = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (what, script, expected) in [
        ("a 408 and the end", idle(late).close(), [0, 0, 1, 1, 1]),
        ("a 408", idle(late), [0, 0, 1, 1, 1]),
        ("an empty line", idle("\r\n"), [0, 0, 0, 0, 0]),
        (BEHIND_BODY, Script::new().send(format!("{own}\r\n")), [0, 0, 0, 0, 0]),
        ("an answer", idle(evil), [0, 0, 1, 2, 3]),
        ("an answer behind an empty line", idle("\r\nHTTP/1.1 200 OK\r\n\r\n"), [0, 0, 1, 2, 3]),
        ("anything else", idle("x"), [0, 0, 1, 2, 3]),
    ] {
        for server in [Server::builder(), Server::builder().tls()] {
            let server = server.route("/idle", script.clone()).start();
            let mut config = one_by_one();
            config.network.ca_pem = server.ca_pem().map(Into::into);
            is_sent.store(false, Ordering::SeqCst);
            let fetched = fetch_each_after(config, &server, &["/ok", "/idle", "/ok", "/ok", "/ok"], |row| {
                is_idle.store(row == 2, Ordering::SeqCst);
                if row == 2 && what != BEHIND_BODY {
                    assert!(server.wait_until(LONG, |_| is_sent.load(Ordering::SeqCst)));
                    arrive();
                }
            });
            let texts: Vec<_> = fetched.records.iter().map(text).collect();
            assert_eq!(texts, ["ok\n", "own", "ok\n", "ok\n", "ok\n"], "{what}");
            assert_eq!(connections(&server), expected, "{what}");
        }
    }
}

/// Each connection is closed behind its answer without a word, and the end comes a moment after the answer.
#[test]
fn a_post_is_not_put_at_risk_on_a_connection_that_the_server_closes() {
    for (answers, pause) in [(1, 0), (1, 1), (1, 10), (2, 0), (3, 1)] {
        let script = (1..answers).fold(answer("ok"), |script, _| {
            script.expect_request().send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        });
        let server = RawServer::start(script.pause(Duration::from_millis(pause)).close());
        let row = format!("{{\"url\":\"{}\",\"method\":\"POST\"}}\n", server.url("/"));
        let fetched = fetch_list(one_by_one(), Format::Ndjson, row.repeat(20), 20);
        assert_eq!(fetched.errors(), [""; 20], "closed {pause} ms after {answers}");
        assert_eq!(server.requests(), 20);
    }
}

#[test]
fn a_post_goes_on_with_a_connection_that_is_kept() {
    let server = Server::start();
    let row = format!("{{\"url\":\"{}\",\"method\":\"PATCH\"}}\n", server.url("/ok"));
    let fetched = fetch_list(one_by_one(), Format::Ndjson, row.repeat(20), 20);
    assert_eq!(fetched.errors(), [""; 20]);
    assert_eq!(server.requests(), 20);
    assert!(server.connections() < 10, "{} connections", server.connections());
}

/// Whose body comes late, when the next request may have been sent on the same connection.
#[test]
fn a_body_that_is_forbidden_is_never_the_next_answer() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for (method, head) in [
        ("GET", "HTTP/1.1 204 No\r\nContent-Length: 44\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 304 No\r\nContent-Length: 44\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n"),
        ("HEAD", "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 103 E\r\nContent-Length: 44\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let late = Script::new().send(head).pause(Duration::from_millis(20)).send(poison);
        let server = Server::builder().route("/late", late).start();
        let row =
            |method: &str, path: &str| format!(r#"{{"url":"{}","method":"{method}"}}"#, server.url(path));
        let list = [row(method, "/late"), row("GET", "/ok"), row(method, "/late"), row("POST", "/ok")];
        let fetched = fetch_list(one_by_one(), Format::Ndjson, list.join("\n"), 4);
        let told: Vec<_> =
            [1, 3].map(|row| (error(&fetched.records[row]), text(&fetched.records[row]))).into();
        assert_eq!(told, [("", "ok\n"); 2], "after {method}: {head:?}");
        assert_eq!(server.connections(), 3, "after {method}: {head:?}");
    }
}

/// Answers of many kinds, valid and hostile, in random pieces and with late bytes, on shared connections. Every byte
/// of an answer names its row. Many runs, because each uses no connection again once it has met bytes unasked.
#[test]
fn no_byte_of_one_exchange_is_part_of_another() {
    const RUNS: u64 = 60;
    const ROWS: u64 = 50;
    let server = Server::builder().handler("/x/", hostile).start();
    let row = |row: u64| {
        let method = ["GET", "GET", "HEAD", "POST"][row as usize % 4];
        format!(r#"{{"url":"{}","method":"{method}"}}"#, server.url(&format!("/x/{row}")))
    };
    let (mut ok, mut reused) = (0, 0);
    for first in (0..RUNS).map(|run| run * ROWS) {
        let list: Vec<_> = (first..first + ROWS).map(row).collect();
        let mut config = config();
        config.pace.parallel_max = 12;
        let fetched = fetch_list(config, Format::Ndjson, list.join("\n"), ROWS as usize);
        for record in &fetched.records {
            let name = format!("<{}>", first + record.row.0);
            let id = record.headers.first("x-id").unwrap_or(name.as_bytes());
            assert_eq!(id, name.as_bytes(), "{record:?}");
            let foreign = record.body.inline().unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(foreign).replace(&name, ""), "", "{record:?}");
        }
        ok += fetched.records.iter().filter(|record| record.ok).count();
        reused += fetched.summary.connections_reused;
    }
    assert!(ok > 2_000, "{ok}");
    assert!(reused > 200, "{reused}");
}

/// The answer to `/x/N`, by its number.
fn hostile(request: &Request) -> Script {
    let number: u64 = request.path().rsplit('/').next().unwrap().parse().unwrap();
    let mut state = number ^ 0x9e37_79b9;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let name = format!("<{number}>");
    let data = name.repeat(1 + below(40) as usize);
    let length = format!("Content-Length: {}\r\n", data.len());
    let poison = format!("HTTP/1.1 200 OK\r\nX-Id: {name}\r\n{length}\r\n{data}");
    let head = |status: &str, fields: &str| format!("HTTP/1.1 {status}\r\nX-Id: {name}\r\n{fields}\r\n");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let (now, late) = match (below(10), request.method.as_str()) {
        (0, _) => (head("204 No", &length), poison),
        (1, _) => (head("204 No", chunked), poison),
        (2, _) => (head("304 No", &length), poison),
        (3, _) => (format!("{}{}", head("103 Early", &length), head("204 No", "")), poison),
        (4, "HEAD") => (head("200 OK", &length), poison),
        (5, "HEAD") => (head("200 OK", chunked), poison),
        (_, "HEAD") => (head("200 OK", ""), String::new()),
        (4, _) => (format!("{}{data}{poison}", head("200 OK", &length)), String::new()),
        (5, _) => (format!("{}x\r\n{poison}", head("200 OK", chunked)), poison),
        (6, _) => {
            (format!("{}{:x}\r\n{data}\r\n0\r\n\r\n", head("200 OK", chunked), data.len()), String::new())
        }
        _ => (format!("{}{data}", head("200 OK", &length)), String::new()),
    };
    let at = below(now.len() as u64) as usize;
    // What is behind a body must come with it: later it could not be told from the next answer.
    let cut = if now.contains(&format!("{data}HTTP")) { 0 } else { at };
    let (first, second) = now.split_at(cut);
    let script = Script::new().send(first.to_owned()).pause(Duration::from_micros(below(800)));
    let script = script.send(second.to_owned());
    if late.is_empty() { script } else { script.pause(Duration::from_millis(1 + below(3))).send(late) }
}

#[test]
fn a_response_that_began_is_not_asked_for_again() {
    let begun =
        answer("ok").expect_request().send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").close();
    let server = RawServer::start(begun);
    let fetched = fetch(one_by_one(), [server.url("/0"), server.url("/1")]);
    assert_eq!(fetched.errors(), ["", "body.truncated"]);
    assert_eq!(server.requests(), 2);
}

#[test]
fn a_connection_that_was_closed_while_idle_is_neither_used_nor_counted() {
    let server = RawServer::start(answer("ok").close());
    let fetched = fetch_each_after(one_by_one(), &server, &["/"; 10], |row| {
        assert!(server.wait_until(LONG, |server| server.connections() == row as u64));
        assert!(server.wait_until(LONG, |server| server.open_connections() == 0));
        arrive();
    });
    assert_eq!(fetched.errors(), [""; 10]);
    assert_eq!((server.requests(), server.connections()), (10, 10));
    assert_eq!((fetched.summary.connections_new, fetched.summary.connections_reused), (10, 0));
}

#[test]
fn nor_is_one_whose_head_began() {
    let server = RawServer::start(answer("ok").expect_request().send("HTTP/1.1 200 O").close());
    let fetched = fetch(one_by_one(), [server.url("/0"), server.url("/1")]);
    assert_eq!(fetched.errors(), ["", "http.truncated"]);
    assert_eq!(server.requests(), 2);
}

/// A second, unsolicited response is on the idle connection when that is to be reused. (One that comes at the very moment of
/// the next request cannot be told from its answer.)
#[test]
fn a_smuggled_response_is_never_matched_to_the_next_request() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let smuggled = answer("mine").send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    let smuggled = smuggled.until(move || {
        count.fetch_add(1, Ordering::SeqCst);
        true
    });
    let server = RawServer::start(smuggled.expect_request());
    let fetched = fetch_each_after(one_by_one(), &server, &["/"; 4], |row| {
        assert!(server.wait_until(LONG, |_| sent.load(Ordering::SeqCst) == row));
        arrive();
    });
    for record in &fetched.records {
        assert_eq!((error(record), text(record)), ("", "mine"));
    }
    assert_eq!((server.requests(), server.connections()), (4, 4));
}

#[test]
fn origins_do_not_share_connections() {
    let server = Server::builder().hosts(2).start();
    let localhost = server.url("/ok").replace("127.0.0.1", "localhost");
    let urls = [server.url_on(0, "/ok"), server.url_on(1, "/ok"), localhost, server.url_on(0, "/ok")];
    let fetched = fetch(one_by_one(), urls);
    assert_eq!(fetched.errors(), [""; 4]);
    assert_eq!(connections(&server), [0, 1, 2, 0]);
    assert!(server.seen()[2].header("host").unwrap().starts_with("localhost:"));
}

#[test]
fn no_more_connections_than_requests_at_once() {
    let server = Server::start();
    let mut config = config();
    config.pace.parallel_max = 10;
    fetch(config, (0..500).map(|row| server.url(&format!("/row/{row}"))));
    assert!(server.connections() <= 10, "{} connections", server.connections());
    assert!(server.max_in_flight() <= 10);
}
