//! What is tried again, when, and how often.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use overlapped_fetch::{Bulk, Config, Input, Pace, Retry};
use overlapped_proto::input::Format;
use overlapped_testkit::{RawServer, Script, Server, refused};
use support::{LONG, config, error, fetch, fetch_list, fetch_one, retrying, text};

/// So that no row meets a connection that another has left.
fn on_its_own_host(server: &Server, paths: &[&str]) -> Vec<String> {
    paths.iter().enumerate().map(|(host, path)| server.url_on(host, path)).collect()
}

#[test]
fn what_breaks_once_is_tried_again() {
    let paths = ["/flaky", "/flaky?status=408", "/flaky/close", "/flaky/reset", "/flaky/truncate"];
    let server = Server::builder().hosts(5).start();
    let urls = on_its_own_host(&server, &paths);
    let fetched = fetch(retrying(2), urls);
    assert_eq!(fetched.errors(), [""; 5]);
    assert_eq!(fetched.statuses(), [200; 5]);
    assert!(fetched.records.iter().all(|record| record.attempts == 2 && text(record) == "at last\n"));
    assert_eq!((server.requests(), fetched.summary.retries), (10, 5));
}

#[test]
fn the_last_failure_is_the_record() {
    let server = Server::start();
    let paths = ["/status/503", "/close", "/reset", "/truncate", "/status/404"];
    let fetched = fetch(retrying(1), paths.map(|path| server.url(path)));
    let expected = ["status", "http.no_response", "http.reset", "body.truncated", "status"];
    assert_eq!(fetched.errors(), expected);
    let attempts: Vec<_> = fetched.records.iter().map(|record| record.attempts).collect();
    assert_eq!(attempts, [2, 2, 2, 2, 1]);
    assert_eq!(
        (server.count("/status/503"), server.count("/truncate"), server.count("/status/404")),
        (2, 2, 1)
    );
    // On a connection that was used before, a close without an answer may be the race with an idle server's close,
    // which costs one more request and counts as no attempt.
    assert!((2..=4).contains(&server.count("/close")) && (2..=4).contains(&server.count("/reset")));
    assert_eq!(fetched.records[3].status, Some(200));
    assert_eq!(text(&fetched.records[0]), "status 503\n");
}

#[test]
fn without_retries_everything_is_asked_once() {
    let server = Server::builder().hosts(3).start();
    let fetched = fetch(config(), on_its_own_host(&server, &["/flaky", "/flaky/close", "/flaky/reset"]));
    assert_eq!(fetched.errors(), ["status", "http.no_response", "http.reset"]);
    assert_eq!(server.requests(), 3);
}

