//! What an attempt does with a response: it follows a redirect, reads the body, or leaves the body to the caller.

use std::cmp::Ordering;

use bytes::Bytes;
use overlapped_proto::archive::is_archive;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::{Job, Method};
use overlapped_proto::keepalive::Lease;
use overlapped_proto::limits;
use overlapped_proto::notes::Note;
use overlapped_proto::origin::ConnKey;
use overlapped_proto::outcome::Failure;
use overlapped_proto::range::{self, Part};
use overlapped_proto::record::Headers;
use overlapped_proto::redirect::{self, Decision, Follow};
use overlapped_proto::retry;

use super::{AskedPart, Attempt, PARTIAL, Purpose};
use crate::body::decode::Decoder;
use crate::body::drain::{Overflow, Rules, drain};
use crate::body::tap::Begun;
use crate::engine::outcome::{Incoming, Open};
use crate::engine::requester::Requester;
use crate::locality::Locality;
use crate::memory::Share;
use crate::net::Connection;
use crate::net::alarm::Deadline;
use crate::net::exchange::Exchange;

impl<L: Locality, A: Fn()> Attempt<'_, L, A> {
    /// Applies the redirect policy to the response.
    pub(super) fn judge(&mut self, status: u16) -> Decision {
        let plan = &self.requester.plan;
        let (requester, headers) = (self.requester, &self.outcome.headers);
        let after = |value| retry::after(value, requester.clock.unix_s(requester.now()));
        self.outcome.retry_after = headers.first("retry-after").and_then(after);
        let location = headers.first("location");
        let target = location.filter(|_| plan.hsts.is_some());
        let target = target.and_then(|location| redirect::target(&self.job.url, location));
        // Before the policy, which refuses some redirects to http.
        let upgraded = target.and_then(|url| requester.upgraded(&url));
        let location = upgraded.as_ref().map(|url| url.as_str().as_bytes()).or(location);
        let policy = match self.purpose {
            Purpose::Row | Purpose::Open => self.terms.redirect,
            Purpose::Robots => {
                redirect::Policy { max: Some(limits::ROBOTS_REDIRECTS_MAX), ..self.terms.redirect }
            }
        };
        let mut sent = plan.template.sent(self.job);
        sent.secret |= self.has_cookies || self.identifies();
        sent.body |= self.uploads;
        match redirect::decide(self.job, sent, status, location, &policy) {
            // The body would have to be sent again.
            Decision::Follow(follow) if self.uploads && !follow.becomes_get => Decision::Stay,
            Decision::Follow(follow) => Decision::Follow(Follow { upgraded: upgraded.is_some(), ..follow }),
            decision @ (Decision::Stay | Decision::Fail(_)) => decision,
        }
    }

    /// Keeps what the host has said about https, if its certificate was verified.
    pub(super) fn learn_hsts(&self) {
        let (requester, url) = (self.requester, &self.job.url);
        let Some(hsts) = requester.plan.hsts.as_ref().filter(|_| url.scheme() == "https") else { return };
        let trust = self.terms.tls.map_or(&requester.plan.trust, |(trust, _)| trust);
        let value = self.outcome.headers.first("strict-transport-security");
        if let Some(value) = value.filter(|_| trust.verifies(url.host_str().unwrap_or_default())) {
            hsts.learn(url, value, requester.clock.unix_s(requester.now()));
        }
    }

    /// True if the server might have got a client certificate.
    fn identifies(&self) -> bool {
        let trust = self.terms.tls.map_or(&self.requester.plan.trust, |(trust, _)| trust);
        trust.identifies() && !self.job.crossed_origin && self.job.url.scheme() == "https"
    }

    /// A part of a body must be the one that was asked for. Returns its length if only its range says how long it is.
    pub(super) fn judge_range(&mut self, connection: &Connection) -> Result<Option<u64>, Failure> {
        let Some(AskedPart { range: asked, if_range }) = self.part.take() else { return Ok(None) };
        let headers = &self.outcome.headers;
        let (part, kind) = (headers.first("content-range"), headers.first("content-type"));
        let length = connection.bytes_left();
        if range::judge(&asked, part, kind, length)? {
            self.outcome.notes.add(Note::MultipartRanges);
            return Ok(None);
        }
        if let Some(validator) = if_range {
            range::judge_continuation(&validator, headers)?;
        }
        let has_body = *self.requester.plan.template.method_now(self.job) != Method::Head;
        let is_untold = has_body && length.is_none();
        Ok(part.and_then(Part::parse).filter(|_| is_untold).map(Part::bytes))
    }

    /// Checks that the body of a part has the length of its range.
    ///
    /// # Errors
    ///
    /// `body.truncated`, `body.range_mismatch`: it is shorter or longer.
    pub(super) fn check_part(&self, bytes: u64) -> Result<(), Failure> {
        let sent = self.outcome.drained.wire_bytes;
        let kind = match sent.cmp(&bytes) {
            Ordering::Equal => return Ok(()),
            Ordering::Less => ErrorKind::BodyTruncated,
            Ordering::Greater => ErrorKind::BodyRangeMismatch,
        };
        Err(Failure::new(kind, format!("the server sent {sent} bytes of a range of {bytes}")))
    }

    /// Reads the body of a redirect, without decoding it, to keep the connection alive, and keeps it if an archive wants it; true if
    /// it was complete.
    pub(super) async fn pass_over(&mut self, connection: &mut Connection) -> bool {
        let mut bytes = 0;
        let mut kept = self.outcome.sent.is_some().then(Vec::new);
        let limit = Some(limits::REDIRECT_DRAIN_TIME);
        let deadline = Deadline::after(self.requester.now(), limit, ErrorKind::TimeoutTotal);
        while let Ok(frame) = self.alarm.within(deadline, connection.frame(limits::READ_BYTES)).await {
            match frame {
                Ok(None) => {
                    self.outcome.redirect_body = kept.map(Bytes::from);
                    return true;
                }
                Ok(Some(data)) => {
                    bytes += data.len() as u64;
                    kept = kept.filter(|_| bytes <= limits::REDIRECT_KEPT_BYTES_MAX as u64);
                    kept.iter_mut().for_each(|kept| kept.extend_from_slice(&data));
                }
                Err(_) => return false,
            }
            if bytes > limits::REDIRECT_DRAIN_BYTES {
                return false;
            }
        }
        false
    }

    pub(super) async fn keep(
        &mut self,
        connection: &mut Connection,
        share: &mut Share,
    ) -> Result<bool, Failure> {
        let Self { requester, alarm, job, terms, outcome, purpose, .. } = self;
        let plan = &requester.plan;
        let codings = outcome.headers.all("content-encoding");
        let max_bytes = match purpose {
            Purpose::Row | Purpose::Open => terms.max_bytes,
            Purpose::Robots => limits::ROBOTS_BYTES_MAX as u64,
        };
        // A range of an encoded body (206) cannot be decoded.
        let decodes = terms.decodes
            && outcome.status != Some(PARTIAL)
            && !keeps_coding(requester, job, &outcome.headers);
        let decoder = if decodes { Decoder::new(codings, max_bytes)? } else { None };
        let counts = |status: u16| plan.response.body && plan.judge_status(status).is_none();
        let tap = requester
            .views
            .tap
            .as_ref()
            .filter(|_| *purpose == Purpose::Row && outcome.status.is_some_and(counts));
        if let (Some(tap), Some(status), Some(version)) = (tap, outcome.status, outcome.wire.http_version) {
            let bytes = if decoder.is_some() { None } else { connection.bytes_left() };
            let (headers, raw_head) = (outcome.headers.clone(), outcome.raw_head.clone());
            let begun = Begun { status, version, headers, raw_head, bytes };
            outcome.handed_on = true;
            tap.begin(&requester.views.disk, begun).await?;
        }
        let rules = Rules {
            keep: plan.response.body,
            sha256: plan.response.sha256 || job.ask.as_deref().is_some_and(|ask| ask.sha256.is_some()),
            max_bytes,
            speed: terms.timeouts.speed,
            overflow: match (tap, &plan.response.spool) {
                (Some(tap), _) => Overflow::Tap(tap),
                (None, Some(directory)) => {
                    Overflow::File(directory, &plan.last_files, &requester.views.store)
                }
                (None, None) => Overflow::Store(&requester.views.store),
            },
            disk: &requester.views.disk,
            cpu: &requester.views.cpu,
            run: plan.run,
            row: job.row,
            attempt: job.attempts,
            cut: false,
        };
        let rules = match purpose {
            Purpose::Row | Purpose::Open => rules,
            Purpose::Robots => {
                Rules { keep: true, sha256: false, overflow: Overflow::Nowhere, cut: true, ..rules }
            }
        };
        outcome.drained =
            drain(connection, decoder, &rules, share, alarm, requester.clock, requester.now()).await;
        match outcome.drained.failure.take() {
            None => match (job.ask.as_deref().and_then(|ask| ask.sha256), outcome.drained.sha256) {
                (Some(wanted), Some(found)) if wanted != found => {
                    outcome.drained.forget_body();
                    Err(Failure::new(
                        ErrorKind::BodyHashMismatch,
                        "the SHA-256 is not the one the row asks for",
                    ))
                }
                _ => Ok(outcome.drained.truncated != Some(true)),
            },
            Some(failure) => {
                outcome.watch.receive(requester.stamp());
                Err(failure)
            }
        }
    }

    /// Leaves the body to the caller. A small one that has arrived with its head is copied out of the shared block, so that
    /// the connection is free at once.
    pub(super) fn open(&mut self, key: ConnKey, mut connection: Lease<Box<Connection>>) {
        let is_small = connection.bytes_left().is_some_and(|bytes| bytes <= limits::BODY_INLINE_BYTES as u64);
        let arrived = if is_small { connection.take_arrived() } else { None };
        self.outcome.incoming = Some(match arrived {
            Some(body) => {
                let body = Bytes::copy_from_slice(&body);
                self.outcome.watch.receive(self.requester.now());
                self.leave(key, connection);
                Incoming::Whole(body)
            }
            None => {
                connection.leave_block();
                Incoming::Open(Open { key, connection })
            }
        });
    }
}

/// True if the body is not decoded: it is an archive whose content coding is its own compression. Bodies in records are
/// decoded nevertheless.
fn keeps_coding<L: Locality>(requester: &Requester<L>, job: &Job, headers: &Headers) -> bool {
    let plan = &requester.plan;
    let is_checked = job.ask.as_deref().is_some_and(|ask| ask.sha256.is_some());
    let is_file =
        plan.response.spool.is_some() || requester.views.tap.is_some() || requester.views.moves_bodies;
    (is_checked || is_file) && is_archive(job.url.path(), headers)
}
