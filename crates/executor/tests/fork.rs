//! In a forked child the pool has no threads: a clear error, never a hang.
//!
//! One test, in a program of its own, and no thread starts or ends while it forks: the standard library holds a lock meanwhile, and in
//! a child that was forked then, no thread can start.

#![cfg(target_os = "linux")]
// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::time::Duration;

use overlapped::{Executor, Job, JobError, Rejected, Shutdown, block_on};

unsafe extern "C" {
    fn fork() -> i32;
    fn _exit(code: i32) -> !;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
    fn alarm(seconds: u32) -> u32;
}

fn forked(f: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child calls nothing of the parent's but the executor under test, whose promise this is; an alarm ends it if it hangs.
    unsafe {
        match fork() {
            0 => {
                alarm(60);
                _exit(if f() { 0 } else { 1 })
            }
            child => {
                let mut status = -1;
                waitpid(child, &mut status, 0);
                status
            }
        }
    }
}

fn is_forked(result: &Result<i32, JobError>) -> bool {
    matches!(result, Err(JobError::Rejected(Rejected::Forked)))
}

#[test]
fn a_forked_child_is_told() {
    // The test's, and mostly one of the harness.
    let others = threads();
    a_child_is_told_and_the_parent_goes_on(others);
    a_child_that_was_forked_inside_a_wait_is_told_on_any_thread(others);
    three_hundred_forks_under_load_all_answer(others);
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Waits until the process has this number of threads, and gives one that has just started the time to get to its work.
fn settle(number: usize) {
    while threads() != number {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(100));
}

/// Waits until the threads of the executor have ended, and the others are left.
fn end(executor: &Executor, others: usize) {
    assert!(executor.shutdown_blocking(Shutdown::Drain, None).is_complete());
    settle(others);
}

fn a_child_is_told_and_the_parent_goes_on(others: usize) {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    block_on(executor.submit(|| 1)).unwrap();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let before = executor.submit(move || i32::from(gate.recv().is_ok()));
    let mut before = Some(before);
    let status = forked(|| {
        let one = block_on(executor.submit(|| 1));
        let another = executor.submit(|| 2).wait();
        // A job of before the fork runs in the parent.
        let earlier = block_on(before.take().unwrap());
        let gathered = block_on(overlapped::gather([executor.submit(|| 3), executor.submit(|| 4)]));
        let report = executor.shutdown_blocking(Shutdown::Drain, Some(Duration::from_secs(5)));
        drop(report);
        // A new executor works.
        let new = Executor::builder().max_workers(1).build().unwrap();
        let gathered = gathered.map(|_| 0);
        is_forked(&gathered)
            && is_forked(&one)
            && is_forked(&another)
            && is_forked(&earlier)
            && new.submit(|| 5).wait().is_ok()
    });
    assert_eq!(status, 0);
    go.send(()).unwrap();
    assert_eq!(block_on(before.unwrap()).unwrap(), 1);
    assert_eq!(block_on(executor.submit(|| 7)).unwrap(), 7);
    end(&executor, others);
}

/// Waits for a job, forks between two polls of it, and gives in the parent how the child has ended.
fn forks_in_a_poll(mut job: Job<i32>) -> i32 {
    let mut process = None;
    let waited = block_on(std::future::poll_fn(|cx| {
        let polled = Pin::new(&mut job).poll(cx);
        if process.is_none() {
            // SAFETY: as in `forked`.
            process = Some(unsafe { fork() });
        }
        match process {
            Some(0) => {
                // SAFETY: it has no preconditions.
                unsafe { alarm(60) };
                polled.map(|result| is_forked(&result))
            }
            Some(_) | None => Poll::Ready(true),
        }
    }));
    // SAFETY: as in `forked`.
    unsafe {
        match process.unwrap() {
            0 => _exit(if waited { 0 } else { 1 }),
            child => {
                let mut status = -1;
                waitpid(child, &mut status, 0);
                status
            }
        }
    }
}

fn a_child_that_was_forked_inside_a_wait_is_told_on_any_thread(others: usize) {
    let executor = Executor::builder().max_workers(2).build().unwrap();
    let hold = || {
        let (go, gate) = std::sync::mpsc::channel::<()>();
        (go, executor.submit(move || i32::from(gate.recv().is_ok())))
    };
    let (go, job) = hold();
    assert_eq!(forks_in_a_poll(job), 0);
    drop(go);
    // On a worker, which is none in the child.
    let (go, job) = hold();
    assert_eq!(executor.submit(move || forks_in_a_poll(job)).wait().unwrap(), 0);
    drop(go);
    end(&executor, others);
}

/// Every call there is, in a child that was forked while other threads made these calls: each must answer, none may hang.
fn answers(executor: &Executor, view: &Executor, job: Job<i32>, many: Vec<Job<i32>>) -> bool {
    let forked = Some(Rejected::Forked);
    let mut right = executor.try_submit(|| 1).err().map(|full| full.why) == forked;
    right &= view.try_submit(|| 1).err().map(|full| full.why) == forked;
    right &= is_forked(&executor.submit(|| 1).timeout(Duration::from_secs(1)).wait());
    right &= is_forked(&view.submit_cancellable(|_| 1).wait());
    right &= is_forked(&block_on(job));
    right &= block_on(executor.reserve()).err() == forked;
    right &= block_on(view.reserve()).err() == forked;
    right &= block_on(overlapped::gather(many)).is_err();
    right &= is_forked(&block_on(executor.map([1], |n| n).next()).unwrap());
    right &= executor.scope(|scope| scope.submit(|| 1).wait()).is_err();
    right &= !executor.is_worker() && executor.metrics().queued == 0 && executor.running().is_empty();
    right &= is_forked(&executor.limited("late", 1).submit(|| 1).wait());
    right &= executor.shutdown_blocking(Shutdown::CancelAll, None).is_complete();
    right &= block_on(view.shutdown(Shutdown::Drain)).is_complete();
    let mut unblock = overlapped::Unblock::on(executor, std::io::empty());
    right &= block_on(unblock.with(|_| ())).is_err();
    drop(unblock);
    let new = Executor::builder().max_workers(1).build().unwrap();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let busy = new.submit(move || {
        let _ = gate.recv();
    });
    // Its deadlines have a thread of their own in this process.
    let late = new.submit(|| 1).timeout(Duration::from_millis(1));
    right &= matches!(block_on(late), Err(JobError::TimedOut { .. }));
    drop(open);
    right && block_on(busy).is_ok() && new.submit(|| 5).wait().is_ok()
}

fn three_hundred_forks_under_load_all_answer(others: usize) {
    let executor = Executor::builder().max_workers(4).min_workers(4).build().unwrap();
    let view = executor.limited("view", 2);
    let (stop, running) = (AtomicBool::new(false), Barrier::new(4));
    // With a deadline to come, the thread of the deadlines stays; so do the workers, which run once together.
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let closed = executor.limited("closed", 1);
    let last = closed.submit(move || assert!(gate.recv().is_err())).timeout(Duration::from_secs(600));
    let together = Arc::new(Barrier::new(3));
    let starts = (0..3).map(|_| {
        let together = Arc::clone(&together);
        executor.submit(move || {
            together.wait();
        })
    });
    block_on(overlapped::gather(starts)).unwrap();
    std::thread::scope(|threads| {
        for number in 0..3 {
            let (executor, view, stop, running) = (&executor, &view, &stop, &running);
            threads.spawn(move || {
                running.wait();
                while !stop.load(Ordering::Relaxed) {
                    let from = if number == 0 { view } else { executor };
                    let jobs = (0..50).map(|n| from.submit(move || n).timeout(Duration::from_secs(60)));
                    let jobs: Vec<_> = jobs.collect();
                    drop(executor.limited("short", 1));
                    let _ = executor.metrics();
                    block_on(overlapped::gather(jobs)).unwrap();
                }
            });
        }
        running.wait();
        // Four workers, that of the deadlines, and the three here.
        settle(others + 8);
        let mut failed = Vec::new();
        for _ in 0..300 {
            let job = executor.submit(|| 1);
            let many: Vec<_> = (0..10).map(|n| view.submit(move || n)).collect();
            let mut taken = Some((job, many));
            let status =
                forked(|| taken.take().is_some_and(|(job, many)| answers(&executor, &view, job, many)));
            if status != 0 {
                failed.push(status);
            }
        }
        stop.store(true, Ordering::Relaxed);
        // 14 is the alarm's signal: a child that hung. 256: one that got a wrong answer.
        assert!(failed.is_empty(), "{failed:?}");
    });
    drop(open);
    last.wait().unwrap();
    end(&executor, others);
}
