//! Files that the program writes beside the records: what another user has put in their place is neither waited for nor
//! written through.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use overlapped_testkit::Server;
use program::{Directory, Ran, command};

/// Longer than any of these runs takes; one that waits for a pipe has no end.
const HANGS: Duration = Duration::from_secs(120);

/// Runs the program to its end. One that hangs is killed, and fails the test.
fn run(words: &[&str]) -> Ran {
    let mut child = command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    // What these runs print fits into a pipe.
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > HANGS {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{words:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What can be planted: how it is refused, and what plants it.
type Plant = (&'static str, fn(&Path));

/// What cannot be replaced.
const REFUSED: [Plant; 3] = [
    ("it is a named pipe", |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())),
    ("it is a socket", |path| {
        // By its name alone, as the path of a socket is short.
        const BIND: &str = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])";
        let mut python = Command::new("python3");
        python.args(["-c", BIND]).arg(path.file_name().unwrap()).current_dir(path.parent().unwrap());
        assert!(python.status().unwrap().success());
    }),
    ("it is a directory", |path| fs::create_dir(path).unwrap()),
];

/// The words of a command, given the server, the list and the results of an earlier run.
type Words = fn(&Server, &str, &str) -> Vec<String>;

/// Runs a command that writes `name`, whose path is its last word, once with each thing in the place of the file.
#[track_caller]
fn check(name: &str, words: Words) {
    let (directory, server) = (Directory::new(), Server::start());
    let list = format!("@{}", directory.write("urls.txt", server.url("/row/0\n").repeat(2)));
    let results = directory.path("results.ndjson");
    run(&["-s", "-o", &results, &list]).check_code(0);
    let (path, theirs) = (directory.path(name), directory.write("theirs", "theirs"));
    let words = words(&server, &list, &results);
    let words: Vec<&str> = words.iter().map(String::as_str).chain([path.as_str()]).collect();
    let flag = words.iter().rev().find(|word| word.starts_with('-')).unwrap();
    for (what, plant) in REFUSED {
        plant(Path::new(&path));
        let (before, requests) = (directory.names(), server.requests());
        let refused = run(&words);
        if *flag == "-o" && what == "it is a directory" && refused.code == Some(2) {
            refused.check_refused(2, "is a directory");
        } else {
            refused.check_refused(3, what);
            assert!(refused.stderr.contains(&format!("or name another {flag}")), "{refused:?}");
        }
        assert_eq!((directory.names(), server.requests()), (before, requests), "{what}");
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
    }
    let missing = directory.path("missing");
    for to in [&theirs, &missing] {
        symlink(to, &path).unwrap();
        let before = directory.names();
        run(&words).check_code(0);
        assert_eq!((directory.names(), directory.read("theirs").as_str()), (before, "theirs"), "{to}");
        let found = fs::symlink_metadata(&path).unwrap();
        assert!(found.is_file() && found.len() > 0, "{to}: {found:?}");
        fs::remove_file(&path).unwrap();
    }
}

/// It waited for the reader of a pipe, and wrote through a link.
#[test]
fn dump_header_neither_waits_for_a_pipe_nor_writes_through_a_link() {
    check("head.txt", |server, _, _| vec!["-s".into(), server.url("/row/0"), "-D".into()]);
}

/// It waited for the reader of a pipe, and wrote through a link.
#[test]
fn cookie_jar_neither_waits_for_a_pipe_nor_writes_through_a_link() {
    check("jar.txt", |server, _, _| vec!["-s".into(), server.url("/set-cookie?a=1"), "-c".into()]);
}

/// It waited for the writer of a pipe as well, before the run.
#[test]
fn a_jar_that_is_read_and_written_is_no_pipe() {
    let (directory, server) = (Directory::new(), Server::start());
    let jar = directory.path("jar.txt");
    assert!(Command::new("mkfifo").arg(&jar).status().unwrap().success());
    let refused = run(&["-s", "-b", &jar, "-c", &jar, &server.url("/set-cookie?a=1")]);
    refused.check_refused(3, "it is a named pipe");
    assert_eq!(server.requests(), 0);
}

/// It waited for the reader of a pipe.
#[test]
fn summary_does_not_wait_for_a_pipe() {
    check("s.json", |server, _, _| vec!["-s".into(), server.url("/row/0"), "--summary".into()]);
    check("s.json", |_, list, _| ["-s", "-o", "/dev/null", list, "--summary"].map(String::from).into());
    check("s.json", |_, list, _| ["-s", "--dry-run", list, "--summary"].map(String::from).into());
}

/// It waited for the reader of a pipe.
#[test]
fn summary_of_a_comparison_does_not_wait_for_a_pipe() {
    check("s.json", |server, _, _| {
        ["compare", "--runs", "1", &server.url("/row/0"), "--summary"].map(String::from).into()
    });
}

/// It waited for the reader of a pipe.
#[test]
fn waterfall_does_not_wait_for_a_pipe() {
    check("w.svg", |_, list, _| ["-s", "-o", "/dev/null", list, "--waterfall"].map(String::from).into());
    check("w.svg", |_, _, results| ["waterfall", results, "-o"].map(String::from).into());
}

/// It put a file in the place of a pipe.
#[test]
fn the_body_of_one_url_does_not_replace_a_pipe() {
    check("body", |server, _, _| vec!["-s".into(), server.url("/row/0"), "-o".into()]);
}

/// As the super-user, a file was put in the place of `/dev/stdout` when that led to a file.
#[test]
fn what_is_below_dev_is_written_to_as_it_is() {
    let (directory, server) = (Directory::new(), Server::start());
    let url = server.url("/set-cookie?a=1");
    for (flag, text) in [("-D", "HTTP/1.1 200"), ("-c", "\ta\t1\n"), ("--summary", "\"rows_read\"")] {
        let words = ["-s", &url, "-o", &directory.path("body"), flag, "/dev/stderr"];
        let ran = run(&words);
        ran.check_code(0);
        assert!(ran.stderr.contains(text), "{flag}: {ran:?}");
        let to = directory.write("stderr", "before\n");
        let file = File::options().append(true).open(&to).unwrap();
        assert!(command(&words).stderr(file).status().unwrap().success());
        let written = directory.read("stderr");
        assert!(written.starts_with("before\n") && written.contains(text), "{flag}: {written}");
        assert_eq!(directory.names(), ["body", "stderr"]);
    }
}

/// Only its owner may replace it there, which was noticed when the run had ended. Another user's files can be made by the
/// super-user alone; the rule has a test beside it.
#[test]
fn a_file_of_another_user_in_a_shared_directory_is_refused_before_the_run() {
    const AS_NOBODY: &str = "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); os.execv(sys.argv[1], sys.argv[1:])";
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let server = Server::start();
    let shared = std::env::temp_dir().join(format!("overlapped-shared-{}", std::process::id()));
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    let (program, theirs) = (shared.join("program"), shared.join("theirs.svg"));
    fs::copy(env!("CARGO_BIN_EXE_overlapped"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&theirs, "theirs").unwrap();
    symlink(&theirs, shared.join("link.svg")).unwrap();
    for flag in ["-o", "-D", "-c", "--summary", "--waterfall"] {
        for name in ["theirs.svg", "link.svg"] {
            let mut python = Command::new("python3");
            python.args(["-c", AS_NOBODY]).arg(&program).args(["-s", flag]).arg(shared.join(name));
            let ran = program::finish(python.arg(server.url("/ok")).current_dir("/"), b"");
            ran.check_refused(2, "it belongs to another user");
        }
    }
    assert_eq!((server.requests(), fs::read_to_string(&theirs).unwrap().as_str()), (0, "theirs"));
    fs::remove_dir_all(&shared).unwrap();
}
