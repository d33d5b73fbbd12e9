//! What concerns whole lanes: places in their queues, new views, the end.
//!
//! Must never hand a job to a worker: that is the round's business.

use std::sync::Arc;
use std::task::Waker;

use super::Core;
use crate::error::Rejected;
use crate::lane::{Admission, Applicant, Lane, ROOT};
use crate::metrics::Metrics;
use crate::worker::{Signal, Worker};

impl Core {
    /// Counts a place in the lane's queue as taken; or queues up for one.
    pub(crate) fn apply(
        &mut self,
        lane: u32,
        waker: &Waker,
    ) -> Result<Option<(Arc<Applicant>, u64)>, Rejected> {
        let (number, room) = (lane, self.room(lane));
        let lane = self.lane(number);
        if lane.closed {
            return Err(Rejected::ShutDown);
        }
        if room > 0 {
            lane.waiting += 1;
            lane.permits += 1;
            if number == ROOT {
                let mut inbox = self.inbox.lock();
                inbox.room = inbox.room.min(room - 1);
            }
            return Ok(None);
        }
        let applicant = Arc::new(Applicant::new(waker.clone()));
        let ticket = lane.admission.push(Arc::clone(&applicant));
        Ok(Some((applicant, ticket)))
    }

    /// Gives back a place that was not used.
    pub(crate) fn give_back_permit(&mut self, number: u32) -> Vec<Waker> {
        let lane = self.lane(number);
        lane.permits -= 1;
        let mut wakers: Vec<Waker> = lane.vacate().into_iter().collect();
        wakers.extend(self.ended(number));
        wakers
    }

    // Views and the end.

    /// A new view of `parent`.
    pub(crate) fn view(&mut self, parent: u32, name: &str, limit: usize, queue_limit: Option<usize>) -> u32 {
        let outer = self.lane(parent);
        outer.handles += 1;
        let mut lane = Lane::new(name, parent, limit.max(1), queue_limit.unwrap_or(outer.waiting_max));
        (lane.closed, lane.stopping) = (outer.closed, outer.stopping);
        let free = self.views.iter().position(Option::is_none);
        let at = free.unwrap_or(self.views.len());
        match self.views.get_mut(at) {
            Some(slot) => *slot = Some(lane),
            None => self.views.push(Some(lane)),
        }
        at as u32 + 1
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

    /// Marks what runs in the lane, and in its views, as to be stopped; says which workers run it.
    pub(crate) fn stop(&mut self, number: u32) -> Vec<Arc<Worker>> {
        for view in self.views_of(number) {
            self.lane(view).stopping = true;
        }
        self.busy(number)
    }

    pub(crate) fn is_stopping(&mut self, number: u32) -> bool {
        self.lane(number).stopping
    }

    /// The workers that run a job of the lane, or of a view of it.
    pub(crate) fn busy(&mut self, number: u32) -> Vec<Arc<Worker>> {
        let workers = self.workers.clone();
        workers
            .into_iter()
            .filter(|worker| {
                let (job, lane, _) = worker.running();
                job != 0 && self.within(lane, number)
            })
            .collect()
    }

    /// Whether the lane has come to its end; if not, `waker` is woken when it has.
    pub(crate) fn poll_end(&mut self, number: u32, waker: &Waker) -> bool {
        let over = self.is_over(number);
        if !over {
            let end = &mut self.lane(number).end;
            if !end.iter().any(|old| old.will_wake(waker)) {
                end.push(waker.clone());
            }
        }
        over
    }

    /// A worker in the midst of jobs of the lanes `own` waits for the end of a lane, or no longer does: these cannot end before.
    pub(crate) fn enders(&mut self, number: u32, own: &[u32], comes: bool) -> Vec<Waker> {
        for lane in own {
            if (*lane == ROOT) == (number == ROOT) && self.within(*lane, number) {
                let enders = &mut self.lane(*lane).enders;
                *enders = if comes { *enders + 1 } else { *enders - 1 };
            }
        }
        self.ended(number)
    }

    /// A thread that the builder asked for from the start.
    pub(crate) fn starts_ahead(&mut self) {
        self.threads += 1;
        self.searching += 1;
    }

    pub(crate) fn metrics(&mut self, number: u32) -> Metrics {
        let (threads, idle, blocked) = (self.threads, self.idle.len() + self.searching, self.blocked);
        let inbox = Arc::clone(&self.inbox);
        let inbox = (number == ROOT).then(|| inbox.lock());
        let lane = self.lane(number);
        let mut counts = lane.counts.clone();
        let mut queued = lane.waiting - lane.permits;
        if let Some(inbox) = inbox {
            queued += inbox.own;
            counts.submitted += inbox.submitted;
            counts.rejected += inbox.rejected;
        }
        Metrics {
            queued,
            running: lane.running,
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
