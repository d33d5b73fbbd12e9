//! One attempt: one request on one connection, and its result. Whether the row is retried is decided elsewhere.

use bytes::Bytes;
use overlapped_proto::archive::is_archive;
use overlapped_proto::cookie::{Bounds, Jar};
use overlapped_proto::error::ErrorKind;
use overlapped_proto::http1::Head;
use overlapped_proto::job::{Job, Method};
use overlapped_proto::keepalive::{Care, Habit, Lease};
use overlapped_proto::limits;
use overlapped_proto::notes::Note;
use overlapped_proto::origin::{ConnKey, Scheme};
use overlapped_proto::outcome::Failure;
use overlapped_proto::record::{Connection as Wire, Headers};
use overlapped_proto::redirect::{self, Decision};
use overlapped_proto::retry;
use overlapped_proto::timing::Stopwatch;

use super::openings::Role;
use super::outcome::{Incoming, Open, Outcome};
use super::requester::{Http1Only, Requester};
use crate::body::decode::Decoder;
use crate::body::drain::{Overflow, Rules, drain};
use crate::body::rest::rest;
use crate::body::tap::Begun;
use crate::config::Http;
use crate::cookies::CookieJar;
use crate::locality::Locality;
use crate::memory::Share;
use crate::net::Connection;
use crate::net::alarm::{Alarm, Deadline};
use crate::net::exchange::{After, Exchange, Reading};
use crate::net::request::{self, Prepared, Request};
use crate::net::stream::{Look, Stream};
use crate::net::tls::{Alpn, Trust, chose_http2};
use crate::net::upload::Upload;
use crate::net::{connect, http1, http2};
use crate::plan::{Limits, Plan};
use crate::trace::Trace;

/// Makes one attempt at `job`. `accepted` is called when a connection was opened for it.
pub(crate) async fn attempt<L: Locality>(
    requester: &Requester<L>,
    alarm: &mut Alarm,
    job: &Job,
    accepted: &impl Fn(),
) -> Outcome {
    make(requester, alarm, job, Terms::of(&requester.plan), accepted, Purpose::Row).await
}

/// Makes one attempt at a robots.txt, with the limits of robots.txt for redirects and for the body.
pub(crate) async fn attempt_robots<L: Locality>(
    requester: &Requester<L>,
    alarm: &mut Alarm,
    job: &Job,
    accepted: &impl Fn(),
) -> Outcome {
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
) -> Outcome {
    make(requester, alarm, job, terms, &|| {}, Purpose::Open).await
}

/// What an attempt is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Row,
    Robots,
    Open,
}

/// What single requests may have differently from each other; rows have it from the plan.
pub(crate) struct Terms<'a> {
    pub(crate) http: Http,
    pub(crate) timeouts: Limits,
    pub(crate) redirect: redirect::Policy,
    pub(crate) reading: Reading,
    /// Decode bodies.
    pub(crate) decodes: bool,
    /// The limit of a decoded body.
    pub(crate) max_bytes: u64,
    /// The settings of TLS, with their number in the key of a connection; `None`: those of the plan.
    pub(crate) tls: Option<(&'a Trust, u32)>,
    pub(crate) cookies: Cookies<'a>,
    /// A request that is sent as it is.
    pub(crate) prepared: Option<&'a Prepared>,
    /// A body that is produced while it is sent. The first attempt that sends takes it.
    pub(crate) upload: Option<&'a mut Option<Box<Upload>>>,
}

/// Where the cookies of a request come from.
#[derive(Clone, Copy)]
pub(crate) enum Cookies<'a> {
    /// From the jar of the run, or else from the redirects of the row.
    Own,
    /// From a store of the caller, which has this for the URL.
    Store(Option<&'a str>),
}

impl<'a> Terms<'a> {
    fn of(plan: &'a Plan) -> Self {
        Self {
            http: plan.http,
            timeouts: plan.timeouts,
            redirect: plan.redirect,
            reading: plan.reading,
            decodes: plan.decodes,
            max_bytes: plan.response.max_bytes,
            tls: None,
            cookies: Cookies::Own,
            prepared: None,
            upload: None,
        }
    }
}

