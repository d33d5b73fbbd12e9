//! What attempts have in common: connections, names, time, and views for blocking work. A shard has one for its thread; a
//! client for single requests has one that its threads share.

use std::cell::Cell;
use std::hash::RandomState;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use overlapped::Executor;
use overlapped_proto::address::Dialable;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::Job;
use overlapped_proto::keepalive::{Bounds, Habit, Keepalive, Lease, Room};
use overlapped_proto::limits;
use overlapped_proto::lru::Lru;
use overlapped_proto::notes::{Note, Notes};
use overlapped_proto::origin::ConnKey;
use overlapped_proto::outcome::Failure;
use overlapped_proto::plural::counted;
use overlapped_proto::protocol::{Choice, Protocol, Sign};
use overlapped_proto::proxy::Proxy;
use overlapped_proto::range::length_of_unsatisfied;
use overlapped_proto::record::{Headers, Record};
use overlapped_proto::time::Nanos;
use overlapped_proto::timing::Stopwatch;
use tokio::runtime::Handle;
use url::{Host, Url};

use super::openings::Openings;
use super::outcome::Outcome;
use crate::body::store::Store;
use crate::body::tap::Tap;
use crate::clock::Clock;
use crate::config::Http;
use crate::durable::intents::Intents;
use crate::locality::{Guarded, Locality, OneThread};
use crate::net::Connection;
use crate::net::http2::Stream;
use crate::net::lookups::Lookups;
use crate::net::request::Template;
use crate::net::resolve::Resolver;
use crate::net::stream::Look;
use crate::plan::{Elsewhere, Plan};

/// Views of the executor for blocking work, one for each resource with its own limit, and what that work shares.
#[derive(Clone, Debug)]
pub(crate) struct Views {
    pub(crate) dns: Lookups,
    pub(crate) disk: Executor,
    pub(crate) cpu: Executor,
    /// True if a sink gives each body a file of its own.
    pub(crate) moves_bodies: bool,
    /// Streams the body of a list of one row.
    pub(crate) tap: Option<Tap>,
    /// Bodies that are spooled to disk under memory pressure.
    pub(crate) store: Arc<Store>,
    /// The write-ahead log of non-idempotent requests, in a durable run.
    pub(crate) intents: Option<Arc<Intents>>,
}

/// The executor of a run with this number of shards. All of its threads belong to it: shards, conductor, and blocking
/// work. They are started when they are needed.
pub(crate) fn run_executor(shards: usize) -> io::Result<Executor> {
    let names = limits::DNS_PARALLEL_MAX + limits::DNS_LATE_MAX;
    let threads = shards + 1 + names + limits::DISK_PARALLEL_MAX + shards;
    Executor::builder().max_workers(threads).thread_name("overlapped").build()
}

impl Views {
    /// The views for attempts on this number of threads, without a list of its own.
    pub(crate) fn new(executor: &Executor, threads: usize, store: Arc<Store>) -> Self {
        Self {
            dns: Lookups::new(executor),
            disk: executor.limited("disk", limits::DISK_PARALLEL_MAX),
            cpu: executor.limited("cpu", threads),
            moves_bodies: false,
            tap: None,
            store,
            intents: None,
        }
    }
}

/// The state that attempts have in common: those of one thread, or of several ([`Locality`]).
pub(crate) struct Requester<L: Locality = OneThread> {
    pub(crate) plan: Arc<Plan>,
    pub(crate) clock: Clock,
    pub(crate) views: Views,
    resolver: Resolver,
    idle: L::Cell<Keepalive<ConnKey, Box<Connection>>>,
    /// The number of idle connections. Published at once, because other shards read it when files run out.
    idle_gauge: Arc<AtomicUsize>,
    habits: L::Cell<Lru<ConnKey, Habit, RandomState>>,
    /// An origin has sent bytes unasked. Until then no habit is looked up for a request that may be sent twice.
    was_unasked: AtomicBool,
    /// Where the tasks of HTTP/2 run, if not in the runtime of the attempt that opens the connection.
    home: Option<Home>,
    /// Connections that are being opened, where one may do for several requests.
    pub(crate) openings: Openings,
    /// Origins that have chosen HTTP/1.1, or whose HTTP/2 has failed.
    protocols: L::Cell<Lru<ConnKey, Protocol, RandomState>>,
    /// There is one whose HTTP/2 has failed. Until then no protocol is looked up for a request on an open connection.
    has_failed_http2: AtomicBool,
    now: AtomicU64,
    draw: L::Cell<u64>,
    connections: L::Cell<Counts>,
}

