//! Records as a stream of Arrow, for `__arrow_c_stream__`.

use std::sync::Arc;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use overlapped_fetch::arrow::{Batch, schema};
use overlapped_fetch::record::Record;
use overlapped_fetch::sink::Fields;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

/// Where a stream has its records from: the next ones, none at the end.
type Source = Box<dyn FnMut() -> Result<Vec<Record>, ArrowError> + Send>;

/// The stream as a capsule of the Arrow C interface.
pub(crate) fn capsule(py: Python<'_>, source: Source) -> PyResult<Bound<'_, PyCapsule>> {
    let reader = Reader { source, schema: schema(Fields::default()), is_over: false };
    let stream = FFI_ArrowArrayStream::new(Box::new(reader));
    PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
}

struct Reader {
    source: Source,
    schema: SchemaRef,
    is_over: bool,
}

impl Reader {
    fn batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let records = (self.source)()?;
        if records.is_empty() {
            return Ok(None);
        }
        let mut batch = Batch::default();
        let pushed = records.iter().try_for_each(|record| batch.push(record));
        pushed.map_err(|error| ArrowError::IoError(error.to_string(), error))?;
        Ok(Some(batch.finish()))
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let batch = self.batch();
        self.is_over = !matches!(batch, Ok(Some(_)));
        batch.transpose()
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
