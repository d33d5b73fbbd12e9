//! Records that wait for an earlier row, as recovery finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use overlapped_proto::job::Row;
use overlapped_proto::journal::Waiting;

use crate::body::waiting::{NAME, body_file, is_sound};
use crate::fs::Folder;

/// Removes the rows whose records are not in the file as they were written; returns the offset of the first.
///
/// # Errors
///
/// The file cannot be read.
///
/// # Blocking
///
/// On the disk, for all of these records.
pub(super) fn remove_damaged(folder: &Folder, rows: &mut BTreeMap<Row, Waiting>) -> io::Result<Option<u64>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let file = match folder.read(OsStr::new(NAME)) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
            rows.clear();
            return Ok(Some(0));
        }
        opened => opened?,
    };
    let (mut damaged, mut first) = (BTreeSet::new(), None);
    for waiting in rows.values() {
        if !is_sound(&file, waiting)? {
            damaged.insert(waiting.row);
            first = Some(first.map_or(waiting.offset, |first: u64| first.min(waiting.offset)));
        }
    }
    rows.retain(|row, _| !damaged.contains(row));
    Ok(first)
}

/// The body files of these rows. A row whose file is not there is fetched again.
///
/// # Errors
///
/// The file of waiting records cannot be read.
///
/// # Blocking
///
/// On the disk.
pub(super) fn check(
    folder: &Folder,
    rows: &mut BTreeMap<Row, Waiting>,
    bodies: &Path,
) -> io::Result<Vec<PathBuf>> {
    if rows.is_empty() || bodies == Path::new("") {
        return Ok(Vec::new());
    }
    let file = folder.read(OsStr::new(NAME))?;
    let (mut files, mut lost) = (Vec::new(), BTreeSet::new());
    for waiting in rows.values() {
        match body_file(&file, waiting, bodies)? {
            None => {}
            Some((path, bytes)) if is_whole(&path, bytes) => files.push(path),
            Some(_) => {
                lost.insert(waiting.row);
            }
        }
    }
    rows.retain(|row, _| !lost.contains(row));
    Ok(files)
}

fn is_whole(path: &Path, bytes: u64) -> bool {
    let opened: io::Result<File> =
        Folder::of(path).and_then(|above| above.read(path.file_name().unwrap_or_default()));
    opened.and_then(|file| file.metadata()).is_ok_and(|found| found.len() == bytes)
}
