//! How jobs enter the queues, pass the views, and are taken out again. A job that is taken out is returned and not dropped, because the
//! `Drop` of its closure is user code, which must not run under the lock.

use std::sync::Arc;
use std::task::Waker;

use super::{Core, Effects, Entry};
use crate::cell::{Place, Position, Task};
use crate::error::Rejected;
use crate::view_id::{ROOT, ViewId};

impl Core {
    /// Lets a job into its lane, if the inbox could not.
    pub(crate) fn submit(&mut self, task: Arc<dyn Task>, entry: Entry) -> Result<Effects, Rejected> {
        let number = task.place().lane;
        let inbox = Arc::clone(&self.inbox);
        // Until the job is counted, so that the inbox lets no other into its place.
        let mut incoming = inbox.lock();
        let own = if number == ROOT { incoming.own } else { 0 };
        let lane = self.lane(number);
        let full = entry == Entry::Ordinary && lane.waiting + own >= lane.waiting_max;
        if lane.closed || full {
            lane.counts.rejected += 1;
            return Err(if lane.closed { Rejected::ShutDown } else { Rejected::QueueFull });
        }
        match entry {
            Entry::Permit => lane.permits -= 1,
            Entry::Ordinary | Entry::MustRun => lane.waiting += 1,
        }
        lane.counts.submitted += 1;
        if number == ROOT {
            incoming.room = self.root.waiting_max.saturating_sub(self.root.waiting + own);
        }
        task.place().set_id(incoming.next_id());
        drop(incoming);
        // No worker sleeps on it yet, so no place is lent to it.
        self.enter(task, number);
        let mut effects = Effects::default();
        self.baton(&mut effects);
        Ok(effects)
    }

    /// Puts a job into the first queue on its way from `at` to the root where it has to wait.
    pub(super) fn enter(&mut self, task: Arc<dyn Task>, mut at: ViewId) {
        while at != ROOT {
            let lane = self.lane(at);
            if !lane.has_place() {
                break;
            }
            lane.admitted += 1;
            at = lane.parent;
        }
        self.push(at, task);
    }

    fn push(&mut self, at: ViewId, task: Arc<dyn Task>) {
        if at == ROOT && task.place().is_awaited() {
            return self.push_first(task);
        }
        if at == ROOT {
            let mut inbox = self.inbox.lock();
            if task.place().lane == ROOT {
                self.root.waiting -= 1;
                inbox.own += 1;
                inbox.room = self.root.waiting_max.saturating_sub(self.root.waiting + inbox.own);
            }
            inbox.push(task);
            return self.inbox.tell(&inbox);
        }
        let queue = &mut self.lane(at).queue;
        task.place().set_queued(at, queue.next_ticket());
        queue.push(task);
    }

    /// Puts a job where it is taken next. Its place in the queue is counted in its lane.
    pub(super) fn push_first(&mut self, task: Arc<dyn Task>) {
        task.place().set_queued(ROOT, self.first.next_ticket());
        self.first.push(task);
    }

    /// Takes the oldest runnable job. When the root queue is empty, the whole inbox is moved to it at once.
    pub(super) fn pop(&mut self) -> Option<Arc<dyn Task>> {
        if !self.first.is_empty() {
            return self.first.pop();
        }
        if self.root.queue.is_empty() {
            let mut inbox = self.inbox.lock();
            if inbox.queue.is_empty() {
                return None;
            }
            std::mem::swap(&mut self.root.queue, &mut inbox.queue);
            self.root.waiting += std::mem::take(&mut inbox.own);
            inbox.room = self.root.waiting_max.saturating_sub(self.root.waiting);
            self.inbox.tell(&inbox);
        }
        self.root.queue.pop()
    }

    /// How many jobs any worker may take.
    pub(super) fn runnable(&self) -> usize {
        self.first.len() + self.root.queue.len() + self.inbox.lock().queue.len()
    }

