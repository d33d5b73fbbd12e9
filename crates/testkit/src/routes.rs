//! The built-in routes, each a function from a request to a script. The table is in `ROUTES.md`.
//!
//! A route never waits and never touches a socket; delays are steps of its script.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::answer::{Answer, Length, http_date};
use crate::coding::{self, Coding, Damage};
use crate::json;
use crate::oracle::{self, Pattern};
use crate::record::Recorder;
use crate::request::Request;
use crate::script::{Delivery, Script, Step};

/// The delays of `/experiment/0` to `/experiment/4`, in milliseconds.
pub const EXPERIMENT_MS: [u32; 5] = [1904, 1293, 2078, 2381, 2218];

/// The longest body that a route makes in memory; `/bytes/N`, `/text/N`, `/endless` and `/bomb` have no such limit.
const BODY_BYTES_MAX: usize = 64 << 20;

/// The most keys that `/retry-after` and `/flaky` count.
const KEYS_MAX: usize = 1_000_000;

/// What the routes use besides the request.
pub(crate) struct World {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) scheme: &'static str,
    pub(crate) scale: f64,
    pub(crate) robots: Option<String>,
    pub(crate) hits: Mutex<HashMap<String, u32>>,
}

type Routed = Result<Answer, String>;

/// The script for a request.
pub(crate) fn answer(request: &Request, world: &World) -> Script {
    let path = request.path().to_owned();
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(&path).split('/').collect();
    let routed = match raw(request, &parts, world) {
        Ok(Some(script)) => return script,
        Ok(None) => cooked(request, &parts, world).and_then(|answer| common(request, answer)),
        Err(why) => Err(why),
    };
    routed.unwrap_or_else(|why| {
        Answer::text(400, format!("{why}\n")).script(request, Delivery::Whole, Duration::ZERO)
    })
}

/// The parameters of every route with a well-formed response: `delay_ms`, `deliver` and `gap_ms`.
fn common(request: &Request, mut answer: Answer) -> Result<Script, String> {
    let delivery = match request.query("deliver").as_deref() {
        None | Some("whole") => Delivery::Whole,
        Some("bytes") => Delivery::ByteByByte,
        Some(other) => match other.strip_prefix("split-").and_then(|offset| offset.parse().ok()) {
            Some(offset) => Delivery::SplitAt(offset),
            None => return Err(format!("deliver={other} is none of whole, bytes, split-N")),
        },
    };
    answer.before += milliseconds(request, "delay_ms", 0)?;
    let gap = milliseconds(request, "gap_ms", 0)?;
    Ok(answer.script(request, delivery, gap))
}

