//! One URL, as with curl: its body comes while it is sent, to standard output or to a file, and curl's flags for it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use overlapped_testkit::{Script, Server, bytes_of};
use program::{Directory, command, run, run_with};

const LONG: Duration = Duration::from_secs(60);

/// The second half is sent when the first was read from standard output: without streaming neither ever moves.
#[test]
fn a_body_is_printed_while_it_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (go_on, gone_on) = mpsc::channel::<()>();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nfirst ").unwrap();
        gone_on.recv_timeout(LONG).unwrap();
        stream.write_all(b"second").unwrap();
    });
    let mut child = command(&[&url]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 6];
    stdout.read_exact(&mut first).unwrap();
    go_on.send(()).unwrap();
    let mut second = String::new();
    stdout.read_to_string(&mut second).unwrap();
    server.join().unwrap();
    assert_eq!((&first[..], &*second, child.wait().unwrap().code()), (&b"first "[..], "second", Some(0)));
}

/// What was printed cannot be taken back.
#[test]
fn a_body_that_breaks_off_is_not_printed_twice() {
    let server = Server::start();
    let ran = run(&[&server.url("/truncate?length=100000&sent=50000")]);
    ran.check_code(1);
    assert_eq!((ran.stdout.len(), server.requests()), (50_000, 1), "{}", ran.stderr);
    // Nothing of these was printed, so they are tried again.
    let ran = run(&[&server.url("/flaky?id=1&fails=1&status=503"), "--retry", "2"]);
    ran.check_code(0);
}

#[test]
fn a_name_is_the_file_of_the_body() {
    let (server, directory) = (Server::start(), Directory::new());
    let path = directory.write("page.bin", "what was there before");
    let target = "/bytes/300000";
    let ran = run(&["-s", "-o", &path, &server.url(target)]);
    ran.check_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    assert!(fs::read(&path).unwrap() == bytes_of(target, 300_000));
    // One that is not whole replaces nothing, and leaves nothing.
    run(&["-o", &path, &server.url("/truncate?length=100000&sent=50000")]).check_code(1);
    assert!(fs::read(&path).unwrap() == bytes_of(target, 300_000));
    assert_eq!(directory.names(), ["page.bin"]);
    // As curl has it, the page of an error is a page too, unless -f is given.
    run(&["-f", "-o", &path, &server.url("/status/404")]).check_code(1);
    assert_eq!(fs::read(&path).unwrap().len(), 300_000);
    run(&["-o", &path, &server.url("/status/404")]).check_code(1);
    assert_eq!(directory.read("page.bin"), "status 404\n");
    run(&["-o", &path, &server.url("/status/404"), &server.url("/ok")]).check_refused(2, "-o DIR/");
    run(&["-o", &format!("{path}/x"), &server.url("/ok")]).check_code(3);
    let folder = directory.path("");
    run(&["-o", folder.trim_end_matches('/'), &server.url("/ok")]).check_refused(2, "is a directory");
}

