//! Outputs that are built at the end: their name until they are whole, and the step to their own.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use overlapped_proto::limits;

use super::{at, sync_name};
use crate::fs::WholeFile;

/// Checks that an output can be built at `path`.
///
/// # Errors
///
/// Something else than a plain file is there, or its name is too long ([`io::ErrorKind::InvalidInput`]).
pub(super) fn check(path: &Path) -> io::Result<()> {
    WholeFile::check(path)?;
    if building(path).file_name().is_some_and(|name| name.len() > limits::SYSTEM_NAME_BYTES_MAX) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its name is too long"));
    }
    Ok(())
}

/// Builds an output beside its place, and moves it there; `write` writes and syncs it. What a killed run has left of an earlier
/// try is replaced.
pub(super) fn build(path: &Path, write: impl FnOnce(File) -> io::Result<()>) -> io::Result<()> {
    let building = building(path);
    let made = || {
        remove(&building)?;
        let file = OpenOptions::new().write(true).create_new(true).open(&building)?;
        let built = write(file).and_then(|()| fs::rename(&building, path));
        if built.is_err() {
            let _ = remove(&building);
        }
        built
    };
    made().map_err(|error| at(&building, &error))?;
    sync_name(path)
}

/// Where an output is until it is whole.
pub(super) fn building(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".building");
    path.with_file_name(name)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
