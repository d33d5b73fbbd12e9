//! `Pending`: a request of an event loop that is on its way, as the task that awaits it sees it.
//!
//! To a task of asyncio it is a future. One of asyncio's own resumes its task by a further call of the loop, which costs as
//! much as all else that a task does for a request; this one resumes it at once, in the call by which the loop takes in a burst
//! of results ([`Bridge::drain`](crate::bridge::Bridge)).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlapped_fetch::Spawned;
use pyo3::exceptions::PyRuntimeError;
use pyo3::exceptions::asyncio::{CancelledError, InvalidStateError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt as _;
use pyo3::types::IntoPyDict as _;

/// Makes a result, in the thread of the loop.
pub(crate) type Make = dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send;

/// A request of an event loop that is on its way, awaited by one task.
#[pyclass(frozen, module = "overlapped._overlapped")]
pub(crate) struct Pending {
    event_loop: Py<PyAny>,
    /// A task has been given this to wait for, and has not looked at it yet.
    is_given: AtomicBool,
    progress: Mutex<Progress>,
    stage: Arc<Mutex<Stage>>,
}

enum Progress {
    /// With the function that resumes the task, and its context.
    Waiting(Option<(Py<PyAny>, Py<PyAny>)>),
    Arrived(Box<Make>),
    Taken,
    /// With a message.
    Cancelled(Option<Py<PyAny>>),
}

/// How far a request has come on its way to the client's thread.
pub(crate) enum Stage {
    Submitted,
    Started(Spawned),
    Aborted,
}

impl Pending {
    pub(crate) fn new(event_loop: Py<PyAny>, stage: Arc<Mutex<Stage>>) -> Self {
        let progress = Mutex::new(Progress::Waiting(None));
        Self { event_loop, is_given: AtomicBool::new(false), progress, stage }
    }

    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, Progress> {
        self.progress.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Resumes the task, unless it was cancelled.
    ///
    /// # Errors
    ///
    /// What ends the loop: KeyboardInterrupt or SystemExit.
    pub(crate) fn resolve(this: &Bound<'_, Self>, make: Box<Make>) -> PyResult<()> {
        let mut progress = this.get().lock(this.py());
        let Progress::Waiting(waiter) = &mut *progress else { return Ok(()) };
        let waiter = waiter.take();
        *progress = Progress::Arrived(make);
        drop(progress);
        let Some((resume, context)) = waiter else { return Ok(()) };
        context.bind(this.py()).call_method1(intern!(this.py(), "run"), (resume, this)).map(drop)
    }
}

#[pymethods]
impl Pending {
    fn __await__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(this: Bound<'py, Self>) -> Option<Bound<'py, Self>> {
        let waits = matches!(*this.get().lock(this.py()), Progress::Waiting(_));
        this.get().is_given.store(waits, Ordering::Relaxed);
        waits.then_some(this)
    }

    /// What came of it: to be called once, when it was awaited.
    fn take(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let progress = std::mem::replace(&mut *self.lock(py), Progress::Taken);
        let Progress::Arrived(make) = progress else {
            return Err(PyRuntimeError::new_err("there is no result"));
        };
        make(py)
    }

    /// Gives the request up and closes its connection, unless it is done.
    fn abort(&self) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Started(spawned) = std::mem::replace(&mut *stage, Stage::Aborted) {
            spawned.abort();
        }
    }

    // What a task of asyncio does with a future that it waits for.

    #[getter(_asyncio_future_blocking)]
    fn is_given(&self) -> bool {
        self.is_given.load(Ordering::Relaxed)
    }

    #[setter(_asyncio_future_blocking)]
    fn set_is_given(&self, is_given: bool) {
        self.is_given.store(is_given, Ordering::Relaxed);
    }

    fn get_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop.clone_ref(py)
    }

    #[pyo3(signature = (resume, *, context))]
    fn add_done_callback(&self, py: Python<'_>, resume: Py<PyAny>, context: Py<PyAny>) -> PyResult<()> {
        match &mut *self.lock(py) {
            Progress::Waiting(waiter @ None) => *waiter = Some((resume, context)),
            Progress::Waiting(_) | Progress::Arrived(_) | Progress::Taken | Progress::Cancelled(_) => {
                return Err(InvalidStateError::new_err("another task awaits it"));
            }
        }
        Ok(())
    }

    #[pyo3(signature = (msg=None))]
    fn cancel(this: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let py = this.py();
        let mut progress = this.get().lock(py);
        let Progress::Waiting(waiter) = &mut *progress else { return Ok(false) };
        let waiter = waiter.take();
        *progress = Progress::Cancelled(msg);
        drop(progress);
        if let Some((resume, context)) = waiter {
            let named = [("context", context)].into_py_dict(py)?;
            let event_loop = this.get().event_loop.bind(py);
            event_loop.call_method(intern!(py, "call_soon"), (resume, this), Some(&named))?;
        }
        Ok(true)
    }

    fn result(&self, py: Python<'_>) -> PyResult<()> {
        match &*self.lock(py) {
            Progress::Arrived(_) | Progress::Taken => Ok(()),
            Progress::Cancelled(None) => Err(CancelledError::new_err(())),
            Progress::Cancelled(Some(message)) => Err(CancelledError::new_err((message.clone_ref(py),))),
            Progress::Waiting(_) => Err(InvalidStateError::new_err("the result is not there")),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        match self.progress.try_lock().as_deref() {
            Ok(Progress::Waiting(Some((resume, context)))) => {
                visit.call(resume)?;
                visit.call(context)
            }
            Ok(Progress::Cancelled(Some(message))) => visit.call(message),
            Ok(
                Progress::Waiting(None) | Progress::Arrived(_) | Progress::Taken | Progress::Cancelled(None),
            )
            | Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let cleared = std::mem::replace(&mut *progress, Progress::Taken);
        drop(progress);
        drop(cleared);
    }
}
