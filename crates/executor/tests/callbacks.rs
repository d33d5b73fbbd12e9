//! Every place where the caller's code runs, and everything that it may do there: the pool goes on.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use overlapped::{Executor, JobState, Shutdown, block_on};

const LONG: Duration = Duration::from_secs(60);

type Act = Arc<dyn Fn(&Executor) + Send + Sync>;

/// Panics when it is dropped, unless that would end the process.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "in the drop of a payload");
    }
}

/// Acts when it is dropped.
struct OnDrop(Act, Executor);

impl Drop for OnDrop {
    fn drop(&mut self) {
        (self.0)(&self.1);
    }
}

struct OnWake(Act, Executor);

impl Wake for OnWake {
    fn wake(self: Arc<Self>) {
        (self.0)(&self.1);
    }
}

/// What the caller's code does.
fn acts() -> Vec<(&'static str, Act)> {
    vec![
        ("panics", Arc::new(|_| panic!("on purpose"))),
        ("panics with a payload that panics", Arc::new(|_| std::panic::panic_any(Bomb))),
        ("submits", Arc::new(|executor| executor.submit(|| ()).detach())),
        ("submits and waits", Arc::new(|executor| drop(executor.submit(|| ()).wait()))),
        (
            "submits to a view and awaits",
            Arc::new(|executor| drop(block_on(executor.limited("own", 1).submit(|| ())))),
        ),
        ("cancels", Arc::new(|executor| drop(executor.submit(|| ())))),
        ("asks", Arc::new(|executor| drop((executor.metrics(), executor.running(), executor.is_worker())))),
        ("scopes", Arc::new(|executor| executor.scope(|scope| drop(scope.submit(|| ()))))),
        ("shuts down", Arc::new(|executor| drop(executor.shutdown(Shutdown::CancelAll)))),
        (
            "shuts down and waits",
            Arc::new(|executor| {
                drop(executor.shutdown_blocking(Shutdown::Drain, Some(Duration::from_millis(20))))
            }),
        ),
    ]
}

/// A job that runs until the sender is dropped.
fn held(executor: &Executor) -> (overlapped::Job<()>, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let job = executor.submit(move || {
        let _ = gate.recv();
    });
    while job.state() == JobState::Queued {
        std::thread::yield_now();
    }
    (job, open)
}

/// Does everything in one place of an executor with this number of workers, one act after the other.
fn check(workers: usize, put: fn(&Executor, Act)) {
    for (name, act) in acts() {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let executor = Executor::builder().max_workers(workers).queue_limit(4).build().unwrap();
            put(&executor, act);
            if !executor.is_closed() {
                let works = executor.submit(|| 1).wait();
                assert!(executor.is_closed() || works.unwrap() == 1);
            }
            let report = executor.shutdown_blocking(Shutdown::Drain, Some(LONG));
            assert!(report.is_complete(), "{report}");
            tell.send(()).unwrap();
        });
        told.recv_timeout(LONG * 2).unwrap_or_else(|error| panic!("code that {name}: {error}"));
    }
}

#[test]
fn a_closure_may_do_anything() {
    check(1, |executor, act| {
        let inner = executor.clone();
        executor.submit(move || act(&inner)).detach();
    });
}

#[test]
fn the_drop_of_a_result_may_do_anything() {
    check(1, |executor, act| {
        let inner = executor.clone();
        executor.submit(move || OnDrop(act, inner)).detach();
    });
}

#[test]
fn the_drop_of_a_closure_may_do_anything() {
    check(1, |executor, act| {
        let (job, open) = held(executor);
        let on_drop = OnDrop(act, executor.clone());
        let cancelled = executor.submit(move || drop(on_drop));
        // What waits in that drop waits for the thread.
        drop(open);
        cancelled.cancel();
        // It may have run before it was cancelled, and then its handle has the payload, whose drop panics here.
        let _ = catch_unwind(AssertUnwindSafe(|| drop((cancelled, job))));
    });
}

#[test]
fn the_waker_of_a_job_may_do_anything() {
    check(1, |executor, act| {
        let (mut job, open) = held(executor);
        let waker = Waker::from(Arc::new(OnWake(act, executor.clone())));
        assert!(Pin::new(&mut job).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(open);
        while job.state() != JobState::Finished {
            std::thread::yield_now();
        }
    });
}

#[test]
fn the_waker_of_a_place_in_the_queue_may_do_anything() {
    check(1, |executor, act| {
        let (job, open) = held(executor);
        let queued: Vec<_> = (0..4).map(|_| executor.submit(|| ())).collect();
        let waker = Waker::from(Arc::new(OnWake(act, executor.clone())));
        let mut place = Box::pin(executor.reserve());
        assert!(place.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(open);
        block_on(job).unwrap();
        drop(queued);
    });
}

#[test]
fn the_hook_of_a_token_may_do_anything() {
    // The drop of the guard waits for the hook, which may wait for a job that needs another thread.
    check(1, |executor, act| {
        let (begun, begins) = mpsc::channel();
        let (open, gate) = mpsc::channel::<()>();
        let inner = executor.clone();
        let job = executor.submit_cancellable(move |token| {
            let _hook = token.on_cancel(move || act(&inner));
            begun.send(()).unwrap();
            let _ = gate.recv();
        });
        begins.recv().unwrap();
        let canceller = std::thread::spawn(move || job.cancel());
        drop(open);
        canceller.join().unwrap();
    });
}

#[test]
fn the_iterator_of_a_map_may_do_anything() {
    check(1, |executor, act| {
        let inner = executor.clone();
        let mut items = executor.map(std::iter::repeat_with(move || act(&inner)).take(3), |()| ());
        let all = async { while items.next().await.is_some() {} };
        // On this thread, whose panic it is.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block_on(all)))
            .map_err(std::mem::forget);
    });
}

#[test]
fn hooks_of_threads_may_do_anything() {
    for (name, act) in acts() {
        for hook in ["start", "stop", "panic"] {
            let act = Arc::clone(&act);
            let (tell, told) = mpsc::channel();
            std::thread::spawn(move || {
                let slot: Arc<Mutex<Option<Executor>>> = Arc::default();
                let of_slot = Arc::clone(&slot);
                let once = Mutex::new(Some(act));
                let call = Arc::new(move || {
                    let executor = of_slot.lock().unwrap().clone();
                    let act = once.lock().unwrap().take();
                    if let (Some(executor), Some(act)) = (executor, act) {
                        act(&executor);
                    }
                });
                let call_for = |wanted: &'static str| {
                    let call = Arc::clone(&call);
                    move || {
                        if hook == wanted {
                            call();
                        }
                    }
                };
                let on_panic = call_for("panic");
                let executor = Executor::builder()
                    .max_workers(1)
                    .keep_alive(Duration::ZERO)
                    .on_thread_start(call_for("start"))
                    .on_thread_stop(call_for("stop"))
                    .on_panic(move |_| on_panic())
                    .build()
                    .unwrap();
                *slot.lock().unwrap() = Some(executor.clone());
                let _ = executor.submit(|| -> () { panic!("on purpose") }).wait();
                let works = executor.submit(|| 1).wait();
                assert!(executor.is_closed() || works.unwrap() == 1);
                let report = executor.shutdown_blocking(Shutdown::Drain, Some(LONG));
                assert!(report.is_complete(), "{report}");
                *slot.lock().unwrap() = None;
                tell.send(()).unwrap();
            });
            told.recv_timeout(LONG * 2).unwrap_or_else(|error| panic!("{hook} hook that {name}: {error}"));
        }
    }
}