    /// Takes a job out of the queue that it is in.
    pub(super) fn take_out(&mut self, place: &Place) -> Option<Arc<dyn Task>> {
        let Position::Queued(at) = place.position() else { return None };
        let ticket = place.ticket();
        if at != ROOT {
            // A view that is gone had no jobs.
            return self.views.get_mut(at.index())?.as_mut()?.queue.remove(ticket);
        }
        if let Some(task) = self.first.remove(ticket).or_else(|| self.root.queue.remove(ticket)) {
            return Some(task);
        }
        let mut inbox = self.inbox.lock();
        let task = inbox.queue.remove(ticket)?;
        if place.lane == ROOT {
            inbox.own -= 1;
            self.root.waiting += 1;
        }
        self.inbox.tell(&inbox);
        Some(task)
    }

    /// Gives back what a job holds from one lane on its way to another, exclusive: each freed place goes to the next in that lane's
    /// queue.
    pub(super) fn release(&mut self, place: &Place, from: ViewId, until: ViewId, wakers: &mut Vec<Waker>) {
        let mut at = from;
        while at != until {
            let lane = self.lane(at);
            let (parent, borrowed) = (lane.parent, lane.borrowed > 0);
            lane.admitted -= 1;
            if borrowed {
                self.repay(place, at, wakers);
            }
            if self.waits.some_taking_back() {
                self.give_back(at, wakers);
            }
            while let Some(next) = self.let_through(at) {
                self.enter(next, parent);
            }
            at = parent;
        }
        if self.waits.some_unlent() {
            self.lend();
        }
    }

    /// The next job that the view may let through, already counted.
    fn let_through(&mut self, view: ViewId) -> Option<Arc<dyn Task>> {
        let lane = self.lane(view);
        if lane.queue.is_empty() || !lane.has_place() {
            return None;
        }
        lane.admitted += 1;
        lane.queue.pop()
    }

    /// Takes a job out of its queue for good.
    pub(crate) fn remove(&mut self, place: &Place) -> Option<(Arc<dyn Task>, Effects)> {
        let at = place.at();
        let task = self.take_out(place)?;
        let mut effects = Effects { wake: self.cancelled(place, at), ..Effects::default() };
        self.baton(&mut effects);
        Some((task, effects))
    }

    /// A job was taken out of the queue of lane `at`, and will not run.
    pub(super) fn cancelled(&mut self, place: &Place, at: ViewId) -> Vec<Waker> {
        self.is_no_longer_ahead(place);
        self.set_gone(place);
        self.lane(place.lane).counts.cancelled += 1;
        let mut wakers = Vec::new();
        self.vacate(place, &mut wakers);
        self.release(place, place.lane, at, &mut wakers);
        self.ended(place.lane, &mut wakers);
        wakers
    }

    /// Takes what is queued in the lane and in its views out, to be discarded. What else is queued keeps its order.
    pub(crate) fn cancel_queued(&mut self, number: ViewId) -> (Vec<Arc<dyn Task>>, Vec<Waker>) {
        let lanes = self.views_of(number);
        let wanted = |task: &Arc<dyn Task>| lanes.contains(&task.place().lane);
        // Out of all queues first: so nothing moves up while places are given back.
        let mut tasks: Vec<Arc<dyn Task>> = Vec::new();
        tasks.extend(self.first.extract(wanted));
        tasks.extend(self.root.queue.extract(wanted));
        {
            let mut inbox = self.inbox.lock();
            let incoming = inbox.queue.extract(wanted);
            let own = incoming.iter().filter(|task| task.place().lane == ROOT).count();
            inbox.own -= own;
            self.root.waiting += own;
            self.inbox.tell(&inbox);
            tasks.extend(incoming);
        }
        for view in self.views.iter_mut().flatten() {
            tasks.extend(view.queue.extract(wanted));
        }
        // Nor is any of them lent a place.
        tasks.iter().for_each(|task| task.place().set_gone());
        let mut wakers = Vec::new();
        for task in &tasks {
            wakers.extend(self.cancelled(task.place(), task.place().at()));
        }
        (tasks, wakers)
    }
}
