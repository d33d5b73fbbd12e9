//! A shard: the state of its hosts, on one thread. What its attempts need is in [`super::requester`], the loop that drives
//! it in [`super::driver`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use overlapped_proto::adaptive_limit::Verdict;
use overlapped_proto::input::BadRow;
use overlapped_proto::job::{HostKey, Job, Target};
use overlapped_proto::limits;
use overlapped_proto::record::Record;
use overlapped_proto::redirect::Follow;
use overlapped_proto::schedule::{Finish, Held, Next, Scheduler};
use overlapped_proto::time::Nanos;

use super::conservation::Accounts;
use super::outcome::Outcome;
use super::requester::{Requester, Views, bump};
use super::spill::{Back, Outside, Spilling};
use crate::clock::Clock;
use crate::fs::idle_connections_max;
use crate::memory::Memory;
use crate::per_shard::ShardId;
use crate::plan::Plan;
use crate::shared::{Gauges, Shared, SlowestHost, Stage, number_of};

/// The state of one shard. Single-threaded: no borrow of a cell is held across an `await`.
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) requester: Requester,
    shared: Arc<Shared>,
    scheduler: RefCell<Scheduler>,
    spilling: RefCell<Spilling>,
    outbox: RefCell<Outbox>,
    held_by_rate: Cell<bool>,
    /// Nothing starts before this time, because files or ports ran out.
    paused_until: Cell<Nanos>,
    relief: Cell<usize>,
    accounts: Accounts,
    retries: Cell<u64>,
    redirects: Cell<u64>,
    /// What an attempt takes: a moving average.
    attempt: Cell<Nanos>,
    /// When the slowest host was last looked for.
    looked: Cell<Nanos>,
}

