//! `Fetch`: a run of the engine whose list comes from Python and whose records go to Python.
//!
//! The list is a file, which the engine reads by itself; a `list` or `tuple`, from which the threads that take records also
//! take rows, since that never blocks; or any other iterable, which a thread of Python pulls from, since its next item may
//! have to wait for an earlier answer.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use arrow_schema::ArrowError;
use overlapped_fetch::record::Timing;
use overlapped_fetch::sink::Format;
use overlapped_fetch::{Bulk, Control, Error, Input, Run, Summary, raise_open_files_limit};
use overlapped_proto::sanitize::redact;
use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyStopAsyncIteration};
use pyo3::prelude::*;
use pyo3::sync::MutexExt as _;
use pyo3::types::{PyCapsule, PyDict, PyList};

use crate::arrow;
use crate::bridge::Bridge;
use crate::call::attached;
use crate::exchange::{Exchange, News, Outlet};
use crate::failure::exception;
use crate::limits;
use crate::outputs::{Listed, Written};
use crate::record::{Record, Timings};
use crate::settings::{Options, numbered_row};
use crate::shore::Waiter;

/// A run of the engine.
#[pyclass(frozen, subclass, module = "overlapped._overlapped")]
pub(crate) struct Fetch {
    exchange: Arc<Exchange>,
    waker: Waker,
    control: Control,
    /// Rows that an earlier run has done, which has left nothing to do.
    complete: Option<u64>,
    /// It has an output beside its records.
    is_written: bool,
    state: Mutex<State>,
    /// What went wrong with the list, to be raised instead of the end.
    bad_list: Arc<Mutex<Option<PyErr>>>,
    /// The process that the threads are in.
    process: u32,
}

/// What only the consumer uses.
struct State {
    run: Option<Run>,
    summary: Option<Summary>,
    /// Why the run has ended, to be raised once, after the last record.
    failure: Option<PyErr>,
    /// What a stream of Arrow ended with, of which its consumer gets the text only.
    stream_error: Option<PyErr>,
    /// Records that were taken from the engine and not by the caller.
    records: VecDeque<overlapped_fetch::Record>,
    /// A list of which rows are left, and how many were taken.
    list: Option<(Py<PyList>, usize)>,
    /// How the first requests went, for a picture.
    bars: Vec<Bar>,
}

/// When a request began, and how long its phases took.
struct Bar {
    url: String,
    status: Option<u16>,
    started_unix_us: i64,
    timing: Timing,
}

/// What the consumer is to do next.
enum Step {
    /// There are records.
    Take,
    Again,
    Wait,
    End,
}

#[pymethods]
impl Fetch {
    /// Starts a run. `list`: its rows; `path`: a file with them; neither: they come by `push`.
    #[new]
    #[pyo3(signature = (options, list=None, path=None))]
    fn new(
        py: Python<'_>,
        options: &Bound<'_, PyAny>,
        list: Option<Py<PyList>>,
        path: Option<PathBuf>,
    ) -> PyResult<Self> {
        let written = options.extract::<Written>()?;
        let is_written = written.has_output();
        let mut config = options.extract::<Options>()?.config()?;
        let format = written.format()?;
        if let Some(needs) = format.map(Format::needs) {
            config.response.raw_head = needs.raw_head;
            config.response.sent = needs.sent;
        }
        let listed = match (&list, &path) {
            (Some(list), _) => Listed::Rows(list.bind(py).len() as u64),
            (None, Some(path)) => Listed::File(path),
            (None, None) => Listed::Once,
        };
        let complete = py.detach(|| written.complete(format, listed))?;
        let (list, written) = match complete {
            Some(_) => (None, Written::default()),
            None => (list, written),
        };
        let exchange = Arc::new(Exchange::default());
        let source = Arc::clone(&exchange);
        let input = match path {
            _ if complete.is_some() => Input::Urls(Box::new(std::iter::empty())),
            Some(path) => Input::File(path),
            None => Input::Batches(Box::new(move |most| source.batch(most))),
        };
        let outlet = Box::new(Outlet::new(Arc::clone(&exchange)));
        let mut state = State {
            run: None,
            summary: None,
            failure: None,
            stream_error: None,
            records: VecDeque::new(),
            list: list.map(|list| (list, 0)),
            bars: Vec::new(),
        };
        let bad_list = Arc::default();
        state.feed(py, &exchange, &bad_list);
        let run = py.detach(|| {
            let fitting = raise_open_files_limit(config.pace.parallel_max);
            config.pace.parallel_max = config.pace.parallel_max.min(fitting.max(1));
            let bulk = Bulk::new(config).map_err(|error| exception(&error))?.input(input);
            let (bulk, sinks) = written.open(bulk, format)?;
            let bulk = sinks.into_iter().fold(bulk, Bulk::sink);
            bulk.sink(outlet).start().map_err(|error| exception(&error))
        });
        let run = run.inspect_err(|_| exchange.close())?;
        let control = run.control();
        state.run = Some(run);
        let waker = Waker::from(Arc::clone(&exchange));
        waker.wake_by_ref();
        let process = std::process::id();
        Ok(Self {
            exchange,
            waker,
            control,
            complete,
            is_written,
            state: Mutex::new(state),
            bad_list,
            process,
        })
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Record>> {
        self.next_record(py).map(|record| record.map(Record::new))
    }

    /// The next records, at least one unless the run is over, and at most `most`.
    fn take(&self, py: Python<'_>, most: usize) -> PyResult<Vec<Record>> {
        let first = self.next_record(py)?;
        let mut state = self.lock(py);
        let count = state.records.len().min(most.saturating_sub(1));
        Ok(first.into_iter().chain(state.records.drain(..count)).map(Record::new).collect())
    }

    /// The records as a stream of Arrow, a capsule of its C interface. Records that were taken before are not in it.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        this: Py<Self>,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The interface allows to give the columns as they are, and leaves it to the consumer to cast them.
        let _ = requested_schema;
        this.get().check_process()?;
        let next = move || {
            let records = attached(|py| {
                let run = this.get();
                run.batch(py).inspect_err(|error| run.lock(py).stream_error = Some(error.clone_ref(py)))
            });
            records.map_err(|error| ArrowError::ExternalError(Box::new(error)))
        };
        arrow::capsule(py, Box::new(next))
    }

