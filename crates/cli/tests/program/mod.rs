//! Runs the real program.

#![allow(dead_code, reason = "no test file needs all of it")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use overlapped_testkit::Server;

/// The program, with these words.
pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overlapped"));
    command.args(words).stdin(Stdio::null());
    without_environment(&mut command);
    command
}

/// Without the variables that would change what it does.
fn without_environment(command: &mut Command) {
    command.env_remove("COLUMNS").env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_ascii_uppercase());
    }
}

/// The program as a terminal starts it: every signal does what it does by default, and none is blocked. What `nohup`, a
/// cron job or a background job of a shell ignores, a child would ignore as well.
pub(crate) fn command_to_signal(words: &[&str]) -> Command {
    const RESET: &str = "
import os, signal, sys
for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_DFL)
    except OSError:
        pass
signal.pthread_sigmask(signal.SIG_SETMASK, [])
os.execv(sys.argv[1], sys.argv[1:])
";
    let mut command = Command::new("python3");
    command.args(["-c", RESET, env!("CARGO_BIN_EXE_overlapped")]).args(words).stdin(Stdio::null());
    without_environment(&mut command);
    command
}

/// The program as a parent starts it that blocks the signals, to wait for them itself.
pub(crate) fn command_with_blocked_signals(words: &[&str]) -> Command {
    const BLOCK: &str = "
import os, signal, sys
signals = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]
for number in signals:
    signal.signal(number, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
os.execv(sys.argv[1], sys.argv[1:])
";
    let mut command = Command::new("python3");
    command.args(["-c", BLOCK, env!("CARGO_BIN_EXE_overlapped")]).args(words).stdin(Stdio::null());
    without_environment(&mut command);
    command
}

/// Starts the program, and kills it once the server has seen this many more requests.
#[track_caller]
pub(crate) fn killed_after(words: &[&str], server: &Server, requests: u64) {
    let before = server.requests();
    let mut child = command(words).stderr(Stdio::null()).spawn().unwrap();
    assert!(server.wait_for_requests(before + requests, Duration::from_secs(60)));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program to its end.
pub(crate) fn run(words: &[&str]) -> Ran {
    ran(command(words).output().unwrap())
}

/// The same, with something to read.
pub(crate) fn run_with(words: &[&str], input: &[u8]) -> Ran {
    finish(&mut command(words), input)
}

/// Runs a command to its end, with something to read.
pub(crate) fn finish(command: &mut Command, input: &[u8]) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    ran(output)
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ran {
    /// The run refused to do its work with this code, and said so in one line that holds `text`.
    #[track_caller]
    pub(crate) fn check_refused(&self, code: i32, text: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("overlapped: "), "{self:?}");
        assert!(self.stderr.contains(text), "{text:?} is not in {self:?}");
    }

    #[track_caller]
    pub(crate) fn check_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self:?}");
    }

    /// The records on standard output.
    #[track_caller]
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        records(&self.stdout)
    }
}

/// The records of an NDJSON text.
#[track_caller]
pub(crate) fn records(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Writes a list of pages of the server, and returns the word that names it.
pub(crate) fn list(
    server: &Server,
    directory: &Directory,
    rows: u64,
    page: impl Fn(u64) -> String,
) -> String {
    let lines: String = (0..rows).map(|row| server.url(&page(row)) + "\n").collect();
    format!("@{}", directory.write("urls.txt", lines))
}

/// A directory of one test, which goes with it.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.0.join(name), bytes).unwrap();
        self.path(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// The names in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
