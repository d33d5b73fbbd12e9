//! One attempt: one request on one connection, and its result. Whether the row is retried is decided elsewhere.

mod response;
mod connections;
mod connect;
mod body_file;
mod cookies;
mod terms;

use std::sync::OnceLock;

use overlapped_proto::error::ErrorKind;
use overlapped_proto::http1::{Head, write_request_shown};
use overlapped_proto::job::{Job, Method};
use overlapped_proto::keepalive::{Habit, Lease};
use overlapped_proto::limits;
use overlapped_proto::notes::Note;
use overlapped_proto::origin::ConnKey;
use overlapped_proto::outcome::Failure;
use overlapped_proto::proxy::{self, Proxy};
use overlapped_proto::record::Sent;
use overlapped_proto::redirect::Decision;
use overlapped_proto::request::BodyLength;
use overlapped_proto::time::Nanos;
use overlapped_proto::timing::Stopwatch;

use self::connections::put_back;
pub(crate) use self::terms::{Cookies, Terms};
use super::outcome::{Open, Outcome};
use super::requester::Requester;
use crate::body::rest::rest;
use crate::config::Http;
use crate::locality::Locality;
use crate::memory::Share;
use crate::net::Connection;
use crate::net::alarm::{Alarm, Deadline};
use crate::net::exchange::Exchange;
use crate::net::file_body;
use crate::net::request::Request;
use crate::net::upload::{Stall, Upload};
use crate::trace::Trace;

/// The status of a response that is a part of the body.
const PARTIAL: u16 = 206;

/// Makes one attempt at `job`. `accepted` is called when a connection was opened for it.
pub(crate) async fn attempt<L: Locality>(
    requester: &Requester<L>,
    alarm: &mut Alarm,
    job: &Job,
    accepted: &impl Fn(),
) -> Box<Outcome> {
    make(requester, alarm, job, Terms::of(&requester.plan), accepted, Purpose::Row).await
}

/// Makes one attempt at a robots.txt, with the limits of robots.txt for redirects and for the body.
pub(crate) async fn attempt_robots<L: Locality>(
    requester: &Requester<L>,
    alarm: &mut Alarm,
    job: &Job,
    accepted: &impl Fn(),
) -> Box<Outcome> {
    make(requester, alarm, job, Terms::of(&requester.plan), accepted, Purpose::Robots).await
}

/// Makes one attempt by the terms of a single request. The body of its response is left to the caller
/// ([`Outcome::incoming`]), unless the response is a redirect to be followed.
///
/// # Cancel safety
///
/// A connection on which the request was sent is closed if the future is dropped.
pub(crate) async fn attempt_open<L: Locality>(
    requester: &Requester<L>,
    alarm: &mut Alarm,
    job: &Job,
    terms: Terms<'_>,
) -> Box<Outcome> {
    make(requester, alarm, job, terms, &|| {}, Purpose::Open).await
}

/// What an attempt is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Row,
    Robots,
    Open,
}

/// Keeps the connection of a body that the caller has read to its end.
pub(crate) fn close<L: Locality>(requester: &Requester<L>, open: Open) {
    put_back(requester, open.key, open.connection);
}

async fn make<L: Locality>(
    requester: &Requester<L>,
    alarm: &mut Alarm,
    job: &Job,
    terms: Terms<'_>,
    accepted: &impl Fn(),
    purpose: Purpose,
) -> Box<Outcome> {
    let now = requester.now();
    let own_limit = job.ask.as_deref().and_then(|ask| ask.timeout);
    // As with curl, the limit covers a row with its redirects: an attempt gets what the redirects before it have left.
    let limit = own_limit.or(terms.timeouts.total);
    alarm.begin(now, limit, job.spent());
    let outcome = Box::new(Outcome::new(Stopwatch::start(job.ready, now)));
    let trace = Trace::attempt(job);
    let mut attempt = Attempt {
        requester,
        alarm,
        job,
        terms,
        uploads: false,
        is_alone: false,
        part: None,
        proxy: None,
        is_forwarded: false,
        has_cookies: false,
        accepted,
        outcome,
        purpose,
        trace,
    };
    let failure = attempt.run().await.err().map(|failure| attempt.of_whom(failure));
    if let Some(failure) = failure.as_ref().filter(|failure| failure.kind != ErrorKind::Resource)
        && attempt.outcome.watch.timing().receive.is_none()
    {
        attempt.outcome.watch.fail(failure.kind.phase(), requester.now());
    }
    attempt.trace.ended(attempt.outcome.status, failure.as_ref());
    attempt.outcome.failure = failure;
    attempt.outcome
}

