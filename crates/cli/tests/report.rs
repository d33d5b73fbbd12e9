//! Pages about runs. What a browser makes of them is looked at in headless Chromium, where one is installed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it leaves out")]

mod program;

use std::process::Command;

use overlapped_testkit::Server;
use program::{Directory, run, run_with};

const EVIL: &str = "</script><img src=x onerror=document.title='broken'><!--\u{202e}";

/// A record of a row that began `start_ms` after the first.
fn record(row: usize, start_ms: usize, ok: bool) -> String {
    let evil = EVIL.replace('"', "\\\"");
    let error = if ok { "null".to_owned() } else { format!("\"{evil}\"") };
    let (s, ms) = (start_ms / 1000, start_ms % 1000);
    format!(
        "{{\"row\":{row},\"url\":\"http://h{}.test/{row}{evil}\",\"host\":\"h{}.test{evil}\",\"status\":200,\"ok\":{ok},\
         \"error\":{error},\"error_message\":{error},\"attempts\":1,\"bytes\":5,\
         \"started\":\"2026-01-31T23:59:{s:02}.{ms:03}000Z\",\"blocked_ms\":0.1,\"dns_ms\":null,\"connect_ms\":20.0,\
         \"send_ms\":0.1,\"wait_ms\":{}.0,\"receive_ms\":50.0,\"elapsed_ms\":170.1,\"headers\":{{\"x\":[\"{evil}\"]}}}}\n",
        row % 7,
        row % 7,
        100 + row,
    )
}

/// The figures in a page.
fn figures(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("id=\"figures\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn every_format_gives_the_same_page() {
    let server = Server::start();
    let directory = Directory::new();
    let urls =
        ["/ok", "/status/404", "/redirect/1", "/flaky?fail=1&status=503&key=a"].map(|path| server.url(path));
    let list = directory.write("urls.txt", urls.join("\n") + "\nno url\n");
    let [ndjson, parquet, arrow, har, direct] =
        ["r.ndjson", "r.parquet", "r.arrow", "r.har", "direct.html"].map(|name| directory.path(name));
    let outputs = ["-o", &ndjson, "-o", &parquet, "-o", &arrow, "-o", &har, "--report", &direct];
    run(&[&["-s", "--retry", "1", &format!("@{list}")][..], &outputs].concat()).check_code(1);
    let direct = figures(&directory.read("direct.html"));
    assert_eq!((&direct["rows"], &direct["ok"], &direct["never_started"]), (&5.into(), &3.into(), &1.into()));
    assert_eq!((&direct["retries"], drawn(&direct)[2].1), (&1.into(), true), "{direct}");
    assert_eq!(direct["note"], serde_json::Value::Null, "nothing was there to go on with");
    for results in [&ndjson, &parquet, &arrow, &har] {
        let page = directory.path("page.html");
        run(&["report", results, "-o", &page]).check_code(0);
        let page = figures(&directory.read("page.html"));
        for name in ["rows", "ok", "never_started", "bytes", "statuses", "errors", "retries"] {
            assert_eq!(page[name], direct[name], "{results}: {name}");
        }
        assert_eq!(drawn(&page), drawn(&direct), "{results}");
        assert_eq!(page["hosts"]["list"][0][0], "127.0.0.1");
        let text = run(&["waterfall", results]);
        text.check_code(0);
        assert!(text.stdout.contains("404") && text.stdout.contains('≥'), "{}", text.stdout);
    }
}

/// The rows of the waterfall, in the order of the list: the number of each, and whether it had earlier attempts.
fn drawn(page: &serde_json::Value) -> Vec<(u64, bool)> {
    let earlier =
        page["phase_names"].as_array().unwrap().iter().position(|name| name == "earlier attempts, at least");
    let rows = page["sample"]["list"].as_array().unwrap().iter();
    let mut rows: Vec<_> = rows
        .map(|row| {
            let phases = row[5].as_array().unwrap();
            (
                row[0].as_u64().unwrap(),
                phases.iter().any(|phase| phase[0].as_u64().map(|at| at as usize) == earlier),
            )
        })
        .collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_har_of_a_browser_is_drawn() {
    let directory = Directory::new();
    let har = directory.write(
        "a.har",
        r#"{"log":{"version":"1.2","creator":{"name":"x","version":"1"},"entries":[
            {"startedDateTime":"2026-01-31T12:00:00.000+01:00","time":30,"request":{"method":"GET","url":"http://a.test/"},
             "response":{"status":200,"content":{"size":7}},"timings":{"send":0,"wait":20,"receive":10}}]}}"#,
    );
    let page = directory.path("page.html");
    run(&["report", &har, "-o", &page]).check_code(0);
    let page = figures(&directory.read("page.html"));
    assert_eq!((&page["rows"], &page["ok"], &page["total"]["max"]), (&1.into(), &1.into(), &30.0.into()));
    run(&["waterfall", &har]).check_code(0);
    let broken = directory.write("b.har", "{\"log\":{}}");
    run(&["report", &broken, "-o", &directory.path("b.html")]).check_refused(2, "it is no HAR");
}

