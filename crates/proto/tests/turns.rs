//! The turns of hosts, in virtual time and from a seed: a host whose connection is open goes on before one whose connection
//! would have to be opened, but no host waits for more than a bounded number of starts of any other.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test, which prints what it counts"
)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use overlapped_proto::bucket::Rate;
use overlapped_proto::job::{HostKey, Job, Row};
use overlapped_proto::keepalive::{Bounds, Keepalive, Room};
use overlapped_proto::limits;
use overlapped_proto::outcome::Ending;
use overlapped_proto::schedule::{Finish, Next, Pace, Scheduler};
use overlapped_proto::time::Nanos;

/// Hosts that answer everything after `latency`, more or less, on connections of which `idle_max` are kept while idle.
struct Plan {
    hosts: usize,
    rows_each: usize,
    /// The first host always has this many rows that wait, until the others are done.
    endless: bool,
    latency: Nanos,
    idle_max: usize,
    pace: Pace,
}

impl Plan {
    fn new(hosts: usize, rows_each: usize) -> Self {
        let pace = Pace { parallel_max: 16, parallel_max_host: None, ..Pace::default() };
        let idle_max = hosts / 10;
        Self { hosts, rows_each, endless: false, latency: Nanos::from_millis(2), idle_max, pace }
    }
}

#[derive(Debug, Default)]
struct Report {
    starts: usize,
    /// The most starts of one host while another one waited.
    waited: usize,
    /// Starts of the first host before every other had its first, and before the others were done.
    ahead: usize,
    beside: usize,
    opened: usize,
    end: Nanos,
}

struct World<'a> {
    plan: &'a Plan,
    scheduler: Scheduler,
    urls: Vec<String>,
    by_key: HashMap<HostKey, usize>,
    next_row: u64,
    /// Rows of each host that were not started.
    queued: Vec<usize>,
    /// For each host, the starts of each other since its last start.
    since: Vec<Vec<usize>>,
    started: Vec<usize>,
    idle: Keepalive<usize, ()>,
    starts: VecDeque<Nanos>,
    report: Report,
}

impl World<'_> {
    fn submit(&mut self, host: usize, now: Nanos) {
        let url = format!("{}{}", self.urls[host], self.next_row).parse().unwrap();
        self.scheduler.submit(Job::new(Row(self.next_row), url), now);
        self.next_row += 1;
        if self.queued[host] == 0 {
            self.since[host].fill(0);
        }
        self.queued[host] += 1;
    }

    fn start(&mut self, job: &Job, now: Nanos) {
        let host = self.by_key[&job.host];
        self.report.starts += 1;
        self.started[host] += 1;
        self.queued[host] -= 1;
        for (other, since) in self.since.iter_mut().enumerate() {
            if other != host && self.queued[other] > 0 {
                since[host] += 1;
                self.report.waited = self.report.waited.max(since[host]);
            }
        }
        self.since[host].fill(0);
        if host == 0 {
            self.report.ahead += usize::from(self.started[1..].contains(&0));
            self.report.beside += usize::from(self.queued[1..].iter().any(|rows| *rows > 0));
        }
        if let Some(rate) = self.plan.pace.rate {
            self.starts.push_back(now);
            while self.starts.front().is_some_and(|start| now - *start >= rate.per) {
                self.starts.pop_front();
            }
            assert!(self.starts.len() <= rate.count as usize, "{rate:?}: {} starts", self.starts.len());
        }
        if self.idle.lease(&host, now, |()| Room::Whole).is_none() {
            self.report.opened += 1;
            self.scheduler.accepted(job.target(), now);
        }
    }
}

