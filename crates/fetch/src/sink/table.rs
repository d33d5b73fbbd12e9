//! Tables that are built beside their place: Parquet, and Arrow's file format.
//!
//! Records are appended in batches to a spool beside the table, `F.parquet.part` (`batches.rs`), which can be truncated to any
//! checkpoint. It alone says what the run has.
//!
//! The table is made from the same batches while the run goes on, under a temporary name, so that the end of a run has only the
//! rest and the foot to write. Nothing in the journal tells of it: what a killed run leaves is removed, and a run that resumes
//! makes it once more from its spool, two old batches for each new one. [`Sink::seal`] makes what is missing, syncs it and
//! renames it. The order of the rows is always that of the spool.
//!
//! | state | the table has | becomes |
//! | --- | --- | --- |
//! | no [`Made`] | nothing, and no file | *behind* or *along* with the first batch, or at the end |
//! | behind: a resumed run | what was read of the spool | *along* when the end of the spool is met |
//! | along | all batches of the spool, of which small ones wait for each other | sealed |
//! | sealed | all, at its place | |
//!
//! **Failures.** An error of either file ends the run, and the spool is at its last checkpoint. A run that is stopped removes the
//! unfinished table; one that is killed leaves it to the next. The spool of a run that keeps its state is kept with it, and removed
//! with it: a failed row that is fetched again replaces its record there.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt64Type;
use arrow_ipc::writer::FileWriter;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use overlapped_proto::job::Row;
use overlapped_proto::journal::SinkId;
use overlapped_proto::limits;
use overlapped_proto::record::Record;
use overlapped_proto::record::column::Fields;
use overlapped_proto::row_set::RowSet;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::batches::{self, Appender};
use super::built::{Building, check};
use super::{Cut, Format, OutputFile, Sink, at};
use crate::arrow::{Batch, schema};
use crate::fs::open_own;
use crate::tables::{Kind, Reader, of_arrow, of_parquet};

/// A table, and its spool.
pub(super) struct Table {
    kind: Kind,
    path: PathBuf,
    fields: Fields,
    spool: OutputFile,
    spool_path: PathBuf,
    appender: Appender,
    /// Records that are not in the spool yet.
    batch: Batch,
    /// What there is of the table.
    made: Option<Made>,
    /// There were records in the spool before that.
    resumed: bool,
    /// Its name in a durable run.
    id: Option<SinkId>,
}

/// What there is of a table.
struct Made {
    building: Building,
    writer: Writer<BufWriter<File>>,
    /// Small batches, which become one.
    pending: Pending,
    /// The spool, from where on the table does not have it; `None`: it has all of it.
    behind: Option<BufReader<File>>,
}

impl Table {
    /// The table at `path`, with what is in its spool already. `id`: its name in a durable run.
    ///
    /// # Errors
    ///
    /// Something else than a plain file is at `path` ([`io::ErrorKind::InvalidInput`]).
    pub(super) fn new(
        kind: Kind,
        path: PathBuf,
        (spool, spool_path): (OutputFile, PathBuf),
        fields: Fields,
        id: Option<SinkId>,
    ) -> io::Result<Self> {
        check(&path)?;
        let resumed = !spool.is_empty();
        let (batch, appender) = (Batch::new(fields), Appender::new()?);
        Ok(Self { kind, path, fields, spool, spool_path, appender, batch, made: None, resumed, id })
    }

    fn write_out(&mut self) -> io::Result<()> {
        if self.batch.rows() == 0 {
            return Ok(());
        }
        let batch = self.batch.finish();
        self.appender.append(&batch, &mut self.spool)?;
        let spool = &self.spool_path;
        let made = match &mut self.made {
            Some(made) => made,
            none => {
                none.insert(Made::begin(self.kind, &self.path, self.fields, self.resumed.then_some(spool))?)
            }
        };
        if made.behind.is_some() {
            made.catch_up(spool, limits::TABLE_BATCHES_BEHIND)
        } else {
            made.add(batch)
        }
    }
}

