//! Reserved names: files that the run itself uses, in any spelling and through any link.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::at;
use crate::fs::{FileId, Folder, file_id};

/// The files and directories that no row may use.
#[derive(Debug, Default)]
pub(super) struct Kept {
    paths: Vec<PathBuf>,
    /// Their parent directories, and their names there.
    names: Vec<(FileId, OsString)>,
    folders: Vec<FileId>,
}

impl Kept {
    /// Reserves these files and directories, whether they exist or not.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(super) fn new(paths: &[PathBuf]) -> io::Result<Self> {
        let mut kept = Self::default();
        for path in paths {
            let real = path.canonicalize().ok();
            for path in [Some(path), real.as_ref()].into_iter().flatten() {
                // A path without an existing parent, or without a name, cannot be a row's: the rows' directory exists.
                let (Some(folder), Some(name)) = (there(path, Folder::of(path))?, path.file_name()) else {
                    continue;
                };
                kept.names.push((folder.found()?.id, name.to_owned()));
            }
            if let Some(folder) = there(path, Folder::open(path))? {
                kept.folders.push(folder.found()?.id);
            }
            kept.paths.push(path.clone());
        }
        Ok(kept)
    }

    /// True if this name in this directory is reserved.
    pub(super) fn has_name(&self, folder: &Folder, name: &OsStr) -> io::Result<bool> {
        let mut alike = self.names.iter().filter(|(_, kept)| is_alike(kept, name)).peekable();
        if alike.peek().is_none() {
            return Ok(false);
        }
        let here = folder.found()?.id;
        Ok(alike.any(|(there, _)| *there == here))
    }

    /// True if it is a reserved file, under any name.
    pub(super) fn has_file(&self, file: FileId) -> bool {
        self.paths.iter().any(|path| file_id(path).is_ok_and(|found| found == file))
    }

    /// True if it is a reserved directory.
    pub(super) fn has_folder(&self, folder: &Folder) -> io::Result<bool> {
        if self.folders.is_empty() {
            return Ok(false);
        }
        let here = folder.found()?.id;
        Ok(self.folders.contains(&here))
    }
}

/// The directory, if it is one. Any other failure to open it is an error: its names would not be reserved.
fn there(path: &Path, opened: io::Result<Folder>) -> io::Result<Option<Folder>> {
    match opened {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(at(path, &error)),
    }
}

/// True if a file system may treat the names as equal. Called for every row's name, so it does not allocate.
fn is_alike(a: &OsStr, b: &OsStr) -> bool {
    let same =
        |a: &str, b: &str| a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase));
    match (a.to_str(), b.to_str()) {
        (Some(a), Some(b)) => same(a, b),
        _ => a == b,
    }
}
