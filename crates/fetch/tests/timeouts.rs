//! Every phase ends in time, and a row that is late holds up no other.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use overlapped_fetch::{Client, Config, Network, Response, Timeouts};
use overlapped_testkit::{Ending, Script, Server, blackhole};
use support::{config, error, fetch, fetch_one, retrying};

const SHORT: Option<Duration> = Some(Duration::from_millis(200));

/// A limit that other responses must meet, on a busy machine too.
const AMPLE: Option<Duration> = Some(Duration::from_secs(3));

fn never() -> Timeouts {
    Timeouts { dns: None, connect: None, tls: None, first_byte: None, speed: None, total: None }
}

#[test]
fn a_connect_that_is_never_answered_ends() {
    let (hole, server) = (blackhole(), Server::start());
    let urls = std::iter::once(hole.url("/")).chain((0..50).map(|row| server.url(&format!("/row/{row}"))));
    let timeouts = Timeouts { connect: AMPLE, ..never() };
    let fetched = fetch(Config { timeouts, ordered: false, ..config() }, urls);
    let late = fetched.records.iter().find(|record| record.row.0 == 0).unwrap();
    assert_eq!((error(late), late.status), ("connect.timeout", None));
    assert_eq!(fetched.summary.progress.ok, 50);
    assert_eq!(fetched.records.last().unwrap().row.0, 0, "the others did not wait");
}

#[test]
fn each_phase_has_its_own_name() {
    let server = Server::start();
    let tls = Server::builder().raw([Script::new().silence()]).start();
    let check = |timeouts: Timeouts, url: String, expected: &str, status: Option<u16>, flag: &str| {
        let record = fetch_one(Config { timeouts, ..config() }, url);
        assert_eq!((error(&record), record.status), (expected, status), "{}", record.url);
        let message = record.failure.unwrap().message;
        assert!(message.ends_with(&format!("({flag})")), "{expected}: {message}");
    };
    let first_byte = "--first-byte-timeout";
    check(
        Timeouts { first_byte: SHORT, ..never() },
        server.url("/silent"),
        "timeout.first_byte",
        None,
        first_byte,
    );
    check(Timeouts { total: SHORT, ..never() }, server.url("/silent"), "timeout.total", None, "-m");
    check(Timeouts { total: AMPLE, ..never() }, server.url("/stall"), "timeout.total", Some(200), "-m");
    let speed = Some((100, Duration::from_secs(1)));
    let flags = "--speed-limit, --speed-time";
    check(Timeouts { speed, ..never() }, server.url("/stall"), "timeout.slow", Some(200), flags);
    let stalled = format!("https://{}/", tls.addr());
    check(Timeouts { tls: SHORT, ..never() }, stalled, "tls.timeout", None, "--connect-timeout");
    let hole = blackhole();
    check(
        Timeouts { connect: SHORT, ..never() },
        hole.url("/"),
        "connect.timeout",
        None,
        "--connect-timeout",
    );
}

#[test]
fn a_head_that_drips_is_bounded_by_the_first_byte_and_the_total() {
    let drip =
        Script::new().send("HTTP/1.1 200 OK\r\n").drip("X: ".repeat(10_000), 1, Duration::from_millis(10));
    let server = Server::builder().route("/drip", drip).start();
    let timeouts = Timeouts { total: SHORT, ..never() };
    let record = fetch_one(Config { timeouts, ..config() }, server.url("/drip"));
    assert_eq!(error(&record), "timeout.total");
}

#[test]
fn a_slow_body_is_ended_and_a_steady_one_is_not() {
    let server = Server::start();
    let timeouts = Timeouts { speed: Some((20, Duration::from_secs(3))), ..never() };
    let slow = server.url("/drip?bytes=100&every_ms=100&each=1");
    let steady = server.url("/drip?bytes=20000&every_ms=20&each=100");
    let fetched = fetch(Config { timeouts, ..config() }, [slow, steady]);
    assert_eq!(fetched.errors(), ["timeout.slow", ""]);
    assert_eq!(fetched.records[1].bytes, 20_000);
}

/// What is around the chunks moves too.
#[test]
fn a_trailer_that_drips_is_measured_as_the_body_is() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n";
    let drip = |each: usize| {
        let trailer = format!("T: {}\r\n", "y".repeat(80 * each - 5));
        Script::new().send(head).drip(trailer, each, Duration::from_millis(50)).send("\r\n")
    };
    let server = Server::builder().route("/slow", drip(1)).route("/steady", drip(80)).start();
    let timeouts = Timeouts { speed: Some((100, Duration::from_secs(3))), ..never() };
    let fetched = fetch(Config { timeouts, ..config() }, ["/slow", "/steady"].map(|path| server.url(path)));
    assert_eq!(fetched.errors(), ["timeout.slow", ""]);
}

