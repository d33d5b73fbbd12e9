//! `Watch`: whether objects of Python are as they were when they were last looked at.
//!
//! Attributes of Python can be changed by anyone at any time, and nothing tells. Comparing them one by one in Python takes longer
//! than a request; here it takes a tenth of that. It never calls code of others, but for the comparison of values in a dict that
//! are no longer the same objects.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

type Name = Py<PyString>;

/// Names, each with its value.
type Entries = Vec<(Name, Py<PyAny>)>;

/// What is watched, as the Python side passes it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Watch {
    /// The class of the object that is asked about.
    kind: Py<PyType>,
    /// Its attributes, in its `__dict__`.
    own: Entries,
    /// Names that its `__dict__` does not have.
    without: Vec<Name>,
    /// Entries of other dicts.
    entries: Vec<(Py<PyDict>, Entries)>,
    /// Attributes of classes.
    attributes: Vec<(Py<PyType>, Entries)>,
    /// Dicts, each with an equal one.
    contents: Vec<(Py<PyDict>, Py<PyDict>)>,
    /// Containers and their lengths.
    lengths: Vec<(Py<PyAny>, usize)>,
}

impl Watch {
    /// Whether all is as it was, for `object`.
    pub(crate) fn is_same(&self, object: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = object.py();
        if !object.get_type().is(&self.kind) {
            return Ok(false);
        }
        let own = object.getattr(intern!(py, "__dict__"))?;
        let own = own.cast::<PyDict>()?;
        if !has_entries(own, &self.own)? {
            return Ok(false);
        }
        for name in &self.without {
            if own.contains(name)? {
                return Ok(false);
            }
        }
        for (dict, entries) in &self.entries {
            if !has_entries(dict.bind(py), entries)? {
                return Ok(false);
            }
        }
        for (kind, attributes) in &self.attributes {
            for (name, value) in attributes {
                if !kind.bind(py).getattr(name)?.is(value) {
                    return Ok(false);
                }
            }
        }
        for (container, length) in &self.lengths {
            if container.bind(py).len()? != *length {
                return Ok(false);
            }
        }
        for (dict, equal) in &self.contents {
            if !dict.bind(py).eq(equal)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.kind)?;
        self.own.iter().try_for_each(|(_, value)| visit.call(value))?;
        for (dict, entries) in &self.entries {
            visit.call(dict)?;
            entries.iter().try_for_each(|(_, value)| visit.call(value))?;
        }
        for (kind, attributes) in &self.attributes {
            visit.call(kind)?;
            attributes.iter().try_for_each(|(_, value)| visit.call(value))?;
        }
        for (dict, equal) in &self.contents {
            visit.call(dict)?;
            visit.call(equal)?;
        }
        self.lengths.iter().try_for_each(|(container, _)| visit.call(container))
    }
}

fn has_entries(dict: &Bound<'_, PyDict>, entries: &[(Name, Py<PyAny>)]) -> PyResult<bool> {
    for (name, value) in entries {
        if !dict.get_item(name)?.is_some_and(|found| found.is(value)) {
            return Ok(false);
        }
    }
    Ok(true)
}
