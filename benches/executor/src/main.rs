//! The executor beside its peers, in one run: rounds are interleaved, medians and ratios are printed.
//!
//! `cargo run --release` prints everything; `cargo run --release -- jobs 64 1 noop` one cell. Each number of workers is a process of its own,
//! because `blocking` is told its number once, by the environment.

mod files;
mod idle;
mod jobs;
mod memory;
mod pools;
mod trip;

use std::process::Command;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["all"] => all(),
        ["jobs", workers, submitters, work] => jobs::run(number(workers), number(submitters), work),
        ["trip", pinned] => trip::run(*pinned == "pinned"),
        ["files"] => files::run(),
        ["memory"] => memory::run(),
        ["idle"] => idle::run(),
        ["kinds"] => jobs::kinds(),
        ["count", kind, jobs] => jobs::count(kind, number(jobs)),
        _ => {
            eprintln!("usage: [all | jobs WORKERS SUBMITTERS noop|1us|10us | trip pinned|free | files | memory | idle | kinds | count KIND JOBS]");
            std::process::exit(2);
        }
    }
}

fn number(word: &str) -> usize {
    word.parse().expect("a number")
}

fn all() {
    println!("## Jobs: 10,000 outstanding, medians of interleaved rounds\n");
    println!("jobs/s (CPU us a job); \"ratio\" is ours to the bare channel: jobs/s, CPU\n");
    for work in ["noop", "1us", "10us"] {
        jobs::header(work);
        for workers in ["1", "2", "8", "64"] {
            for submitters in ["1", "8"] {
                child(&["jobs", workers, submitters, work], workers);
            }
        }
        println!();
    }
    println!("## Jobs of other kinds\n");
    child(&["kinds"], "2");
    println!("\n## Round trip, one outstanding, 2 workers\n");
    trip::header();
    child(&["trip", "pinned"], "2");
    child(&["trip", "free"], "2");
    println!("\n## Reading a file of 64 MiB from the page cache, GiB/s\n");
    child(&["files"], "2");
    println!("\n## Memory\n");
    child(&["memory"], "2");
    println!("\n## Idle\n");
    child(&["idle"], "2");
}

fn child(args: &[&str], workers: &str) {
    let program = std::env::current_exe().expect("this program");
    let status = Command::new(program).args(args).env("BLOCKING_MAX_THREADS", workers).status();
    assert!(status.is_ok_and(|status| status.success()), "{args:?} failed");
}

/// CPU time of this process, all threads, in nanoseconds.
pub fn cpu_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
