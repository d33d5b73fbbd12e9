//! Takes the records of rows that are fetched once more out of the outputs, so that each row has one record.
//!
//! The new file is written beside the old one. Then a snapshot of the state with its length is published, and then it
//! takes the old one's place. A crash in between is told by its length: a state that knows of it has its length, and an
//! older one has the longer one of the old file.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use overlapped_proto::done::RowSet;
use overlapped_proto::job::Row;
use overlapped_proto::limits;

use super::Output;
use crate::sink::{at, sync_name};

/// Writes the outputs without the records of these rows, beside them; the offsets become those of the new files.
///
/// # Blocking
///
/// On the disk, as the other function.
pub(super) fn take_out(outputs: &[Output], rows: &RowSet, offsets: &mut [Option<u64>]) -> io::Result<()> {
    for (output, offset) in outputs.iter().zip(offsets) {
        let row_of: fn(&[u8]) -> Option<u64> = match output {
            Output::Ndjson(_) => row_of_json,
            Output::Csv(_) => row_of_csv,
            Output::Other(_) => continue,
        };
        if let Some(offset) = offset {
            let copied = copy_without(output, rows, *offset, row_of);
            *offset = copied.map_err(|error| at(&beside(output.path()), &error))?;
            // Once the state has its length, the old file is cut to that length if this one is not there.
            sync_name(&beside(output.path()))?;
        }
    }
    Ok(())
}

/// Puts new files in the place of the old ones if the state knows of them, and removes them if it does not.
pub(super) fn finish(outputs: &[Output], offsets: &[Option<u64>]) -> io::Result<()> {
    for (output, offset) in outputs.iter().zip(offsets) {
        let new = beside(output.path());
        match new.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(meta) if Some(meta.len()) == *offset => {
                fs::rename(&new, output.path()).map_err(|error| at(output.path(), &error))?;
                sync_name(output.path())?;
            }
            Ok(_) => fs::remove_file(&new)?,
        }
    }
    Ok(())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".retry");
    name.into()
}

fn copy_without(
    output: &Output,
    rows: &RowSet,
    length: u64,
    row_of: fn(&[u8]) -> Option<u64>,
) -> io::Result<u64> {
    let old = File::open(output.path())?;
    let permissions = old.metadata()?.permissions();
    let mut old = BufReader::with_capacity(limits::OUTPUT_BUFFER_BYTES, old.take(length));
    let file = File::create(beside(output.path()))?;
    file.set_permissions(permissions)?;
    let mut new = BufWriter::with_capacity(limits::OUTPUT_BUFFER_BYTES, file);
    let (mut record, mut written) = (Vec::new(), 0);
    while read_record(&mut old, output, &mut record)? {
        if !row_of(&record).is_some_and(|row| rows.contains(Row(row))) {
            new.write_all(&record)?;
            written += record.len() as u64;
        }
    }
    new.into_inner()?.sync_all()?;
    Ok(written)
}

/// The next record with its line end; false: there is none. In CSV a line end may stand between quotes.
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

/// A record of ours begins with its row.
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
        fs::create_dir_all(&folder).unwrap();
        let output = output(folder.join("out"));
        fs::write(output.path(), format!("{before}not durable")).unwrap();
        let mut again = RowSet::default();
        [2..3, 30..31].into_iter().for_each(|row| again.insert_range(row));
        let mut offsets = [Some(before.len() as u64)];
        take_out(std::slice::from_ref(&output), &again, &mut offsets).unwrap();
        // A crash before the state knows of it, and once more.
        finish(std::slice::from_ref(&output), &[Some(before.len() as u64)]).unwrap();
        assert!(fs::read_to_string(output.path()).unwrap().starts_with(before));
        offsets = [Some(before.len() as u64)];
        take_out(std::slice::from_ref(&output), &again, &mut offsets).unwrap();
        finish(std::slice::from_ref(&output), &offsets).unwrap();
        assert_eq!(fs::read_to_string(output.path()).unwrap(), after);
        assert_eq!(offsets, [Some(after.len() as u64)]);
        fs::remove_dir_all(&folder).unwrap();
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
