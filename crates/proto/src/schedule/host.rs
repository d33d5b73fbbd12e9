//! The state of one host: its concurrency limit (AIMD), its rate, its parking. The reachability of its origins is in
//! `reach`.

use crate::bucket::{Bucket, Rate, Spacing};
use crate::error::ErrorKind;
use crate::job::HostKey;
use crate::limits;
use crate::origin::Endpoint;
use crate::outcome::Ending;
use crate::retry;
use crate::slab::{List, NONE};
use crate::time::Nanos;

use super::Pace;
use super::reach::Sites;

/// The state of a host in the scheduler. Only [`Hosts::settle`](super::hosts::Hosts::settle) changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// No rows, and nothing to remember: evicted first.
    Idle,
    /// No rows, but a state to remember (parked, failing, down, slowed): evicted last.
    Kept,
    /// Rows in flight, or waiting for a retry or their origin, none that could start.
    Busy,
    /// A row may start now.
    Ready,
    /// Rows queue because its slots are taken.
    Full,
    /// The same, and its concurrency limit is lower than configured.
    Throttled,
    /// Rows queue for its rate or interval, until this time.
    Spaced(Nanos),
    /// Rows queue while it is parked, until this time.
    Parked(Nanos),
}

/// One host. Its size matters: there are up to a hundred thousand.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) key: HostKey,
    pub(super) place: Place,
    /// Rows that could start.
    pub(super) queue: List,
    /// Rows that wait for their retry.
    pub(super) waiting: u32,
    /// Rows that wait for their origin, over all its origins.
    pub(super) held: u32,
    pub(super) in_flight: u32,
    /// Spaces the starts.
    bucket: Bucket,
    /// The least time between two starts that its robots.txt asks for, in milliseconds.
    interval_ms: u32,
    /// No start before this.
    parked_until: Nanos,
    /// Parked in all since the last good answer, in seconds.
    parked_s: u32,
    /// The low half of the number of the row that got the last strike.
    struck_row: u32,
    /// Answers 429 or 503 in a row, from different rows.
    strikes: u8,
    /// Parkings in a row that it did not ask for.
    parkings: u8,
    /// True for this machine itself.
    local: bool,
    /// Its rows fail, because it has refused for [`limits::PARKED_SUM_MAX`].
    pub(super) down: bool,
    /// The adaptive concurrency limit. `u32::MAX`: not lowered.
    slots: u32,
    /// Good answers since `slots` last grew.
    credit: u32,
    /// Attempts still in flight from before `slots` last shrank; their endings are ignored.
    stale: u32,
    /// Its index in `Hosts::long`, or [`NONE`].
    pub(super) long_at: u32,
    /// For [`Network::record`](super::network::Network::record).
    pub(super) network_round: u32,
    pub(super) sites: Sites,
}

/// What the end of an attempt says about the load of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// It answered.
    Fine,
    /// It timed out.
    Slow,
    /// It answered 429 or 503.
    Refused,
    /// Nothing.
    Unknown,
}

impl Host {
    pub(super) fn new(key: HostKey, endpoint: Endpoint, local: bool) -> Self {
        Self {
            key,
            place: Place::Busy,
            queue: List::EMPTY,
            waiting: 0,
            held: 0,
            in_flight: 0,
            bucket: Bucket::default(),
            interval_ms: 0,
            parked_until: Nanos::ZERO,
            parked_s: 0,
            struck_row: 0,
            strikes: 0,
            parkings: 0,
            local,
            down: false,
            slots: u32::MAX,
            credit: 0,
            stale: 0,
            long_at: NONE,
            network_round: 0,
            sites: Sites::new(endpoint),
        }
    }

    /// Its place at `now`.
    pub(super) fn belongs(&self, pace: &Pace, now: Nanos) -> Place {
        if self.queue.is_empty() {
            return match self.in_flight + self.waiting + self.held {
                0 if self.remembers(now) => Place::Kept,
                0 => Place::Idle,
                _ => Place::Busy,
            };
        }
        if self.parked_until > now {
            return Place::Parked(self.parked_until);
        }
        let slots = self.slots(pace);
        if self.in_flight >= slots {
            return if slots < self.slots_max(pace) { Place::Throttled } else { Place::Full };
        }
        if self.bucket.next() > now { Place::Spaced(self.bucket.next()) } else { Place::Ready }
    }

