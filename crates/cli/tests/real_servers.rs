//! The program beside curl, on nginx, Apache and nghttpd, where they are installed. What both say of a response must agree.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it leaves out")]

mod daemon;
mod program;

use std::process::Command;

use daemon::Daemon;
use program::{Directory, command, run};

const TOLD: &str = "\n%{http_code} %{http_version} %{size_download} %{content_type} %{num_redirects}";
const FILES: [(&str, usize); 4] =
    [("small.txt", 5), ("page.html", 3_000), ("large.txt", 200_000), ("empty.txt", 0)];

fn content(bytes: usize) -> String {
    "A line of a page.\n".chars().cycle().take(bytes).collect()
}

/// The files that each server has.
fn prepare(directory: &Directory) {
    for (name, bytes) in FILES {
        directory.write(name, content(bytes));
    }
    std::fs::create_dir(directory.path("folder")).unwrap();
    directory.write("folder/index.html", "a folder");
}

fn nginx() -> Option<Daemon> {
    let words = |directory: &Directory, _| {
        ["-p", &directory.path(""), "-e", "error.log", "-c", "nginx.conf"].map(String::from).to_vec()
    };
    daemon::start("nginx", words, |directory, port| {
        prepare(directory);
        directory.write("users", "me:{PLAIN}secret\n");
        let (own, root) = (directory.path("nginx."), directory.path(""));
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {own}{name};"))
            .join(" ");
        // The redirect to itself ends once its cookie comes back.
        let config = format!(
            "user root; daemon off; master_process off; pid {own}pid; events {{}} http {{ access_log off; {temporary}
             types {{ text/html html; text/plain txt; }}
             server {{ listen 127.0.0.1:{port}; root {root}; gzip on; gzip_types text/plain;
             location /users {{ auth_basic here; auth_basic_user_file users; try_files /small.txt =404; }}
             location /hop {{ return 302 /hops/2; }} location /hops/2 {{ return 307 /small.txt; }}
             location /own {{ add_header Set-Cookie seen=1 always; try_files /small.txt =404;
             if ($cookie_seen = '') {{ return 302 /own; }} }} }} }}"
        );
        directory.write("nginx.conf", config);
    })
}

fn apache() -> Option<Daemon> {
    const MODULES: [&str; 8] =
        ["mpm_event", "authz_core", "unixd", "dir", "mime", "deflate", "filter", "http2"];
    let words = |directory: &Directory, _| {
        ["-DFOREGROUND", "-f", &directory.path("apache.conf")].map(String::from).to_vec()
    };
    daemon::start("apache2", words, |directory, port| {
        prepare(directory);
        let own = directory.path("apache.");
        std::fs::create_dir(directory.path("apache.run")).unwrap();
        let load = |module: &str| match module {
            "unixd" => String::new(), // It is built in.
            _ => format!("LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so\n"),
        };
        let config = format!(
            "{}ServerName here\nListen 127.0.0.1:{port}\nPidFile {own}pid\nErrorLog {own}log\nDefaultRuntimeDir {own}run\n\
             DocumentRoot {}\nTypesConfig /etc/mime.types\nProtocols h2c http/1.1\nAddOutputFilterByType DEFLATE text/plain text/html\n\
             DirectoryIndex index.html\nFileETag MTime Size\n",
            MODULES.map(load).concat(),
            directory.path("")
        );
        directory.write("apache.conf", config);
    })
}

fn nghttpd() -> Option<Daemon> {
    let words = |directory: &Directory, port: u16| {
        ["--no-tls", "-a", "127.0.0.1", "-d", &directory.path(""), &port.to_string()]
            .map(String::from)
            .to_vec()
    };
    daemon::start("nghttpd", words, |directory, _| prepare(directory))
}

/// Requests a server by both programs, with the same words; both follow redirects, keep cookies, and ask for a compressed body
/// if they are told to.
fn compare(server: &Daemon, cases: &[&[&str]]) {
    if Command::new("curl").arg("--version").output().is_err() {
        return eprintln!("not compared: there is no curl");
    }
    for words in cases {
        let (words, path) = words.split_at(words.len() - 1);
        let url = format!("http://127.0.0.1:{}{}", server.port, path[0]);
        let words = [&["-sS", "-L", "-w", TOLD], words, &[&url]].concat();
        let plain: &[&str] = if words.contains(&"--compressed") { &[] } else { &["--no-compressed"] };
        let ours = undated(&command(&[plain, &words].concat()).output().unwrap().stdout);
        let theirs = undated(&curl(&words).output().unwrap().stdout);
        let [told, wanted] =
            [&ours, &theirs].map(|bytes| String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(200)..]));
        assert!(ours.len() > 10, "{words:?}: {told}");
        assert!(ours == theirs, "{words:?}:\n{told}\nand by curl\n{wanted}");
    }
}

