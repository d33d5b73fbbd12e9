//! A body that is too large to hold, written to a file under a temporary name. A file gets its final name only when it is
//! complete; an unused one is removed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use overlapped::Executor;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::Row;
use overlapped_proto::outcome::Failure;

use crate::fs::{Folder, LastFiles, Moment, found, is_out_of_files};

/// The suffix of incomplete files.
const PART: &str = "part";

const PREFIX: &str = ".overlapped-";

/// The mode of a file while its body is being received: other users must not read an incomplete one.
const OWNER: u32 = 0o600;

/// The row number of a probe file, which belongs to no row.
const PROBE: Row = Row(u64::MAX);

/// The end of a temporary name.
fn ending(row: Row, attempt: u16) -> String {
    format!("{}-{attempt}.{PART}", row.0)
}

/// A temporary name.
fn name(run: RunId, row: Row, attempt: u16) -> String {
    format!("{}{}", run.prefix(), ending(row, attempt))
}

/// Distinguishes the files of one run from those of another, also where process numbers repeat, as in containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(pub(crate) u64);

impl RunId {
    /// A random number.
    pub(crate) fn draw() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// The prefix of its temporary names.
    pub(crate) fn prefix(self) -> String {
        format!("{PREFIX}{:016x}-", self.0)
    }
}

/// An open file under a temporary name; removed when dropped unless it is kept.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    path: Option<PathBuf>,
}

impl Part {
    /// A new file in `directory` for the body of `row`, with `mode` restricted by the umask. `run` is the owner in its
    /// name.
    ///
    /// # Blocking
    ///
    /// On the disk, like all methods of this type.
    pub(crate) fn create_in(
        directory: &Folder,
        run: RunId,
        row: Row,
        attempt: u16,
        mode: u32,
    ) -> io::Result<Self> {
        let name = name(run, row, attempt);
        // Waits for a free file descriptor: a run ends when it cannot write.
        let file = directory.create(OsStr::new(&name), mode)?;
        Ok(Self { file, path: Some(directory.path().join(name)) })
    }

    /// The same for its owner alone, if a file descriptor is free that others can spare; `None`: there is none. Does not wait for one.
    fn create_spare(
        directory: &Path,
        run: RunId,
        row: Row,
        attempt: u16,
        last: &LastFiles,
    ) -> io::Result<Option<Self>> {
        let path = directory.join(name(run, row, attempt));
        let file = match OpenOptions::new().read(true).write(true).create_new(true).mode(OWNER).open(&path) {
            Err(error) if is_out_of_files(&error) => return Ok(None),
            created => created?,
        };
        let spare = last.spare_body(&file);
        let part = Self { file, path: Some(path) };
        // Dropping it removes the file.
        Ok(spare.then_some(part))
    }

    /// Creates a file and removes it, to check that the directory can be written. Returns the mode of a file that the
    /// umask makes as readable as it allows, and the time by the file system's clock.
    pub(crate) fn probe(directory: &Folder) -> io::Result<(u32, Moment)> {
        let part = Self::create_in(directory, RunId::draw(), PROBE, 0, 0o644)?;
        let found = found(&part.file)?;
        Ok((found.mode, found.changed))
    }

    /// Removes the temporary files of a run in `directory` but those with the names in `keep`, and probe files of crashed
    /// processes. Removing a live probe file does no harm, since its name is not used again.
    pub(crate) fn remove_of(directory: &Folder, run: RunId, keep: &HashSet<&OsStr>) -> io::Result<()> {
        let (prefix, probe) = (run.prefix(), ending(PROBE, 0));
        let names = directory.names().map_err(|error| named(directory.path(), &error))?;
        for entry in names {
            let name = entry.to_string_lossy();
            let probe = name.starts_with(PREFIX) && name.ends_with(&probe);
            let own = name.starts_with(&prefix) && name.ends_with(PART) && !keep.contains(entry.as_os_str());
            if probe || own {
                let removed = directory.remove(&entry);
                removed.map_err(|error| named(&directory.path().join(&entry), &error))?;
            }
        }
        Ok(())
    }

    /// Its temporary name.
    pub(crate) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    pub(crate) fn write(&mut self, block: &[u8]) -> io::Result<()> {
        self.file.write_all(block)
    }

    /// Hands the file over under its temporary name.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.path.take().unwrap_or_default()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // A file that cannot be removed keeps its temporary name, which shows that it is incomplete.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A [`Part`] that is written on the disk view.
pub(crate) struct Spool {
    view: Executor,
    part: Part,
}

impl Spool {
    /// `None`: no file descriptor is free.
    pub(crate) async fn create(
        view: &Executor,
        directory: PathBuf,
        run: RunId,
        row: Row,
        attempt: u16,
        last: &Arc<LastFiles>,
    ) -> Result<Option<Self>, Failure> {
        let last = Arc::clone(last);
        let create = move || {
            let created = Part::create_spare(&directory, run, row, attempt, &last);
            created.map_err(|error| named(&directory, &error))
        };
        let part = flatten(view.submit(create).await)?;
        Ok(part.map(|part| Self { view: view.clone(), part }))
    }

    /// # Cancel safety
    ///
    /// Dropping the future removes the file.
    pub(crate) async fn write(self, block: Bytes) -> Result<Self, Failure> {
        let Self { view, mut part } = self;
        let write = move || match part.write(&block) {
            Ok(()) => Ok(part),
            Err(error) => Err(named(part.path(), &error)),
        };
        let written = view.submit(write).await;
        Ok(Self { part: flatten(written)?, view })
    }

    pub(crate) fn keep(self) -> PathBuf {
        self.part.keep()
    }
}

pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

pub(super) fn flatten<T>(done: Result<io::Result<T>, overlapped::JobError>) -> Result<T, Failure> {
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::new(ErrorKind::SinkIo, error.to_string())),
        Err(error) => Err(Failure::new(ErrorKind::Resource, format!("no thread for the disk: {error}"))),
    }
}
