//! What jobs weigh, counted by the allocator.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::mpsc;

use overlapped::{Executor, Job};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::SeqCst);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::SeqCst);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test, because the counter is the process's.
#[test]
fn queued_jobs_are_light_and_cancelled_ones_weigh_nothing() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let (go, gate) = mpsc::channel::<()>();
    let held = executor.submit(move || gate.recv().is_ok());
    while held.state() != overlapped::JobState::Running {
        std::thread::yield_now();
    }
    let mut jobs: Vec<Job<()>> = Vec::with_capacity(100_000);

    let before = LIVE.load(Ordering::SeqCst);
    jobs.extend((0..100_000).map(|_| executor.submit(|| ())));
    let each = (LIVE.load(Ordering::SeqCst) - before) as f64 / 100_000.0;
    // The cell has 104 bytes, and 16 are its place in the queue. Features add a word each, for what most jobs do not use.
    let words = usize::from(cfg!(feature = "tracing")) + usize::from(cfg!(feature = "tokio"));
    let max = 121.0 + 8.0 * words as f64;
    assert!(each <= max, "a queued job weighs {each} bytes");

    // Every second one first: what is given back must not depend on the order.
    let mut odd = false;
    jobs.retain(|_| {
        odd = !odd;
        odd
    });
    drop(jobs);
    let left = LIVE.load(Ordering::SeqCst) - before;
    assert!(left < 64 * 1024, "{left} bytes are left of cancelled jobs");

    // So do deadlines of jobs that are over: their entries do not wait for their time.
    let mut jobs: Vec<Job<()>> = Vec::with_capacity(100_000);
    let before = LIVE.load(Ordering::SeqCst);
    let hour = std::time::Duration::from_secs(3600);
    jobs.extend((0..100_000).map(|_| executor.submit(|| ()).timeout(hour)));
    drop(jobs);
    let left = LIVE.load(Ordering::SeqCst) - before;
    assert!(left < 64 * 1024, "{left} bytes are left of deadlines");

    // Closures that own much, cancelled behind one that still waits; their handles live on.
    let first = executor.submit(|| ());
    let mut jobs: Vec<Job<()>> = Vec::with_capacity(1_000);
    let before = LIVE.load(Ordering::SeqCst);
    jobs.extend((0..1_000).map(|_| {
        let much = vec![0_u8; 100_000];
        executor.submit(move || drop(much))
    }));
    for job in &jobs {
        job.cancel();
    }
    let left = LIVE.load(Ordering::SeqCst) - before;
    assert!(left < 256 * 1024, "{left} bytes are left of cancelled closures");
    go.send(()).unwrap();
    first.wait().unwrap();
}