#[test]
fn the_url_names_the_file() {
    let (server, directory) = (Server::start(), Directory::new());
    let remote = |url: &str| {
        let mut command = command(&["-s", "-O", url]);
        let output = command.current_dir(directory.path("")).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(remote(&server.url("/text/10?a=b")).0, Some(0));
    assert_eq!((directory.names(), directory.read("10").len()), (vec!["10".to_owned()], 10));
    let (code, stderr) = remote(&server.url("/"));
    assert!(code == Some(2) && stderr.contains("-o NAME"), "{stderr}");
    assert_eq!(directory.names().len(), 1);
}

#[test]
fn heads_are_printed_and_kept() {
    let (server, directory) = (Server::start(), Directory::new());
    let ran = run(&["-i", &server.url("/row/1")]);
    let (head, body) = ran.stdout.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Content-Type: text/plain"), "{head}");
    assert!(!body.is_empty());
    let path = directory.path("head.txt");
    let ran = run(&["-D", &path, &server.url("/row/1")]);
    assert_eq!((ran.stdout.as_str(), directory.read("head.txt")), (body, format!("{head}\r\n\r\n")));
    let list = format!("@{}", directory.write("list.txt", server.url("/ok")));
    run(&["-i", &list]).check_refused(2, "-i");
    run(&["-D", &path, &list]).check_refused(2, "-D");
}

#[test]
fn formats_are_filled_in_for_each_row() {
    let server = Server::start();
    let ran =
        run(&["-w", r"\n%{http_code} %{size_download} %header{content-type}\n", &server.url("/text/5")]);
    let (_, told) = ran.stdout.split_once('\n').unwrap();
    assert!(told.starts_with("200 5 text/plain"), "{ran:?}");
    let ran = run(&["-s", "-w", r"%{urlnum}:%{http_code}\n", "--ordered", &server.url("/status/{200,404}")]);
    assert_eq!(ran.stdout, "0:200\n1:404\n");
    run(&["-w", "%{no_such}", &server.url("/ok")]).check_refused(2, "%{no_such}");
}

#[test]
fn data_is_sent_in_the_order_of_its_flags() {
    let (server, directory) = (Server::start(), Directory::new());
    let file = directory.write("data.txt", "line\r\n");
    let at = format!("@{file}");
    let sent = |words: &[&str]| {
        server.forget();
        run(&[words, &[&server.url("/echo")]].concat()).check_code(0);
        let seen = server.seen().remove(0);
        (seen.method.clone(), String::from_utf8(seen.body.to_vec()).unwrap())
    };
    let post = |body: &str| ("POST".to_owned(), body.to_owned());
    let words = ["--data-urlencode", "q=a b", "-d", &at, "--data-raw", &at, "--data-binary", &at];
    assert_eq!(sent(&words), post(&format!("q=a%20b&line&{at}&line\r\n")));
    assert_eq!(sent(&["-T", &file]), ("PUT".to_owned(), "line\r\n".to_owned()));
    assert_eq!(sent(&["-T", &file, "-X", "POST"]).0, "POST");
    server.forget();
    run(&["-T", &file, &server.url("/echo/")]);
    assert_eq!(server.seen()[0].target, "/echo/data.txt");
    let (method, form) = sent(&["-F", "a=b", "-F", &format!("up=@{file};type=text/plain")]);
    let boundary =
        server.seen()[0].header("content-type").unwrap().split_once("boundary=").unwrap().1.to_owned();
    let parts: Vec<_> = form.split(&format!("--{boundary}")).map(str::trim_start).collect();
    let upload = "Content-Disposition: form-data; name=\"up\"; filename=\"data.txt\"\r\nContent-Type: text/plain\r\n\r\nline\r\n\r\n";
    assert_eq!((&*method, parts[1]), ("POST", "Content-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n"));
    assert_eq!((parts[2], parts[3]), (upload, "--\r\n"));
    run(&["-F", "a", &server.url("/echo")]).check_refused(2, "-F");
}

#[test]
fn a_date_is_asked_about() {
    let (server, directory) = (Server::start(), Directory::new());
    let file = directory.write("old.txt", "old");
    let asked = |value: &str, name: &str| {
        server.forget();
        run(&["-z", value, &server.url("/ok")]).check_code(0);
        server.seen()[0].header(name).map(str::to_owned)
    };
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(asked(date, "if-modified-since").as_deref(), Some(date));
    assert_eq!(asked(&format!("-{date}"), "if-unmodified-since").as_deref(), Some(date));
    assert!(asked(&file, "if-modified-since").unwrap().ends_with(" GMT"));
    run(&["-z", "yesterday", &server.url("/ok")]).check_refused(2, "-z");
}

/// The program on a terminal of its own.
fn terminal(words: &[&str]) -> Command {
    const PTY: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut python = Command::new("python3");
    python
        .args(["-c", PTY, env!("CARGO_BIN_EXE_overlapped")])
        .args(words)
        .env("NO_COLOR", "1")
        .env("TERM", "dumb")
        .stdin(Stdio::null());
    python
}

/// Runs it to its end.
fn on_a_terminal(words: &[&str]) -> (Option<i32>, Vec<u8>) {
    let output = terminal(words).output().unwrap();
    (output.status.code(), output.stdout)
}

/// The second half is sent when the progress is on the terminal.
#[test]
fn the_progress_of_a_body_is_shown_while_it_comes() {
    let shown = Arc::new(AtomicBool::new(false));
    let is_shown = Arc::clone(&shown);
    let halves = Script::new()
        .send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
        .send("a".repeat(100_000))
        .until(move || is_shown.load(Ordering::SeqCst))
        .send("b".repeat(100_000));
    let server = Server::builder().route("/slow", halves).start();
    let directory = Directory::new();
    let file = directory.path("page");
    // No bar is drawn on a dumb terminal.
    let mut program = terminal(&["-m", "60", "-o", &file, &server.url("/slow")]);
    let mut child = program.env("TERM", "xterm").stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut seen, mut block) = (child.stdout.take().unwrap(), Vec::new(), [0; 4096]);
    loop {
        let count = stdout.read(&mut block).unwrap();
        if count == 0 {
            break;
        }
        seen.extend_from_slice(&block[..count]);
        shown.fetch_or(String::from_utf8_lossy(&seen).contains("KiB of 195.31 KiB"), Ordering::SeqCst);
    }
    assert!(
        child.wait().unwrap().success() && shown.load(Ordering::SeqCst),
        "{}",
        String::from_utf8_lossy(&seen)
    );
    assert_eq!(fs::metadata(&file).unwrap().len(), 200_000);
}