    /// The exception that a stream of Arrow has ended with, once; None: it has not.
    fn stream_error(&self, py: Python<'_>) -> Option<Py<PyBaseException>> {
        self.lock(py).stream_error.take().map(|error| error.into_value(py))
    }

    /// The next record, if it is there; None: `subscribe` says when to ask again. Raises StopAsyncIteration at the end.
    fn next_now(&self, py: Python<'_>) -> PyResult<Option<Record>> {
        self.check_process()?;
        loop {
            match self.step(py)? {
                Step::Take => return Ok(self.lock(py).records.pop_front().map(Record::new)),
                Step::Again => {}
                Step::Wait => return Ok(None),
                Step::End => return Err(PyStopAsyncIteration::new_err(())),
            }
        }
    }

    /// Resolves a future of asyncio when `next_now` is to be asked again. False: at once.
    fn subscribe(&self, py: Python<'_>, bridge: &Bridge, future: Py<PyAny>) -> bool {
        let wants_rows = self.lock(py).list.is_some();
        let waiter = Waiter { shore: Arc::clone(&bridge.shore), future };
        self.exchange.subscribe(wants_rows, waiter).is_none()
    }

    /// Forgets a future of `subscribe` whose task is cancelled.
    fn unsubscribe(&self, future: &Bound<'_, PyAny>) {
        self.exchange.unsubscribe(|waiter| waiter.future.is(future));
    }

    /// What the thread that pulls from an iterable is given. It does not keep the run.
    fn feeder(&self) -> Feeder {
        let (exchange, failure) = (Arc::clone(&self.exchange), Arc::clone(&self.bad_list));
        Feeder { exchange, failure, pushed: AtomicUsize::new(0) }
    }

    /// Stops the run: requests in flight are dropped; records that are there can still be taken.
    fn cancel(&self) {
        if self.process == std::process::id() {
            self.control.abort();
            self.exchange.complete();
        }
    }

    /// Stops the run and drops what is left of it. Waits until an output is written, so that the run can be resumed.
    fn close(&self, py: Python<'_>) {
        if self.process != std::process::id() {
            return;
        }
        self.control.abort();
        self.exchange.close();
        let mut state = self.lock(py);
        let (run, records) = (state.run.take(), std::mem::take(&mut state.records));
        state.list = None;
        drop(state);
        py.detach(|| {
            drop(records);
            if let Some(run) = run.filter(|_| self.is_written) {
                // The run was given up: its error is discarded.
                let _ = run.wait();
            }
        });
    }

    /// How the first requests went: URL, status, beginning in seconds since 1970, and phases.
    fn bars(&self, py: Python<'_>) -> Vec<(String, Option<u16>, f64, Timings)> {
        let bar = |bar: &Bar| {
            let started = bar.started_unix_us as f64 / 1e6;
            (bar.url.clone(), bar.status, started, Timings::of(&bar.timing))
        };
        self.lock(py).bars.iter().map(bar).collect()
    }

