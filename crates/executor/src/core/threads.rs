//! The counts of threads: those that start, are refused, become idle and end. `baton` requests a thread; `pool` starts it.

use std::sync::Arc;
use std::task::Waker;

use super::{Core, Effects};
use crate::cell::Task;
use crate::sync::Ordering;
use crate::view_id::ROOT;
use crate::worker::Worker;

impl Core {
    /// A thread that the builder asked for from the start.
    pub(crate) fn starts_ahead(&mut self) {
        self.threads += 1;
        self.starting += 1;
    }

    /// A new thread has started. It runs its start hook before it looks for work.
    pub(crate) fn arrived(&mut self, me: &Arc<Worker>) -> Effects {
        self.workers.push(Arc::clone(me));
        self.starting -= 1;
        self.preparing += 1;
        me.preparing.store(true, Ordering::Relaxed);
        let mut effects = Effects::default();
        self.baton(&mut effects);
        effects
    }

    /// The worker that became idle last.
    pub(crate) fn idle_worker(&self) -> Option<Arc<Worker>> {
        self.idle.last().map(Arc::clone)
    }

    /// The keep-alive time of `me` is over. True if it ends; if not, it stays idle, or has been signalled meanwhile.
    pub(crate) fn reap(&mut self, me: &Arc<Worker>) -> bool {
        if self.threads <= self.bounds.min {
            return false;
        }
        let Some(at) = self.idle.iter().position(|worker| Arc::ptr_eq(worker, me)) else { return false };
        self.idle.remove(at);
        self.threads -= 1;
        self.leaving += 1;
        true
    }

    /// The thread of `me` is as good as gone.
    pub(crate) fn left(&mut self, me: &Arc<Worker>) -> Vec<Waker> {
        self.leaving -= 1;
        self.workers.retain(|worker| !Arc::ptr_eq(worker, me));
        let mut wakers = Vec::new();
        self.ended(ROOT, &mut wakers);
        wakers
    }

    /// A thread could not be started. If no other can run what is queued, those jobs are returned to be rejected.
    pub(crate) fn refused(&mut self) -> (Vec<Arc<dyn Task>>, Effects) {
        self.threads -= 1;
        self.starting -= 1;
        self.held_off = true;
        let (mut tasks, mut effects) = (Vec::new(), Effects::default());
        let orphaned = self.threads == 0 || {
            self.baton(&mut effects);
            let help = effects.unpark.is_some() || !effects.wake.is_empty();
            !help && self.threads == self.waits.asleep() && self.waits.are_hopeless()
        };
        if orphaned {
            let wakers;
            (tasks, wakers) = self.cancel_queued(ROOT);
            effects.wake.extend(wakers);
            self.ended(ROOT, &mut effects.wake);
            self.baton(&mut effects);
        }
        (tasks, effects)
    }

    /// The pause after a refusal is over: threads may be requested again.
    pub(crate) fn retry(&mut self) -> Effects {
        self.held_off = false;
        self.called()
    }
}
