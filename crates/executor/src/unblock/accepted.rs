//! The write buffer: bytes that were accepted and that the object has not taken yet. After an error they stay; after a panic they are not
//! written a second time.

use std::io::{self, Write};
use std::sync::Arc;

use super::Rewind;
use crate::sync::Mutex;

/// Shared with the jobs, which lock it only to take bytes out and to put back what is left.
pub(super) struct Accepted<T> {
    /// Accepted since the last operation was started.
    bytes: Vec<u8>,
    /// To be written by the next job that has the object.
    sealed: Vec<u8>,
    /// An empty buffer, to be used again.
    spare: Vec<u8>,
    /// How far the object must move back before these are written: over bytes that were read and not given.
    back: u64,
    /// How to move back, and how to write, known since the first write: the end of an `Unblock` does not know that `T` can.
    rewind: Option<Rewind<T>>,
    writer: Option<Writer<T>>,
}

pub(super) type Writer<T> = fn(&mut T, &[u8]) -> (usize, io::Result<()>);

impl<T> Accepted<T> {
    pub(super) fn new() -> Self {
        Accepted {
            bytes: Vec::new(),
            sealed: Vec::new(),
            spare: Vec::new(),
            back: 0,
            rewind: None,
            writer: None,
        }
    }

    /// Buffers bytes while there is room in a buffer of this size; returns how many, and whether it is full now.
    pub(super) fn take_in(&mut self, bytes: &[u8], limit: usize) -> (usize, bool) {
        let (room, _) = bytes.split_at(bytes.len().min(limit.saturating_sub(self.bytes.len())));
        self.bytes.extend_from_slice(room);
        (room.len(), self.bytes.len() >= limit)
    }

    pub(super) fn is_written_to(&self) -> bool {
        self.writer.is_some()
    }

    pub(super) fn written_by(&mut self, writer: Writer<T>) {
        self.writer = Some(writer);
    }

    /// Before the next bytes are written, the object moves back by this.
    pub(super) fn after_moving_back(&mut self, by: u64, rewind: Rewind<T>) {
        self.back += by;
        self.rewind = Some(rewind);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.sealed.is_empty()
    }

    /// Marks what is buffered as to be written by the next job; returns whether there is anything.
    pub(super) fn seal(&mut self) -> bool {
        if self.sealed.is_empty() {
            std::mem::swap(&mut self.sealed, &mut self.bytes);
        } else {
            // A job that was not taken, or a write that failed, has left these.
            self.sealed.append(&mut self.bytes);
        }
        if self.bytes.capacity() == 0 {
            self.bytes = std::mem::take(&mut self.spare);
        }
        !self.sealed.is_empty()
    }

    /// All of it, when the object will not have it.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.seal();
        std::mem::take(&mut self.sealed)
    }

    /// The job's part: hands the sealed bytes to the object. What the object does not take stays; a panic takes the bytes along.
    pub(super) fn write(this: &Arc<Mutex<Self>>, object: &mut T) -> io::Result<()> {
        let (mut block, back, rewind, writer) = {
            let mut accepted = this.lock();
            let block = std::mem::take(&mut accepted.sealed);
            (block, accepted.back, accepted.rewind, accepted.writer)
        };
        if block.is_empty() {
            return Ok(());
        }
        let moved = match rewind {
            Some(rewind) if back > 0 => rewind(object, back),
            Some(_) | None => Ok(()),
        };
        let writer = writer.expect("bytes are accepted by a writer");
        let (moved, (written, result)) = match moved {
            Ok(()) => (true, writer(object, &block)),
            Err(error) => (false, (0, Err(error))),
        };
        block.drain(..written);
        let mut accepted = this.lock();
        if moved {
            accepted.back = 0;
        }
        if block.is_empty() {
            accepted.spare = block;
        } else {
            block.append(&mut accepted.sealed);
            accepted.sealed = block;
        }
        result
    }
}

/// Writes all bytes; returns how many were written.
pub(super) fn write_all<T: Write>(object: &mut T, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match object.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => {
                assert!(n <= rest.len(), "a writer said that it took more than it was given");
                written += n;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}
