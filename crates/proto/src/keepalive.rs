//! The pool of idle connections: which one to reuse, which to close.
//!
//! LIFO: the connection that became idle last is reused first, so that surplus ones reach their idle timeout and are
//! closed. A connection that carries one request at a time leaves the pool while it is leased; one that carries several
//! stays, and each request gets a stream of it. The pool does no I/O; the caller closes a connection by dropping it.

use std::hash::{BuildHasher, Hash};
use std::ops::{Deref, DerefMut};

use foldhash::fast::FixedState;

use crate::limits;
use crate::slab::{List, NONE, Slab};
use crate::time::Nanos;

/// What an origin has done with a connection after a response that did not announce its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Habit {
    /// Not observed yet.
    #[default]
    Unknown,
    /// It has kept a connection open for a while after this number of responses.
    Keeps {
        /// Responses on that connection.
        answers: u32,
    },
    /// It has closed a connection within a second of its response.
    Closes,
    /// It has sent bytes that no request had asked for, other than those of [`Extra`]. They may arrive at any time, so on
    /// a connection that is used again they would be read as the answer of the next request.
    Unasked,
}

/// Bytes on an idle connection that are no answer to anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Empty lines, which some servers send behind a body.
    EmptyLines,
    /// A 408, with which a server says that it closes the connection (RFC 9110, section 15.5.9).
    Timeout,
}

impl Extra {
    /// What the first bytes that came are, at most [`limits::IDLE_BYTES_LOOKED_AT`]; `None`: anything else.
    ///
    /// ```
    /// use overlapped_proto::keepalive::Extra;
    ///
    /// assert_eq!(Extra::of(b"\r\n"), Some(Extra::EmptyLines));
    /// assert_eq!(Extra::of(b"HTTP/1.1 408 Request Timeout\r\n"), Some(Extra::Timeout));
    /// assert_eq!(Extra::of(b"\r\nHTTP/1.1 200 OK\r\n"), None);
    /// ```
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        match bytes {
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', b'4', b'0', b'8', rest @ ..]
                if !rest.first().is_some_and(u8::is_ascii_alphanumeric) =>
            {
                Some(Self::Timeout)
            }
            // More than these may be anything.
            _ if bytes.len() >= limits::IDLE_BYTES_LOOKED_AT => None,
            _ => bytes.iter().all(is_line_end).then_some(Self::EmptyLines),
        }
    }
}

/// How a request that must not be sent twice treats an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Use it, if it is not closed when it is checked just before.
    Use,
    /// Watch it until this time, and use it if it is not closed by then.
    Watch(Nanos),
    /// Open a new connection.
    Leave,
}

impl Habit {
    /// How a request that must not be sent twice treats, at `now`, a connection that has given `answers` responses and is
    /// idle since `since`.
    ///
    /// The server may close the connection while the request is in transit; then it is not known whether the request was
    /// read (RFC 9112, section 9.3.1). So the connection must have answered a moment ago, and its origin must be known
    /// to keep connections open: some servers close each connection after its first responses without announcing it, and
    /// the FIN takes a moment to arrive.
    #[must_use]
    pub fn care(self, answers: u32, since: Nanos, now: Nanos) -> Care {
        let is_kept = match self {
            Self::Closes | Self::Unasked => return Care::Leave,
            Self::Keeps { answers: seen } => answers <= seen || seen >= limits::REUSE_ONCE_WATCHES,
            Self::Unknown => false,
        };
        if now - since > limits::REUSE_ONCE_IDLE_MAX {
            return Care::Leave;
        }
        let settled = since + limits::REUSE_ONCE_WATCH;
        if is_kept || settled <= now { Care::Use } else { Care::Watch(settled) }
    }

    /// True if a connection of this origin may be used for a second request, of whatever kind.
    #[must_use]
    pub fn allows_reuse(self) -> bool {
        match self {
            Self::Unknown | Self::Keeps { .. } | Self::Closes => true,
            Self::Unasked => false,
        }
    }

