//! Any operations on the scheduler: no row is lost or handed out twice, no limit is passed, and it comes to its end.

use std::collections::{BTreeSet, HashMap};

use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::{Job, Row};
use overlapped_proto::outcome::{Ending, Hop};
use overlapped_proto::schedule::{Finish, Next, Pace, Scheduler};
use overlapped_proto::time::Nanos;

use crate::take::Take;

const HOSTS: [&str; 5] =
    ["http://a.test/", "http://b.test/", "https://b.test/", "http://c.test:81/", "http://localhost/"];

/// Does what the bytes say, and then lets everything come to its end.
pub fn schedule(data: &[u8]) {
    let mut take = Take(data);
    let mut play = Play::new(&mut take);
    for _ in 0..data.len() {
        play.step(&mut take);
    }
    play.end();
}

struct Play {
    scheduler: Scheduler,
    pace: Pace,
    now: Nanos,
    /// In flight.
    running: Vec<Job>,
    /// Neither delivered nor in flight nor aside.
    held: BTreeSet<u64>,
    /// They made room, and come back.
    aside: Vec<Job>,
    submitted: u64,
    delivered: u64,
    draw: u64,
}

impl Play {
    fn new(take: &mut Take<'_>) -> Self {
        let pace = Pace {
            parallel_max: 1 + take.below(6),
            parallel_max_host: (take.byte() > 40).then(|| 1 + take.below(3)),
            adaptive: take.byte() > 127,
            host_errors_max: u32::from(take.byte() % 5),
            host_down_after: (take.byte() > 40).then(|| Nanos::from_secs(take.below(90) as u64)),
            window_rows_host: take.below(4),
            ..Pace::default()
        };
        let scheduler = Scheduler::new(pace.clone());
        let (now, running, held, aside) = (Nanos::ZERO, Vec::new(), BTreeSet::new(), Vec::new());
        Self { scheduler, pace, now, running, held, aside, submitted: 0, delivered: 0, draw: 0 }
    }

    fn step(&mut self, take: &mut Take<'_>) {
        match take.byte() % 12 {
            0..3 => self.submit(take.below(HOSTS.len())),
            3..6 => drop(self.poll()),
            6 => self.finish(take.below(1 << 16), ending(take)),
            7 => self.leave(take),
            8 => self.make_room(take.below(6)),
            9 => self.come_back(),
            10 => self.now += Nanos::from_millis(take.below(1 << 16) as u64 * 4),
            _ => {
                self.pace.parallel_max = 1 + take.below(6);
                self.scheduler.set_parallel_max(self.pace.parallel_max);
            }
        }
        self.draw = self.draw.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        assert_eq!(self.scheduler.in_flight(), self.running.len());
        assert_eq!(self.scheduler.queued(), self.held.len());
    }

    fn submit(&mut self, host: usize) {
        let job = Job::new(Row(self.submitted), HOSTS[host].parse().unwrap());
        self.scheduler.submit(job, self.now);
        assert!(self.held.insert(self.submitted));
        self.submitted += 1;
    }

    fn make_room(&mut self, count: usize) {
        let evicted = self.scheduler.evict(count, |_| false, self.now);
        assert!(evicted.len() <= count);
        for job in evicted {
            assert!(self.held.remove(&job.row.0), "row {} was not here", job.row.0);
            assert_eq!(job.attempts, 0, "row {} was tried", job.row.0);
            self.aside.push(job);
        }
    }

    fn come_back(&mut self) {
        for job in self.aside.drain(..) {
            assert!(self.held.insert(job.row.0));
            self.scheduler.submit(job, self.now);
        }
    }

    fn poll(&mut self) -> Option<Next> {
        match self.scheduler.poll(self.now) {
            Next::Start(job) => {
                assert!(self.held.remove(&job.row.0), "row {} was not here", job.row.0);
                self.running.push(job);
                self.check_limits();
                None
            }
            Next::Fail(job, _) => {
                assert!(self.held.remove(&job.row.0), "row {} was not here", job.row.0);
                self.delivered += 1;
                None
            }
            other @ (Next::WaitUntil(_) | Next::WaitForEvent | Next::Idle) => Some(other),
        }
    }

    fn check_limits(&self) {
        assert!(self.running.len() <= self.pace.parallel_max, "{} in flight", self.running.len());
        let mut hosts = HashMap::new();
        for job in self.running.iter().filter(|job| job.url.host_str() != Some("localhost")) {
            *hosts.entry(job.host).or_insert(0) += 1;
        }
        let most = hosts.into_values().max().unwrap_or(0);
        assert!(self.pace.parallel_max_host.is_none_or(|max| most <= max), "{most} in flight to one host");
    }

    fn pick(&mut self, at: usize) -> Option<Job> {
        (!self.running.is_empty()).then(|| self.running.swap_remove(at % self.running.len()))
    }

    fn finish(&mut self, at: usize, ending: Ending) {
        let Some(job) = self.pick(at) else { return };
        let row = job.row.0;
        match self.scheduler.finish(job, ending, self.now, self.draw) {
            Finish::Deliver(job) => {
                assert_eq!(job.row.0, row);
                self.delivered += 1;
            }
            Finish::RetryAt(_) | Finish::PutBack => assert!(self.held.insert(row)),
        }
    }

    /// A row goes to another host, back to its place, or out of sight.
    fn leave(&mut self, take: &mut Take<'_>) {
        let Some(mut job) = self.pick(take.below(1 << 16)) else { return };
        match take.byte() % 4 {
            0 => {
                let (from, host) = (job.target(), HOSTS[take.below(HOSTS.len())]);
                job.redirect(
                    host.parse().unwrap(),
                    Hop { url: "".into(), status: 302, total: Nanos::ZERO, remote: None, heads: None },
                );
                assert!(self.held.insert(job.row.0));
                self.scheduler.redirect(from, job, self.now);
            }
            1 => {
                assert!(self.held.insert(job.row.0));
                self.scheduler.put_back(job, self.now);
            }
            2 => {
                self.scheduler.accepted(job.target(), self.now);
                self.running.push(job);
            }
            _ => {
                self.scheduler.release(job.target(), self.now);
                self.delivered += 1;
            }
        }
    }

    /// From here on every request succeeds.
    fn end(mut self) {
        self.come_back();
        for _ in 0..100_000 {
            match self.poll() {
                Some(Next::Idle) => {
                    assert!(self.held.is_empty() && self.running.is_empty());
                    assert_eq!(self.delivered, self.submitted, "rows are lost");
                    return;
                }
                Some(Next::WaitUntil(due)) if self.running.is_empty() => {
                    assert!(due > self.now, "it waits for what is past");
                    self.now = due;
                }
                Some(_) => {
                    assert!(!self.running.is_empty(), "it waits for what will not come");
                    self.finish(0, Ending::Response { status: 200, retry_after: None });
                }
                None => {}
            }
        }
        panic!("it does not come to its end");
    }
}

fn ending(take: &mut Take<'_>) -> Ending {
    let answer = |status, retry_after| Ending::Response { status, retry_after };
    match take.byte() % 8 {
        0 | 1 => answer(200, None),
        2 => answer(404, None),
        3 => answer(503, None),
        4 => answer(429, Some(Nanos::from_secs(take.byte().into()))),
        5 => Ending::Failed(ErrorKind::ConnectRefused),
        6 => Ending::Failed(ErrorKind::DnsNotFound),
        _ => Ending::Failed(ErrorKind::HttpReset),
    }
}
