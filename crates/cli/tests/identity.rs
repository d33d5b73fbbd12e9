//! Flags that say who is asking, where to connect, and for which part: what the server saw.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use overlapped_testkit::{ProxyRules, ProxyServer, Server};
use program::{Directory, command, finish, run};

#[test]
fn netrc_is_read_from_the_file_that_is_named() {
    let (server, directory) = (Server::start(), Directory::new());
    let text = "machine 127.0.0.1 login me password secret\n";
    let (file, url) = (directory.write("netrc", text), server.url("/echo"));
    directory.write(".netrc", text);
    let home = directory.path("");
    for (words, variable) in [
        (&["--netrc-file", &file][..], ("UNUSED", "")),
        (&["-n"], ("NETRC", file.as_str())),
        (&["-n"], ("HOME", home.as_str())),
    ] {
        let mut command = command(&[words, &["-s", &url]].concat());
        command.env_remove("NETRC").env(variable.0, variable.1);
        finish(&mut command, b"").check_code(0);
        let seen = server.seen();
        assert_eq!(seen.last().unwrap().header("authorization"), Some("Basic bWU6c2VjcmV0"), "{words:?}");
    }
    let wrong = directory.write("wrong", "machine 127.0.0.1\npassport canary\n");
    let ran = run(&["--netrc-file", &wrong, &url]);
    ran.check_refused(2, "line 2");
    assert!(!ran.stderr.contains("canary"));
    run(&["--netrc-file", "/nowhere/at/all", &url]).check_refused(2, "/nowhere/at/all");
}

/// With a `HOME` that is empty it was the one of the working directory.
#[test]
fn a_netrc_at_home_need_not_be_there() {
    let (server, directory) = (Server::start(), Directory::new());
    directory.write(".netrc", "machine 127.0.0.1 login me password secret\n");
    let run = |home: &str, netrc: &str| {
        let mut command = command(&["-n", "-s", &server.url("/echo")]);
        command.current_dir(directory.path("")).env("HOME", home).env("NETRC", netrc);
        finish(&mut command, b"")
    };
    run("/nowhere", "").check_code(0);
    assert_eq!(server.seen()[0].header("authorization"), None);
    run("", "").check_refused(2, "neither $NETRC nor $HOME is set");
    run("/nowhere", "/nowhere/at/all").check_refused(2, "/nowhere/at/all");
}

#[test]
fn a_part_is_asked_for_uncompressed() {
    let server = Server::start();
    let ran = run(&["-s", "-r", "2-4", &server.url("/range/9")]);
    ran.check_code(0);
    let seen = server.seen();
    assert_eq!((seen[0].header("range"), seen[0].header("accept-encoding")), (Some("bytes=2-4"), None));
    assert_eq!(ran.stdout.len(), 3);
    run(&["-r", "-5", &server.url("/range/9")]).check_code(0);
    for wrong in ["x", "", "-", "5", "4-x", "5-2"] {
        run(&["-r", wrong, &server.url("/ok")]).check_refused(2, "0-99");
    }
}

#[test]
fn connections_go_elsewhere() {
    let server = Server::start();
    let port = server.addr().port();
    let to = |from: &str| format!("{from}:127.0.0.1:{port}");
    for from in ["a.invalid:80", ":80", "a.invalid:", ":"] {
        run(&["-s", "--connect-to", &to(from), "http://a.invalid/ok"]).check_code(0);
        assert_eq!(server.seen().last().unwrap().header("host"), Some("a.invalid"), "{from}");
    }
    run(&["-s", "--connect-to", &format!("[::1]:81:[::1]:{port}"), "http://a.invalid/"]).check_code(1);
    // An empty host or port to connect to is that of the URL.
    let url = |host: &str, port: u16| format!("http://{host}:{port}/ok");
    for (to, url) in [
        (":::".to_owned(), url("127.0.0.1", port)),
        ("::127.0.0.1:".to_owned(), url("a.invalid", port)),
        (format!(":::{port}"), url("127.0.0.1", 9)),
        (format!("127.0.0.1:9::{port}"), url("127.0.0.1", 9)),
    ] {
        run(&["-s", "--connect-to", &to, &url]).check_code(0);
    }
    run(&["-s", "--interface", "127.0.0.7", &server.url("/ok")]).check_code(0);
    assert_eq!(server.seen().last().unwrap().peer.ip().to_string(), "127.0.0.7");
    for wrong in ["a:80:b", "a:x:b:80", "a:80:b:80:c", ""] {
        run(&["--connect-to", wrong, "http://a.invalid/"]).check_refused(2, "HOST1:PORT1:HOST2:PORT2");
    }
    for wrong in ["nothing0", "", "192.0.2.1", "fe80::1"] {
        let says = format!("--interface \"{wrong}\": ");
        run(&["--interface", wrong, "-m", "5", &server.url("/ok")]).check_refused(2, &says);
    }
    for other in [["--interface", "127.0.0.1"], ["--connect-to", "::a:1"]] {
        let says = format!("so {} has no effect", other[0]);
        let words = [&["--unix-socket", "s.sock"][..], &other, &["http://a.invalid/"]].concat();
        run(&words).check_refused(2, &says);
    }
    run(&["--unix-socket", "/", "http://a.invalid/"]).check_refused(2, "--unix-socket /: it is a directory");
    run(&["-s", "--retry", "0", "--unix-socket", "/nowhere/at/all", "http://a.invalid/"]).check_code(1);
}

