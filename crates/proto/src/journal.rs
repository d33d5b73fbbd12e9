//! The journal of a run: what is durable, as frames that are only ever appended, and the state they add up to.
//!
//! A file begins with a [`Head`]; then come frames, each `length u32 | kind u8 | payload | crc32c u32`, little-endian, the
//! checksum over all before it. **Whoever writes syncs after each frame, before the next.** So when a file is read, a bad
//! frame at its very end is one that was being written as the power went: it says nothing, and the file ends before it.
//! A bad frame with a good one behind it is damage, and nobody may guess what it said.

use std::fmt;

use crate::job::Row;
use crate::limits::{DURABLE_ROWS_MAX, FRAME_BYTES_MAX};
use crate::row_set::{RowSet, decode_ranges, encode_ranges};
use crate::varint;

/// The version of the format. Another one is refused.
pub const VERSION: u32 = 2;

const MAGIC: &[u8; 8] = b"ovlp-run";
/// Length and kind.
const PREFIX_BYTES: usize = 5;
const SUM_BYTES: usize = 4;

/// What a file of a run begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number that all files of the run share.
    pub run: u64,
    /// The number of the file; higher is later.
    pub generation: u64,
    /// The process that wrote it.
    pub process: u32,
}

impl Head {
    /// Its length in bytes.
    pub const BYTES: usize = 36;

    /// The bytes that a file begins with.
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

    fn decode(bytes: &[u8]) -> Result<Self, Wrong> {
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

/// One entry of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// These rows are done, and everything about them is durable.
    Done(Group),
    /// These files are about to get their final names, for rows that are not done before the next [`Frame::Done`].
    Names(Vec<Named>),
    /// Requests for these rows are about to be sent that must not be sent twice.
    Intent(Vec<Row>),
    /// Everything that is known. Nothing that came before matters any more.
    Snapshot(Box<State>),
    /// The run has come to its end.
    Ended,
}

/// Rows that became durable together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The rows that succeeded, in order.
    pub ok: Vec<Row>,
    /// The rows that failed, in order.
    pub failed: Vec<Row>,
    /// For each sink where its file ends, if it has one.
    pub offsets: Vec<Option<End>>,
    /// Where reading may begin again: a row at or below the low-water mark, and its byte in the list.
    pub mark: Option<Mark>,
    /// What was read of the list by then, if it is a file.
    pub listed: Option<Listed>,
}

/// Where an output ends: how long it is, and by what its end is known again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Its length.
    pub bytes: u64,
    /// The checksum (CRC-32C) of its last [`OUTPUT_END_BYTES`](crate::limits::OUTPUT_END_BYTES) bytes, or of all of it if it is shorter.
    pub sum: u32,
}

/// The first bytes of a list, and by what they are known again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// How many bytes.
    pub bytes: u64,
    /// Their hash (XXH3, 64 bits).
    pub sum: u64,
}

/// A row, and the byte of the list where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The row.
    pub row: Row,
    /// Where it begins.
    pub offset: u64,
}

/// A file that is about to get its final name. It is known by its number, which it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its final name, from the directory of the outputs, as the system's bytes.
    pub path: Vec<u8>,
    /// The device it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// What a journal says when all of it has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Every row that is done.
    pub done: RowSet,
    /// Those of them that failed.
    pub failed: RowSet,
    /// Rows whose requests may have been sent; those that are not done are in doubt.
    pub intended: RowSet,
    /// For each sink where its file ends, if it has one.
    pub offsets: Vec<Option<End>>,
    /// Where reading may begin again.
    pub mark: Option<Mark>,
    /// What was read of the list, if it is a file.
    pub listed: Option<Listed>,
    /// Files that may have their final names though their rows are not done.
    pub named: Vec<Named>,
    /// The last files that were named for rows that are done.
    pub kept: Vec<Named>,
    /// The run has come to its end.
    pub ended: bool,
}

