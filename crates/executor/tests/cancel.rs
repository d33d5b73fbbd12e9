//! Cancelling: before a job starts, while it runs, after it has ended; deadlines.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use overlapped::{CancelOutcome, CancelToken, Executor, JobError, JobState, block_on};

fn one_worker() -> Executor {
    Executor::builder().max_workers(1).build().unwrap()
}

/// Keeps the worker busy until the sender is used or dropped.
fn hold(executor: &Executor) -> (mpsc::Sender<()>, overlapped::Job<()>) {
    let (go, gate) = mpsc::channel::<()>();
    let job = executor.submit(move || {
        let _ = gate.recv();
    });
    while job.state() == JobState::Queued {
        std::thread::yield_now();
    }
    (go, job)
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_queued_job_is_removed_and_its_closure_dropped_at_once() {
    let executor = one_worker();
    let (_go, _held) = hold(&executor);
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = Counted(Arc::clone(&drops));
    let job = executor.submit(move || drop(counted));
    assert_eq!(executor.metrics().queued, 1);
    assert_eq!(job.cancel(), CancelOutcome::Removed);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert_eq!(executor.metrics().queued, 0);
    assert_eq!(job.cancel(), CancelOutcome::TooLate);
    assert!(matches!(block_on(job), Err(JobError::Cancelled)));
    assert_eq!(executor.metrics().cancelled, 1);
}

#[test]
fn dropping_the_handle_cancels_and_detaching_does_not() {
    let executor = one_worker();
    let (go, held) = hold(&executor);
    let runs = Arc::new(AtomicUsize::new(0));
    let count = |runs: &Arc<AtomicUsize>| {
        let runs = Arc::clone(runs);
        executor.submit(move || runs.fetch_add(1, Ordering::SeqCst))
    };
    drop(count(&runs));
    count(&runs).detach();
    go.send(()).unwrap();
    block_on(held).unwrap();
    block_on(executor.submit(|| ())).unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[test]
fn a_running_job_without_a_token_cannot_be_cancelled() {
    let executor = one_worker();
    let (go, held) = hold(&executor);
    assert_eq!(held.cancel(), CancelOutcome::TooLate);
    go.send(()).unwrap();
    assert!(block_on(held).is_ok());
}

#[test]
fn a_running_job_is_asked_through_its_token() {
    let executor = one_worker();
    let (ready, wait) = mpsc::channel();
    let job = executor.submit_cancellable(move |token| {
        let (poke, poked) = mpsc::channel();
        let _hook = token.on_cancel(move || poke.send("poked").unwrap());
        ready.send(()).unwrap();
        let what = poked.recv().unwrap();
        (what, token.check().is_err(), CancelToken::current().is_some_and(|current| current.is_cancelled()))
    });
    wait.recv().unwrap();
    assert_eq!(job.cancel(), CancelOutcome::Requested);
    assert_eq!(block_on(job).unwrap(), ("poked", true, true));
    assert!(CancelToken::current().is_none());
}

#[test]
fn dropping_the_handle_of_a_running_job_asks_it_to_stop() {
    let executor = one_worker();
    let (ready, wait) = mpsc::channel();
    let (told, end) = mpsc::channel();
    let job = executor.submit_cancellable(move |token| {
        ready.send(()).unwrap();
        block_on(token.cancelled());
        told.send(()).unwrap();
    });
    wait.recv().unwrap();
    drop(job);
    end.recv().unwrap();
}

#[test]
fn a_hook_that_was_taken_back_does_not_run_and_a_late_one_runs_at_once() {
    let executor = one_worker();
    let (ready, wait) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let job = executor.submit_cancellable(move |token| {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = || {
            let runs = Arc::clone(&runs);
            move || {
                runs.fetch_add(1, Ordering::SeqCst);
            }
        };
        drop(token.on_cancel(counted()));
        ready.send(()).unwrap();
        gate.recv().unwrap();
        let early = runs.load(Ordering::SeqCst);
        drop(token.on_cancel(counted()));
        (early, runs.load(Ordering::SeqCst))
    });
    wait.recv().unwrap();
    job.cancel();
    go.send(()).unwrap();
    assert_eq!(block_on(job).unwrap(), (0, 1));
}

#[test]
fn a_timeout_tells_whether_the_job_had_started() {
    let executor = one_worker();
    let (go, held) = hold(&executor);
    let queued = executor.submit(|| ()).timeout(Duration::from_millis(20));
    assert!(matches!(block_on(queued), Err(JobError::TimedOut { started: false })));
    let running = held.timeout(Duration::from_millis(20));
    assert!(matches!(block_on(running), Err(JobError::TimedOut { started: true })));
    // The thread is counted until the closure really ends.
    assert_eq!(executor.metrics().running, 1);
    go.send(()).unwrap();
    block_on(executor.submit(|| ())).unwrap();
    assert_eq!(block_on(executor.submit(|| 5).timeout(Duration::from_secs(600))).unwrap(), 5);
}

#[test]
fn an_expiry_is_only_for_jobs_that_have_not_started() {
    let executor = one_worker();
    let (go, held) = hold(&executor);
    let held = held.expires_in(Duration::from_millis(1));
    let queued = executor.submit(|| ()).expires_in(Duration::from_millis(20));
    assert!(matches!(block_on(queued), Err(JobError::TimedOut { started: false })));
    go.send(()).unwrap();
    assert!(block_on(held).is_ok());
}

#[test]
fn a_wait_with_a_timeout_leaves_the_job_alone() {
    let executor = one_worker();
    let (go, mut held) = hold(&executor);
    assert!(held.wait_timeout(Duration::from_millis(5)).is_none());
    go.send(()).unwrap();
    assert!(held.wait().is_ok());
}

#[test]
fn a_hook_does_not_run_once_its_guard_is_dropped() {
    let executor = one_worker();
    let (ready, wait) = mpsc::channel();
    let job = executor.submit_cancellable(move |token| {
        let (began, begun) = mpsc::channel();
        let ended = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ended);
        let guard = token.on_cancel(move || {
            began.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            counted.fetch_add(1, Ordering::SeqCst);
        });
        ready.send(()).unwrap();
        begun.recv().unwrap();
        // It is in the middle of the hook, and what the hook refers to may be closed after this.
        drop(guard);
        ended.load(Ordering::SeqCst)
    });
    wait.recv().unwrap();
    job.cancel();
    assert_eq!(block_on(job).unwrap(), 1);
}

#[test]
fn a_hook_may_drop_its_own_guard() {
    let executor = one_worker();
    let (ready, wait) = mpsc::channel();
    let job = executor.submit_cancellable(move |token| {
        let slot = Arc::new(std::sync::Mutex::new(None));
        let own = Arc::clone(&slot);
        *slot.lock().unwrap() = Some(token.on_cancel(move || drop(own.lock().unwrap().take())));
        ready.send(()).unwrap();
        block_on(token.cancelled());
        while slot.lock().unwrap().is_some() {
            std::thread::yield_now();
        }
    });
    wait.recv().unwrap();
    job.cancel();
    block_on(job).unwrap();
}

#[test]
fn waiting_for_a_cancellation_keeps_no_waker_that_is_gone() {
    struct Plain;
    impl std::task::Wake for Plain {
        fn wake(self: Arc<Self>) {}
    }
    let executor = one_worker();
    let kept = executor.submit_cancellable(|token| {
        let plain = Arc::new(Plain);
        for _ in 0..100 {
            let waker = std::task::Waker::from(Arc::clone(&plain));
            let mut cancelled = std::pin::pin!(token.cancelled());
            assert!(cancelled.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        }
        Arc::strong_count(&plain)
    });
    assert_eq!(block_on(kept).unwrap(), 1);
}

#[test]
fn a_cancelled_job_is_not_tried_again_by_std_io() {
    // `Interrupted` was: `io::copy` called 172 million times.
    let error = std::io::Error::from(JobError::Cancelled);
    assert_ne!(error.kind(), std::io::ErrorKind::Interrupted);
    assert_ne!(std::io::Error::from(overlapped::Cancelled).kind(), std::io::ErrorKind::Interrupted);
}

/// A waker that says when it is woken, and then takes as long as it is told to.
struct Slow(Mutex<mpsc::Sender<()>>, Mutex<mpsc::Receiver<()>>);

impl Wake for Slow {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().send(()).unwrap();
        self.1.lock().unwrap().recv().unwrap();
    }
}

#[test]
fn a_job_that_a_worker_has_taken_behind_a_slow_waker_can_be_cancelled() {
    // `cancel` said `TooLate` of a job whose state was `Queued`.
    let executor = one_worker();
    let ((woken, is_woken), (go, gate)) = (mpsc::channel(), mpsc::channel());
    let waker = Waker::from(Arc::new(Slow(Mutex::new(woken), Mutex::new(gate))));
    let (open, closed) = mpsc::channel::<()>();
    let mut first = executor.submit(move || closed.recv().unwrap());
    assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
    let drops = Arc::new(AtomicUsize::new(0));
    let captured = Counted(Arc::clone(&drops));
    let next = executor.submit(move || drop(captured));
    open.send(()).unwrap();
    is_woken.recv().unwrap();
    assert_eq!(next.state(), JobState::Queued);
    assert_eq!(next.cancel(), CancelOutcome::Removed);
    assert_eq!(drops.load(Ordering::SeqCst), 1, "its closure is dropped at once");
    go.send(()).unwrap();
    assert!(matches!(next.wait(), Err(JobError::Cancelled)));
    executor.submit(|| ()).wait().unwrap();
    let metrics = executor.metrics();
    assert_eq!((metrics.submitted, metrics.completed, metrics.cancelled), (3, 2, 1), "{metrics:?}");
}
