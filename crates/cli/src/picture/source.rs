//! Converts records to bars: a finished row of a run, or a line of NDJSON.

use overlapped_proto::calendar::days_since_1970;
use overlapped_proto::record::Record;
use overlapped_proto::time::Nanos;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{Bar, Phase};

/// The fields of a record that a picture needs; all others, such as bodies, are skipped. Except for the URL each may be
/// missing or have another type, and is unknown then.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    url: String,
    #[serde(borrow, default)]
    row: Field<'a>,
    #[serde(borrow, default)]
    status: Field<'a>,
    #[serde(borrow, default)]
    ok: Field<'a>,
    #[serde(borrow, default)]
    error: Field<'a>,
    #[serde(borrow, default)]
    attempts: Field<'a>,
    #[serde(borrow, default)]
    started: Field<'a>,
    #[serde(borrow, default)]
    blocked_ms: Field<'a>,
    #[serde(borrow, default)]
    dns_ms: Field<'a>,
    #[serde(borrow, default)]
    connect_ms: Field<'a>,
    #[serde(borrow, default)]
    tls_ms: Field<'a>,
    #[serde(borrow, default)]
    send_ms: Field<'a>,
    #[serde(borrow, default)]
    wait_ms: Field<'a>,
    #[serde(borrow, default)]
    receive_ms: Field<'a>,
    #[serde(borrow, default)]
    elapsed_ms: Field<'a>,
}

/// A value whose type is checked only when it is used.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Field<'a>(#[serde(borrow)] Option<&'a RawValue>);

impl Field<'_> {
    /// `None` if it is missing, null or of another type.
    fn get<T: DeserializeOwned>(self) -> Option<T> {
        serde_json::from_str(self.0?.get()).ok()
    }

    fn seconds(self) -> Option<f64> {
        self.get::<f64>().map(|ms| ms / 1e3)
    }
}

/// The times of a row, in seconds, from either source.
struct Times {
    started: Option<f64>,
    attempts: u16,
    /// The phases of the last attempt: blocked, dns, connect, tls, send, wait, receive.
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
        Self::timed(record.row.0, &record.url, &result(record.status, error), record.ok, &times)
    }

    /// The bar of an NDJSON record in line `number`, from 0; `Ok(None)` if its row was never started, or its start time
    /// is missing.
    ///
    /// # Errors
    ///
    /// The line is not a record.
    pub(crate) fn of_line(line: &[u8], number: u64) -> Result<Option<Self>, String> {
        let spelled;
        let line: Line<'_> = match serde_json::from_slice(line) {
            Ok(line) => line,
            Err(error) => {
                // Python writes NaN and Infinity, which are not JSON.
                spelled = nulled(line);
                serde_json::from_slice(&spelled).map_err(|_| wrong(&error))?
            }
        };
        let times = Times {
            started: line.started.get::<String>().and_then(|text| unix_seconds(&text)),
            attempts: line.attempts.get().unwrap_or(1),
            last: [
                line.blocked_ms,
                line.dns_ms,
                line.connect_ms,
                line.tls_ms,
                line.send_ms,
                line.wait_ms,
                line.receive_ms,
            ]
            .map(Field::seconds),
            elapsed: line.elapsed_ms.seconds(),
        };
        let (status, error) = (line.status.get(), line.error.get::<String>());
        let ok = line.ok.get().unwrap_or(error.is_none());
        let result = result(status, error.as_deref());
        Ok(Self::timed(line.row.get().unwrap_or(number), &line.url, &result, ok, &times))
    }

    fn timed(row: u64, url: &str, result: &str, ok: bool, times: &Times) -> Option<Self> {
        let [blocked, rest @ ..] = times.last.map(Option::unwrap_or_default);
        let mut bar = Self::new(row, url, result, ok, times.started?);
        let phases = [Phase::Dns, Phase::Connect, Phase::Tls, Phase::Send, Phase::Wait, Phase::Receive];
        for (phase, seconds) in phases.into_iter().zip(rest) {
            bar.set(phase, seconds);
        }
        if times.attempts > 1 {
            // `started` is that of the first attempt, the phases are those of the last: the time between is `Earlier`.
            let last: f64 = rest.iter().sum();
            bar.set(Phase::Earlier, times.elapsed.unwrap_or(last) - last);
        } else {
            bar.set(Phase::Blocked, blocked);
            bar.start_s -= bar.length(Phase::Blocked);
        }
        Some(bar)
    }
}

