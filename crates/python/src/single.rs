//! `Single`: one URL at a time, by the rules of a run.

use overlapped_fetch::{Client, Config, Network};
use pyo3::prelude::*;

use crate::call::{failed, waited};
use crate::failure::{exception, reworded};
use crate::record::Record;
use crate::settings::{Named, proxies, row};

/// Fetches rows by themselves, over connections that it keeps. Threads may share it.
#[pyclass(frozen, module = "overlapped._overlapped")]
pub(crate) struct Single(Client);

#[pymethods]
impl Single {
    /// With the settings that a run has by default, and these proxies.
    #[new]
    fn new(py: Python<'_>, named: Named) -> PyResult<Self> {
        let network = Network { proxies: proxies(named), ..Network::default() };
        let config = Config { network, ..Config::default() };
        py.detach(|| Client::new(config)).map(Self).map_err(|error| exception(&error))
    }

    /// The record of one row, which is an item of a list for `Fetch`.
    fn fetch(&self, py: Python<'_>, item: &Bound<'_, PyAny>) -> PyResult<Record> {
        let row = row(item)?;
        let fetched = waited(py, &self.0, None, async { Ok(self.0.fetch(row).await) })?;
        fetched.map(|record| Record::new(reworded(record))).map_err(|error| failed(&error, 0))
    }
}
