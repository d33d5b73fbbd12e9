//! Removes the records of rows that are fetched again from the outputs, so that each row has one record.
//!
//! The new file is written beside the old one, then a snapshot with its length is published, then it is renamed over the
//! old one. After a crash in between, recovery compares the length in the state with that of the new file: if it is equal
//! the rename is completed, otherwise the new file is removed.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use overlapped_proto::job::Row;
use overlapped_proto::journal::End;
use overlapped_proto::limits;
use overlapped_proto::row_set::RowSet;

use super::Output;
use crate::folder::Folder;
use crate::sink::{at, begins_with, open_own, sync_name};

/// Writes copies of the outputs without the records of these rows, and sets the offsets to their lengths.
///
/// # Blocking
///
/// On the disk, like the other functions.
pub(super) fn take_out(outputs: &[Output], rows: &RowSet, offsets: &mut [Option<End>]) -> io::Result<()> {
    for (output, offset) in outputs.iter().zip(offsets) {
        let row_of: fn(&[u8]) -> Option<u64> = match output {
            Output::Ndjson(_) => row_of_json,
            Output::Csv(_) => row_of_csv,
            Output::Other(_) => continue,
        };
        if let Some(offset) = offset {
            let copied = copy_without(output, rows, offset.bytes, row_of);
            *offset = copied.map_err(|error| at(&beside(output.path()), &error))?;
            // Synced before the state has its length, to which the old file would be truncated if the new one was lost.
            sync_name(&beside(output.path()))?;
        }
    }
    Ok(())
}

/// The rows in an output, read from the output itself.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Rows that have a record.
    pub rows: RowSet,
    /// Records that do not count: of failed rows, duplicates, and incomplete ones.
    pub others: u64,
}

/// Reads an output of a run whose state is gone; `None`: it does not exist, or is not a file of records.
///
/// # Errors
///
/// It cannot be read.
///
/// # Blocking
///
/// On the disk, for all of the output.
pub fn recorded(output: &Output) -> io::Result<Option<Recorded>> {
    let file = match (output, open_own(output.path(), OpenOptions::new().read(true))) {
        (Output::Other(_), _) => return Ok(None),
        // What is no plain file is refused when it is opened to be written to.
        (_, Err(error)) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
            return Ok(None);
        }
        (Output::Ndjson(_) | Output::Csv(_), opened) => opened?,
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut file = BufReader::with_capacity(limits::OUTPUT_BUFFER_BYTES, file);
    let (mut recorded, mut record, mut column) = (Recorded::default(), Vec::new(), None);
    while read_record(&mut file, output, &mut record)? {
        let row = match (output, column) {
            (Output::Csv(_), None) => {
                column = Some(cells(&record).position(|cell| cell == b"ok").unwrap_or(usize::MAX));
                continue;
            }
            (Output::Csv(_), Some(ok)) => {
                row_of_csv(&record).filter(|_| cells(&record).nth(ok).is_some_and(|cell| cell == b"true"))
            }
            _ => row_of_json(&record).filter(|_| is_ok(&record)),
        };
        let new = row.is_some_and(|row| record.ends_with(b"\n") && recorded.rows.insert(Row(row)));
        recorded.others += u64::from(!new);
    }
    Ok(Some(recorded))
}

fn is_ok(record: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(record)
        .is_ok_and(|record| record.get("ok") == Some(&true.into()))
}

/// The cells of a record, with their quotes. A quoted cell may contain commas.
fn cells(record: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    record.trim_ascii_end().split(move |&byte| {
        quoted ^= byte == b'"';
        byte == b',' && !quoted
    })
}

/// Renames new files over the old ones if the state has their lengths; otherwise removes them. A file of another user is
/// an error.
pub(super) fn finish(outputs: &[Output], offsets: &[Option<End>]) -> io::Result<()> {
    let ends = offsets.iter().copied().chain(std::iter::repeat(None));
    for (output, end) in outputs.iter().zip(ends) {
        let new = beside(output.path());
        let folder = match Folder::of(&new) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(|error| at(&new, &error))?,
        };
        finish_one(&folder, output.path(), end).map_err(|error| at(&new, &error))?;
    }
    Ok(())
}

