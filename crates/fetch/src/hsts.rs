//! The hosts that all shards of a run, or all threads of a client, reach by https only.

use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use overlapped_proto::hsts::Hosts;
use url::Url;

/// What hosts have said over https (RFC 6797).
#[derive(Debug, Default)]
pub(crate) struct Hsts {
    hosts: Mutex<Hosts<RandomState>>,
    /// One has. Until then no lock is taken.
    has_any: AtomicBool,
}

impl Hsts {
    /// Keeps what a response to `url` has said, whose certificate was verified; `now` in seconds since 1970.
    pub(crate) fn learn(&self, url: &Url, value: &[u8], now: i64) {
        self.hosts().learn(url, value, now);
        self.has_any.store(true, Ordering::Relaxed);
    }

    /// The URL of https to ask for instead of one of http.
    pub(crate) fn upgrade(&self, url: &Url, now: i64) -> Option<Url> {
        if !self.has_any.load(Ordering::Relaxed) {
            return None;
        }
        self.hosts().upgrade(url, now)
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts<RandomState>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
