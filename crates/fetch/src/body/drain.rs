//! Pulls a body off its connection: counts it, keeps its limits and its pace, decodes it, hashes it, and holds it or
//! spools it.
//!
//! Small bodies are handled on the spot. A block that takes real time to decode or to write crosses to the executor.

use std::path::PathBuf;

use bytes::Bytes;
use overlapped::Executor;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::Row;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::record::Body;
use overlapped_proto::time::Nanos;
use sha2::{Digest, Sha256};

use super::decode::Decoder;
use super::spool::{RunId, Spool};
use crate::clock::Clock;
use crate::memory::{Held, Share};
use crate::net::alarm::{Alarm, Deadline};
use crate::net::exchange::Connection;

/// What is to be done with a body.
pub(crate) struct Rules<'a> {
    /// Keep it, not only count it.
    pub(crate) keep: bool,
    /// Take its SHA-256.
    pub(crate) sha256: bool,
    /// Decoded bytes before it is too large.
    pub(crate) max_bytes: u64,
    /// The slowest pace: bytes over a span.
    pub(crate) speed: Option<(u64, Nanos)>,
    /// Where it goes when it is too large to hold.
    pub(crate) spool: Option<&'a PathBuf>,
    /// Blocking work goes here.
    pub(crate) disk: &'a Executor,
    /// Work that computes goes here.
    pub(crate) cpu: &'a Executor,
    /// Names the spool file.
    pub(crate) run: RunId,
    pub(crate) row: Row,
    /// Names the spool file.
    pub(crate) attempt: u16,
    /// What is beyond `max_bytes` is left out, and no failure.
    pub(crate) cut: bool,
}

/// What came of a body, whole or not.
#[derive(Default)]
pub(crate) struct Drained {
    /// What is held in memory.
    held: Option<Bytes>,
    /// The file that has it instead; it goes with this unless [`Drained::into_body`] gives it away.
    spool: Option<Spool>,
    pub(crate) bytes: u64,
    pub(crate) wire_bytes: u64,
    pub(crate) sha256: Option<[u8; 32]>,
    /// `None`: there was none, or nothing says that it is whole.
    pub(crate) truncated: Option<bool>,
    pub(crate) failure: Option<Failure>,
}

impl Drained {
    /// The body, for a record.
    pub(crate) fn into_body(self) -> Body {
        match (self.spool, self.held) {
            (Some(spool), _) => Body::File(spool.keep()),
            (None, Some(bytes)) => Body::Inline(bytes),
            (None, None) => Body::None,
        }
    }

    /// Drops the body, its file included.
    pub(crate) fn forget_body(&mut self) {
        (self.held, self.spool) = (None, None);
    }
}

/// Reads a body to its end, or to what ends it early. `share` counts the head.
pub(crate) async fn drain(
    connection: &mut Connection,
    decoder: Option<Decoder>,
    rules: &Rules<'_>,
    share: Share,
    alarm: &mut Alarm,
    clock: Clock,
    now: Nanos,
) -> Drained {
    // Where memory is short no room is made before it is needed.
    let expected = if share.is_scarce() { 0 } else { expected_bytes(connection) };
    let mut drain = Drain {
        rules,
        intake: Some(Intake::new(decoder, rules, expected)),
        spool: None,
        head_bytes: share.bytes(),
        share,
        pace: Pace { limit: rules.speed, since: now, bytes: 0 },
        wire_bytes: 0,
        frames: 0,
    };
    let failure = drain.run(connection, alarm, clock).await.err();
    drain.finish(failure, connection.proves_the_end()).await
}

struct Drain<'a> {
    rules: &'a Rules<'a>,
    /// `None` only while a block is away on the executor.
    intake: Option<Intake>,
    spool: Option<Spool>,
    head_bytes: usize,
    share: Share,
    pace: Pace,
    wire_bytes: u64,
    frames: u32,
}

