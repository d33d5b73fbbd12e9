//! The bridge to an event loop: results that other threads have ready, and one wake-up of the loop for a burst of them.
//!
//! The only file that touches asyncio. A loop has one [`Bridge`], whose pipe it watches (`loop.add_reader`). A thread with a
//! result appends it to the queue, and writes a byte only if the queue was empty; [`Bridge::drain`] then resolves all of
//! them in the thread of the loop. The alternative, `loop.call_soon_threadsafe` for each, costs a system call and a handle
//! each, and needs the interpreter.

use std::io::{PipeReader, Read as _};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlapped_fetch::Client;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt as _;

use crate::call::failed;
use crate::limits;
use crate::relay::{Relay, Submission, Task};
use crate::shore::{Delivery, Outcome, Shore};

/// Requests, each for the client's thread behind a relay.
type Requests = Vec<(Arc<Relay>, Submission)>;

/// The bridge to one event loop.
#[pyclass(frozen, module = "overlapped._overlapped", weakref)]
pub(crate) struct Bridge {
    pub(crate) shore: Arc<Shore>,
    reader: PipeReader,
    /// Requests that are held back until `depart`; none: they are handed over at once.
    held: Mutex<Option<Requests>>,
}

impl Bridge {
    fn lock_held(&self, py: Python<'_>) -> MutexGuard<'_, Option<Requests>> {
        self.held.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the client's thread do work whose result resolves `future`. The work is handed over at once, or together with that
    /// of the other tasks that run after `drain`.
    pub(crate) fn submit<W: Future<Output = Outcome> + Send + 'static>(
        &self,
        py: Python<'_>,
        client: &Client,
        relay: &Arc<Relay>,
        future: Py<PyAny>,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> PyResult<Task> {
        let made = Submission::new(client, relay, &self.shore, future, work);
        let (submission, task) = made.map_err(|error| failed(&error, 0))?;
        let mut held = self.lock_held(py);
        let Some(waiting) = held.as_mut() else {
            drop(held);
            relay.submit([submission]);
            return Ok(task);
        };
        waiting.push((Arc::clone(relay), submission));
        if waiting.len() == limits::SUBMISSIONS_HELD {
            let full = std::mem::take(waiting);
            drop(held);
            hand_over(full);
        }
        Ok(task)
    }
}

fn hand_over(mut submissions: Requests) {
    while let Some((relay, _)) = submissions.first() {
        let relay = Arc::clone(relay);
        let (its, others): (Requests, Requests) =
            submissions.into_iter().partition(|(other, _)| Arc::ptr_eq(other, &relay));
        relay.submit(its.into_iter().map(|(_, submission)| submission));
        submissions = others;
    }
}

#[pymethods]
impl Bridge {
    #[new]
    fn new() -> PyResult<Self> {
        let (reader, writer) = std::io::pipe().map_err(|error| PyOSError::new_err(error.to_string()))?;
        Ok(Self { shore: Shore::new(writer), reader, held: Mutex::default() })
    }

    /// The file descriptor for `loop.add_reader`.
    fn fileno(&self) -> i32 {
        self.reader.as_raw_fd()
    }

    /// Resolves every future whose result is there. Called by the loop when the descriptor is readable.
    ///
    /// True: the tasks that this has woken may make further requests, which are held back until `depart` is called after
    /// them.
    fn drain(&self, py: Python<'_>) -> PyResult<bool> {
        let mut has_responses = false;
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
                Outcome::Made(make) => {
                    has_responses = true;
                    make(py).map_or_else(Outcome::Raised, Outcome::Returned)
                }
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
        if has_responses {
            self.lock_held(py).get_or_insert_default();
        }
        Ok(has_responses)
    }

    /// Hands over the requests that were held back.
    fn depart(&self, py: Python<'_>) {
        let held = self.lock_held(py).take();
        hand_over(held.unwrap_or_default());
    }
}
