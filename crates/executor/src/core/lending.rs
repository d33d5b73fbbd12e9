//! Places in views that sleepers lend to what they sleep on. A place is used by one job at a time, and lent only to a job that its holder
//! sleeps on.
//!
//! The rules:
//!
//! - A sleeper lends a place to a job that it sleeps on, directly or through other sleepers, and that is held up by the view; each place to
//!   one job at a time. A sleeper on the end of a lane sleeps on all jobs that are left in it. So a view of limit 1 may wait for itself,
//!   and no two of its jobs run at once.
//! - It lends whatever else may wake it, a deadline included: it cannot know which comes first. It takes the place back before it goes on.
//! - If all that is left is to let a job that is slept on through before one that has its place in the view and has not begun, that is done.
//! - Loans go to jobs that begin later than the lender. So among sleepers that wait for each other's places there is always one that has
//!   lent nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Waker;

use super::Core;
use super::waits::Wait;
use crate::cell::{Place, Position, Task};
use crate::view_id::{ROOT, ViewId};

impl Core {
    /// Lets jobs through views whose places are held by those that sleep on them.
    pub(super) fn lend(&mut self) {
        while let Some((lender, job)) = self.loan() {
            let Position::Queued(view) = job.place().position() else {
                unreachable!("a loan is for a queued job")
            };
            let task = self.take_out(job.place()).expect("what is queued can be taken out");
            self.waits.lends(lender, view, job);
            let lane = self.lane(view);
            lane.admitted += 1;
            lane.borrowed += 1;
            let parent = lane.parent;
            let lent = Arc::clone(&task);
            self.enter(task, parent);
            if lent.place().position() == Position::Queued(ROOT) && self.has_thread() {
                self.is_lent_again(view);
            }
        }
    }

    /// A place in the view was lent to a job that a thread will take. A sleeper that depended on the place that went back just now can depend
    /// on the end of this job as well, so no search is needed.
    fn is_lent_again(&mut self, view: ViewId) {
        if let Some(at) = self.went_back.iter().position(|other| *other == view) {
            self.went_back.swap_remove(at);
        }
    }

    /// A job that is held up by a view, and a sleeper with a place in that view that sleeps on this job.
    fn loan(&self) -> Option<(u64, Arc<dyn Task>)> {
        if !self.waits.some_unlent() || !self.waits.sleepers().any(|wait| self.has_spare(wait)) {
            return None;
        }
        let mut by_worker = None;
        for wait in self.waits.sleepers() {
            // The view of the job before: a set of jobs is most often of one view.
            let mut in_vain = ROOT;
            let held_up = self.held_up_before_ends(wait);
            for job in wait.jobs().chain(&held_up) {
                let Position::Queued(view) = job.place().position() else { continue };
                if view == ROOT || view == in_vain || self.seen(view).asleep == 0 {
                    continue;
                }
                if self.can_spare(wait, view) {
                    return Some((wait.id, Arc::clone(job)));
                }
                let by_worker = by_worker.get_or_insert_with(|| self.sleepers_by_worker());
                let sleepers = self.behind(wait, by_worker);
                if let Some(lender) = sleepers.into_iter().find(|wait| self.can_spare(wait, view)) {
                    return Some((lender.id, Arc::clone(job)));
                }
                in_vain = view;
            }
        }
        None
    }

    /// Whether a sleeper holds a place in the view that it has not lent, and will not want at once.
    pub(super) fn can_spare(&self, wait: &Wait, view: ViewId) -> bool {
        let of_thread = self.waits.of_worker(wait.worker.number);
        let lent = of_thread.flat_map(|wait| &wait.lent).filter(|(lane, _)| *lane == view).count();
        wait.is_asleep() && self.held(wait, view) > lent && !wait.is_waking()
    }

    /// Whether a sleeper can spare any place that a job waits for.
    fn has_spare(&self, wait: &Wait) -> bool {
        let mut views = wait.held.iter().flat_map(|view| self.lanes_of(*view));
        self.waits.unlent_of(wait) > 0
            && views.any(|view| !self.seen(view).queue.is_empty() && self.can_spare(wait, view))
    }

    /// How many jobs in the middle of which a thread sleeps have a place in the view.
    pub(super) fn held(&self, wait: &Wait, view: ViewId) -> usize {
        wait.held.iter().filter(|lane| self.within(**lane, view)).count()
    }

    /// For each worker, the sleepers that sleep on a job that runs there, or on an end before which it must end.
    pub(super) fn sleepers_by_worker(&self) -> BTreeMap<u32, Vec<u64>> {
        let mut by_worker: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for wait in self.waits.sleepers() {
            for job in wait.jobs() {
                if let Position::Running(worker) = job.place().position() {
                    by_worker.entry(worker).or_default().push(wait.id);
                }
            }
            for worker in wait.ends().flat_map(|lane| self.workers_before_end(lane)) {
                by_worker.entry(worker).or_default().push(wait.id);
            }
        }
        by_worker
    }

