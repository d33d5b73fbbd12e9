//! Tables of columns, read back: Parquet, and Arrow's file format.

// From the outside in; a module imports only modules listed below it.
pub(crate) mod list;
mod json;
mod soundness;
pub(crate) mod sum;

use std::fs::File;
use std::io::{self, BufReader, Seek as _};

use arrow_array::RecordBatch;
use arrow_ipc::reader::FileReader;
use arrow_schema::{ArrowError, Schema};
use overlapped_proto::input::Format;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;

/// What a table is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Row groups, compressed with zstd.
    Parquet,
    /// Arrow's file format, also called Feather, version 2.
    Arrow,
}

impl Kind {
    /// The kind of table that a list of this format is.
    pub(crate) fn of(format: Format) -> Option<Self> {
        match format {
            Format::Parquet => Some(Self::Parquet),
            Format::Arrow => Some(Self::Arrow),
            Format::Text | Format::Ndjson | Format::Json | Format::Csv | Format::Tsv => None,
        }
    }

    /// The kind of table that these bytes begin.
    pub(crate) fn begins(bytes: &[u8]) -> Option<Self> {
        [(Self::Parquet, &b"PAR1"[..]), (Self::Arrow, b"ARROW1")]
            .into_iter()
            .find_map(|(kind, magic)| bytes.starts_with(magic).then_some(kind))
    }

    /// Its name in a message.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::Arrow => "Arrow",
        }
    }
}

/// The batches of a table, in the order of its rows, with only some of its columns. One batch is in memory at a time.
///
/// ```
/// use std::fs::File;
/// # use overlapped_fetch::sink::{Format, FormatOptions};
/// use overlapped_fetch::tables::{Kind, Reader};
/// # use overlapped_fetch::{Bulk, Config, Input, durable::Output};
/// # let path = std::env::temp_dir().join(format!("overlapped-doc-{}.parquet", std::process::id()));
/// # let urls = ["no url", "nor this"].map(str::to_owned);
/// # let table = Output::new(Format::Parquet, path.clone()).open(None, FormatOptions::default())?;
/// # Bulk::new(Config::default())?.input(Input::Urls(Box::new(urls.into_iter()))).sink(table).start()?.wait()?;
///
/// let mut rows = 0;
/// for batch in Reader::open(File::open(&path)?, Kind::Parquet, &["url", "error"])? {
///     let batch = batch?;
///     assert_eq!(batch.num_columns(), 2);
///     rows += batch.num_rows();
/// }
/// assert_eq!(rows, 2);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Blocking
///
/// On the disk.
pub struct Reader(Batches);

enum Batches {
    Parquet(ParquetRecordBatchReader),
    /// The second: rows that are left out at the start.
    Arrow(Box<FileReader<BufReader<File>>>, u64),
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
                let builder =
                    ParquetRecordBatchReaderBuilder::try_new(file.try_clone()?).map_err(no_table)?;
                soundness::parquet(&file, builder.metadata())?;
                let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
                Batches::Parquet(builder.with_projection(mask).build().map_err(of_parquet)?)
            }
            Kind::Arrow => {
                soundness::arrow(&file)?;
                let whole = FileReader::try_new(&file, None).map_err(no_arrow)?;
                let places = places(&whole.schema(), columns);
                drop(whole);
                (&file).rewind()?;
                let some = FileReader::try_new_buffered(file, Some(places)).map_err(no_arrow)?;
                Batches::Arrow(Box::new(some), 0)
            }
        };
        Ok(Self(batches))
    }

    /// Opens a table from row `from` on, with the columns whose places `choose` returns for its schema. Also returns the
    /// number of its rows from the beginning, if it is known.
    ///
    /// # Errors
    ///
    /// As [`Reader::open`], and those of `choose`.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn open_list(
        file: File,
        kind: Kind,
        from: u64,
        choose: impl FnOnce(&Schema) -> io::Result<Vec<usize>>,
    ) -> io::Result<(Self, Option<u64>)> {
        match kind {
            Kind::Parquet => {
                let plain = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(no_table)?;
                soundness::parquet(&file, plain.metadata())?;
                sum::check(&file, plain.metadata())?;
                let options = ArrowReaderOptions::new().with_schema(list::with_views(plain.schema()));
                let opened = ArrowReaderMetadata::try_new(plain.metadata().clone(), options).unwrap_or(plain);
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, opened);
                let places = choose(builder.schema())?;
                let mask = ProjectionMask::roots(builder.parquet_schema(), places);
                let groups = builder.metadata().row_groups();
                list::check_packing(groups, |leaf| mask.leaf_included(leaf))?;
                let (mut rows, mut skipped, mut wanted) = (0, 0, Vec::new());
                for (group, meta) in groups.iter().enumerate() {
                    let count = u64::try_from(meta.num_rows()).unwrap_or(0);
                    match rows + count <= from {
                        true => skipped += count,
                        false => wanted.push(group),
                    }
                    rows += count;
                }
                let size = |group: &usize| {
                    let group = groups.get(*group)?;
                    let columns = group.columns().iter().enumerate();
                    let read = columns.filter(|(leaf, _)| mask.leaf_included(*leaf));
                    let bytes =
                        read.map(|(_, column)| u64::try_from(column.uncompressed_size()).unwrap_or(0));
                    Some((bytes.fold(0, u64::saturating_add), u64::try_from(group.num_rows()).ok()?))
                };
                let batch = list::batch_rows(wanted.iter().filter_map(size));
                let skip = usize::try_from(from.saturating_sub(skipped)).unwrap_or(usize::MAX);
                let mut builder =
                    builder.with_projection(mask).with_batch_size(batch).with_row_groups(wanted);
                if skip > 0 {
                    builder = builder.with_offset(skip);
                }
                Ok((Self(Batches::Parquet(builder.build().map_err(of_parquet)?)), Some(rows)))
            }
            Kind::Arrow => {
                soundness::arrow(&file)?;
                let whole = FileReader::try_new(&file, None).map_err(no_arrow)?;
                let places = choose(&whole.schema())?;
                drop(whole);
                (&file).rewind()?;
                let some = FileReader::try_new_buffered(file, Some(places)).map_err(no_arrow)?;
                Ok((Self(Batches::Arrow(Box::new(some), from)), None))
            }
        }
    }
}

impl Iterator for Reader {
    type Item = io::Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Batches::Parquet(batches) => batches.next().map(|batch| batch.map_err(of_arrow)),
            Batches::Arrow(batches, skip) => loop {
                let batch = match batches.next()? {
                    Ok(batch) => batch,
                    Err(error) => return Some(Err(of_arrow(error))),
                };
                let rows = batch.num_rows();
                let left_out = usize::try_from(*skip).unwrap_or(usize::MAX).min(rows);
                *skip -= left_out as u64;
                if left_out < rows || rows == 0 {
                    return Some(Ok(batch.slice(left_out, rows - left_out)));
                }
            },
        }
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
