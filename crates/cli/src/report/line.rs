//! The progress of a run in one line: the same beside a bar and in a log.

use std::time::Duration;

use overlapped_fetch::Progress;
use overlapped_proto::schedule::Held;

use super::figures::{bytes, count, short, span};

/// The time constant of the moving average of the speed.
const SPEED_OVER: Duration = Duration::from_secs(5);

/// The line, with the state of its moving averages: speeds are of the last seconds, not of the whole run.
#[derive(Debug, Default)]
pub(super) struct Line {
    at: Duration,
    rows: u64,
    bytes: u64,
    rows_s: Option<f64>,
    bytes_s: f64,
}

impl Line {
    /// The line for the present progress, in at most `width` columns: the least important parts are left out.
    pub(super) fn text(&mut self, now: &Progress, width: usize) -> String {
        self.measure(now);
        let mut parts = self.parts(now);
        while columns(&parts) > width {
            let least = parts.iter().enumerate().filter(|(_, part)| part.rank > 0);
            let Some((least, _)) = least.min_by_key(|(_, part)| part.rank) else { break };
            let Part { gap, short, .. } = parts.remove(least);
            if let Some(text) = short {
                parts.insert(least, Part { gap, text, rank: 0, short: None });
            }
        }
        parts.iter().enumerate().fold(String::new(), |text, (i, part)| {
            let gap = if i == 0 { "" } else { part.gap };
            text + gap + &part.text
        })
    }

