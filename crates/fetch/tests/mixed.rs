//! Random lists of rows that go well, badly, or elsewhere: one record a row, whatever happens.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use overlapped_fetch::{Bulk, Config, Input, Pace, Response, Sink, sink};
use overlapped_proto::input::Format;
use overlapped_proto::record::Record;
use overlapped_testkit::{Refused, Server, bytes_of, refused, row_of, text_of};
use support::{LONG, Scratch, config, error, fetch, fetch_list, retrying, run, wait};

/// A sequence of numbers that is the same for the same seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A row, and what must come of it: its body, or one of these errors.
struct Expected {
    url: String,
    outcome: Result<Vec<u8>, &'static [&'static str]>,
}

fn row(number: u64, draw: &mut Draw, server: &Server, dead: &Refused) -> Expected {
    let host = usize::try_from(draw.below(5)).unwrap();
    let on = |path: &str| server.url_on(host, path);
    let other = server.url_on(usize::try_from(draw.below(5)).unwrap(), &format!("/row/{number}"));
    let (url, outcome) = match draw.below(20) {
        0..=6 => (on(&format!("/row/{number}")), Ok(row_of(number))),
        7 => (on(&format!("/delay/{}?{number}", draw.below(30))), Ok(Vec::new())),
        8 => (on(&format!("/gzip/{number}?x")), Ok(text_of(&format!("/gzip/{number}?x"), number as usize))),
        9 => (
            on(&format!("/bytes/400000?{number}")),
            Ok(bytes_of(&format!("/bytes/400000?{number}"), 400_000)),
        ),
        10 => (on(&format!("/redirect/{}", draw.below(10))), Ok(b"redirected\n".to_vec())),
        11 => (on(&format!("/redirect-to?url={}", other.replace(':', "%3a"))), Ok(row_of(number))),
        12 => (on("/loop"), Err(&["redirect.too_many"][..])),
        13 => (on("/status/404"), Err(&["status"][..])),
        14 => (on("/close"), Err(&["http.no_response"][..])),
        15 => (on("/reset"), Err(&["http.reset", "http.no_response"][..])),
        16 => (on("/truncate"), Err(&["body.truncated"][..])),
        17 => (on("/silent"), Err(&["timeout.total"][..])),
        18 => (dead.url("/"), Err(&["connect.refused", "host.down"][..])),
        _ => {
            let bad = ["no scheme", "http://[", "ftp://x/", "http://127.0.0.1:99999/", ""];
            let index = usize::try_from(draw.below(5)).unwrap();
            (bad[index].to_owned(), Err(&["input.url", "policy.scheme", "input.empty"][..]))
        }
    };
    Expected { url, outcome }
}

