//! A job that runs says where it was submitted, and its label.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use overlapped::{Executor, Shutdown, StillRunning, Unblock, block_on};

fn executor(workers: usize) -> Executor {
    Executor::builder().max_workers(workers).build().unwrap()
}

/// A call that says when it has begun, and ends when the channel is dropped.
fn held() -> (impl FnOnce() + Send + 'static, Receiver<()>, Sender<()>) {
    let (begun, has_begun) = channel();
    let (go, gate) = channel::<()>();
    let call = move || {
        begun.send(()).unwrap();
        let _ = gate.recv();
    };
    (call, has_begun, go)
}

/// The one job that runs, once that has begun.
fn only_one(executor: &Executor, has_begun: &Receiver<()>) -> StillRunning {
    has_begun.recv().unwrap();
    let mut running = executor.running();
    assert_eq!(running.len(), 1, "{running:?}");
    running.pop().unwrap()
}

/// Submits by each way there is, and expects the line of that very call.
macro_rules! check {
    ($executor:expr, |$call:ident| $submit:expr) => {{
        let ($call, has_begun, go) = held();
        let (line, job) = (line!(), $submit);
        let running = only_one(&$executor, &has_begun);
        assert_eq!((running.submitted_at.file(), running.submitted_at.line()), (file!(), line));
        drop(go);
        drop(job);
        while !$executor.running().is_empty() {
            std::thread::yield_now();
        }
    }};
}

#[test]
fn every_way_to_submit_notes_the_callers_place() {
    let executor = executor(1);
    let view = executor.limited("view", 1);
    check!(executor, |call| executor.submit(call));
    check!(executor, |call| view.submit(call));
    check!(executor, |call| executor.submit_cancellable(|_| call()));
    check!(executor, |call| executor.try_submit(call).map_err(drop).unwrap());
    check!(executor, |call| executor.try_submit_cancellable(|_| call()).map_err(drop).unwrap());
    check!(executor, |call| executor.run_with((), |()| call()));
    let permit = || block_on(executor.reserve()).unwrap();
    check!(executor, |call| permit().submit(call));
    check!(executor, |call| permit().submit_cancellable(|_| call()));
}

#[test]
fn what_submits_for_others_notes_who_made_it() {
    let executor = executor(1);
    let (call, has_begun, go) = held();
    let (line, mut map) = (line!(), executor.map([call], |call| call()));
    let next = std::thread::spawn(move || block_on(map.next()).unwrap());
    assert_eq!(only_one(&executor, &has_begun).submitted_at.line(), line);
    drop(go);
    next.join().unwrap().unwrap();

    let (call, has_begun, go) = held();
    let (line, mut unblock) = (line!(), Unblock::on(&executor.labelled("an object"), ()));
    let with = std::thread::spawn(move || block_on(unblock.with(|()| call())));
    let running = only_one(&executor, &has_begun);
    assert_eq!((running.submitted_at.line(), running.label.as_deref()), (line, Some("an object")));
    drop(go);
    with.join().unwrap().unwrap();

    let (call, has_begun, go) = held();
    executor.scope(|scope| {
        let (line, job) = (line!(), scope.submit(call));
        assert_eq!(only_one(&executor, &has_begun).submitted_at.line(), line);
        drop(go);
        job.wait().unwrap();
    });
}

#[test]
fn the_report_of_a_shutdown_names_what_would_not_end() {
    let executor = Executor::builder().max_workers(2).thread_name("stubborn").build().unwrap();
    let view = executor.limited("disk", 1).labelled("nightly backup");
    let ((first, begun_first, go_first), (second, begun_second, go_second)) = (held(), held());
    let (line, with_label) = (line!(), view.submit(first));
    begun_first.recv().unwrap();
    let without = executor.submit(second);
    begun_second.recv().unwrap();
    let report = executor.shutdown_blocking(Shutdown::Drain, Some(Duration::from_millis(10)));
    assert_eq!(report.still_running.len(), 2);
    let labels: Vec<_> = report.still_running.iter().filter_map(|job| job.label.as_deref()).collect();
    assert_eq!(labels, ["nightly backup"]);
    let text = report.to_string();
    assert!(
        text.starts_with("the shutdown is not complete (0 jobs cancelled, 0 asked to stop): 2 still running")
    );
    let expected = format!(
        "- job {} \"nightly backup\" in view \"disk\", submitted at {}:{line}:",
        with_label.id(),
        file!()
    );
    assert!(text.contains(&expected), "{text}");
    assert!(text.contains(&format!("- job {}, submitted at", without.id())), "{text}");
    drop((go_first, go_second));
    let report = executor.shutdown_blocking(Shutdown::Drain, None);
    assert_eq!(report.to_string(), "the shutdown is complete (0 jobs cancelled, 0 asked to stop)");
}

/// A worker keeps the origin of the job before; that must not be shown for the next.
#[test]
fn a_label_is_gone_with_its_job_and_comes_back_after_one_inside() {
    let executor = Executor::builder().max_workers(1).stand_in_workers(0).build().unwrap();
    for _ in 0..100 {
        // Made anew, so that the address may be that of the one before.
        let labels = ["one", "two"].map(|label| {
            let inner = executor.clone();
            executor.labelled(label).submit(move || inner.running().pop().unwrap().label).wait().unwrap()
        });
        assert_eq!(labels.map(Option::unwrap), ["one", "two"]);
        let inner = executor.clone();
        assert_eq!(executor.submit(move || inner.running().pop().unwrap().label).wait().unwrap(), None);
    }
    let outer = executor.labelled("outer");
    let job = outer.clone().submit(move || {
        let inner = outer.labelled("inner");
        let asked = inner.clone();
        let inside: Vec<_> = inner.submit(move || asked.running()).wait().unwrap();
        let inside: Vec<_> = inside.into_iter().filter_map(|job| job.label).collect();
        (inside, outer.running().pop().unwrap().label)
    });
    let expected = (vec!["outer".to_owned(), "inner".to_owned()], Some("outer".to_owned()));
    assert_eq!(job.wait().unwrap(), expected);
}
