//! The end of the pool or of a view: how it begins, when it has come, which waiters are woken by it, and what delays it. Nothing here
//! blocks.
//!
//! A job cannot wait for its own end, so an end comes although jobs are left that cannot end before it: those that wait for it, those
//! that sleep on such a job, and those that wait for the end of another lane which such a job is in. All other jobs are waited for, also if
//! they wait for some end themselves. A worker that sleeps on an end lends its places in views to what is queued before it, as in any
//! other wait (`lending`); if the end can never come, its wait is refused (`deadlock`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use super::Core;
use super::waits::Wait;
use crate::cancel::CancelToken;
use crate::cell::Task;
use crate::lane::{Admission, Ender};
use crate::view_id::{ROOT, ViewId};
use crate::worker::{Running, Signal, Worker};

impl Core {
    /// Lets nothing more into the lane, nor into its views. Returns the workers to signal and the wakers to call.
    pub(crate) fn close(&mut self, number: ViewId) -> (Vec<Arc<Worker>>, Vec<Waker>) {
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
    pub(crate) fn stop(&mut self, number: ViewId) -> Vec<CancelToken> {
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

    pub(crate) fn is_stopping(&self, number: ViewId) -> bool {
        self.seen(number).stopping
    }

    /// Whether the lane has come to its end; if not, `waker` is woken when it has. The old waker of the same `id` comes back, to be
    /// dropped outside the lock. `over` is set once it has.
    pub(crate) fn poll_end(
        &mut self,
        number: ViewId,
        id: u64,
        over: &Arc<AtomicBool>,
        waker: Waker,
    ) -> (bool, Option<Waker>) {
        // An end that has come stays: those that waited for it go on one after the other, and are no reason to wait for them.
        if over.load(Ordering::Relaxed) || self.is_over(number) {
            over.store(true, Ordering::Relaxed);
            return (true, Some(waker));
        }
        let end = &mut self.lane(number).end;
        match end.iter_mut().find(|ender| ender.id == id) {
            Some(ender) => (false, Some(std::mem::replace(&mut ender.waker, waker))),
            None => {
                end.push(Ender { id, waker, over: Arc::clone(over) });
                self.enders += 1;
                (false, None)
            }
        }
    }

    /// Removes the waiter with this `id`.
    pub(crate) fn forget_end(&mut self, number: ViewId, id: u64) -> Option<Waker> {
        let end = &mut self.lane(number).end;
        let at = end.iter().position(|ender| ender.id == id)?;
        let ender = end.swap_remove(at);
        self.enders -= 1;
        Some(ender.waker)
    }

    /// Adds the wakers to call if lane `number`, or one that it is a view of, has come to its end; frees views that are unreachable.
    pub(super) fn ended(&mut self, number: ViewId, wakers: &mut Vec<Waker>) {
        let mut at = number;
        while self.enders > 0 {
            self.tell_end(at, wakers);
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
            let gone = self.views.get_mut(at.index()).and_then(Option::take);
            let gone = gone.expect("a lane in use is kept");
            self.enders -= gone.end.len();
            self.lane(parent).counts.absorb(gone.counts);
            self.lane(parent).handles -= 1;
            self.free.push(at);
            at = parent;
        }
    }

    /// Adds the wakers to call because lane `number` has come to its end.
    fn tell_end(&mut self, number: ViewId, wakers: &mut Vec<Waker>) {
        if self.lane(number).closed && !self.lane(number).end.is_empty() && self.is_over(number) {
            let end = std::mem::take(&mut self.lane(number).end);
            self.enders -= end.len();
            for ender in end {
                ender.over.store(true, Ordering::Relaxed);
                wakers.push(ender.waker);
            }
        }
    }

    /// A job waits for an end, or a worker has fallen asleep, perhaps on such a job: there is less to wait for.
    pub(crate) fn ended_by_a_wait(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        if self.enders > 0 {
            for lane in self.views_of(ROOT) {
                self.tell_end(lane, &mut wakers);
            }
        }
        wakers
    }

    /// Whether nothing of the lane is left but what cannot end before: of the root, no thread and no job; of a view, no job in it or in a
    /// view of it.
    fn is_over(&self, number: ViewId) -> bool {
        if number == ROOT && self.runnable() > 0 {
            return false;
        }
        let lanes = self.views_of(number);
        if self.queued(&lanes) > 0 {
            return false;
        }
        let ending = self.ending(number);
        if number == ROOT {
            // A job that waits may be in the middle of another, which it runs.
            return self.threads + self.leaving <= ending.len() && self.running(ROOT, false).is_empty();
        }
        let running: usize = lanes.iter().map(|view| self.seen(*view).running).sum();
        let ending = ending.iter().flat_map(|(_, jobs)| jobs).filter(|job| self.within(job.lane, number));
        running <= ending.count()
    }

    /// The workers that cannot end before lane `number` has come to its end, with the jobs on them of which that is true.
    fn ending(&self, number: ViewId) -> Vec<(u32, Vec<Running>)> {
        // The ends that cannot come before that one, either.
        let mut lanes = vec![number];
        let mut found: Vec<(u32, Vec<Running>)> = Vec::new();
        loop {
            let mut grown = false;
            for worker in &self.workers {
                let Some(jobs) = worker.ending(|lane| lanes.contains(&lane)) else { continue };
                match found.iter_mut().find(|(other, _)| *other == worker.number) {
                    Some((_, known)) if known.len() >= jobs.len() => continue,
                    Some((_, known)) => *known = jobs,
                    None => found.push((worker.number, jobs)),
                }
                grown = true;
            }
            if found.is_empty() {
                return found;
            }
            let is_found = |worker: u32| found.iter().any(|(number, _)| *number == worker);
            let new: Vec<_> = self
                .waits
                .sleepers()
                .filter(|wait| !is_found(wait.worker.number) && wait.needs_one_of(is_found))
                .map(|wait| (wait.worker.number, wait.worker.stack()))
                .collect();
            grown |= !new.is_empty();
            found.extend(new);
            for lane in self.workers.iter().flat_map(|worker| worker.ends()) {
                let mut jobs = found.iter().flat_map(|(_, jobs)| jobs);
                if !lanes.contains(&lane) && (lane == ROOT || jobs.any(|job| self.within(job.lane, lane))) {
                    lanes.push(lane);
                    grown = true;
                }
            }
            if !grown {
                return found;
            }
        }
    }

    // What delays an end.

    /// The workers that must end, or the jobs of the lane there, before the lane can come to its end.
    pub(super) fn workers_before_end(&self, number: ViewId) -> Vec<u32> {
        let ending = self.ending(number);
        let before = |worker: &&Arc<Worker>| {
            let skipped =
                ending.iter().find(|(other, _)| *other == worker.number).map(|(_, jobs)| jobs.len());
            let stack = worker.stack();
            let mut left = stack.iter().skip(skipped.unwrap_or(0));
            left.any(|job| self.within(job.lane, number)) || (number == ROOT && skipped.is_none())
        };
        self.workers.iter().filter(before).map(|worker| worker.number).collect()
    }

    /// The lanes in whose queues jobs of the lane, or of its views, wait.
    pub(super) fn queues_before_end(&self, number: ViewId) -> Vec<ViewId> {
        let views = self.views_of(number).into_iter().filter(|view| *view != ROOT);
        let all = views.chain(self.lanes_of(number).skip(1)).chain([ROOT]);
        all.filter(|at| self.first_queued(*at, number).is_some()).collect()
    }

    /// The lanes in whose queues jobs wait that have a place in `view`, and end before lane `number` does.
    pub(super) fn queues_beyond(&self, view: ViewId, number: ViewId) -> Vec<ViewId> {
        let of = match (self.within(view, number), self.within(number, view)) {
            (true, _) => view,
            (false, true) => number,
            (false, false) => return Vec::new(),
        };
        let beyond = self.lanes_of(view).skip(1).chain([ROOT]);
        beyond.filter(|at| self.first_queued(*at, of).is_some()).collect()
    }

    /// Of the ends that the sleeper waits for: jobs that are held up before them by views. One of each queue, for the others there wait
    /// for the same.
    pub(super) fn held_up_before_ends(&self, wait: &Wait) -> Vec<Arc<dyn Task>> {
        let mut jobs = Vec::new();
        for lane in wait.ends() {
            let queues = self.queues_before_end(lane).into_iter().filter(|at| *at != ROOT);
            jobs.extend(queues.filter_map(|at| self.first_queued(at, lane)));
        }
        jobs
    }

    /// The first job of lane `number`, or of its views, in the queue of lane `at`.
    pub(super) fn first_queued(&self, at: ViewId, number: ViewId) -> Option<Arc<dyn Task>> {
        let wanted = |task: &&Arc<dyn Task>| self.within(task.place().lane, number);
        if at != ROOT {
            return self.seen(at).queue.iter().find(wanted).cloned();
        }
        let mut fetched = self.first.iter().chain(self.root.queue.iter());
        let found = fetched.find(wanted).cloned();
        found.or_else(|| self.inbox.lock().queue.iter().find(wanted).cloned())
    }

    /// The jobs of the lane, and of its views, that run now, and on which worker; without `ending`, but for those that cannot end
    /// before the lane does.
    pub(crate) fn running(&self, number: ViewId, ending: bool) -> Vec<(Running, Arc<Worker>)> {
        let skipped = if ending { Vec::new() } else { self.ending(number) };
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
    pub(crate) fn still_queued(&self, number: ViewId) -> usize {
        self.queued(&self.views_of(number))
    }

    /// How many jobs of these lanes wait to be run.
    pub(super) fn queued(&self, lanes: &[ViewId]) -> usize {
        let own = if lanes.contains(&ROOT) { self.inbox.lock().own } else { 0 };
        let waiting = lanes.iter().map(|lane| self.seen(*lane)).map(|lane| lane.waiting - lane.permits);
        own + waiting.sum::<usize>()
    }
}
