//! What a file says about its own sizes, checked before a reader believes it: the readers of tables allocate what is said, and
//! panic at what cannot be.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use arrow_ipc::{RecordBatch, root_as_footer, root_as_message};
use overlapped_proto::limits::TABLE_BUFFER_BYTES;
use parquet::file::metadata::ParquetMetaData;

/// Checks that the pages of Parquet are within the file.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`]: they are not.
pub(super) fn parquet(file: &File, metadata: &ParquetMetaData) -> io::Result<()> {
    let length = file.metadata()?.len();
    for group in metadata.row_groups() {
        let is_count = |number: i64| u64::try_from(number).is_ok();
        let mut sound = is_count(group.num_rows());
        for column in group.columns() {
            let begins = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let ends = u64::try_from(begins).ok().zip(u64::try_from(column.compressed_size()).ok());
            let is_within =
                ends.and_then(|(begins, bytes)| begins.checked_add(bytes)).is_some_and(|end| end <= length);
            sound &= is_within && is_count(column.num_values()) && is_count(column.uncompressed_size());
        }
        if !sound {
            return Err(unsound("its pages are not within it"));
        }
    }
    Ok(())
}

/// Checks that the buffers of Arrow's file format are within the file, and that what they are packed from is not larger than
/// [`TABLE_BUFFER_BYTES`].
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`]: they are not, or it is no such file.
///
/// # Blocking
///
/// On the disk, for the descriptions of all batches.
pub(super) fn arrow(file: &File) -> io::Result<()> {
    const END_BYTES: u64 = 10;
    let length = file.metadata()?.len();
    let no_file = || unsound("it has no foot");
    let end = length.checked_sub(END_BYTES).ok_or_else(no_file)?;
    let mut last = [0; 4];
    file.read_exact_at(&mut last, end)?;
    let foot =
        u64::try_from(i32::from_le_bytes(last)).ok().filter(|foot| *foot <= end).ok_or_else(no_file)?;
    let foot = read(file, end - foot, foot)?;
    let footer = root_as_footer(&foot).map_err(|_| no_file())?;
    let blocks =
        footer.dictionaries().into_iter().flatten().chain(footer.recordBatches().into_iter().flatten());
    for block in blocks {
        let place = (
            u64::try_from(block.offset()),
            u64::try_from(block.metaDataLength()),
            u64::try_from(block.bodyLength()),
        );
        let (Ok(offset), Ok(head), Ok(body)) = place else { return Err(unsound("a batch has no place")) };
        let is_within =
            offset.checked_add(head).and_then(|end| end.checked_add(body)).is_some_and(|end| end <= length);
        if !is_within {
            return Err(unsound("a batch is not within it"));
        }
        let bytes = read(file, offset, head)?;
        let skipped = if bytes.starts_with(&[0xff; 4]) { 8 } else { 4 };
        let message = root_as_message(bytes.get(skipped..).unwrap_or_default());
        let message = message.map_err(|_| unsound("a batch has no description"))?;
        let batch = message.header_as_dictionary_batch().and_then(|words| words.data());
        if let Some(batch) = batch.or_else(|| message.header_as_record_batch()) {
            buffers(file, batch, offset + head, body)?;
        }
    }
    Ok(())
}

/// Checks the buffers of a batch.
fn buffers(file: &File, batch: RecordBatch<'_>, begins: u64, body: u64) -> io::Result<()> {
    let mut all: u64 = 0;
    for buffer in batch.buffers().into_iter().flatten() {
        let (Ok(offset), Ok(length)) = (u64::try_from(buffer.offset()), u64::try_from(buffer.length()))
        else {
            return Err(unsound("a column has no place"));
        };
        if offset.checked_add(length).is_none_or(|end| end > body) {
            return Err(unsound("a column is not within its batch"));
        }
        if batch.compression().is_some() && length >= 8 {
            let mut size = [0; 8];
            file.read_exact_at(&mut size, begins + offset)?;
            // -1: it is not packed.
            let size = i64::from_le_bytes(size);
            all = all.saturating_add(u64::try_from(size).unwrap_or(0));
            if size < -1 || all > TABLE_BUFFER_BYTES {
                return Err(unsound("a batch is larger than a batch may be"));
            }
        }
    }
    Ok(())
}

/// Reads a part of a file that is known to be within it.
fn read(file: &File, offset: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let mut read = vec![0; usize::try_from(bytes).map_err(|_| unsound("it is too large"))?];
    file.read_exact_at(&mut read, offset)?;
    Ok(read)
}

fn unsound(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
