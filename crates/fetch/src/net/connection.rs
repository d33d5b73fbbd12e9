//! The engine's connections: one of the protocols. A further protocol or kind of socket is a further variant.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use overlapped_proto::http1::Head;
use overlapped_proto::keepalive::Room;
use overlapped_proto::limits;
use overlapped_proto::origin::ConnKey;
use overlapped_proto::outcome::Failure;
use overlapped_proto::time::Nanos;
use tokio::runtime::Id;

use super::exchange::{After, Exchange, Reading};
use super::http2::Vacancy;
use super::link::Link;
use super::request::Request;
use super::stream::Look;
use super::upload::Progress;
use super::{http1, http2};
use crate::memory::Share;

/// A connection, or a stream of one.
pub(crate) enum Connection {
    /// It carries one request at a time.
    Http1(http1::Connection<Link>),
    /// In the pool: a connection of many streams. Leased: one of them.
    Http2(http2::Stream),
}

impl Connection {
    /// What it has for a request, which `may_repeat` or must not be sent twice, if it may have `most` at once. A connection
    /// of HTTP/2 that takes no more requests leaves the pool, and [`Connection::look`] says that it is over.
    pub(crate) fn room(&mut self, may_repeat: bool, most: usize, now: Nanos) -> Room<Box<Self>> {
        let stream = match self {
            Self::Http1(_) => return Room::Whole,
            Self::Http2(stream) => stream,
        };
        // The server may be closing it, which a request that must not be sent twice cannot risk.
        let is_stale = stream.leased() == 0 && now - stream.last_used() > limits::REUSE_ONCE_IDLE_MAX;
        match stream.vacancy(most) {
            Vacancy::Closed => Room::Whole,
            Vacancy::Free if may_repeat || !is_stale => Room::Stream(Box::new(Self::Http2(stream.lease()))),
            Vacancy::Free | Vacancy::Full => Room::Full,
        }
    }

    /// The same for a connection whose streams are all in use: the request waits for one of them.
    pub(crate) fn queue(&mut self) -> Room<Box<Self>> {
        match self {
            Self::Http1(_) => Room::Full,
            Self::Http2(stream) => match stream.vacancy(limits::H2_STREAMS_MAX) {
                Vacancy::Free | Vacancy::Full => Room::Stream(Box::new(Self::Http2(stream.lease()))),
                Vacancy::Closed => Room::Full,
            },
        }
    }