/// Keeps the connection of a body that the caller has read to its end.
pub(crate) fn close<L: Locality>(requester: &Requester<L>, open: Open) {
    put_back(requester, open.key, open.connection);
}

/// Keeps a connection for another request, if its last response allows that. True if it does.
fn put_back<L: Locality>(
    requester: &Requester<L>,
    key: ConnKey,
    mut connection: Lease<Box<Connection>>,
) -> bool {
    match connection.after() {
        After::Reuse => requester.check_in(key, connection),
        After::Unasked => {
            requester.learn(&key, Habit::Unasked);
            false
        }
        After::Close => false,
    }
}

async fn make<L: Locality>(
    requester: &Requester<L>,
    alarm: &mut Alarm,
    job: &Job,
    terms: Terms<'_>,
    accepted: &impl Fn(),
    purpose: Purpose,
) -> Outcome {
    let now = requester.now();
    let own_limit = job.ask.as_deref().and_then(|ask| ask.timeout);
    // As with curl, the limit covers a row with its redirects: an attempt gets what the redirects before it have left.
    let limit = own_limit.or(terms.timeouts.total);
    alarm.begin(now, limit.map(|limit| limit - job.spent()));
    let outcome = Outcome::new(Stopwatch::start(job.ready, now));
    let trace = Trace::attempt(job);
    let mut attempt = Attempt {
        requester,
        alarm,
        job,
        terms,
        uploads: false,
        has_cookies: false,
        accepted,
        outcome,
        purpose,
        trace,
    };
    let failure = attempt.run().await.err();
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
    /// The request has cookies that belong to the run or to the caller.
    has_cookies: bool,
    accepted: &'a A,
    outcome: Outcome,
    purpose: Purpose,
    trace: Trace,
}

