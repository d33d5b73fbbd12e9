//! Frames as bytes.

use super::checkpoint::{Checkpoint, SinkCheckpoints, SinkId};
use super::entry::{Group, Listed, Mark, Named, Waiting};
use super::head::{SUM_BYTES, take_u32, take_u64};
use super::state::{Frame, State};
use crate::job::Row;
use crate::limits::{DURABLE_ROWS_MAX, FRAME_BYTES_MAX, GROUP_ROWS_MAX, SINKS_MAX};
use crate::row_set::{RowSet, decode_ranges, encode_ranges};
use crate::varint;

/// Length and kind.
pub(super) const PREFIX_BYTES: usize = 5;
/// The shortest entry with a row in it.
pub(super) const ENTRY_BYTES_MIN: usize = PREFIX_BYTES + 3 + SUM_BYTES;

impl Frame {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX_BYTES]);
        let kind = match self {
            Self::Done(group) => {
                encode_rows(&group.ok, out);
                encode_rows(&group.failed, out);
                encode_checkpoints(&group.checkpoints, out);
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
            Self::Waiting(rows) => {
                encode_waiting(rows.iter(), out);
                WAITING
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
    /// Appends the state as a [`Frame::Snapshot`].
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
const WAITING: u8 = 6;

/// Fills in the length and the kind of the frame that begins at `start`, and appends its checksum.
fn seal(start: usize, kind: u8, out: &mut Vec<u8>) {
    let length = out.len() - start - PREFIX_BYTES;
    assert!(
        length as u64 <= FRAME_BYTES_MAX,
        "a frame is no longer than FRAME_BYTES_MAX, or it cannot be read"
    );
    let [a, b, c, d] = u32::try_from(length).expect("FRAME_BYTES_MAX fits in 32 bits").to_le_bytes();
    let frame = out.get_mut(start..).expect("the frame begins at start");
    frame.get_mut(..PREFIX_BYTES).expect("the frame has its prefix").copy_from_slice(&[a, b, c, d, kind]);
    let sum = crc32c::crc32c(frame);
    out.extend_from_slice(&sum.to_le_bytes());
}

fn encode_state(state: &State, out: &mut Vec<u8>) {
    state.done.encode(out);
    state.failed.encode(out);
    state.in_doubt().encode(out);
    encode_checkpoints(&state.checkpoints, out);
    encode_mark(state.mark, out);
    encode_listed(state.listed, out);
    encode_names(&state.kept, out);
    encode_waiting(state.waiting.values(), out);
    out.push(u8::from(state.ended));
}

fn encode_waiting<'a>(rows: impl ExactSizeIterator<Item = &'a Waiting>, out: &mut Vec<u8>) {
    varint::put(rows.len() as u64, out);
    let mut next = 0;
    for Waiting { row, ok, offset, bytes, sum } in rows {
        varint::put(row.0.checked_sub(next).expect("waiting rows are sorted, each once"), out);
        next = row.0 + 1;
        out.push(u8::from(*ok));
        varint::put(*offset, out);
        varint::put(*bytes, out);
        out.extend_from_slice(&sum.to_le_bytes());
    }
}

fn encode_names(named: &[Named], out: &mut Vec<u8>) {
    varint::put(named.len() as u64, out);
    for Named { path, device, inode } in named {
        encode_bytes(path, out);
        varint::put(*device, out);
        varint::put(*inode, out);
    }
}

/// Appends sorted rows as ranges.
fn encode_rows(rows: &[Row], out: &mut Vec<u8>) {
    let mut ranges: Vec<std::ops::Range<u64>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == row.0 => last.end += 1,
            last => {
                assert!(
                    last.is_none_or(|last| last.end < row.0),
                    "the rows of a frame are sorted, each once"
                );
                ranges.push(row.0..row.0 + 1);
            }
        }
    }
    encode_ranges(ranges.into_iter(), out);
}

