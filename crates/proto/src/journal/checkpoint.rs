//! How far the sinks of a run have come.

use std::fmt;

use crate::limits::SINKS_MAX;

/// The name of a sink, by which the journal knows it: that of its output. Each sink of a run has another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkId(Box<str>);

impl SinkId {
    /// The sink of this name.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a sink has come: where it goes on if the run resumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// A position that never goes back, in a unit of the sink's own, such as bytes of its file.
    pub position: u64,
    /// What else the sink needs to go on from there. No other part of the program reads it.
    pub data: Box<[u8]>,
}

/// The checkpoints of the sinks of a run, by name. A sink without one, such as standard output, is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkCheckpoints(Vec<(SinkId, Checkpoint)>);

impl SinkCheckpoints {
    /// The checkpoint of a sink; `None`: it has none.
    #[must_use]
    pub fn of(&self, sink: &SinkId) -> Option<&Checkpoint> {
        self.0.iter().find(|(id, _)| id == sink).map(|(_, checkpoint)| checkpoint)
    }

    /// Sets the checkpoint of a sink.
    pub fn set(&mut self, sink: SinkId, checkpoint: Checkpoint) {
        match self.0.iter_mut().find(|(id, _)| *id == sink) {
            Some((_, old)) => *old = checkpoint,
            None => {
                assert!(self.0.len() < SINKS_MAX, "a run has at most SINKS_MAX sinks");
                self.0.push((sink, checkpoint));
            }
        }
    }

    /// All of them, in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&SinkId, &Checkpoint)> {
        self.0.iter().map(|(id, checkpoint)| (id, checkpoint))
    }

    /// True if a sink has gone back since `earlier`, or is missing.
    pub(super) fn go_back_behind(&self, earlier: &Self) -> bool {
        earlier.iter().any(|(id, was)| self.of(id).is_none_or(|is| is.position < was.position))
    }
}

/// The checkpoint of a file that is only appended to.
impl From<End> for Checkpoint {
    fn from(End { bytes, sum }: End) -> Self {
        Self { position: bytes, data: sum.to_le_bytes().into() }
    }
}

impl Checkpoint {
    /// The end of a file that is only appended to; `None`: it is the checkpoint of a sink of another kind. The default is
    /// that of an empty file.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        if *self == Self::default() {
            return Some(End::default());
        }
        let sum = <[u8; 4]>::try_from(&*self.data).ok()?;
        Some(End { bytes: self.position, sum: u32::from_le_bytes(sum) })
    }
}

/// The end of an output: its length, and a checksum of all of it by which recovery recognizes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Its length.
    pub bytes: u64,
    /// The checksum (CRC-32C) of its bytes.
    pub sum: u32,
}

impl End {
    /// Adds what is written behind it.
    pub fn append(&mut self, written: &[u8]) {
        self.bytes += written.len() as u64;
        self.sum = crc32c::crc32c_append(self.sum, written);
    }
}
