//! JSON output of the record, written by hand, so that the crate needs no JSON library.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::record::{Counts, Ending, HostRecord, Seen};
use crate::request::Request;

const FITS: &str = "a String takes all";

/// The body of `/echo`.
pub(crate) fn of_request(request: &Request) -> String {
    let mut out = String::from("{\"method\":");
    string(&mut out, &request.method);
    out.push_str(",\"target\":");
    string(&mut out, &request.target);
    out.push_str(",\"version\":");
    string(&mut out, &request.version);
    out.push_str(",\"headers\":[");
    for (index, (name, value)) in request.headers.iter().enumerate() {
        out.push_str(if index == 0 { "[" } else { ",[" });
        string(&mut out, name);
        out.push(',');
        string(&mut out, value);
        out.push(']');
    }
    out.push_str("],\"body\":");
    string(&mut out, &String::from_utf8_lossy(&request.body));
    write!(out, ",\"body_bytes\":{}}}", request.body_bytes).expect(FITS);
    out
}

/// A line of the record, with its line feed. Times are seconds since the server's start; an event that has not happened is
/// null.
pub(crate) fn of_seen(seen: &Seen, scheme: &str) -> String {
    let (ending, ended) = match seen.ending {
        Ending::Pending => ("pending", None),
        Ending::Answered(at) => ("answered", Some(at)),
        Ending::Left(at) => ("left", Some(at)),
    };
    let mut out = String::from("{\"url\":");
    if seen.target.starts_with('/') {
        string(&mut out, &format!("{scheme}://{}{}", seen.host, seen.target));
    } else {
        string(&mut out, &seen.target);
    }
    out.push_str(",\"host\":");
    string(&mut out, &seen.host);
    out.push_str(",\"method\":");
    string(&mut out, &seen.method);
    write!(out, ",\"time_s\":{:.6},\"in_flight\":{}", seen.at.as_secs_f64(), seen.in_flight).expect(FITS);
    write!(out, ",\"connection\":{},\"body_bytes\":{}", seen.connection, seen.body_bytes).expect(FITS);
    write!(out, ",\"ending\":\"{ending}\",\"ended_s\":{}}}", seconds(ended)).expect(FITS);
    out.push('\n');
    out
}

/// The body of `/testkit/counts`.
pub(crate) fn of_counts(counts: Counts, hosts: &BTreeMap<String, HostRecord>) -> String {
    let mut out = String::from("{");
    for (name, count) in [
        ("requests", counts.requests),
        ("malformed", counts.malformed),
        ("in_flight", counts.in_flight as u64),
        ("max_in_flight", counts.max_in_flight as u64),
        ("connections", counts.connections),
        ("open_connections", counts.open_connections as u64),
        ("max_open_connections", counts.max_open_connections as u64),
    ] {
        write!(out, "\"{name}\":{count},").expect(FITS);
    }
    out.push_str("\"hosts\":{");
    for (index, (name, host)) in hosts.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        string(&mut out, name);
        let (first, last) = (host.arrivals.first().copied(), host.arrivals.last().copied());
        let per_second = host.max_arrivals_within(Duration::from_secs(1));
        write!(out, ":{{\"requests\":{},\"max_in_flight\":{}", host.requests, host.max_in_flight)
            .expect(FITS);
        write!(out, ",\"max_in_a_second\":{per_second}").expect(FITS);
        write!(out, ",\"first_s\":{},\"last_s\":{}}}", seconds(first), seconds(last)).expect(FITS);
    }
    out.push_str("}}\n");
    out
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "null".to_owned(), |time| format!("{:.6}", time.as_secs_f64()))
}

/// A JSON string with its quotes.
pub(crate) fn string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                write!(out, "\\u{:04x}", u32::from(control)).expect(FITS);
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    #[test]
    fn strings_are_escaped() {
        let mut out = String::new();
        super::string(&mut out, "a\"\\\n\u{1}é");
        assert_eq!(out, r#""a\"\\\n\u0001é""#);
    }
}
