//! The scheduler itself: rows in, starts out, endings back in.
//!
//! It moves rows between three places (the queue of their host, the heap of retries, the doomed) and leaves the
//! judgement about a host to `host`, about a row to `retry`. It must never hand out a row without taking its slot.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::bucket::{Bucket, Rate, Spacing};
use crate::error::ErrorKind;
use crate::job::{self, HostKey, Job};
use crate::list::{List, Slab};
use crate::outcome::{Ending, Failure};
use crate::retry::{self, Budget};
use crate::time::Nanos;

use super::hosts::Hosts;
use super::network::Network;
use super::{Finish, Held, Next, Pace};

/// Rows on their way to a start, and what is known of their hosts.
///
/// ```
/// use overlapped_proto::job::{Job, Row};
/// use overlapped_proto::outcome::Ending;
/// use overlapped_proto::schedule::{Finish, Next, Pace, Scheduler};
/// use overlapped_proto::time::Nanos;
///
/// let mut scheduler = Scheduler::new(Pace { parallel_max_host: Some(1), ..Pace::default() });
/// for (row, url) in (0..).zip(["http://a.test/1", "http://a.test/2", "http://b.test/3"]) {
///     scheduler.submit(Job::new(Row(row), url.parse()?), Nanos::ZERO);
/// }
/// let mut start = |scheduler: &mut Scheduler| match scheduler.poll(Nanos::ZERO) {
///     Next::Start(job) => Some(job),
///     _ => None,
/// };
/// let first = start(&mut scheduler).unwrap();
/// assert_eq!((first.row, first.attempts), (Row(0), 1));
/// assert_eq!(start(&mut scheduler).unwrap().row, Row(2)); // the other host
/// assert!(start(&mut scheduler).is_none()); // a.test has its one request in flight
///
/// let ok = Ending::Response { status: 200, retry_after: None };
/// assert!(matches!(scheduler.finish(first, ok, Nanos(5), 0), Finish::Deliver(_)));
/// assert_eq!(start(&mut scheduler).unwrap().row, Row(1));
/// # Ok::<(), url::ParseError>(())
/// ```
#[derive(Debug)]
pub struct Scheduler {
    pace: Pace,
    spacing: Spacing,
    spacing_host: Spacing,
    hosts: Hosts,
    /// Every row that is here: in its host's queue, in `doomed`, or named by `retries`.
    rows: Slab<Job>,
    retries: BinaryHeap<Reverse<Retry>>,
    /// Rows of hosts that are down.
    doomed: List,
    network: Network,
    bucket: Bucket,
    budget: Budget,
    in_flight: usize,
}

/// A row that waits for its retry. Ordered by time, then by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Retry {
    due: Nanos,
    row: u32,
    host: u32,
}

