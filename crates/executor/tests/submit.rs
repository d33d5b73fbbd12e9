//! Submitting: results, order, ids, states, bounds.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use overlapped::{Executor, JobError, JobState, Rejected, block_on};

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

#[test]
fn a_result_comes_back() {
    assert_eq!(block_on(executor(1).submit(|| 41 + 1)).unwrap(), 42);
    assert_eq!(executor(1).submit(|| "waited").wait().unwrap(), "waited");
}

#[test]
fn jobs_start_in_the_order_of_submission() {
    let executor = executor(1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let jobs: Vec<_> = (0..1000)
        .map(|n| {
            let seen = Arc::clone(&seen);
            executor.submit(move || seen.lock().unwrap().push(n))
        })
        .collect();
    for job in jobs {
        job.wait().unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), (0..1000).collect::<Vec<_>>());
}

#[test]
fn every_job_runs_once_under_many_submitters() {
    let executor = executor(4);
    let ran = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    let ran = Arc::clone(&ran);
                    executor.submit(move || ran.fetch_add(1, Ordering::Relaxed)).detach();
                }
            });
        }
    });
    executor.shutdown_blocking(overlapped::Shutdown::Drain, None);
    assert_eq!(ran.load(Ordering::Relaxed), 20_000);
}

#[test]
fn no_more_run_at_a_time_than_there_may_be_workers() {
    let executor = executor(3);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let jobs: Vec<_> = (0..60)
        .map(|_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            executor.submit(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
                now.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    block_on(overlapped::gather(jobs)).unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert!(executor.metrics().threads <= 3);
}

#[test]
fn states_and_timings_follow_the_job() {
    let executor = executor(1);
    let (go, gate) = mpsc::channel::<()>();
    let first = executor.submit(move || gate.recv().is_ok());
    let second = executor.submit(|| ());
    assert!(second.id() > first.id());
    while first.state() != JobState::Running {
        std::thread::yield_now();
    }
    assert_eq!(second.state(), JobState::Queued);
    assert!(second.timings().ran.is_none());
    go.send(()).unwrap();
    assert!(first.wait().unwrap());
    let mut second = second;
    assert!(second.wait_timeout(Duration::from_secs(60)).unwrap().is_ok());
    assert_eq!(second.state(), JobState::Finished);
    assert!(second.timings().ran.is_some());
}

#[test]
fn a_full_queue_rejects_and_gives_the_closure_back() {
    let executor = Executor::builder().max_workers(1).queue_limit(1).build().unwrap();
    let (go, gate) = mpsc::channel::<()>();
    let running = executor.submit(move || gate.recv().is_ok());
    while running.state() != JobState::Running {
        std::thread::yield_now();
    }
    let queued = executor.submit(|| 1);
    let rejected = executor.submit(|| 2);
    assert_eq!(rejected.id(), 0);
    assert!(matches!(rejected.wait(), Err(JobError::Rejected(Rejected::QueueFull))));
    let full = executor.try_submit(|| 3).unwrap_err();
    assert_eq!((full.why, (full.closure)()), (Rejected::QueueFull, 3));
    go.send(()).unwrap();
    assert_eq!(queued.wait().unwrap(), 1);
    running.wait().unwrap();
    assert_eq!(executor.metrics().rejected, 2);
}

#[test]
fn submit_wait_submit_needs_one_thread() {
    let executor = executor(8);
    for n in 0..200 {
        assert_eq!(block_on(executor.submit(move || n)).unwrap(), n);
    }
    assert_eq!(executor.metrics().threads, 1);
}