    /// Combines two observations of one origin. `Unasked` and `Closes` are final: an origin that has sent bytes unasked,
    /// or closed a connection unannounced, is not trusted again.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unasked, _) | (_, Self::Unasked) => Self::Unasked,
            (Self::Closes, _) | (_, Self::Closes) => Self::Closes,
            (Self::Keeps { answers: a }, Self::Keeps { answers: b }) => Self::Keeps { answers: a.max(b) },
            (known @ Self::Keeps { .. }, Self::Unknown) | (Self::Unknown, known) => known,
        }
    }
}

/// What a request gets to be sent on.
#[derive(Debug, PartialEq, Eq)]
pub enum Lease<C> {
    /// A connection, which is not in the pool until it is checked in: HTTP/1.1.
    Exclusive(C),
    /// One of several streams of a connection that stays in the pool: HTTP/2. It ends with its drop.
    Stream(C),
}

impl<C> Deref for Lease<C> {
    type Target = C;

    fn deref(&self) -> &C {
        match self {
            Self::Exclusive(connection) | Self::Stream(connection) => connection,
        }
    }
}

impl<C> DerefMut for Lease<C> {
    fn deref_mut(&mut self) -> &mut C {
        match self {
            Self::Exclusive(connection) | Self::Stream(connection) => connection,
        }
    }
}

/// What a connection in the pool has for another request.
#[derive(Debug, PartialEq, Eq)]
pub enum Room<C> {
    /// Itself: it carries one request at a time.
    Whole,
    /// Another stream.
    Stream(C),
    /// Nothing before one of its streams ends.
    Full,
}

/// The limits of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most idle connections.
    pub idle_max: usize,
    /// The idle timeout.
    pub idle: Nanos,
    /// The longest life of a connection.
    pub age: Nanos,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { idle_max: limits::IDLE_MAX, idle: limits::IDLE_TIMEOUT, age: limits::CONNECTION_AGE_MAX }
    }
}

/// Idle connections `C` by the key `K` that a request must match to reuse them.
///
/// ```
/// use overlapped_proto::keepalive::{Bounds, Keepalive, Lease, Room};
/// use overlapped_proto::time::Nanos;
///
/// let mut idle = Keepalive::new(Bounds::default());
/// let opened = Nanos::ZERO;
/// assert!(idle.checkin("a.test", "older", opened, Nanos::from_secs(1)).is_none());
/// assert!(idle.checkin("a.test", "newer", opened, Nanos::from_secs(2)).is_none());
/// assert_eq!(idle.lease(&"a.test", Nanos::from_secs(3), |_| Room::Whole), Some(Lease::Exclusive("newer")));
/// assert_eq!(idle.lease(&"b.test", Nanos::from_secs(3), |_| Room::Whole), None);
/// assert_eq!(idle.next_expiry(), Some(Nanos::from_secs(16)));
/// assert_eq!(idle.expire(Nanos::from_secs(16)).collect::<Vec<_>>(), ["older"]);
/// ```
#[derive(Debug)]
pub struct Keepalive<K, C> {
    bounds: Bounds,
    slab: Slab<Idle<K, C>>,
    /// All connections, sorted by `until`.
    by_time: List,
    /// The buckets of a chained hash table, the last idle connection of a chain first. Their number is a power of two.
    chains: Box<[u32]>,
}

#[derive(Debug)]
struct Idle<K, C> {
    key: K,
    hash: u64,
    connection: C,
    /// When it expires.
    until: Nanos,
    /// When its age ends.
    aged: Nanos,
    /// The next in its chain.
    below: u32,
}