/// Gives the runtime of the tasks of HTTP/2.
pub(crate) type Home = Box<dyn Fn() -> io::Result<Handle> + Send + Sync>;

/// Connections that were opened, and requests on one that was open.
#[derive(Clone, Copy, Default)]
struct Counts {
    new: u64,
    reused: u64,
}

impl<L: Locality> Requester<L> {
    /// Keeps at most `idle_max` idle connections, and their number in `idle_gauge`. `seed` is for retry jitter.
    pub(crate) fn new(
        plan: Arc<Plan>,
        views: Views,
        clock: Clock,
        idle_max: usize,
        idle_gauge: Arc<AtomicUsize>,
        seed: u64,
    ) -> Self {
        let bounds = Bounds { idle_max, ..Bounds::default() };
        Self {
            resolver: Resolver::new(views.dns.clone(), clock),
            plan,
            clock,
            views,
            idle: L::Cell::new(Keepalive::new(bounds)),
            idle_gauge,
            habits: L::Cell::new(Lru::default()),
            was_unasked: AtomicBool::new(false),
            home: None,
            openings: Openings::default(),
            protocols: L::Cell::new(Lru::default()),
            has_failed_http2: AtomicBool::new(false),
            now: AtomicU64::new(clock.now().0),
            draw: L::Cell::new(seed | 1),
            connections: L::Cell::new(Counts::default()),
        }
    }

    /// The same with one runtime for the connections of HTTP/2, whichever runtimes the attempts run in.
    pub(crate) fn at_home(self, home: Home) -> Self {
        Self { home: Some(home), ..self }
    }

    // --- time ------------------------------------------------------------------------------------------------

    /// Reads the clock and caches the time for [`Requester::now`].
    pub(crate) fn stamp(&self) -> Nanos {
        let now = self.clock.now();
        self.now.store(now.0, Ordering::Relaxed);
        now
    }

    /// The time of the last clock reading, which was in the same turn of the loop. A reading for every decision would
    /// cost more than the decisions. If several threads share it, another one may have read the clock since.
    pub(crate) fn now(&self) -> Nanos {
        Nanos(self.now.load(Ordering::Relaxed))
    }

    // --- connections -----------------------------------------------------------------------------------------

    /// Takes an idle connection for another request, which `may_repeat` or must not be sent twice.
    pub(crate) fn check_out(&self, key: &ConnKey, may_repeat: bool) -> Option<Lease<Box<Connection>>> {
        while self.may_reuse(key) {
            let mut connection = self.lease(key, may_repeat)?;
            if connection.move_to(L::runtime()).is_err() {
                continue;
            }
            // Between two requests of a client any time may pass.
            match if may_repeat && L::ONE_THREAD { connection.glance() } else { connection.look() } {
                Look::Quiet => return Some(connection),
                Look::Ended if self.now() - connection.idle_since() <= limits::REUSE_ONCE_IDLE_MAX => {
                    self.learn(key, Habit::Closes);
                }
                Look::Spoke => self.learn(key, Habit::Unasked),
                Look::Ended | Look::Parting => {}
            }
        }
        None
    }

    /// A connection of the pool, or a stream of one. If all streams of as many connections as an origin may have are in
    /// use, the request waits on the one with the fewest.
    fn lease(&self, key: &ConnKey, may_repeat: bool) -> Option<Lease<Box<Connection>>> {
        let now = self.now();
        let most = self.failed_protocol(key).streams_max();
        let (mut full, mut least) = (0, usize::MAX);
        self.idle.with(|idle| {
            let found = idle.lease(key, now, |connection| {
                let room = connection.room(may_repeat, most, now);
                if let (Room::Full, Some(leased)) = (&room, connection.leased()) {
                    (full, least) = (full + 1, least.min(leased));
                }
                room
            });
            if found.is_some() || most <= 1 || full < limits::H2_CONNECTIONS_ORIGIN_MAX {
                return found;
            }
            idle.lease(key, now, |connection| match connection.leased() {
                Some(leased) if leased <= least => connection.queue(),
                Some(_) | None => Room::Full,
            })
        })
    }

