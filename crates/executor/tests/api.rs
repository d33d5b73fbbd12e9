//! The calls that make it easy to use: cancel handles, growing sets, closed executors, errors that can be asked.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::error::Error;
use std::io::{Cursor, ErrorKind};
use std::sync::mpsc;
use std::time::Duration;

use overlapped::{
    CancelOutcome, CancelToken, Executor, JobError, JobSet, Rejected, Shutdown, Unblock, block_on,
};

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

fn until_told(token: &CancelToken) -> &'static str {
    while token.check().is_ok() {
        std::thread::yield_now();
    }
    "told"
}

#[test]
fn a_handle_cancels_while_another_awaits() {
    let executor = executor(1);
    let (begun, begins) = mpsc::channel();
    let running = executor.submit_cancellable(move |token| {
        begun.send(()).unwrap();
        until_told(token)
    });
    let queued = executor.submit(|| "ran");
    begins.recv().unwrap();
    let (running_handle, queued_handle) = (running.cancel_handle(), queued.cancel_handle());
    let other = std::thread::spawn(move || {
        let outcomes = [queued_handle.cancel(), running_handle.cancel()];
        (outcomes, queued_handle, running_handle)
    });
    assert_eq!(block_on(running).unwrap(), "told");
    assert!(block_on(queued).unwrap_err().is_cancelled());
    let (outcomes, queued, running) = other.join().unwrap();
    assert_eq!(outcomes, [CancelOutcome::Removed, CancelOutcome::Requested]);
    assert_eq!([queued.cancel(), running.cancel()], [CancelOutcome::TooLate; 2]);
}

#[test]
fn a_set_grows_while_it_is_awaited_and_gives_each_once() {
    let executor = executor(4);
    let mut set = JobSet::new();
    let mut seen = vec![0; 1000];
    (0..10).for_each(|n| set.insert(executor.submit(move || n)));
    let mut next = 10;
    while let Some(result) = block_on(set.next()) {
        let n: usize = result.unwrap();
        *seen.get_mut(n).unwrap() += 1;
        for _ in 0..2 {
            if next < 1000 {
                let n = next;
                set.insert(executor.submit(move || n));
                next += 1;
            }
        }
    }
    assert!(set.is_empty() && seen.iter().all(|count| *count == 1));
}

#[test]
fn a_set_is_cancelled_as_one_and_still_gives_all() {
    let executor = executor(1);
    let mut set = JobSet::new();
    let (begun, begins) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    set.insert(executor.submit_cancellable(move |token| {
        begun.send(()).unwrap();
        let told = until_told(token);
        // The others would run if its thread became free before they are cancelled.
        let _ = gate.recv();
        told
    }));
    (0..5).for_each(|_| set.insert(executor.submit(|| "ran")));
    begins.recv().unwrap();
    set.cancel_all();
    drop(open);
    let results: Vec<_> = std::iter::from_fn(|| block_on(set.next())).collect();
    assert_eq!(results.iter().filter(|result| matches!(result, Err(JobError::Cancelled))).count(), 5);
    assert_eq!(results.iter().filter(|result| matches!(result, Ok("told"))).count(), 1);
}

#[test]
fn every_way_to_submit_can_be_asked_to_stop() {
    let executor = executor(4);
    let permit = block_on(executor.reserve()).unwrap();
    for job in [
        executor.submit_cancellable(until_told),
        permit.submit_cancellable(until_told),
        executor.try_submit_cancellable(until_told).unwrap(),
    ] {
        while job.state() != overlapped::JobState::Running {
            std::thread::yield_now();
        }
        assert_eq!(job.cancel(), CancelOutcome::Requested);
        assert_eq!(job.wait().unwrap(), "told");
    }
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let mut map = executor.map_cancellable(0..2, move |token, n| {
        let tell = tell.lock().unwrap().clone();
        if n == 1 {
            until_told(token);
        }
        tell.send(n).unwrap();
    });
    block_on(map.next()).unwrap().unwrap();
    assert_eq!(told.recv().unwrap(), 0);
    drop(map);
    // Also if the second had not begun: then its sender goes with it.
    assert!(told.iter().all(|n| n == 1));
}

#[test]
fn a_closure_that_is_not_taken_comes_back() {
    let executor = executor(1);
    executor.shutdown_blocking(Shutdown::Drain, None);
    let full = executor.try_submit_cancellable(|_| 7).unwrap_err();
    assert_eq!(full.why, Rejected::ShutDown);
    let job = Executor::global().submit_cancellable(full.closure);
    assert_eq!(job.wait().unwrap(), 7);
}

#[test]
fn closed_says_so() {
    let executor = executor(1);
    let view = executor.limited("view", 1);
    assert!(!executor.is_closed() && !view.is_closed());
    view.shutdown_blocking(Shutdown::Drain, None);
    assert!(!executor.is_closed() && view.is_closed());
    executor.shutdown_blocking(Shutdown::Drain, None);
    assert!(executor.is_closed());
}

#[test]
fn a_view_of_the_same_name_is_the_same_view() {
    let executor = executor(4);
    let one = executor.limited("db", 1);
    let same = executor.limited("db", 1);
    let (open, gate) = mpsc::channel::<()>();
    let job = one.submit(move || gate.recv().is_err());
    let waits = same.submit(|| ());
    assert_eq!(same.metrics().submitted, 2);
    drop(open);
    assert!(job.wait().unwrap());
    waits.wait().unwrap();
    // Below another view it is another one, and after the last handle a new one.
    assert_eq!(same.limited("db", 1).metrics().submitted, 0);
    drop((one, same));
    assert_eq!(executor.limited("db", 2).metrics().submitted, 0);
}