#[test]
fn what_is_no_result_is_told_and_leaves_no_page() {
    let directory = Directory::new();
    let list = directory.write("urls.ndjson", "{\"row\":1}\n");
    let table = directory.write("r.parquet", "no table");
    let page = directory.path("page.html");
    run(&["report", &list, "-o", &page]).check_refused(2, "line 1 is no record");
    run(&["report", &table, "-o", &page]).check_refused(2, "is no table");
    run(&["report", "/nowhere/r.ndjson", "-o", &page]).check_refused(2, "/nowhere/r.ndjson");
    assert_eq!(directory.names(), ["r.parquet", "urls.ndjson"]);
    run_with(&["report", "-", "-o", &page], b"").check_code(0);
    assert_eq!(figures(&directory.read("page.html"))["rows"], 0);
}

/// What the script of a test finds in the page. It sorts, filters and zooms as a user does, and collects errors.
const LOOK: &str = include_str!("report/look.html");

#[test]
fn the_page_works_in_a_browser_whatever_is_in_it() {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    }) else {
        eprintln!("skipped: Chromium is not installed");
        return;
    };
    let directory = Directory::new();
    let results = directory
        .write("evil.ndjson", (0..500).map(|row| record(row, row * 10, row % 50 != 0)).collect::<String>());
    let path = directory.path("page.html");
    run(&["report", &results, "-o", &path]).check_code(0);
    let page = directory.read("page.html");
    let listen = "<script>window.errors = []; addEventListener('error', e => errors.push(e.message)); \
                  addEventListener('securitypolicyviolation', e => errors.push(e.blockedURI));</script>";
    let page = page.replacen("<title>", &format!("{listen}<title>"), 1).replacen(
        "</body>",
        &format!("{LOOK}</body>"),
        1,
    );
    let looked = directory.write("looked.html", page);
    let profile = format!("--user-data-dir={}", directory.path("profile"));
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=10000",
            &profile,
            "--dump-dom",
        ])
        .arg(format!("file://{looked}"))
        .output()
        .unwrap();
    let page = String::from_utf8_lossy(&output.stdout);
    let found = page.split_once("<pre id=\"found\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let Some((found, _)) = found else {
        panic!("the browser made nothing of it: {}", String::from_utf8_lossy(&output.stderr))
    };
    let found: Vec<u8> = found.split(' ').map(|byte| byte.parse().unwrap()).collect();
    let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
    let length = |name: &str| found[name].as_array().unwrap().len();
    assert_eq!(length("errors"), 0, "{found}");
    assert_eq!((found["tiles"][0].as_str(), found["tiles"][1].as_str()), (Some("490"), Some("10")));
    assert!(found["pictures"].as_u64().unwrap() > 50, "{found}");
    assert_eq!((length("hosts"), length("filtered")), (7, 1));
    assert_eq!(found["sorted"], "descending");
    assert_eq!((&found["zoomed"], &found["back"]), (&true.into(), &true.into()), "{found}");
    assert!(found["tip"].as_str().unwrap().contains("<img src=x"), "{found}");
    assert_eq!((&found["failed"], &found["failures"]), (&10.into(), &10.into()), "{found}");
    assert_eq!(found["near"], true, "the time of the rows that are seen is not that of the run");
    assert!(found["printed"].as_u64().unwrap() > 3 * 48, "as many rows as a page of paper has: {found}");
    assert_eq!((&found["images"], &found["title"]), (&0.into(), &"evil.ndjson".into()));
}