    /// True if evicting it now would allow requests too early, or repeat failures.
    pub(super) fn remembers(&self, now: Nanos) -> bool {
        let in_trouble = self.down || self.strikes > 0;
        in_trouble
            || self.sites.iter().any(|site| site.reach.is_in_trouble())
            || self.interval_ms > 0
            || self.parked_until > now
            || self.bucket.next() > now
    }

    /// Rows that are queued, or wait for a retry or their origin.
    pub(super) fn rows(&self) -> usize {
        self.evictable() + self.waiting as usize
    }

    /// Rows that may be evicted, except those that were tried.
    pub(super) fn evictable(&self) -> usize {
        self.queue.len() + self.held as usize
    }

    /// True if all its rows, or those of one of its origins, are to fail.
    pub(super) fn fails(&self) -> bool {
        self.down || self.sites.iter().any(|site| site.reach.is_given_up())
    }

    /// The number of its origins that are parked.
    pub(super) fn parked_sites(&self) -> usize {
        self.sites.iter().filter(|site| site.reach.is_parked()).count()
    }

    /// Takes a slot.
    pub(super) fn start(&mut self, spacing: Spacing, now: Nanos) {
        let spacing = match self.interval_ms {
            0 => spacing,
            ms => spacing.and(Rate { count: 1, per: Nanos::from_millis(u64::from(ms)) }.spacing()),
        };
        self.bucket.take(spacing, now);
        self.in_flight += 1;
    }

    pub(super) fn set_interval(&mut self, interval: Nanos) {
        self.interval_ms = u32::try_from(interval.0.div_ceil(1_000_000)).unwrap_or(u32::MAX);
    }

    /// When its parking ends; in the past if it is not parked.
    pub(super) fn parked_until(&self) -> Nanos {
        self.parked_until
    }

    /// Updates the state at the end of an attempt, after its slot was released. `row` is the low half of its number.
    pub(super) fn record(&mut self, ending: Ending, row: u32, pace: &Pace, now: Nanos, draw: u64) {
        let load = load(ending);
        if load == Load::Fine {
            (self.strikes, self.parkings, self.parked_s, self.down) = (0, 0, 0, false);
        }
        if pace.adaptive {
            self.adapt(load, pace);
        }
        self.park(ending, load, row, pace, now, draw);
        if pace.host_errors_max > 0 {
            let parked = Nanos::from_secs(u64::from(self.parked_s));
            self.down |= load == Load::Refused && parked >= limits::PARKED_SUM_MAX;
        }
    }

    /// Additive increase, multiplicative decrease (AIMD): one slot more for each round of good answers, half the slots
    /// after a bad one. One round of bad answers halves once.
    fn adapt(&mut self, load: Load, pace: &Pace) {
        if self.stale > 0 {
            self.stale -= 1;
            return;
        }
        match load {
            Load::Slow | Load::Refused => {
                self.slots = (self.slots.min(self.in_flight + 1) / 2).max(1);
                (self.credit, self.stale) = (0, self.in_flight);
            }
            Load::Fine if self.slots < u32::MAX => {
                self.credit += 1;
                if self.credit >= self.slots {
                    // With hundreds of slots some more at once, because a round of answers takes longer.
                    (self.slots, self.credit) = (self.slots + 1 + self.slots / 64, 0);
                }
                if self.slots >= self.slots_max(pace) || self.slots as usize >= pace.parallel_max {
                    self.slots = u32::MAX;
                }
            }
            Load::Fine | Load::Unknown => {}
        }
    }

