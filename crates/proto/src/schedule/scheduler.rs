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
use super::{Finish, Held, Next, Pace, Submit};

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

    /// Rows that may be submitted now. Redirects, retries and `put_back` need no room: they come from what is in
    /// flight, so that never more than `window_rows` and all that is in flight are here.
    #[must_use]
    pub fn room(&self) -> usize {
        self.pace.window_rows.saturating_sub(self.rows.len())
    }

    /// Rows of this host that may be submitted before [`Submit::Spill`] is the answer.
    #[must_use]
    pub fn room_host(&self, host: HostKey) -> usize {
        let held = self.hosts.find(host).map_or(0, |at| self.hosts.get(at).rows());
        self.pace.window_rows_host.map_or(usize::MAX, |max| max.saturating_sub(held))
    }

    /// Takes a row in, to the end of its host's queue.
    pub fn submit(&mut self, mut job: Job, now: Nanos) -> Submit {
        if self.pace.window_rows_host.is_some() && self.room_host(job.host) == 0 {
            return Submit::Spill(job);
        }
        job.ready = now;
        let at = self.host_of(&job, now);
        let row = self.rows.insert(job);
        let host = self.hosts.get_mut(at);
        self.rows.push_back(if host.down { &mut self.doomed } else { &mut host.queue }, row);
        self.hosts.settle(at, &self.pace, now);
        Submit::Queued
    }

    /// What to do next. To be called again after each `Start` and `Fail`, at the time of `WaitUntil`, and after every
    /// other call that changes the scheduler.
    pub fn poll(&mut self, now: Nanos) -> Next {
        self.wake(now);
        if let Some(job) = self.rows.pop_front(&mut self.doomed) {
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
            return match () {
                () if self.network.is_down() => Held::Network,
                () if self.in_flight >= self.pace.parallel_max => Held::ParallelMax,
                () if self.bucket.next() > now => Held::Rate,
                () => Held::Nothing,
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

    /// Starts the next row of a host in [`Place::Ready`](super::host::Place::Ready).
    fn start(&mut self, at: u32, now: Nanos) -> Next {
        let host = self.hosts.get_mut(at);
        let mut job = self.rows.pop_front(&mut host.queue).expect("a host that is ready has a row");
        host.start(self.spacing_host, now);
        self.hosts.pass(at, &self.pace, now);
        self.bucket.take(self.spacing, now);
        self.network.started(now);
        self.in_flight += 1;
        if job.first_started.is_none() {
            job.first_started = Some(now);
            self.budget.earn();
        }
        job.attempts = job.attempts.saturating_add(1);
        Next::Start(job)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Row;
    use crate::limits;
    use crate::outcome::Hop;

    /// Plays a script and compares what comes out. Times are in milliseconds, draws are 0.
    ///
    /// In: `a` submits a row for the host a, `?` polls, `*` polls until nothing starts, `+5` lets time pass, `200:3`
    /// ends row 3 with that status, `429=7:3` with a `Retry-After` of 7 s, `refused:3` and the like with a failure,
    /// `>b:3` redirects row 3 to host b, `out:3` to another scheduler, `back:3` puts it back, `max=2` sets the
    /// limit, `crawl=3:a` the interval of host a in seconds, `drain` drains.
    ///
    /// Out: `a0` row 0 starts on host a, `!a0` it fails for its host being down, `=0` it is delivered, `~5:0` it is
    /// tried again at 5, `@5` wait until 5, `.` wait for an event, `idle`.
    fn check(pace: Pace, script: &str, expected: &str) {
        let mut play =
            Play { scheduler: Scheduler::new(pace), now: Nanos::ZERO, rows: 0, running: Vec::new() };
        let out: Vec<String> = script.split_whitespace().map(|step| play.step(step)).collect();
        let out = out.join(" ");
        let out: Vec<&str> = out.split_whitespace().collect();
        assert_eq!(out.join(" "), expected.split_whitespace().collect::<Vec<_>>().join(" "), "{script}");
    }

    struct Play {
        scheduler: Scheduler,
        now: Nanos,
        rows: u64,
        running: Vec<Job>,
    }

    impl Play {
        fn step(&mut self, step: &str) -> String {
            let now = self.now;
            let (verb, row) = step.split_once(':').unwrap_or((step, ""));
            match verb {
                "?" => return self.poll(),
                "*" => {
                    let polls = std::iter::from_fn(|| Some(self.poll()));
                    let mut starts: Vec<String> = Vec::new();
                    for poll in polls {
                        starts.push(poll);
                        if starts
                            .last()
                            .is_some_and(|poll| poll == "." || poll == "idle" || poll.starts_with('@'))
                        {
                            break;
                        }
                    }
                    return starts.join(" ");
                }
                "drain" => {
                    let mut rows: Vec<u64> = self.scheduler.drain().map(|job| job.row.0).collect();
                    rows.sort_unstable();
                    return format!("{rows:?}").replace(' ', "");
                }
                "out" => {
                    let job = self.take(row);
                    self.scheduler.release(job.host, now);
                }
                "back" => {
                    let job = self.take(row);
                    self.scheduler.put_back(job, now);
                }
                _ if verb.starts_with('+') => self.now = now + Nanos::from_millis(verb[1..].parse().unwrap()),
                _ if verb.starts_with("max=") => self.scheduler.set_parallel_max(verb[4..].parse().unwrap()),
                _ if verb.starts_with("crawl=") => {
                    let interval = Nanos::from_secs(verb[6..].parse().unwrap());
                    self.scheduler.set_host_interval(HostKey::new(row), interval, now);
                }
                _ if verb.starts_with('>') => {
                    let mut job = self.take(row);
                    let from = job.host;
                    job.redirect(url(&verb[1..]), Hop { url: "".into(), status: 302, total: Nanos::ZERO });
                    self.scheduler.redirect(from, job, now);
                }
                host if row.is_empty() => {
                    let job = Job::new(Row(self.rows), url(host));
                    assert!(matches!(self.scheduler.submit(job, now), Submit::Queued));
                    self.rows += 1;
                }
                ending => {
                    let job = self.take(row);
                    return match self.scheduler.finish(job, self::ending(ending), now, 0) {
                        Finish::Deliver(job) => format!("={}", job.row.0),
                        Finish::RetryAt(due) => format!("~{}:{row}", due.0 / 1_000_000),
                    };
                }
            }
            String::new()
        }

        fn poll(&mut self) -> String {
            let name = |job: &Job| format!("{}{}", job.url.host_str().unwrap(), job.row.0);
            match self.scheduler.poll(self.now) {
                Next::Start(job) => {
                    let text = name(&job);
                    self.running.push(job);
                    text
                }
                Next::Fail(job, _) => format!("!{}", name(&job)),
                Next::WaitUntil(due) => format!("@{}", due.0 / 1_000_000),
                Next::WaitForEvent => ".".into(),
                Next::Idle => "idle".into(),
            }
        }

        fn take(&mut self, row: &str) -> Job {
            let row = Row(row.parse().unwrap());
            let at = self.running.iter().position(|job| job.row == row).unwrap();
            self.running.remove(at)
        }
    }

    fn url(host: &str) -> url::Url {
        url::Url::parse(&format!("http://{host}/")).unwrap()
    }

    fn ending(text: &str) -> Ending {
        match text {
            "refused" => Ending::Failed(ErrorKind::ConnectRefused),
            "unknown" => Ending::Failed(ErrorKind::DnsNotFound),
            "slow" => Ending::Failed(ErrorKind::TimeoutFirstByte),
            "reset" => Ending::Failed(ErrorKind::HttpReset),
            "unreachable" => Ending::Failed(ErrorKind::ConnectUnreachable),
            "cut" => Ending::Failed(ErrorKind::Cancelled),
            status => {
                let (status, after) = status.split_once('=').unwrap_or((status, ""));
                let retry_after = after.parse().ok().map(Nanos::from_secs);
                Ending::Response { status: status.parse().unwrap(), retry_after }
            }
        }
    }

    fn each(parallel_max_host: usize) -> Pace {
        Pace { parallel_max_host: Some(parallel_max_host), ..Pace::default() }
    }

    fn rate(text: &str) -> Option<Rate> {
        Some(Rate::parse(text).unwrap())
    }

    #[test]
    fn hosts_take_turns() {
        check(each(9), "a a a b b c *", "a0 b3 c5 a1 b4 a2 .");
        check(each(1), "a a a b b *  200:3 200:0 *", "a0 b3 . =3 =0 b4 a1 .");
        check(each(1), "? a ? ? 200:0 ?", "idle a0 . =0 idle");
    }

    #[test]
    fn slots_are_limited() {
        check(each(2), "a a a b * 200:1 ? ?", "a0 b3 a1 . =1 a2 .");
        let two = Pace { parallel_max: 2, ..each(9) };
        check(two, "a b c * 200:0 * max=3 a *", "a0 b1 . =0 c2 . a3 .");
        check(
            each(1),
            "localhost localhost 127.0.0.1 127.0.0.1 *",
            "localhost0 127.0.0.12 localhost1 127.0.0.13 .",
        );
        let given = Pace { local_unlimited: false, ..each(1) };
        check(given, "localhost localhost *", "localhost0 .");
    }

    #[test]
    fn rates_hold_over_everything() {
        let pace = || Pace { rate_host: rate("1/s"), ..each(9) };
        check(pace(), "a a b * +1009 ? +1 *", "a0 b2 @1010 @1010 a1 .");
        check(pace(), "a * 500:0 * +1010 *", "a0 . ~0:0 @1010 a0 .");
        check(pace(), "a b * +1 >b:0 * +1009 *", "a0 b1 . @1010 b0 .");
        let pace = || Pace { rate: rate("1/s"), ..each(9) };
        check(pace(), "a b * +1010 *", "a0 @1010 b1 .");
        check(each(9), "crawl=2:a a a b * +2020 *", "a0 b2 @2020 a1 .");
        check(each(9), "crawl=2:a a a * crawl=0:a +2020 *", "a0 @2020 a1 .");
    }

    #[test]
    fn failures_are_tried_again() {
        check(each(1), "a * 500:0 * 500:0 * 500:0 *", "a0 . ~0:0 a0 . ~0:0 a0 . =0 idle");
        check(each(1), "a * 404:0 a * reset:1 * cut:1 *", "a0 . =0 a1 . ~0:1 a1 . =1 idle");
        check(each(1), "a a * 500:0 *", "a0 . ~0:0 a0 ."); // a retry goes before new rows
    }

    #[test]
    fn retry_after_parks_the_host() {
        check(each(1), "a a b * 429=7:0 * +7000 * 200:0 *", "a0 b2 . ~7000:0 @7000 a0 . =0 a1 .");
        check(each(2), "a a a * 503=7:0 429=2:1 * +7000 *", "a0 a1 . ~7000:0 ~7000:1 @7000 a0 .");
        check(each(1), "a a * 404=7:0 *", "a0 . =0 a1 ."); // not tried again, so not meant so
        check(each(1), "a a * 503=0:0 *", "a0 . ~0:0 a0 .");
        check(each(1), "a * 503=99999:0 *", "a0 . ~600000:0 @600000");
    }

    #[test]
    fn refusals_without_a_word_park_only_a_crowded_host() {
        let one = || each(1);
        check(one(), "a * 503:0 * 503:0 * 503:0 *", "a0 . ~0:0 a0 . ~0:0 a0 . =0 idle");
        // Two rows, and each of them as often as it may be.
        check(one(), "a a * 503:0 ? 503:0 ? 503:0 ? 503:1 ?", "a0 . ~0:0 a0 ~0:0 a0 =0 a1 ~0:1 a1");
        // With 21 behind it, the second row in a row that is refused parks the host, then twice as long.
        let crowd = "a ".repeat(23);
        let refuse = "? 503:0 ? 503:0 ? 503:0 ? 503:1 ? +60000 ? 503:1 ?";
        let expected = "a0 ~0:0 a0 ~0:0 a0 =0 a1 ~60000:1 @60000 a1 ~180000:1 @180000";
        check(one(), &format!("{crowd} {refuse}"), expected);
        // Not with good answers in between, nor with --no-adaptive.
        check(one(), &format!("{crowd} ? 503:0 ? 200:0 ? 503:1 ? 200:1 ?"), "a0 ~0:0 a0 =0 a1 ~0:1 a1 =1 a2");
        let dull = Pace { adaptive: false, ..one() };
        check(
            dull,
            &format!("{crowd} ? 503:0 ? 503:0 ? 503:0 ? 503:1 ?"),
            "a0 ~0:0 a0 ~0:0 a0 =0 a1 ~0:1 a1",
        );
    }

    #[test]
    fn a_host_that_cannot_be_reached_is_given_up() {
        let pace = || Pace { host_errors_max: 3, ..each(9) };
        // Three probes at once and no more; its queue fails, another host goes on.
        check(
            pace(),
            "a a a a b * unknown:0 ? unknown:1 ? unknown:2 * a ? 200:4 ?",
            "a0 b4 a1 a2 . =0 . =1 . =2 !a3 . !a5 =4 idle",
        );
        // Retries count, and rows that wait for one fail as well.
        check(pace(), "a * refused:0 * refused:0 * refused:0 * a ?", "a0 . ~0:0 a0 . ~0:0 a0 . =0 idle !a1");
        // An answer of any kind begins the count anew.
        check(pace(), "a a * unknown:0 404:1 a a a a *", "a0 a1 . =0 =1 a2 a3 a4 a5 .");
        // A redirect to it fails too.
        check(pace(), "a a a b * unknown:0 unknown:1 unknown:2 >a:3 *", "a0 b3 a1 a2 . =0 =1 =2 !a3 idle");
        let never = Pace { host_errors_max: 0, ..each(1) };
        check(never, "a a a a ? unknown:0 ? unknown:1 ? unknown:2 ?", "a0 =0 a1 =1 a2 =2 a3");
    }

    #[test]
    fn a_network_that_is_down_burns_no_row() {
        let hosts = "a b c d e f g h i j k l";
        let starts = "a1 b2 c3 d4 e5 f6 g7 h8 i9 j10 k11 l12 .";
        let fail = (1..=11).map(|row| format!("unreachable:{row} ")).collect::<String>();
        let nine = (1..=9).map(|row| format!("~0:{row} ")).collect::<String>();
        let down = format!("{nine} ~1000:10 ~1000:11");
        // One probe at a time, the next one later; what answers a probe lifts the pause.
        check(
            each(1),
            &format!("x ? 200:0 {hosts} * {fail} 200:12 * +1000 * 200:10 *"),
            &format!("x0 =0 {starts} {down} =12 @1000 j10 @3000 =10 k11 i9 h8 g7 f6 e5 d4 c3 b2 a1 ."),
        );
        check(
            each(1),
            &format!("x ? 200:0 {hosts} * {fail} unreachable:12 +1000 * unreachable:10 * +2000 * 200:11 *"),
            &format!(
                "x0 =0 {starts} {nine} ~1000:10 ~1000:11 ~1000:12 j10 @3000 ~3000:10 @3000 k11 @7000 =11 l12 i9 h8 g7 f6 e5 d4 c3 b2 a1 j10 . "
            ),
        );
    }

    #[test]
    fn slots_shrink_and_grow() {
        // Eight in flight and a timeout: four. The endings that were under way say nothing new.
        let a = "a ".repeat(40);
        let run = "? ? ? ? ? ? ? ? slow:0 200:1 200:2 200:3 ? 200:4 ?";
        let out = "a0 a1 a2 a3 a4 a5 a6 a7 ~0:0 =1 =2 =3 . =4 a0";
        check(each(8), &format!("{a} {run}"), out);
        // From then on each round of good answers brings one back.
        let more = "200:5 200:6 200:7 ? ? ? 200:0 200:8 200:9 200:10 * 200:11 ? ?";
        let more_out = "=5 =6 =7 a8 a9 a10 =0 =8 =9 =10 a11 a12 a13 a14 a15 . =11 a16 .";
        check(each(8), &format!("{a} {run} {more}"), &format!("{out} {more_out}"));
    }

    #[test]
    fn what_could_not_run_goes_back() {
        check(each(1), "a a * back:0 * 500:0 * 500:0 * 500:0", "a0 . a0 . ~0:0 a0 . ~0:0 a0 . =0");
        check(each(1), "a b * out:0 a *", "a0 b1 . a2 .");
        check(each(1), "a a b ? ? 500:0 drain * 200:2 ?", "a0 b2 ~0:0 [0,1] . =2 idle");
    }

    #[test]
    fn a_host_that_fills_its_share_spills() {
        let mut scheduler = Scheduler::new(Pace { window_rows_host: Some(2), ..Pace::default() });
        let host = HostKey::new("a");
        let mut submit = |row| scheduler.submit(Job::new(Row(row), url("a")), Nanos::ZERO);
        assert!(matches!((submit(0), submit(1)), (Submit::Queued, Submit::Queued)));
        assert!(matches!(submit(2), Submit::Spill(job) if job.row == Row(2)));
        assert_eq!(scheduler.room_host(host), 0);
        assert!(matches!(scheduler.poll(Nanos::ZERO), Next::Start(_)));
        assert_eq!(scheduler.room_host(host), 1);
        assert_eq!(scheduler.room(), limits::WINDOW_ROWS - 1);
    }

    #[test]
    fn the_limit_that_holds_is_named() {
        let check = |pace: Pace, script: &str, expected: Held| {
            let mut play =
                Play { scheduler: Scheduler::new(pace), now: Nanos::ZERO, rows: 0, running: Vec::new() };
            script.split_whitespace().for_each(|step| drop(play.step(step)));
            assert_eq!(play.scheduler.held(play.now), expected, "{script}");
        };
        check(each(1), "a *", Held::Nothing);
        check(each(1), "a a *", Held::ParallelMaxHost);
        check(Pace { parallel_max: 1, ..each(1) }, "a b *", Held::ParallelMax);
        check(Pace { rate: rate("1/s"), ..each(1) }, "a b *", Held::Rate);
        check(Pace { rate_host: rate("1/s"), ..each(2) }, "a a *", Held::RateHost);
        check(each(2), "a a a * slow:0 *", Held::Adaptive);
        check(each(1), "a a * 429=5:0 *", Held::Parked);
        check(each(1), "a a b b * 200:0 ? 429=5:2", Held::Parked);
    }
}
