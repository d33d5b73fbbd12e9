//! The number of a shard, as a type of its own, and one value for each shard.

use std::fmt;

use overlapped_proto::job::HostKey;

/// The number of a shard of this run, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardId(usize);

impl ShardId {
    /// The shard that owns a host.
    pub(crate) fn of(host: HostKey, shards: usize) -> Self {
        Self(host.thread(shards))
    }

    /// Every shard of a run, in order.
    pub(crate) fn all(shards: usize) -> impl Iterator<Item = Self> {
        (0..shards).map(Self)
    }

    /// The number as 64 bits, to be mixed into a seed.
    pub(crate) fn bits(self) -> u64 {
        self.0 as u64
    }

    #[cfg(all(test, model))]
    pub(crate) fn numbered(number: usize) -> Self {
        Self(number)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One value for each shard.
#[derive(Debug)]
pub(crate) struct PerShard<T>(Box<[T]>);

impl<T> PerShard<T> {
    pub(crate) fn new(shards: usize, value: impl FnMut() -> T) -> Self {
        Self(std::iter::repeat_with(value).take(shards).collect())
    }

    /// The number of shards.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value of a shard.
    ///
    /// # Panics
    ///
    /// The shard belongs to a run with more shards.
    pub(crate) fn get(&self, shard: ShardId) -> &T {
        self.0.get(shard.0).expect("a shard's number is below their count")
    }

    /// As [`PerShard::get`].
    pub(crate) fn get_mut(&mut self, shard: ShardId) -> &mut T {
        self.0.get_mut(shard.0).expect("a shard's number is below their count")
    }

    /// The values, in the order of the shards.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// The values with their shards.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (ShardId, &T)> {
        self.0.iter().enumerate().map(|(number, value)| (ShardId(number), value))
    }

    /// The values with their shards.
    pub(crate) fn entries_mut(&mut self) -> impl Iterator<Item = (ShardId, &mut T)> {
        self.0.iter_mut().enumerate().map(|(number, value)| (ShardId(number), value))
    }
}