fn play(seed: u64, plan: &Plan) -> Report {
    let urls: Vec<String> = (0..plan.hosts).map(|host| format!("http://host-{host}.test/")).collect();
    let keys = urls.iter().enumerate().map(|(host, url)| (HostKey::of(&url.parse().unwrap()), host));
    let mut world = World {
        scheduler: Scheduler::new(plan.pace.clone()),
        by_key: keys.collect(),
        urls,
        next_row: 0,
        queued: vec![0; plan.hosts],
        since: vec![vec![0; plan.hosts]; plan.hosts],
        started: vec![0; plan.hosts],
        idle: Keepalive::new(Bounds { idle_max: plan.idle_max, ..Bounds::default() }),
        starts: VecDeque::new(),
        report: Report::default(),
        plan,
    };
    let (mut now, mut draw, mut id) = (Nanos::ZERO, seed, 0_u64);
    let mut running = BinaryHeap::new();
    let mut jobs = HashMap::new();
    for host in 0..plan.hosts {
        (0..plan.rows_each).for_each(|_| world.submit(host, now));
    }
    let ok = Ending::Response { status: 200, retry_after: None };
    loop {
        let due = match world.scheduler.poll(now) {
            Next::Start(job) => {
                world.start(&job, now);
                let host = world.by_key[&job.host];
                if plan.endless && host == 0 && world.queued[1..].iter().any(|rows| *rows > 0) {
                    world.submit(0, now);
                }
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let takes = plan.latency + Nanos((draw >> 33) % (plan.latency.0 / 8));
                running.push(Reverse((now + takes, id)));
                jobs.insert(id, job);
                id += 1;
                continue;
            }
            Next::WaitUntil(due) => Some(due),
            Next::WaitForEvent => None,
            Next::Idle => break,
            Next::Fail(job, failure) => panic!("{}: {failure}", job.url),
        };
        match running.peek() {
            Some(&Reverse((time, id))) if due.is_none_or(|due| time <= due) => {
                running.pop();
                now = time;
                let job = jobs.remove(&id).unwrap();
                let host = job.host;
                assert!(matches!(world.scheduler.finish(job, ok, now, draw), Finish::Deliver(_)));
                let _ = world.idle.checkin(world.by_key[&host], (), now, now);
                world.scheduler.kept(host, now);
            }
            _ => now = due.expect("something is in flight, or waits for a time"),
        }
    }
    assert!(world.queued.iter().all(|rows| *rows == 0), "a row is lost");
    world.report.end = now;
    world.report
}

fn check(what: &str, plan: &Plan, holds: impl Fn(&Report) -> bool) {
    for seed in 1..=3 {
        let report = play(seed, plan);
        println!("{what}, seed {seed}: {report:?}");
        assert!(holds(&report), "{what}, seed {seed}: {report:?}");
    }
}

const WARM: usize = limits::WARM_STARTS_MAX as usize;

/// More hosts than idle connections: without turns that go on, none would be left when its host's next row starts.
#[test]
fn a_connection_serves_a_whole_turn() {
    let (hosts, each) = (200, 4 * WARM);
    let one = Plan { pace: Pace { warm_starts_max: 1, ..Plan::new(1, 1).pace }, ..Plan::new(hosts, each) };
    check("row by row", &one, |report| report.opened > report.starts * 9 / 10 && report.waited <= 2);
    let plan = Plan::new(hosts, each);
    check("in turns", &plan, |report| report.opened <= (hosts + hosts * each / WARM) * 5 / 4);
}

#[test]
fn hosts_take_turns_row_by_row_while_their_connections_are_kept() {
    let plan = Plan { idle_max: 200, ..Plan::new(200, 100) };
    check("kept", &plan, |report| report.opened == 200 && report.waited <= 2);
}

#[test]
fn a_host_waits_for_two_turns_of_each_other_at_most() {
    let plan = Plan::new(200, 100);
    check("in turns", &plan, |report| (WARM..=2 * WARM).contains(&report.waited));
    let long = Plan { pace: Pace { warm_starts_max: 90, ..plan.pace.clone() }, ..Plan::new(200, 300) };
    check("the check finds longer turns", &long, |report| report.waited > 2 * WARM);
}

#[test]
fn turns_of_slow_hosts_end_by_time() {
    let latency = Nanos(limits::WARM_TIME_MAX.0 / 4);
    let plan = Plan { latency, ..Plan::new(100, 40) };
    // A turn begins with one start, and has four more at the most while it lasts.
    check("slow", &plan, |report| (3..=2 * 5).contains(&report.waited));
}

#[test]
fn the_bound_holds_at_a_rate() {
    let rate = Some(Rate { count: 1_000, per: Nanos::from_secs(1) });
    let plan = Plan { pace: Pace { rate, ..Plan::new(1, 1).pace }, ..Plan::new(100, 100) };
    check("at a rate", &plan, |report| report.waited <= 2 * WARM && report.end > Nanos::from_millis(9_900));
}

/// Its rows also wait while its two places are taken: for at most the turns of the others meanwhile.
#[test]
fn the_bound_holds_within_the_limit_of_a_host() {
    let pace = Pace { parallel_max: 64, parallel_max_host: Some(2), ..Pace::default() };
    let plan = Plan { pace, ..Plan::new(100, 100) };
    check("two a host", &plan, |report| report.starts == 100 * 100 && report.waited <= 4 * WARM);
}

#[test]
fn a_host_of_endless_rows_does_not_hold_back_999_others() {
    let plan = Plan { endless: true, ..Plan::new(1_000, 20) };
    check("endless", &plan, |report| report.ahead <= 2 * WARM && report.beside <= 4 * WARM);
}
