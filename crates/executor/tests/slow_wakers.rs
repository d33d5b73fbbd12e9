//! Wakers that take any time: they delay what they wake, and no job.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

use overlapped::{CancelOutcome, Executor, Job, JobState, as_completed, block_on, gather};

/// A waker that says when it is called, and returns when the test wants.
struct Slow {
    called: mpsc::Sender<()>,
    gate: Mutex<mpsc::Receiver<()>>,
}

impl Wake for Slow {
    fn wake(self: Arc<Self>) {
        let _ = self.called.send(());
        let _ = self.gate.lock().unwrap().recv();
    }
}

/// The waker, what tells that it is called, and what lets it return when it is dropped.
fn slow() -> (Waker, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (called, calls) = mpsc::channel();
    let (open, gate) = mpsc::channel();
    (Waker::from(Arc::new(Slow { called, gate: Mutex::new(gate) })), calls, open)
}

fn is_pending<F: Future + Unpin>(future: &mut F, waker: &Waker) -> bool {
    Pin::new(future).poll(&mut Context::from_waker(waker)).is_pending()
}

/// A job that runs until the sender is dropped.
fn held(executor: &Executor) -> (Job<()>, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let job = executor.submit(move || {
        let _ = gate.recv();
    });
    while job.state() == JobState::Queued {
        std::thread::yield_now();
    }
    (job, open)
}

fn executor(workers: usize, queue: usize) -> Executor {
    Executor::builder().max_workers(workers).queue_limit(queue).build().unwrap()
}

#[test]
fn a_job_behind_a_slow_waker_is_queued_and_can_be_cancelled() {
    // The worker had claimed it before it woke: it counted as running, and was not.
    let executor = executor(1, 10);
    let (mut first, end_first) = held(&executor);
    let (waker, called, open) = slow();
    assert!(is_pending(&mut first, &waker));
    let next = executor.submit(|| ());
    drop(end_first);
    called.recv().unwrap();
    let metrics = executor.metrics();
    assert_eq!((next.state(), metrics.queued, metrics.running), (JobState::Queued, 1, 0));
    assert!(executor.running().is_empty());
    assert_eq!(next.cancel(), CancelOutcome::Removed);
    assert_eq!(executor.metrics().queued, 0);
    drop(open);
    block_on(first).unwrap();
    assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
}

/// Two workers are busy and jobs wait. One worker ends its job and calls the slow waker; the other must run all that waits.
fn others_run(listen: impl FnOnce(Job<()>, &Waker) -> Box<dyn std::any::Any>) {
    let executor = executor(2, 10);
    let ((first, end_first), (second, end_second)) = (held(&executor), held(&executor));
    let (waker, called, open) = slow();
    let listening = listen(first, &waker);
    let jobs: Vec<_> = (0..5).map(|n| executor.submit(move || n)).collect();
    drop(end_first);
    called.recv().unwrap();
    drop(end_second);
    assert_eq!(block_on(gather(jobs)).unwrap(), [0, 1, 2, 3, 4]);
    // One that comes in while the waker is busy, too.
    assert_eq!(block_on(executor.submit(|| 5)).unwrap(), 5);
    block_on(second).unwrap();
    drop((open, listening));
}

#[test]
fn a_slow_waker_of_a_job_holds_up_no_other() {
    others_run(|mut job, waker| {
        assert!(is_pending(&mut job, waker));
        Box::new(job)
    });
}

#[test]
fn a_slow_waker_of_a_group_holds_up_no_other() {
    others_run(|job, waker| {
        let mut all = gather([job]);
        assert!(is_pending(&mut all, waker));
        Box::new(all)
    });
    others_run(|job, waker| {
        let mut each = as_completed([job]);
        let next = Box::pin(async move { each.next().await });
        let mut next: Pin<Box<dyn Future<Output = _>>> = next;
        assert!(next.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        Box::new(next)
    });
}

#[test]
fn a_slow_waker_of_a_place_in_the_queue_holds_up_no_job_and_lets_no_more_in() {
    let executor = executor(2, 1);
    let ((first, end_first), (second, end_second)) = (held(&executor), held(&executor));
    let queued = executor.submit(|| 7);
    let (waker, called, open) = slow();
    let mut places: Vec<_> = (0..3).map(|_| Box::pin(executor.reserve())).collect();
    for place in &mut places {
        assert!(is_pending(place, &waker));
    }
    // The worker takes the queued job, and so has a place to give: it wakes before it runs the job.
    drop(end_first);
    called.recv().unwrap();
    drop(end_second);
    assert_eq!(block_on(queued).unwrap(), 7);
    // Two jobs have left the queue, but one of them twice: of one place, one permit.
    let granted: Vec<_> = places
        .iter_mut()
        .filter_map(|place| match place.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit.unwrap()),
            Poll::Pending => None,
        })
        .collect();
    assert_eq!(granted.len(), 1);
    drop((open, places));
    for permit in granted {
        block_on(permit.submit(|| ())).unwrap();
    }
    block_on(gather([first, second])).unwrap();
    assert_eq!(executor.metrics().queued, 0);
}

#[test]
fn a_place_that_was_given_and_dropped_while_its_job_was_claimed_again_goes_to_the_next() {
    let executor = executor(1, 1);
    let (first, end_first) = held(&executor);
    let second = executor.submit(|| 2);
    // The second job is claimed, its place given to this one, and the job given back while the worker is in the slow waker.
    let (waker, called, open) = slow();
    let mut place = Box::pin(executor.reserve());
    assert!(is_pending(&mut place, &waker));
    drop(end_first);
    called.recv().unwrap();
    let given = Pin::new(&mut place).poll(&mut Context::from_waker(Waker::noop()));
    assert!(given.is_ready());
    drop(given);
    let mut next = Box::pin(executor.reserve());
    assert!(is_pending(&mut next, Waker::noop()));
    drop(open);
    // Nothing but the start of the second job makes room.
    assert_eq!(block_on(second).unwrap(), 2);
    assert_eq!(block_on(block_on(next).unwrap().submit(|| 3)).unwrap(), 3);
    block_on(first).unwrap();
}
