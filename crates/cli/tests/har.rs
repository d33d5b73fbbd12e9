//! HAR 1.2 as an output: what is in it, and its lifecycle. That others read it is tested in `crates/python/tests/test_archives.py`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use overlapped_testkit::Server;
use program::{Directory, command, killed_after, list, run};
use serde_json::Value;

/// The entries of an archive in the order of their rows, each checked by the rules of the format.
fn entries(path: &str) -> Vec<Value> {
    let archive: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let log = &archive["log"];
    assert_eq!((&log["version"], &log["creator"]["name"]), (&"1.2".into(), &"overlapped".into()));
    let mut entries = log["entries"].as_array().unwrap().clone();
    entries.iter().for_each(check);
    entries.sort_by_key(|entry| entry["_row"].as_u64());
    entries
}

fn check(entry: &Value) {
    let timings = entry["timings"].as_object().unwrap();
    let time = |name: &str| timings[name].as_f64().unwrap();
    for name in ["send", "wait", "receive"] {
        assert!(time(name) >= 0.0, "{name}: {entry}");
    }
    assert!(timings.values().all(|time| time.as_f64().is_some_and(|time| time >= 0.0 || time == -1.0)));
    assert!(time("ssl") <= time("connect"), "connect includes ssl: {entry}");
    let phases = ["blocked", "dns", "connect", "send", "wait", "receive"].map(time);
    let sum: f64 = phases.into_iter().filter(|time| *time >= 0.0).sum();
    assert!((entry["time"].as_f64().unwrap() - sum).abs() < 1e-6, "time is the sum: {entry}");
    assert!(entry["startedDateTime"].as_str().is_some_and(|started| started.len() == 27), "{entry}");
    for (part, name) in [("request", "url"), ("request", "method"), ("response", "redirectURL")] {
        assert!(entry[part][name].is_string(), "{part}.{name}: {entry}");
    }
    for part in ["request", "response"] {
        for field in entry[part]["headers"].as_array().unwrap() {
            assert!(field["name"].is_string() && field["value"].is_string(), "{field}");
        }
    }
}

#[test]
fn an_entry_for_each_row_whatever_became_of_it() {
    let server = Server::start();
    let directory = Directory::new();
    let large = 3 << 20;
    let lines = format!(
        "{}\nno url\n{}\n{}\n{}\nhttp://127.0.0.1:1/\n",
        server.url("/ok?a=1&b=%C3%A9"),
        server.url("/status/404"),
        server.url("/redirect/2"),
        server.url(&format!("/bytes/{large}")),
    );
    let list = directory.write("urls.txt", lines);
    let (har, ndjson) = (directory.path("r.har"), directory.path("r.ndjson"));
    let words = ["-s", "--retry=0", "--max-host-errors=0", "-o", &har, "-o", &ndjson, &format!("@{list}")];
    run(&words).check_code(1);
    let entries = entries(&har);
    let records = program::records(&directory.read("r.ndjson"));
    assert_eq!(entries.len(), 6);
    for entry in &entries {
        let record = records.iter().find(|record| record["row"] == entry["_row"]).unwrap();
        let response = &entry["response"];
        assert_eq!(response["status"], record["status"].as_u64().unwrap_or(0));
        assert_eq!(response["_error"], record["error"]);
        assert_eq!((&response["content"]["size"], &entry["_ok"]), (&record["bytes"], &record["ok"]));
        assert_eq!(response["content"]["text"].is_string(), record["status"].is_u64(), "{entry}");
        if record["status"].is_u64() {
            assert_eq!(response["bodySize"], record["wire_bytes"]);
            let headers = entry["request"]["headers"].as_array().unwrap();
            assert!(headers.iter().any(|field| field["name"] == "host"), "{headers:?}");
        }
    }
    assert_eq!(entries[0]["request"]["queryString"][1]["value"], "\u{e9}");
    assert_eq!(
        (&entries[0]["response"]["statusText"], &entries[1]["request"]["url"]),
        (&"OK".into(), &"no url".into())
    );
    assert_eq!(entries[3]["_redirects"].as_array().map(Vec::len), Some(2));
    assert!(entries[3]["_url"].as_str().unwrap().ends_with("/redirect/2"));
    let content = &entries[4]["response"]["content"];
    assert_eq!(content["encoding"], "base64");
    assert_eq!(content["text"].as_str().unwrap().len(), usize::div_ceil(large, 3) * 4);
    // What is written is read.
    for picture in ["waterfall", "report"] {
        let page = directory.path(if picture == "report" { "p.html" } else { "p.svg" });
        run(&[picture, &har, "-o", &page]).check_code(0);
        assert!(fs::metadata(&page).unwrap().len() > 1_000, "{picture}");
    }
}