#[test]
fn a_post_is_sent_once() {
    let server = Server::start();
    let dead = refused();
    let urls = [server.url("/flaky"), server.url("/flaky/close"), server.url("/flaky/reset"), dead.url("/")];
    let list: Vec<_> = urls.iter().map(|url| format!(r#"{{"url":"{url}","body":"x"}}"#)).collect();
    let pace = Pace { max_host_errors: 0, ..Pace::default() };
    let fetched = fetch_list(Config { pace, ..retrying(1) }, Format::Ndjson, list.join("\n"), 4);
    assert_eq!(fetched.errors(), ["status", "http.no_response", "http.reset", "connect.refused"]);
    let attempts: Vec<_> = fetched.records.iter().map(|record| record.attempts).collect();
    // Nothing was sent where nothing could be connected to, so that may be tried again.
    assert_eq!(attempts, [1, 1, 1, 2]);
    assert_eq!(server.requests(), 3);

    let retry = Retry { all_errors: true, ..Retry::default() };
    let list = format!(r#"{{"url":"{}","body":"x"}}"#, server.url("/flaky?key=again"));
    let fetched = fetch_list(Config { retry, ..config() }, Format::Ndjson, list, 1);
    assert_eq!((fetched.errors()[0], fetched.records[0].attempts), ("", 2));
}

#[test]
fn a_host_that_asks_for_a_pause_is_left_alone() {
    for date in ["", "&date=1"] {
        let server = Server::start();
        let asks = server.url(&format!("/retry-after/2?key=a{date}"));
        let later = (0..20).map(|row| server.url(&format!("/row/{row}")));
        let pace = Pace { parallel_max: 1, ..Pace::default() };
        let fetched = fetch(Config { pace, ..retrying(2) }, std::iter::once(asks).chain(later));
        assert_eq!(fetched.errors(), [""; 21]);
        assert_eq!((fetched.records[0].attempts, server.requests()), (1, 22));
        let seen = server.seen();
        let pause = seen[1].at - seen[0].at;
        // A date has whole seconds, so up to one of the two is gone when it is written.
        let least = Duration::from_millis(if date.is_empty() { 1_990 } else { 900 });
        assert!(pause >= least, "the host was asked again after {pause:?}");
    }
}

#[test]
fn dates_that_nobody_can_read_are_passed_over() {
    let long = "9".repeat(100 << 10);
    for date in ["garbage", "Sun, 31 Feb 2024 25:61:61 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "-1", &long] {
        let fields = [("Date", date), ("Last-Modified", date)];
        let server = Server::builder().route("/dated", Script::response(200, &fields, "dated")).start();
        let record = fetch_one(retrying(1), server.url("/dated"));
        assert_eq!((error(&record), text(&record), record.attempts), ("", "dated", 1));
        assert_eq!(record.headers.first("last-modified"), Some(date.as_bytes()));
    }
}

/// Takes twenty requests in a second, or one each 50 ms, and answers `status` to the others, without `Retry-After`.
fn limited(status: u16, count: usize, per: Duration) -> Server {
    let taken = Mutex::new(VecDeque::new());
    Server::builder()
        .handler("/row/", move |_| {
            let (now, mut taken) = (Instant::now(), taken.lock().unwrap());
            while taken.front().is_some_and(|at| now - *at >= per) {
                taken.pop_front();
            }
            if taken.len() >= count {
                return Script::response(status, &[], "");
            }
            taken.push_back(now);
            Script::response(200, &[], "ok")
        })
        .start()
}

#[test]
fn rows_of_a_host_that_limits_its_requests_were_lost() {
    for (status, count, per_ms, rows) in [(429, 20, 1_000, 200), (503, 1, 50, 40)] {
        let server = limited(status, count, Duration::from_millis(per_ms));
        let pace = Pace { parallel_max_host: Some(6), ..Pace::default() };
        let urls = (0..rows).map(|row| server.url(&format!("/row/{row}")));
        let fetched = fetch(Config { pace, ..retrying(2) }, urls);
        assert_eq!(fetched.summary.progress.ok, rows, "{status}: {:?}", fetched.summary.by_error);
        assert!(server.requests() < 6 * rows, "{status}: {} requests", server.requests());
    }
}

/// It counted as a failure to reach the origin, so that the row waited for that up to a minute, and its later attempts were
/// more than it has.
#[test]
fn a_row_whose_connections_are_reset_at_once_ends_with_its_attempts() {
    let server = RawServer::start(Script::new().reset());
    let fetched = fetch(retrying(1), (0..40).map(|row| server.url(&format!("/{row}"))));
    for record in &fetched.records {
        assert!(["connect.reset", "http.reset"].contains(&error(record)), "{:?}", record.failure);
        assert_eq!(record.attempts, 2, "{:?}", record.failure);
    }
    assert_eq!(server.connections(), 80);
}

/// A host that has answered 429, or 503 with `Retry-After`, has not carried out the request.
#[test]
fn a_post_that_a_host_has_refused_for_now_was_lost() {
    const ROWS: usize = 100;
    let asks: &[(&str, &str)] = &[("Retry-After", "1")];
    for (status, headers) in [(429, &[][..]), (429, asks), (503, asks)] {
        let taken = Arc::new(Mutex::new(vec![Vec::new(); ROWS]));
        let (asked, takes) = (AtomicUsize::new(0), Arc::clone(&taken));
        let server = Server::builder()
            .handler("/row/", move |request| {
                // The 11th to 14th, and some while the host is asked again.
                if (10..14).contains(&asked.fetch_add(1, Ordering::SeqCst)) {
                    return Script::response(status, headers, "");
                }
                let row: usize = request.target["/row/".len()..].parse().unwrap();
                takes.lock().unwrap()[row].push((request.method.clone(), request.body.to_vec()));
                Script::response(200, &[], "ok")
            })
            .start();
        let list: Vec<_> = (0..ROWS)
            .map(|row| {
                let method = ["POST", "PATCH"][row % 2];
                format!(
                    r#"{{"url":"{}","method":"{method}","body":"{row}"}}"#,
                    server.url(&format!("/row/{row}"))
                )
            })
            .collect();
        let pace = Pace { parallel_max_host: Some(2), ..Pace::default() };
        let fetched = fetch_list(Config { pace, ..retrying(2) }, Format::Ndjson, list.join("\n"), ROWS);
        assert_eq!(fetched.errors(), [""; ROWS], "{status} {headers:?}");
        assert_eq!(server.requests(), ROWS as u64 + 4, "{status} {headers:?}: the refused ones once more");
        for (row, taken) in taken.lock().unwrap().iter().enumerate() {
            let expected = (["POST", "PATCH"][row % 2].to_owned(), row.to_string().into_bytes());
            assert_eq!(taken[..], [expected], "{status} {headers:?}: row {row} is carried out once");
        }
    }
}

/// Without a pause that it asks for, a 503 may come from a proxy whose server has carried out the request.
#[test]
fn a_post_is_not_repeated_after_other_refusals() {
    for (status, headers) in [(503, &[][..]), (502, &[("Retry-After", "1")][..]), (500, &[])] {
        let server = Server::builder().route("/no", Script::response(status, headers, "")).start();
        let list = format!(r#"{{"url":"{}","body":"x"}}"#, server.url("/no"));
        let fetched = fetch_list(retrying(2), Format::Ndjson, list, 1);
        assert_eq!((fetched.errors()[0], fetched.records[0].attempts), ("status", 1), "{status}");
        assert_eq!(server.requests(), 1, "{status}");
    }
}

/// Its pauses take seven seconds in all, longer than the attempts of a row.
#[test]
fn rows_of_a_host_without_a_backend_were_lost() {
    for rows in [1, 5, 100] {
        let asked = AtomicUsize::new(0);
        let server = Server::builder()
            .handler("/row/", move |_| match asked.fetch_add(1, Ordering::SeqCst) {
                ..2 => Script::response(502, &[], ""),
                2 => Script::response(503, &[], ""),
                3 => Script::response(504, &[], ""),
                _ => Script::response(200, &[], "ok"),
            })
            .start();
        let pace = Pace { parallel_max_host: Some(2), ..Pace::default() };
        let urls = (0..rows).map(|row| server.url(&format!("/row/{row}")));
        let fetched = fetch(Config { pace, ..retrying(2) }, urls);
        assert_eq!(fetched.summary.progress.ok, rows, "{:?}", fetched.summary.by_error);
        assert!(fetched.records.iter().all(|record| record.attempts <= 3));
    }
}

#[test]
fn a_host_that_refuses_for_ever_is_given_up_and_the_flag_named() {
    for status in [429, 502] {
        let server = Server::builder().route("/no", Script::response(status, &[], "")).start();
        let pace = Pace { host_down_after: Some(Duration::from_secs(2)), ..Pace::default() };
        let urls = (0..1_000).map(|row| server.url(&format!("/no?{row}")));
        let fetched = fetch(Config { pace, ..retrying(2) }, urls);
        assert_eq!(fetched.summary.progress.ok, 0);
        let down = fetched.records.iter().filter(|record| error(record) == "host.down").collect::<Vec<_>>();
        assert!(down.len() > 700, "{:?}", fetched.summary.by_error);
        let told = down[0].failure.as_ref().unwrap().message.to_string();
        assert!(told.contains("2 s (--host-down-after)"), "{told}");
        assert!(server.requests() < 300, "{} requests", server.requests());
    }
}

#[test]
fn a_broken_page_fails_after_its_attempts_while_its_host_answers() {
    let server = Server::builder().route("/no", Script::response(503, &[], "")).start();
    let urls = (0..60).map(|row| match row {
        5 => server.url("/no"),
        _ => server.url(&format!("/delay/200?{row}")),
    });
    let pace = Pace { parallel_max_host: Some(2), ..Pace::default() };
    let fetched = fetch(Config { pace, ..retrying(2) }, urls);
    assert_eq!((fetched.summary.progress.ok, error(&fetched.records[5])), (59, "status"));
    assert_eq!((fetched.records[5].attempts, server.count("/no")), (3, 3));
}

#[test]
fn another_host_does_not_wait_for_a_parked_one() {
    for parallel_max in [256, 1] {
        let server = Server::builder().hosts(9).start();
        let asks = server.url_on(0, "/retry-after/600?key=a");
        let others = (0..40).map(|row| server.url_on(1 + row % 8, &format!("/row/{row}")));
        let urls: Vec<_> = std::iter::once(asks).chain(others).collect();
        let pace = Pace { parallel_max, ..Pace::default() };
        let bulk = Bulk::new(Config { ordered: false, pace, ..retrying(2) }).unwrap();
        let run = bulk.input(Input::Urls(Box::new(urls.into_iter()))).start().unwrap();
        let control = run.control();
        assert!(server.wait_until(LONG, |_| control.progress().ok == 40), "{:?}", control.progress());
        assert_eq!((server.count("/row/"), server.requests()), (40, 41));
        drop(run);
    }
}

#[test]
fn retries_end_with_their_time() {
    let server = Server::start();
    let retry = Retry { retries: 50, max_time: Some(Duration::ZERO), ..Retry::default() };
    let record = fetch_one(Config { retry, ..config() }, server.url("/status/503"));
    assert_eq!((error(&record), record.attempts), ("status", 1));
}

#[test]
fn attempts_and_redirects_are_counted_apart() {
    let server = Server::builder()
        .route("/to-flaky", Script::response(302, &[("Location", "/flaky?fail=2")], ""))
        .start();
    let record = fetch_one(retrying(2), server.url("/to-flaky"));
    assert_eq!((error(&record), record.attempts, record.chain.len()), ("", 4, 1));
    assert_eq!((server.count("/to-flaky"), server.count("/flaky?fail=2")), (1, 3));
}

#[test]
fn a_refused_connection_is_tried_again_and_named() {
    let dead = refused();
    let pace = Pace { max_host_errors: 0, ..Pace::default() };
    let fetched = fetch(Config { pace, ..retrying(1) }, [dead.url("/a")]);
    assert_eq!(fetched.errors(), ["connect.refused"]);
    assert_eq!((fetched.records[0].attempts, fetched.records[0].connection.reused), (2, Some(false)));
    assert!(fetched.records[0].failure.as_ref().unwrap().message.contains(&dead.addr().to_string()));
}
