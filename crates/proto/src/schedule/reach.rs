//! The reachability of an origin, a circuit breaker: how many of its rows may be in flight, and when it is probed.
//!
//! Politeness limits apply to a host, reachability to an origin (scheme, host and port), because a closed port says
//! nothing about another.
//!
//! ```text
//! Untried ──accepted──▶ Up ◀──answers──── Returning ◀──answered── Parked, GivenUp
//!    │                   │                     │
//!    └──────failed───────┴──▶ Doubtful ◀───────┘
//!                               │ failed N times in a row, or a row would be lost
//!                               ▼
//!                             Parked ──probe failed, no answer for `down_after`──▶ GivenUp
//! ```

use crate::error::ErrorKind;
use crate::limits;
use crate::origin::Endpoint;
use crate::outcome::Ending;
use crate::retry;
use crate::slab::List;
use crate::time::Nanos;

use super::Pace;

/// No row: its number cannot be that of a probe.
const NO_PROBE: u32 = u32::MAX;

/// The state of an origin. Only [`Reach::after`] changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// No attempt has ended yet.
    Untried,
    /// It has accepted a connection, or answered.
    Up,
    /// `failures` attempts in a row failed to reach it, the first at `since`.
    Doubtful { failures: u32, since: Nanos },
    /// One row at a time probes it, not before `until`; `probe` is the low half of the number of the row that does now.
    Parked { since: Nanos, until: Nanos, probe: u32, pauses: u8 },
    /// It answers again, in slow start: `room` rows at once, one more for each answer.
    Returning { room: u32 },
    /// Its rows fail. `last` is the failure of the last attempt.
    GivenUp { last: ErrorKind },
}

/// What happened to an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A row has started. `row` is the low half of its number.
    Started { row: u32 },
    /// A row was put back, without a result for the origin.
    PutBack { row: u32 },
    /// It accepted a connection.
    Accepted,
    /// It answered, or failed after the connection was established.
    Answered,
    /// A row could not reach it.
    Failed { row: u32, kind: ErrorKind },
    /// The failure of the event before would be the last of its row, which has made `attempts`.
    Lost { attempts: u32 },
}

/// The rules and the current time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Failures in a row that park an origin. 0: never.
    pub(super) errors_max: u32,
    /// How long an origin may give no answer before it is given up. `None`: no limit.
    pub(super) down_after: Option<Nanos>,
    /// Since when the local network is up: earlier failures do not count.
    pub(super) restored: Nanos,
    pub(super) now: Nanos,
    /// Any random number.
    pub(super) draw: u64,
}

/// Whether an origin admits a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Go,
    Wait,
    GivenUp,
}

/// Whether an attempt that ended with `ending` has reached the origin. `None`: unknown.
pub(super) fn contact(ending: Ending) -> Option<bool> {
    match ending {
        Ending::Response { .. } => Some(true),
        Ending::Failed(kind) => kind.reached(),
    }
}

impl Reach {
    /// The state after an event.
    pub(super) fn after(self, event: Event, rules: &Rules) -> Self {
        if rules.errors_max == 0 {
            return self;
        }
        match event {
            Event::Started { row } => self.with_probe(NO_PROBE, row),
            Event::PutBack { row } => self.with_probe(row, NO_PROBE),
            Event::Accepted => self.accepted(),
            Event::Answered => self.answered(),
            Event::Failed { row, kind } => self.failed(row, kind, rules),
            Event::Lost { attempts } => self.lost(attempts, rules),
        }
    }

    /// Whether it admits one more row, beside `in_flight` others.
    pub(super) fn admits(self, in_flight: u32, pace: &Pace, now: Nanos) -> Admission {
        let below = |room| if in_flight < room { Admission::Go } else { Admission::Wait };
        match self {
            _ if pace.host_errors_max == 0 => Admission::Go,
            Self::Up => Admission::Go,
            Self::Untried => below(pace.host_errors_max),
            Self::Doubtful { failures, .. } => below(pace.host_errors_max.saturating_sub(failures).max(1)),
            Self::Returning { room } => below(room),
            Self::Parked { until, probe: NO_PROBE, .. } if until <= now => Admission::Go,
            Self::Parked { .. } => Admission::Wait,
            Self::GivenUp { .. } => Admission::GivenUp,
        }
    }

    /// When its parking ends; `None` if it is not parked, or a probe is under way.
    pub(super) fn due(self) -> Option<Nanos> {
        match self {
            Self::Parked { until, probe: NO_PROBE, .. } => Some(until),
            Self::Parked { .. }
            | Self::Untried
            | Self::Up
            | Self::Doubtful { .. }
            | Self::Returning { .. }
            | Self::GivenUp { .. } => None,
        }
    }

