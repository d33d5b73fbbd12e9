//! A scope that one failure ends: what is queued is removed, what runs is asked to stop, and all is waited for.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use overlapped::{CancelToken, Executor, JobError, Shutdown};

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

#[test]
fn jobs_that_all_succeed_give_their_results() {
    let executor = executor(2);
    let mut numbers = [1, 2, 3];
    let sum: Result<i32, String> = executor.try_scope(|scope| {
        for n in &mut numbers {
            scope.submit(|| {
                *n += 1;
                Ok(())
            });
        }
        let jobs = [1, 2, 3].map(|n| scope.submit(move || Ok(n)));
        Ok(jobs.into_iter().map(|job| job.wait().unwrap()).sum())
    });
    assert_eq!((sum, numbers), (Ok(6), [2, 3, 4]));
}

/// A job that runs until it is asked to stop, one that fails once all are submitted, and some that wait behind the two.
fn fail(
    executor: &Executor,
    how: impl FnOnce() -> Result<(), &'static str> + Send,
) -> Result<(), &'static str> {
    let (stopped, ran) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ((begun, has_begun), (all, are_in)) = (mpsc::channel(), mpsc::channel::<()>());
    let result = catch_unwind(AssertUnwindSafe(|| {
        executor.try_scope(|scope| {
            let stopped = &stopped;
            scope.submit_cancellable(move |token| {
                begun.send(()).unwrap();
                while !token.is_cancelled() {
                    std::thread::yield_now();
                }
                assert!(CancelToken::current().unwrap().is_cancelled());
                stopped.store(true, Ordering::SeqCst);
                Ok(())
            });
            scope.submit(move || {
                has_begun.recv().unwrap();
                are_in.recv().unwrap();
                how()
            });
            let queued: Vec<_> = (0..200)
                .map(|_| {
                    scope.submit(|| {
                        ran.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    })
                })
                .collect();
            all.send(()).unwrap();
            for job in queued {
                assert!(matches!(job.wait(), Err(JobError::Cancelled)));
            }
            // What comes later does not run either.
            let late = scope.submit(|| {
                ran.fetch_add(1, Ordering::SeqCst);
                Ok(())
            });
            assert!(matches!(late.wait(), Err(JobError::Cancelled)));
            Ok(())
        })
    }));
    assert!(stopped.into_inner(), "the running job was not asked to stop, or not waited for");
    assert_eq!(ran.into_inner(), 0);
    result.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

#[test]
fn the_first_error_cancels_the_rest_and_is_the_scopes() {
    assert_eq!(fail(&executor(2), || Err("on purpose")), Err("on purpose"));
}

#[test]
fn the_first_panic_cancels_the_rest_and_is_the_scopes() {
    let panicked = catch_unwind(|| fail(&executor(2), || std::panic::resume_unwind(Box::new("on purpose"))));
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "on purpose");
}

#[test]
fn of_two_errors_the_first_is_given() {
    let executor = executor(2);
    let (failed, has_failed) = mpsc::channel::<()>();
    let result: Result<(), i32> = executor.try_scope(|scope| {
        scope.submit_cancellable(move |token| {
            drop(failed);
            while !token.is_cancelled() {
                std::thread::yield_now();
            }
            Err::<(), _>(2)
        });
        scope.submit(move || {
            assert!(has_failed.recv().is_err());
            Err::<(), _>(1)
        });
        Ok(())
    });
    assert_eq!(result, Err(1));
}

#[test]
fn an_error_or_a_panic_of_the_closure_cancels_the_jobs() {
    let executor = executor(1);
    for panics in [false, true] {
        let ran = AtomicUsize::new(0);
        let (begun, has_begun) = mpsc::channel();
        let result = catch_unwind(AssertUnwindSafe(|| {
            executor.try_scope(|scope| {
                scope.submit_cancellable(move |token| {
                    begun.send(()).unwrap();
                    while !token.is_cancelled() {
                        std::thread::yield_now();
                    }
                    Ok(())
                });
                scope.submit(|| {
                    ran.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                });
                has_begun.recv().unwrap();
                if panics {
                    std::panic::resume_unwind(Box::new("on purpose"))
                } else {
                    Err::<(), _>("on purpose")
                }
            })
        }));
        assert_eq!(result.is_err(), panics);
        assert!(result.is_err() || matches!(result, Ok(Err("on purpose"))));
        assert_eq!(ran.into_inner(), 0);
    }
}

#[test]
fn a_failure_reaches_the_jobs_of_scopes_within() {
    let executor = executor(4);
    let inner_stopped = AtomicBool::new(false);
    let (begun, has_begun) = mpsc::channel();
    let result: Result<(), &str> = executor.try_scope(|outer| {
        let (executor, inner_stopped) = (&executor, &inner_stopped);
        outer.submit(move || {
            executor.try_scope(|inner| {
                inner.submit_cancellable(move |token| {
                    begun.send(()).unwrap();
                    while !token.is_cancelled() {
                        std::thread::yield_now();
                    }
                    inner_stopped.store(true, Ordering::SeqCst);
                    Ok(())
                });
                Ok(())
            })
        });
        outer.submit(move || {
            has_begun.recv().unwrap();
            Err::<(), _>("on purpose")
        });
        Ok(())
    });
    assert_eq!(result, Err("on purpose"));
    assert!(inner_stopped.into_inner());
}

#[test]
fn a_full_queue_loses_no_job_and_no_error() {
    let executor = Executor::builder().max_workers(1).queue_limit(1).build().unwrap();
    let ran = AtomicUsize::new(0);
    let count = |fails: bool| {
        executor.try_scope(|scope| {
            for n in 0..100 {
                let ran = &ran;
                scope.submit(move || {
                    ran.fetch_add(1, Ordering::SeqCst);
                    if fails && n == 50 { Err(n) } else { Ok(()) }
                });
            }
            Ok(())
        })
    };
    assert_eq!(count(false), Ok(()));
    assert_eq!(ran.load(Ordering::SeqCst), 100);
    assert_eq!(count(true), Err(50));
    assert_eq!(ran.load(Ordering::SeqCst), 151);
}

#[test]
fn a_job_that_could_not_run_is_not_lost_in_silence() {
    let executor = executor(1);
    executor.shutdown_blocking(Shutdown::Drain, None);
    let ran = Mutex::new(0);
    let result = catch_unwind(AssertUnwindSafe(|| {
        executor.try_scope::<_, (), ()>(|scope| {
            scope.submit(|| {
                *ran.lock().unwrap() += 1;
                Ok(())
            });
            Ok(())
        })
    }));
    assert!(result.is_err());
}
