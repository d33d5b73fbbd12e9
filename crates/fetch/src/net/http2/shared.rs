//! What is known of a connection: how many requests it has, and whether it takes another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::SendRequest;
use overlapped_proto::origin::ConnKey;
use overlapped_proto::time::Nanos;

use super::meter::Received;

/// What the streams of a connection and its task know of it. Each field stands for itself, and what an error means is written
/// before `h2` tells the error, under its lock; so no order of the accesses is needed.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) key: ConnKey,
    pub(super) remote: Option<SocketAddr>,
    pub(super) opened: Nanos,
    pub(super) received: Arc<Received>,
    /// Leases.
    pub(super) leased: AtomicUsize,
    /// When the last request on it ended, as [`Nanos`].
    pub(super) last_used: AtomicU64,
    /// Responses that have begun.
    pub(super) answers: AtomicUsize,
    /// Its task has ended.
    pub(super) has_ended: AtomicBool,
    /// Requests on it when it ended by an error, as the first of them has counted; 0: it did not.
    pub(super) broken_with: AtomicUsize,
    /// Requests on it when it ended without a word, as the first of them has counted; 0: it did not.
    pub(super) lost_with: AtomicUsize,
    /// That it broke was reported for its origin.
    pub(super) is_reported: AtomicBool,
    /// It gets no more requests: a stream was reset with `HTTP_1_1_REQUIRED`.
    pub(super) is_left: AtomicBool,
}

/// What a connection has for another request.
pub(crate) enum Vacancy {
    /// A stream.
    Free,
    /// As many streams as the server takes are open.
    Full,
    /// It takes no more requests.
    Closed,
}

impl Shared {
    pub(super) fn new(key: ConnKey, remote: Option<SocketAddr>, now: Nanos, received: Arc<Received>) -> Self {
        Self {
            key,
            remote,
            opened: now,
            received,
            leased: AtomicUsize::new(0),
            last_used: AtomicU64::new(now.0),
            answers: AtomicUsize::new(0),
            has_ended: AtomicBool::new(false),
            broken_with: AtomicUsize::new(0),
            lost_with: AtomicUsize::new(0),
            is_reported: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
        }
    }

    /// What it has for another request, by `send`, a handle of it, if it may have `most` of them at once.
    pub(super) fn vacancy(&self, send: &mut SendRequest<Bytes>, most: usize) -> Vacancy {
        if self.has_ended.load(Ordering::Relaxed) || self.is_left.load(Ordering::Relaxed) {
            return Vacancy::Closed;
        }
        // An error: the server has sent GOAWAY, or the connection broke, or the numbers of streams are used up.
        let mut cx = Context::from_waker(Waker::noop());
        if matches!(send.poll_ready(&mut cx), Poll::Ready(Err(_))) {
            return Vacancy::Closed;
        }
        let most = send.current_max_send_streams().min(most);
        if self.leased.load(Ordering::Relaxed) < most { Vacancy::Free } else { Vacancy::Full }
    }
}

/// One of the requests of a connection.
pub(super) struct Lease(Arc<Shared>);

impl Lease {
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        shared.leased.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.leased.fetch_sub(1, Ordering::Relaxed);
    }
}
