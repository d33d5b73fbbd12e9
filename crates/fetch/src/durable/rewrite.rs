//! Removes the records of rows that are fetched again from the outputs, so that each row has one record. Archives of WARC keep them:
//! there a row has several, and what was captured is not taken back.
//!
//! The new file is written beside the old one, then a snapshot with its length is published, then it is renamed over the
//! old one. After a crash in between, recovery compares the length in the state with that of the new file: if it is equal
//! the rename is completed, otherwise the new file is removed.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use overlapped_proto::job::Row;
use overlapped_proto::journal::{Checkpoint, End, SinkCheckpoints};
use overlapped_proto::limits;
use overlapped_proto::record::har::row_of as row_of_entry;
use overlapped_proto::record::mark::is_record;
use overlapped_proto::row_set::RowSet;
use serde_json::{Map, Value};

use super::Output;
use crate::fs::{Folder, open_own};
use crate::sink::packed::{Packed, contents};
use crate::sink::{Format, at, begins_with, har, sync_name};

/// Writes copies of the outputs without the records of these rows, and sets the checkpoints to their lengths. That they
/// are outputs of this run was shown by their checksums before.
///
/// # Blocking
///
/// On the disk, like the other functions.
pub(super) fn take_out(
    outputs: &[Output],
    rows: &RowSet,
    checkpoints: &mut SinkCheckpoints,
) -> io::Result<()> {
    for output in outputs.iter().filter(|output| is_rewritten(output)) {
        if let Some(end) = end(output, checkpoints) {
            let new = beside(&output.appended());
            let end = copy_without(output, rows, end.bytes).map_err(|error| at(&new, &error))?;
            // Synced before the state has its length, to which the old file would be truncated if the new one was lost.
            sync_name(&new)?;
            checkpoints.set(output.id.clone(), end.into());
        }
    }
    Ok(())
}

fn is_rewritten(output: &Output) -> bool {
    match output.format {
        Format::Ndjson | Format::Csv | Format::Tsv | Format::Parquet | Format::Arrow | Format::Har => true,
        Format::Warc | Format::Files => false,
    }
}

fn end(output: &Output, checkpoints: &SinkCheckpoints) -> Option<End> {
    checkpoints.of(&output.id).and_then(Checkpoint::end)
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
    if !is_rewritten(output) {
        return Ok(None);
    }
    let file = match open_own(&output.path, OpenOptions::new().read(true)) {
        // What is no plain file is refused when it is opened to be written to.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
            return Ok(None);
        }
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let row_of: fn(&Columns, &[u8]) -> Option<u64> = match output.format {
        Format::Ndjson => row_done_of_json,
        Format::Csv => |columns, record| row_done_of_table(b',', columns, record),
        Format::Tsv => |columns, record| row_done_of_table(b'\t', columns, record),
        Format::Parquet | Format::Arrow => {
            let recorded = recorded_table(file, output.format).map_err(|error| at(&output.path, &error))?;
            return Ok(recorded.map(|(rows, others)| Recorded { rows, others }));
        }
        Format::Har => row_done_of_har,
        Format::Warc | Format::Files => unreachable!("its state tells which rows are done"),
    };
    let packing = output.packing();
    let mut file = contents(packing, file)?;
    let (mut recorded, mut record, mut columns) = (Recorded::default(), Vec::new(), Columns::default());
    let mut read = |record: &mut Vec<u8>, recorded: &mut Recorded| {
        match read_record(&mut file, output.format, record) {
            // The end of a run that was killed, or no compressed file at all: the system itself reports no error.
            Err(error) if packing.is_some() && error.raw_os_error().is_none() => {
                recorded.others += 1;
                Ok(false)
            }
            read => read,
        }
    };
    if let Some(separator) = separator(output.format)
        && read(&mut record, &mut recorded)?
    {
        columns = Columns::of(separator, &record);
        recorded.others += u64::from(!columns.marked);
    }
    let mut is_whole = true;
    if output.format == Format::Har && read(&mut record, &mut recorded)? {
        recorded.others += u64::from(!har::is_begin(&record));
        is_whole = false;
    }
    while read(&mut record, &mut recorded)? {
        if output.format == Format::Har && har::is_end(&record) {
            is_whole = true;
            continue;
        }
        let row = row_of(&columns, &record);
        let new = row.is_some_and(|row| record.ends_with(b"\n") && recorded.rows.insert(Row(row)));
        recorded.others += u64::from(!new);
    }
    recorded.others += u64::from(!is_whole);
    Ok(Some(recorded))
}

