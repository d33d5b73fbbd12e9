//! `Pool`: the tasks of an `overlapped.Executor`, and the life of its threads.
//!
//! The threads are started in Python, as `threading.Thread`, so that debuggers, profilers and coverage see them; each then
//! spends its life in [`Pool::work`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::bridge::Bridge;
use crate::limits;
use crate::queue::{Next, Queue, ROOT, Refused, Stats, Submitted};
use crate::shore::{Delivery, Outcome, Shore};

/// A call, and where its result goes.
struct Task {
    call: Call,
    to: Destination,
}

struct Call {
    function: Py<PyAny>,
    args: Py<PyTuple>,
    kwargs: Option<Py<PyDict>>,
}

enum Destination {
    /// A `concurrent.futures.Future`.
    Future(Py<PyAny>),
    /// A future of asyncio, over the bridge to its loop; the call runs in the context of the one who awaits.
    Loop { shore: Arc<Shore>, future: Py<PyAny>, context: Py<PyAny> },
}

/// The queue of an executor.
#[pyclass(frozen, module = "overlapped._overlapped")]
pub(crate) struct Pool {
    queue: Queue<Task>,
    keep_alive: Option<Duration>,
    /// The process that the threads are in.
    process: u32,
}

#[pymethods]
impl Pool {
    #[new]
    fn new(max_workers: usize, max_queue: Option<usize>, keep_alive: Option<f64>) -> PyResult<Self> {
        let keep_alive = keep_alive.map(Duration::try_from_secs_f64).transpose();
        let keep_alive = keep_alive.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        let queue = Queue::new(max_workers, max_queue.unwrap_or(usize::MAX));
        Ok(Self { queue, keep_alive, process: std::process::id() })
    }

    /// A view with a limit of its own; its number.
    fn add_lane(&self, limit: usize) -> PyResult<usize> {
        self.check_process()?;
        Ok(self.queue.add_lane(limit))
    }

    /// Whether the threads are in this process, which has not forked since they were started.
    fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    /// Queues a call whose result goes to a `concurrent.futures.Future`. True: a thread is to be started; None: the queue
    /// is full.
    fn submit(
        &self,
        py: Python<'_>,
        lane: usize,
        future: Py<PyAny>,
        function: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Option<Py<PyDict>>,
    ) -> PyResult<Option<bool>> {
        let task = Task { call: Call { function, args, kwargs }, to: Destination::Future(future) };
        self.enqueue(py, task, lane, true)
    }

    /// Queues a call whose result goes to a future of asyncio; returns the same as `submit`. The queue is never full for it,
    /// because the task that awaits the result holds no thread.
    #[expect(clippy::too_many_arguments, reason = "called from one place, where each has a name")]
    fn run(
        &self,
        py: Python<'_>,
        lane: usize,
        bridge: &Bridge,
        future: Py<PyAny>,
        context: Py<PyAny>,
        function: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Option<Py<PyDict>>,
    ) -> PyResult<Option<bool>> {
        let to = Destination::Loop { shore: Arc::clone(&bridge.shore), future, context };
        self.enqueue(py, Task { call: Call { function, args, kwargs }, to }, lane, false)
    }

    /// Waits for a place in the queue.
    fn wait_for_place(&self, py: Python<'_>) -> PyResult<()> {
        while !py.detach(|| self.queue.wait_for_place(limits::SIGNALS_EVERY)) {
            py.check_signals()?;
        }
        Ok(())
    }

    /// Waits until a view has no task; False if the time, in seconds, was over first.
    fn wait_for_end(&self, py: Python<'_>, lane: usize, seconds: Option<f64>) -> PyResult<bool> {
        if !self.is_of_this_process() {
            // What the view has is done in the other process.
            return Ok(true);
        }
        let until = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let until = until.and_then(|time| Instant::now().checked_add(time));
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let time = left.unwrap_or(limits::SIGNALS_EVERY).min(limits::SIGNALS_EVERY);
            if py.detach(|| self.queue.wait_for_end(lane, time)) {
                return Ok(true);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            py.check_signals()?;
        }
    }

    /// The thread that was requested could not be started. Returns the future of the last task if no thread will run it.
    fn thread_refused(&self) -> Option<Py<PyAny>> {
        if !self.queue.thread_refused() {
            return None;
        }
        self.queue.take_back().map(|task| match task.to {
            Destination::Future(future) | Destination::Loop { future, .. } => future,
        })
    }