    /// The progress so far, and the summary at the end.
    fn figures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        let state = self.lock(py);
        let progress = match &state.summary {
            Some(summary) => summary.progress.clone(),
            None => self.control.progress(),
        };
        dict.set_item("rows_read", progress.rows_read)?;
        dict.set_item("done", progress.rows_done)?;
        dict.set_item("ok", progress.ok)?;
        dict.set_item("failed", progress.rows_done - progress.ok)?;
        dict.set_item("in_flight", progress.in_flight)?;
        dict.set_item("bytes", progress.bytes)?;
        dict.set_item("wire_bytes", progress.wire_bytes)?;
        dict.set_item("elapsed", progress.elapsed.as_secs_f64())?;
        dict.set_item("rows_earlier", self.complete.unwrap_or(progress.rows_earlier))?;
        let over = state.summary.as_ref();
        // None while it runs; a run that has failed or was closed has no summary.
        let ended = state.run.is_none().then_some(false);
        dict.set_item("finished", over.map(|summary| summary.finished).or(ended))?;
        dict.set_item("by_status", over.map(|summary| summary.by_status.clone()).unwrap_or_default())?;
        dict.set_item("by_error", over.map(|summary| summary.by_error.clone()).unwrap_or_default())?;
        dict.set_item("retries", over.map(|summary| summary.retries))?;
        dict.set_item("connections_new", over.map(|summary| summary.connections_new))?;
        dict.set_item("connections_reused", over.map(|summary| summary.connections_reused))?;
        Ok(dict)
    }
}

/// The end of a run's list that a thread of Python has.
#[pyclass(frozen, module = "overlapped._overlapped")]
pub(crate) struct Feeder {
    exchange: Arc<Exchange>,
    failure: Arc<Mutex<Option<PyErr>>>,
    /// How many rows were pushed.
    pushed: AtomicUsize,
}

#[pymethods]
impl Feeder {
    /// Adds a row, and waits while no more are wanted. False: none are wanted any more.
    fn push(&self, py: Python<'_>, item: &Bound<'_, PyAny>) -> PyResult<bool> {
        let number = self.pushed.fetch_add(1, Ordering::Relaxed);
        if !self.exchange.push_one(numbered_row(number, item)?) {
            return Ok(true);
        }
        loop {
            if let Some(goes_on) = py.detach(|| self.exchange.wait_for_room(limits::SIGNALS_EVERY)) {
                return Ok(goes_on);
            }
        }
    }

    /// Ends the list. `error`: it could not be read to its end; raised when the rows before it are done.
    #[pyo3(signature = (error=None))]
    fn complete(&self, py: Python<'_>, error: Option<Bound<'_, PyAny>>) {
        match error {
            Some(error) => {
                *lock(py, &self.failure) = Some(PyErr::from_value(error));
                self.exchange.break_off();
            }
            None => self.exchange.complete(),
        }
    }
}

fn lock<'a, T>(py: Python<'_>, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
    mutex.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
}

