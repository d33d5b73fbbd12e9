//! The record of a server: all counts, and the requests up to a limit.
//!
//! Counts are never dropped; requests are kept up to the `record_limit`. A request is in flight from when it has been read until
//! just before the last byte of its response is written to the socket. A client cannot have the whole response earlier, so a
//! client that keeps its limits is never recorded as exceeding them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::request::Request;

/// A request that the server has read, with its outcome. It derefs to its [`Request`].
#[derive(Clone, Debug)]
pub struct Seen {
    /// The request itself.
    pub request: Arc<Request>,
    /// The number of its connection, from 0 in the order of acceptance.
    pub connection: u64,
    /// The server's address, which is one of several if the server listens on several.
    pub local: SocketAddr,
    /// The client's address.
    pub peer: SocketAddr,
    /// The Host header in lower case; without one, the server's address.
    pub host: Arc<str>,
    /// The time at which its last byte was read, since the server's start.
    pub at: Duration,
    /// The number of requests in flight on its arrival, including itself.
    pub in_flight: usize,
    /// Its outcome so far.
    pub ending: Ending,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its response is not complete yet.
    Pending,
    /// Its response, complete or truncated as scripted, was sent at this time since the server's start.
    Answered(Duration),
    /// The client disconnected at this time, before the response was complete.
    Left(Duration),
}

/// The record of one host; see [`Seen::host`].
#[derive(Clone, Debug, Default)]
pub struct HostRecord {
    /// The number of requests.
    pub requests: u64,
    /// The number in flight now.
    pub in_flight: usize,
    /// The peak number in flight.
    pub max_in_flight: usize,
    /// The arrival time of each request, in order, up to [`ARRIVALS_MAX`] over all hosts.
    pub arrivals: Vec<Duration>,
}

/// The most arrival times that a server keeps over all hosts, 16 bytes each.
pub const ARRIVALS_MAX: u64 = 4_000_000;

/// Rows of `/row/N` below this number are counted individually.
pub const ROWS_MAX: u64 = 1 << 24;

/// The most hosts that are counted individually; the requests of further ones count only in the total.
pub const HOSTS_MAX: usize = 100_000;

/// The most first path segments that are counted individually.
const GROUPS_MAX: usize = 10_000;

/// The counts, which are never dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) malformed: u64,
    pub(crate) in_flight: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) connections: u64,
    pub(crate) open_connections: usize,
    pub(crate) max_open_connections: usize,
}

