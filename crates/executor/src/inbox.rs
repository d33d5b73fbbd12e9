//! The submission queue, with its own mutex, so that submitters and workers contend for the core's mutex once per batch and not once per
//! job. Lock order: core, then inbox.

use std::sync::Arc;

use crate::cell::Task;
use crate::error::Rejected;
use crate::queue::Queue;
use crate::sync::{AtomicUsize, Guard, Mutex, Ordering};
use crate::view_id::ROOT;

pub(crate) struct Inbox {
    state: Mutex<State>,
    /// The length of the queue, readable without the lock.
    len: AtomicUsize,
}

/// What the lock guards.
pub(crate) struct State {
    /// Jobs that any worker may take, after those that the core has fetched before.
    pub(crate) queue: Queue<Arc<dyn Task>>,
    /// How many of them are the root's own; the others were let through by views.
    pub(crate) own: usize,
    /// How many more jobs the root's queue takes without a call of the core: at most as many as there is room for.
    pub(crate) room: usize,
    /// No worker is certain to look at this queue before it parks: after a push, the submitter must call the core.
    pub(crate) call: bool,
    pub(crate) closed: bool,
    pub(crate) submitted: u64,
    pub(crate) rejected: u64,
    last_id: u64,
}

/// The outcome of [`State::bring`].
pub(crate) enum Brought {
    /// It is queued, and a worker will look.
    In,
    /// It is queued, and the core must be called.
    Call,
    /// The core must decide whether there is room.
    Ask(Arc<dyn Task>),
}

impl Inbox {
    pub(crate) fn new(room: usize) -> Self {
        let state = State {
            // This queue and the core's are swapped, so their tickets must differ.
            queue: Queue::starting_at(1 << 63),
            own: 0,
            room,
            call: true,
            closed: false,
            submitted: 0,
            rejected: 0,
            last_id: 0,
        };
        Inbox { state: Mutex::new(state), len: AtomicUsize::new(0) }
    }

    pub(crate) fn lock(&self) -> Guard<'_, State> {
        self.state.lock()
    }

    /// Publishes the length for readers without the lock.
    pub(crate) fn tell(&self, state: &State) {
        self.len.store(state.queue.len(), Ordering::Relaxed);
    }

    pub(crate) fn seems_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }
}

impl State {
    /// Queues a job of the root lane.
    pub(crate) fn bring(&mut self, task: Arc<dyn Task>) -> Result<Brought, Rejected> {
        if self.closed {
            self.rejected += 1;
            return Err(Rejected::ShutDown);
        }
        if self.room == 0 {
            return Ok(Brought::Ask(task));
        }
        self.room -= 1;
        self.own += 1;
        self.submitted += 1;
        task.place().set_id(self.next_id());
        self.push(task);
        Ok(if std::mem::take(&mut self.call) { Brought::Call } else { Brought::In })
    }

    pub(crate) fn push(&mut self, task: Arc<dyn Task>) {
        task.place().set_queued(ROOT, self.queue.next_ticket());
        self.queue.push(task);
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}
