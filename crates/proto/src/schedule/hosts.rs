//! The table of hosts: a hash map by key, the round-robin ring of hosts that may start, those whose turn goes on, the timers
//! of hosts that must wait, and the LRU lists of idle hosts.
//!
//! No decision depends on the iteration order of the hash map; order comes from the lists and the heap.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use crate::job::{HostKey, Target};
use crate::slab::{List, NONE, Slab};
use crate::time::Nanos;

use super::Pace;
use super::host::{Host, Place, Turn};

/// All hosts of a scheduler.
#[derive(Debug)]
pub(super) struct Hosts {
    slab: Slab<Host>,
    index: HashMap<HostKey, u32, BuildHasherDefault<Folded>>,
    /// The ring: hosts in [`Place::Ready`] whose turn does not go on.
    ready: List,
    /// Hosts in [`Place::Ready`] whose turn goes on: they come before the ring.
    warm: List,
    /// Hosts in [`Place::Idle`], least recently used first.
    idle: List,
    /// Hosts in [`Place::Kept`], least recently used first.
    kept: List,
    /// When hosts in [`Place::Spaced`], [`Place::Slowed`] and [`Place::Parked`] are due. Entries are deleted lazily: one is valid while its
    /// host is in that place with exactly that time.
    timers: BinaryHeap<Reverse<(Nanos, u32)>>,
    /// Hosts with more evictable rows than `window_rows_host`, unordered.
    long: Vec<u32>,
    census: Census,
    /// Origins that are parked because they cannot be reached.
    pub(super) away: usize,
}

/// The number of hosts in each place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// Idle and kept.
    pub(super) idle: usize,
    pub(super) busy: usize,
    pub(super) ready: usize,
    pub(super) full: usize,
    pub(super) throttled: usize,
    pub(super) spaced: usize,
    pub(super) slowed: usize,
    pub(super) parked: usize,
}

