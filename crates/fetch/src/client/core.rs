//! What the clones of a client share, and how a request is made: attempt after attempt, with its redirects and retries.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use overlapped::Executor;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::http1::Keep;
use overlapped_proto::input::{BadRow, typed, url};
use overlapped_proto::job::{Ask, Job, Row as RowNumber};
use overlapped_proto::limits;
use overlapped_proto::outcome::{Ending, Failure};
use overlapped_proto::proxy::Proxy;
use overlapped_proto::record::Record;
use overlapped_proto::redirect;
use overlapped_proto::retry;
use overlapped_proto::time::Nanos;
use tokio::runtime::{Handle, Id};

use super::cookies::CookieStore;
use super::proxies;
use super::runtimes::Runtimes;
use super::tls::{Numbers, Tls};
use crate::body::store::Store;
use crate::clock::Clock;
use crate::config::{Config, Http};
use crate::engine::attempt::{Cookies, Terms, attempt, attempt_open};
use crate::engine::outcome::Outcome;
use crate::engine::requester::{Requester, Views, run_executor};
use crate::engine::shard::bad_record;
use crate::error::Error;
use crate::fs::idle_connections_max;
use crate::locality::{Guarded, Locality, ManyThreads};
use crate::net::alarm::Alarm;
use crate::net::exchange::Reading;
use crate::net::request::Prepared;
use crate::net::upload::Upload;
use crate::plan::{Limits, Plan};
use crate::row::Row;

/// What the clones of a client share.
pub(super) struct Core {
    /// There until the drop. Never dropped in a forked child: its sockets are registered with event queues of the parent.
    parts: Option<Parts>,
    /// Its threads make the blocking calls.
    executor: Executor,
}

struct Parts {
    requester: Requester<ManyThreads>,
    runtimes: Arc<Runtimes>,
    cookies: Option<Arc<dyn CookieStore>>,
    tls: Mutex<Numbers>,
    proxies: Mutex<proxies::Numbers>,
    requests: AtomicU64,
    /// Parses URLs: those of one server cost less one after the other.
    urls: Mutex<url::Parser>,
    /// Those that no request uses, with the runtimes of their timers.
    alarms: Mutex<Vec<(Option<Id>, Alarm)>>,
}

/// The settings of one request.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) http: Http,
    pub(super) timeouts: Limits,
    pub(super) redirect: redirect::Policy,
    pub(super) decodes: bool,
    pub(super) max_bytes: u64,
    pub(super) raw_head: bool,
    pub(super) tls: Option<Tls>,
    /// The proxy of this request, or none.
    pub(super) proxy: Option<Option<Arc<Proxy>>>,
    pub(super) retries: Option<u16>,
}

/// What a request has beside its job.
pub(super) struct Call {
    pub(super) settings: Settings,
    pub(super) prepared: Option<Prepared>,
    /// It has a body that is produced while it is sent: `upload`, until that has begun.
    pub(super) uploads: bool,
    pub(super) upload: Option<Box<Upload>>,
    /// The redirects that were followed.
    pub(super) redirects: Vec<Redirect>,
}

/// A redirect that was followed: the URL that was asked, and its response.
pub(super) struct Redirect {
    pub(super) url: String,
    pub(super) outcome: Box<Outcome>,
}

impl Core {
    pub(super) fn new(config: Config, cookies: Option<Arc<dyn CookieStore>>) -> Result<Self, Error> {
        let pace = &config.pace;
        for (name, is_set) in
            [("robots", pace.robots), ("rate", pace.rate.is_some()), ("rate_host", pace.rate_host.is_some())]
        {
            if is_set {
                let message = format!("pace.{name} is for lists: a client does not hold requests back");
                return Err(Error::config(message));
            }
        }
        if !config.hosts.is_empty() {
            return Err(Error::config("hosts is for lists: a client has one setting for all hosts"));
        }
        let mut plan = Plan::new(Config { shards: Some(1), ..config })?;
        plan.windows = plan.windows.of_streams_alone();
        let plan = Arc::new(plan);
        let executor = run_executor(1).map_err(|error| Error::no_thread(Some(error)))?;
        let views = Views::new(&executor, 1, Store::new(std::env::temp_dir(), plan.run));
        let clock = Clock::start();
        let seed = clock.unix_us(clock.now()).unsigned_abs();
        let idle_max = idle_connections_max(plan.pace.parallel_max);
        let runtimes = Arc::<Runtimes>::default();
        let (of_home, threads) = (Arc::clone(&runtimes), executor.clone());
        let home = Box::new(move || of_home.watcher(&threads).cloned());
        let parts = Parts {
            requester: Requester::new(plan, views, clock, idle_max, Arc::default(), seed).at_home(home),
            runtimes,
            cookies,
            tls: Mutex::default(),
            proxies: Mutex::default(),
            requests: AtomicU64::new(0),
            urls: Mutex::default(),
            alarms: Mutex::default(),
        };
        Ok(Self { parts: Some(parts), executor })
    }

    fn parts(&self) -> &Parts {
        self.parts.as_ref().expect("the parts are there until the drop")
    }

