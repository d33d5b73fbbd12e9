//! `Written`: the output that a run has beside its records, and whether an earlier run has completed it.

use std::path::{Path, PathBuf};

use overlapped_fetch::durable::{Begin, Durable, Output, discard_rest, holds_no_run, recorded};
use overlapped_fetch::sink::{Existing, Format, FormatOptions};
use overlapped_fetch::{Bulk, Error, Input, InputOptions, Sink, survey};
use pyo3::exceptions::{PyFileExistsError, PyValueError};
use pyo3::prelude::*;

use crate::failure::exception;

/// Where results are written.
#[derive(Default, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Written {
    out: Option<PathBuf>,
    resume: bool,
    retry_failed: bool,
    overwrite: bool,
}

/// What tells the number of rows of a list before it is read.
pub(crate) enum Listed<'a> {
    Rows(u64),
    File(&'a Path),
    /// Nothing: it can be read once only.
    Once,
}

impl Written {
    /// Whether there is an output.
    pub(crate) fn has_output(&self) -> bool {
        self.out.is_some()
    }

    /// The format that the name of the output selects.
    ///
    /// # Errors
    ///
    /// It selects none that a run of Python writes.
    pub(crate) fn format(&self) -> PyResult<Option<Format>> {
        self.out.as_deref().map(format_of).transpose()
    }

    /// The number of rows of a run that is to be resumed and is complete. Its state is removed when all of its rows have succeeded; then
    /// the output decides: if it holds every row of the list, nothing is left to do.
    ///
    /// # Errors
    ///
    /// There is no state, and the output is not of this list; or the list can be read once only, which is left to the run.
    pub(crate) fn complete(&self, format: Option<Format>, listed: Listed<'_>) -> PyResult<Option<u64>> {
        let Self { out: Some(path), resume, retry_failed, overwrite } = self else { return Ok(None) };
        let Some(format) = format.filter(|_| (*resume || *retry_failed) && !*overwrite) else {
            return Ok(None);
        };
        let output = Output::new(format, path.clone());
        let durable = Durable { outputs: vec![output.clone()], ..Durable::beside(path) };
        if !holds_no_run(&durable.directory) {
            return Ok(None);
        }
        let held = recorded(&output).map_err(|error| exception(&Error::output_path(path, error)))?;
        // An empty output counts as new.
        let Some(held) = held.filter(|held| !held.rows.is_empty() || held.others > 0) else {
            return Ok(None);
        };
        let count = held.rows.len();
        let rows = match listed {
            Listed::Rows(rows) => Some(rows),
            Listed::File(list) if list.is_file() => {
                let (survey, read) = survey(Input::File(list.to_owned()), InputOptions::default());
                read.map_err(|error| exception(&error))?;
                Some(survey.rows())
            }
            Listed::File(_) | Listed::Once => None,
        };
        if held.others == 0 && rows == Some(count) {
            discard_rest(&durable).map_err(|error| exception(&error))?;
            return Ok(rows);
        }
        let seems = match rows {
            Some(rows) => format!("it holds {count} of the {rows} rows of the list"),
            None if held.others == 0 && held.rows.low().0 == count => {
                format!(
                    "it holds {count} rows, and the run seems to be complete, which a list that can be read once only does not tell"
                )
            }
            None => format!("it holds {count} rows, and {} records that do not count", held.others),
        };
        Err(PyFileExistsError::new_err(format!(
            "{} exists, but there is no state of a run beside it to resume; {seems}: overwrite=True replaces it, another out= keeps it",
            path.display()
        )))
    }

    /// Opens the output.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or it is there and nothing says what is to become of it.
    pub(crate) fn open(self, bulk: Bulk, format: Option<Format>) -> PyResult<(Bulk, Vec<Box<dyn Sink>>)> {
        let Self { out, resume, retry_failed, overwrite } = self;
        let (Some(path), Some(format)) = (out, format) else {
            if resume || retry_failed || overwrite {
                return Err(PyValueError::new_err("resume, retry_failed and overwrite need an output: out="));
            }
            return Ok((bulk, Vec::new()));
        };
        let begin = match (overwrite, retry_failed, resume) {
            (true, false, false) => Begin::Overwrite,
            (false, true, _) => Begin::RetryFailed,
            (false, false, true) => Begin::Resume,
            (false, false, false) => Begin::Anew,
            (true, _, _) => {
                return Err(PyValueError::new_err("overwrite=True discards what the others go on with"));
            }
        };
        let output = Output::new(format, path.clone());
        let durable = Durable { begin, outputs: vec![output.clone()], ..Durable::beside(&path) };
        let (bulk, earlier) = bulk.durable(durable).map_err(|error| exception(&error))?;
        let existing = if overwrite || earlier.replaces { Existing::Replace } else { Existing::Keep };
        let sink = output.open(Some(&earlier), FormatOptions { existing, ..FormatOptions::default() });
        Ok((bulk, vec![sink.map_err(|error| exception(&Error::output_path(&path, error)))?]))
    }
}

fn format_of(path: &Path) -> PyResult<Format> {
    let named = path.to_string_lossy();
    let format = Format::of(&named).or_else(|| path.is_dir().then_some(Format::Files));
    if format.is_some_and(|format| format.needs().undecoded) {
        // The records of the caller would have bodies in their content codings.
        let message = format!("out={named:?}: WARC is written by the command: overlapped @LIST -o F.warc.gz");
        return Err(PyValueError::new_err(message));
    }
    format.ok_or_else(|| {
        PyValueError::new_err(format!(
            "out={named:?}: the name must end in .ndjson, .jsonl, .csv or .tsv (also with .gz or .zst behind it), .parquet, .arrow, \
             .har, or / for a directory"
        ))
    })
}
