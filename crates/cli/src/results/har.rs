//! HAR 1.2, as browsers and other tools export it. An entry at a time is in memory, whatever the file's size.

use std::fmt;
use std::io::BufRead;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use url::Url;

use super::started::unix_seconds;
use super::{Entry, no_result};
use crate::exit::Error;

/// Reads the entries of the archive.
pub(super) fn read(mut input: impl BufRead, path: &Path, accept: &mut dyn FnMut(Entry)) -> Result<(), Error> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let begin = input.fill_buf().map_err(|error| Error::reading(path, &error))?;
    let is_marked = begin.starts_with(MARK);
    input.consume(if is_marked { MARK.len() } else { 0 });
    let mut json = serde_json::Deserializer::from_reader(input);
    let entries = Entries { accept, number: 0 };
    let read =
        Within { name: "log", inner: Within { name: "entries", inner: entries } }.deserialize(&mut json);
    read.and_then(|()| json.end()).map_err(|error| match error.io_error_kind() {
        Some(kind) => Error::reading(path, &kind.into()),
        None => no_result(path, &format!("line {} column {}", error.line(), error.column()), "it is no HAR"),
    })
}

/// The value of one member of an object; the others are skipped.
struct Within<S> {
    name: &'static str,
    inner: S,
}

impl<'de, S: DeserializeSeed<'de, Value = ()>> DeserializeSeed<'de> for Within<S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de, S: DeserializeSeed<'de, Value = ()>> Visitor<'de> for Within<S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with {}", self.name)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let mut inner = Some(self.inner);
        while let Some(name) = map.next_key::<String>()? {
            match inner.take_if(|_| name == self.name) {
                Some(inner) => map.next_value_seed(inner)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match inner {
            Some(_) => Err(serde::de::Error::missing_field(self.name)),
            None => Ok(()),
        }
    }
}

/// The list of entries.
struct Entries<'a> {
    accept: &'a mut dyn FnMut(Entry),
    number: u64,
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut list: S) -> Result<(), S::Error> {
        while let Some(entry) = list.next_element::<HarEntry>()? {
            (self.accept)(entry.entry(self.number));
            self.number += 1;
        }
        Ok(())
    }
}

/// An entry of the archive: one request. Times are in milliseconds; -1 means that a phase did not happen. A value of another
/// type than it should have is unknown. What begins with `_` is what this program writes beyond the standard.
#[derive(Deserialize)]
struct HarEntry {
    #[serde(default, rename = "startedDateTime")]
    started: Value,
    request: Request,
    #[serde(default)]
    response: Option<Response>,
    #[serde(default)]
    timings: Value,
    #[serde(default)]
    time: Value,
    #[serde(default, rename = "_row")]
    row: Value,
    #[serde(default, rename = "_ok")]
    ok: Value,
    #[serde(default, rename = "_url")]
    listed: Value,
    #[serde(default, rename = "_attempts")]
    attempts: Value,
    #[serde(default, rename = "_redirects")]
    redirects: Value,
    #[serde(default, rename = "_elapsed")]
    elapsed: Value,
}

#[derive(Deserialize)]
struct Request {
    url: String,
}

#[derive(Default, Deserialize)]
struct Response {
    #[serde(default)]
    status: Value,
    #[serde(default, rename = "_error")]
    error: Value,
    #[serde(default, rename = "_errorMessage")]
    message: Value,
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Default, Deserialize)]
struct Content {
    #[serde(default)]
    size: Value,
}

