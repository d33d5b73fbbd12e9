//! Many jobs, one waiter.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use overlapped::{Executor, JobError, Until, as_completed, block_on, gather, wait};

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

/// A job that is held back until its sender says so.
fn held(executor: &Executor, value: u32) -> (mpsc::Sender<()>, overlapped::Job<u32>) {
    let (go, gate) = mpsc::channel();
    (go, executor.submit(move || gate.recv().map_or(u32::MAX, |()| value)))
}

#[test]
fn results_come_in_the_order_of_the_jobs() {
    let executor = executor(3);
    let (gates, jobs): (Vec<_>, Vec<_>) = (0..3).map(|n| held(&executor, n)).unzip();
    let all = gather(jobs);
    for gate in gates.iter().rev() {
        gate.send(()).unwrap();
    }
    assert_eq!(block_on(all).unwrap(), [0, 1, 2]);
}

#[test]
fn no_jobs_are_done_at_once() {
    assert!(block_on(gather(Vec::<overlapped::Job<()>>::new())).unwrap().is_empty());
    assert!(block_on(as_completed(Vec::<overlapped::Job<()>>::new()).next()).is_none());
}

#[test]
fn ten_thousand_jobs_wake_their_waiter_once() {
    struct Counter(AtomicUsize);
    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let executor = executor(2);
    let (go, first) = held(&executor, 0);
    let jobs = (1..10_000).map(|n| executor.submit(move || n));
    let mut all = gather(std::iter::once(first).chain(jobs));
    let counter = Arc::new(Counter(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&counter));
    let mut cx = Context::from_waker(&waker);
    assert!(std::pin::Pin::new(&mut all).poll(&mut cx).is_pending());
    go.send(()).unwrap();
    while counter.0.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let Poll::Ready(Ok(results)) = std::pin::Pin::new(&mut all).poll(&mut cx) else {
        panic!("woken too early")
    };
    assert!(results.into_iter().eq(0..10_000));
    assert_eq!(counter.0.load(Ordering::SeqCst), 1);
}

#[test]
fn the_first_failure_ends_the_wait_and_cancels_what_is_queued() {
    let executor = executor(1);
    let ran = Arc::new(AtomicUsize::new(0));
    let (go, gate) = mpsc::channel::<()>();
    let bad = executor.submit(move || {
        gate.recv().ok();
        panic!("bad job")
    });
    let queued = (0..10).map(|_| {
        let ran = Arc::clone(&ran);
        executor.submit(move || {
            ran.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
        })
    });
    let all = gather(std::iter::once(bad).chain(queued));
    go.send(()).unwrap();
    let Err(JobError::Panicked(panic)) = block_on(all) else { panic!("the panic is the error") };
    assert_eq!(panic.message(), "bad job");
    executor.shutdown_blocking(overlapped::Shutdown::Drain, None);
    assert!(ran.load(Ordering::SeqCst) < 10);
}

#[test]
fn errors_can_be_returned_in_place_and_others_kept_going() {
    let executor = executor(2);
    let jobs = |executor: &Executor| -> Vec<_> {
        (0..3).map(|n| executor.submit(move || if n == 1 { panic!("one") } else { n })).collect()
    };
    let results = block_on(gather(jobs(&executor)).return_errors());
    assert!(matches!(results.as_slice(), [Ok(0), Err(JobError::Panicked(_)), Ok(2)]));
    assert!(block_on(gather(jobs(&executor)).keep_going()).is_err());
    executor.shutdown_blocking(overlapped::Shutdown::Drain, None);
    assert_eq!(executor.metrics().completed, 6);
}

#[test]
fn completion_order_is_kept() {
    let executor = executor(3);
    let (gates, jobs): (Vec<_>, Vec<_>) = (0..3).map(|n| held(&executor, n)).unzip();
    let mut stream = as_completed(jobs);
    for number in [2, 0, 1] {
        gates[number].send(()).unwrap();
        let (at, result) = block_on(stream.next()).unwrap();
        assert_eq!((at, result.unwrap()), (number, number as u32));
    }
    assert!(block_on(stream.next()).is_none());
}

#[test]
fn waiting_until_the_first_gives_the_others_back() {
    let executor = executor(2);
    let (go, slow) = held(&executor, 7);
    let fast = executor.submit(|| 8);
    let waited = block_on(wait([slow, fast], Until::First));
    assert!(matches!(waited.done.as_slice(), [(1, Ok(8))]));
    let mut pending = waited.pending;
    go.send(()).unwrap();
    assert_eq!(block_on(pending.pop().unwrap().1).unwrap(), 7);
}

#[test]
fn waiting_has_a_deadline() {
    let executor = executor(1);
    let (_go, slow) = held(&executor, 7);
    let waited = block_on(wait([slow], Until::All).within(Duration::from_millis(20)));
    assert_eq!((waited.done.len(), waited.pending.len()), (0, 1));
}

#[test]
fn waiting_for_the_first_error_ends_with_it() {
    let executor = executor(2);
    let (_go, slow) = held(&executor, 7);
    let waited = block_on(wait([slow, executor.submit(|| panic!("at once"))], Until::FirstError));
    assert!(matches!(waited.done.as_slice(), [(1, Err(JobError::Panicked(_)))]));
    assert_eq!(waited.pending.len(), 1);
}

#[test]
#[should_panic(expected = "after it had given its result")]
fn a_job_that_has_given_its_result_cannot_be_gathered() {
    // The gather hung.
    let executor = executor(1);
    let mut job = executor.submit(|| 1);
    assert_eq!(job.wait_timeout(Duration::from_secs(60)).unwrap().unwrap(), 1);
    let _ = block_on(gather([job]));
}
