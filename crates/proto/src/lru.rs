//! Values by key, in the order in which they were last asked for: of a cache that is full, the one goes that nobody has
//! wanted for longest. How much is too much the caller knows.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use crate::slab::{List, Slab};

/// Values `V` by key. The hasher is the caller's: here is no random source, and strangers may choose the keys.
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
    /// All of them, the one that was asked for last at the end.
    order: List,
}

impl<K, V, S: Default> Default for Lru<K, V, S> {
    fn default() -> Self {
        Self { index: HashMap::default(), slab: Slab::new(), order: List::EMPTY }
    }
}

impl<K: Hash + Eq + Clone, V, S: BuildHasher> Lru<K, V, S> {
    /// Values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.len() == 0
    }

    /// The value of `key`, which is now the last that was asked for.
    pub fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = *self.index.get(key)?;
        self.slab.unlink(&mut self.order, at);
        self.slab.push_back(&mut self.order, at);
        Some(&self.slab.get(at).1)
    }

    /// Puts a value in, as the last that was asked for; comes back with what stood there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.remove(&key);
        let at = self.slab.insert((key.clone(), value));
        self.slab.push_back(&mut self.order, at);
        self.index.insert(key, at);
        before
    }

    /// Takes a value out.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.index.remove(key)?;
        self.slab.unlink(&mut self.order, at);
        Some(self.slab.remove(at).1)
    }

    /// Takes out the one that was not asked for for longest.
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

    /// Applies steps such as `i1` (insert 1), `g1` (ask for it), `r1` (remove it), `p` (pop the oldest), and compares the
    /// order of what is left, the oldest first.
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
    fn what_is_asked_for_stays() {
        check("i1 i2 i3", &[1, 2, 3]);
        check("i1 i2 i3 g1", &[2, 3, 1]);
        check("i1 i2 g1 p i3 p", &[3]);
        check("i1 i2 i1", &[2, 1]);
        check("i1 i2 i3 r2 r9 g9", &[1, 3]);
        check("p i1 r1 p", &[]);
    }
}
