//! Any sequence of operations on the scheduler, against a model that is slow and plain: it keeps every row in a list,
//! works out anew at each poll who may start, and must agree with what the scheduler says, and with its silence.
//!
//! The draw is always 0, so a back-off is nothing and a retry is due at once, or when its host's parking ends.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm, reason = "a test")]

use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::{HostKey, Job, Row};
use overlapped_proto::outcome::{Ending, Hop};
use overlapped_proto::schedule::{Finish, Next, Pace, Scheduler};
use overlapped_proto::time::Nanos;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

const HOSTS: [&str; 4] = ["http://a.test/", "http://b.test/", "http://c.test/", "http://localhost/"];

#[derive(Clone, Copy, Debug)]
enum Operation {
    Submit(usize),
    Poll,
    /// Ends one of those in flight.
    Finish(usize, Ending),
    Redirect(usize, usize),
    Release(usize),
    PutBack(usize),
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
        8 => (0..HOSTS.len()).prop_map(Operation::Submit),
        12 => Just(Operation::Poll),
        8 => (any::<usize>(), ending).prop_map(|(job, ending)| Operation::Finish(job, ending)),
        1 => (any::<usize>(), 0..HOSTS.len()).prop_map(|(job, host)| Operation::Redirect(job, host)),
        1 => any::<usize>().prop_map(Operation::Release),
        1 => any::<usize>().prop_map(Operation::PutBack),
        3 => (0..3_000_u64).prop_map(Operation::Wait),
        1 => (1..9_usize).prop_map(Operation::ParallelMax),
        3 => (1..9_usize).prop_map(Operation::Evict),
        1 => Just(Operation::Drain),
    ]
}

/// A row that is here and not in flight.
struct Held {
    row: u64,
    host: usize,
    due: Nanos,
    attempts: u16,
}

#[derive(Clone, Copy, Default)]
struct Host {
    in_flight: usize,
    parked_until: Nanos,
    failures: usize,
    reached: bool,
    down: bool,
}

struct Model {
    pace: Pace,
    held: Vec<Held>,
    hosts: [Host; HOSTS.len()],
    in_flight: usize,
}

impl Model {
    fn slots(&self, at: usize) -> usize {
        let (host, local, errors_max) = (self.hosts[at], at == 3, self.pace.host_errors_max as usize);
        let slots = if local { usize::MAX } else { self.pace.parallel_max_host.unwrap() };
        if host.failures > 0 || !(host.reached || local) {
            slots.min(errors_max - host.failures)
        } else {
            slots
        }
    }

    /// True if a row of the host may start, as far as the host goes.
    fn open(&self, at: usize, now: Nanos) -> bool {
        let host = self.hosts[at];
        !host.down && host.parked_until <= now && host.in_flight < self.slots(at)
    }

    fn doomed(&self) -> bool {
        self.held.iter().any(|held| self.hosts[held.host].down)
    }

    /// When the next row or host is due, among those that are not yet.
    fn next_due(&self, now: Nanos) -> Option<Nanos> {
        let due = |held: &Held| {
            let parked = self.hosts[held.host].parked_until;
            if held.due > now { held.due } else { parked }
        };
        self.held.iter().map(due).filter(|due| *due > now).min()
    }

    fn started(&mut self, job: &Job, now: Nanos) -> Result<(), String> {
        let found = self.held.iter().position(|held| held.row == job.row.0);
        let Some(found) = found else { return Err("was not here".into()) };
        let held = self.held.remove(found);
        let fits = !self.doomed()
            && held.due <= now
            && self.in_flight < self.pace.parallel_max
            && self.open(held.host, now)
            && job.attempts == held.attempts + 1
            && job.ready == held.due
            && job.first_started.is_some();
        self.hosts[held.host].in_flight += 1;
        self.in_flight += 1;
        fits.then_some(()).ok_or_else(|| "may not start".into())
    }

    fn polled(&mut self, next: &Next, now: Nanos) -> Result<(), String> {
        let runnable = self.held.iter().any(|held| held.due <= now && self.open(held.host, now));
        let full = self.in_flight >= self.pace.parallel_max;
        let right = match next {
            Next::Start(job) => return self.started(job, now),
            Next::Fail(job, failure) => {
                let found = self.held.iter().position(|held| held.row == job.row.0);
                let down = found.is_some_and(|found| self.hosts[self.held.remove(found).host].down);
                down && failure.kind == ErrorKind::HostDown
            }
            _ if self.doomed() => false,
            Next::WaitUntil(due) => !runnable && Some(*due) == self.next_due(now),
            Next::WaitForEvent => (runnable && full) || (!runnable && self.next_due(now).is_none()),
            Next::Idle => self.held.is_empty() && self.in_flight == 0,
        };
        right.then_some(()).ok_or_else(|| format!("the wrong answer to a poll (runnable: {runnable})"))
    }

