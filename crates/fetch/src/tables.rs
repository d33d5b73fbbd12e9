//! Tables of columns, read back: Parquet, and Arrow's file format.

use std::fs::File;
use std::io::{self, BufReader, Seek as _};

use arrow_array::RecordBatch;
use arrow_ipc::reader::FileReader;
use arrow_schema::{ArrowError, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

/// What a table is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Row groups, compressed with zstd.
    Parquet,
    /// Arrow's file format, also called Feather, version 2.
    Arrow,
}

/// The batches of a table, in the order of its rows, with only some of its columns. One batch is in memory at a time.
///
/// # Blocking
///
/// On the disk.
pub struct Reader(Batches);

enum Batches {
    Parquet(ParquetRecordBatchReader),
    Arrow(Box<FileReader<BufReader<File>>>),
}

impl Reader {
    /// Opens a table. A column that it does not have is left out.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`]: the file is no such table. Other kinds: it cannot be read.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn open(file: File, kind: Kind, columns: &[&str]) -> io::Result<Self> {
        let batches = match kind {
            Kind::Parquet => {
                let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(no_table)?;
                let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
                Batches::Parquet(builder.with_projection(mask).build().map_err(of_parquet)?)
            }
            Kind::Arrow => {
                let whole = FileReader::try_new(&file, None).map_err(no_arrow)?;
                let places = places(&whole.schema(), columns);
                drop(whole);
                (&file).rewind()?;
                let some = FileReader::try_new_buffered(file, Some(places)).map_err(no_arrow)?;
                Batches::Arrow(Box::new(some))
            }
        };
        Ok(Self(batches))
    }
}

impl Iterator for Reader {
    type Item = io::Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match &mut self.0 {
            Batches::Parquet(batches) => batches.next(),
            Batches::Arrow(batches) => batches.next(),
        };
        batch.map(|batch| batch.map_err(of_arrow))
    }
}

/// The places of columns in a schema.
fn places(schema: &Schema, columns: &[&str]) -> Vec<usize> {
    let fields = schema.fields().iter().enumerate();
    fields.filter(|(_, field)| columns.contains(&field.name().as_str())).map(|(place, _)| place).collect()
}

fn no_table(error: ParquetError) -> io::Error {
    match of_parquet(error) {
        error if error.kind() == io::ErrorKind::Other => io::Error::new(io::ErrorKind::InvalidData, error),
        error => error,
    }
}

fn no_arrow(error: ArrowError) -> io::Error {
    no_table(ParquetError::ArrowError(error.to_string()))
}

pub(crate) fn of_parquet(error: ParquetError) -> io::Error {
    if let ParquetError::External(error) = error {
        error.downcast().map_or_else(io::Error::other, |error| *error)
    } else {
        io::Error::other(error)
    }
}

pub(crate) fn of_arrow(error: ArrowError) -> io::Error {
    if let ArrowError::IoError(_, error) = error { error } else { io::Error::other(error) }
}
