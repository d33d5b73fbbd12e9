//! How a run went: a few lines for a person, one object for a machine.

use std::fmt::Write as _;

use overlapped_fetch::durable::Earlier;
use overlapped_fetch::{Percentiles, Progress, Stop, Summary};
use overlapped_proto::plural::plural;
use overlapped_proto::sanitize::escape;
use overlapped_proto::schedule::Held;
use serde_json::{Value, json};

use super::figures::{bytes, count, counted, millis, rows_are, span};
use super::line as progress;

/// The sections of hosts in a file of settings that had no effect, perhaps because of a slip in a name; `None`: all had one.
pub(crate) fn hosts_unmet(names: &[String]) -> Option<String> {
    const NAMED: usize = 3;
    let named: Vec<_> = names.iter().take(NAMED).map(|name| format!("[host.\"{name}\"]")).collect();
    let named = named.join(", ");
    match names.len() {
        0 => None,
        1 => Some(format!("overlapped: {named} was not needed: no request of this run was for this host")),
        all => {
            let more = if all > NAMED {
                format!(" and {} more", count((all - NAMED) as u64))
            } else {
                String::new()
            };
            Some(format!(
                "overlapped: {named}{more} were not needed: no request of this run was for these hosts"
            ))
        }
    }
}

/// For a person.
pub(crate) fn text(run: &Summary, held: Option<Held>) -> String {
    let now = &run.progress;
    let seconds = now.elapsed.as_secs_f64().max(1e-9);
    let mut text = format!(
        "{} in {} ({}/s), {} ({}/s)",
        counted(now.rows_done, "row"),
        span(now.elapsed),
        count((now.rows_done as f64 / seconds) as u64),
        bytes(now.bytes as f64),
        bytes(now.bytes as f64 / seconds)
    );
    if !run.finished {
        let left = counted(now.rows_read.saturating_sub(now.rows_done), "row");
        let unread = now.input_bytes.is_none_or(|bytes| now.input_bytes_read < bytes);
        let rest = if unread { ", the rest of the list unread" } else { "" };
        let by = match run.stopped_by {
            Some(Stop::MaxErrors) => " by --max-errors",
            Some(Stop::Asked) | None => "",
        };
        let _ = write!(text, "; stopped{by} with {left} not done{rest}");
    }
    line(&mut text, "rows", &rows(run));
    line(&mut text, "in all", &in_all(now));
    line(&mut text, "errors", &named(run.by_error.iter().filter(|(name, _)| **name != "status")));
    line(&mut text, "host.down", &down(run));
    for (row, what) in &run.bad_rows {
        line(&mut text, "bad row", &format!("{row}: {what}"));
    }
    line(&mut text, "overlooked", &named(run.by_note.iter()));
    line(&mut text, "total", &percentiles(&run.total_ms));
    line(&mut text, "first byte", &percentiles(&run.first_byte_ms));
    let (new, reused) = (count(run.connections_new), count(run.connections_reused));
    let mut traffic = format!("{new} new, {reused} reused");
    for (n, what) in [
        (run.retries, plural(run.retries, "retry", "retries")),
        (run.redirects, plural(run.redirects, "redirect", "redirects")),
    ] {
        if n > 0 {
            let _ = write!(traffic, " · {} {what}", count(n));
        }
    }
    line(&mut text, "connections", &traffic);
    if run.slowest_hosts.len() > 1 {
        let hosts =
            run.slowest_hosts.iter().map(|(host, ms)| format!("{} {}", escape(host), millis(Some(*ms))));
        let hosts = hosts.collect::<Vec<_>>().join(" · ");
        line(&mut text, "slowest", &format!("{hosts} (mean total of a host)"));
        line(&mut text, "failing", &named(run.failing_hosts.iter().map(|(host, n)| (escape(host), n))));
    }
    if run.shortages > 0 {
        let told = format!(
            "open files or local ports ran out {}; it went on with {} at once (ulimit -n)",
            counted(run.shortages, "time"),
            counted(u64::try_from(run.parallel_least).unwrap_or(u64::MAX), "request")
        );
        line(&mut text, "warning", &told);
    }
    if let Some(failure) = &run.spill_failure {
        let told = format!(
            "rows could not wait on disk ({failure}); hosts with many rows held up the others (TMPDIR)"
        );
        line(&mut text, "warning", &told);
    }
    if let Some(held) = held.and_then(progress::held) {
        line(&mut text, "pace", &format!("{held} most of the time"));
    }
    text
}

/// What an earlier run has left, for a person.
pub(crate) fn resumed(earlier: &Earlier) -> String {
    let mut text = format!("going on: {} done", rows_are(earlier.rows));
    let again = earlier.again.len();
    for (rows, what) in [
        (earlier.failed, "of them failed"),
        (again, plural(again, "failed and is fetched again", "failed and are fetched again")),
    ] {
        if rows > 0 {
            let _ = write!(text, ", {} {what}", count(rows));
        }
    }
    if let Some(bytes) = earlier.grown_from {
        let _ = write!(
            text,
            "; the list has grown since: it had {}, and its new rows are fetched too",
            counted(bytes, "byte")
        );
    }
    text
}

