//! Operations on whole lanes: places in their queues, new views, counters. Jobs are given to workers in `round`.

use std::sync::Arc;
use std::task::Waker;

use super::Core;
use crate::cell::Place;
use crate::error::Rejected;
use crate::lane::{Applicant, Counts, Lane};
use crate::metrics::Metrics;
use crate::view_id::{ROOT, ViewId};

impl Core {
    /// Takes a place in the lane's queue; or queues `applicant` for one, and returns its ticket.
    pub(crate) fn apply(
        &mut self,
        number: ViewId,
        applicant: &Arc<Applicant>,
    ) -> Result<Option<u64>, Rejected> {
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
    pub(crate) fn give_back_permit(&mut self, number: ViewId) -> Vec<Waker> {
        let lane = self.lane(number);
        lane.permits -= 1;
        let mut wakers = Vec::new();
        lane.vacate(&mut wakers);
        self.ended(number, &mut wakers);
        wakers
    }

    /// A job leaves the queue of its lane, and its place there becomes free.
    #[inline]
    pub(super) fn vacate(&mut self, job: &Place, wake: &mut Vec<Waker>) {
        if job.is_place_given() && self.has_too_many(job.lane) {
            // It was given to another when the job was claimed before; its worker has given the job back since. Until that other has used
            // or dropped it, there is one too many.
            self.lane(job.lane).waiting -= 1;
        } else if self.lane(job.lane).vacate(wake) {
            job.set_place_given();
        }
    }

    /// Whether more jobs wait to be run in the lane than its queue takes.
    #[cold]
    fn has_too_many(&self, number: ViewId) -> bool {
        let own = if number == ROOT { self.inbox.lock().own } else { 0 };
        let lane = self.seen(number);
        lane.waiting + own > lane.waiting_max
    }

    /// The view of `parent` that has this name, or a new one. If there is one with another limit, returns its limits.
    pub(crate) fn view(
        &mut self,
        parent: ViewId,
        name: &str,
        limit: usize,
        queue_limit: Option<usize>,
    ) -> Result<ViewId, (usize, usize)> {
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
        let number = self.free.pop().unwrap_or_else(|| ViewId::at(self.views.len()));
        match self.views.get_mut(number.index()) {
            Some(slot) => *slot = Some(lane),
            None => self.views.push(Some(lane)),
        }
        if !name.is_empty() {
            self.names.insert(key, number);
        }
        Ok(number)
    }

    pub(crate) fn has_views(&self) -> bool {
        self.views.len() > self.free.len()
    }

    /// A handle of the lane is gone.
    pub(crate) fn drop_handle(&mut self, number: ViewId) -> Vec<Waker> {
        self.lane(number).handles -= 1;
        let mut wakers = Vec::new();
        self.ended(number, &mut wakers);
        wakers
    }

    pub(crate) fn name(&self, number: ViewId) -> String {
        self.seen(number).name.to_string()
    }

    /// What the lane and its views have counted, those included that are gone.
    pub(crate) fn metrics(&self, number: ViewId) -> Metrics {
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