impl State {
    /// Takes in the next frame.
    pub fn apply(&mut self, frame: Frame) {
        match frame {
            Frame::Done(group) => {
                for row in group.failed {
                    self.done.insert(row);
                    self.failed.insert(row);
                }
                for row in group.ok {
                    self.done.insert(row);
                }
                self.offsets = group.offsets;
                self.mark = group.mark.or(self.mark);
                self.listed = group.listed.or(self.listed);
                if !self.named.is_empty() {
                    self.kept = std::mem::take(&mut self.named);
                }
            }
            Frame::Names(named) => self.named = named,
            Frame::Intent(rows) => {
                rows.into_iter().for_each(|row| self.intended.insert_range(row.0..row.0 + 1))
            }
            Frame::Snapshot(state) => *self = *state,
            Frame::Ended => self.ended = true,
        }
    }

    /// True if no run has written this entry after what is known: a row is done twice, a file becomes shorter, reading
    /// would begin behind a row that is not done.
    #[must_use]
    pub fn contradicts(&self, frame: &Frame) -> bool {
        match frame {
            Frame::Done(group) => {
                let twice = group.ok.iter().chain(&group.failed).any(|&row| self.done.contains(row));
                // Both are in order.
                let both = group.ok.iter().any(|row| group.failed.binary_search(row).is_ok());
                let beyond =
                    group.ok.last().max(group.failed.last()).is_some_and(|r| r.0 >= DURABLE_ROWS_MAX);
                let shorter = |(was, is): (&Option<End>, &Option<End>)| {
                    was.is_some_and(|was| is.is_none_or(|is| is.bytes < was.bytes))
                };
                let less = self.listed.zip(group.listed).is_some_and(|(was, is)| is.bytes < was.bytes);
                // The mark is taken before the group is applied.
                let early = group.mark.is_some_and(|mark| mark.row > self.done.low());
                let count = !self.offsets.is_empty() && self.offsets.len() != group.offsets.len();
                twice
                    || both
                    || beyond
                    || less
                    || early
                    || count
                    || self.offsets.iter().zip(&group.offsets).any(shorter)
            }
            Frame::Snapshot(state) => {
                let early = state.mark.is_some_and(|mark| mark.row > state.done.low());
                early || !state.failed.without(&state.done).is_empty()
            }
            Frame::Names(_) | Frame::Intent(_) | Frame::Ended => false,
        }
    }

    /// The rows of which nobody knows whether their requests were sent.
    #[must_use]
    pub fn in_doubt(&self) -> RowSet {
        self.intended.without(&self.done)
    }
}

// --- writing -------------------------------------------------------------------------------------------------

impl Frame {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX_BYTES]);
        let kind = match self {
            Self::Done(group) => {
                encode_rows(&group.ok, out);
                encode_rows(&group.failed, out);
                encode_offsets(&group.offsets, out);
                encode_mark(group.mark, out);
                encode_listed(group.listed, out);
                DONE
            }
            Self::Names(named) => {
                encode_names(named, out);
                NAMES
            }
            Self::Intent(rows) => {
                encode_rows(rows, out);
                INTENT
            }
            Self::Snapshot(state) => {
                encode_state(state, out);
                SNAPSHOT
            }
            Self::Ended => ENDED,
        };
        seal(start, kind, out);
    }
}

impl State {
    /// Appends the frame that says all of it, [`Frame::Snapshot`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX_BYTES]);
        encode_state(self, out);
        seal(start, SNAPSHOT, out);
    }
}

const DONE: u8 = 1;
const NAMES: u8 = 2;
const INTENT: u8 = 3;
const SNAPSHOT: u8 = 4;
const ENDED: u8 = 5;