impl Drain<'_> {
    async fn run(
        &mut self,
        connection: &mut Connection,
        alarm: &mut Alarm,
        clock: Clock,
    ) -> Result<(), Failure> {
        while let Some(frame) = self.next(connection, alarm, clock).await? {
            self.wire_bytes += len(&frame);
            self.pace.bytes += len(&frame);
            self.take(frame).await?;
            self.fit(connection, clock).await?;
        }
        match &self.intake {
            Some(intake) => intake.end(),
            None => Ok(()),
        }
    }

    /// Counts what is held, and stays within what all bodies may take: writes it out where that can be done, else
    /// waits for others to be gone.
    async fn fit(&mut self, connection: &mut Connection, clock: Clock) -> Result<(), Failure> {
        let held = self.intake.as_ref().map_or(0, |intake| intake.held.capacity());
        self.share.set(self.head_bytes + held);
        if !self.share.is_tight() {
            return Ok(());
        }
        connection.leave_block();
        if self.rules.spool.is_some() && held > 0 {
            self.write_out().await?;
            self.share.set(self.head_bytes);
        } else if self.share.room().await {
            // It was not the server that paused.
            self.pace = Pace { since: clock.now(), bytes: 0, ..self.pace };
        }
        Ok(())
    }

    async fn next(
        &mut self,
        connection: &mut Connection,
        alarm: &mut Alarm,
        clock: Clock,
    ) -> Result<Option<Bytes>, Failure> {
        self.frames = self.frames.wrapping_add(1);
        loop {
            let deadline = self.pace.deadline();
            let frame = async {
                if self.frames.is_multiple_of(limits::BODY_TURN_PIECES) {
                    tokio::task::yield_now().await;
                }
                connection.frame().await
            };
            match alarm.within(deadline, frame).await {
                Ok(frame) => return frame,
                Err(failure) if failure.kind == ErrorKind::TimeoutSlow => self.pace.judge(clock.now())?,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Takes a frame, however much it expands to, at most a block at a time.
    async fn take(&mut self, frame: Bytes) -> Result<(), Failure> {
        let lost = || Failure::new(ErrorKind::Internal, "the body's buffer is lost");
        let mut rest = frame;
        loop {
            let mut intake = self.intake.take().ok_or_else(lost)?;
            let result;
            if intake.decoder.is_some() && rest.len() >= limits::DECODE_CROSSING_BYTES {
                let step = move || {
                    let result = intake.step(&mut rest);
                    (intake, rest, result)
                };
                let done = self.rules.cpu.submit(step).await;
                let stopped =
                    |error| Failure::new(ErrorKind::Resource, format!("no thread to decode: {error}"));
                (intake, rest, result) = done.map_err(stopped)?;
            } else {
                result = intake.step(&mut rest);
            }
            let full = intake.held.len() >= limits::BODY_INLINE_BYTES;
            self.intake = Some(intake);
            let more = result?;
            if full && self.rules.spool.is_some() {
                self.write_out().await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Moves what is held to the spool file.
    async fn write_out(&mut self) -> Result<(), Failure> {
        let (Some(intake), Some(directory)) = (&mut self.intake, self.rules.spool) else { return Ok(()) };
        let block = Bytes::from(std::mem::take(&mut intake.held));
        let spool = match self.spool.take() {
            Some(spool) => spool,
            None => {
                let Rules { disk, run, row, attempt, .. } = *self.rules;
                Spool::create(disk, directory.clone(), run, row, attempt).await?
            }
        };
        self.spool = Some(spool.write(block).await?);
        Ok(())
    }

    async fn finish(mut self, mut failure: Option<Failure>, proven: bool) -> Drained {
        if self.spool.is_some() && failure.is_none() {
            failure = self.write_out().await.err();
        }
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
        let keeps = self.rules.keep && self.spool.is_none();
        let held = if keeps { Some(resting(intake.held, self.share)) } else { None };
        let sha256 = intake.digest.map(|digest| digest.finalize().into());
        let truncated = if cut || proven { Some(cut) } else { None };
        Drained { held, spool: self.spool, bytes, wire_bytes, sha256, truncated, failure: None }
    }
}

/// The part of the work that computes and never waits.
struct Intake {
    decoder: Option<Decoder>,
    digest: Option<Sha256>,
    keep: bool,
    /// What is kept and not yet in the spool file.
    held: Vec<u8>,
    /// `held` may grow to this before it is written out.
    hold_bytes: usize,
    bytes: u64,
    max_bytes: u64,
    cut: bool,
}

impl Intake {
    fn new(decoder: Option<Decoder>, rules: &Rules<'_>, expected: usize) -> Self {
        let memory_max = rules.max_bytes.min(limits::BODY_MEMORY_BYTES_MAX);
        let (hold_bytes, max_bytes) = match (rules.keep, rules.spool) {
            (false, _) | (true, Some(_)) => (limits::BODY_INLINE_BYTES, rules.max_bytes),
            (true, None) => (usize::MAX, memory_max),
        };
        let held = if rules.keep { Vec::with_capacity(expected) } else { Vec::new() };
        let digest = if rules.sha256 { Some(Sha256::new()) } else { None };
        Self { decoder, digest, keep: rules.keep, held, hold_bytes, bytes: 0, max_bytes, cut: rules.cut }
    }

    /// Takes from the front of `input` until it is empty or enough is held; true: call it again.
    fn step(&mut self, input: &mut Bytes) -> Result<bool, Failure> {
        let Some(mut decoder) = self.decoder.take() else {
            let block = input.split_to(input.len());
            self.keep(&block)?;
            return Ok(false);
        };
        let mut block = [0; 16 << 10];
        let result = loop {
            let mut rest = &input[..];
            let decoded = decoder.decode(&mut rest, &mut block);
            let taken = input.len() - rest.len();
            bytes::Buf::advance(input, taken);
            match decoded {
                Ok(0) => break Ok(false),
                Ok(n) => {
                    if let Err(failure) = self.keep(block.get(..n).unwrap_or_default()) {
                        break Err(failure);
                    }
                    if self.held.len() >= self.hold_bytes {
                        break Ok(true);
                    }
                }
                Err(failure) => break Err(failure),
            }
        };
        self.decoder = Some(decoder);
        result
    }

    fn keep(&mut self, block: &[u8]) -> Result<(), Failure> {
        self.bytes += len(block);
        if self.bytes > self.max_bytes {
            if self.cut {
                let room =
                    usize::try_from(self.max_bytes).unwrap_or(usize::MAX).saturating_sub(self.held.len());
                self.held.extend_from_slice(block.get(..room).unwrap_or(block));
            }
            let message = format!("the body is larger than {} bytes", self.max_bytes);
            return Err(Failure::new(ErrorKind::BodyTooLarge, message));
        }
        if let Some(digest) = &mut self.digest {
            digest.update(block);
        }
        if self.keep {
            self.held.extend_from_slice(block);
        }
        Ok(())
    }

    fn end(&self) -> Result<(), Failure> {
        self.decoder.as_ref().map_or(Ok(()), Decoder::finish)
    }
}

/// Finds out bodies that hardly move.
struct Pace {
    limit: Option<(u64, Nanos)>,
    since: Nanos,
    bytes: u64,
}

impl Pace {
    fn deadline(&self) -> Deadline {
        Deadline::after(self.since, self.limit.map(|(_, span)| span), ErrorKind::TimeoutSlow)
    }

    /// Called when a span has passed.
    fn judge(&mut self, now: Nanos) -> Result<(), Failure> {
        if let Some((bytes, span)) = self.limit {
            let wanted = bytes.saturating_mul(span.0 / 1_000_000_000).max(1);
            if self.bytes < wanted {
                let message = format!("{} bytes in {span}, at least {wanted} are wanted", self.bytes);
                return Err(Failure::new(ErrorKind::TimeoutSlow, message));
            }
        }
        self.since = now;
        self.bytes = 0;
        Ok(())
    }
}

/// The body as its record has it: counted until the record is gone.
fn resting(bytes: Vec<u8>, mut share: Share) -> Bytes {
    share.leave();
    if share.bytes() == 0 { Bytes::from(bytes) } else { Bytes::from_owner(Held { bytes, share }) }
}

/// How much room to make at once: what the server says, but no more than a block.
fn expected_bytes(connection: &Connection) -> usize {
    let said = connection.bytes_left().unwrap_or(0);
    usize::try_from(said).unwrap_or(usize::MAX).min(limits::BODY_INLINE_BYTES)
}

fn len(block: &[u8]) -> u64 {
    u64::try_from(block.len()).unwrap_or(u64::MAX)
}