/// The parsed header line of a table.
#[derive(Default)]
struct Columns {
    /// They are those of a record.
    marked: bool,
    row: Option<usize>,
    ok: Option<usize>,
}

impl Columns {
    fn of(separator: u8, header: &[u8]) -> Self {
        let names = || cells(separator, header).map(|name| std::str::from_utf8(name).unwrap_or_default());
        let at = |wanted| names().position(|name| name == wanted);
        Self { marked: is_record(names().collect::<Vec<_>>().iter().copied()), row: at("row"), ok: at("ok") }
    }
}

/// The row of a line that is the record of a row that succeeded.
fn row_done_of_table(separator: u8, columns: &Columns, record: &[u8]) -> Option<u64> {
    let cell = |column: Option<usize>| cells(separator, record).nth(column?);
    let done = columns.marked && cell(columns.ok) == Some(b"true");
    cell(columns.row).filter(|_| done).and_then(number)
}

fn row_done_of_json(_: &Columns, record: &[u8]) -> Option<u64> {
    let record: Map<String, Value> = serde_json::from_slice(record).ok()?;
    let done = is_record(record.keys().map(String::as_str)) && record.get("ok") == Some(&true.into());
    record.get("row").filter(|_| done).and_then(Value::as_u64)
}

fn row_done_of_har(_: &Columns, entry: &[u8]) -> Option<u64> {
    row_of_entry(entry).filter(|(_, ok)| *ok).map(|(row, _)| row)
}

/// What separates the cells of a table.
fn separator(format: Format) -> Option<u8> {
    match format {
        Format::Csv => Some(b','),
        Format::Tsv => Some(b'\t'),
        Format::Ndjson | Format::Parquet | Format::Arrow | Format::Har | Format::Warc | Format::Files => None,
    }
}

/// The cells of a record, with their quotes. A quoted cell may contain commas; TSV has no quotes.
fn cells(separator: u8, record: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record).split(move |&byte| {
        quoted ^= byte == b'"' && separator == b',';
        byte == separator && !quoted
    })
}

/// Renames new files over the old ones if the state has their lengths; otherwise removes them. A file of another user is
/// an error.
pub(super) fn finish(outputs: &[Output], checkpoints: &SinkCheckpoints) -> io::Result<()> {
    for output in outputs.iter().filter(|output| is_rewritten(output)) {
        let path = output.appended();
        let new = beside(&path);
        let folder = match Folder::of(&new) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(|error| at(&new, &error))?,
        };
        finish_one(&folder, &path, end(output, checkpoints)).map_err(|error| at(&new, &error))?;
    }
    Ok(())
}

