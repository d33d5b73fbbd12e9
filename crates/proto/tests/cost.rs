//! What one row costs in the scheduler: submit, poll and finish. Prints the figures; meant for a release build:
//!
//! `cargo test --release -p overlapped-proto --test cost -- --nocapture`

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a measurement"
)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use overlapped_proto::bucket::Rate;
use overlapped_proto::job::{Job, Row};
use overlapped_proto::outcome::Ending;
use overlapped_proto::schedule::{Finish, Next, Pace, Scheduler};
use overlapped_proto::time::Nanos;

const ROWS: u64 = if cfg!(debug_assertions) { 20_000 } else { 2_000_000 };

/// Runs rows over this number of hosts, with up to `in_flight` of them in flight, and prints nanoseconds a row: for `submit`,
/// and for `poll` and `finish`. The same jobs go round, so that making and dropping them is not measured; the median
/// of the rounds is printed, so that what else runs on the machine counts less.
fn measure(name: &str, hosts: u64, in_flight: usize, pace: Pace) {
    let job = |row| Job::new(Row(row), format!("http://host-{}.example/path", row % hosts).parse().unwrap());
    let mut jobs: Vec<Job> = (0..hosts.max(1_000)).map(job).collect();
    let rounds = ROWS.div_ceil(jobs.len() as u64);
    let mut scheduler = Scheduler::new(Pace { parallel_max: in_flight, ..pace });
    let mut running = VecDeque::new();
    let (mut submits, mut runs) = (Vec::new(), Vec::new());
    let mut now = Nanos::ZERO;
    for _ in 0..rounds {
        let start = Instant::now();
        for job in jobs.drain(..) {
            scheduler.submit(job, now);
        }
        submits.push(start.elapsed());
        let start = Instant::now();
        run(&mut scheduler, &mut running, &mut jobs, &mut now);
        runs.push(start.elapsed());
        for job in &mut jobs {
            (job.attempts, job.first_started) = (0, None);
        }
    }
    let each = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_nanos() as f64 / jobs.len() as f64
    };
    println!("{name:<44} submit {:>6.1} ns, poll + finish {:>6.1} ns", each(submits), each(runs));
}

/// Runs all that is queued. What ends is the row that has run longest.
fn run(scheduler: &mut Scheduler, running: &mut VecDeque<Job>, ended: &mut Vec<Job>, now: &mut Nanos) {
    let ok = Ending::Response { status: 200, retry_after: None };
    loop {
        match scheduler.poll(*now) {
            Next::Start(job) => {
                running.push_back(job);
                continue;
            }
            Next::WaitUntil(due) if running.is_empty() => {
                *now = due;
                continue;
            }
            Next::WaitUntil(_) | Next::WaitForEvent => {}
            Next::Idle => return,
            Next::Fail(job, failure) => panic!("{}: {failure}", job.url),
        }
        *now += Nanos(1_000);
        match scheduler.finish(running.pop_front().unwrap(), ok, *now, 0) {
            Finish::Deliver(job) => ended.push(job),
            Finish::RetryAt(_) | Finish::PutBack => panic!("a good answer is not tried again"),
        }
    }
}

#[test]
fn cost_of_a_row() {
    let free = || Pace { parallel_max_host: None, ..Pace::default() };
    measure("one host, no limit, 64 in flight", 1, 64, free());
    measure("one host, no limit, 10,000 in flight", 1, 10_000, free());
    measure("1,000 hosts of 6, 256 in flight", 1_000, 256, Pace::default());
    measure("100,000 hosts of 6, 256 in flight", 100_000, 256, Pace::default());
    let rate = Pace { rate_host: Some(Rate { count: 1, per: Nanos::from_secs(1) }), ..Pace::default() };
    measure("100,000 hosts of 1/s, 256 in flight", 100_000, 256, rate);
}
