//! The scheduler: rows are submitted, started, and finished or put back.
//!
//! It moves rows between four queues: that of their host, that of their origin, the heap of retries, and the rows that are
//! to fail. The decisions about a host are in `host`, about an origin in `reach`, about a row in `retry`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::bucket::{Bucket, Rate, Spacing};
use crate::error::ErrorKind;
use crate::job::{self, HostKey, Job, Target};
use crate::limits;
use crate::origin::{Endpoint, Scheme};
use crate::outcome::{Ending, Failure};
use crate::plural::counted;
use crate::retry::{self, Budget};
use crate::slab::{List, Slab};
use crate::time::Nanos;

use super::hosts::Hosts;
use super::network::Network;
use super::reach::{self, Admission, Event, Reach, Rules, Site};
use super::refusals::Tried;
use super::{Finish, Held, Next, Pace};

/// The rows that are not in flight, and the state of their hosts.
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
    /// Every row that is not in flight: in its host's queue, held for its origin, in `doomed`, or named by `retries`.
    rows: Slab<Job>,
    retries: BinaryHeap<Reverse<Retry>>,
    /// When parked origins are probed. Entries are deleted lazily: one is valid while its origin is parked until exactly
    /// that time, and has rows.
    returns: BinaryHeap<Reverse<Return>>,
    /// Rows of hosts that are down, and of origins that were given up.
    doomed: List,
    network: Network,
    bucket: Bucket,
    budget: Budget,
    in_flight: usize,
    /// Requests in flight to origins that are not proven.
    unproven: usize,
    /// How many of them have left since the crowd was last admitted.
    vacated: usize,
    /// Origins whose rows are held because of the limit of `unproven`. An entry is deleted lazily: it is valid while the
    /// origin has held rows.
    crowd: VecDeque<(u32, Endpoint)>,
    /// When an origin was last proven.
    proven: Nanos,
    /// The time of the last poll.
    polled: Nanos,
}

/// A row that waits for its retry. Ordered by time, then by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Retry {
    due: Nanos,
    row: u32,
    host: u32,
}

/// When an origin is probed. Ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Return {
    due: Nanos,
    host: u32,
    endpoint: Endpoint,
}

impl Scheduler {
    /// A scheduler without rows.
    #[must_use]
    pub fn new(mut pace: Pace) -> Self {
        // Without a limit of failures nothing is known about origins.
        pace.connects_max = if pace.host_errors_max == 0 { usize::MAX } else { pace.connects_max.max(1) };
        let spacing = |rate: Option<Rate>| rate.map_or(Spacing::NONE, Rate::spacing);
        Self {
            spacing: spacing(pace.rate),
            spacing_host: spacing(pace.rate_host),
            pace,
            hosts: Hosts::new(),
            rows: Slab::new(),
            retries: BinaryHeap::new(),
            returns: BinaryHeap::new(),
            doomed: List::EMPTY,
            network: Network::default(),
            bucket: Bucket::default(),
            budget: Budget::default(),
            in_flight: 0,
            unproven: 0,
            vacated: 0,
            crowd: VecDeque::new(),
            proven: Nanos::ZERO,
            polled: Nanos::ZERO,
        }
    }

    /// Adds a row to the end of its host's queue. The caller bounds the number of rows by [`Scheduler::queued`];
    /// redirects, retries and `put_back` only return rows that are in flight.
    pub fn submit(&mut self, mut job: Job, now: Nanos) {
        job.ready = now;
        if job.first_started.is_none() {
            job.first_ready = now;
        }
        let at = self.host_of(&job, now);
        let row = self.rows.insert(job);
        self.enqueue(at, row, End::Back);
        self.hosts.settle(at, &self.pace, now);
    }

    /// Removes up to `count` rows to make room for rows of other hosts: of the hosts with the longest queues the last rows
    /// that were not tried yet, leaving `window_rows_host` of each. The rows of one host are adjacent and in order. Hosts
    /// for which `spare` is true keep theirs.
    ///
    /// Removes none while a host could start, because then the lack of other hosts is not what limits the run.
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

    /// Rows of a host that are not in flight. Rows that are to fail are counted for all such hosts together.
    #[must_use]
    pub fn queued_of(&self, host: HostKey) -> usize {
        let host = self.hosts.find(host).map(|at| self.hosts.get(at));
        host.map_or(0, |host| host.rows() + if host.fails() { self.doomed.len() } else { 0 })
    }