impl Fetch {
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        lock(py, &self.state)
    }

    /// Waits until a run that was aborted has written its outputs, for [`limits::DROP_WAITS`] at the most.
    fn await_end(&self, mut run: Run) {
        let until = Instant::now() + limits::DROP_WAITS;
        while Pin::new(&mut run).poll(&mut Context::from_waker(&self.waker)).is_pending() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.exchange.wait(false, left);
            self.exchange.look(false);
        }
    }

    fn check_process(&self) -> PyResult<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(
            "this run belongs to the process that has forked; start one in the child",
        ))
    }

    /// The next record; `None` at the end.
    fn next_record(&self, py: Python<'_>) -> PyResult<Option<overlapped_fetch::Record>> {
        self.check_process()?;
        loop {
            match self.step(py)? {
                Step::Take => return Ok(self.lock(py).records.pop_front()),
                Step::Again => {}
                Step::Wait => {
                    let wants_rows = self.lock(py).list.is_some();
                    let news = py.detach(|| self.exchange.wait(wants_rows, limits::SIGNALS_EVERY));
                    match news {
                        News::Records(records) => self.lock(py).receive(records),
                        News::Roused | News::Room => {}
                        News::Nothing => py.check_signals()?,
                    }
                }
                Step::End => return Ok(None),
            }
        }
    }

    /// The next records: the first one is waited for, and none follow at the end.
    fn batch(&self, py: Python<'_>) -> PyResult<Vec<overlapped_fetch::Record>> {
        let mut batch = Vec::new();
        let mut next = self.next_record(py)?;
        let mut bytes = 0;
        while let Some(record) = next.take() {
            bytes += record.bytes;
            batch.push(record);
            if batch.len() >= limits::RECORDS_BATCH || bytes >= limits::BATCH_BODY_BYTES {
                break;
            }
            next = self.record_now(py);
        }
        Ok(batch)
    }

    /// The next record, if it is there. An error is left to who asks next.
    fn record_now(&self, py: Python<'_>) -> Option<overlapped_fetch::Record> {
        loop {
            match self.step(py) {
                Ok(Step::Take) => return self.lock(py).records.pop_front(),
                Ok(Step::Again) => {}
                Ok(Step::Wait | Step::End) => return None,
                Err(error) => {
                    self.lock(py).failure = Some(error);
                    return None;
                }
            }
        }
    }

    /// One step, without waiting.
    fn step(&self, py: Python<'_>) -> PyResult<Step> {
        let mut state = self.lock(py);
        if !state.records.is_empty() {
            return Ok(Step::Take);
        }
        let wants_rows = state.list.is_some();
        match self.exchange.look(wants_rows) {
            News::Records(records) => {
                state.receive(records);
                state.feed(py, &self.exchange, &self.bad_list);
                return Ok(Step::Again);
            }
            News::Room => {
                state.feed(py, &self.exchange, &self.bad_list);
                return Ok(Step::Again);
            }
            News::Nothing if state.run.is_some() => return Ok(Step::Wait),
            News::Nothing | News::Roused => {}
        }
        let result = match &mut state.run {
            None => return state.end(py, &self.bad_list),
            Some(run) => Pin::new(run).poll(&mut Context::from_waker(&self.waker)),
        };
        let Poll::Ready(result) = result else { return Ok(Step::Wait) };
        // Records that came before the end are taken before it.
        state.over(result);
        self.exchange.end();
        if let News::Records(records) = self.exchange.look(false) {
            state.receive(records);
        }
        Ok(Step::Again)
    }
}

impl State {
    /// Takes records from the engine, of which none were left.
    fn receive(&mut self, records: VecDeque<overlapped_fetch::Record>) {
        let wanted = limits::BARS_MAX - self.bars.len();
        let bars = records.iter().take(wanted).filter_map(|record| {
            let started_unix_us = record.started_unix_us?;
            let url = redact(&record.url).chars().take(limits::BAR_LABEL_CHARS).collect();
            Some(Bar { url, status: record.status, started_unix_us, timing: record.timing })
        });
        self.bars.extend(bars);
        self.records.extend(records);
    }

    /// Gives rows of the list to the engine, as many as there is room for.
    fn feed(&mut self, py: Python<'_>, exchange: &Exchange, bad_list: &Mutex<Option<PyErr>>) {
        let room = exchange.room();
        let Some((list, taken)) = &mut self.list else { return };
        let list = list.bind(py);
        let mut rows = Vec::with_capacity(room.min(list.len()));
        let mut failed = None;
        while rows.len() < room && *taken < list.len() {
            match list.get_item(*taken).and_then(|item| numbered_row(*taken, &item)) {
                Ok(row) => rows.push(row),
                Err(error) => failed = Some(error),
            }
            *taken += 1;
            if failed.is_some() {
                break;
            }
        }
        let is_over = failed.is_some() || *taken >= list.len();
        exchange.push(rows);
        if is_over {
            self.list = None;
        }
        if failed.is_some() {
            *lock(py, bad_list) = failed;
            exchange.break_off();
        } else if is_over {
            exchange.complete();
        }
    }

    fn over(&mut self, result: Result<Summary, Error>) {
        self.run = None;
        match result {
            Ok(summary) => self.summary = Some(summary),
            Err(error) => self.failure = Some(exception(&error)),
        }
    }

    fn end(&mut self, py: Python<'_>, bad_list: &Mutex<Option<PyErr>>) -> PyResult<Step> {
        // The exception that the list ended with says more than the engine's error about that.
        let (bad_list, failure) = (lock(py, bad_list).take(), self.failure.take());
        bad_list.or(failure).map_or(Ok(Step::End), Err)
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            self.control.abort();
            self.exchange.close();
            let run = self.state.get_mut().ok().and_then(|state| state.run.take());
            if let Some(run) = run.filter(|_| self.is_written) {
                // So that the next line of the program can go on with the run, whose state it would find locked.
                Python::try_attach(|py| py.detach(|| self.await_end(run)));
            }
        } else if let Ok(state) = self.state.get_mut() {
            // The threads of the run are not in this process: nothing waits for them.
            std::mem::forget(state.run.take());
        }
    }
}
