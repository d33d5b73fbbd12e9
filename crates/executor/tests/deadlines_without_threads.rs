//! Deadlines where the system gives no thread for them. A program of its own: the limit is the whole process's.

#![cfg(target_os = "linux")]
// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, unsafe_code)]

use std::sync::mpsc;
use std::time::Duration;

use overlapped::{Executor, JobError, block_on};

#[repr(C)]
struct Limit {
    soft: u64,
    hard: u64,
}

unsafe extern "C" {
    fn getrlimit(resource: u32, limit: *mut Limit) -> i32;
    fn setrlimit(resource: u32, limit: *const Limit) -> i32;
}

/// The memory that a process may map: no new stack fits in, so no thread starts.
const ADDRESS_SPACE: u32 = 9;

#[test]
fn a_refused_timer_thread_leaves_the_deadline_to_the_thread_that_waits() {
    let executor = Executor::builder().max_workers(1).min_workers(1).build().unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let first = executor.submit(move || {
        let _ = gate.recv();
    });
    let mut limit = Limit { soft: 0, hard: 0 };
    // SAFETY: both calls read or write the struct that they are given, which has the layout of the C library's on 64-bit Linux.
    unsafe { assert_eq!(getrlimit(ADDRESS_SPACE, &mut limit), 0) };
    // Room for what this test allocates, but not for a stack of 2 MiB.
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let tight = Limit { soft: pages * 4096 + (1 << 20), hard: limit.hard };
    // SAFETY: as above. Memory that is already mapped stays.
    unsafe { assert_eq!(setrlimit(ADDRESS_SPACE, &tight), 0) };
    let refused = std::thread::Builder::new().spawn(|| ()).is_err();
    let late = executor.submit(|| ()).timeout(Duration::from_millis(50));
    let waited = late.wait();
    let late = executor.submit(|| ()).timeout(Duration::from_millis(50));
    let awaited = block_on(late);
    // SAFETY: as above.
    unsafe { assert_eq!(setrlimit(ADDRESS_SPACE, &limit), 0) };
    assert!(refused, "the limit does not hold here");
    assert!(matches!(waited, Err(JobError::TimedOut { started: false })));
    assert!(matches!(awaited, Err(JobError::TimedOut { started: false })));
    drop(open);
    block_on(first).unwrap();
}
