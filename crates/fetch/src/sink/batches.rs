//! A spool of batches, from which a table is made: append-only, so that it can be truncated to any checkpoint.
//!
//! Each batch is a stream of Arrow by itself, most as a frame of zstd: a spool of texts is then a fraction as long. That saves
//! more than the fastest level costs: pages of the system's cache, time of the disk at each checkpoint, and the removal of the file when the
//! table is whole. A batch that hardly shrinks, or is so large that it should not be in memory twice, is written as it is. The two are
//! told apart by their first bytes, so spools of earlier versions, which have no frames, are read and appended to.

use std::io::{self, BufRead, BufWriter, Cursor, Read as _, Write};

use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt64Type;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_select::filter::filter_record_batch;
use overlapped_proto::job::Row;
use overlapped_proto::limits;
use overlapped_proto::row_set::RowSet;
use zstd::bulk::Compressor;
use zstd::stream::read::Decoder;
use zstd::zstd_safe::compress_bound;

use crate::tables::of_arrow;

/// The level of zstd: the first of the fast ones.
const LEVEL: i32 = -1;

/// How a frame of zstd begins (RFC 8878, section 3.1.1).
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Appends batches to a spool.
pub(super) struct Appender {
    compressor: Compressor<'static>,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Appender {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { compressor: Compressor::new(LEVEL)?, plain: Vec::new(), packed: Vec::new() })
    }

    /// Appends a batch.
    pub(super) fn append(&mut self, batch: &RecordBatch, mut spool: impl Write) -> io::Result<()> {
        if batch.get_array_memory_size() > limits::TABLE_PACKED_BYTES_MAX {
            return write_stream(batch, BufWriter::new(spool));
        }
        let Self { compressor, plain, packed } = self;
        plain.clear();
        write_stream(batch, &mut *plain)?;
        packed.clear();
        packed.reserve(compress_bound(plain.len()));
        compressor.compress_to_buffer(plain, packed)?;
        let shrinks = packed.len() < plain.len() - plain.len() / 8;
        spool.write_all(if shrinks && plain.len() <= limits::TABLE_PACKED_BYTES_MAX { packed } else { plain })
    }
}

/// The batches that are next in a spool; none at its end.
pub(super) fn next(spool: &mut impl BufRead) -> io::Result<Option<Vec<RecordBatch>>> {
    let begin = spool.fill_buf()?;
    if begin.is_empty() {
        return Ok(None);
    }
    // A stream that is not compressed begins with four bytes of 0xff.
    if begin.first() != FRAME.first() {
        return read_stream(spool).map(Some);
    }
    let mut plain = Vec::new();
    let most = limits::TABLE_PACKED_BYTES_MAX as u64;
    Decoder::with_buffer(spool)?.single_frame().take(most + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a batch of the spool is too large"));
    }
    read_stream(Cursor::new(plain)).map(Some)
}

/// Copies a spool without the records of these rows.
///
/// # Errors
///
/// It is no spool, or cannot be read or written.
///
/// # Blocking
///
/// On the disk.
pub(crate) fn copy_without(mut spool: impl BufRead, rows: &RowSet, mut to: impl Write) -> io::Result<()> {
    let mut appender = Appender::new()?;
    while let Some(batches) = next(&mut spool)? {
        for batch in batches {
            let no_rows =
                || io::Error::new(io::ErrorKind::InvalidData, "a batch of the spool has no column of rows");
            let numbers =
                batch.column_by_name("row").and_then(|column| column.as_primitive_opt::<UInt64Type>());
            let stays =
                numbers.ok_or_else(no_rows)?.values().iter().map(|&row| Some(!rows.contains(Row(row))));
            let rest = filter_record_batch(&batch, &stays.collect::<BooleanArray>()).map_err(of_arrow)?;
            if rest.num_rows() > 0 {
                appender.append(&rest, &mut to)?;
            }
        }
    }
    Ok(())
}

/// A batch as a whole stream.
fn write_stream(batch: &RecordBatch, to: impl Write) -> io::Result<()> {
    let mut writer = StreamWriter::try_new(to, &batch.schema()).map_err(of_arrow)?;
    writer.write(batch).and_then(|()| writer.finish()).map_err(of_arrow)?;
    writer.into_inner().map_err(of_arrow)?.flush()
}

