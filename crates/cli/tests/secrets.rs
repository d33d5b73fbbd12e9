//! No secret of a list or of the command line is in anything that the program writes or shows.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use overlapped_testkit::Server;
use program::{Directory, command, run};

/// Must be nowhere: userinfo, header values.
const NOWHERE: &str = "s3cr3t";
/// Must be in records alone: query values.
const RECORDS: &str = "qu3ry";

/// Every file below a directory, with its content.
fn files(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            found.push((path.display().to_string(), content));
        }
    }
    found
}

fn lists(server: &Server) -> [(&'static str, String); 5] {
    let good = server.url("/ok");
    let host = good.strip_prefix("http://").unwrap();
    let text = format!(
        "me:s3cr3t@h.example/\nftp:me:s3cr3t@h\nhttp://me:s3cr3t@h o st/?token=qu3ry\n\
         http://me:s3cr3t@h.example/\u{1}\n//me:s3cr3t/x@h\nhttp://h:99999/?api_key=qu3ry\n\
         http://me:s3cr3t@{host}?signature=qu3ry\nh/http:/me:s3cr3t@h/\n\
         http://h o/?redirect=http%3A%2F%2Fme%3As3cr3t%40h%2F\nh?u=http%253A%252F%252Fme%253As3cr3t%2540h\n\
         http://h:99999/?u=me%3As3cr3t%40h\n"
    );
    let ndjson = format!(
        "{{\"url\":\"http://me:s3cr3t\\u0040h o st/\"}}\n{{\"headers\":{{\"Authorization\":\"Bearer s3cr3t\"}}\n\
         {{\"url\":\"{good}\",\"headers\":{{\"Cookie\":\"a=s3cr3t\\n\"}}}}\n{{\"url\":\"me:s3cr3t@h\"\n\
         {{\"url\":\"h o?u=http:%5C/me%3As3cr3t%40h\"}}\n"
    );
    let csv = format!(
        "id,url,headers\n1,me:s3cr3t@h,\n2,http://me:s3cr3t@h o/,x,y\n3,{good},\"{{\"\"Cookie\"\":\"\"a=s3cr3t\"\"\"\n\
         4,{good},\"{{\"\"Authorization\"\":\"\"s3cr3t\"\"}}\n\
         5,h/http:/me:s3cr3t@h/,x,y,z\n"
    );
    let array = format!("[\"me:s3cr3t@h\", {{\"url\":\"{good}?key=qu3ry\"}}, \"http://me:s3cr3t@h");
    [
        ("l.txt", text),
        ("l.ndjson", ndjson),
        ("l.csv", csv.clone()),
        ("l.tsv", csv.replace(',', "\t")),
        ("l.json", array),
    ]
}

#[test]
fn nothing_that_is_written_or_shown_has_a_secret_of_a_failing_row() {
    let server = Server::start();
    for (name, content) in lists(&server) {
        let (given, out) = (Directory::new(), Directory::new());
        let list = format!("@{}", given.write(name, content));
        let (records, table) = (out.path("o.ndjson"), out.path("o.csv"));
        let (har, warc) = (out.path("o.har"), out.path("o.warc"));
        let (summary, picture) = (out.path("s.json"), out.path("w.svg"));
        let words = [
            &*list,
            "-o",
            &records,
            "-o",
            &table,
            "-o",
            &har,
            "-o",
            &warc,
            "--cdxj",
            "--no-compressed",
            "--summary",
            &summary,
            "--waterfall",
            &picture,
            "-v",
            "-u",
            "me:s3cr3t",
        ];
        let ran = run(&words);
        assert_eq!(ran.code, Some(1), "{name}: {}", ran.stderr);
        let mut texts = files(Path::new(&out.path("")));
        assert!(texts.len() > 4, "the records, the summary, the picture and the state: {}", texts.len());
        let dry = run(&[&list, "--dry-run"]);
        let live = run(&[&list]);
        texts.extend([("stderr".to_owned(), ran.stderr), ("dry run".to_owned(), dry.stdout + &dry.stderr)]);
        texts.extend([("stderr again".to_owned(), live.stderr), ("o.ndjson again".to_owned(), live.stdout)]);
        for (what, text) in texts {
            let shown = text.find(NOWHERE).map(|at| text[at.saturating_sub(80)..at + 6].to_owned());
            assert_eq!(shown, None, "{name}: {what}");
            assert!(
                what.contains("/o.") || what == "o.ndjson again" || !text.contains(RECORDS),
                "{name}: {what}: {text}"
            );
        }
    }
}

#[test]
fn no_error_about_the_command_line_repeats_a_secret() {
    for words in [
        &["-u", "s3cr3t", "http://a.example/"][..],
        &["-H", "s3cr3t", "http://a.example/"],
        &["-H", "Cookie: a=s3cr3t\u{1}", "http://127.0.0.1:1/"],
        &["http://a.example/[1-?api_key=s3cr3t"],
        &["http://a.example/{1?api_key=s3cr3t"],
        &["http://me:s3cr3t@a.example/[9-1]"],
        &["http://a.example/[1-9999999]?token=s3cr3t"],
        &["me:s3cr3t@a.example"],
        &["me:s3cr3t@urls.txt"],
        &["http://me:s3cr3t@a b/"],
        &["http://a.example:99999/?sig=s3cr3t"],
        &["ftp://me:s3cr3t@a.example/"],
        &["--retry", "0", "http:me:s3cr3t@127.0.0.1:1/", "http://127.0.0.1:1/?password=s3cr3t"],
        &["--oauth2-bearer", "s3cr3t\u{1}", "http://127.0.0.1:1/"],
        &["waterfall", "http://me:s3cr3t@a.example/"],
        &["@http://me:s3cr3t@a.example/"],
    ] {
        let ran = run(words);
        assert_ne!(ran.code, Some(0), "{words:?}");
        assert!(!ran.stderr.contains("s3cr3t"), "{words:?}: {}", ran.stderr);
    }
}

/// What a server is sent when secrets are given by way of files and of the environment.
#[test]
fn secrets_are_read_from_files_and_from_the_environment() {
    let server = Server::start();
    let directory = Directory::new();
    let file = |name: &str, content: &str| format!("@{}", directory.write(name, content));
    let user = file("user", "me:s3cr3t\n");
    let url = server.url("/echo");
    let body = |words: &[&str]| {
        let mut command = command(words);
        command.env("PASS", "me:s3cr3t").env("FIELDS", "X-A: 1").env("DATA", "{\"a\":1}").env("TOKEN", "t0k");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().to_ascii_lowercase()
    };
    let basic = "bwu6cznjcjn0";
    assert!(body(&[&url, "-u", &user]).contains(basic));
    assert!(body(&[&url, "-u", "$PASS"]).contains(basic));
    let sent = body(&[&url, "-H", "$FIELDS", "--json", "$DATA", "--oauth2-bearer", "$TOKEN"]);
    assert!(sent.contains("x-a") && sent.contains("bearer t0k"), "{sent}");
    run(&[&url, "-u", "$NOT_THERE"]).check_refused(2, "environment variable is not set");
    run(&[&url, "-u", "@/nowhere/user"]).check_refused(2, "cannot read");
    let none = file("none", "s3cr3t");
    let refused = run(&[&url, "-u", &none]);
    refused.check_refused(2, "name:password");
    assert!(!refused.stderr.contains("s3cr3t"));
}

/// `ps` shows the words of a command to every user.
#[test]
#[cfg(target_os = "linux")]
fn the_process_title_shows_no_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://u:s3cr3t@{}/?token=s3cr3t&page=1", listener.local_addr().unwrap());
    let words =
        [&*url, "--retry", "0", "-u", "me:s3cr3t", "-H", "X-Key: s3cr3t", "--json", "{\"a\":\"s3cr3t\"}"];
    let mut child = command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    let shown = fs::read(format!("/proc/{}/cmdline", child.id()));
    let mut head = [0; 1_024];
    let read = connection.read(&mut head).unwrap();
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    assert!(child.wait().unwrap().success());
    let shown = String::from_utf8_lossy(&shown.unwrap()).into_owned();
    assert!(!shown.contains("s3cr3t") && shown.contains("page=1") && shown.contains("me:***"), "{shown}");
    assert!(String::from_utf8_lossy(&head[..read]).contains("token=s3cr3t"), "it is sent all the same");
}
