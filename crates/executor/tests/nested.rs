//! Jobs that wait for jobs of their own pool.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::Future;
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use overlapped::{Executor, Job, JobError, JobState, block_on, gather};

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

fn depth(executor: &Executor, levels: u32) -> u32 {
    if levels == 0 {
        return 0;
    }
    let inner = executor.clone();
    executor.submit(move || depth(&inner, levels - 1) + 1).wait().unwrap()
}

#[test]
fn a_chain_deeper_than_the_pool_ends() {
    assert_eq!(depth(&executor(1), 50), 50);
    assert_eq!(depth(&executor(2), 50), 50);
}

#[test]
fn every_worker_may_wait_for_many() {
    let executor = executor(2);
    let jobs: Vec<_> = (0..8)
        .map(|n| {
            let inner = executor.clone();
            executor.submit(move || {
                let jobs: Vec<_> = (0..8).map(|m| inner.submit(move || n * m)).collect();
                gather(jobs).wait().unwrap().into_iter().sum::<i32>()
            })
        })
        .collect();
    assert_eq!(block_on(gather(jobs)).unwrap().into_iter().sum::<i32>(), 28 * 28);
}

/// A pool in which no thread can take the place of one that waits.
fn without_stand_ins(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).stand_in_workers(0).build().unwrap()
}

#[test]
fn an_awaited_job_runs_on_another_thread_if_one_can_come_and_else_on_the_one_that_waits() {
    for (executor, threads) in [(executor(1), 2), (without_stand_ins(1), 1)] {
        let inner = executor.clone();
        let job = executor.submit(move || {
            let here = std::thread::current().id();
            inner.submit(move || std::thread::current().id() == here).wait().unwrap()
        });
        assert_eq!(job.wait().unwrap(), threads == 1);
        assert_eq!(executor.metrics().threads, threads);
    }
}

#[test]
fn a_chain_deeper_than_threads_and_stack_is_an_error_and_no_overflow() {
    fn chain(executor: &Executor, levels: u32) -> Result<u32, JobError> {
        let inner = executor.clone();
        let job = executor.submit(move || if levels == 0 { Ok(0) } else { chain(&inner, levels - 1) });
        job.wait().and_then(|below| below).map(|below| below + 1)
    }
    // One worker, no stand-in: 64 jobs are run inside waits.
    let executor = without_stand_ins(1);
    assert_eq!(chain(&executor, 64).unwrap(), 65);
    assert!(matches!(chain(&executor, 1000), Err(JobError::WouldDeadlock)));
    assert_eq!(executor.submit(|| 1).wait().unwrap(), 1);
}

#[test]
fn only_the_awaited_job_is_run_inline() {
    // rayon#592: a foreign job that runs inside a wait may want a lock that the waiter holds.
    for executor in [executor(1), without_stand_ins(1)] {
        only_the_awaited_job_runs_within(&executor);
    }
}

fn only_the_awaited_job_runs_within(executor: &Executor) {
    let inner = executor.clone();
    let lock = Arc::new(std::sync::Mutex::new(()));
    let job = executor.submit(move || {
        let foreign_lock = Arc::clone(&lock);
        let guard = lock.lock().unwrap();
        let foreign = inner.submit(move || drop(foreign_lock.lock().unwrap()));
        let own = inner.submit(|| 7).wait().unwrap();
        drop(guard);
        (own, foreign)
    });
    let (own, foreign) = job.wait().unwrap();
    assert_eq!(own, 7);
    foreign.wait().unwrap();
}

#[test]
fn a_stand_in_runs_what_a_waiter_keeps_from_running() {
    // The outer job waits for one that runs elsewhere and needs a third, which is queued.
    let executor = executor(2);
    let (send, receive) = mpsc::channel::<()>();
    let barrier = Arc::new(Barrier::new(2));
    let elsewhere = {
        let barrier = Arc::clone(&barrier);
        executor.submit(move || {
            barrier.wait();
            receive.recv().unwrap();
        })
    };
    let inner = executor.clone();
    let outer = executor.submit(move || {
        barrier.wait();
        inner.submit(move || send.send(()).unwrap()).detach();
        elsewhere.wait().unwrap();
    });
    outer.wait().unwrap();
}

