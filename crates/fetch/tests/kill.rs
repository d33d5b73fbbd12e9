//! A run that is killed at any moment goes on where it was: every row once, no half file, and little fetched twice.
//!
//! The worker is this very program, started again with a filter and an environment that make it fetch a list.
//! `OVERLAPPED_KILLS` sets how often it is killed, `OVERLAPPED_SEED` repeats a run that failed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use overlapped_fetch::durable::{self, Begin, Durability, Durable, Output};
use overlapped_fetch::sink::{Format, FormatOptions, SinkId};
use overlapped_fetch::{Bulk, Config, ErrorClass, Input, Pace, Response, Timeouts};
use overlapped_proto::journal::Frame;
use overlapped_proto::limits;
use overlapped_testkit::{Script, Server, row_of};

const PARALLEL: usize = 32;

/// Where one run has its files.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("overlapped-kill-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A list that is sorted by host. Its last row is held, so that no worker comes to its end before it is killed.
    fn list(&self, server: &Server, rows: u64) {
        let hosts = server.addresses().len() as u64;
        let url = |row| server.url_on((row * hosts / rows) as usize, &format!("/row/{row}\n"));
        let urls: String = (0..rows).map(url).collect();
        fs::write(self.0.join("urls.txt"), urls + &server.url("/held\n")).unwrap();
    }

    fn output(&self) -> PathBuf {
        self.0.join("out.ndjson")
    }

    fn state(&self) -> PathBuf {
        Durable::beside(&self.output()).directory
    }

    fn worker(&self, ordered: bool, durability: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["worker", "--exact", "--nocapture", "--test-threads=1"])
            .env("OVERLAPPED_WORKER", &self.0)
            .env("OVERLAPPED_ORDERED", if ordered { "1" } else { "" })
            .env("OVERLAPPED_SPILLS", if self.0.to_string_lossy().ends_with("sorted") { "1" } else { "" })
            .env("OVERLAPPED_DURABILITY", durability)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A server of this number of rows that does not answer the one behind them until it is told to.
fn holding(hosts: u16, rows: u64) -> (Server, Arc<AtomicBool>) {
    let released = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&released);
    let held = move |_: &_| match answers.load(Ordering::SeqCst) {
        true => Script::response(200, &[], row_of(rows)),
        false => Script::new().silence(),
    };
    (Server::builder().hosts(hosts).handler("/held", held).start(), released)
}

/// Not a test: what is killed. Without its environment it does nothing.
#[test]
fn worker() {
    let Some(place) = std::env::var_os("OVERLAPPED_WORKER") else { return };
    let set = |name| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let place = Place(place.into());
    let pages = place.0.join("pages");
    let mut config = Config {
        ordered: set("OVERLAPPED_ORDERED"),
        shards: Some(2),
        pace: Pace { parallel_max: PARALLEL, ..Pace::default() },
        response: Response { spool: Some(pages.clone()), ..Response::default() },
        timeouts: Timeouts { first_byte: None, speed: None, total: None, ..Timeouts::default() },
        ..Config::default()
    };
    if set("OVERLAPPED_SPILLS") {
        config.window_rows = 300;
        config.pace.parallel_max_host = Some(4);
    }
    let durability = match std::env::var("OVERLAPPED_DURABILITY").unwrap().as_str() {
        "each" => Durability::Each,
        _ => Durability::Group,
    };
    let bulk = Bulk::new(config).unwrap().input(Input::File(place.0.join("urls.txt")));
    // A generation every few groups, so that changes of generation are hit as well.
    let beside = Durable::beside(&place.output());
    let outputs = vec![Output::new(Format::Files, pages), Output::new(Format::Ndjson, place.output())];
    let opened = outputs.clone();
    let durable = Durable { begin: Begin::Resume, durability, journal_bytes: 2_000, outputs, ..beside };
    let (mut bulk, earlier) = bulk.durable(durable).unwrap();
    for output in opened {
        bulk = bulk.sink(output.open(Some(&earlier), FormatOptions::default()).unwrap());
    }
    bulk.start().unwrap().wait().unwrap();
    std::process::exit(0);
}

/// Numbers that can be drawn again.
struct Draw(u64);

