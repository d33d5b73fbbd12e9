//! Wakers whose `clone` or `drop` waits for a job: they must be run under no lock that a worker needs.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, unsafe_code)]

use std::future::Future;
use std::io::{self, Read};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use futures_core::Stream;
use futures_io::AsyncRead;
use overlapped::{Executor, Shutdown, Unblock};

/// What has not ended by then never ends.
const HANGS: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    Clone,
    Drop,
}

type Act = Box<dyn FnOnce() + Send>;

/// Acts once, at the first clone or drop after it was armed.
#[derive(Default)]
struct Hook(Mutex<Option<(When, Act)>>);

impl Hook {
    fn arm(&self, when: When, act: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some((when, Box::new(act)));
    }

    fn at(&self, now: When) {
        let act = self.0.lock().unwrap().take_if(|(when, _)| *when == now);
        if let Some((_, act)) = act {
            act();
        }
    }
}

const TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, |_| (), dropped);

fn waker(hook: &Arc<Hook>) -> Waker {
    let raw = RawWaker::new(Arc::into_raw(Arc::clone(hook)).cast(), &TABLE);
    // SAFETY: the functions of the table keep to the contract; the pointer is that of an `Arc<Hook>`, one count for each waker.
    unsafe { Waker::from_raw(raw) }
}

fn clone(hook: *const ()) -> RawWaker {
    // SAFETY: as above; the count of the waker that is cloned is not given up.
    let hook = std::mem::ManuallyDrop::new(unsafe { Arc::<Hook>::from_raw(hook.cast()) });
    hook.at(When::Clone);
    RawWaker::new(Arc::into_raw(Arc::clone(&hook)).cast(), &TABLE)
}

fn wake(hook: *const ()) {
    // SAFETY: as above.
    drop(unsafe { Arc::<Hook>::from_raw(hook.cast()) });
}

fn dropped(hook: *const ()) {
    // SAFETY: as above.
    let hook = unsafe { Arc::<Hook>::from_raw(hook.cast()) };
    hook.at(When::Drop);
}

/// Gives something for each message.
struct Paced(mpsc::Receiver<()>);

impl Read for Paced {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.recv().map_or(0, |()| bytes.len().min(1)))
    }
}

impl Iterator for Paced {
    type Item = ();
    fn next(&mut self) -> Option<()> {
        self.0.recv().ok()
    }
}

/// Polls with one waker and then with another, while the first is cloned or dropped: that needs the worker of the `Unblock` to go on.
fn polled_twice(when: When, poll: fn(&mut Unblock<Paced>, &mut Context<'_>)) {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let (pace, paced) = mpsc::channel();
    let mut object = Unblock::on(&executor, Paced(paced));
    let (first, second) = (Arc::<Hook>::default(), Arc::<Hook>::default());
    poll(&mut object, &mut Context::from_waker(&waker(&first)));
    let (tell, told) = mpsc::channel();
    let worker = executor.clone();
    let other = waker(&second);
    let acts = if when == When::Clone { second } else { first };
    acts.arm(when, move || {
        pace.send(()).unwrap();
        drop(pace);
        tell.send(worker.submit(|| ()).wait_timeout(HANGS).is_some()).unwrap();
    });
    poll(&mut object, &mut Context::from_waker(&other));
    assert_eq!(told.try_recv(), Ok(true), "{when:?} of a waker is run under a lock that the worker needs");
}

#[test]
fn a_waker_of_a_read_is_cloned_and_dropped_under_no_lock() {
    for when in [When::Clone, When::Drop] {
        polled_twice(when, |object, cx| {
            let _ = AsyncRead::poll_read(Pin::new(object), cx, &mut [0]);
        });
    }
}

#[test]
fn a_waker_of_a_stream_is_cloned_and_dropped_under_no_lock() {
    for when in [When::Clone, When::Drop] {
        polled_twice(when, |object, cx| {
            let _ = Stream::poll_next(Pin::new(object), cx);
        });
    }
}

#[test]
fn a_waker_of_a_shutdown_is_cloned_under_no_lock() {
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let job = executor.submit(move || gate.recv());
    let (tell, told) = mpsc::channel();
    let polled = executor.clone();
    let thread = std::thread::spawn(move || {
        let hook = Arc::<Hook>::default();
        let asked = polled.clone();
        hook.arm(When::Clone, move || tell.send(asked.metrics().running).unwrap());
        let waker = waker(&hook);
        let _ = pin!(polled.shutdown(Shutdown::Drain)).poll(&mut Context::from_waker(&waker));
    });
    assert!(told.recv_timeout(HANGS).is_ok(), "a waker is cloned under the lock of the pool");
    drop(open);
    let _ = job.wait().unwrap();
    thread.join().unwrap();
}

#[test]
fn a_shutdown_that_is_given_up_keeps_no_waker() {
    struct Plain;
    impl std::task::Wake for Plain {
        fn wake(self: Arc<Self>) {}
    }
    let executor = Executor::builder().max_workers(1).build().unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let job = executor.submit(move || gate.recv());
    let plain = Arc::new(Plain);
    for _ in 0..100 {
        let waker = Waker::from(Arc::clone(&plain));
        let mut shutdown = pin!(executor.shutdown(Shutdown::Drain));
        assert!(shutdown.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(Arc::strong_count(&plain), 1);
    drop(open);
    assert!(job.wait().unwrap().is_err());
}
