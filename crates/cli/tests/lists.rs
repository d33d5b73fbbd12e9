//! Lists as they come to the program: through pipes, from other programs, and from its own results.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::{Command, Stdio};

use overlapped_testkit::Server;
use program::{Directory, command, records, run, run_with};

/// It was exit code 3, and left a state that refused the next run.
#[test]
fn an_empty_pipe_is_a_list_without_rows() {
    let directory = Directory::new();
    let output = directory.path("o.ndjson");
    for input in ["", "\n", "# nothing\n"] {
        let ran = run_with(&["-", "-o", &output], input.as_bytes());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!((directory.names(), directory.read("o.ndjson").len()), (vec!["o.ndjson".to_owned()], 0));
        fs::remove_file(&output).unwrap();
    }
    let server = Server::start();
    let ran = run_with(&["-", "-o", &output], server.url("/ok").as_bytes());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(records(&directory.read("o.ndjson")).len(), 1);
}

/// A writer that has only one reader was told that it had gone, or the run waited for a second writer.
#[test]
fn a_named_pipe_is_opened_once() {
    let server = Server::start();
    for durable in [true, false] {
        let directory = Directory::new();
        let (pipe, output) = (directory.path("pipe"), directory.path("o.ndjson"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let list = format!("@{pipe}");
        let words = [&*list, "-o", if durable { &*output } else { "-" }, "-s"];
        let child = command(&words).stdout(Stdio::piped()).spawn().unwrap();
        // Opening returns once there is a reader; a second open of the reader would find no writer any more.
        let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
        writer.write_all(format!("{}\n", server.url("/ok")).as_bytes()).unwrap();
        drop(writer);
        let ran = child.wait_with_output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let text = if durable { directory.read("o.ndjson") } else { String::from_utf8(ran.stdout).unwrap() };
        assert_eq!(records(&text).len(), 1);
    }
}

/// Most pages are longer than a row of a list may be.
#[test]
fn results_are_lists_in_every_format_however_long_their_bodies_are() {
    let server = Server::start();
    let directory = Directory::new();
    let urls = [server.url("/text/100000"), server.url("/bytes/70000"), server.url("/etag/v1")].join("\n");
    let list = format!("@{}", directory.write("urls.txt", urls));
    for name in ["o.ndjson", "o.csv"] {
        let output = directory.path(name);
        run(&[&list, "-o", &output, "-s"]).check_code(0);
        let again = run(&[&format!("@{output}"), "-o", "-", "-s", "--no-body"]);
        again.check_code(0);
        let mut statuses: Vec<_> = again.records().iter().map(|record| record["status"].as_u64()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [Some(200), Some(200), Some(304)], "{name}");
    }
}

/// Bodies of records were limited to 64 MiB.
#[test]
fn a_record_of_more_than_64_mib_is_a_row_again() {
    const BODY: u64 = 65 << 20;
    let (server, directory) = (Server::start(), Directory::new());
    let output = directory.path("o.ndjson");
    // It is text that needs no escapes, so that the line is as long as the body.
    let url = server.url(&format!("/text/{BODY}"));
    run(&[&url, "-o", &output, "-s"]).check_code(0);
    assert!(fs::metadata(&output).unwrap().len() > BODY);
    let again = run(&[&format!("@{output}"), "-o", "-", "-s", "--no-body"]);
    again.check_code(0);
    assert_eq!((again.records().len(), again.records()[0]["bytes"].as_u64()), (1, Some(BODY)));
    assert_eq!((again.records()[0]["url"].as_str(), server.requests()), (Some(&*url), 2));
}

/// Rows of an array are read again from its file when they did not fit into memory.
#[test]
fn an_array_is_spilled_and_resumed_like_lines() {
    let server = Server::start();
    let directory = Directory::new();
    let rows: Vec<_> =
        (0..500).map(|row| format!("{{\"id\": {row},\n \"url\": {:?}}}", server.url("/ok"))).collect();
    let list = format!("@{}", directory.write("l.json", format!("[\n{}\n]\n", rows.join(",\n"))));
    let output = directory.path("o.ndjson");
    let words = ["-o", &*output, "-s", "--window", "64", "--no-body"];
    run(&[&[&*list, "--limit", "200"], &words[..]].concat()).check_code(0);
    assert_eq!(records(&directory.read("o.ndjson")).len(), 200);
    let ran = run(&[&[&*list, "--overwrite"], &words[..]].concat());
    ran.check_code(0);
    let mut ids: Vec<u64> = records(&directory.read("o.ndjson"))
        .iter()
        .map(|record| record["id"].as_str().unwrap().parse().unwrap())
        .collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..500));
}
