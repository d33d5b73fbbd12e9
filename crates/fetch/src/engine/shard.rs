//! A shard: the state of its hosts, on one thread, with the operations that attempts need. The loop that drives it is
//! in [`super::driver`].

use std::cell::{Cell, RefCell};
use std::hash::RandomState;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use overlapped::Executor;
use overlapped_proto::adaptive_limit::Verdict;
use overlapped_proto::address::{Dialable, Reach};
use overlapped_proto::input::BadRow;
use overlapped_proto::job::{HostKey, Job, Target};
use overlapped_proto::keepalive::{Bounds, Habit, Keepalive, Lease};
use overlapped_proto::limits;
use overlapped_proto::lru::Lru;
use overlapped_proto::notes::Note;
use overlapped_proto::origin::ConnKey;
use overlapped_proto::outcome::{Failure, Hop};
use overlapped_proto::record::Record;
use overlapped_proto::redirect::Follow;
use overlapped_proto::schedule::{Finish, Held, Next, Scheduler};
use overlapped_proto::time::Nanos;
use overlapped_proto::timing::Stopwatch;
use url::Host;

use super::conservation::Accounts;
use super::outcome::Outcome;
use super::spill::{Back, Outside, Spilling};
use crate::body::store::Store;
use crate::body::tap::Tap;
use crate::clock::Clock;
use crate::durable::intents::Intents;
use crate::fs::idle_connections_max;
use crate::memory::Memory;
use crate::net::Connection;
use crate::net::http1::Blocks;
use crate::net::resolve::Resolver;
use crate::net::stream::Look;
use crate::per_shard::ShardId;
use crate::plan::Plan;
use crate::shared::{Gauges, Shared, Stage, number_of};

/// Views of the executor for blocking work, one for each resource with its own limit, and what that work shares.
#[derive(Clone, Debug)]
pub(crate) struct Views {
    pub(crate) dns: Executor,
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

/// The state of one shard. Single-threaded: no borrow of a cell is held across an `await`.
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) clock: Clock,
    pub(crate) views: Views,
    shared: Arc<Shared>,
    resolver: Resolver,
    scheduler: RefCell<Scheduler>,
    spilling: RefCell<Spilling>,
    idle: RefCell<Keepalive<ConnKey, Box<Connection>>>,
    habits: RefCell<Lru<ConnKey, Habit, RandomState>>,
    /// An origin has sent bytes unasked. Until then no habit is looked up for a request that may be sent twice.
    was_unasked: Cell<bool>,
    /// The buffers that all its connections share.
    pub(crate) blocks: Rc<Blocks>,
    outbox: RefCell<Outbox>,
    now: Cell<Nanos>,
    held_by_rate: Cell<bool>,
    /// Nothing starts before this time, because files or ports ran out.
    paused_until: Cell<Nanos>,
    relief: Cell<usize>,
    draw: Cell<u64>,
    counts: Counts,
    accounts: Accounts,
}

#[derive(Default)]
struct Counts {
    connections_new: Cell<u64>,
    connections_reused: Cell<u64>,
    retries: Cell<u64>,
    redirects: Cell<u64>,
}

/// Finished rows on their way to the conductor.
#[derive(Default)]
struct Outbox {
    records: Vec<Record>,
    /// Bytes of heads and bodies.
    bytes: usize,
    since: Nanos,
}

/// What a shard does next.
#[expect(
    clippy::large_enum_variant,
    reason = "it is returned and taken apart once; a box would be an allocation a row"
)]
pub(crate) enum Turn {
    /// Make an attempt at this row.
    Start(Job),
    /// Nothing can start before this time.
    Wait(Nanos),
    /// Nothing can start before the next event: a finished request, a new row, or a wake-up.
    Idle,
}

