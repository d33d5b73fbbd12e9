//! `map` and `scope`.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use overlapped::{CancelOutcome, Executor, JobError, Shutdown, block_on};

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

#[test]
fn results_come_in_the_order_of_the_items() {
    let executor = executor(4);
    let mut stream = executor.map(0..1000_u32, |n| n * 2);
    block_on(async {
        for n in 0..1000 {
            assert_eq!(stream.next().await.unwrap().unwrap(), n * 2);
        }
        assert!(stream.next().await.is_none());
        assert!(stream.next().await.is_none());
    });
}

#[test]
fn no_more_is_taken_than_the_window_holds() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let items = std::iter::from_fn(move || Some(counter.fetch_add(1, Ordering::SeqCst)));
    let executor = executor(2);
    let mut stream = executor.map(items, |n| n).window(5);
    assert_eq!(taken.load(Ordering::SeqCst), 0);
    for n in 0..100 {
        assert_eq!(block_on(stream.next()).unwrap().unwrap(), n);
        assert!(taken.load(Ordering::SeqCst) <= n + 5);
    }
}

#[test]
fn a_window_wider_than_the_queue_waits_for_places() {
    let executor = Executor::builder().max_workers(1).queue_limit(2).build().unwrap();
    let mut stream = executor.map(0..100, |n| n).window(50);
    for n in 0..100 {
        assert_eq!(block_on(stream.next()).unwrap().unwrap(), n);
    }
    assert_eq!(executor.metrics().rejected, 0);
}

#[test]
fn a_panic_is_the_result_of_its_item_alone() {
    let executor = executor(2);
    let mut stream = executor.map(0..3, |n| if n == 1 { panic!("one") } else { n });
    assert!(matches!(block_on(stream.next()), Some(Ok(0))));
    assert!(matches!(block_on(stream.next()), Some(Err(JobError::Panicked(_)))));
    assert!(matches!(block_on(stream.next()), Some(Ok(2))));
}

#[test]
fn dropping_the_stream_cancels_what_is_queued() {
    let executor = executor(1);
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ran);
    let mut stream = executor.map(0..50, move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(5));
    });
    block_on(stream.next()).unwrap().unwrap();
    drop(stream);
    executor.shutdown_blocking(Shutdown::Drain, None);
    assert!(ran.load(Ordering::SeqCst) < 50);
}

#[test]
fn a_shut_down_executor_says_so_for_every_item() {
    let executor = executor(1);
    executor.shutdown_blocking(Shutdown::Drain, None);
    let mut stream = executor.map(0..2, |n| n);
    assert!(matches!(block_on(stream.next()), Some(Err(JobError::Rejected(_)))));
    assert!(matches!(block_on(stream.next()), Some(Err(JobError::Rejected(_)))));
    assert!(block_on(stream.next()).is_none());
}

#[test]
fn a_scope_borrows_and_waits() {
    let executor = executor(4);
    let words = ["some", "words", "here"];
    let total = AtomicUsize::new(0);
    let lengths = executor.scope(|scope| {
        let jobs: Vec<_> = words.iter().map(|word| scope.submit(|| word.len())).collect();
        for _ in 0..100 {
            scope.submit(|| total.fetch_add(1, Ordering::SeqCst));
        }
        jobs.into_iter().map(|job| job.wait().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(lengths, [4, 5, 4]);
    assert_eq!(total.load(Ordering::SeqCst), 100);
}

#[test]
fn a_scope_inside_a_job_of_a_small_pool_ends() {
    let executor = executor(1);
    let inner = executor.clone();
    let job = executor.submit(move || {
        let mut numbers = [1, 2, 3];
        inner.scope(|scope| {
            for n in &mut numbers {
                scope.submit(|| *n += 10);
            }
        });
        numbers
    });
    assert_eq!(job.wait().unwrap(), [11, 12, 13]);
}

#[test]
fn a_scope_waits_for_its_jobs_when_it_panics() {
    let executor = executor(2);
    let ended = AtomicUsize::new(0);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        executor.scope(|scope| {
            for _ in 0..10 {
                scope.submit(|| {
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
            panic!("half-way");
        })
    }));
    assert!(result.is_err());
    assert_eq!(ended.load(Ordering::SeqCst), 10);
}

#[test]
fn a_panic_of_a_scoped_job_goes_to_who_waits_or_else_to_the_scope() {
    let executor = executor(2);
    executor.scope(|scope| {
        let job = scope.submit(|| -> () { panic!("seen") });
        assert!(matches!(job.wait(), Err(JobError::Panicked(_))));
    });
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        executor.scope(|scope| {
            scope.submit(|| -> () { panic!("unseen") });
        })
    }));
    assert_eq!(*result.unwrap_err().downcast_ref::<&str>().unwrap(), "unseen");
}

