//! Converts results to bars.

use overlapped_proto::record::Record;

use super::{Bar, Phase};
use crate::results::Entry;

impl Bar {
    /// A finished row; `None` if it was never started.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        Self::of_entry(&Entry::of(record))
    }

    /// The bar of a result; `None` if its row was never started, or its start time is unknown.
    pub(crate) fn of_entry(entry: &Entry) -> Option<Self> {
        let [blocked, rest @ ..] = entry.phases_s.map(Option::unwrap_or_default);
        let mut bar = Self::new(entry.row, &entry.url, &entry.result(), entry.ok, entry.started_s?);
        let phases = [Phase::Dns, Phase::Connect, Phase::Tls, Phase::Send, Phase::Wait, Phase::Receive];
        for (phase, seconds) in phases.into_iter().zip(rest) {
            bar.set(phase, seconds);
        }
        if entry.attempts > 1 {
            // The start is that of the first attempt, the phases are those of the last: the time between is `Earlier`. The time
            // in all also has the wait before the first attempt, so it is taken only for rows that were retried.
            let last: f64 = rest.iter().sum();
            let earlier = match entry.attempts == entry.redirects.saturating_add(1) {
                true => entry.chain_s + blocked,
                false => entry.elapsed_s.unwrap_or(last) - last,
            };
            bar.set(Phase::Earlier, earlier);
        } else {
            bar.set(Phase::Blocked, blocked);
            bar.start_s -= bar.length(Phase::Blocked);
        }
        Some(bar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(attempts: u16, elapsed_s: f64) -> Entry {
        let phases_s = [Some(0.5), None, None, None, None, Some(0.25), Some(0.25)];
        let (started_s, elapsed_s) = (Some(1.0), Some(elapsed_s));
        Entry { status: Some(503), attempts, started_s, phases_s, elapsed_s, ..Entry::default() }
    }

    #[test]
    fn one_attempt_begins_with_its_wait_for_a_place() {
        let bar = Bar::of_entry(&entry(1, 1.0)).unwrap();
        assert_eq!((bar.start_s, bar.active_s(), bar.end_s()), (0.5, 1.0, 1.5));
        assert_eq!(bar.result, "503");
    }

    #[test]
    fn further_attempts_are_told_apart_from_the_last() {
        let bar = Bar::of_entry(&entry(3, 2.0)).unwrap();
        assert_eq!((bar.start_s, bar.end_s()), (1.0, 3.0));
        assert_eq!(bar.length(Phase::Earlier), 1.5);
    }

    #[test]
    fn redirects_are_as_long_as_they_were() {
        let redirected = Entry { redirects: 2, chain_s: 0.25, ..entry(3, 9.0) };
        let bar = Bar::of_entry(&redirected).unwrap();
        assert_eq!((bar.start_s, bar.end_s()), (1.0, 2.25));
    }

    #[test]
    fn a_row_that_never_started_has_no_bar() {
        assert!(Bar::of_entry(&Entry { started_s: None, ..entry(0, 0.0) }).is_none());
    }

    #[test]
    fn what_cannot_be_a_length_is_none() {
        let huge = Entry { started_s: Some(253_402_300_799.0), elapsed_s: Some(1e300), ..entry(2, 0.0) };
        assert!(Bar::of_entry(&huge).unwrap().end_s().is_finite());
    }
}