impl Shard {
    pub(crate) fn new(
        id: ShardId,
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        views: Views,
        outside: Outside,
        clock: Clock,
        seed: u64,
    ) -> Rc<Self> {
        let idle_max = (idle_connections_max(plan.pace.parallel_max) / plan.shards).max(1);
        let resolver = Resolver::new(views.dns.clone(), clock);
        let scheduler = RefCell::new(Scheduler::new(plan.pace.clone()));
        let spilling = RefCell::new(Spilling::new(outside, id, views.disk.clone()));
        Rc::new(Self {
            id,
            plan,
            clock,
            views,
            shared,
            resolver,
            scheduler,
            spilling,
            idle: RefCell::new(Keepalive::new(Bounds { idle_max, ..Bounds::default() })),
            habits: RefCell::default(),
            was_unasked: Cell::new(false),
            blocks: Rc::default(),
            outbox: RefCell::default(),
            now: Cell::new(clock.now()),
            held_by_rate: Cell::new(false),
            paused_until: Cell::new(Nanos::ZERO),
            relief: Cell::new(0),
            draw: Cell::new(seed | 1),
            counts: Counts::default(),
            accounts: Accounts::default(),
        })
    }

    // --- time ------------------------------------------------------------------------------------------------

    /// Reads the clock and caches the time for [`Shard::now`].
    pub(crate) fn stamp(&self) -> Nanos {
        let now = self.clock.now();
        self.now.set(now);
        now
    }

    /// The time of the last clock reading, which was in the same turn of the loop. A reading for every decision would
    /// cost more than the decisions.
    pub(crate) fn now(&self) -> Nanos {
        self.now.get()
    }

    // --- rows ------------------------------------------------------------------------------------------------

    /// Takes rows that the conductor or other shards have sent.
    pub(crate) fn receive(&self) {
        let channels = &self.shared.channels;
        let inbox = channels.inbox(self.id);
        if inbox.len() > 0 {
            channels.set_ready(self.id, true);
        }
        let now = self.now();
        while let Some(mut jobs) = inbox.pop() {
            self.accounts.received.add(jobs.len());
            let (mut scheduler, mut spilling) = (self.scheduler.borrow_mut(), self.spilling.borrow_mut());
            for job in jobs.drain(..) {
                if job.is_fresh() && spilling.has(job.host) {
                    spilling.push(&job);
                } else {
                    scheduler.submit(job, now);
                }
            }
            inbox.reuse(jobs);
        }
    }

    /// Widens the window or evicts rows to disk if the window is full of rows that cannot start, and polls the disk for
    /// rows that were requested back. True if some arrived. To be called in each turn of the loop.
    pub(crate) fn attend(&self, cx: &mut Context<'_>) -> bool {
        self.make_room();
        if self.spilling.borrow().is_idle() {
            return false;
        }
        let queued_of = |host| self.scheduler.borrow().queued_of(host);
        let mut moved = false;
        loop {
            // Returning rows may exceed the window, otherwise they would starve behind new rows. Their number is bounded
            // too, because a redirect may move them to a slower host.
            let crowded = || self.shared.channels.is_crowded(self.plan.window_rows.saturating_mul(2));
            let polled = self.spilling.borrow_mut().poll(queued_of, crowded, cx);
            match polled {
                Poll::Ready(Ok(backs)) => backs.into_iter().for_each(|back| self.take_back(back)),
                Poll::Ready(Err(error)) => self.shared.fail(error),
                Poll::Pending => break,
            }
            moved = true;
        }
        self.publish_spilled();
        moved
    }

    fn make_room(&self) {
        if !self.shared.wants_room() || self.scheduler.borrow().is_ready() {
            return;
        }
        if self.shared.channels.widen(self.plan.window_rows) {
            return;
        }
        // In ordered mode a later row cannot be written before an earlier one, so eviction would make no room.
        if self.plan.ordered {
            return;
        }
        let mut spilling = self.spilling.borrow_mut();
        if spilling.takes() {
            let count = (self.plan.window_rows / limits::SPILL_SHARE).max(1);
            let spare = |host| spilling.has(host);
            let evicted = self.scheduler.borrow_mut().evict(count, spare, self.now());
            evicted.iter().for_each(|job| spilling.push(job));
        }
    }

    fn take_back(&self, back: Back) {
        let now = self.now();
        for row in back.rows {
            match row {
                Ok(mut job) => {
                    job.hold = self.plan.memory.row(job.bytes());
                    self.scheduler.borrow_mut().submit(job, now);
                }
                Err(bad) => self.deliver(bad_record(bad, &self.plan.memory)),
            }
        }
        self.look_after(back.host);
    }

