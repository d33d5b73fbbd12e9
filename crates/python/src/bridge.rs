//! The bridge to an event loop: results that other threads have ready, and one wake-up of the loop for a burst of them.
//!
//! The only file that touches asyncio. A loop has one [`Bridge`], whose pipe it watches (`loop.add_reader`). A thread with a
//! result appends it to the queue, and writes a byte only if the queue was empty; [`Bridge::drain`] then resolves all of
//! them in the thread of the loop. The alternative, `loop.call_soon_threadsafe` for each, costs a system call and a handle
//! each, and needs the interpreter.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt as _;

/// The end of the bridge that other threads have.
pub(crate) struct Shore {
    queue: Mutex<Vec<Delivery>>,
    writer: PipeWriter,
}

/// A future of asyncio, and what it is to be resolved with.
struct Delivery {
    future: Py<PyAny>,
    outcome: Outcome,
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
    /// Wakes its loop. Does not need the interpreter.
    pub(crate) fn wake(self) {
        self.shore.deliver(self.future, Outcome::News);
    }
}

impl Shore {
    /// Resolves `future`, soon, in the thread of its loop.
    pub(crate) fn deliver(&self, future: Py<PyAny>, outcome: Outcome) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(Delivery { future, outcome });
        let first = queue.len() == 1;
        drop(queue);
        if first {
            // It fails only when the loop is closed, and then there is no waiter. One byte at a time is in the pipe, so it
            // does not block.
            let _ = (&self.writer).write(&[0]);
        }
    }
}

/// The bridge to one event loop.
#[pyclass(frozen, module = "overlapped._overlapped", weakref)]
pub(crate) struct Bridge {
    pub(crate) shore: Arc<Shore>,
    reader: PipeReader,
}

#[pymethods]
impl Bridge {
    #[new]
    fn new() -> PyResult<Self> {
        let (reader, writer) = std::io::pipe().map_err(|error| PyOSError::new_err(error.to_string()))?;
        Ok(Self { shore: Arc::new(Shore { queue: Mutex::default(), writer }), reader })
    }

    /// The file descriptor for `loop.add_reader`.
    fn fileno(&self) -> i32 {
        self.reader.as_raw_fd()
    }

    /// Resolves every future whose result is there. Called by the loop when the descriptor is readable.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let mut bytes = [0; 16];
        let _ = (&self.reader).read(&mut bytes);
        let mut queue = self.shore.queue.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let deliveries = std::mem::take(&mut *queue);
        drop(queue);
        for Delivery { future, outcome } in deliveries {
            let future = future.into_bound(py);
            // The waiter was cancelled.
            if future.call_method0(intern!(py, "done"))?.is_truthy()? {
                continue;
            }
            let outcome = match outcome {
                Outcome::Made(make) => make(py).map_or_else(Outcome::Raised, Outcome::Returned),
                outcome @ (Outcome::Returned(_) | Outcome::Raised(_) | Outcome::News) => outcome,
            };
            match outcome {
                Outcome::Returned(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
                Outcome::News | Outcome::Made(_) => {
                    future.call_method1(intern!(py, "set_result"), (py.None(),))?
                }
                Outcome::Raised(error) => {
                    let error = if error.is_instance_of::<PyStopIteration>(py) {
                        // A future cannot carry it, because it would end the coroutine that awaits.
                        let outer = PyRuntimeError::new_err("the call raised StopIteration");
                        outer.set_cause(py, Some(error));
                        outer
                    } else {
                        error
                    };
                    future.call_method1(intern!(py, "set_exception"), (error.into_value(py),))?
                }
            };
        }
        Ok(())
    }
}
