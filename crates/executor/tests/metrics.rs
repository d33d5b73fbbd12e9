//! What the recorder of the crate `metrics` is given.

#![cfg(all(feature = "metrics", not(any(loom, shuttle, asan))))]
// Helpers of tests, too, may do what tests may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use overlapped::{Executor, Exporter, Shutdown};

/// Everything that has the label, by name.
fn export(recorder: &DebuggingRecorder, exporter: &mut Exporter, label: &str) -> HashMap<String, DebugValue> {
    metrics::with_local_recorder(recorder, || exporter.export());
    let all = recorder.snapshotter().snapshot().into_vec().into_iter();
    let of_label = all.filter(|(key, ..)| {
        key.key().labels().any(|other| (other.key(), other.value()) == ("executor", label))
    });
    of_label.map(|(key, _, _, value)| (key.key().name().to_owned(), value)).collect()
}

fn counter(values: &HashMap<String, DebugValue>, name: &str) -> u64 {
    let DebugValue::Counter(count) = values[name] else { panic!("{name} is no counter") };
    count
}

fn gauge(values: &HashMap<String, DebugValue>, name: &str) -> f64 {
    let DebugValue::Gauge(value) = values[name] else { panic!("{name} is no gauge") };
    value.into_inner()
}

fn histogram(values: &HashMap<String, DebugValue>, name: &str) -> Vec<f64> {
    let Some(DebugValue::Histogram(values)) = values.get(name) else { return Vec::new() };
    values.iter().map(|value| value.into_inner()).collect()
}

#[test]
fn all_that_is_counted_reaches_the_recorder_once() {
    let recorder = DebuggingRecorder::new();
    let executor = Executor::builder().max_workers(2).build().unwrap();
    let view = executor.limited("disk", 1);
    let mut exporter = Exporter::new(&view, "the disk");
    for _ in 0..3 {
        view.submit(|| std::thread::sleep(std::time::Duration::from_millis(2))).wait().unwrap();
    }
    let _ = view.submit(|| panic!("on purpose")).wait();
    // Not the view's.
    executor.submit(|| ()).wait().unwrap();

    let first = export(&recorder, &mut exporter, "the disk");
    assert_eq!(first.len(), 12, "{first:?}");
    assert_eq!(counter(&first, "overlapped_jobs_submitted_total"), 4);
    assert_eq!(counter(&first, "overlapped_jobs_completed_total"), 4);
    assert_eq!(counter(&first, "overlapped_jobs_panicked_total"), 1);
    assert_eq!(counter(&first, "overlapped_jobs_cancelled_total"), 0);
    assert_eq!(gauge(&first, "overlapped_jobs_queued"), 0.0);
    assert_eq!(gauge(&first, "overlapped_jobs_running"), 0.0);
    assert!(gauge(&first, "overlapped_threads") >= 1.0);
    let run = histogram(&first, "overlapped_job_run_seconds");
    assert_eq!((run.len(), histogram(&first, "overlapped_job_wait_seconds").len()), (4, 4));
    // The middle of a class of which the lower bound is at least half of what the job slept.
    assert!(run.iter().filter(|seconds| **seconds >= 0.001).count() >= 3, "{run:?}");

    // Only what is new is added to the histograms; the counters are what they are.
    view.submit(|| ()).wait().unwrap();
    let report = view.shutdown_blocking(Shutdown::Drain, None);
    assert!(report.is_complete());
    assert!(view.submit(|| ()).wait().is_err());
    let second = export(&recorder, &mut exporter, "the disk");
    assert_eq!(histogram(&second, "overlapped_job_run_seconds").len(), 1);
    assert_eq!(counter(&second, "overlapped_jobs_rejected_total"), 1);
    let third = export(&recorder, &mut exporter, "the disk");
    assert_eq!(histogram(&third, "overlapped_job_run_seconds"), [0.0; 0]);
}
