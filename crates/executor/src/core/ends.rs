//! The end of the pool or of a view: how it begins, when it has come, and who wants to know.
//!
//! Must never wait: who waits for an end is told when it has come.

use std::sync::Arc;
use std::task::Waker;

use super::Core;
use crate::cancel::CancelToken;
use crate::lane::{Admission, ROOT};
use crate::worker::{Running, Signal, Worker};

impl Core {
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

    /// Says who wants to know if lane `number`, or one that it is a view of, has come to its end; frees views that nobody can reach any
    /// more.
    pub(super) fn ended(&mut self, number: u32) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut at = number;
        while self.enders > 0 {
            self.tell_end(at, &mut wakers);
            if at == ROOT {
                break;
            }
            at = self.lane(at).parent;
        }
        let mut at = number;
        while at != ROOT && self.lane(at).handles == 0 && self.lane(at).is_empty() {
            let (parent, name) = (self.lane(at).parent, Arc::clone(&self.lane(at).name));
            // A view that was shut down may have been followed by another of its name.
            if self.names.get(&(parent, Arc::clone(&name))) == Some(&at) {
                self.names.remove(&(parent, name));
            }
            let gone = self.views.get_mut(at as usize - 1).and_then(Option::take);
            let gone = gone.expect("a lane in use is kept");
            self.enders -= gone.end.len();
            self.lane(parent).counts.absorb(gone.counts);
            self.lane(parent).handles -= 1;
            self.free.push(at);
            at = parent;
        }
        wakers
    }

    /// Says who is to be woken because lane `number` has come to its end.
    fn tell_end(&mut self, number: u32, wakers: &mut Vec<Waker>) {
        if self.lane(number).closed && !self.lane(number).end.is_empty() && self.is_over(number) {
            let end = std::mem::take(&mut self.lane(number).end);
            self.enders -= end.len();
            wakers.extend(end.into_iter().map(|(_, waker)| waker));
        }
    }

    /// A worker has fallen asleep. If that is on a job that waits for an end itself, it is not waited for either.
    pub(super) fn ended_by_a_sleep(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        if self.enders > 0 {
            for lane in self.views_of(ROOT) {
                self.tell_end(lane, &mut wakers);
            }
        }
        wakers
    }

    /// Whether nothing of the lane is left: of the root, no thread and no job; of a view, no job in it or in a view of it. What itself
    /// waits for such an end is not waited for, nor is what sleeps on that.
    fn is_over(&self, number: u32) -> bool {
        let ending = self.ending();
        if number == ROOT {
            // A job that has come in, and has not called yet, will start a thread.
            return self.runnable() == 0 && self.threads + self.leaving <= ending.len();
        }
        let lanes = self.views_of(number);
        let running: usize = lanes.iter().map(|view| self.seen(*view).running).sum();
        let ending = ending.iter().flat_map(|(_, jobs)| jobs).filter(|job| self.within(job.lane, number));
        running <= ending.count() && self.queued(&lanes) == 0
    }

    /// The workers that cannot end before a wait for an end does, with the jobs on them of which that is true.
    fn ending(&self) -> Vec<(u32, Vec<Running>)> {
        let ending = self.workers.iter().filter(|worker| worker.is_ending());
        let mut found: Vec<(u32, Vec<Running>)> =
            ending.map(|worker| (worker.number, worker.ending())).collect();
        while !found.is_empty() {
            let is_found = |worker: u32| found.iter().any(|(number, _)| *number == worker);
            let new: Vec<_> = self
                .waits
                .sleepers()
                .filter(|wait| !is_found(wait.worker.number) && wait.needs_one_of(is_found))
                .map(|wait| (wait.worker.number, wait.worker.stack()))
                .collect();
            if new.is_empty() {
                break;
            }
            found.extend(new);
        }
        found
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

    /// Jobs of the lane, and of its views, that wait to be run.
    pub(crate) fn still_queued(&self, number: u32) -> usize {
        self.queued(&self.views_of(number))
    }

    /// How many jobs of these lanes wait to be run.
    pub(super) fn queued(&self, lanes: &[u32]) -> usize {
        let own = if lanes.contains(&ROOT) { self.inbox.lock().own } else { 0 };
        let waiting = lanes.iter().map(|lane| self.seen(*lane)).map(|lane| lane.waiting - lane.permits);
        own + waiting.sum::<usize>()
    }
}
