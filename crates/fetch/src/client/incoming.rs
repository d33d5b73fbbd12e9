//! The body of a response while the caller reads it.

use bytes::Bytes;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::limits;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;
use tokio::runtime::Id;

use super::core::Core;
use crate::body::decode::Decoder;
use crate::body::intake::{Intake, Pace, Taken, Wanted};
use crate::engine::attempt;
use crate::engine::outcome::{Incoming, Open};
use crate::locality::{Locality, ManyThreads};
use crate::net::alarm::Alarm;
use crate::net::exchange::Exchange;
use crate::net::upload::Stall;
use crate::plan::Limits;

/// A body that is being read.
pub(super) struct Reading {
    intake: Intake,
    /// Bytes that came and were not decoded yet.
    rest: Bytes,
    /// The decoder has more to give before it needs more bytes.
    has_more: bool,
    state: State,
    is_coded: bool,
    /// How long the server may take nothing of what is still to be sent.
    first_byte: Option<Nanos>,
    /// When the head had come.
    pub(super) began: Nanos,
    /// When the last byte came.
    pub(super) ended: Option<Nanos>,
}

enum State {
    /// The rest of the body is still to come. In a box, since most small bodies are there.
    Open(Box<Coming>),
    /// All of it came; some of it may not be decoded yet.
    Arrived,
    /// A read has failed, or its future was dropped.
    Broken,
}

/// What a body needs that is still to come.
struct Coming {
    open: Open,
    pace: Pace,
    alarm: Alarm,
    /// The runtime of the alarm.
    runtime: Option<Id>,
}

impl Reading {
    /// `limits` and `max_bytes` are those of the body; `decoder` removes its content codings.
    pub(super) fn new(
        incoming: Incoming,
        decoder: Option<Decoder>,
        limits: Limits,
        max_bytes: u64,
        alarm: Alarm,
        core: &Core,
    ) -> Self {
        let is_coded = decoder.is_some();
        let wanted = Wanted { keep: true, sha256: false, max_bytes, cut: false };
        let now = core.requester().now();
        let (state, rest, ended) = match incoming {
            Incoming::Whole(bytes) => {
                core.keep_alarm(alarm);
                (State::Arrived, bytes, Some(now))
            }
            Incoming::Open(open) => {
                let pace = Pace::new(limits.speed, now, open.connection.body_bytes());
                let coming = Coming { open, pace, alarm, runtime: ManyThreads::runtime() };
                (State::Open(Box::new(coming)), Bytes::new(), None)
            }
        };
        Self {
            intake: Intake::new(decoder, wanted, 0),
            rest,
            has_more: false,
            state,
            is_coded,
            first_byte: limits.first_byte,
            began: now,
            ended,
        }
    }

    /// How many bytes are still to come, if that is known and they are not decoded.
    pub(super) fn bytes_left(&self) -> Option<u64> {
        match &self.state {
            State::Open(_) | State::Arrived | State::Broken if self.is_coded => None,
            State::Open(coming) => coming.open.connection.bytes_left(),
            State::Arrived => Some(self.rest.len() as u64),
            State::Broken => None,
        }
    }

    /// The rest of a body that has arrived and is not decoded: there is nothing to wait for.
    pub(super) fn arrived(&mut self) -> Option<Result<Bytes, Failure>> {
        let has_arrived = !self.is_coded && matches!(self.state, State::Arrived);
        has_arrived.then(|| self.intake.pass(std::mem::take(&mut self.rest)))
    }

    /// The next piece, or `None` at the end.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection is closed, and every later call fails.
    pub(super) async fn next(&mut self, core: &Core) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(piece) = self.decoded().await? {
                return Ok(Some(piece));
            }
            // Out of its place while it is waited for, so that it is closed if this future is dropped.
            let mut coming = match std::mem::replace(&mut self.state, State::Broken) {
                State::Open(coming) => coming,
                State::Arrived => {
                    self.intake.end()?;
                    self.state = State::Arrived;
                    return Ok(None);
                }
                State::Broken => {
                    let message = "a read of the body has failed or was given up before";
                    return Err(Failure::new(ErrorKind::BodyReset, message));
                }
            };
            coming.enter_runtime()?;
            let clock = core.requester().clock;
            let Coming { open, pace, alarm, .. } = &mut *coming;
            let frame = pace.next(&mut **open.connection, alarm, clock, limits::READ_BYTES).await?;
            self.state = match frame {
                Some(frame) => {
                    self.rest = frame;
                    State::Open(coming)
                }
                None => {
                    let mut stall = Stall::new(open.connection.progress(), clock, self.first_byte);
                    let finished = alarm.within_that(|| stall.deadline(), open.connection.finish()).await;
                    finished.map_err(|failure| stall.failure(failure))??;
                    core.keep_alarm(coming.alarm);
                    self.ended = Some(core.requester().stamp());
                    attempt::close(core.requester(), coming.open);
                    State::Arrived
                }
            };
        }
    }

    /// Decodes what has come, if that gives anything.
    async fn decoded(&mut self) -> Result<Option<Bytes>, Failure> {
        // What has arrived whole is in no block that other connections use.
        if !self.is_coded && matches!(self.state, State::Arrived) && !self.rest.is_empty() {
            return self.intake.pass(std::mem::take(&mut self.rest)).map(Some);
        }
        while self.has_more || !self.rest.is_empty() {
            let taken = self.intake.step(&mut self.rest, limits::DECODE_INLINE_BYTES)?;
            let piece = std::mem::take(&mut self.intake.held);
            self.has_more = taken == Taken::More;
            if taken == Taken::Over {
                (self.rest, self.state) = (Bytes::new(), State::Arrived);
            }
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
            if self.has_more {
                tokio::task::yield_now().await;
            }
        }
        Ok(None)
    }
}

impl Coming {
    /// A response may be read in another runtime than that of its request.
    fn enter_runtime(&mut self) -> Result<(), Failure> {
        let runtime = ManyThreads::runtime();
        if self.runtime != runtime {
            self.alarm.leave_runtime();
            self.runtime = runtime;
        }
        self.open.connection.move_to(runtime).map_err(|error| {
            let message = format!("the connection cannot be used in another runtime: {error}");
            Failure::new(ErrorKind::Resource, message)
        })
    }
}