impl<L: Locality, A: Fn()> Attempt<'_, L, A> {
    async fn run(&mut self) -> Result<(), Failure> {
        let invalid = || Failure::new(ErrorKind::InputUrl, "the URL has no host");
        let mut route = self.requester.plan.route(self.job);
        if let Some((_, number)) = self.terms.tls.filter(|_| self.job.url.scheme() == "https") {
            route.tls = number;
        }
        let key = ConnKey::new(&self.job.url, route).ok_or_else(invalid)?;
        let mut share = self.requester.plan.memory.share(self.job.row);
        let (mut connection, head) = self.exchange(&key, &mut share).await?;
        self.outcome.status = Some(head.status);
        self.outcome.wire.http_version = Some(head.version);
        self.outcome.headers = head.headers;
        self.outcome.raw_head = head.raw;
        self.outcome.notes = head.notes;
        if self.requester.has_left_http2(&key) {
            self.outcome.notes.add(Note::Http2Left);
        }
        let decision = self.judge(head.status);
        self.keep_cookies(matches!(decision, Decision::Follow(_)));
        let kept = match decision {
            Decision::Follow(follow) => {
                self.outcome.redirect = Some(follow);
                Ok(self.pass_over(&mut connection).await)
            }
            Decision::Fail(failure) => Err(failure),
            Decision::Stay if self.purpose == Purpose::Open => {
                self.open(key, connection);
                return Ok(());
            }
            Decision::Stay => self.keep(&mut connection, &mut share).await,
        };
        if kept.is_ok() {
            let now =
                if self.outcome.drained.at_once { self.requester.now() } else { self.requester.stamp() };
            self.outcome.watch.receive(now);
        }
        if self.outcome.redirect.is_none() {
            let views = &self.requester.views;
            let Outcome { headers, raw_head, drained, .. } = &mut self.outcome;
            let raw_bytes = raw_head.len();
            self.outcome.hold = rest(share, headers, raw_bytes, drained, &views.store, &views.disk).await?;
        }
        if kept? {
            self.outcome.is_warm = put_back(self.requester, key, connection);
        }
        Ok(())
    }

    /// Leaves the body to the caller. A small one that has arrived with its head is copied out of the shared block, so that
    /// the connection is free at once.
    fn open(&mut self, key: ConnKey, mut connection: Lease<Box<Connection>>) {
        let is_small = connection.bytes_left().is_some_and(|bytes| bytes <= limits::BODY_INLINE_BYTES as u64);
        let arrived = if is_small { connection.take_arrived() } else { None };
        self.outcome.incoming = Some(match arrived {
            Some(body) => {
                let body = Bytes::copy_from_slice(&body);
                self.outcome.watch.receive(self.requester.now());
                self.outcome.is_warm = put_back(self.requester, key, connection);
                Incoming::Whole(body)
            }
            None => {
                connection.leave_block();
                Incoming::Open(Open { key, connection })
            }
        });
    }

    /// The jar of the run, for what is asked for in its name: not for robots.txt.
    fn jar(&self) -> Option<&CookieJar> {
        self.requester.plan.cookies.as_ref().filter(|_| self.purpose != Purpose::Robots)
    }

    /// The cookies for the next request.
    fn cookies(&mut self) -> request::Cookies {
        let (url, now) = (&self.job.url, || self.requester.clock.unix_s(self.requester.now()));
        let own = match (self.terms.cookies, self.jar()) {
            (Cookies::Store(None), _) => return request::Cookies::None,
            (Cookies::Store(Some(value)), _) => {
                self.has_cookies = true;
                return request::Cookies::Instead(value.as_bytes().to_vec());
            }
            (Cookies::Own, Some(jar)) => {
                let found = jar.header(url, now());
                self.has_cookies = found.is_some();
                found
            }
            // The site has set them within this row, so they are no secret of the caller.
            (Cookies::Own, None) => self.job.cookies.as_deref().and_then(|cookies| cookies.peek(url, now())),
        };
        own.map_or(request::Cookies::None, request::Cookies::Beside)
    }

    /// Keeps the cookies that the response has set: in the jar of the run, or in the row if it is redirected.
    fn keep_cookies(&mut self, redirected: bool) {
        if !redirected && self.jar().is_none() {
            return;
        }
        let (url, now) = (&self.job.url, self.requester.clock.unix_s(self.requester.now()));
        let mut set = self.outcome.headers.all("set-cookie").peekable();
        let is_own = matches!(self.terms.cookies, Cookies::Own) && self.terms.prepared.is_none();
        let is_set = set.peek().is_some();
        let mut kept = None;
        match self.jar().filter(|_| is_own) {
            Some(jar) if is_set => jar.store(url, set, now),
            None if is_own => {
                kept = self.job.cookies.clone();
                if is_set {
                    kept.get_or_insert_with(|| Box::new(Jar::new(Bounds::ROW))).store(url, set, now);
                }
            }
            Some(_) | None => {}
        }
        self.outcome.cookies = kept.filter(|jar| !jar.is_empty());
    }

    /// Gets a connection, sends the request and waits for the head of the response.
    async fn exchange(
        &mut self,
        key: &ConnKey,
        share: &mut Share,
    ) -> Result<(Lease<Box<Connection>>, Head), Failure> {
        // Built first, so that an invalid request fails before a connection is opened.
        let upload = self.terms.upload.as_deref().and_then(Option::as_deref).map(Upload::length);
        let mut request = match self.terms.prepared {
            Some(prepared) => prepared.build(self.job, upload)?,
            None => {
                let cookies = self.cookies();
                self.requester.plan.template.build(self.job, cookies, upload)?
            }
        };
        self.uploads = upload.is_some();
        let mut pooled = self.lease(key).await?;
        let mut resends = 0;
        loop {
            let is_pooled = pooled.is_some();
            let mut connection = match pooled.take() {
                Some(connection) => self.reuse(connection),
                None => self.fresh(key).await?,
            };
            let failure = match self.send(&mut connection, &mut request, share).await {
                Ok(head) => return Ok((connection, head)),
                Err(failure) => failure,
            };
            if failure.kind == ErrorKind::H2Refused && resends < limits::H2_RESENDS_MAX && !self.uploads {
                // It was not processed, so any request is sent again.
                resends += 1;
                if connection.wants_http1() {
                    self.leave_http2(key);
                }
                pooled = self.lease(key).await?;
            } else if connection.wants_http1() && self.leave_http2(key) && self.may_repeat() {
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

    fn reuse(&mut self, connection: Lease<Box<Connection>>) -> Lease<Box<Connection>> {
        self.requester.count_reuse();
        let remote = connection.remote();
        self.trace.reused(remote);
        self.outcome.wire = Wire { remote: Some(remote), reused: Some(true), http_version: None };
        connection
    }

    /// Speaks HTTP/1.1 to an origin from now on, because it does not speak the HTTP/2 that it has chosen. False if that is
    /// not for us to decide.
    fn leave_http2(&mut self, key: &ConnKey) -> bool {
        let is_ours = self.terms.http == Http::Negotiated;
        if is_ours {
            self.requester.set_http1_only(key, Http1Only::Left);
        }
        is_ours
    }

    /// An idle connection that is safe for this request, if there is one.
    async fn lease(&mut self, key: &ConnKey) -> Result<Option<Lease<Box<Connection>>>, Failure> {
        let may_repeat = self.may_repeat();
        let Some(mut connection) = self.requester.check_out(key, may_repeat) else { return Ok(None) };
        // The pool has judged a connection of several streams.
        if may_repeat || connection.is_shared() {
            return Ok(Some(connection));
        }
        let answers = connection.answers();
        let idle_since = connection.idle_since();
        let until = match self.requester.habit(key).care(answers, idle_since, self.requester.now()) {
            Care::Use => return Ok(Some(connection)),
            Care::Leave => return Ok(None),
            Care::Watch(until) => until,
        };
        let deadline = Deadline::at(until, ErrorKind::TimeoutFirstByte);
        let stirred = self.alarm.within(deadline, connection.stirred()).await;
        self.requester.stamp();
        let keeps = match stirred {
            Ok(()) => false,
            Err(failure) if failure.kind == ErrorKind::TimeoutTotal => return Err(failure),
            Err(_) => connection.look() == Look::Quiet,
        };
        self.requester.learn(key, if keeps { Habit::Keeps { answers } } else { Habit::Closes });
        Ok(keeps.then_some(connection))
    }

    /// A new connection, or a stream of one that another row has opened meanwhile. Data received before the request would
    /// be taken for its response, so such a connection is closed.
    async fn fresh(&mut self, key: &ConnKey) -> Result<Lease<Box<Connection>>, Failure> {
        let requester = self.requester;
        let mut opening = None;
        for _ in 0..limits::H2_OPENINGS_AWAITED {
            if !self.may_be_shared(key) {
                break;
            }
            match requester.openings.join(key) {
                Role::Opens(ours) => {
                    opening = Some(ours);
                    break;
                }
                Role::Waits(wait) => {
                    let is_shared = self.alarm.within(Deadline::NEVER, wait.over()).await?;
                    self.outcome.watch.connect(requester.stamp());
                    if !is_shared {
                        break;
                    }
                    if let Some(connection) = requester.check_out(key, self.may_repeat()) {
                        return Ok(self.reuse(connection));
                    }
                }
            }
        }
        for _ in 0..limits::CONNECTION_TRIES {
            let mut connection = self.connect(key).await?;
            if let (Lease::Stream(_), Some(opening)) = (&connection, &mut opening) {
                opening.share();
            }
            match connection.look() {
                Look::Quiet | Look::Ended => return Ok(connection),
                Look::Spoke | Look::Parting => {}
            }
        }
        Err(Failure::new(
            ErrorKind::HttpParse,
            "the server sent data before the request: it does not speak HTTP",
        ))
    }

    /// True if a new connection to the origin may carry several requests, so that one is opened for all that wait.
    fn may_be_shared(&self, key: &ConnKey) -> bool {
        match self.terms.http {
            Http::Http1 => false,
            Http::Http2 => true,
            Http::Negotiated => {
                key.origin.scheme() == Scheme::Https && self.requester.http1_only(key).is_none()
            }
        }
    }

    /// The protocols to offer over TLS.
    fn alpn(&self, key: &ConnKey) -> Alpn {
        match self.terms.http {
            Http::Http1 => Alpn::Http1,
            Http::Http2 => Alpn::Http2,
            Http::Negotiated if self.requester.has_left_http2(key) => Alpn::Http1,
            Http::Negotiated => Alpn::Both,
        }
    }

    async fn connect(&mut self, key: &ConnKey) -> Result<Lease<Box<Connection>>, Failure> {
        let alpn = self.alpn(key);
        let Self { requester, alarm, job, terms, accepted, outcome, trace, .. } = self;
        let timeouts = &terms.timeouts;
        let trust = terms.tls.map_or(&requester.plan.trust, |(trust, _)| trust);
        let name = key.origin.host();
        outcome.wire = Wire { reused: Some(false), ..Wire::default() };

        // A row that was redirected may have little time left, which tells nothing of the origin.
        let step = |kind| job.chain.is_empty().then_some(kind);
        outcome.connecting = step(ErrorKind::DnsTimeout);
        let deadline = Deadline::after(requester.now(), timeouts.dns, ErrorKind::DnsTimeout);
        let addresses = alarm.within(deadline, requester.addresses(job, &mut outcome.watch)).await??;

        outcome.connecting = step(ErrorKind::ConnectTimeout);
        let deadline = Deadline::after(requester.now(), timeouts.connect, ErrorKind::ConnectTimeout);
        let dialled = connect::dial(&addresses, key.origin.port(), &requester.plan.last_files);
        let tcp = alarm.within(deadline, dialled).await??;
        outcome.watch.connect(requester.stamp());
        let remote = tcp
            .peer_addr()
            .map_err(|error| Failure::new(ErrorKind::ConnectReset, format!("{name}: {error}")))?;
        outcome.wire.remote = Some(remote);

        let mut is_http2 = terms.http == Http::Http2;
        let stream = if key.origin.scheme() == Scheme::Https {
            outcome.connecting = step(ErrorKind::TlsTimeout);
            let deadline = Deadline::after(requester.now(), timeouts.tls, ErrorKind::TlsTimeout);
            let tls = alarm.within(deadline, trust.handshake(name, tcp, alpn)).await??;
            outcome.watch.tls(requester.stamp());
            is_http2 |= chose_http2(&tls);
            Stream::Tls(Box::new(tls))
        } else {
            Stream::Plain(tcp)
        };
        outcome.connecting = None;
        requester.count_connection();
        trace.connected(remote);
        accepted();
        let now = requester.now();
        if is_http2 {
            let opened = http2::open(stream, requester.plan.windows, key.clone(), remote, now);
            let deadline = Deadline::after(now, timeouts.connect, ErrorKind::ConnectTimeout);
            return Ok(requester.share(key, alarm.within(deadline, opened).await??));
        }
        if alpn == Alpn::Both && key.origin.scheme() == Scheme::Https {
            requester.set_http1_only(key, Http1Only::Chosen);
        }
        let connection = http1::Connection::new(stream, L::runtime(), remote, now);
        Ok(Lease::Exclusive(Box::new(Connection::Http1(connection))))
    }

    async fn send(
        &mut self,
        connection: &mut Connection,
        request: &mut Request<'_>,
        share: &mut Share,
    ) -> Result<Head, Failure> {
        let requester = self.requester;
        self.intend().await?;
        request.upload = self.terms.upload.as_deref_mut().and_then(Option::take);
        // How long an upload takes depends on its source.
        let limit = self.terms.timeouts.first_byte.filter(|_| !self.uploads);
        let deadline = Deadline::after(requester.now(), limit, ErrorKind::TimeoutFirstByte);
        let watch = &mut self.outcome.watch;
        let outcome = connection.send(request, self.terms.reading, share, || watch.send(requester.stamp()));
        let head = self.alarm.within(deadline, outcome).await??;
        self.outcome.watch.wait(requester.stamp());
        Ok(head)
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

    /// Applies the redirect policy to the response.
    fn judge(&mut self, status: u16) -> Decision {
        let plan = &self.requester.plan;
        let (requester, headers) = (self.requester, &self.outcome.headers);
        let after = |value| retry::after(value, requester.clock.unix_s(requester.now()));
        self.outcome.retry_after = headers.first("retry-after").and_then(after);
        let location = headers.first("location");
        let policy = match self.purpose {
            Purpose::Row | Purpose::Open => self.terms.redirect,
            Purpose::Robots => {
                redirect::Policy { max: Some(limits::ROBOTS_REDIRECTS_MAX), ..self.terms.redirect }
            }
        };
        let mut sent = plan.template.sent(self.job);
        sent.secret |= self.has_cookies || self.terms.tls.is_some_and(|(trust, _)| trust.identifies());
        sent.body |= self.uploads;
        match redirect::decide(self.job, sent, status, location, &policy) {
            // The body would have to be sent again.
            Decision::Follow(follow) if self.uploads && !follow.becomes_get => Decision::Stay,
            decision @ (Decision::Stay | Decision::Follow(_) | Decision::Fail(_)) => decision,
        }
    }

    /// Reads the body of a redirect, without decoding it, to keep the connection alive; true if it was complete.
    async fn pass_over(&mut self, connection: &mut Connection) -> bool {
        let mut bytes = 0;
        let limit = Some(limits::REDIRECT_DRAIN_TIME);
        let deadline = Deadline::after(self.requester.now(), limit, ErrorKind::TimeoutTotal);
        while let Ok(frame) = self.alarm.within(deadline, connection.frame(limits::READ_BYTES)).await {
            match frame {
                Ok(None) => return true,
                Ok(Some(data)) => bytes += data.len() as u64,
                Err(_) => return false,
            }
            if bytes > limits::REDIRECT_DRAIN_BYTES {
                return false;
            }
        }
        false
    }

    async fn keep(&mut self, connection: &mut Connection, share: &mut Share) -> Result<bool, Failure> {
        let Self { requester, alarm, job, terms, outcome, purpose, .. } = self;
        let plan = &requester.plan;
        let codings = outcome.headers.all("content-encoding");
        let max_bytes = match purpose {
            Purpose::Row | Purpose::Open => terms.max_bytes,
            Purpose::Robots => limits::ROBOTS_BYTES_MAX as u64,
        };
        // A range of an encoded body (206) cannot be decoded.
        let decodes =
            terms.decodes && outcome.status != Some(206) && !keeps_coding(requester, job, &outcome.headers);
        let decoder = if decodes { Decoder::new(codings, max_bytes)? } else { None };
        let counts = |status: u16| plan.response.body && plan.judge_status(status).is_none();
        let tap = requester
            .views
            .tap
            .as_ref()
            .filter(|_| *purpose == Purpose::Row && outcome.status.is_some_and(counts));
        if let (Some(tap), Some(status), Some(version)) = (tap, outcome.status, outcome.wire.http_version) {
            let bytes = if decoder.is_some() { None } else { connection.bytes_left() };
            let begun = Begun { status, version, headers: outcome.headers.clone(), bytes };
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

    /// True if the request may be sent again.
    fn may_repeat(&self) -> bool {
        !self.uploads && self.is_idempotent()
    }

    fn is_idempotent(&self) -> bool {
        Method::is_idempotent(self.requester.plan.template.method_now(self.job))
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

fn is_idle_race(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::HttpNoResponse | ErrorKind::HttpReset)
}
