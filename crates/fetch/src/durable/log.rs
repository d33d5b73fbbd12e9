//! The journal as it is written: a group of rows is durable when this file says so, and not before.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use overlapped_proto::done::RowSet;
use overlapped_proto::job::Row;
use overlapped_proto::journal::{Frame, Group, Head, Mark, State};
use overlapped_proto::limits;
use serde_json::Value;

use super::directory::{Directory, INTENTS, JOURNAL, SNAPSHOT, name};
use crate::error::Error;
use crate::sink::{Cut, at};

/// The state of a run at work.
pub(crate) struct Log {
    directory: Directory,
    state: State,
    head: Head,
    file: File,
    /// Bytes in the file.
    bytes: u64,
    intents: Arc<Intents>,
    /// Rows that were done before.
    before: u64,
}

/// Rows that the sinks have taken together.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) ok: Vec<Row>,
    pub(crate) failed: Vec<Row>,
    /// Where reading may begin again.
    pub(crate) mark: Option<Mark>,
}

impl Taken {
    pub(crate) fn len(&self) -> u64 {
        (self.ok.len() + self.failed.len()) as u64
    }
}

impl Log {
    /// Begins a generation with everything that is known.
    ///
    /// # Blocking
    ///
    /// On the disk, like all of this type.
    pub(super) fn begin(
        directory: Directory,
        manifest: &Value,
        state: State,
        run: u64,
        generation: u64,
    ) -> Result<Self, Error> {
        let head = Head { run, generation, process: std::process::id() };
        let before = state.done.len();
        let recorded = state.intended.clone();
        let written = || {
            let (file, intents) = begin_generation(&directory, &state, head)?;
            // Last: a run is begun when it has a manifest.
            directory.publish_manifest(manifest)?;
            Ok((file, intents))
        };
        let (file, intents) = { written }().map_err(Error::output)?;
        let path = directory.file(&name(INTENTS, generation));
        let intents =
            Arc::new(Intents { book: Mutex::new(Book { file: intents, path, recorded, failed: false }) });
        Ok(Self { directory, state, head, file, bytes: Head::BYTES as u64, intents, before })
    }

    /// Where intents are recorded.
    pub(crate) fn intents(&self) -> Arc<Intents> {
        Arc::clone(&self.intents)
    }

    /// Makes durable what the sinks have taken, and then says so.
    ///
    /// # Errors
    ///
    /// It did not work. It must not be tried again: after a failed sync nobody knows what is on the disk.
    pub(crate) fn commit(&mut self, cuts: Vec<Cut>, mut taken: Taken) -> Result<(), Error> {
        taken.ok.sort_unstable();
        taken.failed.sort_unstable();
        self.write(cuts, taken).map_err(Error::output)
    }

    fn write(&mut self, cuts: Vec<Cut>, taken: Taken) -> io::Result<()> {
        self.intents.check(&self.intents.lock())?;
        let mut cuts = cuts;
        let names: Vec<_> = cuts.iter_mut().flat_map(|cut| std::mem::take(&mut cut.names)).collect();
        if !names.is_empty() {
            self.append(Frame::Names(names))?;
        }
        let offsets = cuts.iter().map(|cut| cut.offset).collect();
        for sync in cuts.into_iter().filter_map(|cut| cut.sync) {
            sync()?;
        }
        let Taken { ok, failed, mark } = taken;
        self.append(Frame::Done(Group { ok, failed, offsets, mark }))?;
        if self.bytes >= limits::JOURNAL_BYTES {
            self.rotate()?;
        }
        Ok(())
    }

    /// The first row that is not done.
    pub(crate) fn low(&self) -> Row {
        self.state.done.low()
    }

    fn append(&mut self, frame: Frame) -> io::Result<()> {
        let appended = append(&mut self.file, &frame);
        self.bytes +=
            appended.map_err(|error| self.directory.at(&name(JOURNAL, self.head.generation), &error))?;
        self.state.apply(frame);
        Ok(())
    }

    /// Begins the next generation, so that reading the state takes no longer and longer.
    fn rotate(&mut self) -> io::Result<()> {
        let intents = Arc::clone(&self.intents);
        let mut book = intents.lock();
        self.state.intended = book.recorded.without(&self.state.done);
        self.head.generation += 1;
        (self.file, book.file) = begin_generation(&self.directory, &self.state, self.head)?;
        book.path = self.directory.file(&name(INTENTS, self.head.generation));
        book.recorded = self.state.intended.clone();
        self.bytes = Head::BYTES as u64;
        Ok(())
    }

    /// Ends the run. Its directory goes if the list is done and no row has failed; else it stays, to go on with.
    ///
    /// # Errors
    ///
    /// The disk fails, or the sum does not hold: `written` rows were written, and another number is done.
    pub(crate) fn end(mut self, written: u64, complete: bool) -> Result<(), Error> {
        let done = self.state.done.len();
        if done != self.before + written {
            let before = self.before;
            return Err(Error::internal(format!(
                "{done} rows are done, but {before} were done before and {written} were written"
            )));
        }
        if !complete {
            return Ok(());
        }
        let ended = match self.state.failed.is_empty() {
            // Without a run in it the directory goes when it is let go.
            true => self.directory.forget(),
            false => self.append(Frame::Ended),
        };
        ended.map_err(Error::output)
    }
}

fn begin_generation(directory: &Directory, state: &State, head: Head) -> io::Result<(File, File)> {
    publish(directory, state, head)?;
    let file = directory.create(&name(JOURNAL, head.generation), head)?;
    let intents = directory.create(&name(INTENTS, head.generation), head)?;
    directory.prune(head.generation)?;
    Ok((file, intents))
}

/// Publishes a snapshot: with it begins a generation, whatever else is written of that.
pub(super) fn publish(directory: &Directory, state: &State, head: Head) -> io::Result<()> {
    let mut snapshot = head.encode();
    Frame::Snapshot(Box::new(state.clone())).encode(&mut snapshot);
    directory.publish(&name(SNAPSHOT, head.generation), &snapshot)
}

/// Appends a frame and has it on the disk; answers with its length.
fn append(file: &mut File, frame: &Frame) -> io::Result<u64> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    file.write_all(&bytes)?;
    file.sync_data()?;
    Ok(bytes.len() as u64)
}

/// Requests that must not be sent twice, recorded before they are sent.
#[derive(Debug)]
pub(crate) struct Intents {
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    file: File,
    path: PathBuf,
    /// Every row that was recorded since the last snapshot, or is in doubt from before.
    recorded: RowSet,
    /// A write or a sync did not work: nobody knows what is on the disk, and nothing more is recorded.
    failed: bool,
}

impl Intents {
    /// Records that the request for a row is about to be sent. It is on the disk when this returns.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn record(&self, row: Row) -> io::Result<()> {
        let mut book = self.lock();
        self.check(&book)?;
        let appended = append(&mut book.file, &Frame::Intent(vec![row]));
        book.failed = appended.is_err();
        book.recorded.insert(row);
        appended.map(drop).map_err(|error| at(&book.path, &error))
    }

    fn check(&self, book: &Book) -> io::Result<()> {
        let failed = || at(&book.path, &io::Error::other("an intent could not be written"));
        if book.failed { Err(failed()) } else { Ok(()) }
    }

    /// After a panic with the lock held the file may end in half a frame, which is the same as none.
    fn lock(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