    /// The life of a thread. Returns True if it ends because it had nothing to do, False if the executor is closed.
    fn work(&self, py: Python<'_>) -> PyResult<bool> {
        let sleeper = Arc::default();
        let mut next = self.queue.next(&sleeper, true, None);
        loop {
            next = match next {
                Next::Task(task, lane) => {
                    run(py, task);
                    self.queue.next(&sleeper, false, Some(lane))
                }
                Next::Sleep => {
                    if !py.detach(|| self.queue.sleep(&sleeper, self.keep_alive)) {
                        return Ok(true);
                    }
                    self.queue.next(&sleeper, true, None)
                }
                Next::End => return Ok(false),
            }
        }
    }

    /// A thread ends because its initializer has failed.
    fn worker_failed(&self) {
        self.queue.worker_failed();
    }

    /// Lets nothing more in; the threads end when nothing is queued.
    fn close(&self) {
        if self.is_of_this_process() {
            self.queue.close();
        }
    }

    /// Takes out all that is queued, and gives back the futures.
    fn drain(&self) -> Vec<Py<PyAny>> {
        if !self.is_of_this_process() {
            // A thread of the other process may hold the lock here for ever.
            return Vec::new();
        }
        let futures = self.queue.drain().into_iter().map(|task| match task.to {
            Destination::Future(future) | Destination::Loop { future, .. } => future,
        });
        futures.collect()
    }

    /// Workers, idle, running, queued, submitted, completed, cancelled.
    fn stats(&self) -> PyResult<(usize, usize, usize, usize, u64, u64, u64)> {
        self.check_process()?;
        let Stats { workers, idle, running, queued, submitted, completed, cancelled } = self.queue.stats();
        Ok((workers, idle, running, queued, submitted, completed, cancelled))
    }

    /// The number of the executor's own queue.
    #[classattr]
    const ROOT: usize = ROOT;
}

impl Pool {
    fn check_process(&self) -> PyResult<()> {
        if self.is_of_this_process() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(
            "this executor belongs to the process that has forked; build one in the child, or call to_async there for what has a \
             thread of its own",
        ))
    }

    fn enqueue(&self, _py: Python<'_>, task: Task, lane: usize, bounded: bool) -> PyResult<Option<bool>> {
        self.check_process()?;
        match self.queue.submit(task, lane, bounded) {
            Ok(Submitted::Queued) => Ok(Some(false)),
            Ok(Submitted::NeedsThread) => Ok(Some(true)),
            Err(Refused::Full(_)) => Ok(None),
            Err(Refused::Closed(_)) => {
                Err(PyRuntimeError::new_err("cannot schedule new futures after shutdown"))
            }
        }
    }
}

impl Call {
    fn call(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let kwargs = self.kwargs.as_ref().map(|kwargs| kwargs.bind(py));
        self.function.call(py, self.args.clone_ref(py), kwargs)
    }

    /// The same in a context.
    fn call_in(&self, py: Python<'_>, context: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let args = self.args.bind(py);
        let run = intern!(py, "run");
        let kwargs = self.kwargs.as_ref().map(|kwargs| kwargs.bind(py));
        let first = PyTuple::new(py, [self.function.bind(py)])?;
        let all = first.add(args)?.cast_into::<PyTuple>()?;
        context.getattr(run)?.call(all, kwargs).map(Bound::unbind)
    }
}

/// Runs a task. An error in the delivery of its result is reported as one that nothing can catch.
fn run(py: Python<'_>, task: Task) {
    let Task { call, to } = task;
    let done = match to {
        Destination::Future(future) => resolve(py, call, future.bind(py)),
        Destination::Loop { shore, future, context } => {
            let cancelled = future.bind(py).call_method0(intern!(py, "cancelled"));
            match cancelled.and_then(|cancelled| cancelled.is_truthy()) {
                Ok(true) => Ok(()),
                Ok(false) => {
                    let result = call.call_in(py, context.bind(py));
                    drop((call, context));
                    let outcome = match result {
                        Ok(value) => Outcome::Returned(value),
                        Err(error) => Outcome::Raised(error),
                    };
                    shore.deliver(Delivery::Future(future, outcome));
                    Ok(())
                }
                Err(error) => Err(error),
            }
        }
    };
    if let Err(error) = done {
        error.write_unraisable(py, None);
    }
}

/// Runs a call for a `concurrent.futures.Future`.
fn resolve(py: Python<'_>, call: Call, future: &Bound<'_, PyAny>) -> PyResult<()> {
    if !future.call_method0(intern!(py, "set_running_or_notify_cancel"))?.is_truthy()? {
        return Ok(());
    }
    let result = call.call(py);
    drop(call);
    match result {
        Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
        Err(error) => future.call_method1(intern!(py, "set_exception"), (error.into_value(py),))?,
    };
    Ok(())
}
