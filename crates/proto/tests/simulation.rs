//! The scheduler against thousands of simulated hosts, in virtual time and from a seed: slow, failing, redirecting,
//! refusing, dying and dead ones. No host is ever asked more than allowed in any window, no row is lost or doubled,
//! memory has a bound, and every run ends.
//!
//! A failing run names its seed; `run` with that seed and plan is the same run again.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test, which prints its seed"
)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use overlapped_proto::bucket::Rate;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::{HostKey, Job, Row};
use overlapped_proto::limits;
use overlapped_proto::outcome::{Ending, Hop};
use overlapped_proto::schedule::{Finish, Next, Pace, Scheduler};
use overlapped_proto::time::Nanos;

/// A host's nature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    /// Answers in milliseconds.
    Fast,
    /// Answers in seconds.
    Slow,
    /// Each request fails in some way, one time in five.
    Flaky,
    /// One page in ten always answers 503.
    BrokenPages,
    /// Sends every second row on to another host.
    Redirecting,
    /// Answers 429 with `Retry-After` to the third request within a second.
    Limiting,
    /// Answers 503 without a word in its first ten minutes.
    Overloaded,
    /// Always answers 503.
    Refusing,
    /// Never accepts a connection.
    Dead,
    /// Refuses every connection at once.
    Gone,
    /// Works for a minute, then accepts none.
    Dying,
    /// Refuses for ten seconds in each minute.
    Restarting,
    /// Takes twenty requests in any second and answers 429 to the others.
    Metered,
    /// Takes a request each 50 ms and answers 503 to the others.
    Leaky,
    /// Answers 502 for ten seconds in each minute.
    Deploying,
    /// Every second page always answers 503.
    HalfBroken,
    /// Its first thousand pages always answer 503.
    BrokenFirst,
    /// One page in a hundred always answers 429.
    OneLimited,
    /// Always answers 429.
    Forbidding,
    /// Answers 429 to every second request, by chance.
    Half,
    /// Breaks the connection of the first attempt at each row.
    Dropping,
    /// Breaks every connection.
    Breaking,
}

use Nature::*;

const ALL: &[Nature] = &[
    Fast,
    Fast,
    Fast,
    Slow,
    Flaky,
    BrokenPages,
    Redirecting,
    Limiting,
    Overloaded,
    Refusing,
    Dead,
    Gone,
    Dying,
    Restarting,
    Metered,
    Leaky,
    Deploying,
    HalfBroken,
    OneLimited,
    Forbidding,
];

struct Plan {
    natures: &'static [Nature],
    /// The first host's nature, if it is another.
    first: Option<Nature>,
    hosts: usize,
    rows: usize,
    /// Rows that may wait in the scheduler before no more are read.
    window_rows: usize,
    /// All rows of a host are consecutive, as in many lists.
    sorted: bool,
    /// Rows that cannot start make room for those of other hosts, and come back when theirs need them.
    spills: bool,
    /// The network is down from, until.
    outage: (Nanos, Nanos),
    pace: Pace,
}

/// Small against the lists, so that it is full most of the time.
const SMALL_WINDOW: usize = 3_000;

impl Plan {
    fn new(natures: &'static [Nature], hosts: usize, rows: usize, pace: Pace) -> Self {
        let never = (Nanos::MAX, Nanos::MAX);
        let window_rows = SMALL_WINDOW;
        Self {
            natures,
            first: None,
            hosts,
            rows,
            window_rows,
            sorted: false,
            spills: false,
            outage: never,
            pace,
        }
    }
}

/// What the run came to.
#[derive(Debug, Default)]
struct Report {
    end: Nanos,
    attempts: u64,
    doomed: usize,
    /// Rows delivered after a failure to get any answer.
    failed: usize,
    /// Rows delivered with an answer of 400 or more.
    refused: usize,
    /// The most attempts at one row.
    tries: u32,
    /// When the last row ended whose host answers, and when nine of ten such rows had.
    alive_end: Nanos,
    alive_most: Nanos,
    alive: usize,
    /// When the last row ended that is not the first host's.
    others_end: Nanos,
}

struct Server {
    nature: Nature,
    url: String,
    key: HostKey,
    in_flight: usize,
    attempts: u64,
    /// Starts within the last second or the span of the rate, the oldest first.
    starts: VecDeque<Nanos>,
    /// It has said that it will not be asked before this.
    closed_until: Nanos,
    /// Requests that it has taken within the last second, the oldest first.
    taken: VecDeque<Nanos>,
    /// The most starts within a second, and whether it has answered 429 since.
    peak: usize,
    complained: bool,
    /// Its last answer was a refusal.
    refuses: bool,
    /// Its rows that made room.
    aside: VecDeque<Job>,
    /// One behind the last of its own rows that was started for the first time.
    first_started: u64,
}