#[test]
fn a_cancelled_job_of_a_scope_lets_go_of_what_it_borrows() {
    let executor = executor(1);
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let ran = AtomicUsize::new(0);
    executor.scope(|scope| {
        scope.submit(move || gate.recv().is_ok());
        let job = scope.submit(|| ran.fetch_add(1, Ordering::SeqCst));
        job.cancel();
        assert!(matches!(job.wait(), Err(JobError::Cancelled)));
        go.send(()).unwrap();
    });
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}

#[test]
fn two_maps_share_the_only_place_of_a_queue() {
    // Each kept a place that it did not come for.
    let executor = Executor::builder().max_workers(1).queue_limit(1).build().unwrap();
    let (mut left, mut right) = (executor.map(0..50, |n| n), executor.map(0..50, |n| n * 2));
    for n in 0..50 {
        assert_eq!(block_on(left.next()).unwrap().unwrap(), n);
        assert_eq!(block_on(right.next()).unwrap().unwrap(), n * 2);
    }
}

#[test]
fn maps_in_jobs_of_their_own_executor_end() {
    for limit in [1, 2, 1000] {
        let executor = Executor::builder().max_workers(2).queue_limit(limit).build().unwrap();
        let view = executor.limited_queue("one", 1, limit);
        let sum = |executor: &Executor| {
            let mut numbers = executor.map(0..20, |n| n);
            let mut sum = 0;
            while let Some(n) = block_on(numbers.next()) {
                sum += n.unwrap();
            }
            sum
        };
        let submit = |executor: &Executor, inner: &Executor| {
            let inner = inner.clone();
            block_on(executor.reserve()).unwrap().submit(move || sum(&inner))
        };
        let jobs = [submit(&executor, &executor), submit(&executor, &view), submit(&executor, &executor)];
        assert_eq!(block_on(overlapped::gather(jobs)).unwrap(), [190; 3]);
    }
}

#[test]
fn a_scope_loses_no_job_when_the_queue_is_full() {
    // 100 jobs, 4 ran, and no error.
    let executor = Executor::builder().max_workers(1).queue_limit(2).build().unwrap();
    let ran = AtomicUsize::new(0);
    let submit = |executor: &Executor| {
        executor.scope(|scope| {
            for _ in 0..100 {
                scope.submit(|| ran.fetch_add(1, Ordering::SeqCst));
            }
        });
    };
    submit(&executor);
    assert_eq!(ran.load(Ordering::SeqCst), 100);
    submit(&executor.limited_queue("view", 1, 2));
    assert_eq!(ran.load(Ordering::SeqCst), 200);
    executor.scope(|scope| {
        scope.submit(|| submit(&executor));
    });
    assert_eq!(ran.load(Ordering::SeqCst), 300);
}

#[test]
#[should_panic(expected = "a job of the scope did not run")]
fn a_scope_says_that_a_job_did_not_run() {
    let executor = executor(1);
    executor.shutdown_blocking(Shutdown::Drain, None);
    executor.scope(|scope| {
        scope.submit(|| ());
    });
}

