//! An LRU cache whose values are fetched single-flight: of concurrent requests for a key one starts the fetch, and the
//! others wait for its result. Failures are not cached.

use std::hash::{Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::Shared;
use overlapped_proto::lru::Lru;
use overlapped_proto::time::Nanos;

/// A cache whose values are fetched by futures `F`. Threads share it if these can be sent. A value counts with its `weight`;
/// the least recently used entries are evicted above a bound.
pub(crate) struct SingleFlight<K, V, F: Future> {
    cache: Mutex<Cache<K, V, F>>,
    bounds: Bounds,
    weight: fn(&V) -> usize,
}

/// What a cache may hold. A single value may be heavier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) entries_max: usize,
    pub(crate) weight_max: usize,
    /// How long a value is valid.
    pub(crate) ttl: Nanos,
}

struct Cache<K, V, F: Future> {
    entries: Lru<K, Entry<V, F>, RandomState>,
    weight: usize,
}

enum Entry<V, F: Future> {
    Known {
        value: V,
        weight: usize,
        until: Nanos,
    },
    /// A fetch that is under way; a clone waits for the same result.
    Pending(Shared<F>),
}

impl<K: Hash + Eq + Clone, V: Clone, E: Clone, F: Future<Output = Result<V, E>>> SingleFlight<K, V, F> {
    pub(crate) fn new(bounds: Bounds, weight: fn(&V) -> usize) -> Self {
        Self { cache: Mutex::new(Cache { entries: Lru::default(), weight: 0 }), bounds, weight }
    }

    /// The cached value, or else the fetch to wait for, which `fetch` starts if there is none. After waiting, the caller
    /// passes the result to [`SingleFlight::learn`].
    pub(crate) fn get(&self, key: &K, now: Nanos, fetch: impl FnOnce() -> F) -> Result<V, Shared<F>> {
        let mut cache = self.lock();
        match cache.entries.get(key) {
            Some(Entry::Known { value, until, .. }) if now < *until => return Ok(value.clone()),
            Some(Entry::Pending(flight)) => return Err(flight.clone()),
            Some(Entry::Known { .. }) | None => {}
        }
        let flight = fetch().shared();
        cache.insert(key, Entry::Pending(flight.clone()), self.bounds);
        Err(flight)
    }

    /// Replaces a pending fetch by its result. True for the first waiter that calls it.
    pub(crate) fn learn(&self, key: &K, result: &Result<V, E>, now: Nanos) -> bool {
        let mut cache = self.lock();
        if !matches!(cache.entries.get(key), Some(Entry::Pending(_))) {
            return false;
        }
        match result {
            Ok(value) => {
                let (weight, until) = ((self.weight)(value), now + self.bounds.ttl);
                cache.insert(key, Entry::Known { value: value.clone(), weight, until }, self.bounds);
            }
            Err(_) => cache.forget(key),
        }
        true
    }

    /// No code of a caller panics under the lock, so a poisoned cache is whole.
    fn lock(&self) -> MutexGuard<'_, Cache<K, V, F>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone, V, F: Future> Cache<K, V, F> {
    fn insert(&mut self, key: &K, entry: Entry<V, F>, bounds: Bounds) {
        self.weight += entry.weight();
        let before = self.entries.insert(key.clone(), entry);
        self.weight -= before.map_or(0, |entry| entry.weight());
        while self.entries.len() > 1
            && (self.entries.len() > bounds.entries_max || self.weight > bounds.weight_max)
        {
            let evicted = self.entries.pop_oldest();
            self.weight -= evicted.map_or(0, |(_, entry)| entry.weight());
        }
    }

    fn forget(&mut self, key: &K) {
        let before = self.entries.remove(key);
        self.weight -= before.map_or(0, |entry| entry.weight());
    }
}

impl<V, F: Future> Entry<V, F> {
    fn weight(&self) -> usize {
        match self {
            Self::Pending(_) => 0,
            Self::Known { weight, .. } => *weight,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;
    use std::rc::Rc;

    use futures_util::future::LocalBoxFuture;

    use super::*;

    const NOW: Nanos = Nanos(5);
    const BOUNDS: Bounds = Bounds { entries_max: 3, weight_max: 100, ttl: Nanos(10) };

    type Weights = SingleFlight<u32, usize, LocalBoxFuture<'static, Result<usize, &'static str>>>;

    fn cache() -> Weights {
        SingleFlight::new(BOUNDS, |weight| *weight)
    }

    fn keep(cache: &Weights, key: u32, weight: usize) {
        let result = Ok(weight);
        assert!(cache.get(&key, NOW, || ready(Ok(weight)).boxed_local()).is_err(), "it is fetched");
        assert!(cache.learn(&key, &result, NOW));
    }

    fn is_known(cache: &Weights, key: u32, now: Nanos) -> bool {
        cache.get(&key, now, || ready(Err("fetched again")).boxed_local()).is_ok()
    }

    #[test]
    fn concurrent_requests_share_one_fetch() {
        let (cache, fetches) = (cache(), Rc::new(Cell::new(0)));
        let fetch = || {
            let fetches = Rc::clone(&fetches);
            async move {
                fetches.set(fetches.get() + 1);
                Ok(7)
            }
            .boxed_local()
        };
        let flights = [(); 3].map(|()| cache.get(&1, NOW, fetch).expect_err("it is not known yet"));
        let results = flights.map(overlapped::block_on);
        assert_eq!((results, fetches.get()), ([Ok(7); 3], 1));
        let first = results.map(|result| cache.learn(&1, &result, NOW));
        assert_eq!(first, [true, false, false]);
        assert_eq!(cache.get(&1, NOW, fetch).ok(), Some(7));
        assert_eq!(fetches.get(), 1);
    }

    #[test]
    fn a_failure_is_not_kept_and_a_value_expires() {
        let cache = cache();
        assert!(cache.get(&1, NOW, || ready(Err("planted")).boxed_local()).is_err(), "it is fetched");
        assert!(cache.learn(&1, &Err("planted"), NOW));
        keep(&cache, 1, 1);
        assert!(is_known(&cache, 1, Nanos(14)));
        assert!(!is_known(&cache, 1, Nanos(15)));
    }

    #[test]
    fn the_least_recently_used_is_evicted_above_the_number_of_entries() {
        let cache = cache();
        keep(&cache, 0, 1);
        for key in 1..10 {
            keep(&cache, key, 1);
            assert!(is_known(&cache, 0, NOW), "gone after {key} others");
        }
        assert_eq!(cache.lock().entries.len(), BOUNDS.entries_max);
        assert!(!is_known(&cache, 1, NOW));
    }

    #[test]
    fn and_above_the_weight_but_one_value_may_be_heavier() {
        let cache = cache();
        for (key, weight) in [(1, 60), (2, 40), (3, 1), (4, 200)] {
            keep(&cache, key, weight);
            let cache = cache.lock();
            assert!(cache.weight <= BOUNDS.weight_max || cache.entries.len() == 1);
        }
        assert_eq!(cache.lock().weight, 200);
        cache.lock().forget(&4);
        let cache = cache.lock();
        assert_eq!((cache.entries.len(), cache.weight), (0, 0));
    }
}
