//! A run with more requests than open files: no row fails for it. The limit is set for a process of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;

use overlapped_fetch::{Config, Pace};
use overlapped_testkit::Server;
use support::{fetch, retrying};

const ROWS: usize = 600;

/// The part that runs with few files. On its own it does nothing.
#[test]
fn child() {
    let Ok(urls) = std::env::var("OVERLAPPED_TEST_URLS") else { return };
    let urls: Vec<&str> = urls.split(' ').collect();
    let pace = Pace { parallel_max: 500, ..Pace::default() };
    let rows = (0..ROWS).map(|row| format!("{}?{row}", urls.get(row % urls.len()).unwrap()));
    let fetched = fetch(Config { pace, ..retrying(0) }, rows);
    assert_eq!(fetched.summary.progress.ok, ROWS as u64, "{:?}", fetched.summary.by_error);
    assert!(fetched.records.iter().all(|record| record.attempts == 1), "a shortage is no attempt");
    assert!(fetched.summary.shortages > 0, "there was no shortage");
    assert!(fetched.summary.parallel_least < 40, "{}", fetched.summary.parallel_least);
}

fn check(paths: &[&str]) {
    let server = Server::builder().hosts(30).start();
    let urls: Vec<String> =
        (0..30).map(|host| server.url_on(host, paths.get(host % paths.len()).unwrap())).collect();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child"])
        .env("OVERLAPPED_TEST_URLS", urls.join(" "))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(server.requests(), ROWS as u64);
}

#[test]
fn a_run_with_few_files_finishes_with_every_row() {
    check(&["/delay/20"]);
}

#[test]
fn idle_connections_give_way() {
    check(&["/ok", "/delay/5"]);
}
