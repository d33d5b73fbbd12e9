//! Reads the file of a journal, of intents or of a snapshot.

use super::codec::{ENTRY_BYTES_MIN, decode, split};
use super::head::{Damage, Head, Wrong};
use super::state::Frame;

/// The sound part of a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// The header; `None` if it is torn.
    pub head: Option<Head>,
    /// The length up to the end of the last whole frame.
    pub bytes: u64,
    /// True if a torn write follows.
    pub torn: bool,
}

/// Reads a journal file, and passes each frame to `each` with its byte offset.
///
/// # Errors
///
/// The file is damaged elsewhere than at its end. The frames that were passed on before are sound.
pub fn read(bytes: &[u8], mut each: impl FnMut(u64, Frame)) -> Result<Sound, Damage> {
    let Some((head, mut rest)) = bytes.split_at_checked(Head::BYTES) else {
        return Ok(Sound { head: None, bytes: 0, torn: !bytes.is_empty() });
    };
    let head = match Head::decode(head) {
        Ok(head) => Some(head),
        Err(_) if rest.is_empty() => return Ok(Sound { head: None, bytes: 0, torn: true }),
        Err(wrong) => return Err(Damage { at: 0, wrong }),
    };
    loop {
        let at = (bytes.len() - rest.len()) as u64;
        let Some((kind, payload, after)) = split(rest) else {
            if (1..rest.len()).any(|skipped| rest.get(skipped..).is_some_and(|rest| split(rest).is_some())) {
                return Err(Damage { at, wrong: Wrong::Checksum });
            }
            return Ok(Sound { head, bytes: at, torn: !rest.is_empty() });
        };
        each(at, decode(kind, payload).ok_or(Damage { at, wrong: Wrong::Content })?);
        rest = after;
    }
}

/// True if `tail`, which follows the last whole entry of a file at byte `at`, is a torn write: the beginning of an entry,
/// or some sectors of one with zeros in place of the others.
///
/// Anything else is an entry that was complete and has changed, which is damage: in the file of intents it may be that of
/// a request that was sent.
#[must_use]
pub fn is_unsynced(tail: &[u8], at: u64) -> bool {
    let is_empty = |part: &[u8]| part.iter().all(|&byte| byte == 0);
    let end = tail.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let to_sector = SECTOR_BYTES - usize::try_from(at % SECTOR_BYTES as u64).unwrap_or(0);
    let in_parts = tail.split_at_checked(to_sector).is_some_and(|(a, b)| is_empty(a) || is_empty(b));
    end < ENTRY_BYTES_MIN || in_parts && end >= to_sector
}

/// The unit that a disk writes atomically.
const SECTOR_BYTES: usize = 512;
