//! Splits a list over machines: which shard a row is in, and in which order the rows of a shard stand.
//!
//! A host is in one shard, so that the limits of the one machine that fetches it are those of the host. A host that is too
//! large for that may be spread over several shards, each of which has its share of the limits.

use crate::cookie::site;
use crate::job::HostKey;

/// What the rows of one shard have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// The host.
    #[default]
    Host,
    /// The registrable domain of the host, by the public suffix list; of an address, the address.
    Domain,
}

impl Key {
    /// Its name in a plan.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Domain => "domain",
        }
    }

    /// The key of a host.
    #[must_use]
    pub fn of(self, host: &str) -> &str {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Host => host,
            Self::Domain => site(host),
        }
    }
}

/// Assigns rows to shards. For whole hosts it is the assignment of `--shard K/N`.
///
/// ```
/// use overlapped_proto::job::HostKey;
/// use overlapped_proto::partition::{Key, Partition};
///
/// let mut partition = Partition::new(16, Key::Domain, &[("big.example".into(), 4)]);
/// assert_eq!(partition.shard(0, Some("a.b.test")), HostKey::new("b.test").shard(16) as u32);
/// let shards: Vec<u32> = (0..4).map(|row| partition.shard(row, Some("www.big.example"))).collect();
/// assert_eq!(shards.windows(2).filter(|pair| (pair[0] + 1) % 16 == pair[1]).count(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct Partition {
    of: u32,
    key: Key,
    splits: Vec<Split>,
}

#[derive(Clone, Debug)]
struct Split {
    host: HostKey,
    parts: u32,
    /// Its rows so far.
    rows: u64,
}

impl Partition {
    /// A partition into `of` shards. Each of `splits` is a key that is spread over so many of them.
    #[must_use]
    pub fn new(of: u32, key: Key, splits: &[(Box<str>, u32)]) -> Self {
        let split = |(name, parts): &(Box<str>, u32)| Split {
            host: HostKey::new(key.of(name)),
            parts: (*parts).clamp(1, of.max(1)),
            rows: 0,
        };
        Self { of: of.max(1), key, splits: splits.iter().map(split).collect() }
    }

    /// The shard of the next row, from its number and its host. A bad row has no host, and is assigned by its number.
    pub fn shard(&mut self, row: u64, host: Option<&str>) -> u32 {
        let key = host.map_or(HostKey(row), |host| HostKey::new(self.key.of(host)));
        let shard = (key.0 % u64::from(self.of)) as u32;
        let is_split = |split: &&mut Split| host.is_some() && split.host == key;
        let Some(split) = self.splits.iter_mut().find(is_split) else { return shard };
        let part = (split.rows % u64::from(split.parts)) as u32;
        split.rows += 1;
        (shard + part) % self.of
    }

    /// How many rows each key had that is spread, in the order in which they were given.
    #[must_use]
    pub fn split_rows(&self) -> Vec<u64> {
        self.splits.iter().map(|split| split.rows).collect()
    }
}

/// The order in which rows stand that have these keys: each key's rows in their order, spread evenly over all. So a host
/// with many rows is busy from the beginning to the end, and small hosts lie between its rows.
///
/// ```
/// use overlapped_proto::partition::interleaved;
///
/// assert_eq!(interleaved(&[1, 1, 1, 1, 2, 2, 3]), [0, 4, 1, 6, 2, 5, 3]);
/// ```
#[must_use]
pub fn interleaved(keys: &[u32]) -> Vec<u32> {
    let mut by_key: Vec<(u32, u32)> = keys.iter().copied().zip(0..).collect();
    by_key.sort_unstable();
    let mut places: Vec<(u64, u32)> = Vec::with_capacity(keys.len());
    for rows in by_key.chunk_by(|a, b| a.0 == b.0) {
        let count = rows.len() as u64;
        // The middle of its share, in units of 2^-32: fewer rows than that are in memory.
        let place = |at: u64| ((2 * at + 1) << 31) / count;
        places.extend((0..).zip(rows).map(|(at, (_, row))| (place(at), *row)));
    }
    places.sort_unstable();
    places.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Row, Shard};

    #[test]
    fn whole_hosts_are_where_fetch_has_them() {
        let mut partition = Partition::new(7, Key::Host, &[]);
        for row in 0..1_000 {
            let host = format!("h{row}.test");
            let shard = partition.shard(row, Some(&host));
            assert!(Shard { index: shard, of: 7 }.has(Row(row), Some(HostKey::new(&host))));
            let bad = partition.shard(row, None);
            assert!(Shard { index: bad, of: 7 }.has(Row(row), None));
        }
    }

    #[test]
    fn a_split_host_is_in_as_many_shards_as_asked_for() {
        for (of, parts, expected) in [(16, 4, 4), (3, 8, 3), (1, 2, 1)] {
            let mut partition = Partition::new(of, Key::Host, &[("Big.test".to_lowercase().into(), parts)]);
            let mut rows = vec![0; of as usize];
            (0..1_200).for_each(|row| rows[partition.shard(row, Some("big.test.")) as usize] += 1);
            assert_eq!(rows.iter().filter(|rows| **rows > 0).count(), expected, "{rows:?}");
            assert!(rows.iter().all(|rows| *rows == 0 || *rows == 1_200 / expected));
        }
    }

    #[test]
    fn keys() {
        assert_eq!(Key::Host.of("a.b.co.uk."), "a.b.co.uk");
        assert_eq!(Key::Domain.of("a.b.co.uk"), "b.co.uk");
        assert_eq!(Key::Domain.of("127.0.0.1"), "127.0.0.1");
        assert_eq!(Key::Domain.of("[::1]"), "[::1]");
        assert_eq!(Key::Domain.of("localhost"), "localhost");
    }

    #[test]
    fn the_rows_of_a_key_stay_in_order_and_are_spread() {
        let keys: Vec<u32> = (0..1_000).map(|row| if row < 500 { 7 } else { row }).collect();
        let order = interleaved(&keys);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..1_000));
        let big: Vec<u32> = order.iter().copied().filter(|row| *row < 500).collect();
        assert!(big.is_sorted());
        let places: Vec<usize> = (0..).zip(&order).filter(|(_, row)| **row < 500).map(|(at, _)| at).collect();
        assert!(places[0] < 4 && places[499] > 995, "it is busy all the time");
        assert!(interleaved(&[]).is_empty());
    }
}
