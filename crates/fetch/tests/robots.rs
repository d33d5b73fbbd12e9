//! `robots`: what a site forbids is not fetched, and robots.txt itself is one polite request.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overlapped_fetch::{Config, Network, Pace, Request};
use overlapped_testkit::{Script, Server};
use support::{Fetched, config, fetch, retrying};

fn robots() -> Config {
    Config { pace: Pace { robots: true, ..Pace::default() }, ..config() }
}

fn targets(server: &Server) -> Vec<String> {
    server.seen().iter().map(|seen| seen.target.clone()).collect()
}

fn check_rows(fetched: &Fetched, expected: &[&str]) {
    assert_eq!(fetched.errors(), expected);
    for record in fetched.records.iter().filter(|record| !record.ok) {
        assert_eq!((record.attempts, record.status), (0, None), "{record:?}");
    }
}

#[test]
fn what_is_forbidden_is_not_fetched() {
    let server = Server::builder().robots("User-agent: *\nDisallow: /text\nAllow: /text/5$").start();
    let urls = ["/ok", "/text/10", "/text/5", "/robots.txt", "/text/5?q"].map(|path| server.url(path));
    let fetched = fetch(robots(), urls);
    check_rows(&fetched, &["", "policy.robots", "", "", "policy.robots"]);
    let seen = targets(&server);
    assert_eq!(seen[0], "/robots.txt", "it comes first");
    assert_eq!(seen.iter().filter(|target| *target == "/robots.txt").count(), 2, "once asked, once a row");
    assert!(!seen.iter().any(|target| target == "/text/10"), "{seen:?}");
}

#[test]
fn each_origin_is_asked_once() {
    let server = Server::builder().hosts(5).robots("User-agent: overlapped\nDisallow: /status").start();
    let urls = (0..500).map(|row| server.url_on(row % 5, if row % 50 == 7 { "/status/200" } else { "/ok" }));
    let fetched = fetch(robots(), urls);
    assert_eq!(fetched.summary.by_error.get("policy.robots"), Some(&10));
    assert_eq!((server.count("/robots.txt"), server.count("/status"), server.count("/ok")), (5, 0, 490));
}

#[test]
fn the_group_goes_by_the_user_agent() {
    let text = "User-agent: my-bot\nDisallow: /ok\n\nUser-agent: *\nDisallow:\n";
    let server = Server::builder().robots(text).start();
    let headers = vec![("User-Agent".to_owned(), "My-Bot/2.0 (+http://x)".to_owned())];
    let request = Request { headers, ..Request::default() };
    check_rows(&fetch(Config { request, ..robots() }, [server.url("/ok")]), &["policy.robots"]);
    check_rows(&fetch(robots(), [server.url("/ok")]), &[""]);
    assert!(server.seen()[0].header("user-agent").unwrap().starts_with("My-Bot/2.0"));
}

#[test]
fn robots_txt_is_no_row() {
    let server = Server::start();
    let request = Request {
        method: overlapped_proto::job::Method::Post,
        headers: vec![("X-Key".to_owned(), "secret".to_owned())],
        body: Some("data".into()),
        user: Some(("me".to_owned(), "secret".to_owned())),
        ..Request::default()
    };
    let response = overlapped_fetch::Response { body: false, ..overlapped_fetch::Response::default() };
    let fetched = fetch(Config { request, response, max_redirects: 0, ..robots() }, [server.url("/echo")]);
    check_rows(&fetched, &[""]);
    let seen = server.seen();
    let asked = &seen[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str(), asked.body_bytes), ("GET", "/robots.txt", 0));
    assert_eq!((asked.header("authorization"), asked.header("x-key")), (None, None));
    assert_eq!((seen[1].method.as_str(), seen[1].header("x-key")), ("POST", Some("secret")));
}

