//! A list that is sorted by host, and far longer than the window: the first host delays no other, its rows come
//! back as it takes them, and each row has exactly one record.
//!
//! The first host answers 429 for as long as a test wants it to; by the window alone nothing else would be fetched.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{Cursor, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use overlapped_fetch::{Bulk, Config, Input, InputOptions, Pace, Retry, Run, sink};
use overlapped_proto::input::Format;
use overlapped_proto::limits;
use overlapped_proto::record::Record;
use overlapped_testkit::{Script, Server, refused_on};
use support::{Fetched, config, error, run, wait, within_long};

const HOSTS: usize = 5;
/// Rows of each host.
const ROWS: usize = 1_000;
const ALL: usize = HOSTS * ROWS;
/// More than what hosts keep in memory, and less than half of what one has.
const WINDOW: usize = 400;

/// More than are ever asked for.
const MANY: usize = 1 << 40;

/// A server of several hosts, the first of which refuses until this number of rows of the others were asked for.
struct Gated {
    server: Server,
    free: Arc<AtomicU64>,
}

impl Gated {
    fn until(rows: usize) -> Self {
        let free = Arc::new(AtomicU64::new(0));
        let (counted, counts) = (free.clone(), free.clone());
        let rows = rows as u64;
        let server = Server::builder()
            .hosts(u16::try_from(HOSTS).unwrap())
            .handler("/free/", move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                Script::response(200, &[], "ok")
            })
            .handler("/gated/", move |_| match counts.load(Ordering::SeqCst) >= rows {
                true => Script::response(200, &[], "ok"),
                false => Script::response(429, &[("Retry-After", "1")], ""),
            })
            .start();
        Self { server, free }
    }

    /// The first host refuses until the others are done.
    fn until_others_are_done() -> Self {
        Self::until(ALL - ROWS)
    }

    fn until_opened() -> Self {
        Self::until(MANY)
    }

    fn open(&self) {
        self.free.fetch_add(MANY as u64, Ordering::SeqCst);
    }

    fn url(&self, row: usize) -> String {
        let path = if row < ROWS { "gated" } else { "free" };
        self.server.url_on(row / ROWS, &format!("/{path}/{row}"))
    }

    fn urls(&self) -> Vec<String> {
        (0..ALL).map(|row| self.url(row)).collect()
    }

    /// Every host was asked for its rows in their order. Retries do not count: their back-off is random, so that on a
    /// slow machine a row may be asked for again after the next one.
    fn assert_order(&self) {
        let mut last: HashMap<String, usize> = HashMap::new();
        let mut asked = HashSet::new();
        for seen in self.server.seen() {
            let row: usize = seen.path().rsplit('/').next().unwrap().parse().unwrap();
            if asked.insert(row) {
                let before = last.insert(seen.host.to_string(), row);
                assert!(before <= Some(row), "row {row} comes after {before:?}");
            }
        }
    }
}

fn sorted() -> Config {
    Config {
        ordered: false,
        window_rows: WINDOW,
        pace: Pace { parallel_max: 64, parallel_max_host: Some(1), ..Pace::default() },
        retry: Retry { retries: 60, ..Retry::default() },
        ..config()
    }
}

/// A file that goes with the test.
struct Listed(PathBuf);