impl<K: Hash + Eq, C> Keepalive<K, C> {
    /// An empty pool.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let chains = (bounds.idle_max.clamp(8, 1 << 16) * 2).next_power_of_two();
        Self { bounds, slab: Slab::new(), by_time: List::EMPTY, chains: vec![NONE; chains].into() }
    }

    /// The number of idle connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// True if the pool is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.len() == 0
    }

    /// A lease of the connection for `key` that became idle last and, according to `room`, has room for a request. An
    /// expired one is not leased; it stays in the pool until [`Keepalive::expire`].
    pub fn lease(
        &mut self,
        key: &K,
        now: Nanos,
        mut room: impl FnMut(&mut C) -> Room<C>,
    ) -> Option<Lease<C>> {
        let hash = hash(key);
        let mut at = self.chain(hash);
        while at != NONE {
            let idle = self.slab.get_mut(at);
            let below = idle.below;
            if idle.hash == hash && idle.until > now && idle.key == *key {
                match room(&mut idle.connection) {
                    Room::Whole => return Some(Lease::Exclusive(self.take(at))),
                    Room::Stream(stream) => {
                        self.keep_on(at, now);
                        return Some(Lease::Stream(stream));
                    }
                    Room::Full => {}
                }
            }
            at = below;
        }
        None
    }

    /// Starts the idle time of a connection again, because a stream of it was leased.
    fn keep_on(&mut self, at: u32, now: Nanos) {
        let idle = self.slab.get_mut(at);
        let until = (now + self.bounds.idle).min(idle.aged);
        idle.until = until;
        self.slab.unlink(&mut self.by_time, at);
        self.slab.insert_sorted(&mut self.by_time, at, |other| other.until > until);
    }

    /// Adds a connection that is idle from `now`. Returns a connection to close if the pool is full, the one that would
    /// expire first, or this one if it has expired itself.
    pub fn checkin(&mut self, key: K, connection: C, opened_at: Nanos, now: Nanos) -> Option<C> {
        let aged = opened_at + self.bounds.age;
        let until = (now + self.bounds.idle).min(aged);
        if until <= now || self.bounds.idle_max == 0 {
            return Some(connection);
        }
        let full = self.slab.len() >= self.bounds.idle_max;
        let oldest = self.by_time.front().filter(|_| full).map(|at| self.take(at));
        let hash = hash(&key);
        let below = self.chain(hash);
        let at = self.slab.insert(Idle { key, hash, connection, until, aged, below });
        // Nearly always at the end: only a connection near its maximum age expires before those that were idle earlier.
        self.slab.insert_sorted(&mut self.by_time, at, |other| other.until > until);
        self.set_chain(hash, at);
        oldest
    }

    /// Removes the connections that have expired, to be closed.
    pub fn expire(&mut self, now: Nanos) -> impl Iterator<Item = C> {
        std::iter::from_fn(move || {
            let at = self.by_time.front().filter(|&at| self.slab.get(at).until <= now)?;
            Some(self.take(at))
        })
    }

    /// When the next connection expires. To be called again after every other call.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Nanos> {
        self.by_time.front().map(|at| self.slab.get(at).until)
    }

    /// Removes all connections, to be closed: the run ends, or open files have run out.
    pub fn clear(&mut self) -> impl Iterator<Item = C> {
        self.expire(Nanos::MAX)
    }

    fn take(&mut self, at: u32) -> C {
        let Idle { hash, below, .. } = *self.slab.get(at);
        let mut above = self.chain(hash);
        if above == at {
            self.set_chain(hash, below);
        }
        while above != at {
            let next = &mut self.slab.get_mut(above).below;
            above = std::mem::replace(next, if *next == at { below } else { *next });
        }
        self.slab.unlink(&mut self.by_time, at);
        self.slab.remove(at).connection
    }

    fn chain(&self, hash: u64) -> u32 {
        *self.chains.get(self.chain_index(hash)).expect("the index is masked by the number of chains")
    }

    fn set_chain(&mut self, hash: u64, at: u32) {
        let index = self.chain_index(hash);
        *self.chains.get_mut(index).expect("the index is masked by the number of chains") = at;
    }

    fn chain_index(&self, hash: u64) -> usize {
        hash as usize & (self.chains.len() - 1)
    }
}

