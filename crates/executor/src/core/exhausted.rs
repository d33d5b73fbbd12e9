//! Thread exhaustion: waits that the pool cannot look into, when it has no thread left. Nothing is refused while a thread may still
//! start, or while something outside the pool may wake a sleeper.
//!
//! A combinator with wakers of its own (`FuturesUnordered`) hides which of its jobs its `block_on` needs, and what else it waits for. So such
//! a sleeper is taken to be live (`deadlock`). That holds as long as its jobs can begin. When all threads sleep, no other may be started,
//! and each of them is woken by jobs alone, none ever will: then a queued job of such a sleeper is discarded, which wakes it.

use std::sync::Arc;

use super::units::{Beside, Settles, Target, Unit};
use super::waits::Wait;
use super::{Core, Effects};
use crate::cell::{Position, Task};

impl Core {
    /// A job that would never begin, taken out to be discarded. If none is known, the wait of another sleeper is refused.
    pub(super) fn forsaken(&mut self, effects: &mut Effects) -> Option<Arc<dyn Task>> {
        if !self.is_exhausted() || !self.waits.sleepers().all(Wait::is_by_jobs) {
            return None;
        }
        let found = self.waits.sleepers().find_map(|wait| {
            let polled = wait.polled();
            polled
                .iter()
                .flat_map(|unit| unit.open())
                .find(|target| is_queued(target))
                .map(Target::task)
                .cloned()
        });
        let Some(job) = found else {
            let mut waits = self.waits.sleepers().filter(|wait| wait.can_be_refused());
            let refused = waits.find(|wait| wait.queued().next().is_some());
            refused.iter().flat_map(|wait| wait.queued()).for_each(Target::refuse);
            let refused = refused.map(|wait| wait.id);
            drop(waits);
            effects.wake.extend(refused.map(|id| self.doom(id)));
            return None;
        };
        let at = job.place().at();
        let task = self.take_out(job.place()).expect("what is queued can be taken out");
        effects.wake.extend(self.cancelled(task.place(), at));
        self.baton(effects);
        Some(task)
    }

    /// Whether all threads sleep in waits, some of which cannot be looked into, and no other may be started. Threads that are leaving have
    /// delivered their last results, or those count as done: they change nothing.
    fn is_exhausted(&self) -> bool {
        let may_start = self.threads < self.bounds.max + self.bounds.extra;
        self.waits.some_beside() && self.threads == self.waits.asleep() && !may_start
    }
}

fn is_queued(target: &Target) -> bool {
    let place = target.task().place();
    target.is_own() && matches!(place.position(), Position::Queued(_)) && !place.is_detached()
}

/// Whether it is its own end alone that settles the job.
fn has_no_deadline(target: &Target) -> bool {
    match target.settles() {
        Settles::ByItself => true,
        Settles::UnlessBegun => matches!(target.task().place().position(), Position::Running(_)),
        Settles::InTime => false,
    }
}

impl Wait {
    fn polled(&self) -> Vec<Arc<Unit>> {
        let polled = self.on.polled.as_ref().filter(|_| self.has_beside());
        polled.map_or_else(Vec::new, |polled| polled.units())
    }

    /// The jobs that it sleeps on and that have not begun.
    fn queued(&self) -> impl Iterator<Item = &Target> {
        self.units().iter().flat_map(|unit| unit.open()).filter(|target| is_queued(target))
    }

    /// Whether it is certain that only the end of a job of its own pool can wake it, and that none that has ended will.
    fn is_by_jobs(&self) -> bool {
        let certain = |unit: &Arc<Unit>| !unit.is_foreign() && unit.open().all(has_no_deadline);
        let external = self.has_beside() && self.on.beside == Beside::Something;
        let polled = self.polled();
        !external
            && !self.is_waking()
            && !polled.iter().any(|unit| unit.is_done())
            && self.units().iter().chain(&polled).all(certain)
    }
}
