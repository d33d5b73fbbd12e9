//! A run that fails too often ends early: what is in flight may end, what is done is written, and it says why.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use overlapped_fetch::{Config, Stop};
use overlapped_proto::max_errors::MaxErrors;
use overlapped_testkit::Server;
use support::{Fetched, config, one_by_one};

fn fetch(config: Config, urls: Vec<String>) -> Fetched {
    let input = overlapped_fetch::Input::Urls(Box::new(urls.into_iter()));
    support::run(overlapped_fetch::Bulk::new(config).unwrap().input(input))
}

#[test]
fn the_run_ends_when_so_many_rows_have_failed() {
    let server = Server::start();
    let row = |row: u64| if row % 10 == 9 { server.url("/status/404") } else { server.url("/ok") };
    let max_errors = Some(MaxErrors::Rows(5));
    let fetched = fetch(Config { max_errors, ..one_by_one() }, (0..100_000).map(row).collect());
    let summary = &fetched.summary;
    assert_eq!((summary.finished, summary.stopped_by), (false, Some(Stop::MaxErrors)));
    let done = summary.progress.rows_done;
    // One batch of records may be under way when the fifth failure is counted.
    assert!((50..2_000).contains(&done), "{done} rows are done");
    assert_eq!(done, fetched.records.len() as u64);
    assert_eq!(server.requests(), done);
    let rows: Vec<u64> = fetched.records.iter().map(|record| record.row.0).collect();
    assert_eq!(rows, (0..done).collect::<Vec<_>>(), "no row is missing in between");
}

#[test]
fn bad_rows_count_and_others_do_not() {
    let server = Server::start();
    let max_errors = Some(MaxErrors::Rows(3));
    let few = vec![server.url("/ok"), "x".into(), "y".into(), server.url("/ok")];
    let fetched = fetch(Config { max_errors, ..config() }, few);
    fetched.assert_complete(4);
    assert_eq!(fetched.summary.stopped_by, None);
    let fetched = fetch(Config { max_errors, ..config() }, vec!["x".into(); 100_000]);
    assert_eq!(fetched.summary.stopped_by, Some(Stop::MaxErrors));
    assert!(fetched.summary.progress.rows_done < 100_000);
}

#[test]
fn a_share_is_judged_when_enough_is_done() {
    let server = Server::start();
    let row = |row: u64| if row < 4 { server.url("/status/404") } else { server.url("/ok") };
    let max_errors = Some(MaxErrors::Millionths(50_000));
    let fetched = fetch(Config { max_errors, ..one_by_one() }, (0..400).map(row).collect());
    fetched.assert_complete(400);
}

#[test]
fn what_is_in_flight_may_end() {
    let server = Server::start();
    let urls = vec![server.url("/delay/500"), server.url("/delay/500"), server.url("/status/404")];
    let max_errors = Some(MaxErrors::Rows(1));
    let fetched = fetch(Config { max_errors, ..config() }, urls);
    assert_eq!(fetched.statuses(), [200, 200, 404]);
    assert_eq!(fetched.summary.stopped_by, Some(Stop::MaxErrors));
}
