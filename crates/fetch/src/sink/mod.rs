//! Sinks: where records go. A sink is a plain blocking object; the conductor lends it to tasks on the executor.

mod format;
mod body;
mod bodiless;
mod collect;
mod files;
#[cfg(feature = "tables")]
pub(crate) mod table;
pub(crate) mod har;
pub(crate) mod warc;
mod lines;
#[cfg(feature = "tables")]
pub(crate) mod batches;
mod built;
mod output;
pub(crate) mod packed;
mod naming;
mod kept;

use std::fmt;
use std::io;
use std::path::Path;

use overlapped_proto::limits::SINKS_MAX;
use overlapped_proto::record::{Body, Record};

pub use crate::fs::Moment;
pub use bodiless::WithoutBodies;
pub use body::BodyTo;
pub use collect::{Collected, collect};
pub use files::Files;
pub use format::{Beginning, Format, FormatOptions, Needs, Opening};
pub use lines::Lines;
pub use output::OutputFile;
pub(crate) use output::{begins_with, whole_end};
pub use overlapped_proto::filename::{Template, TemplateError};
pub use overlapped_proto::journal::{Checkpoint, End, Named, SinkId};
pub use overlapped_proto::record::column::Fields;
pub use overlapped_proto::record::csv::Guard;
pub use warc::WarcOptions;

use crate::body::rest::restore;
use crate::error::Error;
use crate::fs::open_patiently;

/// A destination of records.
///
/// ```
/// use std::io;
/// use overlapped_fetch::{Bulk, Config, Input, Record, Sink};
/// # let server = overlapped_testkit::Server::start();
/// # let urls = ["/ok", "/status/404"].map(|path| server.url(path));
///
/// /// Prints the failed rows.
/// struct Failures;
///
/// impl Sink for Failures {
///     fn accept(&mut self, record: &mut Record) -> io::Result<()> {
///         if let Some(failure) = &record.failure {
///             eprintln!("{}: {}", record.url, failure.message);
///         }
///         Ok(())
///     }
///
///     fn commit(&mut self) -> io::Result<()> {
///         Ok(())
///     }
/// }
///
/// let input = Input::Urls(Box::new(urls.into_iter()));
/// let summary = Bulk::new(Config::default())?.input(input).sink(Box::new(Failures)).start()?.wait()?;
/// assert_eq!(summary.by_error["status"], 1);
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
///
/// # Blocking
///
/// All methods but [`Sink::id`] and [`Sink::moves_bodies`] may block; they run on a thread of the executor, one call at a time.
pub trait Sink: Send {
    /// Takes one record. It may move the body to a file and note that in the record, for the sinks that follow.
    ///
    /// # Errors
    ///
    /// The record could not be written; the run ends.
    fn accept(&mut self, record: &mut Record) -> io::Result<()>;

    /// Flushes everything that was taken to the system. Called when no record is waiting, and at the end.
    ///
    /// # Errors
    ///
    /// It could not be flushed; the run ends.
    fn commit(&mut self) -> io::Result<()>;

    /// Flushes everything that was taken to the system, and returns how to make it durable. Called instead of
    /// [`Sink::commit`] in a durable run. Records taken afterwards belong to the next cut, and may be written before
    /// this one is synced. A sink without buffered or durable state need not implement it.
    ///
    /// # Errors
    ///
    /// As [`Sink::commit`].
    fn cut(&mut self) -> io::Result<Cut> {
        self.commit().map(|()| Cut::default())
    }

    /// Its name in the journal; `None`: it has no checkpoint.
    fn id(&self) -> Option<&SinkId> {
        None
    }

