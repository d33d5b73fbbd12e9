//! The counters of an executor, and the histograms of how long jobs waited and ran. They are updated under a lock that the pool already
//! holds, so counting takes no lock and no atomic operation of its own.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// A snapshot of an executor or of one of its views.
///
/// `threads`, `idle` and `blocked` are those of the pool, which views share. All else is of the executor's own jobs and those of its
/// views, also of views that are gone; or of the view and its views.
///
/// ```
/// use overlapped::Executor;
///
/// let executor = Executor::builder().max_workers(2).build()?;
/// executor.submit(|| ()).wait().unwrap();
/// let metrics = executor.metrics();
/// assert_eq!((metrics.submitted, metrics.queued), (1, 0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Jobs that wait to be run.
    pub queued: usize,
    /// Jobs that are being run.
    pub running: usize,
    /// Threads of the pool.
    pub threads: usize,
    /// Threads that wait for work.
    pub idle: usize,
    /// Threads whose job waits for another job of the pool.
    pub blocked: usize,
    /// Jobs that entered the queue, so far.
    pub submitted: u64,
    /// Jobs that ran to their end, panics included.
    pub completed: u64,
    /// Jobs that were cancelled, or timed out, before they ran.
    pub cancelled: u64,
    /// Jobs that were not let in.
    pub rejected: u64,
    /// Jobs whose closure panicked.
    pub panicked: u64,
    /// How long jobs waited before they ran.
    pub wait: Histogram,
    /// How long jobs ran.
    pub run: Histogram,
}

/// Durations, counted in classes whose borders are powers of two of a nanosecond.
///
/// A worker that runs one short job after another adds its counts in groups of 64, so the newest few may be missing.
#[derive(Clone, Debug)]
pub struct Histogram {
    classes: [u64; CLASSES],
    /// A bit for each class that is not 0: a worker adds up few jobs at a time, and these are in few classes.
    used: u64,
    /// Nanoseconds.
    sum: u64,
}

/// The last class holds everything from 2^46 ns, some 20 hours, on.
const CLASSES: usize = 48;

impl Default for Histogram {
    fn default() -> Self {
        Histogram { classes: [0; CLASSES], used: 0, sum: 0 }
    }
}

impl Histogram {
    /// Class k holds the durations below 2^k ns that class k - 1 does not.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.sum = self.sum.saturating_add(nanos);
        let class = ((u64::BITS - nanos.leading_zeros()) as usize).min(CLASSES - 1);
        if let Some(count) = self.classes.get_mut(class) {
            *count += 1;
            self.used |= 1 << class;
        }
    }

    /// Moves everything that `other` has counted here.
    pub(crate) fn absorb(&mut self, other: &mut Histogram) {
        self.sum = self.sum.saturating_add(std::mem::take(&mut other.sum));
        self.used |= other.used;
        while other.used != 0 {
            let class = other.used.trailing_zeros() as usize;
            other.used &= other.used - 1;
            if let (Some(mine), Some(theirs)) = (self.classes.get_mut(class), other.classes.get_mut(class)) {
                *mine += std::mem::take(theirs);
            }
        }
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// All durations together; with `count`, their mean.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// An upper bound of the `q`-th quantile, exact to a factor of two; `None` when nothing was counted. `q` is from 0 to 1.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let wanted = ((count as f64 * q.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        let class = self.classes.iter().position(|n| {
            seen += n;
            seen >= wanted
        })?;
        Some(upper_bound(class))
    }

    /// The classes that are not empty, from the shortest: (upper bound, count).
    pub fn classes(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.classes.iter().enumerate().filter(|(_, n)| **n > 0).map(|(class, n)| (upper_bound(class), *n))
    }
}

fn upper_bound(class: usize) -> Duration {
    Duration::from_nanos(1 << class)
}

/// How long one job waited and ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long it waited in the queue; so far, if it still does.
    pub waited: Duration,
    /// How long it ran; so far, if it still does; `None` if it has not started, or was given up.
    pub ran: Option<Duration>,
}

/// A job that is running, and for how long: in a report, one that would not end.
#[derive(Clone, Debug)]
pub struct StillRunning {
    /// Its number; see [`Job::id`](crate::Job::id).
    pub job: u64,
    /// Its label, if it has one; see [`Executor::labelled`](crate::Executor::labelled).
    pub label: Option<String>,
    /// The call that submitted it. For a job of a [`Map`](crate::Map) or an [`Unblock`](crate::Unblock), the call that made that one.
    pub submitted_at: &'static Location<'static>,
    /// The view it was submitted to; empty for the executor itself.
    pub view: String,
    /// The name of the thread that runs it.
    pub thread: String,
    /// For how long it has been running.
    pub running_for: Duration,
}

impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}", self.job)?;
        if let Some(label) = &self.label {
            write!(f, " {label:?}")?;
        }
        if !self.view.is_empty() {
            write!(f, " in view {:?}", self.view)?;
        }
        let StillRunning { submitted_at, thread, running_for, .. } = self;
        write!(
            f,
            ", submitted at {submitted_at}, has been running on thread {thread:?} for {running_for:.1?}"
        )
    }
}
