//! `-x`, `-U`, `--noproxy` and the environment: which proxy is asked, and where curl has the same opinion.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it leaves out")]

mod program;

use std::process::Command;

use overlapped_testkit::{ProxyRules, ProxyServer, Server};
use program::{Directory, command, finish, run};

fn proxy() -> ProxyServer {
    ProxyServer::start(ProxyRules::default())
}

/// Runs with these variables; the number of requests that the proxy has seen.
#[track_caller]
fn asked(proxy: &ProxyServer, variables: &[(&str, &str)], words: &[&str]) -> usize {
    let before = proxy.errands().len();
    let mut command = command(words);
    command.envs(variables.iter().copied());
    let ran = finish(&mut command, b"");
    ran.check_code(0);
    proxy.errands().len() - before
}

#[test]
fn the_environment_names_proxies_as_it_does_for_curl() {
    let (server, proxy) = (Server::start(), proxy());
    let (url, at) = (server.url("/ok"), proxy.url("http"));
    let check = |variables: &[(&str, &str)], words: &[&str], expected| {
        let words = [&["-s"], words, &[&url]].concat();
        assert_eq!(asked(&proxy, variables, &words), expected, "{variables:?} {words:?}");
    };
    check(&[], &[], 0);
    check(&[("http_proxy", &at)], &[], 1);
    check(&[("all_proxy", &at)], &[], 1);
    check(&[("ALL_PROXY", &at)], &[], 1);
    check(&[("HTTP_PROXY", &at)], &[], 0);
    check(&[("https_proxy", &at)], &[], 0);
    check(&[("http_proxy", &at)], &["-x", ""], 0);
    check(&[("http_proxy", &at), ("no_proxy", "127.0.0.0/8")], &[], 0);
    check(&[("http_proxy", &at), ("NO_PROXY", "*")], &[], 0);
    check(&[("http_proxy", &at), ("no_proxy", "*")], &["--noproxy", ""], 1);
    check(&[("http_proxy", "http://127.0.0.1:1")], &["-x", &at], 1);
    check(&[("no_proxy", "127.0.0.1")], &["-x", &at], 0);
    check(&[("OWN", &at)], &["-x", "$OWN"], 1);
    check(&[], &["-x", &proxy.url("socks5h")], 1);
}

#[test]
fn no_password_of_a_proxy_is_shown() {
    let (server, directory) = (Server::start(), Directory::new());
    let user = Some(("me".to_owned(), "canary".to_owned()));
    let proxy = ProxyServer::start(ProxyRules { user, ..ProxyRules::default() });
    let (at, out) = (proxy.addr().to_string(), directory.path("out.ndjson"));
    let failing = server.url("/status/500");
    for words in [
        &["-x", &format!("http://me:canary@{at}")][..],
        &["-x", &format!("me:canary@{at}")],
        &["-x", &at, "-U", "me:canary"],
        &["-x", &at, "-U", &format!("@{}", directory.write("user", "me:canary\n"))],
    ] {
        let before = proxy.errands().len();
        let words = [words, &["-v", "-o", &out, "--overwrite", &failing]].concat();
        let ran = run(&words);
        ran.check_code(1);
        assert_eq!(proxy.errands().len(), before + 3, "{ran:?}");
        assert!(!ran.stdout.contains("canary") && !ran.stderr.contains("canary"), "{ran:?}");
        let state =
            Command::new("grep").args(["-r", "canary", &out, &format!("{out}.run")]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&state.stdout), "");
    }
    run(&["-x", &format!("ftp://me:canary@{at}"), &server.url("/ok")]).check_refused(2, "socks5h://");
    let ran = run(&["-x", &at, &server.url("/ok")]);
    ran.check_code(1);
    assert!(ran.stderr.contains("proxy.auth"), "{ran:?}");
    let ran = run(&["-x", "http://me:canary@127.0.0.1:1", "--retry", "0", &server.url("/ok")]);
    ran.check_code(1);
    assert!(ran.stderr.contains("proxy.unreachable") && !ran.stderr.contains("canary"), "{ran:?}");
}