    /// What to do next. To be called again after each `Start` and `Fail`, at the time of `WaitUntil`, and after every
    /// other call that changes the scheduler.
    pub fn poll(&mut self, now: Nanos) -> Next {
        self.polled = now;
        loop {
            self.wake(now);
            if let Some((job, failure)) = self.next_doomed(now) {
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
            if let Some(row) = self.next_row(at, now) {
                return self.start(at, row, now);
            }
            self.hosts.settle(at, &self.pace, now);
        }
    }

    /// Ends an attempt and releases its slot. The row comes back with `Deliver`, or stays for another attempt.
    ///
    /// `job` is the row that `poll` returned, on the same host; `draw` is any random number.
    ///
    /// # Panics
    ///
    /// If the row is not in flight.
    pub fn finish(&mut self, job: Job, ending: Ending, now: Nanos, draw: u64) -> Finish {
        let at = self.host_of(&job, now);
        if self.network.record(ending, &mut self.hosts.get_mut(at).network_round, now) {
            self.put_back(job, now);
            return Finish::PutBack;
        }
        let (target, row) = (job.target(), job.row.0 as u32);
        self.free_slot(at, target.endpoint);
        let tried = Tried { row, first_started: job.first_started.unwrap_or(now) };
        self.hosts.get_mut(at).record(ending, tried, &self.pace, now, draw);
        if let Some(event) = reached(ending, row) {
            self.apply(at, target.endpoint, event, now, draw);
        }
        if self.hosts.get(at).refusals.is_down() {
            self.give_up(at, None);
        }
        let finish = self.judge(at, job, ending, now, draw);
        self.relax(at, target.endpoint, now);
        self.hosts.settle(at, &self.pace, now);
        finish
    }

    /// Redirects a row, to the same or another host of this scheduler: the slot of `from` is released, and the row goes
    /// to the front of the queue of `job.host`. That is not a retry.
    ///
    /// # Panics
    ///
    /// If no row of `from` is in flight.
    pub fn redirect(&mut self, from: Target, job: Job, now: Nanos) {
        self.release(from, now);
        self.requeue(job, now);
    }

    /// Releases the slot of `from` for a row that was redirected to a host of another scheduler, which gets it by
    /// `submit`.
    ///
    /// # Panics
    ///
    /// If no row of `from` is in flight.
    pub fn release(&mut self, from: Target, now: Nanos) {
        let moved = Ending::Response { status: 302, retry_after: None };
        let at = self.hosts.find(from.host).expect("a host is remembered while a row of it is in flight");
        self.free_slot(at, from.endpoint);
        let host = self.hosts.get_mut(at);
        self.network.record(moved, &mut host.network_round, now);
        host.record(moved, Tried { row: 0, first_started: now }, &self.pace, now, 0);
        self.apply(at, from.endpoint, Event::Answered, now, 0);
        self.relax(at, from.endpoint, now);
        self.hosts.settle(at, &self.pace, now);
    }

    /// Records that an origin has accepted a connection. It may be of a host without rows here: a robots.txt is
    /// redirected to other hosts without passing through the scheduler.
    pub fn accepted(&mut self, target: Target, now: Nanos) {
        if let Some(at) = self.hosts.find(target.host) {
            self.apply(at, target.endpoint, Event::Accepted, now, 0);
            self.relax(at, target.endpoint, now);
            self.hosts.settle(at, &self.pace, now);
        }
    }

    /// Puts a row that `poll` returned back to the front of its queue, because there was no file or port for it. The
    /// attempt is not counted.
    ///
    /// # Panics
    ///
    /// If the row is not in flight.
    pub fn put_back(&mut self, mut job: Job, now: Nanos) {
        uncount(&mut job);
        let at = self.hosts.find(job.host).expect("a host is remembered while a row of it is in flight");
        let (endpoint, row) = (job.target().endpoint, job.row.0 as u32);
        self.free_slot(at, endpoint);
        self.apply(at, endpoint, Event::PutBack { row }, now, 0);
        self.relax(at, endpoint, now);
        self.requeue(job, now);
    }

    /// Removes every row that is not in flight, in unspecified order, because the run is interrupted.
    pub fn drain(&mut self) -> impl Iterator<Item = Job> + use<> {
        for at in self.hosts.slots() {
            let host = self.hosts.get_mut(at);
            (host.queue, host.waiting, host.held) = (List::EMPTY, 0, 0);
            host.sites.iter_mut().for_each(|site| (site.held, site.called) = (List::EMPTY, 0));
            self.hosts.settle(at, &self.pace, Nanos::MAX);
        }
        self.retries.clear();
        self.returns.clear();
        self.crowd.clear();
        self.doomed = List::EMPTY;
        std::mem::replace(&mut self.rows, Slab::new()).into_values()
    }

    /// Sets the limit of requests in flight at once. Requests beyond a lower limit finish.
    pub fn set_parallel_max(&mut self, n: usize) {
        self.pace.parallel_max = n;
    }

    /// Sets the least time between two starts on a host, as its robots.txt asks (`Crawl-delay`). It adds to the rate.
    pub fn set_host_interval(&mut self, host: HostKey, interval: Nanos, now: Nanos) {
        let target = Target { host, endpoint: Endpoint::new(Scheme::Http, Scheme::Http.default_port()) };
        let at = self.hosts.find_or_insert(target, || false, self.pace.hosts_max, now);
        self.hosts.get_mut(at).set_interval(interval);
        self.hosts.settle(at, &self.pace, now);
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Rows that are not in flight.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.rows.len()
    }

    /// True if a host has a row that no limit of its own holds back, or waits only while others connect.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.hosts.census().ready > 0 || self.crowd_moves_until() > self.polled
    }

