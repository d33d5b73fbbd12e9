//! A shutdown that is waited for in a job of what is shut down: it completes for all others, or says what is left. It never hangs.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, RwLock, mpsc};
use std::time::Duration;

use overlapped::{Executor, JobError, Report, Shutdown, block_on, gather};

const LONG: Duration = Duration::from_secs(60);

/// Fails if that does not end.
fn ends<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || tell.send(test()));
    match told.recv_timeout(LONG) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(payload) => std::panic::resume_unwind(payload),
            Ok(_) => unreachable!("it sends before it ends"),
        },
    }
}

fn executor(workers: usize, stand_ins: usize) -> Executor {
    Executor::builder().max_workers(workers).stand_in_workers(stand_ins).build().unwrap()
}

/// How a job waits for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Blocking,
    Timed,
    Awaited,
    AwaitedTimed,
}

const ALL: [How; 4] = [How::Blocking, How::Timed, How::Awaited, How::AwaitedTimed];

fn shut(executor: &Executor, mode: Shutdown, how: How, limit: Duration) -> Report {
    match how {
        How::Blocking => executor.shutdown_blocking(mode, None),
        How::Timed => executor.shutdown_blocking(mode, Some(limit)),
        How::Awaited => block_on(executor.shutdown(mode)),
        How::AwaitedTimed => block_on(executor.shutdown(mode).within(limit)),
    }
}

/// A job of `caller` submits ten jobs to `queue`, and shuts `closed` down. Says what was reported, and how many of the ten had run by then.
fn from_a_job(
    [caller, queue, closed]: [Executor; 3],
    mode: Shutdown,
    how: How,
    limit: Duration,
) -> (Report, usize) {
    ends(move || {
        let ran = Arc::new(AtomicUsize::new(0));
        let job = caller.submit(move || {
            for _ in 0..10 {
                let ran = Arc::clone(&ran);
                queue.submit(move || ran.fetch_add(1, Ordering::SeqCst)).detach();
            }
            let report = shut(&closed, mode, how, limit);
            (report, ran.load(Ordering::SeqCst))
        });
        block_on(job).unwrap()
    })
}

#[test]
fn a_drain_in_a_job_of_a_limited_view_runs_what_is_queued_there() {
    // The job held the only place of the view, and slept without lending it.
    for how in ALL {
        for stand_ins in [1, 4] {
            let view = executor(1, stand_ins).limited("view", 1);
            let (report, ran) = from_a_job([view.clone(), view.clone(), view], Shutdown::Drain, how, LONG);
            assert_eq!((report.is_complete(), ran), (true, 10), "{how:?}: {report}");
        }
    }
}

#[test]
fn a_drain_of_the_executor_in_a_job_of_a_view_runs_what_is_queued_in_the_view() {
    // It was over before these had run.
    for how in ALL {
        let root = executor(2, 4);
        let view = root.limited("view", 1);
        let (report, ran) = from_a_job([view.clone(), view, root], Shutdown::Drain, how, LONG);
        assert_eq!((report.is_complete(), ran), (true, 10), "{how:?}: {report}");
    }
}

#[test]
fn a_drain_in_a_job_of_a_view_of_a_view_runs_what_is_queued_in_both() {
    for how in ALL {
        for closed in 0..3 {
            let root = executor(1, 4);
            let outer = root.limited("outer", 1);
            let inner = outer.limited("inner", 1);
            let closed = [root, outer, inner.clone()][closed].clone();
            let (report, ran) = from_a_job([inner.clone(), inner, closed], Shutdown::Drain, how, LONG);
            assert_eq!((report.is_complete(), ran), (true, 10), "{how:?}: {report}");
        }
        let outer = executor(1, 4).limited("outer", 1);
        let inner = outer.limited("inner", 1);
        let (report, ran) = from_a_job([inner, outer.clone(), outer], Shutdown::Drain, how, LONG);
        assert_eq!((report.is_complete(), ran), (true, 10), "{how:?}: {report}");
    }
}