/// The checksum (CRC-32C) of these bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Fills in the length and the kind of the frame that begins at `start`, and appends its checksum.
fn seal(start: usize, kind: u8, out: &mut Vec<u8>) {
    let length = u32::try_from(out.len() - start - PREFIX_BYTES).unwrap_or(u32::MAX);
    if let Some(prefix) = out.get_mut(start..start + PREFIX_BYTES) {
        let [a, b, c, d] = length.to_le_bytes();
        prefix.copy_from_slice(&[a, b, c, d, kind]);
    }
    let sum = crc32c::crc32c(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
}

fn encode_state(state: &State, out: &mut Vec<u8>) {
    state.done.encode(out);
    state.failed.encode(out);
    state.in_doubt().encode(out);
    encode_offsets(&state.offsets, out);
    encode_mark(state.mark, out);
    encode_listed(state.listed, out);
    encode_names(&state.kept, out);
    out.push(u8::from(state.ended));
}

fn encode_names(named: &[Named], out: &mut Vec<u8>) {
    varint::put(named.len() as u64, out);
    for Named { path, device, inode } in named {
        varint::put(path.len() as u64, out);
        out.extend_from_slice(path);
        varint::put(*device, out);
        varint::put(*inode, out);
    }
}

/// Rows in order, each once, as ranges.
fn encode_rows(rows: &[Row], out: &mut Vec<u8>) {
    let mut ranges: Vec<std::ops::Range<u64>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == row.0 => last.end += 1,
            Some(last) if last.end > row.0 => {}
            _ => ranges.push(row.0..row.0.saturating_add(1)),
        }
    }
    encode_ranges(ranges.into_iter(), out);
}

fn encode_offsets(offsets: &[Option<End>], out: &mut Vec<u8>) {
    varint::put(offsets.len() as u64, out);
    for offset in offsets {
        match offset {
            None => out.push(0),
            Some(offset) => {
                out.push(1);
                varint::put(offset.bytes, out);
                out.extend_from_slice(&offset.sum.to_le_bytes());
            }
        }
    }
}

fn encode_mark(mark: Option<Mark>, out: &mut Vec<u8>) {
    out.push(u8::from(mark.is_some()));
    if let Some(mark) = mark {
        varint::put(mark.row.0, out);
        varint::put(mark.offset, out);
    }
}

fn encode_listed(listed: Option<Listed>, out: &mut Vec<u8>) {
    out.push(u8::from(listed.is_some()));
    if let Some(listed) = listed {
        varint::put(listed.bytes, out);
        out.extend_from_slice(&listed.sum.to_le_bytes());
    }
}

// --- reading -------------------------------------------------------------------------------------------------

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is no file of a run.
    NoJournal,
    /// It is written in another version of the format.
    Version(u32),
    /// It is not what was written.
    Checksum,
    /// It is what was written, and makes no sense.
    Content,
}

/// Where a file is damaged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The byte where the damaged part begins; everything before it is sound.
    pub at: u64,
    /// What is wrong there.
    pub wrong: Wrong,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wrong {
            Wrong::NoJournal => write!(f, "it is no file of a run"),
            Wrong::Version(found) => {
                write!(
                    f,
                    "it is in version {found} of the format, and this program reads version {VERSION}: \
                     go on with the program that began the run, or begin anew with --overwrite"
                )
            }
            Wrong::Checksum => write!(f, "it is damaged at byte {}", self.at),
            Wrong::Content => write!(f, "its entry at byte {} makes no sense", self.at),
        }
    }
}

/// A file that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// What it begins with; `None` if not even that was written whole.
    pub head: Option<Head>,
    /// Its length up to the last whole frame.
    pub bytes: u64,
    /// True if something follows that was not written whole.
    pub torn: bool,
}

/// Reads a file, and hands each frame on with the byte where it begins.
///
/// # Errors
///
/// It is damaged elsewhere than at its end. What was handed on until then is sound.
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

/// True if what follows the last whole entry of a file, from byte `at` on, is one that was not synced: the beginning of
/// an entry, or sectors of one with zeros in the place of the others. An entry that is all there and has changed is
/// damage, and what it said counts; of intents it may have been the one whose request was sent.
#[must_use]
pub fn is_unsynced(tail: &[u8], at: u64) -> bool {
    let is_empty = |part: &[u8]| part.iter().all(|&byte| byte == 0);
    let end = tail.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let to_sector = SECTOR_BYTES - usize::try_from(at % SECTOR_BYTES as u64).unwrap_or(0);
    let in_parts = tail.split_at_checked(to_sector).is_some_and(|(a, b)| is_empty(a) || is_empty(b));
    end < ENTRY_BYTES_MIN || in_parts && end >= to_sector
}

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// The shortest entry with a row in it.
const ENTRY_BYTES_MIN: usize = PREFIX_BYTES + 3 + SUM_BYTES;

