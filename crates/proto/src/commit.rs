//! The commit policy: when results become durable. They are committed in groups, because each fsync costs the disk a
//! rotation or a flash page.

use crate::limits::{COMMIT_BYTES, COMMIT_DELAY, COMMIT_RESULTS};
use crate::time::Nanos;

/// How many results a crash may lose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A group is committed as soon as the one before it is durable. For requests that are expensive to repeat.
    Each,
    /// After a crash, at most about a second of results is fetched again.
    #[default]
    Group,
    /// No state is kept, and nothing can be resumed.
    None,
}

/// The group of results that is not yet durable.
///
/// ```
/// use overlapped_proto::commit::{Commit, Durability, When};
/// use overlapped_proto::limits;
/// use overlapped_proto::time::Nanos;
///
/// let mut open = Commit::new(Durability::Group);
/// assert_eq!(open.when(), When::Never);
/// open.add(10, 5_000, Nanos::from_millis(3));
/// assert_eq!(open.when(), When::At(Nanos::from_millis(3) + limits::COMMIT_DELAY));
/// open.add(limits::COMMIT_RESULTS, 0, Nanos::from_millis(4));
/// assert_eq!(open.when(), When::Now);
/// open.take();
/// assert_eq!(open.when(), When::Never);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    durability: Durability,
    since: Option<Nanos>,
    results: u64,
    bytes: u64,
}

/// When a group is to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Now.
    Now,
    /// At this time, or earlier if the group fills.
    At(Nanos),
    /// The group is empty, or the run is not durable.
    Never,
}

impl Commit {
    /// An empty group.
    #[must_use]
    pub const fn new(durability: Durability) -> Self {
        Self { durability, since: None, results: 0, bytes: 0 }
    }

    /// Adds results to the group; `bytes` is the length of their bodies.
    pub fn add(&mut self, results: u64, bytes: u64, now: Nanos) {
        if results > 0 {
            self.since.get_or_insert(now);
            self.results += results;
            self.bytes += bytes;
        }
    }

    /// When the group is due. To be called again after [`Commit::add`].
    #[must_use]
    pub fn when(&self) -> When {
        match (self.durability, self.since) {
            (Durability::None, _) | (_, None) => When::Never,
            (Durability::Each, Some(_)) => When::Now,
            (Durability::Group, Some(_)) if self.is_full() => When::Now,
            (Durability::Group, Some(since)) => When::At(since + COMMIT_DELAY),
        }
    }

    /// True if the group must be committed before results are added: a crash would lose too many.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.results >= COMMIT_RESULTS || self.bytes >= COMMIT_BYTES
    }

    /// Ends the group, whose commit has begun; results from now on belong to the next one.
    pub fn take(&mut self) {
        *self = Self::new(self.durability);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(durability: Durability, adds: &[(u64, u64, u64)], expected: When) {
        let mut commit = Commit::new(durability);
        for &(results, bytes, ms) in adds {
            commit.add(results, bytes, Nanos::from_millis(ms));
        }
        assert_eq!(commit.when(), expected, "{durability:?} {adds:?}");
    }

    #[test]
    fn a_group_is_due_by_age_number_or_size() {
        let delay = COMMIT_DELAY.0 / 1_000_000;
        check(Durability::Group, &[], When::Never);
        check(Durability::Group, &[(0, 0, 5)], When::Never);
        check(Durability::Group, &[(1, 0, 5), (1, 0, 90)], When::At(Nanos::from_millis(5 + delay)));
        check(Durability::Group, &[(COMMIT_RESULTS - 1, 0, 5), (1, 0, 6)], When::Now);
        check(Durability::Group, &[(1, COMMIT_BYTES, 5)], When::Now);
        check(Durability::Each, &[(1, 0, 5)], When::Now);
        check(Durability::Each, &[], When::Never);
        check(Durability::None, &[(COMMIT_RESULTS, 0, 5)], When::Never);
    }
}
