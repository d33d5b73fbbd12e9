//! `compare`: three ways to fetch a list, measured side by side.
//!
//! Each arm runs in a child process: its wall time includes the start of the process, and its CPU time and threads are
//! not mixed with those of the server. The arms alternate, so that noise of the machine affects all of them.
//!
//! Five requests show that the waits overlap. The cost of a thread per request shows only with many requests, so
//! hundreds of concurrent requests are measured too, once with a thread for each and once with the engine.

mod arms;
mod report;
mod server;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use self::server::Server;
use super::print;
use crate::exit::{Ending, Error};
use crate::flags::compare::{Arm, Flags};
use crate::flags::input::{self, Globbing, Source};
use crate::flags::place::check_replaced;
use crate::picture::Bar;
use crate::report::write_whole;
use crate::terminal;

/// The most URLs of one comparison: the sequential arm fetches them one by one in every run.
const URLS_MAX: usize = 10_000;
const ARMS: [Arm; 3] = [Arm::Sequential, Arm::Pool, Arm::Native];

/// The measurements of one run of an arm, which it writes to its standard output.
#[derive(Debug, Deserialize, Serialize)]
struct Account {
    /// The rows, in the order of the list; times since 1970.
    bars: Vec<Bar>,
    /// The CPU time of the process, where the system provides it.
    cpu_s: Option<f64>,
    /// The peak number of threads, where the system provides it.
    threads: Option<u32>,
    /// The peak resident memory, where the system provides it.
    memory_bytes: Option<u64>,
}

/// One run of an arm, as measured by the parent process.
struct Run {
    /// From before its process was started until after it ended.
    wall: Duration,
    /// When it was started, in seconds since 1970.
    started_s: f64,
    account: Account,
}

/// The response times of the built-in server.
#[derive(Clone, Copy)]
struct Times {
    /// The longest of the five responses: a lower bound for every arm.
    longest: Duration,
    /// Each of the many responses.
    many: Duration,
}

/// The runs of one arm, the shortest first.
struct Measured {
    arm: Arm,
    runs: Vec<Run>,
}

impl Measured {
    /// The run with the median time.
    fn median(&self) -> Option<&Run> {
        self.runs.get(self.runs.len().saturating_sub(1) / 2)
    }
}

pub(super) fn run(flags: &Flags) -> Result<Ending, Error> {
    if let Some(arm) = flags.arm {
        let account = arms::run(arm, usize::from(flags.workers))?;
        let text = serde_json::to_vec(&account).map_err(|error| Error::Output(error.to_string()))?;
        return print(&text);
    }
    check_replaced(flags.summary.iter().map(|path| ("--summary", path.as_path())))?;
    let (urls, server) = if flags.inputs.is_empty() {
        let server = Server::start(flags.scale)
            .map_err(|error| Error::Usage(format!("cannot start the built-in server: {error}")))?;
        (server.urls(), Some(server))
    } else {
        (urls(&flags.inputs)?, None)
    };
    let measured = measure(&ARMS, flags.runs, flags.workers, &urls)?;
    let many = match &server {
        Some(server) if flags.many > 0 => {
            // Both ends of each connection are on this machine, but not in one process.
            overlapped_fetch::raise_open_files_limit(usize::from(flags.many));
            measure(&[Arm::Pool, Arm::Native], flags.runs, flags.many, &server.many(flags.many))?
        }
        Some(_) | None => Vec::new(),
    };
    let times = server.as_ref().map(|server| Times { longest: server.longest(), many: server.many_take() });
    let report = report::Report::new(flags, &measured, &many, times)?;
    if let Some(path) = &flags.summary {
        write_whole(path, report.json().as_bytes())?;
    }
    print(report.text(terminal::width(), terminal::colour()).as_bytes())?;
    Ok(if report.all_ok() { Ending::Succeeded } else { Ending::RowsFailed })
}

/// The URLs that the arguments name, in order.
fn urls(words: &[String]) -> Result<Vec<String>, Error> {
    let mut urls = Vec::new();
    for source in input::sources(words, Globbing::On)? {
        match source {
            Source::Url(url) => urls.push(url),
            Source::Urls(glob) => urls.extend(glob.iter().take(URLS_MAX + 1)),
            Source::List(path) => {
                let text = std::fs::read_to_string(&path).map_err(|error| Error::reading(&path, &error))?;
                let lines =
                    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
                urls.extend(lines.map(str::to_owned));
            }
            Source::Stdin => {
                return Err(Error::Usage(
                    "compare reads no list from standard input: give it as @FILE".to_owned(),
                ));
            }
        }
    }
    match urls.len() {
        0 => Err(Error::Usage("there is no URL in what is given: one a line in @FILE".to_owned())),
        1..=URLS_MAX => Ok(urls),
        n => Err(Error::Usage(format!("{n} URLs one after the other take too long: at most {URLS_MAX}"))),
    }
}

/// Runs every arm `rounds` times, alternating.
fn measure(arms: &[Arm], rounds: u16, workers: u16, urls: &[String]) -> Result<Vec<Measured>, Error> {
    let style =
        ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let shown = ProgressBar::new_spinner().with_style(style);
    let mut measured: Vec<_> = arms.iter().map(|arm| Measured { arm: *arm, runs: Vec::new() }).collect();
    for round in 1..=rounds {
        for Measured { arm, runs } in &mut measured {
            shown.set_message(format!(
                "{} requests, run {round} of {rounds}: {}",
                urls.len(),
                report::name(*arm)
            ));
            shown.tick();
            runs.push(start(*arm, workers, urls)?);
            runs.sort_by_key(|run| run.wall);
        }
    }
    shown.finish_and_clear();
    Ok(measured)
}

/// Runs one arm in a process of its own.
fn start(arm: Arm, workers: u16, urls: &[String]) -> Result<Run, Error> {
    let failed = |what: String| Error::Usage(format!("the arm {} could not run: {what}", report::name(arm)));
    // The executable of this process, even if the file was replaced meanwhile.
    let program =
        if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() };
    let program = program.map_err(|error| failed(error.to_string()))?;
    let started_s = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
    let clock = Instant::now();
    let mut child = Command::new(program)
        .args(["compare", "--arm", report::flag(arm), "--workers", &workers.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // If the arm has exited early, it has reported the reason itself.
        let _ = stdin.write_all(urls.join("\n").as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let wall = clock.elapsed();
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let account = serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    Ok(Run { wall, started_s, account })
}
