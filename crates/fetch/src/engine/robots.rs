//! robots.txt (RFC 9309): one for each origin, cached for a day. It is fetched in the slot of the first row that needs
//! it, so that it counts against the limits of its host, and single-flight.
//!
//! Rows that waited for it return to the scheduler and start again, so that the rate limits and a `Crawl-delay` apply to
//! them. The rules are parsed in `proto`.

use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use overlapped_proto::error::{ErrorKind, Phase};
use overlapped_proto::job::Job;
use overlapped_proto::limits;
use overlapped_proto::origin::ConnKey;
use overlapped_proto::outcome::{Ending, Failure};
use overlapped_proto::robots::Rules;
use overlapped_proto::time::Nanos;
use url::{Position, Url};

use super::attempt::attempt_robots;
use super::shard::Shard;
use crate::net::alarm::Alarm;
use crate::single_flight::{Bounds, SingleFlight};

/// The rules of one shard's origins, keyed like connections: a row redirected by a public address must not cause a
/// request to an address that is forbidden to it.
pub(crate) struct Robots {
    shard: Rc<Shard>,
    agent: Rc<str>,
    cache: SingleFlight<ConnKey, Rc<Standing>, Fetching>,
}

/// The fetch of a robots.txt.
type Fetching = LocalBoxFuture<'static, Result<Rc<Standing>, Unknown>>;

/// Whether a row may be fetched.
pub(crate) enum Admission {
    /// It may.
    Go,
    /// The rules have just arrived; the row is to be started again.
    Again,
    /// It may not.
    Refused(Failure),
    /// The rules could not be fetched; the row fails in the same way.
    Unknown(Unknown),
}

/// The rules of an origin.
enum Standing {
    Rules(Rules),
    /// There is none.
    Everything,
}

/// Why the rules of an origin are unknown.
#[derive(Clone)]
pub(crate) struct Unknown {
    pub(crate) failure: Failure,
    /// The response of the server, if there was one.
    pub(crate) refusal: Option<Ending>,
}

const BOUNDS: Bounds = Bounds {
    entries_max: limits::ROBOTS_ORIGINS_MAX,
    weight_max: limits::ROBOTS_CACHE_BYTES_MAX,
    ttl: limits::ROBOTS_TTL,
};

impl Robots {
    /// `None` if the run does not use robots.txt.
    pub(crate) fn new(shard: &Rc<Shard>) -> Option<Rc<Self>> {
        let agent = shard.requester.plan.robots.as_deref()?.into();
        Some(Rc::new(Self {
            shard: Rc::clone(shard),
            agent,
            cache: SingleFlight::new(BOUNDS, |standing| standing.bytes()),
        }))
    }

    /// Whether `job`, which has been started, may be fetched.
    pub(crate) async fn admit(&self, job: &Job) -> Admission {
        let route = self.shard.requester.plan.route(job);
        let Some(key) = ConnKey::new(&job.url, route) else { return Admission::Go };
        let flight = match self.cache.get(&key, self.shard.requester.now(), || self.ask(job)) {
            Ok(standing) => return standing.judge(&job.url),
            Err(flight) => flight,
        };
        let answer = flight.await;
        let is_first = self.cache.learn(&key, &answer, self.shard.requester.now());
        match answer {
            Ok(standing) => {
                if let Some(delay) = standing.delay().filter(|_| is_first) {
                    self.shard.set_host_interval(job.host, delay);
                }
                Admission::Again
            }
            Err(unknown) => Admission::Unknown(unknown),
        }
    }

    fn ask(&self, job: &Job) -> Fetching {
        let mut url = job.url.clone();
        url.set_path("/robots.txt");
        url.set_query(None);
        url.set_fragment(None);
        let mut asking = Job::new(job.row, url);
        // Without the credentials, body and headers of the row.
        (asking.became_get, asking.crossed_origin) = (true, true);
        asking.from_public = job.from_public;
        asking.ready = self.shard.requester.now();
        fetch(Rc::clone(&self.shard), Rc::clone(&self.agent), asking).boxed_local()
    }
}

/// Fetches a robots.txt, following redirects.
async fn fetch(shard: Rc<Shard>, agent: Rc<str>, mut job: Job) -> Result<Rc<Standing>, Unknown> {
    let mut alarm = Alarm::new(shard.requester.clock);
    loop {
        let accepted = || shard.accepted(job.target());
        let mut outcome = attempt_robots(&shard.requester, &mut alarm, &job, &accepted).await;
        match (outcome.failure.take(), outcome.redirect.take(), outcome.status) {
            (None, Some(follow), Some(status)) => outcome.follow(&mut job, status, follow),
            (None, _, Some(status)) => {
                let retry_after = outcome.retry_after;
                let body = outcome.drained.into_body();
                let standing = Standing::of(status, body.inline().unwrap_or_default(), &agent);
                let message = || format!("robots.txt answered {status}, so for now nothing may be fetched");
                return standing.map(Rc::new).ok_or_else(|| Unknown {
                    failure: Failure::new(ErrorKind::PolicyRobots, message()),
                    refusal: Some(Ending::Response { status, retry_after }),
                });
            }
            // A redirect that cannot be followed counts as a missing file (RFC 9309, section 2.3.1.2).
            (Some(failure), ..) if is_lost(failure.kind) => return Ok(Rc::new(Standing::Everything)),
            (Some(failure), ..) => return Err(Unknown::new(failure.kind, &failure.message)),
            (None, _, None) => return Err(Unknown::new(ErrorKind::Internal, "no answer")),
        }
    }
}

fn is_lost(kind: ErrorKind) -> bool {
    let redirect = matches!(kind, ErrorKind::RedirectTooMany | ErrorKind::RedirectInvalid);
    redirect || (kind.phase() == Phase::Input && kind != ErrorKind::InputUrl)
}

impl Unknown {
    fn new(kind: ErrorKind, why: &str) -> Self {
        Self { failure: Failure::new(kind, format!("robots.txt: {why}")), refusal: None }
    }
}

impl Standing {
    /// `None`: the rules are unknown. A 429 refuses the request without saying whether the file exists.
    fn of(status: u16, body: &[u8], agent: &str) -> Option<Self> {
        match status {
            200..=299 => Some(Self::Rules(Rules::parse(body, agent))),
            300..=499 if status != 429 => Some(Self::Everything),
            _ => None,
        }
    }

    fn judge(&self, url: &Url) -> Admission {
        match self {
            Self::Everything => Admission::Go,
            Self::Rules(rules) if rules.allows(&url[Position::BeforePath..Position::AfterQuery]) => {
                Admission::Go
            }
            Self::Rules(_) => {
                let message = "the site's robots.txt does not allow this path";
                Admission::Refused(Failure::new(ErrorKind::PolicyRobots, message))
            }
        }
    }

    /// The `Crawl-delay`, if there is one.
    fn delay(&self) -> Option<Nanos> {
        match self {
            Self::Rules(rules) => rules.delay(),
            Self::Everything => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Rules(rules) => rules.bytes(),
            Self::Everything => 0,
        }
    }
}
