//! The write-ahead log of requests that must not be sent twice: an entry is synced before the request is sent.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use overlapped_proto::job::Row;
use overlapped_proto::journal::{Frame, Head};
use overlapped_proto::limits;
use overlapped_proto::row_set::RowSet;

use crate::sink::at;

/// The intents of the current generation. Shards record into it while the journal is committed.
#[derive(Debug)]
pub(crate) struct Intents {
    book: Mutex<Book>,
}

/// The open file of intents.
#[derive(Debug)]
pub(super) struct Book {
    file: File,
    path: PathBuf,
    /// Bytes of its frames.
    bytes: u64,
    /// Bytes of frames that fit before the file is extended.
    room: u64,
    /// Rows recorded since the last snapshot, and those in doubt from before.
    recorded: RowSet,
    /// A write or sync has failed. The content of the file is undefined, so nothing more is recorded.
    failed: bool,
}

impl Intents {
    /// Begins with a file that [`preallocate`] has prepared. `recorded`: rows in doubt from before.
    pub(super) fn begin(file: File, path: PathBuf, recorded: RowSet) -> Self {
        Self { book: Mutex::new(Book::begin(file, path, recorded)) }
    }

    /// Records that the request of a row is about to be sent. The entry is synced when this returns.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn record(&self, row: Row) -> io::Result<()> {
        let mut book = self.lock();
        book.check()?;
        let appended = book.append(&Frame::Intent(vec![row]));
        book.failed = appended.is_err();
        book.recorded.insert(row);
        book.bytes += appended.map_err(|error| at(&book.path, &error))?;
        Ok(())
    }

    /// # Errors
    ///
    /// An intent could not be written.
    pub(super) fn check(&self) -> io::Result<()> {
        self.lock().check()
    }

    /// Bytes of the frames in the file.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Stops the recording while the next generation begins. After a panic with the lock held the file may end in an
    /// incomplete frame, which recovery ignores.
    pub(super) fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn begin(file: File, path: PathBuf, recorded: RowSet) -> Self {
        Self { file, path, bytes: 0, room: ROOM, recorded, failed: false }
    }

    /// Goes on in the file of the next generation. After a failure it stays failed.
    pub(super) fn renew(&mut self, file: File, path: PathBuf, recorded: RowSet) {
        *self = Self { failed: self.failed, ..Self::begin(file, path, recorded) };
    }

    /// Rows recorded since the last snapshot, and those in doubt from before.
    pub(super) fn recorded(&self) -> &RowSet {
        &self.recorded
    }

    fn check(&self) -> io::Result<()> {
        let failed = || at(&self.path, &io::Error::other("an intent could not be written"));
        if self.failed { Err(failed()) } else { Ok(()) }
    }

    fn append(&mut self, frame: &Frame) -> io::Result<u64> {
        let bytes = encoded(frame);
        while self.bytes + bytes.len() as u64 > self.room {
            extend(&self.file, Head::BYTES as u64 + self.room + limits::INTENTS_STEP_BYTES)?;
            self.room += limits::INTENTS_STEP_BYTES;
        }
        append(&mut self.file, &bytes)
    }
}

/// The capacity for intents of a new file.
const ROOM: u64 = limits::INTENTS_STEP_BYTES - Head::BYTES as u64;

/// Gives a new file of intents its first capacity.
pub(super) fn preallocate(file: &File) -> io::Result<()> {
    extend(file, limits::INTENTS_STEP_BYTES)
}

/// Extends the file with zeros, so that a truncated file is recognised as damaged.
fn extend(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)?;
    file.sync_all()
}

/// The bytes of a frame.
pub(super) fn encoded(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

/// Appends and syncs a frame; returns its length.
pub(super) fn append(file: &mut File, bytes: &[u8]) -> io::Result<u64> {
    file.write_all(bytes)?;
    file.sync_data()?;
    Ok(bytes.len() as u64)
}