    /// Requests a host's rows back from disk when few are left in memory. To be called whenever its queue gets shorter.
    fn look_after(&self, host: HostKey) {
        let mut spilling = self.spilling.borrow_mut();
        if spilling.has(host) && self.scheduler.borrow().queued_of(host) < limits::WINDOW_ROWS_HOST / 2 {
            spilling.want(host);
        }
    }

    fn publish_spilled(&self) {
        let mut spilling = self.spilling.borrow_mut();
        self.shared.channels.set_spilled(self.id, spilling.report());
        if let Some(failure) = spilling.failure() {
            self.shared.spill_failure.get_or_init(|| failure.to_owned());
        }
    }

    /// Decides what to do next. A started row holds its place in the scheduler and in the budget until
    /// [`Shard::conclude`] or [`Shard::put_back`].
    pub(crate) fn next(&self) -> Turn {
        match self.shared.stage() {
            Stage::Running => {}
            Stage::Draining | Stage::Aborting => return Turn::Idle,
        }
        let (queued, held) = {
            let scheduler = self.scheduler.borrow();
            (scheduler.queued(), scheduler.in_flight())
        };
        if self.paused_until.get() > self.now() {
            return if queued == 0 { Turn::Idle } else { Turn::Wait(self.paused_until.get()) };
        }
        let nothing = queued == 0 || self.shared.channels.is_behind(limits::BATCHES_WAITING_MAX);
        let memory = &self.plan.memory;
        let nothing = nothing || held > 0 && self.shared.channels.stalls_while(|| memory.has_long_chains());
        if nothing || !self.shared.take_request(self.id, held) {
            return Turn::Idle;
        }
        let now = self.now();
        let turn = self.shared.at_rate(now, || {
            let turn = self.poll(now);
            let started = matches!(turn, Turn::Start(_));
            (turn, started)
        });
        self.held_by_rate.set(turn.is_err());
        let turn = turn.unwrap_or_else(Turn::Wait);
        if !matches!(turn, Turn::Start(_)) {
            self.shared.give_request(self.id);
        }
        turn
    }

    fn poll(&self, now: Nanos) -> Turn {
        loop {
            let next = self.scheduler.borrow_mut().poll(now);
            match next {
                Next::Start(job) => {
                    self.look_after(job.host);
                    return Turn::Start(job);
                }
                Next::Fail(job, failure) => {
                    self.look_after(job.host);
                    self.deliver(self.unstarted(job, failure));
                }
                Next::WaitUntil(at) => return Turn::Wait(at),
                Next::WaitForEvent | Next::Idle => return Turn::Idle,
            }
        }
    }

    /// Ends an attempt: the row is delivered, retried, or redirected.
    pub(crate) fn conclude(&self, mut job: Job, mut outcome: Outcome) {
        self.shared.give_request(self.id);
        if outcome.is_shortage() {
            match self.run_short(job) {
                Some(failed) => job = failed,
                None => return,
            }
        } else {
            self.shared.run_well(self.now());
        }
        match (outcome.redirect.take(), outcome.status) {
            (Some(follow), Some(status)) => self.follow(job, status, &outcome, follow),
            _ => {
                let now = self.now();
                match self.scheduler.borrow_mut().finish(job, outcome.ending(), now, self.random()) {
                    Finish::Deliver(done) => job = done,
                    Finish::RetryAt(_) => {
                        bump(&self.counts.retries);
                        return;
                    }
                    Finish::PutBack => return,
                }
                self.deliver(self.record(job, outcome));
            }
        }
    }

    /// Returns a started row to its queue without counting an attempt, because it cannot start yet.
    pub(crate) fn put_back(&self, job: Job) {
        self.shared.give_request(self.id);
        self.scheduler.borrow_mut().put_back(job, self.now());
    }

    /// Reports that a started row has a connection to this origin.
    pub(crate) fn accepted(&self, target: Target) {
        self.scheduler.borrow_mut().accepted(target, self.now());
    }

    /// Sets the minimum time between two requests to a host (`Crawl-delay`).
    pub(crate) fn set_host_interval(&self, host: HostKey, interval: Nanos) {
        self.scheduler.borrow_mut().set_host_interval(host, interval, self.now());
    }