    pub(super) fn requester(&self) -> &Requester<ManyThreads> {
        &self.parts().requester
    }

    pub(super) fn close_idle(&self) -> usize {
        if self.executor.is_forked() { 0 } else { self.requester().close_idle() }
    }

    pub(super) fn idle_connections(&self) -> usize {
        if self.executor.is_forked() { 0 } else { self.requester().idle_connections() }
    }

    /// The number of another request.
    pub(super) fn number(&self) -> RowNumber {
        RowNumber(self.parts().requests.fetch_add(1, Ordering::Relaxed))
    }

    /// The job of a request of this number.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn job(&self, number: RowNumber, url: &str, ask: Ask) -> Result<Job, BadRow> {
        // While another thread parses, this one does without what was parsed before.
        match self.parts().urls.try_lock() {
            Ok(mut urls) => typed(number, url, ask, &mut urls),
            Err(_) => typed(number, url, ask, &mut url::Parser::default()),
        }
    }

    /// The settings of requests that say nothing else.
    pub(super) fn settings(&self) -> Settings {
        let plan = &self.requester().plan;
        Settings {
            http: plan.http,
            timeouts: plan.timeouts,
            redirect: plan.redirect,
            decodes: plan.decodes,
            max_bytes: plan.response.max_bytes,
            raw_head: plan.response.raw_head,
            tls: None,
            proxy: None,
            retries: None,
        }
    }

    // --- runtimes --------------------------------------------------------------------------------------------

    /// Runs `work` on the calling thread.
    ///
    /// # Errors
    ///
    /// The system provides no event queue, or this is a forked child.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        self.check_forks()?;
        self.parts().runtimes.block_on(work).map_err(no_event_loop)
    }

    /// The runtime that a thread of the client drives.
    ///
    /// # Errors
    ///
    /// As [`Core::block_on`].
    pub(super) fn watcher(&self) -> Result<&Handle, Failure> {
        self.check_forks()?;
        self.parts().runtimes.watcher(&self.executor).map_err(no_event_loop)
    }

    /// Runs `work` in the runtime of the current task, or with the sockets watched by the client if there is none. That is
    /// decided at the first poll.
    pub(super) fn in_runtime<T>(&self, mut work: impl Future<Output = T> + Unpin) -> impl Future<Output = T> {
        let mut decided = None;
        poll_fn(move |cx| {
            let own = *decided.get_or_insert_with(|| {
                let needs_own = Handle::try_current().is_err() && !self.executor.is_forked();
                let watcher = needs_own.then(|| self.parts().runtimes.watcher(&self.executor));
                watcher.transpose().unwrap_or_default()
            });
            let _entered = own.map(Handle::enter);
            work.poll_unpin(cx)
        })
    }

    pub(super) fn is_forked(&self) -> bool {
        self.executor.is_forked()
    }

    fn check_forks(&self) -> Result<(), Failure> {
        let message = "the client was made before this process was forked; make another one in the child";
        if self.executor.is_forked() { Err(Failure::new(ErrorKind::Resource, message)) } else { Ok(()) }
    }

    fn check_runtime(&self) -> Result<(), Failure> {
        self.check_forks()?;
        let missing = |_| Failure::new(ErrorKind::Resource, "no event loop can be created for the sockets");
        Handle::try_current().map(drop).map_err(missing)
    }

    /// The alarm of a request. A timer that an earlier request has set is used again, which costs less than another one.
    pub(super) fn alarm(&self) -> Alarm {
        let kept = self.parts().alarms.with(Vec::pop);
        let Some((runtime, mut alarm)) = kept else { return Alarm::new(self.requester().clock) };
        if runtime != ManyThreads::runtime() {
            alarm.leave_runtime();
        }
        alarm
    }

    /// Keeps the alarm of a request that has ended, in the current runtime.
    pub(super) fn keep_alarm(&self, alarm: Alarm) {
        let kept = (ManyThreads::runtime(), alarm);
        self.parts().alarms.with(|alarms| {
            if alarms.len() < limits::CLIENT_ALARMS_IDLE_MAX {
                alarms.push(kept);
            }
        });
    }

    // --- requests --------------------------------------------------------------------------------------------

    /// Fetches a row, as one of this number.
    pub(super) async fn fetch(&self, number: RowNumber, row: Row) -> Record {
        let requester = self.requester();
        let memory = &requester.plan.memory;
        let (url, ask) = row.into_parts();
        let mut job = match self.job(number, url.trim(), ask) {
            Ok(job) => job,
            Err(bad) => return bad_record(bad, memory),
        };
        if let Err(failure) = self.check_runtime() {
            return requester.unstarted(job, failure);
        }
        job.hold = memory.row(job.bytes());
        let mut alarm = self.alarm();
        let outcome = Box::pin(self.perform(&mut job, &mut alarm, None)).await;
        self.keep_alarm(alarm);
        requester.record(job, outcome)
    }

    /// Makes a request, whose response is left to be read.
    pub(super) async fn call(
        &self,
        job: &mut Job,
        call: &mut Call,
        alarm: &mut Alarm,
    ) -> Result<Box<Outcome>, Failure> {
        self.check_runtime()?;
        Ok(self.perform(job, alarm, Some(call)).await)
    }

    /// Makes attempts until one has the result: of a call, or of a row.
    async fn perform(&self, job: &mut Job, alarm: &mut Alarm, mut call: Option<&mut Call>) -> Box<Outcome> {
        let requester = self.requester();
        job.ready = requester.stamp();
        (job.first_ready, job.first_started) = (job.ready, Some(job.ready));
        requester.expire();
        loop {
            if let Some(url) = requester.upgraded(&job.url) {
                job.upgrade(url);
            }
            job.attempts = job.attempts.saturating_add(1);
            let mut outcome = match call.as_deref_mut() {
                Some(call) => self.attempt(job, alarm, call).await,
                None => attempt(requester, alarm, job, &|| {}).await,
            };
            if outcome.is_shortage() {
                requester.close_idle();
            }
            job.ready = requester.stamp();
            match (outcome.redirect.take(), outcome.status) {
                (Some(follow), Some(status)) => {
                    let url = String::from(job.url.as_str());
                    outcome.follow(job, status, follow);
                    job.hold = requester.plan.memory.row(job.bytes());
                    if let Some(call) = call.as_deref_mut() {
                        call.redirects.push(Redirect { url, outcome });
                    }
                }
                (Some(_) | None, _) => match self.retry_at(job, &outcome, call.as_deref()) {
                    None => return outcome,
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

    /// Makes an attempt by the settings of a call, with cookies.
    async fn attempt(&self, job: &Job, alarm: &mut Alarm, call: &mut Call) -> Box<Outcome> {
        let (requester, settings) = (self.requester(), &call.settings);
        let cookies = self.parts().cookies.as_ref().filter(|_| call.prepared.is_none());
        let cookie = cookies.and_then(|cookies| cookies.cookies(job.url.as_str()));
        let tls = settings.tls.as_ref().map(|tls| {
            let mut numbers = self.parts().tls.lock().unwrap_or_else(PoisonError::into_inner);
            (tls.trust(), numbers.of(tls))
        });
        let mut timeouts = settings.timeouts;
        // The limit is for the request with all of its attempts; an attempt subtracts the redirects from it.
        let passed = requester.now() - job.first_ready;
        timeouts.total = timeouts.total.map(|total| (total - passed) + job.spent());
        let terms = Terms {
            http: settings.http,
            timeouts,
            redirect: settings.redirect,
            reading: Reading { keep: Keep { case: true, raw: settings.raw_head }, ..requester.plan.reading },
            decodes: settings.decodes,
            max_bytes: settings.max_bytes,
            tls,
            proxy: settings.proxy.as_ref().map(|proxy| (proxy.as_deref(), self.number_of(proxy.as_ref()))),
            cookies: match cookies {
                Some(_) => Cookies::Store(cookie.as_deref()),
                None => Cookies::Own,
            },
            prepared: call.prepared.as_ref(),
            upload: Some(&mut call.upload),
        };
        let outcome = attempt_open(requester, alarm, job, terms).await;
        let mut set_cookie = outcome.headers.all("set-cookie").peekable();
        if let (Some(cookies), Some(_)) = (cookies, set_cookie.peek()) {
            cookies.store(job.url.as_str(), &mut set_cookie);
        }
        drop(set_cookie);
        outcome
    }

    /// The number of a request's own proxy in the keys of connections; 0: none.
    fn number_of(&self, proxy: Option<&Arc<Proxy>>) -> u32 {
        let mut numbers = self.parts().proxies.lock().unwrap_or_else(PoisonError::into_inner);
        proxy.map_or(0, |proxy| self.requester().plan.proxies.numbers() + numbers.of(proxy))
    }

    /// When the next attempt starts; `None` if the outcome is the result.
    fn retry_at(&self, job: &Job, outcome: &Outcome, call: Option<&Call>) -> Option<Nanos> {
        let (requester, ending) = (self.requester(), outcome.ending());
        let policy = &requester.plan.pace.retry;
        let own = call.and_then(|call| call.settings.retries);
        let own = own.map(|retries| retry::Policy { retries, ..policy.clone() });
        let policy = own.as_ref().unwrap_or(policy);
        // What was sent of an upload cannot be sent again.
        if call.is_some_and(|call| call.uploads && call.upload.is_none()) {
            return None;
        }
        if !policy.allows(job, ending) {
            return None;
        }
        let asked = match ending {
            Ending::Response { retry_after, .. } => retry_after,
            Ending::Failed(_) => None,
        };
        let pause = asked.unwrap_or_else(|| retry::back_off(retry::retries(job), requester.random()));
        let due = requester.now() + pause;
        let total = call.and_then(|call| call.settings.timeouts.total);
        let in_time = total.is_none_or(|total| due - job.first_ready < total);
        (in_time && policy.in_time(job, due)).then_some(due)
    }
}

fn no_event_loop(error: io::Error) -> Failure {
    Failure::new(ErrorKind::Resource, format!("no event loop can be created: {error}"))
}

impl Drop for Core {
    fn drop(&mut self) {
        if self.executor.is_forked() {
            std::mem::forget(self.parts.take());
        }
    }
}
