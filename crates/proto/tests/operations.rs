//! Any sequence of operations on the scheduler, against a slow and simple model: it keeps every row in a list, computes
//! anew at each poll which rows may start, and must agree with every answer of the scheduler.
//!
//! The draw is always 0, so a back-off is zero and a retry is due at once, or when its host's parking ends.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::HashMap;

use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::{HostKey, Job, Row};
use overlapped_proto::outcome::{Ending, Hop};
use overlapped_proto::schedule::{Finish, Next, Pace, Scheduler};
use overlapped_proto::time::Nanos;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

/// Origins; the last is another one of the first's host.
const ORIGINS: [&str; 5] =
    ["http://a.test/", "http://b.test/", "http://c.test/", "http://localhost/", "https://a.test/"];
/// The host of each.
const HOST: [usize; 5] = [0, 1, 2, 3, 0];
const LOCAL: usize = 3;
/// The first over https.
const SAFE: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Submit(usize),
    Poll,
    /// Ends one of those in flight.
    Finish(usize, Ending),
    Redirect(usize, usize),
    Release(usize),
    PutBack(usize),
    /// The same; a row of http is to be asked for over https.
    Upgrade(usize),
    Accepted(usize),
    Wait(u64),
    ParallelMax(usize),
    Evict(usize),
    Drain,
}

fn operation() -> impl Strategy<Value = Operation> {
    let answer = |status, retry_after: Option<u64>| {
        Just(Ending::Response { status, retry_after: retry_after.map(Nanos::from_secs) })
    };
    let ending = prop_oneof![
        4 => answer(200, None),
        1 => answer(404, None),
        1 => answer(503, None),
        1 => answer(429, Some(2)),
        4 => Just(Ending::Failed(ErrorKind::ConnectRefused)),
        1 => Just(Ending::Failed(ErrorKind::DnsNotFound)),
        1 => Just(Ending::Failed(ErrorKind::HttpReset)),
    ];
    prop_oneof![
        8 => (0..ORIGINS.len()).prop_map(Operation::Submit),
        12 => Just(Operation::Poll),
        8 => (any::<usize>(), ending).prop_map(|(job, ending)| Operation::Finish(job, ending)),
        1 => (any::<usize>(), 0..ORIGINS.len()).prop_map(|(job, host)| Operation::Redirect(job, host)),
        1 => any::<usize>().prop_map(Operation::Release),
        1 => any::<usize>().prop_map(Operation::PutBack),
        1 => any::<usize>().prop_map(Operation::Upgrade),
        1 => any::<usize>().prop_map(Operation::Accepted),
        3 => (0..3_000_u64).prop_map(Operation::Wait),
        1 => (1..9_usize).prop_map(Operation::ParallelMax),
        3 => (1..9_usize).prop_map(Operation::Evict),
        1 => Just(Operation::Drain),
    ]
}

/// A row that is here and not in flight.
struct Held {
    row: u64,
    origin: usize,
    due: Nanos,
    attempts: u16,
}

#[derive(Clone, Copy, Default)]
struct Host {
    in_flight: usize,
    parked_until: Nanos,
}

#[derive(Clone, Copy, Default)]
struct Origin {
    in_flight: usize,
    failures: usize,
    /// When the first of them was.
    since: Nanos,
    /// It has accepted a connection, or answered.
    reached: bool,
    parked: Option<Parked>,
    /// So many at once, because it was parked.
    room: Option<usize>,
    down: bool,
}

#[derive(Clone, Copy)]
struct Parked {
    until: Nanos,
    pauses: u32,
    probe: Option<u64>,
}

struct Model {
    pace: Pace,
    held: Vec<Held>,
    /// Attempts of rows that did not reach their origin, and were followed by another.
    misses: HashMap<u64, usize>,
    hosts: [Host; 4],
    origins: [Origin; ORIGINS.len()],
    in_flight: usize,
}

impl Model {
    fn errors_max(&self) -> usize {
        self.pace.host_errors_max as usize
    }

    /// True if the host has a place.
    fn has_place(&self, host: usize, now: Nanos) -> bool {
        let slots = if host == LOCAL { usize::MAX } else { self.pace.parallel_max_host.unwrap() };
        self.hosts[host].parked_until <= now && self.hosts[host].in_flight < slots
    }

    /// True if a row may ask the origin, as far as that goes.
    fn is_open(&self, at: usize, now: Nanos) -> bool {
        let origin = self.origins[at];
        let most = match (origin.parked, origin.room) {
            (Some(parked), _) => return parked.probe.is_none() && parked.until <= now,
            (None, Some(room)) => room,
            (None, None) if origin.failures > 0 => self.errors_max() - origin.failures,
            (None, None) if origin.reached => usize::MAX,
            (None, None) => self.errors_max(),
        };
        !origin.down && origin.in_flight < most
    }