/// It was a proxy or a list of some origin that the message did not tell.
#[test]
fn where_a_wrong_proxy_comes_from_is_told() {
    let (server, directory) = (Server::start(), Directory::new());
    let url = server.url("/ok");
    for variable in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        let mut command = command(&[&url]);
        let ran = finish(command.env(variable, "socks4://me:canary@127.0.0.1"), b"");
        ran.check_refused(2, &format!("the variable {variable}: a proxy is http://"));
        assert!(!ran.stderr.contains("canary"), "{ran:?}");
    }
    run(&["-x", "socks4://127.0.0.1", &url]).check_refused(2, "-x: a proxy is http://");
    let file = directory.write("f.toml", "silent = true\n[host.'a.test']\nproxy = 'socks4://me:canary@x'\n");
    let ran = run(&["-K", &file, &url]);
    ran.check_refused(2, "f.toml line 3: [host.\"a.test\"]: proxy: a proxy is http://");
    assert!(!ran.stderr.contains("canary"), "{ran:?}");
}

/// It was taken, and the hosts were reached through the proxy.
#[test]
fn what_is_no_host_is_no_exception() {
    let (server, proxy) = (Server::start(), proxy());
    let (url, at) = (server.url("/ok"), proxy.url("http"));
    for wrong in ["127.0.0.1/33", "http://a.test", "a.*", "1", "0.0.1"] {
        let list = format!("b.test, {wrong}");
        run(&["-x", &at, "--noproxy", &list, &url])
            .check_refused(2, &format!("--noproxy: {wrong} matches nothing"));
        for variable in ["no_proxy", "NO_PROXY"] {
            let mut command = command(&["-s", "-x", &at, &url]);
            let ran = finish(command.env(variable, &list), b"");
            ran.check_refused(0, &format!("warning: the variable {variable}: {wrong} matches nothing"));
            // Without a proxy there is nothing to except.
            let mut command = program::command(&["-s", &url]);
            assert_eq!(finish(command.env(variable, &list), b"").stderr, "");
        }
    }
}

/// True if a request to `url` with this list goes through the proxy.
#[test]
fn curl_reads_lists_of_exceptions_in_the_same_way() {
    let server = Server::start();
    let port = server.addr().port();
    const CASES: &[(&str, &str)] = &[
        ("example.test", "example.test"),
        ("example.test", "www.example.test"),
        ("example.test", "notexample.test"),
        (".example.test", "example.test"),
        (".example.test", "a.b.example.test"),
        ("EXAMPLE.test", "example.TEST"),
        ("a.test,example.test", "example.test"),
        ("a.test, example.test", "example.test"),
        ("example", "example.test"),
        ("*", "example.test"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.0/30", "127.0.0.1"),
        ("10.0.0.0/8", "127.0.0.1"),
        ("", "127.0.0.1"),
    ];
    let is_there = Command::new("curl").arg("--version").output().is_ok();
    if !is_there {
        eprintln!("not compared: there is no curl");
        return;
    }
    let rules = ProxyRules { to: Some(server.addr()), ..ProxyRules::default() };
    let proxy = ProxyServer::start(ProxyRules { ..rules });
    for (list, host) in CASES {
        let url = format!("http://{host}:{port}/ok");
        let pin = format!("{}:{port}:127.0.0.1", host.to_ascii_lowercase());
        let at = proxy.url("http");
        let before = proxy.errands().len();
        run(&["-s", "-x", &at, "--noproxy", list, "--resolve", &pin, &url]).check_code(0);
        let ours = proxy.errands().len() - before;
        let mut curl = Command::new("curl");
        curl.args(["-q", "-s", "-x", &at, "--noproxy", list, "--resolve", &pin, &url]);
        assert!(curl.output().unwrap().status.success());
        let theirs = proxy.errands().len() - before - ours;
        assert_eq!(ours, theirs, "{list:?}: {host}");
    }
}