/// foldhash with a fixed seed, so that every run behaves the same. A list can be made whose keys all collide; then the
/// pool is one chain, and a lookup costs at most `idle_max` steps.
fn hash(key: &impl Hash) -> u64 {
    FixedState::default().hash_one(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { idle_max: 3, idle: Nanos(10), age: Nanos(100) };

    fn checkout<K: Hash + Eq, C>(idle: &mut Keepalive<K, C>, key: K, now: u64) -> Option<C> {
        match idle.lease(&key, Nanos(now), |_| Room::Whole)? {
            Lease::Exclusive(connection) => Some(connection),
            Lease::Stream(_) => panic!("the connection has no streams"),
        }
    }

    /// Checks connections in, each given as (key, name, opened, idle since), then asks for `key` at `now` until none
    /// is left.
    fn check(connections: &[(u8, &'static str, u64, u64)], key: u8, now: u64, expected: &[&str]) {
        let mut idle = Keepalive::new(BOUNDS);
        for &(key, name, opened, since) in connections {
            idle.checkin(key, name, Nanos(opened), Nanos(since));
        }
        let got: Vec<_> = std::iter::from_fn(|| checkout(&mut idle, key, now)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_request_that_must_not_be_sent_twice_takes_no_chances() {
        let longest = limits::REUSE_ONCE_IDLE_MAX;
        let settled = Nanos(5) + limits::REUSE_ONCE_WATCH;
        let keeps = |answers| Habit::Keeps { answers };
        for (habit, answers, now, expected) in [
            (Habit::Unknown, 1, Nanos(5), Care::Watch(settled)),
            (Habit::Unknown, 1, settled, Care::Use),
            (Habit::Unknown, 1, Nanos(5) + longest, Care::Use),
            (Habit::Unknown, 1, Nanos(6) + longest, Care::Leave),
            (keeps(1), 1, Nanos(5), Care::Use),
            (keeps(1), 2, Nanos(5), Care::Watch(settled)),
            (keeps(limits::REUSE_ONCE_WATCHES), 99, Nanos(5), Care::Use),
            (keeps(1), 1, Nanos(6) + longest, Care::Leave),
            (Habit::Closes, 1, settled, Care::Leave),
            (Habit::Closes.and(keeps(9)), 1, settled, Care::Leave),
            (Habit::Unasked.and(Habit::Closes).and(keeps(9)), 1, settled, Care::Leave),
            (Habit::Unknown.and(keeps(2)).and(keeps(1)), 2, Nanos(5), Care::Use),
        ] {
            assert_eq!(habit.care(answers, Nanos(5), now), expected, "{habit:?} after {answers} at {now:?}");
        }
    }

    #[test]
    fn extra_bytes_are_told_from_an_answer() {
        let check = |bytes: &[u8], expected| assert_eq!(Extra::of(bytes), expected, "{bytes:?}");
        check(b"\n", Some(Extra::EmptyLines));
        check(b"\r\n\r\n", Some(Extra::EmptyLines));
        check(&b"\r\n".repeat(limits::IDLE_BYTES_LOOKED_AT), None);
        check(b"HTTP/1.0 408", Some(Extra::Timeout));
        check(b"HTTP/1.1 4080", None);
        check(b"HTTP/1.1 40", None);
        check(b"HTTP/1.1 200 408\r\n", None);
        check(b"\r\nHTTP/1.1 408 Late\r\n", None);
        check(b"x\r\n", None);
    }

    #[test]
    fn the_last_idle_is_used_first() {
        check(&[(1, "a", 0, 0), (1, "b", 0, 1), (2, "c", 0, 2)], 1, 3, &["b", "a"]);
        check(&[(1, "a", 0, 0)], 2, 0, &[]);
    }

    #[test]
    fn what_is_over_is_not_used() {
        check(&[(1, "a", 0, 0), (1, "b", 0, 5)], 1, 10, &["b"]);
        check(&[(1, "young", 50, 95), (1, "old", 0, 96)], 1, 100, &["young"]);
    }

    #[test]
    fn the_first_to_be_over_makes_room() {
        check(&[(1, "a", 0, 0), (2, "b", 0, 0), (1, "c", 0, 0), (1, "d", 0, 0)], 1, 1, &["d", "c"]);
        let mut idle = Keepalive::new(BOUNDS);
        let closed: Vec<_> = (0..5).filter_map(|i| idle.checkin(i, i, Nanos(0), Nanos(i))).collect();
        assert_eq!((closed, idle.len()), (vec![0, 1], 3));
        assert_eq!(idle.checkin(9, 9, Nanos(0), Nanos(100)), Some(9), "too old to keep");
        let none = Bounds { idle_max: 0, ..BOUNDS };
        idle = Keepalive::new(BOUNDS);
        for (connection, opened, since) in [(1, 80, 90), (2, 0, 95), (3, 80, 96)] {
            idle.checkin(1, connection, Nanos(opened), Nanos(since)); // until 100, 100, 106
        }
        assert_eq!(idle.checkin(1, 4, Nanos(0), Nanos(97)), Some(1));
        assert_eq!(
            idle.checkin(1, 5, Nanos(97), Nanos(97)),
            Some(2),
            "its age ends before the idleness of the others"
        );
        assert_eq!(Keepalive::new(none).checkin(9, 9, Nanos(0), Nanos(0)), Some(9));
    }

    #[test]
    fn expiry_is_by_age_and_by_idleness() {
        let mut idle = Keepalive::new(BOUNDS);
        assert_eq!(idle.next_expiry(), None);
        idle.checkin(1, "idle", Nanos(80), Nanos(90));
        idle.checkin(1, "old", Nanos(0), Nanos(95));
        idle.checkin(2, "fine", Nanos(80), Nanos(95));
        for (now, expected, next) in
            [(99, vec![], Some(100)), (100, vec!["idle", "old"], Some(105)), (105, vec!["fine"], None)]
        {
            assert_eq!(idle.expire(Nanos(now)).collect::<Vec<_>>(), expected);
            assert_eq!(idle.next_expiry(), next.map(Nanos));
        }
        assert!(idle.is_empty());
    }

    /// A connection of two streams, as the number of those that are open.
    fn two_streams(open: &mut u32) -> Room<u32> {
        if *open == 2 {
            return Room::Full;
        }
        *open += 1;
        Room::Stream(*open)
    }

    #[test]
    fn a_connection_with_streams_stays_until_it_is_full() {
        let mut idle = Keepalive::new(BOUNDS);
        idle.checkin(1, 0, Nanos(0), Nanos(0));
        idle.checkin(1, 1, Nanos(0), Nanos(0));
        let leased: Vec<_> = std::iter::from_fn(|| idle.lease(&1, Nanos(1), two_streams)).collect();
        assert_eq!(leased, [2, 1, 2].map(Lease::Stream), "of the second connection, then of the first");
        assert_eq!(idle.len(), 2);
        assert_eq!(checkout(&mut idle, 1, 1), Some(2), "one that is full is not removed");
    }

    #[test]
    fn a_connection_with_streams_expires_after_its_last_lease_or_by_age() {
        let mut idle = Keepalive::new(BOUNDS);
        idle.checkin(1, 0, Nanos(0), Nanos(85)); // until 95
        idle.checkin(2, 9, Nanos(50), Nanos(86)); // until 96
        assert!(idle.lease(&1, Nanos(94), two_streams).is_some());
        assert_eq!(idle.expire(Nanos(99)).collect::<Vec<_>>(), [9]);
        assert_eq!(idle.lease(&1, Nanos(100), two_streams), None);
        assert_eq!(idle.expire(Nanos(100)).collect::<Vec<_>>(), [1]);
        assert!(idle.is_empty());
    }

    /// Many keys in few chains, against a plain list.
    #[test]
    fn no_connection_is_lost_or_given_twice() {
        let bounds = Bounds { idle_max: 20, ..BOUNDS };
        let mut idle = Keepalive::new(bounds);
        let mut model: Vec<(u64, u64, u64)> = Vec::new(); // key, connection, until
        let mut state = 1_u64;
        for step in 0..20_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (key, now) = ((state >> 33) % 30, step / 4);
            match (state >> 60) % 4 {
                0 | 1 => {
                    let full = model.len() == bounds.idle_max;
                    let expected = full.then(|| model.remove(0).1);
                    let opened = now.saturating_sub((state >> 20) % 100);
                    let until = (now + 10).min(opened + 100);
                    assert_eq!(idle.checkin(key, step, Nanos(opened), Nanos(now)), expected);
                    let place = model.partition_point(|idle| idle.2 <= until);
                    model.insert(place, (key, step, until));
                }
                2 => {
                    let usable = model.iter().filter(|&&(k, _, until)| k == key && until > now);
                    let found = usable.map(|idle| idle.1).max(); // the last idle has the highest number
                    assert_eq!(checkout(&mut idle, key, now), found);
                    model.retain(|idle| Some(idle.1) != found);
                }
                _ => {
                    let closed: Vec<u64> = idle.expire(Nanos(now)).collect();
                    let over: Vec<u64> =
                        model.extract_if(.., |idle| idle.2 <= now).map(|idle| idle.1).collect();
                    assert_eq!(closed, over);
                }
            }
            assert_eq!(idle.len(), model.len());
        }
    }
}
