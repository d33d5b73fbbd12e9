//! Circles of waits that once were not found, because something that was over still seemed to be able to wake the sleeper; and waits that
//! were refused although they could end.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use overlapped::{
    Executor, Job, JobError, JobSet, JobState, Unblock, Until, as_completed, block_on, gather, wait,
};

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

fn is_dead<T>(result: &Result<T, JobError>) -> bool {
    matches!(result, Err(JobError::WouldDeadlock))
}

/// A job that has its own handle; its result.
fn with_own_handle<T, F>(executor: &Executor, job: F) -> T
where
    T: Send + 'static,
    F: FnOnce(&Executor, Job<()>) -> T + Send + 'static,
{
    let (own, owns) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let inner = executor.clone();
    own.send(executor.submit(move || {
        let own = owns.recv().unwrap();
        tell.send(job(&inner, own)).unwrap();
    }))
    .unwrap();
    told.recv_timeout(Duration::from_secs(60)).expect("a circle is found")
}

/// In one `block_on` of a job: `before`, and then the job itself. What `before` gives lives until the circle was found.
fn is_found_after<K, F>(before: impl FnOnce(Executor) -> F + Send + 'static)
where
    F: Future<Output = K>,
{
    let found = with_own_handle(&executor(4), |executor, own| {
        let before = before(executor.clone());
        block_on(async {
            let kept = before.await;
            let result = own.await;
            drop(kept);
            is_dead(&result)
        })
    });
    assert!(found);
}

/// A job that runs until the sender is dropped.
fn running(executor: &Executor) -> (Job<()>, mpsc::Sender<()>) {
    let (gate, opens) = mpsc::channel::<()>();
    let (begin, begins) = mpsc::channel();
    let job = executor.submit(move || {
        begin.send(()).unwrap();
        let _ = opens.recv();
    });
    begins.recv().unwrap();
    (job, gate)
}

/// Polls it once; it is not ready.
async fn poll_once<F: Future + Unpin>(future: &mut F) {
    poll_fn(|cx| {
        assert!(Pin::new(&mut *future).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[test]
fn a_circle_after_a_set_that_was_emptied_is_found() {
    is_found_after(|executor| async move {
        let mut set = JobSet::new();
        for n in 0..3 {
            set.insert(executor.submit(move || n));
        }
        while set.next().await.is_some() {}
        set
    });
}

#[test]
fn a_circle_beside_a_set_with_a_job_that_runs_is_found() {
    is_found_after(|executor| async move {
        let (job, gate) = running(&executor);
        let mut set = JobSet::new();
        set.insert(job);
        poll_once(&mut pin!(set.next())).await;
        set.insert(executor.submit(|| ()));
        set.next().await.unwrap().unwrap();
        (set, gate)
    });
}

#[test]
fn a_circle_after_the_last_result_of_as_completed_is_found() {
    is_found_after(|executor| async move {
        let mut all = as_completed([executor.submit(|| 1)]);
        all.next().await.unwrap().1.unwrap();
        all
    });
}

#[test]
fn a_circle_after_a_failed_gather_is_found() {
    is_found_after(|executor| async move {
        let (job, gate) = running(&executor);
        let failing = executor.submit(|| panic!("it fails"));
        gather([job, failing]).await.unwrap_err();
        gate
    });
}

#[test]
fn a_circle_beside_what_a_wait_has_given_back_is_found() {
    is_found_after(|executor| async move {
        let (job, gate) = running(&executor);
        let waited = wait([job, executor.submit(|| ())], Until::First).within(LONG).await;
        (waited, gate)
    });
}

#[test]
fn a_circle_after_a_job_that_was_polled_and_let_go_is_found() {
    is_found_after(|executor| async move {
        let (mut dropped, gate) = running(&executor);
        poll_once(&mut dropped).await;
        drop(dropped);
        let (mut detached, second) = running(&executor);
        poll_once(&mut detached).await;
        detached.detach();
        (gate, second)
    });
}

#[test]
fn a_circle_after_a_read_is_found() {
    is_found_after(|executor| async move {
        let mut reader = Unblock::on(&executor, &[1u8; 100][..]);
        reader.read(&mut [0; 10]).await.unwrap();
        reader
    });
}

/// Longer than any of these tests.
const LONG: Duration = Duration::from_secs(600);

/// Job `a` waits for the first, which waits for `a`, and after the error for a job that no thread is left for.
fn after_a_refusal(wait: fn(Job<()>, &Executor) -> [bool; 2]) {
    let executor = Executor::builder().max_workers(2).stand_in_workers(0).build().unwrap();
    let dead = with_own_handle(&executor, move |executor, own| {
        let a = executor.submit(move || drop(own.wait()));
        while executor.metrics().blocked == 0 {
            std::thread::yield_now();
        }
        wait(a, executor)
    });
    assert_eq!(dead, [true, true]);
}

#[test]
fn a_wait_without_a_thread_after_a_refused_job_that_runs_is_an_error() {
    after_a_refusal(|a, executor| {
        block_on(async { [is_dead(&a.await), is_dead(&executor.submit(|| ()).await)] })
    });
}

#[test]
fn a_wait_without_a_thread_after_a_refused_job_of_a_set_is_an_error() {
    after_a_refusal(|a, executor| {
        let mut set = JobSet::new();
        set.insert(a);
        block_on(async {
            let first = set.next().await.unwrap();
            set.insert(executor.submit(|| ()));
            [is_dead(&first), is_dead(&set.next().await.unwrap())]
        })
    });
}

/// A stream of one message, which any thread may send.
struct Message(Arc<Mutex<(bool, Option<Waker>)>>);

impl Message {
    fn new() -> Self {
        Message(Arc::new(Mutex::new((false, None))))
    }

    fn send(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            state.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The job sleeps, or has ended.
fn sleeps_or_ends<R: Send + 'static>(executor: &Executor, job: &Job<R>) {
    while executor.metrics().blocked == 0 && job.state() != JobState::Finished {
        std::thread::yield_now();
    }
}

#[test]
fn a_set_that_grows_during_a_poll_does_not_hide_a_channel_beside_it() {
    let executor = Executor::builder().max_workers(1).stand_in_workers(0).build().unwrap();
    let (inner, other) = (executor.clone(), self::executor(1));
    let message = Arc::new(Message::new());
    let theirs = Arc::clone(&message);
    let job = executor.submit(move || {
        let mut set = JobSet::new();
        set.insert(other.submit(|| ()));
        set.insert(inner.submit(|| ()));
        block_on(async {
            set.next().await.unwrap().unwrap();
            // In one poll: the set is polled, gets a job in the place that is free now, and is polled again beside the message.
            let mut grown = false;
            poll_fn(|cx| {
                for _ in 0..2 {
                    if let Poll::Ready(result) = Pin::new(&mut set).poll_next(cx) {
                        return Poll::Ready(Err(result));
                    }
                    if !std::mem::replace(&mut grown, true) {
                        set.insert(inner.submit(|| ()));
                    }
                }
                theirs.poll(cx).map(Ok)
            })
            .await
            .is_ok()
        })
    });
    sleeps_or_ends(&executor, &job);
    message.send();
    assert!(job.wait().unwrap(), "the message comes, and no wait is refused");
}

#[test]
fn a_job_that_was_polled_and_dropped_does_not_hide_a_channel() {
    let executor = self::executor(4);
    let message = Arc::new(Message::new());
    let theirs = Arc::clone(&message);
    let (own, owns) = mpsc::channel::<Job<()>>();
    let (tell, told) = mpsc::channel();
    let inner = executor.clone();
    let job = executor.submit(move || {
        let (begin, begins) = mpsc::channel();
        let waits = inner.submit(move || {
            let own = owns.recv().unwrap();
            begin.send(()).unwrap();
            tell.send(own.wait()).unwrap();
        });
        begins.recv().unwrap();
        let mut waits = Some(waits);
        block_on(poll_fn(|cx| {
            if let Some(mut waits) = waits.take() {
                assert!(Pin::new(&mut waits).poll(cx).is_pending());
            }
            theirs.poll(cx)
        }));
    });
    own.send(job).unwrap();
    let result = loop {
        match told.try_recv() {
            Ok(result) => break result,
            Err(_) if executor.metrics().blocked < 2 => std::thread::yield_now(),
            Err(_) => {
                message.send();
                break told.recv_timeout(Duration::from_secs(60)).unwrap();
            }
        }
    };
    result.unwrap();
}

/// A job of a view has lent its place to a borrower; its wait ends early, and it sleeps on until the borrower ends.
#[test]
fn a_circle_over_two_executors_through_a_place_that_is_taken_back_is_an_error() {
    let (first, second) = (executor(4), executor(2));
    let view = first.limited("one", 1);
    let (own, owns) = mpsc::channel::<Job<()>>();
    let (tell, told) = mpsc::channel();
    let (gate, opens) = mpsc::channel::<()>();
    let (pool, other, inner) = (first.clone(), second.clone(), view.clone());
    let job = view.submit(move || {
        let own = owns.recv().unwrap();
        let theirs = tell.clone();
        let waits = other.submit(move || theirs.send(is_dead(&own.wait())).unwrap());
        let borrower = inner.submit(move || tell.send(is_dead(&waits.wait())).unwrap());
        let quick = pool.submit(move || {
            let _ = opens.recv();
        });
        assert_eq!(block_on(wait([borrower, quick], Until::First)).done.len(), 1);
    });
    own.send(job).unwrap();
    // The job, its borrower, and what this waits for.
    while (first.metrics().blocked, second.metrics().blocked) != (2, 1) {
        std::thread::yield_now();
    }
    drop(gate);
    let dead = [(); 2].map(|()| told.recv_timeout(Duration::from_secs(60)).expect("the circle is found"));
    assert!(dead[0] != dead[1], "{dead:?}");
}

// Polls that are moved.

/// The job that was polled here waits, on another thread, for something that never wakes this one.
#[test]
fn a_circle_is_found_after_a_polled_job_was_moved_to_another_thread() {
    is_found_after(|executor| async move {
        let (mut job, gate) = running(&executor);
        poll_once(&mut job).await;
        (std::thread::spawn(move || drop(job.wait())), gate)
    });
}

// Of several jobs, one is in a circle.

/// In a job: waits for the job itself and for one that runs until this wait sleeps.
fn own_and_slow<T: Send + 'static>(wait: fn(Vec<Job<()>>) -> T) -> T {
    let executor = executor(4);
    let (tell, told) = mpsc::channel();
    let (own, owns) = mpsc::channel();
    let inner = executor.clone();
    let job = executor.submit(move || {
        let own = owns.recv().unwrap();
        let (slow, gate) = running(&inner);
        tell.send(Err(gate)).unwrap();
        tell.send(Ok(wait(vec![own, slow]))).unwrap();
    });
    own.send(job).unwrap();
    let next = || told.recv_timeout(Duration::from_secs(60)).expect("the wait ends");
    let gate = next().err().unwrap();
    while executor.metrics().blocked == 0 {
        if let Ok(result) = told.try_recv() {
            return result.ok().unwrap();
        }
        std::thread::yield_now();
    }
    drop(gate);
    next().ok().unwrap()
}

fn dead_of(results: impl IntoIterator<Item = Result<(), JobError>>) -> Vec<bool> {
    results.into_iter().map(|result| is_dead(&result)).collect()
}

#[test]
fn of_all_results_only_those_that_cannot_come_are_errors() {
    assert_eq!(own_and_slow(|jobs| dead_of(block_on(gather(jobs).return_errors()))), [true, false]);
    let dead = own_and_slow(|jobs| {
        let waited = block_on(wait(jobs, Until::All));
        assert!(waited.pending.is_empty());
        waited.done.iter().map(|(number, result)| (*number, is_dead(result))).collect::<Vec<_>>()
    });
    assert_eq!(dead, [(0, true), (1, false)]);
}

#[test]
fn a_job_that_cannot_end_is_the_first_error_and_no_other_is_refused() {
    let (done, pending) = own_and_slow(|jobs| {
        let waited = block_on(wait(jobs, Until::FirstError));
        let done: Vec<_> = waited.done.iter().map(|(number, result)| (*number, is_dead(result))).collect();
        (done, waited.pending.iter().map(|(number, _)| *number).collect::<Vec<_>>())
    });
    assert_eq!((done, pending), (vec![(0, true)], vec![1]));
    assert!(own_and_slow(|jobs| is_dead(&block_on(gather(jobs)))));
}
