//! Writes a shard from the spool: its hosts interleaved, as a table in Parquet, under a temporary name until it is synced.
//! Each gets its name by itself, or, of many, all of them together once the file system is synced.

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use overlapped_proto::limits::{
    OUTPUT_BUFFER_BYTES, SHARD_BATCH_ROWS, SHARD_WINDOW_BYTES, TABLE_ROW_GROUP_BYTES,
};
use overlapped_proto::partition::interleaved;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::columns::{Batch, Columns};
use super::label::Label;
use super::read::ListRead;
use super::shard_name;
use super::spool::{Spooled, Spot};
use crate::fs::{ClosedFile, WholeFile};
use crate::tables::of_parquet;
use crate::tables::sum::Summed;

/// Writes the shards of a list.
pub(super) struct Writer {
    spooled: Spooled,
    columns: Columns,
    schema: SchemaRef,
    directory: PathBuf,
    /// The fingerprint of the plan.
    plan: String,
}

impl Writer {
    pub(super) fn new(read: ListRead, directory: &Path, plan: &str) -> Self {
        let schema = read.columns.schema();
        Self {
            spooled: read.spooled,
            columns: read.columns,
            schema,
            directory: directory.to_owned(),
            plan: plan.to_owned(),
        }
    }

    /// Writes a shard, and gives its space in the spool back. Its file has no name of its own and is not synced yet. Also
    /// returns its length.
    pub(super) fn write(&self, shard: u32) -> io::Result<(ClosedFile, u64)> {
        let mut file = WholeFile::create(&self.directory.join(shard_name(shard)), 0o666)?;
        let bytes = self.fill(shard, &mut file)?;
        self.spooled.free(shard);
        Ok((file.close(), bytes))
    }

    /// Writes the table, and returns its length.
    fn fill(&self, shard: u32, file: &mut WholeFile) -> io::Result<u64> {
        let to = Summed::new(BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, file));
        let label = Label { shard, plan: self.plan.clone() };
        let mut table =
            ArrowWriter::try_new(to, self.schema.clone(), Some(properties(&label))).map_err(of_parquet)?;
        let mut rows = self.spooled.rows(shard);
        let (mut spots, mut bytes) = (Vec::new(), Vec::new());
        let mut is_over = false;
        while !is_over {
            (spots, bytes) = (cleared(spots), cleared(bytes));
            while bytes.len() < SHARD_WINDOW_BYTES {
                match rows.next(&mut bytes)? {
                    Some(spot) => spots.push(spot),
                    None => {
                        is_over = true;
                        break;
                    }
                }
            }
            self.window(&spots, &bytes, &mut table)?;
        }
        // The last row group is in the sum, too.
        table.flush().map_err(of_parquet)?;
        table.sync()?;
        let sum = table.inner().field();
        table.append_key_value_metadata(sum);
        let summed = table.into_inner().map_err(of_parquet)?;
        let bytes = summed.bytes();
        summed.into_inner().flush()?;
        Ok(bytes)
    }

    /// Writes the rows that were read, in their order.
    fn window<W: io::Write + Send>(
        &self,
        spots: &[Spot],
        bytes: &[u8],
        table: &mut ArrowWriter<W>,
    ) -> io::Result<()> {
        let hosts: Vec<u32> = spots.iter().map(|spot| spot.host).collect();
        let order = interleaved(&hosts);
        for rows in order.chunks(SHARD_BATCH_ROWS) {
            let mut batch = Batch::new(&self.columns, &self.schema);
            for row in rows {
                let spot = spots.get(*row as usize).expect("the order is one of these rows");
                batch.push(spot.row, bytes.get(spot.at..).expect("its fields were read"));
            }
            if batch.rows() > 0 {
                table.write(&batch.finish()).map_err(of_parquet)?;
            }
            // A row group is in memory until it is written.
            if table.in_progress_size() >= TABLE_ROW_GROUP_BYTES {
                table.flush().map_err(of_parquet)?;
            }
        }
        Ok(())
    }
}

fn cleared<T>(mut list: Vec<T>) -> Vec<T> {
    list.clear();
    list
}

/// A URL and a number occur once: a dictionary or bounds of them would cost and find nothing.
fn properties(label: &Label) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("overlapped ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(label.fields()))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_max_row_group_row_count(None);
    for column in ["id", "url"] {
        properties = properties
            .set_column_dictionary_enabled(column.into(), false)
            .set_column_statistics_enabled(column.into(), EnabledStatistics::None);
    }
    properties.build()
}