/// The message for an invalid line, without the column, which does not help in a list.
fn wrong(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => "it is no JSON object".to_owned(),
        Category::Data => {
            let text = error.to_string();
            text.split_once(" at line").map_or(text.as_str(), |(words, _)| words).to_owned()
        }
    }
}

fn result(status: Option<u16>, error: Option<&str>) -> String {
    match (error, status) {
        (None | Some("status"), Some(status)) => status.to_string(),
        (Some(error), _) => error.to_owned(),
        (None, None) => "-".to_owned(),
    }
}

/// The line with NaN and the infinities outside of strings replaced by null.
fn nulled(line: &[u8]) -> Vec<u8> {
    const NONE: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut spelled = Vec::with_capacity(line.len());
    let (mut rest, mut in_text) = (line, false);
    while let [first, after @ ..] = rest {
        let none = NONE.into_iter().filter(|_| !in_text).find(|none| rest.starts_with(none));
        let taken = match (none, first, after) {
            (Some(none), ..) => none.len(),
            (None, b'\\', [_, ..]) if in_text => 2,
            (None, ..) => 1,
        };
        in_text ^= *first == b'"';
        let (head, tail) = rest.split_at(taken);
        spelled.extend_from_slice(if none.is_some() { b"null" } else { head });
        rest = tail;
    }
    spelled
}

/// Seconds since 1970 of an RFC 3339 time in UTC, as records write it.
fn unix_seconds(text: &str) -> Option<f64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    let is_time = (0.0..24.0).contains(&hours) && [minutes, seconds].iter().all(|n| (0.0..61.0).contains(n));
    if !is_time || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days_since_1970(year, month, day) as f64 * 86_400.0 + hours * 3_600.0 + minutes * 60.0 + seconds)
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
            ("2026-11-22T13:43:infZ", None),
            ("2026-11-22TNaN:43:46Z", None),
            ("2026-11-22T13:43:1e99Z", None),
            ("2026-11-22T-5:43:46Z", None),
            ("", None),
        ] {
            assert_eq!(unix_seconds(text), expected, "{text}");
        }
    }

    fn bar(line: &str) -> Bar {
        Bar::of_line(line.as_bytes(), 7).unwrap().unwrap()
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
        assert!(Bar::of_line(line.as_bytes(), 0).unwrap().is_none());
        assert!(Bar::of_line(b"{}", 0).is_err());
        assert!(Bar::of_line(b"not json", 0).is_err());
    }

    #[test]
    fn what_cannot_be_a_time_is_none() {
        for value in ["NaN", "Infinity", "-Infinity", "-5", "null", "\"x\"", "[1]", "1e999", "-1e999"] {
            let bar = bar(&format!(
                r#"{{"url":"http://a/\"NaN","started":"1970-01-01T00:00:01Z","blocked_ms":{value},"wait_ms":{value},
                    "attempts":{value},"elapsed_ms":{value},"row":{value},"status":{value},"error":{value}}}"#
            ));
            assert_eq!((bar.start_s, bar.active_s(), bar.end_s()), (1.0, 1.0, 1.0), "{value}");
            assert_eq!((bar.row, bar.label.as_str()), (7, "http://a/\"NaN"), "{value}");
        }
        let huge =
            bar(r#"{"url":"http://a/","started":"9999-12-31T23:59:59Z","wait_ms":1e300,"attempts":1}"#);
        assert!(huge.end_s().is_finite());
    }
}
