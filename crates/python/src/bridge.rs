//! The bridge to an event loop: results that other threads have ready, and one wake-up of the loop for a burst of them.
//!
//! With [`pending`](crate::pending) the only file that touches asyncio. A loop has one [`Bridge`], whose pipe it watches
//! (`loop.add_reader`). A thread with a result appends it to the queue, and writes a byte only if the pipe has none;
//! [`Bridge::drain`] then resolves all of them in the thread of the loop. The alternative, `loop.call_soon_threadsafe` for each,
//! costs a system call and a handle each, and needs the interpreter.

use std::collections::VecDeque;
use std::io::{PipeReader, Read as _};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlapped_fetch::Client;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt as _;
use pyo3::types::{IntoPyDict as _, PyString, PyWeakrefReference};

use crate::call::failed;
use crate::limits;
use crate::pending::{Make, Pending, Stage};
use crate::relay::{Relay, Submission};
use crate::shore::{Delivery, Outcome, Shore};

/// Requests, each for the client's thread behind a relay.
type Requests = Vec<(Arc<Relay>, Submission)>;

/// The bridge to one event loop.
#[pyclass(frozen, module = "overlapped._overlapped", weakref)]
pub(crate) struct Bridge {
    pub(crate) shore: Arc<Shore>,
    reader: PipeReader,
    /// The loop, which keeps this.
    event_loop: Py<PyWeakrefReference>,
    /// The number of the burst of results that is being resolved, and 0 between bursts.
    burst: AtomicU64,
    bursts: AtomicU64,
    /// Taken from the shore, and not resolved.
    arrived: Mutex<VecDeque<Delivery>>,
    /// Requests that are held back until `depart`; none: they are handed over at once.
    held: Mutex<Option<Requests>>,
}

impl Bridge {
    fn lock_arrived(&self, py: Python<'_>) -> MutexGuard<'_, VecDeque<Delivery>> {
        self.arrived.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_held(&self, py: Python<'_>) -> MutexGuard<'_, Option<Requests>> {
        self.held.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the client's thread do work whose result a task awaits. The work is handed over at once, or together with that of
    /// the other tasks that run in this pass of the loop.
    pub(crate) fn submit<W: Future<Output = Box<Make>> + Send + 'static>(
        this: &Bound<'_, Self>,
        client: &Client,
        relay: &Arc<Relay>,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> PyResult<Py<Pending>> {
        let (py, bridge) = (this.py(), this.get());
        let event_loop = bridge.event_loop(py)?;
        relay.ensure_started(client).map_err(|error| failed(&error, 0))?;
        let stage = Arc::new(Mutex::new(Stage::Submitted));
        let pending = Py::new(py, Pending::new(event_loop.unbind(), Arc::clone(&stage)))?;
        let submission = Submission::new(client, relay, &bridge.shore, pending.clone_ref(py), stage, work);
        let mut held = bridge.lock_held(py);
        if let Some(waiting) = held.as_mut() {
            waiting.push((Arc::clone(relay), submission));
            if waiting.len() == limits::SUBMISSIONS_HELD {
                let full = std::mem::take(waiting);
                drop(held);
                hand_over(full);
            }
        } else {
            *held = Some(Vec::new());
            drop(held);
            relay.submit([submission]);
            // Behind the tasks that run in this pass.
            Self::call_soon(this, intern!(py, "depart"))?;
        }
        Ok(pending)
    }
}

impl Bridge {
    /// The number of the burst whose tasks are being resumed, one after the other in one call; 0 in all others.
    pub(crate) fn burst(&self) -> u64 {
        self.burst.load(Ordering::Relaxed)
    }

    fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let gone = || PyRuntimeError::new_err("the event loop is gone");
        self.event_loop.bind(py).upgrade().ok_or_else(gone)
    }

    /// Has the loop call a method of this, in a context of its own: that of the caller may be entered again before.
    fn call_soon<'py>(this: &Bound<'py, Self>, method: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let context = py.import(intern!(py, "contextvars"))?.call_method0(intern!(py, "Context"))?;
        let named = [(intern!(py, "context"), context)].into_py_dict(py)?;
        let event_loop = this.get().event_loop(py)?;
        event_loop.call_method(intern!(py, "call_soon"), (this.getattr(method)?,), Some(&named))
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
    fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (reader, writer) = std::io::pipe().map_err(|error| PyOSError::new_err(error.to_string()))?;
        let event_loop = PyWeakrefReference::new(event_loop)?.unbind();
        Ok(Self {
            shore: Shore::new(writer),
            reader,
            event_loop,
            burst: AtomicU64::new(0),
            bursts: AtomicU64::new(0),
            arrived: Mutex::default(),
            held: Mutex::default(),
        })
    }

    /// The file descriptor for `loop.add_reader`.
    fn fileno(&self) -> i32 {
        self.reader.as_raw_fd()
    }

    /// Called by the loop when the descriptor is readable. The results are left to the next pass: a task that is resumed may run
    /// the loop itself, which then calls this again.
    fn drain(this: &Bound<'_, Self>) -> PyResult<()> {
        let _ = (&this.get().reader).read(&mut [0]);
        Self::call_soon(this, intern!(this.py(), "resolve_all")).map(drop)
    }

    /// Does what is to be done for every result that is there.
    fn resolve_all(this: &Bound<'_, Self>) -> PyResult<()> {
        let (py, bridge) = (this.py(), this.get());
        let again = || Self::call_soon(this, intern!(py, "resolve_all"));
        bridge.lock_held(py).get_or_insert_default();
        let mut arrived = bridge.lock_arrived(py);
        arrived.extend(bridge.shore.take());
        // For a loop that is run by a task: it has to go on with the rest.
        let has_more = arrived.len() > 1;
        drop(arrived);
        let mut rest = if has_more { Some(again()?) } else { None };
        let burst = bridge.bursts.fetch_add(1, Ordering::Relaxed) + 1;
        bridge.burst.store(burst, Ordering::Relaxed);
        let mut done = Ok(());
        while done.is_ok() {
            // In a statement of its own, so that the lock is released.
            let next = bridge.lock_arrived(py).pop_front();
            let Some(delivery) = next else { break };
            done = resolve(py, delivery);
        }
        bridge.burst.store(0, Ordering::Relaxed);
        bridge.depart(py);
        if done.is_ok() && bridge.shore.sleeps() {
            rest.take().map(|rest| rest.call_method0(intern!(py, "cancel"))).transpose()?;
        } else if rest.is_none() {
            again()?;
        }
        done
    }

    /// Hands over the requests that were held back.
    fn depart(&self, py: Python<'_>) {
        let held = self.lock_held(py).take();
        hand_over(held.unwrap_or_default());
    }
}

fn resolve(py: Python<'_>, delivery: Delivery) -> PyResult<()> {
    let (future, outcome) = match delivery {
        Delivery::Answer(pending, make) => return Pending::resolve(pending.bind(py), make),
        Delivery::Future(future, outcome) => (future.into_bound(py), outcome),
    };
    // The waiter was cancelled.
    if future.call_method0(intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    match outcome {
        Outcome::Returned(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
        Outcome::News => future.call_method1(intern!(py, "set_result"), (py.None(),))?,
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
    Ok(())
}