fn check(seed: u64, config: Config) {
    let pace = Pace { host_down_after: Some(Duration::from_secs(1)), ..config.pace };
    let config = Config { pace, ..config };
    let server = Server::builder().hosts(5).start();
    let dead = overlapped_testkit::refused_on([127, 0, 0, 9].into());
    let mut draw = Draw(seed);
    let expected: Vec<_> = (0..300).map(|number| row(number, &mut draw, &server, &dead)).collect();
    // Only the row that is never answered is in a hurry: the others may take their time on a busy machine.
    let line = |row: &Expected| {
        let time = if row.url.ends_with("/silent") { r#","timeout_s":0.05"# } else { "" };
        format!("{{\"url\":\"{}\"{time}}}\n", row.url)
    };
    let list: String = expected.iter().map(line).collect();
    let ordered = config.ordered;
    let fetched = fetch_list(config, Format::Ndjson, list, expected.len());
    if ordered {
        assert!(fetched.records.iter().map(|record| record.row.0).eq(0..300), "seed {seed}");
    }
    for record in &fetched.records {
        let row = &expected[usize::try_from(record.row.0).unwrap()];
        match &row.outcome {
            Ok(body) => {
                assert_eq!(error(record), "", "seed {seed}: {}", row.url);
                let kept = record.body.inline();
                assert!(body.is_empty() || kept.is_none_or(|kept| kept == body), "seed {seed}: {}", row.url);
            }
            Err(errors) => {
                assert!(errors.contains(&error(record)), "seed {seed}: {} {}", row.url, error(record))
            }
        }
    }
}

#[test]
fn in_order() {
    (1..=3).for_each(|seed| check(seed, config()));
}

#[test]
fn as_they_come() {
    (11..=13).for_each(|seed| check(seed, Config { ordered: false, ..config() }));
}

#[test]
fn in_a_narrow_window() {
    check(21, Config { window_rows: 7, ..config() });
    check(22, Config { window_rows: 3, ordered: false, shards: Some(5), ..config() });
}

#[test]
fn few_at_a_time() {
    let pace = Pace { parallel_max: 12, parallel_max_host: Some(4), ..Pace::default() };
    check(31, Config { pace: pace.clone(), ..config() });
    check(32, Config { pace, ordered: false, shards: Some(3), ..config() });
}

#[test]
fn with_retries() {
    check(41, retrying(1));
}

#[test]
fn with_bodies_in_files() {
    let scratch = Scratch::new();
    let response = Response { spool: Some(scratch.path().to_owned()), sha256: true, ..Response::default() };
    check(51, Config { response, ..config() });
    assert_eq!(scratch.files(), [""; 0]);
}

/// Everything that makes one part wait for another at once: few requests over many shards, a sink that stutters, a
/// narrow window, redirects from shard to shard. A wake-up that is lost would end here.
#[test]
fn nobody_waits_for_ever() {
    struct Stuttering(u32);
    impl Sink for Stuttering {
        fn accept(&mut self, _: &mut Record) -> std::io::Result<()> {
            self.0 += 1;
            if self.0.is_multiple_of(97) {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            Ok(())
        }
        fn commit(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for (parallel_max, shards, window_rows) in [(1, 2, 50), (2, 4, 10_000), (3, 4, 700), (5, 3, 2)] {
        for ordered in [false, true] {
            let server = Server::builder().hosts(12).start();
            let url = |row: usize| {
                let there = server.url_on(row * 7, &format!("/row/{row}")).replace(':', "%3a");
                match row % 3 {
                    0 => server.url_on(row, &format!("/redirect-to?url={there}")),
                    _ => server.url_on(row, &format!("/row/{row}")),
                }
            };
            let urls: Vec<_> = (0..1_000).map(url).collect();
            let pace = Pace { parallel_max, ..Pace::default() };
            let config = Config { pace, shards: Some(shards), window_rows, ordered, ..config() };
            let bulk = Bulk::new(config).unwrap().input(Input::Urls(Box::new(urls.into_iter())));
            let fetched = run(bulk.sink(Box::new(Stuttering(0))));
            fetched.assert_complete(1_000);
            assert_eq!(server.row_hits(), [1; 1_000]);
            assert!(server.max_in_flight() <= parallel_max);
        }
    }
}

/// Whenever a run is ended, and however: it does end, no row has two records, and in ordered mode they are in order.
#[test]
fn ended_at_any_moment() {
    for seed in 60..72_u64 {
        let server = Server::builder().hosts(5).start();
        let dead = refused();
        let mut draw = Draw(seed);
        let mut urls: Vec<_> = (0..300).map(|number| row(number, &mut draw, &server, &dead).url).collect();
        if seed % 3 == 0 {
            // A stop waits some seconds for a row that is never answered.
            urls.iter_mut().for_each(|url| *url = url.replace("/silent", "/ok"));
        }
        let config = Config { ordered: seed % 2 == 0, ..retrying(1) };
        let ordered = config.ordered;
        let (sink, collected) = sink::collect();
        let bulk = Bulk::new(config).unwrap().input(Input::Urls(Box::new(urls.into_iter())));
        let run = bulk.sink(sink).start().unwrap();
        let control = run.control();
        assert!(server.wait_for_requests(draw.below(200), LONG));
        match seed % 3 {
            0 => control.stop(),
            1 => control.abort(),
            _ => {
                control.stop();
                control.abort();
            }
        }
        let summary = wait(run).unwrap();
        let mut rows: Vec<_> = collected.take().iter().map(|record| record.row.0).collect();
        assert_eq!(summary.progress.rows_done, rows.len() as u64, "seed {seed}");
        assert!(!ordered || rows.is_sorted(), "seed {seed}");
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(summary.progress.rows_done, rows.len() as u64, "seed {seed}");
    }
}

#[test]
fn nothing_but_dead_ends() {
    let dead = refused();
    let pace = Pace { host_down_after: Some(Duration::from_secs(1)), ..Pace::default() };
    let fetched = fetch(Config { pace, ..config() }, (0..500).map(|row| dead.url(&format!("/{row}"))));
    assert!(fetched.errors().iter().all(|error| ["connect.refused", "host.down"].contains(error)));
}
