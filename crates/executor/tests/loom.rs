//! The protocol, in every order that up to three threads can take (loom). Run with `RUSTFLAGS="--cfg loom"`.
//!
//! Each model is one sentence of the design. A lost wake-up shows as a deadlock, a double run as a failed count.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![cfg(loom)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use overlapped::{CancelOutcome, Executor, Job, JobError, JobSet, Shutdown, as_completed, block_on, gather};

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(f);
}

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

/// Ends the pool, so that no thread is left when the model ends.
fn end(executor: &Executor) {
    let report = executor.shutdown_blocking(Shutdown::Drain, None);
    assert!(report.is_complete());
}

#[test]
fn a_job_that_meets_a_worker_going_idle_is_run() {
    model(|| {
        let executor = executor(1);
        assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
        // The worker is on its way to sleep.
        assert_eq!(block_on(executor.submit(|| 2)).unwrap(), 2);
        end(&executor);
    });
}

#[test]
fn jobs_of_two_submitters_at_the_thread_cap_all_run() {
    model(|| {
        let executor = executor(1);
        let other = executor.clone();
        let submitter = thread::spawn(move || block_on(other.submit(|| 1)).unwrap());
        assert_eq!(block_on(executor.submit(|| 2)).unwrap(), 2);
        assert_eq!(submitter.join().unwrap(), 1);
        end(&executor);
    });
}

#[test]
fn a_worker_passes_the_baton_on() {
    model(|| {
        let executor = executor(2);
        let (first, second) = (executor.submit(|| 1), executor.submit(|| 2));
        assert_eq!(block_on(second).unwrap(), 2);
        assert_eq!(block_on(first).unwrap(), 1);
        end(&executor);
    });
}

#[test]
fn a_cancelled_job_either_runs_or_is_removed() {
    model(|| {
        let executor = executor(1);
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let job = executor.submit(move || counted.fetch_add(1, Ordering::Relaxed));
        let outcome = job.cancel();
        let result = block_on(job);
        end(&executor);
        let ran = runs.load(Ordering::Relaxed);
        match outcome {
            CancelOutcome::Removed => assert!(matches!((result, ran), (Err(JobError::Cancelled), 0))),
            CancelOutcome::TooLate => assert!(matches!((result, ran), (Ok(0), 1))),
            CancelOutcome::Requested => panic!("it has no token"),
        }
    });
}