/// What was said of all: no row of this run had this host and port.
#[test]
fn why_an_address_was_not_used_is_told_truly() {
    let (server, proxy) = (Server::start(), ProxyServer::start(ProxyRules::default()));
    let (port, url) = (server.addr().port(), server.url("/ok"));
    let pin = |host: &str| format!("{host}:{port}:127.0.0.1");
    let check = |words: &[&str], code, says: &str| {
        let ran = run(&[&["-s", "--retry", "0"], words].concat());
        ran.check_code(code);
        assert!(ran.stderr.contains(says) && !ran.stderr.contains("no row"), "{ran:?}");
    };
    let here = format!("a.invalid:{port}");
    let at_a = format!("http://{here}/ok");
    let proxied = ["--resolve", &pin("127.0.0.1"), "-x", &proxy.url("socks5h"), &url];
    check(&proxied, 0, "was not used: the proxy connects to this host");
    let elsewhere = format!("{here}:127.0.0.1:{port}");
    let words = ["--resolve", &pin("a.invalid"), "--connect-to", &elsewhere, &at_a];
    check(&words, 0, "was not used: --connect-to leads elsewhere");
    let words = ["--resolve", &pin("a.invalid"), "--unix-socket", "/nowhere/at/all", &at_a];
    check(&words, 1, "was not used: --unix-socket leads elsewhere");
    let words = ["--resolve", &pin("b.invalid"), "--resolve", &pin("127.0.0.1"), &url];
    let ran = run(&words);
    ran.check_refused(0, &format!("--resolve b.invalid:{port} was not needed: no row"));
}

/// The same socket in another spelling was another setting.
#[test]
fn a_run_goes_on_with_the_same_unix_socket() {
    let directory = Directory::new();
    let list = directory.write("urls.txt", "http://a.invalid/1\nhttp://a.invalid/2\n");
    let (out, list) = (directory.path("out.ndjson"), format!("@{list}"));
    let fetch = |socket: &str, more: &[&str]| {
        let words = ["-s", "--retry", "0", "-o", &out, "--unix-socket", socket, &list];
        let mut command = command(&[&words, more].concat());
        finish(command.current_dir(directory.path("")), b"")
    };
    fetch("./u.sock", &[]).check_code(1);
    for same in ["u.sock", ".//u.sock", "././u.sock"] {
        fetch(same, &["--retry-failed"]).check_code(1);
    }
    let ran = fetch("other.sock", &["--retry-failed"]);
    ran.check_refused(2, "Unix socket");
}

#[test]
fn a_client_certificate_is_presented() {
    let (directory, server) = (Directory::new(), Server::builder().tls().wants_client_certificate().start());
    let (chain, key) = server.client_pem().unwrap();
    let ca = directory.write("ca.pem", server.ca_pem().unwrap());
    let both = directory.write("both.pem", format!("{chain}{key}"));
    let (chain, key) = (directory.write("chain.pem", chain), directory.write("key.pem", key));
    let url = server.url("/ok");
    run(&["-s", "--cacert", &ca, "-E", &chain, "--key", &key, &url]).check_code(0);
    run(&["-s", "--cacert", &ca, "-E", &both, &url]).check_code(0);
    run(&["-s", "--cacert", &ca, "--retry", "0", &url]).check_code(1);
    run(&["--cacert", &ca, "-E", &chain, &url]).check_refused(2, "private key");
    run(&["--key", &key, &url]).check_refused(2, "--cert");
    assert_eq!(server.requests(), 2);
}