struct World<'a> {
    plan: &'a Plan,
    /// What the checks believe, which a canary gets wrong.
    believed: &'a Pace,
    random: Random,
    scheduler: Scheduler,
    servers: Vec<Server>,
    by_key: HashMap<HostKey, usize>,
    running: BinaryHeap<Reverse<(Nanos, u64)>>,
    jobs: HashMap<u64, (Job, Answer)>,
    begun: Vec<bool>,
    tries: Vec<u32>,
    ended: Vec<bool>,
    starts: VecDeque<Nanos>,
    /// Requests in flight to hosts that never answer.
    to_dead: usize,
    now: Nanos,
    report: Report,
}

impl Server {
    /// Takes a request, if there were fewer than `count` within the span before.
    fn takes(&mut self, count: usize, per: Nanos, now: Nanos) -> bool {
        while self.taken.front().is_some_and(|at| now - *at >= per) {
            self.taken.pop_front();
        }
        let takes = self.taken.len() < count;
        if takes {
            self.taken.push_back(now);
        }
        takes
    }
}

enum Answer {
    End(Ending),
    Redirect(usize),
    /// The machine had no file left: nothing was sent.
    NoFile,
}

impl World<'_> {
    fn room(&self) -> usize {
        self.plan.window_rows.saturating_sub(self.scheduler.queued())
    }

    fn run(mut self) -> Result<Report, String> {
        let mut next_row = 0;
        loop {
            while next_row < self.plan.rows && self.room() > 0 {
                let job = self.row(next_row);
                self.take_in(job);
                next_row += 1;
                if self.room() == 0 {
                    self.make_room();
                }
            }
            self.make_room();
            self.check_bounds()?;
            match self.scheduler.poll(self.now) {
                Next::Start(job) => {
                    self.bring_back(job.host);
                    self.start(job)?;
                }
                Next::Fail(job, failure) => {
                    self.bring_back(job.host);
                    ensure(failure.kind == ErrorKind::HostDown, || format!("{failure}"))?;
                    self.report.doomed += 1;
                    self.end(&job)?;
                }
                Next::WaitUntil(due) => {
                    ensure(due > self.now, || format!("waits until {due} at {}", self.now))?;
                    self.advance(Some(due))?;
                }
                Next::WaitForEvent => self.advance(None)?,
                Next::Idle => break,
            }
        }
        ensure(self.ended.iter().all(|ended| *ended), || "a row is lost".into())?;
        self.report.end = self.now;
        Ok(self.report)
    }

    fn take_in(&mut self, job: Job) {
        let server = &mut self.servers[self.by_key[&job.host]];
        if server.aside.is_empty() {
            self.scheduler.submit(job, self.now);
        } else {
            server.aside.push_back(job);
        }
    }

    fn make_room(&mut self) {
        if self.plan.spills && self.room() == 0 && self.jobs.len() < self.plan.pace.parallel_max {
            let (servers, by_key) = (&self.servers, &self.by_key);
            let spare = |host| !servers[by_key[&host]].aside.is_empty();
            let evicted = self.scheduler.evict(self.plan.window_rows / 4, spare, self.now);
            for job in evicted {
                self.servers[self.by_key[&job.host]].aside.push_back(job);
            }
        }
    }

    fn bring_back(&mut self, host: HostKey) {
        let most = self.plan.pace.window_rows_host;
        let queued = self.scheduler.queued_of(host);
        if queued < most / 2 {
            let aside = &mut self.servers[self.by_key[&host]].aside;
            let count = (most - queued).min(aside.len());
            aside.drain(..count).for_each(|job| self.scheduler.submit(job, self.now));
        }
    }

    fn row(&mut self, row: usize) -> Job {
        let server = if self.plan.sorted {
            row * self.servers.len() / self.plan.rows
        } else {
            self.random.below(self.servers.len())
        };
        Job::new(Row(row as u64), format!("{}{row}", self.servers[server].url).parse().unwrap())
    }

    fn start(&mut self, job: Job) -> Result<(), String> {
        let at = self.by_key[&job.host];
        let (now, believed) = (self.now, self.believed);
        let server = &mut self.servers[at];
        server.in_flight += 1;
        server.attempts += 1;
        self.report.attempts += 1;
        let says = |what: &str| format!("{what}: {:?} {} at {now}", server.nature, job.url);
        ensure(server.in_flight <= believed.parallel_max_host.unwrap_or(usize::MAX), || {
            says("parallel-max-host")
        })?;
        ensure(self.jobs.len() < believed.parallel_max, || says("parallel-max"))?;
        ensure(now >= server.closed_until, || says("Retry-After"))?;
        ensure(job.ready <= now, || says("not ready"))?;
        let allowed = 3 + usize::from(job.missed) + job.chain.len();
        ensure(job.missed <= 2 && usize::from(job.attempts) <= allowed, || says("too many attempts"))?;
        ensure(!self.ended[job.row.0 as usize], || says("started after its end"))?;
        if job.attempts == 1
            && job.chain.is_empty()
            && !std::mem::replace(&mut self.begun[job.row.0 as usize], true)
        {
            // While a host refuses, the last row may try it.
            if !server.refuses {
                ensure(job.row.0 >= server.first_started, || says("overtakes"))?;
                server.first_started = job.row.0 + 1;
            }
        }
        if matches!(server.nature, Dead | Gone) && believed.host_errors_max > 0 {
            // With ten seconds for each probe they are fewer than with none.
            ensure(server.attempts <= u64::from(believed.host_errors_max) + 6, || {
                says("a dead host is asked too often")
            })?;
        }
        let nature = server.nature;
        if matches!(server.nature, Dead | Gone) && believed.host_errors_max > 0 {
            self.to_dead += 1;
            ensure(self.to_dead <= believed.connects_max, || says("connects"))?;
        }
        window(&mut server.starts, believed.rate_host, now).map_err(|()| says("rate-host"))?;
        let peak = server.starts.len();
        // Before a 429 is here one or two more requests are on their way.
        let more = server.complained && peak > server.peak + 2;
        ensure(!more || nature != Metered, || format!("{peak} starts in a second after a 429: {}", job.url))?;
        server.peak = server.peak.max(peak);
        let tries = &mut self.tries[job.row.0 as usize];
        *tries += 1;
        self.report.tries = self.report.tries.max(*tries);
        window(&mut self.starts, believed.rate, now).map_err(|()| says("rate"))?;
        let (takes, answer) = self.answer(at, &job);
        let id = self.report.attempts;
        self.running.push(Reverse((now + takes, id)));
        self.jobs.insert(id, (job, answer));
        Ok(())
    }

    /// What the host does with the request, and after how long.
    fn answer(&mut self, at: usize, job: &Job) -> (Nanos, Answer) {
        let now = self.now;
        let status = |status| Answer::End(Ending::Response { status, retry_after: None });
        let no_connection = (limits::CONNECT_TIMEOUT, Answer::End(Ending::Failed(ErrorKind::ConnectTimeout)));
        let quick = Nanos::from_millis(1 + self.random.below(50) as u64);
        if self.random.below(1_000) == 0 && !matches!(self.servers[at].nature, Dead | Gone) {
            return (Nanos(1_000), Answer::NoFile);
        }
        if (self.plan.outage.0..self.plan.outage.1).contains(&now) {
            return (Nanos(1_000), Answer::End(Ending::Failed(ErrorKind::ConnectUnreachable)));
        }
        let hosts = self.servers.len();
        let server = &mut self.servers[at];
        let takes = match server.nature == Leaky {
            true => server.takes(1, Nanos::from_millis(50), now),
            false => server.nature != Metered || server.takes(20, Nanos::from_secs(1), now),
        };
        match server.nature {
            Fast => (quick, status(200)),
            Slow => (Nanos::from_millis(500 + self.random.below(9_500) as u64), status(200)),
            Flaky if self.random.below(5) == 0 => {
                let kinds = [
                    ErrorKind::HttpReset,
                    ErrorKind::BodyTruncated,
                    ErrorKind::TimeoutFirstByte,
                    ErrorKind::TlsTimeout,
                    ErrorKind::HttpParse,
                    ErrorKind::Resource,
                ];
                (quick, Answer::End(Ending::Failed(kinds[self.random.below(kinds.len())])))
            }
            BrokenPages if job.row.0.is_multiple_of(10) => (quick, status(503)),
            Redirecting if job.row.0.is_multiple_of(2) && job.chain.len() < 10 => {
                (quick, Answer::Redirect(self.random.below(hosts)))
            }
            Limiting
                if server.starts.iter().filter(|start| now - **start < Nanos::from_secs(1)).count() > 2 =>
            {
                let retry_after = Some(Nanos::from_secs(1 + self.random.below(3) as u64));
                (quick, Answer::End(Ending::Response { status: 429, retry_after }))
            }
            Metered if !takes => (quick, status(429)),
            Leaky if !takes => (quick, status(503)),
            Deploying if (10..20).contains(&(now.0 / 1_000_000_000 % 60)) => (quick, status(502)),
            HalfBroken if job.row.0.is_multiple_of(2) => (quick, status(503)),
            BrokenFirst if job.row.0 < 1_000 => (quick, status(503)),
            OneLimited if job.row.0.is_multiple_of(100) => (quick, status(429)),
            Forbidding => (quick, status(429)),
            Half if self.random.below(2) == 0 => (quick, status(429)),
            Dropping if job.attempts > 1 => (quick, status(200)),
            Dropping | Breaking => (quick, Answer::End(Ending::Failed(ErrorKind::HttpReset))),
            Restarting if (10..20).contains(&(now.0 / 1_000_000_000 % 60)) => {
                (Nanos::from_millis(1), Answer::End(Ending::Failed(ErrorKind::ConnectRefused)))
            }
            Overloaded if now < Nanos::from_secs(600) => (quick, status(503)),
            Refusing => (quick, status(503)),
            Dead => no_connection,
            Gone => (Nanos::from_millis(1), Answer::End(Ending::Failed(ErrorKind::ConnectRefused))),
            Dying if now > Nanos::from_secs(60) => no_connection,
            Flaky | BrokenPages | Redirecting | Limiting | Overloaded | Dying | Restarting | Metered
            | Leaky | Deploying | HalfBroken | BrokenFirst | OneLimited | Half => (quick, status(200)),
        }
    }

    /// Goes on to the next ending, or to `due` if that comes first.
    fn advance(&mut self, due: Option<Nanos>) -> Result<(), String> {
        let ending = self.running.peek().map(|Reverse(next)| *next);
        match (ending, due) {
            (Some((time, id)), due) if due.is_none_or(|due| time <= due) => {
                self.running.pop();
                self.now = time;
                let (job, answer) = self.jobs.remove(&id).unwrap();
                self.ending(job, answer)
            }
            (_, Some(due)) => {
                self.now = due;
                Ok(())
            }
            (_, None) => Err(format!("waits for an event that never comes, at {}", self.now)),
        }
    }

    fn ending(&mut self, mut job: Job, answer: Answer) -> Result<(), String> {
        let at = self.by_key[&job.host];
        self.servers[at].in_flight -= 1;
        if matches!(self.servers[at].nature, Dead | Gone) && self.believed.host_errors_max > 0 {
            self.to_dead -= 1;
        }
        match answer {
            Answer::NoFile => {
                self.servers[at].attempts -= 1;
                self.scheduler.put_back(job, self.now);
                Ok(())
            }
            Answer::Redirect(to) => {
                let from = job.target();
                let url = format!("{}{}", self.servers[to].url, job.row.0).parse().unwrap();
                job.redirect(
                    url,
                    Hop { url: "".into(), status: 302, total: Nanos::ZERO, remote: None, heads: None },
                );
                self.scheduler.redirect(from, job, self.now);
                Ok(())
            }
            Answer::End(ending) => {
                self.servers[at].complained |= matches!(ending, Ending::Response { status: 429, .. });
                self.servers[at].refuses = matches!(ending, Ending::Response { status: 429.., .. });
                if let Ending::Response { retry_after: Some(span), .. } = ending {
                    let server = &mut self.servers[at];
                    server.closed_until = server.closed_until.max(self.now + span);
                }
                let (draw, host, target) = (self.random.next(), job.host, job.target());
                if matches!(ending, Ending::Response { .. }) && draw >> 60 == 0 {
                    self.scheduler.accepted(target, self.now);
                }
                let finish = self.scheduler.finish(job, ending, self.now, draw);
                // Most answers leave their connection open.
                if matches!(ending, Ending::Response { status: ..400, .. }) && draw >> 62 > 0 {
                    self.scheduler.kept(host, self.now);
                }
                match finish {
                    Finish::Deliver(job) => {
                        self.report.failed += usize::from(matches!(ending, Ending::Failed(_)));
                        let refused = matches!(ending, Ending::Response { status: 400.., .. });
                        self.report.refused += usize::from(refused);
                        self.end(&job)
                    }
                    Finish::RetryAt(due) => ensure(due >= self.now, || format!("a retry at {due}")),
                    Finish::PutBack => Ok(()),
                }
            }
        }
    }

    fn end(&mut self, job: &Job) -> Result<(), String> {
        let ended = &mut self.ended[job.row.0 as usize];
        let doubled = std::mem::replace(ended, true);
        if !matches!(self.servers[self.by_key[&job.host]].nature, Dead | Gone) {
            self.report.alive += 1;
            self.report.alive_end = self.now;
            if self.report.alive * 10 <= self.plan.rows * 7 {
                self.report.alive_most = self.now;
            }
        }
        if self.by_key[&job.host] != 0 {
            self.report.others_end = self.now;
        }
        ensure(!doubled, || format!("row {} ends twice", job.row.0))
    }

    fn check_bounds(&self) -> Result<(), String> {
        let (scheduler, pace) = (&self.scheduler, self.believed);
        // Rows that come back find no room: no host has more than its share then.
        let back = self.servers.iter().filter(|server| !server.aside.is_empty()).count();
        let most_rows = self.plan.window_rows + pace.parallel_max + back * pace.window_rows_host;
        ensure(scheduler.in_flight() == self.jobs.len(), || "in flight is counted wrongly".into())?;
        ensure(scheduler.queued() <= most_rows, || format!("{} rows are queued", scheduler.queued()))?;
        ensure(scheduler.hosts_remembered() <= pace.hosts_max + most_rows, || {
            format!("{} hosts are remembered", scheduler.hosts_remembered())
        })
    }
}