/// Jobs each of which waits for the next, and the last for the first. What each of the waits gave.
fn circle(executor: &Executor, jobs: usize) -> Vec<Result<(), JobError>> {
    let (tell, told) = mpsc::channel();
    let (gives, jobs): (Vec<_>, Vec<_>) = (0..jobs)
        .map(|_| {
            let (give, take) = mpsc::channel::<Job<()>>();
            let tell = tell.clone();
            (give, executor.submit(move || tell.send(take.recv().unwrap().wait()).unwrap()))
        })
        .unzip();
    let mut jobs: Vec<Job<()>> = jobs;
    jobs.rotate_left(1);
    for (give, job) in gives.iter().zip(jobs) {
        give.send(job).unwrap();
    }
    drop(tell);
    told.iter().collect()
}

#[test]
fn in_a_circle_of_waits_exactly_one_is_an_error() {
    for executor in [executor(4), Executor::builder().max_workers(4).stand_in_workers(0).build().unwrap()] {
        for jobs in 2..=4 {
            let waits = circle(&executor, jobs);
            let dead = waits.iter().filter(|wait| matches!(wait, Err(JobError::WouldDeadlock))).count();
            assert_eq!((waits.len(), dead), (jobs, 1), "{waits:?}");
        }
    }
}

#[test]
fn a_circle_is_found_although_a_long_job_runs_beside_it() {
    let executor = executor(4);
    let (_go, gate) = mpsc::channel::<()>();
    let long = executor.submit(move || gate.recv().is_ok());
    while long.state() != JobState::Running {
        std::thread::yield_now();
    }
    assert_eq!(circle(&executor, 2).iter().filter(|wait| wait.is_err()).count(), 1);
    assert_eq!(long.state(), JobState::Running);
}

#[test]
fn a_block_on_of_a_job_that_waits_for_the_blocked_one_is_an_error() {
    let executor = executor(2);
    let (give, take) = mpsc::channel::<Job<bool>>();
    let (tell, told) = mpsc::channel();
    let job = executor.submit(move || {
        let own = take.recv().unwrap();
        tell.send(matches!(block_on(own), Err(JobError::WouldDeadlock))).unwrap();
        true
    });
    give.send(job).unwrap();
    assert!(told.recv().unwrap());
    // A gather of which one is the job itself.
    let (give, take) = mpsc::channel::<Job<bool>>();
    let (tell, told) = mpsc::channel();
    let inner = executor.clone();
    let job = executor.submit(move || {
        let jobs = [inner.submit(|| true), take.recv().unwrap()];
        tell.send(matches!(block_on(gather(jobs)), Err(JobError::WouldDeadlock))).unwrap();
        true
    });
    give.send(job).unwrap();
    assert!(told.recv().unwrap());
}

#[test]
fn a_job_that_waits_for_itself_is_an_error() {
    let executor = executor(1);
    let (give, take) = mpsc::channel::<Job<bool>>();
    let (tell, told) = mpsc::channel();
    let job = executor.submit(move || {
        let own = take.recv().unwrap();
        tell.send(matches!(own.wait(), Err(JobError::WouldDeadlock))).unwrap();
        true
    });
    give.send(job).unwrap();
    assert!(told.recv().unwrap());
}

#[test]
fn a_job_of_a_view_may_wait_for_another_of_the_view() {
    let executor = executor(4);
    let view = executor.limited("one at a time", 1);
    let inner = view.clone();
    let job = view.submit(move || inner.submit(|| 5).wait().unwrap() + 1);
    assert_eq!(job.wait().unwrap(), 6);
    assert_eq!((view.metrics().completed, view.metrics().running), (2, 0));
    assert_eq!(view.submit(|| 1).wait().unwrap(), 1);
}

#[test]
fn a_wait_with_a_timeout_on_a_worker_ends_in_time() {
    let executor = executor(1);
    let inner = executor.clone();
    let (_go, gate) = mpsc::channel::<()>();
    let job = executor.submit(move || {
        let mut queued = inner.submit(move || gate.recv().is_ok());
        queued.wait_timeout(Duration::from_millis(20)).is_none()
    });
    assert!(job.wait().unwrap());
}

