//! Lists that are sorted by host and longer than the window: what becomes of the rows that wait on disk when the run is
//! killed or stopped, and when there is no room for them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod disk;
mod program;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use disk::{Act, EIO, Trip, watch};
use overlapped_testkit::{Script, Server};
use program::{Directory, command, command_to_signal, finish, records};

const LONG: Duration = Duration::from_secs(60);
const HOSTS: u64 = 4;
const ROWS: u64 = 1_500;
const ALL: u64 = HOSTS * ROWS;
const PACE: [&str; 4] = ["--window", "300", "--parallel-max-host", "2"];

struct Sorted {
    directory: Directory,
    server: Server,
    list: String,
    out: String,
    /// Set while the first host is so slow that no run ends before it is stopped.
    slow: Arc<AtomicBool>,
}

impl Sorted {
    /// Of which the first host takes its time.
    fn new() -> Self {
        let slow = Arc::new(AtomicBool::new(false));
        let is_slow = Arc::clone(&slow);
        let first = move |_: &_| {
            let pause = if is_slow.load(Ordering::SeqCst) { 30 } else { 5 };
            Script::new()
                .pause(Duration::from_millis(pause))
                .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        };
        let server = Server::builder().hosts(HOSTS as u16).handler("/first/", first).start();
        let directory = Directory::new();
        let path = |row| if row < ROWS { format!("/first/{row}\n") } else { format!("/row/{row}\n") };
        let urls: String = (0..ALL).map(|row| server.url_on((row / ROWS) as usize, &path(row))).collect();
        let list = directory.write("urls.txt", urls);
        let out = directory.path("out.ndjson");
        Self { directory, server, list, out, slow }
    }

    fn state(&self) -> String {
        format!("{}.run", self.out)
    }

    fn open(&self) -> fs::File {
        fs::File::open(&self.list).unwrap()
    }

    /// Starts the run, and waits until the last host is asked and rows are on disk.
    fn start(&self) -> Child {
        self.slow.store(true, Ordering::SeqCst);
        let words = [&PACE[..], &["-s", "-o", &self.out, "-"]].concat();
        let child = command_to_signal(&words).stdin(self.open()).stderr(Stdio::null()).spawn().unwrap();
        let last = self.server.addresses().last().unwrap().to_string();
        assert!(self.server.wait_until(LONG, |server| server.host(&last).requests > 0));
        assert!(self.server.requests() < ALL / 2, "the first host kept the others waiting");
        child
    }

    fn resume(&self) {
        self.slow.store(false, Ordering::SeqCst);
        let words = [&PACE[..], &["-s", "--resume", "-o", &self.out, "-"]].concat();
        assert!(command(&words).stdin(self.open()).status().unwrap().success());
        check(&self.directory.read("out.ndjson"));
    }
}

/// Every row is there once, and has succeeded.
fn check(ndjson: &str) {
    let records = records(ndjson);
    let mut rows: Vec<_> = records.iter().map(|record| record["row"].as_u64().unwrap()).collect();
    rows.sort_unstable();
    assert!(rows.into_iter().eq(0..ALL));
    assert!(records.iter().all(|record| record["ok"] == true));
}

/// The files that a process has open and that have no name.
fn unnamed_files(process: &Child) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().flatten();
    let links = links.filter_map(|link| fs::read_link(link.path()).ok());
    let names = links.map(|link| link.to_string_lossy().into_owned());
    names.filter(|name| name.ends_with("(deleted)")).collect()
}

#[test]
fn killed_while_rows_are_on_disk() {
    let sorted = Sorted::new();
    let mut child = sorted.start();
    // A first block must have been written.
    let state = fs::canonicalize(sorted.state()).unwrap();
    let is_there = |name: &String| name.starts_with(state.to_str().unwrap());
    assert!(sorted.server.wait_until(LONG, |_| unnamed_files(&child).iter().any(is_there)));
    child.kill().unwrap();
    child.wait().unwrap();
    let left: Vec<_> = fs::read_dir(&state).unwrap().flatten().map(|file| file.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("spill")), "{left:?}");
    sorted.resume();
    assert!(!Path::new(&sorted.state()).exists());
}

#[test]
fn interrupted_while_rows_are_on_disk() {
    let sorted = Sorted::new();
    let mut child = sorted.start();
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    sorted.resume();
}

/// These rows are unknown and not done: the run ends with an error, and can be resumed from its journal.
#[test]
fn rows_that_cannot_be_read_back_end_the_run() {
    for (input, file, says) in
        [("-", "(deleted)", "rows that waited on disk"), ("@", "urls.txt", "rows of the list once more")]
    {
        let sorted = Sorted::new();
        let input = if input == "@" { format!("@{}", sorted.list) } else { input.to_owned() };
        let words = [&PACE[..], &["-s", "--resume", "-o", &sorted.out, &input]].concat();
        let list = fs::read(&sorted.list).unwrap();
        let mut failing = command(&words);
        let trip = Trip { calls: "read", file, at: 1, act: Act::Fail(EIO) };
        let root = Path::new(&sorted.out).parent().unwrap();
        watch(&mut failing, root, Path::new(&sorted.directory.path("record")), Some(trip));
        let ran = finish(&mut failing, &list);
        ran.check_refused(3, says);
        assert!(ran.stderr.contains("--resume continues"), "{ran:?}");
        finish(&mut command(&words), &list).check_code(0);
        check(&sorted.directory.read("out.ndjson"));
        assert!(!Path::new(&sorted.state()).exists());
    }
}

#[test]
fn no_room_on_disk_costs_no_row() {
    // No directory, and a limit on the size of a file: the first block cannot be written, or one of the next.
    for (shell, says) in [("TMPDIR=/nowhere", "No such file"), ("ulimit -f 16;", "File too large")] {
        let sorted = Sorted::new();
        let (program, pace) = (env!("CARGO_BIN_EXE_overlapped"), PACE.join(" "));
        let shell = format!("{shell} exec {program} {pace} --progress none -");
        let output = Command::new("sh").args(["-c", &shell]).stdin(sorted.open()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        check(&String::from_utf8(output.stdout).unwrap());
        let warning = said.lines().find(|line| line.trim_start().starts_with("warning"));
        assert!(warning.is_some_and(|line| line.contains(says)), "{said}");
    }
}
