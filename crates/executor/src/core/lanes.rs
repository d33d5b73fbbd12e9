//! What concerns whole lanes: places in their queues, new views, the end.
//!
//! Must never hand a job to a worker: that is the round's business.

use std::sync::Arc;
use std::task::Waker;

use super::Core;
use crate::cancel::CancelToken;
use crate::error::Rejected;
use crate::lane::{Admission, Applicant, Counts, Lane, ROOT};
use crate::metrics::Metrics;
use crate::worker::{Running, Signal, Worker};

impl Core {
    /// Counts a place in the lane's queue as taken; or puts `applicant` in the line for one, under the ticket that comes back.
    pub(crate) fn apply(&mut self, number: u32, applicant: &Arc<Applicant>) -> Result<Option<u64>, Rejected> {
        let inbox = Arc::clone(&self.inbox);
        let mut incoming = inbox.lock();
        let own = if number == ROOT { incoming.own } else { 0 };
        let lane = self.lane(number);
        if lane.closed {
            return Err(Rejected::ShutDown);
        }
        let room = lane.waiting_max.saturating_sub(lane.waiting + own);
        if room == 0 {
            return Ok(Some(lane.admission.push(Arc::clone(applicant))));
        }
        lane.waiting += 1;
        lane.permits += 1;
        if number == ROOT {
            incoming.room = incoming.room.min(room - 1);
        }
        Ok(None)
    }

    /// Gives back a place that was not used.
    pub(crate) fn give_back_permit(&mut self, number: u32) -> Vec<Waker> {
        let lane = self.lane(number);
        lane.permits -= 1;
        let mut wakers = Vec::new();
        lane.vacate(&mut wakers);
        wakers.extend(self.ended(number));
        wakers
    }

    // Views and the end.

    /// The view of `parent` that has this name, or a new one. If there is one with another limit, says what its limits are.
    pub(crate) fn view(
        &mut self,
        parent: u32,
        name: &str,
        limit: usize,
        queue_limit: Option<usize>,
    ) -> Result<u32, (usize, usize)> {
        let key = (parent, Arc::<str>::from(name));
        if let Some(number) = self.names.get(&key).copied().filter(|number| !self.lane(*number).closed) {
            let lane = self.lane(number);
            if lane.limit != limit.max(1) || queue_limit.is_some_and(|queue| queue != lane.waiting_max) {
                return Err((lane.limit, lane.waiting_max));
            }
            lane.handles += 1;
            return Ok(number);
        }
        let outer = self.lane(parent);
        outer.handles += 1;
        let mut lane = Lane::new(name, parent, limit.max(1), queue_limit.unwrap_or(outer.waiting_max));
        (lane.closed, lane.stopping) = (outer.closed, outer.stopping);
        let number = self.free.pop().unwrap_or(self.views.len() as u32 + 1);
        match self.views.get_mut(number as usize - 1) {
            Some(slot) => *slot = Some(lane),
            None => self.views.push(Some(lane)),
        }
        if !name.is_empty() {
            self.names.insert(key, number);
        }
        Ok(number)
    }

    /// A handle of the lane is gone.
    pub(crate) fn drop_handle(&mut self, number: u32) -> Vec<Waker> {
        self.lane(number).handles -= 1;
        self.ended(number)
    }

    /// Lets nothing more into the lane, nor into its views. Says whom to signal and whom to wake.
    pub(crate) fn close(&mut self, number: u32) -> (Vec<Arc<Worker>>, Vec<Waker>) {
        let mut wakers = Vec::new();
        for view in self.views_of(number) {
            let lane = self.lane(view);
            lane.closed = true;
            while let Some(applicant) = lane.admission.pop() {
                wakers.extend(applicant.admit(Admission::Closed));
            }
        }
        if number != ROOT {
            return (Vec::new(), wakers);
        }
        self.inbox.lock().closed = true;
        let idle = std::mem::take(&mut self.idle);
        for worker in &idle {
            worker.signal(Signal::Close);
        }
        (idle, wakers)
    }

