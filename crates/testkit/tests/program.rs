//! The program `overlapped-testkit`, as a test in another language uses it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use client::{get, status};

fn start(arguments: &[&str]) -> (Child, Vec<std::net::SocketAddr>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_overlapped-testkit"))
        .args(["--seconds", "30", "--until-eof"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let hosts = if arguments.contains(&"--hosts") { 2 } else { 1 };
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(hosts);
    let address = |line: String| line.strip_prefix("http://").unwrap().parse().unwrap();
    let addresses = lines.map(|line| address(line.unwrap())).collect();
    (child, addresses)
}

#[test]
fn it_serves_and_writes_what_it_saw() {
    let file = std::env::temp_dir().join(format!("overlapped-testkit-{}.ndjson", std::process::id()));
    let (mut child, addresses) =
        start(&["--hosts", "2", "--scale", "0.001", "--record", file.to_str().unwrap()]);
    assert_eq!(get(addresses[0], "/experiment/3").1, b"experiment 3\n");
    assert_eq!(get(addresses[1], "/ok?q=\"").1, b"ok\n");
    let (_, counts) = get(addresses[0], "/testkit/counts");
    let counts = String::from_utf8(counts).unwrap();
    assert!(
        counts.starts_with("{\"requests\":2,\"malformed\":0,\"in_flight\":0,\"max_in_flight\":1,"),
        "{counts}"
    );
    assert!(counts.contains(&format!("\"{}\":{{\"requests\":1,", addresses[1])), "{counts}");
    let (_, seen) = get(addresses[0], "/testkit/seen");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let record = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(String::from_utf8(record.clone()).unwrap(), String::from_utf8(seen).unwrap());
    let record = String::from_utf8(record).unwrap();
    let lines: Vec<_> = record.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with(&format!("{{\"url\":\"http://{}/experiment/3\",", addresses[0])),
        "{record}"
    );
    assert!(lines[1].contains("/ok?q=\\\"\"") && lines[1].contains("\"ending\":\"answered\""), "{record}");
}

#[test]
fn it_forgets_when_asked() {
    let (mut child, addresses) = start(&["--record-limit", "10"]);
    get(addresses[0], "/ok");
    assert_eq!(status(&get(addresses[0], "/testkit/forget").0), 200);
    assert_eq!(get(addresses[0], "/testkit/seen").1, b"");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn wrong_flags_are_refused() {
    for arguments in [["--what", "1"], ["--scale", "x"], ["--seconds", "-1"], ["--record", ""]] {
        let arguments = if arguments[1].is_empty() { &arguments[..1] } else { &arguments[..] };
        let output = Command::new(env!("CARGO_BIN_EXE_overlapped-testkit")).args(arguments).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
    }
    let mut help = String::new();
    let output = Command::new(env!("CARGO_BIN_EXE_overlapped-testkit")).arg("--help").output().unwrap();
    output.stdout.as_slice().read_to_string(&mut help).unwrap();
    assert!(help.starts_with("usage: ") && output.status.success());
}
