//! Shutdown: its three modes, from any thread or job, always in finite time.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use overlapped::{Executor, JobError, JobState, Rejected, Shutdown, block_on};

const SOON: Option<Duration> = Some(Duration::from_secs(60));

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

fn hold(executor: &Executor) -> (mpsc::Sender<()>, overlapped::Job<()>) {
    let (go, gate) = mpsc::channel::<()>();
    let job = executor.submit(move || {
        let _ = gate.recv();
    });
    while job.state() == JobState::Queued {
        std::thread::yield_now();
    }
    (go, job)
}

#[test]
fn draining_runs_what_is_queued() {
    let executor = executor(2);
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..500 {
        let ran = Arc::clone(&ran);
        executor.submit(move || ran.fetch_add(1, Ordering::SeqCst)).detach();
    }
    let report = block_on(executor.shutdown(Shutdown::Drain));
    assert!(report.is_complete());
    assert_eq!(ran.load(Ordering::SeqCst), 500);
    assert_eq!(executor.metrics().threads, 0);
    assert!(matches!(block_on(executor.submit(|| ())), Err(JobError::Rejected(Rejected::ShutDown))));
    assert!(block_on(executor.reserve()).is_err());
}

#[test]
fn cancelling_what_is_queued_lets_what_runs_end() {
    let executor = executor(1);
    let (go, held) = hold(&executor);
    let queued: Vec<_> = (0..10).map(|_| executor.submit(|| ())).collect();
    let shutdown = executor.shutdown(Shutdown::CancelQueued);
    for job in queued {
        assert!(matches!(block_on(job), Err(JobError::Cancelled)));
    }
    go.send(()).unwrap();
    let report = block_on(shutdown);
    assert_eq!((report.cancelled, report.is_complete()), (10, true));
    assert!(block_on(held).is_ok());
}

#[test]
fn cancelling_all_asks_what_runs_to_stop() {
    let executor = executor(1);
    let job = executor.submit_cancellable(|token| block_on(token.cancelled()));
    while job.state() == JobState::Queued {
        std::thread::yield_now();
    }
    let report = executor.shutdown_blocking(Shutdown::CancelAll, SOON);
    assert!(report.is_complete());
    assert!(block_on(job).is_ok());
}

#[test]
fn what_would_not_end_is_reported() {
    let executor = Executor::builder().max_workers(1).thread_name("stubborn").build().unwrap();
    let view = executor.limited("disk", 1);
    let (_go, held) = hold(&view);
    let report = executor.shutdown_blocking(Shutdown::CancelAll, Some(Duration::from_millis(30)));
    assert!(!report.is_complete());
    let [running] = report.still_running.as_slice() else { panic!("{report:?}") };
    assert_eq!((running.job, running.view.as_str()), (held.id(), "disk"));
    assert!(running.thread.starts_with("stubborn"));
    let report = block_on(executor.shutdown(Shutdown::Drain).within(Duration::from_millis(30)));
    assert_eq!(report.still_running.len(), 1);
}

#[test]
fn a_job_may_shut_its_own_executor_down() {
    let executor = executor(2);
    let inner = executor.clone();
    let queued: Vec<_> = (0..20).map(|n| executor.submit(move || n)).collect();
    let job = executor.submit(move || inner.shutdown_blocking(Shutdown::Drain, SOON).is_complete());
    assert!(job.wait().unwrap());
    for (n, job) in queued.into_iter().enumerate() {
        assert_eq!(job.wait().unwrap(), n);
    }
}

#[test]
fn two_jobs_may_shut_their_executor_down_at_once() {
    let executor = executor(2);
    let jobs: Vec<_> = (0..2)
        .map(|_| {
            let inner = executor.clone();
            executor.submit(move || inner.shutdown_blocking(Shutdown::Drain, SOON).is_complete())
        })
        .collect();
    for job in jobs {
        assert!(!matches!(job.wait(), Ok(false)));
    }
}

#[test]
fn a_second_shutdown_waits_for_the_same_end() {
    let executor = executor(1);
    let (go, _held) = hold(&executor);
    let (first, second) = (executor.shutdown(Shutdown::Drain), executor.shutdown(Shutdown::CancelQueued));
    go.send(()).unwrap();
    assert!(block_on(second).is_complete());
    assert!(block_on(first).is_complete());
    assert!(executor.shutdown_blocking(Shutdown::CancelAll, SOON).is_complete());
}

