//! The outcome of an attempt, as plain data: the attempt fills it in, the shard turns it into a record.

use std::net::IpAddr;

use bytes::Bytes;
use overlapped_proto::address::Reach;
use overlapped_proto::cookie::Jar;
use overlapped_proto::error::ErrorKind;
use overlapped_proto::job::Job;
use overlapped_proto::keepalive::Lease;
use overlapped_proto::limits;
use overlapped_proto::notes::Notes;
use overlapped_proto::origin::{ConnKey, is_local};
use overlapped_proto::outcome::{Ending, Failure, Heads, Hop};
use overlapped_proto::record::{Connection as Wire, Headers, Hold, Sent, warc};
use overlapped_proto::redirect::Follow;
use overlapped_proto::retry;
use overlapped_proto::time::Nanos;
use overlapped_proto::timing::Stopwatch;
use url::Host;

use crate::body::drain::Drained;
use crate::net::Connection;

/// The outcome of one attempt.
pub(crate) struct Outcome {
    pub(crate) watch: Stopwatch,
    pub(crate) wire: Wire,
    pub(crate) status: Option<u16>,
    pub(crate) headers: Headers,
    /// The bytes of the head, if they are wanted.
    pub(crate) raw_head: Bytes,
    /// The request that was answered, if it is wanted; what came may be no response.
    pub(crate) sent: Option<Box<Sent>>,
    /// Deviations from the protocol that the lenient parser accepted.
    pub(crate) notes: Notes,
    pub(crate) retry_after: Option<Nanos>,
    pub(crate) redirect: Option<Follow>,
    /// The body of that redirect, if an archive wants it and it was read.
    pub(crate) redirect_body: Option<Bytes>,
    /// The cookies of the row behind that redirect.
    pub(crate) cookies: Option<Box<Jar>>,
    pub(crate) drained: Drained,
    /// The body, if the caller reads it.
    pub(crate) incoming: Option<Incoming>,
    /// The memory share of the head and the body.
    pub(crate) hold: Hold,
    /// The body was streamed to the receiver, so a retry would deliver it twice.
    pub(crate) handed_on: bool,
    /// True if a proxy stands between, so that the address of the server is not known.
    pub(crate) proxied: bool,
    /// True if the connection is idle now, and can be used for another request.
    pub(crate) is_warm: bool,
    pub(crate) failure: Option<Failure>,
    /// The timeout of the step of connecting that is under way.
    pub(crate) connecting: Option<ErrorKind>,
    /// The failed robots.txt request that stopped this row. The scheduler judges the row by it.
    pub(crate) refusal: Option<Ending>,
}

/// The body of a response, which the caller reads.
pub(crate) enum Incoming {
    /// It has arrived, and its connection is in use again.
    Whole(Bytes),
    /// It is still to be read.
    Open(Open),
}

/// A connection with a body that is still to be read.
pub(crate) struct Open {
    pub(crate) key: ConnKey,
    pub(crate) connection: Lease<Box<Connection>>,
}

impl Outcome {
    pub(crate) fn new(watch: Stopwatch) -> Self {
        Self {
            watch,
            wire: Wire::default(),
            status: None,
            headers: Headers::default(),
            raw_head: Bytes::new(),
            sent: None,
            notes: Notes::default(),
            retry_after: None,
            redirect: None,
            redirect_body: None,
            cookies: None,
            drained: Drained::default(),
            incoming: None,
            hold: Hold::default(),
            handed_on: false,
            proxied: false,
            is_warm: false,
            failure: None,
            connecting: None,
            refusal: None,
        }
    }

    /// Leads the row to where the response with `status` has redirected it.
    pub(crate) fn follow(&self, job: &mut Job, status: u16, follow: Follow) {
        let remote = self.wire.remote.map(|remote| remote.ip());
        let total = self.watch.timing().total();
        let hop = Hop { url: job.url.as_str().into(), status, total, remote, heads: self.heads(status) };
        // Without TLS the server is not authenticated.
        job.cookies = if follow.downgraded { None } else { self.cookies.clone() };
        job.became_get |= follow.becomes_get;
        job.crossed_origin |= follow.crosses_origin;
        job.from_public |= self.is_from_public(job, remote);
        job.upgraded |= follow.upgraded;
        job.redirect(follow.url, hop);
    }

    /// A redirect, if an archive wants it.
    fn heads(&self, status: u16) -> Option<Box<Heads>> {
        let request = self.sent.as_deref()?.head.clone();
        let response = match self.raw_head.is_empty() {
            true => warc::head_of(status, &self.headers).into(),
            false => self.raw_head.clone(),
        };
        let body = self.redirect_body.clone();
        Some(Box::new(Heads { request, response, body }))
            .filter(|heads| heads.bytes() <= limits::REDIRECT_KEPT_BYTES_MAX)
    }

    /// True if a public address has answered, as far as that is known: behind a proxy a name may be anywhere.
    fn is_from_public(&self, job: &Job, remote: Option<IpAddr>) -> bool {
        let address = match (self.proxied, job.url.host()) {
            (true, Some(Host::Ipv4(address))) => Some(IpAddr::V4(address)),
            (true, Some(Host::Ipv6(address))) => Some(IpAddr::V6(address)),
            (true, Some(Host::Domain(_)) | None) => return !is_local(&job.url),
            (false, _) => remote,
        };
        address.is_some_and(|address| Reach::of(address) == Reach::Public)
    }

    /// True if a further row of the host may follow at once on the connection.
    pub(crate) fn invites_another(&self) -> bool {
        self.is_warm && self.status.is_some_and(|status| !retry::is_refusal(status))
    }

    /// How the attempt ended, as the scheduler sees it.
    pub(crate) fn ending(&self) -> Ending {
        let ended = match (&self.failure, self.status) {
            (Some(_), Some(status)) if self.handed_on => Ending::Response { status, retry_after: None },
            (None, Some(status)) => Ending::Response { status, retry_after: self.retry_after },
            (Some(failure), _) => Ending::Failed(self.reachability(failure.kind)),
            (None, None) => Ending::Failed(ErrorKind::Internal),
        };
        self.refusal.unwrap_or(ended)
    }

    /// A total timeout that strikes while connecting is a failure to reach the origin.
    fn reachability(&self, kind: ErrorKind) -> ErrorKind {
        self.connecting.filter(|_| kind == ErrorKind::TimeoutTotal).unwrap_or(kind)
    }

    /// True if nothing was sent, because this machine had no file or port for it.
    pub(crate) fn is_shortage(&self) -> bool {
        let resource = self.failure.as_ref().is_some_and(|failure| failure.kind == ErrorKind::Resource);
        resource && self.watch.timing().send.is_none()
    }

    /// An attempt that failed before it had any result.
    pub(crate) fn failed(ready: Nanos, now: Nanos, failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::new(Stopwatch::start(ready, now)) }
    }
}