    pub(super) fn is_parked(self) -> bool {
        matches!(self, Self::Parked { .. })
    }

    pub(super) fn is_given_up(self) -> bool {
        matches!(self, Self::GivenUp { .. })
    }

    /// True if it has answered since its last failure, or has accepted a connection.
    pub(super) fn is_proven(self) -> bool {
        match self {
            Self::Up | Self::Returning { .. } => true,
            Self::Untried | Self::Doubtful { .. } | Self::Parked { .. } | Self::GivenUp { .. } => false,
        }
    }

    /// True if evicting it would repeat failures.
    pub(super) fn is_in_trouble(self) -> bool {
        match self {
            Self::Doubtful { .. } | Self::Parked { .. } | Self::GivenUp { .. } => true,
            Self::Untried | Self::Up | Self::Returning { .. } => false,
        }
    }

    /// A parked origin whose probe is `from` gets `to` instead.
    fn with_probe(self, from: u32, to: u32) -> Self {
        match self {
            Self::Parked { since, until, probe, pauses } if probe == from => {
                Self::Parked { since, until, probe: to, pauses }
            }
            Self::Parked { .. }
            | Self::Untried
            | Self::Up
            | Self::Doubtful { .. }
            | Self::Returning { .. }
            | Self::GivenUp { .. } => self,
        }
    }

    /// An accepted connection is not an answer; it lifts the limit of an untried origin only.
    fn accepted(self) -> Self {
        match self {
            Self::Untried => Self::Up,
            Self::Up
            | Self::Doubtful { .. }
            | Self::Parked { .. }
            | Self::Returning { .. }
            | Self::GivenUp { .. } => self,
        }
    }

    /// A parked origin returns by slow start, so that its waiting rows do not all start at once.
    fn answered(self) -> Self {
        match self {
            Self::Untried | Self::Up | Self::Doubtful { .. } => Self::Up,
            Self::Parked { .. } | Self::GivenUp { .. } => Self::Returning { room: limits::REACH_ROOM_FIRST },
            Self::Returning { room } if room >= limits::REACH_ROOM_MAX => Self::Up,
            Self::Returning { room } => Self::Returning { room: room + 1 },
        }
    }

    fn failed(self, row: u32, kind: ErrorKind, rules: &Rules) -> Self {
        let now = rules.now;
        let (failures, since) = match self {
            Self::Untried | Self::Up | Self::Returning { .. } => (1, now),
            Self::Doubtful { failures, since } => (failures.saturating_add(1), since),
            Self::Parked { since, probe, pauses, .. } if probe == row => {
                return Self::parked_again(since, pauses, kind, rules);
            }
            // A row that was in flight when the origin was parked.
            Self::Parked { .. } | Self::GivenUp { .. } => return self,
        };
        let since = since.max(rules.restored);
        let often = failures >= rules.errors_max.min(limits::REACH_FAILURES_MIN);
        if often && rules.is_over(since) {
            return Self::GivenUp { last: kind };
        }
        if failures < rules.errors_max {
            return Self::Doubtful { failures, since };
        }
        Self::parked_again(since, 0, kind, rules)
    }

    /// Parks an origin early, to save a row that would fail for good: if all attempts of the row fell into the time in
    /// which the origin gave no answer.
    fn lost(self, attempts: u32, rules: &Rules) -> Self {
        match self {
            Self::Doubtful { failures, since } if failures >= attempts.max(limits::REACH_FAILURES_MIN) => {
                Self::Parked { since, until: rules.pause(since, 0), probe: NO_PROBE, pauses: 1 }
            }
            Self::Doubtful { .. }
            | Self::Untried
            | Self::Up
            | Self::Parked { .. }
            | Self::Returning { .. }
            | Self::GivenUp { .. } => self,
        }
    }

    /// Parks the origin once more, or gives it up: at once if its name does not exist, else when `down_after` is over.
    fn parked_again(since: Nanos, pauses: u8, kind: ErrorKind, rules: &Rules) -> Self {
        let since = since.max(rules.restored);
        if kind == ErrorKind::DnsNotFound || rules.is_over(since) {
            return Self::GivenUp { last: kind };
        }
        let until = rules.pause(since, pauses);
        Self::Parked { since, until, probe: NO_PROBE, pauses: pauses.saturating_add(1) }
    }
}

impl Rules {
    fn is_over(&self, since: Nanos) -> bool {
        self.down_after.is_some_and(|span| self.now - since >= span)
    }