#[test]
fn a_view_is_shut_down_alone() {
    let executor = executor(2);
    let view = executor.limited("view", 1);
    let (go, held) = hold(&view);
    let queued = view.submit(|| ());
    let shutdown = view.shutdown(Shutdown::CancelQueued);
    assert!(matches!(block_on(queued), Err(JobError::Cancelled)));
    assert!(matches!(block_on(view.submit(|| ())), Err(JobError::Rejected(Rejected::ShutDown))));
    go.send(()).unwrap();
    assert_eq!(block_on(shutdown).cancelled, 1);
    block_on(held).unwrap();
    assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
}

#[test]
fn a_job_of_a_view_may_shut_the_view_down() {
    let view = executor(2).limited("view", 1);
    let inner = view.clone();
    assert!(
        view.submit(move || inner.shutdown_blocking(Shutdown::Drain, SOON).is_complete()).wait().unwrap()
    );
}

#[test]
fn an_executor_dropped_in_its_own_job_ends() {
    let (tell, told) = mpsc::channel();
    let executor =
        Executor::builder().max_workers(1).on_thread_stop(move || tell.send(()).unwrap()).build().unwrap();
    let inner = executor.clone();
    let job = executor.submit(move || drop(inner));
    drop(executor);
    job.wait().unwrap();
    told.recv().unwrap();
}

#[test]
fn dropping_the_last_handle_still_runs_what_is_queued() {
    let executor = executor(1);
    let (go, _held) = hold(&executor);
    let jobs: Vec<_> = (0..10).map(|n| executor.submit(move || n)).collect();
    drop(executor);
    go.send(()).unwrap();
    assert_eq!(block_on(overlapped::gather(jobs)).unwrap().len(), 10);
}

#[test]
fn a_shutdown_inside_a_waker_or_a_drop_holds_no_lock() {
    // cpython#121649: a shutdown that interrupts the pool's own code must not find the pool's lock taken.
    struct Closer(Executor);
    impl Wake for Closer {
        fn wake(self: Arc<Self>) {
            self.0.shutdown_blocking(Shutdown::Drain, SOON);
        }
    }
    struct OnDrop(Executor);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            drop(self.0.shutdown(Shutdown::CancelQueued));
        }
    }
    let executor = executor(1);
    let (go, mut held) = hold(&executor);
    let waker = Waker::from(Arc::new(Closer(executor.clone())));
    let poll = std::pin::Pin::new(&mut held).poll(&mut std::task::Context::from_waker(&waker));
    assert!(poll.is_pending());
    let on_drop = OnDrop(executor.clone());
    let queued = executor.submit(move || drop(on_drop));
    queued.cancel();
    go.send(()).unwrap();
    assert!(executor.shutdown_blocking(Shutdown::Drain, SOON).is_complete());
}

#[test]
fn a_shutdown_during_a_panic_ends() {
    let executor = executor(1);
    let inner = executor.clone();
    let result = std::thread::spawn(move || {
        struct Close(Executor);
        impl Drop for Close {
            fn drop(&mut self) {
                self.0.shutdown_blocking(Shutdown::Drain, SOON);
            }
        }
        let close = Close(inner);
        close.0.submit(|| ()).detach();
        panic!("on purpose");
    })
    .join();
    assert!(result.is_err());
    assert_eq!(executor.metrics().threads, 0);
}

#[test]
fn a_view_is_over_although_a_permit_lives() {
    let executor = executor(1);
    let view = executor.limited("view", 1);
    let permit = block_on(view.reserve()).unwrap();
    assert!(view.shutdown_blocking(Shutdown::Drain, None).is_complete());
    assert!(matches!(permit.submit(|| ()).wait(), Err(JobError::Rejected(Rejected::ShutDown))));
}

#[test]
fn a_view_is_over_although_a_map_waits_for_a_place_in_it() {
    let executor = executor(1);
    let view = executor.limited_queue("view", 1, 1);
    let (go, held) = hold(&view);
    let queued = view.submit(|| ());
    let mut map = view.map(0.., |n: usize| n);
    let mut next = Box::pin(map.next());
    assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let end = view.shutdown(Shutdown::Drain);
    go.send(()).unwrap();
    assert!(block_on(end).is_complete());
    block_on(overlapped::gather([held, queued])).unwrap();
    let result = block_on(next).unwrap();
    assert!(matches!(result, Err(JobError::Rejected(Rejected::ShutDown))), "{result:?}");
}