    /// The sleeper itself, and all that sleep on it, directly or not.
    pub(super) fn behind<'a>(&'a self, wait: &'a Wait, by_worker: &BTreeMap<u32, Vec<u64>>) -> Vec<&'a Wait> {
        let mut found = vec![wait];
        let mut known = BTreeSet::from([wait.id]);
        let mut next = 0;
        while let Some(worker) = found.get(next).map(|wait| wait.worker.number) {
            next += 1;
            for id in by_worker.get(&worker).into_iter().flatten() {
                if known.insert(*id) {
                    found.push(self.waits.get(*id));
                }
            }
        }
        found
    }

    /// A job no longer has its place in the view from a sleeper, if it had: that one has it again.
    pub(super) fn repay(&mut self, job: &Place, view: ViewId, wakers: &mut Vec<Waker>) {
        if self.seen(view).borrowed == 0 {
            return;
        }
        if let Some(waker) = self.waits.is_repaid(view, job) {
            wakers.extend(waker);
            self.lane(view).borrowed -= 1;
            self.went_back.push(view);
        }
    }

    /// A view may have a free place: it goes to a sleeper that waits for its own, by way of the borrower, which keeps that one.
    pub(super) fn give_back(&mut self, view: ViewId, wakers: &mut Vec<Waker>) {
        while self.waits.some_taking_back() && self.seen(view).has_place() {
            let job = {
                let lenders = self.waits.sleepers().filter(|wait| wait.is_taking_back());
                let mut lent = lenders.flat_map(|wait| &wait.lent);
                lent.find(|(lane, _)| *lane == view).map(|(_, job)| Arc::clone(job))
            };
            let Some(job) = job else { return };
            self.repay(job.place(), view, wakers);
        }
    }

    /// A job has a place in the view from a sleeper that wants it back, and has not begun: it goes to the front of the view's queue.
    pub(super) fn queue_again(&mut self, view: ViewId, place: &Place, wakers: &mut Vec<Waker>) {
        let at = place.at();
        self.is_no_longer_ahead(place);
        let task = self.take_out(place).expect("what is queued can be taken out");
        let lane = self.lane(view);
        let parent = lane.parent;
        place.set_queued(view, lane.queue.push_front(task));
        self.repay(place, view, wakers);
        self.lane(view).admitted -= 1;
        self.release(place, parent, at, wakers);
    }

    /// A job that had been claimed is queued again. A sleeper that wants its place back from it can have it now.
    pub(super) fn unclaimed(&mut self, job: &Place, wakers: &mut Vec<Waker>) {
        let lenders = self.waits.sleepers().filter(|wait| wait.is_taking_back());
        let lenders =
            lenders.filter(|wait| wait.lent.iter().any(|(_, task)| std::ptr::eq(task.place(), job)));
        wakers.extend(lenders.map(Wait::waker));
    }

    /// A job that is slept on takes the places of others that have not begun, where it gets none otherwise. They go to the front of the
    /// views' queues.
    pub(super) fn let_through_before_others(&mut self, job: &Arc<dyn Task>, wakers: &mut Vec<Waker>) {
        while let Position::Queued(view) = job.place().position()
            && view != ROOT
        {
            if self.seen(view).has_place() {
                let task = self.take_out(job.place()).expect("what is queued can be taken out");
                self.enter(task, view);
                continue;
            }
            self.lend();
            if job.place().position() != Position::Queued(view) {
                continue;
            }
            let Some(other) = self.placed_behind(view, job.place()) else { return };
            self.displace(view, &other, job.place(), wakers);
        }
    }

    /// The job gets the place in the view that the other has.
    fn displace(&mut self, view: ViewId, other: &Arc<dyn Task>, job: &Place, wakers: &mut Vec<Waker>) {
        let at = other.place().at();
        let task = self.take_out(job).expect("what is queued can be taken out");
        let displaced = self.take_out(other.place()).expect("what is queued can be taken out");
        let lane = self.lane(view);
        let parent = lane.parent;
        other.place().set_queued(view, lane.queue.push_front(displaced));
        // Before what the other has further on is given back: the job is the next to get that.
        if parent == ROOT {
            self.enter(task, ROOT);
        } else {
            job.set_queued(parent, self.lane(parent).queue.push_front(task));
        }
        self.release(other.place(), parent, at, wakers);
    }

    /// A job that has a place of its own in the view, not a borrowed one, and is queued behind it.
    pub(super) fn placed_behind(&self, view: ViewId, job: &Place) -> Option<Arc<dyn Task>> {
        let mut queues = vec![&self.first, &self.root.queue];
        queues.extend(self.lanes_of(view).skip(1).map(|lane| &self.seen(lane).queue));
        let is_placed = |task: &&Arc<dyn Task>| {
            let place = task.place();
            let borrowed = || self.waits.all().any(|wait| wait.loan_to(view, place).is_some());
            !std::ptr::eq(place, job) && self.within(place.lane, view) && !borrowed()
        };
        let found = queues.into_iter().find_map(|queue| queue.iter().find(is_placed).cloned());
        found.or_else(|| self.inbox.lock().queue.iter().find(is_placed).cloned())
    }
}
