//! What reading one URL and writing one record cost: `cargo bench -p overlapped-proto --bench formats`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a clock and a table"
)]
#![allow(clippy::unwrap_used, reason = "as tests may")]

use std::hint::black_box;
use std::time::Instant;

use overlapped_proto::input::{Format, Options, Reader};
use overlapped_proto::job::Row;
use overlapped_proto::limits::INPUT_BLOCK_BYTES;
use overlapped_proto::record::{Body, Connection, HttpVersion, Record, csv, ndjson};
use overlapped_proto::time::Nanos;
use overlapped_proto::timing::Timing;

/// Without optimisation it is only seen to run.
const TIMES: u32 = if cfg!(debug_assertions) { 2_000 } else { 200_000 };

fn main() {
    let urls = |line: &dyn Fn(u32) -> String| (0..TIMES).map(line).collect::<String>();
    let url = |i: u32| format!("https://host-{}.example.org/wiki/Article_number_{i}?version={i}", i % 1_000);
    read("read text", Format::Text, &urls(&|i| format!("{}\n", url(i))));
    read("read ndjson, url only", Format::Ndjson, &urls(&|i| format!("{{\"url\":\"{}\"}}\n", url(i))));
    read(
        "read ndjson, id and 2 columns",
        Format::Ndjson,
        &urls(&|i| format!("{{\"url\":\"{}\",\"id\":\"{i}\",\"lang\":\"en\",\"n\":{i}}}\n", url(i))),
    );
    let table = format!("url,id,lang\n{}", urls(&|i| format!("{},{i},en\n", url(i))));
    read("read csv, id and 1 column", Format::Csv, &table);

    let html =
        "<p class=\"a\">Some words of text in a line, as pages have them, and more of them.</p>\n".repeat(13);
    let plain =
        "Some words of text without anything that needs an escape, as tables and such have them. ".repeat(12);
    let bytes: Vec<u8> = (0..1_024_u32).map(|i| i.to_le_bytes()[0] | 0x80).collect();
    let fields = ndjson::Fields::default();
    for (name, body) in [("html", html.into_bytes()), ("plain", plain.into_bytes()), ("binary", bytes)] {
        let record = record(body);
        write(&format!("write ndjson, 1 KiB {name} body"), |out| ndjson::write(&record, &fields, out));
        write(&format!("write csv, 1 KiB {name} body"), |out| {
            csv::write(&record, &fields, csv::Guard::Off, out)
        });
    }
    let record = record(Vec::new());
    let fields = ndjson::Fields { headers: false, body: false };
    write("write ndjson, no headers, no body", |out| ndjson::write(&record, &fields, out));
}

fn read(name: &str, format: Format, list: &str) {
    best_of(name, list.len(), || {
        let mut reader = Reader::new(format, Options::default());
        let mut sink = |row| assert!(black_box::<overlapped_proto::input::RowRead>(row).job.is_ok());
        for block in list.as_bytes().chunks(INPUT_BLOCK_BYTES) {
            reader.push(block, &mut sink).unwrap();
        }
        reader.finish(&mut sink).unwrap();
    });
}

fn write(name: &str, mut write: impl FnMut(&mut Vec<u8>)) {
    let mut out = Vec::with_capacity(1 << 20);
    write(&mut out);
    best_of(name, out.len() * TIMES as usize, || {
        for _ in 0..TIMES {
            if out.len() > 1 << 19 {
                out.clear();
            }
            write(&mut out);
        }
    });
}

fn best_of(name: &str, bytes: usize, mut run: impl FnMut()) {
    let seconds = (0..7).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    let best = seconds.fold(f64::INFINITY, f64::min);
    let (ns, rate) = (best * 1e9 / f64::from(TIMES), bytes as f64 / best / 1e6);
    println!("{name:36} {ns:7.0} ns  {rate:6.0} MB/s  {:5} bytes", bytes / TIMES as usize);
}

fn record(body: Vec<u8>) -> Record {
    let mut record =
        Record::new(Row(123_456_789), "https://host-17.example.org/wiki/Article_number_123456?version=1");
    record.host = Some("host-17.example.org".into());
    record.status = Some(200);
    record.ok = true;
    record.attempts = 1;
    record.connection = Connection {
        http_version: Some(HttpVersion::Http11),
        remote: Some("127.0.0.1:8080".parse().unwrap()),
        reused: Some(true),
    };
    for (name, value) in [
        ("server", "nginx/1.26.3"),
        ("date", "Sun, 22 Nov 2026 13:40:00 GMT"),
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", "1024"),
        ("last-modified", "Sun, 22 Nov 2026 13:00:00 GMT"),
        ("connection", "keep-alive"),
        ("etag", "\"6921b1c0-400\""),
        ("accept-ranges", "bytes"),
    ] {
        record.headers.push(name, value.as_bytes());
    }
    record.bytes = 1_024;
    record.wire_bytes = 1_024;
    record.body = Body::Inline(body.into());
    record.started_unix_us = Some(1_795_354_800_123_456);
    let span = |us: u64| Some(Nanos(us * 1_000));
    record.timing =
        Timing { blocked: span(13), send: span(9), wait: span(412), receive: span(22), ..Timing::default() };
    record.elapsed = Nanos(456_000);
    record
}
