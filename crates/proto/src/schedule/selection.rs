//! Selection: which row starts next, which one fails without an attempt, or until when there is neither.

use std::cmp::Reverse;

use crate::bucket::Rate;
use crate::error::ErrorKind;
use crate::job::Job;
use crate::limits;
use crate::origin::Endpoint;
use crate::outcome::Failure;
use crate::plural::counted;
use crate::slab::Slab;
use crate::time::Nanos;

use super::queues::{End, Return, Scheduler};
use super::reach::{Admission, Event, Reach, Site};
use super::{Next, Pace};

impl Scheduler {
    /// What to do next. To be called again after each `Start` and `Fail`, at the time of `WaitUntil`, and after every
    /// other call that changes the scheduler.
    pub fn poll(&mut self, now: Nanos) -> Next {
        self.polled = now;
        loop {
            self.wake(now);
            if let Some((job, failure)) = self.next_doomed(now) {
                return Next::Fail(job, failure);
            }
            let Some(at) = self.hosts.turn(now) else {
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

    /// The next row that is to fail, and why. Rows of a host or an origin that has answered since are queued again.
    fn next_doomed(&mut self, now: Nanos) -> Option<(Job, Failure)> {
        while let Some(row) = self.doomed.front() {
            self.rows.unlink(&mut self.doomed, row);
            let target = self.rows.get(row).target();
            let host = self.hosts.find(target.host);
            let again = if self.rows.get(row).attempts == 0 { "" } else { " again" };
            let refused = || refused(&self.pace, again);
            let Some(failure) =
                host.map_or_else(|| Some(refused()), |at| self.failure_of(at, target.endpoint, again))
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

    /// The reason for which rows of an origin fail without an attempt, or another one (`again`), if they do.
    fn failure_of(&self, at: u32, endpoint: Endpoint, again: &str) -> Option<Failure> {
        let host = self.hosts.get(at);
        match host.sites.get(endpoint).map(|site| site.reach) {
            Some(Reach::GivenUp { last }) => Some(given_up(last, &self.pace, again)),
            Some(
                Reach::Untried
                | Reach::Up
                | Reach::Doubtful { .. }
                | Reach::Parked { .. }
                | Reach::Returning { .. },
            )
            | None => host.refusals.is_down().then(|| refused(&self.pace, again)),
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
        let own = self.pace.of_host(host.key).rate;
        host.start(own.map_or(self.spacing_host, Rate::spacing), now);
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
    pub(super) fn crowd_moves_until(&self) -> Nanos {
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
}

fn refused(pace: &Pace, again: &str) -> Failure {
    let what = format!("not tried{again}: the host has answered nothing but 429 or 5xx");
    let message = match pace.host_down_after {
        Some(span) => format!("{what} for {} s (--host-down-after)", span.as_secs_f64()),
        None => format!("{what} while it was paused for two days"),
    };
    Failure::new(ErrorKind::HostDown, message)
}

fn given_up(last: ErrorKind, pace: &Pace, again: &str) -> Failure {
    if last == ErrorKind::DnsNotFound {
        let message = format!(
            "not tried{again}: the name was not found {} in a row",
            counted(pace.host_errors_max.into(), "time")
        );
        return Failure::new(last, message);
    }
    let span = pace.host_down_after.unwrap_or_default().as_secs_f64();
    let message =
        format!("not tried{again}: no answer for {span} s (--host-down-after); the last failure was {last}");
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
