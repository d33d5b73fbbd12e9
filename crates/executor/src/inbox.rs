//! Where jobs come in: a queue with a lock of its own, so that submitters and workers meet once a batch and not once a job.
//!
//! Must never be locked before the core is, by who needs both.

use std::sync::Arc;

use crate::cell::Task;
use crate::error::Rejected;
use crate::lane::ROOT;
use crate::queue::Queue;
use crate::sync::{AtomicUsize, Guard, Mutex, Ordering};

pub(crate) struct Inbox {
    state: Mutex<State>,
    /// How many jobs are in it, for a look without the lock.
    len: AtomicUsize,
}

/// What the lock guards.
pub(crate) struct State {
    /// Jobs that any worker may take, after those that the core has fetched before.
    pub(crate) queue: Queue<Arc<dyn Task>>,
    /// How many of them are the root's own; the others were let through by views.
    pub(crate) own: usize,
    /// How many more the root's queue takes before the core must be asked. Never more than there is room for.
    pub(crate) room: usize,
    /// Nobody is on the way to this queue: whoever puts a job in must call the core.
    pub(crate) call: bool,
    pub(crate) closed: bool,
    pub(crate) submitted: u64,
    pub(crate) rejected: u64,
    last_id: u64,
}

/// What became of a job that was brought to the inbox.
pub(crate) enum Brought {
    /// Somebody is on the way to it.
    In,
    /// It is in; the core must be told.
    Call,
    /// The core must decide whether there is room.
    Ask(Arc<dyn Task>),
}

impl Inbox {
    pub(crate) fn new(room: usize) -> Self {
        let state = State {
            // Tickets of the two queues that change places must never be the same.
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

    /// Says to who looks without the lock what is in.
    pub(crate) fn tell(&self, state: &State) {
        self.len.store(state.queue.len(), Ordering::Relaxed);
    }

    pub(crate) fn seems_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }
}

impl State {
    /// Takes in a job of the root.
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
