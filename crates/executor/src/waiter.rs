//! The waiting side of a group: its waker is in the group while it waits, and not longer, so that the `block_on` of a worker knows what
//! can wake it.

use std::sync::Arc;
use std::task::Context;

use crate::fork;
use crate::group::Group;
use crate::pool;

pub(crate) struct Waiter {
    group: Arc<Group>,
    /// The group may have its waker.
    listens: bool,
    /// Forks before the group was made.
    generation: u32,
}

impl Waiter {
    pub(crate) fn new(group: Group) -> Self {
        Waiter { group: Arc::new(group), listens: false, generation: fork::generation() }
    }

    /// Whether this process is a fork of the one that made the group: its lock may be held by a thread of the parent.
    pub(crate) fn is_forked(&self) -> bool {
        self.generation != fork::generation()
    }

    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// This task is woken from now on. To be called before the completions are read.
    pub(crate) fn listen(&mut self, cx: &Context<'_>) {
        self.group.listen(cx).into_iter().for_each(pool::let_go);
        self.listens = true;
    }

    /// Adds the numbers of the jobs that were completed since the last call; if there are none, this task is woken by the next one.
    pub(crate) fn drain(&mut self, cx: &Context<'_>, into: &mut Vec<u32>) {
        self.group.drain(into);
        if into.is_empty() {
            self.listen(cx);
            self.group.drain(into);
        }
    }

    /// It does not wait any more, until it listens again.
    pub(crate) fn stop(&mut self) {
        if std::mem::replace(&mut self.listens, false) && !self.is_forked() {
            pool::forget(self.address());
            self.group.unlisten(pool::is_own);
        }
    }

    /// Where the waker is kept, as a worker notes it.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.group).addr()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.stop();
    }
}
