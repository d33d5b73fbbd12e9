//! The shell commands of the guides run, against a server on this machine that has the names of their URLs.
//!
//! Of each page, every block of `sh` is run, in order and in one directory; of those for users of other tools, so is each command
//! of the program in a cell of a table.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use overlapped_testkit::{Builder, Script, Server};
use program::Directory;

/// Pages whose commands are run elsewhere, and where.
const ELSEWHERE: [(&str, &str); 1] =
    [("cluster.md", "crates/cli/tests/manifests.rs, and examples/cluster/shell.sh")];

fn guides() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide")
}

/// The commands of a page.
fn commands(name: &str, page: &str) -> Vec<String> {
    let (mut commands, mut block) = (Vec::new(), None::<String>);
    for line in page.lines() {
        match (&mut block, line) {
            (None, "```sh") => block = Some(String::new()),
            (Some(text), "```") => {
                commands.push(std::mem::take(text));
                block = None;
            }
            (Some(text), line) => *text += &format!("{line}\n"),
            (None, line) if line.starts_with("| ") && name.starts_with("from-") => {
                commands.extend(in_a_table(line))
            }
            (None, _) => {}
        }
    }
    assert!(block.is_none(), "a block does not end");
    commands
}

/// The commands of the program in the cells of a row, and one of curl if it is the same here. A `|` in a cell is written `\|`.
fn in_a_table(row: &str) -> Vec<String> {
    let is_whole = |code: &&str| !code.contains(['…', '<']);
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let cells: Vec<_> = row.split(" | ").collect();
    let mut commands = code(row);
    commands.retain(|code| code.starts_with("overlapped "));
    if cells.get(1).is_some_and(|cell| cell.starts_with("the same")) {
        let first = code(cells[0]).into_iter().next().unwrap_or_default();
        commands.extend(first.strip_prefix("curl ").map(|rest| format!("overlapped {rest}")));
    }
    let whole = commands.iter().map(String::as_str).filter(is_whole);
    whole.map(|code| code.replace("\\|", "|") + "\n").collect()
}

/// What the servers have below the names of the guides.
fn site(builder: Builder) -> Server {
    const BODY: &str = "<!doctype html><title>A page</title><p>Text of a page.\n";
    let page = |request: &overlapped_testkit::Request| match request.header("if-none-match") {
        Some(_) => Script::new().send("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n"),
        None => {
            let fields = [("Content-Type", "text/html"), ("ETag", "\"1\""), ("Connection", "keep-alive")];
            Script::response(200, &fields, if request.method == "HEAD" { "" } else { BODY })
        }
    };
    let login = [("Set-Cookie", "session=1; Path=/"), ("Content-Type", "text/plain")];
    builder
        .handler("/page/", page)
        .route("/login", Script::response(200, &login, "welcome\n"))
        .route("/file.bin", Script::response(200, &[("Content-Type", "application/octet-stream")], "bytes\n"))
        .start()
}

/// A directory with what the guides take for granted: lists, and the program on the path, which reaches the servers by the names
/// of the guides.
fn workplace(plain: &Server, secure: &Server) -> Directory {
    let directory = Directory::new();
    let hosts = ["example.org", "www.example.org", "api.example.org"];
    let page = |row: usize| format!("https://{}/page/{row}\n", hosts[row % 3]);
    directory.write("urls.txt", (0..60).map(page).collect::<String>());
    directory.write("few.txt", (0..2).map(page).collect::<String>());
    let links: String = (0..20).map(|row| format!("row {row},{}", page(row))).collect();
    directory.write("urls.csv", format!("name,link\n{links}"));
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(directory.read("urls.txt").as_bytes()).unwrap();
    directory.write("urls.txt.gz", packed.finish().unwrap());
    fs::create_dir(directory.path("bin")).unwrap();
    let authority = directory.write("bin/ca.pem", secure.ca_pem().unwrap());
    let shim = format!(
        "#!/bin/sh\ncase \"$1\" in\n    compare|waterfall|report|shard|verify|journal|completions|man|help) exec {program} \"$@\" ;;\n\
             fetch) shift ;;\nesac\n\
         exec {program} fetch --cacert {authority} --connect-to :80:127.0.0.1:{} --connect-to :443:127.0.0.1:{} \"$@\"\n",
        plain.addr().port(),
        secure.addr().port(),
        program = env!("CARGO_BIN_EXE_overlapped"),
    );
    let path = directory.write("bin/overlapped", shim);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Runs the commands of a page; returns how many there were, and what failed.
fn run_page(name: &str, plain: &Server, secure: &Server) -> (usize, String) {
    let commands = commands(name, &fs::read_to_string(guides().join(name)).unwrap());
    let directory = workplace(plain, secure);
    let path = format!("{}:{}", directory.path("bin"), std::env::var("PATH").unwrap());
    let mut failed = String::new();
    for command in &commands {
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", command]).current_dir(directory.path("")).env("PATH", &path);
        for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            shell.env_remove(variable).env_remove(variable.to_ascii_uppercase());
        }
        shell.env("secret", "me:secret").stdin(Stdio::null());
        let output = shell.output().unwrap();
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            failed += &format!("{name}: {command}{}\n{told}\n", output.status);
        }
    }
    (commands.len(), failed)
}

#[test]
fn every_command_of_a_guide_runs() {
    let plain = site(Server::builder());
    let names = ["example.org", "www.example.org", "api.example.org", "example.com"];
    let secure = site(names.into_iter().fold(Server::builder().tls(), Builder::tls_name));
    let (mut pages, mut ran, mut failed) = (0, 0, String::new());
    for entry in fs::read_dir(guides()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && !ELSEWHERE.iter().any(|(page, _)| *page == name) {
            let (commands, told) = run_page(&name, &plain, &secure);
            (pages, ran) = (pages + 1, ran + commands);
            failed += &told;
        }
    }
    assert!(failed.is_empty(), "{failed}");
    assert!(pages >= 10 && ran >= 40, "{pages} pages, {ran} commands");
    assert!(secure.requests() > 500, "{} requests", secure.requests());
}
