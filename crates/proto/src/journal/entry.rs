//! The parts of frames.

use super::checkpoint::SinkCheckpoints;
use crate::job::Row;

/// The rows of one checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The rows that succeeded, in order.
    pub ok: Vec<Row>,
    /// The rows that failed, in order.
    pub failed: Vec<Row>,
    /// How far each sink has come.
    pub checkpoints: SinkCheckpoints,
    /// Where a resumed run starts to read: a row at or below the low-water mark.
    pub mark: Option<Mark>,
    /// The part of the list read so far, if it is a file.
    pub listed: Option<Listed>,
}

/// A prefix of a list: its length, and a hash by which recovery recognizes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its hash (XXH3, 64 bits).
    pub sum: u64,
}

/// A row, and its byte offset in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The row.
    pub row: Row,
    /// The offset of its first byte.
    pub offset: u64,
}

/// A file that is about to be renamed to its final name. It is identified by its inode, which a rename keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its final name, relative to the directory of the outputs, as the system's bytes.
    pub path: Vec<u8>,
    /// The device it is on.
    pub device: u64,
    /// Its inode number on the device.
    pub inode: u64,
}

/// A finished row that waits for an earlier one, and where its record is in the file of waiting records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The row.
    pub row: Row,
    /// True if it succeeded.
    pub ok: bool,
    /// The offset of its record.
    pub offset: u64,
    /// The length of its record.
    pub bytes: u64,
    /// The checksum (CRC-32C) of these bytes.
    pub sum: u32,
}
