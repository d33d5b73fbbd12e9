//! The directory of the shards. A file `.unfinished` is in it from the beginning until there is a plan: with it, what is
//! there is of a try that was killed, and is replaced. It is locked, so that two do not write into one directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::PLAN;
use crate::error::Error;
use crate::fs::{WholeFile, try_lock};

/// A directory in which shards are being written.
pub(super) struct Directory {
    path: PathBuf,
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
        let has_plan = plan.symlink_metadata().is_ok();
        if has_plan && !overwrite {
            return Err(Error::config(format!(
                "{} has the shards of a list already: --overwrite replaces them",
                path.display()
            )));
        }
        let old = shards(path).map_err(failed)?;
        if !(tried || has_plan || old.is_empty()) {
            return Err(Error::config(format!(
                "{} has files that are named as shards, without {PLAN}: give another directory",
                path.display()
            )));
        }
        let marked =
            OpenOptions::new().write(true).create(true).truncate(false).open(&marker).map_err(failed)?;
        if !try_lock(&marked).map_err(failed)? {
            return Err(Error::state(format!("another process writes shards into {}", path.display())));
        }
        let removed = sync(path).and_then(|()| {
            if has_plan {
                fs::remove_file(&plan)?;
                sync(path)?;
            }
            old.iter().try_for_each(fs::remove_file)
        });
        removed.map_err(failed)?;
        Ok(Self { path: path.to_owned(), _unfinished: marked })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
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

/// The shards in a directory, also those whose names are not final yet.
fn shards(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_part = name.starts_with('.') && name.ends_with(".part");
        let bare = name.strip_prefix('.').unwrap_or(&name);
        let number = bare.strip_prefix("shard-").and_then(|rest| rest.split_once('.'));
        let is_shard = number.is_some_and(|(number, rest)| {
            let is_number = number.len() == 5 && number.bytes().all(|byte| byte.is_ascii_digit());
            is_number
                && (rest == "parquet" && !name.starts_with('.') || rest.starts_with("parquet.") && is_part)
        });
        if is_shard && entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Makes the names in a directory durable.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
