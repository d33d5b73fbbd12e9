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
    /// Dicts, each with what it held.
    contents: Vec<Contents>,
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
        for contents in &self.contents {
            if !contents.are_the_same(py)? {
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
        for Contents { dict, equal, items } in &self.contents {
            visit.call(dict)?;
            visit.call(equal)?;
            for (name, value) in items {
                visit.call(name)?;
                visit.call(value)?;
            }
        }
        self.lengths.iter().try_for_each(|(container, _)| visit.call(container))
    }
}

/// A dict, and what it held.
struct Contents {
    dict: Py<PyDict>,
    /// A copy of it.
    equal: Py<PyDict>,
    /// Its items, in order.
    items: Vec<(Py<PyAny>, Py<PyAny>)>,
}

impl FromPyObject<'_, '_> for Contents {
    type Error = PyErr;

    /// A dict and a copy of it.
    fn extract(pair: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let (dict, equal): (Py<PyDict>, Bound<'_, PyDict>) = pair.extract()?;
        let items = equal.iter().map(|(name, value)| (name.unbind(), value.unbind())).collect();
        Ok(Self { dict, equal: equal.unbind(), items })
    }
}

impl Contents {
    /// Most dicts hold the same objects in the same order, which is seen without a search for each.
    fn are_the_same(&self, py: Python<'_>) -> PyResult<bool> {
        let dict = self.dict.bind(py);
        let are_identical = dict.len() == self.items.len()
            && dict.iter().zip(&self.items).all(|(now, was)| now.0.is(&was.0) && now.1.is(&was.1));
        Ok(are_identical || dict.eq(&self.equal)?)
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