    /// Completes the output after the last record, for a format that is built at the end: from what was spooled, under
    /// a temporary name, and renamed when it is whole and synced. Called after the last [`Sink::commit`], or when the last
    /// [`Sink::cut`] is durable; in a durable run only if the list is done, otherwise the run may be resumed. After a crash
    /// it may be called once more, also when the output already has its final name.
    ///
    /// # Errors
    ///
    /// As [`Sink::commit`].
    fn seal(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// True if the sink moves bodies to files of their own. A run has at most one such sink.
    fn moves_bodies(&self) -> bool {
        false
    }
}

/// What a sink has taken since its last cut, to be made durable by a checkpoint.
#[derive(Default)]
pub struct Cut {
    /// Where the sink goes on if the run resumes from this cut. Only a sink with a name has one.
    pub checkpoint: Option<Checkpoint>,
    /// Files that `sync` renames to their final names.
    pub names: Vec<Named>,
    /// Syncs everything (fsync). Runs on a thread of the executor, and is not retried.
    pub sync: Option<Box<dyn FnOnce() -> io::Result<()> + Send>>,
}

/// The cuts of all sinks, each with the name of its sink.
pub(crate) type Cuts = Vec<(Option<SinkId>, Cut)>;

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cut")
            .field("checkpoint", &self.checkpoint)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// What to do if a new file's name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Keep the existing file; the new one gets a number.
    Keep,
    /// Replace it.
    Replace,
}

/// All sinks of a run, as one value that can be lent to a task.
pub(crate) struct Sinks(Vec<Box<dyn Sink>>);

impl Sinks {
    pub(crate) fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        Self(sinks)
    }

    /// Checks that they can be the sinks of one run.
    ///
    /// # Errors
    ///
    /// More than one sink moves bodies; two have the same name, or there are too many.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.0.iter().filter(|sink| sink.moves_bodies()).count() > 1 {
            return Err(Error::config("two sinks write bodies to files of their own: a body has one file"));
        }
        let mut ids: Vec<_> = self.0.iter().filter_map(|sink| sink.id()).collect();
        if ids.len() > SINKS_MAX {
            return Err(Error::config(format!("a run has at most {SINKS_MAX} durable sinks")));
        }
        ids.sort_unstable();
        match ids.iter().zip(ids.iter().skip(1)).find(|(id, next)| id == next) {
            Some((id, _)) => Err(Error::config(format!("two sinks are called {id}"))),
            None => Ok(()),
        }
    }

    /// True if one of them moves bodies.
    pub(crate) fn moves_bodies(&self) -> bool {
        self.0.iter().any(|sink| sink.moves_bodies())
    }

    /// Writes a batch, and returns it empty for reuse.
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
        // Once this is over it is the sink's: a caller may keep records for as long as it likes.
        let _row_hold = std::mem::take(&mut record.row_hold);
        restore(record)?;
        let spooled = match &record.body {
            Body::File(path) => Some(path.clone()),
            Body::None | Body::Inline(_) | Body::Spooled(_) => None,
        };
        let taken = self.0.iter_mut().try_for_each(|sink| sink.accept(record));
        match spooled {
            // No sink has taken the file over.
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
    pub(crate) fn cut(mut self) -> (Self, Result<Cuts, Error>) {
        let cut = |sink: &mut Box<dyn Sink>| {
            let cut = sink.cut()?;
            assert!(cut.checkpoint.is_none() || sink.id().is_some(), "a sink with a checkpoint has a name");
            Ok((sink.id().cloned(), cut))
        };
        let cuts: io::Result<_> = self.0.iter_mut().map(cut).collect();
        (self, cuts.map_err(Error::output))
    }

    /// # Blocking
    ///
    /// As its sinks do.
    pub(crate) fn seal(mut self) -> Result<(), Error> {
        self.0.iter_mut().try_for_each(|sink| sink.seal()).map_err(Error::output)
    }
}

/// Removes the body files of records that are not written.
///
/// # Blocking
///
/// On the disk.
pub(crate) fn discard(records: impl IntoIterator<Item = Record>) {
    for record in records {
        match record.body {
            // A file that cannot be removed keeps its temporary name, which shows that it is incomplete.
            Body::File(path) => drop(std::fs::remove_file(path)),
            Body::None | Body::Inline(_) | Body::Spooled(_) => {}
        }
    }
}

/// Creates a directory and its missing parents, and syncs their names.
///
/// # Errors
///
/// One cannot be created.
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

/// Syncs the directory entry of a file or directory.
///
/// # Blocking
///
/// On the disk.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_file(folder)
}

/// Syncs a file, or the entries of a directory.
///
/// # Blocking
///
/// On the disk.
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    open_patiently(path).and_then(|file| file.sync_all()).map_err(|error| at(path, &error))
}

/// An error with the path that it concerns.
pub(crate) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
