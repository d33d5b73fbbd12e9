//! Pictures of a result.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::process::Command;

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
    for row in 0..5 {
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
    let ran = run_with(&["waterfall", "-"], b"http://a/\n");
    ran.check_refused(2, "line 1 is no record of `overlapped fetch`: it is no JSON object");
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

/// True if Python's reader takes it for XML.
fn is_xml(path: &str) -> bool {
    const READ: &str = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])";
    Command::new("python3").args(["-c", READ, path]).status().unwrap().success()
}

#[test]
fn hostile_records_make_a_picture_without_nan() {
    let values =
        ["NaN", "Infinity", "-Infinity", "-1", "1e308", "1e999", "null", "\"x\"", "{}", "\"2026\"", "true"];
    let fields = [
        "row",
        "status",
        "ok",
        "error",
        "attempts",
        "started",
        "blocked_ms",
        "connect_ms",
        "wait_ms",
        "elapsed_ms",
    ];
    let base = |value: &str, changed: &str| {
        let field = |name: &str| match name {
            name if name == changed => format!("\"{name}\":{value}"),
            "started" => "\"started\":\"2026-01-31T23:59:01.5Z\"".to_owned(),
            "ok" => "\"ok\":true".to_owned(),
            "error" => "\"error\":null".to_owned(),
            name => format!("\"{name}\":7"),
        };
        let missing = fields.iter().filter(|name| *name != &changed).map(|name| field(name));
        let all = fields.iter().map(|name| field(name));
        let line = |fields: Vec<String>| {
            format!("{{\"url\":\"http://a/<&\\u0000\\ud83d\\ude00\",{}}}\n", fields.join(","))
        };
        line(all.collect()) + &line(missing.collect())
    };
    let mut list = String::new();
    for value in values {
        fields.iter().for_each(|field| list.push_str(&base(value, field)));
    }
    for year in ["0000", "1970", "9999"] {
        list.push_str(&record(0, 0, false).replace("2026", year));
    }
    let directory = Directory::new();
    // All in lanes, and in bars of their own.
    for (at, part) in [&list.lines().collect::<Vec<_>>()[..]]
        .into_iter()
        .chain(list.lines().collect::<Vec<_>>().chunks(40))
        .enumerate()
    {
        let results = directory.write("results.ndjson", part.join("\n"));
        let picture = directory.path(&format!("{at}.svg"));
        run(&["waterfall", &results, "-o", &picture]).check_code(0);
        assert!(is_xml(&picture), "{part:?}");
        let ran = run(&["waterfall", &results, "--width", "80"]);
        ran.check_code(0);
        assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ran.stdout);
        for drawn in [directory.read(&format!("{at}.svg")), ran.stdout] {
            let numbers = drawn.replace(">inf<", "").replace("<title>", "");
            assert!(
                !numbers.contains("NaN") && !numbers.contains("=\"inf") && !numbers.contains("inf "),
                "{drawn}"
            );
        }
    }
}
