//! Progress and summary of a run. The conductor counts each record once.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use overlapped_proto::error::{ErrorKind, Phase};
use overlapped_proto::limits;
use overlapped_proto::max_errors::MaxErrors;
use overlapped_proto::record::Record;
use overlapped_proto::schedule::Held;

use crate::clock::Clock;
use crate::shared::{Gauges, Shared, SlowestHost, Stop, held_of};

/// The progress of a run at one point in time.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Since the run started.
    pub elapsed: Duration,
    /// Rows read from the list so far.
    pub rows_read: u64,
    /// Bytes read from the list so far.
    pub input_bytes_read: u64,
    /// Bytes of the whole list, where that is known.
    pub input_bytes: Option<u64>,
    /// Rows still to be read, as far as the length of the list, `skip`, `limit` and `shard` determine it.
    pub rows_unread: Option<u64>,
    /// Rows done by the earlier processes of a resumed run.
    pub rows_earlier: u64,
    /// Those of them that succeeded.
    pub ok_earlier: u64,
    /// Rows that this run has done: the sum of `ok`, `by_class`, `failed` and `bad`.
    pub rows_done: u64,
    /// Rows that succeeded.
    pub ok: u64,
    /// Rows that failed by their status, by its first digit; index 0: other statuses.
    pub by_class: [u64; 6],
    /// Rows that failed in another way: no response, or an incomplete or invalid one.
    pub failed: u64,
    /// Rows of the list that are not valid.
    pub bad: u64,
    /// Decoded bytes of all bodies.
    pub bytes: u64,
    /// Bytes of all bodies on the wire.
    pub wire_bytes: u64,
    /// Requests in flight.
    pub in_flight: usize,
    /// Hosts with rows.
    pub hosts: usize,
    /// Hosts that are parked after a `Retry-After`.
    pub hosts_parked: usize,
    /// Rows spilled to disk until their host can take them.
    pub rows_spilled: u64,
    /// The limit that holds the run back.
    pub held: Held,
    /// The host that will take longest, if hosts with limits of their own have many rows.
    pub slowest_host: Option<SlowestHost>,
}

/// The result of a run.
///
/// ```
/// use overlapped_fetch::{Bulk, Config, Input};
/// # let server = overlapped_testkit::Server::start();
/// # let urls = ["/ok", "/status/404", "/redirect/1"].map(|path| server.url(path));
///
/// let summary = Bulk::new(Config::default())?.input(Input::Urls(Box::new(urls.into_iter()))).start()?.wait()?;
/// assert_eq!((summary.progress.rows_done, summary.redirects), (3, 1));
/// assert_eq!((summary.by_status[&404], summary.by_error["status"]), (1, 1));
/// assert!(summary.total_ms.p50 <= summary.total_ms.max);
/// # Ok::<(), overlapped_fetch::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Summary {
    /// Its progress at the end.
    pub progress: Progress,
    /// False if it was stopped before the end of its list.
    pub finished: bool,
    /// Why it was stopped.
    pub stopped_by: Option<Stop>,
    /// Rows by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Failed rows by the name of their error.
    pub by_error: BTreeMap<&'static str, u64>,
    /// Rows by deviation of their response head; see [`Note`](overlapped_proto::notes::Note).
    pub by_note: BTreeMap<&'static str, u64>,
    /// Bad rows of the list, by number, each with what is wrong with it: those with the lowest numbers, five at the most.
    pub bad_rows: Vec<(u64, String)>,
    /// The time of the last attempt of each row that has a status, without its time in the queue, in milliseconds.
    pub total_ms: Percentiles,
    /// From the end of the request to the first byte, in milliseconds.
    pub first_byte_ms: Percentiles,
    /// Connections that were opened.
    pub connections_new: u64,
    /// Requests over a connection that was already open.
    pub connections_reused: u64,
    /// Attempts after a failed one.
    pub retries: u64,
    /// The peak of the bytes of bodies and heads in memory; small amounts are not counted.
    pub body_bytes_peak: usize,
    /// How often a request found no free file descriptor or local port. It was put back, and the budget of requests in
    /// flight was lowered.
    pub shortages: u64,
    /// The lowest budget of requests in flight after such shortages.
    pub parallel_least: usize,
    /// The first write error of the spill file. After it, a host with very many rows holds up the others.
    pub spill_failure: Option<String>,
    /// Names of `insecure_hosts` that no TLS request has matched.
    pub insecure_unmet: Vec<String>,
    /// `HOST:PORT` with addresses of their own ([`crate::Network::resolve`]) to which no row has connected, and why.
    pub resolve_unmet: Vec<(String, &'static str)>,
    /// Names of [`crate::Config::hosts`] for which there was no request, sorted.
    pub hosts_unmet: Vec<String>,
    /// Redirects that were followed.
    pub redirects: u64,
    /// The hosts with the longest mean time of a request, as in `total_ms` but also of those that failed, slowest first;
    /// five at the most.
    pub slowest_hosts: Vec<(String, f64)>,
    /// The hosts with the most failed rows, most first; five at the most.
    pub failing_hosts: Vec<(String, u64)>,
}