fn finish_one(folder: &Folder, path: &Path, end: Option<End>) -> io::Result<()> {
    let (new, old) = (name_beside(path), path.file_name().unwrap_or_default());
    let Some(found) = folder.find(&new)? else { return Ok(()) };
    if found.owner != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user: remove it"));
    }
    let is_known = match end {
        Some(end) if found.is_file() && found.bytes == end.bytes => begins_with(&folder.read(&new)?, end)?,
        Some(_) | None => false,
    };
    if is_known {
        folder.rename(&new, folder, old)?;
        return folder.sync();
    }
    folder.remove(&new)
}

fn name_beside(path: &Path) -> OsString {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".retry");
    name
}

fn beside(path: &Path) -> PathBuf {
    path.with_file_name(name_beside(path))
}

fn copy_without(
    output: &Output,
    rows: &RowSet,
    length: u64,
    row_of: fn(&[u8]) -> Option<u64>,
) -> io::Result<End> {
    let old = open_own(output.path(), OpenOptions::new().read(true))?;
    let permissions = old.metadata()?.permissions();
    let mut old = BufReader::with_capacity(limits::OUTPUT_BUFFER_BYTES, old.take(length));
    let file = Folder::of(output.path())?.create_anew(&name_beside(output.path()), 0o600)?;
    file.set_permissions(permissions)?;
    let mut new = BufWriter::with_capacity(limits::OUTPUT_BUFFER_BYTES, file);
    let (mut record, mut end) = (Vec::new(), End::default());
    while read_record(&mut old, output, &mut record)? {
        if !row_of(&record).is_some_and(|row| rows.contains(Row(row))) {
            new.write_all(&record)?;
            end.append(&record);
        }
    }
    new.into_inner()?.sync_all()?;
    Ok(end)
}

/// Reads the next record with its line end; false at the end. In CSV a quoted cell may contain line ends.
fn read_record(from: &mut impl BufRead, output: &Output, record: &mut Vec<u8>) -> io::Result<bool> {
    record.clear();
    loop {
        let count = from.read_until(b'\n', record)?;
        let quotes = record.iter().filter(|&&byte| byte == b'"').count();
        let whole = !matches!(output, Output::Csv(_)) || quotes % 2 == 0;
        if count == 0 || whole {
            return Ok(!record.is_empty());
        }
    }
}

/// The row number, with which every record begins.
fn row_of_json(record: &[u8]) -> Option<u64> {
    number(record.strip_prefix(b"{\"row\":")?)
}

fn row_of_csv(record: &[u8]) -> Option<u64> {
    number(record)
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: fn(PathBuf) -> Output, before: &str, after: &str) {
        let folder =
            std::env::temp_dir().join(format!("overlapped-rewrite-{}-{}", std::process::id(), before.len()));
        std::fs::create_dir_all(&folder).unwrap();
        let output = output(folder.join("out"));
        std::fs::write(output.path(), format!("{before}not durable")).unwrap();
        let mut again = RowSet::default();
        [2..3, 30..31].into_iter().for_each(|row| again.insert_range(row));
        let end = end_of(before);
        let mut offsets = [Some(end)];
        take_out(std::slice::from_ref(&output), &again, &mut offsets).unwrap();
        // A crash before the state knows of it, and once more.
        finish(std::slice::from_ref(&output), &[Some(end)]).unwrap();
        assert!(std::fs::read_to_string(output.path()).unwrap().starts_with(before));
        offsets = [Some(end)];
        take_out(std::slice::from_ref(&output), &again, &mut offsets).unwrap();
        finish(std::slice::from_ref(&output), &offsets).unwrap();
        assert_eq!(std::fs::read_to_string(output.path()).unwrap(), after);
        assert_eq!(offsets, [Some(end_of(after))]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    fn end_of(text: &str) -> End {
        let mut end = End::default();
        end.append(text.as_bytes());
        end
    }

    #[test]
    fn records_of_json() {
        let record = |row| format!("{{\"row\":{row},\"url\":\"x\"}}\n");
        let all = [1, 2, 3, 30, 300].map(record).concat();
        check(Output::Ndjson, &all, &[1, 3, 300].map(record).concat());
    }

    #[test]
    fn records_of_a_table() {
        let before = "row,body\n1,a\n2,\"b\n30,\"\"\n\"\n30,c\n3,\"d\n2,\"\n";
        check(Output::Csv, before, "row,body\n1,a\n3,\"d\n2,\"\n");
    }
}