#[test]
fn a_site_without_rules_allows_all_and_a_broken_one_nothing() {
    for (status, expected) in
        [(404, ""), (403, ""), (500, "policy.robots"), (503, "policy.robots"), (429, "policy.robots")]
    {
        let server = answering(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        let fetched = fetch(robots(), [server.url("/ok")]);
        assert_eq!(fetched.errors(), [expected], "{status}");
        assert_eq!(
            (server.count("/robots.txt"), fetched.records[0].status.is_some()),
            (1, expected.is_empty())
        );
        assert_eq!(server.count("/ok"), u64::from(expected.is_empty()), "{status}");
    }
}

#[test]
fn a_robots_txt_that_cannot_be_had_for_now_is_asked_for_again() {
    let pace = Pace { robots: true, ..Pace::default() };
    for status in [429, 503] {
        let asked = AtomicUsize::new(0);
        let server = Server::builder()
            .handler("/robots.txt", move |_| match asked.fetch_add(1, Ordering::SeqCst) {
                0 => Script::response(status, &[("Retry-After", "1")], ""),
                _ => Script::response(200, &[], "User-agent: *\nDisallow: /text"),
            })
            .start();
        let config = Config { pace: pace.clone(), ..retrying(1) };
        let fetched = fetch(config, [server.url("/row/1"), server.url("/text/3"), server.url("/row/2")]);
        assert_eq!(fetched.errors(), ["", "policy.robots", ""], "{status}");
        assert_eq!((server.count("/robots.txt"), server.count("/row")), (2, 2), "{status}");
        let seen = server.seen();
        assert!(
            seen[1].at - seen[0].at >= Duration::from_millis(990),
            "the host asked for a pause: {seen:?}"
        );
    }
    // A row that is refused to the end says why, and how often it was tried. It does not wait for its host here.
    let pace = Pace { max_host_errors: 0, ..pace };
    let server = answering("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n".to_owned());
    let fetched = fetch(Config { pace, ..retrying(1) }, [server.url("/ok")]);
    assert_eq!((fetched.errors(), fetched.records[0].attempts), (vec!["policy.robots"], 2));
    assert_eq!((server.count("/robots.txt"), server.count("/ok")), (2, 0));
}

#[test]
fn redirects_of_robots_txt_are_followed() {
    let other = Server::builder().robots("User-agent: *\nDisallow: /ok").start();
    let moved = |to: &str| format!("HTTP/1.1 302 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let server = answering(moved(&other.url("/robots.txt")));
    let fetched = fetch(Config { max_redirects: 0, ..robots() }, [server.url("/ok"), server.url("/text/3")]);
    check_rows(&fetched, &["policy.robots", ""]);
    let server = answering(moved("/robots.txt"));
    check_rows(&fetch(robots(), [server.url("/ok")]), &[""]);
    assert_eq!(server.count("/robots.txt"), 6, "five redirects are followed");
}

#[test]
fn of_a_long_robots_txt_the_beginning_counts() {
    let text = format!("User-agent: *\nDisallow: /ok\n{}Disallow: /text\n", "# much\n".repeat(100_000));
    let server = Server::builder().robots(text).start();
    let fetched = fetch(robots(), [server.url("/ok"), server.url("/text/3")]);
    check_rows(&fetched, &["policy.robots", ""]);
}

#[test]
fn a_redirect_leads_to_a_site_with_rules_of_its_own() {
    let other = Server::builder().robots("User-agent: *\nDisallow: /ok").start();
    let server = Server::start();
    let to: String = url::form_urlencoded::byte_serialize(other.url("/ok").as_bytes()).collect();
    let fetched = fetch(robots(), [server.url(&format!("/redirect-to?url={to}"))]);
    assert_eq!(fetched.errors(), ["policy.robots"]);
    assert_eq!((other.count("/ok"), other.count("/robots.txt")), (0, 1));
}

#[test]
fn a_site_that_cannot_be_reached_says_so() {
    let refused = overlapped_testkit::refused();
    let pace = Pace { robots: true, max_host_errors: 0, ..Pace::default() };
    let fetched = fetch(Config { pace, ..retrying(1) }, [refused.url("/a")]);
    assert_eq!(fetched.errors(), ["connect.refused"]);
    assert_eq!(fetched.records[0].attempts, 2);
    let network = Network { public_only: true, ..Network::default() };
    let server = Server::start();
    let fetched = fetch(Config { network, ..robots() }, [server.url("/ok")]);
    assert_eq!((fetched.errors(), server.requests()), (vec!["policy.address"], 0));
}

#[test]
fn a_crawl_delay_spaces_the_requests() {
    let server = Server::builder().robots("User-agent: *\nCrawl-delay: 0.2").start();
    let fetched = fetch(robots(), (0..5).map(|row| server.url(&format!("/row/{row}"))));
    check_rows(&fetched, &[""; 5]);
    // When the engine started them: on the way the gap between two may become shorter.
    let mut at: Vec<_> = fetched.records.iter().map(|record| record.started_unix_us.unwrap()).collect();
    at.sort_unstable();
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 199_999), "{at:?}");
}

/// A server whose robots.txt is this response.
fn answering(response: String) -> Server {
    Server::builder().route("/robots.txt", Script::new().send(response)).start()
}