#[test]
fn a_report_counts_what_is_queued_in_views() {
    let executor = executor(1);
    let (go, held) = hold(&executor);
    let view = executor.limited("view", 1);
    let queued = [view.submit(|| ()), view.submit(|| ())];
    let report = executor.shutdown_blocking(Shutdown::Drain, Some(Duration::from_millis(10)));
    assert_eq!((report.still_queued, report.is_complete()), (2, false));
    go.send(()).unwrap();
    block_on(held).unwrap();
    block_on(overlapped::gather(queued)).unwrap();
}

#[test]
fn a_wait_for_the_end_that_has_left_its_job_hides_that_job_no_longer() {
    let executor = executor(2);
    let (other, _held) = hold(&executor);
    let inner = executor.clone();
    let (give, take) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let job = executor.submit(move || {
        let mut end = inner.shutdown(Shutdown::Drain).within(Duration::from_millis(50));
        let poll = std::pin::Pin::new(&mut end).poll(&mut std::task::Context::from_waker(Waker::noop()));
        assert!(poll.is_pending());
        give.send(end).unwrap();
        gate.recv().unwrap();
    });
    let report = block_on(take.recv().unwrap());
    assert_eq!(report.still_running.len(), 2, "{report:?}");
    other.send(()).unwrap();
    go.send(()).unwrap();
    job.wait().unwrap();
}

#[test]
fn cancelling_a_view_leaves_the_order_of_others() {
    // Jobs that were kept went to the end of the queue, behind newer ones.
    let executor = executor(1);
    let (go, held) = hold(&executor);
    let view = executor.limited("view", 2);
    let ran = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = |n: usize| {
        let ran = Arc::clone(&ran);
        executor.submit(move || ran.lock().unwrap().push(n))
    };
    let early: Vec<_> = (0..10).map(note).collect();
    let of_view: Vec<_> = (0..4).map(|_| view.submit(|| panic!("cancelled"))).collect();
    let middle: Vec<_> = (10..20).map(note).collect();
    assert_eq!(view.shutdown_blocking(Shutdown::CancelQueued, SOON).cancelled, 4);
    let late: Vec<_> = (20..30).map(note).collect();
    go.send(()).unwrap();
    block_on(held).unwrap();
    block_on(overlapped::gather(early.into_iter().chain(middle).chain(late))).unwrap();
    assert!(ran.lock().unwrap().iter().copied().eq(0..30));
    drop(of_view);
}

#[test]
fn cancelling_all_tells_a_job_that_runs_another_inside() {
    let executor = Executor::builder().max_workers(1).stand_in_workers(0).build().unwrap();
    let inner = executor.clone();
    let (tell, told) = mpsc::channel();
    let job = executor.submit_cancellable(move |outer| {
        let outer = outer.clone();
        let inside = inner.submit_cancellable(move |token| {
            tell.send(()).unwrap();
            block_on(outer.cancelled());
            block_on(token.cancelled());
        });
        inside.wait().is_ok()
    });
    told.recv().unwrap();
    let report = executor.shutdown_blocking(Shutdown::CancelAll, SOON);
    assert_eq!((report.asked_to_stop, report.is_complete()), (2, true));
    assert!(job.wait().unwrap());
}

#[test]
fn a_shutdown_is_complete_when_the_threads_values_are_destroyed() {
    struct Value(Arc<AtomicUsize>, Executor);
    impl Drop for Value {
        fn drop(&mut self) {
            // It asked for the thread's own values, and the process was aborted.
            self.1.is_worker();
            assert!(self.1.submit(|| ()).wait().is_err());
            std::thread::sleep(Duration::from_millis(20));
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    thread_local!(static VALUE: std::cell::RefCell<Option<Value>> = const { std::cell::RefCell::new(None) });
    let executor = executor(2);
    let destroyed = Arc::new(AtomicUsize::new(0));
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let jobs: Vec<_> = (0..2)
        .map(|_| {
            let (value, barrier) = (Value(Arc::clone(&destroyed), executor.clone()), Arc::clone(&barrier));
            executor.submit(move || {
                VALUE.with(|slot| *slot.borrow_mut() = Some(value));
                barrier.wait();
            })
        })
        .collect();
    block_on(overlapped::gather(jobs)).unwrap();
    assert!(executor.shutdown_blocking(Shutdown::Drain, SOON).is_complete());
    assert_eq!(destroyed.load(Ordering::SeqCst), 2);
}