    /// Puts a connection of several streams into the pool, and leases one of them.
    pub(crate) fn share(&self, key: &ConnKey, connection: Stream) -> Lease<Box<Connection>> {
        let lease = Lease::Stream(Box::new(Connection::Http2(connection.lease())));
        let opened = connection.opened();
        let connection = Box::new(Connection::Http2(connection));
        let surplus = self.idle.with(|idle| {
            let surplus = idle.checkin(key.clone(), connection, opened, self.now());
            self.publish_idle(idle.len());
            surplus
        });
        drop(surplus);
        lease
    }

    /// The runtime for the task of a connection of HTTP/2.
    ///
    /// # Errors
    ///
    /// The system provides no event queue for it.
    pub(crate) fn home(&self) -> Result<Handle, Failure> {
        self.home.as_ref().map_or_else(|| Ok(Handle::current()), |home| home()).map_err(|error| {
            Failure::new(ErrorKind::Resource, format!("no event loop can be created: {error}"))
        })
    }

    /// What is known of the versions of HTTP that the origin of `key` speaks.
    pub(crate) fn protocol(&self, key: &ConnKey) -> Protocol {
        self.protocols.with(|known| known.get(key).copied()).unwrap_or_default()
    }

    /// The same for a request that has a connection, where an origin that has chosen HTTP/1.1 is as good as an unknown one.
    fn failed_protocol(&self, key: &ConnKey) -> Protocol {
        if self.has_failed_http2.load(Ordering::Relaxed) { self.protocol(key) } else { Protocol::default() }
    }

    /// True if the origin of `key` has left HTTP/2.
    pub(crate) fn has_left_http2(&self, key: &ConnKey) -> bool {
        self.failed_protocol(key).has_left_http2()
    }

    /// Records what the origin of `key` has done with requests that may speak `http`, and returns what is known then; the least
    /// recently used entry is evicted above the limit.
    pub(crate) fn see(&self, key: &ConnKey, sign: Sign, http: Http) -> Protocol {
        let choice = match http {
            Http::Negotiated => Choice::Negotiated,
            Http::Http1 | Http::Http2 => Choice::Prescribed,
        };
        self.protocols.with(|protocols| {
            let known = protocols.get(key).copied().unwrap_or_default().after(sign, choice);
            if known != Protocol::Http1 {
                self.has_failed_http2.store(true, Ordering::Relaxed);
            }
            protocols.insert(key.clone(), known);
            if protocols.len() > limits::HABITS_MAX {
                protocols.pop_oldest();
            }
            known
        })
    }

    /// False if each request to the origin gets a connection of its own, since it has sent bytes unasked.
    pub(crate) fn may_reuse(&self, key: &ConnKey) -> bool {
        !self.was_unasked.load(Ordering::Relaxed) || self.habit(key).allows_reuse()
    }

    /// How the origin of `key` has treated idle connections so far.
    pub(crate) fn habit(&self, key: &ConnKey) -> Habit {
        self.habits.with(|habits| habits.get(key).copied()).unwrap_or_default()
    }

    /// Records an observation of that; the least recently used entry is evicted above the limit.
    pub(crate) fn learn(&self, key: &ConnKey, habit: Habit) {
        if habit == Habit::Unasked {
            self.was_unasked.store(true, Ordering::Relaxed);
        }
        self.habits.with(|habits| {
            let known = habits.get(key).copied().unwrap_or_default();
            habits.insert(key.clone(), known.and(habit));
            if habits.len() > limits::HABITS_MAX {
                habits.pop_oldest();
            }
        });
    }