    /// Marks what runs in the lane, and in its views, as to be stopped; gives the tokens of the jobs.
    pub(crate) fn stop(&mut self, number: u32) -> Vec<CancelToken> {
        for view in self.views_of(number) {
            self.lane(view).stopping = true;
        }
        let mut tokens = Vec::new();
        for worker in &self.workers {
            let own = worker.tokens.lock();
            let of_lane = own.iter().filter(|(lane, _)| self.within(*lane, number));
            tokens.extend(of_lane.map(|(_, token)| token.clone()));
        }
        tokens
    }

    pub(crate) fn is_stopping(&self, number: u32) -> bool {
        self.seen(number).stopping
    }

    /// The jobs of the lane, and of its views, that run now, and on which worker; without `ending`, but for those that themselves wait
    /// for an end.
    pub(crate) fn running(&self, number: u32, ending: bool) -> Vec<(Running, Arc<Worker>)> {
        let skipped = if ending { Vec::new() } else { self.ending() };
        let mut jobs = Vec::new();
        for worker in &self.workers {
            let skipped = skipped.iter().find(|(number, _)| *number == worker.number);
            let skipped = skipped.map_or(0, |(_, jobs)| jobs.len());
            let of_lane =
                worker.stack().into_iter().skip(skipped).filter(|job| self.within(job.lane, number));
            jobs.extend(of_lane.map(|job| (job, Arc::clone(worker))));
        }
        jobs
    }

    pub(crate) fn name(&self, number: u32) -> String {
        self.seen(number).name.to_string()
    }

    /// Jobs of the lane, and of its views, that wait to be run.
    pub(crate) fn still_queued(&self, number: u32) -> usize {
        self.queued(&self.views_of(number))
    }

    /// Whether the lane has come to its end; if not, `waker` is woken when it has. The old waker of the same `id` comes back, to be
    /// dropped outside the lock.
    pub(crate) fn poll_end(&mut self, number: u32, id: u64, waker: Waker) -> (bool, Option<Waker>) {
        if self.is_over(number) {
            return (true, Some(waker));
        }
        let end = &mut self.lane(number).end;
        match end.iter_mut().find(|(other, _)| *other == id) {
            Some((_, old)) => (false, Some(std::mem::replace(old, waker))),
            None => {
                end.push((id, waker));
                self.enders += 1;
                (false, None)
            }
        }
    }

    /// Nobody waits for that end under this `id` any more.
    pub(crate) fn forget_end(&mut self, number: u32, id: u64) -> Option<Waker> {
        let end = &mut self.lane(number).end;
        let at = end.iter().position(|(other, _)| *other == id)?;
        let (_, waker) = end.swap_remove(at);
        self.enders -= 1;
        Some(waker)
    }

    /// Who is to be woken now that a job of the lane waits for an end itself.
    pub(crate) fn enders_changed(&mut self, number: u32) -> Vec<Waker> {
        self.ended(number)
    }

    /// A thread that the builder asked for from the start.
    pub(crate) fn starts_ahead(&mut self) {
        self.threads += 1;
        self.starting += 1;
    }

    /// What the lane and its views have counted, those included that are gone.
    pub(crate) fn metrics(&self, number: u32) -> Metrics {
        let (threads, idle, blocked) = (self.threads, self.idle.len() + self.searching, self.waits.asleep());
        let lanes = self.views_of(number);
        let mut counts = Counts::default();
        lanes.iter().for_each(|lane| counts.absorb(self.seen(*lane).counts.clone()));
        if number == ROOT {
            let inbox = self.inbox.lock();
            counts.submitted += inbox.submitted;
            counts.rejected += inbox.rejected;
        }
        Metrics {
            queued: self.queued(&lanes),
            running: lanes.iter().map(|lane| self.seen(*lane).running).sum(),
            threads,
            idle,
            blocked,
            submitted: counts.submitted,
            completed: counts.completed,
            cancelled: counts.cancelled,
            rejected: counts.rejected,
            panicked: counts.panicked,
            wait: counts.wait,
            run: counts.run,
        }
    }
}