#[test]
fn dropping_a_handle_while_the_job_ends_drops_the_result_once() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    model(|| {
        let executor = executor(1);
        let drops = Arc::new(AtomicUsize::new(0));
        let counted = Counted(Arc::clone(&drops));
        drop(executor.submit(move || counted));
        end(&executor);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_shutdown_and_a_submission_agree() {
    model(|| {
        let executor = executor(1);
        let other = executor.clone();
        let submitter = thread::spawn(move || block_on(other.submit(|| 1)));
        end(&executor);
        match submitter.join().unwrap() {
            Ok(1) | Err(JobError::Rejected(_)) => {}
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_shutdown_that_cancels_and_a_handle_that_cancels_agree() {
    model(|| {
        let executor = executor(1);
        let job = executor.submit(|| 1);
        let closer = executor.clone();
        let shutdown =
            thread::spawn(move || closer.shutdown_blocking(Shutdown::CancelQueued, None).cancelled);
        let outcome = job.cancel();
        let result = block_on(job);
        let cancelled = shutdown.join().unwrap();
        match result {
            Ok(1) => assert_eq!((cancelled, outcome), (0, CancelOutcome::TooLate)),
            Err(JobError::Cancelled) => assert_eq!(cancelled, usize::from(outcome != CancelOutcome::Removed)),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn the_last_handle_ends_the_pool_after_its_jobs() {
    model(|| {
        let executor = executor(1);
        let job = executor.submit(|| 1);
        drop(executor);
        assert_eq!(block_on(job).unwrap(), 1);
    });
}

struct Flag(loom::sync::Mutex<usize>, loom::sync::Condvar);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_one();
    }
}

/// Polls until woken, as a runtime would, and counts the wake-ups.
fn run(mut job: impl Future + Unpin) -> usize {
    let flag = Arc::new(Flag(loom::sync::Mutex::new(0), loom::sync::Condvar::new()));
    let waker = Waker::from(Arc::clone(&flag));
    let mut seen = 0;
    while Pin::new(&mut job).poll(&mut Context::from_waker(&waker)).is_pending() {
        let mut wakes = flag.0.lock().unwrap();
        while *wakes == seen {
            wakes = flag.1.wait(wakes).unwrap();
        }
        seen = *wakes;
    }
    seen
}

#[test]
fn a_waker_that_is_registered_while_the_job_ends_is_woken() {
    model(|| {
        let executor = executor(1);
        assert!(run(executor.submit(|| 1)) <= 1);
        end(&executor);
    });
}

#[test]
fn a_waker_that_is_replaced_while_the_job_ends_does_not_matter() {
    model(|| {
        let executor = executor(1);
        let mut job = executor.submit(|| 1);
        let _ = Pin::new(&mut job).poll(&mut Context::from_waker(Waker::noop()));
        run(SkipReady(job));
        end(&executor);
    });
}

/// A job that may have been ready at the first poll already.
struct SkipReady(Job<i32>);

impl Future for SkipReady {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> std::task::Poll<()> {
        if self.0.state() == overlapped::JobState::Finished {
            return std::task::Poll::Ready(());
        }
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

#[test]
fn a_gather_is_woken_once_by_the_last() {
    model(|| {
        let executor = executor(1);
        let jobs = [executor.submit(|| 1), executor.submit(|| 2)];
        assert!(run(gather(jobs)) <= 1);
        end(&executor);
    });
}

#[test]
fn a_job_that_waits_for_a_queued_job_runs_it_or_finds_it_run() {
    model(|| {
        let executor = executor(1);
        let inner = executor.clone();
        let job = executor.submit(move || inner.submit(|| 1).wait().unwrap() + 1);
        assert_eq!(block_on(job).unwrap(), 2);
        end(&executor);
    });
}

fn without_stand_ins(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).stand_in_workers(0).build().unwrap()
}

#[test]
fn a_sleeper_that_no_thread_can_replace_runs_what_it_waits_for() {
    model(|| {
        let executor = without_stand_ins(1);
        let inner = executor.clone();
        let job = executor.submit(move || inner.submit(|| 1).wait().unwrap() + 1);
        assert_eq!(block_on(job).unwrap(), 2);
        end(&executor);
    });
}

#[test]
fn a_sleeper_is_told_when_a_view_lets_its_job_through() {
    model(|| {
        let executor = without_stand_ins(1);
        let view = executor.limited("one", 1);
        // It has the place until it is cancelled, while the other falls asleep.
        let first = view.submit(|| 0);
        let inner = view.clone();
        let job = executor.submit(move || inner.submit(|| 1).wait().unwrap() + 1);
        drop(first);
        assert_eq!(block_on(job).unwrap(), 2);
        drop(view);
        end(&executor);
    });
}

#[test]
fn a_place_in_a_view_is_lent_to_what_its_holder_sleeps_on() {
    model(|| {
        let executor = without_stand_ins(1);
        let view = executor.limited("one", 1);
        let inner = view.clone();
        let job = view.submit(move || inner.submit(|| 1).wait().unwrap() + 1);
        assert_eq!(block_on(job).unwrap(), 2);
        drop(view);
        end(&executor);
    });
}

#[test]
fn a_place_in_a_view_is_lent_to_the_first_of_several_results() {
    model(|| {
        let executor = executor(1);
        let view = executor.limited("one", 1);
        let inner = view.clone();
        let job = view.submit(move || {
            let mut results = as_completed([inner.submit(|| 1)]);
            block_on(results.next()).unwrap().1.unwrap() + 1
        });
        assert_eq!(block_on(job).unwrap(), 2);
        drop(view);
        end(&executor);
    });
}

#[test]
fn a_job_that_is_slept_on_goes_before_one_that_has_its_place_and_no_thread() {
    model(|| {
        let executor = without_stand_ins(1);
        let view = executor.limited("one", 1);
        let inner = view.clone();
        let job = executor.submit(move || {
            let stranger = inner.submit(|| 1);
            (inner.submit(|| 2).wait(), stranger)
        });
        let (result, stranger) = block_on(job).unwrap();
        assert_eq!((result.unwrap(), block_on(stranger).unwrap()), (2, 1));
        drop(view);
        end(&executor);
    });
}

/// Counts itself while it runs: in a view of limit 1 it is alone.
struct Alone<'a>(&'a AtomicUsize);

impl<'a> Alone<'a> {
    fn new(running: &'a AtomicUsize) -> Self {
        assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
        Alone(running)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn a_sleeper_whose_wait_ends_early_goes_on_only_with_its_place() {
    model(|| {
        let executor = without_stand_ins(2);
        let view = executor.limited("one", 1);
        let running = Arc::new(AtomicUsize::new(0));
        let cancelled = executor.submit(|| ());
        let handle = cancelled.cancel_handle();
        let (inner, counted) = (view.clone(), Arc::clone(&running));
        let job = view.submit(move || {
            let alone = Alone::new(&counted);
            let theirs = Arc::clone(&counted);
            let borrower = inner.submit(move || drop(Alone::new(&theirs)));
            drop(alone);
            // It fails while the borrower is queued, runs or has ended.
            let _ = gather([borrower, cancelled]).keep_going().wait();
            drop(Alone::new(&counted));
        });
        handle.cancel();
        block_on(job).unwrap();
        drop(view);
        end(&executor);
        assert_eq!(running.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn of_two_jobs_that_wait_for_each_other_one_is_told() {
    model(|| {
        let executor = without_stand_ins(2);
        let slots = [(); 2].map(|()| Arc::new(loom::sync::Mutex::new(None::<Job<bool>>)));
        let told = Arc::new(AtomicUsize::new(0));
        let jobs = [0, 1].map(|n| {
            let (slot, told) = (Arc::clone(&slots[n]), Arc::clone(&told));
            executor.submit(move || {
                let other = slot.lock().unwrap().take();
                let dead = other.is_some_and(|job| matches!(job.wait(), Err(JobError::WouldDeadlock)));
                told.fetch_add(usize::from(dead), Ordering::Relaxed);
                dead
            })
        });
        let [first, second] = jobs;
        *slots[0].lock().unwrap() = Some(second);
        *slots[1].lock().unwrap() = Some(first);
        end(&executor);
        // A job may have looked before the other was there: then it does not wait.
        assert!(told.load(Ordering::Relaxed) <= 1);
        slots.iter().for_each(|slot| drop(slot.lock().unwrap().take()));
    });
}

#[test]
fn an_inline_claim_and_another_worker_do_not_both_run_a_job() {
    model(|| {
        let executor = executor(2);
        let runs = Arc::new(AtomicUsize::new(0));
        let (inner, counted) = (executor.clone(), Arc::clone(&runs));
        let job =
            executor.submit(move || inner.submit(move || counted.fetch_add(1, Ordering::Relaxed)).wait());
        assert_eq!(block_on(job).unwrap().unwrap(), 0);
        end(&executor);
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_freed_place_goes_to_whoever_waits_for_it() {
    model(|| {
        let executor = Executor::builder().max_workers(1).queue_limit(1).build().unwrap();
        let first = executor.submit(|| 1);
        let second = block_on(executor.reserve()).unwrap().submit(|| 2);
        assert_eq!(block_on(first).unwrap(), 1);
        assert_eq!(block_on(second).unwrap(), 2);
        end(&executor);
    });
}

#[test]
fn a_permit_given_back_while_another_waits_is_passed_on() {
    model(|| {
        let executor = Executor::builder().max_workers(1).queue_limit(1).build().unwrap();
        let permit = block_on(executor.reserve()).unwrap();
        let other = executor.clone();
        let waiter = thread::spawn(move || drop(block_on(other.reserve()).unwrap()));
        drop(permit);
        waiter.join().unwrap();
        drop(block_on(executor.reserve()).unwrap());
        end(&executor);
    });
}

#[test]
fn a_view_lets_the_next_through_when_one_ends() {
    model(|| {
        let executor = executor(2);
        let view = executor.limited("one", 1);
        let (first, second) = (view.submit(|| 1), view.submit(|| 2));
        assert_eq!(block_on(second).unwrap(), 2);
        assert_eq!(block_on(first).unwrap(), 1);
        end(&executor);
    });
}

#[test]
fn a_token_hook_runs_once_or_is_taken_back() {
    model(|| {
        let executor = executor(1);
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let job = executor.submit_cancellable(move |token| {
            let counted = Arc::clone(&counted);
            drop(token.on_cancel(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            }));
        });
        job.cancel();
        let _ = block_on(job);
        end(&executor);
        assert!(runs.load(Ordering::Relaxed) <= 1);
    });
}

#[test]
fn a_submission_and_the_end_of_an_idle_worker_agree() {
    model(|| {
        let executor =
            Executor::builder().max_workers(1).keep_alive(std::time::Duration::ZERO).build().unwrap();
        assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
        assert_eq!(block_on(executor.submit(|| 2)).unwrap(), 2);
        end(&executor);
    });
}

#[test]
fn refused_threads_leave_no_job_behind() {
    model(|| {
        let executor = Executor::builder()
            .max_workers(1)
            .spawn_thread(|_, _| Err(std::io::ErrorKind::WouldBlock.into()))
            .build()
            .unwrap();
        let other = executor.clone();
        let submitter = thread::spawn(move || block_on(other.submit(|| 1)));
        assert!(matches!(block_on(executor.submit(|| 2)), Err(JobError::Rejected(_))));
        assert!(matches!(submitter.join().unwrap(), Err(JobError::Rejected(_))));
        end(&executor);
    });
}

#[test]
fn a_set_is_told_of_each_end() {
    model(|| {
        let executor = executor(1);
        let mut set = JobSet::new();
        (0..2).for_each(|n| set.insert(executor.submit(move || n)));
        block_on(async {
            assert_eq!(set.next().await.unwrap().unwrap(), 0);
            assert_eq!(set.next().await.unwrap().unwrap(), 1);
        });
        end(&executor);
    });
}

#[test]
fn a_set_in_a_job_is_told_of_the_end() {
    model(|| {
        let executor = executor(1);
        let inner = executor.clone();
        let job = executor.submit(move || {
            let mut set = JobSet::new();
            set.insert(inner.submit(|| 1));
            block_on(set.next()).unwrap().unwrap() + 1
        });
        assert_eq!(block_on(job).unwrap(), 2);
        end(&executor);
    });
}
