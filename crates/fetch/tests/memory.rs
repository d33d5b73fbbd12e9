//! The responses of a run share one budget of memory: beyond it they wait, and the run ends all the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use overlapped_fetch::{Bulk, Config, Input, Pace, Response, Sink, Summary, Timeouts};
use overlapped_proto::record::{Body, Record};
use overlapped_testkit::{Script, Server};
use support::{config, wait};

const ROWS: usize = 60;
const BODY: usize = 512 << 10;
const BUDGET: usize = 2 << 20;

/// Takes each record and lets it go, after a look at it.
struct Passing;

impl Sink for Passing {
    fn accept(&mut self, record: &mut Record) -> std::io::Result<()> {
        match &record.body {
            Body::None => assert!(!record.ok),
            Body::Inline(body) => assert_eq!(body.len(), BODY),
            Body::Spooled(body) => {
                assert_eq!(std::io::copy(&mut body.reader(), &mut std::io::sink())?, BODY as u64)
            }
            Body::File(_) => unreachable!("{record:?}"),
        }
        assert!(record.headers.first("content-type").is_some() || !record.ok);
        Ok(())
    }

    fn commit(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn run(
    server: &Server,
    config: Config,
    sink: impl Sink + 'static,
    path: impl Fn(usize) -> String,
) -> Summary {
    let urls: Vec<String> = (0..ROWS).map(|row| server.url(&path(row))).collect();
    let bulk = Bulk::new(config).unwrap().input(Input::Urls(Box::new(urls.into_iter())));
    let summary = wait(bulk.sink(Box::new(sink)).start().unwrap()).unwrap();
    assert_eq!((summary.progress.rows_done, summary.finished), (ROWS as u64, true));
    summary
}

fn check(server: &Server, config: Config) -> Summary {
    let path = |row| format!("/{}/{BODY}?{row}", ["text", "chunked"][row % 2]);
    let summary = run(server, config, Passing, path);
    assert_eq!(summary.progress.ok, ROWS as u64, "{:?}", summary.by_error);
    summary
}

fn limited(memory_max: usize) -> Config {
    let response = Response { memory_max: Some(memory_max as u64), ..Response::default() };
    Config { response, pace: Pace { parallel_max: ROWS, ..Pace::default() }, ..config() }
}

#[test]
fn bodies_go_to_disk_beyond_the_budget() {
    let server = Server::start();
    for ordered in [false, true] {
        let peak = check(&server, Config { ordered, ..limited(BUDGET) }).body_bytes_peak;
        // Each body may have met the limit with its last block.
        assert!(peak < BUDGET + ROWS * (32 << 10), "{peak} bytes were held");
    }
}

#[test]
fn a_budget_that_is_too_small_for_any_body_ends_too() {
    let server = Server::start();
    check(&server, limited(1));
    check(&server, Config { ordered: false, ..limited(1) });
}

#[test]
fn without_a_budget_nothing_waits() {
    let server = Server::start();
    assert!(check(&server, config()).body_bytes_peak >= BODY);
}

/// Drops each record.
struct Nowhere;

impl Sink for Nowhere {
    fn accept(&mut self, _: &mut Record) -> std::io::Result<()> {
        Ok(())
    }

    fn commit(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const HEAD: usize = 200 << 10;

/// A large head, without the empty line at its end.
fn head() -> String {
    format!("HTTP/1.1 200 OK\r\nX-Large: {}\r\nContent-Length: 2\r\n", "x".repeat(HEAD))
}

/// What is held of heads while every connection holds as much as it can, and no response comes to its end.
fn held_of_heads(script: Script) -> usize {
    let server = Server::builder().route("/head", script).start();
    let limit = Some(Duration::from_secs(3));
    let timeouts = Timeouts { first_byte: limit, total: limit, ..Timeouts::default() };
    let summary = run(&server, Config { timeouts, ..limited(BUDGET) }, Nowhere, |_| "/head".to_owned());
    assert_eq!(summary.progress.ok, 0);
    summary.body_bytes_peak
}

#[test]
fn heads_wait_beyond_the_budget() {
    for script in [Script::new().send(head()).silence(), Script::new().send(head() + "\r\no").silence()] {
        let peak = held_of_heads(script);
        // A response that waits has read a little and may have a buffer of twice that; one reads on, and one on each thread
        // may have met the limit.
        let bound = BUDGET + ROWS * (32 << 10) + 4 * (256 << 10);
        assert!((HEAD..bound).contains(&peak), "{peak} bytes were held");
    }
}

#[test]
fn heads_that_drip_end_with_a_budget_that_is_too_small_for_any() {
    let drip = Script::new().drip(head(), 8 << 10, Duration::from_millis(1)).send("\r\nok");
    let server = Server::builder().route("/head", drip).start();
    for memory_max in [1, BUDGET] {
        let timeouts = Timeouts { first_byte: None, ..Timeouts::default() };
        let config = Config { timeouts, ..limited(memory_max) };
        let summary = run(&server, config, Nowhere, |_| "/head".to_owned());
        assert_eq!(summary.progress.ok, ROWS as u64, "{:?}", summary.by_error);
    }
}
