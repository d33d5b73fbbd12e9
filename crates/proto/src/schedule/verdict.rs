//! The end of an attempt: whether its row is delivered, retried, or put back without the attempt being counted.

use crate::error::ErrorKind;
use crate::job::Job;
use crate::limits;
use crate::outcome::Ending;
use crate::retry;
use crate::time::Nanos;

use super::Finish;
use super::queues::{Scheduler, uncount};
use super::reach::{self, Event, Reach};
use super::refusals::Tried;

impl Scheduler {
    /// Ends an attempt and releases its slot. The row comes back with `Deliver`, or stays for another attempt.
    ///
    /// `job` is the row that `poll` returned, on the same host; `draw` is any random number.
    ///
    /// # Panics
    ///
    /// If the row is not in flight.
    pub fn finish(&mut self, job: Job, ending: Ending, now: Nanos, draw: u64) -> Finish {
        let at = self.host_of(&job, now);
        if self.network.record(ending, &mut self.hosts.get_mut(at).network_round, now) {
            self.put_back(job, now);
            return Finish::PutBack;
        }
        let (target, row) = (job.target(), job.row.0 as u32);
        self.free_slot(at, target.endpoint);
        let tried = Tried { row, first_started: job.first_started.unwrap_or(now) };
        self.hosts.get_mut(at).record(ending, tried, &self.pace, now, draw);
        if let Some(event) = reached(ending, row) {
            self.apply(at, target.endpoint, event, now, draw);
        }
        if self.hosts.get(at).refusals.is_down() {
            self.give_up(at, None);
        }
        let finish = self.judge(at, job, ending, now, draw);
        self.relax(at, target.endpoint, now);
        self.hosts.settle(at, &self.pace, now);
        finish
    }

    /// What happens to a row whose attempt ended with `ending`. The states of its host and its origin are updated before.
    fn judge(&mut self, at: u32, job: Job, ending: Ending, now: Nanos, draw: u64) -> Finish {
        if let Ending::Response { status: ..400, .. } = ending {
            return Finish::Deliver(job);
        }
        let endpoint = job.target().endpoint;
        let host = self.hosts.get(at);
        let missed = retry::is_missed(ending);
        if missed && self.reach_of(at, endpoint).is_parked() {
            return self.spare(job, now);
        }
        let refused = matches!(ending, Ending::Response { status, .. } if retry::is_refusal(status));
        if let Ending::Response { status, .. } = ending
            && refused
            && host.refusals.spares(status)
            && let Some(due) = self.waits_out(at, &job, ending, now, draw)
        {
            return self.set_aside(at, job, due);
        }
        let back_off = retry::back_off(retry::retries(&job), draw.rotate_left(32));
        let due = (now + back_off).max(host.refusals.parked_until());
        let policy = &self.pace.retry;
        let in_time = policy.in_time(&job, due);
        let down = host.refusals.is_down() || self.reach_of(at, endpoint).is_given_up();
        let is_alone = refused && host.refusals.has_served_nothing_since(job.first_started.unwrap_or(now));
        let may_retry = !down && policy.allows(&job, ending) && in_time;
        if may_retry && (is_first_loss(&job, ending) || self.budget.spend()) {
            let missed = job.missed.saturating_add(u16::from(missed));
            self.retry(at, Job { missed, ..job }, due);
            return Finish::RetryAt(due);
        }
        if is_alone && let Some(due) = self.waits_out(at, &job, ending, now, draw) {
            return self.set_aside(at, job, due);
        }
        let transient = matches!(ending, Ending::Failed(kind) if kind.is_transient());
        if missed && transient && in_time {
            let attempts = u32::from(retry::retries(&job)) + 1;
            self.apply(at, endpoint, Event::Lost { attempts }, now, draw);
            if self.reach_of(at, endpoint).is_parked() {
                return self.spare(job, now);
            }
            if let Some(due) = self.lingers(at, &job, now, draw) {
                return self.set_aside(at, job, due);
            }
        }
        Finish::Deliver(job)
    }

