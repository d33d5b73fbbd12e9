//! The pool against a plain queue, over random operations.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, mpsc};

use overlapped::{CancelOutcome, Executor, Job, JobError, JobState, Shutdown, block_on};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Operation {
    Submit,
    /// Into a view that lets one through at a time.
    SubmitToView,
    Cancel(prop::sample::Index),
    Drop(prop::sample::Index),
    Detach(prop::sample::Index),
    /// Lets the worker run everything, then holds it up again.
    Run,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let index = any::<prop::sample::Index>;
    let operation = prop_oneof![
        4 => Just(Operation::Submit),
        2 => Just(Operation::SubmitToView),
        2 => index().prop_map(Operation::Cancel),
        1 => index().prop_map(Operation::Drop),
        1 => index().prop_map(Operation::Detach),
        1 => Just(Operation::Run),
    ];
    prop::collection::vec(operation, 1..60)
}

/// One worker, which waits at a gate.
struct Pool {
    executor: Executor,
    view: Executor,
    gate: Option<(mpsc::Sender<()>, Job<()>)>,
}

impl Pool {
    fn new(queue_limit: usize) -> Self {
        let executor = Executor::builder().max_workers(1).queue_limit(queue_limit).build().unwrap();
        let mut pool = Pool { view: executor.limited("view", 1), executor, gate: None };
        pool.close();
        pool
    }

    fn close(&mut self) {
        let (go, gate) = mpsc::channel();
        let job = self.executor.submit(move || gate.recv().unwrap_or_default());
        while job.state() == JobState::Queued {
            std::thread::yield_now();
        }
        self.gate = Some((go, job));
    }

    /// Until the worker finds nothing more.
    fn run(&mut self) {
        if let Some((go, job)) = self.gate.take() {
            go.send(()).unwrap();
            block_on(job).unwrap();
        }
        for executor in [&self.view, &self.executor] {
            while executor.metrics().queued + executor.metrics().running > 0 {
                std::thread::yield_now();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150 * ProptestConfig::default().cases / 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_runs_what_a_plain_queue_would(operations in operations(), queue_limit in 1..20_usize) {
        let mut pool = Pool::new(queue_limit);
        let ran = Arc::new(Mutex::new(Vec::new()));
        let mut model: VecDeque<usize> = VecDeque::new();
        let mut expected: Vec<usize> = Vec::new();
        let mut jobs: Vec<(usize, Job<usize>)> = Vec::new();
        let mut views: Vec<usize> = Vec::new();
        for (number, operation) in operations.into_iter().enumerate() {
            match operation {
                Operation::Submit | Operation::SubmitToView => {
                    let to_view = matches!(operation, Operation::SubmitToView);
                    let noted = Arc::clone(&ran);
                    let executor = if to_view { &pool.view } else { &pool.executor };
                    let job = executor.submit(move || {
                        noted.lock().unwrap().push(number);
                        number
                    });
                    let waiting = model.iter().filter(|n| views.contains(n) == to_view).count();
                    if waiting < queue_limit {
                        model.push_back(number);
                        jobs.push((number, job));
                        if to_view {
                            views.push(number);
                        }
                    } else {
                        prop_assert!(matches!(block_on(job), Err(JobError::Rejected(_))));
                    }
                }
                Operation::Cancel(index) | Operation::Drop(index) | Operation::Detach(index) if !jobs.is_empty() => {
                    let (number, job) = jobs.swap_remove(index.index(jobs.len()));
                    let at = model.iter().position(|queued| *queued == number);
                    match operation {
                        Operation::Detach(_) => job.detach(),
                        Operation::Drop(_) => drop(job),
                        Operation::Submit | Operation::SubmitToView | Operation::Cancel(_) | Operation::Run => {
                            let outcome = job.cancel();
                            prop_assert_eq!(outcome == CancelOutcome::Removed, at.is_some());
                            prop_assert_eq!(block_on(job).is_ok(), at.is_none());
                        }
                    }
                    if let (Some(at), false) = (at, matches!(operation, Operation::Detach(_))) {
                        model.remove(at);
                    }
                }
                Operation::Cancel(_) | Operation::Drop(_) | Operation::Detach(_) => {}
                Operation::Run => {
                    pool.run();
                    expected.extend(model.drain(..));
                    pool.close();
                }
            }
            prop_assert_eq!(pool.executor.metrics().queued, model.len());
        }
        pool.run();
        expected.extend(model.drain(..));
        prop_assert!(pool.executor.shutdown_blocking(Shutdown::Drain, None).is_complete());
        let ran = ran.lock().unwrap();
        // Each kind in its own order; the view's jobs among the others as it lets them through.
        for kind in [true, false] {
            let of_kind = |numbers: &[usize]| {
                numbers.iter().copied().filter(|n| views.contains(n) == kind).collect::<Vec<_>>()
            };
            prop_assert_eq!(of_kind(&ran), of_kind(&expected));
        }
    }
}
