//! Runs a list against the engine and collects what came of it: one record a row, or the test fails.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use overlapped_fetch::{Bulk, Config, Error, Input, InputOptions, Pace, Retry, Run, Summary, sink};
use overlapped_proto::input::Format;
use overlapped_proto::record::Record;

/// Longer than any test may take; only a hang reaches it.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// What a run gave.
pub(crate) struct Fetched {
    /// In the order they came.
    pub(crate) records: Vec<Record>,
    pub(crate) summary: Summary,
}

/// Ordered, on two shards, and nothing is tried again unless a test says so.
pub(crate) fn config() -> Config {
    Config {
        ordered: true,
        shards: Some(2),
        retry: Retry { retries: 0, ..Retry::default() },
        ..Config::default()
    }
}

/// The same, one request at a time.
pub(crate) fn one_by_one() -> Config {
    Config { pace: Pace { parallel_max: 1, ..Pace::default() }, shards: Some(1), ..config() }
}

/// The same as [`config`], with the retries that are the default, or others.
pub(crate) fn retrying(retries: u16) -> Config {
    Config { retry: Retry { retries, ..Retry::default() }, ..config() }
}

/// Fetches these URLs. Whatever happens, each has exactly one record.
pub(crate) fn fetch<U: Into<String>>(config: Config, urls: impl IntoIterator<Item = U>) -> Fetched {
    let urls: Vec<String> = urls.into_iter().map(Into::into).collect();
    let rows = urls.len();
    let fetched = run(Bulk::new(config).unwrap().input(Input::Urls(Box::new(urls.into_iter()))));
    fetched.assert_complete(rows);
    fetched
}

/// Fetches one URL.
pub(crate) fn fetch_one(config: Config, url: impl Into<String>) -> Record {
    fetch(config, [url.into()]).records.remove(0)
}

/// Fetches a list in some format, of this number of rows.
pub(crate) fn fetch_list(config: Config, format: Format, list: impl Into<Vec<u8>>, rows: usize) -> Fetched {
    let options = InputOptions { format: Some(format), ..InputOptions::default() };
    let input = Input::Read(Box::new(Cursor::new(list.into())), "of the test".into());
    let fetched = run(Bulk::new(config).unwrap().input(input).input_options(options));
    fetched.assert_complete(rows);
    fetched
}

/// Runs to the end with a collecting sink.
pub(crate) fn run(bulk: Bulk) -> Fetched {
    let (sink, collected) = sink::collect();
    let summary = wait(bulk.sink(sink).start().unwrap()).unwrap();
    Fetched { records: collected.take(), summary }
}

/// Waits for the end of a run; a run that hangs fails the test.
pub(crate) fn wait(run: Run) -> Result<Summary, Error> {
    within_long(move || run.wait())
}

/// Does something that must end.
pub(crate) fn within_long<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    match ended.recv_timeout(LONG) {
        Ok(value) => value,
        Err(error) => panic!("the run did not end: {error}"),
    }
}

impl Fetched {
    /// Every row has exactly one record, and the summary counts the same.
    pub(crate) fn assert_complete(&self, rows: usize) {
        let mut found: Vec<u64> = self.records.iter().map(|record| record.row.0).collect();
        found.sort_unstable();
        assert_eq!(found, (0..rows as u64).collect::<Vec<_>>(), "the rows that have a record");
        let progress = &self.summary.progress;
        let ok = self.records.iter().filter(|record| record.ok).count() as u64;
        assert_eq!((progress.rows_done, progress.ok), (rows as u64, ok), "the summary");
        assert_eq!(self.summary.by_error.values().sum::<u64>(), rows as u64 - ok, "failures by kind");
        assert!(self.summary.finished);
        for record in &self.records {
            assert_eq!(record.ok, record.failure.is_none(), "{record:?}");
        }
    }

    /// The name of each row's error, empty for none, in the order of the records.
    pub(crate) fn errors(&self) -> Vec<&'static str> {
        self.records.iter().map(error).collect()
    }

    pub(crate) fn statuses(&self) -> Vec<u16> {
        self.records.iter().map(|record| record.status.unwrap_or(0)).collect()
    }
}

/// The name of a record's error; empty for none.
pub(crate) fn error(record: &Record) -> &'static str {
    record.failure.as_ref().map_or("", |failure| failure.kind.name())
}

/// The body, which must be in memory.
pub(crate) fn body(record: &Record) -> &[u8] {
    record.body.inline().unwrap_or_else(|| panic!("no body in memory: {record:?}"))
}

/// The body as text.
pub(crate) fn text(record: &Record) -> &str {
    std::str::from_utf8(body(record)).unwrap()
}

/// A header of the response.
pub(crate) fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record.headers.first(name).map(|value| std::str::from_utf8(value).unwrap())
}

/// An empty directory that goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("overlapped-test-{}-{number}", std::process::id()));
        // What an earlier process of the same number has left behind.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Every file below, relative and in order, temporary ones included.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.0, &mut |path| {
            found.push(path.strip_prefix(&self.0).unwrap().to_str().unwrap().to_owned());
        });
        found.sort();
        found
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn walk(directory: &Path, each: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, each) } else { each(&path) }
    }
}