impl Draw {
    fn new() -> Self {
        let seed = std::env::var("OVERLAPPED_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = seed.unwrap_or_else(now);
        tell(&format!("OVERLAPPED_SEED={seed}"));
        Self(seed | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Prints to the log of the test.
#[expect(clippy::print_stderr, reason = "a test's log is what it is for")]
fn tell(text: &str) {
    eprintln!("{text}");
}

fn kills(default: u64) -> u64 {
    std::env::var("OVERLAPPED_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(default)
}

/// Starts, kills and goes on; then the run may end, and everything must be there once.
fn kill_loop(hosts: u16, name: &str, ordered: bool, rows: u64, kills: u64) {
    let (server, released) = holding(hosts, rows);
    let mut draw = Draw::new();
    let place = Place::new(name);
    place.list(&server, rows);
    let mut done = 0;
    for kill in 0..kills {
        let durability = if kill % 3 == 0 { "each" } else { "group" };
        let mut child = place.worker(ordered, durability);
        std::thread::sleep(Duration::from_millis(20 + draw.below(900)));
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "a row is held, and the run has ended");
        done = check_state(&place, done);
    }
    released.store(true, Ordering::SeqCst);
    assert!(place.worker(ordered, "group").wait().unwrap().success());
    assert_eq!(check_state(&place, done), rows + 1, "the state stays with the files");
    check_output(&place, rows + 1, ordered);
    let hits: u64 = server.row_hits().iter().map(|&hits| u64::from(hits)).sum();
    let again = hits - rows;
    tell(&format!("{name}: {kills} kills, {rows} rows, {again} fetched again"));
    assert!(again <= kills * (PARALLEL as u64 + 2 * limits::COMMIT_RESULTS), "{again} fetched again");
}

/// After a kill: the journal is sound, tells no less than before, and nothing that the output does not hold.
fn check_state(place: &Place, before: u64) -> u64 {
    if !place.state().join("job.json").exists() {
        assert_eq!(before, 0, "a state that was there is gone");
        return 0;
    }
    let (mut length, sink) = (0, SinkId::new("out.ndjson"));
    let checked = durable::check(&place.state(), |_, _, frame| match frame {
        Frame::Done(group) => length = group.checkpoints.of(&sink).unwrap().position,
        Frame::Snapshot(state) => length = state.checkpoints.of(&sink).map_or(0, |at| at.position),
        Frame::Names(_) | Frame::Intent(_) | Frame::Waiting(_) | Frame::Ended => {}
    });
    let checked = checked.unwrap_or_else(|error| panic!("{error}"));
    assert!(checked.done >= before, "{} rows were done, now {}", before, checked.done);
    let text = fs::read(place.output()).unwrap();
    let lines = text[..usize::try_from(length).unwrap()].split(|&byte| byte == b'\n').count() - 1;
    assert_eq!(lines as u64, checked.done, "what the journal says is done is in the output");
    checked.done
}

fn check_output(place: &Place, rows: u64, ordered: bool) {
    let text = fs::read_to_string(place.output()).unwrap();
    let mut seen = BTreeSet::new();
    let mut last = None;
    for line in text.lines() {
        let record: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let row = record["row"].as_u64().unwrap();
        assert!(seen.insert(row), "row {row} is there twice");
        assert!(!ordered || last < Some(row), "row {row} comes after {last:?}");
        last = Some(row);
        let body = fs::read(record["body_path"].as_str().unwrap_or_else(|| panic!("{line}"))).unwrap();
        assert_eq!(body, row_of(row), "row {row}");
    }
    assert!(seen.into_iter().eq(0..rows), "rows are missing");
    let names: Vec<_> =
        fs::read_dir(place.0.join("pages")).unwrap().flatten().map(|file| file.file_name()).collect();
    let stray = names.iter().find(|name| name.to_string_lossy().starts_with('.'));
    assert_eq!(stray, None, "a file that is not whole is left");
    assert_eq!(names.len() as u64, rows, "files of rows that are there twice");
}

#[test]
fn killed_at_any_moment() {
    let kills = kills(14);
    kill_loop(1, "as_completed", false, kills * 2_000, kills);
}

#[test]
fn killed_at_any_moment_in_order() {
    let kills = kills(6);
    kill_loop(1, "in_order", true, kills * 2_000, kills);
}

/// In a window of 300 rows, so that most rows of each host wait on disk.
#[test]
fn killed_with_rows_put_aside() {
    let kills = kills(6);
    kill_loop(4, "sorted", false, kills * 2_000, kills);
}

#[test]
fn killed_while_it_recovers() {
    let mut draw = Draw::new();
    let (server, released) = holding(1, 6_000);
    let place = Place::new("recovery");
    place.list(&server, 6_000);
    let mut child = place.worker(false, "each");
    assert!(server.wait_for_requests(1_000, Duration::from_secs(60)));
    child.kill().unwrap();
    child.wait().unwrap();
    let mut done = check_state(&place, 0);
    for _ in 0..kills(12) {
        let mut child = place.worker(false, "group");
        // A worker is up in a few milliseconds; most of these hit it while it reads and rewrites the state.
        std::thread::sleep(Duration::from_micros(draw.below(30_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        done = check_state(&place, done);
    }
    released.store(true, Ordering::SeqCst);
    assert!(place.worker(false, "group").wait().unwrap().success());
    check_output(&place, 6_001, false);
}

#[test]
fn a_second_process_is_refused() {
    let (server, _) = holding(1, 1_000);
    let place = Place::new("lock");
    place.list(&server, 1_000);
    let mut child = place.worker(false, "group");
    while !place.state().join("job.json").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let bulk = Bulk::new(Config::default()).unwrap().input(Input::File(place.0.join("urls.txt")));
    let durable = Durable { begin: Begin::Resume, ..Durable::beside(&place.output()) };
    let error = bulk.durable(durable).err().unwrap();
    assert_eq!(error.class(), ErrorClass::State);
    assert!(error.to_string().contains(&format!("process {} uses this run", child.id())), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
}
