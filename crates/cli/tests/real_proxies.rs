//! The program through proxies of others: tinyproxy and dante, where they are installed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it leaves out")]

mod program;

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use overlapped_testkit::Server;
use program::{Directory, run};

/// A proxy that ends with its test.
struct Proxy {
    child: Child,
    port: u16,
    _directory: Directory,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a proxy with a configuration for its port; `None`: it is not installed.
fn start(name: &str, words: &[&str], config: impl Fn(u16) -> String) -> Option<Proxy> {
    let directory = Directory::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = directory.write("config", config(port));
    let mut command = Command::new(name);
    command.args(words).arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(child) = command.spawn() else {
        eprintln!("not compared: there is no {name}");
        return None;
    };
    let mut proxy = Proxy { child, port, _directory: directory };
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        // It may need what this machine does not give, such as a user of its own.
        if begun.elapsed() > Duration::from_secs(60) || proxy.child.try_wait().unwrap().is_some() {
            eprintln!("not compared: {name} does not start");
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(proxy)
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
