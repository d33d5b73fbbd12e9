//! The scheduler from outside: rows are submitted, redirected, put back and drained, and its gauges are read. A row starts
//! in `selection`, its attempt ends in `verdict`. The decisions about a host are in `host`, about an origin in `reach`,
//! about a row in `retry`.

use url::Url;

use crate::bucket::Rate;
use crate::job::{HostKey, Job, Target};
use crate::limits;
use crate::origin::{Endpoint, Scheme};
use crate::outcome::Ending;
use crate::slab::{List, Slab};
use crate::time::Nanos;

use super::Held;
use super::queues::{End, Scheduler, uncount};
use super::reach::Event;
use super::refusals::Tried;

impl Scheduler {
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

    /// Rows of a host that are not in flight. Rows that are to fail are counted for all such hosts together.
    #[must_use]
    pub fn queued_of(&self, host: HostKey) -> usize {
        let host = self.hosts.find(host).map(|at| self.hosts.get(at));
        host.map_or(0, |host| host.rows() + if host.fails() { self.doomed.len() } else { 0 })
    }

    /// Of the hosts with more than `window_rows_host` rows, the one whose rows take longest under its own limits, if an attempt
    /// takes `mean`; and how long. `elsewhere`: its rows that are not here.
    pub fn slowest(&self, mean: Nanos, elsewhere: impl Fn(HostKey) -> u64) -> Option<(&str, Nanos)> {
        let time_of = |at: u32| {
            let host = self.hosts.get(at);
            let rows = host.rows() as u64 + elsewhere(host.key);
            let own = self.pace.of_host(host.key).rate;
            let spacing = own.map_or(self.spacing_host, Rate::spacing);
            (host.time_of(rows, spacing, &self.pace, mean), at)
        };
        let (time, at) = self.hosts.longest().into_iter().map(time_of).max_by_key(|(time, _)| *time)?;
        let host = self.hosts.get(at);
        let row = self.rows.get(host.queue.front()?);
        (time > Nanos::ZERO).then(|| (row.url.host_str().unwrap_or_default(), time))
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

    /// Records that a row of this host has just ended and has left an idle connection. If such connections have lately been
    /// lost before the next turn of their hosts, the turn of this one goes on with the next row that may start.
    pub fn kept(&mut self, host: HostKey, now: Nanos) {
        let Some(at) = self.hosts.find(host) else { return };
        self.hosts.get_mut(at).has_idle = true;
        if self.lost.is_some_and(|lost| now - lost < limits::WARM_AFTER_LOSS) {
            self.hosts.go_on(at, now);
        }
    }

    /// Records that an origin has accepted a connection. It may be of a host without rows here: a robots.txt is
    /// redirected to other hosts without passing through the scheduler.
    pub fn accepted(&mut self, target: Target, now: Nanos) {
        if let Some(at) = self.hosts.find(target.host) {
            let host = self.hosts.get_mut(at);
            if host.in_flight == 1 && host.has_idle {
                (host.has_idle, self.lost) = (false, Some(now));
            }
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
        self.take_back(&mut job, now);
        self.requeue(job, now);
    }

    /// The same because it is to be asked for at this URL, of another origin of its host.
    ///
    /// # Panics
    ///
    /// As [`Scheduler::put_back`].
    pub fn upgrade(&mut self, mut job: Job, url: Url, now: Nanos) {
        self.take_back(&mut job, now);
        job.upgrade(url);
        self.requeue(job, now);
    }

    fn take_back(&mut self, job: &mut Job, now: Nanos) {
        uncount(job);
        let at = self.hosts.find(job.host).expect("a host is remembered while a row of it is in flight");
        let (endpoint, row) = (job.target().endpoint, job.row.0 as u32);
        self.free_slot(at, endpoint);
        self.apply(at, endpoint, Event::PutBack { row }, now, 0);
        self.relax(at, endpoint, now);
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
}
