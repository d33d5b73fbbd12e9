//! The summary of a run: its figures add up, and its words say what they count and which flag helps.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use overlapped_testkit::{Script, Server, refused};
use program::{Directory, Ran, run, run_with};
use serde_json::Value;

/// The words of a line of the summary, which may be wrapped.
#[track_caller]
fn line(ran: &Ran, name: &str) -> String {
    let mut lines = ran.stderr.lines().skip_while(|line| !line.trim_start().starts_with(name));
    let first = lines.next().unwrap_or_else(|| panic!("no line {name}: {ran:?}"));
    let more = lines.take_while(|line| line.starts_with("    "));
    std::iter::once(first).chain(more).flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

fn summary(directory: &Directory) -> Value {
    serde_json::from_str(&directory.read("summary.json")).unwrap()
}

/// The sum of an object's values.
fn sum(object: &Value) -> u64 {
    object.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum()
}

#[test]
fn rows_of_a_host_that_is_down_are_told_with_the_flags_that_help() {
    let (server, dead) = (Server::start(), refused());
    let list: String = (0..60).map(|row| dead.url(&format!("/{row}\n"))).collect();
    let list = format!("{}\n{list}", server.url("/ok"));
    let ran = run_with(&["--host-down-after", "1s", "--retry", "0", "-o", "-", "-"], list.as_bytes());
    ran.check_code(1);
    let down = ran.records().iter().filter(|record| record["error"] == "host.down").count();
    assert!((1..60).contains(&down), "{ran:?}");
    let told = line(&ran, "host.down");
    assert!(
        told.starts_with(&format!("host.down {down} rows not tried: their hosts gave no answer")),
        "{told}"
    );
    assert!(told.contains("--host-down-after; --retry-failed fetches them again"), "{told}");
    assert!(line(&ran, "errors").contains(&format!("host.down {down}")), "{ran:?}");
}

#[test]
fn each_row_is_in_one_class_of_outcomes() {
    let (server, dead, directory) = (Server::start(), refused(), Directory::new());
    let paths = ["/status/404", "/status/410", "/status/503", "/status/304", "/status/700", "/close"];
    let urls = paths.iter().map(|path| server.url(path)).chain([dead.url("/"), "no url".to_owned()]);
    let list: String =
        (0..5).map(|row| server.url(&format!("/row/{row}"))).chain(urls).map(|url| url + "\n").collect();
    let path = directory.path("summary.json");
    let words =
        ["--retry", "0", "--max-host-errors", "0", "--fail=300-999", "-o", "-", "--summary", &path, "-"];
    let ran = run_with(&words, list.as_bytes());
    ran.check_code(1);
    let summary = summary(&directory);
    let (rows, ok) = (summary["rows_done"].as_u64().unwrap(), summary["ok"].as_u64().unwrap());
    assert_eq!((rows, ok), (13, 5), "{summary:#}");
    assert_eq!(ok + sum(&summary["failed_by_class"]), rows, "{summary:#}");
    assert_eq!(sum(&summary["by_error"]), rows - ok, "{summary:#}");
    let told = line(&ran, "rows");
    let numbers = told.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    assert_eq!(numbers.sum::<u64>(), rows, "{told}");
    for class in ["5 ok", "3xx 1", "4xx 2", "5xx 1", "other status 1", "failed 2", "bad rows 1"] {
        assert!(told.contains(class), "{class}: {told}");
    }
}

#[test]
fn the_slowest_hosts_are_told_with_what_is_measured() {
    let server = Server::builder().hosts(2).start();
    let ran = run(&["-o", "-", &server.url_on(0, "/ok"), &server.url_on(1, "/ok")]);
    ran.check_code(0);
    let told = line(&ran, "slowest");
    assert!(told.contains("127.0.0.1 ") && told.ends_with("(mean total of a host)"), "{told}");
}

/// An attempt that no server saw did not reach one; each of the others is one request.
#[test]
fn attempts_are_the_requests_that_the_server_saw() {
    let once = Script::response(200, &[("Connection", "close")], "bye");
    let (server, dead) = (Server::builder().route("/bye", once).start(), refused());
    let paths = ["/flaky?fail=1", "/flaky/truncate", "/redirect/3", "/status/500", "/bye", "/ok"];
    let urls = paths.iter().cycle().take(60).map(|path| server.url(path));
    let list: String = urls.chain([dead.url("/"), "no url".to_owned()]).map(|url| url + "\n").collect();
    let ran = run_with(&["-s", "--retry", "1", "--max-host-errors", "0", "-o", "-", "-"], list.as_bytes());
    let (mut reached, mut missed) = (0, 0);
    for record in ran.records() {
        let attempts = record["attempts"].as_u64().unwrap();
        match record["error"].as_str() {
            Some("connect.refused" | "input.url") => missed += attempts,
            _ => reached += attempts,
        }
    }
    assert_eq!((reached, missed), (server.requests(), 2), "{ran:?}");
}
