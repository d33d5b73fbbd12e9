//! The state of the scheduler, and how rows move between its queues: that of their host, that of their origin, the heap of
//! retries, and the rows that are to fail. Which row moves, and when, is decided in the modules above.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::bucket::{Bucket, Rate, Spacing};
use crate::job::Job;
use crate::origin::{self, Endpoint};
use crate::retry::Budget;
use crate::slab::{List, Slab};
use crate::time::Nanos;

use super::Pace;
use super::hosts::Hosts;
use super::network::Network;
use super::reach::{Admission, Event, Reach, Rules};

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
    pub(super) pace: Pace,
    pub(super) spacing: Spacing,
    pub(super) spacing_host: Spacing,
    pub(super) hosts: Hosts,
    /// Every row that is not in flight: in its host's queue, held for its origin, in `doomed`, or named by `retries`.
    pub(super) rows: Slab<Job>,
    pub(super) retries: BinaryHeap<Reverse<Retry>>,
    /// When parked origins are probed. Entries are deleted lazily: one is valid while its origin is parked until exactly
    /// that time, and has rows.
    pub(super) returns: BinaryHeap<Reverse<Return>>,
    /// Rows of hosts that are down, and of origins that were given up.
    pub(super) doomed: List,
    pub(super) network: Network,
    pub(super) bucket: Bucket,
    pub(super) budget: Budget,
    pub(super) in_flight: usize,
    /// Requests in flight to origins that are not proven.
    pub(super) unproven: usize,
    /// How many of them have left since the crowd was last admitted.
    pub(super) vacated: usize,
    /// Origins whose rows are held because of the limit of `unproven`. An entry is deleted lazily: it is valid while the
    /// origin has held rows.
    pub(super) crowd: VecDeque<(u32, Endpoint)>,
    /// When an origin was last proven.
    pub(super) proven: Nanos,
    /// When a host last needed a new connection instead of an idle one that it had after its last row.
    pub(super) lost: Option<Nanos>,
    /// The time of the last poll.
    pub(super) polled: Nanos,
}

/// A row that waits for its retry. Ordered by time, then by slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Retry {
    pub(super) due: Nanos,
    pub(super) row: u32,
    pub(super) host: u32,
}

/// When an origin is probed. Ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Return {
    pub(super) due: Nanos,
    pub(super) host: u32,
    pub(super) endpoint: Endpoint,
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
            lost: None,
            polled: Nanos::ZERO,
        }
    }

    /// Applies an event to the state of an origin.
    pub(super) fn apply(&mut self, at: u32, endpoint: Endpoint, event: Event, now: Nanos, draw: u64) {
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

    pub(super) fn reach_of(&self, at: u32, endpoint: Endpoint) -> Reach {
        self.hosts.get(at).sites.get(endpoint).map_or(Reach::Untried, |site| site.reach)
    }

    /// Moves the rows held for an origin to the queue of its host, up to the number that the origin admits now.
    pub(super) fn relax(&mut self, at: u32, endpoint: Endpoint, now: Nanos) {
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
    pub(super) fn enqueue(&mut self, at: u32, row: u32, end: End) {
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
    pub(super) fn hold(&mut self, at: u32, row: u32) {
        let endpoint = self.rows.get(row).target().endpoint;
        let site = self.hosts.get_mut(at).sites.get_mut(endpoint);
        if let Some(due) = site.reach.due().filter(|_| site.held.is_empty()) {
            self.returns.push(Reverse(Return { due, host: at, endpoint }));
        }
        self.hold_only(at, row);
    }

    /// Holds a row for its origin, sorted by row number.
    pub(super) fn hold_only(&mut self, at: u32, row: u32) {
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
    pub(super) fn free_slot(&mut self, at: u32, endpoint: Endpoint) {
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
    pub(super) fn retry(&mut self, at: u32, mut job: Job, due: Nanos) {
        job.ready = due;
        let row = self.rows.insert(job);
        self.hosts.get_mut(at).waiting += 1;
        self.retries.push(Reverse(Retry { due, row, host: at }));
    }

    /// Puts a row at the front of its host's queue.
    pub(super) fn requeue(&mut self, mut job: Job, now: Nanos) {
        job.ready = now;
        let at = self.host_of(&job, now);
        let row = self.rows.insert(job);
        self.enqueue(at, row, End::Front);
        self.hosts.settle(at, &self.pace, now);
    }

    /// Dooms the rows of a host that is down, or of one origin that was given up. Rows of that origin in the queue of the
    /// host are doomed when it is their turn.
    pub(super) fn give_up(&mut self, at: u32, endpoint: Option<Endpoint>) {
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

    pub(super) fn host_of(&mut self, job: &Job, now: Nanos) -> u32 {
        self.hosts.find_or_insert(job.target(), || origin::is_local(&job.url), self.pace.hosts_max, now)
    }

    pub(super) fn host_of_row(&mut self, row: u32, now: Nanos) -> u32 {
        let job = self.rows.get(row);
        self.hosts.find_or_insert(job.target(), || origin::is_local(&job.url), self.pace.hosts_max, now)
    }
}

const UNPROVEN: &str = "a request to an origin that is not proven is counted";

/// The end of a queue at which a row is added.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Front,
    Back,
}

/// Takes back the attempt of a row that is in flight.
pub(super) fn uncount(job: &mut Job) {
    job.attempts = job.attempts.checked_sub(1).expect("a row in flight has an attempt");
    if job.attempts == 0 {
        job.first_started = None;
    }
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
