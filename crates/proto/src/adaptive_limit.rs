//! An adaptive concurrency limit for when the machine runs out of open files or local ports: it drops to the number of
//! requests in flight, then rises by one at a time (additive increase).
//!
//! A shortage is local, so a row that meets one is put back and does not fail, unless nothing has been in flight for
//! [`limits::SHORTAGE_MAX`], or for the time that the row has.

use crate::limits;
use crate::time::Nanos;

/// The number of requests that may be in flight at once.
///
/// ```
/// use overlapped_proto::adaptive_limit::{Idle, AdaptiveLimit, Verdict};
/// use overlapped_proto::time::Nanos;
///
/// let mut shortage = AdaptiveLimit::new(500);
/// let now = Nanos::from_secs(1);
/// assert!(matches!(shortage.hit(40, Idle::None, None, now), Verdict::Again(_)));
/// assert_eq!((shortage.parallel_max(), shortage.times()), (40, 1));
/// ```
#[derive(Debug)]
pub struct AdaptiveLimit {
    most: usize,
    parallel_max: usize,
    /// Requests that got a file and a port since the last change.
    good: usize,
    changed: Nanos,
    /// The time since which nothing is in flight and nothing can start.
    stuck: Option<Nanos>,
    times: u64,
    least: usize,
}

/// Whether the caller has closed idle connections on this shortage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// There were none.
    None,
    /// They are closed now.
    Closed,
}

/// What to do with the row that met the shortage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Put the row back; nothing starts on this thread before this time.
    Again(Nanos),
    /// Fail the row: none of our requests holds a file or a port, and that for [`limits::SHORTAGE_MAX`] or for the row's own
    /// limit.
    Fail,
}

impl AdaptiveLimit {
    /// A limit of `most` requests.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { most, parallel_max: most, good: 0, changed: Nanos::ZERO, stuck: None, times: 0, least: most }
    }

    /// A request found no free file or port while `others` were in flight. `limit`: the most time that its row has.
    pub fn hit(&mut self, others: usize, idle: Idle, limit: Option<Nanos>, now: Nanos) -> Verdict {
        self.times += 1;
        (self.good, self.changed) = (0, now);
        // Closing idle connections may have freed enough.
        if idle == Idle::None {
            self.parallel_max = self.parallel_max.min(others).max(1);
            self.least = self.least.min(self.parallel_max);
        }
        if others > 0 || idle == Idle::Closed {
            self.stuck = None;
            return Verdict::Again(now + limits::SHORTAGE_PAUSE);
        }
        let since = *self.stuck.get_or_insert(now);
        let most = limit.map_or(limits::SHORTAGE_MAX, |limit| limit.min(limits::SHORTAGE_MAX));
        if now - since >= most { Verdict::Fail } else { Verdict::Again(now + limits::SHORTAGE_PAUSE_ALONE) }
    }

    /// A request got its file and its port. Returns true if this raises the limit by one.
    pub fn passed(&mut self, now: Nanos) -> bool {
        self.stuck = None;
        if self.parallel_max >= self.most {
            return false;
        }
        self.good += 1;
        let more = self.good >= self.parallel_max && now >= self.changed + limits::SHORTAGE_RAISE;
        if more {
            self.parallel_max += 1;
            (self.good, self.changed) = (0, now);
        }
        more
    }

    /// The current limit.
    #[must_use]
    pub const fn parallel_max(&self) -> usize {
        self.parallel_max
    }

    /// True while the limit is lowered.
    #[must_use]
    pub const fn is_short(&self) -> bool {
        self.parallel_max < self.most || self.stuck.is_some()
    }

    /// The number of shortages.
    #[must_use]
    pub const fn times(&self) -> u64 {
        self.times
    }

    /// The lowest limit so far.
    #[must_use]
    pub const fn least(&self) -> usize {
        self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_are_closed_before_the_limit_drops() {
        let mut shortage = AdaptiveLimit::new(500);
        let now = Nanos::from_secs(5);
        let _ = shortage.hit(40, Idle::Closed, None, now);
        assert_eq!(shortage.parallel_max(), 500);
        let _ = shortage.hit(39, Idle::None, None, now + Nanos(1));
        assert_eq!((shortage.parallel_max(), shortage.least()), (39, 39));
    }

    #[test]
    fn it_comes_back_one_by_one_and_never_above_what_was_wanted() {
        let mut shortage = AdaptiveLimit::new(4);
        let mut now = Nanos::from_secs(1);
        let _ = shortage.hit(0, Idle::None, None, now);
        assert_eq!(shortage.parallel_max(), 1);
        for _ in 0..100 {
            now += limits::SHORTAGE_RAISE;
            let before = shortage.parallel_max();
            let more = shortage.passed(now);
            assert_eq!(shortage.parallel_max(), before + usize::from(more));
        }
        assert_eq!((shortage.parallel_max(), shortage.is_short()), (4, false));
    }

    #[test]
    fn a_row_fails_only_when_nothing_moves_for_long() {
        let mut shortage = AdaptiveLimit::new(4);
        let start = Nanos::from_secs(1);
        assert!(matches!(shortage.hit(0, Idle::None, None, start), Verdict::Again(_)));
        let late = start + limits::SHORTAGE_MAX;
        assert!(matches!(shortage.hit(1, Idle::None, None, late), Verdict::Again(_)));
        assert!(matches!(shortage.hit(0, Idle::None, None, late), Verdict::Again(_)));
        assert_eq!(shortage.hit(0, Idle::None, None, late + limits::SHORTAGE_MAX), Verdict::Fail);
        assert!(!shortage.passed(late));
        assert!(matches!(shortage.hit(0, Idle::None, None, late + limits::SHORTAGE_MAX), Verdict::Again(_)));
    }

    #[test]
    fn a_row_waits_no_longer_than_it_has_time() {
        let mut shortage = AdaptiveLimit::new(4);
        let (start, limit) = (Nanos::from_secs(1), Nanos::from_secs(2));
        let mut hit = |others, limit, now| shortage.hit(others, Idle::None, limit, now);
        assert!(matches!(hit(0, Some(limit), start), Verdict::Again(_)));
        assert!(matches!(hit(0, None, start + limit), Verdict::Again(_)));
        assert_eq!(hit(0, Some(limit), start + limit), Verdict::Fail);
        assert_eq!(hit(0, Some(Nanos::MAX), start + limits::SHORTAGE_MAX), Verdict::Fail);
    }
}
