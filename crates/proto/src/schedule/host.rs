//! The state of one host: its concurrency limit (AIMD) and its rate. Its parking is in `refusals`, the reachability of its
//! origins in `reach`.

use crate::bucket::{Bucket, Rate, Spacing};
use crate::job::HostKey;
use crate::limits;
use crate::origin::Endpoint;
use crate::outcome::Ending;
use crate::retry;
use crate::slab::{List, NONE};
use crate::time::Nanos;

use super::Pace;
use super::reach::Sites;
use super::refusals::{Refusals, Tried};

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
    /// The same for the rate that was lowered because it refused.
    Slowed(Nanos),
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
    pub(super) turn: Turn,
    /// True if a row of it has left an idle connection. It may be lost since.
    pub(super) has_idle: bool,
    /// Spaces the starts.
    bucket: Bucket,
    /// The least time between two starts that its robots.txt asks for, in milliseconds.
    interval_ms: u32,
    pub(super) refusals: Refusals,
    /// True for this machine itself.
    local: bool,
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

/// A turn of a host: it begins with a start from the ring, and may go on while the host has an idle connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// When it ends.
    until: Nanos,
    /// Starts that are left in it.
    left: u16,
    /// True while the host is in the list of hosts that go on, and not in the ring.
    pub(super) goes_on: bool,
}

impl Turn {
    /// A turn whose first row starts.
    pub(super) fn begin(pace: &Pace, now: Nanos) -> Self {
        let until = now + limits::WARM_TIME_MAX;
        Self { until, left: pace.warm_starts_max.saturating_sub(1), goes_on: false }
    }

    /// The same turn after another start.
    pub(super) fn started(self) -> Self {
        Self { left: self.left.saturating_sub(1), goes_on: false, ..self }
    }

    /// True if it allows another start.
    pub(super) fn lasts(&self, now: Nanos) -> bool {
        self.left > 0 && now < self.until
    }
}

/// What the end of an attempt implies for the load of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// It answered.
    Fine,
    /// It timed out.
    Slow,
    /// It refused: 429, 503 and the like.
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
            turn: Turn::default(),
            has_idle: false,
            bucket: Bucket::default(),
            interval_ms: 0,
            refusals: Refusals::default(),
            local,
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
        if self.refusals.parked_until() > now {
            return Place::Parked(self.refusals.parked_until());
        }
        let slots = self.slots(pace);
        if self.in_flight >= slots {
            return if slots < self.slots_max(pace) { Place::Throttled } else { Place::Full };
        }
        match self.bucket.next() {
            due if due <= now => Place::Ready,
            due if self.refusals.is_slowed() => Place::Slowed(due),
            due => Place::Spaced(due),
        }
    }

    /// True if evicting it now would allow requests too early, or repeat failures.
    pub(super) fn remembers(&self, now: Nanos) -> bool {
        self.refusals.is_in_trouble(now)
            || self.sites.iter().any(|site| site.reach.is_in_trouble())
            || self.interval_ms > 0
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
        self.refusals.is_down() || self.sites.iter().any(|site| site.reach.is_given_up())
    }

    /// The number of its origins that are parked.
    pub(super) fn parked_sites(&self) -> usize {
        self.sites.iter().filter(|site| site.reach.is_parked()).count()
    }

    /// Takes a slot.
    pub(super) fn start(&mut self, spacing: Spacing, now: Nanos) {
        let spacing = self.spacing(spacing);
        self.refusals.started(now);
        self.bucket.take(spacing, now);
        self.in_flight += 1;
    }

    /// The spacing of its starts; `spacing`: the configured one.
    fn spacing(&self, spacing: Spacing) -> Spacing {
        let mut spacing = spacing;
        if self.interval_ms > 0 {
            let per = Nanos::from_millis(u64::from(self.interval_ms));
            spacing = spacing.and(Rate { count: 1, per }.spacing());
        }
        if self.refusals.is_slowed() {
            spacing = spacing.and(self.refusals.spacing());
        }
        spacing
    }

    /// How long so many rows take under its own limits, if an attempt takes `mean`. Zero: it has no limit of its own.
    pub(super) fn time_of(&self, rows: u64, spacing: Spacing, pace: &Pace, mean: Nanos) -> Nanos {
        let step = self.spacing(spacing).step();
        let each = match self.slots(pace) {
            u32::MAX => Nanos::ZERO,
            slots => Nanos(mean.0 / u64::from(slots.max(1))),
        };
        Nanos(step.max(each).0.saturating_mul(rows))
    }

    pub(super) fn set_interval(&mut self, interval: Nanos) {
        self.interval_ms = u32::try_from(interval.0.div_ceil(1_000_000)).unwrap_or(u32::MAX);
    }

    /// Updates the state at the end of an attempt, after its slot was released.
    pub(super) fn record(&mut self, ending: Ending, tried: Tried, pace: &Pace, now: Nanos, draw: u64) {
        if pace.adaptive {
            self.adapt(load(ending), pace);
        }
        self.refusals.record(ending, tried, pace, now, draw);
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

    /// The concurrency limit now.
    fn slots(&self, pace: &Pace) -> u32 {
        self.slots_max(pace).min(self.slots)
    }

    /// The configured concurrency limit.
    fn slots_max(&self, pace: &Pace) -> u32 {
        let own = pace.of_host(self.key).parallel_max;
        if let Some(own) = own {
            return own.map_or(u32::MAX, |max| u32::try_from(max.max(1)).unwrap_or(u32::MAX));
        }
        match pace.parallel_max_host {
            Some(max) if !(self.local && pace.local_unlimited) => {
                u32::try_from(max.max(1)).unwrap_or(u32::MAX)
            }
            Some(_) | None => u32::MAX,
        }
    }
}

fn load(ending: Ending) -> Load {
    match ending {
        Ending::Response { status, .. } if retry::is_refusal(status) => Load::Refused,
        Ending::Response { .. } => Load::Fine,
        Ending::Failed(kind) if kind.is_slow() => Load::Slow,
        Ending::Failed(_) => Load::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_host_is_small() {
        assert!(size_of::<Host>() <= 216, "{}", size_of::<Host>());
    }
}
