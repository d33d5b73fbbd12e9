//! `Run`: a run on its threads, and `Control`, the handle that observes and stops it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use overlapped::{Executor, Job as Task, block_on};

use crate::error::Error;
use crate::memory::Memory;
use crate::plan::Plan;
use crate::shared::{Shared, Stage, Stop};
use crate::summary::{Progress, Summary, Tally};

/// A running run: a future of its summary.
///
/// Dropping it aborts the run: requests in flight are dropped, finished records are written.
///
/// ```
/// use overlapped_fetch::{Bulk, Config, Input};
/// # let server = overlapped_testkit::Server::start();
/// # let url = server.url("/ok");
///
/// let run = Bulk::new(Config::default())?.input(Input::Urls(Box::new([url].into_iter()))).start()?;
/// let summary = overlapped::block_on(run)?; // or `run.await`, on any runtime
/// assert!(summary.finished);
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
#[must_use = "a run that is dropped ends at once"]
pub struct Run {
    conductor: Task<Result<(), Error>>,
    control: Control,
    plan: Arc<Plan>,
    /// Dropped with the run, which ends its threads.
    #[expect(dead_code, reason = "kept for its drop")]
    executor: Executor,
}

impl Run {
    pub(crate) fn new(
        conductor: Task<Result<(), Error>>,
        control: Control,
        plan: Arc<Plan>,
        executor: Executor,
    ) -> Self {
        Self { conductor, control, plan, executor }
    }

    /// A handle to observe and stop the run, from any thread.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits for the end of the run.
    ///
    /// # Errors
    ///
    /// The list could not be read to its end, or the results could not be written.
    ///
    /// # Blocking
    ///
    /// Until the run is over.
    pub fn wait(self) -> Result<Summary, Error> {
        block_on(self)
    }
}

impl Future for Run {
    type Output = Result<Summary, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.conductor).poll(cx).map(|result| {
            result.map_err(|error| Error::task("the run has ended", &error))??;
            let summary = self.control.tally.summary(&self.control.shared);
            let (body_bytes_peak, insecure_unmet) = (self.control.memory.peak(), self.plan.trust.unmet());
            let (resolve_unmet, hosts_unmet) = (self.plan.pins_unmet(), self.plan.hosts_unmet());
            Ok(Summary { body_bytes_peak, insecure_unmet, resolve_unmet, hosts_unmet, ..summary })
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.control.abort();
    }
}

/// A handle to observe and stop a run.
///
/// ```
/// use overlapped_fetch::{Bulk, Config, Input, Stop};
/// # let server = overlapped_testkit::Server::start();
/// # let urls = (0..10_000).map(|row| server.url(&format!("/row/{row}?delay_ms=20"))).collect::<Vec<_>>();
///
/// let run = Bulk::new(Config::default())?.input(Input::Urls(Box::new(urls.into_iter()))).start()?;
/// let control = run.control();
/// # let thread =
/// std::thread::spawn(move || {
///     while control.progress().rows_done < 5 {
///         std::thread::sleep(std::time::Duration::from_millis(10));
///     }
///     control.stop();
/// });
/// let summary = run.wait()?;
/// # thread.join().unwrap();
/// assert_eq!((summary.finished, summary.stopped_by), (false, Some(Stop::Asked)));
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
    tally: Arc<Tally>,
    memory: Arc<Memory>,
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>, tally: Arc<Tally>, memory: Arc<Memory>) -> Self {
        Self { shared, tally, memory }
    }

    /// The progress of the run.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.tally.progress(&self.shared)
    }

    /// Drains the run: nothing new starts, requests in flight are finished.
    pub fn stop(&self) {
        self.shared.stop(Stage::Draining, Stop::Asked);
    }

    /// Aborts the run: requests in flight are dropped, finished records are written.
    pub fn abort(&self) {
        self.shared.stop(Stage::Aborting, Stop::Asked);
    }
}