/// The routes with a well-formed response.
fn cooked(request: &Request, parts: &[&str], world: &World) -> Routed {
    let target = request.path_and_query();
    match *parts {
        ["" | "ok"] => Ok(Answer::text(200, "ok\n")),
        ["status", status] => status_route(status),
        ["delay", ms] => {
            let mut answer = Answer::text(200, format!("delay {ms}\n"));
            answer.before = Duration::from_millis(number(ms)?);
            Ok(answer)
        }
        ["experiment", index] => experiment(index, world.scale),
        ["bytes", length] => {
            Ok(Answer::pattern(Pattern::binary(target), number(length)?, "application/octet-stream"))
        }
        ["text", length] => Ok(Answer::pattern(Pattern::text(target), number(length)?, "text/plain")),
        ["row", row] => Ok(Answer::text(200, oracle::row_of(number(row)?))),
        ["chunked", length] => chunked(request, small(number(length)?)?),
        ["drip"] => drip(request),
        ["endless"] => Ok(endless()),
        ["redirect", left] => redirect(request, number(left)?),
        ["redirect-to"] => {
            let url = request.query("url").ok_or("url= is missing")?;
            Ok(Answer::text(parameter(request, "status", 302)?, "elsewhere\n").header("Location", &url))
        }
        ["loop"] => {
            Ok(Answer::text(parameter(request, "status", 302)?, "again\n").header("Location", target))
        }
        ["bomb", kind, length] => bomb(kind, number(length)?),
        ["retry-after", seconds] => retry_after(request, number(seconds)?, world),
        ["capacity", limit] => capacity(request, number(limit)?, world),
        ["echo"] => {
            Ok(Answer::body(200, json::of_request(request)).header("Content-Type", "application/json"))
        }
        ["headers"] => headers(request),
        ["set-cookie"] => set_cookie(request),
        ["etag", value] => Ok(etag(request, value)),
        ["range", length] => range(request, small(number(length)?)?),
        ["testkit", "seen"] => {
            let lines: String =
                world.recorder.seen().iter().map(|seen| json::of_seen(seen, world.scheme)).collect();
            Ok(Answer::body(200, lines).header("Content-Type", "application/x-ndjson"))
        }
        ["testkit", "counts"] => {
            let counts = json::of_counts(world.recorder.counts(), &world.recorder.hosts());
            Ok(Answer::body(200, counts).header("Content-Type", "application/json"))
        }
        ["testkit", "forget"] => {
            world.recorder.forget();
            Ok(Answer::text(200, "forgotten\n"))
        }
        ["robots.txt"] => Ok(match &world.robots {
            Some(robots) => Answer::text(200, robots.clone()),
            None => Answer::text(404, "no robots.txt\n"),
        }),
        ["flaky"] if world.fails(request)? => {
            Ok(Answer::text(parameter(request, "status", 503)?, "not yet\n"))
        }
        ["flaky"] | ["flaky", "close" | "reset" | "silent" | "truncate"] => {
            Ok(Answer::text(200, "at last\n"))
        }
        [name, length] if Coding::named(name).is_some() => {
            encoded(request, Coding::named(name).ok_or("no such coding")?, small(number(length)?)?)
        }
        _ => Ok(Answer::text(404, "no such route\n")),
    }
}

/// The routes that break off in the middle, or send nothing.
fn raw(request: &Request, parts: &[&str], world: &World) -> Result<Option<Script>, String> {
    let script = match *parts {
        ["close"] => Script::new().close(),
        ["silent"] => Script::new().silence(),
        ["reset"] => match (request.query("at"), request.query("head")) {
            (Some(at), _) => Script::new().send(promised(request, number(&at)?)?).reset(),
            (None, Some(head)) => {
                let mut bytes = promised(request, 0)?;
                bytes.truncate(small(number(&head)?)?);
                Script::new().send(bytes).reset()
            }
            (None, None) => Script::new().reset(),
        },
        ["truncate"] => Script::new().send(promised(request, parameter(request, "sent", 500)?)?).close(),
        ["cut"] => Script::new().send(promised(request, parameter(request, "sent", 500)?)?).cut(),
        ["stall"] => Script::new().send(promised(request, parameter(request, "after", 500)?)?).silence(),
        ["together", count] => together(request, number(count)?, world),
        ["flaky", "close"] if world.fails(request)? => Script::new().close(),
        ["flaky", "reset"] if world.fails(request)? => Script::new().reset(),
        ["flaky", "silent"] if world.fails(request)? => Script::new().silence(),
        ["flaky", "truncate"] if world.fails(request)? => Script::new().send(promised(request, 500)?).close(),
        _ => return Ok(None),
    };
    Ok(Some(script))
}

/// A response once `count` requests of the host have been in flight at once.
fn together(request: &Request, count: u64, world: &World) -> Script {
    let host = request.header("host").unwrap_or_default().to_ascii_lowercase();
    let recorder = Arc::clone(&world.recorder);
    Script::new()
        .until(move || recorder.max_in_flight_of(&host) as u64 >= count)
        .send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\ntogether\n")
}