fn line(text: &mut String, name: &str, told: &str) {
    if !told.is_empty() {
        let _ = write!(text, "\n  {name:<12}{told}");
    }
}

/// Each row is in one of these.
fn rows(run: &Summary) -> String {
    let now = &run.progress;
    let mut text = format!("{} ok", count(now.ok));
    for (name, n) in classes(now).into_iter().filter(|(_, n)| *n > 0) {
        let _ = write!(text, " · {name} {}", count(n));
    }
    text
}

/// The rows of all processes of a resumed run, of which the other figures are those of the last one.
fn in_all(now: &Progress) -> String {
    let (rows, ok) = (now.rows_earlier + now.rows_done, now.ok_earlier + now.ok);
    match now.rows_earlier {
        0 => String::new(),
        earlier => format!(
            "{} ok · failed {}: {} done, {} of them before",
            count(ok),
            count(rows - ok),
            counted(rows, "row"),
            count(earlier),
        ),
    }
}

fn classes(now: &Progress) -> [(&'static str, u64); 8] {
    let [other, informing, successes, redirects, clients, servers] = now.by_class;
    [
        ("1xx", informing),
        ("2xx", successes),
        ("3xx", redirects),
        ("4xx", clients),
        ("5xx", servers),
        ("other status", other),
        ("failed", now.failed),
        ("bad rows", now.bad),
    ]
}

/// What became of rows whose hosts were down: which flags wait longer, and fetch them again.
fn down(run: &Summary) -> String {
    match run.by_error.get("host.down") {
        None => String::new(),
        Some(rows) => format!(
            "{} not tried: {} gave no answer, or only 429 and 502 to 524, for the time of --host-down-after; \
             --retry-failed fetches {} again",
            counted(*rows, "row"),
            plural(*rows, "its host", "their hosts"),
            plural(*rows, "it", "them")
        ),
    }
}

fn named<N: std::fmt::Display>(counts: impl Iterator<Item = (N, impl std::borrow::Borrow<u64>)>) -> String {
    counts.map(|(name, n)| format!("{name} {}", count(*n.borrow()))).collect::<Vec<_>>().join(" · ")
}

fn percentiles(p: &Percentiles) -> String {
    match p.p50 {
        None => String::new(),
        Some(_) => {
            let [p50, p90, p99, max] = [p.p50, p.p90, p.p99, p.max].map(millis);
            format!("p50 {p50} · p90 {p90} · p99 {p99} · max {max}")
        }
    }
}

/// For a machine: what is not known is null, never zero.
pub(crate) fn json(run: &Summary, held: Option<Held>) -> String {
    let now = &run.progress;
    let percentiles = |p: &Percentiles| json!({"p50": p.p50, "p90": p.p90, "p99": p.p99, "max": p.max});
    let hosts = |pairs: &[(String, f64)]| -> Vec<Value> {
        pairs.iter().map(|(host, ms)| json!({"host": host, "mean_ms": ms})).collect()
    };
    let failing = |pairs: &[(String, u64)]| -> Vec<Value> {
        pairs.iter().map(|(host, rows)| json!({"host": host, "rows": rows})).collect()
    };
    let by_status: serde_json::Map<_, _> =
        run.by_status.iter().map(|(status, rows)| (status.to_string(), json!(rows))).collect();
    let summary = json!({
        "finished": run.finished,
        "stopped_by": run.stopped_by.map(|stop| match stop {
            Stop::Asked => "signal",
            Stop::MaxErrors => "--max-errors",
        }),
        "elapsed_s": now.elapsed.as_secs_f64(),
        "rows_read": now.rows_read,
        "rows_done": now.rows_done,
        "ok": now.ok,
        "failed_by_class": classes(now).iter().map(|(name, rows)| ((*name).to_owned(), json!(rows))).collect::<serde_json::Map<_, _>>(),
        "rows_earlier": now.rows_earlier,
        "ok_earlier": now.ok_earlier,
        "bytes": now.bytes,
        "wire_bytes": now.wire_bytes,
        "by_status": by_status,
        "by_error": run.by_error,
        "by_note": run.by_note,
        "bad_rows": run.bad_rows.iter().map(|(row, what)| json!({"row": row, "error_message": what})).collect::<Vec<_>>(),
        "insecure_unmet": run.insecure_unmet,
        "resolve_unmet": run.resolve_unmet.iter().map(|(pin, _)| pin).collect::<Vec<_>>(),
        "hosts_unmet": run.hosts_unmet,
        "total_ms": percentiles(&run.total_ms),
        "first_byte_ms": percentiles(&run.first_byte_ms),
        "connections_new": run.connections_new,
        "connections_reused": run.connections_reused,
        "retries": run.retries,
        "redirects": run.redirects,
        "shortages": run.shortages,
        "slowest_hosts": hosts(&run.slowest_hosts),
        "failing_hosts": failing(&run.failing_hosts),
        "held_by": held.and_then(Held::flag),
    });
    format!("{summary:#}\n")
}
