//! Converts results to bars.

use overlapped_proto::record::Record;

use super::{Bar, Phase};
use crate::results::Entry;

/// The least time of an earlier attempt, so that each is drawn.
const ATTEMPT_S: f64 = 1e-6;

/// Makes bars of results, in the order in which they are read.
///
/// A record has the start of its first attempt, the phases of its last one, and the time from the moment the row was first ready until
/// it was done. How long the row waited before its first attempt is not in it, so for a row of several attempts the time between the
/// start and the last attempt is not known either. Two things are: its redirects and the wait for its last attempt were in it, and the
/// row was not ready before the first rows of the run. The segment [`Phase::Earlier`] is as long as these demand, and may have been
/// longer; it is exact in a run whose rows were all ready when it began.
#[derive(Default)]
pub(crate) struct Bars {
    /// When the first row that was asked once was ready.
    first_ready_s: Option<f64>,
}

impl Bars {
    /// The bar of a result; `None` if its row was never started, or its start is unknown.
    pub(crate) fn bar(&mut self, entry: &Entry) -> Option<Bar> {
        self.measured(entry).map(|bar| bar.labelled(entry))
    }

    /// The same without texts: to escape them takes longer than all else, and of most rows of a long run only the times count.
    pub(crate) fn measured(&mut self, entry: &Entry) -> Option<Bar> {
        let [blocked, rest @ ..] = entry.phases_s.map(Option::unwrap_or_default);
        let started_s = entry.started_s?;
        let mut bar = Bar::new(entry.row, "", "", entry.ok, started_s);
        let phases = [Phase::Dns, Phase::Connect, Phase::Tls, Phase::Send, Phase::Wait, Phase::Receive];
        for (phase, seconds) in phases.into_iter().zip(rest) {
            bar.set(phase, seconds);
        }
        if entry.attempts > 1 {
            let known = (entry.chain_s + blocked).max(ATTEMPT_S);
            bar.set(Phase::Earlier, known.max(self.until_done_s(entry) - rest.iter().sum::<f64>()));
        } else {
            bar.set(Phase::Blocked, blocked);
            bar.start_s -= bar.length(Phase::Blocked);
            self.first_ready_s = Some(self.first_ready_s.map_or(bar.start_s, |s| s.min(bar.start_s)));
        }
        Some(bar)
    }

    /// From the start of a row until it was done, at the least.
    fn until_done_s(&self, entry: &Entry) -> f64 {
        match (self.first_ready_s, entry.started_s, entry.elapsed_s) {
            (Some(ready_s), Some(started_s), Some(elapsed_s)) if ready_s <= started_s => {
                ready_s + elapsed_s - started_s
            }
            (..) => 0.0,
        }
    }
}

impl Bar {
    /// A finished row by itself; `None` if it was never started.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        Bars::default().bar(&Entry::of(record))
    }

    /// With the texts of its result.
    pub(crate) fn labelled(self, entry: &Entry) -> Self {
        let Self { label, result, .. } = Self::new(entry.row, &entry.url, &entry.result(), entry.ok, 0.0);
        Self { label, result, ..self }
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

    fn bar(entry: &Entry) -> Option<Bar> {
        Bars::default().bar(entry)
    }

    #[test]
    fn one_attempt_begins_with_its_wait_for_a_place() {
        let bar = bar(&entry(1, 1.0)).unwrap();
        assert_eq!((bar.start_s, bar.active_s(), bar.end_s()), (0.5, 1.0, 1.5));
        assert_eq!((bar.result.as_str(), bar.is_at_least()), ("503", false));
    }

    /// Its wait before the first attempt, which is in the time in all, was drawn behind the start.
    #[test]
    fn the_first_wait_of_a_retried_row_is_not_drawn_as_attempts() {
        let mut bars = Bars::default();
        // The run began at 0.5. The other row was ready at some time from then on, was tried at 10, and was done 12 s after it was ready.
        bars.bar(&entry(1, 1.0)).unwrap();
        let retried = Entry { started_s: Some(10.0), ..entry(3, 12.0) };
        let bar = bars.bar(&retried).unwrap();
        assert_eq!((bar.start_s, bar.end_s(), bar.is_at_least()), (10.0, 12.5, true));
        // Of a row that was done within less than that since the run began nothing is known but the wait of its last attempt.
        let bar = bars.bar(&Entry { elapsed_s: Some(2.0), ..retried.clone() }).unwrap();
        assert_eq!((bar.start_s, bar.length(Phase::Earlier), bar.end_s()), (10.0, 0.5, 11.0));
        // Nor is more known of a row by itself, or of one that began before all others.
        for (bars, started_s) in [(&mut Bars::default(), 10.0), (&mut bars, 0.25)] {
            let bar = bars.bar(&Entry { started_s: Some(started_s), ..retried.clone() }).unwrap();
            assert_eq!((bar.start_s, bar.length(Phase::Earlier)), (started_s, 0.5));
        }
    }

    #[test]
    fn redirects_are_as_long_as_they_were() {
        let redirected = Entry { redirects: 2, chain_s: 0.25, ..entry(3, 9.0) };
        let bar = bar(&redirected).unwrap();
        assert_eq!((bar.start_s, bar.end_s()), (1.0, 2.25));
    }

    #[test]
    fn a_row_that_never_started_has_no_bar() {
        assert!(bar(&Entry { started_s: None, ..entry(0, 0.0) }).is_none());
    }

    #[test]
    fn what_cannot_be_a_length_is_none() {
        let mut bars = Bars::default();
        bars.bar(&entry(1, 1.0)).unwrap();
        for elapsed_s in [1e300, f64::INFINITY, f64::NAN, -1e300] {
            let huge = Entry { started_s: Some(253_402_300_799.0), ..entry(2, elapsed_s) };
            assert!(bars.bar(&huge).unwrap().end_s().is_finite());
        }
    }
}
