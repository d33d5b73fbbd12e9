//! Receives a body from its connection: enforces its size, deadline and minimum speed, decodes and hashes it, and holds it
//! in memory or writes it to disk.
//!
//! Small bodies are processed on the shard's thread. Larger amounts of decoding, and all writing, go to the executor in
//! bounded parts.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use overlapped::Executor;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::Row;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::record::Body;
use overlapped_proto::time::Nanos;
use sha2::Digest;

use super::decode::Decoder;
use super::intake::{Intake, Pace, Taken, Wanted};
use super::spool::{RunId, Spool};
use super::store::{Store, Storing};
use super::tap::Tap;
use crate::clock::Clock;
use crate::fs::LastFiles;
use crate::memory::Share;
use crate::net::alarm::{Alarm, Deadline};
use crate::net::exchange::Exchange;

/// How a body is to be processed.
pub(crate) struct Rules<'a> {
    /// Keep the body; otherwise it is only counted.
    pub(crate) keep: bool,
    /// Compute its SHA-256.
    pub(crate) sha256: bool,
    /// The limit of decoded bytes.
    pub(crate) max_bytes: u64,
    /// The minimum speed: bytes per second, measured over a span.
    pub(crate) speed: Option<(u64, Nanos)>,
    /// Where it is written when it is too large to hold.
    pub(crate) overflow: Overflow<'a>,
    /// The executor view for blocking work.
    pub(crate) disk: &'a Executor,
    /// The executor view for decoding.
    pub(crate) cpu: &'a Executor,
    /// In the name of the spool file, with `row` and `attempt`.
    pub(crate) run: RunId,
    pub(crate) row: Row,
    /// In the name of the spool file.
    pub(crate) attempt: u16,
    /// Truncate the body at `max_bytes` instead of failing.
    pub(crate) cut: bool,
}

impl Rules<'_> {
    fn wanted(&self) -> Wanted {
        Wanted { keep: self.keep, sha256: self.sha256, max_bytes: self.max_bytes, cut: self.cut }
    }
}