/// A whole number.
fn whole<T: TryFrom<u64>>(value: &Value) -> Option<T> {
    T::try_from(value.as_u64()?).ok()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn millis(value: &Value) -> Option<f64> {
    value.as_f64().filter(|ms| *ms >= 0.0)
}

impl HarEntry {
    fn entry(self, number: u64) -> Entry {
        let time = |name| self.timings.get(name).and_then(millis);
        let (tls, time_ms) = (time("ssl"), millis(&self.time));
        // The time of TLS is in that of `connect`, except in archives whose sums say otherwise.
        let phases = ["blocked", "dns", "connect", "send", "wait", "receive"].map(time);
        let sum: f64 = phases.iter().flatten().sum();
        let is_beside = time_ms.is_some_and(|time_ms| time_ms > sum + tls.unwrap_or_default() / 2.0);
        let [blocked, dns, connect, send, wait, receive] = phases;
        let connect = match is_beside {
            true => connect,
            false => connect.map(|ms| (ms - tls.unwrap_or_default()).max(0.0)),
        };
        let response = self.response.unwrap_or_default();
        // A response that never came has the status 0.
        let status = response.status.as_f64().filter(|status| (1.0..=999.0).contains(status));
        let error = text(&response.error);
        let size = response.content.and_then(|content| content.size.as_f64());
        let attempts = whole(&self.attempts).unwrap_or(1);
        // An entry has times, also if there was nothing that took any.
        let was_sent = attempts > 0;
        let hops = self.redirects.as_array().map(Vec::as_slice).unwrap_or_default();
        let host = Url::parse(&self.request.url).ok().and_then(|url| url.host_str().map(str::to_owned));
        let entry = Entry {
            row: whole(&self.row).unwrap_or(number),
            url: text(&self.listed).unwrap_or(self.request.url),
            host,
            ok: self
                .ok
                .as_bool()
                .unwrap_or_else(|| error.is_none() && status.is_some_and(|status| status < 400.0)),
            status: status.map(|status| status as u16),
            error,
            message: text(&response.message),
            attempts,
            redirects: u16::try_from(hops.len()).unwrap_or(u16::MAX),
            chain_s: hops.iter().filter_map(|hop| millis(hop.get("total_ms")?)).sum::<f64>() / 1e3,
            bytes: size.map_or(0, |size| size as u64),
            // An entry starts with its wait for a connection, a row with its first attempt.
            started_s: self
                .started
                .as_str()
                .filter(|_| was_sent)
                .and_then(unix_seconds)
                .map(|s| s + blocked.unwrap_or_default() / 1e3),
            phases_s: [blocked, dns, connect, tls, send, wait, receive]
                .map(|ms| ms.filter(|_| was_sent).map(|ms| ms / 1e3)),
            elapsed_s: millis(&self.elapsed).or(time_ms).map(|ms| ms / 1e3),
        };
        entry.completed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(har: &str) -> Result<Vec<Entry>, Error> {
        let mut found = Vec::new();
        read(har.as_bytes(), Path::new("a.har"), &mut |entry| found.push(entry)).map(|()| found)
    }

    #[test]
    fn entries_are_rows() {
        let found = entries(
            r#"{"log":{"version":"1.2","pages":[{"id":"entries"}],"entries":[
                {"startedDateTime":"1970-01-01T00:00:01.000+00:00","time":100,"request":{"url":"http://a.test/x","method":"GET"},
                 "response":{"status":404,"content":{"size":7,"text":"x"}},
                 "timings":{"blocked":10,"dns":-1,"connect":30,"ssl":20,"send":0,"wait":40,"receive":20}},
                {"request":{"url":"no url"},"response":{"status":0,"content":null},"timings":null},
                {"request":{"url":"http://a/"},"response":{"status":200.0,"_error":"net::ERR_X","content":{"size":-1}},
                 "time":92,"timings":{"connect":10,"ssl":20,"wait":62}}],"creator":{}}}"#,
        );
        let [first, second, third] = &entries_of(found)[..] else { panic!("three entries") };
        assert_eq!((first.host.as_deref(), first.status, first.ok), (Some("a.test"), Some(404), false));
        assert_eq!((first.started_s, first.bytes, first.elapsed_s), (Some(1.01), 7, Some(0.1)));
        let [blocked, dns, connect, tls, ..] = first.phases_s;
        assert_eq!((blocked, dns, connect, tls), (Some(0.01), None, Some(0.01), Some(0.02)));
        assert_eq!((third.ok, third.result().as_str(), third.bytes), (false, "net::ERR_X", 0));
        let [_, _, connect, tls, ..] = third.phases_s;
        assert_eq!((connect, tls), (Some(0.01), Some(0.02)));
        assert_eq!((second.row, second.status, second.result()), (1, None, "no response".to_owned()));
    }

    #[test]
    fn what_the_standard_lacks_is_read_from_own_entries() {
        let found = entries(
            r#"{"log":{"entries":[{"_row":7,"_ok":true,"startedDateTime":"1970-01-01T00:00:01.000+00:00","time":30,
                "request":{"url":"http://b.test/y"},"response":{"status":404},"timings":{"blocked":10,"wait":20},
                "_url":"http://a.test/x","_attempts":3,"_redirects":[{"url":"http://a.test/x","status":302,"total_ms":250}],
                "_elapsed":5000},
                {"_row":9,"_ok":false,"startedDateTime":"1970-01-01T00:00:01.000+00:00","time":0,"request":{"url":"no url"},
                "response":{"status":0,"_error":"input","_errorMessage":"no"},"timings":{"send":0,"wait":0,"receive":0},"_attempts":0}]}}"#,
        );
        let [first, never] = &entries_of(found)[..] else { panic!("two entries") };
        assert_eq!((first.row, first.ok, first.attempts, first.redirects), (7, true, 3, 1));
        assert_eq!((first.url.as_str(), first.host.as_deref()), ("http://a.test/x", Some("b.test")));
        assert_eq!((first.chain_s, first.elapsed_s), (0.25, Some(5.0)));
        assert_eq!((never.attempts, never.started_s, never.phases_s), (0, None, [None; 7]));
        assert_eq!((never.error.as_deref(), never.message.as_deref()), (Some("input"), Some("no")));
    }

    fn entries_of(found: Result<Vec<Entry>, Error>) -> Vec<Entry> {
        found.unwrap_or_else(|_| panic!("a HAR"))
    }

    #[test]
    fn what_is_no_har_is_refused() {
        for har in
            ["", "{}", "[]", r#"{"log":{}}"#, r#"{"log":{"entries":[{}]}}"#, r#"{"log":{"entries":[]}"#]
        {
            assert!(matches!(entries(har), Err(Error::Usage(_))), "{har}");
        }
        assert!(entries_of(entries(r#"{"log":{"entries":[]}}"#)).is_empty());
    }
}
