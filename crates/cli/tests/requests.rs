//! What the flags put on the wire, as the server saw it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::sync::Arc;

use overlapped_testkit::{Certificate, Request, Server};
use program::{Directory, run};

/// Fetches `/echo` with these flags; what the server was asked.
#[track_caller]
fn request(flags: &[&str]) -> Arc<Request> {
    let server = Server::start();
    let ran = run(&[flags, &[&server.url("/echo")]].concat());
    ran.check_code(0);
    let seen = server.seen();
    assert_eq!(seen.len(), 1, "{flags:?}");
    Arc::clone(&seen[0].request)
}

#[track_caller]
fn check(flags: &[&str], method: &str, fields: &[(&str, Option<&str>)]) {
    let request = request(flags);
    assert_eq!(request.method, method, "{flags:?}");
    for (name, value) in fields {
        assert_eq!(request.header(name), *value, "{flags:?}: {name}");
    }
}

#[test]
fn methods_and_headers() {
    check(&[], "GET", &[("authorization", None), ("cookie", None)]);
    check(&["-X", "DELETE"], "DELETE", &[]);
    check(&["-I"], "HEAD", &[]);
    check(&["-A", "me/1"], "GET", &[("user-agent", Some("me/1"))]);
    check(&["-A", "me/1", "-H", "User-Agent: you/2"], "GET", &[("user-agent", Some("you/2"))]);
    check(&["-e", "http://from/"], "GET", &[("referer", Some("http://from/"))]);
    check(&["-b", "a=1; b=2"], "GET", &[("cookie", Some("a=1; b=2"))]);
    check(&["-u", "me:secret"], "GET", &[("authorization", Some("Basic bWU6c2VjcmV0"))]);
    check(&["--oauth2-bearer", "token"], "GET", &[("authorization", Some("Bearer token"))]);
    check(&["-H", "X-One: 1", "-H", "x-two:2"], "GET", &[("x-one", Some("1")), ("x-two", Some("2"))]);
    check(&["-H", "Accept:"], "GET", &[("accept", None)]);
    check(&["--no-compressed"], "GET", &[("accept-encoding", None)]);
    check(&["-Z", "-L", "-S", "--compressed"], "GET", &[]);
}

#[test]
fn bodies() {
    let form = ("content-type", Some("application/x-www-form-urlencoded"));
    let json = [("content-type", Some("application/json")), ("accept", Some("application/json"))];
    check(&["-d", "a=1"], "POST", &[form, ("content-length", Some("3"))]);
    check(&["-d", "a=1", "-d", "b=2", "-X", "PUT"], "PUT", &[form, ("content-length", Some("7"))]);
    check(&["--json", "{}"], "POST", &json);
    check(&["--json", "{}", "-H", "Accept: x/y"], "POST", &[("accept", Some("x/y"))]);
    let directory = Directory::new();
    let file = format!("@{}", directory.write("form", "a=1\r\n&b=2\n"));
    check(&["-d", &file], "POST", &[("content-length", Some("7"))]);
    let file = format!("@{}", directory.write("fields", "X-One: 1\n\nX-Two: 2\n"));
    check(&["-H", &file], "GET", &[("x-one", Some("1")), ("x-two", Some("2"))]);
}

#[test]
fn data_can_be_a_query() {
    let request = request(&["-G", "-d", "a=1", "-d", "b=2"]);
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/echo?a=1&b=2"));
}

#[test]
fn redirects_are_followed_unless_they_are_the_result() {
    let server = Server::start();
    run(&[&server.url("/redirect/3")]).check_code(0);
    assert_eq!(server.requests(), 4);
    server.forget();
    run(&["--no-location", &server.url("/redirect/3")]).check_code(0);
    assert_eq!(server.requests(), 1);
    run(&["--max-redirs", "2", &server.url("/redirect/3")]).check_refused(1, "redirect.too_many");
}

