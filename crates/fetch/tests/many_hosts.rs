//! More hosts than connections can be kept while they are idle.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;

use overlapped_fetch::{Config, Pace, Rate};
use overlapped_testkit::Server;
use support::{fetch, retrying};

const HOSTS: usize = 30;
const ROWS: usize = HOSTS * 40;

/// The part that runs with few files, so that eight connections can be kept. On its own it does nothing.
#[test]
fn child() {
    let Ok(urls) = std::env::var("OVERLAPPED_TEST_URLS") else { return };
    let urls: Vec<&str> = urls.split(' ').collect();
    let mode = std::env::var("OVERLAPPED_TEST_MODE").unwrap();
    let ordered = mode == "ordered";
    let rate = (mode == "rate").then(|| Rate::parse("2000/s").unwrap());
    let pace = Pace { parallel_max: 4, rate, ..Pace::default() };
    let rows = (0..ROWS).map(|row| format!("{}?{row}", urls.get(row % HOSTS).unwrap()));
    let fetched = fetch(Config { pace, ordered, shards: Some(1), ..retrying(0) }, rows);
    assert_eq!(fetched.summary.progress.ok, ROWS as u64, "{:?}", fetched.summary.by_error);
}

fn connections(mode: &str) -> u64 {
    let server = Server::builder().hosts(30).start();
    let urls: Vec<String> = (0..HOSTS).map(|host| server.url_on(host, "/ok")).collect();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$@\"", "sh"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "child"]).env("OVERLAPPED_TEST_URLS", urls.join(" "));
    command.env("OVERLAPPED_TEST_MODE", mode);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(server.requests(), ROWS as u64);
    server.connections()
}

#[test]
fn every_row_opened_a_connection() {
    let opened = connections("any order");
    assert!(opened < ROWS as u64 / 4, "{opened} connections for {ROWS} rows");
}

/// Where a row must not wait for later ones, and where a rate spreads the requests, hosts take turns row by row.
#[test]
fn in_order_and_at_a_rate_hosts_take_turns_row_by_row() {
    for mode in ["ordered", "rate"] {
        let opened = connections(mode);
        assert!(opened > ROWS as u64 / 2, "{mode}: {opened} connections for {ROWS} rows");
    }
}