    /// Keeps a connection whose last response has been read to its end. True if it can be used for another request.
    pub(crate) fn check_in(&self, key: ConnKey, lease: Lease<Box<Connection>>) -> bool {
        let mut connection = match lease {
            Lease::Exclusive(connection) if self.may_reuse(&key) => connection,
            Lease::Exclusive(_) => return false,
            Lease::Stream(mut stream) => {
                stream.used_at(self.now());
                return true;
            }
        };
        let (opened, now) = (connection.opened(), self.now());
        connection.used_at(now);
        let surplus = self.idle.with(|idle| {
            let surplus = idle.checkin(key, connection, opened, now);
            self.publish_idle(idle.len());
            surplus
        });
        drop(surplus);
        true
    }

    /// The number of idle connections.
    pub(crate) fn idle_connections(&self) -> usize {
        self.idle.with(|idle| idle.len())
    }

    fn publish_idle(&self, count: usize) {
        self.idle_gauge.store(count, Ordering::Relaxed);
    }

    pub(crate) fn count_connection(&self) {
        self.connections.with(|counts| counts.new += 1);
    }

    pub(crate) fn count_reuse(&self) {
        self.connections.with(|counts| counts.reused += 1);
    }

    /// Connections that were opened, and requests on one that was open.
    pub(crate) fn connections(&self) -> (u64, u64) {
        let Counts { new, reused } = self.connections.with(|counts| *counts);
        (new, reused)
    }

    /// Closes every idle connection and returns their number. One with requests on it stays.
    pub(crate) fn close_idle(&self) -> usize {
        self.idle.with(|idle| {
            let all: Vec<_> = idle.clear().collect();
            let count = all.len() - self.keep(idle, all, Nanos::MAX);
            self.publish_idle(idle.len());
            count
        })
    }

    /// Closes connections that were idle for too long. Returns the next expiry.
    pub(crate) fn expire(&self) -> Option<Nanos> {
        let now = self.now();
        self.idle.with(|idle| {
            if idle.next_expiry().is_some_and(|at| at <= now) {
                let expired: Vec<_> = idle.expire(now).collect();
                self.keep(idle, expired, Nanos(now.0.saturating_sub(limits::IDLE_TIMEOUT.0)));
            }
            self.publish_idle(idle.len());
            idle.next_expiry()
        })
    }

    /// Puts those back that have requests on them, or had one after `since`; returns their number. The pool knows when a
    /// stream was leased, not when it ended.
    #[expect(clippy::vec_box, reason = "the pool gives boxes and takes them back")]
    fn keep(
        &self,
        idle: &mut Keepalive<ConnKey, Box<Connection>>,
        connections: Vec<Box<Connection>>,
        since: Nanos,
    ) -> usize {
        let before = idle.len();
        for mut connection in connections {
            if let Some(key) = connection.kept_for(since) {
                let is_used = connection.leased().is_some_and(|leased| leased > 0);
                let used = if is_used { self.now() } else { connection.idle_since() };
                let opened = connection.opened();
                drop(idle.checkin(key, connection, opened, used));
            }
        }
        idle.len() - before
    }

    /// The addresses of a row's host, or of another one that is dialled instead, that the address policy allows.
    pub(crate) async fn addresses(
        &self,
        job: &Job,
        elsewhere: Option<&Elsewhere>,
        watch: &mut Stopwatch,
    ) -> Result<Vec<Dialable>, Failure> {
        let (host, port) = match elsewhere {
            Some(other) => (Some(borrowed(&other.host)), Some(other.port)),
            None => (job.url.host(), job.url.port_or_known_default()),
        };
        let found = self.look_up(host, port, watch).await?;
        self.plan.dialable(found, job)
    }

    /// The addresses of a proxy that the address policy allows.
    pub(crate) async fn proxy_addresses(
        &self,
        proxy: &Proxy,
        watch: &mut Stopwatch,
    ) -> Result<Vec<Dialable>, Failure> {
        let found = self.look_up(Some(borrowed(proxy.host())), Some(proxy.port()), watch).await?;
        self.plan.dialable_proxy(found)
    }

    async fn look_up(
        &self,
        host: Option<Host<&str>>,
        port: Option<u16>,
        watch: &mut Stopwatch,
    ) -> Result<Vec<IpAddr>, Failure> {
        let Some(host) = host else { return Ok(Vec::new()) };
        if let Some(pinned) = self.plan.pinned(&host, port) {
            return Ok(pinned.to_vec());
        }
        Ok(match host {
            Host::Ipv4(address) => vec![address.into()],
            Host::Ipv6(address) => vec![address.into()],
            Host::Domain(name) => {
                let found = self.resolver.resolve(name).await;
                watch.dns(self.now());
                found?.to_vec()
            }
        })
    }

