//! The event loop of a shard: receive rows, start requests, poll requests in flight, send finished batches.
//!
//! Requests run in *attempt loops*: a future makes one attempt after another while the scheduler has a row to start, so
//! that in steady state no future is allocated and none is handed over.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::Job;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;

use super::attempt::attempt;
use super::outcome::Outcome;
use super::robots::{Admission, Robots, Unknown};
use super::shard::{Shard, Turn};
use crate::net::alarm::Alarm;
use crate::net::http1::begin_step;
use crate::shared::Stage;

/// Runs a shard until its run is over.
pub(crate) async fn drive(shard: Rc<Shard>) {
    let robots = Robots::new(&shard);
    let mut driver = Driver {
        robots,
        loops: FuturesUnordered::new(),
        alarm: Alarm::new(shard.requester.clock),
        drain_until: None,
        shard,
    };
    // The whole shard is one task. tokio's cooperative budget makes tasks take turns; here it would stall the attempt
    // loops of one shard.
    tokio::task::coop::unconstrained(poll_fn(|cx| driver.poll(cx))).await;
}

struct Driver<L> {
    shard: Rc<Shard>,
    loops: FuturesUnordered<L>,
    robots: Option<Rc<Robots>>,
    alarm: Alarm,
    /// Set when draining begins: queued rows were dropped, and requests in flight have until this time.
    drain_until: Option<Nanos>,
}

impl Driver<Pin<Box<dyn Future<Output = ()>>>> {
    /// Ready when the run is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before the queues are read, so that no wake-up is lost.
        self.shard.register(cx.waker());
        self.shard.requester.stamp();
        begin_step();
        match self.shard.stage() {
            Stage::Running => {}
            Stage::Draining => self.drain(),
            Stage::Aborting => {
                self.shard.flush(true);
                return Poll::Ready(());
            }
        }
        self.shard.receive();
        self.shard.attend(cx);
        let wait = self.start(cx);
        if self.shard.attend(cx) {
            cx.waker().wake_by_ref();
        }
        let idle = self.loops.is_empty();
        let over = self.drain_until.is_some_and(|until| idle || until <= self.shard.requester.now());
        if over {
            self.shard.flush(true);
            self.shard.publish();
            return Poll::Ready(());
        }
        let flush = self.shard.flush(idle);
        let expiry = self.shard.expire();
        self.shard.publish();
        let next = [wait, flush, expiry, self.drain_until].into_iter().flatten().min().unwrap_or(Nanos::MAX);
        if self.alarm.poll_at(next, cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Polls requests in flight and starts new ones until neither makes progress; returns when more may start.
    fn start(&mut self, cx: &mut Context<'_>) -> Option<Nanos> {
        // At most this many per turn: while thousands of connections are opened, the first ones should send already.
        let mut starts = limits::STARTS_A_TURN;
        loop {
            while let Poll::Ready(Some(())) = self.loops.poll_next_unpin(cx) {}
            // Decided again after the attempt loops have moved: an attempt may have ended in a retry with a due time.
            let before = self.loops.len();
            let wait = loop {
                if starts == 0 {
                    cx.waker().wake_by_ref();
                    break None;
                }
                match self.shard.next() {
                    Turn::Start(job) => {
                        starts -= 1;
                        self.loops.push(Box::pin(attempt_loop(self.shard.clone(), self.robots.clone(), job)));
                    }
                    Turn::Wait(at) => break Some(at),
                    Turn::Idle => break None,
                }
            };
            if self.loops.len() == before {
                return wait;
            }
        }
    }

    fn drain(&mut self) {
        self.shard.forget_queued();
        self.drain_until.get_or_insert(self.shard.requester.now() + limits::DRAIN_GRACE);
    }
}

/// Makes attempts one after another until no row can start.
async fn attempt_loop(shard: Rc<Shard>, robots: Option<Rc<Robots>>, mut job: Job) {
    let mut alarm = Alarm::new(shard.requester.clock);
    loop {
        let (ready, now) = (job.ready, shard.requester.now());
        // A panic is a defect in this program; it is contained here, so that it costs one row and not the run.
        let turn =
            AssertUnwindSafe(turn(&shard, robots.as_deref(), &mut alarm, &mut job)).catch_unwind().await;
        match turn {
            Ok(Some(outcome)) => shard.conclude(job, outcome),
            Ok(None) => shard.put_back(job),
            Err(_) => {
                let failure = Failure::new(ErrorKind::Internal, "a defect in this program");
                shard.conclude(job, Box::new(Outcome::failed(ready, now, failure)));
            }
        }
        match shard.next() {
            Turn::Start(next) => job = next,
            Turn::Wait(_) | Turn::Idle => return,
        }
    }
}

/// Runs a started row: its result, or `None` if it is to be put back and started again.
async fn turn(
    shard: &Rc<Shard>,
    robots: Option<&Robots>,
    alarm: &mut Alarm,
    job: &mut Job,
) -> Option<Box<Outcome>> {
    let (requester, target) = (&shard.requester, job.target());
    let accepted = || shard.accepted(target);
    let Some(robots) = robots else { return Some(attempt(requester, alarm, job, &accepted).await) };
    let ready = job.ready;
    match robots.admit(job).await {
        Admission::Go => Some(attempt(requester, alarm, job, &accepted).await),
        Admission::Again => None,
        Admission::Unknown(Unknown { failure, refusal }) => {
            Some(Box::new(Outcome { refusal, ..Outcome::failed(ready, requester.now(), failure) }))
        }
        Admission::Refused(failure) => {
            // Nothing was sent, so the attempt does not count.
            job.attempts = job.attempts.checked_sub(1).expect("starting a row counts an attempt");
            Some(Box::new(Outcome::failed(ready, requester.now(), failure)))
        }
    }
}
