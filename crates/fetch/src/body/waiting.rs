//! Finished records that wait for an earlier row, in a file of a durable run: they survive a crash, and do not count against
//! memory.
//!
//! The file is written by one thread at a time, and only at its end. The journal says where each record is, and has its
//! checksum. The space of a record is freed when its row is done; when no record is left, the file is truncated. A record
//! is `length of the head u32 | head | body`.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlapped_proto::journal::{End, Waiting};
use overlapped_proto::limits;
use overlapped_proto::record::packed::{Rest, pack, unpack};
use overlapped_proto::record::spooled::{ReadAt, Spooled};
use overlapped_proto::record::{Body, Hold, Record};

use super::spool::named;
use crate::fs::{Folder, open_patiently, punch_hole};

/// The name of the file in the run directory.
pub(crate) const NAME: &str = "waiting";

/// The open file.
#[derive(Debug)]
pub(crate) struct WaitingFile {
    file: File,
    path: PathBuf,
    /// The directory in which bodies have files of their own.
    bodies: PathBuf,
    space: Mutex<Space>,
}

#[derive(Debug)]
struct Space {
    /// The offset of the next record.
    end: u64,
    /// Bytes in use. At zero the file is truncated.
    live: u64,
}

/// A record in the file.
#[derive(Debug)]
pub(crate) struct Extent {
    file: Arc<WaitingFile>,
    offset: u64,
    bytes: u64,
    /// Its row is done, so that its space is freed on drop. Otherwise it is kept for a run that resumes.
    done: AtomicBool,
}

/// What was written.
pub(crate) struct Written {
    /// The entries for the journal, in order.
    pub(crate) rows: Vec<Waiting>,
    pub(crate) extents: Vec<Arc<Extent>>,
    /// The file is full; the other records were not written.
    pub(crate) full: bool,
}

/// All functions block on the disk.
impl WaitingFile {
    /// Opens the file in the run directory, or creates it. What follows the `last` records is what a crash has left.
    pub(crate) fn open(folder: &Folder, bodies: PathBuf, rows: &[Waiting]) -> io::Result<Arc<Self>> {
        let path = folder.path().join(NAME);
        let end = rows.iter().map(|waiting| waiting.offset + waiting.bytes).max().unwrap_or(0);
        let live = rows.iter().map(|waiting| waiting.bytes).sum();
        let opened = || {
            let file = folder.open_or_create(OsStr::new(NAME), 0o600)?;
            file.set_len(end)?;
            folder.sync()?;
            Ok(file)
        };
        let file = { opened }().map_err(|error| named(&path, &error))?;
        Ok(Arc::new(Self { file, path, bodies, space: Mutex::new(Space { end, live }) }))
    }

    /// The record of an entry of the journal.
    pub(crate) fn extent(self: &Arc<Self>, waiting: &Waiting) -> Arc<Extent> {
        let Waiting { offset, bytes, .. } = *waiting;
        Arc::new(Extent { file: Arc::clone(self), offset, bytes, done: AtomicBool::new(false) })
    }

    /// Writes and syncs records, which are sorted, after `restore` has read what of them is on disk. One whose body file
    /// has been removed meanwhile is left out.
    pub(crate) fn write(self: &Arc<Self>, records: Vec<Record>, restore: Restore) -> io::Result<Written> {
        let begin = {
            let mut space = self.lock();
            // While a record is being written the file is not truncated.
            space.live += 1;
            space.end
        };
        let written = self.append(records, restore, begin).map_err(|error| named(&self.path, &error));
        let mut space = self.lock();
        space.live -= 1;
        let written = written?;
        space.end = written.rows.last().map_or(begin, |last| last.offset + last.bytes);
        space.live += written.rows.iter().map(|waiting| waiting.bytes).sum::<u64>();
        Ok(written)
    }

