//! Trees of jobs of a view in which each job waits only for its own descendants, in every way there is. No job waits in a circle, so no
//! wait may be refused, and each tree ends.
//!
//! `OVERLAPPED_TREES` is the number of trees in each way (the gate takes a sample).

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use overlapped::{Executor, Job, JobError, JobSet, Shutdown, Until, as_completed, block_on, gather, wait};

const DEPTH: u32 = 3;
const ROOTS: usize = 10;

/// A view, how many jobs of it are in a part that is not a wait, and its limit.
#[derive(Clone)]
struct View(Executor, Arc<AtomicUsize>, usize);

impl View {
    fn inside<T>(&self, part: impl FnOnce() -> T) -> T {
        let others = self.1.fetch_add(1, Ordering::SeqCst);
        assert!(others < self.2, "{} jobs run in a view of limit {}", others + 1, self.2);
        let result = part();
        self.1.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

/// Waits for the jobs, or for some of them.
type Way = fn(Vec<Job<()>>);

fn node(view: &View, depth: u32, way: Way) -> Job<()> {
    let view = view.clone();
    view.0.clone().submit(move || {
        let jobs = view.inside(|| match depth {
            0 => Vec::new(),
            _ => (0..2).map(|_| node(&view, depth - 1, way)).collect(),
        });
        if !jobs.is_empty() {
            way(jobs);
        }
        view.inside(|| ());
    })
}

fn trees(way: Way) {
    let rounds = std::env::var("OVERLAPPED_TREES").ok().and_then(|value| value.parse().ok()).unwrap_or(20);
    for (workers, limit) in [(1, 1), (3, 1), (2, 2)] {
        let executor = Executor::builder().max_workers(workers).stand_in_workers(2000).build().unwrap();
        let view = View(executor.limited("view", limit), Arc::default(), limit);
        for _ in 0..rounds / ROOTS {
            let roots: Vec<_> = (0..ROOTS).map(|_| node(&view, DEPTH, way)).collect();
            block_on(gather(roots)).unwrap();
        }
        let report = executor.shutdown_blocking(Shutdown::Drain, Some(Duration::from_secs(60)));
        assert!(report.is_complete(), "{report:?}");
    }
}

fn poll(job: &mut Job<()>, cx: &mut Context<'_>) -> Poll<Result<(), JobError>> {
    Pin::new(job).poll(cx)
}

/// The first of two to end, and the other.
fn select(jobs: Vec<Job<()>>) -> Vec<Job<()>> {
    let mut jobs = jobs;
    block_on(poll_fn(|cx| {
        let ended = jobs.iter_mut().position(|job| match poll(job, cx) {
            Poll::Ready(result) => {
                result.unwrap();
                true
            }
            Poll::Pending => false,
        });
        ended.map_or(Poll::Pending, |ended| {
            drop(jobs.remove(ended));
            Poll::Ready(())
        })
    }));
    jobs
}

#[test]
fn no_job_that_selects_among_its_own_is_refused_a_wait() {
    trees(|jobs| {
        let rest = select(jobs);
        rest.into_iter().for_each(|job| job.wait().unwrap());
    });
    // A job that is dropped while it runs has no waiter.
    trees(|jobs| drop(select(jobs)));
}

#[test]
fn no_job_that_waits_for_a_set_of_its_own_is_refused_a_wait() {
    fn set_of(jobs: Vec<Job<()>>) -> JobSet<()> {
        let mut set = JobSet::new();
        jobs.into_iter().for_each(|job| set.insert(job));
        set
    }
    trees(|jobs| {
        let mut set = set_of(jobs);
        block_on(async {
            while let Some(result) = set.next().await {
                result.unwrap();
            }
        });
    });
    trees(|jobs| block_on(set_of(jobs).next()).unwrap().unwrap());
    // Each is added after the set was polled, and the results are taken afterwards.
    trees(|jobs| {
        let mut set = JobSet::new();
        let mut results = Vec::new();
        block_on(async {
            for job in jobs {
                set.insert(job);
                let next = poll_fn(|cx| Poll::Ready(pin!(set.next()).poll(cx))).await;
                results.extend(if let Poll::Ready(result) = next { result } else { None });
            }
            while let Some(result) = set.next().await {
                results.push(result);
            }
        });
        assert_eq!(results.len(), 2);
        results.into_iter().for_each(Result::unwrap);
    });
}

#[test]
fn no_job_that_takes_the_results_of_its_own_as_they_come_is_refused_a_wait() {
    trees(|jobs| {
        let mut results = as_completed(jobs);
        block_on(async {
            while let Some((_, result)) = results.next().await {
                result.unwrap();
            }
        });
    });
    trees(|jobs| {
        let waited = block_on(wait(jobs, Until::First));
        waited.done.into_iter().for_each(|(_, result)| result.unwrap());
        waited.pending.into_iter().for_each(|(_, job)| job.wait().unwrap());
    });
}

#[test]
fn no_job_that_gathers_its_own_is_refused_a_wait() {
    trees(|jobs| drop(gather(jobs).wait().unwrap()));
    trees(|jobs| drop(block_on(gather(jobs)).unwrap()));
}