#[test]
fn a_binary_body_is_not_printed_on_a_terminal() {
    let server =
        Server::builder().route("/binary", Script::response(200, &[], &b"GIF\0\x01\x02rest"[..])).start();
    let url = server.url("/binary");
    let (code, seen) = on_a_terminal(&[&url]);
    let text = String::from_utf8_lossy(&seen);
    assert!(code == Some(3) && text.contains("-o FILE") && !seen.contains(&0), "{code:?} {text:?}");
    let (code, seen) = on_a_terminal(&["-o", "-", &url]);
    assert!(code == Some(0) && seen.starts_with(b"GIF\0"), "{seen:?}");
    assert_eq!(run(&[&url]).stdout.len(), 10);
    // Where no person looks, `-o -` is a record.
    assert_eq!(run(&["-s", "-o", "-", &url]).records().len(), 1);
}

/// `hello`, as gzip packs it.
const PACKED: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00\x00\x00";
const PACKED_SHA256: &str = "c32587980e71266dfdd77e753c31554efcca4cbee4960aa739ee1ade5788bbd0";

/// wget and Firefox save the file that was published.
#[test]
fn an_archive_is_kept_as_it_was_published() {
    let directory = Directory::new();
    let packed = |path: &str| fs::read(path).unwrap().starts_with(b"\x1f\x8b");
    let as_archive = Server::builder().handler("/", |_| {
        let headers = [("Content-Encoding", "gzip"), ("Content-Type", "application/octet-stream")];
        Script::response(200, &headers, PACKED)
    });
    let as_archive = as_archive.start();
    let (archive, page) = (as_archive.url("/v1/src.tar.gz"), as_archive.url("/page.html"));
    let (one, other) = (directory.path("one"), directory.path("other"));
    run(&["-o", &one, &archive]).check_code(0);
    run(&["-o", &other, &page]).check_code(0);
    assert!(packed(&one) && !packed(&other));
    let pages = directory.path("pages/");
    run(&["-s", "-o", &pages, "--name", "{row}", &archive, &page]).check_code(0);
    assert!(packed(&directory.path("pages/0")) && !packed(&directory.path("pages/1")));
    // In a record it is read, and so it is decoded; not where its checksum is that of the file.
    assert_eq!(run(&["-s", "-o", "-", &archive]).records()[0]["bytes"], 5);
    let list = format!(r#"{{"url":"{archive}","sha256":"{}"}}"#, PACKED_SHA256);
    let ran = run_with(&["-s", "--input-format", "ndjson", "-o", "-", "-"], list.as_bytes());
    assert_eq!(ran.records()[0]["error"], serde_json::Value::Null, "{ran:?}");
}

/// A server of these answers, a connection each, and the requests that it got.
fn answers(answers: Vec<Vec<u8>>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let serve = |answer: Vec<u8>| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(&answer).unwrap();
            String::from_utf8(request).unwrap()
        };
        answers.into_iter().map(serve).collect()
    });
    (url, server)
}

