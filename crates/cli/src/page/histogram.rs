//! Durations by size.

use serde_json::{Value, json};

/// Parts of an octave: a bucket is 9 % wide.
const PARTS: f64 = 8.0;
/// From a microsecond to 12 days.
const BUCKETS: usize = 40 * PARTS as usize;

/// How many durations there are of each size, and the largest.
pub(super) struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    max_s: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, max_s: 0.0 }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, s: f64) {
        let bucket = ((s * 1e6).max(1.0).log2() * PARTS) as usize;
        if let Some(count) = self.buckets.get_mut(bucket.min(BUCKETS - 1)) {
            *count += 1;
        }
        self.count += 1;
        self.max_s = self.max_s.max(s);
    }

    /// The least duration that a share of all durations does not exceed, to 9 %.
    fn quantile_s(&self, share: f64) -> f64 {
        let wanted = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return (((bucket + 1) as f64 / PARTS).exp2() / 1e6).min(self.max_s);
            }
        }
        self.max_s
    }

    /// The count, the quantiles and the maximum in milliseconds, and the buckets that hold something with their lower ends;
    /// null if there are none.
    pub(super) fn figures(&self) -> Value {
        if self.count == 0 {
            return Value::Null;
        }
        let ms = |share| millis(self.quantile_s(share));
        let held = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        json!({
            "count": self.count,
            "p50": ms(0.5),
            "p90": ms(0.9),
            "p99": ms(0.99),
            "max": millis(self.max_s),
            "parts": PARTS,
            "buckets": held.map(|(bucket, count)| json!([bucket, count])).collect::<Value>(),
        })
    }
}

/// Milliseconds with three decimals.
pub(super) fn millis(s: f64) -> f64 {
    (s * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|ms| histogram.add(f64::from(ms) / 1e3));
        for (share, exact) in [(0.5, 0.5), (0.9, 0.9), (0.99, 0.99)] {
            let found = histogram.quantile_s(share);
            assert!((exact..exact * 1.1).contains(&found), "{share}: {found}");
        }
        assert_eq!(histogram.quantile_s(1.0), 1.0);
    }

    #[test]
    fn extremes_are_counted() {
        let mut histogram = Histogram::default();
        [0.0, 1e-9, 1e9].into_iter().for_each(|s| histogram.add(s));
        assert_eq!((histogram.count, histogram.max_s, histogram.buckets.iter().sum::<u64>()), (3, 1e9, 3));
        assert!(Histogram::default().figures().is_null());
    }
}
