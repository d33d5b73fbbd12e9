//! `-b` and `-c`: what goes on the wire and into the file, and where curl has the same opinion.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it leaves out")]

mod program;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use overlapped_testkit::{Script, Server};
use program::{Directory, command, finish, run};

/// The cookies of the last request.
fn last(server: &Server) -> String {
    server.seen().last().unwrap().header("cookie").unwrap_or_default().to_owned()
}

#[test]
fn a_jar_is_kept_from_one_run_to_the_next() {
    let (server, directory) = (Server::start(), Directory::new());
    let (jar, echo) = (directory.path("jar.txt"), server.url("/echo"));
    run(&["-s", "-b", &jar, "-c", &jar, &server.url("/set-cookie?a=1&b=%22x%22")]).check_code(0);
    let mode = std::fs::metadata(&jar).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner may read it");
    assert_eq!(directory.names(), ["jar.txt"]);
    assert!(directory.read("jar.txt").contains("127.0.0.1\tFALSE\t/\tFALSE\t0\ta\t1\n"));
    run(&["-s", "-b", &jar, &echo]).check_code(0);
    assert_eq!(last(&server), "a=1; b=%22x%22");
    run(&["-s", "-b", &jar, "-b", "c=3; a=2", &echo]).check_code(0);
    assert_eq!(last(&server), "a=1; b=%22x%22; c=3");
    let before = directory.read("jar.txt");
    run(&["-s", "-b", &jar, &server.url("/set-cookie?d=4")]).check_code(0);
    assert_eq!(directory.read("jar.txt"), before, "-b only reads");
}