/// Takes a start into the window, which must not hold too many then. Starts of the last second are kept as well.
fn window(starts: &mut VecDeque<Nanos>, rate: Option<Rate>, now: Nanos) -> Result<(), ()> {
    let (count, per) = rate.map_or((usize::MAX, Nanos::ZERO), |rate| (rate.count as usize, rate.per));
    let keep = per.max(Nanos::from_secs(1));
    while starts.front().is_some_and(|start| now - *start >= keep) {
        starts.pop_front();
    }
    starts.push_back(now);
    let first = starts.len().checked_sub(count.saturating_add(1));
    if first.is_some_and(|first| now - starts[first] < per) { Err(()) } else { Ok(()) }
}

fn ensure(holds: bool, says: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(says()) }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn run(seed: u64, plan: &Plan, believed: &Pace) -> Result<Report, String> {
    let mut random = Random(seed);
    let servers: Vec<Server> = (0..plan.hosts)
        .map(|host| {
            let url = format!("http://host-{host}.test/");
            Server {
                nature: plan
                    .first
                    .filter(|_| host == 0)
                    .unwrap_or(plan.natures[random.below(plan.natures.len())]),
                key: HostKey::of(&url.parse().unwrap()),
                url,
                in_flight: 0,
                attempts: 0,
                starts: VecDeque::new(),
                closed_until: Nanos::ZERO,
                taken: VecDeque::new(),
                peak: 0,
                complained: false,
                refuses: false,
                aside: VecDeque::new(),
                first_started: 0,
            }
        })
        .collect();
    let world = World {
        plan,
        believed,
        random,
        scheduler: Scheduler::new(plan.pace.clone()),
        by_key: servers.iter().enumerate().map(|(at, server)| (server.key, at)).collect(),
        servers,
        running: BinaryHeap::new(),
        jobs: HashMap::new(),
        begun: vec![false; plan.rows],
        tries: vec![0; plan.rows],
        ended: vec![false; plan.rows],
        starts: VecDeque::new(),
        to_dead: 0,
        now: Nanos::ZERO,
        report: Report::default(),
    };
    world.run().map_err(|what| format!("seed {seed}: {what}"))
}

