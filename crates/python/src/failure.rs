//! Errors of the engine as exceptions of Python, in its words.

use std::borrow::Cow;
use std::error::Error as _;
use std::io;

use overlapped_fetch::wording::{Reader, told};
use overlapped_fetch::{Error, ErrorClass, Record};
use pyo3::PyErr;
use pyo3::exceptions::{PyFileExistsError, PyOSError, PyRuntimeError, PyValueError};

/// The exception for an error of a call of `fetch`. A row that fails is no such error: it has a record.
pub(crate) fn exception(error: &Error) -> PyErr {
    exception_for(error, Reader::Fetch)
}

/// The exception for an error that ends a run, or is in the settings of a session.
pub(crate) fn exception_for(error: &Error, reader: Reader) -> PyErr {
    let text = told(&error.to_string(), reader).into_owned();
    match error.class() {
        ErrorClass::Config => PyValueError::new_err(text),
        ErrorClass::StateExists => {
            PyFileExistsError::new_err(format!("{text}: resume=True resumes it, overwrite=True discards it"))
        }
        ErrorClass::Input | ErrorClass::Output | ErrorClass::OutputClosed | ErrorClass::Resource => {
            system_error(error, text)
        }
        ErrorClass::State if text.starts_with(&format!("process {} uses", std::process::id())) => {
            PyRuntimeError::new_err(format!("{text}, which is this one: close() ends its earlier run"))
        }
        ErrorClass::State | ErrorClass::Journal | ErrorClass::Sum | ErrorClass::Internal => {
            PyRuntimeError::new_err(text)
        }
    }
}

/// A record whose message names settings as `fetch` does.
pub(crate) fn reworded(mut record: Record) -> Record {
    if let Some(failure) = &mut record.failure
        && let Cow::Owned(message) = told(&failure.message, Reader::Fetch)
    {
        failure.message = message.into();
    }
    record
}

/// The class of Python that the system's error number stands for, such as FileNotFoundError.
fn system_error(error: &Error, text: String) -> PyErr {
    let Some(source) = error.source().and_then(|source| source.downcast_ref::<io::Error>()) else {
        return PyOSError::new_err(text);
    };
    match source.raw_os_error() {
        Some(number) => PyOSError::new_err((number, text)),
        None => io::Error::new(source.kind(), text).into(),
    }
}