#[test]
fn all_rows_share_a_jar_that_is_asked_for() {
    let server = Server::start();
    let urls = [server.url("/set-cookie?a=1"), server.url("/echo")];
    let words = |more: &[&'static str]| [&["-s", "-j", "1", "--ordered"], more].concat();
    let all = |more| [words(more), urls.iter().map(String::as_str).collect()].concat();
    run(&all(&[])).check_code(0);
    assert_eq!(last(&server), "");
    run(&all(&["-b", ""])).check_code(0);
    assert_eq!(last(&server), "a=1");
}

#[test]
fn a_jar_is_written_after_a_failure_too() {
    let (server, directory) = (Server::start(), Directory::new());
    let jar = directory.path("jar.txt");
    run(&["-s", "-c", &jar, "-j", "1", &server.url("/set-cookie?a=1"), &server.url("/status/500")])
        .check_code(1);
    assert!(directory.read("jar.txt").ends_with("\ta\t1\n"));
}

#[test]
fn a_dash_prints_the_jar_and_makes_no_file() {
    let (server, directory) = (Server::start(), Directory::new());
    let url = server.url("/set-cookie?a=1");
    let run = |words: &[&str]| {
        let mut program = command(&[&["-s", "-c", "-"], words].concat());
        finish(program.current_dir(directory.path("")), b"")
    };
    let jar = "127.0.0.1\tFALSE\t/\tFALSE\t0\ta\t1\n";
    for words in [&[&*url][..], &["-w", "%{http_code}\n", &url, &url]] {
        let ran = run(words);
        ran.check_code(0);
        assert!(ran.stdout.contains("# Netscape HTTP Cookie File\n") && ran.stdout.ends_with(jar), "{ran:?}");
    }
    for words in [&["-o", "-", &*url][..], &[&url, &url]] {
        run(words).check_refused(2, "-c - and the records");
    }
    assert_eq!((server.requests(), directory.names()), (3, vec![]));
}

#[test]
fn lines_that_are_no_cookies_are_told() {
    let (server, directory) = (Server::start(), Directory::new());
    let file = directory.write("jar", "# a comment\n127.0.0.1\tFALSE\t/\tFALSE\t0\ta\t1\nSet-Cookie: b=2\n");
    let ran = run(&["-b", &file, &server.url("/echo")]);
    ran.check_code(0);
    assert!(ran.stderr.contains("1 line is no cookies"), "{ran:?}");
    assert_eq!(last(&server), "a=1");
    let secret = directory.write("other", "canary\n");
    let ran = run(&["-b", &secret, &server.url("/echo")]);
    ran.check_refused(2, "format of Netscape");
    assert!(!ran.stderr.contains("canary"));
}

/// The run was refused, as if the file were of another format.
#[test]
fn a_file_of_cookies_that_are_all_refused_says_why() {
    let (server, directory) = (Server::start(), Directory::new());
    let lines = ".co.uk\tTRUE\t/\tFALSE\t0\ta\t1\n127.0.0.1\tFALSE\t/\tFALSE\t0\t__Host-a\tcanary\n";
    let file = directory.write("jar", lines);
    let ran = run(&["-b", &file, &server.url("/echo")]);
    ran.check_code(0);
    assert!(ran.stderr.contains("1 line is for all domains below a public suffix"), "{ran:?}");
    assert!(ran.stderr.contains("1 line is against the promise of a name"), "{ran:?}");
    assert!(!ran.stderr.contains("canary") && last(&server).is_empty());
    let over = directory.write("over", "127.0.0.1\tFALSE\t/\tFALSE\t5\ta\t1\nno cookie\n");
    run(&["-b", &over, &server.url("/echo")]).check_refused(0, "1 line is no cookies");
}

#[test]
fn no_cookie_is_shown() {
    let (server, directory) = (Server::start(), Directory::new());
    let (jar, out) = (directory.path("jar.txt"), directory.path("out.ndjson"));
    let file = directory.write("in.txt", "127.0.0.1\tFALSE\t/\tFALSE\t0\ta\tcanary\n");
    let ran = run(&["-v", "-b", &file, "-c", &jar, "-b", "b=canary", "-o", &out, &server.url("/status/500")]);
    ran.check_code(1);
    assert_eq!(last(&server), "a=canary; b=canary");
    assert!(!ran.stdout.contains("canary") && !ran.stderr.contains("canary"), "{ran:?}");
    let state = Command::new("grep").args(["-r", "canary", &out, &format!("{out}.run")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&state.stdout), "");
}

/// What a second request to `/dir/echo` carries after a response with this field, and what curl sends.
#[test]
fn curl_has_the_same_opinion() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("not compared: there is no curl");
        return;
    }
    const CASES: &[&str] = &[
        "a=1",
        "a=1; Path=/",
        "a=1; Path=/dir",
        "a=1; Path=/dir/",
        "a=1; Path=/di",
        "a=1; Path=/other",
        "a=1; path=dir",
        "a=1; Domain=www.example.org",
        "a=1; Domain=.example.org",
        "a=1; Domain=example.org",
        "a=1; Domain=EXAMPLE.ORG",
        "a=1; Domain=b.example.org",
        "a=1; Domain=example.com",
        "a=1; Domain=ample.org",
        "a=1; Secure",
        "a=1; HttpOnly",
        "a=1; Max-Age=60",
        "a=1; Max-Age=0",
        "a=1; Max-Age=-1",
        "a=1; Expires=Thu, 01 Jan 1970 00:00:01 GMT",
        "a=1; Expires=Thu, 01 Jan 2099 00:00:00 GMT",
        "a=1; Expires=Thu, 01-Jan-2099 00:00:00 GMT",
        "a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:01 GMT",
        "a=\"x y\"",
        "a=b=c",
        " a = 1 ; Path=/",
        "a=",
        "__Secure-a=1",
        "__Host-a=1; Path=/",
        "a=1; SameSite=Strict",
    ];
    let server = Server::builder()
        .handler("/dir/set/", |request| {
            let case: usize = request.path().rsplit('/').next().unwrap().parse().unwrap();
            Script::response(200, &[("Set-Cookie", CASES[case])], "")
        })
        .route("/dir/set/echo", Script::response(200, &[], ""))
        .start();
    let port = server.addr().port();
    let host = format!("www.example.org:{port}");
    let pin = format!("{host}:127.0.0.1");
    for (number, case) in CASES.iter().enumerate() {
        let set = format!("http://{host}/dir/set/{number}");
        // In the directory whose cookies are kept by default.
        let echo = format!("http://{host}/dir/set/echo");
        run(&["-s", "-b", "", "-j", "1", "--ordered", "--resolve", &pin, &set, &echo]).check_code(0);
        let ours = last(&server);
        let mut curl = Command::new("curl");
        curl.args(["-q", "-s", "--noproxy", "*", "-b", "", "--resolve", &pin, &set, &echo]);
        assert!(curl.output().unwrap().status.success());
        assert_eq!(ours, last(&server), "{case:?}");
    }
}

/// A file of ours is one of curl's, and the other way round.
#[test]
fn curl_reads_our_file_and_we_read_its() {
    let (server, directory) = (Server::start(), Directory::new());
    let (ours, theirs) = (directory.path("ours"), directory.path("theirs"));
    let (set, echo) = (server.url("/set-cookie?a=1&b=x%20y&c="), server.url("/echo"));
    let curl =
        |words: &[&str]| Command::new("curl").args(["-q", "-s", "--noproxy", "*"]).args(words).output();
    let Ok(made) = curl(&["-c", &theirs, &set]) else {
        eprintln!("not compared: there is no curl");
        return;
    };
    assert!(made.status.success());
    run(&["-s", "-c", &ours, &set]).check_code(0);
    // Which of them comes first is not in the file.
    let check = |server: &Server| {
        let mut sent: Vec<_> = last(server).split("; ").map(str::to_owned).collect();
        sent.sort();
        assert_eq!(sent, ["a=1", "b=x%20y", "c="]);
    };
    run(&["-s", "-b", &theirs, &echo]).check_code(0);
    check(&server);
    assert!(curl(&["-b", &ours, &echo]).unwrap().status.success());
    check(&server);
}
