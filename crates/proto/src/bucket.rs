//! Rate limits, by the generic cell rate algorithm (GCRA): starts are spaced evenly, which needs one number a bucket and
//! causes no bursts at the server.
//!
//! The limit is strict: *any* window of the rate's span has at most `count` starts. And a start that is a little late,
//! because timers are coarse, does not delay the following ones: lateness of up to a hundredth of the span is made up,
//! in exchange for a step that is a hundredth longer. So a rate of 50/s gives 49.5 a second.

use std::fmt;
use std::str::FromStr;

use crate::time::Nanos;

/// At most `count` starts in any span of `per`.
///
/// ```
/// use overlapped_proto::bucket::Rate;
/// use overlapped_proto::time::Nanos;
///
/// assert_eq!(Rate::parse("10/s"), Some(Rate { count: 10, per: Nanos::from_secs(1) }));
/// assert_eq!(Rate::parse("2/5s"), Some(Rate { count: 2, per: Nanos::from_secs(5) }));
/// assert_eq!("10/s".parse(), Ok(Rate { count: 10, per: Nanos::from_secs(1) }));
/// assert_eq!(Rate::parse("10"), None); // the unit is required
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The number of starts; at least 1.
    pub count: u32,
    /// The span that they may start in; more than zero.
    pub per: Nanos,
}

impl Rate {
    /// Reads `10/s`, `100/m`, `2/5s`: a count and a span in ms, s, m, h or d. The unit is required.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (count, span) = text.trim().split_once('/')?;
        let (number, unit) = span.split_at(span.find(|c: char| !c.is_ascii_digit())?);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let units = if number.is_empty() { 1 } else { whole(number)? };
        let rate = Self {
            count: u32::try_from(whole(count)?).ok()?,
            per: Nanos(units.checked_mul(unit_ms)?.checked_mul(1_000_000)?),
        };
        (rate.count > 0 && rate.per > Nanos::ZERO).then_some(rate)
    }

    /// The spacing of starts at this rate.
    #[must_use]
    pub const fn spacing(self) -> Spacing {
        let slack = self.per.0 / 100;
        let count = if self.count == 0 { 1 } else { self.count as u64 };
        Spacing { step: Nanos(self.per.0.saturating_add(slack).div_ceil(count)), slack: Nanos(slack) }
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    /// As [`Rate::parse`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or(InvalidRate)
    }
}

/// A text that is not a [`Rate`]. Its message says how a rate is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRate;

impl fmt::Display for InvalidRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate is written like 10/s, 100/m or 2/5s: the unit is required")
    }
}

impl std::error::Error for InvalidRate {}

/// A whole number of digits only; `parse` would accept a sign.
fn whole(digits: &str) -> Option<u64> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// How far apart starts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spacing {
    /// From one start to the next.
    step: Nanos,
    /// How late a start may be without delaying the next one.
    slack: Nanos,
}

impl Spacing {
    /// No limit at all.
    pub const NONE: Self = Self { step: Nanos::ZERO, slack: Nanos::MAX };

    /// From one start to the next.
    #[must_use]
    pub const fn step(self) -> Nanos {
        self.step
    }

    /// The spacing that satisfies both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { step: self.step.max(other.step), slack: self.slack.min(other.slack) }
    }
}

/// When the next start may be. Eight bytes; the spacing is an argument, because thousands of hosts share one.
///
/// ```
/// use overlapped_proto::bucket::{Bucket, Rate};
/// use overlapped_proto::time::Nanos;
///
/// let spacing = Rate::parse("1/s").unwrap().spacing();
/// let mut bucket = Bucket::default();
/// assert!(bucket.next() <= Nanos::ZERO);
/// bucket.take(spacing, Nanos::ZERO);
/// assert_eq!(bucket.next(), Nanos::from_millis(1010));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    next: Nanos,
}

impl Bucket {
    /// The earliest time of the next start.
    #[must_use]
    pub const fn next(self) -> Nanos {
        self.next
    }

    /// Takes the start that happens at `now`, which must not be before [`Bucket::next`].
    ///
    /// Let `n` be the start's nominal time, at most `slack` before `now`. Nominal times are `step` apart, so `count`
    /// starts later the clock shows at least `now - slack + count * step`, which is `now + per` or more.
    pub fn take(&mut self, spacing: Spacing, now: Nanos) {
        self.next = self.next.max(now - spacing.slack) + spacing.step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let check = |text: &str, expected: Option<(u32, u64)>| {
            let rate = Rate::parse(text).map(|rate| (rate.count, rate.per.0 / 1_000_000));
            assert_eq!(rate, expected, "{text}");
        };
        check("10/s", Some((10, 1_000)));
        check("100/m", Some((100, 60_000)));
        check("2/5s", Some((2, 5_000)));
        check("1/250ms", Some((1, 250)));
        check(" 3/2h ", Some((3, 7_200_000)));
        check("4294967295/d", Some((u32::MAX, 86_400_000)));
        for bad in
            ["", "10", "10/", "10/5", "/s", "0/s", "1/0s", "-1/s", "+1/s", "1/+5s", "1/x", "1/ss", "1.5/s"]
        {
            check(bad, None);
        }
        check("4294967296/s", None);
        check("1/99999999999999999999d", None);
        check("1/9999999999999d", None);
    }

    /// Takes as early as allowed, each start late by what `late` says, and checks every window.
    fn check(rate: &str, late: impl Fn(u64) -> u64, at_least: usize) {
        let rate = Rate::parse(rate).unwrap();
        let mut bucket = Bucket::default();
        let mut starts = Vec::new();
        let mut now = Nanos::from_secs(1_000);
        let end = now + Nanos(rate.per.0 * 10);
        for i in 0.. {
            now = now.max(bucket.next()) + Nanos(late(i));
            if now >= end {
                break;
            }
            bucket.take(rate.spacing(), now);
            starts.push(now);
        }
        for (first, later) in starts.iter().zip(starts.iter().skip(rate.count as usize)) {
            assert!(*later - *first >= rate.per, "{rate:?}: too many from {first} to {later}");
        }
        assert!(starts.len() >= at_least, "{rate:?}: only {}", starts.len());
    }

    #[test]
    fn no_window_holds_too_many() {
        check("1/s", |_| 0, 10);
        check("50/s", |_| 0, 490);
        check("50/s", |i| i % 7 * 1_000_000, 490); // timers of up to 6 ms are made good
        check("50/s", |i| if i % 100 == 99 { 300_000_000 } else { 0 }, 400);
        check("7/3s", |i| i % 5 * 10_000_000, 67);
        check("100000/s", |_| 0, 980_000);
        check("100000/s", |i| if i % 99 == 0 { 1_000_000 } else { 0 }, 970_000);
    }

    #[test]
    fn both_spacings_hold() {
        let rate = Rate::parse("10/s").unwrap().spacing();
        let delay = Rate { count: 1, per: Nanos::from_secs(2) }.spacing();
        let mut bucket = Bucket::default();
        bucket.take(rate.and(delay), Nanos::ZERO);
        assert!(bucket.next() >= Nanos::from_secs(2));
        bucket = Bucket::default();
        bucket.take(Spacing::NONE.and(rate), Nanos::ZERO);
        assert_eq!(bucket.next(), Nanos::from_millis(101));
        bucket = Bucket::default();
        bucket.take(Spacing::NONE, Nanos(5));
        assert!(bucket.next() <= Nanos(5));
    }
}
