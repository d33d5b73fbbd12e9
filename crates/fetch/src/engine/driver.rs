//! The one loop of a shard: take rows in, start what may start, move what is in flight, send on what is finished.
//!
//! An attempt runs in a *lane*: a future that makes one attempt after the other for as long as the scheduler has one,
//! so that in steady state no task is made, and none is handed over.

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

use super::answer::Answer;
use super::attempt::attempt;
use super::robots::{Admission, Robots, Unknown};
use super::shard::{Shard, Turn};
use crate::control::Stage;
use crate::net::alarm::Alarm;

/// Runs a shard until its run is over.
pub(crate) async fn drive(shard: Rc<Shard>) {
    let robots = Robots::new(&shard);
    let mut driver = Driver {
        robots,
        lanes: FuturesUnordered::new(),
        alarm: Alarm::new(shard.clock),
        drain_until: None,
        shard,
    };
    // The whole shard is one task. tokio's budget is meant to make tasks take turns; here it would only make the lanes
    // of one shard stall each other.
    tokio::task::coop::unconstrained(poll_fn(|cx| driver.poll(cx))).await;
}

struct Driver<L> {
    shard: Rc<Shard>,
    lanes: FuturesUnordered<L>,
    robots: Option<Rc<Robots>>,
    alarm: Alarm,
    /// Set when the run was told to end: rows that had not started are gone, and what is in flight has until then.
    drain_until: Option<Nanos>,
}

impl Driver<Pin<Box<dyn Future<Output = ()>>>> {
    /// Ready when the run is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before anything is looked at: what comes in later wakes us again.
        self.shard.register(cx.waker());
        self.shard.stamp();
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
        let idle = self.lanes.is_empty();
        let over = self.drain_until.is_some_and(|until| idle || until <= self.shard.now());
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

    /// Moves what is in flight and starts what may start, until neither gets further; says when more may start.
    fn start(&mut self, cx: &mut Context<'_>) -> Option<Nanos> {
        // A few at a time: while thousands of connections are opened, the first of them should send their requests.
        let mut starts = limits::STARTS_A_TURN;
        loop {
            while let Poll::Ready(Some(())) = self.lanes.poll_next_unpin(cx) {}
            // Asked again after the lanes have moved: an attempt may have ended in a retry at some time.
            let before = self.lanes.len();
            let wait = loop {
                if starts == 0 {
                    cx.waker().wake_by_ref();
                    break None;
                }
                match self.shard.next() {
                    Turn::Start(job) => {
                        starts -= 1;
                        self.lanes.push(Box::pin(lane(self.shard.clone(), self.robots.clone(), job)));
                    }
                    Turn::Wait(at) => break Some(at),
                    Turn::Idle => break None,
                }
            };
            if self.lanes.len() == before {
                return wait;
            }
        }
    }

    fn drain(&mut self) {
        self.shard.forget_queued();
        self.drain_until.get_or_insert(self.shard.now() + limits::DRAIN_GRACE);
    }
}

/// Makes one attempt after the other for as long as there is one.
async fn lane(shard: Rc<Shard>, robots: Option<Rc<Robots>>, mut job: Job) {
    let mut alarm = Alarm::new(shard.clock);
    loop {
        let (ready, now) = (job.ready, shard.now());
        // A panic is a defect of ours. It must cost one row, not the run.
        let turn =
            AssertUnwindSafe(turn(&shard, robots.as_deref(), &mut alarm, &mut job)).catch_unwind().await;
        match turn {
            Ok(Some(answer)) => shard.conclude(job, answer),
            Ok(None) => shard.put_back(job),
            Err(_) => {
                let failure = Failure::new(ErrorKind::Internal, "a defect in this program");
                shard.conclude(job, Answer::failed(ready, now, failure));
            }
        }
        match shard.next() {
            Turn::Start(next) => job = next,
            Turn::Wait(_) | Turn::Idle => return,
        }
    }
}

/// What comes of a row that has its place: an answer, or `None` if it is to start again.
async fn turn(
    shard: &Rc<Shard>,
    robots: Option<&Robots>,
    alarm: &mut Alarm,
    job: &mut Job,
) -> Option<Answer> {
    let Some(robots) = robots else { return Some(attempt(shard, alarm, job).await) };
    let ready = job.ready;
    match robots.admit(job).await {
        Admission::Go => Some(attempt(shard, alarm, job).await),
        Admission::Again => None,
        Admission::Unknown(Unknown { failure, refusal }) => {
            Some(Answer { refusal, ..Answer::failed(ready, shard.now(), failure) })
        }
        Admission::Refused(failure) => {
            job.attempts = job.attempts.saturating_sub(1); // It was not tried.
            Some(Answer::failed(ready, shard.now(), failure))
        }
    }
}
