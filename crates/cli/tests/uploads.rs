//! Files as bodies of requests: what the server gets, in bounded memory and with few open files, and what a resumed run compares.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::process::Command;

use overlapped_testkit::{Ending, Script, Server};
use program::{Directory, finish, run, run_with};

/// More than is held in memory, with line ends.
fn large() -> Vec<u8> {
    (0..400_000).flat_map(|line| format!("{line}\r\n").into_bytes()).collect()
}

/// The request that these words make, with something to read.
#[track_caller]
fn sent(words: &[&str], path: &str, input: &[u8]) -> (String, String, Vec<u8>, u64) {
    let server = Server::builder().handler("/", |_| Script::response(200, &[], "")).start();
    run_with(&[words, &[&server.url(path)]].concat(), input).check_code(0);
    let seen = server.seen();
    assert_eq!(seen.len(), 1, "{words:?}");
    let length = seen[0].header("content-length").unwrap().parse().unwrap();
    assert_eq!(seen[0].body_bytes, length);
    (seen[0].method.clone(), seen[0].target.clone(), seen[0].request.body.to_vec(), length)
}

#[test]
fn what_is_large_is_sent_as_what_is_small() {
    let directory = Directory::new();
    for whole in [large(), b"a=1\r\n&b=2\0\n".to_vec()] {
        let stripped: Vec<u8> =
            whole.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)).collect();
        let path = directory.write("name.bin", &whole);
        let at = format!("@{path}");
        let check = |words: &[&str], path, input: &[u8], method: &str, target: &str, body: &[u8]| {
            let (given_method, given_target, kept, length) = sent(words, path, input);
            assert_eq!((&*given_method, &*given_target), (method, target), "{words:?}");
            assert_eq!(length, body.len() as u64, "{words:?}");
            // The server keeps the first MiB.
            assert!(kept == body[..kept.len()] && kept.len() == body.len().min(1 << 20), "{words:?}");
        };
        check(&["-T", &path], "/echo/", b"", "PUT", "/echo/name.bin", &whole);
        check(&["-T", &path], "/echo", b"", "PUT", "/echo", &whole);
        check(&["-T", "-"], "/echo", &whole, "PUT", "/echo", &whole);
        check(&["--data-binary", &at], "/echo", b"", "POST", "/echo", &whole);
        check(&["--data-binary", "@-"], "/echo", &whole, "POST", "/echo", &whole);
        check(&["-d", &at], "/echo", b"", "POST", "/echo", &stripped);
        check(&["-d", "@-"], "/echo", &whole, "POST", "/echo", &stripped);
        let joined = [&stripped, &b"&"[..], &whole].concat();
        check(&["-d", &at, "--data-binary", &at], "/echo", b"", "POST", "/echo", &joined);
    }
}

/// The parts of a form in their order, some held and some read from disk.
#[test]
fn a_large_form_is_sent_as_a_small_one() {
    let directory = Directory::new();
    let small = directory.write("small.txt", "small\r\n");
    let large = directory.write("large.bin", large());
    let (up, text, piped) = (format!("b=@{large}"), format!("c=<{small}"), "d=@-;filename=e".to_owned());
    let words = ["-F", "a=1", "-F", &up, "-F", &text, "-F", &piped];
    let forms: Vec<_> = (0..2).map(|_| sent(&words, "/echo", b"from a pipe")).collect();
    assert!(forms[0] == forms[1], "a resumed run sends the same");
    let (method, _, kept, length) = &forms[0];
    let boundary = kept.split(|byte| *byte == b'\r').next().unwrap();
    let boundary = std::str::from_utf8(boundary).unwrap();
    let part = |head: &str, content: &[u8]| {
        [format!("{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(), content, b"\r\n"]
            .concat()
    };
    let kind = "Content-Type: application/octet-stream";
    let expected = [
        part("name=\"a\"", b"1"),
        part(&format!("name=\"b\"; filename=\"large.bin\"\r\n{kind}"), &std::fs::read(&large).unwrap()),
        part("name=\"c\"", b"small\r\n"),
        // As with curl, standard input has no type unless its name has one.
        part("name=\"d\"; filename=\"e\"", b"from a pipe"),
        format!("{boundary}--\r\n").into_bytes(),
    ]
    .concat();
    assert_eq!((&**method, *length), ("POST", expected.len() as u64));
    assert!(kept[..] == expected[..kept.len()], "the server keeps the first MiB");
}

#[test]
fn large_json_is_checked_and_sent_from_disk() {
    let directory = Directory::new();
    let json = format!("[{}1]", "\"value\", ".repeat(200_000));
    let at = format!("@{}", directory.write("large.json", &json));
    let (method, _, kept, length) = sent(&["--json", &at], "/echo", b"");
    assert_eq!((&*method, length), ("POST", json.len() as u64));
    assert!(kept[..] == json.as_bytes()[..kept.len()]);
    // Several values are joined, wherever they are divided.
    let (_, _, kept, _) = sent(&["--json", "{\"a\":", "--json", "[1", "--json", "@-"], "/echo", b",2]}");
    assert_eq!(kept, b"{\"a\":[1,2]}");
    let server = Server::start();
    let cut = format!("@{}", directory.write("cut.json", &json[..json.len() - 1]));
    run(&["--json", &cut, &server.url("/echo")]).check_refused(2, "--json: this is no JSON");
    assert_eq!(server.requests(), 0);
}

/// 5 GiB that are nowhere on the disk, for a server that wants none of them.
#[test]
fn a_file_of_more_than_4_gib_has_its_length_announced() {
    const BYTES: u64 = 5 << 30;
    let refusal = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\n\r\nno\n";
    let server = overlapped_testkit::RawServer::start(Script::new().expect_head().send(refusal).close());
    let directory = Directory::new();
    let path = directory.write("sparse", "");
    std::fs::File::options().write(true).open(&path).unwrap().set_len(BYTES).unwrap();
    for words in [vec!["-T", &*path], vec!["--data-binary", &*format!("@{path}")]] {
        let ran = run(&[&words[..], &["--retry", "0", &format!("http://{}/up", server.addr())]].concat());
        ran.check_code(1);
        assert!(ran.stderr.contains("413") && ran.stdout == "no\n", "{ran:?}");
    }
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.header("content-length") == Some(&*BYTES.to_string())), "{seen:?}");
    assert_eq!(seen.len(), 2);
}