fn answer(head: &str, length: usize, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

#[test]
fn a_body_goes_on_where_an_earlier_run_has_stopped() {
    let dates = "Date: Tue, 03 Mar 2026 10:00:05 GMT\r\nLast-Modified: Tue, 03 Mar 2026 10:00:00 GMT";
    for (fields, validator) in [
        ("ETag: \"v1\"".to_owned(), Some("\"v1\"")),
        (dates.to_owned(), Some("Tue, 03 Mar 2026 10:00:00 GMT")),
        // These prove nothing.
        ("ETag: W/\"v1\"".to_owned(), None),
        (dates.replace(":05", ":00"), None),
    ] {
        let directory = Directory::new();
        let last = match validator {
            Some(_) => answer(&format!("206 x\r\nContent-Range: bytes 4-9/10\r\n{fields}"), 6, "456789"),
            None => answer("200 x", 10, "0123456789"),
        };
        let (url, server) = answers(vec![answer(&format!("200 x\r\n{fields}"), 10, "01234"), last]);
        let path = PathBuf::from(directory.path("body"));
        let arguments = [&*url, "-C", "-", "-o", path.to_str().unwrap()];
        run(&arguments).check_code(1);
        assert!(!path.exists(), "it is not whole");
        run(&arguments).check_code(0);
        assert_eq!(fs::read_to_string(&path).unwrap(), "0123456789");
        let asked = server.join().unwrap();
        let wanted = |request: &str| {
            let field =
                |name: &str| request.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            (field("range: "), field("if-range: "))
        };
        assert_eq!(wanted(&asked[0]), (None, None));
        assert_eq!(
            wanted(&asked[1]),
            (validator.map(|_| "bytes=4-".to_owned()), validator.map(str::to_owned))
        );
        let left: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["body"], "nothing is left of the parts");
    }
}

#[test]
fn a_body_that_has_changed_is_fetched_whole() {
    let directory = Directory::new();
    let first = answer("200 x\r\nETag: \"v1\"", 10, "01234");
    // The second is longer than what is there, and breaks off as well.
    let second = answer("200 x\r\nETag: \"v2\"", 12, "abcdefg");
    let third = answer("206 x\r\nContent-Range: bytes 6-11/12", 6, "ghijkl");
    let (url, server) = answers(vec![first, second, third]);
    let path = PathBuf::from(directory.path("body"));
    let arguments = [&*url, "-C", "-", "-o", path.to_str().unwrap()];
    for code in [1, 1, 0] {
        run(&arguments).check_code(code);
        assert_eq!(path.exists(), code == 0);
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "abcdefghijkl");
    assert!(server.join().unwrap()[2].contains("if-range: \"v2\"\r\n"));
}

