//! The back-off of a host that refuses (429, 502, 503, 504, 522, 524), and the rate that it gets afterwards.
//!
//! ```text
//! state     strikes                     another row is refused, or 429          any other answer
//! Serving   0                           Struck; Refusing if it was 429          the rate rises, if it was lowered
//! Struck    1: one row was refused      Refusing                                Serving
//! Refusing  2 or more                   parked twice as long, or Down after     Serving
//!                                       `host_down_after` without another answer
//! Down      `down`: its rows fail       (a row that was in flight) Down         Serving
//! ```
//!
//! A host that goes from Serving or Struck to Refusing is parked for 1 s and gets half the rate from then on (AIMD); each
//! later answer raises the rate. `Retry-After` parks in any state instead, and lowers no rate: the host has set the pause
//! itself. The first of these pauses do not count as time without an answer.

use crate::bucket::{Rate, Spacing};
use crate::limits;
use crate::outcome::Ending;
use crate::retry;
use crate::time::Nanos;

use super::Pace;

/// What a host has refused lately.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// No start before this.
    parked_until: Nanos,
    /// The first refusal since the last other answer. Pauses that the host asked for move it on.
    since: Nanos,
    /// The last answer that was no refusal.
    served_at: Nanos,
    /// Parked in all since that answer, in seconds.
    parked_s: u32,
    /// The low half of the number of the row that got the last strike.
    struck_row: u32,
    /// The limit of its starts in a thousand seconds. 0: not lowered.
    rate: u32,
    /// Starts are counted by tick, which is about a second: those of the tick of the last start, and of the one before.
    tick: u16,
    starts: u16,
    starts_before: u16,
    /// Refusals in a row, from different rows. A 429 counts as several, and so does any while the rate is lowered.
    strikes: u8,
    /// Parkings in a row.
    parkings: u8,
    /// Other answers since the last refusal.
    run: u8,
    /// How often only a few other answers came between two refusals; longer runs count against it.
    short_runs: u8,
    /// The last refusal was not 429: it may speak of its page.
    is_by_page: bool,
    /// Its rate rises fast until it refuses again: it was away, and not asked too often.
    was_away: bool,
    /// The next row that tries it is the last of its queue.
    last_next: bool,
    down: bool,
}

/// A refusal.
#[derive(Clone, Copy)]
struct Refusal {
    status: u16,
    /// Its `Retry-After`.
    asked: Option<Nanos>,
    tried: Tried,
}

/// The row of an attempt.
#[derive(Clone, Copy)]
pub(super) struct Tried {
    /// The low half of its number.
    pub(super) row: u32,
    pub(super) first_started: Nanos,
}

impl Refusals {
    /// When its parking ends; in the past if it is not parked.
    pub(super) fn parked_until(&self) -> Nanos {
        self.parked_until
    }

    /// True if its rows fail.
    pub(super) fn is_down(&self) -> bool {
        self.down
    }

    /// True if a refusal with this status is nothing that its row has caused, as far as it is known.
    pub(super) fn spares(&self, status: u16) -> bool {
        status == 429 || self.is_slowed() || self.is_refusing()
    }

    fn is_refusing(&self) -> bool {
        self.strikes >= limits::PARK_STRIKES
    }

    /// True if it has given no answer but refusals since `start`.
    pub(super) fn has_served_nothing_since(&self, start: Nanos) -> bool {
        self.strikes > 0 && self.served_at <= start
    }

    /// True if the last row of its queue should try it, in turn with the first: the first ones may all be of pages that are
    /// broken.
    pub(super) fn tries_last(&self) -> bool {
        self.parkings > 0 && self.is_by_page && self.last_next
    }

    /// The earliest time for a row that it has refused: where it may speak of the row's page, other rows try before.
    pub(super) fn again(&self, pause: Nanos) -> Nanos {
        let behind = if self.is_by_page { Nanos(pause.0 / 8) } else { Nanos::ZERO };
        self.parked_until + behind
    }

    /// True if forgetting it would allow requests too early.
    pub(super) fn is_in_trouble(&self, now: Nanos) -> bool {
        self.down || self.strikes > 0 || self.is_slowed() || self.parked_until > now
    }

    /// True while its rate is lowered.
    pub(super) fn is_slowed(&self) -> bool {
        self.rate > 0
    }

    /// The spacing of its starts.
    pub(super) fn spacing(&self) -> Spacing {
        match self.rate {
            0 => Spacing::NONE,
            rate => Rate { count: 1, per: Nanos(1_000_000_000_000 / u64::from(rate)) }.spacing(),
        }
    }

    /// Counts a start.
    pub(super) fn started(&mut self, now: Nanos) {
        let tick = (now.0 >> 30) as u16;
        if tick != self.tick {
            let is_next = tick == self.tick.wrapping_add(1);
            self.starts_before = if is_next { self.starts } else { 0 };
            (self.tick, self.starts) = (tick, 0);
        }
        self.starts = self.starts.saturating_add(1);
    }

    /// Updates the state at the end of an attempt.
    pub(super) fn record(&mut self, ending: Ending, tried: Tried, pace: &Pace, now: Nanos, draw: u64) {
        let Ending::Response { status, retry_after } = ending else { return };
        let is_refusal = retry::is_refusal(status);
        if !is_refusal {
            self.served(now);
        }
        if !retry::is_transient(status) {
            return;
        }
        let asked = retry_after.filter(|span| *span > Nanos::ZERO).map(|s| s.min(limits::RETRY_AFTER_MAX));
        match (is_refusal, asked) {
            (true, asked) => self.refused(Refusal { status, asked, tried }, pace, now, draw),
            (false, Some(span)) => self.park(now + span, now),
            (false, None) => {}
        }
    }

