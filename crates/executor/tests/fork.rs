//! In a forked child the pool has no threads: a clear error, never a hang.

#![cfg(target_os = "linux")]
// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, unsafe_code)]

use std::time::Duration;

use overlapped::{Executor, JobError, Rejected, Shutdown, block_on};

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
fn a_child_is_told_and_the_parent_goes_on() {
    let executor = Executor::builder().max_workers(2).min_workers(1).build().unwrap();
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
}
