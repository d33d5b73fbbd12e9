//! Deadlines where the system gives no thread for them. A program of its own: the limit is the whole process's.

#![cfg(target_os = "linux")]
// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, unsafe_code)]

use std::ffi::c_ulong;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use overlapped::{Executor, Job, JobError, block_on};

#[repr(C)]
struct Limit {
    soft: c_ulong,
    hard: c_ulong,
}

unsafe extern "C" {
    fn getrlimit(resource: u32, limit: *mut Limit) -> i32;
    fn setrlimit(resource: u32, limit: *const Limit) -> i32;
}

/// The memory that a process may map: no new stack fits in, so no thread starts.
const ADDRESS_SPACE: u32 = 9;

/// No further thread can start while this lives.
///
/// The limit is measured once, so no thread may be starting meanwhile: malloc maps an arena of 128 MiB for a new thread and
/// returns half of it at once, which would leave room for stacks.
struct Tight(Limit);

impl Tight {
    fn begin() -> Self {
        let mut limit = Limit { soft: 0, hard: 0 };
        // SAFETY: the call writes the struct that it is given, which has the layout of the C library's on Linux.
        unsafe { assert_eq!(getrlimit(ADDRESS_SPACE, &mut limit), 0) };
        // Room for what this test allocates, but not for a stack of 2 MiB.
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: c_ulong = pages.split(' ').next().unwrap().parse().unwrap();
        let tight = Limit { soft: pages * 4096 + (1 << 20), hard: limit.hard };
        // SAFETY: the call reads the struct. Memory that is already mapped stays.
        unsafe { assert_eq!(setrlimit(ADDRESS_SPACE, &tight), 0) };
        Tight(limit)
    }
}

impl Drop for Tight {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { assert_eq!(setrlimit(ADDRESS_SPACE, &self.0), 0) };
    }
}

/// Makes malloc map the arena of the current thread.
fn allocate() {
    drop(black_box(Box::new(0_u8)));
}

/// An executor whose only thread is busy until the sender is dropped, or with this number of threads more. All of them run.
fn busy(more: usize) -> (Executor, mpsc::Sender<()>) {
    let executor = Executor::builder().max_workers(1 + more).min_workers(1 + more).build().unwrap();
    let started = Arc::new(Barrier::new(1 + more));
    let starts: Vec<_> = (0..1 + more)
        .map(|_| {
            let started = started.clone();
            executor.submit(move || {
                allocate();
                started.wait();
            })
        })
        .collect();
    starts.into_iter().for_each(|start| start.wait().unwrap());
    let (open, gate) = mpsc::channel::<()>();
    let (begun, begins) = mpsc::channel();
    let job = move || {
        begun.send(()).unwrap();
        let _ = gate.recv();
    };
    executor.submit(job).detach();
    begins.recv().unwrap();
    (executor, open)
}

type Ended = Result<(), JobError>;

/// Polls as a runtime of others would: without a wait of this crate.
fn poll_until_ready(mut job: Job<()>) -> Ended {
    loop {
        match Pin::new(&mut job).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ended) => return ended,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

// One test, because the limit is the whole process's.
#[test]
fn a_refused_timer_thread_leaves_the_deadlines_to_all_who_wait_and_to_idle_workers() {
    const SOON: Duration = Duration::from_millis(50);
    let ((full, _open), (other, _open_other), (idle, _open_idle)) = (busy(0), busy(0), busy(2));
    let (hand_over, handed_over) = mpsc::channel::<Job<()>>();
    let (start, started) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        allocate();
        drop(start);
        handed_over.recv().unwrap().wait()
    });
    assert!(started.recv().is_err());
    let (go, goes) = mpsc::channel::<()>();
    let (open, gate) = mpsc::channel::<()>();

    let tight = Tight::begin();
    let refused = std::thread::Builder::new().spawn(|| ()).is_err();
    let waited = full.submit(|| ()).timeout(SOON).wait();
    let awaited = block_on(full.submit(|| ()).timeout(SOON));
    // Two executors on one thread.
    let first = full.submit(|| ()).timeout(SOON);
    let second = other.submit(|| ()).timeout(SOON);
    let (first, second) = (first.wait(), second.wait());
    // A thread that has not set the deadline.
    hand_over.send(full.submit(|| ()).timeout(SOON)).unwrap();
    let elsewhere = thread.join().unwrap();
    // A wait in a job, on the second of three workers.
    let inner = full.clone();
    let in_job = idle.submit(move || {
        let ended = inner.submit(|| ()).timeout(SOON).wait();
        drop(go);
        ended
    });
    assert!(goes.recv().is_err());
    let in_job = in_job.wait().unwrap();
    // No wait of this crate, and a worker that is idle.
    let held = move || {
        let _ = gate.recv();
    };
    let by_idle = poll_until_ready(idle.submit(held).timeout(SOON));
    drop(tight);

    assert!(refused, "the limit does not hold here");
    let queued = |ended: &Ended| matches!(ended, Err(JobError::TimedOut { started: false }));
    assert!([waited, awaited, first, second, elsewhere, in_job].iter().all(queued));
    assert!(matches!(by_idle, Err(JobError::TimedOut { started: true })));
    drop(open);
}
