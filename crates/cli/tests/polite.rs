//! `--robots` and `--polite`, as the server saw it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod program;

use overlapped_testkit::Server;
use program::run;

const DAY_US: u64 = 86_400_000_000;

/// The time of day at which a row was started, in microseconds.
fn time_of_day(record: &serde_json::Value) -> u64 {
    let (_, time) = record["started"].as_str().unwrap().split_once('T').unwrap();
    let digits: String = time.chars().filter(char::is_ascii_digit).collect();
    let [hours, minutes, us] =
        [&digits[..2], &digits[2..4], &digits[4..]].map(|part| part.parse::<u64>().unwrap());
    (hours * 60 + minutes) * 60_000_000 + us
}

#[test]
fn polite_is_robots_one_at_a_time_and_spaced() {
    let server = Server::builder().robots("User-agent: *\nDisallow: /text\n").start();
    let urls: Vec<String> =
        ["/ok", "/text/3", "/row/1", "/row/2"].iter().map(|path| server.url(path)).collect();
    let words = [&["-s", "--polite"][..], &urls.iter().map(String::as_str).collect::<Vec<_>>()];
    let ran = run(&words.concat());
    ran.check_code(1);
    let errors: Vec<_> =
        ran.records().iter().filter_map(|record| record["error"].as_str().map(str::to_owned)).collect();
    assert_eq!(errors, ["policy.robots"]);
    let seen = server.seen();
    assert_eq!((seen.len(), seen[0].target.as_str(), server.max_in_flight()), (4, "/robots.txt", 1));
    // When the engine started them: on the way the gap between two may become shorter. The row that is refused takes a turn of
    // its own.
    let mut records = ran.records();
    records.sort_unstable_by_key(|record| record["row"].as_u64());
    let [first, second, third] = [0, 2, 3].map(|row| time_of_day(&records[row]));
    let gap = |from: u64, to: u64| (to + DAY_US - from) % DAY_US;
    assert!(gap(first, second) >= 1_999_999 && gap(second, third) >= 999_999, "{records:?}");
}

#[test]
fn without_it_robots_txt_is_not_asked_for() {
    let server = Server::builder().robots("User-agent: *\nDisallow: /\n").start();
    run(&["-s", &server.url("/ok")]).check_code(0);
    assert_eq!(server.count("/robots.txt"), 0);
}
