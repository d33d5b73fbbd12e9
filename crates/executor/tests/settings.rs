//! Arguments at their extremes: an error that names the argument, or what the documentation says. Nothing overflows, panics or hangs.

// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io;
use std::time::Duration;

use overlapped::{Builder, Executor, JobError, Rejected, Shutdown, Unblock, Until, block_on, gather, wait};

fn executor() -> Executor {
    Executor::builder().max_workers(2).build().unwrap()
}

#[test]
fn settings_out_of_their_bounds_fail_the_build_and_are_named() {
    let new = Executor::builder;
    let cases: [(&str, Builder); 7] = [
        ("max_workers", new().max_workers(usize::MAX)),
        ("stand_in_workers", new().stand_in_workers(usize::MAX)),
        ("queue_limit", new().queue_limit(0)),
        // The standard library panics: every job was rejected for want of a thread.
        ("thread_name", new().thread_name("a\0b")),
        ("thread_name", new().thread_name("\0").min_workers(1)),
        ("stack_size", new().stack_size(usize::MAX)),
        ("stack_size", new().stack_size(usize::MAX / 2 + 1)),
    ];
    for (name, builder) in cases {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn extreme_settings_that_are_allowed_work() {
    for builder in [
        Executor::builder().max_workers(0),
        Executor::builder().max_workers(1).min_workers(usize::MAX),
        Executor::builder().max_workers(1).queue_limit(usize::MAX),
        Executor::builder().keep_alive(Duration::MAX),
        Executor::builder().keep_alive(Duration::ZERO),
        Executor::builder().stack_size(0),
        Executor::builder().thread_name(""),
        Executor::builder().thread_name("ü".repeat(1000)),
        Executor::builder().stand_in_workers(0),
    ] {
        let executor = builder.build().unwrap();
        let jobs: Vec<_> = (0..20).map(|n| executor.submit(move || n)).collect();
        assert!(block_on(gather(jobs)).unwrap().into_iter().eq(0..20));
        assert!(executor.shutdown_blocking(Shutdown::Drain, None).is_complete());
    }
}

#[test]
fn extreme_arguments_of_views_and_labels_work() {
    let executor = executor();
    let long = "long".repeat(100_000);
    for name in ["", "\0", "a\0b", "\u{202e}", &long] {
        for limit in [0, 1, usize::MAX] {
            for queue in [0, 1, usize::MAX] {
                let view = executor.limited_queue(name, limit, queue).labelled(name);
                assert_eq!(block_on(view.submit(|| 1)).unwrap(), 1, "{limit} {queue}");
                assert!(view.shutdown_blocking(Shutdown::Drain, None).is_complete());
            }
        }
    }
}

#[test]
fn the_longest_and_the_shortest_times_work() {
    let executor = executor();
    let max = Duration::MAX;
    assert_eq!(block_on(executor.submit(|| 1).timeout(max).expires_in(max)).unwrap(), 1);
    assert_eq!(executor.submit(|| 2).wait_timeout(max).unwrap().unwrap(), 2);
    let all = block_on(wait([executor.submit(|| 3)], Until::All).within(max));
    assert_eq!(all.done.len(), 1);
    let inner = executor.clone();
    let job = executor.submit(move || inner.submit(|| 4).wait_timeout(max).unwrap().unwrap());
    assert_eq!(job.wait().unwrap(), 4);

    let (open, gate) = std::sync::mpsc::channel::<()>();
    let held = executor.limited("held", 1);
    let job = held.submit(move || gate.recv().is_ok());
    while job.state() != overlapped::JobState::Running {
        std::thread::yield_now();
    }
    let late = held.submit(|| 5);
    assert!(matches!(
        block_on(held.submit(|| ()).timeout(Duration::ZERO)),
        Err(JobError::TimedOut { started: false })
    ));
    assert!(!held.shutdown_blocking(Shutdown::Drain, Some(Duration::ZERO)).is_complete());
    assert!(!block_on(held.shutdown(Shutdown::Drain).within(Duration::ZERO)).is_complete());
    open.send(()).unwrap();
    assert!(block_on(held.shutdown(Shutdown::Drain).within(max)).is_complete());
    assert_eq!((late.wait().unwrap(), job.wait().unwrap()), (5, true));
    assert!(executor.shutdown_blocking(Shutdown::Drain, Some(max)).is_complete());
    assert!(matches!(executor.submit(|| ()).wait(), Err(JobError::Rejected(Rejected::ShutDown))));
}

#[test]
fn extreme_windows_and_buffers_work() {
    let executor = executor();
    for window in [0, 1, usize::MAX] {
        let mut doubled = executor.map(0..100, |n| n * 2).window(window);
        let sum = block_on(async {
            let mut sum = 0;
            while let Some(n) = doubled.next().await {
                sum += n.unwrap();
            }
            sum
        });
        assert_eq!(sum, 9900, "{window}");
    }
    for (bytes, ahead) in [(0, 0), (1, usize::MAX), (usize::MAX, 0), (usize::MAX, usize::MAX)] {
        let mut object =
            Unblock::on(&executor, io::Cursor::new(vec![7_u8; 900])).buffer(bytes).read_ahead(ahead);
        let mut read = Vec::new();
        let mut block = [0; 700];
        loop {
            match block_on(object.read(&mut block)).unwrap() {
                0 => break,
                n => read.extend_from_slice(&block[..n]),
            }
        }
        assert_eq!(read, vec![7; 900], "{bytes} {ahead}");
    }
}

#[test]
fn the_common_executor_cannot_be_configured_after_its_first_use() {
    assert_eq!(block_on(Executor::global().submit(|| 1)).unwrap(), 1);
    let error = Executor::builder().max_workers(1).build_global().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(block_on(Executor::global().submit(|| 2)).unwrap(), 2);
}
