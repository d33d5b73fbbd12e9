//! `Shore`: the end of a [`Bridge`](crate::bridge::Bridge) that other threads have. None of this needs the interpreter.

use std::io::{PipeWriter, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

/// The end of the bridge that other threads have.
pub(crate) struct Shore {
    pub(crate) queue: Mutex<Vec<Delivery>>,
    writer: PipeWriter,
}

/// A future of asyncio, and what it is to be resolved with.
pub(crate) struct Delivery {
    pub(crate) future: Py<PyAny>,
    pub(crate) outcome: Outcome,
}

/// Makes a result, in the thread of the loop.
pub(crate) type Make = dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send;

/// What a call came to.
pub(crate) enum Outcome {
    /// It returned this.
    Returned(Py<PyAny>),
    /// It raised this.
    Raised(PyErr),
    /// There is news, to be looked at in the loop.
    News,
    /// What this makes in the thread of the loop.
    Made(Box<Make>),
}

/// A future of asyncio that is resolved when there is news.
pub(crate) struct Waiter {
    pub(crate) shore: Arc<Shore>,
    pub(crate) future: Py<PyAny>,
}

impl Waiter {
    /// Wakes its loop.
    pub(crate) fn wake(self) {
        self.shore.deliver(self.future, Outcome::News);
    }
}

impl Shore {
    /// `writer`: of the pipe that the loop watches.
    pub(crate) fn new(writer: PipeWriter) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), writer })
    }

    /// Resolves `future`, soon, in the thread of its loop.
    pub(crate) fn deliver(&self, future: Py<PyAny>, outcome: Outcome) {
        if self.push(future, outcome) {
            self.wake();
        }
    }

    /// The same, but if it returns true the loop has to be woken.
    pub(crate) fn push(&self, future: Py<PyAny>, outcome: Outcome) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(Delivery { future, outcome });
        queue.len() == 1
    }

    /// Wakes the loop.
    pub(crate) fn wake(&self) {
        // It fails only when the loop is closed, and then there is no waiter. The pipe has a byte for each time that the
        // queue was empty, of which the loop takes several at once, so it does not block.
        let _ = (&self.writer).write(&[0]);
    }
}
