//! Text from servers, lists and file names is escaped on a terminal.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::process::{Command, Stdio};

use overlapped_testkit::{Script, Server};
use program::{Directory, command, run};

/// C0, C1 as UTF-8, DEL, and characters that reorder what is read or end a line.
const HOSTILE: &str = "\u{1b}]0;t\u{7}\u{9b}31m\u{9d}0;t\u{9c}\u{7f}\u{202e}\u{2066}\u{200e}\u{200f}\u{61c}\u{2028}\u{2029}\u{85}";

/// Nothing in it steers a terminal or reorders what is read.
#[track_caller]
fn check_harmless(text: &str) {
    let hostile =
        |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t') || !c.is_ascii() && HOSTILE.contains(c);
    assert!(!text.contains(hostile), "{text:?}");
}

/// Runs the program on a terminal of its own; standard output and standard error are one there, as they are for a person.
fn on_a_terminal(words: &[&str]) -> String {
    const PTY: &str = "import pty, sys; pty.spawn(sys.argv[1:])";
    let output = Command::new("python3")
        .args(["-c", PTY, env!("CARGO_BIN_EXE_overlapped")])
        .args(words)
        .env("NO_COLOR", "1")
        .env("TERM", "dumb")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn server() -> Server {
    let head =
        format!("HTTP/1.1 200 OK\r\nX-A: a{}b\r\n", HOSTILE.replace(|c: char| c.is_ascii_control(), ""));
    let raw = [head.as_bytes(), b"X-B: \x9b31m\r\nContent-Length: 0\r\n\r\n"].concat();
    Server::builder().route("/hostile", Script::new().send(raw)).start()
}

#[test]
fn header_values_are_escaped_on_a_terminal_alone() {
    let server = server();
    let url = server.url("/hostile");
    let seen = on_a_terminal(&["-I", &url]);
    check_harmless(&seen);
    assert!(seen.contains("X-A: a]0;t\\u009b31m\\u009d0;t\\u009c\\u202e\\u2066"), "{seen:?}");
    // A program that reads it gets what came.
    let output = command(&["-I", &url]).output().unwrap();
    assert!(output.stdout.windows(8).any(|bytes| bytes == b": \x9b31m\r\n"), "{output:?}");
}

#[test]
fn what_curl_would_print_beside_the_body_is_escaped_on_a_terminal() {
    let server = server();
    let url = server.url("/hostile");
    let out = format!("%{{header_json}} %header{{x-a}} %{{url}}{HOSTILE}\\n");
    for words in [&["-i"][..], &["-D", "-"], &["-w", "%{json}\\n"], &["-w", &out]] {
        let seen = on_a_terminal(&[words, &[url.as_str()]].concat());
        assert_ne!(seen, "", "{words:?}");
        check_harmless(&seen);
    }
}

#[test]
fn records_on_a_terminal_are_the_same_records() {
    let server = server();
    let url = server.url("/hostile");
    let seen = on_a_terminal(&["-s", "-o", "-", &url, &url]);
    check_harmless(&seen);
    let value = |text: &str| program::records(text)[0]["headers"]["x-a"].clone();
    assert_eq!(value(&seen), value(&run(&["-s", "-o", "-", &url]).stdout));
}

#[test]
fn rows_of_a_hostile_list_are_escaped_where_they_are_told() {
    let server = server();
    let directory = Directory::new();
    let (out, svg) = (directory.path("out.ndjson"), directory.path("out.svg"));
    let hostile = HOSTILE.replace(['\u{85}', '\u{2028}', '\u{2029}'], "");
    let list = format!("{}?{hostile}\n{hostile}\nhttp://{hostile}/\n", server.url("/status/404"));
    let list = format!("@{}", directory.write("urls.txt", list));
    check_harmless(&on_a_terminal(&["-v", &list]));
    let ran = run(&["-v", "-o", &out, "--waterfall", &svg, &list]);
    ran.check_code(1);
    check_harmless(&ran.stderr);
    check_harmless(&directory.read("out.svg"));
    check_harmless(&run(&["--dry-run", &list]).stdout);
    check_harmless(&run(&["waterfall", &out]).stdout);
    run(&["waterfall", &out, "-o", &svg]).check_code(0);
    check_harmless(&directory.read("out.svg"));
}

#[test]
fn arguments_and_paths_are_escaped_in_what_is_said_of_them() {
    let directory = Directory::new();
    let dark = |before: &str, after: &str| format!("{before}{}\n{HOSTILE}{after}", directory.path("x"));
    let url = "http://127.0.0.1:9/";
    let (list, output, summary) = (dark("@", ""), dark("", ".ndjson"), dark("", "/s.json"));
    let (hostile, flag) = (HOSTILE.replace('\u{85}', ""), dark("--", ""));
    let scheme = format!("x{hostile}://");
    for words in [
        &[list.as_str()][..],
        &[&hostile],
        &[&scheme],
        &[&flag],
        &["-o", &hostile, url],
        &["-H", &hostile, url],
        &["-X", &hostile, url],
        &["--rate", &hostile, url],
        &["--cacert", &summary, url],
        &["-d", &list, url],
        &["--url-col", &hostile, &list],
        &["--name", &hostile, "-o", "x/", url],
        &["--insecure-host", &hostile, url],
        &["--retry", "0", "-o", &output, url, &format!("{url}{hostile}")],
        &["--retry", "0", "--summary", &summary, "-s", "-o", "/dev/null", url],
        &["waterfall", &output],
        &["waterfall", &list],
        &["journal", "verify", &summary],
        &["journal", &hostile, "x"],
        &["man", &hostile],
        &["completions", &hostile],
        &["compare", "--scale", &hostile],
        &["compare", &list],
    ] {
        let ran = run(words);
        assert_ne!(ran.code, Some(0), "{words:?}");
        assert_ne!(ran.stderr, "", "{words:?}");
        check_harmless(&ran.stderr);
    }
}

/// It did not: the first lines were gone before anybody could read them.
#[test]
fn the_short_help_fits_a_small_terminal() {
    let seen = on_a_terminal(&["-h"]);
    assert!(
        seen.lines().count() < 24 && seen.lines().all(|line| line.trim_end().chars().count() <= 80),
        "{seen}"
    );
    assert!(seen.contains("--resume") && seen.contains("overlapped fetch --help"), "{seen}");
    let slip = on_a_terminal(&["--outptu", "x.ndjson", "http://127.0.0.1:9/"]);
    assert!(slip.contains("--outptu is no flag") && slip.contains("perhaps --output is meant"), "{slip}");
}

#[test]
fn colour_is_as_the_environment_says() {
    let (server, directory) = (Server::start(), Directory::new());
    let out = directory.path("out.ndjson");
    run(&["-s", "-o", &out, &server.url("/ok"), &server.url("/row/1")]).check_code(0);
    let check = |is_terminal: bool, variables: &[(&str, &str)], expected: bool| {
        const PTY: &str = "import pty, sys; pty.spawn(sys.argv[1:])";
        let mut command = if is_terminal { Command::new("python3") } else { command(&["waterfall", &out]) };
        if is_terminal {
            command.args(["-c", PTY, env!("CARGO_BIN_EXE_overlapped"), "waterfall", &out]);
        }
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").envs(variables.iter().copied());
        let seen = command.stdin(Stdio::null()).output().unwrap().stdout;
        assert_eq!(seen.contains(&0x1b), expected, "{is_terminal} {variables:?}");
    };
    check(true, &[], true);
    check(true, &[("NO_COLOR", "1")], false);
    check(true, &[("NO_COLOR", "")], true);
    check(false, &[], false);
    check(false, &[("CLICOLOR_FORCE", "1")], true);
    check(false, &[("CLICOLOR_FORCE", "0")], false);
    check(false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false);
}
