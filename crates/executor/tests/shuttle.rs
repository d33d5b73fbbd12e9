//! The whole pool under tens of thousands of random schedules (shuttle). Run with `RUSTFLAGS="--cfg shuttle"`.
//!
//! Bigger than loom's models and less exhaustive: four to seven threads, cancels, views, nested waits and a shutdown among each other.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![cfg(shuttle)]

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use overlapped::{Executor, Job, JobError, JobSet, Shutdown, Until, as_completed, block_on, gather, wait};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

const SCHEDULES: usize = 10_000;

fn check(f: impl Fn() + Send + Sync + 'static) {
    let f = Arc::new(f);
    let random = Arc::clone(&f);
    shuttle::check_random(move || random(), SCHEDULES);
    shuttle::check_pct(move || f(), SCHEDULES, 3);
}

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

fn end(executor: &Executor, how: Shutdown) {
    assert!(executor.shutdown_blocking(how, None).is_complete());
}

#[test]
fn each_job_is_run_once_or_removed_once() {
    check(|| {
        let executor = executor(3);
        let (runs, removed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let submitters: Vec<_> = (0..2)
            .map(|_| {
                let (executor, runs, removed) = (executor.clone(), Arc::clone(&runs), Arc::clone(&removed));
                thread::spawn(move || {
                    for _ in 0..4 {
                        let counted = Arc::clone(&runs);
                        let job = executor.submit(move || counted.fetch_add(1, Ordering::SeqCst));
                        match thread_rng().gen_range(0..3) {
                            0 => drop(block_on(job)),
                            1 => job.detach(),
                            _ => {
                                if job.cancel() == overlapped::CancelOutcome::Removed {
                                    removed.fetch_add(1, Ordering::SeqCst);
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        for submitter in submitters {
            submitter.join().unwrap();
        }
        end(&executor, Shutdown::Drain);
        assert_eq!(runs.load(Ordering::SeqCst) + removed.load(Ordering::SeqCst), 8);
        let metrics = executor.metrics();
        assert_eq!((metrics.queued, metrics.running, metrics.threads), (0, 0, 0));
    });
}

#[test]
fn a_shutdown_at_any_time_leaves_no_job_without_an_answer() {
    check(|| {
        let executor = executor(2);
        let other = executor.clone();
        let submitter = thread::spawn(move || {
            for _ in 0..4 {
                match block_on(other.submit(|| 1)) {
                    Ok(1) | Err(JobError::Rejected(_) | JobError::Cancelled) => {}
                    wrong => panic!("{wrong:?}"),
                }
            }
        });
        let how =
            [Shutdown::Drain, Shutdown::CancelQueued, Shutdown::CancelAll][thread_rng().gen_range(0..3)];
        end(&executor, how);
        submitter.join().unwrap();
    });
}

#[test]
fn nested_waits_end() {
    check(|| {
        let executor = executor(2);
        let jobs: Vec<_> = (0..3)
            .map(|n| {
                let inner = executor.clone();
                executor.submit(move || {
                    let jobs = [inner.submit(move || n), inner.submit(move || n * 10)];
                    gather(jobs).wait().unwrap().into_iter().sum::<i32>()
                })
            })
            .collect();
        assert_eq!(block_on(gather(jobs)).unwrap(), [0, 11, 22]);
        end(&executor, Shutdown::Drain);
    });
}

/// Jobs of jobs, through views of views, with few threads or none to stand in.
#[test]
fn nested_waits_through_views_end() {
    check(|| {
        let stand_ins = thread_rng().gen_range(0..2);
        let executor = Executor::builder().max_workers(2).stand_in_workers(stand_ins).build().unwrap();
        let outer = executor.limited("outer", 1);
        let view = outer.limited("inner", 1);
        let jobs: Vec<_> = (0..3)
            .map(|n| {
                let lanes = [executor.clone(), outer.clone(), view.clone()];
                let of = |n: usize| lanes[n % 3].clone();
                let (first, second) = (of(n + 1), of(n + 2));
                of(n).submit(move || {
                    let inside = second.clone();
                    let job = first.submit(move || inside.submit(move || n).wait().unwrap());
                    gather([job, second.submit(move || n)]).wait().map(|sums| sums.into_iter().sum::<usize>())
                })
            })
            .collect();
        for (n, result) in block_on(gather(jobs)).unwrap().into_iter().enumerate() {
            match result {
                Ok(sum) => assert_eq!(sum, 2 * n),
                // Two of them may hold each other's place.
                Err(JobError::WouldDeadlock | JobError::Panicked(_)) => {}
                Err(wrong) => panic!("{wrong:?}"),
            }
        }
        drop((view, outer));
        end(&executor, Shutdown::Drain);
    });
}

/// A job in one of these lanes, each a view of the one before, which waits for jobs in this one and those behind it; says how many there
/// were.
fn ordered(lanes: &[Executor], depth: u32) -> Job<usize> {
    let at = thread_rng().gen_range(0..lanes.len());
    let below = lanes[at..].to_vec();
    lanes[at].submit(move || {
        if depth == 0 {
            return 1;
        }
        let jobs: Vec<_> = (0..thread_rng().gen_range(1..3)).map(|_| ordered(&below, depth - 1)).collect();
        let inside: usize = match thread_rng().gen_range(0..3) {
            0 => jobs.into_iter().map(|job| job.wait().unwrap()).sum(),
            1 => gather(jobs).wait().unwrap().into_iter().sum(),
            _ => {
                let done = AtomicUsize::new(0);
                below[0].scope(|scope| {
                    for job in jobs {
                        let done = &done;
                        scope.submit(move || done.fetch_add(job.wait().unwrap(), Ordering::SeqCst));
                    }
                });
                done.into_inner()
            }
        };
        1 + inside
    })
}

/// No job waits for what may wait for it, not even by a place in a view: then nothing is refused, however few threads there are.
#[test]
fn ordered_waits_through_views_of_views_are_not_refused() {
    check(|| {
        let (workers, stand_ins) = (thread_rng().gen_range(1..3), thread_rng().gen_range(0..3));
        let executor = Executor::builder().max_workers(workers).stand_in_workers(stand_ins).build().unwrap();
        let outer = executor.limited("outer", 1);
        let lanes = [executor.clone(), outer.clone(), outer.limited("inner", 1)];
        let jobs: Vec<_> = (0..2).map(|_| ordered(&lanes, 2)).collect();
        assert!(block_on(gather(jobs)).unwrap().into_iter().all(|jobs| jobs > 2));
        drop((lanes, outer));
        end(&executor, Shutdown::Drain);
    });
}

/// A view, how many jobs of it run, and its limit.
#[derive(Clone)]
struct Counted(Executor, Arc<AtomicUsize>, usize);

impl Counted {
    fn new(executor: Executor, limit: usize) -> Self {
        Counted(executor, Arc::new(AtomicUsize::new(0)), limit)
    }

    fn enter(&self) {
        assert!(self.1.fetch_add(1, Ordering::SeqCst) < self.2);
        thread::yield_now();
    }

    fn leave(&self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

type Pot = Arc<shuttle::sync::Mutex<Vec<Job<()>>>>;

/// A random tree of jobs that wait for each other, and for what others have put into the pot, and whose waits end early.
fn tree(views: &[Counted], pot: &Pot, depth: u32) -> Job<()> {
    let me = views[thread_rng().gen_range(0..views.len())].clone();
    let (views, pot) = (views.to_vec(), Arc::clone(pot));
    me.0.clone().submit(move || {
        me.enter();
        if depth > 0 {
            let mut jobs: Vec<_> = (0..2).map(|_| tree(&views, &pot, depth - 1)).collect();
            let other = pot.lock().unwrap().pop();
            jobs.extend(other);
            me.leave();
            match thread_rng().gen_range(0..9) {
                0 => drop(gather(jobs).wait()),
                5 => block_on(async {
                    let mut results = as_completed(jobs);
                    for _ in 0..thread_rng().gen_range(0..3) {
                        results.next().await;
                    }
                }),
                6 => {
                    let mut set = JobSet::new();
                    jobs.into_iter().for_each(|job| set.insert(job));
                    while block_on(set.next()).is_some() {}
                }
                7 => drop(block_on(wait(jobs, Until::First))),
                8 => {
                    let view = &views[thread_rng().gen_range(0..views.len())];
                    // A job of it may be discarded.
                    let _ = catch_unwind(AssertUnwindSafe(|| {
                        view.0.scope(|scope| {
                            for job in jobs {
                                scope.submit(|| {
                                    view.enter();
                                    view.leave();
                                    let _ = job.wait();
                                });
                            }
                        });
                    }));
                }
                1 => drop(gather(jobs).keep_going().wait()),
                2 => jobs.into_iter().for_each(|job| drop(job.wait())),
                3 => block_on(std::future::poll_fn(|cx| {
                    me.enter();
                    let over = jobs.iter_mut().any(|job| Pin::new(job).poll(cx).is_ready());
                    me.leave();
                    if over { Poll::Ready(()) } else { Poll::Pending }
                })),
                _ => drop(block_on(gather(jobs))),
            }
            me.enter();
        }
        me.leave();
        if thread_rng().gen_range(0..3) == 0 {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    })
}

#[test]
fn waits_that_end_early_keep_to_the_limits_and_end() {
    check(|| {
        let stand_ins = thread_rng().gen_range(0..4);
        let executor = Executor::builder().max_workers(2).stand_in_workers(stand_ins).build().unwrap();
        let limit = thread_rng().gen_range(1..3);
        let views = [
            Counted::new(executor.clone(), usize::MAX),
            Counted::new(executor.limited("one", 1), 1),
            Counted::new(executor.limited("other", limit), limit),
        ];
        let pot = Pot::default();
        let jobs: Vec<_> = (0..3).map(|_| tree(&views, &pot, 1)).collect();
        let given = tree(&views, &pot, 1);
        pot.lock().unwrap().push(given);
        block_on(gather(jobs).return_errors());
        let left = std::mem::take(&mut *pot.lock().unwrap());
        left.into_iter().for_each(|job| drop(job.wait()));
        drop(views);
        end(&executor, Shutdown::Drain);
    });
}

#[test]
fn of_three_jobs_in_a_circle_one_is_told() {
    check(|| {
        let executor = Executor::builder().max_workers(3).stand_in_workers(1).build().unwrap();
        let slots: Vec<_> = (0..3).map(|_| Arc::new(shuttle::sync::Mutex::new(None))).collect();
        let told = Arc::new(AtomicUsize::new(0));
        let jobs: Vec<Job<()>> = (0..3)
            .map(|n| {
                let (slot, told) = (Arc::clone(&slots[n]), Arc::clone(&told));
                executor.submit(move || {
                    let next: Job<()> = loop {
                        if let Some(job) = slot.lock().unwrap().take() {
                            break job;
                        }
                        thread::yield_now();
                    };
                    let dead = matches!(next.wait(), Err(JobError::WouldDeadlock));
                    told.fetch_add(usize::from(dead), Ordering::SeqCst);
                })
            })
            .collect();
        for (n, job) in jobs.into_iter().enumerate() {
            *slots[(n + 2) % 3].lock().unwrap() = Some(job);
        }
        end(&executor, Shutdown::Drain);
        assert_eq!(told.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn of_two_scopes_that_wait_for_each_others_places_one_is_refused() {
    check(|| {
        let stand_ins = thread_rng().gen_range(0..3);
        let executor = Executor::builder().max_workers(2).stand_in_workers(stand_ins).build().unwrap();
        let views = [executor.limited("one", 1), executor.limited("other", 1)];
        let jobs: Vec<_> = (0..2)
            .map(|n| {
                let other = views[1 - n].clone();
                views[n].submit(move || other.scope(|scope| scope.submit(|| ()).wait()))
            })
            .collect();
        let results = block_on(gather(jobs)).unwrap();
        let refused = results.iter().filter(|result| matches!(result, Err(JobError::WouldDeadlock))).count();
        // One may have ended before the other began.
        assert!(refused <= 1);
        drop(views);
        end(&executor, Shutdown::Drain);
    });
}

#[test]
fn of_two_jobs_of_two_executors_that_wait_for_each_other_one_is_told() {
    check(|| {
        let executors = [executor(1), executor(1)];
        let slots = [(); 2].map(|()| Arc::new(shuttle::sync::Mutex::new(None::<Job<()>>)));
        let told = Arc::new(AtomicUsize::new(0));
        let jobs = [0, 1].map(|n| {
            let (slot, told) = (Arc::clone(&slots[n]), Arc::clone(&told));
            executors[n].submit(move || {
                let other = loop {
                    if let Some(job) = slot.lock().unwrap().take() {
                        break job;
                    }
                    thread::yield_now();
                };
                let dead = matches!(other.wait(), Err(JobError::WouldDeadlock));
                told.fetch_add(usize::from(dead), Ordering::SeqCst);
            })
        });
        let [first, second] = jobs;
        *slots[0].lock().unwrap() = Some(second);
        *slots[1].lock().unwrap() = Some(first);
        executors.iter().for_each(|executor| end(executor, Shutdown::Drain));
        assert_eq!(told.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn scopes_in_scopes_end() {
    check(|| {
        let stand_ins = thread_rng().gen_range(0..3);
        let executor = Executor::builder().max_workers(1).stand_in_workers(stand_ins).build().unwrap();
        let ran = AtomicUsize::new(0);
        executor.scope(|outer| {
            for _ in 0..2 {
                outer.submit(|| {
                    executor.scope(|inner| {
                        inner.submit(|| ran.fetch_add(1, Ordering::SeqCst));
                        inner.submit(|| ran.fetch_add(1, Ordering::SeqCst));
                    });
                });
            }
        });
        assert_eq!(ran.load(Ordering::SeqCst), 4);
        end(&executor, Shutdown::Drain);
    });
}

#[test]
fn views_keep_to_their_limits_and_lose_nothing() {
    check(|| {
        let executor = executor(3);
        let outer = executor.limited("two", 2);
        let view = outer.limited("one", 1);
        let now = Arc::new(AtomicUsize::new(0));
        let jobs: Vec<_> = (0..4)
            .map(|n| {
                let now = Arc::clone(&now);
                let job = view.submit(move || {
                    assert_eq!(now.fetch_add(1, Ordering::SeqCst), 0);
                    thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                    n
                });
                if n == 2 {
                    job.cancel();
                }
                job
            })
            .chain([outer.submit(|| 7)])
            .collect();
        let results = block_on(gather(jobs).return_errors());
        let ran = results.into_iter().flatten().collect::<Vec<_>>();
        assert!(ran == [0, 1, 3, 7] || ran == [0, 1, 2, 3, 7], "{ran:?}");
        drop((view, outer));
        end(&executor, Shutdown::Drain);
    });
}

#[test]
fn places_in_a_full_queue_are_passed_on() {
    check(|| {
        let executor = Executor::builder().max_workers(1).queue_limit(1).build().unwrap();
        let threads: Vec<_> = (0..3)
            .map(|n| {
                let executor = executor.clone();
                thread::spawn(move || {
                    let permit = block_on(executor.reserve()).unwrap();
                    if n == 0 {
                        return drop(permit);
                    }
                    assert_eq!(block_on(permit.submit(move || n)).unwrap(), n);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        end(&executor, Shutdown::Drain);
    });
}

#[test]
fn a_scope_returns_after_all_its_jobs() {
    check(|| {
        let executor = executor(2);
        let mut numbers = [1, 2, 3];
        executor.scope(|scope| {
            for n in &mut numbers {
                scope.submit(|| *n += 1);
            }
        });
        assert_eq!(numbers, [2, 3, 4]);
        end(&executor, Shutdown::Drain);
    });
}

#[test]
fn workers_that_are_let_go_and_wanted_again_lose_nothing() {
    check(|| {
        let executor =
            Executor::builder().max_workers(2).keep_alive(std::time::Duration::ZERO).build().unwrap();
        for n in 0..4 {
            let job = executor.submit(move || n);
            if n == 1 {
                thread::yield_now();
            }
            assert_eq!(block_on(job).unwrap(), n);
        }
        end(&executor, Shutdown::Drain);
    });
}
