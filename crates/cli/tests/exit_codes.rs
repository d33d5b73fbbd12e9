//! The exit codes of a run, and the messages of one line.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use overlapped_testkit::Server;
use program::{Directory, command, command_to_signal, command_with_blocked_signals, run};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn zero_when_every_row_succeeded() {
    let server = Server::start();
    let ran = run(&["-s", &server.url("/row/1"), &server.url("/row/2")]);
    assert_eq!((ran.code, ran.records().len(), ran.stderr.as_str()), (Some(0), 2, ""));
}

#[test]
fn one_when_some_row_failed() {
    let server = Server::start();
    let ran = run(&["-s", &server.url("/row/1"), &server.url("/status/404")]);
    assert_eq!((ran.code, ran.records().len()), (Some(1), 2));
    run(&["-s", "--fail=none", &server.url("/row/1"), &server.url("/status/404")]).check_code(0);
    run(&["-s", "--fail=200", &server.url("/row/1"), &server.url("/status/404")]).check_code(1);
}

#[test]
fn the_one_row_that_failed_says_why() {
    let server = Server::start();
    let ran = run(&[&server.url("/status/404")]);
    ran.check_refused(1, "404");
    assert_eq!(ran.stdout, "status 404\n");
    let ran = run(&["-f", &server.url("/status/404")]);
    ran.check_refused(1, "404");
    assert_eq!(ran.stdout, "");
    let refused = overlapped_testkit::refused();
    run(&["--retry", "0", &refused.url("/")]).check_refused(1, "connect.refused");
}

#[test]
fn a_password_is_not_told() {
    let server = Server::start();
    let url = server.url("/status/500").replace("http://", "http://me:secret@");
    let ran = run(&["--retry", "0", &url]);
    ran.check_refused(1, "500");
    assert!(!ran.stderr.contains("secret"), "{ran:?}");
}

#[test]
fn two_when_the_list_cannot_be_read() {
    let directory = Directory::new();
    run(&["-s", &format!("@{}", directory.path("none.txt"))]).check_refused(2, "none.txt");
}

#[test]
fn three_when_an_output_cannot_be_written() {
    let server = Server::start();
    let url = server.url("/row/1");
    let directory = Directory::new();
    let file = directory.write("file", "x");
    run(&["-o", &format!("{file}/pages/"), &url]).check_refused(3, "file/pages/");
    run(&["-o", "/dev/full", &url, &url, "-s"]).check_refused(3, "/dev/full");
    // What is below /dev stays what it is: a rename would put a file in its place.
    run(&["-s", "--summary", "/dev/full", &url]).check_refused(3, "/dev/full");
    assert!(!std::fs::symlink_metadata("/dev/full").unwrap().is_file());
    run(&["-s", "--summary", &directory.path(""), &url]).check_refused(3, "directory");
}

