//! The append-only journal of a run: its frames, and the state that they add up to.
//!
//! A file begins with a [`Head`]. Frames follow, each `length u32 | kind u8 | payload | crc32c u32`, little-endian; the
//! checksum covers everything before it in the frame. **The writer syncs (fsync) after each frame, before it writes the
//! next.** So a bad frame at the end of a file is a torn write, and recovery ignores it. A bad frame with a good one
//! behind it is damage, and recovery refuses the file.

use std::fmt;

use crate::job::Row;
use crate::limits::{DURABLE_ROWS_MAX, FRAME_BYTES_MAX, GROUP_ROWS_MAX, SINKS_MAX};
use crate::row_set::{RowSet, decode_ranges, encode_ranges};
use crate::varint;

/// The version of the format. Another one is refused.
pub const VERSION: u32 = 4;

const MAGIC: &[u8; 8] = b"ovlp-run";
/// Length and kind.
const PREFIX_BYTES: usize = 5;
const SUM_BYTES: usize = 4;

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
    /// A checkpoint: these rows are done, and everything about them is durable.
    Done(Group),
    /// These files are about to be renamed to their final names, for rows of the next [`Frame::Done`].
    Names(Vec<Named>),
    /// Requests for these rows are about to be sent, and must not be sent twice (write-ahead).
    Intent(Vec<Row>),
    /// The whole state. It replaces all frames before it.
    Snapshot(Box<State>),
    /// The run has ended.
    Ended,
}

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
    fn go_back_behind(&self, earlier: &Self) -> bool {
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

/// The state of a run: the sum of the frames of its journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Every row that is done.
    pub done: RowSet,
    /// Those of them that failed.
    pub failed: RowSet,
    /// Rows whose requests may have been sent; those of them that are not done are in doubt.
    pub intended: RowSet,
    /// How far each sink has come.
    pub checkpoints: SinkCheckpoints,
    /// Where a resumed run starts to read.
    pub mark: Option<Mark>,
    /// The part of the list read so far, if it is a file.
    pub listed: Option<Listed>,
    /// Files that may have their final names, of rows that are not done.
    pub named: Vec<Named>,
    /// The files named at the last checkpoint that named any.
    pub kept: Vec<Named>,
    /// The run has ended.
    pub ended: bool,
}

impl State {
    /// Applies the next frame.
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
                self.checkpoints = group.checkpoints;
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

    /// True if the frame is inconsistent with the state, so that no correct run has written it: a row is done twice, a
    /// sink goes back, or reading would start behind a row that is not done.
    #[must_use]
    pub fn contradicts(&self, frame: &Frame) -> bool {
        match frame {
            Frame::Done(group) => {
                let twice = group.ok.iter().chain(&group.failed).any(|&row| self.done.contains(row));
                // Both are sorted.
                let both = group.ok.iter().any(|row| group.failed.binary_search(row).is_ok());
                let beyond =
                    group.ok.last().max(group.failed.last()).is_some_and(|r| r.0 >= DURABLE_ROWS_MAX);
                let less = self.listed.zip(group.listed).is_some_and(|(was, is)| is.bytes < was.bytes);
                // The mark is taken before the group is applied.
                let early = group.mark.is_some_and(|mark| mark.row > self.done.low());
                let back = group.checkpoints.go_back_behind(&self.checkpoints);
                twice || both || beyond || less || early || back
            }
            Frame::Snapshot(state) => {
                let early = state.mark.is_some_and(|mark| mark.row > state.done.low());
                early || !state.failed.without(&state.done).is_empty()
            }
            Frame::Names(_) | Frame::Intent(_) | Frame::Ended => false,
        }
    }

    /// The rows whose requests may or may not have been sent.
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

/// The checksum (CRC-32C) of these bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

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
    out.push(u8::from(state.ended));
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

fn encode_checkpoints(SinkCheckpoints(checkpoints): &SinkCheckpoints, out: &mut Vec<u8>) {
    varint::put(checkpoints.len() as u64, out);
    for (SinkId(name), Checkpoint { position, data }) in checkpoints {
        encode_bytes(name.as_bytes(), out);
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

// --- reading -------------------------------------------------------------------------------------------------

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
/// The shortest entry with a row in it.
const ENTRY_BYTES_MIN: usize = PREFIX_BYTES + 3 + SUM_BYTES;

/// Kind and payload of the frame at the front, and the bytes behind it; `None` if there is no whole frame.
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
    // No frame has kind 0, so zeros, which a crash may leave in the place of data, do not decode as one.
    (kind != 0 && crc32c::crc32c(summed) == sum).then_some((kind, payload, rest))
}

fn decode(kind: u8, mut payload: &[u8]) -> Option<Frame> {
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
        SNAPSHOT => Frame::Snapshot(Box::new(State {
            done: RowSet::decode(bytes)?,
            failed: RowSet::decode(bytes)?,
            intended: RowSet::decode(bytes)?,
            checkpoints: decode_checkpoints(bytes)?,
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

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    varint::take_bytes(bytes, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    varint::take_bytes(bytes, 8)?.try_into().ok().map(u64::from_le_bytes)
}