    /// The URL of https to ask for instead of one of http, because its host wants that (HSTS).
    pub(crate) fn upgraded(&self, url: &Url) -> Option<Url> {
        let hsts = self.plan.hsts.as_ref()?;
        hsts.upgrade(url, self.clock.unix_s(self.now()))
    }

    // --- records ---------------------------------------------------------------------------------------------

    /// The record of a row whose last attempt has ended.
    pub(crate) fn record(&self, job: Job, outcome: Box<Outcome>) -> Record {
        let Outcome { failure, status, wire, headers, raw_head, sent, notes, drained, hold, watch, .. } =
            *outcome;
        let failure = failure.or_else(|| self.judge(status?, &headers));
        let (bytes, wire_bytes, sha256, truncated) =
            (drained.bytes, drained.wire_bytes, drained.sha256, drained.truncated);
        let mut row = self.unstarted(job, None);
        row.notes.extend(notes);
        // One expression for all fields, which the compiler builds in place.
        Record {
            ok: failure.is_none(),
            failure,
            status,
            connection: wire,
            headers,
            raw_head,
            sent,
            bytes,
            wire_bytes,
            sha256,
            truncated,
            body: drained.into_body(),
            hold,
            timing: watch.timing(),
            ..row
        }
    }

    /// The failure of a row that was answered with this status.
    fn judge(&self, status: u16, headers: &Headers) -> Option<Failure> {
        let failure = self.plan.judge_status(status)?;
        let length = headers.first("content-range").and_then(length_of_unsatisfied);
        Some(match length.filter(|_| status == 416) {
            Some(length) => {
                let told = format!("{}: the body has {}", failure.message, counted(length, "byte"));
                Failure::new(failure.kind, told)
            }
            None => failure,
        })
    }

    /// A record with the fields that are known without a response.
    #[inline(always)]
    pub(crate) fn unstarted(&self, job: Job, failure: impl Into<Option<Failure>>) -> Record {
        let elapsed = self.now() - job.first_ready;
        let started_unix_us = job.first_started.map(|at| self.clock.unix_us(at));
        Record { elapsed, started_unix_us, ..untried(job, &self.plan.template, failure) }
    }

    /// xorshift64*, for retry jitter. Not cryptographic.
    pub(crate) fn random(&self) -> u64 {
        self.draw.with(|x| {
            *x ^= *x >> 12;
            *x ^= *x << 25;
            *x ^= *x >> 27;
            x.wrapping_mul(0x2545_f491_4f6c_dd1d)
        })
    }
}

/// The record of a row that was never ready, with the fields that are known without its times.
#[inline(always)]
pub(super) fn untried(job: Job, template: &Template, failure: impl Into<Option<Failure>>) -> Record {
    let method = template.method(&job).clone();
    let is_given = job.chain.is_empty() && !job.upgraded;
    let final_url = if is_given { None } else { Some(job.url.as_str().into()) };
    let host = job.url.host_str().map(Into::into);
    let url = match job.given {
        Some(given) => given,
        None => String::from(job.url).into(),
    };
    let (id, out, meta, meta_dropped) = match job.ask {
        Some(ask) => (ask.id, ask.out, ask.meta, ask.meta_dropped),
        None => (None, None, None, false),
    };
    let mut notes = Notes::default();
    if meta_dropped {
        notes.add(Note::MetaDropped);
    }
    if job.upgraded {
        notes.add(Note::Hsts);
    }
    Record {
        id,
        out,
        meta,
        notes,
        host,
        final_url,
        method,
        failure: failure.into(),
        attempts: job.attempts,
        chain: job.chain,
        row_hold: job.hold,
        ..Record::new(job.row, url)
    }
}

pub(super) fn borrowed(host: &Host<String>) -> Host<&str> {
    match host {
        Host::Domain(name) => Host::Domain(name),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    }
}

pub(super) fn bump(count: &Cell<u64>) {
    count.set(count.get() + 1);
}