#[test]
fn zero_when_nobody_reads_any_more() {
    let server = Server::start();
    let urls: Vec<String> = (0..3_000).map(|row| server.url(&format!("/text/1000?{row}"))).collect();
    let directory = Directory::new();
    let list = directory.write("urls.txt", urls.join("\n"));
    let mut child =
        command(&[&format!("@{list}"), "-s"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn an_interrupt_writes_out_what_is_done() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let server = Server::start();
        let directory = Directory::new();
        let out = directory.path("out.ndjson");
        let child = command_to_signal(&["-s", "-o", &out, &server.url("/row/1"), &server.url("/silent")])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        assert!(server.wait_for_requests(2, Duration::from_secs(60)));
        let pid = Pid::from_child(&child);
        // The row that was answered is on its way to the file.
        assert!(server.wait_until(Duration::from_secs(60), |server| server.in_flight() == 1));
        kill_process(pid, signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("once more to quit at once"), "{told}");
        let records = program::records(&directory.read("out.ndjson"));
        assert!(records.iter().any(|record| record["status"] == 200), "{records:?}");
    }
}

/// It waited for a signal that its caller ignores, under `nohup`.
#[test]
fn a_program_to_be_signalled_inherits_nothing() {
    let mut inner = command_to_signal(&["--version"]);
    let words: Vec<_> = std::iter::once(inner.get_program()).chain(inner.get_args()).collect();
    // In the place of the program: what it would find ignored or blocked.
    let words: Vec<_> = words
        .into_iter()
        .map(|word| if word == env!("CARGO_BIN_EXE_overlapped") { "/bin/sh".as_ref() } else { word })
        .map(|word| if word == "--version" { "/dev/stdin".as_ref() } else { word })
        .collect();
    let mut outer = Command::new("sh");
    outer.args(["-c", "trap '' HUP INT TERM; exec \"$@\"", "sh"]).args(words);
    let ran = program::finish(&mut outer, b"kill -HUP $$; echo it is ignored");
    assert_eq!((ran.code, ran.stdout.as_str()), (None, ""), "{ran:?}");
    inner.stdout(Stdio::null());
    assert!(inner.status().unwrap().success());
}

/// A parent that blocks signals, to wait for them, passes that on: the program never received one.
#[test]
fn a_signal_that_was_blocked_at_the_start_was_never_heeded() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let server = Server::start();
        let words = ["-s", "--max-time", "30", &server.url("/silent"), &server.url("/row/1")];
        let mut child = command_with_blocked_signals(&words).stdout(Stdio::null()).spawn().unwrap();
        assert!(server.wait_for_requests(2, Duration::from_secs(60)));
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn a_signal_that_is_ignored_stays_so() {
    let server = Server::start();
    let mut words = vec!["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_overlapped"), "-s"];
    let url = server.url("/delay/700");
    words.push(&url);
    let child = Command::new("sh").args(&words).stdout(Stdio::piped()).spawn().unwrap();
    assert!(server.wait_for_requests(1, Duration::from_secs(60)));
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn an_interrupt_does_not_wait_for_a_list_that_never_ends() {
    let server = Server::start();
    let directory = Directory::new();
    let mut child = command_to_signal(&["-s", "-o", &directory.path("out.ndjson"), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut list = child.stdin.take().unwrap();
    writeln!(list, "{}", server.url("/row/1")).unwrap();
    assert!(server.wait_for_requests(1, Duration::from_secs(60)));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(list);
    assert_eq!(program::records(&directory.read("out.ndjson")).len(), 1);
}

#[test]
fn a_second_interrupt_quits_at_once() {
    let server = Server::start();
    let child = command_to_signal(&["-s", &server.url("/silent")]).stderr(Stdio::piped()).spawn().unwrap();
    assert!(server.wait_for_requests(1, Duration::from_secs(60)));
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    // Until it is gone: signals that come close together are one.
    let waiter = std::thread::spawn(move || child.wait_with_output().unwrap().status.code());
    while !waiter.is_finished() {
        let _ = kill_process(pid, Signal::TERM);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(waiter.join().unwrap(), Some(143));
}

/// `timeout` signals the program and then its group: the program quit without writing what was answered.
#[test]
fn two_signals_at_once_end_the_run_in_order() {
    let server = Server::start();
    let directory = Directory::new();
    let out = directory.path("out.ndjson");
    let urls = [server.url("/row/1"), server.url("/silent")];
    let words = ["--ordered", "-o", &out, &urls[0], &urls[1]];
    let child = command_to_signal(&words).stderr(Stdio::piped()).spawn().unwrap();
    assert!(server.wait_for_requests(2, Duration::from_secs(60)));
    assert!(server.wait_until(Duration::from_secs(60), |server| server.in_flight() == 1));
    let pid = Pid::from_child(&child);
    // Both are pending when the program continues. They differ, because two pending signals of one kind are one.
    for signal in [Signal::STOP, Signal::TERM, Signal::HUP, Signal::CONT] {
        kill_process(pid, signal).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(129 | 143)), "{output:?} {told}", output = output.status);
    assert!(told.contains("resume with"), "{told}");
    assert_eq!(program::records(&directory.read("out.ndjson"))[0]["status"], 200, "{told}");
    run(&[&words[..], &["-s", "--resume", "-m", "200ms", "--retry", "0"]].concat()).check_code(1);
    assert_eq!(program::records(&directory.read("out.ndjson")).len(), 2);
    assert_eq!(server.count("/row/1"), 1);
}

#[test]
fn four_when_a_limit_stopped_the_run() {
    let server = Server::start();
    let directory = Directory::new();
    let text = format!("{}\n", server.url("/status/404")).repeat(50_000);
    let list = format!("@{}", directory.write("urls.txt", text));
    for words in [&["--fail-early"][..], &["--max-errors", "3"], &["--max-errors", "1%"]] {
        let ran = run(&[words, &["-s", "--no-body", "-j", "2", "-o", "-", &list]].concat());
        ran.check_refused(4, "stopped by a limit");
        assert!((1..50_000).contains(&ran.records().len()), "{} rows", ran.records().len());
    }
    let ran = run(&["-s", "--max-errors", "3", &server.url("/status/404"), &server.url("/ok")]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    run(&["--max-errors", "0", &list]).check_refused(2, "5%");
}

#[test]
fn three_when_the_reader_of_one_output_goes_and_leaves_the_others_incomplete() {
    let server = Server::start();
    for name in ["out.ndjson", "out.csv.gz", "out.parquet"] {
        let directory = Directory::new();
        let urls = (0..2_000).map(|row| server.url(&format!("/row/{row}"))).collect::<Vec<_>>();
        let list = format!("@{}", directory.write("urls.txt", urls.join("\n")));
        let out = directory.path(name);
        let words = ["-s", "-o", &out, "-w", "%{url}\n", &list];
        let mut child = command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{told}");
        assert!(told.contains("reader of standard output") && told.contains("--resume"), "{told}");
        let ran = run(&[&words[..], &["--resume"]].concat());
        ran.check_code(0);
        assert!(ran.stdout.lines().count() >= 1_000, "most rows were left: {}", ran.stdout.lines().count());
        run(&[&words[..], &["--resume"]].concat()).check_code(0);
    }
    // Nothing else was to be written.
    let urls = (0..2_000).map(|row| server.url(&format!("/row/{row}"))).collect::<Vec<_>>();
    let directory = Directory::new();
    let list = format!("@{}", directory.write("urls.txt", urls.join("\n")));
    let mut child = command(&["-s", "-o", "-", &list]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
