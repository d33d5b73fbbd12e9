//! The program through proxies of others: tinyproxy and dante, where they are installed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod daemon;
mod program;

use daemon::Daemon;
use overlapped_testkit::Server;
use program::{Directory, run};

/// Starts a proxy with a configuration for its port; `None`: it is not installed.
fn start(name: &str, words: &[&str], config: impl Fn(u16) -> String) -> Option<Daemon> {
    let all = |directory: &Directory, _| {
        let file = directory.path("config");
        words.iter().copied().map(String::from).chain([file]).collect()
    };
    daemon::start(name, all, |directory, port| drop(directory.write("config", config(port))))
}

/// http and https, several rows over each connection.
fn check(words: &[&str]) {
    let (plain, safe) = (Server::start(), Server::builder().tls().start());
    let directory = Directory::new();
    let ca = directory.write("ca.pem", safe.ca_pem().unwrap());
    let urls = |server: &Server| [1, 2, 3].map(|row| server.url(&format!("/row/{row}")));
    let (http, https) = (urls(&plain), urls(&safe));
    let urls = http.iter().chain(&https).map(String::as_str).collect::<Vec<_>>();
    let ran = run(&[&["-s", "-o", "-", "-j", "1", "--cacert", &ca], words, &urls].concat());
    ran.check_code(0);
    assert_eq!(ran.records().len(), 6);
    assert_eq!((plain.row_hits(), safe.row_hits()), (vec![0, 1, 1, 1], vec![0, 1, 1, 1]));
    assert_eq!(safe.connections(), 1, "the tunnel is used again");
    assert!(plain.seen().iter().all(|seen| seen.header("proxy-authorization").is_none()));
}

#[test]
fn tinyproxy() {
    let config = |port| {
        format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nAllow 127.0.0.1\nBasicAuth me secret\n"
        )
    };
    let Some(proxy) = start("tinyproxy", &["-d", "-c"], config) else { return };
    let at = format!("http://127.0.0.1:{}", proxy.port);
    check(&["-x", &at, "-U", "me:secret"]);
    let (plain, safe) = (Server::start(), Server::builder().tls().start());
    for url in [plain.url("/ok"), safe.url("/ok")] {
        let ran = run(&["-x", &at, &url]);
        ran.check_code(1);
        assert!(ran.stderr.contains("proxy.auth"), "{ran:?}");
    }
    // It answers 401 to a wrong password.
    run(&["-x", &at, "-U", "me:wrong", &safe.url("/ok")]).check_refused(1, "proxy.denied");
    let refused = overlapped_testkit::refused();
    let url = refused.url("/").replace("http:", "https:");
    run(&["--retry", "0", "-x", &at, "-U", "me:secret", &url]).check_refused(1, "proxy.");
}

#[test]
fn dante() {
    let config = |port| {
        format!(
            "logoutput: stderr\ninternal: 127.0.0.1 port = {port}\nexternal: 127.0.0.1\nclientmethod: none\n\
             socksmethod: none\nclient pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}\n\
             socks pass {{ from: 127.0.0.0/8 to: 127.0.0.0/8 }}\n"
        )
    };
    let Some(proxy) = start("danted", &["-f"], config) else { return };
    check(&["-x", &format!("socks5://127.0.0.1:{}", proxy.port)]);
    check(&["-x", &format!("socks5h://127.0.0.1:{}", proxy.port)]);
    let refused = overlapped_testkit::refused();
    let at = format!("socks5h://127.0.0.1:{}", proxy.port);
    run(&["--retry", "0", "-x", &at, &refused.url("/")]).check_refused(1, "proxy.failed");
    run(&["--retry", "0", "-x", &at, "http://10.0.0.1/"]).check_refused(1, "proxy.");
}