    /// When a row may start that may not now, if only time must pass.
    fn due(&self, held: &Held) -> Option<Nanos> {
        let origin = self.origins[held.origin];
        let parked = origin.parked.map_or(Nanos::ZERO, |parked| parked.until);
        let blocked = origin.parked.is_some_and(|parked| parked.probe.is_some());
        (!blocked).then(|| held.due.max(parked).max(self.hosts[HOST[held.origin]].parked_until))
    }

    fn started(&mut self, job: &Job, now: Nanos) -> Result<(), String> {
        let found = self.held.iter().position(|held| held.row == job.row.0);
        let Some(found) = found else { return Err("was not here".into()) };
        let held = self.held.remove(found);
        let fits = held.due <= now
            && self.in_flight < self.pace.parallel_max
            && self.has_place(HOST[held.origin], now)
            && self.is_open(held.origin, now)
            && job.attempts == held.attempts + 1
            && job.ready == held.due
            && job.first_started.is_some();
        self.hosts[HOST[held.origin]].in_flight += 1;
        self.origins[held.origin].in_flight += 1;
        self.in_flight += 1;
        if let Some(parked) = &mut self.origins[held.origin].parked {
            parked.probe = Some(held.row);
        }
        fits.then_some(()).ok_or_else(|| "may not start".into())
    }

    fn polled(&mut self, next: &Next, now: Nanos) -> Result<(), String> {
        // A row that is to fail may be queued behind others of its host.
        let runnable = self.held.iter().any(|held| {
            let origin = held.origin;
            held.due <= now
                && self.has_place(HOST[origin], now)
                && (self.origins[origin].down || self.is_open(origin, now))
        });
        let full = self.in_flight >= self.pace.parallel_max;
        let earliest = self.held.iter().filter_map(|held| self.due(held)).filter(|due| *due > now).min();
        let right = match next {
            Next::Start(job) => return self.started(job, now),
            Next::Fail(job, failure) => {
                let found = self.held.iter().position(|held| held.row == job.row.0);
                let down = found.is_some_and(|found| self.origins[self.held.remove(found).origin].down);
                down && matches!(failure.kind, ErrorKind::HostDown | ErrorKind::DnsNotFound)
            }
            // To wake too early does no harm.
            Next::WaitUntil(due) => {
                !runnable && *due > now && earliest.is_none_or(|earliest| *due <= earliest)
            }
            Next::WaitForEvent => full || (!runnable && earliest.is_none()),
            Next::Idle => self.held.is_empty() && self.in_flight == 0,
        };
        right
            .then_some(())
            .ok_or_else(|| format!("the wrong answer to a poll (runnable: {runnable}, {earliest:?})"))
    }

    /// Gives a slot back.
    fn left(&mut self, origin: usize, row: u64) {
        self.hosts[HOST[origin]].in_flight -= 1;
        self.origins[origin].in_flight -= 1;
        self.in_flight -= 1;
        let parked = self.origins[origin].parked.as_mut();
        if let Some(parked) = parked.filter(|parked| parked.probe == Some(row)) {
            parked.probe = None;
        }
    }

    /// These rows were never tried, and each host that they are of keeps enough.
    fn evicted(&mut self, jobs: &[Job]) -> Result<(), String> {
        for job in jobs {
            let found = self.held.iter().position(|held| held.row == job.row.0);
            let held = self.held.remove(found.ok_or("evicted what was not here")?);
            let host = HOST[held.origin];
            let left = self.held.iter().filter(|other| HOST[other.origin] == host).count();
            if held.attempts > 0 || left < self.pace.window_rows_host {
                return Err(format!("evicted row {}, and {left} are left of its host", held.row));
            }
        }
        Ok(())
    }

    fn answered(&mut self, at: usize) {
        let origin = &mut self.origins[at];
        let room = match (origin.room, origin.parked.is_some() || origin.down) {
            (_, true) => Some(2),
            (Some(room), false) if room < 256 => Some(room + 1),
            (Some(_) | None, false) => None,
        };
        *origin = Origin { in_flight: origin.in_flight, reached: true, room, ..Origin::default() };
    }

    /// What a failure to reach it makes of an origin; true: that was no attempt of the row.
    fn missed(&mut self, at: usize, row_probed: bool, kind: ErrorKind, now: Nanos) -> bool {
        let (errors_max, after) = (self.errors_max(), self.pace.host_down_after.unwrap());
        let origin = &mut self.origins[at];
        if origin.down || (origin.parked.is_some() && !row_probed) {
            return !origin.down;
        }
        if origin.failures == 0 {
            (origin.since, origin.room) = (now, None);
        }
        origin.failures += usize::from(origin.parked.is_none());
        let enough = origin.parked.is_some() || origin.failures >= errors_max;
        let over =
            now - origin.since >= after && (origin.parked.is_some() || origin.failures >= 3.min(errors_max));
        if over || (enough && kind == ErrorKind::DnsNotFound) {
            (origin.down, origin.parked) = (true, None);
        } else if enough {
            self.park(at, now);
        }
        self.origins[at].parked.is_some()
    }

