//! A body too large to hold, on its way into a file under a temporary name. A half-written file never has a final
//! name, and one that nobody takes over is removed.

use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use overlapped::Executor;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::Row;
use overlapped_proto::outcome::Failure;

use crate::folder::{Folder, Moment, found};

/// The ending of every file that is not finished.
const PART: &str = "part";

const PREFIX: &str = ".overlapped-";

/// The mode of a file that is written while its body comes: nobody else may read half of one.
const OWNER: u32 = 0o600;

/// No row: the file is only made to find out whether it can be.
const PROBE: Row = Row(u64::MAX);

/// What the name of a part ends with.
fn ending(row: Row, attempt: u16) -> String {
    format!("{}-{attempt}.{PART}", row.0)
}

/// Tells the files of one run from those of another, also where every process has the same number, as in containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(pub(crate) u64);

impl RunId {
    /// A number that no other run is likely to have.
    pub(crate) fn draw() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// What the names of its files begin with while they are not whole.
    pub(crate) fn prefix(self) -> String {
        format!("{PREFIX}{:016x}-", self.0)
    }
}

/// An open file under a temporary name; removed when dropped, unless it is kept.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    path: Option<PathBuf>,
}

impl Part {
    /// A new file in `directory` for the body of `row`, that may be read by whom `mode` and the process's umask allow
    /// to. `run` tells whose it is.
    ///
    /// # Blocking
    ///
    /// On the disk, like all of this type.
    pub(crate) fn create(
        directory: &Path,
        run: RunId,
        row: Row,
        attempt: u16,
        mode: u32,
    ) -> io::Result<Self> {
        Self::create_in(&Folder::open(directory)?, run, row, attempt, mode)
    }

    /// The same in a directory that is open.
    pub(crate) fn create_in(
        directory: &Folder,
        run: RunId,
        row: Row,
        attempt: u16,
        mode: u32,
    ) -> io::Result<Self> {
        let name = format!("{}{}", run.prefix(), ending(row, attempt));
        // A run ends when it cannot write, and connections that hold all files are no reason to.
        let file = directory.create(OsStr::new(&name), mode)?;
        Ok(Self { file, path: Some(directory.path().join(name)) })
    }

    /// Makes a file and removes it again, to find out whether it can be done, with which mode a file is made that whoever
    /// the process's umask allows to may read, and what time it is there.
    pub(crate) fn probe(directory: &Folder) -> io::Result<(u32, Moment)> {
        let part = Self::create_in(directory, RunId::draw(), PROBE, 0, 0o644)?;
        let found = found(&part.file)?;
        Ok((found.mode, found.changed))
    }

    /// Removes what a run has left in `directory`, and what any has left that was killed while it probed: whoever
    /// probes just now does not miss the name of its file.
    pub(crate) fn remove_of(directory: &Folder, run: RunId) -> io::Result<()> {
        let (prefix, probe) = (run.prefix(), ending(PROBE, 0));
        let names = directory.names().map_err(|error| named(directory.path(), &error))?;
        for entry in names {
            let name = entry.to_string_lossy();
            let probe = name.starts_with(PREFIX) && name.ends_with(&probe);
            if probe || name.starts_with(&prefix) && name.ends_with(PART) {
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

    /// Gives the file away, still under its temporary name.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.path.take().unwrap_or_default()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Nothing can be done about a file that cannot be removed, and its name says what it is.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A [`Part`] that is written on the disk lane.
pub(crate) struct Spool {
    lane: Executor,
    part: Part,
}

impl Spool {
    pub(crate) async fn create(
        lane: &Executor,
        directory: PathBuf,
        run: RunId,
        row: Row,
        attempt: u16,
    ) -> Result<Self, Failure> {
        let create = move || {
            Part::create(&directory, run, row, attempt, OWNER).map_err(|error| named(&directory, &error))
        };
        let part = lane.submit(create).await;
        Ok(Self { lane: lane.clone(), part: flatten(part)? })
    }

    /// # Cancel safety
    ///
    /// Dropped half-way, the file goes with it.
    pub(crate) async fn write(self, block: Bytes) -> Result<Self, Failure> {
        let Self { lane, mut part } = self;
        let write = move || match part.write(&block) {
            Ok(()) => Ok(part),
            Err(error) => Err(named(part.path(), &error)),
        };
        let written = lane.submit(write).await;
        Ok(Self { part: flatten(written)?, lane })
    }

    pub(crate) fn keep(self) -> PathBuf {
        self.part.keep()
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

pub(super) fn flatten<T>(done: Result<io::Result<T>, overlapped::JobError>) -> Result<T, Failure> {
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::new(ErrorKind::SinkIo, error.to_string())),
        Err(error) => Err(Failure::new(ErrorKind::Resource, format!("no thread for the disk: {error}"))),
    }
}
