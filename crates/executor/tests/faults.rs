//! What goes wrong around a pool: refused threads, panics wherever the user's code runs, and the pitfalls of other pools by name.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use overlapped::{Executor, JobError, JobState, Rejected, Shutdown, block_on, gather};

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

/// Starts threads as long as `may` says so.
fn refusing(workers: usize, may: impl Fn(usize) -> bool + Send + Sync + 'static) -> Executor {
    let asked = AtomicUsize::new(0);
    Executor::builder()
        .max_workers(workers)
        .spawn_thread(move |new, run| {
            if may(asked.fetch_add(1, Ordering::SeqCst)) {
                std::thread::Builder::new().name(new.name).spawn(run).map(drop)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        })
        .build()
        .unwrap()
}

#[test]
fn tokio_8406_a_refused_thread_orphans_no_job() {
    for refused in 0..4 {
        let executor = refusing(4, move |asked| asked != refused);
        let jobs: Vec<_> = (0..100).map(|n| executor.submit(move || n)).collect();
        for (n, job) in jobs.into_iter().enumerate() {
            match block_on(job) {
                Ok(result) => assert_eq!(result, n),
                Err(error) => assert!(matches!(error, JobError::Rejected(Rejected::NoThread)), "{error}"),
            }
        }
        assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
    }
}

#[test]
fn without_any_thread_jobs_are_rejected_and_later_ones_try_again() {
    let allowed = Arc::new(AtomicBool::new(false));
    let may = Arc::clone(&allowed);
    let executor = refusing(4, move |_| may.load(Ordering::SeqCst));
    for _ in 0..3 {
        assert!(matches!(block_on(executor.submit(|| ())), Err(JobError::Rejected(Rejected::NoThread))));
    }
    allowed.store(true, Ordering::SeqCst);
    assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
    assert!(executor.shutdown_blocking(Shutdown::Drain, None).is_complete());
}

#[test]
fn a_spawner_that_drops_the_thread_counts_as_refusal() {
    let executor = Executor::builder().max_workers(2).spawn_thread(|_, _| Ok(())).build().unwrap();
    assert!(matches!(block_on(executor.submit(|| ())), Err(JobError::Rejected(Rejected::NoThread))));
    assert_eq!(executor.metrics().threads, 0);
}

#[test]
fn a_refused_first_thread_fails_the_build() {
    let built =
        Executor::builder().min_workers(1).spawn_thread(|_, _| Err(io::ErrorKind::WouldBlock.into())).build();
    assert_eq!(built.unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn tokio_8056_every_job_runs_at_the_thread_cap() {
    let executor = executor(2);
    for _ in 0..300 {
        let jobs: Vec<_> = (0..6).map(|n| executor.submit(move || n)).collect();
        assert_eq!(block_on(gather(jobs)).unwrap().len(), 6);
    }
}

#[test]
fn glommio_37_a_panic_reaches_the_caller_and_nobody_else() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let executor = Executor::builder()
        .max_workers(1)
        .on_panic(move |panic| {
            assert_eq!(panic.message(), "no luck");
            count.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    let job = executor.submit(|| -> () { panic!("no luck") });
    let panic = block_on(job).unwrap_err().into_panic().unwrap();
    assert_eq!(*panic.into_payload().downcast_ref::<&str>().unwrap(), "no luck");
    executor.submit(|| -> () { panic!("no luck") }).detach();
    assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    assert_eq!((executor.metrics().panicked, executor.metrics().threads), (2, 1));
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("in drop");
        }
    }
}

#[test]
fn a_result_that_panics_when_dropped_ends_no_worker() {
    let executor = executor(1);
    executor.submit(|| Bomb).detach();
    assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
    assert_eq!(executor.metrics().threads, 1);
}

#[test]
fn a_payload_that_panics_when_dropped_ends_no_worker() {
    let executor = executor(1);
    executor.submit(|| -> () { std::panic::panic_any(Bomb) }).detach();
    assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
    assert_eq!(executor.metrics().threads, 1);
}

#[test]
fn a_closure_that_panics_when_dropped_does_not_reach_who_cancels() {
    let executor = executor(1);
    let (go, gate) = mpsc::channel::<()>();
    let held = executor.submit(move || gate.recv().is_ok());
    while held.state() == JobState::Queued {
        std::thread::yield_now();
    }
    let bomb = Bomb;
    let job = executor.submit(move || {
        let _bomb = &bomb;
    });
    job.cancel();
    go.send(()).unwrap();
    assert!(block_on(held).unwrap());
    assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
}

#[test]
fn a_waker_that_panics_ends_no_worker() {
    struct Loud;
    impl Wake for Loud {
        fn wake(self: Arc<Self>) {
            panic!("in a waker");
        }
    }
    let executor = executor(1);
    let (go, gate) = mpsc::channel::<()>();
    let mut job = executor.submit(move || gate.recv().is_ok());
    let waker = Waker::from(Arc::new(Loud));
    assert!(std::pin::Pin::new(&mut job).poll(&mut Context::from_waker(&waker)).is_pending());
    go.send(()).unwrap();
    assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
    assert!(block_on(job).unwrap());
}

#[test]
fn hooks_that_panic_end_no_worker() {
    let executor = Executor::builder()
        .max_workers(1)
        .on_thread_start(|| panic!("start"))
        .on_thread_stop(|| panic!("stop"))
        .on_panic(|_| panic!("panic"))
        .build()
        .unwrap();
    assert!(block_on(executor.submit(|| -> () { panic!("job") })).is_err());
    assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
    assert!(executor.shutdown_blocking(Shutdown::Drain, None).is_complete());
}

#[test]
fn hooks_run_once_a_thread() {
    let (started, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (start, stop) = (Arc::clone(&started), Arc::clone(&stopped));
    let executor = Executor::builder()
        .max_workers(3)
        .min_workers(3)
        .on_thread_start(move || {
            start.fetch_add(1, Ordering::SeqCst);
        })
        .on_thread_stop(move || {
            stop.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    block_on(executor.submit(|| ())).unwrap();
    executor.shutdown_blocking(Shutdown::Drain, None);
    assert_eq!((started.load(Ordering::SeqCst), stopped.load(Ordering::SeqCst)), (3, 3));
}

#[test]
fn a_full_queue_is_told_to_a_worker_too() {
    let executor = Executor::builder().max_workers(1).queue_limit(1).build().unwrap();
    let inner = executor.clone();
    let job = executor.submit(move || {
        let _first = inner.submit(|| ());
        matches!(inner.submit(|| ()).wait(), Err(JobError::Rejected(Rejected::QueueFull)))
    });
    assert!(job.wait().unwrap());
}

#[test]
fn tokio_5338_a_process_ends_with_a_job_that_would_not() {
    // The end of `main` waits for no thread. Only the end of this test shows it, while the job still sleeps.
    let executor = executor(1);
    let job = executor.submit(|| std::thread::sleep(Duration::from_secs(3600)));
    while job.state() == JobState::Queued {
        std::thread::yield_now();
    }
    job.detach();
    let report = executor.shutdown_blocking(Shutdown::CancelAll, Some(Duration::from_millis(20)));
    assert_eq!(report.still_running.len(), 1);
}

#[test]
fn idle_threads_are_let_go_although_there_is_light_use() {
    // blocking 1.7 and pools that share a condition variable keep them all; here the coldest goes first.
    let executor = Executor::builder()
        .max_workers(16)
        .min_workers(1)
        .keep_alive(Duration::from_millis(30))
        .build()
        .unwrap();
    let barrier = Arc::new(std::sync::Barrier::new(16));
    let jobs: Vec<_> = (0..16)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            executor.submit(move || barrier.wait().is_leader())
        })
        .collect();
    block_on(gather(jobs)).unwrap();
    assert_eq!(executor.metrics().threads, 16);
    let mut polls = 0;
    while executor.metrics().threads > 1 {
        block_on(executor.submit(|| ())).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        polls += 1;
        assert!(polls < 60_000, "threads are not let go");
    }
    assert_eq!(block_on(executor.submit(|| 1)).unwrap(), 1);
}

#[test]
fn tokio_8406_one_refused_thread_does_not_stop_growth() {
    // One EAGAIN while the only thread was busy: 1,001 jobs, none ran until that thread was free.
    let executor = refusing(4, |asked| asked != 1);
    let (go, gate) = mpsc::channel::<()>();
    let held = executor.submit(move || gate.recv().is_ok());
    while held.state() == JobState::Queued {
        std::thread::yield_now();
    }
    let jobs: Vec<_> = (0..1000).map(|n| executor.submit(move || n)).collect();
    // Nothing else comes in.
    assert!(block_on(gather(jobs)).unwrap().into_iter().eq(0..1000));
    assert_eq!(held.state(), JobState::Running);
    go.send(()).unwrap();
    assert!(block_on(held).unwrap());
}

#[test]
fn a_spawner_that_panics_is_one_that_refuses() {
    // `std::thread::spawn` panics when the system has no thread to give.
    let asked = AtomicUsize::new(0);
    let executor = Executor::builder()
        .max_workers(2)
        .spawn_thread(move |_, run| {
            assert!(asked.fetch_add(1, Ordering::SeqCst) > 0, "no thread");
            std::thread::spawn(run);
            Ok(())
        })
        .build()
        .unwrap();
    assert!(matches!(block_on(executor.submit(|| 1)), Err(JobError::Rejected(Rejected::NoThread))));
    assert_eq!(block_on(executor.submit(|| 2)).unwrap(), 2);
    assert!(executor.shutdown_blocking(Shutdown::Drain, None).is_complete());
}

#[test]
fn a_stop_hook_may_wait() {
    // `block_on` in it counted a thread as asleep that was no longer counted at all: a dead pool.
    let stopped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&stopped);
    let executor = Executor::builder()
        .max_workers(2)
        .keep_alive(Duration::ZERO)
        .on_thread_stop(move || {
            let mut polled = false;
            block_on(std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                if std::mem::replace(&mut polled, true) {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            }));
            count.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    for n in 0..20 {
        assert_eq!(block_on(executor.submit(move || n)).unwrap(), n);
        while stopped.load(Ordering::SeqCst) <= n {
            std::thread::yield_now();
        }
    }
    assert!(executor.shutdown_blocking(Shutdown::Drain, None).is_complete());
}

#[test]
fn a_thread_in_a_slow_start_hook_swallows_no_wake_up() {
    let (go, gate) = mpsc::channel::<()>();
    let (gate, threads) = (std::sync::Mutex::new(gate), AtomicUsize::new(0));
    let executor = Executor::builder()
        .max_workers(2)
        .on_thread_start(move || {
            if threads.fetch_add(1, Ordering::SeqCst) == 1 {
                gate.lock().unwrap().recv().unwrap();
            }
        })
        .build()
        .unwrap();
    let (release, held) = mpsc::channel::<()>();
    let held = executor.submit(move || held.recv().is_ok());
    while held.state() == JobState::Queued {
        std::thread::yield_now();
    }
    // The second thread is started for this one, and comes no further than its hook.
    let second = executor.submit(|| 2);
    release.send(()).unwrap();
    assert_eq!(block_on(second).unwrap(), 2);
    for n in 0..100 {
        assert_eq!(block_on(executor.submit(move || n)).unwrap(), n);
    }
    go.send(()).unwrap();
    assert!(block_on(held).unwrap());
}

/// A result whose drop takes as long as the test wants.
struct Slow(mpsc::Receiver<()>);

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}

#[test]
fn a_slow_drop_of_a_result_holds_up_no_other_job() {
    // The next job was taken before the last result was dropped: it waited beside idle workers, and could not be cancelled.
    for workers in [1, 2] {
        let executor = executor(workers);
        let (go, gate) = mpsc::channel::<()>();
        let (finish, ready) = mpsc::channel::<()>();
        executor
            .submit(move || {
                ready.recv().unwrap();
                Slow(gate)
            })
            .detach();
        let next = executor.submit(|| 1);
        let last = executor.submit(|| 2);
        finish.send(()).unwrap();
        if workers == 2 {
            assert_eq!((block_on(next).unwrap(), block_on(last).unwrap()), (1, 2));
        } else {
            // Until it has ended, and what the worker had taken next is given back.
            while executor.metrics().completed == 0 || executor.metrics().queued < 2 {
                std::thread::yield_now();
            }
            assert_eq!(next.state(), JobState::Queued);
            assert_eq!(next.cancel(), overlapped::CancelOutcome::Removed);
        }
        drop(go);
        assert!(executor.shutdown_blocking(Shutdown::Drain, None).is_complete());
    }
}

#[test]
fn a_waker_that_asks_the_executor_when_it_is_dropped_finds_no_lock_taken() {
    struct Asks(Executor);
    impl Wake for Asks {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Asks {
        fn drop(&mut self) {
            self.0.metrics();
            let _ = self.0.submit(|| ()).cancel();
        }
    }
    let executor = Executor::builder().max_workers(1).queue_limit(1).build().unwrap();
    let waker = || Waker::from(Arc::new(Asks(executor.clone())));
    let poll = |future: &mut (dyn std::future::Future<Output = ()> + Unpin)| {
        assert!(std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker())).is_pending());
    };
    let (go, gate) = mpsc::channel::<()>();
    let mut held = executor.submit_cancellable(move |_| gate.recv().unwrap());
    while held.state() == JobState::Queued {
        std::thread::yield_now();
    }
    let permit = block_on(executor.reserve()).unwrap();
    let mut place = Box::pin(async { drop(executor.reserve().await) });
    let mut end = Box::pin(async { drop(executor.limited("view", 1).shutdown(Shutdown::Drain).await) });
    let mut job = Box::pin(async { (&mut held).await.unwrap() });
    for _ in 0..3 {
        poll(&mut place);
        poll(&mut job);
    }
    block_on(&mut end);
    drop((place, job, permit));
    go.send(()).unwrap();
    drop(held);
}