/// Where a body is written that is too large to hold.
#[derive(Clone, Copy)]
pub(crate) enum Overflow<'a> {
    /// To a file in this directory, which a sink renames. If no file descriptor is free for it, to the file that all bodies
    /// share.
    File(&'a PathBuf, &'a Arc<LastFiles>, &'a Arc<Store>),
    /// To the file that all bodies share, from which the sinks read it.
    Store(&'a Arc<Store>),
    /// To the receiver, as it arrives.
    Tap(&'a Tap),
    /// Nowhere: its limit is small.
    Nowhere,
}

/// The result of receiving a body.
#[derive(Default)]
pub(crate) struct Drained {
    place: Place,
    pub(crate) bytes: u64,
    pub(crate) wire_bytes: u64,
    pub(crate) sha256: Option<[u8; 32]>,
    /// `None`: there was no body, or a truncation could not be detected.
    pub(crate) truncated: Option<bool>,
    /// It had arrived with its head, and no time has passed since.
    pub(crate) at_once: bool,
    pub(crate) failure: Option<Failure>,
}

/// The place of a body. Dropping it removes the body, including its file.
#[derive(Default)]
enum Place {
    #[default]
    Nowhere,
    Memory(Vec<u8>),
    File(Spool),
    Store(Storing),
}

impl Drained {
    /// The body, for a record.
    pub(crate) fn into_body(self) -> Body {
        match self.place {
            Place::Nowhere => Body::None,
            Place::Memory(bytes) => Body::Inline(Bytes::from(bytes)),
            Place::File(spool) => Body::File(spool.keep()),
            Place::Store(storing) => storing.end().map_or(Body::None, Body::Spooled),
        }
    }

    /// Drops the body, including its file.
    pub(crate) fn forget_body(&mut self) {
        self.place = Place::Nowhere;
    }

    /// The memory that it takes.
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.place {
            Place::Memory(bytes) => bytes.capacity(),
            Place::Nowhere | Place::File(_) | Place::Store(_) => 0,
        }
    }

    /// Moves a body in memory to disk, unless it is empty.
    pub(crate) async fn move_to(&mut self, store: &Arc<Store>, disk: &Executor) -> Result<(), Failure> {
        match std::mem::take(&mut self.place) {
            Place::Memory(bytes) if !bytes.is_empty() => {
                self.place = Place::Store(store.begin().write(disk, bytes.into()).await?);
            }
            other @ (Place::Nowhere | Place::Memory(_) | Place::File(_) | Place::Store(_)) => {
                self.place = other
            }
        }
        Ok(())
    }
}

/// Reads a body until it ends or fails. `share` already counts the head.
pub(crate) async fn drain(
    connection: &mut impl Exchange,
    decoder: Option<Decoder>,
    rules: &Rules<'_>,
    share: &mut Share,
    alarm: &mut Alarm,
    clock: Clock,
    now: Nanos,
) -> Drained {
    match at_once(connection, decoder.as_ref(), rules, share) {
        Some(drained) => drained,
        // Boxed, since it is large and most bodies have arrived.
        None => Box::pin(in_pieces(connection, decoder, rules, share, alarm, clock, now)).await,
    }
}

async fn in_pieces(
    connection: &mut impl Exchange,
    decoder: Option<Decoder>,
    rules: &Rules<'_>,
    share: &mut Share,
    alarm: &mut Alarm,
    clock: Clock,
    now: Nanos,
) -> Drained {
    // While memory is short, nothing is preallocated.
    let expected = if share.is_short() { 0 } else { expected_bytes(connection) };
    let mut drain = Drain {
        rules,
        intake: Some(Intake::new(decoder, rules.wanted(), expected)),
        place: Place::Nowhere,
        head_bytes: share.bytes(),
        share,
        pace: Pace::new(rules.speed, now, connection.body_bytes()),
        wire_bytes: 0,
        connection,
        alarm,
        clock,
    };
    drain.count();
    let failure = drain.run().await.err();
    drain.finish(failure).await
}

/// A body that has arrived with its head and needs no work, as most small ones: it is copied, and nothing is waited for.
fn at_once(
    connection: &mut impl Exchange,
    decoder: Option<&Decoder>,
    rules: &Rules<'_>,
    share: &Share,
) -> Option<Drained> {
    let is_tapped = matches!(rules.overflow, Overflow::Tap(_));
    let bytes = connection.bytes_left()?;
    let is_small = bytes < limits::BODY_INLINE_BYTES as u64 && bytes <= rules.max_bytes;
    if decoder.is_some() || rules.sha256 || is_tapped || !is_small || share.is_short() {
        return None;
    }
    let body = connection.take_arrived()?;
    let place = if rules.keep { Place::Memory(body.to_vec()) } else { Place::Nowhere };
    Some(Drained {
        place,
        bytes,
        wire_bytes: bytes,
        truncated: Some(false),
        at_once: true,
        ..Drained::default()
    })
}

struct Drain<'a, 'r, C> {
    rules: &'a Rules<'r>,
    /// `None` while a task on the executor owns it, and after that task failed.
    intake: Option<Intake>,
    /// The part that has been written.
    place: Place,
    head_bytes: usize,
    share: &'a mut Share,
    pace: Pace,
    wire_bytes: u64,
    connection: &'a mut C,
    alarm: &'a mut Alarm,
    clock: Clock,
}

impl<C: Exchange> Drain<'_, '_, C> {
    async fn run(&mut self) -> Result<(), Failure> {
        while let Some(frame) = self.next().await? {
            self.wire_bytes += len(&frame);
            if self.take(frame).await? == Taken::Over {
                break;
            }
            self.fit().await?;
        }
        self.intake.as_ref().expect("a block that was taken has come back").end()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let most = if self.share.is_short() { limits::READ_BYTES_SHORT } else { limits::READ_BYTES };
        self.pace.next(self.connection, self.alarm, self.clock, most).await
    }

    /// Processes a frame in bounded parts, whatever it expands to.
    async fn take(&mut self, frame: Bytes) -> Result<Taken, Failure> {
        let mut rest = self.admit(frame).await?;
        let mut crosses = self.decodes() && rest.len() >= limits::DECODE_CROSSING_BYTES;
        loop {
            let mut intake = self.intake.take().expect("no task on the executor is running");
            let result;
            if crosses {
                let step = move || {
                    let result = intake.step(&mut rest, limits::DECODE_SLICE_BYTES);
                    (intake, rest, result)
                };
                // The deadline is checked between two parts. A task whose result is dropped ends by itself.
                let done = self.alarm.within(Deadline::NEVER, self.rules.cpu.submit(step)).await?;
                let stopped =
                    |error| Failure::new(ErrorKind::Resource, format!("no thread to decode: {error}"));
                (intake, rest, result) = done.map_err(stopped)?;
                self.restart_pace();
            } else {
                result = intake.step(&mut rest, limits::DECODE_INLINE_BYTES);
            }
            let full = intake.held.len() >= self.hold_bytes();
            self.intake = Some(intake);
            self.count();
            let taken = result?;
            if full && self.can_write_out() {
                self.write_out().await?;
            }
            if taken != Taken::More {
                return Ok(taken);
            }
            crosses = true;
        }
    }

    /// A decoder allocates with the first piece of a body. Before that it waits for room in the budget, and its upper
    /// bound is counted until its real size is known.
    async fn admit(&mut self, mut frame: Bytes) -> Result<Bytes, Failure> {
        let decoder = self.intake.as_ref().and_then(|intake| intake.decoder.as_ref());
        let Some(bytes) = decoder.and_then(Decoder::bytes_to_begin) else { return Ok(frame) };
        if self.share.is_full() {
            // A waiting request must not pin the read buffer that all connections of the shard share.
            frame = Bytes::copy_from_slice(&frame);
            self.wait_for_room().await?;
        }
        self.share.set(self.share.bytes() + bytes);
        Ok(frame)
    }

    /// Keeps within the memory budget: writes to disk what can be written, otherwise waits.
    async fn fit(&mut self) -> Result<(), Failure> {
        let held = self.intake.as_ref().map_or(0, |intake| intake.held.capacity());
        if held > 0 && self.can_write_out() && self.share.is_short() {
            self.connection.leave_block();
            self.write_out().await?;
        }
        let holds = self.decodes() || (held > 0 && !self.can_write_out());
        if holds && self.share.is_full() {
            self.wait_for_room().await?;
        }
        Ok(())
    }

    /// Waits for other responses. The deadline runs meanwhile, but the time does not count against the server's speed.
    async fn wait_for_room(&mut self) -> Result<(), Failure> {
        self.connection.leave_block();
        self.alarm.within(Deadline::NEVER, self.share.room()).await?;
        self.restart_pace();
        Ok(())
    }

    fn restart_pace(&mut self) {
        self.pace.restart(self.clock.now(), self.connection.body_bytes());
    }

    fn decodes(&self) -> bool {
        self.intake.as_ref().is_some_and(|intake| intake.decoder.is_some())
    }

    /// Updates the share of the memory budget.
    fn count(&mut self) {
        let held = self.intake.as_ref().map_or(0, Intake::memory);
        self.share.set(self.head_bytes + held);
    }

    /// The bytes to hold before they are written. A body that gets a file of its own is written early, since it is
    /// written anyway.
    fn hold_bytes(&self) -> usize {
        match (&self.place, self.rules.overflow) {
            (_, Overflow::Tap(_)) => 1,
            (Place::Nowhere | Place::Memory(_), Overflow::Store(_)) => limits::BODY_HELD_BYTES_MAX,
            (_, Overflow::File(..) | Overflow::Store(_)) => limits::BODY_INLINE_BYTES,
            (_, Overflow::Nowhere) => usize::MAX,
        }
    }

    fn is_tapped(&self) -> bool {
        matches!(self.rules.overflow, Overflow::Tap(_))
    }

    fn can_write_out(&self) -> bool {
        match self.rules.overflow {
            Overflow::File(..) | Overflow::Store(_) | Overflow::Tap(_) => true,
            Overflow::Nowhere => false,
        }
    }

    /// Writes what is held to its overflow.
    async fn write_out(&mut self) -> Result<(), Failure> {
        let intake = self.intake.as_mut().expect("no task on the executor is running");
        let block = Bytes::from(std::mem::take(&mut intake.held));
        let Rules { overflow, disk, run, row, attempt, .. } = *self.rules;
        self.place = match (std::mem::take(&mut self.place), overflow) {
            (_, Overflow::Tap(tap)) => {
                // The receiver's time does not count against the server's speed.
                self.alarm.within(Deadline::NEVER, tap.write(disk, block)).await??;
                self.restart_pace();
                Place::Nowhere
            }
            (Place::File(spool), _) => Place::File(spool.write(block).await?),
            (Place::Store(storing), _) => Place::Store(storing.write(disk, block).await?),
            (Place::Nowhere | Place::Memory(_), Overflow::File(directory, last, store)) => {
                match Spool::create(disk, directory.clone(), run, row, attempt, last).await? {
                    Some(spool) => Place::File(spool.write(block).await?),
                    None => Place::Store(store.begin().write(disk, block).await?),
                }
            }
            (Place::Nowhere | Place::Memory(_), Overflow::Store(store)) => {
                Place::Store(store.begin().write(disk, block).await?)
            }
            (Place::Nowhere | Place::Memory(_), Overflow::Nowhere) => Place::Memory(block.into()),
        };
        self.count();
        Ok(())
    }

    async fn finish(mut self, mut failure: Option<Failure>) -> Drained {
        let is_written = match &self.place {
            Place::File(_) | Place::Store(_) => true,
            Place::Nowhere | Place::Memory(_) => self.is_tapped(),
        };
        if is_written && failure.is_none() {
            failure = self.write_out().await.err();
        }
        let proven = self.connection.proves_the_end();
        let is_held = self.rules.keep && !self.is_tapped();
        let wire_bytes = self.wire_bytes;
        let Some(intake) = self.intake else {
            return Drained { wire_bytes, failure, truncated: Some(true), ..Drained::default() };
        };
        let bytes = intake.bytes;
        let too_large = failure.as_ref().is_some_and(|failure| failure.kind == ErrorKind::BodyTooLarge);
        let cut = self.rules.cut && too_large;
        if failure.is_some() && !cut {
            return Drained { bytes, wire_bytes, truncated: Some(true), failure, ..Drained::default() };
        }
        let place = match self.place {
            Place::Nowhere | Place::Memory(_) if is_held => Place::Memory(intake.held),
            other @ (Place::Nowhere | Place::Memory(_) | Place::File(_) | Place::Store(_)) => other,
        };
        let sha256 = intake.digest.map(|digest| digest.finalize().into());
        let truncated = if cut || proven { Some(cut) } else { None };
        Drained { place, bytes, wire_bytes, sha256, truncated, at_once: false, failure: None }
    }
}

/// Bytes to preallocate: the announced length, up to one block.
fn expected_bytes(connection: &impl Exchange) -> usize {
    let announced = connection.bytes_left().unwrap_or(0);
    usize::try_from(announced).unwrap_or(usize::MAX).min(limits::BODY_INLINE_BYTES)
}

fn len(block: &[u8]) -> u64 {
    block.len() as u64
}
