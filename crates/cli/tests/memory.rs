//! The memory of a run is bounded whatever waits for its reader or for an earlier row: measured by the kernel.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use overlapped_testkit::{Script, Server};
use program::{Directory, command};

const LONG: Duration = Duration::from_secs(60);

/// What a run of the program held at the most, as far as the kernel was asked before it ended.
struct Measured {
    peak_kib: u64,
    stdout: Vec<u8>,
}

fn start(words: &[&str]) -> Child {
    command(words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Reads what the program prints, to its end.
fn drain(mut child: Child) -> Measured {
    let mut pipe = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).map(|_| all)
    });
    let mut peak_kib = 0;
    while child.try_wait().unwrap().is_none() {
        peak_kib = peak_of(child.id()).unwrap_or(0).max(peak_kib);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(peak_kib > 0, "the program ended before the kernel was asked");
    Measured { peak_kib, stdout: reader.join().unwrap().unwrap() }
}

/// `None`: the process is over.
fn peak_of(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

fn list(directory: &Directory, urls: impl Iterator<Item = String>) -> String {
    format!("@{}", directory.write("list.txt", urls.collect::<Vec<_>>().join("\n")))
}

#[track_caller]
fn check_records(measured: &Measured, rows: usize, body: usize, limit_mib: u64) {
    let stdout = std::str::from_utf8(&measured.stdout).unwrap();
    let records = program::records(stdout);
    let whole = |record: &&serde_json::Value| record["body"].as_str().map_or(0, str::len) == body;
    assert_eq!((records.len(), records.iter().filter(whole).count()), (rows, rows));
    let peak = measured.peak_kib >> 10;
    assert!(peak < limit_mib, "{peak} MiB were held, of a budget of 16 MiB");
}

#[test]
fn bodies_that_a_reader_does_not_take_are_not_held_in_memory() {
    const BODY: usize = 6 << 20;
    let (server, directory) = (Server::start(), Directory::new());
    let list = list(&directory, (0..40).map(|row| server.url(&format!("/text/{BODY}?{row}"))));
    let child = start(&[&list, "-o", "-", "-s", "--max-memory", "16M"]);
    // All but what the sockets hold has come by now, and not a byte of it is read.
    assert!(server.wait_until(LONG, |server| server.requests() == 40 && server.in_flight() == 0));
    check_records(&drain(child), 40, BODY, 96);
}

fn behind_a_silent_row(path: &str, server: &Server, rows: usize, words: &[&str]) -> Vec<serde_json::Value> {
    let row = |row| format!(r#"{{"url":"{}"}}"#, server.url(&format!("{path}?{row}")));
    rows_behind_a_silent_one(server, (1..rows).map(row).collect(), words)
}

/// The first row is silent until it is given up; the others wait for it.
fn rows_behind_a_silent_one(server: &Server, others: Vec<String>, words: &[&str]) -> Vec<serde_json::Value> {
    let (directory, rows) = (Directory::new(), others.len() + 1);
    let silent = format!(r#"{{"url":"{}","timeout_s":8}}"#, server.url("/silent"));
    let list = list(&directory, std::iter::once(silent).chain(others));
    let always =
        ["--input-format", "ndjson", "-o", "-", "-s", "--ordered", "--max-memory", "16M", "--retry", "0"];
    let measured = drain(start(&[&[&*list], &always[..], words].concat()));
    let peak = measured.peak_kib >> 10;
    // Beside the budget: a receive buffer of 128 KiB for each of 256 requests, and pages that were freed, which the allocator
    // gives back to the system a second later (without that delay: 65 MiB). On a busy machine up to 115 MiB were seen.
    assert!(peak < 144, "{peak} MiB were held, of a budget of 16 MiB");
    let records = program::records(std::str::from_utf8(&measured.stdout).unwrap());
    assert_eq!((records.len(), records[0]["error"].as_str()), (rows, Some("timeout.total")));
    records
}

/// Good and bad ones.
#[test]
fn long_rows_behind_a_silent_row_are_not_read_ahead() {
    const META: usize = 60_000;
    let server = Server::start();
    let row = |row: usize| {
        let url = if row.is_multiple_of(2) { server.url("/ok") } else { "bad".to_owned() };
        format!(r#"{{"url":"{url}","note":"{}"}}"#, "n".repeat(META))
    };
    let records = rows_behind_a_silent_one(&server, (0..2_500).map(row).collect(), &[]);
    for (row, record) in records[1..].iter().enumerate() {
        let note = record["meta"]["note"].as_str().map(str::len);
        assert_eq!((record["ok"].as_bool(), note), (Some(row % 2 == 0), Some(META)));
    }
}

#[test]
fn chains_of_redirects_behind_a_silent_row_are_bounded() {
    const ROWS: usize = 1_800;
    let query = "q".repeat(8_000);
    let hop = |hop: usize| {
        let to = if hop == 1 { "/ok".to_owned() } else { format!("/hop{}", hop - 1) };
        let location = format!("{to}?{query}");
        (format!("/hop{hop}"), Script::response(302, &[("Location", &location)], ""))
    };
    let server =
        (1..=10).map(hop).fold(Server::builder(), |server, (path, script)| server.route(&path, script));
    let server = server.start();
    let records = behind_a_silent_row("/hop10", &server, ROWS, &[]);
    assert!(records[1..].iter().all(|record| record["status"] == 200));
}

#[test]
fn bodies_behind_a_silent_row_are_not_held_in_memory() {
    const BODY: usize = 256 << 10;
    let records = behind_a_silent_row(&format!("/text/{BODY}"), &Server::start(), 600, &[]);
    for record in &records[1..] {
        assert_eq!(
            (&record["error"], record["body"].as_str().map(str::len)),
            (&serde_json::Value::Null, Some(BODY))
        );
    }
}

#[test]
fn heads_behind_a_silent_row_are_not_held_in_memory() {
    const HEAD: usize = 100 << 10;
    let large = format!("HTTP/1.1 200 OK\r\nX-Large: {}\r\nContent-Length: 2\r\n\r\nok", "x".repeat(HEAD));
    let server = Server::builder().route("/head", Script::new().send(large)).start();
    for record in &behind_a_silent_row("/head", &server, 2_000, &["--no-body"])[1..] {
        let value = &record["headers"]["x-large"][0];
        assert_eq!((&record["error"], value.as_str().map(str::len)), (&serde_json::Value::Null, Some(HEAD)));
    }
}

#[test]
fn a_place_that_takes_no_bodies_is_named() {
    let server = Server::start();
    let mut command = command(&["-s", "-o", "-", "--max-memory", "1M", &server.url("/text/20000000")]);
    let output = command.env("TMPDIR", "/nowhere/at/all").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("/nowhere/at/all") && stderr.lines().count() == 1, "{stderr}");
}

/// They were sent in batches as large as a block of the list, and cost ten times as much as good rows.
#[test]
fn bad_rows_are_not_held_in_memory() {
    const ROWS: usize = 150_000;
    let directory = Directory::new();
    let list = list(&directory, std::iter::repeat_n("x".to_owned(), ROWS));
    let measured = drain(start(&[&list, "-o", "-", "-s"]));
    assert_eq!(lines(&measured.stdout), ROWS);
    let peak = measured.peak_kib >> 10;
    assert!(peak < 40, "{peak} MiB were held");
}

/// They are copied from where they wait on disk, a piece at a time.
#[test]
fn bodies_in_archives_are_not_held_in_memory() {
    const BODY: usize = 24 << 20;
    let server = Server::start();
    for name in ["r.har", "c.warc.gz"] {
        let directory = Directory::new();
        let list = list(&directory, (0..8).map(|row| server.url(&format!("/text/{BODY}?n={row}"))));
        let measured = drain(start(&["-s", "--max-memory=8M", "-o", &directory.path(name), &list]));
        let peak = measured.peak_kib >> 10;
        assert!(peak < 80, "{name}: {peak} MiB were held, for bodies of 192 MiB");
        let written = std::fs::metadata(directory.path(name)).unwrap().len();
        assert!(written > 8 << 20, "{name}: {written} bytes");
    }
}

fn lines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

/// A file of 200 MB, of which nothing is on the disk, to four rows at once.
#[test]
fn a_file_that_is_sent_is_not_held_in_memory() {
    const BYTES: u64 = 200 << 20;
    let (server, directory) = (Server::start(), Directory::new());
    let path = directory.write("sparse", "");
    std::fs::File::options().write(true).open(&path).unwrap().set_len(BYTES).unwrap();
    let at = format!("@{path}");
    let row =
        |row| format!("{{\"url\":\"{}\",\"body_file\":\"sparse\"}}\n", server.url(&format!("/ok?{row}")));
    let list = format!("@{}", directory.write("list.ndjson", (0..4).map(row).collect::<String>()));
    let urls = format!("{}?[1-4]", server.url("/ok"));
    for words in
        [["-T", &path, &*urls], ["--data-binary", &at, &*urls], ["--body-dir", &directory.path(""), &*list]]
    {
        server.forget();
        let measured = drain(start(&[&words[..], &["-s", "-m", "0", "-o", "-"]].concat()));
        let records = program::records(std::str::from_utf8(&measured.stdout).unwrap());
        assert!(records.len() == 4 && records.iter().all(|record| record["ok"] == true), "{records:?}");
        let sizes: Vec<_> = server.seen().iter().map(|seen| seen.body_bytes).collect();
        assert_eq!(sizes, [BYTES; 4], "{words:?}");
        let peak = measured.peak_kib >> 10;
        assert!(peak < 96, "{peak} MiB were held");
    }
}
