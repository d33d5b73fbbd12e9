//! An LRU cache: a hash map whose entries are linked in the order of their last use. The caller enforces the capacity, by
//! [`Lru::pop_oldest`], so that it can count bytes as well as entries.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use crate::slab::{List, Slab};

/// An LRU cache of values `V` by key. The caller supplies the hasher: this crate has no random source, and keys may be
/// chosen by an attacker.
///
/// ```
/// use overlapped_proto::lru::Lru;
///
/// let mut cache: Lru<&str, u32, foldhash::fast::FixedState> = Lru::default();
/// cache.insert("older", 1);
/// cache.insert("newer", 2);
/// assert_eq!(cache.get("older"), Some(&1));
/// assert_eq!(cache.pop_oldest(), Some(("newer", 2)));
/// assert_eq!(cache.len(), 1);
/// ```
#[derive(Debug)]
pub struct Lru<K, V, S> {
    index: HashMap<K, u32, S>,
    slab: Slab<(K, V)>,
    /// All entries, the most recently used last.
    order: List,
}

impl<K, V, S: Default> Default for Lru<K, V, S> {
    fn default() -> Self {
        Self { index: HashMap::default(), slab: Slab::new(), order: List::EMPTY }
    }
}

impl<K: Hash + Eq + Clone, V, S: BuildHasher> Lru<K, V, S> {
    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// True if the cache is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.len() == 0
    }

    /// The value of `key`, which becomes the most recently used.
    pub fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = *self.index.get(key)?;
        self.slab.unlink(&mut self.order, at);
        self.slab.push_back(&mut self.order, at);
        Some(&self.slab.get(at).1)
    }

    /// Inserts a value as the most recently used, and returns the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.remove(&key);
        let at = self.slab.insert((key.clone(), value));
        self.slab.push_back(&mut self.order, at);
        self.index.insert(key, at);
        before
    }

    /// Removes the value of `key` and returns it.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.index.remove(key)?;
        self.slab.unlink(&mut self.order, at);
        Some(self.slab.remove(at).1)
    }

    /// Removes the least recently used entry and returns it.
    pub fn pop_oldest(&mut self) -> Option<(K, V)> {
        let at = self.order.front()?;
        self.slab.unlink(&mut self.order, at);
        let (key, value) = self.slab.remove(at);
        self.index.remove(&key);
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use foldhash::fast::FixedState;

    use super::*;

    /// Applies steps such as `i1` (insert 1), `g1` (get it), `r1` (remove it), `p` (pop the oldest), and compares the
    /// order of the remaining entries, the oldest first.
    fn check(steps: &str, expected: &[u32]) {
        let mut cache: Lru<u32, u32, FixedState> = Lru::default();
        for step in steps.split_whitespace() {
            let key = step[1..].parse().unwrap_or(0);
            match &step[..1] {
                "i" => _ = cache.insert(key, key),
                "g" => assert!(cache.get(&key).is_none_or(|value| *value == key)),
                "r" => _ = cache.remove(&key),
                "p" => _ = cache.pop_oldest(),
                other => panic!("{other}"),
            }
        }
        assert_eq!((cache.len(), cache.is_empty()), (expected.len(), expected.is_empty()), "{steps}");
        let left: Vec<u32> = std::iter::from_fn(|| cache.pop_oldest()).map(|(key, _)| key).collect();
        assert_eq!(left, expected, "{steps}");
        assert!(cache.index.is_empty(), "{steps}");
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        check("i1 i2 i3", &[1, 2, 3]);
        check("i1 i2 i3 g1", &[2, 3, 1]);
        check("i1 i2 g1 p i3 p", &[3]);
        check("i1 i2 i1", &[2, 1]);
        check("i1 i2 i3 r2 r9 g9", &[1, 3]);
        check("p i1 r1 p", &[]);
    }
}
