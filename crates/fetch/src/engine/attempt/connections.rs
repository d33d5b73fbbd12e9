//! The connection of an attempt: an idle one that is safe for its request, a stream of one that another attempt opens, or a
//! new one; and its return to the pool.

use overlapped_proto::error::ErrorKind;
use overlapped_proto::keepalive::{Care, Habit, Lease};
use overlapped_proto::limits;
use overlapped_proto::notes::Note;
use overlapped_proto::origin::{ConnKey, Scheme};
use overlapped_proto::outcome::Failure;
use overlapped_proto::protocol::{Protocol, Sign};
use overlapped_proto::record::Connection as Wire;

use super::Attempt;
use crate::config::Http;
use crate::engine::openings::Role;
use crate::engine::requester::Requester;
use crate::locality::Locality;
use crate::net::Connection;
use crate::net::alarm::Deadline;
use crate::net::exchange::{After, Exchange};
use crate::net::stream::Look;

/// Keeps a connection for another request, if its last response allows that. Tells whether it was kept, or why not.
pub(super) fn put_back<L: Locality>(
    requester: &Requester<L>,
    key: ConnKey,
    mut connection: Lease<Box<Connection>>,
) -> After {
    match connection.after() {
        After::Reuse => match requester.check_in(key, connection) {
            true => After::Reuse,
            false => After::Close,
        },
        After::Unasked => {
            requester.learn(&key, Habit::Unasked);
            After::Unasked
        }
        After::Close => After::Close,
    }
}

impl<L: Locality, A: Fn()> Attempt<'_, L, A> {
    /// Keeps the connection as [`put_back`], and tells in the outcome what came of it.
    pub(super) fn leave(&mut self, key: ConnKey, connection: Lease<Box<Connection>>) {
        match put_back(self.requester, key, connection) {
            After::Reuse => self.outcome.is_warm = true,
            After::Unasked => self.outcome.notes.add(Note::UnaskedBytes),
            After::Close => {}
        }
    }

    pub(super) fn reuse(&mut self, connection: Lease<Box<Connection>>) -> Lease<Box<Connection>> {
        self.requester.count_reuse();
        self.is_forwarded = connection.is_forwarded();
        let remote = connection.remote();
        self.trace.reused(remote);
        self.outcome.wire = Wire { remote, reused: Some(true), http_version: None };
        connection
    }

    /// True if the origin is spoken to over HTTP/1.1 from now on, because it wants that on this connection.
    pub(super) fn leaves_http2(&self, key: &ConnKey, connection: &Connection) -> bool {
        connection.wants_http1()
            && self.requester.see(key, Sign::WantsHttp1, self.terms.http).has_left_http2()
    }

    /// True if the connection ended by an error of HTTP/2 while other requests were on it, which may have caused it.
    pub(super) fn broke_with_others(&self, key: &ConnKey, connection: &Connection) -> bool {
        let broke = connection.broke_with_others();
        if broke && connection.reports_first() {
            self.requester.see(key, Sign::Broke, self.terms.http);
        }
        broke
    }

    /// An idle connection that is safe for this request, if there is one.
    pub(super) async fn lease(&mut self, key: &ConnKey) -> Result<Option<Lease<Box<Connection>>>, Failure> {
        let may_repeat = self.may_repeat();
        let Some(mut connection) = self.requester.check_out(key, may_repeat) else { return Ok(None) };
        // The pool has judged a connection of several streams.
        if may_repeat || connection.is_shared() {
            return Ok(Some(connection));
        }
        let answers = connection.answers();
        let idle_since = connection.idle_since();
        let until = match self.requester.habit(key).care(answers, idle_since, self.requester.stamp()) {
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

    /// True if a connection that was leased is not safe any more for this request: it was idle for longer meanwhile, as while the
    /// intent was recorded.
    pub(super) fn has_aged(&self, key: &ConnKey, connection: &mut Connection) -> bool {
        if self.may_repeat() || connection.is_shared() {
            return false;
        }
        let (answers, idle_since) = (connection.answers(), connection.idle_since());
        let care = self.requester.habit(key).care(answers, idle_since, self.requester.stamp());
        care == Care::Leave || connection.look() != Look::Quiet
    }

    /// A new connection, or a stream of one that another row has opened meanwhile. Data received before the request would
    /// be taken for its response, so such a connection is closed.
    pub(super) async fn fresh(&mut self, key: &ConnKey) -> Result<Lease<Box<Connection>>, Failure> {
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
            let known = requester.protocol(key);
            let mut connection = match self.connect(key, known).await {
                // An origin that was left to HTTP/1.1 for its broken connections may speak HTTP/2 only.
                Err(failure) if failure.kind == ErrorKind::TlsHandshake && known == Protocol::Broken => {
                    let known = requester.see(key, Sign::RefusesHttp1, self.terms.http);
                    self.connect(key, known).await?
                }
                connected => connected?,
            };
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
        let may_be_http2 = match self.terms.http {
            Http::Http1 => false,
            Http::Http2 => true,
            Http::Negotiated => key.origin.scheme() == Scheme::Https,
        };
        may_be_http2 && !self.is_alone && self.requester.protocol(key).shares()
    }
}