    fn append(self: &Arc<Self>, records: Vec<Record>, restore: Restore, begin: u64) -> io::Result<Written> {
        let mut out = Out { file: &self.file, buffer: Vec::new(), at: begin };
        let mut written = Written { rows: Vec::new(), extents: Vec::new(), full: false };
        let mut files = false;
        for mut record in records {
            restore(&mut record)?;
            let rest = match &record.body {
                Body::None => Rest::None,
                Body::Inline(bytes) => Rest::Inline(bytes.len() as u64),
                Body::Spooled(body) => Rest::Spooled(body.form()),
                // A row that failed gets no file.
                Body::File(path) if !record.ok && self.bodies != Path::new("") => {
                    let _ = std::fs::remove_file(path);
                    Rest::None
                }
                Body::File(path) => match open_patiently(path).and_then(|file| file.sync_all()) {
                    // Its row has come out, and a sink has moved it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    synced => {
                        synced.map_err(|error| named(path, &error))?;
                        files = true;
                        Rest::File(path.strip_prefix(&self.bodies).unwrap_or(path).to_owned())
                    }
                },
            };
            let offset = out.end();
            let End { bytes, sum } = out.record(&record, &rest)?;
            let waiting = Waiting { row: record.row, ok: record.ok, offset, bytes, sum };
            written.extents.push(self.extent(&waiting));
            written.rows.push(waiting);
            if out.end() >= limits::WAITING_BYTES_MAX {
                written.full = true;
                break;
            }
        }
        out.flush()?;
        if files {
            Folder::open(&self.bodies)
                .and_then(|bodies| bodies.sync())
                .map_err(|error| named(&self.bodies, &error))?;
        }
        self.file.sync_data()?;
        Ok(written)
    }

    /// Frees the space of a record. A file system without hole punching is no error: the space is freed at the latest when
    /// no record is left.
    fn give_back(&self, offset: u64, bytes: u64) {
        let mut space = self.lock();
        space.live -= bytes;
        if space.live == 0 {
            let _ = self.file.set_len(0);
            space.end = 0;
        } else {
            punch_hole(&self.file, offset, bytes);
        }
    }

    /// No code panics while it holds the lock, so a poisoned value is consistent.
    fn lock(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what of a record is on disk into memory.
type Restore = fn(&mut Record) -> io::Result<()>;

/// Writes records through a buffer.
struct Out<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// The offset of the buffer.
    at: u64,
}