#[test]
fn a_drain_of_a_view_in_a_job_of_its_executor_runs_what_is_queued_in_the_view() {
    for how in ALL {
        let root = executor(1, 1);
        let view = root.limited("outer", 1).limited("view", 1);
        let (report, ran) = from_a_job([root, view.clone(), view], Shutdown::Drain, how, LONG);
        assert_eq!((report.is_complete(), ran), (true, 10), "{how:?}: {report}");
    }
}

#[test]
fn without_any_other_thread_a_drain_that_blocks_runs_what_is_queued_itself() {
    for view in [false, true] {
        let root = executor(1, 0);
        let of = if view { root.limited("outer", 1).limited("inner", 1) } else { root };
        let (report, ran) = from_a_job([of.clone(), of.clone(), of], Shutdown::Drain, How::Blocking, LONG);
        assert_eq!((report.is_complete(), ran), (true, 10), "{report}");
    }
}

#[test]
fn without_any_other_thread_a_drain_that_is_awaited_says_what_is_left() {
    // No job may run inside a future's poll.
    for view in [false, true] {
        let root = executor(1, 0);
        let of = if view { root.limited("view", 1) } else { root };
        let (report, ran) =
            from_a_job([of.clone(), of.clone(), of.clone()], Shutdown::Drain, How::Awaited, LONG);
        assert_eq!((report.is_complete(), report.still_queued, ran), (false, 10, 0), "{report}");
        // When that job has ended, the rest runs.
        assert!(of.shutdown_blocking(Shutdown::Drain, Some(LONG)).is_complete());
        assert_eq!(of.metrics().completed, 11);
    }
}

#[test]
fn without_any_other_thread_a_drain_with_a_time_limit_ends_by_it() {
    for how in [How::Timed, How::AwaitedTimed] {
        let root = executor(1, 0);
        let three = [root.clone(), root.clone(), root];
        let (report, ran) = from_a_job(three, Shutdown::Drain, how, Duration::from_millis(20));
        assert_eq!((report.still_queued, ran), (10, 0), "{how:?}: {report}");
    }
}

#[test]
fn a_shutdown_that_cancels_completes_in_every_kind_of_job() {
    for how in ALL {
        for mode in [Shutdown::CancelQueued, Shutdown::CancelAll] {
            for stand_ins in [0, 2] {
                for closed in 0..3 {
                    let root = executor(1, stand_ins);
                    let outer = root.limited("outer", 2);
                    let inner = outer.limited("inner", 1);
                    let closed = [root, outer, inner.clone()][closed].clone();
                    let (report, ran) = from_a_job([inner.clone(), inner, closed], mode, how, LONG);
                    let outcome = (report.is_complete(), report.cancelled, ran);
                    assert_eq!(outcome, (true, 10, 0), "{how:?} {mode:?}: {report}");
                }
            }
        }
    }
}

#[test]
fn all_jobs_of_an_executor_may_drain_it_at_once() {
    for how in ALL {
        for limit in [1, 2, 4] {
            let complete = ends(move || {
                let root = executor(4, 4);
                let view = root.limited("view", limit);
                // None begins before all are submitted.
                let gate = Arc::new(RwLock::new(()));
                let closed = gate.write().unwrap();
                let jobs: Vec<_> = (0..4)
                    .map(|n| {
                        let of = if n % 2 == 0 { view.clone() } else { root.clone() };
                        let gate = Arc::clone(&gate);
                        view.submit(move || {
                            drop(gate.read().unwrap());
                            shut(&of, Shutdown::Drain, how, LONG).is_complete()
                        })
                    })
                    .collect();
                drop(closed);
                block_on(gather(jobs).return_errors())
            });
            assert!(
                complete.iter().all(|complete| matches!(complete, Ok(true))),
                "{how:?} {limit} {complete:?}"
            );
        }
    }
}

#[test]
fn a_drain_and_a_job_that_waits_for_its_caller_end() {
    // The waiting job cannot end before the shutdown has been waited for, so that does not count it.
    for how in ALL {
        let (waited, report) = ends(move || {
            let root = executor(2, 2);
            let view = root.limited("view", 2);
            let barrier = Arc::new(Barrier::new(2));
            let (closed, both) = (view.clone(), Arc::clone(&barrier));
            let caller = view.submit(move || {
                both.wait();
                shut(&closed, Shutdown::Drain, how, LONG)
            });
            let waiter = view.submit(move || {
                barrier.wait();
                caller.wait()
            });
            let report = waiter.wait().unwrap().unwrap();
            (true, report)
        });
        assert!(waited && report.is_complete(), "{how:?} {report}");
    }
}