#[test]
fn a_part_that_does_not_go_on_is_not_appended() {
    let directory = Directory::new();
    let first = answer("200 x\r\nETag: \"v1\"", 10, "01234");
    let wrong = answer("206 x\r\nContent-Range: bytes 5-9/10", 5, "56789");
    let missing = answer("404 x", 4, "none");
    // After a part that was not asked for nothing is continued.
    let right = answer("200 x", 10, "0123456789");
    let (url, server) = answers(vec![first, wrong, missing, right]);
    let path = PathBuf::from(directory.path("body"));
    let arguments = [&*url, "-C", "-", "-o", path.to_str().unwrap()];
    for code in [1, 1, 1, 0] {
        run(&arguments).check_code(code);
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "0123456789");
    let asked = server.join().unwrap();
    let ranges: Vec<_> = asked.iter().map(|request| request.contains("\r\nrange: bytes=4-\r\n")).collect();
    assert_eq!(ranges, [false, true, false, false]);
}

/// The server ignores `If-Range`, or does not say what the part is of: half of the file was of one body and half of another, or
/// the program said that it could not write it.
#[test]
fn a_part_of_another_body_is_not_appended() {
    for second in [
        "206 x\r\nETag: \"v2\"\r\nContent-Range: bytes 4-9/10",
        "206 x\r\nETag: \"v1\"\r\nContent-Range: bytes 4-9/*",
        "206 x\r\nContent-Range: bytes 4-9/10\r\nContent-Encoding: gzip",
        "416 x\r\nContent-Range: bytes */3",
    ] {
        let directory = Directory::new();
        let first = answer("200 x\r\nETag: \"v1\"", 10, "01234");
        let (url, server) =
            answers(vec![first, answer(second, 6, "efghij"), answer("200 x", 10, "abcdefghij")]);
        let path = PathBuf::from(directory.path("body"));
        let arguments = [&*url, "-C", "-", "-o", path.to_str().unwrap()];
        run(&arguments).check_code(1);
        let ran = run(&arguments);
        let told = if second.starts_with("416") { "416" } else { "body.range_mismatch" };
        ran.check_refused(1, told);
        assert!(!path.exists(), "{ran:?}");
        run(&arguments).check_code(0);
        assert_eq!(fs::read_to_string(&path).unwrap(), "abcdefghij");
        assert!(!server.join().unwrap()[2].contains("\r\nrange: "));
    }
}

/// It was stored packed.
#[test]
fn a_body_that_is_packed_unasked_is_unpacked() {
    let directory = Directory::new();
    let head = format!(
        "HTTP/1.1 200 x\r\nETag: \"v1\"\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        PACKED.len()
    );
    let whole = [head.as_bytes(), PACKED].concat();
    let (url, server) = answers(vec![whole[..whole.len() - 1].to_vec(), whole]);
    let path = PathBuf::from(directory.path("body"));
    let arguments = [&*url, "-C", "-", "-o", path.to_str().unwrap()];
    run(&arguments).check_code(1);
    assert!(!path.exists());
    run(&arguments).check_code(0);
    assert_eq!(fs::read(&path).unwrap().len(), 5);
    for asked in server.join().unwrap() {
        assert!(
            asked.contains("\r\naccept-encoding: identity\r\n") && !asked.contains("\r\nrange: "),
            "{asked}"
        );
    }
}

#[test]
fn only_a_file_of_one_url_is_continued() {
    for arguments in
        [&["http://127.0.0.1:1/", "-C", "-"][..], &["http://127.0.0.1:1/{a,b}", "-C", "-", "-o", "x.ndjson"]]
    {
        let ran = run(arguments);
        ran.check_code(2);
        assert!(ran.stderr.contains("-C - is for the file of one URL"), "{}", ran.stderr);
    }
}

/// A server that names the file of `/d/`.
fn naming(disposition: &[u8]) -> Server {
    let head =
        [&b"HTTP/1.1 200 OK\r\nContent-Disposition: "[..], disposition, b"\r\nContent-Length: 3\r\n\r\nnew"];
    Server::builder().route("/d/", Script::new().send(head.concat())).start()
}