    /// Gives a slot back.
    fn left(&mut self, host: usize) {
        self.hosts[host].in_flight -= 1;
        self.in_flight -= 1;
    }

    /// These rows were never tried, and each host that they are of keeps enough.
    fn evicted(&mut self, jobs: &[Job]) -> Result<(), String> {
        for job in jobs {
            let found = self.held.iter().position(|held| held.row == job.row.0);
            let held = self.held.remove(found.ok_or("evicted what was not here")?);
            let left = self.held.iter().filter(|other| other.host == held.host).count();
            if held.attempts > 0 || left < self.pace.window_rows_host || self.hosts[held.host].down {
                return Err(format!("evicted row {}, and {left} are left of its host", held.row));
            }
        }
        Ok(())
    }

    fn heard(&mut self, at: usize, ending: Ending, now: Nanos) {
        let errors_max = self.pace.host_errors_max as usize;
        let host = &mut self.hosts[at];
        match ending {
            Ending::Failed(ErrorKind::ConnectRefused | ErrorKind::DnsNotFound) => host.failures += 1,
            _ => (host.reached, host.failures) = (true, 0),
        }
        match ending {
            Ending::Response { status: 200 | 302 | 404, .. } => host.down = false,
            Ending::Response { retry_after: Some(span), .. } => {
                host.parked_until = host.parked_until.max(now + span);
            }
            _ => {}
        }
        host.down |= host.failures >= errors_max;
    }

    fn finished(&mut self, job: &Job, ending: Ending, finish: &Finish, now: Nanos) -> Result<(), String> {
        let at = place(job.host);
        self.left(at);
        self.heard(at, ending, now);
        let transient = match ending {
            Ending::Response { status, .. } => status >= 429,
            Ending::Failed(kind) => kind.is_transient(),
        };
        let again = transient && !self.hosts[at].down && usize::from(job.attempts) < 3 + job.chain.len();
        let due = self.hosts[at].parked_until.max(now);
        let right = match finish {
            Finish::Deliver(delivered) => !again && delivered.row == job.row,
            Finish::RetryAt(at) => again && *at == due,
        };
        if again {
            self.held.push(Held { row: job.row.0, host: at, due, attempts: job.attempts });
        }
        right.then_some(()).ok_or_else(|| "the wrong end".into())
    }
}

fn place(host: HostKey) -> usize {
    HOSTS.iter().position(|url| HostKey::of(&url.parse().unwrap()) == host).unwrap()
}

/// Plays the operations on the scheduler and on the model, which believes in its own pace.
fn play(operations: &[Operation], pace: Pace, believed: Pace) -> Result<(), String> {
    let mut scheduler = Scheduler::new(pace);
    let mut model = Model { pace: believed, held: Vec::new(), hosts: Default::default(), in_flight: 0 };
    let mut running: Vec<Job> = Vec::new();
    let (mut now, mut rows) = (Nanos::ZERO, 0);
    for operation in operations {
        let mut pick = |n: usize| (!running.is_empty()).then(|| running.swap_remove(n % running.len()));
        match *operation {
            Operation::Submit(host) => {
                let job = Job::new(Row(rows), HOSTS[host].parse().unwrap());
                model.held.push(Held { row: rows, host, due: now, attempts: 0 });
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
            Operation::Redirect(n, host) => {
                if let Some(mut job) = pick(n) {
                    let from = job.host;
                    let hop = Hop { url: "".into(), status: 302, total: Nanos::ZERO, remote: None };
                    job.redirect(HOSTS[host].parse().unwrap(), hop);
                    model.left(place(from));
                    model.heard(place(from), Ending::Response { status: 302, retry_after: None }, now);
                    model.held.push(Held { row: job.row.0, host, due: now, attempts: job.attempts });
                    scheduler.redirect(from, job, now);
                }
            }
            Operation::Release(n) => {
                if let Some(job) = pick(n) {
                    model.left(place(job.host));
                    model.heard(place(job.host), Ending::Response { status: 302, retry_after: None }, now);
                    scheduler.release(job.host, now);
                }
            }
            Operation::PutBack(n) => {
                if let Some(job) = pick(n) {
                    let host = place(job.host);
                    model.left(host);
                    model.held.push(Held { row: job.row.0, host, due: now, attempts: job.attempts - 1 });
                    scheduler.put_back(job, now);
                }
            }
            Operation::Wait(ms) => now += Nanos::from_millis(ms),
            Operation::ParallelMax(n) => {
                model.pace.parallel_max = n;
                scheduler.set_parallel_max(n);
            }
            Operation::Evict(n) => {
                let jobs = scheduler.evict(n, |host| place(host) == 0, now);
                if jobs.len() > n || jobs.iter().any(|job| place(job.host) == 0) {
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

fn pace() -> Pace {
    Pace {
        parallel_max: 4,
        parallel_max_host: Some(2),
        window_rows_host: 3,
        adaptive: false,
        host_errors_max: 3,
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
    if let Err(found) = search(10_000, pace) {
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
