//! Bars from records: from a finished row of a run, and from a line of its NDJSON.

use overlapped_proto::record::Record;
use overlapped_proto::time::Nanos;
use serde::Deserialize;

use super::{Bar, Phase};

/// The fields of a record that a picture needs. Everything else of the line, bodies too, is skipped unread.
#[derive(Debug, Deserialize)]
struct Line {
    url: String,
    status: Option<u16>,
    ok: bool,
    error: Option<String>,
    attempts: u16,
    started: Option<String>,
    blocked_ms: Option<f64>,
    dns_ms: Option<f64>,
    connect_ms: Option<f64>,
    tls_ms: Option<f64>,
    send_ms: Option<f64>,
    wait_ms: Option<f64>,
    receive_ms: Option<f64>,
    elapsed_ms: Option<f64>,
}

/// What a row tells of its time, whoever tells it: in seconds.
struct Times {
    started: Option<f64>,
    attempts: u16,
    /// Of the last attempt, as in [`Phase::ALL`] without what it does not know: blocked, dns, connect, tls, send,
    /// wait, receive.
    last: [Option<f64>; 7],
    elapsed: Option<f64>,
}

impl Bar {
    /// A finished row; `None` if it was never started.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let t = &record.timing;
        let error = record.failure.as_ref().map(|failure| failure.kind.name());
        let times = Times {
            started: record.started_unix_us.map(|us| us as f64 / 1e6),
            attempts: record.attempts,
            last: [t.blocked, t.dns, t.connect, t.tls, t.send, t.wait, t.receive]
                .map(|span| span.map(Nanos::as_secs_f64)),
            elapsed: Some(record.elapsed.as_secs_f64()),
        };
        Self::timed(&record.url, &result(record.status, error), record.ok, &times)
    }

    /// A record as NDJSON tells it; `Ok(None)` if its row was never started.
    ///
    /// # Errors
    ///
    /// What is wrong with the line: it is not a record.
    pub(crate) fn of_line(line: &[u8]) -> Result<Option<Self>, String> {
        let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let started = match &line.started {
            Some(text) => Some(unix_seconds(text).ok_or_else(|| format!("`{text}` is no RFC 3339 time"))?),
            None => None,
        };
        let ms = |ms: Option<f64>| ms.map(|ms| ms / 1e3);
        let (a, b) =
            ([line.blocked_ms, line.dns_ms, line.connect_ms, line.tls_ms], [line.send_ms, line.wait_ms]);
        let [blocked, dns, connect, tls] = a.map(ms);
        let [send, wait] = b.map(ms);
        let times = Times {
            started,
            attempts: line.attempts,
            last: [blocked, dns, connect, tls, send, wait, ms(line.receive_ms)],
            elapsed: ms(line.elapsed_ms),
        };
        Ok(Self::timed(&line.url, &result(line.status, line.error.as_deref()), line.ok, &times))
    }

    fn timed(url: &str, result: &str, ok: bool, times: &Times) -> Option<Self> {
        let [blocked, rest @ ..] = times.last.map(Option::unwrap_or_default);
        let mut bar = Self::new(url, result, ok, times.started?);
        let phases = [Phase::Dns, Phase::Connect, Phase::Tls, Phase::Send, Phase::Wait, Phase::Receive];
        for (phase, seconds) in phases.into_iter().zip(rest) {
            bar.set(phase, seconds);
        }
        if times.attempts > 1 {
            // `started` is the first attempt's, the phases are the last one's: what lies between is earlier.
            let last: f64 = rest.iter().sum();
            bar.set(Phase::Earlier, times.elapsed.unwrap_or(last) - last);
        } else {
            bar.set(Phase::Blocked, blocked);
            bar.start_s -= blocked;
        }
        Some(bar)
    }
}

fn result(status: Option<u16>, error: Option<&str>) -> String {
    match (error, status) {
        (None | Some("status"), Some(status)) => status.to_string(),
        (Some(error), _) => error.to_owned(),
        (None, None) => "-".to_owned(),
    }
}

/// Seconds since 1970 of an RFC 3339 time in UTC, as records write it.
fn unix_seconds(text: &str) -> Option<f64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days of the proleptic Gregorian calendar, with years that begin in March, so that a leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days as f64 * 86_400.0 + hours * 3_600.0 + minutes * 60.0 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_unix_times() {
        for (text, expected) in [
            ("1970-01-01T00:00:00.000000Z", Some(0.0)),
            ("2000-02-29T12:00:00.5Z", Some(951_825_600.5)),
            ("2026-11-22T13:43:46.000001Z", Some(1_795_355_026.000_001)),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-22 13:43:46Z", None),
            ("2026-11-22T13:43:46+01:00", None),
            ("", None),
        ] {
            assert_eq!(unix_seconds(text), expected, "{text}");
        }
    }

    fn bar(line: &str) -> Bar {
        Bar::of_line(line.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn one_attempt_begins_with_its_wait_for_a_place() {
        let bar = bar(
            r#"{"url":"http://a/","status":200,"ok":true,"attempts":1,"started":"1970-01-01T00:00:01Z",
                "blocked_ms":500,"dns_ms":null,"wait_ms":250,"receive_ms":250,"elapsed_ms":1000,"body":"x"}"#,
        );
        assert_eq!((bar.start_s, bar.active_s(), bar.end_s()), (0.5, 1.0, 1.5));
        assert_eq!(bar.result, "200");
    }

    #[test]
    fn further_attempts_are_told_apart_from_the_last() {
        let bar = bar(r#"{"url":"http://a/","status":503,"ok":false,"error":"status","attempts":3,
                "started":"1970-01-01T00:00:01Z","blocked_ms":500,"wait_ms":250,"elapsed_ms":2000}"#);
        assert_eq!((bar.start_s, bar.end_s()), (1.0, 3.0));
        assert_eq!(bar.length(Phase::Earlier), 1.75);
        assert_eq!(bar.result, "503");
    }

    #[test]
    fn a_row_that_never_started_has_no_bar() {
        let line = r#"{"url":"nonsense","ok":false,"error":"input.url","attempts":0}"#;
        assert!(Bar::of_line(line.as_bytes()).unwrap().is_none());
        assert!(Bar::of_line(b"{}").is_err());
        assert!(Bar::of_line(b"not json").is_err());
    }
}