    fn parts(&self, now: &Progress) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut tell = |gap, rank, text: String| parts.push(Part { gap, text, rank, short: None });
        if let Some(share) = self.share(now) {
            tell("  ", 0, format!("{:.1} %", share * 100.0));
        }
        tell("  ", 7, count(now.rows_earlier + now.rows_done));
        tell("  ", 8, format!("{}/s", count(self.rows_s.unwrap_or(0.0) as u64)));
        tell("  ", 3, format!("{}/s", bytes(self.bytes_s)));
        tell(" · ", 0, format!("ok {}", short(now.ok_earlier + now.ok)));
        let [.., redirects, clients, servers] = now.by_class;
        let failed = now.rows_done - now.ok + now.rows_earlier.saturating_sub(now.ok_earlier);
        let other = failed - redirects - clients - servers;
        let classes = [("3xx", redirects), ("4xx", clients), ("5xx", servers), ("err", other)];
        let told: Vec<_> = classes.iter().filter(|(_, n)| *n > 0).collect();
        if failed > 0 {
            let text: Vec<_> = told.iter().map(|(name, n)| format!("{name} {}", short(*n))).collect();
            let one = (told.len() > 1).then(|| format!("err {}", short(failed)));
            let rank = if one.is_some() { 9 } else { 0 };
            parts.push(Part { gap: " ", text: text.join(" "), rank, short: one });
        }
        let mut tell = |rank, text: String| parts.push(Part { gap: " · ", text, rank, short: None });
        tell(2, format!("live {}", count(now.in_flight as u64)));
        if now.hosts > 1 || now.hosts_parked > 0 {
            let text = format!("hosts {}{}", count(now.hosts as u64), parked(now));
            let (rank, short) = match now.hosts_parked {
                0 => (5, None),
                parked => (9, Some(format!("{} parked", short(parked as u64)))),
            };
            parts.push(Part { gap: " · ", text, rank, short });
        }
        let mut tell = |rank, text: String| parts.push(Part { gap: " · ", text, rank, short: None });
        if now.rows_spilled > 0 {
            tell(1, format!("on disk {}", short(now.rows_spilled)));
        }
        if let Some(left) = self.left(now) {
            // The rows of a parked host may take longer than the others, whose speed this is.
            let (rank, more) = if now.hosts_parked > 0 { (10, "+") } else { (0, "") };
            match slowest(now).filter(|(_, time)| *time > left.mul_f64(SLOWER)) {
                None => tell(rank, format!("ETA {}{more}", span(left))),
                Some((host, time)) => {
                    let short = Some(format!("ETA {}{more}", span(time)));
                    let text = format!("ETA {}{more} ({host})", span(time));
                    parts.push(Part { gap: " · ", text, rank: 9, short });
                }
            }
        }
        let mut tell = |rank, text: String| parts.push(Part { gap: " · ", text, rank, short: None });
        if let Some(held) = held(now.held) {
            tell(4, held);
        }
        parts
    }

    /// How much of the list is done, with what an earlier run did, where its length is known.
    pub(super) fn share(&self, now: &Progress) -> Option<f64> {
        let done = (now.rows_earlier + now.rows_done) as f64;
        let all = done + rows_left(now)? as f64;
        Some(if all > 0.0 { done / all } else { 0.0 })
    }

    /// The estimated time to the end. `None` while rows wait for their hosts, whose return cannot be estimated.
    fn left(&self, now: &Progress) -> Option<Duration> {
        if matches!(now.held, Held::Away | Held::Parked | Held::Retry | Held::Network) {
            return None;
        }
        let rows_s = self.rows_s.filter(|rows_s| *rows_s > 0.0)?;
        Duration::try_from_secs_f64(rows_left(now)? as f64 / rows_s).ok()
    }

    fn measure(&mut self, now: &Progress) {
        let passed = now.elapsed.saturating_sub(self.at).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        let rows_s = now.rows_done.saturating_sub(self.rows) as f64 / passed;
        let bytes_s = now.bytes.saturating_sub(self.bytes) as f64 / passed;
        // Exponential moving average: each sample has the weight of the time since the one before; the first is the mean.
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

/// How much longer than all rows at the present speed those of the slowest host take, before it is what is waited for.
const SLOWER: f64 = 1.1;

/// The host that will take longest, and how long: rows that are not read yet are taken to be distributed as those that were.
fn slowest(now: &Progress) -> Option<(&str, Duration)> {
    let slowest = now.slowest_host.as_ref()?;
    let here = now.rows_read.saturating_sub(now.rows_done).max(1) as f64;
    let time = slowest.time.as_secs_f64() * rows_left(now)? as f64 / here;
    Some((&slowest.host, Duration::try_from_secs_f64(time).ok()?))
}

/// A part of the line.
struct Part {
    /// The separator before it, unless it is the first.
    gap: &'static str,
    text: String,
    /// Parts are left out by rising rank; 0 is never left out.
    rank: u8,
    /// The text that replaces it.
    short: Option<String>,
}

fn columns(parts: &[Part]) -> usize {
    let wide = |part: &Part| part.gap.chars().count() + part.text.chars().count();
    let first = parts.first().map_or(0, |part| part.gap.chars().count());
    parts.iter().map(wide).sum::<usize>() - first
}

/// Rows that are to be done yet. Reading runs ahead of fetching.
fn rows_left(now: &Progress) -> Option<u64> {
    Some(now.rows_read.saturating_sub(now.rows_done) + now.rows_unread?)
}

fn parked(now: &Progress) -> String {
    match now.hosts_parked {
        0 => String::new(),
        parked => format!(" ({} parked)", count(parked as u64)),
    }
}

/// The limit that holds a run back, with the flag that sets it, if there is one.
pub(super) fn held(held: Held) -> Option<String> {
    match (held, held.flag()) {
        (Held::Nothing, _) => None,
        (Held::Away, _) => Some("waiting for hosts that are away (--host-down-after)".to_owned()),
        (Held::Adaptive, _) => Some("slowed for hosts that struggle (--no-adaptive turns it off)".to_owned()),
        (_, Some(flag)) => Some(format!("held by {flag}")),
        (Held::Retry, None) => Some("waiting to try again".to_owned()),
        (Held::Network, None) => Some("waiting for the network".to_owned()),
        (_, None) => Some("hosts paused after 429/503".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use overlapped_fetch::SlowestHost;

    use super::*;

    fn progress() -> Progress {
        Progress {
            elapsed: Duration::from_secs(100),
            rows_read: 50_000,
            input_bytes_read: 500_000,
            input_bytes: Some(1_000_000),
            rows_unread: Some(50_000),
            rows_earlier: 0,
            ok_earlier: 0,
            rows_done: 40_000,
            ok: 36_900,
            by_class: [0, 0, 0, 0, 2_100, 41],
            failed: 950,
            bad: 9,
            bytes: 6_100_000_000,
            wire_bytes: 0,
            in_flight: 251,
            hosts: 3_811,
            hosts_parked: 412,
            rows_spilled: 9_000,
            held: Held::RateHost,
            slowest_host: None,
        }
    }

    #[test]
    fn the_host_that_takes_longest_is_waited_for() {
        let slow = |s| {
            let slowest_host = Some(SlowestHost { host: "a.test".to_owned(), time: Duration::from_secs(s) });
            Progress { slowest_host, hosts_parked: 0, ..progress() }
        };
        // A sixth of the rows that are left were read, and its share of the others is the same.
        let text = Line::default().text(&slow(100), 200);
        assert!(text.contains(" · ETA 10m00 (a.test) · held by"), "{text}");
        let text = Line::default().text(&slow(20), 200);
        assert!(text.contains(" · ETA 2m30 · "), "{text}");
        check(&slow(100), 40, "40.0 % · ok 37k err 3.1k · ETA 10m00");
    }

    fn check(now: &Progress, width: usize, expected: &str) {
        let text = Line::default().text(now, width);
        assert_eq!(text, expected);
        assert!(text.chars().count() <= width, "{width}");
    }

    #[test]
    fn everything_that_is_known_is_told() {
        check(
            &progress(),
            160,
            "40.0 %  40,000  400/s  61 MB/s · ok 37k 4xx 2.1k 5xx 41 err 959 · live 251 \
             · hosts 3,811 (412 parked) · on disk 9.0k · ETA 2m30+ · held by --rate-host",
        );
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let now = Progress {
            rows_unread: None,
            hosts: 1,
            hosts_parked: 0,
            rows_spilled: 0,
            held: Held::Nothing,
            ..progress()
        };
        check(&now, 160, "40,000  400/s  61 MB/s · ok 37k 4xx 2.1k 5xx 41 err 959 · live 251");
        let now = Progress { by_class: [0; 6], failed: 0, bad: 0, rows_done: 0, ok: 0, bytes: 0, ..now };
        check(&now, 160, "0  0/s  0 B/s · ok 0 · live 251");
    }

    /// In 40, 80 and 120 columns, the last two with a bar of 13: no word is cut, and what matters stays.
    #[test]
    fn narrow_terminals_show_less() {
        let now = progress();
        check(
            &now,
            120 - 13,
            "40.0 %  40,000  400/s · ok 37k 4xx 2.1k 5xx 41 err 959 · hosts 3,811 (412 parked) · ETA 2m30+",
        );
        check(&now, 80 - 13, "40.0 % · ok 37k err 3.1k · hosts 3,811 (412 parked) · ETA 2m30+");
        let well = Progress { hosts_parked: 0, ..now.clone() };
        check(&well, 80 - 13, "40.0 %  40,000  400/s · ok 37k 4xx 2.1k 5xx 41 err 959 · ETA 2m30");
        check(&now, 55, "40.0 % · ok 37k err 3.1k · 412 parked · ETA 2m30+");
        check(&now, 40, "40.0 % · ok 37k err 3.1k · 412 parked");
        check(&Progress { hosts_parked: 12_345, ..now.clone() }, 39, "40.0 % · ok 37k err 3.1k · 12k parked");
        check(&well, 40, "40.0 % · ok 37k err 3.1k · ETA 2m30");
        let calm = Progress { by_class: [0; 6], failed: 0, bad: 0, ok: 40_000, hosts_parked: 0, ..now };
        check(&calm, 40, "40.0 %  400/s · ok 40k · ETA 2m30");
    }

    #[test]
    fn rows_that_wait_for_their_hosts_have_no_eta() {
        for held in [Held::Away, Held::Parked, Held::Retry, Held::Network] {
            let text = Line::default().text(&Progress { held, ..progress() }, 200);
            assert!(!text.contains("ETA") && text.contains("(412 parked)"), "{text}");
        }
        assert_eq!(super::held(Held::Parked).as_deref(), Some("hosts paused after 429/503"));
        assert!(super::held(Held::Adaptive).is_some_and(|text| !text.contains("held by")));
    }

    #[test]
    fn a_run_that_goes_on_begins_where_the_earlier_one_ended() {
        let now = Progress {
            rows_earlier: 60_000,
            ok_earlier: 59_000,
            rows_read: 10,
            rows_done: 0,
            ok: 0,
            by_class: [0; 6],
            failed: 0,
            bad: 0,
            rows_unread: Some(39_990),
            ..progress()
        };
        let mut line = Line::default();
        assert_eq!(line.share(&now), Some(0.6));
        assert!(line.text(&now, 160).starts_with("60.0 %  60,000  0/s  61 MB/s · ok 59k err 1.0k · "));
        let later = Progress {
            elapsed: Duration::from_secs(200),
            rows_read: 20_000,
            rows_done: 20_000,
            ok: 20_000,
            rows_unread: Some(20_000),
            ..now
        };
        let text = Line::default().text(&later, 160);
        // 100 rows a second in this run, and 20,000 left.
        assert!(text.starts_with("80.0 %  80,000  100/s  ") && text.contains(" · ETA 3m20"), "{text}");
    }

    #[test]
    fn the_speed_is_that_of_the_last_seconds() {
        let mut line = Line::default();
        line.text(&progress(), 160);
        let later = Duration::from_secs(130);
        let text = line.text(&Progress { elapsed: later, ..progress() }, 160);
        assert!(text.contains("  0/s  "), "{text}");
    }
}
