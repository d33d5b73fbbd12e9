//! Connections that are used again, and those that must not be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use overlapped_proto::bucket::Rate;
use overlapped_proto::input::Format;
use overlapped_proto::time::Nanos;
use overlapped_testkit::{RawServer, Script, Server};
use support::{config, error, fetch, fetch_list, one_by_one, text};

fn answer(body: &'static str) -> Script {
    Script::new()
        .expect_request()
        .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
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
    let mut config = one_by_one();
    config.pace.rate = Some(Rate { count: 1, per: Nanos::from_millis(50) });
    let fetched = fetch(config, (0..10).map(|row| server.url(&format!("/{row}"))));
    assert_eq!(fetched.errors(), [""; 10]);
    assert_eq!((server.requests(), server.connections()), (10, 10));
    assert_eq!((fetched.summary.connections_new, fetched.summary.connections_reused), (10, 0));
}

#[test]
fn nor_is_one_whose_head_began() {
    let server = RawServer::start(answer("ok").expect_request().send("HTTP/1.1 200 O").close());
    let fetched = fetch(one_by_one(), [server.url("/0"), server.url("/1")]);
    assert_eq!(fetched.errors(), ["", "http.no_response"]);
    assert_eq!(server.requests(), 2);
}

/// A second response that nobody asked for waits on the idle connection when it is wanted again. (What comes at the
/// very moment of the next request cannot be told from its answer, by nobody.)
#[test]
fn a_smuggled_response_is_never_matched_to_the_next_request() {
    let smuggled = answer("mine").send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").expect_request();
    let server = RawServer::start(smuggled);
    let mut config = one_by_one();
    config.pace.rate = Some(Rate { count: 1, per: Nanos::from_millis(200) });
    let fetched = fetch(config, (0..4).map(|row| server.url(&format!("/{row}"))));
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