#[test]
fn no_secret_is_in_an_archive() {
    let server = Server::start();
    let directory = Directory::new();
    let url = server.url("/ok").replacen("http://", "http://me:s3cr3t@", 1);
    let path = directory.path("r.har");
    let words = ["-s", "-H", "Cookie: a=s3cr3t", "-H", "X-Api-Key: s3cr3t", "-H", "Accept: text/plain"];
    let list = directory.write("urls.txt", format!("{url}\n{url}\n"));
    run(&[&words[..], &["-o", &path, &format!("@{list}")]].concat()).check_code(0);
    assert!(server.seen().iter().all(|seen| seen.header("x-api-key") == Some("s3cr3t")));
    assert!(!directory.read("r.har").contains("s3cr3t"));
    let value = |name: &str| {
        let fields = entries(&path)[0]["request"]["headers"].as_array().unwrap().clone();
        fields.into_iter().find(|field| field["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!(
        ["accept", "cookie", "authorization", "x-api-key"].map(value),
        ["text/plain", "***", "***", "***"]
    );
}

#[test]
fn an_archive_replaces_its_spool() {
    let server = Server::start();
    for durability in ["group", "none"] {
        let directory = Directory::new();
        let list = list(&server, &directory, 2_000, |row| format!("/row/{row}"));
        let path = directory.path("r.har");
        run(&["-s", "--durability", durability, "-o", &path, &list]).check_code(0);
        assert_eq!(directory.names(), ["r.har", "urls.txt"]);
        assert!(entries(&path).iter().map(|entry| entry["_row"].as_u64().unwrap()).eq(0..2_000));
        run(&["-s", "-o", &path, &list]).check_refused(2, "--overwrite");
        let ran = run(&["-o", &path, "--resume", &list]);
        ran.check_code(0);
        assert!(ran.stderr.contains("nothing to do"), "{}", ran.stderr);
        // An archive without its end is not that of a run that is over.
        let whole = directory.read("r.har");
        directory.write("r.har", whole.strip_suffix("]}}\n").unwrap());
        run(&["-s", "-o", &path, "--resume", &list]).check_refused(2, "--overwrite");
        run(&["-s", "--overwrite", "-o", &path, &server.url("/row/1")]).check_code(0);
        assert_eq!(entries(&path).len(), 1);
        let empty = directory.write("empty.txt", "");
        run(&["-s", "--overwrite", "-o", &path, &format!("@{empty}")]).check_code(0);
        assert_eq!(entries(&path).len(), 0);
    }
}

#[test]
fn a_killed_run_is_resumed_from_the_spool() {
    const ROWS: u64 = 400;
    let server = Server::start();
    let mut resumed = 0;
    for after in [40, 200] {
        let directory = Directory::new();
        let list = list(&server, &directory, ROWS, |row| format!("/row/{row}?delay_ms=2"));
        let path = directory.path("r.har");
        let words = ["-s", "-j", "8", "--durability", "each", "-o", &path, &list];
        killed_after(&words, &server, after);
        if directory.names().contains(&"r.har.run".to_owned()) {
            directory.write(".r.har.building", "half an archive");
            resumed += 1;
        }
        run(&[&words[..], &["--resume"]].concat()).check_code(0);
        assert!(entries(&path).iter().map(|entry| entry["_row"].as_u64().unwrap()).eq(0..ROWS));
        assert_eq!(directory.names(), ["r.har", "urls.txt"]);
    }
    assert!(resumed > 0, "no run was killed before its end");
}

/// However often it is killed, also while it is closed: no part of it has its name, and all rows are there in the end.
#[test]
fn a_run_that_is_killed_again_and_again_gives_the_archive_of_all_rows() {
    const ROWS: u64 = 6_000;
    let kills = std::env::var("OVERLAPPED_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let server = Server::start();
    let directory = Directory::new();
    let list = list(&server, &directory, ROWS, |row| format!("/row/{row}?delay_ms=1"));
    let path = directory.path("r.har");
    let words = ["-s", "-j", "16", "--resume", "-o", &path, &list];
    let (seen, mut killed) = (server.count("/row/"), 0);
    for kill in 1..=kills {
        let mut child = command(&words).stderr(Stdio::null()).spawn().unwrap();
        // The requests of groups that were lost are sent once more, so this many come however often it is killed.
        server.wait_for_requests(seen + ROWS * kill / (kills + 1), Duration::from_secs(10));
        child.kill().unwrap();
        child.wait().unwrap();
        killed += u64::from(directory.names().contains(&"r.har.run".to_owned()));
        if directory.names().contains(&"r.har".to_owned()) {
            assert_eq!(entries(&path).len() as u64, ROWS, "what has the name is whole");
        }
    }
    run(&words).check_code(0);
    assert_eq!(directory.names(), ["r.har", "urls.txt"]);
    assert!(killed > 0, "no run was killed before its end");
    assert!(entries(&path).iter().map(|entry| entry["_row"].as_u64().unwrap()).eq(0..ROWS));
}

/// A complete archive that has grown, also where its first entries are those of failed rows, or all are.
#[test]
fn an_archive_goes_on_after_its_end() {
    let server = Server::start();
    for failed in [|row: u64| row == 7, |row| row < 3, |_| true] {
        let directory = Directory::new();
        let page = |row| match failed(row) {
            true => format!("/flaky?fail=1&status=404&key={row}-{}", failed(99)),
            false => format!("/row/{row}"),
        };
        let list = list(&server, &directory, 10, page);
        let path = directory.path("r.har");
        let words = ["-s", "--retry", "0", "--max-host-errors", "0", "-j", "1", "-o", &path, &list];
        run(&words).check_code(1);
        assert_eq!(directory.names(), ["r.har", "r.har.run", "urls.txt"]);
        // The list grows.
        let urls = directory.read("urls.txt") + &format!("{}\n", server.url("/row/10"));
        directory.write("urls.txt", urls);
        run(&[&words[..], &["--resume"]].concat()).check_code(1);
        assert_eq!(directory.names(), ["r.har", "r.har.run", "urls.txt"]);
        assert_eq!(entries(&path).iter().filter(|entry| entry["_ok"] == true).count(), 11 - failing(failed));
        run(&[&words[..], &["--retry-failed"]].concat()).check_code(0);
        assert!(entries(&path).iter().map(|entry| entry["_row"].as_u64().unwrap()).eq(0..11));
        assert_eq!(directory.names(), ["r.har", "urls.txt"]);
    }
}

fn failing(failed: fn(u64) -> bool) -> usize {
    (0..10).filter(|row| failed(*row)).count()
}

#[test]
fn an_archive_that_was_changed_is_no_place_to_go_on() {
    let server = Server::start();
    let directory = Directory::new();
    let list = list(&server, &directory, 20, |row| {
        format!("/status/{}?row={row}", if row == 7 { 404 } else { 200 })
    });
    let path = directory.path("r.har");
    run(&["-s", "-o", &path, &list]).check_code(1);
    let changed = directory.read("r.har").replacen("\"_row\":3", "\"_row\":4", 1);
    directory.write("r.har", changed);
    for how in ["--resume", "--retry-failed"] {
        run(&["-s", "-o", &path, how, &list]).check_refused(4, "it was changed");
    }
}

#[test]
fn a_failed_row_is_replaced() {
    let server = Server::start();
    let directory = Directory::new();
    let page = |row| match row % 10 {
        3 => format!("/flaky?fail=1&status=404&key={row}"),
        _ => format!("/row/{row}"),
    };
    let list = list(&server, &directory, 60, page);
    let path = directory.path("r.har");
    let words = ["-s", "--retry", "0", "--max-host-errors", "0", "-o", &path, &list];
    run(&words).check_code(1);
    let oks = |path: &str| entries(path).iter().filter(|entry| entry["_ok"] == true).count();
    assert_eq!((entries(&path).len(), oks(&path)), (60, 54));
    run(&[&words[..], &["--retry-failed"]].concat()).check_code(0);
    assert_eq!((entries(&path).len(), oks(&path)), (60, 60));
    assert_eq!(directory.names(), ["r.har", "urls.txt"]);
}