/// Between two looks for the slowest host.
const LOOK: Nanos = Nanos::from_millis(1_000);

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
        let scheduler = RefCell::new(Scheduler::new(plan.pace.clone()));
        let spilling = RefCell::new(Spilling::new(outside, id, views.disk.clone()));
        let idle_gauge = Arc::clone(&shared.gauges.get(id).idle);
        Rc::new(Self {
            id,
            requester: Requester::new(plan, views, clock, idle_max, idle_gauge, seed),
            shared,
            scheduler,
            spilling,
            outbox: RefCell::default(),
            held_by_rate: Cell::new(false),
            paused_until: Cell::new(Nanos::ZERO),
            relief: Cell::new(0),
            accounts: Accounts::default(),
            retries: Cell::new(0),
            redirects: Cell::new(0),
            attempt: Cell::new(Nanos::ZERO),
            looked: Cell::new(Nanos::ZERO),
        })
    }

    fn now(&self) -> Nanos {
        self.requester.now()
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
            let crowded =
                || self.shared.channels.is_crowded(self.requester.plan.window_rows.saturating_mul(2));
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
        if self.shared.channels.widen(self.requester.plan.window_rows) {
            return;
        }
        // In ordered mode a later row cannot be written before an earlier one, so eviction would make no room.
        if self.requester.plan.ordered {
            return;
        }
        let mut spilling = self.spilling.borrow_mut();
        if spilling.takes() {
            let count = (self.requester.plan.window_rows / limits::SPILL_SHARE).max(1);
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
                    job.hold = self.requester.plan.memory.row(job.bytes());
                    self.scheduler.borrow_mut().submit(job, now);
                }
                Err(bad) => self.deliver(bad_record(bad, &self.requester.plan.memory)),
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
        let memory = &self.requester.plan.memory;
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
                    match self.requester.upgraded(&job.url) {
                        Some(url) => self.scheduler.borrow_mut().upgrade(job, url, now),
                        None => return Turn::Start(job),
                    }
                }
                Next::Fail(job, failure) => {
                    self.look_after(job.host);
                    self.deliver(self.requester.unstarted(job, failure));
                }
                Next::WaitUntil(at) => return Turn::Wait(at),
                Next::WaitForEvent | Next::Idle => return Turn::Idle,
            }
        }
    }

    /// Ends an attempt: the row is delivered, retried, or redirected.
    pub(crate) fn conclude(&self, mut job: Job, mut outcome: Box<Outcome>) {
        self.shared.give_request(self.id);
        if outcome.is_shortage() {
            match self.run_short(job) {
                Some(failed) => job = failed,
                None => return,
            }
        } else {
            self.shared.run_well(self.now());
        }
        let took = outcome.watch.timing().total();
        self.attempt.set(Nanos(self.attempt.get().0 - self.attempt.get().0 / 64 + took.0 / 64));
        let (host, invites_another) = (job.host, outcome.invites_another());
        match (outcome.redirect.take(), outcome.status) {
            (Some(follow), Some(status)) => self.follow(job, status, &outcome, follow),
            _ => {
                let (now, ending, draw) = (self.now(), outcome.ending(), self.requester.random());
                let finish = self.scheduler.borrow_mut().finish(job, ending, now, draw);
                match finish {
                    Finish::Deliver(done) => self.deliver(self.requester.record(done, outcome)),
                    Finish::RetryAt(_) => bump(&self.retries),
                    Finish::PutBack => {}
                }
            }
        }
        if invites_another {
            self.scheduler.borrow_mut().kept(host, self.now());
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
        let closed = self.requester.close_idle();
        if closed == 0 && self.scheduler.borrow().in_flight() == 1 {
            self.requester.plan.last_files.renew();
        }
        let own = job.ask.as_deref().and_then(|ask| ask.timeout);
        let limit = own.or(self.requester.plan.timeouts.total);
        match self.shared.run_short(closed, limit, now) {
            Verdict::Fail => Some(job),
            Verdict::Again(at) => {
                self.paused_until.set(at);
                self.scheduler.borrow_mut().put_back(job, now);
                None
            }
        }
    }

    fn follow(&self, mut job: Job, status: u16, outcome: &Outcome, follow: Follow) {
        bump(&self.redirects);
        let from = job.target();
        outcome.follow(&mut job, status, follow);
        job.hold = self.requester.plan.memory.row(job.bytes());
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

    /// Sends the batch of finished rows if it is due, or in any case with `at_once`, or if no row waits here and the list may need
    /// these results to go on. Returns when it will be due.
    pub(crate) fn flush(&self, at_once: bool) -> Option<Nanos> {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.records.is_empty() {
            return None;
        }
        let is_awaited = self.shared.channels.is_starved() && self.scheduler.borrow().queued() == 0;
        let at_once = at_once || is_awaited;
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

    /// Closes connections that were idle for too long, or all of them while files are short. Returns the next expiry.
    pub(crate) fn expire(&self) -> Option<Nanos> {
        if self.relief.replace(self.shared.relief()) != self.shared.relief() {
            self.requester.close_idle();
        }
        self.requester.expire()
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
            slowest,
        } = self.shared.gauges.get(self.id);
        in_flight.store(scheduler.in_flight(), Ordering::Relaxed);
        self.shared.channels.set_ready(self.id, scheduler.is_ready());
        hosts.store(scheduler.hosts(), Ordering::Relaxed);
        parked.store(scheduler.parked(), Ordering::Relaxed);
        let holds = if self.held_by_rate.get() { Held::Rate } else { scheduler.held(self.now()) };
        held.store(number_of(holds), Ordering::Relaxed);
        let (new, reused) = self.requester.connections();
        connections_new.store(new, Ordering::Relaxed);
        connections_reused.store(reused, Ordering::Relaxed);
        retries.store(self.retries.get(), Ordering::Relaxed);
        redirects.store(self.redirects.get(), Ordering::Relaxed);
        let now = self.now();
        if now >= self.looked.get() + LOOK {
            self.looked.set(now);
            let spilling = self.spilling.borrow();
            let found = scheduler.slowest(self.attempt.get(), |host| spilling.rows_of(host));
            let found = found.map(|(host, time)| SlowestHost { host: host.to_owned(), time: time.into() });
            *slowest.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
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

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use overlapped::Executor;
    use overlapped_proto::job::Row;
    use url::Url;

    use super::*;
    use crate::body::spool::RunId;
    use crate::body::store::Store;
    use crate::config::Config;
    use crate::error::ErrorClass;

    fn shard() -> Rc<Shard> {
        let plan = Arc::new(Plan::new(Config { shards: Some(1), ..Config::default() }).unwrap());
        let executor = Executor::builder().max_workers(1).build().unwrap();
        let (folder, run) = (std::env::temp_dir(), RunId(1));
        let outside =
            Outside { folder: folder.clone(), run, list_file: Arc::new(OnceLock::new()), bytes_max: 0 };
        let views = Views::new(&executor, 1, Store::new(folder, run));
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