/// What `-OJ` leaves in a directory, and how it ends.
fn named_by_server(
    disposition: impl AsRef<[u8]>,
    before: &[(&str, &str)],
    more: &[&str],
) -> (Option<i32>, Vec<String>) {
    let server = naming(disposition.as_ref());
    let directory = Directory::new();
    before.iter().for_each(|(name, text)| drop(directory.write(name, text)));
    let url = server.url("/d/");
    let output = command(&[&["-OJ", &url], more].concat()).current_dir(directory.path("")).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.lines().count() <= 1, "{told}");
    let files = directory.names().into_iter().map(|name| format!("{name}={}", directory.read(&name)));
    (output.status.code(), files.collect())
}

#[test]
fn a_server_may_name_the_file_if_that_is_asked_for() {
    let check = |disposition: &str, expected: &str| {
        let found = named_by_server(disposition, &[], &[]);
        assert_eq!(found, (Some(0), vec![format!("{expected}=new")]), "{disposition}");
    };
    check("attachment; filename=\"a b.pdf\"", "a b.pdf");
    check("attachment; filename*=UTF-8''%e2%82%ac.pdf", "\u{20ac}.pdf");
    check("attachment; filename*=iso-8859-1''%e4%20b.pdf", "\u{e4} b.pdf");
    check("inline", "download");
    // As servers wrote it before UTF-8; the other bytes of a name were lost.
    let found = named_by_server(b"attachment; filename=\"\xe9.txt\"", &[], &[]);
    assert_eq!(found, (Some(0), vec!["\u{e9}.txt=new".to_owned()]));
    // Nothing outside of the directory, and nothing hidden.
    for name in ["../../x.pdf", "/etc/x.pdf", "..\\\\x.pdf", "C:\\\\a\\\\x.pdf", "x.pdf/"] {
        check(&format!("attachment; filename=\"{name}\""), "x.pdf");
    }
    for name in [".bashrc", "..", ".", "/", "a\u{1b}b"] {
        let (code, files) = named_by_server(format!("attachment; filename=\"{name}\""), &[], &[]);
        let sound = |name: &String| !name.starts_with('.') && !name.contains(char::is_control);
        assert!(
            files.len() == 1 - usize::from(code != Some(0)) && files.iter().all(sound),
            "{name}: {code:?} {files:?}"
        );
    }
}

/// `--overwrite` was offered for a directory, and replaced a named pipe.
#[test]
fn a_name_that_a_server_chooses_replaces_nothing_but_a_file() {
    let server = naming(b"attachment; filename=x.pdf");
    let url = server.url("/d/");
    for (make, kind) in [("mkdir", "it is a directory"), ("mkfifo", "it is a named pipe")] {
        let directory = Directory::new();
        let path = directory.path("x.pdf");
        assert!(std::process::Command::new(make).arg(&path).status().unwrap().success());
        let before = std::fs::symlink_metadata(&path).unwrap().file_type();
        for more in [&[][..], &["--overwrite"]] {
            let words = [&["-OJ", &url][..], more].concat();
            let output = command(&words).current_dir(directory.path("")).output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(3), "{make}: {told}");
            assert!(told.contains(kind) && told.contains("-o NAME"), "{told}");
            assert!(!told.contains("--overwrite"), "{told}");
        }
        assert_eq!(std::fs::symlink_metadata(&path).unwrap().file_type(), before, "{make}");
        assert_eq!(directory.names(), ["x.pdf"]);
    }
}

#[test]
fn a_name_that_a_server_chooses_replaces_no_file() {
    let (name, before) = ("attachment; filename=x.pdf", [("x.pdf", "old")]);
    assert_eq!(named_by_server(name, &before, &[]), (Some(3), vec!["x.pdf=old".to_owned()]));
    assert_eq!(named_by_server(name, &before, &["--overwrite"]), (Some(0), vec!["x.pdf=new".to_owned()]));
    run(&["-J", "http://127.0.0.1:9/a"]).check_refused(2, "-O");
    run(&["-OJ", "--summary", "s.json", "http://127.0.0.1:9/a"]).check_refused(2, "cannot be used with");
}