#[test]
#[should_panic(expected = "is there already, with a limit of 1")]
fn a_view_of_the_same_name_with_another_limit_is_refused() {
    let executor = executor(4);
    let _one = executor.limited("db", 1);
    let _other = executor.limited("db", 2);
}

#[test]
fn errors_say_what_they_are() {
    let executor = executor(1);
    let panicked = executor.submit(|| panic!("on purpose")).wait().unwrap_err();
    assert!(panicked.is_panic() && !panicked.is_timeout() && !panicked.is_cancelled());
    assert_eq!(panicked.source().unwrap().to_string(), "on purpose");
    let (open, gate) = mpsc::channel::<()>();
    let busy = executor.submit(move || gate.recv().is_err());
    let late = executor.submit(|| ()).timeout(Duration::from_millis(1)).wait().unwrap_err();
    assert!(late.is_timeout() && late.source().is_none());
    drop(open);
    assert!(busy.wait().unwrap());
    executor.shutdown_blocking(Shutdown::Drain, None);
    let rejected = executor.submit(|| ()).wait().unwrap_err();
    assert_eq!(rejected.source().unwrap().to_string(), Rejected::ShutDown.to_string());
}

#[test]
fn a_panic_says_where_it_happened() {
    let executor = Executor::builder().max_workers(1).panic_locations().build().unwrap();
    let panicked = executor.submit(|| panic!("here")).wait();
    let panic = panicked.unwrap_err().into_panic().unwrap();
    assert!(panic.location().is_some_and(|place| place.contains("api.rs:")), "{:?}", panic.location());
    // One that is thrown on has no place of its own, and not that of another.
    let resumed = executor.submit(|| {
        drop(std::panic::catch_unwind(|| panic!("caught")));
        std::panic::resume_unwind(Box::new("resumed"))
    });
    let panic = resumed.wait().unwrap_err().into_panic().unwrap();
    assert_eq!((panic.message(), panic.location()), ("resumed", None));
}

#[test]
fn sums_of_times_are_counted() {
    let executor = executor(1);
    let pause = Duration::from_millis(5);
    (0..3).for_each(|_| executor.submit(move || std::thread::sleep(pause)).wait().unwrap());
    assert!(executor.metrics().run.sum() >= 3 * pause);
    assert_eq!(executor.metrics().run.count(), 3);
}

#[test]
fn the_common_executor_is_built_once() {
    // Another test of this program may have used it first.
    let first = Executor::builder().max_workers(3).build_global().map(|_| ());
    assert!(first.map_or_else(|error| error.kind() == ErrorKind::AlreadyExists, |()| true));
    let again = Executor::builder().build_global().unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert_eq!(Executor::global().submit(|| 1).wait().unwrap(), 1);
}

#[test]
fn an_object_is_used_without_any_extension_trait() {
    let mut object = Unblock::new(Cursor::new(Vec::new()));
    block_on(async {
        object.write_all(b"one two").await.unwrap();
        object.flush().await.unwrap();
        assert_eq!(object.seek(std::io::SeekFrom::Start(4)).await.unwrap(), 4);
        let mut word = [0; 2];
        object.read_exact(&mut word).await.unwrap();
        let mut rest = Vec::new();
        assert_eq!(object.read_to_end(&mut rest).await.unwrap(), 1);
        assert_eq!((&word, rest.as_slice()), (b"tw", b"o".as_slice()));
        object.close().await.unwrap();
    });
}

#[cfg(feature = "tokio")]
#[test]
#[allow(unused_imports, reason = "that both can be there is what is tested")]
fn the_extension_traits_of_two_crates_can_be_imported_together() {
    use smol::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
    let mut object = Unblock::new(Cursor::new(b"text".to_vec()));
    block_on(async {
        let mut text = [0; 4];
        object.read_exact(&mut text).await.unwrap();
        object.seek(std::io::SeekFrom::Start(0)).await.unwrap();
        object.write_all(b"TEXT").await.unwrap();
        object.flush().await.unwrap();
        assert_eq!(
            (&text, object.into_inner().await.unwrap().0.get_ref().as_slice()),
            (b"text", b"TEXT".as_slice())
        );
    });
}

#[test]
fn a_set_refuses_a_job_that_has_given_its_result_and_stays_as_it_was() {
    let executor = executor(1);
    let mut given = executor.submit(|| 1);
    block_on(&mut given).unwrap();
    let mut set = JobSet::new();
    set.insert(executor.submit(|| 2));
    block_on(set.next()).unwrap().unwrap();
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| set.insert(given)));
    let said = refused.unwrap_err();
    assert_eq!(said.downcast_ref(), Some(&"a job was added to a set after it had given its result"));
    assert!(set.is_empty());
    set.insert(executor.submit(|| 3));
    assert_eq!(block_on(set.next()).unwrap().unwrap(), 3);
    assert!(block_on(set.next()).is_none());
}

#[cfg(feature = "tokio")]
#[test]
fn the_runtime_is_that_of_the_submitter_if_asked_for() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let inside = Executor::builder().max_workers(1).tokio_context().build().unwrap();
    let outside = executor(1);
    runtime.block_on(async {
        let spawned = inside
            .submit(|| tokio::runtime::Handle::current().block_on(async { tokio::spawn(async { 7 }).await }));
        assert_eq!(spawned.await.unwrap().unwrap(), 7);
        let nothing = outside.submit(|| tokio::runtime::Handle::try_current().is_err());
        assert!(nothing.await.unwrap());
    });
    // Where there is no runtime, there is none in the job.
    assert!(inside.submit(|| tokio::runtime::Handle::try_current().is_err()).wait().unwrap());
}