#[test]
fn a_thousand_jobs_may_each_wait_for_a_job_of_a_small_view() {
    // 64 workers, limit 4: 869 of these waits were called deadlocks, since a waiter looked at its job once and was not told that the
    // view had let it through.
    for blocking in [false, true] {
        let executor = executor(64);
        let view = executor.limited("four", 4);
        let jobs: Vec<_> = (0..1000)
            .map(|n| {
                let view = view.clone();
                executor.submit(move || {
                    let job = view.submit(move || n);
                    if blocking { block_on(job).unwrap() } else { job.wait().unwrap() }
                })
            })
            .collect();
        let results = gather(jobs).return_errors();
        let results = block_on(results).into_iter().map(|result| result.map_err(|error| error.to_string()));
        if blocking {
            // Without a thread, what sleeps in a future is told: no hang.
            assert_eq!(results.len(), 1000);
        } else {
            assert!(results.eq((0..1000).map(Ok)));
        }
    }
}

#[test]
fn a_waiter_without_stand_ins_is_told_that_views_let_its_job_through() {
    let executor = without_stand_ins(2);
    let outer = executor.limited("outer", 1);
    let view = outer.limited("inner", 1);
    let jobs: Vec<_> = (0..50)
        .map(|n| {
            let (view, outer) = (view.clone(), outer.clone());
            executor.submit(move || {
                let jobs = [outer.submit(move || n), view.submit(move || n)];
                gather(jobs).wait().unwrap().into_iter().sum::<i32>()
            })
        })
        .collect();
    assert!(block_on(gather(jobs)).unwrap().into_iter().eq((0..50).map(|n| 2 * n)));
}

#[test]
fn rayon_592_no_job_is_run_inside_a_future() {
    // A job that was polled once and let go ran under the lock that the future held.
    let executor = executor(1);
    let inner = executor.clone();
    let lock = Arc::new(std::sync::Mutex::new(()));
    let job = executor.submit(move || {
        let here = std::thread::current().id();
        let theirs = Arc::clone(&lock);
        let mut foreign = inner.submit(move || {
            assert_ne!(std::thread::current().id(), here);
            drop(theirs.lock().unwrap());
        });
        let guard = lock.lock().unwrap();
        block_on(std::future::poll_fn(|cx| {
            assert!(std::pin::Pin::new(&mut foreign).poll(cx).is_pending());
            std::task::Poll::Ready(())
        }));
        // The thread that takes this one's place begins with what is awaited here, not with the job that wants the lock.
        let elsewhere = block_on(inner.submit(move || std::thread::current().id() != here));
        drop(guard);
        foreign.wait().unwrap();
        elsewhere
    });
    assert!(job.wait().unwrap().unwrap());
}

#[test]
fn a_select_on_a_worker_does_not_wait_for_its_slow_branch() {
    // The slow job was run inside the future.
    let executor = executor(2);
    let (open, gate) = mpsc::channel::<()>();
    let inner = executor.clone();
    let mut job = executor.submit(move || {
        let mut slow = inner.submit(move || gate.recv().is_ok());
        let mut fast = inner.submit(|| 1);
        let first = block_on(std::future::poll_fn(|cx| {
            if std::pin::Pin::new(&mut slow).poll(cx).is_ready() {
                return std::task::Poll::Ready(None);
            }
            std::pin::Pin::new(&mut fast).poll(cx).map(Some)
        }));
        drop(open);
        assert!(!slow.wait().unwrap());
        first
    });
    let first = job.wait_timeout(Duration::from_secs(60)).expect("it waits for the slow job").unwrap();
    assert_eq!(first.unwrap().unwrap(), 1);
}

#[test]
fn jobs_that_were_polled_and_dropped_are_not_kept() {
    // The list of what a `block_on` had polled grew with each poll.
    let executor = executor(2);
    let inner = executor.clone();
    let kept = executor.submit(move || {
        let result = Arc::new(());
        block_on(std::future::poll_fn(|own| {
            for own_waker in [true, false] {
                for _ in 0..500 {
                    let theirs = Arc::clone(&result);
                    let mut job = inner.submit(move || theirs);
                    let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
                    let _ = std::pin::Pin::new(&mut job).poll(if own_waker { own } else { cx });
                    while job.state() != JobState::Finished {
                        std::thread::yield_now();
                    }
                }
            }
            std::task::Poll::Ready(Arc::strong_count(&result))
        }))
    });
    // Those noted with the waker of the `block_on` are kept until its next poll.
    assert!(kept.wait().unwrap() <= 1 + 64 + 2);
}