impl Made {
    /// Begins a table; `behind`: what is in this spool comes first.
    fn begin(kind: Kind, path: &Path, fields: Fields, behind: Option<&PathBuf>) -> io::Result<Self> {
        let behind = behind.map(|spool| reader(spool)).transpose()?;
        let (building, file) = Building::begin(path)?;
        let file = BufWriter::with_capacity(limits::OUTPUT_BUFFER_BYTES, file);
        let writer = Writer::begin(kind, schema(fields), file).map_err(|error| building.at(&error))?;
        Ok(Self { building, writer, pending: Pending::default(), behind })
    }

    /// Adds up to `most` batches that it does not have yet.
    fn catch_up(&mut self, spool: &Path, most: usize) -> io::Result<()> {
        for _ in 0..most {
            let Some(behind) = &mut self.behind else { break };
            match batches::next(behind).map_err(|error| at(spool, &error))? {
                Some(batches) => batches.into_iter().try_for_each(|batch| self.add(batch))?,
                None => self.behind = None,
            }
        }
        Ok(())
    }

    /// Adds a batch behind those that it has.
    fn add(&mut self, batch: RecordBatch) -> io::Result<()> {
        let is_small = batch.num_rows() < limits::TABLE_SMALL_BATCH_ROWS
            && batch.get_array_memory_size() < limits::TABLE_BATCH_BYTES;
        if is_small {
            self.pending.push(batch);
            return if self.pending.is_full() { self.write_pending() } else { Ok(()) };
        }
        self.write_pending()?;
        self.writer.write(&batch).map_err(|error| self.building.at(&error))
    }

    fn write_pending(&mut self) -> io::Result<()> {
        if self.pending.batches.is_empty() {
            return Ok(());
        }
        let written = self.pending.take().and_then(|batch| self.writer.write(&batch));
        written.map_err(|error| self.building.at(&error))
    }

    /// Completes it.
    fn end(mut self, spool: &Path) -> io::Result<()> {
        while self.behind.is_some() {
            self.catch_up(spool, limits::TABLE_BATCHES_BEHIND)?;
        }
        self.write_pending()?;
        let Self { building, writer, .. } = self;
        let file = writer.end().and_then(|file| file.into_inner().map_err(io::IntoInnerError::into_error));
        let file = file.map_err(|error| building.at(&error))?;
        building.publish(&file)
    }
}

impl Sink for Table {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        self.batch.push(record)?;
        let is_full =
            self.batch.rows() >= limits::TABLE_BATCH_ROWS || self.batch.bytes() >= limits::TABLE_BATCH_BYTES;
        if is_full { self.write_out() } else { Ok(()) }
    }

    /// Leaves records in memory: only what was cut counts after a crash, and small batches are dear.
    fn commit(&mut self) -> io::Result<()> {
        self.spool.flush()
    }

    fn cut(&mut self) -> io::Result<Cut> {
        self.write_out()?;
        self.spool.flush()?;
        if self.id.is_some() { self.spool.cut() } else { Ok(Cut::default()) }
    }

    fn id(&self) -> Option<&SinkId> {
        self.id.as_ref()
    }

    fn seal(&mut self) -> io::Result<()> {
        self.write_out()?;
        self.spool.flush()?;
        let made = match self.made.take() {
            Some(made) => made,
            None => {
                let behind = self.resumed.then_some(&self.spool_path);
                Made::begin(self.kind, &self.path, self.fields, behind)?
            }
        };
        // Were it to be sealed once more, it would be made from the spool.
        self.resumed = true;
        made.end(&self.spool_path)?;
        match self.id {
            Some(_) => Ok(()),
            None => std::fs::remove_file(&self.spool_path),
        }
    }
}

/// Small batches, to be written as one.
#[derive(Default)]
struct Pending {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl Pending {
    fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.bytes += batch.get_array_memory_size();
        self.batches.push(batch);
    }

    fn is_full(&self) -> bool {
        self.rows >= limits::TABLE_BATCH_ROWS || self.bytes >= limits::TABLE_BATCH_BYTES
    }

    fn take(&mut self) -> io::Result<RecordBatch> {
        let Self { batches, .. } = std::mem::take(self);
        match &*batches {
            [batch] => Ok(batch.clone()),
            batches => {
                let schema = batches.first().expect("there are batches").schema();
                concat_batches(&schema, batches).map_err(of_arrow)
            }
        }
    }
}