fn finish_one(folder: &Folder, path: &Path, end: Option<End>) -> io::Result<()> {
    let (new, old) = (name_beside(path), path.file_name().unwrap_or_default());
    let Some(found) = folder.find(&new)? else { return Ok(()) };
    if !found.is_own() {
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

fn copy_without(output: &Output, rows: &RowSet, length: u64) -> io::Result<End> {
    let path = output.appended();
    let old = open_own(&output.held(), OpenOptions::new().read(true))?;
    let permissions = old.metadata()?.permissions();
    let old = contents(output.packing(), old.take(length))?;
    let file = Folder::of(&path)?.create_anew(&name_beside(&path), 0o600)?;
    file.set_permissions(permissions)?;
    let file = BufWriter::with_capacity(limits::OUTPUT_BUFFER_BYTES, file);
    let mut new = Packed::new(output.packing(), Copied { file, end: End::default() });
    match output.format {
        Format::Ndjson => copy_lines(old, output.format, row_of_json, rows, &mut new),
        Format::Csv | Format::Tsv => copy_lines(old, output.format, row_of_table, rows, &mut new),
        Format::Har => copy_lines(old, output.format, row_of_har, rows, &mut new),
        Format::Parquet | Format::Arrow => copy_table(old, rows, &mut new),
        Format::Warc | Format::Files => unreachable!("it is not rewritten"),
    }?;
    let new = new.end()?;
    new.file.into_inner()?.sync_all()?;
    Ok(new.end)
}

/// A file with the checksum of what was written to it.
struct Copied<W> {
    file: W,
    end: End,
}

impl<W: Write> Write for Copied<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.end.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn copy_lines(
    mut old: impl BufRead,
    format: Format,
    row_of: fn(&[u8]) -> Option<u64>,
    rows: &RowSet,
    new: &mut impl Write,
) -> io::Result<()> {
    let (mut record, mut read, mut is_first) = (Vec::new(), 0, true);
    while read_record(&mut old, format, &mut record)? {
        let row = row_of(&record);
        let is_header = read == 0 && (separator(format).is_some() || format == Format::Har);
        if row.is_none() && !is_header {
            let what = format!("its record at byte {read} has no row, although the file is that of this run");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        read += record.len();
        if row.is_some_and(|row| rows.contains(Row(row))) {
            continue;
        }
        if format == Format::Har && row.is_some() {
            // Each entry but the first begins with a comma.
            let entry = record.strip_prefix(b",").unwrap_or(&record);
            new.write_all(if std::mem::take(&mut is_first) { b"" } else { b"," })?;
            new.write_all(entry)?;
        } else {
            new.write_all(&record)?;
        }
    }
    Ok(())
}

#[cfg(feature = "tables")]
use crate::sink::batches::copy_without as copy_table;
#[cfg(feature = "tables")]
use crate::sink::table::recorded as recorded_table;

#[cfg(not(feature = "tables"))]
fn recorded_table(_: std::fs::File, _: Format) -> io::Result<Option<(RowSet, u64)>> {
    Ok(None)
}

#[cfg(not(feature = "tables"))]
fn copy_table(_: impl BufRead, _: &RowSet, _: impl Write) -> io::Result<()> {
    unreachable!("a build without tables has opened none")
}

/// Reads the next record with its line end; false at the end. In CSV a quoted cell may contain line ends.
fn read_record(from: &mut impl BufRead, format: Format, record: &mut Vec<u8>) -> io::Result<bool> {
    record.clear();
    loop {
        let count = from.read_until(b'\n', record)?;
        let quotes = record.iter().filter(|&&byte| byte == b'"').count();
        let whole = format != Format::Csv || quotes % 2 == 0;
        if count == 0 || whole {
            return Ok(!record.is_empty());
        }
    }
}

/// The row of a record of this run, which begins with its number.
fn row_of_json(record: &[u8]) -> Option<u64> {
    number(record.strip_prefix(b"{\"row\":")?)
}

fn row_of_table(record: &[u8]) -> Option<u64> {
    number(record)
}

fn row_of_har(entry: &[u8]) -> Option<u64> {
    row_of_entry(entry).map(|(row, _)| row)
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, before: &str, after: &str) {
        let folder =
            std::env::temp_dir().join(format!("overlapped-rewrite-{}-{}", std::process::id(), before.len()));
        std::fs::create_dir_all(&folder).unwrap();
        let output = Output::new(format, folder.join("out"));
        std::fs::write(output.appended(), format!("{before}not durable")).unwrap();
        let mut again = RowSet::default();
        [2..3, 30..31].into_iter().for_each(|row| again.insert_range(row));
        let end = end_of(before);
        let at = |end: End| {
            let mut checkpoints = SinkCheckpoints::default();
            checkpoints.set(output.id.clone(), end.into());
            checkpoints
        };
        take_out(std::slice::from_ref(&output), &again, &mut at(end)).unwrap();
        // A crash before the state knows of it, and once more.
        finish(std::slice::from_ref(&output), &at(end)).unwrap();
        assert!(std::fs::read_to_string(output.appended()).unwrap().starts_with(before));
        let mut checkpoints = at(end);
        take_out(std::slice::from_ref(&output), &again, &mut checkpoints).unwrap();
        finish(std::slice::from_ref(&output), &checkpoints).unwrap();
        assert_eq!(std::fs::read_to_string(output.appended()).unwrap(), after);
        assert_eq!(checkpoints, at(end_of(after)));
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
        check(Format::Ndjson, &all, &[1, 3, 300].map(record).concat());
    }

    #[test]
    fn entries_of_an_archive() {
        let entries = |rows: &[u64]| {
            let entry = |row: &u64| format!("{{\"_row\":{row},\"_ok\":true,\"x\":1}}\n");
            let entries: Vec<_> = rows.iter().map(entry).collect();
            format!("{{\"log\":{{\"entries\":[\n{}", entries.join(","))
        };
        check(Format::Har, &entries(&[1, 2, 3, 30, 300]), &entries(&[1, 3, 300]));
        check(Format::Har, &entries(&[2, 3, 30, 300]), &entries(&[3, 300]));
        check(Format::Har, &entries(&[2, 30]), &entries(&[]));
    }

    #[test]
    fn records_of_a_table() {
        let before = "row,body\n1,a\n2,\"b\n30,\"\"\n\"\n30,c\n3,\"d\n2,\"\n";
        check(Format::Csv, before, "row,body\n1,a\n3,\"d\n2,\"\n");
        let before = "row\tid\n1\t\"\n2\tb\n30\t\"\n3\td\"\n";
        check(Format::Tsv, before, "row\tid\n1\t\"\n3\td\"\n");
    }
}
