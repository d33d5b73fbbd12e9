//! A client for single requests: each with its redirects and retries, for callers who have no list. It makes the same
//! attempts as the engine.

use std::cell::Cell;
use std::sync::Arc;

use overlapped::Executor;
use overlapped_proto::input::typed;
use overlapped_proto::job::{Job, Row as RowNumber};
use overlapped_proto::outcome::Ending;
use overlapped_proto::record::Record;
use overlapped_proto::retry;
use overlapped_proto::time::Nanos;
use tokio::runtime::Runtime;

use crate::body::store::Store;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::attempt::attempt;
use crate::engine::outcome::Outcome;
use crate::engine::requester::{Requester, Views, run_executor};
use crate::engine::shard::bad_record;
use crate::error::Error;
use crate::fs::idle_connections_max;
use crate::net::alarm::Alarm;
use crate::plan::Plan;
use crate::row::Row;

/// A client for single requests, which run on the calling thread.
///
/// A request is a [`Row`] and its result is a [`Record`], the same as for a list of this one row: a failure is a record as
/// well. Connections are kept alive from one request to the next. Records are numbered in the order of the requests.
///
/// Settings about many requests at once have no effect (`ordered`, `window_rows`, `shards`, `max_errors` and most of
/// `pace`), since the caller starts each request.
///
/// ```
/// use overlapped_fetch::{Client, Config, Row};
/// # let server = overlapped_testkit::Server::start();
/// # let (url, other) = (server.url("/redirect/1"), server.url("/echo"));
///
/// let client = Client::new(Config::default())?;
/// let record = client.get(url);
/// assert_eq!((record.status, record.chain.len()), (Some(200), 1));
///
/// let record = client.fetch(Row { body: Some(b"hello".to_vec()), ..Row::new(other) });
/// assert!(record.ok && record.body.inline().is_some());
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
pub struct Client {
    runtime: Runtime,
    requester: Requester,
    requests: Cell<u64>,
    /// Its threads make the blocking calls.
    #[expect(dead_code, reason = "kept for its drop")]
    executor: Executor,
}

impl Client {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// A setting is wrong, or limits what a client does not count: `robots`, `rate` and `rate_host` of `pace`. Or the
    /// system provides no thread or no event queue.
    pub fn new(config: Config) -> Result<Self, Error> {
        let pace = &config.pace;
        for (name, is_set) in
            [("robots", pace.robots), ("rate", pace.rate.is_some()), ("rate_host", pace.rate_host.is_some())]
        {
            if is_set {
                let message = format!("pace.{name} is for lists: a client does not hold requests back");
                return Err(Error::config(message));
            }
        }
        let plan = Arc::new(Plan::new(Config { shards: Some(1), ..config })?);
        let executor = run_executor(1).map_err(|error| Error::no_thread(Some(error)))?;
        let views = Views::new(&executor, 1, Store::new(std::env::temp_dir(), plan.run));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let clock = Clock::start();
        let seed = clock.unix_us(clock.now()).unsigned_abs();
        let idle_max = idle_connections_max(plan.pace.parallel_max);
        let requester = Requester::new(plan, views, clock, idle_max, Arc::default(), seed);
        Ok(Self {
            runtime: runtime.map_err(Error::event_queue)?,
            requester,
            requests: Cell::new(0),
            executor,
        })
    }

    /// Asks for a URL, with the method and the headers of the settings.
    ///
    /// # Panics
    ///
    /// See [`Client::fetch`].
    ///
    /// # Blocking
    ///
    /// See [`Client::fetch`].
    pub fn get(&self, url: impl Into<String>) -> Record {
        self.fetch(Row::new(url))
    }

    /// Makes a request, follows its redirects, and retries it as the settings say.
    ///
    /// # Panics
    ///
    /// Within an asynchronous task of tokio, whose thread must not be blocked.
    ///
    /// # Blocking
    ///
    /// Until the response is there or has failed.
    pub fn fetch(&self, row: Row) -> Record {
        let number = RowNumber(self.requests.replace(self.requests.get() + 1));
        let (url, ask) = row.into_parts();
        match typed(number, url.trim(), ask) {
            Ok(job) => self.runtime.block_on(self.perform(job)),
            Err(bad) => bad_record(bad, &self.requester.plan.memory),
        }
    }

    async fn perform(&self, mut job: Job) -> Record {
        let requester = &self.requester;
        let memory = &requester.plan.memory;
        let mut alarm = Alarm::new(requester.clock);
        job.ready = requester.stamp();
        job.first_ready = job.ready;
        job.hold = memory.row(job.bytes());
        requester.expire();
        loop {
            // Any time may have passed since the last read, so an idle connection is checked by a system call.
            requester.blocks.step();
            job.first_started.get_or_insert(requester.now());
            job.attempts = job.attempts.saturating_add(1);
            let mut outcome = attempt(requester, &mut alarm, &job, &|| {}).await;
            if outcome.is_shortage() {
                requester.close_idle();
            }
            job.ready = requester.stamp();
            match (outcome.redirect.take(), outcome.status) {
                (Some(follow), Some(status)) => {
                    outcome.follow(&mut job, status, follow);
                    job.hold = memory.row(job.bytes());
                }
                (Some(_) | None, _) => match self.retry_at(&job, &outcome) {
                    None => return requester.record(job, outcome),
                    Some(due) => {
                        drop(outcome);
                        tokio::time::sleep_until(requester.clock.instant(due)).await;
                        job.ready = due;
                        requester.stamp();
                    }
                },
            }
        }
    }

    /// When the next attempt starts; `None` if the outcome is the result.
    fn retry_at(&self, job: &Job, outcome: &Outcome) -> Option<Nanos> {
        let (requester, ending) = (&self.requester, outcome.ending());
        let policy = &requester.plan.pace.retry;
        if !policy.allows(job, ending) {
            return None;
        }
        let asked = match ending {
            Ending::Response { retry_after, .. } => retry_after,
            Ending::Failed(_) => None,
        };
        let pause = asked.unwrap_or_else(|| retry::back_off(retry::retries(job), requester.random()));
        let due = requester.now() + pause;
        policy.in_time(job, due).then_some(due)
    }
}