    /// True if a proxy forwards the requests, and may have answered itself.
    pub(crate) fn is_forwarded(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.forwarding.is_some(),
            Self::Http2(_) => false,
        }
    }

    /// Requests on it, if it takes several at once.
    pub(crate) fn leased(&self) -> Option<usize> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(stream) => Some(stream.leased()),
        }
    }

    /// The key of a connection that stays in the pool: it has requests, or had one after `since`, and takes more.
    pub(crate) fn kept_for(&mut self, since: Nanos) -> Option<ConnKey> {
        let stream = match self {
            Self::Http1(_) => return None,
            Self::Http2(stream) => stream,
        };
        let is_used = stream.leased() > 0 || stream.last_used() > since;
        (is_used && !stream.is_closed()).then(|| stream.key().clone())
    }

    /// See [`http1::Connection::move_to`]. The I/O of HTTP/2 stays with the task that does it.
    pub(crate) fn move_to(&mut self, runtime: Option<Id>) -> io::Result<()> {
        match self {
            Self::Http1(connection) => connection.move_to(runtime),
            Self::Http2(_) => Ok(()),
        }
    }

    /// See [`http1::Connection::look`].
    pub(crate) fn look(&mut self) -> Look {
        match self {
            Self::Http1(connection) => connection.look(),
            Self::Http2(stream) => {
                if stream.is_closed() {
                    Look::Parting
                } else {
                    Look::Quiet
                }
            }
        }
    }

    /// See [`http1::Connection::glance`].
    pub(crate) fn glance(&mut self) -> Look {
        match self {
            Self::Http1(connection) => connection.glance(),
            Self::Http2(_) => self.look(),
        }
    }

    /// See [`http1::Connection::stirred`]. For HTTP/2, what is received does not concern the next request.
    pub(crate) async fn stirred(&mut self) {
        match self {
            Self::Http1(connection) => connection.stirred().await,
            Self::Http2(_) => std::future::pending().await,
        }
    }

    /// The peer's address: of the server, or of the proxy. A Unix socket has none.
    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1(connection) => connection.remote,
            Self::Http2(stream) => stream.remote(),
        }
    }

    /// When it was opened.
    pub(crate) fn opened(&self) -> Nanos {
        match self {
            Self::Http1(connection) => connection.opened,
            Self::Http2(stream) => stream.opened(),
        }
    }

    /// When its last response was complete.
    pub(crate) fn idle_since(&self) -> Nanos {
        match self {
            Self::Http1(connection) => connection.idle_since,
            Self::Http2(stream) => stream.last_used(),
        }
    }

    /// A response was complete.
    pub(crate) fn used_at(&mut self, now: Nanos) {
        match self {
            Self::Http1(connection) => connection.idle_since = now,
            Self::Http2(stream) => stream.used_at(now),
        }
    }

    /// Responses on it.
    pub(crate) fn answers(&self) -> u32 {
        match self {
            Self::Http1(connection) => connection.answers,
            Self::Http2(stream) => stream.answers(),
        }
    }

    /// True if it carries several requests at once.
    pub(crate) fn is_shared(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(_) => true,
        }
    }

    /// See [`http2::Stream::broke_with_others`].
    pub(crate) fn broke_with_others(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(stream) => stream.broke_with_others(),
        }
    }

    /// See [`http2::Stream::was_lost_with_others`].
    pub(crate) fn was_lost_with_others(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(stream) => stream.was_lost_with_others(),
        }
    }

    /// See [`http2::Stream::reports_first`].
    pub(crate) fn reports_first(&self) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(stream) => stream.reports_first(),
        }
    }

    /// True if it is of HTTP/2, and the server wants or speaks HTTP/1.1.
    pub(crate) fn wants_http1(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(stream) => stream.wants_http1(),
        }
    }
}

/// Each call goes to the protocol.
impl Exchange for Connection {
    async fn send(
        &mut self,
        request: &mut Request<'_>,
        reading: Reading,
        share: &mut Share,
        sent: impl FnOnce(),
    ) -> Result<Head, Failure> {
        match self {
            Self::Http1(connection) => connection.send(request, reading, share, sent).await,
            Self::Http2(stream) => stream.send(request, reading, share, sent).await,
        }
    }

    async fn frame(&mut self, most: usize) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Http1(connection) => connection.frame(most).await,
            Self::Http2(stream) => stream.frame(most).await,
        }
    }

    async fn finish(&mut self) -> Result<(), Failure> {
        match self {
            Self::Http1(connection) => connection.finish().await,
            Self::Http2(stream) => stream.finish().await,
        }
    }

    fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Http1(connection) => connection.progress(),
            Self::Http2(stream) => stream.progress(),
        }
    }

    fn take_arrived(&mut self) -> Option<Bytes> {
        match self {
            Self::Http1(connection) => connection.take_arrived(),
            Self::Http2(stream) => stream.take_arrived(),
        }
    }

    fn leave_block(&mut self) {
        match self {
            Self::Http1(connection) => connection.leave_block(),
            Self::Http2(stream) => stream.leave_block(),
        }
    }

    fn bytes_left(&self) -> Option<u64> {
        match self {
            Self::Http1(connection) => connection.bytes_left(),
            Self::Http2(stream) => stream.bytes_left(),
        }
    }

    fn body_bytes(&self) -> u64 {
        match self {
            Self::Http1(connection) => connection.body_bytes(),
            Self::Http2(stream) => stream.body_bytes(),
        }
    }

    fn proves_the_end(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.proves_the_end(),
            Self::Http2(stream) => stream.proves_the_end(),
        }
    }

    fn is_answered(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_answered(),
            Self::Http2(stream) => stream.is_answered(),
        }
    }

    fn after(&mut self) -> After {
        match self {
            Self::Http1(connection) => connection.after(),
            Self::Http2(stream) => stream.after(),
        }
    }
}
