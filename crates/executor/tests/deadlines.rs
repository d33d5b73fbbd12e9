//! Deadlines: what one of them does delays no other, also where the system refuses the timer thread.

#![cfg(target_os = "linux")]
// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::mpsc;
use std::time::Duration;

use overlapped::{Executor, Job, JobError, block_on};

const SOON: Duration = Duration::from_millis(20);

/// An executor whose only thread is busy until the sender is dropped.
fn busy() -> (Executor, mpsc::Sender<()>, Job<()>) {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let job = executor.submit(move || {
        let _ = gate.recv();
    });
    (executor, open, job)
}

/// Waits in its `Drop`, for as long as the sender lives.
struct Slow(mpsc::Receiver<()>, mpsc::Sender<()>);

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = self.1.send(());
        let _ = self.0.recv();
    }
}

fn slow() -> (Slow, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (open, gate) = mpsc::channel();
    let (begun, begins) = mpsc::channel();
    (Slow(gate, begun), open, begins)
}

fn timer_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim() == "overlapped-time").count()
}

#[test]
fn a_drop_that_waits_holds_up_no_other_deadline() {
    let (executor, open, first) = busy();
    let (other, other_open, other_first) = busy();
    let (held, let_go, begins) = slow();
    // Its deadline drops the closure, which waits.
    let stuck = executor.submit(move || drop(held)).timeout(SOON);
    begins.recv().unwrap();
    for executor in [&executor, &other] {
        for _ in 0..3 {
            let late = executor.submit(|| ()).timeout(SOON);
            assert!(matches!(block_on(late), Err(JobError::TimedOut { started: false })));
        }
    }
    drop(let_go);
    assert!(matches!(block_on(stuck), Err(JobError::TimedOut { started: false })));
    drop((open, other_open));
    block_on(first).unwrap();
    block_on(other_first).unwrap();
}

#[test]
fn a_drop_that_waits_for_another_deadline_gets_it() {
    let (executor, open, first) = busy();
    let inner = executor.clone();
    struct Waits(Executor, mpsc::Sender<bool>);
    impl Drop for Waits {
        fn drop(&mut self) {
            let timed_out = self.0.submit(|| ()).timeout(SOON).wait();
            let _ = self.1.send(matches!(timed_out, Err(JobError::TimedOut { .. })));
        }
    }
    let (tell, told) = mpsc::channel();
    let waits = Waits(inner, tell);
    let outer = executor.submit(move || drop(waits)).timeout(SOON);
    assert!(told.recv().unwrap());
    assert!(matches!(block_on(outer), Err(JobError::TimedOut { started: false })));
    drop(open);
    block_on(first).unwrap();
}

#[test]
fn a_detached_job_has_no_deadline() {
    let (executor, open, first) = busy();
    let (tell, told) = mpsc::channel();
    executor.submit(move || tell.send(()).unwrap()).timeout(SOON).detach();
    // A later deadline has passed, so the first has, too.
    let late = executor.submit(|| ()).timeout(SOON).expires_in(2 * SOON).timeout(4 * SOON);
    assert!(matches!(block_on(late), Err(JobError::TimedOut { started: false })));
    drop(open);
    block_on(first).unwrap();
    told.recv().unwrap();
}

#[test]
fn a_job_may_have_several_deadlines_and_the_first_counts() {
    let (executor, open, first) = busy();
    let far = Duration::from_secs(3600);
    let jobs = [
        executor.submit(|| ()).timeout(far).timeout(SOON),
        executor.submit(|| ()).timeout(SOON).timeout(far),
        executor.submit(|| ()).timeout(far).expires_in(SOON),
        executor.submit(|| ()).expires_in(SOON).timeout(far),
    ];
    for job in jobs {
        assert!(matches!(block_on(job), Err(JobError::TimedOut { started: false })));
    }
    // One that has started in time may still not end in time.
    let (begun, begins) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let slow = executor.submit(move || {
        begun.send(()).unwrap();
        let _ = gate.recv();
    });
    drop(open);
    begins.recv().unwrap();
    let slow = slow.expires_in(SOON).timeout(2 * SOON);
    assert!(matches!(block_on(slow), Err(JobError::TimedOut { started: true })));
    drop(go);
    block_on(first).unwrap();
}

#[test]
fn the_thread_ends_with_the_last_deadline() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    for _ in 0..100 {
        block_on(executor.submit(|| ()).timeout(Duration::from_secs(3600))).unwrap();
    }
    // Other tests of this file have threads of their own; they end too.
    for _ in 0..6000 {
        if timer_threads() == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} threads wait for nothing", timer_threads());
}