#[test]
fn what_does_not_fit_on_the_disk_is_refused_before_anything_is_sent() {
    let server = Server::start();
    let program = env!("CARGO_BIN_EXE_overlapped");
    for flag in ["-T", "-F a="] {
        let words = format!("ulimit -f 4000; exec {program} {flag}@/dev/zero {}", server.url("/echo"));
        let words = words.replace("-T@", "-T ");
        finish(Command::new("sh").args(["-c", &words]), b"").check_refused(2, "is copied to");
    }
    assert_eq!(server.requests(), 0);
}

#[test]
fn what_is_no_file_is_refused_before_anything_is_sent() {
    let (server, directory) = (Server::start(), Directory::new());
    let url = server.url("/echo");
    run(&["-T", &directory.path("missing"), &url]).check_refused(2, "cannot read");
    run(&["-T", &directory.path(""), &url]).check_refused(2, "cannot read");
    run(&["--body-dir", &directory.path("missing"), &url]).check_refused(2, "body_dir");
    assert_eq!(server.requests(), 0);
}

#[test]
fn files_of_rows_take_few_descriptors() {
    let (server, directory) = (Server::builder().hosts(30).start(), Directory::new());
    std::fs::create_dir(directory.path("files")).unwrap();
    let row = |row: usize| {
        directory.write(&format!("files/{row}"), format!("content {row}"));
        format!(
            "{{\"url\":\"{}\",\"body_file\":\"{row}\"}}\n",
            server.url_on(row % 30, &format!("/delay/5?{row}"))
        )
    };
    let rows: String = (0..600).map(row).collect();
    let list = format!("@{}", directory.write("list.ndjson", rows));
    let (out, files) = (directory.path("out.ndjson"), directory.path("files"));
    let program = env!("CARGO_BIN_EXE_overlapped");
    let words = ["-c", "ulimit -n 64; exec \"$@\"", "sh", program, "-j", "500", "--retry", "0"];
    let mut command = Command::new("sh");
    command.args(words).args(["-s", "--body-dir", &files, "-o", &out, &list]);
    finish(&mut command, b"").check_code(0);
    let mut seen: Vec<_> = server.seen();
    seen.retain(|seen| matches!(seen.ending, Ending::Answered(_)));
    assert_eq!(seen.len(), 600);
    for seen in seen {
        let row = seen.target.rsplit('?').next().unwrap();
        assert_eq!(seen.request.body, format!("content {row}").as_bytes());
    }
}

/// A resumed run sends the same body, whether it is held or read from a file.
#[test]
fn another_body_is_another_run() {
    for size in [10, 2 << 20] {
        let (server, directory) = (Server::start(), Directory::new());
        let (body, out) = (directory.write("body", vec![b'a'; size]), directory.path("out.ndjson"));
        let urls = ["/status/500", "/echo", "/echo?2"].map(|path| server.url(path)).join("\n");
        let list = format!("@{}", directory.write("list.txt", urls));
        let words = ["-s", "-T", &body, "-o", &out, "-j", "1", "--retry", "0", &list];
        // It stops at the first row.
        run(&[&words[..], &["--fail-early"]].concat()).check_code(4);
        let again = [&words[..], &["--resume"]].concat();
        directory.write("body", vec![b'b'; size]);
        run(&again).check_refused(2, "request body");
        directory.write("body", vec![b'a'; size]);
        assert!(matches!(run(&again).code, Some(0 | 1)));
        assert_eq!(server.seen().last().unwrap().body_bytes, size as u64);
    }
}
