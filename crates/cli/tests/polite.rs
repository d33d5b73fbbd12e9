//! `--robots` and `--polite`, as the server saw it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod program;

use std::time::Duration;

use overlapped_testkit::Server;
use program::run;

#[test]
fn polite_is_robots_one_at_a_time_and_spaced() {
    let server = Server::builder().robots("User-agent: *\nDisallow: /text\n").start();
    let urls: Vec<String> =
        ["/ok", "/text/3", "/row/1", "/row/2"].iter().map(|path| server.url(path)).collect();
    let words =
        [&["-s", "--polite", "--rate-host", "5/s"][..], &urls.iter().map(String::as_str).collect::<Vec<_>>()];
    let ran = run(&words.concat());
    ran.check_code(1);
    let errors: Vec<_> =
        ran.records().iter().filter_map(|record| record["error"].as_str().map(str::to_owned)).collect();
    assert_eq!(errors, ["policy.robots"]);
    let seen = server.seen();
    assert_eq!((seen.len(), seen[0].target.as_str(), server.max_in_flight()), (4, "/robots.txt", 1));
    // From the start of the server on, as a delay on the way makes only the gap before a request longer, not the one behind it.
    // robots.txt takes a turn of its own; so does the row that is refused.
    for (seen, turn) in seen.iter().zip([0, 1, 3, 4]) {
        assert!(seen.at >= turn * Duration::from_millis(200), "{turn}: {seen:?}");
    }
}

#[test]
fn without_it_robots_txt_is_not_asked_for() {
    let server = Server::builder().robots("User-agent: *\nDisallow: /\n").start();
    run(&["-s", &server.url("/ok")]).check_code(0);
    assert_eq!(server.count("/robots.txt"), 0);
}