/// Runs a plan from several seeds, and checks how long the longest run took in virtual time.
fn check(plan: &Plan, ends_within: Nanos) {
    for seed in 1..=4 {
        match run(seed, plan, &plan.pace) {
            Ok(report) => {
                println!("seed {seed}: {} rows, {report:?}", plan.rows);
                assert!(report.end <= ends_within, "seed {seed}: {report:?}");
            }
            Err(what) => panic!("{what}"),
        }
    }
}

fn few_hosts() -> Pace {
    Pace { hosts_max: 1_000, ..Pace::default() }
}

#[test]
fn all_kinds_of_hosts() {
    let pace = few_hosts();
    check(&Plan::new(ALL, 2_000, 30_000, pace), Nanos::from_secs(7 * 86_400));
}

#[test]
fn a_list_sorted_by_host() {
    let pace = few_hosts();
    check(&Plan { sorted: true, ..Plan::new(ALL, 200, 30_000, pace) }, Nanos::from_secs(7 * 86_400));
}

#[test]
fn a_list_sorted_by_host_of_which_rows_make_room() {
    let pace = Pace { window_rows_host: 8, ..few_hosts() };
    let plan = Plan { sorted: true, spills: true, ..Plan::new(ALL, 200, 30_000, pace) };
    check(&plan, Nanos::from_secs(7 * 86_400));
}