    /// Files or ports ran out: the row returns to its queue without an attempt counted, unless the shortage persists;
    /// then it is given back to fail.
    fn run_short(&self, job: Job) -> Option<Job> {
        let now = self.now();
        let closed = self.close_idle();
        match self.shared.run_short(closed, now) {
            Verdict::Fail => Some(job),
            Verdict::Again(at) => {
                self.paused_until.set(at);
                self.scheduler.borrow_mut().put_back(job, now);
                None
            }
        }
    }

    fn follow(&self, mut job: Job, status: u16, outcome: &Outcome, follow: Follow) {
        bump(&self.counts.redirects);
        let from = job.target();
        let remote = outcome.wire.remote.map(|remote| remote.ip());
        let total = outcome.watch.timing().total();
        let hop = Hop { url: job.url.as_str().into(), status, total, remote };
        job.became_get |= follow.becomes_get;
        job.crossed_origin |= follow.crosses_origin;
        job.from_public |= remote.is_some_and(|address| Reach::of(address) == Reach::Public);
        job.redirect(follow.url, hop);
        job.hold = self.plan.memory.row(job.bytes());
        let now = self.now();
        let owner = ShardId::of(job.host, self.shared.channels.shards());
        let mut scheduler = self.scheduler.borrow_mut();
        if owner == self.id {
            scheduler.redirect(from, job, now);
        } else {
            scheduler.release(from, now);
            self.accounts.moved.add(1);
            self.shared.channels.inbox(owner).push(vec![job]);
        }
    }

    // --- records ---------------------------------------------------------------------------------------------

    fn record(&self, job: Job, outcome: Outcome) -> Record {
        let mut failure = outcome.failure;
        if let (None, Some(status)) = (&failure, outcome.status) {
            failure = self.plan.judge_status(status);
        }
        let mut record = self.unstarted(job, None);
        record.ok = failure.is_none();
        record.failure = failure;
        record.status = outcome.status;
        record.connection = outcome.wire;
        record.headers = outcome.headers;
        record.notes.extend(outcome.notes);
        record.bytes = outcome.drained.bytes;
        record.wire_bytes = outcome.drained.wire_bytes;
        record.sha256 = outcome.drained.sha256;
        record.truncated = outcome.drained.truncated;
        record.body = outcome.drained.into_body();
        record.hold = outcome.hold;
        record.timing = outcome.watch.timing();
        record
    }

    /// A record with the fields that are known without a response.
    fn unstarted(&self, job: Job, failure: impl Into<Option<Failure>>) -> Record {
        let now = self.now();
        let method = self.plan.template.method(&job).clone();
        let final_url = if job.chain.is_empty() { None } else { Some(job.url.as_str().into()) };
        let host = job.url.host_str().map(Into::into);
        let url = match job.given {
            Some(given) => given,
            None => String::from(job.url).into(),
        };
        let mut record = Record::new(job.row, url);
        if let Some(ask) = job.ask {
            (record.id, record.out, record.meta) = (ask.id, ask.out, ask.meta);
            if ask.meta_dropped {
                record.notes.add(Note::MetaDropped);
            }
        }
        record.host = host;
        record.final_url = final_url;
        record.method = method;
        record.failure = failure.into();
        record.attempts = job.attempts;
        record.chain = job.chain;
        record.row_hold = job.hold;
        record.started_unix_us = job.first_started.map(|at| self.clock.unix_us(at));
        record.elapsed = now - job.first_ready;
        record
    }

    fn deliver(&self, record: Record) {
        self.accounts.delivered.add(1);
        let mut outbox = self.outbox.borrow_mut();
        if outbox.records.is_empty() {
            outbox.since = self.now();
            outbox.records.reserve(limits::BATCH_RECORDS);
        }
        let body = record.body.inline().unwrap_or_default();
        let texts = record.url.len() + record.meta.as_ref().map_or(0, |meta| meta.len());
        outbox.bytes += record.headers.bytes() + body.len() + texts;
        outbox.records.push(record);
        if outbox.records.len() >= limits::BATCH_RECORDS || outbox.bytes >= limits::BATCH_BYTES {
            self.send(&mut outbox);
        }
    }

    /// Sends the batch of finished rows if it is due, or in any case with `at_once`. Returns when it will be due.
    pub(crate) fn flush(&self, at_once: bool) -> Option<Nanos> {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.records.is_empty() {
            return None;
        }
        let due = outbox.since + limits::BATCH_DELAY;
        if at_once || due <= self.now() {
            self.send(&mut outbox);
            return None;
        }
        Some(due)
    }

