//! No more jobs of a view run at a time than it lets through, whatever they wait for and however such a wait ends.
//!
//! The oracle is a count of the jobs of a view that run and do not sleep in a wait.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::time::Duration;

use overlapped::{Executor, Job, JobError, JobSet, JobState, Until, as_completed, block_on, gather, wait};

/// How many jobs of one view run.
struct Count {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Count {
    fn new() -> Arc<Self> {
        Arc::new(Count { now: AtomicUsize::new(0), most: AtomicUsize::new(0) })
    }

    fn enter(&self) {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    /// A wait, in a job of the view.
    fn away<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.leave();
        let result = wait();
        self.enter();
        result
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

/// A job of the view that says when it has begun and takes a while after `fail` was told to fail.
fn slow(view: &Executor, count: &Arc<Count>, begun: mpsc::Sender<()>) -> Job<usize> {
    let count = Arc::clone(count);
    view.submit(move || {
        count.enter();
        begun.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        count.leave();
        1
    })
}

#[test]
fn a_gather_that_fails_early_does_not_go_on_beside_the_job_that_has_its_place() {
    for keep_going in [false, true] {
        let executor = executor(4);
        let view = executor.limited("one", 1);
        let count = Count::new();
        let (inner, root, counted) = (view.clone(), executor.clone(), Arc::clone(&count));
        let job = view.submit(move || {
            counted.enter();
            let (begun, has_begun) = mpsc::channel();
            let slow = slow(&inner, &counted, begun);
            let failing = root.submit(move || {
                has_begun.recv().unwrap();
                std::panic::resume_unwind(Box::new("on purpose"))
            });
            let both = gather([slow, failing]);
            let both = if keep_going { both.keep_going() } else { both };
            let failed = counted.away(|| both.wait().is_err());
            std::thread::sleep(Duration::from_millis(30));
            counted.leave();
            failed
        });
        assert!(job.wait().unwrap());
        assert_eq!(count.most(), 1);
    }
}

#[test]
fn a_future_that_drops_a_job_does_not_go_on_beside_it() {
    let executor = executor(4);
    let view = executor.limited("one", 1);
    let count = Count::new();
    let (inner, root, counted) = (view.clone(), executor.clone(), Arc::clone(&count));
    let job = view.submit(move || {
        counted.enter();
        let (begun, has_begun) = mpsc::channel();
        let mut slow = slow(&inner, &counted, begun);
        let mut fast = root.submit(move || has_begun.recv().unwrap());
        counted.leave();
        block_on(async {
            let first = std::future::poll_fn(|cx| match Pin::new(&mut slow).poll(cx) {
                Poll::Ready(_) => Poll::Ready("slow"),
                Poll::Pending => Pin::new(&mut fast).poll(cx).map(|_| "fast"),
            });
            let first = first.await;
            counted.enter();
            drop(slow);
            std::thread::sleep(Duration::from_millis(30));
            counted.leave();
            first
        })
    });
    job.wait().unwrap();
    assert_eq!(count.most(), 1);
}

#[test]
fn of_a_lender_and_a_borrower_that_wait_for_each_other_the_borrower_is_told() {
    let executor = executor(4);
    let view = executor.limited("one", 1);
    let count = Count::new();
    let (give, take) = mpsc::channel::<Job<bool>>();
    let (tell, told) = mpsc::channel();
    let (inner, counted) = (view.clone(), Arc::clone(&count));
    let lender = view.submit(move || {
        counted.enter();
        let by_borrower = Arc::clone(&counted);
        let borrower = inner.submit(move || {
            by_borrower.enter();
            let lender = take.recv().unwrap();
            let dead = by_borrower.away(|| matches!(lender.wait(), Err(JobError::WouldDeadlock)));
            std::thread::sleep(Duration::from_millis(30));
            by_borrower.leave();
            dead
        });
        let ended = counted.away(|| borrower.wait());
        counted.leave();
        tell.send(ended).unwrap();
        true
    });
    give.send(lender).unwrap();
    assert!(told.recv().unwrap().unwrap());
    assert_eq!(count.most(), 1);
}

#[test]
fn a_borrower_that_has_not_begun_goes_back_into_its_queue() {
    // No thread is free, so the failing job is run inside the wait, while the other has the place and has not begun.
    let executor = Executor::builder().max_workers(2).stand_in_workers(0).build().unwrap();
    let view = executor.limited("one", 1);
    let (free, gate) = mpsc::channel::<()>();
    let (holds, held) = mpsc::channel();
    let busy = executor.submit(move || {
        holds.send(()).unwrap();
        gate.recv().unwrap();
    });
    held.recv().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let (inner, root, set) = (view.clone(), executor.clone(), Arc::clone(&over));
    let (tell, told) = mpsc::channel();
    let job = view.submit(move || {
        let failing = root.submit(|| std::panic::resume_unwind(Box::new("on purpose")));
        let later = Arc::clone(&set);
        let queued = inner.submit(move || tell.send(later.load(Ordering::SeqCst)).unwrap());
        let failed = gather([failing, queued]).keep_going().wait().is_err();
        free.send(()).unwrap();
        // The other thread has come by the queue.
        let passed = root.submit(|| ());
        while passed.state() != JobState::Finished {
            std::thread::yield_now();
        }
        set.store(true, Ordering::SeqCst);
        failed
    });
    assert!(job.wait().unwrap());
    busy.wait().unwrap();
    assert!(told.recv().unwrap(), "it ran before the job whose place it had borrowed was over");
}

#[test]
fn a_free_place_goes_to_the_lender_before_all_that_is_queued() {
    let executor = executor(8);
    let view = executor.limited("two", 2);
    let (open, gate) = mpsc::channel::<()>();
    let (holds, held) = mpsc::channel();
    let other = view.submit(move || {
        holds.send(()).unwrap();
        gate.recv().unwrap();
    });
    held.recv().unwrap();
    let (inner, root) = (view.clone(), executor.clone());
    let (failed, has_failed) = mpsc::channel();
    let job = view.submit(move || {
        let (begun, has_begun) = mpsc::channel();
        let (go, on) = mpsc::channel();
        // It ends only when the lender has gone on.
        let borrower = inner.submit(move || {
            begun.send(()).unwrap();
            on.recv().unwrap();
        });
        let behind = inner.submit(|| ());
        let failing = root.submit(move || {
            has_begun.recv().unwrap();
            failed.send(()).unwrap();
            std::panic::resume_unwind(Box::new("on purpose"))
        });
        assert!(gather([borrower, failing]).keep_going().wait().is_err());
        go.send(()).unwrap();
        behind
    });
    has_failed.recv().unwrap();
    open.send(()).unwrap();
    job.wait().unwrap().wait().unwrap();
    other.wait().unwrap();
}

/// SplitMix64.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The executor, two views and a view of the second: with the counts of the views that a job of each is in.
#[derive(Clone)]
struct Lanes {
    lanes: Vec<(Executor, Vec<Arc<Count>>)>,
    /// Jobs that any other may wait for, also one that they wait for themselves.
    pot: Arc<Mutex<Vec<Job<()>>>>,
}

/// A random tree of jobs that wait for each other in all ways, and end with or without an error.
fn tree(lanes: &Lanes, mut seed: u64, depth: u32) -> Job<()> {
    let (executor, counts) = lanes.lanes[next(&mut seed) as usize % lanes.lanes.len()].clone();
    let lanes = lanes.clone();
    executor.submit(move || {
        counts.iter().for_each(|count| count.enter());
        if depth > 0 {
            let away = || counts.iter().for_each(|count| count.leave());
            let back = || counts.iter().for_each(|count| count.enter());
            let mut jobs: Vec<Job<()>> =
                (0..=next(&mut seed) % 3).map(|_| tree(&lanes, next(&mut seed), depth - 1)).collect();
            if next(&mut seed).is_multiple_of(4) {
                lanes.pot.lock().unwrap().push(tree(&lanes, next(&mut seed), depth - 1));
            }
            if next(&mut seed).is_multiple_of(3) {
                jobs.extend(lanes.pot.lock().unwrap().pop());
            }
            away();
            match next(&mut seed) % 12 {
                0 => drop(gather(jobs).wait()),
                1 => drop(gather(jobs).keep_going().wait()),
                2 => jobs.into_iter().for_each(|job| drop(job.wait())),
                3 => drop(block_on(gather(jobs).return_errors())),
                4 => block_on(std::future::poll_fn(|cx| {
                    // The first that ends; the others are dropped. What comes after a wake-up is this job's code.
                    back();
                    let over = jobs.iter_mut().any(|job| Pin::new(job).poll(cx).is_ready());
                    away();
                    if over { Poll::Ready(()) } else { Poll::Pending }
                })),
                5 => drop(block_on(jobs.remove(0))),
                6 => jobs.iter_mut().for_each(|job| drop(job.wait_timeout(Duration::from_micros(50)))),
                7 => {
                    let soon = |job: Job<()>| job.timeout(Duration::from_micros(200));
                    let later = |job: Job<()>| job.expires_in(Duration::from_millis(20));
                    let late = next(&mut seed).is_multiple_of(2);
                    drop(
                        gather(jobs.into_iter().map(|job| if late { later(job) } else { soon(job) })).wait(),
                    );
                }
                8 => {
                    let mut results = as_completed(jobs);
                    let enough = next(&mut seed) % 4;
                    block_on(async {
                        for _ in 0..enough {
                            results.next().await;
                        }
                    });
                }
                9 => {
                    let mut set = JobSet::new();
                    jobs.into_iter().for_each(|job| set.insert(job));
                    while block_on(set.next()).is_some() {}
                }
                10 => {
                    let until = [Until::First, Until::FirstError, Until::All][next(&mut seed) as usize % 3];
                    drop(block_on(wait(jobs, until)));
                }
                _ => {
                    // A job of the scope is one of that lane.
                    let (lane, counts) = lanes.lanes[next(&mut seed) as usize % lanes.lanes.len()].clone();
                    let scope = catch_unwind(AssertUnwindSafe(|| {
                        lane.scope(|scope| {
                            for job in jobs {
                                scope.submit(|| {
                                    counts.iter().for_each(|count| count.enter());
                                    counts.iter().for_each(|count| count.leave());
                                    let _ = job.wait();
                                });
                            }
                        });
                    }));
                    drop(scope);
                }
            }
            back();
        }
        let fails = next(&mut seed).is_multiple_of(4);
        std::thread::yield_now();
        counts.iter().for_each(|count| count.leave());
        if fails {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    })
}

#[test]
fn random_trees_of_waits_end_and_keep_to_every_limit() {
    let first = std::env::var("OVERLAPPED_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut seeds = first.unwrap_or_else(|| u64::from(std::process::id()));
    let rounds = std::env::var("OVERLAPPED_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(60);
    for _ in 0..rounds {
        let seed = seeds;
        next(&mut seeds);
        let mut random = seed;
        let mut draw = |n: u64| next(&mut random) % n;
        let executor = Executor::builder()
            .max_workers(1 + draw(4) as usize)
            .stand_in_workers(if draw(2) == 0 { 64 } else { draw(3) as usize })
            .build()
            .unwrap();
        let limits = [1 + draw(2) as usize, 1 + draw(3) as usize, 1 + draw(2) as usize];
        let counts: Vec<_> = limits.iter().map(|_| Count::new()).collect();
        let (one, outer) = (executor.limited("one", limits[0]), executor.limited("outer", limits[1]));
        let inner = outer.limited("inner", limits[2]);
        let lanes = vec![
            (executor.clone(), Vec::new()),
            (one, vec![Arc::clone(&counts[0])]),
            (outer, vec![Arc::clone(&counts[1])]),
            (inner, vec![Arc::clone(&counts[1]), Arc::clone(&counts[2])]),
        ];
        let lanes = Lanes { lanes, pot: Arc::default() };
        let (given, kept): (Vec<_>, Vec<_>) =
            (0..8).map(|_| tree(&lanes, draw(u64::MAX), 3)).enumerate().partition(|(n, _)| n % 2 == 0);
        lanes.pot.lock().unwrap().extend(given.into_iter().map(|(_, job)| job));
        let results = gather(kept.into_iter().map(|(_, job)| job)).return_errors();
        std::thread::scope(|threads| {
            let (over, is_over) = mpsc::channel::<()>();
            threads.spawn(move || {
                let hung = is_over.recv_timeout(Duration::from_secs(60));
                if hung == Err(mpsc::RecvTimeoutError::Timeout) {
                    // The test's own thread would never say so.
                    eprintln!("a hang: OVERLAPPED_SEED={seed}");
                    std::process::abort();
                }
            });
            block_on(results);
            let left = std::mem::take(&mut *lanes.pot.lock().unwrap());
            left.into_iter().for_each(|job| drop(job.wait()));
            drop(over);
        });
        for (count, limit) in counts.iter().zip(limits) {
            assert!(count.most() <= limit, "{} jobs ran, {limit} may: OVERLAPPED_SEED={seed}", count.most());
        }
    }
}
