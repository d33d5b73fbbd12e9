//! The extension module `overlapped._overlapped`: what the Python package `overlapped` needs from Rust.
//!
//! Rules of the bridge between the two:
//!
//! - A thread of Rust's own never attaches to the interpreter. It appends results to a queue, and wakes the waiter: a thread
//!   that is detached from the interpreter, or an event loop, by one byte into a pipe ([`bridge`]).
//! - A thread of Python detaches before it waits, and looks for signals while it does.
//! - Lists and records cross in batches.
//!
//! The public names, their documentation and everything whose semantics are Python's are in `python/overlapped`.
//!
//! The modules are listed from the outside in; a module imports only modules listed below it.

mod command;
mod host;
mod fetch;
mod single;
mod outputs;
mod settings;
mod plain;
mod client;
mod incoming;
mod upload;
mod plain_url;
mod watch;
mod pool;
mod queue;
mod arrow;
mod exchange;
mod bridge;
mod call;
mod relay;
mod shore;
mod pending;
mod record;
mod pickled;
mod failure;
mod limits;

// mimalloc instead of the system's allocator, as in the program: a request makes many small allocations in one thread, of which some are
// freed in another. Objects of Python are not among them; their memory is the interpreter's.
//
// How soon it gives memory back is set where the extension is loaded, in `_load.py`.
//
// Its thread-local variables have the local dynamic model. With another one all of this module's would have to find room in what the
// system holds ready for modules that a running process loads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The functions and classes that the Python side uses; none of them is public by itself.
#[pyo3::pymodule(gil_used = false)]
mod _overlapped {
    #[pymodule_export]
    use super::bridge::Bridge;
    #[pymodule_export]
    use super::call::RequestFailure;
    #[pymodule_export]
    use super::client::{Client, Tls};
    #[pymodule_export]
    use super::command::main;
    #[pymodule_export]
    use super::fetch::{Feeder, Fetch};
    #[pymodule_export]
    use super::host::host_to_ascii;
    #[pymodule_export]
    use super::incoming::Incoming;
    #[pymodule_export]
    use super::pending::Pending;
    #[pymodule_export]
    use super::plain::Plain;
    #[pymodule_export]
    use super::pool::Pool;
    #[pymodule_export]
    use super::record::{Record, Timings, unpickled};
    #[pymodule_export]
    use super::single::Single;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