/// A distribution by percentiles; `None` if nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// Half are below.
    pub p50: Option<f64>,
    /// Nine in ten are below.
    pub p90: Option<f64>,
    /// Ninety-nine in a hundred are below.
    pub p99: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

/// Counts the records of a run.
pub(crate) struct Tally {
    clock: Clock,
    input_bytes: Option<u64>,
    input_bytes_read: AtomicU64,
    rows_read: AtomicU64,
    /// `u64::MAX`: not known.
    rows_unread: AtomicU64,
    rows_earlier: u64,
    ok_earlier: u64,
    counts: Mutex<Counts>,
}

struct Counts {
    rows_done: u64,
    ok: u64,
    by_class: [u64; 6],
    failed: u64,
    bad: u64,
    bytes: u64,
    wire_bytes: u64,
    by_status: BTreeMap<u16, u64>,
    by_error: BTreeMap<&'static str, u64>,
    by_note: BTreeMap<&'static str, u64>,
    bad_rows: BTreeMap<u64, Box<str>>,
    total: Histogram<u64>,
    first_byte: Histogram<u64>,
    hosts: HashMap<Box<str>, HostCounts>,
}

#[derive(Default)]
struct HostCounts {
    /// The requests in `total_ms`.
    requests: u64,
    failed: u64,
    total_ms: f64,
}

impl Tally {
    pub(crate) fn new(
        clock: Clock,
        input_bytes: Option<u64>,
        rows_earlier: u64,
        ok_earlier: u64,
    ) -> Result<Self, hdrhistogram::CreationError> {
        let counts = Counts {
            rows_done: 0,
            ok: 0,
            by_class: [0; 6],
            failed: 0,
            bad: 0,
            bytes: 0,
            wire_bytes: 0,
            by_status: BTreeMap::new(),
            by_error: BTreeMap::new(),
            by_note: BTreeMap::new(),
            bad_rows: BTreeMap::new(),
            // Microseconds, to two digits.
            total: Histogram::new(2)?,
            first_byte: Histogram::new(2)?,
            hosts: HashMap::new(),
        };
        Ok(Self {
            clock,
            input_bytes,
            input_bytes_read: AtomicU64::new(0),
            rows_read: AtomicU64::new(0),
            rows_unread: AtomicU64::new(u64::MAX),
            rows_earlier,
            ok_earlier,
            counts: Mutex::new(counts),
        })
    }