    fn served(&mut self, now: Nanos) {
        self.was_away |= self.is_by_page && self.parkings >= limits::PARKINGS_MIN;
        (self.strikes, self.parkings, self.parked_s, self.down) = (0, 0, 0, false);
        self.served_at = now;
        self.run = self.run.saturating_add(1);
        if self.is_slowed() && self.parked_until <= now {
            self.raise();
        }
    }

    fn refused(&mut self, refusal: Refusal, pace: &Pace, now: Nanos, draw: u64) {
        (self.is_by_page, self.last_next) = (refusal.status != 429, !self.last_next);
        self.was_away = false;
        let first_started = refusal.tried.first_started;
        let is_of_page = self.served_at > first_started && now - first_started >= limits::PAGE_AFTER;
        if !is_of_page {
            self.strike(refusal, now);
            self.end_run();
            self.down |= pace.host_errors_max > 0 && self.is_over(pace, now);
        }
        // What was in flight when it was parked does not lengthen the parking.
        let parks = pace.adaptive && !is_of_page && self.is_refusing() && self.parked_until <= now;
        match refusal.asked {
            Some(span) => {
                let before = self.parked_until.max(now);
                if self.parkings < limits::PARK_ASKED_MAX {
                    self.since += (now + span).max(before) - before;
                }
                self.park(now + span, now);
            }
            None if parks => {
                if self.parkings == 0 {
                    self.slow(refusal.status);
                }
                self.park(self.pause(pace, now, draw), now);
            }
            None => {}
        }
    }

    fn strike(&mut self, Refusal { status, tried: Tried { row, .. }, .. }: Refusal, now: Nanos) {
        if self.strikes == 0 {
            self.since = now;
        }
        if self.strikes == 0 || self.struck_row != row {
            self.strikes = self.strikes.saturating_add(1);
        }
        // A host that was slowed has limits, or struggles, whatever the status that it says it with.
        if status == 429 || self.is_slowed() {
            self.strikes = self.strikes.max(limits::PARK_STRIKES);
        }
        self.struck_row = row;
    }

    /// Ends a run of answers that are no refusals.
    fn end_run(&mut self) {
        self.short_runs = match std::mem::take(&mut self.run) {
            0 => self.short_runs,
            1..=limits::SHORT_RUN_MAX => (self.short_runs + 1).min(3 * limits::SHORT_RUNS_MIN),
            _ => self.short_runs / 2,
        };
    }

    /// True if it answers some requests and refuses others, in turn: then several refusals in a row may be chance, and it is
    /// not away.
    fn is_mixed(&self) -> bool {
        self.short_runs >= limits::SHORT_RUNS_MIN
    }

    /// True if it has refused for so long that it is given up.
    fn is_over(&self, pace: &Pace, now: Nanos) -> bool {
        let over = pace.host_down_after.is_some_and(|span| now - self.since >= span);
        let often = self.is_refusing() && self.parkings >= self.parkings_min();
        let parked = Nanos::from_secs(u64::from(self.parked_s));
        (pace.adaptive && often && over) || parked >= limits::PARKED_SUM_MAX
    }

    /// Parkings in a row before it may be given up.
    fn parkings_min(&self) -> u8 {
        if self.is_mixed() { limits::PARKINGS_MIN_MIXED } else { limits::PARKINGS_MIN }
    }

    /// The end of a parking that it did not ask for. The jitter only lengthens; the last probe is when it is about to be
    /// given up.
    fn pause(&self, pace: &Pace, now: Nanos, draw: u64) -> Nanos {
        let most = if self.is_mixed() { limits::PARK_MAX_MIXED } else { limits::PARK_MAX };
        let span = retry::doubled(limits::PARK_BASE, u32::from(self.parkings), most);
        let until = now + (span + retry::fraction(Nanos(span.0 / 4), draw)).min(limits::PARK_MAX);
        let last = pace.host_down_after.map_or(Nanos::MAX, |span| self.since + span);
        if last > now { until.min(last) } else { until }
    }

    fn park(&mut self, until: Nanos, now: Nanos) {
        let before = self.parked_until.max(now);
        let until = until.max(before);
        let more_s = u32::try_from((until - before).0.div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
        self.parked_s = self.parked_s.saturating_add(more_s);
        if self.parked_until <= now {
            self.parkings = self.parkings.saturating_add(1);
        }
        self.parked_until = until;
    }

    /// Halves the rate: the multiplicative decrease. Where it was not limited, it is what was counted.
    fn slow(&mut self, status: u16) {
        let counted = u32::from(self.starts.max(self.starts_before)).max(1) * 1_000;
        let rate = if self.is_slowed() { self.rate.min(counted) } else { counted };
        // Chance does not depend on the rate.
        let by_rate = status == 429 && !self.is_mixed();
        let least = if by_rate { limits::SLOWED_RATE_MIN } else { limits::SLOWED_RATE_MIN_PAGES };
        self.rate = (rate / 2).max(least.min(rate)).min(limits::SLOWED_RATE_MAX);
    }

    /// Raises the rate after an answer, by one start a second and a 32nd for each second of answers: the additive
    /// increase. A rate below three a second rises by an eighth of itself instead. After refusals at the rate of a few
    /// probes, which were not too many requests, it is one start a second for each answer: slow start.
    fn raise(&mut self) {
        let more = match self.was_away {
            true => 1_000,
            false => (self.rate / 8).min(1_000_000 / self.rate + 1_000 / 32).max(1),
        };
        self.rate = self.rate.saturating_add(more);
        if self.rate >= limits::SLOWED_RATE_MAX {
            self.rate = 0;
        }
    }
}
