//! How much memory bodies may take that expand without end. Alone in its file, because whatever runs beside it would be
//! counted too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod support;

use overlapped_fetch::{Config, Pace, Response};
use overlapped_testkit::Server;
use support::{config, fetch};

/// The most memory that this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[test]
fn bombs_cost_no_more_than_their_limit() {
    let server = Server::start();
    let before = peak_mib();
    let kinds = ["gzip", "deflate", "raw-deflate", "br", "zstd"];
    let urls = (0..20).map(|row| server.url(&format!("/bomb/{}/1099511627776?{row}", kinds[row % 5])));
    let response = Response { max_bytes: 4 << 20, ..Response::default() };
    let pace = Pace { parallel_max: 4, ..Pace::default() };
    let fetched = fetch(Config { response, pace, ..config() }, urls);
    assert_eq!(fetched.errors(), ["body.too_large"; 20]);
    let grown = peak_mib() - before;
    // Four at a time, each with twice its limit while its room grows, and its decoder; the server is in here too.
    assert!(grown < 100, "{grown} MiB");
}
