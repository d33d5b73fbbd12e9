//! Pictures of a result.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use overlapped_testkit::Server;
use program::{Directory, run, run_with};

/// A record as `fetch` writes it, of a row that began `start_ms` after the first.
fn record(row: usize, start_ms: usize, ok: bool) -> String {
    let (status, error) = if ok { ("200", "null") } else { ("null", "\"connect.refused\"") };
    let (s, ms) = (start_ms / 1000, start_ms % 1000);
    format!(
        "{{\"row\":{row},\"url\":\"http://example.org/{row}\",\"status\":{status},\"ok\":{ok},\"error\":{error},\
         \"attempts\":1,\"started\":\"2026-01-31T23:59:{s:02}.{ms:03}000Z\",\"blocked_ms\":0.1,\"dns_ms\":null,\
         \"connect_ms\":20.0,\"wait_ms\":100.0,\"receive_ms\":50.0,\"elapsed_ms\":170.1,\"body\":\"x\"}}\n"
    )
}

#[test]
fn a_few_rows_get_a_bar_each() {
    let list: String = (0..5).map(|row| record(row, row * 40, row != 3)).collect();
    let ran = run_with(&["waterfall", "-", "--width", "80"], list.as_bytes());
    ran.check_code(0);
    for row in 1..=5 {
        assert!(ran.stdout.lines().any(|line| line.starts_with(&format!("{row}  "))), "{}", ran.stdout);
    }
    assert!(ran.stdout.contains("connect.refused"), "{}", ran.stdout);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}'), "colour without a terminal");
}

#[test]
fn many_rows_share_lanes() {
    let list: String = (0..500).map(|row| record(row, row * 10, true)).collect();
    let ran = run_with(&["waterfall", "-"], list.as_bytes());
    ran.check_code(0);
    assert!(ran.stdout.contains("in flight") && ran.stdout.contains("500 rows, 0 failed"), "{}", ran.stdout);
}

#[test]
fn a_picture_is_one_file() {
    let directory = Directory::new();
    let results = directory.write(
        "results.ndjson",
        (0..500).map(|row| record(row, row * 10, row % 50 != 0)).collect::<String>(),
    );
    let picture = directory.path("run.svg");
    let ran = run(&["waterfall", &results, "-o", &picture]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    let svg = directory.read("run.svg");
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    assert!(!svg.contains("href") && !svg.contains("<script"), "it must need nothing else");
    assert_eq!(directory.names(), ["results.ndjson", "run.svg"]);
}

#[test]
fn a_line_that_is_no_record_is_told_by_its_number() {
    let list = format!("{}\n{{\"some\":\"thing\"}}\n", record(0, 0, true));
    run_with(&["waterfall", "-"], list.as_bytes()).check_refused(2, "line 3");
}

#[test]
fn what_fetch_writes_can_be_drawn() {
    let server = Server::start();
    let directory = Directory::new();
    let (results, picture) = (directory.path("out.ndjson"), directory.path("out.svg"));
    let url = format!("{}[1-4]", server.url("/delay/30?"));
    run(&["-s", "-o", &results, "--waterfall", &picture, &url, "ftp:nothing"]).check_refused(2, "ftp");
    run(&["-s", "-o", &results, "--waterfall", &picture, &url, &server.url("/status/404")]).check_code(1);
    assert!(directory.read("out.svg").contains("5 rows"));
    let ran = run(&["waterfall", &results]);
    ran.check_code(0);
    assert!(ran.stdout.contains("─ wait"), "{}", ran.stdout);
}