    fn send(&self, outbox: &mut Outbox) {
        outbox.bytes = 0;
        self.shared.channels.results.send(&mut outbox.records);
    }

    // --- connections -----------------------------------------------------------------------------------------

    /// Takes an idle connection for another request, which `may_repeat` or must not be sent twice.
    pub(crate) fn check_out(&self, key: &ConnKey, may_repeat: bool) -> Option<Lease<Box<Connection>>> {
        while self.may_reuse(key) {
            let room = |connection: &mut Box<Connection>| connection.room();
            let mut connection = self.idle.borrow_mut().lease(key, self.now(), room)?;
            match if may_repeat { connection.glance() } else { connection.look() } {
                Look::Quiet => return Some(connection),
                Look::Ended if self.now() - connection.idle_since <= limits::REUSE_ONCE_IDLE_MAX => {
                    self.learn(key, Habit::Closes);
                }
                Look::Spoke => self.learn(key, Habit::Unasked),
                Look::Ended | Look::Parting => {}
            }
        }
        None
    }

    fn may_reuse(&self, key: &ConnKey) -> bool {
        !self.was_unasked.get() || self.habit(key).allows_reuse()
    }

    /// How the origin of `key` has treated idle connections so far.
    pub(crate) fn habit(&self, key: &ConnKey) -> Habit {
        self.habits.borrow_mut().get(key).copied().unwrap_or_default()
    }

    /// Records an observation of that; the least recently used entry is evicted above the limit.
    pub(crate) fn learn(&self, key: &ConnKey, habit: Habit) {
        if habit == Habit::Unasked {
            self.was_unasked.set(true);
        }
        let known = self.habit(key);
        let mut habits = self.habits.borrow_mut();
        habits.insert(key.clone(), known.and(habit));
        if habits.len() > limits::HABITS_MAX {
            habits.pop_oldest();
        }
    }

    pub(crate) fn check_in(&self, key: ConnKey, lease: Lease<Box<Connection>>) {
        let mut connection = match lease {
            Lease::Exclusive(connection) if self.may_reuse(&key) => connection,
            Lease::Exclusive(_) | Lease::Stream(_) => return,
        };
        let opened = connection.opened;
        connection.idle_since = self.now();
        let mut idle = self.idle.borrow_mut();
        drop(idle.checkin(key, connection, opened, self.now()));
        self.publish_idle(idle.len());
    }

    /// Published at once, because other shards read it when files run out.
    fn publish_idle(&self, count: usize) {
        self.gauges().idle.store(count, Ordering::Relaxed);
    }

    fn gauges(&self) -> &Gauges {
        self.shared.gauges.get(self.id)
    }

    pub(crate) fn count_connection(&self) {
        bump(&self.counts.connections_new);
    }

    pub(crate) fn count_reuse(&self) {
        bump(&self.counts.connections_reused);
    }

    /// Closes every idle connection and returns their number.
    fn close_idle(&self) -> usize {
        let mut idle = self.idle.borrow_mut();
        let count = idle.len();
        idle.clear().for_each(drop);
        self.publish_idle(0);
        count
    }

    /// Closes connections that were idle for too long, or all of them while files are short. Returns the next expiry.
    pub(crate) fn expire(&self) -> Option<Nanos> {
        if self.relief.replace(self.shared.relief()) != self.shared.relief() {
            self.close_idle();
        }
        let mut idle = self.idle.borrow_mut();
        idle.expire(self.now()).for_each(drop);
        self.publish_idle(idle.len());
        idle.next_expiry()
    }

