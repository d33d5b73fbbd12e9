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

/// Builds an output beside its place, and moves it there; `write` writes it.
pub(super) fn build(path: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let (building, file) = Building::begin(path)?;
    write(&file).map_err(|error| building.at(&error))?;
    building.publish(&file)
}

/// An output beside its place, where it is until it is whole. It is removed if it is dropped before that.
pub(super) struct Building {
    path: PathBuf,
    /// Where it is; `None`: at its place.
    there: Option<PathBuf>,
}

impl Building {
    /// Begins the output at `path`. What a killed run has left of an earlier try is replaced.
    pub(super) fn begin(path: &Path) -> io::Result<(Self, File)> {
        let there = building(path);
        let make = || {
            remove(&there)?;
            OpenOptions::new().write(true).create_new(true).open(&there)
        };
        let file = make().map_err(|error| at(&there, &error))?;
        Ok((Self { path: path.to_owned(), there: Some(there) }, file))
    }

    /// An error of writing to it.
    pub(super) fn at(&self, error: &io::Error) -> io::Error {
        at(self.there.as_deref().unwrap_or(&self.path), error)
    }

    /// Moves it to its place, when all of it was written to `file`.
    pub(super) fn publish(mut self, file: &File) -> io::Result<()> {
        let moved = file.sync_all().and_then(|()| match &self.there {
            Some(there) => fs::rename(there, &self.path),
            None => Ok(()),
        });
        moved.map_err(|error| self.at(&error))?;
        self.there = None;
        sync_name(&self.path)
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // What cannot be removed has a name that says what it is, and is replaced by the next try.
        let _ = self.there.take().map(|there| remove(&there));
    }
}

/// Removes what a killed run has left of an output, which is built once more.
pub(super) fn remove_building(path: &Path) -> io::Result<()> {
    let there = building(path);
    remove(&there).map_err(|error| at(&there, &error))
}

/// Checks that nothing is at these places that is to be kept.
///
/// # Errors
///
/// Something is ([`io::ErrorKind::AlreadyExists`]); the error names it.
pub(super) fn expect_free(places: &[PathBuf]) -> io::Result<()> {
    match places.iter().find(|place| place.symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(place) => Err(taken(place)),
    }
}

/// Something is at this place that is to be kept.
pub(super) fn taken(place: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", place.display()))
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
