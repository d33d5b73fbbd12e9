//! Results in NDJSON.

use std::io::BufRead;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::started::unix_seconds;
use super::{Entry, no_result};
use crate::exit::Error;

/// The fields of a record that are read; all others, such as bodies, are skipped. Except for the URL each may be
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
    error_message: Field<'a>,
    #[serde(borrow, default)]
    host: Field<'a>,
    #[serde(borrow, default)]
    bytes: Field<'a>,
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
        self.get::<f64>().filter(|ms| *ms >= 0.0).map(|ms| ms / 1e3)
    }
}

/// Reads one row a line.
pub(super) fn read(mut input: impl BufRead, path: &Path, accept: &mut dyn FnMut(Entry)) -> Result<(), Error> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(|error| Error::reading(path, &error))? == 0 {
            break;
        }
        if !line.trim_ascii().is_empty() {
            let entry = entry(&line, number - 1);
            accept(entry.map_err(|what| no_result(path, &format!("line {number}"), &what))?);
        }
    }
    Ok(())
}

/// The record in line `number`, from 0.
fn entry(line: &[u8], number: u64) -> Result<Entry, String> {
    let spelled;
    let line: Line<'_> = match serde_json::from_slice(line) {
        Ok(line) => line,
        Err(error) => {
            // Python writes NaN and Infinity, which are not JSON.
            spelled = nulled(line);
            serde_json::from_slice(&spelled).map_err(|_| wrong(&error))?
        }
    };
    let error = line.error.get::<String>();
    Ok(Entry {
        row: line.row.get().unwrap_or(number),
        host: line.host.get(),
        status: line.status.get(),
        ok: line.ok.get().unwrap_or(error.is_none()),
        error,
        message: line.error_message.get(),
        attempts: line.attempts.get().unwrap_or(1),
        bytes: line.bytes.get().unwrap_or_default(),
        started_s: line.started.get::<String>().and_then(|text| unix_seconds(&text)),
        phases_s: [
            line.blocked_ms,
            line.dns_ms,
            line.connect_ms,
            line.tls_ms,
            line.send_ms,
            line.wait_ms,
            line.receive_ms,
        ]
        .map(Field::seconds),
        elapsed_s: line.elapsed_ms.seconds(),
        url: line.url,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_refused() {
        assert!(entry(b"{}", 0).is_err());
        assert!(entry(b"not json", 0).is_err());
    }

    #[test]
    fn an_invalid_value_is_unknown() {
        for value in ["NaN", "Infinity", "-Infinity", "-5", "null", "\"x\"", "[1]", "1e999", "-1e999"] {
            let line = format!(
                r#"{{"url":"http://a/\"NaN","started":"1970-01-01T00:00:01Z","blocked_ms":{value},"wait_ms":{value},
                    "attempts":{value},"elapsed_ms":{value},"row":{value},"status":{value},"ok":{value},"host":[]}}"#
            );
            let entry = entry(line.as_bytes(), 7).unwrap();
            assert_eq!((entry.row, entry.attempts, entry.status), (7, 1, None), "{value}");
            assert_eq!((entry.phases_s, entry.elapsed_s, entry.host), ([None; 7], None, None), "{value}");
            assert_eq!((entry.url.as_str(), entry.started_s), ("http://a/\"NaN", Some(1.0)), "{value}");
        }
    }
}