/// 200 hosts of one request a second, sorted by host, in a window that holds twenty of them: still the bound is the time
/// of one host's rows.
#[test]
fn rows_that_make_room_keep_every_host_busy() {
    let rate_host = Some(Rate { count: 1, per: Nanos::from_secs(1) });
    let pace = Pace { rate_host, window_rows_host: 8, ..few_hosts() };
    let plan = Plan { sorted: true, spills: true, ..Plan::new(&[Fast], 200, 30_000, pace.clone()) };
    check(&plan, Nanos::from_secs(155));
    let without = run(1, &Plan { spills: false, ..plan }, &pace).unwrap();
    assert!(without.end > Nanos::from_secs(800), "{without:?}");
}

#[test]
fn rates_and_no_patience() {
    let rate = Some(Rate { count: 200, per: Nanos::from_secs(1) });
    let rate_host = Some(Rate { count: 2, per: Nanos::from_secs(5) });
    let pace = Pace { rate, rate_host, adaptive: false, parallel_max_host: Some(2), ..few_hosts() };
    check(&Plan::new(ALL, 1_000, 10_000, pace), Nanos::from_secs(86_400));
}

#[test]
fn many_rows_for_few_hosts_that_refuse() {
    let plan = Plan::new(&[Refusing, Overloaded, Fast], 9, 9_000, Pace::default());
    check(&plan, Nanos::from_secs(7 * 86_400));
}