#[test]
fn what_helps_with_tls_is_told() {
    let directory = Directory::new();
    let server = Server::builder().tls_with(Certificate::SelfSigned).start();
    let url = server.url("/ok");
    let garbage = directory.write("garbage.pem", "no certificate");
    run(&["--cacert", &garbage, &url]).check_refused(2, "there is no certificate in the file");
    let other = directory.write("other.pem", Server::builder().tls().start().ca_pem().unwrap());
    run(&["--cacert", &other, &url]).check_refused(1, "--insecure-host 127.0.0.1");
    let pin = "elsewhere.test:443:127.0.0.1";
    let ran = run(&["--insecure-host", "127.0.0.1", "--resolve", pin, &url]);
    ran.check_refused(0, "--resolve elsewhere.test:443 was not needed");
    let ran = run(&["--insecure-host", "127.0.0.1", "--insecure-host", "localhost", &url]);
    ran.check_refused(0, "--insecure-host localhost was not needed");
    run(&["-s", "--insecure-host", "127.0.0.1", &url]).check_code(0);
}

#[test]
fn limits_hold() {
    let server = Server::start();
    let url = format!("{}[1-20]", server.url("/delay/20?"));
    run(&["-s", "-j", "3", &url]).check_code(0);
    assert!(server.max_in_flight() <= 3, "{}", server.max_in_flight());
    server.forget();
    run(&["-s", "--parallel-max-host", "2", &url]).check_code(0);
    assert!(server.max_in_flight() <= 2, "{}", server.max_in_flight());
    run(&["--max-filesize", "100", &server.url("/bytes/1000")]).check_refused(1, "body.too_large");
    run(&["-m", "200ms", "--retry", "0", &server.url("/silent")]).check_refused(1, "200ms (-m)");
    run(&["-H", "X:\r\nEvil: 1", &server.url("/ok")]).check_refused(2, "X has a control character");
    run(&["-H", "Host: a b", &server.url("/ok")]).check_refused(2, "names no host");
    run(&["--public-only", &server.url("/ok")]).check_refused(1, "policy.address");
    run(&["--public-only", "--allow-address", "127.0.0.0/8", &server.url("/ok")]).check_code(0);
}

#[test]
fn names_can_be_resolved_by_hand() {
    let server = Server::start();
    let port = server.addr().port();
    let resolve = format!("example.test:{port}:127.0.0.1");
    run(&["--resolve", &resolve, &format!("http://example.test:{port}/ok")]).check_code(0);
    assert_eq!(server.seen()[0].request.header("host"), Some(format!("example.test:{port}").as_str()));
}

#[test]
fn certificates_can_be_given_or_waived() {
    let server = Server::builder().tls().start();
    let directory = Directory::new();
    let pem = directory.write("ca.pem", server.ca_pem().unwrap());
    let url = server.url("/ok");
    run(&["--retry", "0", &url]).check_refused(1, "tls.certificate");
    run(&["--cacert", &pem, &url]).check_code(0);
    let host = url.split('/').nth(2).and_then(|authority| authority.rsplit_once(':')).unwrap().0;
    run(&["--insecure-host", host, &url]).check_code(0);
}

#[test]
fn few_open_files_are_enough() {
    let server = Server::builder().hosts(30).start();
    let directory = Directory::new();
    let text: String = (0..600).map(|row| format!("{}\n", server.url_on(row % 30, "/delay/5"))).collect();
    let list = format!("@{}", directory.write("urls.txt", text));
    let program = env!("CARGO_BIN_EXE_overlapped");
    let script = "ulimit -n 64; exec \"$@\"";
    let out = directory.path("out.ndjson");
    let words = ["-c", script, "sh", program, "-j", "500", "--retry", "0", "-o", &out, &list];
    let output = std::process::Command::new("sh").args(words).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), server.requests()), (Some(0), 600), "{told}");
    assert!(told.contains("open files"), "{told}");
}
