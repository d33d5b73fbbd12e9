//! The bodies of a run share one budget of memory: beyond it they wait, and the run ends all the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use overlapped_fetch::{Bulk, Config, Input, Pace, Response, Sink, Summary};
use overlapped_proto::record::Record;
use overlapped_testkit::Server;
use support::{config, wait};

const ROWS: usize = 60;
const BODY: usize = 512 << 10;
const BUDGET: usize = 2 << 20;

/// Takes each record and lets it go, after a look at it.
struct Passing;

impl Sink for Passing {
    fn accept(&mut self, record: &mut Record) -> std::io::Result<()> {
        assert!(record.body.inline().is_some_and(|body| body.len() == BODY) || !record.ok);
        Ok(())
    }

    fn commit(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn check(server: &Server, config: Config) -> Summary {
    let path = |row| format!("/{}/{BODY}?{row}", ["text", "chunked"][row % 2]);
    let urls: Vec<String> = (0..ROWS).map(|row| server.url(&path(row))).collect();
    let bulk = Bulk::new(config).unwrap().input(Input::Urls(Box::new(urls.into_iter())));
    let summary = wait(bulk.sink(Box::new(Passing)).start().unwrap()).unwrap();
    assert_eq!((summary.progress.ok, summary.finished), (ROWS as u64, true), "{:?}", summary.by_error);
    summary
}

fn limited(memory_max: usize) -> Config {
    let response = Response { memory_max: Some(memory_max as u64), ..Response::default() };
    Config { response, pace: Pace { parallel_max: ROWS, ..Pace::default() }, ..config() }
}

#[test]
fn bodies_wait_beyond_the_budget() {
    let server = Server::start();
    for ordered in [false, true] {
        let peak = check(&server, Config { ordered, ..limited(BUDGET) }).body_bytes_peak;
        // Each body that waits may have met the limit with its last block, and the earliest reads on.
        assert!(peak < BUDGET + ROWS * (64 << 10) + 4 * BODY, "{peak} bytes were held");
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
