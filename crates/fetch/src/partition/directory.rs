//! The directory of the shards. A file `.unfinished` is in it from the beginning until there is a plan: with it, what is
//! there is of a try that was killed, and is replaced. It is locked, so that two do not write into one directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::PLAN;
use crate::error::Error;
use crate::fs::{ClosedFile, Folder, WholeFile, try_lock};

/// A directory in which shards are being written.
pub(super) struct Directory {
    path: PathBuf,
    /// Open before anything is written, so that a failure to write it back is told when the file system is synced.
    folder: Folder,
    /// The lock.
    _unfinished: File,
}

const UNFINISHED: &str = ".unfinished";

impl Directory {
    /// Creates the directory, or takes one without shards, or removes those of an earlier try.
    pub(super) fn begin(path: &Path, overwrite: bool) -> Result<Self, Error> {
        let failed = |error| Error::output_path(path, error);
        fs::create_dir_all(path).map_err(failed)?;
        let (plan, marker) = (path.join(PLAN), path.join(UNFINISHED));
        let tried = marker.symlink_metadata().is_ok();
        let has_plan = || plan.symlink_metadata().is_ok();
        let taken = || {
            Error::config(format!(
                "{} has the shards of a list already: --overwrite replaces them",
                path.display()
            ))
        };
        if has_plan() && !overwrite {
            return Err(taken());
        }
        if !(tried || has_plan() || shards(path).map_err(failed)?.is_empty()) {
            return Err(Error::config(format!(
                "{} has files that are named as shards, without {PLAN}: give another directory",
                path.display()
            )));
        }
        let marked =
            OpenOptions::new().write(true).create(true).truncate(false).open(&marker).map_err(failed)?;
        // One that has just ended has removed the marker that was opened here.
        if !(try_lock(&marked).map_err(failed)? && is_at(&marked, &marker)) {
            return Err(Error::state(format!("another process writes shards into {}", path.display())));
        }
        // It may have ended before the marker was opened. What is there is looked at again, now that nobody else writes.
        let has_plan = has_plan();
        if has_plan && !overwrite {
            fs::remove_file(&marker).map_err(failed)?;
            return Err(taken());
        }
        let old = shards(path).map_err(failed)?;
        let removed = sync(path).and_then(|()| {
            if has_plan {
                fs::remove_file(&plan)?;
                sync(path)?;
            }
            old.iter().try_for_each(fs::remove_file)
        });
        removed.map_err(failed)?;
        let folder = Folder::open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), folder, _unfinished: marked })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives files their names, once all of them are synced.
    pub(super) fn name(&self, files: Vec<ClosedFile>) -> Result<(), Error> {
        let name = || {
            if !(files.is_empty() || self.folder.sync_system()?) {
                files.iter().try_for_each(ClosedFile::sync)?;
            }
            files.into_iter().try_for_each(ClosedFile::finish)
        };
        name().map_err(|error| Error::output_path(&self.path, error))
    }

    /// Writes the plan, which makes the shards count.
    pub(super) fn commit(self, plan: &[u8]) -> Result<(), Error> {
        let write = || {
            // The names of the shards are durable before that of the plan.
            sync(&self.path)?;
            let mut file = WholeFile::create(&self.path.join(PLAN), 0o666)?;
            file.write_all(plan)?;
            file.sync()?;
            file.finish()?;
            sync(&self.path)?;
            fs::remove_file(self.path.join(UNFINISHED))
        };
        write().map_err(|error| Error::output_path(&self.path, error))
    }
}

/// True if `path` is the name of this file.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(file), Ok(found)) = (file.metadata(), path.symlink_metadata()) else { return false };
    (file.dev(), file.ino()) == (found.dev(), found.ino())
}

/// The shards in a directory, also those whose names are not final yet, and a plan that is not.
fn shards(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let whole = unfinished(&name).unwrap_or(&name);
        let is_number = |number: &str| number.len() == 5 && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = whole.strip_prefix("shard-").and_then(|rest| rest.strip_suffix(".parquet"));
        let is_one = number.is_some_and(is_number) || (whole == PLAN && whole != name);
        if is_one && entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The name that a [`WholeFile`] is to have which is not finished: `shard-00000.parquet` of `.shard-00000.parquet.712-0.part`.
fn unfinished(name: &str) -> Option<&str> {
    let (whole, number) = name.strip_prefix('.')?.strip_suffix(".part")?.rsplit_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (process, tries) = number.split_once('-')?;
    (is_number(process) && is_number(tries)).then_some(whole)
}

/// Removes what a killed process has left of a [`WholeFile`] at `path`.
pub(super) fn remove_unfinished(path: &Path, folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if unfinished(&entry.file_name().to_string_lossy())
            .is_some_and(|whole| path.file_name() == Some(whole.as_ref()))
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