fn read_stream(from: impl io::Read) -> io::Result<Vec<RecordBatch>> {
    let stream = StreamReader::try_new(from, None).map_err(of_arrow)?;
    stream.map(|batch| batch.map_err(of_arrow)).collect()
}

#[cfg(test)]
mod tests {
    use overlapped_proto::record::{Body, Record};

    use super::*;
    use crate::arrow::Batch;

    /// Records of these rows, with a body of so many bytes.
    fn batch(rows: std::ops::Range<u64>, body: impl Fn(u64) -> Vec<u8>) -> RecordBatch {
        let mut batch = Batch::default();
        for row in rows {
            let record =
                Record { body: Body::Inline(body(row).into()), ..Record::new(Row(row), "http://a/") };
            batch.push(&record).unwrap();
        }
        batch.finish()
    }

    fn noise(row: u64, bytes: usize) -> Vec<u8> {
        let mut state = row + 1;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(bytes).collect()
    }

    fn read(spool: &[u8]) -> Vec<RecordBatch> {
        let (mut from, mut all) = (io::BufReader::with_capacity(7, spool), Vec::new());
        while let Some(batches) = next(&mut from).unwrap() {
            all.extend(batches);
        }
        all
    }

    /// A spool has batches that were compressed, that would not shrink, that are too large for it, and those of earlier versions.
    #[test]
    fn batches_of_every_form_come_back() {
        let large = limits::TABLE_PACKED_BYTES_MAX + 1;
        let all = [
            batch(0..300, |_| b"the same ".repeat(100)),
            batch(300..320, |row| noise(row, 10_000)),
            batch(320..321, |_| vec![b'x'; large]),
            batch(321..330, |row| vec![b'y'; row as usize]),
        ];
        let (mut spool, mut appender) = (Vec::new(), Appender::new().unwrap());
        let mut ends = Vec::new();
        for batch in &all {
            appender.append(batch, &mut spool).unwrap();
            ends.push(spool.len());
        }
        let is_packed = |at: usize| spool.get(at..).is_some_and(|from| from.starts_with(&FRAME));
        assert_eq!([0, ends[0], ends[1], ends[2]].map(is_packed), [true, false, false, true]);
        write_stream(&all[0], &mut spool).unwrap();
        let read = read(&spool);
        assert_eq!(read.len(), 5);
        assert!(read.iter().zip(all.iter().chain(all.first())).all(|(read, was)| read == was));
        // Truncated to a checkpoint it is whole; anywhere else it is an error.
        let mut to_there = spool.get(..ends[1]).unwrap();
        assert!(next(&mut to_there).unwrap().is_some() && next(&mut to_there).unwrap().is_some());
        assert!(next(&mut to_there).unwrap().is_none());
        for torn in [2, ends[0] - 1, ends[0] + 5, ends[1] - 9] {
            let mut torn = spool.get(..torn).unwrap();
            let mut read = || Ok::<_, io::Error>(next(&mut torn)?.map(|_| ()));
            assert!(std::iter::from_fn(|| read().transpose()).any(|read| read.is_err()));
        }
    }

    #[test]
    fn rows_are_taken_out() {
        let mut spool = Vec::new();
        let mut appender = Appender::new().unwrap();
        for from in [0, 5, 6] {
            appender.append(&batch(from..from + 1, |_| Vec::new()), &mut spool).unwrap();
        }
        appender.append(&batch(10..20, |_| b"text".to_vec()), &mut spool).unwrap();
        let mut rows = RowSet::default();
        [5..7, 12..20].into_iter().for_each(|range| rows.insert_range(range));
        let mut rest = Vec::new();
        copy_without(&*spool, &rows, &mut rest).unwrap();
        let of = |batch: &RecordBatch| {
            let column = batch.column_by_name("row").unwrap();
            column.as_primitive::<UInt64Type>().values().to_vec()
        };
        assert_eq!(read(&rest).iter().flat_map(of).collect::<Vec<_>>(), [0, 10, 11]);
    }
}