    /// Parks the host if it asked for that, or if it refuses row after row while many wait.
    fn park(&mut self, ending: Ending, load: Load, row: u32, pace: &Pace, now: Nanos, draw: u64) {
        let asked = match ending {
            Ending::Response { status, retry_after } if retry::is_transient(status) => retry_after,
            Ending::Response { .. } | Ending::Failed(_) => None,
        };
        let span = match asked.filter(|span| *span > Nanos::ZERO) {
            Some(span) => span.min(limits::RETRY_AFTER_MAX),
            None if load == Load::Refused && pace.adaptive && self.parked_until <= now => {
                self.strike(row, draw)
            }
            None => return,
        };
        let until = self.parked_until.max(now + span);
        let more = until - self.parked_until.max(now);
        let more_s = u32::try_from(more.0.div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
        self.parked_s = self.parked_s.saturating_add(more_s);
        self.parked_until = until;
    }

    /// Counts a refusal without `Retry-After`, and returns how long it parks the host; zero if it does not. The jitter
    /// only lengthens.
    fn strike(&mut self, row: u32, draw: u64) -> Nanos {
        if self.strikes == 0 || self.struck_row != row {
            self.strikes = self.strikes.saturating_add(1);
        }
        self.struck_row = row;
        if self.strikes < limits::PARK_STRIKES || self.rows() < limits::PARK_ROWS_MIN {
            return Nanos::ZERO;
        }
        let span = retry::doubled(limits::PARK_BASE, u32::from(self.parkings), limits::PARK_MAX);
        self.parkings = self.parkings.saturating_add(1);
        (span + retry::fraction(Nanos(span.0 / 4), draw)).min(limits::PARK_MAX)
    }

    /// The concurrency limit now.
    fn slots(&self, pace: &Pace) -> u32 {
        self.slots_max(pace).min(self.slots)
    }

    /// The configured concurrency limit.
    fn slots_max(&self, pace: &Pace) -> u32 {
        match pace.parallel_max_host {
            Some(max) if !(self.local && pace.local_unlimited) => {
                u32::try_from(max.max(1)).unwrap_or(u32::MAX)
            }
            Some(_) | None => u32::MAX,
        }
    }
}

fn load(ending: Ending) -> Load {
    use ErrorKind::{ConnectTimeout, TimeoutFirstByte, TimeoutSlow, TimeoutTotal, TlsTimeout};
    match ending {
        Ending::Response { status: 429 | 503, .. } => Load::Refused,
        Ending::Response { .. } => Load::Fine,
        Ending::Failed(ConnectTimeout | TlsTimeout | TimeoutFirstByte | TimeoutSlow | TimeoutTotal) => {
            Load::Slow
        }
        Ending::Failed(_) => Load::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Scheme;
    use crate::slab::Slab;

    /// A host with this number of rows in its queue.
    fn host(rows: usize) -> Host {
        let mut host = Host::new(HostKey(1), Endpoint::new(Scheme::Http, 80), false);
        let mut slab = Slab::new();
        for _ in 0..rows {
            let row = slab.insert(());
            slab.push_back(&mut host.queue, row);
        }
        host
    }

    /// Endings, each of another row and at the moment the parking before it ends, and by how many seconds each parks
    /// the host.
    fn check(rows: usize, endings: &[Ending], draw: u64, expected_s: &[u64]) -> Host {
        let mut host = host(rows);
        let mut now = Nanos::from_secs(1);
        let mut parked = Vec::new();
        for (row, ending) in (0..).zip(endings) {
            host.record(*ending, row, &Pace::default(), now, draw);
            parked.push((host.parked_until - now).0 / 1_000_000_000);
            now = now.max(host.parked_until);
        }
        assert_eq!(parked, expected_s, "{endings:?}");
        host
    }

    const REFUSED: Ending = Ending::Response { status: 503, retry_after: None };
    const FINE: Ending = Ending::Response { status: 200, retry_after: None };

    #[test]
    fn parking_doubles_from_a_second_to_a_minute_and_ends() {
        // Two days come to 2,879 parkings of a minute after the first six.
        for (refusals, expected_down) in [(2_885, false), (2_886, true)] {
            let spans = [0, 1, 2, 4, 8, 16, 32].into_iter().chain(std::iter::repeat(60));
            let expected: Vec<u64> = spans.take(refusals).collect();
            assert_eq!(check(20, &vec![REFUSED; refusals], 0, &expected).down, expected_down, "{refusals}");
        }
        check(20, &[REFUSED, REFUSED, FINE, REFUSED, REFUSED], 0, &[0, 1, 0, 0, 1]);
        check(20, &[REFUSED; 5], u64::MAX, &[0, 1, 2, 4, 9]);
        check(19, &[REFUSED, REFUSED, REFUSED], 0, &[0, 0, 0]);
    }

    #[test]
    fn what_the_host_asks_for_wins() {
        let asked = |status, s| Ending::Response { status, retry_after: Some(Nanos::from_secs(s)) };
        check(0, &[asked(429, 5), asked(503, 5), asked(500, 2)], 0, &[5, 5, 2]);
        check(0, &[asked(404, 5), asked(200, 5), asked(429, 0)], 0, &[0, 0, 0]);
        check(0, &[asked(429, 100_000)], 0, &[600]);
    }

    #[test]
    fn an_idle_host_is_small() {
        assert!(size_of::<Host>() <= 160, "{}", size_of::<Host>());
    }
}
