//! The append-only journal of a run: its frames, and the state that they add up to.
//!
//! A file begins with a [`Head`]. Frames follow, each `length u32 | kind u8 | payload | crc32c u32`, little-endian; the
//! checksum covers everything before it in the frame. **The writer syncs (fsync) after each frame, before it writes the
//! next.** So a bad frame at the end of a file is a torn write, and recovery ignores it. A bad frame with a good one
//! behind it is damage, and recovery refuses the file.

mod read;
mod codec;
mod state;
mod entry;
mod checkpoint;
mod head;

pub use checkpoint::{Checkpoint, End, SinkCheckpoints, SinkId};
pub use entry::{Group, Listed, Mark, Named, Waiting};
pub use head::{Damage, Head, VERSION, Wrong};
pub use read::{Sound, is_unsynced, read};
pub use state::{Frame, State};

/// The checksum (CRC-32C) of these bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}
