//! With the feature `metrics`: exports the counters of an executor to the recorder of the crate `metrics`. It reads the counters when
//! `export` is called, so a job costs nothing more.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::executor::Executor;
use crate::metrics::{Histogram, Metrics};

/// Exports the [`Metrics`] of an executor, or of a view, to the recorder of the crate `metrics`.
///
/// | name | kind | what it is |
/// | --- | --- | --- |
/// | `overlapped_jobs_queued`, `_running` | gauge | [`Metrics::queued`], [`running`](Metrics::running) |
/// | `overlapped_threads`, `_idle`, `_blocked` | gauge | [`Metrics::threads`], [`idle`](Metrics::idle), [`blocked`](Metrics::blocked) |
/// | `overlapped_jobs_submitted_total`, `_completed_total`, `_cancelled_total`, `_rejected_total`, `_panicked_total` | counter | [`Metrics::submitted`] and so on |
/// | `overlapped_job_wait_seconds`, `overlapped_job_run_seconds` | histogram | [`Metrics::wait`], [`run`](Metrics::run) |
///
/// Each has the label `executor`. A job costs nothing more for this: it is counted as without, and here the counts are read, under the
/// pool's lock. A duration is given as the middle of its class, so it may be wrong by half.
///
/// ```
/// use overlapped::{Executor, Exporter};
///
/// let executor = Executor::builder().max_workers(2).build()?;
/// let mut all = Exporter::new(&executor, "all");
/// let mut dns = Exporter::new(&executor.limited("dns", 1), "dns");
/// // Every few seconds, or before each scrape:
/// all.export();
/// dns.export();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Exporter {
    executor: Executor,
    name: String,
    /// What the histograms were at the last export.
    last: Metrics,
}

type Of<T> = fn(&Metrics) -> T;
type HistogramOf = fn(&Metrics) -> &Histogram;

const GAUGES: [(&str, &str, Of<usize>); 5] = [
    ("overlapped_jobs_queued", "Jobs that wait to be run", |metrics| metrics.queued),
    ("overlapped_jobs_running", "Jobs that are being run", |metrics| metrics.running),
    ("overlapped_threads", "Threads of the pool", |metrics| metrics.threads),
    ("overlapped_threads_idle", "Threads that wait for work", |metrics| metrics.idle),
    ("overlapped_threads_blocked", "Threads whose job waits for another", |metrics| metrics.blocked),
];

const COUNTERS: [(&str, &str, Of<u64>); 5] = [
    ("overlapped_jobs_submitted_total", "Jobs that entered the queue", |metrics| metrics.submitted),
    ("overlapped_jobs_completed_total", "Jobs that ran to their end", |metrics| metrics.completed),
    ("overlapped_jobs_cancelled_total", "Jobs that were cancelled before they ran", |metrics| {
        metrics.cancelled
    }),
    ("overlapped_jobs_rejected_total", "Jobs that were not let in", |metrics| metrics.rejected),
    ("overlapped_jobs_panicked_total", "Jobs that panicked", |metrics| metrics.panicked),
];

const HISTOGRAMS: [(&str, &str, HistogramOf); 2] = [
    ("overlapped_job_wait_seconds", "How long jobs waited before they ran", |metrics| &metrics.wait),
    ("overlapped_job_run_seconds", "How long jobs ran", |metrics| &metrics.run),
];

impl Exporter {
    /// For this executor, or view, under this value of the label `executor`.
    pub fn new(executor: &Executor, name: impl Into<String>) -> Self {
        Exporter { executor: executor.clone(), name: name.into(), last: Metrics::default() }
    }

    /// Sets the gauges and counters, and adds to the histograms what was counted since the last time. Does nothing in a forked child.
    pub fn export(&mut self) {
        if self.executor.is_forked() {
            return;
        }
        let now = self.executor.metrics();
        for (name, what, of) in GAUGES {
            describe_gauge!(name, Unit::Count, what);
            gauge!(name, "executor" => self.name.clone()).set(of(&now) as f64);
        }
        for (name, what, of) in COUNTERS {
            describe_counter!(name, Unit::Count, what);
            counter!(name, "executor" => self.name.clone()).absolute(of(&now));
        }
        for (name, what, of) in HISTOGRAMS {
            describe_histogram!(name, Unit::Seconds, what);
            let recorded = histogram!(name, "executor" => self.name.clone());
            for (bound, count) in of(&now).classes() {
                let before = of(&self.last).classes().find(|(other, _)| *other == bound);
                let new = count - before.map_or(0, |(_, before)| before);
                recorded.record_many(bound.as_secs_f64() * 0.75, new as usize);
            }
        }
        self.last = now;
    }
}