    /// The end of the next parking, after `pauses` before it. The jitter only lengthens; the last probe is when the origin
    /// is about to be given up.
    fn pause(&self, since: Nanos, pauses: u8) -> Nanos {
        let span = retry::doubled(limits::REACH_PAUSE_BASE, u32::from(pauses), limits::REACH_PAUSE_MAX);
        let until =
            self.now + (span + retry::fraction(Nanos(span.0 / 4), self.draw)).min(limits::REACH_PAUSE_MAX);
        self.down_after.map_or(until, |after| until.min(since + after))
    }
}

/// One origin of a host, and the rows that wait for it.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) endpoint: Endpoint,
    pub(super) in_flight: u32,
    pub(super) reach: Reach,
    /// Rows that wait until it admits them.
    pub(super) held: List,
    /// An upper bound of the rows that were held and are in the queue of the host now.
    pub(super) called: u32,
}

impl Site {
    fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, in_flight: 0, reach: Reach::Untried, held: List::EMPTY, called: 0 }
    }

    fn is_unused(&self) -> bool {
        self.in_flight == 0 && self.held.is_empty()
    }

    /// True if it has no rows and no state.
    fn is_blank(&self) -> bool {
        self.is_unused() && self.reach == Reach::Untried
    }

    /// True if it has no rows and no failures.
    fn is_well(&self) -> bool {
        self.is_unused() && !self.reach.is_in_trouble()
    }
}

/// The origins of one host. Nearly every host has one.
#[derive(Debug)]
pub(super) struct Sites {
    first: Site,
    more: Option<Box<More>>,
}

/// Sorted by endpoint.
#[derive(Debug, Default)]
struct More(Vec<Site>);