/// The start of a response that announces `length` bytes (by default 1,000), or chunks with `chunked=1`: its head and the first
/// `sent` bytes of its body.
fn promised(request: &Request, sent: u64) -> Result<Vec<u8>, String> {
    let length: u64 = parameter(request, "length", 1000)?;
    let sent = small(sent.min(length))?;
    let body = Pattern::text(request.path_and_query()).prefix(sent);
    let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n".to_vec();
    if request.query("chunked").is_some() {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        if sent > 0 {
            bytes.extend_from_slice(&chunk(&body));
        }
    } else {
        bytes.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
        bytes.extend_from_slice(&body);
    }
    Ok(bytes)
}

fn status_route(status: &str) -> Routed {
    let status = u16::try_from(number(status)?).ok().filter(|status| (100..1000).contains(status));
    let status = status.ok_or("a status has three digits")?;
    Ok(match status {
        100..200 | 204 | 304 => Answer { length: Length::None, ..Answer::body(status, Bytes::new()) },
        _ => Answer::text(status, format!("status {status}\n")),
    })
}

fn experiment(index: &str, scale: f64) -> Routed {
    let index = usize::try_from(number(index)?).unwrap_or(usize::MAX);
    let ms = EXPERIMENT_MS.get(index).ok_or("the experiment has the answers 0 to 4")?;
    let mut answer = Answer::text(200, format!("experiment {index}\n"));
    answer.before = Duration::from_secs_f64(f64::from(*ms) * scale / 1000.0);
    Ok(answer)
}

