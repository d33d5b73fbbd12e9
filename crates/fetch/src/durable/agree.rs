//! Compares the state with the outputs. A contradiction is an error that says what to do.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use overlapped_proto::filename::is_safe;
use overlapped_proto::journal::{Checkpoint, End, Named, State};
use overlapped_proto::limits;

use super::Output;
use super::rewrite::recorded;
use crate::error::Error;
use crate::fs::{Folder, Found, is_of_the_system, open_own};
use crate::sink::har::begins as begins_as_har;
use crate::sink::warc::{self, Place};
use crate::sink::{Format, at, begins_with, whole_end};

/// Compares the outputs with the state.
///
/// # Errors
///
/// An output is missing, too short, or changed.
///
/// # Blocking
///
/// On the disk.
pub(super) fn outputs(outputs: &[Output], state: &State) -> Result<(), Error> {
    for output in outputs {
        match output.format {
            Format::Ndjson | Format::Csv | Format::Tsv | Format::Parquet | Format::Arrow | Format::Har => {
                let is_table = matches!(output.format, Format::Parquet | Format::Arrow);
                let is_packed = is_table || output.packing().is_some();
                let bytes_min = if is_packed { 0 } else { limits::RECORD_BYTES_MIN };
                records(&output.held(), state.checkpoints.of(&output.id), state.done.len(), bytes_min)?;
            }
            Format::Warc => archive(&output.path, state.checkpoints.of(&output.id), state.done.len())?,
            Format::Files => files(&output.path, state)?,
        }
    }
    Ok(())
}

/// Checks that what is in the place of an output that is built at the end is an earlier state of it: it will be replaced.
///
/// # Errors
///
/// It is something else.
///
/// # Blocking
///
/// On the disk: the numbers of its rows are read.
pub(super) fn places(outputs: &[Output], state: &State) -> Result<(), Error> {
    for output in outputs.iter().filter(|output| output.format.is_built()) {
        let path = &output.path;
        // Without a spool it was compared like one.
        if path.symlink_metadata().is_err() || output.held() == *path {
            continue;
        }
        let failed = |error| Error::output_path(path, error);
        let begins = output.format != Format::Har || begins_as_har(path).map_err(failed)?;
        let recorded = if begins { recorded(output).map_err(failed)? } else { None };
        if !recorded.is_some_and(|found| found.rows.without(&state.done).is_empty()) {
            let what = "it is not what this run has written: move it away, or begin anew with --overwrite";
            return Err(Error::journal(path, what));
        }
    }
    Ok(())
}

/// `bytes_min`: the bytes that each row has at the least.
fn records(path: &Path, checkpoint: Option<&Checkpoint>, rows: u64, bytes_min: u64) -> Result<(), Error> {
    let end = checkpoint.cloned().unwrap_or_default().end();
    match same(path, end, rows)? {
        Content::Compared => dense(path, end.map_or(u64::MAX, |end| end.bytes), rows, bytes_min),
        Content::None => Ok(()),
    }
}

/// Compares the files of an archive and the lines of its index.
fn archive(path: &Path, checkpoint: Option<&Checkpoint>, rows: u64) -> Result<(), Error> {
    let place = Place::of(&checkpoint.cloned().unwrap_or_default());
    let place = place.or_else(|error| disagrees(path, &error.to_string()))?;
    let mut before = Place::default();
    for number in 0..place.number {
        let path = warc::file(path, number);
        let end = match open_own(&path, OpenOptions::new().read(true)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
                disagrees(&path, "a file of the archive is missing")?
            }
            opened => {
                opened.and_then(|file| whole_end(&file)).map_err(|error| Error::output_path(&path, error))?
            }
        };
        before = before.after(end);
    }
    if (before.before, before.sum) != (place.before, place.sum) {
        let last = warc::file(path, place.number.saturating_sub(1));
        return disagrees(&last, "it, or a file of the archive before it, was changed");
    }
    // A file that is empty may not be there.
    let rows_there = if place.end.bytes == 0 { 0 } else { rows };
    same(&warc::file(path, place.number), Some(place.end), rows_there)?;
    if place.index.bytes > 0 {
        same(&warc::lines(&warc::index_path(path)), Some(place.index), rows)?;
    }
    dense(path, place.before + place.end.bytes, rows, limits::RECORD_BYTES_MIN)
}

fn disagrees<T>(path: &Path, what: &str) -> Result<T, Error> {
    let advice = "put it back as the run left it, or begin anew with --overwrite";
    Err(Error::journal(path, &format!("{what}: {advice}")))
}