impl Listed {
    fn new(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = std::env::temp_dir().join(format!("overlapped-spill-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn input(&self) -> Input {
        Input::File(self.0.clone())
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn lines(urls: &[String], end: &str) -> String {
    urls.iter().fold(String::new(), |list, url| list + url + end)
}

/// Fetches the list; the first host must wait for all others.
fn check(gated: &Gated, input: Input, format: Format) -> Fetched {
    let options = InputOptions { format: Some(format), ..InputOptions::default() };
    let fetched = run(Bulk::new(sorted()).unwrap().input(input).input_options(options));
    fetched.assert_complete(ALL);
    assert_eq!(fetched.summary.progress.ok, ALL as u64, "{:?}", fetched.summary.by_error);
    assert_eq!((fetched.summary.progress.rows_spilled, &fetched.summary.spill_failure), (0, &None));
    gated.assert_order();
    fetched
}

#[test]
fn a_file_that_is_sorted_by_host() {
    for end in ["\n", "\r\n", "\n# a comment\n\n"] {
        let gated = Gated::until_others_are_done();
        let list = Listed::new(&format!("text-{}", end.len()), lines(&gated.urls(), end));
        let fetched = check(&gated, list.input(), Format::Text);
        for record in &fetched.records {
            assert_eq!(record.url.as_ref(), gated.url(record.row.0 as usize));
        }
    }
}

#[test]
fn a_list_that_cannot_be_read_twice() {
    let gated = Gated::until_others_are_done();
    let list = Cursor::new(lines(&gated.urls(), "\n"));
    check(&gated, Input::Read(Box::new(list), "of the test".into()), Format::Text);
    let gated = Gated::until_others_are_done();
    check(&gated, Input::Urls(Box::new(gated.urls().into_iter())), Format::Text);
    let gated = Gated::until_others_are_done();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(lines(&gated.urls(), "\n").as_bytes()).unwrap();
    let list = Listed::new("list.txt.gz", packed.finish().unwrap());
    check(&gated, list.input(), Format::Text);
}

/// What each row asks for is asked for, and what goes along comes along.
fn check_options(gated: &Gated, fetched: &Fetched) {
    for record in &fetched.records {
        let row = record.row.0;
        assert_eq!(record.id.as_deref(), Some(format!("id {row}").as_str()));
        assert_eq!(record.meta.as_deref(), Some(format!("{{\"note\":\"a, \\\"{row}\\\"\"}}").as_str()));
    }
    for seen in gated.server.seen() {
        assert_eq!(seen.header("x-row"), seen.path().rsplit('/').next());
        assert_eq!(seen.method, "PUT");
    }
}

#[test]
fn tables_and_objects_with_options() {
    let row_json = |url: &String, row: usize| {
        format!(
            "{{\"url\":\"{url}\",\"id\":\"id {row}\",\"method\":\"PUT\",\"headers\":{{\"X-Row\":\"{row}\"}},\"note\":\"a, \\\"{row}\\\"\"}}\n"
        )
    };
    let row_csv = |url: &String, row: usize| {
        format!("id {row},PUT,\"{{\"\"X-Row\"\":\"\"{row}\"\"}}\",\"a, \"\"{row}\"\"\",{url}\r\n")
    };
    for from_file in [true, false] {
        for format in [Format::Ndjson, Format::Csv] {
            let gated = Gated::until_others_are_done();
            let mut list = String::new();
            if format == Format::Csv {
                list += "id,method,headers,note,url\r\n";
            }
            for (row, url) in gated.urls().iter().enumerate() {
                let _ = write!(
                    list,
                    "{}",
                    if format == Format::Csv { row_csv(url, row) } else { row_json(url, row) }
                );
            }
            let file = Listed::new(&format!("options-{format:?}"), &list);
            let pipe = Input::Read(Box::new(Cursor::new(list)), "of the test".into());
            let fetched = check(&gated, if from_file { file.input() } else { pipe }, format);
            check_options(&gated, &fetched);
        }
    }
}

/// Starts the run, and waits until most of the first host's rows are on disk.
fn start_and_spill(gated: &Gated, list: &Listed) -> (Run, sink::Collected) {
    let (sink, collected) = sink::collect();
    let run = Bulk::new(sorted()).unwrap().input(list.input()).sink(sink).start().unwrap();
    let control = run.control();
    let done = gated.server.wait_until(Duration::from_secs(60), |_| {
        let now = control.progress();
        now.rows_done >= (ALL - ROWS) as u64 && now.rows_spilled >= 700
    });
    assert!(done, "{:?}", control.progress());
    (run, collected)
}

fn rows_of(records: &[Record]) -> Vec<u64> {
    let mut rows: Vec<u64> = records.iter().map(|record| record.row.0).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_file_that_changes_meanwhile_costs_bad_rows_and_no_others() {
    type Change = fn(String, &Gated) -> String;
    let changes: [(&str, Change, &str); 4] = [
        ("garbage", |list, _| list.replace("http", "####"), "input.url"),
        ("blank", |list, _| list.replace(|c: char| c != '\n', " "), "input.empty"),
        ("other-host", |list, _| list.replace("127.0.0.1", "127.0.0.2"), "input.format"),
        ("shorter", |list, gated| list[..gated.url(0).len() * 300].to_owned(), "input.empty"),
    ];
    for (name, change, kind) in changes {
        let gated = Gated::until_opened();
        let list = Listed::new(name, lines(&gated.urls(), "\n"));
        let (run, collected) = start_and_spill(&gated, &list);
        let changed = change(lines(&gated.urls(), "\n"), &gated);
        let file = std::fs::OpenOptions::new().write(true).open(&list.0).unwrap();
        file.set_len(changed.len() as u64).unwrap();
        (&file).write_all(changed.as_bytes()).unwrap();
        gated.open();
        wait(run).unwrap();
        let records = collected.take();
        assert_eq!(rows_of(&records), (0..ALL as u64).collect::<Vec<_>>(), "{name}");
        let bad = records.iter().filter(|record| !record.ok);
        let kinds: Vec<_> = bad.map(error).collect();
        assert!(kinds.len() >= 600 && kinds.len() < ROWS, "{name}: {}", kinds.len());
        let other = kinds.iter().filter(|found| **found != kind).count();
        // A row that is cut in the middle is whatever is left of it.
        assert!(other <= 1, "{name}: {kinds:?}");
    }
}

#[test]
fn a_run_that_is_stopped_does_not_wait_for_what_is_on_disk() {
    let gated = Gated::until_opened();
    let list = Listed::new("stopped", lines(&gated.urls(), "\n"));
    let (run, collected) = start_and_spill(&gated, &list);
    run.control().stop();
    let summary = wait(run).unwrap();
    assert!(!summary.finished);
    let rows = rows_of(&collected.take());
    assert_eq!(rows.len() as u64, summary.progress.rows_done);
    assert!(rows.windows(2).all(|pair| pair[0] < pair[1]), "a row is there twice");
    assert!(rows.len() <= ALL - ROWS + 1, "{}", rows.len());
}

/// The window begins small. Rows that fill it and cannot start make it wider, before any goes to disk.
#[test]
fn a_window_full_of_one_host_opens_for_the_others() {
    let gated = Gated::until_opened();
    let stuck = limits::WINDOW_ROWS_FIRST + 100;
    let mut urls: Vec<_> = (0..stuck).map(|row| gated.server.url(&format!("/gated/{row}"))).collect();
    urls.extend((0..50).map(|row| gated.server.url_on(1, &format!("/free/{row}"))));
    let (collect, _) = sink::collect();
    let config = Config { window_rows: limits::WINDOW_ROWS, ..sorted() };
    let bulk = Bulk::new(config).unwrap().input(Input::Urls(Box::new(urls.into_iter()))).sink(collect);
    let run = bulk.start().unwrap();
    let all = gated.server.wait_until(Duration::from_secs(60), |server| server.count("/free/") == 50);
    let spilled = run.control().progress().rows_spilled;
    run.control().stop();
    wait(run).unwrap();
    assert_eq!((all, spilled), (true, 0));
}

#[test]
fn redirects_and_retries_lead_to_a_host_whose_rows_wait() {
    let gated = Gated::until_others_are_done();
    // The last row of every other host leads to the first host, and every tenth is tried twice.
    let urls: Vec<_> = (0..ALL)
        .map(|row| match row % ROWS {
            999 if row > ROWS => {
                let to = gated.server.url_on(0, &format!("/ok?{row}"));
                gated.server.url_on(row / ROWS, &format!("/redirect-to?url={}", to.replace('?', "%3F")))
            }
            n if n % 10 == 0 && row > ROWS => {
                gated.server.url_on(row / ROWS, &format!("/flaky?fail=1&key={row}&status=500"))
            }
            _ => gated.url(row),
        })
        .collect();
    let not_free = (HOSTS - 1) * 101;
    gated.free.fetch_add(not_free as u64, Ordering::SeqCst);
    let list = Listed::new("redirects", lines(&urls, "\n"));
    let fetched = within_long(move || run(Bulk::new(sorted()).unwrap().input(list.input())));
    fetched.assert_complete(ALL);
    assert_eq!(fetched.summary.progress.ok, ALL as u64, "{:?}", fetched.summary.by_error);
    assert_eq!(fetched.summary.redirects, (HOSTS - 1) as u64);
    let first = fetched.records.iter().filter(|record| record.row.0 % 1_000 == 999 && record.row.0 > 1_000);
    assert!(first.map(|record| record.chain.len()).eq([1; HOSTS - 1]));
}

/// A host that sends all its rows on to one that is slower must not fill the memory with them.
#[test]
fn rows_that_move_on_are_bounded_by_twice_the_window() {
    let gated = Gated::until_opened();
    let url = |row: usize| match row {
        0..4_000 => {
            gated.server.url_on(1, &format!("/redirect-to?url={}", gated.server.url_on(0, "/gated/0")))
        }
        _ => gated.server.url_on(2, "/free/0"),
    };
    let list = Listed::new("moving", lines(&(0..ALL).map(url).collect::<Vec<_>>(), "\n"));
    let (sink, collected) = sink::collect();
    let run = Bulk::new(sorted()).unwrap().input(list.input()).sink(sink).start().unwrap();
    let wandered = |server: &Server| server.count("/redirect-to") as usize;
    assert!(
        gated.server.wait_until(Duration::from_secs(60), |server| wandered(server) > WINDOW + WINDOW / 2)
    );
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(10));
        assert!(wandered(&gated.server) <= 2 * WINDOW + 100, "{}", wandered(&gated.server));
    }
    gated.open();
    wait(run).unwrap();
    assert_eq!(rows_of(&collected.take()), (0..ALL as u64).collect::<Vec<_>>());
}

#[test]
fn a_host_that_is_down_fails_all_its_rows() {
    let gated = Gated::until(0);
    let dead = refused_on(Ipv4Addr::new(127, 0, 0, 77));
    let mut urls: Vec<_> = (0..ROWS).map(|row| dead.url(&format!("/{row}"))).collect();
    urls.extend((ROWS..ALL).map(|row| gated.url(row)));
    let list = Listed::new("down", lines(&urls, "\n"));
    let Config { pace, .. } = sorted();
    let pace = Pace { host_down_after: Some(Duration::from_secs(1)), ..pace };
    let fetched = run(Bulk::new(Config { pace, ..sorted() }).unwrap().input(list.input()));
    fetched.assert_complete(ALL);
    assert_eq!(fetched.summary.progress.ok, (ALL - ROWS) as u64, "{:?}", fetched.summary.by_error);
    assert_eq!(fetched.summary.by_error.values().sum::<u64>(), ROWS as u64);
}

#[test]
fn in_order_nothing_is_put_aside() {
    let gated = Gated::until(0);
    let list = Listed::new("ordered", lines(&gated.urls(), "\n"));
    let config = Config { ordered: true, ..sorted() };
    let fetched = run(Bulk::new(config).unwrap().input(list.input()));
    fetched.assert_complete(ALL);
    assert!(fetched.records.is_sorted_by_key(|record| record.row.0));
}