    /// Hosts that have rows, queued or in flight.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts.len() - self.hosts.census().idle
    }

    /// Hosts that are remembered, with or without rows.
    #[must_use]
    pub fn hosts_remembered(&self) -> usize {
        self.hosts.len()
    }

    /// Hosts that are parked while they have rows, and origins that cannot be reached.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.hosts.census().parked + self.hosts.away
    }

    /// The limit that holds the run back now; of several, the one that holds the most hosts.
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
            (self.hosts.away.max(self.crowd.len()), Held::Away),
            (census.parked, Held::Parked),
            (census.throttled + census.slowed, Held::Adaptive),
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
        let called = self.uncall(at);
        let (host, first) = (self.hosts.get_mut(at), evicted.len());
        let most = (count - first).min(host.evictable() - self.pace.window_rows_host);
        // Rows that were redirected here stay. A few are skipped, so that one at the end does not keep all others; the
        // number is bounded, so that a long run of them is not scanned each time.
        let mut passes = self.pace.window_rows_host;
        evict_from(&mut self.rows, &mut host.queue, first + most, &mut passes, evicted);
        for site in host.sites.iter_mut() {
            let before = site.held.len();
            evict_from(&mut self.rows, &mut site.held, first + most, &mut passes, evicted);
            host.held -= u32::try_from(before - site.held.len()).expect("a list has fewer rows");
        }
        evicted.get_mut(first..).expect("rows were only appended").sort_unstable_by_key(|job| job.row);
        for endpoint in called {
            self.relax(at, endpoint, now);
        }
        self.hosts.settle(at, &self.pace, now);
    }

    /// Holds the called rows of a host again, and returns the origins with held rows. The called rows come before these in
    /// the list, so they must not be evicted first.
    fn uncall(&mut self, at: u32) -> Vec<Endpoint> {
        let mut called = Vec::new();
        for site in self.hosts.get_mut(at).sites.iter_mut().filter(|site| !site.held.is_empty()) {
            site.called = 0;
            called.push(site.endpoint);
        }
        if called.is_empty() {
            return called;
        }
        let (mut kept, mut passes) = (List::EMPTY, self.pace.window_rows_host);
        while passes > 0
            && let Some(row) = self.hosts.get(at).queue.front()
        {
            let host = self.hosts.get_mut(at);
            self.rows.unlink(&mut host.queue, row);
            let (job, endpoint) = (self.rows.get(row), self.rows.get(row).target().endpoint);
            let last = host.sites.get(endpoint).and_then(|site| site.held.back());
            let is_called = last.is_some_and(|last| self.rows.get(last).row > job.row);
            if is_called && job.is_fresh() {
                self.hold_only(at, row);
            } else {
                self.rows.push_back(&mut kept, row);
                passes -= 1;
            }
        }
        let host = self.hosts.get_mut(at);
        self.rows.append(&mut kept, &mut host.queue);
        host.queue = kept;
        called
    }

    /// The next row that is to fail, and why. Rows of a host or an origin that has answered since are queued again.
    fn next_doomed(&mut self, now: Nanos) -> Option<(Job, Failure)> {
        while let Some(row) = self.doomed.front() {
            self.rows.unlink(&mut self.doomed, row);
            let target = self.rows.get(row).target();
            let host = self.hosts.find(target.host);
            let refused = || refused(&self.pace);
            let Some(failure) =
                host.map_or_else(|| Some(refused()), |at| self.failure_of(at, target.endpoint))
            else {
                let at = self.host_of_row(row, now);
                self.enqueue(at, row, End::Back);
                self.hosts.settle(at, &self.pace, now);
                continue;
            };
            return Some((self.rows.remove(row), failure));
        }
        None
    }

    /// The reason for which rows of an origin fail without an attempt, if they do.
    fn failure_of(&self, at: u32, endpoint: Endpoint) -> Option<Failure> {
        let host = self.hosts.get(at);
        match host.sites.get(endpoint).map(|site| site.reach) {
            Some(Reach::GivenUp { last }) => Some(given_up(last, &self.pace)),
            Some(
                Reach::Untried
                | Reach::Up
                | Reach::Doubtful { .. }
                | Reach::Parked { .. }
                | Reach::Returning { .. },
            )
            | None => host.refusals.is_down().then(|| refused(&self.pace)),
        }
    }

    /// The next row of a host in [`Place::Ready`](super::host::Place::Ready) whose origin admits it. The rows before it
    /// are held for their origins, or doomed if these were given up.
    fn next_row(&mut self, at: u32, now: Nanos) -> Option<u32> {
        loop {
            let host = self.hosts.get_mut(at);
            let row = if host.refusals.tries_last() { host.queue.back() } else { host.queue.front() }?;
            let site = host.sites.get_mut(self.rows.get(row).target().endpoint);
            let is_called = site.called > 0;
            site.called = site.called.saturating_sub(1); // `called` is an upper bound: not every row here was called.
            match site.reach.admits(site.in_flight, &self.pace, now) {
                Admission::Go if site.reach.is_proven() => return Some(row),
                Admission::Go
                    if has_room(self.unproven, site, &self.pace)
                        && (is_called || !overtakes(&self.rows, site, row)) =>
                {
                    return Some(row);
                }
                Admission::Go => {
                    let origin = (at, site.endpoint);
                    self.rows.unlink(&mut host.queue, row);
                    self.hold_only(at, row);
                    if self.crowd.back() != Some(&origin) {
                        self.crowd.push_back(origin);
                    }
                }
                Admission::Wait => {
                    self.rows.unlink(&mut host.queue, row);
                    self.hold(at, row);
                }
                Admission::GivenUp => {
                    self.rows.unlink(&mut host.queue, row);
                    self.rows.push_back(&mut self.doomed, row);
                    return None;
                }
            }
        }
    }

    /// Starts the first row of a host's queue.
    fn start(&mut self, at: u32, row: u32, now: Nanos) -> Next {
        let job = self.rows.get(row);
        let (endpoint, number) = (job.target().endpoint, job.row.0 as u32);
        let host = self.hosts.get_mut(at);
        host.start(self.spacing_host, now);
        let site = host.sites.get_mut(endpoint);
        site.in_flight += 1;
        self.unproven += usize::from(!site.reach.is_proven());
        self.rows.unlink(&mut host.queue, row);
        self.apply(at, endpoint, Event::Started { row: number }, now, 0);
        self.hosts.pass(at, &self.pace, now);
        self.bucket.take(self.spacing, now);
        self.network.started(now);
        self.in_flight += 1;
        let job = self.rows.get_mut(row); // Changed in place, because moving a job copies 200 bytes.
        if job.first_started.is_none() {
            job.first_started = Some(now);
            self.budget.earn();
        }
        job.attempts = job.attempts.saturating_add(1);
        Next::Start(self.rows.remove(row))
    }

    /// The answer of `poll` when no host may start.
    fn wait(&mut self) -> Next {
        let retry = self.retries.peek().map(|Reverse(retry)| retry.due);
        let crowd = Some(self.crowd_moves_until()).filter(|until| *until > self.polled);
        match [self.hosts.next_due(), self.next_return(), retry, crowd].into_iter().flatten().min() {
            Some(due) => Next::WaitUntil(due),
            None if self.in_flight > 0 || self.rows.len() > 0 => Next::WaitForEvent,
            None => Next::Idle,
        }
    }

    /// Queues the rows and settles the hosts whose time has come.
    fn wake(&mut self, now: Nanos) {
        while let Some(&Reverse(retry)) = self.retries.peek()
            && retry.due <= now
        {
            self.retries.pop();
            self.hosts.get_mut(retry.host).waiting -= 1;
            self.enqueue(retry.host, retry.row, End::Front);
            self.hosts.settle(retry.host, &self.pace, now);
        }
        while let Some(due) = self.next_return()
            && due <= now
            && let Some(Reverse(back)) = self.returns.pop()
        {
            self.relax(back.host, back.endpoint, now);
            self.hosts.settle(back.host, &self.pace, now);
        }
        if self.vacated > 0 || (self.unproven == 0 && !self.crowd.is_empty()) {
            self.admit_crowd(now);
        }
        self.hosts.wake(&self.pace, now);
    }

    /// Queues rows of two origins of the crowd for each request that was in its way, or of one if there is none any more.
    fn admit_crowd(&mut self, now: Nanos) {
        let mut count = (2 * std::mem::take(&mut self.vacated)).max(1);
        while count > 0
            && let Some((at, endpoint)) = self.crowd.pop_front()
        {
            let site = self.hosts.peek(at).and_then(|host| host.sites.get(endpoint));
            if site.is_some_and(|site| !site.held.is_empty()) {
                self.relax(at, endpoint, now);
                self.hosts.settle(at, &self.pace, now);
                count -= 1;
            }
        }
    }

    /// Until when rows of the crowd are expected to start soon, because an origin was proven lately; in the past if none
    /// was, or if there are no such rows.
    fn crowd_moves_until(&self) -> Nanos {
        if self.crowd.is_empty() { Nanos::ZERO } else { self.proven + limits::CONNECTS_SLOW }
    }

    /// When the next parked origin with rows is probed.
    fn next_return(&mut self) -> Option<Nanos> {
        while let Some(&Reverse(Return { due, host, endpoint })) = self.returns.peek() {
            let site = self.hosts.peek(host).and_then(|host| host.sites.get(endpoint));
            if site.is_some_and(|site| site.reach.due() == Some(due) && !site.held.is_empty()) {
                return Some(due);
            }
            self.returns.pop();
        }
        None
    }

    /// What happens to a row whose attempt ended with `ending`. The states of its host and its origin are updated before.
    fn judge(&mut self, at: u32, job: Job, ending: Ending, now: Nanos, draw: u64) -> Finish {
        if let Ending::Response { status: ..400, .. } = ending {
            return Finish::Deliver(job);
        }
        let endpoint = job.target().endpoint;
        let host = self.hosts.get(at);
        let missed = reach::contact(ending) == Some(false);
        if missed && self.reach_of(at, endpoint).is_parked() {
            return self.spare(job, now);
        }
        let refused = matches!(ending, Ending::Response { status, .. } if retry::is_refusal(status));
        if let Ending::Response { status, .. } = ending
            && refused
            && host.refusals.spares(status)
            && let Some(due) = self.waits_out(at, &job, ending, now, draw)
        {
            return self.set_aside(at, job, due);
        }
        let back_off = retry::back_off(retry::retries(&job), draw.rotate_left(32));
        let due = (now + back_off).max(host.refusals.parked_until());
        let policy = &self.pace.retry;
        let in_time = policy.in_time(&job, due);
        let down = host.refusals.is_down() || self.reach_of(at, endpoint).is_given_up();
        let is_alone = refused && host.refusals.has_served_nothing_since(job.first_started.unwrap_or(now));
        if !down && policy.allows(&job, ending) && in_time && self.budget.spend() {
            self.retry(at, job, due);
            return Finish::RetryAt(due);
        }
        if is_alone && let Some(due) = self.waits_out(at, &job, ending, now, draw) {
            return self.set_aside(at, job, due);
        }
        let transient = matches!(ending, Ending::Failed(kind) if kind.is_transient());
        if missed && transient && in_time {
            let attempts = u32::from(retry::retries(&job)) + 1;
            self.apply(at, endpoint, Event::Lost { attempts }, now, draw);
            if self.reach_of(at, endpoint).is_parked() {
                return self.spare(job, now);
            }
            if let Some(due) = self.lingers(at, &job, now, draw) {
                return self.set_aside(at, job, due);
            }
        }
        Finish::Deliver(job)
    }

    /// The time until which a row waits that was refused together with its host's other rows: not for itself, so it uses
    /// no attempt. `None`: it has waited for `host_down_after` already, or may not be sent again.
    fn waits_out(&self, at: u32, job: &Job, ending: Ending, now: Nanos, draw: u64) -> Option<Nanos> {
        let host = self.hosts.get(at);
        let policy = &self.pace.retry;
        let waits = self.pace.adaptive
            && self.pace.host_errors_max > 0
            && !host.refusals.is_down()
            && policy.may_repeat(job, ending);
        let span = self.pace.host_down_after.unwrap_or(limits::PARKED_SUM_MAX);
        let pause = pause(job, span, now, draw.rotate_left(32))?;
        let due = (now + pause).max(host.refusals.again(pause));
        (waits && policy.in_time(job, due)).then_some(due)
    }

    /// The time until which a row without attempts left waits by itself, because its origin is not parked: it failed too
    /// seldom for that, or it refuses new connections while it still answers on others, as some servers do when they
    /// restart.
    fn lingers(&self, at: u32, job: &Job, now: Nanos, draw: u64) -> Option<Nanos> {
        let is_doubtful = matches!(self.reach_of(at, job.target().endpoint), Reach::Doubtful { .. });
        let waits = is_doubtful && self.pace.retry.retries > 0;
        let due = now + pause(job, self.pace.host_down_after.unwrap_or(Nanos::MAX), now, draw)?;
        waits.then_some(due)
    }

    /// Keeps a row until `due`. The attempt is not counted, but the row counts as tried.
    fn set_aside(&mut self, at: u32, job: Job, due: Nanos) -> Finish {
        let attempts = job.attempts.checked_sub(1).expect("a row in flight has an attempt");
        self.retry(at, Job { attempts, ..job }, due);
        Finish::PutBack
    }

    /// Puts back a row that failed because its origin is away. The attempt is not counted.
    fn spare(&mut self, mut job: Job, now: Nanos) -> Finish {
        uncount(&mut job);
        self.requeue(job, now);
        Finish::PutBack
    }

    /// Applies an event to the state of an origin.
    fn apply(&mut self, at: u32, endpoint: Endpoint, event: Event, now: Nanos, draw: u64) {
        let rules = Rules {
            errors_max: self.pace.host_errors_max,
            down_after: self.pace.host_down_after,
            restored: self.network.restored(),
            now,
            draw,
        };
        let site = self.hosts.get_mut(at).sites.get_mut(endpoint);
        let (old, new) = (site.reach, site.reach.after(event, &rules));
        site.reach = new;
        if old == new {
            return;
        }
        match (old.is_proven(), new.is_proven()) {
            (false, true) => {
                self.unproven = self.unproven.checked_sub(site.in_flight as usize).expect(UNPROVEN);
                self.vacated += site.in_flight as usize;
                self.proven = now;
            }
            (true, false) => self.unproven += site.in_flight as usize,
            (true, true) | (false, false) => {}
        }
        self.hosts.away += usize::from(new.is_parked());
        self.hosts.away -= usize::from(old.is_parked());
        if let Some(due) = new.due() {
            self.returns.push(Reverse(Return { due, host: at, endpoint }));
        }
        if new.is_given_up() {
            self.give_up(at, Some(endpoint));
        }
    }

    fn reach_of(&self, at: u32, endpoint: Endpoint) -> Reach {
        self.hosts.get(at).sites.get(endpoint).map_or(Reach::Untried, |site| site.reach)
    }

    /// Moves the rows held for an origin to the queue of its host, up to the number that the origin admits now.
    fn relax(&mut self, at: u32, endpoint: Endpoint, now: Nanos) {
        let host = self.hosts.get_mut(at);
        let site = host.sites.get_mut(endpoint);
        if site.held.is_empty() {
            return;
        }
        if site.reach == Reach::Up {
            site.called = 0;
            host.held -= u32::try_from(site.held.len()).expect("a list has fewer rows");
            join(&mut self.rows, &mut host.queue, &mut site.held);
            return;
        }
        let probes = site.reach.is_parked();
        while let Some(row) = site.held.front()
            && site.reach.admits(site.in_flight + site.called, &self.pace, now) == Admission::Go
            && !(probes && site.called > 0)
        {
            site.called += 1;
            self.rows.unlink(&mut site.held, row);
            host.held -= 1;
            let number = self.rows.get(row).row;
            // Before the rows that were not tried yet and come later in the list.
            self.rows.insert_before(&mut host.queue, row, |other| other.is_fresh() && other.row > number);
        }
    }

    /// Links a row that is in no list: into the queue of its host, or of its origin if that is parked, or of the doomed.
    fn enqueue(&mut self, at: u32, row: u32, end: End) {
        let host = self.hosts.get_mut(at);
        let endpoint = self.rows.get(row).target().endpoint;
        let reach = host.sites.get(endpoint).map_or(Reach::Untried, |site| site.reach);
        match (end, reach) {
            _ if host.refusals.is_down() || reach.is_given_up() => self.rows.push_back(&mut self.doomed, row),
            (_, Reach::Parked { .. }) => self.hold(at, row),
            (End::Back, _) => self.rows.push_back(&mut host.queue, row),
            (End::Front, _) => self.rows.push_front(&mut host.queue, row),
        }
    }

    /// Holds a row for its origin, until it is probed if it is parked.
    fn hold(&mut self, at: u32, row: u32) {
        let endpoint = self.rows.get(row).target().endpoint;
        let site = self.hosts.get_mut(at).sites.get_mut(endpoint);
        if let Some(due) = site.reach.due().filter(|_| site.held.is_empty()) {
            self.returns.push(Reverse(Return { due, host: at, endpoint }));
        }
        self.hold_only(at, row);
    }

    /// Holds a row for its origin, sorted by row number.
    fn hold_only(&mut self, at: u32, row: u32) {
        let host = self.hosts.get_mut(at);
        let job = self.rows.get(row);
        let (number, endpoint) = (job.row, job.target().endpoint);
        let site = host.sites.get_mut(endpoint);
        let last = site.held.back().is_none_or(|last| self.rows.get(last).row < number);
        if last {
            self.rows.push_back(&mut site.held, row);
        } else {
            self.rows.insert_before(&mut site.held, row, |other| other.row > number);
        }
        host.held += 1;
    }

    /// Releases the slot of a row.
    fn free_slot(&mut self, at: u32, endpoint: Endpoint) {
        let host = self.hosts.get_mut(at);
        let site = host.sites.get_mut(endpoint);
        let held = host.in_flight.min(site.in_flight);
        assert!(held > 0 && self.in_flight > 0, "a slot is released once");
        host.in_flight -= 1;
        site.in_flight -= 1;
        self.in_flight -= 1;
        if !site.reach.is_proven() {
            self.unproven = self.unproven.checked_sub(1).expect(UNPROVEN);
            self.vacated += 1;
        }
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
        self.enqueue(at, row, End::Front);
        self.hosts.settle(at, &self.pace, now);
    }

    /// Dooms the rows of a host that is down, or of one origin that was given up. Rows of that origin in the queue of the
    /// host are doomed when it is their turn.
    fn give_up(&mut self, at: u32, endpoint: Option<Endpoint>) {
        let (rows, doomed) = (&mut self.rows, &mut self.doomed);
        let host = self.hosts.get_mut(at);
        let of = |site: Endpoint| endpoint.is_none_or(|endpoint| endpoint == site);
        for site in host.sites.iter_mut().filter(|site| of(site.endpoint)) {
            host.held -= u32::try_from(site.held.len()).expect("a list has fewer rows");
            rows.append(doomed, &mut site.held);
            site.called = 0;
        }
        if endpoint.is_none() {
            rows.append(doomed, &mut host.queue);
        }
        if host.waiting == 0 {
            return;
        }
        self.retries.retain(|&Reverse(retry)| {
            let goes = retry.host == at && of(rows.get(retry.row).target().endpoint);
            if goes {
                host.waiting -= 1;
                rows.push_back(doomed, retry.row);
            }
            !goes
        });
    }

    fn host_of(&mut self, job: &Job, now: Nanos) -> u32 {
        self.hosts.find_or_insert(job.target(), || job::is_local(&job.url), self.pace.hosts_max, now)
    }

    fn host_of_row(&mut self, row: u32, now: Nanos) -> u32 {
        let job = self.rows.get(row);
        self.hosts.find_or_insert(job.target(), || job::is_local(&job.url), self.pace.hosts_max, now)
    }
}

