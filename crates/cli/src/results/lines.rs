//! Results in NDJSON.

use std::io::{self, BufRead};
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
    redirects: Field<'a>,
    #[serde(borrow, default)]
    chain: Field<'a>,
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

    /// A whole number, also if it is written with a fraction of zero or as text, as other programs do.
    fn whole<T: TryFrom<u64>>(self) -> Option<T> {
        let number = self.get::<u64>().or_else(|| {
            let number = self.get::<f64>().or_else(|| self.get::<String>()?.trim().parse().ok())?;
            (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
        });
        T::try_from(number?).ok()
    }

    /// A point in time: text, or milliseconds since 1970.
    fn time(self) -> Option<f64> {
        let text = || unix_seconds(&self.get::<String>()?);
        text().or_else(|| self.get::<f64>().map(|ms| ms / 1e3))
    }

    fn seconds(self) -> Option<f64> {
        self.get::<f64>().filter(|ms| *ms >= 0.0).map(|ms| ms / 1e3)
    }
}

/// A redirect.
#[derive(Deserialize)]
struct Hop {
    #[serde(default)]
    total_ms: f64,
}

/// Reads one row a line. A line at the end that is not complete, as a killed program leaves it, is passed over.
pub(super) fn read(mut input: impl BufRead, path: &Path, accept: &mut dyn FnMut(Entry)) -> Result<(), Error> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            // So does a killed program leave a compressed file, whose last member is not complete.
            Err(error) if number > 1 && error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(Error::reading(path, &error)),
        }
        let record = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&line);
        if record.trim_ascii().is_empty() {
            continue;
        }
        match entry(record, number - 1) {
            Ok(entry) => accept(entry),
            Err(_) if number > 1 && !record.ends_with(b"\n") => {}
            Err(what) => return Err(no_result(path, &format!("line {number}"), &what)),
        }
    }
    Ok(())
}

/// The record in line `number`, from 0.
fn entry(line: &[u8], number: u64) -> Result<Entry, String> {
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err("it is no JSON object".to_owned());
    }
    let spelled;
    let line: Line<'_> = match serde_json::from_slice(line) {
        Ok(line) => line,
        Err(error) => {
            // Python writes NaN and Infinity, which are not JSON.
            spelled = nulled(line);
            serde_json::from_slice(&spelled).map_err(|_| wrong(&error))?
        }
    };
    let (status, error) = (line.status.whole(), line.error.get::<String>());
    let chain = line.chain.get::<Vec<Hop>>().unwrap_or_default();
    let entry = Entry {
        row: line.row.whole().unwrap_or(number),
        host: line.host.get(),
        status,
        ok: line.ok.get().unwrap_or_else(|| error.is_none() && status.is_none_or(|status| status < 400)),
        error,
        message: line.error_message.get(),
        attempts: line.attempts.whole().unwrap_or(1),
        redirects: line.redirects.whole().unwrap_or_default(),
        chain_s: chain.iter().map(|hop| hop.total_ms.max(0.0) / 1e3).sum(),
        bytes: line.bytes.whole().unwrap_or_default(),
        started_s: line.started.time(),
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
    };
    Ok(entry.completed())
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
        for line in [&b"not json"[..], b"[]", b"7", b"\"{\""] {
            assert_eq!(entry(line, 0).err().as_deref(), Some("it is no JSON object"));
        }
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
            assert_eq!((entry.phases_s, entry.elapsed_s), ([None; 7], None), "{value}");
            assert_eq!(entry.host.as_deref(), Some("a"), "{value}");
            assert_eq!((entry.url.as_str(), entry.started_s), ("http://a/\"NaN", Some(1.0)), "{value}");
        }
    }
    #[test]
    fn values_may_be_written_as_other_programs_do() {
        let line = br#"{"url":"http://a.test/","status":200.0,"bytes":"7","attempts":2.0,"redirects":1,
            "chain":[{"url":"http://b/","status":302,"total_ms":4.0}],"started":1000}"#;
        let entry = entry(line, 0).unwrap();
        assert_eq!((entry.status, entry.bytes, entry.attempts, entry.ok), (Some(200), 7, 2, true));
        assert_eq!((entry.redirects, entry.chain_s, entry.started_s), (1, 0.004, Some(1.0)));
        assert_eq!(super::entry(br#"{"url":"http://a.test/","status":500}"#, 0).unwrap().result(), "500");
    }

    #[test]
    fn a_torn_last_line_and_a_byte_order_mark_are_passed_over() {
        let read = |text: &[u8]| {
            let mut rows = 0;
            read(text, Path::new("r.ndjson"), &mut |_| rows += 1).map(|()| rows)
        };
        assert!(matches!(read(b"\xef\xbb\xbf{\"url\":\"http://a/\"}\n{\"url\":\"http"), Ok(1)));
        assert!(read(b"{\"url\":\"http").is_err());
        assert!(read(b"{}\n{\"url\":\"http://a/\"}\n").is_err());
    }
}