/// Columns whose values differ from row to row: a dictionary of them would cost and save nothing.
const UNIQUE: [&str; 16] = [
    "row",
    "id",
    "url",
    "final_url",
    "body",
    "sha256",
    "started",
    "blocked_ms",
    "connect_ms",
    "tls_ms",
    "send_ms",
    "wait_ms",
    "receive_ms",
    "total_ms",
    "elapsed_ms",
    "meta",
];

/// Columns whose least and greatest values tell nothing.
const LARGE: [&[&str]; 4] =
    [&["body"], &["meta"], &["headers", "list", "item", "name"], &["headers", "list", "item", "value"]];

/// Writes batches in the format of a table.
enum Writer<W: Write + Send> {
    Parquet(Box<ArrowWriter<W>>),
    Arrow(Box<FileWriter<W>>),
}

impl<W: Write + Send> Writer<W> {
    fn begin(kind: Kind, schema: SchemaRef, to: W) -> io::Result<Self> {
        Ok(match kind {
            Kind::Parquet => {
                let mut properties = WriterProperties::builder()
                    .set_created_by(concat!("overlapped ", env!("CARGO_PKG_VERSION")).to_owned())
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_statistics_enabled(EnabledStatistics::Chunk)
                    .set_data_page_size_limit(limits::TABLE_PAGE_BYTES)
                    .set_max_row_group_row_count(None);
                for column in UNIQUE {
                    properties = properties.set_column_dictionary_enabled(column.into(), false);
                }
                for column in LARGE {
                    properties =
                        properties.set_column_statistics_enabled(path(column), EnabledStatistics::None);
                }
                let writer = ArrowWriter::try_new(to, schema, Some(properties.build()));
                Self::Parquet(Box::new(writer.map_err(of_parquet)?))
            }
            Kind::Arrow => Self::Arrow(Box::new(FileWriter::try_new(to, &schema).map_err(of_arrow)?)),
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        match self {
            Self::Parquet(writer) => {
                writer.write(batch).map_err(of_parquet)?;
                // A row group is in memory until it is written.
                if writer.in_progress_size() >= limits::TABLE_ROW_GROUP_BYTES {
                    writer.flush().map_err(of_parquet)?;
                }
                Ok(())
            }
            Self::Arrow(writer) => writer.write(batch).map_err(of_arrow),
        }
    }

    fn end(self) -> io::Result<W> {
        match self {
            Self::Parquet(writer) => writer.into_inner().map_err(of_parquet),
            Self::Arrow(writer) => writer.into_inner().map_err(of_arrow),
        }
    }
}

fn path(column: &[&str]) -> ColumnPath {
    ColumnPath::new(column.iter().map(|part| (*part).to_owned()).collect())
}

/// The rows of a table that succeeded, and the number of its other records; `None`: it is no table of records.
///
/// # Errors
///
/// It cannot be read.
///
/// # Blocking
///
/// On the disk, for two of its columns.
pub(crate) fn recorded(file: File, format: Format) -> io::Result<Option<(RowSet, u64)>> {
    const COLUMNS: [&str; 2] = ["row", "ok"];
    let (mut rows, mut others) = (RowSet::default(), 0);
    let mut add = |batch: RecordBatch| {
        let column = |name| batch.column_by_name(name);
        let numbers = column("row").and_then(|column| column.as_primitive_opt::<UInt64Type>())?;
        let oks = column("ok").and_then(|column| column.as_boolean_opt())?;
        for (number, ok) in numbers.iter().zip(oks) {
            let is_new = ok == Some(true) && number.is_some_and(|number| rows.insert(Row(number)));
            others += u64::from(!is_new);
        }
        Some(())
    };
    let kind = if format == Format::Parquet { Kind::Parquet } else { Kind::Arrow };
    let batches = match Reader::open(file, kind, &COLUMNS) {
        Ok(batches) => batches,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
        Err(error) => return Err(error),
    };
    let added = batches.map(|batch| Ok(add(batch?))).collect::<io::Result<Option<()>>>()?;
    Ok(added.map(|()| (rows, others)))
}

fn reader(path: &Path) -> io::Result<BufReader<File>> {
    let file = open_own(path, OpenOptions::new().read(true)).map_err(|error| at(path, &error))?;
    Ok(BufReader::with_capacity(limits::OUTPUT_BUFFER_BYTES, file))
}