#[test]
fn a_job_of_a_scope_that_was_cancelled_too_late_gives_its_result() {
    // `cancel` said that the result was not wanted before it knew whether the job still waited; the worker then dropped the result.
    let executor = executor(2);
    for round in 0..20_000 {
        let (outcome, result) = executor.scope(|scope| {
            let job = scope.submit(|| 7);
            for _ in 0..round % 50 {
                std::hint::spin_loop();
            }
            let outcome = job.cancel();
            (outcome, job.wait())
        });
        match (outcome, result) {
            (CancelOutcome::TooLate, Ok(7)) | (CancelOutcome::Removed, Err(JobError::Cancelled)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_job_of_a_scope_that_was_run_at_once_gives_its_result() {
    // The queue is full and this thread is the only one: its handle said `Rejected`.
    let executor = Executor::builder().max_workers(1).queue_limit(1).stand_in_workers(0).build().unwrap();
    let inner = executor.clone();
    let ends = executor.submit(move || {
        inner.scope(|scope| {
            let call = |n: i32| if n == 3 { panic!("three") } else { n };
            let jobs: Vec<_> = (0..5).map(|n| scope.submit(move || call(n))).collect();
            assert_eq!(jobs.last().unwrap().cancel(), CancelOutcome::TooLate);
            jobs.into_iter().map(|job| job.wait().map_err(|error| error.to_string())).collect::<Vec<_>>()
        })
    });
    let panicked = Err("the job panicked: three".to_owned());
    assert_eq!(ends.wait().unwrap(), [Ok(0), Ok(1), Ok(2), panicked, Ok(4)]);
}

#[test]
fn a_panic_of_a_job_of_a_scope_that_was_run_at_once_is_that_of_the_scope() {
    let executor = Executor::builder().max_workers(1).queue_limit(1).stand_in_workers(0).build().unwrap();
    let inner = executor.clone();
    let ends = executor.submit(move || {
        inner.scope(|scope| {
            for n in 0..3 {
                drop(scope.submit(move || assert!(n < 2, "two")));
            }
        });
    });
    assert_eq!(ends.wait().unwrap_err().to_string(), "the job panicked: two");
}

#[cfg(feature = "tokio")]
#[test]
fn jobs_of_a_scope_run_in_the_runtime_of_their_submitter_if_asked_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let executor = Executor::builder().max_workers(1).queue_limit(1).tokio_context().build().unwrap();
    let _entered = runtime.enter();
    let ids = executor.scope(|scope| {
        let jobs: Vec<_> = (0..10).map(|_| scope.submit(|| tokio::runtime::Handle::current().id())).collect();
        jobs.into_iter().map(|job| job.wait().unwrap()).collect::<Vec<_>>()
    });
    assert!(ids.iter().all(|id| *id == runtime.handle().id()));
}

#[test]
fn a_map_that_is_read_as_a_stream_keeps_no_place_when_it_is_not_asked_again() {
    let executor = Executor::builder().max_workers(1).queue_limit(1).build().unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let (begun, begins) = mpsc::channel();
    let running = executor.submit(move || {
        begun.send(()).unwrap();
        let _ = gate.recv();
    });
    begins.recv().unwrap();
    let queued = executor.submit(|| ());
    let mut stream = executor.map(0..3, |n| n);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut stream).poll_next(&mut cx).is_pending());
    drop(open);
    running.wait().unwrap();
    queued.wait().unwrap();
    // The queue is empty; what the stream has asked for is not taken.
    let place = Pin::new(&mut executor.reserve()).poll(&mut cx);
    let Poll::Ready(Ok(permit)) = place else { panic!("the stream keeps the only place") };
    assert_eq!(permit.submit(|| 3).wait().unwrap(), 3);
    for n in 0..3 {
        let result = block_on(std::future::poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)));
        assert_eq!(result.unwrap().unwrap(), n);
    }
}
