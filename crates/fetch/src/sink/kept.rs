//! Names that no row can have: those of what the run itself reads and writes, in any spelling and through any link.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::at;
use crate::folder::{FileId, Folder};

/// What is kept from the rows of a run.
#[derive(Debug, Default)]
pub(super) struct Kept {
    paths: Vec<PathBuf>,
    /// The directories that they are in, and their names there.
    names: Vec<(FileId, OsString)>,
    folders: Vec<FileId>,
}

impl Kept {
    /// Keeps these files and directories, whether they are there yet or not.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(super) fn new(paths: &[PathBuf]) -> io::Result<Self> {
        let mut kept = Self::default();
        for path in paths {
            let real = path.canonicalize().ok();
            for path in [Some(path), real.as_ref()].into_iter().flatten() {
                // What has no directory yet, or no name, cannot be that of a row: the rows' directory is there.
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

    /// True if a file of this name in this directory is kept.
    pub(super) fn has_name(&self, folder: &Folder, name: &OsStr) -> io::Result<bool> {
        let mut alike = self.names.iter().filter(|(_, kept)| is_alike(kept, name)).peekable();
        if alike.peek().is_none() {
            return Ok(false);
        }
        let here = folder.found()?.id;
        Ok(alike.any(|(there, _)| *there == here))
    }

    /// True if it is a file that is kept, under whatever name.
    pub(super) fn has_file(&self, file: FileId) -> bool {
        use std::os::unix::fs::MetadataExt;
        let is_it = |path: &PathBuf| path.metadata().is_ok_and(|found| (found.dev(), found.ino()) == file);
        self.paths.iter().any(is_it)
    }

    /// True if it is a directory that is kept.
    pub(super) fn has_folder(&self, folder: &Folder) -> io::Result<bool> {
        if self.folders.is_empty() {
            return Ok(false);
        }
        let here = folder.found()?.id;
        Ok(self.folders.contains(&here))
    }
}

/// A directory, if it is one. That it cannot be opened for another reason is an error: its names would not be kept.
fn there(path: &Path, opened: io::Result<Folder>) -> io::Result<Option<Folder>> {
    match opened {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(at(path, &error)),
    }
}

/// True if some file system takes one name for the other. It allocates nothing: every row's name comes here.
fn is_alike(a: &OsStr, b: &OsStr) -> bool {
    let same =
        |a: &str, b: &str| a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase));
    match (a.to_str(), b.to_str()) {
        (Some(a), Some(b)) => same(a, b),
        _ => a == b,
    }
}