#[test]
fn a_circle_of_a_drain_and_a_job_in_a_queue_behind_its_caller_ends() {
    // The job that runs in the view waits for one that is queued in another view, whose place the caller of the shutdown holds.
    for how in ALL {
        let (report, inner) = ends(move || {
            let root = executor(4, 4);
            let (closed, other) = (root.limited("closed", 2), root.limited("other", 1));
            let barrier = Arc::new(Barrier::new(2));
            let (ours, theirs, both) = (closed.clone(), other.clone(), Arc::clone(&barrier));
            let running = ours.submit(move || {
                both.wait();
                theirs.submit(|| 7).wait()
            });
            let caller = other.submit(move || {
                barrier.wait();
                shut(&closed, Shutdown::Drain, how, LONG)
            });
            (caller.wait().unwrap(), running.wait().unwrap().unwrap())
        });
        assert!(report.is_complete(), "{how:?} {report}");
        assert_eq!(inner, 7);
    }
}

#[test]
fn a_circle_over_two_executors_is_found() {
    for how in [How::Blocking, How::Awaited] {
        let (report, waited) = ends(move || {
            let (one, other) = (executor(2, 2), executor(2, 2));
            let (give, take) = mpsc::channel::<overlapped::Job<Report>>();
            let (begun, begins) = mpsc::channel();
            let waiter = other.submit(move || {
                begun.send(()).unwrap();
                let mut job = take.recv().unwrap();
                let waited = block_on(&mut job).map(drop);
                (job, waited)
            });
            begins.recv().unwrap();
            let closed = other.clone();
            give.send(one.submit(move || shut(&closed, Shutdown::Drain, how, LONG))).unwrap();
            let (job, waited) = waiter.wait().unwrap();
            (if waited.is_err() { Some(job.wait().unwrap()) } else { None }, waited)
        });
        // One of the two is told.
        match waited {
            Err(JobError::WouldDeadlock) => assert!(report.unwrap().is_complete()),
            Ok(()) => {}
            Err(error) => panic!("{how:?}: {error}"),
        }
    }
}

#[test]
fn a_job_that_waits_for_another_end_is_waited_for() {
    // It was left out of every report and every end, whatever it waited for.
    let root = executor(4, 4);
    let (one, other) = (root.limited("one", 1), root.limited("other", 1));
    let (go, gate) = mpsc::channel::<()>();
    let held = other.submit(move || gate.recv().is_ok());
    let (begun, begins) = mpsc::channel();
    let waits = one.submit(move || {
        begun.send(()).unwrap();
        other.shutdown_blocking(Shutdown::Drain, None).is_complete()
    });
    begins.recv().unwrap();
    while root.metrics().blocked == 0 {
        std::thread::yield_now();
    }
    let report = one.shutdown_blocking(Shutdown::Drain, Some(Duration::from_millis(20)));
    assert_eq!(report.still_running.len(), 1, "{report}");
    go.send(()).unwrap();
    assert!(one.shutdown_blocking(Shutdown::Drain, Some(LONG)).is_complete());
    assert!(waits.wait().unwrap() && held.wait().unwrap());
}

#[test]
fn a_deep_chain_of_jobs_that_drain_ends() {
    // Each is run inside the wait of the one before.
    let depth = ends(|| {
        let root = executor(1, 0);
        let depth = Arc::new(AtomicUsize::new(0));
        let (go, gate) = mpsc::channel::<()>();
        root.submit(move || gate.recv()).detach();
        let jobs: Vec<_> = (0..200)
            .map(|_| {
                let (root_too, depth) = (root.clone(), Arc::clone(&depth));
                root.submit(move || {
                    root_too.shutdown_blocking(Shutdown::Drain, None);
                    depth.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        drop(go);
        assert!(root.shutdown_blocking(Shutdown::Drain, Some(LONG)).is_complete());
        block_on(gather(jobs)).unwrap();
        depth.load(Ordering::SeqCst)
    });
    assert_eq!(depth, 200);
}
