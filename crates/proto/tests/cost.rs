//! What one row costs in the scheduler: submit, poll and finish. Prints the figures; meant for a release build:
//!
//! `cargo test --release -p overlapped-proto --test cost -- --nocapture`

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a measurement"
)]

use std::time::Instant;

use overlapped_proto::bucket::Rate;
use overlapped_proto::job::{Job, Row};
use overlapped_proto::outcome::Ending;
use overlapped_proto::schedule::{Finish, Next, Pace, Scheduler, Submit};
use overlapped_proto::time::Nanos;

const ROWS: u64 = if cfg!(debug_assertions) { 20_000 } else { 2_000_000 };

/// Runs rows over so many hosts, always with `in_flight` of them in flight, and prints nanoseconds a row. The jobs go
/// round, so that making and dropping them is not measured.
fn measure(name: &str, hosts: u64, in_flight: usize, pace: Pace) {
    let mut scheduler = Scheduler::new(Pace { parallel_max: in_flight, ..pace });
    for row in 0..(hosts * 4).max(1_000) {
        let url = format!("http://host-{}.example/path", row % hosts).parse().unwrap();
        assert!(matches!(scheduler.submit(Job::new(Row(row), url), Nanos::ZERO), Submit::Queued));
    }
    let ok = Ending::Response { status: 200, retry_after: None };
    let mut running = std::collections::VecDeque::new();
    let mut now = Nanos::ZERO;
    let start = Instant::now();
    for _ in 0..ROWS {
        now += Nanos(1_000);
        while running.len() < in_flight {
            match scheduler.poll(now) {
                Next::Start(job) => running.push_back(job),
                Next::WaitUntil(due) => now = due,
                Next::WaitForEvent => break,
                other @ (Next::Fail(..) | Next::Idle) => panic!("{other:?}"),
            }
        }
        let job = running.pop_front().unwrap();
        match scheduler.finish(job, ok, now, 0) {
            Finish::Deliver(mut job) => {
                job.attempts = 0;
                job.first_started = None;
                scheduler.submit(job, now);
            }
            Finish::RetryAt(_) => panic!("a good answer is not tried again"),
        }
    }
    println!("{name:<44} {:>6.1} ns a row", start.elapsed().as_nanos() as f64 / ROWS as f64);
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
