//! The transitions of a worker: it takes a job, has begun it, has ended it. No worker sleeps before the result of its last job can be
//! seen.

use std::sync::Arc;
use std::task::Waker;

use super::{CameFrom, Core, Done, Effects, Next, Tally};
use crate::cell::{Finish, Place, Task};
use crate::sync::Ordering;
use crate::view_id::ROOT;
use crate::worker::Worker;

impl Core {
    /// What `me` does next.
    pub(crate) fn next(
        &mut self,
        me: &Arc<Worker>,
        from: CameFrom,
        tally: &mut Tally,
        effects: &mut Effects,
    ) -> Next {
        match from {
            CameFrom::Search => self.searching -= 1,
            CameFrom::Start => {
                self.preparing -= 1;
                me.preparing.store(false, Ordering::Relaxed);
            }
            CameFrom::Job | CameFrom::Close => {}
        }
        // A sleeper that was replaced has gone on.
        let crowded = self.active() > self.bounds.max;
        let task = if crowded { None } else { self.pop() };
        let next = match task {
            Some(task) => {
                self.started(&task, me, effects);
                if tally.jobs >= 64 {
                    self.add(tally);
                }
                Next::Run(task)
            }
            None => {
                self.add(tally);
                if self.root.closed {
                    self.threads -= 1;
                    self.leaving += 1;
                    Next::Exit
                } else if from == CameFrom::Job {
                    self.searching += 1;
                    Next::Search { alone: self.searching == 1 }
                } else {
                    self.idle.push(Arc::clone(me));
                    Next::Park { reap: self.threads > self.bounds.min }
                }
            }
        };
        self.baton(effects);
        next
    }

    /// Takes back the next step of a worker that must first run user code, which may take long. It asks again afterwards.
    pub(crate) fn postpone(&mut self, next: Next) -> Effects {
        let mut effects = Effects::default();
        match next {
            Next::Run(task) => {
                // Its place in the queue may have been given to another already; then there is one job too many, until it starts.
                let number = task.place().lane;
                let lane = self.lane(number);
                lane.running -= 1;
                lane.waiting += 1;
                self.for_each_lane(number, |lane| lane.inside -= 1);
                let given_back = Arc::clone(&task);
                self.push_first(task);
                self.unclaimed(given_back.place(), &mut effects.wake);
            }
            Next::Search { .. } => self.searching -= 1,
            Next::Park { .. } => unreachable!("a worker does not sleep before its result is seen"),
            Next::Exit => {
                self.leaving -= 1;
                self.threads += 1;
            }
        }
        self.baton(&mut effects);
        effects
    }

    /// A job was taken out of its queue to be run.
    pub(super) fn started(&mut self, task: &Arc<dyn Task>, me: &Worker, effects: &mut Effects) {
        let place = task.place();
        self.is_no_longer_ahead(place);
        place.set_running(me.number);
        self.lane(place.lane).running += 1;
        self.vacate(place, &mut effects.wake);
        self.for_each_lane(place.lane, |lane| lane.inside += 1);
    }

    /// If that job was let through before others, another may be now.
    pub(super) fn is_no_longer_ahead(&mut self, job: &Place) {
        if self.ahead.is_some_and(|(id, _)| id == job.id()) {
            self.ahead = None;
            self.to_look_again = true;
        }
    }

    /// A job has ended; its result is not yet seen.
    #[inline]
    pub(crate) fn finish(&mut self, place: &Place, done: &Done, tally: &mut Tally, wake: &mut Vec<Waker>) {
        self.set_gone(place);
        let lane = self.lane(place.lane);
        lane.running -= 1;
        match done.how {
            Finish::Withdrawn => lane.counts.cancelled += 1,
            Finish::Returned | Finish::Panicked => lane.counts.completed += 1,
        }
        lane.counts.panicked += u64::from(done.how == Finish::Panicked);
        if done.how == Finish::Withdrawn {
            // It has neither waited for a worker nor run.
        } else if place.lane == ROOT {
            tally.wait.record(done.waited);
            tally.run.record(done.ran);
            // A long job's counts are not kept back behind another that may be as long.
            tally.jobs += if done.ran > 1_000_000 { 64 } else { 1 };
        } else {
            lane.counts.wait.record(done.waited);
            lane.counts.run.record(done.ran);
        }
        if place.lane != ROOT {
            self.for_each_lane(place.lane, |lane| lane.inside -= 1);
            self.release(place, place.lane, ROOT, wake);
            self.ended(place.lane, wake);
        }
    }

    pub(crate) fn add(&mut self, tally: &mut Tally) {
        if tally.jobs > 0 {
            self.root.counts.wait.absorb(&mut tally.wait);
            self.root.counts.run.absorb(&mut tally.run);
            tally.jobs = 0;
        }
    }
}