impl Hosts {
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::new(),
            index: HashMap::default(),
            ready: List::EMPTY,
            warm: List::EMPTY,
            idle: List::EMPTY,
            kept: List::EMPTY,
            timers: BinaryHeap::new(),
            long: Vec::new(),
            census: Census::default(),
            away: 0,
        }
    }

    /// Hosts remembered.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn census(&self) -> Census {
        self.census
    }

    /// The host in a slot that may be free.
    pub(super) fn peek(&self, at: u32) -> Option<&Host> {
        self.slab.peek(at)
    }

    pub(super) fn get(&self, at: u32) -> &Host {
        self.slab.get(at)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut Host {
        self.slab.get_mut(at)
    }

    pub(super) fn find(&self, key: HostKey) -> Option<u32> {
        self.index.get(&key).copied()
    }

    /// Finds or inserts a host, and evicts idle ones beyond `max`. The caller adds rows to it, then settles it.
    pub(super) fn find_or_insert(
        &mut self,
        target: Target,
        local: impl FnOnce() -> bool,
        max: usize,
        now: Nanos,
    ) -> u32 {
        let key = target.host;
        if let Some(at) = self.find(key) {
            return at;
        }
        while self.census.idle >= max.max(1) && self.forget_one(now) {}
        let at = self.slab.insert(Host::new(key, target.endpoint, local()));
        self.index.insert(key, at);
        *self.census.of(self.slab.get(at).place) += 1;
        at
    }

    /// Moves a host to the place that its state implies. To be called after every change to it.
    pub(super) fn settle(&mut self, at: u32, pace: &Pace, now: Nanos) {
        self.settle_length(at, pace);
        let host = self.slab.get_mut(at);
        let (old, new) = (host.place, host.belongs(pace, now));
        if old == new && !matches!(new, Place::Idle | Place::Kept) {
            return; // An idle host goes on instead: it moves to the end of its LRU list.
        }
        host.place = new;
        match old {
            Place::Ready => self.leave_queue(at),
            Place::Idle => self.slab.unlink(&mut self.idle, at),
            Place::Kept => self.slab.unlink(&mut self.kept, at),
            Place::Busy
            | Place::Full
            | Place::Throttled
            | Place::Spaced(_)
            | Place::Slowed(_)
            | Place::Parked(_) => {}
        }
        match new {
            Place::Ready => self.slab.push_back(&mut self.ready, at),
            Place::Idle | Place::Kept => {
                self.slab.get_mut(at).sites.shrink();
                let list = if new == Place::Idle { &mut self.idle } else { &mut self.kept };
                self.slab.push_back(list, at);
            }
            Place::Spaced(due) | Place::Slowed(due) | Place::Parked(due) => self.set_timer(due, at),
            Place::Busy | Place::Full | Place::Throttled => {}
        }
        *self.census.of(old) -= 1;
        *self.census.of(new) += 1;
    }

    /// Updates the index of hosts with evictable rows, so that `longest` need not scan all hosts.
    fn settle_length(&mut self, at: u32, pace: &Pace) {
        let host = self.slab.get_mut(at);
        match (host.evictable() > pace.window_rows_host, host.long_at) {
            (true, NONE) => {
                host.long_at = u32::try_from(self.long.len()).expect("a slab has fewer hosts");
                self.long.push(at);
            }
            (true, _) | (false, NONE) => {}
            (false, hole) => {
                host.long_at = NONE;
                self.long.swap_remove(hole as usize);
                if let Some(&moved) = self.long.get(hole as usize) {
                    self.slab.get_mut(moved).long_at = hole;
                }
            }
        }
    }

    /// The hosts with more evictable rows than `window_rows_host`, those with the most first.
    pub(super) fn longest(&self) -> Vec<u32> {
        let mut hosts = self.long.clone();
        hosts.sort_unstable_by_key(|&at| (Reverse(self.slab.get(at).evictable()), at));
        hosts
    }

    /// The host whose turn it is.
    pub(super) fn turn(&mut self, now: Nanos) -> Option<u32> {
        while let Some(at) = self.warm.front() {
            if self.slab.get(at).turn.lasts(now) {
                return Some(at);
            }
            self.join_ring(at);
        }
        self.ready.front()
    }

    /// Records the start of a row of the host whose turn it is: moves it to the end of the ring, then settles it.
    pub(super) fn pass(&mut self, at: u32, pace: &Pace, now: Nanos) {
        let turn = self.slab.get(at).turn;
        if turn.goes_on || self.ready.len() > 1 {
            self.join_ring(at);
        }
        let turn = if turn.goes_on { turn.started() } else { Turn::begin(pace, now) };
        self.slab.get_mut(at).turn = turn;
        self.settle(at, pace, now);
    }

    /// Puts a host that may start before the ring, unless its turn is over.
    pub(super) fn go_on(&mut self, at: u32, now: Nanos) {
        let host = self.slab.get_mut(at);
        if host.place == Place::Ready && !host.turn.goes_on && host.turn.lasts(now) {
            host.turn.goes_on = true;
            self.slab.unlink(&mut self.ready, at);
            self.slab.push_back(&mut self.warm, at);
        }
    }

    /// Moves a host that may start to the end of the ring.
    fn join_ring(&mut self, at: u32) {
        self.leave_queue(at);
        self.slab.push_back(&mut self.ready, at);
    }

    /// Takes a host that may start out of the ring, or of the hosts whose turn goes on.
    fn leave_queue(&mut self, at: u32) {
        let goes_on = std::mem::replace(&mut self.slab.get_mut(at).turn.goes_on, false);
        self.slab.unlink(if goes_on { &mut self.warm } else { &mut self.ready }, at);
    }

    /// Settles the hosts whose time has come.
    pub(super) fn wake(&mut self, pace: &Pace, now: Nanos) {
        while let Some(&Reverse((due, at))) = self.timers.peek()
            && due <= now
        {
            self.timers.pop();
            if is_live(&self.slab, due, at) {
                self.settle(at, pace, now);
            }
        }
    }

    /// When the next host is due.
    pub(super) fn next_due(&mut self) -> Option<Nanos> {
        while let Some(&Reverse((due, at))) = self.timers.peek() {
            if is_live(&self.slab, due, at) {
                return Some(due);
            }
            self.timers.pop();
        }
        None
    }

    /// The hosts by slot.
    pub(super) fn slots(&self) -> Vec<u32> {
        self.slab.iter().map(|(at, _)| at).collect()
    }

    fn set_timer(&mut self, due: Nanos, at: u32) {
        if self.timers.len() > 2 * self.slab.len() {
            let slab = &self.slab;
            self.timers.retain(|&Reverse((due, at))| is_live(slab, due, at));
        }
        self.timers.push(Reverse((due, at)));
    }

    /// Evicts the least recently used host that has nothing to remember. If all are parked, failing or slowed, evicts the
    /// least recently used of these, because bounded memory takes precedence over politeness.
    fn forget_one(&mut self, now: Nanos) -> bool {
        let expired = self.kept.front().filter(|&at| !self.slab.get(at).remembers(now));
        let (list, at) = match (expired, self.idle.front(), self.kept.front()) {
            (None, Some(at), _) => (&mut self.idle, at),
            (Some(at), _, _) | (None, None, Some(at)) => (&mut self.kept, at),
            (None, None, None) => return false,
        };
        self.slab.unlink(list, at);
        let host = self.slab.remove(at);
        self.index.remove(&host.key);
        self.away -= host.parked_sites();
        self.census.idle -= 1;
        true
    }
}

fn is_live(slab: &Slab<Host>, due: Nanos, at: u32) -> bool {
    let places = [Place::Spaced(due), Place::Slowed(due), Place::Parked(due)];
    slab.peek(at).is_some_and(|host| places.contains(&host.place))
}

impl Census {
    fn of(&mut self, place: Place) -> &mut usize {
        match place {
            Place::Idle | Place::Kept => &mut self.idle,
            Place::Busy => &mut self.busy,
            Place::Ready => &mut self.ready,
            Place::Full => &mut self.full,
            Place::Throttled => &mut self.throttled,
            Place::Spaced(_) => &mut self.spaced,
            Place::Slowed(_) => &mut self.slowed,
            Place::Parked(_) => &mut self.parked,
        }
    }
}

/// A hasher for keys that are hashes. The halves are swapped, because the hosts of one shard agree in the low bits.
#[derive(Debug, Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key.rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
