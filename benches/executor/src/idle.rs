//! What an idle pool costs: wake-ups, and threads after the keep-alive time.

use std::time::{Duration, Instant};

use crate::pools::Pool;

pub fn run() {
    println!("| what | ours | blocking |");
    println!("| --- | --- | --- |");
    let ours = overlapped::Executor::builder().max_workers(8).keep_alive(Duration::from_secs(60)).build().expect("an executor");
    crate::pools::OursGather(ours.clone()).batch(10_000, || ());
    let quiet = wakeups();
    drop(ours);
    std::thread::sleep(Duration::from_millis(100));
    crate::pools::Blocking.batch(10_000, || ());
    println!("| wake-ups a second of an idle pool | {quiet:.1} | {:.1} |", wakeups());

    let keep_alive = Duration::from_millis(200);
    let ours = overlapped::Executor::builder().max_workers(64).min_workers(1).keep_alive(keep_alive).build().expect("an executor");
    let jobs: Vec<_> = (0..64).map(|_| ours.submit(|| std::thread::sleep(Duration::from_millis(20)))).collect();
    overlapped::block_on(overlapped::gather(jobs)).expect("no job fails");
    let before = ours.metrics().threads;
    // Light use goes on: it must not keep the cold threads.
    let end = Instant::now() + 3 * keep_alive;
    while Instant::now() < end {
        ours.submit(|| ()).wait().expect("no job fails");
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("| threads after a burst of 64, then in light use for three keep-alive times (min_workers 1) | {before} -> {} | |", ours.metrics().threads);
}

/// Voluntary context switches a second of all threads but this one.
fn wakeups() -> f64 {
    std::thread::sleep(Duration::from_millis(300));
    let before = switches();
    std::thread::sleep(Duration::from_secs(3));
    (switches() - before) as f64 / 3.0
}

fn switches() -> i64 {
    let me = std::process::id().to_string();
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let others = threads.flatten().filter(|thread| thread.file_name().to_string_lossy() != me);
    others
        .filter_map(|thread| {
            let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?;
            line.split_whitespace().nth(1)?.parse::<i64>().ok()
        })
        .sum()
}