/// 100 hosts of 50 requests a second, sorted by host: the bound is the time of one host's rows.
#[test]
fn the_politeness_bound_is_met() {
    let rate_host = Some(Rate { count: 50, per: Nanos::from_secs(1) });
    let pace = Pace { rate_host, ..Pace::default() };
    let plan = Plan { sorted: true, window_rows: 100_000, ..Plan::new(&[Fast], 100, 100_000, pace) };
    check(&plan, Nanos::from_millis(22_000));
}

/// One of 50 hosts answers 429 with `Retry-After` again and again: it pauses, the others lose less than 5 %.
#[test]
fn a_pausing_host_pauses_alone() {
    let others_end = |seed, first| {
        let pace = Pace { parallel_max: 64, ..Pace::default() };
        let plan = Plan { first, window_rows: 100_000, ..Plan::new(&[Fast], 50, 20_000, pace) };
        run(seed, &plan, &plan.pace).unwrap().others_end.as_secs_f64()
    };
    for seed in 1..=4 {
        let (alone, beside) = (others_end(seed, None), others_end(seed, Some(Limiting)));
        assert!(beside < 1.05 * alone, "seed {seed}: {beside} s beside it, {alone} s without");
    }
}

/// Hosts take turns: none is ever two starts ahead of another that has rows.
#[test]
fn no_host_is_starved() {
    let (hosts, each) = (300, 40);
    let mut scheduler = Scheduler::new(Pace { parallel_max: 10, ..Pace::default() });
    let mut random = Random(1);
    for row in 0..hosts * each {
        // The first host's rows come first, and all of them.
        let url = format!("http://host-{}.test/", row / each).parse().unwrap();
        scheduler.submit(Job::new(Row(row as u64), url), Nanos::ZERO);
    }
    let mut starts = vec![0; hosts];
    let mut running = Vec::new();
    let mut now = Nanos::ZERO;
    loop {
        match scheduler.poll(now) {
            Next::Start(job) => {
                let host = job.row.0 as usize / each;
                starts[host] += 1;
                assert!(starts[host] <= starts.iter().min().unwrap() + 1, "host {host} is ahead");
                running.push(job);
            }
            Next::WaitForEvent => {
                now += Nanos(1);
                let job = running.swap_remove(random.below(running.len()));
                let ok = Ending::Response { status: 200, retry_after: None };
                assert!(matches!(scheduler.finish(job, ok, now, 0), Finish::Deliver(_)));
            }
            Next::Idle => break,
            other @ (Next::Fail(..) | Next::WaitUntil(_)) => panic!("{other:?}"),
        }
    }
    assert!(starts.iter().all(|starts| *starts == each));
}

/// Ten minutes without a network, with 10,000 rows to burn: not one is burnt.
#[test]
fn an_outage_costs_no_row() {
    let outage = (Nanos::from_secs(2), Nanos::from_secs(602));
    let pace = few_hosts();
    let plan = Plan { outage, window_rows: 100_000, ..Plan::new(&[Fast], 500, 40_000, pace) };
    for seed in 1..=4 {
        let report = run(seed, &plan, &plan.pace).unwrap();
        assert_eq!((report.failed, report.doomed), (0, 0), "seed {seed}: {report:?}");
        assert!(report.attempts < 40_000 + 500, "seed {seed}: {report:?}");
        assert!(report.end < Nanos::from_secs(700), "seed {seed}: {report:?}");
    }
}

/// Hosts that are away for ten seconds of each minute, at any pace: not one row is lost to that.
#[test]
fn a_restart_costs_no_row() {
    let rate = |count| Some(Rate { count, per: Nanos::from_secs(1) });
    for (hosts, rate) in [(1, rate(500)), (1, rate(5)), (40, rate(500)), (40, None)] {
        let rows = if rate.is_none() { 30_000 } else { 8_000 };
        let pace = Pace { rate, ..few_hosts() };
        let plan = Plan { window_rows: 100_000, ..Plan::new(&[Restarting], hosts, rows, pace) };
        for seed in 1..=2 {
            let report = run(seed, &plan, &plan.pace).unwrap();
            let lost = (report.failed, report.doomed);
            assert_eq!(lost, (0, 0), "seed {seed}, {hosts} hosts, {rate:?}: {report:?}");
        }
    }
}