struct Attempt<'a, L: Locality, A> {
    requester: &'a Requester<L>,
    alarm: &'a mut Alarm,
    job: &'a Job,
    terms: Terms<'a>,
    /// The body of the request cannot be sent again.
    uploads: bool,
    /// It gets a connection that no other request uses.
    is_alone: bool,
    /// What was asked for, if the response is a part (206).
    part: Option<AskedPart>,
    /// Through which the server is reached.
    proxy: Option<&'a Proxy>,
    /// The connection is to a proxy, which forwards the request.
    is_forwarded: bool,
    /// The request has cookies that belong to the run or to the caller.
    has_cookies: bool,
    accepted: &'a A,
    outcome: Box<Outcome>,
    purpose: Purpose,
    trace: Trace,
}

/// The fields of a request for a part of a body.
struct AskedPart {
    range: Box<[u8]>,
    if_range: Option<Box<[u8]>>,
}

impl<L: Locality, A: Fn()> Attempt<'_, L, A> {
    async fn run(&mut self) -> Result<(), Failure> {
        let invalid = || Failure::new(ErrorKind::InputUrl, "the URL has no host");
        let mut route = self.requester.plan.route(self.job);
        if let Some((trust, number)) = self.terms.tls.filter(|_| self.job.url.scheme() == "https") {
            route.tls = 2 * number + u32::from(trust.identifies() && self.job.crossed_origin);
        }
        let requester = self.requester;
        if self.terms.http != requester.plan.http {
            route.http = match self.terms.http {
                Http::Negotiated => 1,
                Http::Http1 => 2,
                Http::Http2 => 3,
            };
        }
        // A Unix socket leads to one server alone.
        let found = requester.plan.proxies.of(&self.job.url).filter(|_| requester.plan.unix_socket.is_none());
        (self.proxy, route.proxy) = match self.terms.proxy {
            Some(chosen) => chosen,
            None => found.map_or((None, 0), |(proxy, number)| (Some(proxy), number)),
        };
        self.outcome.proxied = self.proxy.is_some();
        let key = ConnKey::new(&self.job.url, route).ok_or_else(invalid)?;
        let mut share = self.requester.plan.memory.share(self.job.row);
        let (mut connection, head) = self.exchange(&key, &mut share).await?;
        self.outcome.status = Some(head.status);
        self.outcome.wire.http_version = Some(head.version);
        self.outcome.headers = head.headers;
        self.outcome.raw_head = head.raw;
        self.outcome.notes = head.notes;
        self.learn_hsts();
        if self.requester.has_left_http2(&key) {
            self.outcome.notes.add(Note::Http2Left);
        }
        if !self.requester.may_reuse(&key) {
            self.outcome.notes.add(Note::UnaskedBytes);
        }
        // Who sends a request as it is judges the response too.
        let is_refusal = head.status == 407 && connection.is_forwarded() && self.terms.prepared.is_none();
        let decision = match self.proxy.filter(|_| is_refusal) {
            Some(proxy) => proxy::judge(proxy, head.status, &self.outcome.headers)
                .map_or_else(Decision::Fail, |()| Decision::Stay),
            None => self.judge(head.status),
        };
        self.keep_cookies(matches!(decision, Decision::Follow(_)));
        let kept = match decision {
            Decision::Follow(follow) => {
                self.outcome.redirect = Some(follow);
                Ok(self.pass_over(&mut connection).await)
            }
            Decision::Fail(failure) => Err(failure),
            Decision::Stay if self.purpose == Purpose::Open => {
                // A caller may not read a body that is empty.
                if connection.bytes_left() == Some(0) {
                    self.finish(&mut connection).await?;
                }
                self.open(key, connection);
                return Ok(());
            }
            Decision::Stay => match self.judge_range(&connection) {
                Ok(length) => {
                    let kept = self.keep(&mut connection, &mut share).await;
                    let kept = kept.and_then(|kept| {
                        length.map_or(Ok(()), |bytes| self.check_part(bytes)).map(|()| kept)
                    });
                    match kept {
                        Ok(true) => self.finish(&mut connection).await.map(|()| true),
                        Ok(false) | Err(_) => kept,
                    }
                }
                Err(failure) => Err(failure),
            },
        };
        if kept.is_err() {
            self.broke_with_others(&key, &connection);
        } else {
            let now =
                if self.outcome.drained.at_once { self.requester.now() } else { self.requester.stamp() };
            self.outcome.watch.receive(now);
        }
        if self.outcome.redirect.is_none() {
            let views = &self.requester.views;
            let Outcome { headers, raw_head, sent, drained, .. } = &mut *self.outcome;
            let raw_bytes = raw_head.len() + sent.as_ref().map_or(0, |sent| sent.bytes());
            self.outcome.hold = rest(share, headers, raw_bytes, drained, &views.store, &views.disk).await?;
        }
        if kept? {
            self.leave(key, connection);
        }
        Ok(())
    }

    /// Gets a connection, sends the request and waits for the head of the response.
    async fn exchange(
        &mut self,
        key: &ConnKey,
        share: &mut Share,
    ) -> Result<(Lease<Box<Connection>>, Head), Failure> {
        // Built first, so that an invalid request fails before a connection is opened.
        let given = self.terms.upload.as_deref().and_then(Option::as_deref).map(Upload::length);
        let file =
            if given.is_some() || self.terms.prepared.is_some() { None } else { self.body_file().await? };
        let upload = given.or(file.as_ref().map(|file| BodyLength::Known(file.bytes())));
        let mut request = match self.terms.prepared {
            Some(prepared) => prepared.build(self.job, upload)?,
            None => {
                let cookies = self.cookies();
                self.requester.plan.template.build(self.job, cookies, upload)?
            }
        };
        self.uploads = given.is_some();
        let mut pooled = self.lease(key).await?;
        let (mut resends, mut breaks, mut losses) = (0, 0, 0);
        loop {
            let mut is_pooled = pooled.is_some();
            let mut connection = match pooled.take() {
                Some(connection) => connection,
                // Boxed, since it is large and most requests find a connection.
                None => Box::pin(self.fresh(key)).await?,
            };
            self.intend().await?;
            if is_pooled && self.has_aged(key, &mut connection) {
                is_pooled = false;
                connection = Box::pin(self.fresh(key)).await?;
            } else if is_pooled {
                connection = self.reuse(connection);
            }
            request.upload = match &file {
                Some(file) => {
                    let block = self.requester.plan.upload_block();
                    Some(file_body::upload(file, &self.requester.views.disk, block))
                }
                // What is left of it, if an earlier connection took nothing.
                None => {
                    request.upload.take().or_else(|| self.terms.upload.as_deref_mut().and_then(Option::take))
                }
            };
            let failure = match self.send(&mut connection, &mut request, share).await {
                Ok(head) => {
                    if head.status == PARTIAL && self.purpose == Purpose::Row {
                        let field = |wanted| {
                            let mut fields = request.head.fields();
                            let found = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                            found.map(|(_, value)| Box::from(value))
                        };
                        let if_range = field("if-range");
                        self.part = field("range").map(|range| AskedPart { range, if_range });
                    }
                    self.keep_sent(&request, file.is_none());
                    return Ok((connection, head));
                }
                Err(failure) => {
                    // What came is no response; an archive still tells what was asked.
                    if connection.is_answered() {
                        self.keep_sent(&request, file.is_none());
                    }
                    failure
                }
            };
            let broke = self.broke_with_others(key, &connection);
            let leaves_http2 = self.leaves_http2(key, &connection);
            let is_whole = !self.uploads || request.upload.is_some();
            if failure.kind == ErrorKind::H2Refused && resends < limits::H2_RESENDS_MAX && is_whole {
                // It was not processed, so any request is sent again. The last time no other request can be the reason.
                resends += 1;
                self.is_alone = resends == limits::H2_RESENDS_MAX;
                pooled = if self.is_alone { None } else { self.lease(key).await? };
            } else if broke
                && breaks < limits::H2_BROKEN_MAX
                && !connection.is_answered()
                && self.may_repeat()
            {
                // After that many, it gets a connection of its own.
                breaks += 1;
                pooled = self.lease(key).await?;
            } else if connection.was_lost_with_others()
                && losses < limits::H2_LOST_MAX
                && is_idle_race(failure.kind)
                && !connection.is_answered()
                && self.may_repeat()
            {
                // The server may have closed it for another request. The last time none can be the reason.
                losses += 1;
                self.is_alone = losses == limits::H2_LOST_MAX;
                pooled = if self.is_alone { None } else { self.lease(key).await? };
            } else if leaves_http2 && self.may_repeat() {
                // A server of HTTP/1.1 that has chosen HTTP/2: sent again, once.
            } else if is_pooled && is_idle_race(failure.kind) && !connection.is_answered() {
                // The keep-alive race: the server closed the idle connection as the request was sent. Nothing was
                // received, so an idempotent request is sent again, once, on a new connection.
                if !connection.is_shared() {
                    self.requester.learn(key, Habit::Closes);
                }
                if !self.may_repeat() {
                    return Err(failure);
                }
            } else {
                return Err(failure);
            }
        }
    }

    /// Names the proxy that has forwarded the request, if the failure may be its own.
    fn of_whom(&self, failure: Failure) -> Failure {
        use ErrorKind as E;
        let Some(proxy) = self.proxy.filter(|_| self.is_forwarded) else { return failure };
        let may_be_its_own = matches!(
            failure.kind,
            E::HttpNoResponse
                | E::HttpReset
                | E::HttpTruncated
                | E::HttpParse
                | E::HttpLimit
                | E::TimeoutFirstByte
                | E::TimeoutSlow
                | E::BodyTruncated
                | E::BodyReset
                | E::BodyFraming
        );
        match may_be_its_own {
            true => Failure::new(failure.kind, format!("through the proxy {proxy}: {}", failure.message)),
            false => failure,
        }
    }

    /// Keeps the request for the record, if an archive wants it. `has_body`: all of it is in memory.
    fn keep_sent(&mut self, request: &Request<'_>, has_body: bool) {
        if self.requester.plan.response.sent && self.purpose == Purpose::Row {
            let sent = shown(request, has_body && !self.uploads, self.proxy.is_none());
            self.outcome.sent = Some(Box::new(sent));
        }
    }

    async fn send(
        &mut self,
        connection: &mut Connection,
        request: &mut Request<'_>,
        share: &mut Share,
    ) -> Result<Head, Failure> {
        let requester = self.requester;
        // How long an upload takes depends on its source: the limit begins when it is over.
        let began = if request.upload.is_some() { OnceLock::new() } else { OnceLock::from(requester.now()) };
        let limit = self.terms.timeouts.first_byte;
        let mut stall = Stall::new(request.upload.as_deref().map(Upload::progress), requester.clock, limit);
        let deadline = || {
            let after = |began: &Nanos| Deadline::after(*began, limit, ErrorKind::TimeoutFirstByte);
            began.get().map_or_else(|| stall.deadline(), after)
        };
        let watch = &mut self.outcome.watch;
        let outcome = connection.send(request, self.terms.reading, share, || {
            let now = requester.stamp();
            watch.send(now);
            began.get_or_init(|| now);
        });
        let head = self.alarm.within_that(deadline, outcome).await;
        let head =
            head.map_err(|failure| if began.get().is_none() { stall.failure(failure) } else { failure })??;
        self.outcome.watch.wait(requester.stamp());
        Ok(head)
    }

    /// Sends the rest of the request, if the response that was read to its end is a success.
    async fn finish(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let mut stall =
            Stall::new(connection.progress(), self.requester.clock, self.terms.timeouts.first_byte);
        let finished = self.alarm.within_that(|| stall.deadline(), connection.finish()).await;
        finished.map_err(|failure| stall.failure(failure))?
    }

    /// In a durable run, records a request that must not be sent twice in the write-ahead log.
    async fn intend(&self) -> Result<(), Failure> {
        let views = &self.requester.views;
        let Some(intents) = views.intents.clone().filter(|_| !self.is_idempotent()) else { return Ok(()) };
        let row = self.job.row;
        let failed = |why: String| Failure::new(ErrorKind::SinkIo, format!("it was not sent: {why}"));
        let recorded = views.disk.submit(move || intents.record(row)).await;
        self.requester.stamp();
        recorded.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }

    /// True if the request may be sent again.
    fn may_repeat(&self) -> bool {
        !self.uploads && self.is_idempotent()
    }

    fn is_idempotent(&self) -> bool {
        Method::is_idempotent(self.requester.plan.template.method_now(self.job))
    }
}

/// A request as archives have it.
fn shown(request: &Request<'_>, is_whole: bool, is_direct: bool) -> Sent {
    let mut head = Vec::new();
    write_request_shown(&request.head, &mut head);
    Sent { head: head.into(), body: request.body.clone(), is_whole, is_direct }
}

fn is_idle_race(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::HttpNoResponse | ErrorKind::HttpReset)
}