impl Deref for Seen {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

impl HostRecord {
    /// The most requests that arrived within any interval of this length, its end excluded: what a rate limit bounds.
    pub fn max_arrivals_within(&self, span: Duration) -> usize {
        let mut first = 0;
        let mut most = 0;
        for (index, at) in self.arrivals.iter().enumerate() {
            while self.arrivals.get(first).is_some_and(|start| *at - *start >= span) {
                first += 1;
            }
            most = most.max(index + 1 - first);
        }
        most
    }
}

pub(crate) struct Recorder {
    start: Instant,
    limit: usize,
    next_connection: AtomicU64,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    seen: Vec<Seen>,
    requests: u64,
    malformed: u64,
    #[cfg(feature = "tls")]
    failed_handshakes: u64,
    #[cfg(feature = "tls")]
    resumed_handshakes: u64,
    in_flight: usize,
    max_in_flight: usize,
    open: usize,
    max_open: usize,
    arrivals: u64,
    hosts: HashMap<Arc<str>, HostRecord>,
    /// Requests by the first segment of their path, with the slash after it: `/bytes/` or `/ok`.
    groups: BTreeMap<String, u64>,
    ungrouped: u64,
    rows: Vec<u16>,
}

impl Recorder {
    pub(crate) fn new(limit: usize) -> Recorder {
        Recorder {
            start: Instant::now(),
            limit,
            next_connection: AtomicU64::new(0),
            book: Mutex::new(Book::default()),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Records an accepted connection, which is open until the guard is dropped.
    pub(crate) fn open(self: &Arc<Self>, local: SocketAddr, peer: SocketAddr) -> Connection {
        let number = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let mut book = self.book();
        book.open += 1;
        book.max_open = book.max_open.max(book.open);
        drop(book);
        Connection { recorder: Arc::clone(self), number, local, peer }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.book().seen.clone()
    }

    pub(crate) fn forget(&self) {
        let mut book = self.book();
        let (in_flight, open, max_open) = (book.in_flight, book.open, book.open);
        let kept = book.hosts.iter().filter(|(_, host)| host.in_flight > 0);
        let hosts = kept
            .map(|(name, host)| {
                let in_flight = host.in_flight;
                (
                    Arc::clone(name),
                    HostRecord { in_flight, max_in_flight: in_flight, ..HostRecord::default() },
                )
            })
            .collect();
        *book = Book { in_flight, max_in_flight: in_flight, open, max_open, hosts, ..Book::default() };
    }

    pub(crate) fn counts(&self) -> Counts {
        let book = self.book();
        Counts {
            requests: book.requests,
            malformed: book.malformed,
            in_flight: book.in_flight,
            max_in_flight: book.max_in_flight,
            connections: self.next_connection.load(Ordering::Relaxed),
            open_connections: book.open,
            max_open_connections: book.max_open,
        }
    }

    pub(crate) fn saw_malformed(&self) {
        self.book().malformed += 1;
    }

    #[cfg(feature = "tls")]
    pub(crate) fn failed_handshakes(&self) -> u64 {
        self.book().failed_handshakes
    }

    #[cfg(feature = "tls")]
    pub(crate) fn saw_failed_handshake(&self) {
        self.book().failed_handshakes += 1;
    }

    #[cfg(feature = "tls")]
    pub(crate) fn resumed_handshakes(&self) -> u64 {
        self.book().resumed_handshakes
    }

    #[cfg(feature = "tls")]
    pub(crate) fn saw_resumed_handshake(&self) {
        self.book().resumed_handshakes += 1;
    }

    pub(crate) fn host(&self, name: &str) -> HostRecord {
        self.book().hosts.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn in_flight_of(&self, host: &str) -> usize {
        self.book().hosts.get(host).map_or(0, |host| host.in_flight)
    }

    pub(crate) fn max_in_flight_of(&self, host: &str) -> usize {
        self.book().hosts.get(host).map_or(0, |host| host.max_in_flight)
    }

    pub(crate) fn hosts(&self) -> BTreeMap<String, HostRecord> {
        self.book().hosts.iter().map(|(name, host)| (name.to_string(), host.clone())).collect()
    }

    pub(crate) fn row_hits(&self) -> Vec<u16> {
        self.book().rows.clone()
    }

    /// `None` if neither the kept requests nor the counts by segment determine it.
    pub(crate) fn count(&self, prefix: &str) -> Option<u64> {
        let book = self.book();
        if book.seen.len() as u64 == book.requests {
            return Some(
                book.seen.iter().filter(|seen| seen.path_and_query().starts_with(prefix)).count() as u64
            );
        }
        let told_by_groups = book.ungrouped == 0 && group_of(prefix) == prefix && !prefix.contains('?');
        told_by_groups.then(|| {
            let groups = book.groups.iter().filter(|(group, _)| group.starts_with(prefix));
            groups.map(|(_, count)| count).sum()
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no code panics while it holds the record")
    }
}

/// An open connection of the record.
pub(crate) struct Connection {
    recorder: Arc<Recorder>,
    number: u64,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Connection {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Records a request. Requests for the record itself are not recorded, and get no ticket.
    pub(crate) fn arrived(&self, request: &Arc<Request>) -> Option<Ticket> {
        if request.path().starts_with("/testkit/") {
            return None;
        }
        let host = match request.header("host") {
            Some(host) => host.to_ascii_lowercase(),
            None => self.local.to_string(),
        };
        let recorder = &self.recorder;
        let mut guard = recorder.book();
        let book = &mut *guard;
        let at = recorder.elapsed();
        book.requests += 1;
        book.in_flight += 1;
        book.max_in_flight = book.max_in_flight.max(book.in_flight);
        book.count_group(request.path());
        book.count_row(request.path());
        let host = book.count_host(host, at);
        let kept = (book.seen.len() < recorder.limit).then_some(book.seen.len());
        if kept.is_some() {
            book.seen.push(Seen {
                request: Arc::clone(request),
                connection: self.number,
                local: self.local,
                peer: self.peer,
                host: Arc::clone(&host),
                at,
                in_flight: book.in_flight,
                ending: Ending::Pending,
            });
        }
        drop(guard);
        Some(Ticket { recorder: Arc::clone(recorder), host, request: Arc::clone(request), kept, open: true })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.recorder.book().open -= 1;
    }
}

/// A request in flight. If it is dropped without [`Ticket::answered`], the client has disconnected.
pub(crate) struct Ticket {
    recorder: Arc<Recorder>,
    host: Arc<str>,
    request: Arc<Request>,
    kept: Option<usize>,
    open: bool,
}

impl Ticket {
    pub(crate) fn answered(mut self) {
        let at = self.recorder.elapsed();
        self.end(Ending::Answered(at));
    }

    fn end(&mut self, ending: Ending) {
        self.open = false;
        let mut guard = self.recorder.book();
        let book = &mut *guard;
        book.in_flight -= 1;
        if let Some(host) = book.hosts.get_mut(&self.host) {
            host.in_flight -= 1;
        }
        // The record may have been cleared since the request arrived.
        let seen = self.kept.and_then(|index| book.seen.get_mut(index));
        if let Some(seen) = seen.filter(|seen| Arc::ptr_eq(&seen.request, &self.request)) {
            seen.ending = ending;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            let at = self.recorder.elapsed();
            self.end(Ending::Left(at));
        }
    }
}

impl Book {
    /// Returns the interned name, so that requests share it.
    fn count_host(&mut self, name: String, at: Duration) -> Arc<str> {
        let name = match self.hosts.get_key_value(name.as_str()) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(name),
        };
        if self.hosts.len() < HOSTS_MAX || self.hosts.contains_key(&name) {
            let host = self.hosts.entry(Arc::clone(&name)).or_default();
            host.requests += 1;
            host.in_flight += 1;
            host.max_in_flight = host.max_in_flight.max(host.in_flight);
            if self.arrivals < ARRIVALS_MAX {
                self.arrivals += 1;
                host.arrivals.push(at);
            }
        }
        name
    }

    fn count_group(&mut self, path: &str) {
        let group = group_of(path);
        if let Some(count) = self.groups.get_mut(group) {
            *count += 1;
        } else if self.groups.len() < GROUPS_MAX {
            self.groups.insert(group.to_owned(), 1);
        } else {
            self.ungrouped += 1;
        }
    }

    fn count_row(&mut self, path: &str) {
        let number: Option<u64> = path.strip_prefix("/row/").and_then(|text| text.parse().ok());
        let Some(index) = number.filter(|row| *row < ROWS_MAX).and_then(|row| usize::try_from(row).ok())
        else {
            return;
        };
        if self.rows.len() <= index {
            self.rows.resize(index + 1, 0);
        }
        if let Some(count) = self.rows.get_mut(index) {
            *count = count.saturating_add(1);
        }
    }
}

/// The first segment of a path with the slash after it, or the whole path if it has no second slash.
fn group_of(path: &str) -> &str {
    let second = path.get(1..).and_then(|rest| rest.find('/'));
    second.and_then(|slash| path.get(..slash + 2)).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_within_a_span() {
        let check = |arrivals_ms: &[u64], span_ms: u64, most: usize| {
            let arrivals = arrivals_ms.iter().map(|ms| Duration::from_millis(*ms)).collect();
            let host = HostRecord { arrivals, ..HostRecord::default() };
            assert_eq!(host.max_arrivals_within(Duration::from_millis(span_ms)), most, "{arrivals_ms:?}");
        };
        check(&[], 10, 0);
        check(&[5], 10, 1);
        check(&[0, 10, 20], 10, 1);
        check(&[0, 9, 10, 19, 20], 10, 2);
        check(&[0, 1, 2, 50, 51], 10, 3);
    }

    #[test]
    fn groups() {
        for (path, group) in
            [("/", "/"), ("/ok", "/ok"), ("/bytes/1", "/bytes/"), ("/a/b/c", "/a/"), ("", "")]
        {
            assert_eq!(group_of(path), group);
        }
    }
}
