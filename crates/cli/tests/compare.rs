//! The experiment, on the built-in server and on given URLs. Its times are for people; no test asserts them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use overlapped_testkit::Server;
use program::{Directory, run};

#[test]
fn three_arms_without_a_network() {
    let directory = Directory::new();
    let path = directory.path("compare.json");
    let ran = run(&["compare", "--scale", "0.02", "--runs", "1", "--many", "50", "-v", "--summary", &path]);
    ran.check_code(0);
    for title in ["sequential: ", "thread pool: ", "native async: ", "ideal 0.048 s", "speed-up"] {
        assert!(ran.stdout.contains(title), "{title} is not in\n{}", ran.stdout);
    }
    let responses =
        "[<Response [200]>, <Response [200]>, <Response [200]>, <Response [200]>, <Response [200]>]";
    assert_eq!(ran.stdout.matches(responses).count(), 3, "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("\nStart: http://127.0.0.1:").count(), 15, "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("\nEnd: http://127.0.0.1:").count(), 15, "{}", ran.stdout);
    let summary: serde_json::Value = serde_json::from_str(&directory.read("compare.json")).unwrap();
    let arms: Vec<_> =
        summary["arms"].as_array().unwrap().iter().map(|arm| arm["arm"].as_str().unwrap()).collect();
    assert_eq!(arms, ["sequential", "pool", "native"]);
    assert!(
        summary["arms"].as_array().unwrap().iter().all(|arm| arm["cpu_s"].as_f64().unwrap() > 0.0),
        "{summary}"
    );
    let many = summary["many"]["arms"].as_array().unwrap();
    assert_eq!(many.iter().map(|arm| arm["arm"].as_str().unwrap()).collect::<Vec<_>>(), ["pool", "native"]);
    for arm in many.iter().chain(summary["arms"].as_array().unwrap()) {
        assert!(arm["memory_bytes"].as_u64().unwrap() > 1 << 20, "{arm}");
    }
    assert!(
        many.iter()
            .all(|arm| arm["results"].as_array().unwrap().iter().filter(|r| *r == "200").count() == 50)
    );
    let last = ran.stdout.lines().rev().take_while(|line| !line.is_empty()).collect::<Vec<_>>();
    assert_eq!(last.last(), Some(&"next:"), "{}", ran.stdout);
    assert_eq!(summary["arms"][0]["threads"], 1);
    assert_eq!(summary["arms"][1]["threads"], 6);
}

#[test]
fn the_arms_overlap_as_they_say() {
    for (arm, most) in [("sequential", 1), ("pool", 4), ("native", 8)] {
        let server = Server::start();
        let list: Vec<String> = (0..8).map(|i| server.url(&format!("/together/{most}?{i}"))).collect();
        let words = ["compare", "--arm", arm, "--workers", "4"];
        program::run_with(&words, list.join("\n").as_bytes()).check_code(0);
        assert_eq!((server.requests(), server.max_in_flight()), (8, most), "{arm}");
    }
}

#[test]
fn results_come_in_the_order_of_the_list() {
    let server = Server::start();
    let directory = Directory::new();
    let list: Vec<String> = [200, 404, 503].map(|status| server.url(&format!("/status/{status}"))).into();
    let path = format!("@{}", directory.write("urls.txt", list.join("\n")));
    let ran = run(&["compare", "--runs", "1", "-v", &path]);
    ran.check_code(1);
    assert_eq!(
        ran.stdout.matches("[<Response [200]>, <Response [404]>, <Response [503]>]").count(),
        3,
        "{}",
        ran.stdout
    );
}

/// The engine tried three times where the other arms tried once, and the speed-up said that it was slow.
#[test]
fn a_url_that_fails_has_one_attempt_in_every_arm() {
    let server = Server::start();
    let directory = Directory::new();
    let path = directory.path("compare.json");
    let url = server.url("/status/503");
    let ran = run(&["compare", "--runs", "1", "--summary", &path, &url]);
    ran.check_code(1);
    assert_eq!(server.requests(), 3, "one of each arm");
    assert!(!ran.stdout.contains('×'), "{}", ran.stdout);
    let summary: serde_json::Value = serde_json::from_str(&directory.read("compare.json")).unwrap();
    for arm in summary["arms"].as_array().unwrap() {
        assert!(arm["speed_up"].is_null() && arm["wall_s"].is_number(), "{arm}");
    }
    let refused = overlapped_testkit::refused();
    run(&["compare", "--runs", "1", &refused.url("/")]).check_code(1);
}

#[test]
fn figures_fit_a_narrow_terminal() {
    let output = program::command(&["compare", "--scale", "0", "--runs", "1", "--many", "3"])
        .env("COLUMNS", "40")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let (figures, next) = told.split_once("\nnext:").unwrap();
    assert!(figures.lines().all(|line| line.chars().count() <= 40), "{figures}");
    assert!(figures.contains("\nmemory "), "{figures}");
    assert!(next.contains("overlapped @urls.txt -o results.ndjson"), "{next}");
}