const UNPROVEN: &str = "a request to an origin that is not proven is counted";

/// The end of a queue at which a row is added.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

/// The event for the origin of an attempt that ended with `ending`. An accepted connection without an answer is no answer,
/// although it counts as an attempt of its row, because the request was sent.
fn reached(ending: Ending, row: u32) -> Option<Event> {
    if let Ending::Failed(kind @ ErrorKind::TimeoutFirstByte) = ending {
        return Some(Event::Failed { row, kind });
    }
    match (reach::contact(ending)?, ending) {
        (false, Ending::Failed(kind)) => Some(Event::Failed { row, kind }),
        (false, Ending::Response { .. }) | (true, _) => Some(Event::Answered),
    }
}

/// Takes back the attempt of a row that is in flight.
fn uncount(job: &mut Job) {
    job.attempts = job.attempts.checked_sub(1).expect("a row in flight has an attempt");
    if job.attempts == 0 {
        job.first_started = None;
    }
}

/// The pause of a row that waits by itself: as long as it has waited since its first attempt, so that its tries double
/// their distance. `None`: it has waited for `span`.
fn pause(job: &Job, span: Nanos, now: Nanos, draw: u64) -> Option<Nanos> {
    let waited = now - job.first_started.unwrap_or(now);
    let left = span - waited;
    let pause = waited.max(limits::REACH_PAUSE_BASE).min(limits::REACH_PAUSE_MAX).min(left);
    (left > Nanos::ZERO).then_some(pause + retry::fraction(Nanos(pause.0 / 4), draw))
}

