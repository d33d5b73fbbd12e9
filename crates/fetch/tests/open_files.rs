//! A run with more requests than open files: no row fails for it. The limit is set for a process of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;
use std::time::Duration;

use overlapped_fetch::{Bulk, Config, Input, Pace, Timeouts};
use overlapped_testkit::Server;
use support::{fetch, retrying, run};

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

/// The same with no file at all that is free, from the moment at which the list is read.
#[test]
fn starved_child() {
    let Ok(url) = std::env::var("OVERLAPPED_TEST_STARVED") else { return };
    let mut held = Vec::new();
    let urls = std::iter::once(url).inspect(move |_| {
        while let Ok(file) = std::fs::File::open("/dev/null") {
            held.push(file);
        }
        std::mem::forget(std::mem::take(&mut held));
    });
    let timeouts = Timeouts { total: Some(Duration::from_secs(1)), ..Timeouts::default() };
    let input = Input::Urls(Box::new(urls));
    let fetched = run(Bulk::new(Config { timeouts, ..retrying(0) }).unwrap().input(input));
    assert_eq!(fetched.errors(), ["resource"], "{:?}", fetched.records);
}

/// It waited for two minutes, whatever time the row had.
#[test]
fn a_row_waits_for_a_file_no_longer_than_it_has_time() {
    let server = Server::start();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "starved_child"])
        .env("OVERLAPPED_TEST_STARVED", server.url("/ok"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(server.requests(), 0);
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