    fn park(&mut self, at: usize, now: Nanos) {
        let origin = &mut self.origins[at];
        let pauses = origin.parked.map_or(0, |parked| parked.pauses);
        let until = now + Nanos::from_secs((1 << pauses).min(60));
        let until = until.min(origin.since + self.pace.host_down_after.unwrap());
        origin.parked = Some(Parked { until, pauses: pauses + 1, probe: None });
    }

    fn finished(&mut self, job: &Job, ending: Ending, finish: &Finish, now: Nanos) -> Result<(), String> {
        let at = place(job);
        let probe = self.origins[at].parked.is_some_and(|parked| parked.probe == Some(job.row.0));
        self.left(at, job.row.0);
        let mut spared = false;
        let mut missed = false;
        match ending {
            Ending::Failed(kind @ (ErrorKind::ConnectRefused | ErrorKind::DnsNotFound)) => {
                spared = self.missed(at, probe, kind, now);
                missed = kind == ErrorKind::ConnectRefused;
            }
            Ending::Response { .. } | Ending::Failed(_) => self.answered(at),
        }
        if let Ending::Response { retry_after: Some(span), .. } = ending {
            let host = &mut self.hosts[HOST[at]];
            host.parked_until = host.parked_until.max(now + span);
        }
        let transient = match ending {
            Ending::Response { status, .. } => status >= 429,
            Ending::Failed(kind) => kind.is_transient(),
        };
        let attempts = usize::from(job.attempts) - job.chain.len();
        // What did not reach an origin uses no retry of what did.
        let misses = self.misses.entry(job.row.0).or_default();
        let used = if missed { attempts } else { attempts - *misses };
        let again = !spared && transient && !self.origins[at].down && used < 3;
        *misses += usize::from(again && missed);
        let due = self.hosts[HOST[at]].parked_until.max(now);
        if missed && !spared && !again {
            let origin = self.origins[at];
            if origin.failures >= attempts.max(3) && !origin.down {
                self.park(at, now);
                spared = true;
            }
        }
        // Refused by an origin that answers others: the row waits as long as it has waited, up to the span.
        let waited = now - job.first_started.unwrap();
        let left = self.pace.host_down_after.unwrap() - waited;
        let pause = waited.max(Nanos::from_secs(1)).min(left);
        let lingers = missed && !spared && !again && !self.origins[at].down && left > Nanos::ZERO;
        if lingers {
            self.held.push(Held { row: job.row.0, origin: at, due: now + pause, attempts: job.attempts - 1 });
        }
        let right = match finish {
            Finish::Deliver(delivered) => !again && !spared && !lingers && delivered.row == job.row,
            Finish::RetryAt(at) => again && *at == due,
            Finish::PutBack => spared || lingers,
        };
        if again {
            self.held.push(Held { row: job.row.0, origin: at, due, attempts: job.attempts });
        }
        if spared {
            self.held.push(Held { row: job.row.0, origin: at, due: now, attempts: job.attempts - 1 });
        }
        right.then_some(()).ok_or_else(|| format!("the wrong end (again: {again}, spared: {spared})"))
    }
}

fn place(job: &Job) -> usize {
    ORIGINS.iter().position(|url| *url == job.url.as_str()).unwrap()
}