    /// Counts a block that was read; `unread` rows follow it, where that is known.
    pub(crate) fn read(&self, bytes: u64, rows: usize, unread: Option<u64>) {
        self.rows_unread.store(unread.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.input_bytes_read.store(bytes, Ordering::Relaxed);
        self.rows_read.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, batch: &[Record]) {
        let mut counts = self.lock();
        batch.iter().for_each(|record| counts.add(record));
        // In many lists neighbours are of one host, which is then looked up once.
        batch.chunk_by(|a, b| a.host == b.host).for_each(|records| counts.add_host(records));
    }

    /// True if the number of failed rows has reached the limit.
    pub(crate) fn reached(&self, max: MaxErrors) -> bool {
        let counts = self.lock();
        max.reached(counts.rows_done - counts.ok, counts.rows_done)
    }

    pub(crate) fn progress(&self, shared: &Shared) -> Progress {
        let counts = self.lock();
        let sum = |figure: fn(&Gauges) -> usize| shared.gauges.iter().map(figure).sum();
        let held = shared.gauges.iter().map(|gauges| gauges.held.load(Ordering::Relaxed)).max();
        Progress {
            elapsed: self.clock.now().into(),
            rows_read: self.rows_read.load(Ordering::Relaxed),
            input_bytes_read: self.input_bytes_read.load(Ordering::Relaxed),
            input_bytes: self.input_bytes,
            rows_unread: Some(self.rows_unread.load(Ordering::Relaxed)).filter(|rows| *rows < u64::MAX),
            rows_earlier: self.rows_earlier,
            ok_earlier: self.ok_earlier,
            rows_done: counts.rows_done,
            ok: counts.ok,
            by_class: counts.by_class,
            failed: counts.failed,
            bad: counts.bad,
            bytes: counts.bytes,
            wire_bytes: counts.wire_bytes,
            in_flight: sum(|gauges| gauges.in_flight.load(Ordering::Relaxed)),
            hosts: sum(|gauges| gauges.hosts.load(Ordering::Relaxed)),
            hosts_parked: sum(|gauges| gauges.parked.load(Ordering::Relaxed)),
            rows_spilled: shared.channels.spilled(),
            held: held.map_or(Held::Nothing, held_of),
            slowest_host: shared.gauges.iter().filter_map(slowest_of).max_by_key(|slowest| slowest.time),
        }
    }

    pub(crate) fn summary(&self, shared: &Shared) -> Summary {
        let progress = self.progress(shared);
        let (shortages, parallel_least) = shared.shortages();
        let counts = self.lock();
        let sum = |figure: fn(&Gauges) -> &AtomicU64| {
            shared.gauges.iter().map(|gauges| figure(gauges).load(Ordering::Relaxed)).sum()
        };
        Summary {
            progress,
            finished: shared.stopped_by().is_none(),
            stopped_by: shared.stopped_by(),
            by_status: counts.by_status.clone(),
            by_error: counts.by_error.clone(),
            by_note: counts.by_note.clone(),
            bad_rows: counts.bad_rows.iter().map(|(row, what)| (*row, what.to_string())).collect(),
            total_ms: percentiles(&counts.total),
            first_byte_ms: percentiles(&counts.first_byte),
            connections_new: sum(|gauges| &gauges.connections_new),
            connections_reused: sum(|gauges| &gauges.connections_reused),
            retries: sum(|gauges| &gauges.retries),
            body_bytes_peak: 0,
            shortages,
            parallel_least,
            spill_failure: shared.spill_failure.get().cloned(),
            insecure_unmet: Vec::new(),
            resolve_unmet: Vec::new(),
            hosts_unmet: Vec::new(),
            redirects: sum(|gauges| &gauges.redirects),
            slowest_hosts: counts.slowest_hosts(),
            failing_hosts: counts.failing_hosts(),
        }
    }

    /// No code panics while it holds the lock, so a poisoned value is consistent.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slowest_of(gauges: &Gauges) -> Option<SlowestHost> {
    gauges.slowest.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Counts {
    fn add(&mut self, record: &Record) {
        self.rows_done += 1;
        self.ok += u64::from(record.ok);
        self.bytes += record.bytes;
        self.wire_bytes += record.wire_bytes;
        if let Some(status) = record.status {
            *self.by_status.entry(status).or_default() += 1;
        }
        if let Some(failure) = &record.failure {
            *self.by_error.entry(failure.kind.name()).or_default() += 1;
            *self.class_of(failure.kind, record.status) += 1;
            if is_bad(failure.kind) {
                self.name_bad(record.row.0, &failure.message);
            }
        }
        for note in record.notes.iter() {
            *self.by_note.entry(note.name()).or_default() += 1;
        }
        let total = record.timing.total();
        if record.status.is_some() {
            let _ = self.total.record(total.0 / 1_000);
        }
        if let Some(wait) = record.timing.wait {
            let _ = self.first_byte.record(wait.0 / 1_000);
        }
    }

    /// Keeps what is wrong with a bad row, if it is one of the first.
    fn name_bad(&mut self, row: u64, what: &str) {
        let is_full = self.bad_rows.len() >= limits::BAD_ROWS_NAMED;
        if is_full && self.bad_rows.last_key_value().is_some_and(|(last, _)| *last < row) {
            return;
        }
        self.bad_rows.insert(row, what.into());
        if is_full {
            self.bad_rows.pop_last();
        }
    }

    /// The counter for a failed row. Each one is counted once.
    fn class_of(&mut self, kind: ErrorKind, status: Option<u16>) -> &mut u64 {
        if kind == ErrorKind::Status {
            let class = usize::from(status.unwrap_or_default() / 100);
            let [other, classes @ ..] = &mut self.by_class;
            return classes.get_mut(class.wrapping_sub(1)).unwrap_or(other);
        }
        if is_bad(kind) { &mut self.bad } else { &mut self.failed }
    }

    /// Counts records of one host.
    fn add_host(&mut self, records: &[Record]) {
        let Some(name) = records.first().and_then(|record| record.host.as_deref()) else { return };
        if !self.hosts.contains_key(name) && self.hosts.len() < limits::HOSTS_TALLIED_MAX {
            self.hosts.insert(name.into(), HostCounts::default());
        }
        let Some(host) = self.hosts.get_mut(name) else { return };
        for record in records {
            host.requests += u64::from(record.timing.blocked.is_some());
            host.failed += u64::from(!record.ok);
            host.total_ms += record.timing.total().as_millis_f64();
        }
    }

    fn slowest_hosts(&self) -> Vec<(String, f64)> {
        let mean = |host: &HostCounts| host.total_ms / host.requests as f64;
        let asked = self.hosts.iter().filter(|(_, host)| host.requests > 0);
        let mut hosts: Vec<_> = asked.map(|(name, host)| (name.to_string(), mean(host))).collect();
        hosts.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        hosts.truncate(limits::HOSTS_TOLD);
        hosts
    }

    fn failing_hosts(&self) -> Vec<(String, u64)> {
        let failing = self.hosts.iter().filter(|(_, host)| host.failed > 0);
        let mut hosts: Vec<_> = failing.map(|(name, host)| (name.to_string(), host.failed)).collect();
        hosts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        hosts.truncate(limits::HOSTS_TOLD);
        hosts
    }
}

/// True for a failure of the row itself, which fails in every run until its list is changed.
fn is_bad(kind: ErrorKind) -> bool {
    kind.phase() == Phase::Input && kind != ErrorKind::PolicyRobots
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    if histogram.is_empty() {
        return Percentiles::default();
    }
    let at = |quantile| Some(histogram.value_at_quantile(quantile) as f64 / 1e3);
    Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: Some(histogram.max() as f64 / 1e3) }
}