/// Compares the length of an output with the number of rows that are done.
fn dense(path: &Path, bytes: u64, rows: u64, bytes_min: u64) -> Result<(), Error> {
    if rows.saturating_mul(bytes_min) > bytes || (rows > 0 && bytes == 0) {
        let what = format!("by the state {rows} rows are done, but the output has only {bytes} bytes");
        return disagrees(path, &what);
    }
    Ok(())
}

/// What there was to compare.
enum Content {
    Compared,
    /// It is not there yet, or is a device.
    None,
}

/// Compares a file with its end in the state.
fn same(path: &Path, end: Option<End>, rows: u64) -> Result<Content, Error> {
    let disagrees = |what: &str| disagrees(path, what);
    let file = match open_own(path, OpenOptions::new().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && rows == 0 => return Ok(Content::None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return disagrees(&format!("the output is missing, but {rows} rows are done"));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return disagrees(&error.to_string()),
        opened => opened.map_err(|error| Error::output_path(path, error))?,
    };
    let meta = file.metadata().map_err(|error| Error::output_path(path, error))?;
    // A device has no content to compare.
    if is_of_the_system(path) && !meta.is_file() {
        return Ok(Content::None);
    }
    let Some(end) = end else {
        return disagrees("the state has no length of it");
    };
    if meta.len() < end.bytes {
        let found = meta.len();
        return disagrees(&format!("it has {found} bytes, but the run has written {}", end.bytes));
    }
    if !begins_with(&file, end).map_err(|error| Error::output_path(path, error))? {
        return disagrees(&format!(
            "it was changed: the first {} bytes are not what the run has written",
            end.bytes
        ));
    }
    Ok(Content::Compared)
}

/// Checks that the last files named are there. Checking all of them would take too long.
fn files(path: &Path, state: &State) -> Result<(), Error> {
    let missing = |what: &str| {
        let advice = "put it back, or begin anew with --overwrite";
        Err(Error::journal(path, &format!("{what} is missing, and its row is done: {advice}")))
    };
    let Some(first) = state.kept.first() else { return Ok(()) };
    if !path.is_dir() {
        return missing(&format!("the directory, and with it {},", shown(first).display()));
    }
    let root = Folder::open(path).map_err(|error| Error::output_path(path, error))?;
    for named in &state.kept {
        let there = look(&root, named).map_err(|error| Error::output_path(path, error))?;
        if !there {
            return missing(&format!("{}", shown(named).display()));
        }
    }
    Ok(())
}

fn look(root: &Folder, named: &Named) -> io::Result<bool> {
    let path = shown(named);
    let folder = match root.below(path.parent().unwrap_or(Path::new(""))) {
        Err(error) if is_absent(&error) => return Ok(false),
        opened => opened?,
    };
    Ok(folder.find(path.file_name().unwrap_or_default())?.is_some())
}

/// Removes files that have their final names although their rows are not done: only below the output directory, and only
/// with the file number that the journal has recorded.
///
/// # Errors
///
/// A name in the journal cannot be that of a row's file.
///
/// # Blocking
///
/// On the disk.
pub(super) fn take_back(outputs: &[Output], named: &[Named]) -> Result<(), Error> {
    for Output { path, .. } in outputs.iter().filter(|output| output.format == Format::Files) {
        if named.is_empty() || !path.is_dir() {
            continue;
        }
        if let Some(strange) = named.iter().find(|named| !shown(named).to_str().is_some_and(is_safe)) {
            let what =
                format!("the journal names {}, which no row's file is called", shown(strange).display());
            return Err(Error::journal(path, &what));
        }
        let removed = Folder::open(path).and_then(|root| remove(&root, named));
        removed.map_err(|error| Error::output(at(path, &error)))?;
    }
    Ok(())
}

fn remove(root: &Folder, named: &[Named]) -> io::Result<()> {
    let mut folders = BTreeSet::new();
    for named in named {
        let path = shown(named);
        let above = path.parent().unwrap_or(Path::new(""));
        let folder = match root.below(above) {
            Err(error) if is_absent(&error) => continue,
            opened => opened?,
        };
        folders.insert(above);
        let name = path.file_name().unwrap_or_default();
        let is_ours = |found: Found| found.is_file() && found.id == (named.device, named.inode);
        if folder.find(name)?.is_some_and(is_ours) {
            // A file that cannot be removed keeps its name; the new one gets another.
            let _ = folder.remove(name);
        }
    }
    // The next snapshot forgets them, and none may come back behind it. This process or one before it removed them.
    folders.into_iter().try_for_each(|above| root.below(above)?.sync())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn shown(named: &Named) -> &Path {
    Path::new(OsStr::from_bytes(&named.path))
}
