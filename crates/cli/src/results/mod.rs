//! Results of a run, read back from its files: NDJSON and HAR, also compressed, and tables. One row is in memory at a time.
//!
//! Bodies and header fields are skipped. Files may come from elsewhere: all text in them is
//! untrusted, and a value that is missing or has another type is unknown.

mod lines;
mod table;
mod har;
mod started;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use overlapped_fetch::Unpack;
use overlapped_fetch::tables::Kind;
use overlapped_proto::record::Record;
use overlapped_proto::time::Nanos;
use url::Url;

use crate::exit::Error;

/// The number of phases.
pub(crate) const PHASES: usize = 7;

/// The columns that are read.
const COLUMNS: [&str; 20] = [
    "row",
    "url",
    "host",
    "status",
    "ok",
    "error",
    "error_message",
    "attempts",
    "bytes",
    "started",
    "blocked_ms",
    "dns_ms",
    "connect_ms",
    "tls_ms",
    "send_ms",
    "wait_ms",
    "receive_ms",
    "elapsed_ms",
    "redirects",
    "chain",
];

/// The result of one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    /// Its number in the list, from 0.
    pub(crate) row: u64,
    /// The URL as the list gave it.
    pub(crate) url: String,
    /// The host that was asked last.
    pub(crate) host: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) ok: bool,
    /// The name of its error, and what was seen.
    pub(crate) error: Option<String>,
    pub(crate) message: Option<String>,
    /// Attempts that were started, over all redirects.
    pub(crate) attempts: u16,
    /// Redirects that were followed, and the seconds of their requests.
    pub(crate) redirects: u16,
    pub(crate) chain_s: f64,
    /// Bytes of the body, decoded.
    pub(crate) bytes: u64,
    /// When the first attempt started, in seconds since 1970.
    pub(crate) started_s: Option<f64>,
    /// Seconds of the phases of the last attempt: blocked, dns, connect, tls, send, wait, receive.
    pub(crate) phases_s: [Option<f64>; PHASES],
    /// Seconds from the moment the row was ready until it was done: all attempts and waits.
    pub(crate) elapsed_s: Option<f64>,
}

impl Entry {
    /// A finished row.
    pub(crate) fn of(record: &Record) -> Self {
        let t = &record.timing;
        Self {
            row: record.row.0,
            url: record.url.to_string(),
            host: record.host.as_deref().map(str::to_owned),
            status: record.status,
            ok: record.ok,
            error: record.failure.as_ref().map(|failure| failure.kind.name().to_owned()),
            message: record.failure.as_ref().map(|failure| failure.message.to_string()),
            attempts: record.attempts,
            redirects: u16::try_from(record.chain.len()).unwrap_or(u16::MAX),
            chain_s: record.chain.iter().map(|hop| hop.total.as_secs_f64()).sum(),
            bytes: record.bytes,
            started_s: record.started_unix_us.map(|us| us as f64 / 1e6),
            phases_s: [t.blocked, t.dns, t.connect, t.tls, t.send, t.wait, t.receive]
                .map(|span| span.map(Nanos::as_secs_f64)),
            elapsed_s: Some(record.elapsed.as_secs_f64()),
        }
    }

    /// What a file leaves out, from what it has.
    fn completed(mut self) -> Self {
        if self.host.is_none() {
            self.host = Url::parse(&self.url).ok().and_then(|url| url.host_str().map(str::to_owned));
        }
        // A failed row always has an error: that of its status, if it has one.
        if self.error.is_none() && !self.ok {
            self.error = Some(if self.status.is_some() { "status" } else { "no response" }.to_owned());
        }
        self
    }

    /// Its status, or the name of its error.
    pub(crate) fn result(&self) -> String {
        match (self.error.as_deref(), self.status) {
            (None | Some("status"), Some(status)) => status.to_string(),
            (Some(error), _) => error.to_owned(),
            (None, None) => "-".to_owned(),
        }
    }
}

/// Reads the results at `path`, or NDJSON on standard input for `-`, and passes on each row.
///
/// # Errors
///
/// It cannot be read, or is no result of a run; the message names the line or the row.
///
/// # Blocking
///
/// On the disk.
pub(crate) fn read(path: &Path, accept: &mut dyn FnMut(Entry)) -> Result<(), Error> {
    let unpacked = |file, name: &str| BufReader::new(Unpack::new(file, name));
    if path == Path::new("-") {
        return lines::read(unpacked(Box::new(io::stdin()), ""), path, accept);
    }
    let lower = path.to_string_lossy().to_ascii_lowercase();
    if [".warc", ".warc.gz"].iter().any(|suffix| lower.ends_with(suffix)) {
        return Err(Error::Usage(format!(
            "{}: results are read from .ndjson, .parquet, .arrow and .har, not from WARC: run it with --report F.html, \
             --waterfall F.svg, or -o F.ndjson --no-body beside the archive",
            path.display()
        )));
    }
    let open = || File::open(path).map_err(|error| Error::reading(path, &error));
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let content = [".gz", ".zst"].iter().find_map(|packing| name.strip_suffix(packing)).unwrap_or(&name);
    let suffix = Path::new(content).extension().unwrap_or_default().to_string_lossy();
    let lines = || open().map(|file| unpacked(Box::new(file), &name));
    match &*suffix {
        "parquet" | "arrow" | "feather" if content != name => Err(Error::Usage(format!(
            "{}: a table is compressed in itself: unpack the file first",
            path.display()
        ))),
        "parquet" => table::read(open()?, Kind::Parquet, path, accept),
        "arrow" | "feather" => table::read(open()?, Kind::Arrow, path, accept),
        "har" => har::read(lines()?, path, accept),
        "csv" | "tsv" => Err(Error::Usage(format!(
            "{}: results are read from .ndjson, .parquet, .arrow and .har: run it with a further -o F.ndjson",
            path.display()
        ))),
        _ => lines::read(lines()?, path, accept),
    }
}

/// Why a file is no result.
fn no_result(path: &Path, place: &str, what: &str) -> Error {
    Error::Usage(format!("{} {place} is no record of `overlapped fetch`: {what}", path.display()))
}
