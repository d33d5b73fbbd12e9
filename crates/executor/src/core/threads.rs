//! Threads that come, are refused, fall idle and leave.
//!
//! Must never start one: `baton` says when one is wanted.

use std::sync::Arc;
use std::task::Waker;

use super::{Core, Effects};
use crate::cell::Task;
use crate::lane::ROOT;
use crate::sync::Ordering;
use crate::worker::Worker;

impl Core {
    /// A thread that the builder asked for from the start.
    pub(crate) fn starts_ahead(&mut self) {
        self.threads += 1;
        self.starting += 1;
    }

    /// A new thread has come. It has a start hook to run before it looks for work.
    pub(crate) fn arrived(&mut self, me: &Arc<Worker>) -> Effects {
        self.workers.push(Arc::clone(me));
        self.starting -= 1;
        self.preparing += 1;
        me.preparing.store(true, Ordering::Relaxed);
        let mut effects = Effects::default();
        self.baton(&mut effects);
        effects
    }

    /// A worker that sleeps for want of work.
    pub(crate) fn idle_worker(&self) -> Option<Arc<Worker>> {
        self.idle.last().map(Arc::clone)
    }

    /// `me` slept as long as it was to. Says whether it leaves; if not, it stays idle, or has been signalled meanwhile.
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
        self.ended(ROOT)
    }

    /// A thread could not be started. If nobody is left who could run what is queued, it is handed out to be rejected.
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
            effects.wake.extend(self.ended(ROOT));
            self.baton(&mut effects);
        }
        (tasks, effects)
    }

    /// It is time to ask for a thread again.
    pub(crate) fn retry(&mut self) -> Effects {
        self.held_off = false;
        self.called()
    }
}