impl Scheduler {
    /// A scheduler that holds nothing.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        let spacing = |rate: Option<Rate>| rate.map_or(Spacing::NONE, Rate::spacing);
        Self {
            spacing: spacing(pace.rate),
            spacing_host: spacing(pace.rate_host),
            pace,
            hosts: Hosts::new(),
            rows: Slab::new(),
            retries: BinaryHeap::new(),
            doomed: List::EMPTY,
            network: Network::default(),
            bucket: Bucket::default(),
            budget: Budget::default(),
            in_flight: 0,
        }
    }

    /// Takes a row in, to the end of its host's queue. It is for the caller to bound how many are here, by
    /// [`Scheduler::queued`]: redirects, retries and `put_back` add none, for they come from what is in flight.
    pub fn submit(&mut self, mut job: Job, now: Nanos) {
        job.ready = now;
        if job.first_started.is_none() {
            job.first_ready = now;
        }
        let at = self.host_of(&job, now);
        let row = self.rows.insert(job);
        let host = self.hosts.get_mut(at);
        self.rows.push_back(if host.down { &mut self.doomed } else { &mut host.queue }, row);
        self.hosts.settle(at, &self.pace, now);
    }

    /// Takes out up to `count` rows so that rows of other hosts find room: of the hosts with the longest queues the last
    /// rows, such as were never tried, but for as many as `window_rows_host`. What a host has come together and in
    /// order; `spare` hosts are left alone.
    ///
    /// None while a host could start: then it is not for want of other hosts that no more is in flight.
    pub fn evict(&mut self, count: usize, spare: impl Fn(HostKey) -> bool, now: Nanos) -> Vec<Job> {
        let mut evicted = Vec::new();
        if self.is_ready() {
            return evicted;
        }
        for at in self.hosts.longest() {
            if evicted.len() >= count {
                break;
            }
            if !spare(self.hosts.get(at).key) {
                self.evict_of(at, count, &mut evicted, now);
            }
        }
        evicted
    }

    /// Rows of a host that are here and not in flight. Those of hosts that are down are counted together.
    #[must_use]
    pub fn queued_of(&self, host: HostKey) -> usize {
        let host = self.hosts.find(host).map(|at| self.hosts.get(at));
        host.map_or(0, |host| host.rows() + if host.down { self.doomed.len() } else { 0 })
    }

    /// What to do next. To be called again after each `Start` and `Fail`, at the time of `WaitUntil`, and after every
    /// other call that changes the scheduler.
    pub fn poll(&mut self, now: Nanos) -> Next {
        self.wake(now);
        if let Some(job) = self.next_doomed(now) {
            let failure =
                Failure::new(ErrorKind::HostDown, "the host was given up after too many failures in a row");
            return Next::Fail(job, failure);
        }
        let Some(at) = self.hosts.turn() else {
            return self.wait();
        };
        if self.in_flight >= self.pace.parallel_max.max(1) {
            return Next::WaitForEvent;
        }
        let due = self.bucket.next().max(self.network.next());
        if due > now {
            return Next::WaitUntil(due);
        }
        self.start(at, now)
    }

    /// An attempt ended. Its slot is given back; the row comes back with `Deliver`, or stays for another attempt.
    ///
    /// `job` is the row that `poll` gave out, on the same host; `draw` is any random number.
    pub fn finish(&mut self, job: Job, ending: Ending, now: Nanos, draw: u64) -> Finish {
        let at = self.host_of(&job, now);
        if self.network.hear(ending, &mut self.hosts.get_mut(at).network_round, now) {
            self.put_back(job, now);
            return Finish::RetryAt(self.network.next().max(now));
        }
        self.hear(at, &job, ending, now, draw);
        let host = self.hosts.get(at);
        let back_off = retry::back_off(retry::retries(&job), draw.rotate_left(32));
        let due = (now + back_off).max(host.parked_until());
        let policy = &self.pace.retry;
        let again =
            !host.down && policy.allows(&job, ending) && policy.in_time(&job, due) && self.budget.spend();
        let finish = if again {
            self.retry(at, job, due);
            Finish::RetryAt(due)
        } else {
            Finish::Deliver(job)
        };
        self.hosts.settle(at, &self.pace, now);
        finish
    }

    /// A row was redirected, to the same or another host of this scheduler: the slot of `from` is given back, and the
    /// row goes to the front of the queue of `job.host`. That is not a retry.
    pub fn redirect(&mut self, from: HostKey, job: Job, now: Nanos) {
        self.release(from, now);
        self.requeue(job, now);
    }

    /// A row was redirected to a host of another scheduler, which gets it by `submit`: the slot of `from` is given
    /// back.
    pub fn release(&mut self, from: HostKey, now: Nanos) {
        let moved = Ending::Response { status: 302, retry_after: None };
        if let Some(at) = self.hosts.find(from) {
            self.leave(at);
            let host = self.hosts.get_mut(at);
            self.network.hear(moved, &mut host.network_round, now);
            host.hear(moved, 0, &self.pace, now, 0);
            self.hosts.settle(at, &self.pace, now);
        }
    }

    /// A row that `poll` gave out could not run, for want of a file or a port: it goes to the front of its queue, and
    /// that was no attempt.
    pub fn put_back(&mut self, mut job: Job, now: Nanos) {
        job.attempts = job.attempts.saturating_sub(1);
        if job.attempts == 0 {
            job.first_started = None;
        }
        if let Some(at) = self.hosts.find(job.host) {
            self.leave(at);
        }
        self.requeue(job, now);
    }

    /// The run is interrupted: every row that is queued or waits for a retry, in no order that matters. What is in
    /// flight stays so.
    pub fn drain(&mut self) -> impl Iterator<Item = Job> + use<> {
        for at in self.hosts.slots() {
            let host = self.hosts.get_mut(at);
            (host.queue, host.waiting) = (List::EMPTY, 0);
            self.hosts.settle(at, &self.pace, Nanos::MAX);
        }
        self.retries.clear();
        self.doomed = List::EMPTY;
        std::mem::replace(&mut self.rows, Slab::new()).into_values()
    }

    /// Changes how many requests may be in flight at once; more than that may still be for a while.
    pub fn set_parallel_max(&mut self, n: usize) {
        self.pace.parallel_max = n;
    }

    /// Sets the least time between two starts on a host, as its robots.txt asks (`Crawl-delay`). It adds to the rate.
    pub fn set_host_interval(&mut self, host: HostKey, interval: Nanos, now: Nanos) {
        let at = self.hosts.find_or_insert(host, || false, self.pace.hosts_max, now);
        self.hosts.get_mut(at).set_interval(interval);
        self.hosts.settle(at, &self.pace, now);
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Rows that are here and not in flight.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.rows.len()
    }

    /// True if a host has a row that no limit of its own holds back.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.hosts.census().ready > 0
    }

    /// Hosts that have rows here or in flight.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts.len() - self.hosts.census().idle
    }

    /// Hosts that are remembered, with or without rows.
    #[must_use]
    pub fn hosts_remembered(&self) -> usize {
        self.hosts.len()
    }

    /// Hosts whose rows wait because they are parked.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.hosts.census().parked
    }

    /// Which limit holds the run back now: of several, the one that holds the most hosts.
    #[must_use]
    pub fn held(&self, now: Nanos) -> Held {
        let census = self.hosts.census();
        if census.ready > 0 {
            return if self.network.is_down() {
                Held::Network
            } else if self.in_flight >= self.pace.parallel_max {
                Held::ParallelMax
            } else if self.bucket.next() > now {
                Held::Rate
            } else {
                Held::Nothing
            };
        }
        let hosts = [
            (census.parked, Held::Parked),
            (census.throttled, Held::Adaptive),
            (census.full, Held::ParallelMaxHost),
            (census.spaced, Held::RateHost),
        ];
        match hosts.into_iter().max_by_key(|(count, _)| *count) {
            Some((1.., held)) => held,
            Some((0, _)) | None if self.retries.is_empty() => Held::Nothing,
            Some((0, _)) | None => Held::Retry,
        }
    }

    fn evict_of(&mut self, at: u32, count: usize, evicted: &mut Vec<Job>, now: Nanos) {
        let (host, first) = (self.hosts.get_mut(at), evicted.len());
        let mut next = host.queue.back();
        // Rows that were redirected here stay. One that is last must not keep all others; many must not be looked
        // through each time.
        let mut passes = self.pace.window_rows_host;
        while let Some(row) = next
            && host.queue.len() > self.pace.window_rows_host
            && evicted.len() < count
            && passes > 0
        {
            next = self.rows.before(row);
            if self.rows.get(row).is_fresh() {
                self.rows.unlink(&mut host.queue, row);
                evicted.push(self.rows.remove(row));
            } else {
                passes -= 1;
            }
        }
        evicted.get_mut(first..).unwrap_or_default().reverse();
        self.hosts.settle(at, &self.pace, now);
    }

    /// The next row of a host that is down. Rows of one that has answered after all go back to its queue.
    fn next_doomed(&mut self, now: Nanos) -> Option<Job> {
        while let Some(row) = self.doomed.front() {
            self.rows.unlink(&mut self.doomed, row);
            let at = self.hosts.find(self.rows.get(row).host);
            let Some(at) = at.filter(|&at| !self.hosts.get(at).down) else {
                return Some(self.rows.remove(row));
            };
            self.rows.push_back(&mut self.hosts.get_mut(at).queue, row);
            self.hosts.settle(at, &self.pace, now);
        }
        None
    }

    /// Starts the next row of a host in [`Place::Ready`](super::host::Place::Ready).
    fn start(&mut self, at: u32, now: Nanos) -> Next {
        let host = self.hosts.get_mut(at);
        host.start(self.spacing_host, now);
        let row = host.queue.front().expect("a host that is ready has a row");
        self.rows.unlink(&mut host.queue, row);
        self.hosts.pass(at, &self.pace, now);
        self.bucket.take(self.spacing, now);
        self.network.started(now);
        self.in_flight += 1;
        let job = self.rows.get_mut(row); // changed where it lies: a job is moved as seldom as can be
        if job.first_started.is_none() {
            job.first_started = Some(now);
            self.budget.earn();
        }
        job.attempts = job.attempts.saturating_add(1);
        Next::Start(self.rows.remove(row))
    }

    /// What to say when no host may start.
    fn wait(&mut self) -> Next {
        let retry = self.retries.peek().map(|Reverse(retry)| retry.due);
        match [self.hosts.next_due(), retry].into_iter().flatten().min() {
            Some(due) => Next::WaitUntil(due),
            None if self.in_flight > 0 || self.rows.len() > 0 => Next::WaitForEvent,
            None => Next::Idle,
        }
    }

    /// Makes everything runnable whose time has come.
    fn wake(&mut self, now: Nanos) {
        while let Some(&Reverse(retry)) = self.retries.peek()
            && retry.due <= now
        {
            self.retries.pop();
            let host = self.hosts.get_mut(retry.host);
            host.waiting -= 1;
            self.rows.push_front(&mut host.queue, retry.row);
            self.hosts.settle(retry.host, &self.pace, now);
        }
        self.hosts.wake(&self.pace, now);
    }

    /// Gives back the slot of a row, and lets its host learn from how the attempt ended.
    fn hear(&mut self, at: u32, job: &Job, ending: Ending, now: Nanos, draw: u64) {
        self.leave(at);
        let host = self.hosts.get_mut(at);
        let was_down = host.down;
        host.hear(ending, job.row.0 as u32, &self.pace, now, draw);
        if host.down && !was_down {
            self.give_up(at);
        }
    }

    fn leave(&mut self, at: u32) {
        let host = self.hosts.get_mut(at);
        debug_assert!(host.in_flight > 0, "a slot is given back once");
        host.in_flight = host.in_flight.saturating_sub(1);
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Keeps a row until `due`.
    fn retry(&mut self, at: u32, mut job: Job, due: Nanos) {
        job.ready = due;
        let row = self.rows.insert(job);
        self.hosts.get_mut(at).waiting += 1;
        self.retries.push(Reverse(Retry { due, row, host: at }));
    }

    /// Puts a row at the front of its host's queue.
    fn requeue(&mut self, mut job: Job, now: Nanos) {
        job.ready = now;
        let at = self.host_of(&job, now);
        let row = self.rows.insert(job);
        let host = self.hosts.get_mut(at);
        if host.down {
            self.rows.push_back(&mut self.doomed, row);
        } else {
            self.rows.push_front(&mut host.queue, row);
        }
        self.hosts.settle(at, &self.pace, now);
    }

    /// Dooms every row of a host that is down.
    fn give_up(&mut self, at: u32) {
        let host = self.hosts.get_mut(at);
        self.rows.append(&mut self.doomed, &mut host.queue);
        if host.waiting == 0 {
            return;
        }
        host.waiting = 0;
        let (rows, doomed) = (&mut self.rows, &mut self.doomed);
        self.retries.retain(|&Reverse(retry)| {
            if retry.host == at {
                rows.push_back(doomed, retry.row);
            }
            retry.host != at
        });
    }

    fn host_of(&mut self, job: &Job, now: Nanos) -> u32 {
        self.hosts.find_or_insert(job.host, || job::is_local(&job.url), self.pace.hosts_max, now)
    }
}