impl Sites {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { first: Site::new(endpoint), more: None }
    }

    pub(super) fn get(&self, endpoint: Endpoint) -> Option<&Site> {
        if self.first.endpoint == endpoint {
            return Some(&self.first);
        }
        let More(more) = self.more.as_deref()?;
        more.binary_search_by_key(&endpoint, |site| site.endpoint).ok().and_then(|at| more.get(at))
    }

    /// Finds or inserts an origin.
    pub(super) fn get_mut(&mut self, endpoint: Endpoint) -> &mut Site {
        if self.first.endpoint != endpoint && self.first.is_blank() && self.more.is_none() {
            self.first = Site::new(endpoint);
        }
        if self.first.endpoint == endpoint {
            return &mut self.first;
        }
        let More(more) = &mut **self.more.get_or_insert_default();
        let at = more.binary_search_by_key(&endpoint, |site| site.endpoint).unwrap_or_else(|at| {
            let at = at - forget_one(more, at);
            more.insert(at, Site::new(endpoint));
            at
        });
        more.get_mut(at).expect("it was found or inserted there")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Site> {
        std::iter::once(&self.first).chain(self.more.iter().flat_map(|more| &more.0))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Site> {
        std::iter::once(&mut self.first).chain(self.more.iter_mut().flat_map(|more| &mut more.0))
    }

    /// Drops the origins without state, when the host has no rows.
    pub(super) fn shrink(&mut self) {
        if let Some(more) = &mut self.more {
            more.0.retain(|site| !site.is_blank());
            if more.0.is_empty() {
                self.more = None;
            }
        }
    }
}

/// Bounds the list: evicts an origin without rows, preferably one without failures. Returns how many before `at` were
/// evicted.
fn forget_one(sites: &mut Vec<Site>, at: usize) -> usize {
    if sites.len() < limits::ORIGINS_HOST_MAX {
        return 0;
    }
    let well = sites.iter().position(Site::is_well);
    // One that is parked has rows, or is asked; but for those that the host gave to other hosts to make room.
    let gone = well.or_else(|| sites.iter().position(|site| site.is_unused() && !site.reach.is_parked()));
    match gone {
        Some(gone) => {
            sites.remove(gone);
            usize::from(gone < at)
        }
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(now: Nanos, draw: u64) -> Rules {
        Rules {
            errors_max: limits::HOST_ERRORS_MAX,
            down_after: Some(limits::HOST_DOWN_AFTER),
            restored: Nanos::ZERO,
            now,
            draw,
        }
    }

    /// An origin that refuses at once, asked as often as it may be: how often that is, and when it is given up.
    fn dead(mut rules: Rules, kind: ErrorKind) -> (u32, Option<u64>) {
        let pace = Pace { host_errors_max: rules.errors_max, ..Pace::default() };
        let (mut reach, mut asked) = (Reach::Untried, 0);
        while asked < 1_000 {
            match reach.admits(0, &pace, rules.now) {
                Admission::Go => {
                    asked += 1;
                    reach = reach.after(Event::Started { row: asked }, &rules);
                    reach = reach.after(Event::Failed { row: asked, kind }, &rules);
                }
                Admission::Wait => rules.now = reach.due().expect("it waits for its time"),
                Admission::GivenUp => return (asked, Some(rules.now.0 / 1_000_000_000)),
            }
        }
        (asked, None)
    }

    #[test]
    fn a_dead_origin_is_asked_seldom_and_given_up_after_its_span() {
        let start = Nanos::from_secs(1_000);
        for draw in [0, 1 << 63, u64::MAX] {
            let (asked, given_up) = dead(rules(start, draw), ErrorKind::ConnectRefused);
            assert_eq!(given_up, Some(1_060), "draw {draw}");
            assert!((21..=30).contains(&asked), "{asked} with draw {draw}");
        }
        // A name that does not exist is not waited for.
        assert_eq!(dead(rules(start, 0), ErrorKind::DnsNotFound), (20, Some(1_000)));
        // Without a span it is never given up.
        let patient = Rules { down_after: None, ..rules(start, 0) };
        assert_eq!(dead(patient, ErrorKind::ConnectRefused), (1_000, None));
    }

    #[test]
    fn a_failure_of_our_own_network_does_not_count_against_the_span() {
        let at = |s| Nanos::from_secs(s);
        let failed = |row| Event::Failed { row, kind: ErrorKind::ConnectTimeout };
        let mut reach = Reach::Untried;
        for s in 1..=2 {
            reach = reach.after(failed(0), &rules(at(s), 0));
        }
        let later = Rules { restored: at(600), ..rules(at(601), 0) };
        assert_eq!(reach.after(failed(0), &later), Reach::Doubtful { failures: 3, since: at(600) });
        assert_eq!(
            reach.after(failed(0), &rules(at(601), 0)),
            Reach::GivenUp { last: ErrorKind::ConnectTimeout }
        );
    }

    #[test]
    fn what_was_in_flight_when_it_was_parked_tells_nothing() {
        let rules = rules(Nanos::from_secs(5), 0);
        let until = Nanos::from_secs(6);
        let parked = Reach::Parked { since: rules.now, until, probe: 7, pauses: 1 };
        let failed = |row| Event::Failed { row, kind: ErrorKind::ConnectRefused };
        assert_eq!(parked.after(failed(3), &rules), parked);
        assert_ne!(parked.after(failed(7), &rules), parked);
        assert_eq!(parked.due(), None);
        assert_eq!(parked.after(Event::PutBack { row: 7 }, &rules).due(), Some(until));
        let back = Reach::Returning { room: limits::REACH_ROOM_FIRST };
        assert_eq!(parked.after(Event::Answered, &rules), back);
    }

    #[test]
    fn a_row_is_not_lost_to_an_origin_that_gives_no_answer() {
        let rules = rules(Nanos::from_secs(5), 0);
        let check = |failures, attempts, expected: bool| {
            let reach = Reach::Doubtful { failures, since: rules.now };
            let moved = reach.after(Event::Lost { attempts }, &rules);
            assert_eq!(moved.is_parked(), expected, "{failures} {attempts}");
        };
        check(3, 3, true);
        check(3, 1, true);
        check(2, 3, false); // it answered others in between
        check(5, 6, false);
        check(1, 1, false); // one failure is no trouble of the origin
    }

    #[test]
    fn the_origins_of_a_host_are_bounded() {
        let endpoint = |port: usize| Endpoint::of(&format!("http://a.test:{port}/").parse().unwrap());
        let mut sites = Sites::new(endpoint(1));
        sites.get_mut(endpoint(1)).reach = Reach::Up;
        sites.get_mut(endpoint(2)).reach = Reach::GivenUp { last: ErrorKind::ConnectRefused };
        for port in (3..3 * limits::ORIGINS_HOST_MAX).rev() {
            let site = sites.get_mut(endpoint(port));
            assert_eq!((site.endpoint, site.reach), (endpoint(port), Reach::Untried));
        }
        assert_eq!(sites.iter().count(), 1 + limits::ORIGINS_HOST_MAX);
        let known = |sites: &Sites, port| sites.get(endpoint(port)).map(|site| site.reach);
        assert!(known(&sites, 2).is_some_and(Reach::is_given_up));
        sites.shrink();
        assert_eq!(sites.iter().count(), 2);
        assert!(size_of::<Site>() <= 48, "{}", size_of::<Site>());
    }
}