/// A server that restarts again and again used the retry budget up, so that rows failed with their first attempt. A server
/// that answers nothing still gets few retries.
#[test]
fn lost_connections_cost_no_row_and_no_budget() {
    const ROWS: usize = 8_000;
    let plan =
        |nature| Plan { first: Some(nature), window_rows: 100_000, ..Plan::new(ALL, 1, ROWS, few_hosts()) };
    let report = run(1, &plan(Dropping), &few_hosts()).unwrap();
    // Some starts find no file, and are made again.
    let rows = ROWS as u64;
    let two_each = 2 * rows..2 * rows + rows / 100;
    assert_eq!((report.failed, report.doomed), (0, 0), "{report:?}");
    assert!(two_each.contains(&report.attempts), "{report:?}");
    let report = run(1, &plan(Breaking), &few_hosts()).unwrap();
    let budget = rows * limits::RETRY_BUDGET_PERCENT / 100 + limits::RETRY_BUDGET_FLOOR;
    assert_eq!(report.failed, ROWS, "{report:?}");
    assert!(report.attempts <= two_each.end + budget, "{report:?}");
}

/// Hosts that limit their requests without `Retry-After`, with 429 or with 503, and hosts behind a proxy whose backend is
/// away for ten seconds of each minute: no row is lost, however few they are, and few requests are refused.
#[test]
fn a_host_that_limits_its_requests_loses_no_row() {
    for nature in [&[Metered], &[Leaky], &[Deploying]] {
        for (hosts, rows) in [(1, 3), (1, 200), (1, 2_000), (20, 2_000)] {
            for parallel_max_host in [Some(6), None] {
                let pace = Pace { parallel_max_host, ..few_hosts() };
                let plan = Plan { window_rows: 100_000, ..Plan::new(nature, hosts, rows, pace) };
                for seed in 1..=4 {
                    let report = run(seed, &plan, &plan.pace).unwrap();
                    let lost = (report.failed, report.doomed, report.refused);
                    let what = format!("seed {seed}, {nature:?} {hosts} {parallel_max_host:?}: {report:?}");
                    assert_eq!(lost, (0, 0, 0), "{what}");
                    println!("{what}");
                    assert!(report.attempts < 3 * rows as u64, "{what}");
                    // Each host takes twenty a second.
                    let each = rows as f64 / hosts as f64;
                    assert!(report.end.as_secs_f64() < 40.0 + each / 4.0, "{what}");
                }
            }
        }
    }
}

/// A thousand broken pages, among a thousand good ones of their host or before them, fail in bounded tries, and none of
/// the good ones is lost. So do a few that always get 429.
#[test]
fn broken_pages_fail_and_their_host_goes_on() {
    let natures = [(HalfBroken, 2_000, 1_000), (BrokenFirst, 2_000, 1_000), (OneLimited, 1_000, 10)];
    for (nature, rows, broken) in natures {
        let plan = Plan { first: Some(nature), window_rows: 100_000, ..Plan::new(ALL, 1, rows, few_hosts()) };
        for seed in 1..=2 {
            let report = run(seed, &plan, &plan.pace).unwrap();
            let what = format!("seed {seed}, {nature:?}: {report:?}");
            println!("{what}");
            // When none but broken ones are left, their host answers nothing else.
            assert_eq!((report.failed, report.doomed + report.refused), (0, broken), "{what}");
            assert!(report.tries <= 16, "{what}");
            assert!(report.end < Nanos::from_secs(3 * 3_600), "{what}");
        }
    }
}

/// Hosts that refuse for ever are given up after the span, with few requests: their rows fail, and the run ends.
#[test]
fn a_host_that_refuses_for_ever_is_given_up() {
    for nature in [&[Refusing], &[Forbidding]] {
        for (rows, span) in [(1, 60), (2, 60), (1_000, 60), (1_000, 5), (1_000, 600)] {
            let pace = Pace { host_down_after: Some(Nanos::from_secs(span)), ..few_hosts() };
            let plan = Plan { window_rows: 100_000, ..Plan::new(nature, 1, rows, pace) };
            let report = run(1, &plan, &plan.pace).unwrap();
            let what = format!("{nature:?} {rows} {span}: {report:?}");
            assert!(report.refused >= 1 && report.doomed + report.refused == rows, "{what}");
            assert!(report.attempts <= 30, "{what}");
            let end = report.end.as_secs_f64();
            assert!((span as f64..1.5 * span as f64 + 5.0).contains(&end), "{what}");
        }
    }
}

