//! Where records go. A sink is blocking and plain; the conductor carries it to a thread and back.

mod body;
mod collect;
mod files;
mod lines;
mod output;
mod naming;
mod kept;

use std::fmt;
use std::io;
use std::path::Path;

use overlapped_proto::journal::End;
use overlapped_proto::record::{Body, Record};

pub use crate::folder::Moment;
pub use body::BodyTo;
pub use collect::{Collected, collect};
pub use files::Files;
pub use lines::Lines;
pub use output::OutputFile;
pub(crate) use output::ends_with;
pub use overlapped_proto::filename::{Template, TemplateError};
pub use overlapped_proto::journal::Named;
pub use overlapped_proto::record::column::Fields;
pub use overlapped_proto::record::csv::Guard;

use crate::body::rest::restore;
use crate::error::Error;
use crate::rlimit::open_patiently;

/// A place where records go.
///
/// # Blocking
///
/// Both methods may block; they run on a thread of the executor, one call at a time.
pub trait Sink: Send {
    /// Takes one record. It may move the body away and say where it is, for the sinks that follow.
    ///
    /// # Errors
    ///
    /// The record could not be taken; the run ends.
    fn accept(&mut self, record: &mut Record) -> io::Result<()>;

    /// Hands everything that was taken to the system. Called when nothing else waits to be taken, and at the end.
    ///
    /// # Errors
    ///
    /// It could not be handed on; the run ends.
    fn commit(&mut self) -> io::Result<()>;

    /// Hands everything that was taken to the system, and says how to make it durable. Called instead of
    /// [`Sink::commit`] when a run is durable; what is taken afterwards belongs to the next cut, and may come before
    /// this one is on the disk. A sink that keeps nothing for later need not know of it.
    ///
    /// # Errors
    ///
    /// As [`Sink::commit`].
    fn cut(&mut self) -> io::Result<Cut> {
        self.commit().map(|()| Cut::default())
    }

    /// True if it moves bodies to places of their own. A run has at most one such sink.
    fn moves_bodies(&self) -> bool {
        false
    }
}

/// What a sink has taken since its last cut, and how to make it durable.
#[derive(Default)]
pub struct Cut {
    /// Where its file ends, if it has one that is only appended to: there it is cut when the run goes on from here.
    pub end: Option<End>,
    /// Files that `sync` gives their final names.
    pub names: Vec<Named>,
    /// Has everything on the disk when it returns. Runs on a thread of the executor; it is never tried again.
    pub sync: Option<Box<dyn FnOnce() -> io::Result<()> + Send>>,
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cut").field("end", &self.end).field("names", &self.names).finish_non_exhaustive()
    }
}

/// What becomes of a file that already has the name of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays; the new file gets a number.
    Keep,
    /// The new file takes its place.
    Replace,
}

/// All sinks of a run, as one thing that can be sent away and come back.
pub(crate) struct Sinks(Vec<Box<dyn Sink>>);

impl Sinks {
    pub(crate) fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        Self(sinks)
    }

    /// True if a body that one of them has moved would be moved by another.
    pub(crate) fn contend(&self) -> bool {
        self.0.iter().filter(|sink| sink.moves_bodies()).count() > 1
    }

    /// True if one of them does.
    pub(crate) fn moves_bodies(&self) -> bool {
        self.0.iter().any(|sink| sink.moves_bodies())
    }

    /// Gives the batch back, empty.
    ///
    /// # Blocking
    ///
    /// As its sinks do.
    pub(crate) fn accepted(mut self, mut batch: Vec<Record>) -> (Self, Result<Vec<Record>, Error>) {
        let mut records = batch.drain(..);
        let taken = records.by_ref().try_for_each(|mut record| self.accept(&mut record));
        discard(records);
        (self, taken.map(|()| batch).map_err(Error::output))
    }

    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        restore(record)?;
        let spooled = match &record.body {
            Body::File(path) => Some(path.clone()),
            Body::None | Body::Inline(_) | Body::Spooled(_) => None,
        };
        let taken = self.0.iter_mut().try_for_each(|sink| sink.accept(record));
        match spooled {
            // Nobody gave the file a name of its own.
            Some(path) if record.body == Body::File(path.clone()) => taken.and(std::fs::remove_file(path)),
            Some(_) | None => taken,
        }
    }

    /// # Blocking
    ///
    /// As its sinks do.
    pub(crate) fn committed(mut self) -> (Self, Result<(), Error>) {
        let committed = self.0.iter_mut().try_for_each(|sink| sink.commit());
        (self, committed.map_err(Error::output))
    }

    /// # Blocking
    ///
    /// As its sinks do.
    pub(crate) fn cut(mut self) -> (Self, Result<Vec<Cut>, Error>) {
        let cuts: io::Result<_> = self.0.iter_mut().map(|sink| sink.cut()).collect();
        (self, cuts.map_err(Error::output))
    }
}

/// Removes the files of bodies that no sink will take.
///
/// # Blocking
///
/// On the disk.
pub(crate) fn discard(records: impl IntoIterator<Item = Record>) {
    for record in records {
        match record.body {
            // Nothing can be done about a file that cannot be removed, and its name says what it is.
            Body::File(path) => drop(std::fs::remove_file(path)),
            Body::None | Body::Inline(_) | Body::Spooled(_) => {}
        }
    }
}

/// Makes a directory, and those above it that are not there; their names are on the disk.
///
/// # Errors
///
/// One cannot be made.
///
/// # Blocking
///
/// On the disk.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
    std::fs::create_dir_all(path)?;
    missing.into_iter().try_for_each(sync_name)
}

/// Has the name of a file or directory on the disk.
///
/// # Blocking
///
/// On the disk.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_file(folder)
}

/// Has a file, or the names in a directory, on the disk.
///
/// # Blocking
///
/// On the disk.
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    open_patiently(path).and_then(|file| file.sync_all()).map_err(|error| at(path, &error))
}

/// An error that says where.
pub(crate) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
