//! Figures of each host.

use std::collections::HashMap;

use overlapped_proto::sanitize::escape;
use serde_json::{Value, json};

use super::histogram::millis;
use crate::results::Entry;

/// The most hosts that are counted, those that come first; the rows of further ones are counted together.
const COUNTED_MAX: usize = 20_000;
/// The most hosts on the page: those with the most failed rows, and those with the most rows.
const SHOWN_MAX: usize = 1_000;
/// The most characters of a name: it has 253 at most, unless a file was written by hand.
const NAME_CHARS_MAX: usize = 253;
/// Buckets of durations, from 0.1 ms: so many an octave, and in all.
const PARTS: f64 = 4.0;
const BUCKETS: usize = 96;

#[derive(Default)]
struct Host {
    rows: u64,
    failed: u64,
    bytes: u64,
    max_s: f64,
    buckets: Vec<u32>,
}

/// The hosts of a run.
#[derive(Default)]
pub(super) struct Hosts {
    hosts: HashMap<String, Host>,
    others: Host,
}

impl Hosts {
    /// Adds a row, which took `took_s` seconds if it was sent.
    pub(super) fn add(&mut self, entry: &Entry, took_s: Option<f64>) {
        let Some(name) = &entry.host else { return };
        let is_full = self.hosts.len() >= COUNTED_MAX;
        let host = match self.hosts.get_mut(name) {
            Some(host) => host,
            None if is_full => &mut self.others,
            None => self.hosts.entry(name.clone()).or_default(),
        };
        host.rows += 1;
        host.failed += u64::from(!entry.ok);
        host.bytes = host.bytes.saturating_add(entry.bytes);
        let Some(took_s) = took_s else { return };
        host.max_s = host.max_s.max(took_s);
        let bucket = ((took_s * 1e4).max(1.0).log2() * PARTS) as usize;
        let bucket = bucket.min(BUCKETS - 1);
        if host.buckets.len() <= bucket {
            host.buckets.resize(bucket + 1, 0);
        }
        host.buckets.iter_mut().skip(bucket).take(1).for_each(|count| *count = count.saturating_add(1));
    }

    /// Each host: name, rows, failed, bytes, median, 95th percentile and maximum in milliseconds; and what is left out.
    pub(super) fn figures(&self, share: usize) -> Value {
        let mut hosts: Vec<(&String, &Host)> = self.hosts.iter().collect();
        hosts.sort_by(|(a_name, a), (b_name, b)| {
            (b.failed, b.rows).cmp(&(a.failed, a.rows)).then_with(|| a_name.cmp(b_name))
        });
        let most_max = SHOWN_MAX / share / 2;
        let rest = hosts.split_off(hosts.len().min(most_max));
        let mut rest: Vec<_> = rest;
        rest.sort_by(|(a_name, a), (b_name, b)| b.rows.cmp(&a.rows).then_with(|| a_name.cmp(b_name)));
        let left = rest.split_off(rest.len().min(most_max));
        hosts.append(&mut rest);
        json!({
            "list": hosts.iter().map(|(name, host)| host.figures(name)).collect::<Value>(),
            "left_out": left.len(),
            "left_out_rows": left.iter().map(|(_, host)| host.rows).sum::<u64>(),
            "left_out_failed": left.iter().map(|(_, host)| host.failed).sum::<u64>(),
            "counted_max": COUNTED_MAX,
            "pooled_rows": self.others.rows,
            "pooled_failed": self.others.failed,
        })
    }
}

impl Host {
    fn figures(&self, name: &str) -> Value {
        let name: String = escape(name).chars().take(NAME_CHARS_MAX).collect();
        let quantile = |share| self.quantile_s(share).map(millis);
        json!([
            name,
            self.rows,
            self.failed,
            self.bytes,
            quantile(0.5),
            quantile(0.95),
            self.longest_s().map(millis)
        ])
    }

    fn count(&self) -> u64 {
        self.buckets.iter().copied().map(u64::from).sum()
    }

    fn longest_s(&self) -> Option<f64> {
        (self.count() > 0).then_some(self.max_s)
    }

    /// To 19 %: the upper end of its bucket.
    fn quantile_s(&self, share: f64) -> Option<f64> {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        })?;
        Some(((bucket as f64 + 1.0) / PARTS).exp2().min(self.max_s * 1e4) / 1e4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_bounded_and_their_rows_counted() {
        let mut hosts = Hosts::default();
        let rows = COUNTED_MAX + 500;
        for row in 0..rows {
            let entry = Entry {
                host: Some(format!("h{row}.test")),
                ok: row != 700 && row != COUNTED_MAX,
                ..Entry::default()
            };
            hosts.add(&entry, Some(0.01));
        }
        let figures = hosts.figures(1);
        let list = figures["list"].as_array().unwrap();
        assert_eq!(list.len(), SHOWN_MAX);
        assert_eq!(list[0][0], "h700.test");
        assert_eq!(
            (&figures["left_out_rows"], &figures["left_out_failed"]),
            (&json!(COUNTED_MAX - SHOWN_MAX), &json!(0))
        );
        assert_eq!((&figures["pooled_rows"], &figures["pooled_failed"]), (&json!(500), &json!(1)));
        assert_eq!(list[0][4], 10.0);
        assert!(hosts.figures(1_024)["list"].as_array().unwrap().is_empty());
    }
}
