//! Where records go. A sink is blocking and plain; the conductor carries it to a thread and back.

mod body;
mod collect;
mod files;
mod lines;

use std::io;

use overlapped_proto::record::{Body, Record};

pub use body::BodyTo;
pub use collect::{Collected, collect};
pub use files::{Existing, Files};
pub use lines::Lines;

use crate::error::Error;

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
}

/// All sinks of a run, as one thing that can be sent away and come back.
pub(crate) struct Sinks(Vec<Box<dyn Sink>>);

impl Sinks {
    pub(crate) fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        Self(sinks)
    }

    /// # Blocking
    ///
    /// As its sinks do.
    pub(crate) fn accepted(mut self, batch: Vec<Record>) -> (Self, Result<(), Error>) {
        let mut batch = batch.into_iter();
        let taken = batch.by_ref().try_for_each(|mut record| self.accept(&mut record));
        discard(batch);
        (self, taken.map_err(Error::output))
    }

    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        let spooled = match &record.body {
            Body::File(path) => Some(path.clone()),
            Body::None | Body::Inline(_) => None,
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
            Body::None | Body::Inline(_) => {}
        }
    }
}