    /// The addresses of a row's host that the address policy allows.
    pub(crate) async fn addresses(&self, job: &Job, watch: &mut Stopwatch) -> Result<Vec<Dialable>, Failure> {
        let found: Vec<IpAddr> = match job.url.host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(name)) => match self.plan.pinned(name, job.url.port_or_known_default()) {
                Some(pinned) => pinned.to_vec(),
                None => {
                    let found = self.resolver.resolve(name).await;
                    watch.dns(self.now());
                    found?.to_vec()
                }
            },
            None => Vec::new(),
        };
        self.plan.dialable(found, job)
    }

    // --- the driver's view -----------------------------------------------------------------------------------

    pub(crate) fn stage(&self) -> Stage {
        self.shared.stage()
    }

    /// Drops every row that has not started.
    pub(crate) fn forget_queued(&self) {
        self.receive();
        let dropped = self.scheduler.borrow_mut().drain().count();
        self.accounts.dropped.add(dropped);
    }

    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.shared.channels.inbox(self.id).register(waker);
    }

    /// Publishes the shard's counters, and checks that no row was lost. To be called at the end of each turn.
    pub(crate) fn publish(&self) {
        let scheduler = self.scheduler.borrow();
        let held = (scheduler.queued() + scheduler.in_flight()) as u64 + self.spilling.borrow().rows();
        if let Err(error) = self.accounts.check(held) {
            self.shared.fail(error);
        }
        let Gauges {
            in_flight,
            hosts,
            parked,
            held,
            idle: _,
            connections_new,
            connections_reused,
            retries,
            redirects,
        } = self.gauges();
        in_flight.store(scheduler.in_flight(), Ordering::Relaxed);
        self.shared.channels.set_ready(self.id, scheduler.is_ready());
        hosts.store(scheduler.hosts(), Ordering::Relaxed);
        parked.store(scheduler.parked(), Ordering::Relaxed);
        let holds = if self.held_by_rate.get() { Held::Rate } else { scheduler.held(self.now()) };
        held.store(number_of(holds), Ordering::Relaxed);
        connections_new.store(self.counts.connections_new.get(), Ordering::Relaxed);
        connections_reused.store(self.counts.connections_reused.get(), Ordering::Relaxed);
        retries.store(self.counts.retries.get(), Ordering::Relaxed);
        redirects.store(self.counts.redirects.get(), Ordering::Relaxed);
    }

    /// xorshift64*, for retry jitter. Not cryptographic.
    fn random(&self) -> u64 {
        let mut x = self.draw.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.draw.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// The record of a row that cannot be parsed.
pub(crate) fn bad_record(row: BadRow, memory: &Arc<Memory>) -> Record {
    let row_hold = memory.row(row.bytes());
    let mut record = Record::new(row.row, row.given);
    record.id = row.id;
    record.meta = row.meta;
    record.row_hold = row_hold;
    record.failure = Some(row.failure);
    record
}

fn bump(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use overlapped_proto::job::Row;
    use url::Url;

    use super::*;
    use crate::body::spool::RunId;
    use crate::config::Config;
    use crate::error::ErrorClass;

    fn shard() -> Rc<Shard> {
        let plan = Arc::new(Plan::new(Config { shards: Some(1), ..Config::default() }).unwrap());
        let executor = Executor::builder().max_workers(1).build().unwrap();
        let (folder, run) = (std::env::temp_dir(), RunId(1));
        let outside =
            Outside { folder: folder.clone(), run, list_file: Arc::new(OnceLock::new()), bytes_max: 0 };
        let views = Views {
            dns: executor.clone(),
            disk: executor.clone(),
            cpu: executor,
            moves_bodies: false,
            tap: None,
            store: Store::new(folder, run),
            intents: None,
        };
        let id = ShardId::all(1).next().unwrap();
        Shard::new(id, plan, Shared::new(1, 1, None), views, outside, Clock::start(), 1)
    }

    #[test]
    fn a_row_that_a_shard_loses_fails_the_run() {
        let shard = shard();
        let url = Url::parse("http://a.test/").unwrap();
        let jobs = (0..3).map(|row| Job::new(Row(row), url.clone())).collect();
        shard.shared.channels.inbox(shard.id).push(jobs);
        shard.receive();
        shard.publish();
        assert!(shard.shared.take_failure().is_none());
        let Turn::Start(lost) = shard.next() else { panic!("a row can start") };
        shard.publish();
        assert!(shard.shared.take_failure().is_none());
        shard.scheduler.borrow_mut().release(lost.target(), shard.now());
        drop(lost);
        shard.publish();
        let failure = shard.shared.take_failure().expect("a row is missing");
        assert_eq!(failure.class(), ErrorClass::Sum);
        assert!(failure.to_string().contains("was given 3 rows; it has 2"), "{failure}");
    }
}
