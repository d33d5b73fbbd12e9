//! The header of a journal file, and what can be wrong with a file.

use std::fmt;

use crate::varint;

/// The version of the format. Another one is refused.
pub const VERSION: u32 = 5;

const MAGIC: &[u8; 8] = b"ovlp-run";
pub(super) const SUM_BYTES: usize = 4;

/// The header of a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The identifier of the run, the same in all its files.
    pub run: u64,
    /// The generation of the file; higher is later.
    pub generation: u64,
    /// The process that wrote it.
    pub process: u32,
}

impl Head {
    /// Its length in bytes.
    pub const BYTES: usize = 36;

    /// The encoded header.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.run.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.process.to_le_bytes());
        let sum = crc32c::crc32c(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Wrong> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(Wrong::NoJournal)?;
        let version = take_u32(&mut rest).ok_or(Wrong::NoJournal)?;
        if version != VERSION {
            return Err(Wrong::Version(version));
        }
        let fields = || {
            let (run, generation) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
            let (process, sum) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
            Some((Self { run, generation, process }, sum))
        };
        let summed = bytes.get(..Self::BYTES - SUM_BYTES).map(crc32c::crc32c);
        match { fields }() {
            Some((head, sum)) if Some(sum) == summed => Ok(head),
            _ => Err(Wrong::Checksum),
        }
    }
}

/// What is wrong with a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is not a journal.
    NoJournal,
    /// It is in another version of the format.
    Version(u32),
    /// A checksum does not match.
    Checksum,
    /// A frame has a valid checksum and malformed content.
    Content,
}

/// Damage of a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The offset of the damaged part; everything before it is sound.
    pub at: u64,
    /// The kind of damage.
    pub wrong: Wrong,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wrong {
            Wrong::NoJournal => write!(f, "it is not a file of a run"),
            Wrong::Version(found) => {
                write!(
                    f,
                    "it is in version {found} of the format, and this program reads version {VERSION}: \
                     go on with the program that began the run, or begin anew with --overwrite"
                )
            }
            Wrong::Checksum => write!(f, "it is damaged at byte {}", self.at),
            Wrong::Content => write!(f, "its entry at byte {} is malformed", self.at),
        }
    }
}

pub(super) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    varint::take_bytes(bytes, 4)?.try_into().ok().map(u32::from_le_bytes)
}

pub(super) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    varint::take_bytes(bytes, 8)?.try_into().ok().map(u64::from_le_bytes)
}
