//! `--dry-run`: the statistics of a list, without a packet.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod program;

use overlapped_testkit::Server;
use program::{Directory, run, run_with};

#[test]
fn a_list_is_counted_and_nothing_is_sent_or_written() {
    let server = Server::builder().hosts(3).start();
    let directory = Directory::new();
    let mut text: String = (0..40).map(|row| format!("{}\n", server.url_on(row % 2, "/ok"))).collect();
    text.push_str(&format!("{}\n# a comment\nexample.org\n", server.url_on(2, "/ok")));
    let list = format!("@{}", directory.write("urls.txt", text));
    let (out, summary) = (directory.path("out.ndjson"), directory.path("dry.json"));
    let words = ["--dry-run", "--rate-host", "2/s", "-o", &out, "--summary", &summary, &list];
    let ran = run(&words);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    for line in [
        "rows      42, of which 1 is bad",
        "  line 43: input.url",
        "hosts     3",
        "             20  127.0.0.1",
        "              1  127.0.0.3",
        "time      at least 9.50 s",
    ] {
        assert!(ran.stdout.contains(line), "{line:?} is not in {}", ran.stdout);
    }
    let summary: serde_json::Value = serde_json::from_str(&directory.read("dry.json")).unwrap();
    assert_eq!((&summary["rows"], &summary["bad_rows"][0]["row"]), (&42.into(), &41.into()));
    assert_eq!((&summary["time_min_s"], &summary["rows_of_other_hosts"]), (&9.5.into(), &0.into()));
    assert_eq!(server.requests(), 0);
    assert_eq!(directory.names(), ["dry.json", "urls.txt"]);
}

#[test]
fn the_first_bad_rows_are_told_and_the_others_counted() {
    let ran = run_with(&["--dry-run", "-"], &b"x\n".repeat(30));
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stdout.lines().filter(|line| line.contains("input.url")).count(), 20);
    assert!(ran.stdout.contains("  and 10 more\n"), "{}", ran.stdout);
    let ran = run_with(&["--dry-run", "--input-format", "csv", "-"], b"a,b\n1,2\n");
    assert_eq!(ran.code, Some(2), "{ran:?}");
}
