//! The command `overlapped`: the program, run in the interpreter's process.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the program with these arguments, and returns its exit code.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, words: Vec<OsString>) -> u8 {
    py.detach(|| overlapped_cli::run(&words))
}