/// Plays the operations on the scheduler and on the model, which believes in its own pace.
fn play(operations: &[Operation], pace: Pace, believed: Pace) -> Result<(), String> {
    let mut scheduler = Scheduler::new(pace);
    let (hosts, origins) = Default::default();
    let mut model =
        Model { pace: believed, held: Vec::new(), misses: HashMap::new(), hosts, origins, in_flight: 0 };
    let mut running: Vec<Job> = Vec::new();
    let (mut now, mut rows) = (Nanos::ZERO, 0);
    for operation in operations {
        let mut pick = |n: usize| (!running.is_empty()).then(|| running.swap_remove(n % running.len()));
        match *operation {
            Operation::Submit(origin) => {
                let job = Job::new(Row(rows), ORIGINS[origin].parse().unwrap());
                model.held.push(Held { row: rows, origin, due: now, attempts: 0 });
                scheduler.submit(job, now);
                rows += 1;
            }
            Operation::Poll => {
                let next = scheduler.poll(now);
                model.polled(&next, now).map_err(|what| format!("{what}: {next:?} at {now}"))?;
                if let Next::Start(job) = next {
                    running.push(job);
                }
            }
            Operation::Finish(n, ending) => {
                if let Some(job) = pick(n) {
                    let finish = scheduler.finish(job.clone(), ending, now, 0);
                    model
                        .finished(&job, ending, &finish, now)
                        .map_err(|what| format!("{what}: {finish:?}"))?;
                }
            }
            Operation::Redirect(n, origin) => {
                if let Some(mut job) = pick(n) {
                    let from = job.target();
                    model.left(place(&job), job.row.0);
                    model.answered(place(&job));
                    let hop =
                        Hop { url: "".into(), status: 302, total: Nanos::ZERO, remote: None, heads: None };
                    job.redirect(ORIGINS[origin].parse().unwrap(), hop);
                    model.held.push(Held { row: job.row.0, origin, due: now, attempts: job.attempts });
                    scheduler.redirect(from, job, now);
                }
            }
            Operation::Release(n) => {
                if let Some(job) = pick(n) {
                    model.left(place(&job), job.row.0);
                    model.answered(place(&job));
                    scheduler.release(job.target(), now);
                }
            }
            Operation::PutBack(n) => {
                if let Some(job) = pick(n) {
                    let origin = place(&job);
                    model.left(origin, job.row.0);
                    model.held.push(Held { row: job.row.0, origin, due: now, attempts: job.attempts - 1 });
                    scheduler.put_back(job, now);
                }
            }
            Operation::Upgrade(n) => {
                if let Some(job) = pick(n) {
                    let from = place(&job);
                    let origin = if from == 0 { SAFE } else { from };
                    model.left(from, job.row.0);
                    model.held.push(Held { row: job.row.0, origin, due: now, attempts: job.attempts - 1 });
                    scheduler.upgrade(job, ORIGINS[origin].parse().unwrap(), now);
                }
            }
            Operation::Accepted(n) => {
                if let Some(job) = pick(n) {
                    let origin = &mut model.origins[place(&job)];
                    let untried = origin.failures == 0 && origin.parked.is_none() && !origin.down;
                    origin.reached |= untried;
                    scheduler.accepted(job.target(), now);
                    running.push(job);
                }
            }
            Operation::Wait(ms) => now += Nanos::from_millis(ms),
            Operation::ParallelMax(n) => {
                model.pace.parallel_max = n;
                scheduler.set_parallel_max(n);
            }
            Operation::Evict(n) => {
                let jobs = scheduler.evict(n, |host| host == spared(), now);
                if jobs.len() > n || jobs.iter().any(|job| job.host == spared()) {
                    return Err(format!("evicted too much: {jobs:?}"));
                }
                model.evicted(&jobs)?;
            }
            Operation::Drain => {
                let mut drained: Vec<u64> = scheduler.drain().map(|job| job.row.0).collect();
                let mut expected: Vec<u64> = model.held.drain(..).map(|held| held.row).collect();
                drained.sort_unstable();
                expected.sort_unstable();
                if drained != expected {
                    return Err(format!("drained {drained:?}, not {expected:?}"));
                }
            }
        }
        if (scheduler.in_flight(), scheduler.queued()) != (model.in_flight, model.held.len()) {
            return Err(format!("the wrong counts after {operation:?}"));
        }
    }
    Ok(())
}

/// The host that keeps all its rows.
fn spared() -> HostKey {
    HostKey::of(&ORIGINS[1].parse().unwrap())
}

fn pace() -> Pace {
    Pace {
        parallel_max: 4,
        parallel_max_host: Some(2),
        window_rows_host: 3,
        adaptive: false,
        host_errors_max: 3,
        host_down_after: Some(Nanos::from_secs(6)),
        ..Pace::default()
    }
}

fn search(cases: u32, believed: impl Fn() -> Pace) -> Result<(), TestError<Vec<Operation>>> {
    let config = ProptestConfig { failure_persistence: None, cases, ..ProptestConfig::default() };
    let operations = proptest::collection::vec(operation(), 0..200);
    TestRunner::new(config)
        .run(&operations, |operations| play(&operations, pace(), believed()).map_err(TestCaseError::fail))
}

#[test]
fn any_operations() {
    if let Err(found) = search(10_000 * ProptestConfig::default().cases / 256, pace) {
        panic!("{found}");
    }
}

/// The model is checked itself: with a wrong belief it must disagree.
#[test]
fn canary() {
    for (what, wrong) in [
        ("parallel_max", Pace { parallel_max: 5, ..pace() }),
        ("parallel_max_host", Pace { parallel_max_host: Some(1), ..pace() }),
        ("host_errors_max", Pace { host_errors_max: 4, ..pace() }),
        ("window_rows_host", Pace { window_rows_host: 4, ..pace() }),
    ] {
        assert!(search(500, || wrong.clone()).is_err(), "{what}");
    }
}