    /// The time until which a row waits that was refused together with its host's other rows: not for itself, so it uses
    /// no attempt. `None`: it has waited for `host_down_after` already, or may not be sent again.
    fn waits_out(&self, at: u32, job: &Job, ending: Ending, now: Nanos, draw: u64) -> Option<Nanos> {
        let host = self.hosts.get(at);
        let policy = &self.pace.retry;
        let waits = self.pace.adaptive
            && self.pace.host_errors_max > 0
            && !host.refusals.is_down()
            && policy.may_repeat(job, ending);
        let span = self.pace.host_down_after.unwrap_or(limits::PARKED_SUM_MAX);
        let pause = pause(job, span, now, draw.rotate_left(32))?;
        let due = (now + pause).max(host.refusals.again(pause));
        (waits && policy.in_time(job, due)).then_some(due)
    }

    /// The time until which a row without attempts left waits by itself, because its origin is not parked: it failed too
    /// seldom for that, or it refuses new connections while it still answers on others, as some servers do when they
    /// restart.
    fn lingers(&self, at: u32, job: &Job, now: Nanos, draw: u64) -> Option<Nanos> {
        let is_doubtful = matches!(self.reach_of(at, job.target().endpoint), Reach::Doubtful { .. });
        let waits = is_doubtful && self.pace.retry.retries > 0;
        let due = now + pause(job, self.pace.host_down_after.unwrap_or(Nanos::MAX), now, draw)?;
        waits.then_some(due)
    }

    /// Keeps a row until `due`. The attempt is not counted, but the row counts as tried.
    fn set_aside(&mut self, at: u32, job: Job, due: Nanos) -> Finish {
        let attempts = job.attempts.checked_sub(1).expect("a row in flight has an attempt");
        self.retry(at, Job { attempts, ..job }, due);
        Finish::PutBack
    }

    /// Puts back a row that failed because its origin is away. The attempt is not counted.
    fn spare(&mut self, mut job: Job, now: Nanos) -> Finish {
        uncount(&mut job);
        self.requeue(job, now);
        Finish::PutBack
    }
}

/// True if this is the first failure of a row, and only its connection was lost, as when the server restarts. The retry is not
/// taken from the retry budget: it says nothing about the load of the server, and a restart ends many requests at once.
fn is_first_loss(job: &Job, ending: Ending) -> bool {
    let is_lost = |kind: ErrorKind| kind.is_transient() && kind.reached() == Some(true) && !kind.is_slow();
    retry::answered_retries(job) == 0 && matches!(ending, Ending::Failed(kind) if is_lost(kind))
}

/// The event for the origin of an attempt that ended with `ending`. An accepted connection without an answer is no answer,
/// although it counts as an attempt of its row, because the request was sent.
fn reached(ending: Ending, row: u32) -> Option<Event> {
    if let Ending::Failed(kind @ ErrorKind::TimeoutFirstByte) = ending {
        return Some(Event::Failed { row, kind });
    }
    match (reach::contact(ending)?, ending) {
        (false, Ending::Failed(kind)) => Some(Event::Failed { row, kind }),
        (false, Ending::Response { .. }) | (true, _) => Some(Event::Answered),
    }
}

/// The pause of a row that waits by itself: as long as it has waited since its first attempt, so that its tries double
/// their distance. `None`: it has waited for `span`.
fn pause(job: &Job, span: Nanos, now: Nanos, draw: u64) -> Option<Nanos> {
    let waited = now - job.first_started.unwrap_or(now);
    let left = span - waited;
    let pause = waited.max(limits::REACH_PAUSE_BASE).min(limits::REACH_PAUSE_MAX).min(left);
    (left > Nanos::ZERO).then_some(pause + retry::fraction(Nanos(pause.0 / 4), draw))
}