impl Out<'_> {
    fn end(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    /// Appends a record: its length and checksum.
    fn record(&mut self, record: &Record, rest: &Rest) -> io::Result<End> {
        let (start, mut end) = (self.buffer.len(), End::default());
        self.buffer.extend_from_slice(&[0; HEAD_BYTES]);
        pack(record, rest, &mut self.buffer);
        let head = self.buffer.get_mut(start..).expect("the record begins in the buffer");
        let length = u32::try_from(head.len() - HEAD_BYTES).map_err(io::Error::other)?;
        head.get_mut(..HEAD_BYTES).expect("the head has its length").copy_from_slice(&length.to_le_bytes());
        end.append(head);
        match &record.body {
            Body::None | Body::File(_) => {}
            Body::Inline(bytes) => {
                end.append(bytes);
                self.push(bytes)?;
            }
            Body::Spooled(body) => {
                let (mut reader, mut block) = (body.reader(), vec![0; limits::OUTPUT_BUFFER_BYTES]);
                loop {
                    let count = io::Read::read(&mut reader, &mut block)?;
                    let read = block.get(..count).expect("a reader fills no more than the block");
                    if read.is_empty() {
                        break;
                    }
                    end.append(read);
                    self.push(read)?;
                }
            }
        }
        if self.buffer.len() >= limits::OUTPUT_BUFFER_BYTES {
            self.flush()?;
        }
        Ok(end)
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() <= limits::OUTPUT_BUFFER_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// The length of a head's length.
const HEAD_BYTES: usize = 4;

impl Extent {
    /// The row is done: the space is freed after the last read.
    pub(crate) fn done(&self) {
        self.done.store(true, Ordering::SeqCst);
    }

    /// The record in its place in order until a sink takes it: its number, and whether it succeeded.
    pub(crate) fn stub(self: Arc<Self>, waiting: &Waiting) -> Record {
        let mut record = Record::new(waiting.row, "");
        record.ok = waiting.ok;
        record.hold = Hold::new(self);
        record
    }

    /// The whole record.
    fn read(self: &Arc<Self>) -> io::Result<Record> {
        let WaitingFile { file, path, bodies, .. } = &*self.file;
        let failed = |error: io::Error| named(path, &error);
        let (mut record, rest, head) = head(file, self.offset, self.bytes, bodies).map_err(failed)?;
        record.body = match rest {
            Rest::None => Body::None,
            Rest::Inline(bytes) => {
                let mut block = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
                file.read_exact_at(&mut block, self.offset + head).map_err(failed)?;
                Body::Inline(block.into())
            }
            Rest::Spooled(form) => {
                Body::Spooled(Spooled::again(form, Tail { extent: Arc::clone(self), head }))
            }
            Rest::File(path) => Body::File(path),
        };
        Ok(record)
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        if self.done.load(Ordering::SeqCst) {
            self.file.give_back(self.offset, self.bytes);
        }
    }
}

/// The body of a record, behind its head.
#[derive(Debug)]
struct Tail {
    extent: Arc<Extent>,
    head: u64,
}

impl ReadAt for Tail {
    fn read_at(&self, offset: u64, block: &mut [u8]) -> io::Result<usize> {
        let rest = self.extent.bytes.saturating_sub(self.head).saturating_sub(offset);
        let most = usize::try_from(rest).unwrap_or(usize::MAX).min(block.len());
        let block = block.get_mut(..most).expect("at most the length of the block");
        self.extent.file.file.read_at(block, self.extent.offset + self.head + offset)
    }
}

/// Reads a record that waits on disk back into memory; any other is left as it is.
///
/// # Errors
///
/// The disk fails.
pub(super) fn restore(record: &mut Record) -> io::Result<()> {
    if let Some(extent) = record.hold.get::<Arc<Extent>>() {
        *record = extent.read()?;
    }
    Ok(())
}

/// A record without its body, and the length of its head.
fn head(file: &File, offset: u64, bytes: u64, bodies: &Path) -> io::Result<(Record, Rest, u64)> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "a record in it is malformed");
    let mut length = [0; HEAD_BYTES];
    file.read_exact_at(&mut length, offset)?;
    let length = u32::from_le_bytes(length);
    if u64::from(length) + HEAD_BYTES as u64 > bytes {
        return Err(malformed());
    }
    let mut head = vec![0; length as usize];
    file.read_exact_at(&mut head, offset + HEAD_BYTES as u64)?;
    let path = |bytes: &[u8]| bodies.join(OsStr::from_bytes(bytes));
    let (record, rest) = unpack(&head, path).ok_or_else(malformed)?;
    Ok((record, rest, u64::from(length) + HEAD_BYTES as u64))
}

/// True if the record of this entry is in the file, as it was written.
///
/// # Errors
///
/// The file cannot be read.
pub(crate) fn is_sound(file: &File, waiting: &Waiting) -> io::Result<bool> {
    let (mut end, mut block) = (End::default(), vec![0; limits::OUTPUT_BUFFER_BYTES]);
    while end.bytes < waiting.bytes {
        let room = usize::try_from(waiting.bytes - end.bytes).unwrap_or(usize::MAX).min(block.len());
        let block = block.get_mut(..room).expect("the room is within the block");
        let Some(at) = waiting.offset.checked_add(end.bytes) else { return Ok(false) };
        match file.read_at(block, at) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                end.append(block.get(..count).expect("a file gives no more bytes than the block holds"))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(end.sum == waiting.sum)
}

/// The file of the body of a record, if it has one, and how long that must be.
///
/// # Errors
///
/// The file cannot be read, or is malformed.
pub(crate) fn body_file(file: &File, waiting: &Waiting, bodies: &Path) -> io::Result<Option<(PathBuf, u64)>> {
    let (record, rest, _) = head(file, waiting.offset, waiting.bytes, bodies)?;
    Ok(match rest {
        Rest::File(path) => Some((path, record.bytes)),
        Rest::None | Rest::Inline(_) | Rest::Spooled(_) => None,
    })
}