fn refused(pace: &Pace) -> Failure {
    let what = "not tried: the host has answered nothing but 429 or 5xx";
    let message = match pace.host_down_after {
        Some(span) => format!("{what} for {} s (--host-down-after)", span.as_secs_f64()),
        None => format!("{what} while it was paused for two days"),
    };
    Failure::new(ErrorKind::HostDown, message)
}

fn given_up(last: ErrorKind, pace: &Pace) -> Failure {
    if last == ErrorKind::DnsNotFound {
        let message = format!(
            "not tried: the name was not found {} in a row",
            counted(pace.host_errors_max.into(), "time")
        );
        return Failure::new(last, message);
    }
    let span = pace.host_down_after.unwrap_or_default().as_secs_f64();
    let message =
        format!("not tried: no answer for {span} s (--host-down-after); the last failure was {last}");
    Failure::new(ErrorKind::HostDown, message)
}

/// True if an origin that is not proven may have one more of the requests to such origins: the more there are, the fewer
/// for each, so that one that swallows connects takes no place from others.
fn has_room(unproven: usize, site: &Site, pace: &Pace) -> bool {
    unproven * (site.in_flight as usize + 1) < pace.connects_max
}

/// True if an earlier row is held for the origin of a row.
fn overtakes(rows: &Slab<Job>, site: &Site, row: u32) -> bool {
    site.held.front().is_some_and(|first| rows.get(first).row < rows.get(row).row)
}

/// Moves the rows held for an origin into the queue of its host: before the rows that were not tried yet and come later
/// in the list.
fn join(rows: &mut Slab<Job>, queue: &mut List, held: &mut List) {
    let first = held.front().map(|first| rows.get(first).row);
    let mut joined = List::EMPTY;
    while let Some(row) = queue.front()
        && (!rows.get(row).is_fresh() || Some(rows.get(row).row) < first)
    {
        rows.unlink(queue, row);
        rows.push_back(&mut joined, row);
    }
    rows.append(&mut joined, held);
    rows.append(&mut joined, queue);
    *queue = joined;
}

/// Removes rows that were not tried yet from the end of a list, until `most` are evicted.
fn evict_from(
    rows: &mut Slab<Job>,
    list: &mut List,
    most: usize,
    passes: &mut usize,
    evicted: &mut Vec<Job>,
) {
    let mut next = list.back();
    while let Some(row) = next
        && evicted.len() < most
        && *passes > 0
    {
        next = rows.before(row);
        if rows.get(row).is_fresh() {
            rows.unlink(list, row);
            evicted.push(rows.remove(row));
        } else {
            *passes -= 1;
        }
    }
}