/// Kind and payload of the frame at the front, and what follows it; `None`: there is no whole frame.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let mut rest = bytes;
    let length = u64::from(take_u32(&mut rest)?);
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let (&kind, mut rest) = rest.split_first()?;
    let payload = varint::take_bytes(&mut rest, length)?;
    let sum = take_u32(&mut rest)?;
    let summed = bytes.get(..PREFIX_BYTES + payload.len())?;
    // No frame has kind 0: zeros, as a crash leaves them behind, are never taken for one.
    (kind != 0 && crc32c::crc32c(summed) == sum).then_some((kind, payload, rest))
}

fn decode(kind: u8, mut payload: &[u8]) -> Option<Frame> {
    let bytes = &mut payload;
    let frame = match kind {
        DONE => Frame::Done(Group {
            ok: decode_rows(bytes)?,
            failed: decode_rows(bytes)?,
            offsets: decode_offsets(bytes)?,
            mark: decode_mark(bytes)?,
            listed: decode_listed(bytes)?,
        }),
        NAMES => Frame::Names(decode_names(bytes)?),
        INTENT => Frame::Intent(decode_rows(bytes)?),
        SNAPSHOT => Frame::Snapshot(Box::new(State {
            done: RowSet::decode(bytes)?,
            failed: RowSet::decode(bytes)?,
            intended: RowSet::decode(bytes)?,
            offsets: decode_offsets(bytes)?,
            mark: decode_mark(bytes)?,
            listed: decode_listed(bytes)?,
            named: Vec::new(),
            kept: decode_names(bytes)?,
            ended: decode_flag(bytes)?,
        })),
        ENDED => Frame::Ended,
        _ => return None,
    };
    bytes.is_empty().then_some(frame)
}

fn decode_rows(bytes: &mut &[u8]) -> Option<Vec<Row>> {
    // Looked through first: a range of billions is no group, and must not be allocated.
    let (mut ahead, mut count) = (*bytes, 0_u64);
    decode_ranges(&mut ahead, |range| count += range.end - range.start)?;
    if count > GROUP_ROWS_MAX {
        return None;
    }
    let mut rows = Vec::new();
    decode_ranges(bytes, |range| rows.extend(range.map(Row)))?;
    Some(rows)
}

/// No group is as large: what may be in flight at the most, times a hundred.
const GROUP_ROWS_MAX: u64 = 1 << 24;

fn decode_offsets(bytes: &mut &[u8]) -> Option<Vec<Option<End>>> {
    let count = varint::take(bytes)?;
    (0..count).map(|_| decode_end(bytes)).collect()
}

fn decode_end(bytes: &mut &[u8]) -> Option<Option<End>> {
    if !decode_flag(bytes)? {
        return Some(None);
    }
    Some(Some(End { bytes: varint::take(bytes)?, sum: take_u32(bytes)? }))
}

fn decode_listed(bytes: &mut &[u8]) -> Option<Option<Listed>> {
    if !decode_flag(bytes)? {
        return Some(None);
    }
    Some(Some(Listed { bytes: varint::take(bytes)?, sum: take_u64(bytes)? }))
}

fn decode_names(bytes: &mut &[u8]) -> Option<Vec<Named>> {
    let count = varint::take(bytes)?;
    let one = |_| {
        let length = varint::take(bytes)?;
        let path = varint::take_bytes(bytes, length)?.to_vec();
        Some(Named { path, device: varint::take(bytes)?, inode: varint::take(bytes)? })
    };
    (0..count).map(one).collect()
}

fn decode_mark(bytes: &mut &[u8]) -> Option<Option<Mark>> {
    if !decode_flag(bytes)? {
        return Some(None);
    }
    let row = varint::take(bytes).filter(|&row| row <= DURABLE_ROWS_MAX)?;
    Some(Some(Mark { row: Row(row), offset: varint::take(bytes)? }))
}

fn decode_flag(bytes: &mut &[u8]) -> Option<bool> {
    let (&flag, rest) = bytes.split_first()?;
    *bytes = rest;
    match flag {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    varint::take_bytes(bytes, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    varint::take_bytes(bytes, 8)?.try_into().ok().map(u64::from_le_bytes)
}