#[test]
fn the_server_sees_a_late_row_leave() {
    let server = Server::start();
    let timeouts = Timeouts { total: SHORT, ..never() };
    fetch_one(Config { timeouts, ..config() }, server.url("/silent"));
    assert!(server.wait_until(support::LONG, |server| server.in_flight() == 0));
    assert!(matches!(server.seen()[0].ending, Ending::Left(_)));
}

#[test]
fn late_rows_are_tried_again() {
    let server = Server::start();
    let timeouts = Timeouts { first_byte: AMPLE, ..never() };
    let record = fetch_one(Config { timeouts, ..retrying(2) }, server.url("/flaky/silent"));
    assert_eq!((error(&record), record.attempts), ("", 2));
}

#[test]
fn many_late_rows_hold_up_no_other() {
    let server = Server::builder().hosts(2).start();
    let urls = (0..200).map(|row| {
        if row % 2 == 0 {
            server.url_on(0, &format!("/silent?{row}"))
        } else {
            server.url_on(1, &format!("/row/{row}"))
        }
    });
    let timeouts = Timeouts { total: AMPLE, ..never() };
    let fetched = fetch(Config { timeouts, shards: Some(1), ordered: false, ..config() }, urls);
    assert_eq!(fetched.summary.by_error.get("timeout.total"), Some(&100));
    assert!(
        fetched.records[..100].iter().all(|record| record.ok),
        "the good rows are done before the late ones"
    );
}

/// Each hop takes less than the limit; together they take more.
#[test]
fn the_limit_for_all_counts_over_redirects() {
    let hop = |to: &str| {
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        Script::new().pause(Duration::from_secs(1)).send(head)
    };
    let server =
        Server::builder().route("/1", hop("/2")).route("/2", hop("/3")).route("/3", hop("/ok")).start();
    let total = |s| Timeouts { total: Some(Duration::from_secs_f64(s)), ..never() };
    let fetched = fetch(Config { timeouts: total(2.5), ..config() }, [server.url("/1")]);
    assert_eq!(fetched.errors(), ["timeout.total"]);
    assert!(!fetched.records[0].chain.is_empty(), "{:?}", fetched.records[0]);
    let fetched = fetch(Config { timeouts: total(60.0), ..config() }, [server.url("/1")]);
    assert_eq!((fetched.errors(), fetched.records[0].chain.len()), (vec![""], 3));
}

/// A server that sends faster than we read leaves no pause in which a deadline would be looked at.
#[test]
fn a_body_that_never_pauses_starves_nobody() {
    let server = Server::builder().hosts(2).start();
    let timeouts = Timeouts { total: AMPLE, ..never() };
    let response = Response { body: false, max_bytes: u64::MAX, ..Response::default() };
    let urls = [server.url_on(0, "/endless"), server.url_on(1, "/delay/100")];
    let fetched = fetch(Config { timeouts, response, shards: Some(1), ..config() }, urls);
    assert_eq!(fetched.errors(), ["timeout.total", ""]);
    assert!(fetched.records[0].bytes > 0);
}

#[test]
fn an_address_of_the_wrong_family_is_no_address() {
    let network = Network { family: Some(overlapped_fetch::Family::V6), ..Network::default() };
    let record = fetch_one(Config { network, ..config() }, "http://127.0.0.1:1/");
    assert_eq!(error(&record), "dns.not_found");
}

/// A client uses the timer of an earlier request again: whichever task and runtime that had, the later one ends in time.
#[test]
fn a_request_after_another_one_ends_in_time() {
    let server = Server::start();
    let timeouts = Timeouts { first_byte: Some(Duration::from_secs(3_600)), ..never() };
    let client = Client::new(Config { timeouts, ..config() }).unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let is_late = async |limit: Option<Duration>| {
        let request = client.get(server.url(if limit.is_some() { "/delay/600000" } else { "/delay/5" }));
        let sent = request.timeout(limit.unwrap_or_default()).send().await;
        sent.map_err(|error| error.kind().name()).err()
    };
    for _ in 0..2 {
        let runtime = runtime();
        runtime.block_on(async {
            assert_eq!(is_late(None).await, None);
            assert_eq!(is_late(SHORT).await, Some("timeout.total"));
            // Both at once, in one task.
            assert_eq!(tokio::join!(is_late(SHORT), is_late(None)), (Some("timeout.total"), None));
        });
    }
}
