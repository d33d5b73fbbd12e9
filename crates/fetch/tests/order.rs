//! The order of records, and how far the engine runs ahead.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use overlapped_fetch::{Bulk, Config, Input, InputOptions, sink};
use overlapped_testkit::{Ending, Script, Server, row_of};
use support::{LONG, body, config, fetch, run, wait};

fn rows(fetched: &support::Fetched) -> Vec<u64> {
    fetched.records.iter().map(|record| record.row.0).collect()
}

#[test]
fn ordered_records_come_in_the_order_of_the_list() {
    let server = Server::builder().hosts(3).start();
    let url = |row: u64| {
        let path =
            if row.is_multiple_of(7) { format!("/delay/{}", 100 - row) } else { format!("/row/{row}") };
        server.url_on(row as usize, &path)
    };
    let mut urls: Vec<_> = (0..100).map(url).collect();
    urls[50] = "no url".into();
    let fetched = fetch(config(), urls);
    assert_eq!(rows(&fetched), (0..100).collect::<Vec<_>>());
}

#[test]
fn unordered_records_come_as_they_are_done() {
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    let late = Script::new().until(move || is_done.load(Ordering::SeqCst));
    let server = Server::builder().route("/late", late.send("HTTP/1.1 204 No\r\n\r\n")).start();
    let urls = std::iter::once(server.url("/late"));
    let urls = urls.chain((1..50).map(|row| server.url(&format!("/row/{row}")))).collect::<Vec<_>>();
    let (sink, collected) = sink::collect();
    let bulk = Bulk::new(Config { ordered: false, ..config() }).unwrap();
    let run = bulk.input(Input::Urls(Box::new(urls.into_iter()))).sink(sink).start().unwrap();
    let control = run.control();
    assert!(server.wait_until(LONG, |_| control.progress().rows_done == 49));
    done.store(true, Ordering::SeqCst);
    wait(run).unwrap();
    assert_eq!(collected.take().last().unwrap().row.0, 0);
}

#[test]
fn no_row_is_lost_or_doubled_in_either_mode() {
    for ordered in [false, true] {
        let server = Server::builder().hosts(8).start();
        let urls = (0..3_000).map(|row| server.url_on(row, &format!("/row/{row}")));
        let fetched = fetch(Config { ordered, window_rows: 300, ..config() }, urls);
        for record in &fetched.records {
            assert_eq!(body(record), row_of(record.row.0), "row {}", record.row.0);
        }
        assert_eq!(server.row_hits(), vec![1; 3_000]);
        assert_eq!(server.requests(), 3_000);
    }
}

#[test]
fn nothing_runs_further_ahead_than_the_window() {
    let server = Server::start();
    let urls = std::iter::once(server.url("/delay/300"))
        .chain((1..100).map(|row| server.url(&format!("/row/{row}"))));
    fetch(Config { window_rows: 5, ..config() }, urls);
    let seen = server.seen();
    let slow = seen.iter().find(|seen| seen.target == "/delay/300").unwrap();
    let Ending::Answered(answered) = slow.ending else { unreachable!("{slow:?}") };
    let before = seen.iter().filter(|seen| seen.at < answered).count();
    assert!(before <= 5, "{before} requests came while the first row kept the window open");
}

#[test]
fn a_window_of_one_row_is_enough() {
    let server = Server::builder().hosts(2).start();
    let urls = (0..20).map(|row| server.url_on(row, "/ok"));
    fetch(Config { window_rows: 1, ..config() }, urls);
    assert_eq!((server.requests(), server.max_in_flight()), (20, 1));
}

#[test]
fn skipped_rows_leave_the_others_their_numbers() {
    let server = Server::start();
    let urls: Vec<_> = (0..50).map(|row| server.url(&format!("/row/{row}"))).collect();
    let options = InputOptions { skip: 10, limit: Some(7), ..InputOptions::default() };
    let bulk = Bulk::new(config()).unwrap().input(Input::Urls(Box::new(urls.into_iter())));
    let fetched = run(bulk.input_options(options));
    assert_eq!(rows(&fetched), (10..17).collect::<Vec<_>>());
    assert_eq!(server.requests(), 7);
    assert!(fetched.records.iter().all(|record| body(record) == row_of(record.row.0)));
}

#[test]
fn an_empty_list_is_a_run_of_no_rows() {
    fetch(config(), Vec::<String>::new());
}
