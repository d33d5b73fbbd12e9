//! The parts of receiving a body that do not depend on where it goes: its limits, decoding and hashing, and how fast it must
//! come.

use bytes::Bytes;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::plural::counted;
use overlapped_proto::time::Nanos;
use sha2::{Digest, Sha256};

use super::decode::{Decoder, Progress};
use crate::clock::Clock;
use crate::net::alarm::{Alarm, Deadline};
use crate::net::exchange::Exchange;

/// What is wanted of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Keep it; otherwise it is only counted.
    pub(crate) keep: bool,
    /// Its SHA-256.
    pub(crate) sha256: bool,
    /// The limit of decoded bytes.
    pub(crate) max_bytes: u64,
    /// Truncate it there instead of failing.
    pub(crate) cut: bool,
}

/// The part that computes and never waits.
pub(crate) struct Intake {
    pub(super) decoder: Option<Decoder>,
    pub(super) digest: Option<Sha256>,
    keep: bool,
    /// Decoded bytes that are kept and not written yet.
    pub(crate) held: Vec<u8>,
    pub(super) bytes: u64,
    max_bytes: u64,
    cut: bool,
}

impl Intake {
    pub(crate) fn new(decoder: Option<Decoder>, wanted: Wanted, expected: usize) -> Self {
        let Wanted { keep, sha256, max_bytes, cut } = wanted;
        let held = if keep { Vec::with_capacity(expected) } else { Vec::new() };
        let digest = if sha256 { Some(Sha256::new()) } else { None };
        Self { decoder, digest, keep, held, bytes: 0, max_bytes, cut }
    }

    /// The memory that it takes.
    pub(super) fn memory(&self) -> usize {
        self.held.capacity() + self.decoder.as_ref().map_or(0, Decoder::bytes)
    }

    /// Consumes from the front of `input`, with at most `work_max` bytes of work and one block of output.
    pub(crate) fn step(&mut self, input: &mut Bytes, work_max: usize) -> Result<Taken, Failure> {
        let Some(mut decoder) = self.decoder.take() else {
            let block = input.split_to(input.len());
            self.keep(&block)?;
            return Ok(Taken::All);
        };
        let result = self.decode(&mut decoder, input, work_max);
        self.decoder = Some(decoder);
        result
    }

    fn decode(
        &mut self,
        decoder: &mut Decoder,
        input: &mut Bytes,
        work_max: usize,
    ) -> Result<Taken, Failure> {
        let mut block = [0; limits::DECODE_STEP_BYTES];
        let (mut done, held_before) = (0, self.held.len());
        while done < work_max && self.held.len() - held_before < limits::BODY_INLINE_BYTES {
            let mut rest = &input[..];
            let progress = decoder.step(&mut rest, &mut block);
            let taken = input.len() - rest.len();
            bytes::Buf::advance(input, taken);
            match progress? {
                Progress::NeedsInput => return Ok(Taken::All),
                Progress::Over => return Ok(Taken::Over),
                Progress::Worked { written, work } => {
                    done += work.max(1);
                    self.keep(block.get(..written).expect("a step writes no more than its block"))?;
                }
            }
        }
        Ok(Taken::More)
    }

    /// Counts the whole of a body that is not decoded, and gives it back.
    pub(crate) fn pass(&mut self, body: Bytes) -> Result<Bytes, Failure> {
        self.count(&body).map(|()| body)
    }

    fn count(&mut self, block: &[u8]) -> Result<(), Failure> {
        self.bytes += len(block);
        if self.bytes <= self.max_bytes {
            return Ok(());
        }
        let message = format!("the body is larger than {} (--max-filesize)", counted(self.max_bytes, "byte"));
        Err(Failure::new(ErrorKind::BodyTooLarge, message))
    }

    fn keep(&mut self, block: &[u8]) -> Result<(), Failure> {
        if let Err(failure) = self.count(block) {
            if self.cut {
                let room =
                    usize::try_from(self.max_bytes).unwrap_or(usize::MAX).saturating_sub(self.held.len());
                self.held.extend_from_slice(block.get(..room).unwrap_or(block));
            }
            return Err(failure);
        }
        if let Some(digest) = &mut self.digest {
            digest.update(block);
        }
        if self.keep {
            self.held.extend_from_slice(block);
        }
        Ok(())
    }

    pub(crate) fn end(&self) -> Result<(), Failure> {
        self.decoder.as_ref().map_or(Ok(()), Decoder::finish)
    }
}

/// What became of a piece of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is consumed.
    All,
    /// The step is to be called again.
    More,
    /// The body has ended; what follows is not read.
    Over,
}

/// Detects bodies that arrive too slowly.
pub(crate) struct Pace {
    limit: Option<(u64, Nanos)>,
    since: Nanos,
    /// Bytes received before `since`, including framing: a long trailer is not a stalled body.
    before: u64,
    frames: u32,
}

impl Pace {
    /// A body of which `before` bytes were received, with those of the bodies before it on the connection.
    pub(crate) fn new(limit: Option<(u64, Nanos)>, now: Nanos, before: u64) -> Self {
        Self { limit, since: now, before, frames: 0 }
    }

    /// Begins another span: the time since the last one does not count against the server.
    pub(crate) fn restart(&mut self, now: Nanos, received: u64) {
        (self.since, self.before) = (now, received);
    }

    /// The next piece of a body, of at most `most` bytes, or `None` at its end. Fails if it comes too slowly.
    ///
    /// # Cancel safety
    ///
    /// As [`Exchange::frame`].
    pub(crate) async fn next(
        &mut self,
        connection: &mut impl Exchange,
        alarm: &mut Alarm,
        clock: Clock,
        most: usize,
    ) -> Result<Option<Bytes>, Failure> {
        self.frames = self.frames.wrapping_add(1);
        loop {
            let deadline = self.deadline();
            let takes_turn = self.frames.is_multiple_of(limits::BODY_TURN_PIECES);
            let frame = async {
                if takes_turn {
                    tokio::task::yield_now().await;
                }
                connection.frame(most).await
            };
            match alarm.within(deadline, frame).await {
                Ok(frame) => {
                    // Where nothing may come for a time and any rate is enough, that begins with each piece.
                    if let Some((0, _)) = self.limit {
                        self.restart(clock.now(), connection.body_bytes());
                    }
                    return frame;
                }
                Err(failure) if failure.kind == ErrorKind::TimeoutSlow => {
                    self.judge(clock.now(), connection.body_bytes())?
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.since, self.limit.map(|(_, span)| span), ErrorKind::TimeoutSlow)
    }

    /// Judges a span that has passed; `received` is the total of bytes so far.
    fn judge(&mut self, now: Nanos, received: u64) -> Result<(), Failure> {
        if let Some((bytes, span)) = self.limit {
            let wanted = bytes.saturating_mul(span.0 / 1_000_000_000).max(1);
            let bytes = received - self.before;
            if bytes < wanted {
                let message = format!(
                    "{} in {span}; the minimum is {wanted} (--speed-limit, --speed-time)",
                    counted(bytes, "byte")
                );
                return Err(Failure::new(ErrorKind::TimeoutSlow, message));
            }
        }
        (self.since, self.before) = (now, received);
        Ok(())
    }
}

fn len(block: &[u8]) -> u64 {
    block.len() as u64
}
