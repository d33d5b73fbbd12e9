//! Jobs that wait for jobs of their own pool.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use overlapped::{Executor, Job, JobError, JobState, block_on, gather};

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

fn depth(executor: &Executor, levels: u32) -> u32 {
    if levels == 0 {
        return 0;
    }
    let inner = executor.clone();
    executor.submit(move || depth(&inner, levels - 1) + 1).wait().unwrap()
}

#[test]
fn a_chain_deeper_than_the_pool_ends() {
    assert_eq!(depth(&executor(1), 50), 50);
    assert_eq!(depth(&executor(2), 50), 50);
}

#[test]
fn every_worker_may_wait_for_many() {
    let executor = executor(2);
    let jobs: Vec<_> = (0..8)
        .map(|n| {
            let inner = executor.clone();
            executor.submit(move || {
                let jobs: Vec<_> = (0..8).map(|m| inner.submit(move || n * m)).collect();
                gather(jobs).wait().unwrap().into_iter().sum::<i32>()
            })
        })
        .collect();
    assert_eq!(block_on(gather(jobs)).unwrap().into_iter().sum::<i32>(), 28 * 28);
}

#[test]
fn an_awaited_queued_job_runs_on_the_thread_that_awaits_it() {
    let executor = executor(1);
    let inner = executor.clone();
    let job = executor.submit(move || {
        let here = std::thread::current().id();
        block_on(inner.submit(move || std::thread::current().id() == here)).unwrap()
    });
    assert!(job.wait().unwrap());
    assert_eq!(executor.metrics().threads, 1);
}

#[test]
fn only_the_awaited_job_is_run_inline() {
    // rayon#592: a foreign job that runs inside a wait may want a lock that the waiter holds.
    let executor = executor(1);
    let inner = executor.clone();
    let lock = Arc::new(std::sync::Mutex::new(()));
    let job = executor.submit(move || {
        let foreign_lock = Arc::clone(&lock);
        let guard = lock.lock().unwrap();
        let foreign = inner.submit(move || drop(foreign_lock.lock().unwrap()));
        let own = inner.submit(|| 7).wait().unwrap();
        drop(guard);
        (own, foreign)
    });
    let (own, foreign) = job.wait().unwrap();
    assert_eq!(own, 7);
    foreign.wait().unwrap();
}

#[test]
fn a_stand_in_runs_what_a_waiter_keeps_from_running() {
    // The outer job waits for one that runs elsewhere and needs a third, which is queued.
    let executor = executor(2);
    let (send, receive) = mpsc::channel::<()>();
    let barrier = Arc::new(Barrier::new(2));
    let elsewhere = {
        let barrier = Arc::clone(&barrier);
        executor.submit(move || {
            barrier.wait();
            receive.recv().unwrap();
        })
    };
    let inner = executor.clone();
    let outer = executor.submit(move || {
        barrier.wait();
        inner.submit(move || send.send(()).unwrap()).detach();
        elsewhere.wait().unwrap();
    });
    outer.wait().unwrap();
}

#[test]
fn without_a_stand_in_a_hopeless_wait_is_an_error() {
    let executor = Executor::builder().max_workers(2).stand_in_workers(0).build().unwrap();
    // Two jobs that wait for each other.
    let (give_a, take_a) = mpsc::channel::<Job<Result<(), JobError>>>();
    let (give_b, take_b) = mpsc::channel::<Job<Result<(), JobError>>>();
    let a = executor.submit(move || take_b.recv().unwrap().wait().and_then(|inner| inner));
    let b = executor.submit(move || take_a.recv().unwrap().wait().and_then(|inner| inner));
    while a.state() != JobState::Running || b.state() != JobState::Running {
        std::thread::yield_now();
    }
    give_a.send(a).unwrap();
    give_b.send(b).unwrap();
    let report = executor.shutdown_blocking(overlapped::Shutdown::Drain, Some(Duration::from_secs(60)));
    assert!(report.is_complete(), "{report:?}");
}

#[test]
fn a_job_that_waits_for_itself_is_an_error() {
    let executor = executor(1);
    let (give, take) = mpsc::channel::<Job<bool>>();
    let (tell, told) = mpsc::channel();
    let job = executor.submit(move || {
        let own = take.recv().unwrap();
        tell.send(matches!(own.wait(), Err(JobError::WouldDeadlock))).unwrap();
        true
    });
    give.send(job).unwrap();
    assert!(told.recv().unwrap());
}

#[test]
fn a_job_of_a_view_may_wait_for_another_of_the_view() {
    let executor = executor(4);
    let view = executor.limited("one at a time", 1);
    let inner = view.clone();
    let job = view.submit(move || inner.submit(|| 5).wait().unwrap() + 1);
    assert_eq!(job.wait().unwrap(), 6);
    assert_eq!((view.metrics().completed, view.metrics().running), (2, 0));
    assert_eq!(view.submit(|| 1).wait().unwrap(), 1);
}

#[test]
fn a_wait_with_a_timeout_on_a_worker_ends_in_time() {
    let executor = executor(1);
    let inner = executor.clone();
    let (_go, gate) = mpsc::channel::<()>();
    let job = executor.submit(move || {
        let mut queued = inner.submit(move || gate.recv().is_ok());
        queued.wait_timeout(Duration::from_millis(20)).is_none()
    });
    assert!(job.wait().unwrap());
}