/// Without the values of `Date`: the two requests may be answered in different seconds.
fn undated(output: &[u8]) -> Vec<u8> {
    let is_date = |line: &&[u8]| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"date:"));
    let kept = |line| if is_date(&line) { &line[..5] } else { line };
    output.split_inclusive(|byte| *byte == b'\n').map(kept).collect::<Vec<_>>().concat()
}

fn curl(words: &[&str]) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-q", "--noproxy", "*", "-b", ""]).args(words);
    curl
}

/// A list of all files many times over few connections: every body is that of its row.
fn fetch(server: &Daemon, words: &[&str], version: &str) {
    let rows = || FILES.iter().cycle().take(400);
    let urls = rows().map(|(name, _)| format!("http://127.0.0.1:{}/{name}", server.port));
    let directory = Directory::new();
    let list = format!("@{}", directory.write("list.txt", urls.collect::<Vec<_>>().join("\n")));
    let out = directory.path("out.ndjson");
    run(&[&["-s", "--ordered", "-j", "16", "-o", &out], words, &[&list]].concat()).check_code(0);
    let records = program::records(&directory.read("out.ndjson"));
    assert_eq!(records.len(), 400);
    for (record, (name, bytes)) in records.iter().zip(rows()) {
        assert_eq!((&record["status"], &record["http_version"]), (&200.into(), &version.into()), "{name}");
        assert!(record["body"].as_str() == Some(&content(*bytes)), "{name}");
    }
}

#[test]
fn nginx_as_curl_sees_it() {
    let Some(server) = nginx() else { return };
    compare(
        &server,
        &[
            &["/small.txt"],
            &["/empty.txt"],
            &["/large.txt"],
            &["--compressed", "/page.html"],
            &["-r", "2-3", "/small.txt"],
            &["-r", "-2", "/small.txt"],
            &["-r", "7000-", "/small.txt"],
            &["-I", "/missing"],
            &["/folder"],
            &["/folder/"],
            &["/hop"],
            &["/own"],
            &["/users"],
            &["-u", "me:secret", "/users"],
            &["-u", "me:wrong", "/users"],
            &["-d", "a=b", "/small.txt"],
            &["-X", "DELETE", "/small.txt"],
            &["-H", "If-None-Match: *", "/small.txt"],
            &["/..%2f..%2fetc/passwd"],
            &["/a%20b%zz?q=%C3%A9"],
        ],
    );
    fetch(&server, &[], "1.1");
}

#[test]
fn apache_as_curl_sees_it() {
    let Some(server) = apache() else { return };
    compare(
        &server,
        &[
            &["/small.txt"],
            &["/empty.txt"],
            &["--compressed", "/page.html"],
            &["--compressed", "/large.txt"],
            &["-r", "2-3", "/small.txt"],
            &["-r", "7000-", "/small.txt"],
            &["-I", "/missing"],
            &["/folder/"],
            &["-d", "a=b", "/small.txt"],
            &["-T", "Cargo.toml", "/small.txt"],
            &["-X", "OPTIONS", "/small.txt"],
            &["--http2-prior-knowledge", "/large.txt"],
            &["--http2-prior-knowledge", "--compressed", "/page.html"],
            &["--http2-prior-knowledge", "-r", "2-3", "/small.txt"],
            &["--http2-prior-knowledge", "-d", "a=b", "/small.txt"],
        ],
    );
    fetch(&server, &[], "1.1");
    fetch(&server, &["--http2-prior-knowledge"], "2");
}

#[test]
fn nghttpd_as_curl_sees_it() {
    let Some(server) = nghttpd() else { return };
    let words = ["/small.txt", "/empty.txt", "/large.txt", "/missing", "/folder/"];
    let cases = words.map(|path| ["--http2-prior-knowledge", path]);
    compare(&server, &cases.each_ref().map(|case| &case[..]));
    fetch(&server, &["--http2-prior-knowledge"], "2");
}