fn chunked(request: &Request, length: usize) -> Routed {
    let size: usize = parameter(request, "size", 1000)?;
    let body = Pattern::text(request.path_and_query()).prefix(length);
    let mut wire = Vec::with_capacity(length + length / 50 + 16);
    for part in body.chunks(size.max(1)) {
        wire.extend_from_slice(&chunk(part));
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    Ok(Answer { length: Length::Chunked, ..Answer::text(200, wire) })
}

fn chunk(part: &[u8]) -> Vec<u8> {
    let mut wire = format!("{:x}\r\n", part.len()).into_bytes();
    wire.extend_from_slice(part);
    wire.extend_from_slice(b"\r\n");
    wire
}

fn drip(request: &Request) -> Routed {
    let bytes = small(parameter(request, "bytes", 10)?)?;
    let each = parameter(request, "each", 1)?;
    let every = milliseconds(request, "every_ms", 10)?;
    let body = Bytes::from(Pattern::text(request.path_and_query()).prefix(bytes));
    let steps = vec![Step::Drip { bytes: body, each, every }];
    Ok(Answer { length: Length::Known(bytes as u64), body: steps, ..Answer::text(200, Bytes::new()) })
}

fn endless() -> Answer {
    let block = Bytes::from(chunk(&Pattern::text("/endless").prefix(1 << 16)));
    Answer {
        length: Length::Chunked,
        body: vec![Step::Repeat(block, u64::MAX)],
        ..Answer::text(200, Bytes::new())
    }
}

fn redirect(request: &Request, left: u64) -> Routed {
    if left == 0 {
        return Ok(Answer::text(200, "redirected\n"));
    }
    let query =
        request.path_and_query().split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
    let location = format!("/redirect/{}{query}", left - 1);
    Ok(Answer::text(parameter(request, "status", 302)?, "elsewhere\n").header("Location", &location))
}

fn encoded(request: &Request, coding: Coding, length: usize) -> Routed {
    let damage = match request.query("damage") {
        None => Damage::None,
        Some(name) => Damage::named(&name).ok_or_else(|| format!("damage={name} is unknown"))?,
    };
    let body = Pattern::text(request.path_and_query()).prefix(length);
    let packed = match request.query("window_log") {
        Some(log) if coding == Coding::Zstd => match log.parse() {
            Ok(log @ 10..=41) => coding::zstd_with_window(log, &body),
            Ok(_) | Err(_) => return Err("window_log is a number from 10 to 41".to_owned()),
        },
        Some(_) | None => damage.encode(coding, &body),
    };
    let token = request.query("as").unwrap_or_else(|| coding.token().to_owned());
    Ok(Answer::text(200, packed).header("Content-Encoding", &token))
}

fn bomb(kind: &str, length: u64) -> Routed {
    let coding = Coding::named(kind).ok_or("a bomb is gzip, deflate, raw-deflate, br or zstd")?;
    let steps = coding::bomb(coding, length);
    let wire = Script { steps: steps.clone(), ..Script::default() }.bytes();
    let answer = Answer { length: Length::Known(wire), body: steps, ..Answer::text(200, Bytes::new()) };
    Ok(answer.header("Content-Encoding", coding.token()))
}

fn retry_after(request: &Request, seconds: u64, world: &World) -> Routed {
    if world.hit(request)? > parameter(request, "times", 1)? {
        return Ok(Answer::text(200, "at last\n"));
    }
    let value = match request.query("date") {
        Some(_) => http_date(SystemTime::now() + Duration::from_secs(seconds)),
        None => seconds.to_string(),
    };
    Ok(Answer::text(parameter(request, "status", 429)?, "not yet\n").header("Retry-After", &value))
}

/// A host that is overloaded above a number of concurrent requests, which an adaptive client has to find out.
fn capacity(request: &Request, limit: u64, world: &World) -> Routed {
    let host = request.header("host").unwrap_or_default().to_ascii_lowercase();
    if world.recorder.in_flight_of(&host) as u64 > limit {
        return Ok(Answer::text(parameter(request, "status", 503)?, "too busy\n"));
    }
    let mut answer = Answer::text(200, "served\n");
    answer.before = milliseconds(request, "ms", 10)?;
    Ok(answer)
}

fn headers(request: &Request) -> Routed {
    let count: usize = parameter(request, "n", 10)?;
    let size: usize = parameter(request, "size", 10)?;
    small((count as u64).saturating_mul(size as u64 + 16))?;
    let value = "v".repeat(size);
    let answer = Answer::text(200, "headers\n");
    Ok((0..count).fold(answer, |answer, index| answer.header(&format!("X-{index}"), &value)))
}

fn set_cookie(request: &Request) -> Routed {
    let (_, query) =
        request.path_and_query().split_once('?').ok_or("the cookies go into the query: ?name=value")?;
    let answer = Answer::text(200, "cookies\n");
    Ok(query
        .split('&')
        .fold(answer, |answer, cookie| answer.header("Set-Cookie", &format!("{cookie}; Path=/"))))
}

fn etag(request: &Request, value: &str) -> Answer {
    let tag = format!("\"{value}\"");
    let known = |header: &str| {
        header.split(',').any(|known| known.trim().trim_start_matches("W/") == tag || known.trim() == "*")
    };
    let answer = if request.all_headers("if-none-match").any(known) {
        Answer { length: Length::None, ..Answer::body(304, Bytes::new()) }
    } else {
        Answer::text(200, format!("etag {value}\n"))
    };
    answer.header("ETag", &tag)
}

/// A body with a strong ETag that supports single ranges and If-Range.
fn range(request: &Request, length: usize) -> Routed {
    let body = Bytes::from(Pattern::text(request.path()).prefix(length));
    let tag = format!("\"range-{length}\"");
    let whole = Answer::text(200, body.clone()).header("Accept-Ranges", "bytes").header("ETag", &tag);
    let Some(spec) = request.header("range").and_then(|range| range.strip_prefix("bytes=")) else {
        return Ok(whole);
    };
    if request.header("if-range").is_some_and(|known| known != tag) {
        return Ok(whole);
    }
    let (first, last) = spec.split_once('-').ok_or("not one range")?;
    let (first, end) = match (first.parse::<usize>().ok(), last.parse::<usize>().ok()) {
        (Some(first), Some(last)) => (first, last.saturating_add(1).min(length)),
        (Some(first), None) => (first, length),
        (None, Some(suffix)) => (length.saturating_sub(suffix), length),
        (None, None) => return Ok(whole),
    };
    if first >= end {
        return Ok(Answer::text(416, "no such range\n").header("Content-Range", &format!("bytes */{length}")));
    }
    let answer = Answer::text(206, body.slice(first..end)).header("ETag", &tag);
    Ok(answer.header("Content-Range", &format!("bytes {first}-{}/{length}", end - 1)))
}

impl World {
    /// True if this request is one of the first `fail` (by default 1) of its key.
    fn fails(&self, request: &Request) -> Result<bool, String> {
        Ok(self.hit(request)? <= parameter(request, "fail", 1)?)
    }

    /// The number of requests with this key, including this one. The key is `key=`, or else the whole target.
    fn hit(&self, request: &Request) -> Result<u32, String> {
        let key = request.query("key").unwrap_or_else(|| request.path_and_query().to_owned());
        let mut hits = self.hits.lock().expect("no code panics while it counts");
        if hits.len() >= KEYS_MAX && !hits.contains_key(&key) {
            return Err("too many keys to count".to_owned());
        }
        let count = hits.entry(key).or_default();
        *count += 1;
        Ok(*count)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

fn small(bytes: u64) -> Result<usize, String> {
    let length = usize::try_from(bytes).ok().filter(|length| *length <= BODY_BYTES_MAX);
    length.ok_or_else(|| format!("{bytes} is more than this route serves, {BODY_BYTES_MAX}"))
}

fn parameter<T: std::str::FromStr>(request: &Request, name: &str, default: T) -> Result<T, String> {
    match request.query(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("{name}={text} is not a number")),
    }
}

fn milliseconds(request: &Request, name: &str, default: u64) -> Result<Duration, String> {
    parameter(request, name, default).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of the response to this target; empty if there are none.
    fn start(target: &str) -> String {
        let world = World {
            recorder: Arc::new(Recorder::new(0)),
            scheme: "http",
            scale: 1.0,
            robots: Some(String::new()),
            hits: Mutex::new(HashMap::new()),
        };
        let request = Request::parse(Bytes::from(format!("GET {target} HTTP/1.1\r\n\r\n"))).unwrap();
        let script = answer(&request, &world);
        let sent = script
            .steps
            .iter()
            .find_map(|step| if let Step::Send(bytes) = step { Some(bytes) } else { None });
        sent.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    }

    #[test]
    fn every_route_of_the_table_is_there() {
        let table = include_str!("../ROUTES.md");
        let mut routes = 0;
        for line in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
            let column = line.split('|').nth(1).unwrap();
            for name in column.split('`').skip(1).step_by(2) {
                let target = name.replace("/status/N", "/status/200").replace("/N", "/3").replace("=N", "=3");
                let target = target.replace("SECONDS", "7").replace("MS", "7").replace("KIND", "br");
                let target = target.replace("/K", "/3").replace("url=&", "url=x&").replace('…', "");
                let start = start(&target);
                assert!(
                    !start.starts_with("HTTP/1.1 4") || start.starts_with("HTTP/1.1 429"),
                    "{target}: {start}"
                );
                routes += 1;
            }
        }
        assert!(routes > 40, "only {routes} routes were found");
        assert!(start("/no/such/route").starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn senseless_parameters_are_refused() {
        for target in [
            "/status/7",
            "/status/x",
            "/delay/-1",
            "/experiment/5",
            "/chunked/99999999999",
            "/gzip/1?damage=x",
            "/zstd/1?window_log=9",
            "/bomb/zip/1",
            "/redirect-to",
            "/headers?n=1000000000000",
            "/ok?deliver=x",
            "/ok?delay_ms=x",
            "/reset?at=x",
            "/set-cookie",
            "/range/18446744073709551616",
        ] {
            assert!(start(target).starts_with("HTTP/1.1 400"), "{target}: {}", start(target));
        }
    }
}
