//! `Shore`: the end of a [`Bridge`](crate::bridge::Bridge) that other threads have. None of this needs the interpreter.

use std::io::{PipeWriter, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::pending::{Make, Pending};

/// The end of the bridge that other threads have.
pub(crate) struct Shore {
    queue: Mutex<Queue>,
    writer: PipeWriter,
}

#[derive(Default)]
struct Queue {
    deliveries: Vec<Delivery>,
    /// The loop is awake, or soon will be: it looks at the queue by itself.
    is_awake: bool,
}

/// What is to be done in the thread of the loop.
pub(crate) enum Delivery {
    /// A future of asyncio is resolved.
    Future(Py<PyAny>, Outcome),
    /// A task that awaits a request is resumed.
    Answer(Py<Pending>, Box<Make>),
}

/// What a call came to.
pub(crate) enum Outcome {
    /// It returned this.
    Returned(Py<PyAny>),
    /// It raised this.
    Raised(PyErr),
    /// There is news, to be looked at in the loop.
    News,
}

/// A future of asyncio that is resolved when there is news.
pub(crate) struct Waiter {
    pub(crate) shore: Arc<Shore>,
    pub(crate) future: Py<PyAny>,
}

impl Waiter {
    /// Wakes its loop.
    pub(crate) fn wake(self) {
        self.shore.deliver(Delivery::Future(self.future, Outcome::News));
    }
}

impl Shore {
    /// `writer`: of the pipe that the loop watches.
    pub(crate) fn new(writer: PipeWriter) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), writer })
    }

    /// No code panics while it holds the lock, so a poisoned value is consistent.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has something done, soon, in the thread of the loop.
    pub(crate) fn deliver(&self, delivery: Delivery) {
        if self.push(delivery) {
            self.wake();
        }
    }

    /// The same, but if it returns true `wake` is to be called.
    pub(crate) fn push(&self, delivery: Delivery) -> bool {
        let mut queue = self.lock();
        queue.deliveries.push(delivery);
        !std::mem::replace(&mut queue.is_awake, true)
    }

    /// Wakes the loop.
    pub(crate) fn wake(&self) {
        // It fails only when the loop is closed, and then there is no waiter. The pipe has a byte or two at most, so it
        // does not block.
        let _ = (&self.writer).write(&[0]);
    }

    /// Takes what is to be done. The loop stays awake until `sleeps` says that it may sleep.
    pub(crate) fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.lock().deliveries)
    }

    /// Whether nothing has come since `take`; then the next delivery wakes the loop. Otherwise it is to be looked at again.
    pub(crate) fn sleeps(&self) -> bool {
        let mut queue = self.lock();
        queue.is_awake = !queue.deliveries.is_empty();
        !queue.is_awake
    }
}
