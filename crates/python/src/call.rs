//! A request on its way: how a thread waits for it, and the exception that it ends with.

use overlapped_fetch::wording::{Reader, told};
use overlapped_fetch::{ClientResponse, RequestError};
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;

use crate::limits;

create_exception!(
    _overlapped,
    RequestFailure,
    PyException,
    "A request has failed: the kind of its error, a message, and how many bytes of the body had come."
);

/// Runs `work` on this thread, detached from the interpreter, and looks for signals while it waits.
///
/// # Errors
///
/// What a handler of a signal has raised, such as KeyboardInterrupt; the work is dropped then, as it is when the attribute
/// `is_aborted` of `abort` has become true.
pub(crate) fn waited<T: Send>(
    py: Python<'_>,
    client: &overlapped_fetch::Client,
    abort: Option<&Py<PyAny>>,
    work: impl Future<Output = Result<T, RequestError>> + Send,
) -> PyResult<Result<T, RequestError>> {
    let mut raised = None;
    let done = py.detach(|| {
        let goes_on = || match attached(|py| check(py, abort)) {
            Ok(()) => true,
            Err(error) => {
                raised = Some(error);
                false
            }
        };
        client.block_on(limits::SIGNALS_EVERY, goes_on, work)
    });
    match (raised, done) {
        (Some(error), _) => Err(error),
        (None, Ok(Some(done))) => Ok(done),
        (None, Ok(None)) => Err(given_up()),
        (None, Err(error)) => Ok(Err(error)),
    }
}

/// Attaches to the interpreter. Once that has ended it does not return: a daemon thread has nothing to go back to, and ends with the
/// process.
pub(crate) fn attached<T>(work: impl FnOnce(Python<'_>) -> T) -> T {
    Python::try_attach(work).unwrap_or_else(|| {
        loop {
            std::thread::park();
        }
    })
}

/// Whether a thread of Python may go on waiting.
///
/// # Errors
///
/// What a handler of a signal has raised, or that `abort` says no.
pub(crate) fn check(py: Python<'_>, abort: Option<&Py<PyAny>>) -> PyResult<()> {
    py.check_signals()?;
    let Some(abort) = abort else { return Ok(()) };
    if abort.bind(py).getattr(intern!(py, "is_aborted"))?.is_truthy()? { Err(given_up()) } else { Ok(()) }
}

fn given_up() -> PyErr {
    RequestFailure::new_err(("http.reset", "the request was given up", 0))
}

/// The exception for a request that has failed after `came` bytes of its body.
pub(crate) fn failed(error: &RequestError, came: u64) -> PyErr {
    let message = told(&error.failure().message, Reader::Session).into_owned();
    RequestFailure::new_err((error.kind().name(), message, came))
}

/// What the thread that made a request waits for.
pub(crate) type Answer = Result<ClientResponse, RequestError>;
