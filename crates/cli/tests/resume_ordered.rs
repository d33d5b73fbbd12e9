//! `--ordered` and a crash: results that wait behind a row whose host is away are durable.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use overlapped_testkit::{Script, Server, row_of};
use program::{Directory, Ran, command, command_to_signal, records, run};
use rustix::process::{Pid, Signal, kill_process};

const LONG: Duration = Duration::from_secs(60);

/// A list whose first row is not answered until it is told, in front of POST requests, one of which has a large body.
struct Job {
    directory: Directory,
    server: Server,
    answers: Arc<AtomicBool>,
    rows: u64,
}

const LARGE: u64 = 7;
const LARGE_BYTES: usize = 400_000;

impl Job {
    fn new(rows: u64) -> Self {
        let answers = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&answers);
        let first = move |_: &_| match told.load(Ordering::SeqCst) {
            true => Script::response(200, &[], row_of(0)),
            false => Script::new().silence(),
        };
        let server = Server::builder().handler("/first", first).start();
        let directory = Directory::new();
        let target = |row| match row {
            LARGE => format!("/text/{LARGE_BYTES}?n={row}"),
            _ => format!("/row/{row}?n={row}"),
        };
        let line = |row| format!("{{\"url\":\"{}\",\"method\":\"POST\"}}\n", server.url(&target(row)));
        let list = format!("{{\"url\":\"{}\"}}\n", server.url("/first?n=0"));
        directory.write("list.ndjson", (1..rows).map(line).fold(list, |list, line| list + &line));
        Self { directory, server, answers, rows }
    }

    fn words(&self, outputs: &[&str], more: &[&str]) -> Vec<String> {
        let mut words: Vec<String> =
            ["-s", "--ordered", "--resume", "-m", "600", "--first-byte-timeout", "600"]
                .iter()
                .chain(more)
                .map(|&word| word.to_owned())
                .collect();
        words.extend(outputs.iter().flat_map(|output| ["-o".to_owned(), self.directory.path(output)]));
        words.push(format!("@{}", self.directory.path("list.ndjson")));
        words
    }

    fn start(&self, outputs: &[&str], more: &[&str]) -> Child {
        let words = self.words(outputs, more);
        command(&words.iter().map(String::as_str).collect::<Vec<_>>()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn run(&self, outputs: &[&str], more: &[&str]) -> Ran {
        let words = self.words(outputs, more);
        run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Waits until this number of rows wait durably, as the journal says.
    fn wait_until_waiting(&self, state: &str, rows: u64) {
        let deadline = Instant::now() + LONG;
        let expected = format!("{rows} rows more wait for an earlier row");
        loop {
            let verified = run(&["journal", "verify", &self.directory.path(state)]);
            if verified.stdout.contains(&expected) {
                return;
            }
            assert!(Instant::now() < deadline, "{verified:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill(&self, mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(self.server.wait_until(LONG, |server| server.open_connections() == 0));
    }

    /// How often each row was asked for.
    fn hits(&self) -> Vec<u64> {
        let mut hits = vec![0; usize::try_from(self.rows).unwrap()];
        for seen in self.server.seen() {
            let (_, row) = seen.target.rsplit_once("n=").unwrap();
            hits[row.parse::<usize>().unwrap()] += 1;
        }
        hits
    }

    /// Every row is there once and in order, with the body that is its own.
    fn check_output(&self, name: &str) {
        let records = records(&self.directory.read(name));
        let rows = records.iter().map(|record| record["row"].as_u64().unwrap());
        assert!(rows.eq(0..self.rows), "in order, each once");
        for record in records {
            let row = record["row"].as_u64().unwrap();
            assert_eq!((&record["ok"], record["status"].as_u64()), (&true.into(), Some(200)), "{record}");
            let body = match record["body_path"].as_str() {
                Some(path) => fs::read(path).unwrap(),
                None => record["body"].as_str().unwrap().as_bytes().to_vec(),
            };
            match row {
                LARGE => assert_eq!(body.len(), LARGE_BYTES),
                _ => assert_eq!(body, row_of(row), "row {row}"),
            }
        }
    }
}

/// They were fetched again, and the POST requests among them ended as `run.unconfirmed`.
#[test]
fn what_waits_behind_a_silent_host_is_not_fetched_again_after_a_kill() {
    const ROWS: u64 = 300;
    let job = Job::new(ROWS);
    let outputs = ["out.ndjson", "out.csv"];
    for kill in 1..=2 {
        let child = job.start(&outputs, &[]);
        assert!(job.server.wait_until(LONG, |_| job.hits()[0] == kill));
        job.wait_until_waiting("out.ndjson.run", ROWS - 1);
        job.kill(child);
    }
    job.answers.store(true, Ordering::SeqCst);
    job.run(&outputs, &[]).check_code(0);
    job.check_output("out.ndjson");
    assert_eq!(job.hits()[0], 3);
    assert!(job.hits()[1..].iter().all(|&hits| hits == 1), "{:?}", job.hits());
    assert_eq!(
        job.directory.names(),
        ["list.ndjson", "out.csv", "out.ndjson"],
        "nothing is left of the state"
    );
}

#[test]
fn bodies_in_files_wait_as_well() {
    const ROWS: u64 = 60;
    let job = Job::new(ROWS);
    let outputs = ["pages/", "out.ndjson"];
    let child = job.start(&outputs, &["--durability", "each"]);
    job.wait_until_waiting("pages.run", ROWS - 1);
    job.kill(child);
    job.answers.store(true, Ordering::SeqCst);
    job.run(&outputs, &[]).check_code(0);
    job.check_output("out.ndjson");
    assert!(job.hits()[1..].iter().all(|&hits| hits == 1), "{:?}", job.hits());
    let names: Vec<_> =
        fs::read_dir(job.directory.path("pages")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names.len() as u64, ROWS, "{names:?}");
    assert!(!Path::new(&job.directory.path("pages.run/waiting")).exists());
}

/// They were written behind the gap, so that the missing row came behind them when the run was resumed.
#[test]
fn an_interrupt_keeps_the_order() {
    const ROWS: u64 = 60;
    for outputs in [&["out.ndjson"][..], &["out.ndjson", "out.csv"], &["pages/", "out.ndjson"]] {
        let job = Job::new(ROWS);
        for interrupts in 1..=2 {
            let words = job.words(outputs, &[]);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let mut child = command_to_signal(&words).stderr(Stdio::null()).spawn().unwrap();
            // All others are answered, and in the second run none is asked for again.
            assert!(job.server.wait_until(LONG, |_| job.hits()[0] == interrupts));
            assert!(job.server.wait_until(LONG, |server| server.in_flight() == 1
                && server.requests() == ROWS - 1 + interrupts));
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(130));
            assert_eq!(job.directory.read("out.ndjson"), "", "nothing is written behind the gap");
        }
        job.answers.store(true, Ordering::SeqCst);
        job.run(outputs, &[]).check_code(0);
        job.check_output("out.ndjson");
        assert_eq!(job.hits()[0], 3);
        assert!(job.hits()[1..].iter().all(|&hits| hits == 1), "{:?}", job.hits());
    }
}

/// A run may end before the row that the others wait for, and begin anew.
#[test]
fn overwriting_discards_what_waits() {
    let job = Job::new(40);
    let child = job.start(&["pages/"], &["--durability", "each"]);
    job.wait_until_waiting("pages.run", 39);
    job.kill(child);
    job.answers.store(true, Ordering::SeqCst);
    let words = job.words(&["pages/"], &[]);
    let words: Vec<_> =
        words.iter().map(|word| if word == "--resume" { "--overwrite" } else { word }).collect();
    run(&words).check_code(0);
    assert_eq!(fs::read_dir(job.directory.path("pages")).unwrap().count(), 40);
    assert_eq!(job.hits()[1..], [2; 39]);
}

#[test]
fn a_damaged_file_of_waiting_records_is_refused_and_can_be_repaired() {
    let job = Job::new(40);
    let child = job.start(&["out.ndjson"], &["--durability", "each"]);
    job.wait_until_waiting("out.ndjson.run", 39);
    job.kill(child);
    let state = job.directory.path("out.ndjson.run");
    let file = format!("{state}/waiting");
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped, &whole[..whole.len() - 1]] {
        fs::write(&file, damaged).unwrap();
        job.run(&["out.ndjson"], &[]).check_refused(4, "journal repair");
    }
    fs::write(&file, &flipped).unwrap();
    run(&["journal", "repair", &state]).check_code(0);
    job.wait_until_waiting("out.ndjson.run", 38);
    job.answers.store(true, Ordering::SeqCst);
    // The request of the damaged record was sent, and is not sent again.
    job.run(&["out.ndjson"], &[]).check_code(1);
    let records = records(&job.directory.read("out.ndjson"));
    let unconfirmed = records.iter().filter(|record| record["error"] == "run.unconfirmed").count();
    assert_eq!((records.len(), unconfirmed), (40, 1));
    assert!(job.hits()[1..].iter().all(|&hits| hits == 1), "{:?}", job.hits());
}

/// Rows that failed are fetched once more, whether they wait or not.
#[test]
fn failed_rows_that_wait_are_fetched_once_more() {
    let job = Job::new(20);
    let list = job.directory.read("list.ndjson").replacen("/row/5?", "/flaky?fail=1&status=404&", 1);
    job.directory.write("list.ndjson", list);
    let child = job.start(&["out.ndjson"], &["--durability", "each"]);
    job.wait_until_waiting("out.ndjson.run", 19);
    job.kill(child);
    job.answers.store(true, Ordering::SeqCst);
    let words = job.words(&["out.ndjson"], &[]);
    let words: Vec<_> =
        words.iter().map(|word| if word == "--resume" { "--retry-failed" } else { word }).collect();
    run(&words).check_code(0);
    let records = records(&job.directory.read("out.ndjson"));
    assert!(records.iter().map(|record| record["row"].as_u64().unwrap()).eq(0..20));
    let hits = job.hits();
    assert_eq!((hits[5], hits[1..].iter().sum::<u64>()), (2, 20));
}