fn encode_checkpoints(checkpoints: &SinkCheckpoints, out: &mut Vec<u8>) {
    varint::put(checkpoints.iter().count() as u64, out);
    for (id, Checkpoint { position, data }) in checkpoints.iter() {
        encode_bytes(id.name().as_bytes(), out);
        varint::put(*position, out);
        encode_bytes(data, out);
    }
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    varint::put(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
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

/// Kind and payload of the frame at the front, and the bytes behind it; `None` if there is no whole frame.
pub(super) fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let mut rest = bytes;
    let length = u64::from(take_u32(&mut rest)?);
    if length > FRAME_BYTES_MAX {
        return None;
    }
    let (&kind, mut rest) = rest.split_first()?;
    let payload = varint::take_bytes(&mut rest, length)?;
    let sum = take_u32(&mut rest)?;
    let summed = bytes.get(..PREFIX_BYTES + payload.len())?;
    // No frame has kind 0, so zeros, which a crash may leave in the place of data, do not decode as one.
    (kind != 0 && crc32c::crc32c(summed) == sum).then_some((kind, payload, rest))
}

pub(super) fn decode(kind: u8, mut payload: &[u8]) -> Option<Frame> {
    let bytes = &mut payload;
    let frame = match kind {
        DONE => Frame::Done(Group {
            ok: decode_rows(bytes)?,
            failed: decode_rows(bytes)?,
            checkpoints: decode_checkpoints(bytes)?,
            mark: decode_mark(bytes)?,
            listed: decode_listed(bytes)?,
        }),
        NAMES => Frame::Names(decode_names(bytes)?),
        INTENT => Frame::Intent(decode_rows(bytes)?),
        WAITING => Frame::Waiting(decode_waiting(bytes)?),
        SNAPSHOT => Frame::Snapshot(Box::new(State {
            done: RowSet::decode(bytes)?,
            failed: RowSet::decode(bytes)?,
            intended: RowSet::decode(bytes)?,
            checkpoints: decode_checkpoints(bytes)?,
            mark: decode_mark(bytes)?,
            listed: decode_listed(bytes)?,
            named: Vec::new(),
            kept: decode_names(bytes)?,
            waiting: decode_waiting(bytes)?.into_iter().map(|waiting| (waiting.row, waiting)).collect(),
            ended: decode_flag(bytes)?,
        })),
        ENDED => Frame::Ended,
        _ => return None,
    };
    bytes.is_empty().then_some(frame)
}

fn decode_rows(bytes: &mut &[u8]) -> Option<Vec<Row>> {
    // Counted first, so that a malformed range of billions of rows is not allocated.
    let (mut ahead, mut count) = (*bytes, 0_u64);
    decode_ranges(&mut ahead, |range| count += range.end - range.start)?;
    if count > GROUP_ROWS_MAX {
        return None;
    }
    let mut rows = Vec::new();
    decode_ranges(bytes, |range| rows.extend(range.map(Row)))?;
    Some(rows)
}

fn decode_waiting(bytes: &mut &[u8]) -> Option<Vec<Waiting>> {
    let count = varint::take(bytes)?;
    let mut next = 0_u64;
    let one = |_| {
        let row = next.checked_add(varint::take(bytes)?).filter(|&row| row < DURABLE_ROWS_MAX)?;
        next = row + 1;
        let (ok, offset, bytes_of_it) = (decode_flag(bytes)?, varint::take(bytes)?, varint::take(bytes)?);
        Some(Waiting { row: Row(row), ok, offset, bytes: bytes_of_it, sum: take_u32(bytes)? })
    };
    (0..count).map(one).collect()
}

fn decode_checkpoints(bytes: &mut &[u8]) -> Option<SinkCheckpoints> {
    let mut checkpoints = SinkCheckpoints::default();
    let count = varint::take(bytes).filter(|&count| count <= SINKS_MAX as u64)?;
    for _ in 0..count {
        let sink = SinkId::new(std::str::from_utf8(decode_bytes(bytes)?).ok()?);
        let (position, data) = (varint::take(bytes)?, decode_bytes(bytes)?.into());
        if checkpoints.of(&sink).is_some() {
            return None;
        }
        checkpoints.set(sink, Checkpoint { position, data });
    }
    Some(checkpoints)
}

fn decode_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = varint::take(bytes)?;
    varint::take_bytes(bytes, length)
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
        let path = decode_bytes(bytes)?.to_vec();
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