/// A host that refuses every second request by chance refuses many in a row now and then. It was given up, and lost nearly
/// all of its rows.
#[test]
fn a_host_that_refuses_by_chance_is_not_given_up() {
    for seed in 1..=8 {
        let plan = Plan { first: Some(Half), window_rows: 100_000, ..Plan::new(ALL, 1, 1_000, few_hosts()) };
        let report = run(seed, &plan, &plan.pace).unwrap();
        let what = format!("seed {seed}: {report:?}");
        println!("{what}");
        assert_eq!((report.failed, report.doomed), (0, 0), "{what}");
        // A row may be refused whenever it is tried.
        assert!(report.refused <= 30, "{what}");
        assert!(report.attempts < 2_300 && report.end < Nanos::from_secs(3_600), "{what}");
    }
}

/// Hosts that are away as above, with five rows each, of which many were not tried before it goes away.
#[test]
fn hosts_of_few_rows_that_restart_lose_none() {
    let rate = Some(Rate { count: 50, per: Nanos::from_secs(1) });
    let pace = Pace { rate, ..few_hosts() };
    let plan = Plan { window_rows: 100_000, ..Plan::new(&[Restarting], 400, 2_000, pace) };
    for seed in 1..=4 {
        let report = run(seed, &plan, &plan.pace).unwrap();
        assert_eq!((report.failed, report.doomed), (0, 0), "seed {seed}: {report:?}");
        assert!(report.attempts > 2_000, "seed {seed}: {report:?}");
    }
}

/// A thousand hosts that refuse, with thirty rows each, among others: the run waits for all of them at the same time.
#[test]
fn dead_hosts_are_waited_for_together() {
    let pace = Pace { hosts_max: 10_000, ..Pace::default() };
    let plan = Plan { window_rows: 100_000, ..Plan::new(&[Fast, Gone, Gone], 1_500, 45_000, pace) };
    for seed in 1..=2 {
        let report = run(seed, &plan, &plan.pace).unwrap();
        assert!(report.end < Nanos::from_secs(90), "seed {seed}: {report:?}");
        assert!(report.doomed > 1_000, "seed {seed}: {report:?}");
    }
}

/// Some 25 hosts that swallow connects, among seven times as many that answer, of thirty rows each: without a limit they
/// hold nearly all of the 64 places for ten seconds at a time.
#[test]
fn hosts_that_swallow_connects_held_all_places() {
    let pace = |connects_max| Pace { parallel_max: 64, connects_max, ..few_hosts() };
    let plan = |connects_max| {
        let pace = pace(connects_max);
        let natures = &[Dead, Fast, Fast, Fast, Fast, Fast, Fast, Fast];
        Plan { window_rows: 100_000, ..Plan::new(natures, 200, 6_000, pace) }
    };
    for seed in 1..=4 {
        let (held, free) = (plan(64 * 64), plan(48));
        let held = run(seed, &held, &held.pace).unwrap();
        let free = run(seed, &free, &free.pace).unwrap();
        println!("seed {seed}: {held:?} {free:?}");
        assert!(held.alive_end > Nanos::from_secs(10), "seed {seed}: {held:?}");
        assert!(free.alive_end < Nanos::from_secs(8), "seed {seed}: {free:?}");
    }
}

/// Nothing but hosts that cannot be reached: the run waits for an hour, then ends.
#[test]
fn a_dead_list_ends() {
    let outage = (Nanos::ZERO, Nanos::MAX);
    let pace = few_hosts();
    let plan = Plan { outage, window_rows: 100_000, ..Plan::new(&[Fast], 500, 10_000, pace) };
    check(&plan, Nanos::from_secs(2 * 3_600));
}

/// The checks themselves are checked: each of these beliefs is wrong, and must be found out.
#[test]
fn canary() {
    let per_second = |count| Some(Rate { count, per: Nanos::from_secs(1) });
    let pace = || Pace { parallel_max: 60, ..few_hosts() };
    for (what, pace, wrong) in [
        ("parallel-max", pace(), Pace { parallel_max: 59, ..pace() }),
        ("parallel-max-host", pace(), Pace { parallel_max_host: Some(5), ..pace() }),
        ("rate", Pace { rate: per_second(100), ..pace() }, Pace { rate: per_second(98), ..pace() }),
        (
            "rate-host",
            Pace { rate_host: per_second(2), ..pace() },
            Pace { rate_host: per_second(1), ..pace() },
        ),
        ("dead host", pace(), Pace { host_errors_max: 2, ..pace() }),
        ("connects", Pace { connects_max: 9, ..pace() }, Pace { connects_max: 8, ..pace() }),
    ] {
        let plan = Plan::new(ALL, 200, 5_000, pace);
        run(1, &plan, &plan.pace).unwrap();
        let found = run(1, &plan, &wrong).unwrap_err();
        assert!(found.contains(what), "{what}: {found}");
    }
}
