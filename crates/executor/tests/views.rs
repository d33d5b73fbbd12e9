//! Views: the same threads, a limit, a queue and metrics of their own.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use overlapped::{Executor, Job, JobError, Rejected, block_on, gather};

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

/// Jobs that note how many of them run at once.
fn crowd(executor: &Executor, most: &Arc<AtomicUsize>, now: &Arc<AtomicUsize>, jobs: usize) -> Vec<Job<()>> {
    (0..jobs)
        .map(|_| {
            let (most, now) = (Arc::clone(most), Arc::clone(now));
            executor.submit(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
                now.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect()
}

#[test]
fn a_view_keeps_to_its_limit() {
    let executor = executor(8);
    let view = executor.limited("two", 2);
    let (most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    block_on(gather(crowd(&view, &most, &now, 40))).unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 2);
    assert_eq!((view.metrics().completed, executor.metrics().completed), (40, 40));
    assert_eq!((view.metrics().run.count(), executor.metrics().run.count()), (40, 40));
}

#[test]
fn an_executor_counts_the_jobs_of_its_views_too_also_of_those_that_are_gone() {
    let executor = executor(2);
    let outer = executor.limited("outer", 1);
    let inner = outer.limited_queue("inner", 1, 1);
    let (go, gate) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let held = inner.submit(move || {
        begun.send(()).unwrap();
        gate.recv().is_ok()
    });
    has_begun.recv().unwrap();
    let (queued, rejected) = (inner.submit(|| 1), inner.submit(|| 2));
    assert!(block_on(rejected).is_err());
    for lane in [&executor, &outer, &inner] {
        let metrics = lane.metrics();
        assert_eq!((metrics.running, metrics.queued), (1, 1), "{metrics:?}");
        assert_eq!((metrics.submitted, metrics.rejected), (2, 1), "{metrics:?}");
    }
    queued.cancel();
    go.send(()).unwrap();
    assert!(block_on(held).unwrap());
    drop(inner);
    assert_eq!(outer.metrics().cancelled, 1);
    drop(outer);
    while executor.metrics().completed == 0 {
        std::thread::yield_now();
    }
    let metrics = executor.metrics();
    assert_eq!((metrics.submitted, metrics.completed, metrics.cancelled), (2, 1, 1), "{metrics:?}");
    assert_eq!((metrics.rejected, metrics.running, metrics.queued), (1, 0, 0), "{metrics:?}");
}

#[test]
fn a_view_of_a_view_keeps_to_both_limits() {
    let executor = executor(8);
    let outer = executor.limited("three", 3);
    let (left, right) = (outer.limited("two", 2), outer.limited("also two", 2));
    let counter = || Arc::new(AtomicUsize::new(0));
    let (most, now) = (counter(), counter());
    let mut jobs = crowd(&left, &most, &now, 20);
    jobs.extend(crowd(&right, &most, &now, 20));
    jobs.extend(crowd(&outer, &most, &now, 20));
    block_on(gather(jobs)).unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[test]
fn a_long_queue_of_a_view_is_in_nobody_elses_way() {
    let executor = executor(2);
    let view = executor.limited("one", 1);
    let (go, gate) = mpsc::channel::<()>();
    let held = view.submit(move || gate.recv().is_ok());
    let waiting: Vec<_> = (0..100).map(|n| view.submit(move || n)).collect();
    assert_eq!(block_on(executor.submit(|| "past")).unwrap(), "past");
    assert_eq!(view.metrics().queued, 100);
    go.send(()).unwrap();
    assert!(block_on(held).unwrap());
    assert!(block_on(gather(waiting)).unwrap().into_iter().eq(0..100));
}

#[test]
fn a_views_queue_has_its_own_bound() {
    let executor = executor(1);
    let view = executor.limited_queue("small", 1, 1);
    let (go, gate) = mpsc::channel::<()>();
    let held = executor.submit(move || gate.recv().is_ok());
    let first = view.submit(|| 1);
    assert!(matches!(block_on(view.submit(|| 2)), Err(JobError::Rejected(Rejected::QueueFull))));
    let other = executor.submit(|| 3);
    go.send(()).unwrap();
    assert!(block_on(held).unwrap());
    assert_eq!((block_on(first).unwrap(), block_on(other).unwrap()), (1, 3));
}

#[test]
fn cancelled_jobs_of_a_view_give_their_places_back() {
    let executor = executor(1);
    let view = executor.limited("one", 1);
    let (go, gate) = mpsc::channel::<()>();
    let held = executor.submit(move || gate.recv().is_ok());
    // The first has the view's place and waits for a thread, the second waits for the place.
    let (first, second) = (view.submit(|| 1), view.submit(|| 2));
    first.cancel();
    go.send(()).unwrap();
    assert!(block_on(held).unwrap());
    assert_eq!(block_on(second).unwrap(), 2);
    assert_eq!(block_on(view.submit(|| 3)).unwrap(), 3);
}

#[test]
fn a_view_dropped_with_jobs_in_it_still_runs_them() {
    let executor = executor(2);
    let view = executor.limited("gone", 1);
    let jobs: Vec<_> = (0..10).map(|n| view.submit(move || n)).collect();
    drop(view);
    assert!(block_on(gather(jobs)).unwrap().into_iter().eq(0..10));
    // Its place is used again.
    for n in 0..100 {
        assert_eq!(block_on(executor.limited("short", 1).submit(move || n)).unwrap(), n);
    }
}

#[test]
fn a_view_keeps_its_executor_open() {
    let view = executor(1).limited("only", 1);
    assert_eq!(block_on(view.submit(|| 1)).unwrap(), 1);
}

#[test]
fn places_are_given_in_the_order_of_asking() {
    let executor = Executor::builder().max_workers(1).queue_limit(1).build().unwrap();
    let permit = block_on(executor.reserve()).unwrap();
    assert_eq!(executor.try_submit(|| ()).unwrap_err().why, Rejected::QueueFull);
    let (tell, told) = mpsc::channel();
    let threads: Vec<_> = (0..3)
        .map(|n| {
            let (executor, tell) = (executor.clone(), tell.clone());
            let thread = std::thread::spawn(move || {
                let permit = block_on(executor.reserve()).unwrap();
                tell.send(n).unwrap();
                permit.submit(|| ()).wait().unwrap();
            });
            // Each is in the line before the next comes.
            std::thread::sleep(Duration::from_millis(30));
            thread
        })
        .collect();
    drop(permit);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_handle_of_a_view_that_is_gone_cancels_nothing_of_the_next() {
    let executor = executor(1);
    let (go, gate) = mpsc::channel::<()>();
    let held = executor.submit(move || gate.recv().is_ok());
    let view = executor.limited("first", 1);
    let (_first, old) = (view.submit(|| 1), view.submit(|| 2));
    old.cancel();
    drop((_first, view));
    let view = executor.limited("second", 1);
    let (first, second) = (view.submit(|| 3), view.submit(|| 4));
    assert_eq!(old.cancel(), overlapped::CancelOutcome::TooLate);
    go.send(()).unwrap();
    assert!(block_on(held).unwrap());
    assert_eq!((block_on(first).unwrap(), block_on(second).unwrap()), (3, 4));
}
