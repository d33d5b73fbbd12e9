//! The line that says how far a run is: the same on a bar and in a log.

use std::fmt::Write as _;
use std::time::Duration;

use overlapped_fetch::Progress;
use overlapped_proto::schedule::Held;

use super::figures::{bytes, count, short, span};

/// How much of the past the speed is taken from: long enough to read, short enough to follow.
const SPEED_OVER: Duration = Duration::from_secs(5);

/// The line, and what it remembers of the last time: speeds are of the last seconds, not of the whole run.
#[derive(Debug, Default)]
pub(super) struct Line {
    at: Duration,
    rows: u64,
    bytes: u64,
    rows_s: Option<f64>,
    bytes_s: f64,
}

impl Line {
    /// What there is to say now.
    pub(super) fn text(&mut self, now: &Progress) -> String {
        self.measure(now);
        let share = self.share(now);
        let mut text = String::new();
        if let Some(share) = share {
            let _ = write!(text, "{:.1} %  ", share * 100.0);
        }
        let rows_s = self.rows_s.unwrap_or(0.0);
        let _ =
            write!(text, "{}  {}/s  {}/s", count(now.rows_done), count(rows_s as u64), bytes(self.bytes_s));
        let _ = write!(text, " · ok {}", short(now.ok));
        let [.., redirects, clients, servers] = now.by_class;
        for (name, n) in [("3xx", redirects), ("4xx", clients), ("5xx", servers), ("err", now.errors)] {
            if n > 0 {
                let _ = write!(text, " {name} {}", short(n));
            }
        }
        let _ = write!(text, " · live {}", count(now.in_flight as u64));
        if now.hosts > 1 || now.hosts_parked > 0 {
            let _ = write!(text, " · hosts {}", count(now.hosts as u64));
        }
        if now.hosts_parked > 0 {
            let _ = write!(text, " ({} parked)", count(now.hosts_parked as u64));
        }
        if now.rows_spilled > 0 {
            let _ = write!(text, " · on disk {}", short(now.rows_spilled));
        }
        if let Some(left) = self.left(now) {
            let _ = write!(text, " · ETA {}", span(left));
        }
        if let Some(held) = held(now.held) {
            let _ = write!(text, " · {held}");
        }
        text
    }

    /// How much of the list is done, where its length is known. Reading runs ahead of fetching, so bytes read count
    /// only as far as their rows are done.
    pub(super) fn share(&self, now: &Progress) -> Option<f64> {
        let total = now.input_bytes.filter(|bytes| *bytes > 0)?;
        if now.rows_read == 0 {
            return Some(0.0);
        }
        let read = now.input_bytes_read as f64 / total as f64;
        Some((read * now.rows_done as f64 / now.rows_read as f64).min(1.0))
    }

    fn left(&self, now: &Progress) -> Option<Duration> {
        let share = self.share(now).filter(|share| *share > 0.0)?;
        let rows_left = now.rows_done as f64 / share - now.rows_done as f64;
        Duration::try_from_secs_f64(rows_left / self.rows_s.filter(|rows_s| *rows_s > 0.0)?).ok()
    }

    fn measure(&mut self, now: &Progress) {
        let passed = now.elapsed.saturating_sub(self.at).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        let rows_s = now.rows_done.saturating_sub(self.rows) as f64 / passed;
        let bytes_s = now.bytes.saturating_sub(self.bytes) as f64 / passed;
        // Each look weighs by the time it stands for; the first one is all there is.
        let weight = 1.0 - (-passed / SPEED_OVER.as_secs_f64()).exp();
        match &mut self.rows_s {
            Some(mean) => {
                *mean += (rows_s - *mean) * weight;
                self.bytes_s += (bytes_s - self.bytes_s) * weight;
            }
            none => {
                *none = Some(rows_s);
                self.bytes_s = bytes_s;
            }
        }
        (self.at, self.rows, self.bytes) = (now.elapsed, now.rows_done, now.bytes);
    }
}

/// What holds a run back, in words that name the flag, if one does.
pub(super) fn held(held: Held) -> Option<String> {
    match (held, held.flag()) {
        (Held::Nothing, _) => None,
        (_, Some(flag)) => Some(format!("held by {flag}")),
        (Held::Retry, None) => Some("waiting to try again".to_owned()),
        (_, None) => Some("hosts asked for a pause".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress {
            elapsed: Duration::from_secs(100),
            rows_read: 50_000,
            input_bytes_read: 500_000,
            input_bytes: Some(1_000_000),
            rows_done: 40_000,
            ok: 36_900,
            by_class: [0, 0, 36_900, 0, 2_100, 41],
            errors: 959,
            bytes: 6_100_000_000,
            wire_bytes: 0,
            in_flight: 251,
            hosts: 3_811,
            hosts_parked: 412,
            rows_spilled: 9_000,
            held: Held::RateHost,
        }
    }

    fn check(now: &Progress, expected: &str) {
        assert_eq!(Line::default().text(now), expected);
    }

    #[test]
    fn everything_that_is_known_is_told() {
        check(
            &progress(),
            "40.0 %  40,000  400/s  61 MB/s · ok 37k 4xx 2.1k 5xx 41 err 959 · live 251 \
             · hosts 3,811 (412 parked) · on disk 9.0k · ETA 2m30 · held by --rate-host",
        );
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let now = Progress {
            input_bytes: None,
            hosts: 1,
            hosts_parked: 0,
            rows_spilled: 0,
            held: Held::Nothing,
            ..progress()
        };
        check(&now, "40,000  400/s  61 MB/s · ok 37k 4xx 2.1k 5xx 41 err 959 · live 251");
        let now = Progress { by_class: [0; 6], errors: 0, rows_done: 0, ok: 0, bytes: 0, ..now };
        check(&now, "0  0/s  0 B/s · ok 0 · live 251");
    }

    #[test]
    fn the_speed_is_that_of_the_last_seconds() {
        let mut line = Line::default();
        line.text(&progress());
        let later = Duration::from_secs(130);
        let text = line.text(&Progress { elapsed: later, ..progress() });
        assert!(text.contains("  0/s  "), "{text}");
    }
}