#[test]
fn a_consumer_and_its_producer_may_be_joined_on_a_worker() {
    // `block_on` ran the consumer inside the future that was to feed it, with seven workers idle.
    let executor = executor(8);
    let inner = executor.clone();
    let job = executor.submit(move || {
        let (send, receive) = mpsc::channel();
        let mut consumer = inner.submit(move || receive.iter().sum::<u32>());
        let mut rounds = 0;
        let mut send = Some(send);
        block_on(std::future::poll_fn(|cx| {
            let sum = std::pin::Pin::new(&mut consumer).poll(cx);
            rounds += 1;
            match &send {
                Some(sender) if rounds <= 10 => {
                    sender.send(rounds).unwrap();
                    cx.waker().wake_by_ref();
                }
                Some(_) | None => send = None,
            }
            sum
        }))
    });
    assert_eq!(job.wait().unwrap().unwrap(), 55);
}

#[test]
fn a_job_with_a_deadline_is_not_run_where_it_is_waited_for() {
    // Without another thread it was run here, and took two seconds; or the wait was called a deadlock.
    let executor = without_stand_ins(1);
    let inner = executor.clone();
    let job = executor.submit(move || {
        let job = inner.submit(|| panic!("it never starts")).timeout(Duration::from_millis(20));
        matches!(job.wait(), Err(JobError::TimedOut { started: false }))
    });
    assert!(job.wait().unwrap());
}

fn tree(executor: &Executor, levels: u32) -> u32 {
    if levels == 0 {
        return 1;
    }
    let (mut left, mut right) = (0, 0);
    executor.scope(|scope| {
        scope.submit(|| left = tree(executor, levels - 1));
        scope.submit(|| right = tree(executor, levels - 1));
    });
    left + right
}

#[test]
fn scopes_in_scopes_end_however_few_workers_there_are() {
    // Hung with 1 worker at depth 2, with 8 at depth 6.
    for (workers, levels) in [(1, 2), (1, 7), (8, 6), (8, 8)] {
        assert_eq!(tree(&executor(workers), levels), 1 << levels);
        assert_eq!(tree(&without_stand_ins(workers), levels), 1 << levels);
    }
}

#[test]
fn a_view_of_limit_1_lends_its_place_to_what_its_job_waits_for_and_to_nothing_else() {
    let executor = executor(4);
    let view = executor.limited("one", 1);
    let busy = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let jobs: Vec<_> = (0..20)
        .map(|n| {
            let (view_inside, executor, busy) = (view.clone(), executor.clone(), Arc::clone(&busy));
            view.submit(move || {
                // Nothing of the view runs between the two halves but what this job waits for.
                assert!(!busy.swap(true, std::sync::atomic::Ordering::SeqCst));
                let direct = gather((0..3).map(|m| view_inside.submit(move || m))).wait().unwrap();
                let through_another = executor.submit(move || view_inside.submit(move || n).wait());
                let through_another = through_another.wait().unwrap().unwrap();
                assert!(busy.swap(false, std::sync::atomic::Ordering::SeqCst));
                direct.len() + through_another
            })
        })
        .collect();
    assert!(block_on(gather(jobs)).unwrap().into_iter().eq((0..20).map(|n| n + 3)));
    assert_eq!((view.metrics().running, view.metrics().queued), (0, 0));
}

#[test]
fn two_views_that_wait_for_each_others_places_are_a_deadlock_of_one() {
    let executor = executor(4);
    let views = [executor.limited("one", 1), executor.limited("another", 1)];
    let barrier = Arc::new(Barrier::new(2));
    let jobs: Vec<_> = [0, 1]
        .map(|n| {
            let (other, barrier) = (views[1 - n].clone(), Arc::clone(&barrier));
            views[n].submit(move || {
                barrier.wait();
                other.submit(|| 1).wait()
            })
        })
        .into_iter()
        .collect();
    let results = block_on(gather(jobs)).unwrap();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
}
