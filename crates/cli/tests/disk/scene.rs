//! Small runs of every kind, and what must be true of them whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlapped_fetch::{Unpack, durable};
use overlapped_proto::journal::{Frame, Waiting};
use overlapped_testkit::{Server, row_of, text_of};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;

use super::archive;
use super::record::{self, Call};
use super::{Act, Trip, watch};
use crate::program::{Directory, Ran, command, finish};

pub(crate) const ROWS: u64 = 24;

/// What the run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ndjson,
    Csv,
    /// A file a row, one of them large, and records that name them.
    Files,
    /// Some rows have failed in a run before, and are fetched once more.
    Retry,
    /// Compressed records.
    Packed,
    /// The same, where some rows have failed before.
    PackedRetry,
    /// The list comes through a pipe.
    Piped,
    /// Requests that must not be sent twice.
    Post,
    /// In order, behind a row that takes long: a file a row, one of them large, and records.
    Ordered,
    /// A file a row and records, over what a run of another list has left that was killed.
    Overwrite,
    /// An archive that is closed at the end.
    Har,
    /// The same; some rows have failed in a run before, and are fetched once more.
    HarRetry,
    /// An archive that is appended to, with an index.
    Warc,
    /// The same; some rows have failed in a run before, and are fetched once more.
    WarcRetry,
    /// A table, and its spool.
    Table,
    /// The same; some rows have failed in a run before, and are fetched once more.
    TableRetry,
}

impl Kind {
    pub(crate) const ALL: [Self; 16] = [
        Self::Ndjson,
        Self::Csv,
        Self::Files,
        Self::Retry,
        Self::Packed,
        Self::PackedRetry,
        Self::Piped,
        Self::Post,
        Self::Ordered,
        Self::Overwrite,
        Self::Har,
        Self::HarRetry,
        Self::Warc,
        Self::WarcRetry,
        Self::Table,
        Self::TableRetry,
    ];

    fn has_files(self) -> bool {
        matches!(self, Self::Files | Self::Ordered | Self::Overwrite)
    }

    /// The state stays when all is done.
    fn stays(self) -> bool {
        self.has_files() || matches!(self, Self::Warc | Self::WarcRetry)
    }

    /// It goes on with a run that has a state.
    pub(crate) fn retries(self) -> bool {
        matches!(self, Self::Retry | Self::PackedRetry | Self::HarRetry | Self::WarcRetry | Self::TableRetry)
    }

    fn begin(self) -> &'static str {
        match self {
            Self::Ndjson
            | Self::Csv
            | Self::Files
            | Self::Packed
            | Self::Piped
            | Self::Post
            | Self::Ordered
            | Self::Har
            | Self::Warc
            | Self::Table => "--resume",
            Self::Retry | Self::PackedRetry | Self::HarRetry | Self::WarcRetry | Self::TableRetry => {
                "--retry-failed"
            }
            Self::Overwrite => "--overwrite",
        }
    }
}

/// A run, and where it has its files.
pub(crate) struct Scene {
    pub(crate) kind: Kind,
    pub(crate) server: Server,
    directory: Directory,
    list: String,
}

/// What is known of a run's rows at some moment.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Done, and succeeded.
    pub(crate) done: BTreeSet<u64>,
    /// Not to be sent once more, whether done or not.
    pub(crate) intended: BTreeSet<u64>,
}

impl Scene {
    /// Ready for [`Scene::run`].
    pub(crate) fn new(kind: Kind) -> Self {
        let (server, directory) = (Server::start(), Directory::new());
        let list = |target: fn(Kind, u64) -> String| -> String {
            (0..ROWS).map(|row| server.url(&format!("{}\n", target(kind, row)))).collect()
        };
        let (list, earlier) = (list(target), list(earlier_target));
        let scene = Self { kind, server, directory, list };
        fs::create_dir(scene.root()).unwrap();
        if kind == Kind::Overwrite {
            scene.directory.write("urls.txt", earlier);
            let trip = Trip { calls: "rename", file: "pages/", at: 17, act: Act::KillBefore };
            assert_eq!(scene.begin("--resume", Some(trip)).code, None);
            scene.forget();
        }
        scene.directory.write("urls.txt", &scene.list);
        if kind.retries() {
            scene.go(&scene.words("--durability=each"), None).check_code(1);
            scene.forget();
        }
        scene
    }

    /// Where everything is that the run writes.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path("root").into()
    }

    pub(crate) fn record(&self) -> Vec<Call> {
        record::read(Path::new(&self.directory.path("record")))
    }

    /// The run directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.root().join(match self.kind {
            Kind::Files | Kind::Ordered | Kind::Overwrite => "deep/pages.run",
            Kind::Csv => "out.csv.run",
            Kind::Har | Kind::HarRetry => "out.har.run",
            Kind::Table | Kind::TableRetry => "out.parquet.run",
            Kind::Warc | Kind::WarcRetry => "out.warc.gz.run",
            Kind::Packed | Kind::PackedRetry => "out.ndjson.gz.run",
            Kind::Ndjson | Kind::Retry | Kind::Piped | Kind::Post => "out.ndjson.run",
        })
    }

    fn words(&self, begin: &str) -> Vec<String> {
        let root = self.root().to_str().unwrap().to_owned();
        let outputs: &[&str] = match self.kind {
            Kind::Ndjson | Kind::Piped | Kind::Post => &["/out.ndjson"],
            Kind::Csv => &["/out.csv"],
            Kind::Har | Kind::HarRetry => &["/out.har"],
            Kind::Table | Kind::TableRetry => &["/out.parquet"],
            Kind::Warc | Kind::WarcRetry => &["/out.warc.gz"],
            Kind::Files | Kind::Ordered | Kind::Overwrite => &["/deep/pages/", "/out.ndjson"],
            Kind::Retry => &["/out.ndjson", "/out.csv"],
            Kind::Packed | Kind::PackedRetry => &["/out.ndjson.gz", "/out.csv.zst"],
        };
        let list = if self.kind == Kind::Piped {
            "-".to_owned()
        } else {
            format!("@{}", self.directory.path("urls.txt"))
        };
        let mut words = vec!["-s", "-j", "2", begin];
        words.extend(match self.kind {
            Kind::Files | Kind::Overwrite => ["--name", "{row}"].as_slice(),
            Kind::Post => &["-X", "POST"],
            Kind::Ordered => &["--name", "{row}", "--ordered"],
            Kind::Warc | Kind::WarcRetry => &["--cdxj"],
            Kind::Ndjson
            | Kind::Csv
            | Kind::Retry
            | Kind::Packed
            | Kind::PackedRetry
            | Kind::Piped
            | Kind::Har
            | Kind::HarRetry
            | Kind::Table
            | Kind::TableRetry => &[],
        });
        let mut words: Vec<_> = words.into_iter().map(str::to_owned).collect();
        words.extend(outputs.iter().flat_map(|output| ["-o".to_owned(), format!("{root}{output}")]));
        words.push(list);
        words
    }

    /// Starts or resumes the run; each result is made durable at once.
    pub(crate) fn run(&self, trip: Option<Trip>) -> Ran {
        self.begin(self.kind.begin(), trip)
    }

    /// The same, with another word for what becomes of an earlier run.
    pub(crate) fn begin(&self, begin: &str, trip: Option<Trip>) -> Ran {
        let mut words = self.words(begin);
        words.insert(0, "--durability=each".to_owned());
        self.go(&words, trip)
    }

    /// Runs `journal repair` on its state.
    pub(crate) fn repair(&self, trip: Option<Trip>) -> Ran {
        let state = self.state().to_str().unwrap().to_owned();
        self.go(&["journal".to_owned(), "repair".to_owned(), state], trip)
    }

    fn go(&self, words: &[String], trip: Option<Trip>) -> Ran {
        let mut command = command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        watch(&mut command, &self.root(), Path::new(&self.directory.path("record")), trip);
        let input = if self.kind == Kind::Piped { self.list.as_bytes() } else { &[] };
        finish(&mut command, input)
    }

    // --- what must be true ---------------------------------------------------------------------------------------

    /// The content of the state; nothing if there is none, or if a new run would discard it.
    pub(crate) fn known(&self) -> Known {
        let mut known = Known::default();
        if self.kind == Kind::Overwrite || !self.state().join("job.json").exists() {
            return known;
        }
        let checked = durable::check(&self.state(), |_, _, frame| known.add(frame));
        checked.unwrap_or_else(|error| panic!("{error}"));
        known
    }

    /// True if the run came to its end, and its state says so or went.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state();
        // Where there are files or archives, the state stays.
        let ended =
            || self.kind.stays() && durable::check(&state, |_, _, _| ()).is_ok_and(|checked| checked.ended);
        (!state.join("job.json").exists() || ended()) && self.is_complete()
    }

    /// Has the server forget what it saw, once it has seen all that was sent.
    pub(crate) fn forget(&self) {
        assert!(self.server.wait_until(Duration::from_secs(60), |server| server.open_connections() == 0));
        self.server.forget();
    }

    /// How often each row was asked for since the server was told to forget.
    pub(crate) fn hits(&self) -> BTreeMap<u64, u64> {
        let mut hits = BTreeMap::new();
        for seen in self.server.seen() {
            let (_, row) = seen.target.rsplit_once("n=").unwrap_or_else(|| panic!("{seen:?}"));
            *hits.entry(row.parse().unwrap()).or_default() += 1;
        }
        hits
    }

    /// Resumes the run to its end; rows that are done are not fetched again. `why` describes what happened before.
    pub(crate) fn finish(&self, why: &str) {
        let known = self.known();
        let over = self.is_over();
        self.check_go_on(&known, over, why);
    }

    /// The same, where something else tells what is known.
    pub(crate) fn check_go_on(&self, known: &Known, over: bool, why: &str) {
        self.forget();
        let ran = self.run(None);
        match ran.code {
            Some(2) if over && ran.stderr.contains("exists") => {}
            // Requests that may have been sent have failed.
            Some(0) => {}
            Some(1) if self.kind == Kind::Post => {}
            _ => panic!("{why}: {ran:?}"),
        }
        for (row, hits) in self.hits() {
            let known = known.done.contains(&row) || known.intended.contains(&row);
            let known = known && self.kind != Kind::Overwrite;
            assert!(!known, "{why}: row {row} is fetched again, though it was done");
            assert_eq!(hits, 1, "{why}: row {row} is fetched twice");
        }
        assert!(self.is_complete(), "{why}: {}", self.shown());
        self.check_no_rest(why);
    }

    /// Nothing is left but the outputs, and the state that tells whose files are there.
    pub(crate) fn check_no_rest(&self, why: &str) {
        let stays = self.kind.stays();
        let failed = self.kind == Kind::Post && self.state().join("job.json").exists();
        let files = files_below(&self.root());
        let stray = files.keys().find(|name| {
            let state = name.contains(".run/");
            name.starts_with('.')
                || name.contains("/.")
                || name.ends_with(".retry")
                || name.ends_with(".new")
                || state && !failed && !stays
        });
        assert_eq!(stray, None, "{why}: {:?}", files.keys());
        let pages = files.keys().filter(|name| name.starts_with("deep/pages/")).count();
        assert_eq!(pages as u64, if self.kind.has_files() { ROWS } else { 0 }, "{why}: {:?}", files.keys());
    }

    /// Every row is there once, in every output, with the body that is its own.
    pub(crate) fn is_complete(&self) -> bool {
        let root = self.root();
        let read = |name: &str| fs::read(root.join(name)).unwrap_or_default();
        let rows = |rows: Vec<u64>| {
            rows.len() as u64 == ROWS && rows.into_iter().collect::<BTreeSet<_>>().len() as u64 == ROWS
        };
        let json = || rows_of_json(&read("out.ndjson"), self.kind);
        let csv = || rows_of_csv(&read("out.csv"), self.kind);
        match self.kind {
            Kind::Ndjson | Kind::Piped | Kind::Post | Kind::Files | Kind::Ordered | Kind::Overwrite => {
                rows(json())
            }
            Kind::Csv => rows(csv()),
            Kind::Har | Kind::HarRetry => rows(rows_of_har(&read("out.har"), self.kind)),
            Kind::Table | Kind::TableRetry => rows(rows_of_table(&root.join("out.parquet"), self.kind)),
            Kind::Warc | Kind::WarcRetry => {
                let index = String::from_utf8(read("out.cdxj")).unwrap_or_default();
                let (rows_there, responses) = rows_of_warc(&read("out.warc.gz"), self.kind);
                index.lines().is_sorted() && index.lines().count() == responses && rows(rows_there)
            }
            Kind::Retry => rows(json()) && rows(csv()),
            Kind::Packed | Kind::PackedRetry => {
                let json = unpacked(&read("out.ndjson.gz"));
                let csv = unpacked(&read("out.csv.zst"));
                rows(rows_of_json(&json, self.kind)) && rows(rows_of_csv(&csv, self.kind))
            }
        }
    }

    /// Every file with a final name is whole, whichever run wrote it.
    pub(crate) fn check_files(&self, why: &str) {
        for (name, bytes) in files_below(&self.root()) {
            let Some(page) = name.strip_prefix("deep/pages/").filter(|page| !page.starts_with('.')) else {
                continue;
            };
            let row = page.split('~').next().unwrap();
            let whole = is_whole(self.kind, row.parse().unwrap(), &bytes);
            assert!(whole, "{why}: {name} is not whole, at {} bytes", bytes.len());
        }
    }

    /// The outputs, for a message.
    pub(crate) fn shown(&self) -> String {
        let files = files_below(&self.root());
        let shown = files.iter().map(|(name, bytes)| match name.starts_with("out.") && !name.contains('/') {
            true => format!("{name}:\n{}\n", String::from_utf8_lossy(bytes)),
            false => format!("{name}: {} bytes\n", bytes.len()),
        });
        shown.collect()
    }
}

impl Known {
    /// What an entry of a journal adds.
    pub(crate) fn add(&mut self, frame: &Frame) {
        match frame {
            Frame::Done(group) => self.done.extend(group.ok.iter().map(|row| row.0)),
            Frame::Intent(rows) => self.intended.extend(rows.iter().map(|row| row.0)),
            Frame::Waiting(rows) => self.wait(rows.iter()),
            Frame::Snapshot(state) => {
                self.done = state.done.without(&state.failed).ranges().flatten().collect();
                self.wait(state.waiting.values());
                self.intended = state.intended.ranges().flatten().collect();
            }
            Frame::Names(_) | Frame::Ended => {}
        }
    }

    /// These are not fetched again either. The file of the large one may have its name already when the group that it is in is
    /// lost: then there is nothing left that waits, and it is.
    fn wait<'a>(&mut self, rows: impl Iterator<Item = &'a Waiting>) {
        let rows = rows.filter(|row| row.ok).map(|row| row.row.0);
        self.done.extend(rows.filter(|row| *row != LARGE));
    }
}

/// The large body is written to a file while it comes, the others when they are there.
const LARGE: u64 = 5;
const LARGE_BYTES: usize = 300_000;

/// The bodies of an earlier list are those of other rows.
const EARLIER: u64 = 1_000;

fn is_large(kind: Kind, row: u64) -> bool {
    kind.has_files() && row == LARGE
}

fn fails_once(kind: Kind, row: u64) -> bool {
    kind.retries() && row.is_multiple_of(3)
}

fn target(kind: Kind, row: u64) -> String {
    if is_large(kind, row) {
        format!("/text/{LARGE_BYTES}?n={row}")
    } else if fails_once(kind, row) {
        format!("/flaky?fail=1&status=404&key={row}&n={row}")
    } else if kind == Kind::Ordered && row == 0 {
        "/row/0?delay_ms=400&n=0".to_owned()
    } else {
        // Slow enough that not all rows are done together.
        format!("/row/{row}?delay_ms={}&n={row}", 2 + row * 7 % 5)
    }
}

/// What stood at a row of the list whose results are overwritten.
fn earlier_target(kind: Kind, row: u64) -> String {
    match is_large(kind, row) {
        true => format!("/text/{LARGE_BYTES}?earlier=1&n={row}"),
        false => format!("/row/{}?n={row}", EARLIER + row),
    }
}

/// The body of a row, or that of the row that was overwritten.
pub(crate) fn is_whole(kind: Kind, row: u64, body: &[u8]) -> bool {
    let earlier = match is_large(kind, row) {
        true => text_of(&earlier_target(kind, row), LARGE_BYTES),
        false => row_of(EARLIER + row),
    };
    is_body_of(kind, row, body) || kind == Kind::Overwrite && body == earlier
}

/// The body of a row, if it is its own.
pub(crate) fn is_body_of(kind: Kind, row: u64, body: &[u8]) -> bool {
    if is_large(kind, row) {
        body == text_of(&target(kind, row), LARGE_BYTES)
    } else if fails_once(kind, row) {
        !body.is_empty()
    } else {
        body == row_of(row)
    }
}

/// The rows of a text whose records are whole and right; anything else is a row that is not in the list.
pub(crate) fn rows_of_json(text: &[u8], kind: Kind) -> Vec<u64> {
    let Ok(text) = std::str::from_utf8(text) else { return vec![ROWS] };
    let row_of = |record: serde_json::Value| {
        let row = record["row"].as_u64()?;
        let body = match record["body_path"].as_str() {
            Some(path) => fs::read(path).ok()?,
            None => record["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
        };
        let doubtful = kind == Kind::Post && record["error"] == "run.unconfirmed";
        (doubtful || record["ok"] == true && is_body_of(kind, row, &body)).then_some(row)
    };
    match text.is_empty() || text.ends_with('\n') {
        // A line that is no JSON was lost with the power.
        true => text
            .lines()
            .map(|line| serde_json::from_str(line).ok().and_then(row_of).unwrap_or(ROWS))
            .collect(),
        false => vec![ROWS],
    }
}

/// The same of an archive that was built.
pub(crate) fn rows_of_har(text: &[u8], kind: Kind) -> Vec<u64> {
    let Ok(archive) = serde_json::from_slice::<serde_json::Value>(text) else { return Vec::new() };
    let row_of = |entry: &serde_json::Value| {
        let row = entry["_row"].as_u64()?;
        let body = entry["response"]["content"]["text"].as_str().unwrap_or_default();
        (entry["_ok"] == true && is_body_of(kind, row, body.as_bytes())).then_some(row)
    };
    let entries = archive["log"]["entries"].as_array();
    entries.into_iter().flatten().map(|entry| row_of(entry).unwrap_or(ROWS)).collect()
}

/// The same of a table.
pub(crate) fn rows_of_table(path: &Path, kind: Kind) -> Vec<u64> {
    let Some(file) = fs::File::open(path).ok().and_then(|file| SerializedFileReader::new(file).ok()) else {
        return Vec::new();
    };
    let row_of = |row: parquet::record::Row| {
        let cell =
            |name| row.get_column_iter().find(|(column, _)| *column == name).map(|(_, cell)| cell.clone());
        let (Some(Field::ULong(number)), Some(Field::Bool(true)), Some(Field::Bytes(body))) =
            (cell("row"), cell("ok"), cell("body"))
        else {
            return None;
        };
        is_body_of(kind, number, body.data()).then_some(number)
    };
    let rows = file.get_row_iter(None).unwrap();
    rows.map(|row| row.ok().and_then(row_of).unwrap_or(ROWS)).collect()
}

/// The same of an archive that is appended to: the rows that have succeeded, each with its response; and the number of responses.
pub(crate) fn rows_of_warc(bytes: &[u8], kind: Kind) -> (Vec<u64>, usize) {
    let Ok(records) = archive::records_of(bytes) else { return (vec![ROWS], 0) };
    let (mut response, mut responses, mut rows) = (Vec::new(), 0, Vec::new());
    for record in records {
        match record.kind() {
            "response" => (response, responses) = (record.message().1.to_vec(), responses + 1),
            "metadata" => {
                let (json, row) = (record.json(), record.row().unwrap_or(ROWS));
                if json["ok"] == true {
                    rows.push(if is_body_of(kind, row, &response) { row } else { ROWS });
                } else if !fails_once(kind, row) {
                    rows.push(ROWS);
                }
            }
            _ => {}
        }
    }
    (rows, responses)
}

/// What a compressed output holds; of one that is not whole, what is no record.
fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let read = Unpack::new(Box::new(Cursor::new(bytes.to_vec())), "").read_to_end(&mut text);
    read.map_or_else(|_| b"?".to_vec(), |_| text)
}

/// The same of a table.
pub(crate) fn rows_of_csv(text: &[u8], kind: Kind) -> Vec<u64> {
    let table = cells(&String::from_utf8_lossy(text));
    let Some((head, lines)) = table.split_first() else { return Vec::new() };
    let column = |name: &str| head.iter().position(|cell| cell == name);
    let (Some(row), Some(ok), Some(body)) = (column("row"), column("ok"), column("body")) else {
        return vec![ROWS];
    };
    let row_of = |line: &Vec<String>| {
        let number = line.get(row)?.parse().ok()?;
        (line.len() == head.len() && line[ok] == "true" && is_body_of(kind, number, line[body].as_bytes()))
            .then_some(number)
    };
    lines.iter().map(|line| row_of(line).unwrap_or(ROWS)).collect()
}

/// Comma-separated values, as their standard has them.
fn cells(text: &str) -> Vec<Vec<String>> {
    let (mut table, mut line, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, quoted) {
            ('"', true) if letters.peek() == Some(&'"') => cell.extend(letters.next()),
            ('"', _) => quoted = !quoted,
            (',', false) => line.push(std::mem::take(&mut cell)),
            ('\r', false) => {}
            ('\n', false) => {
                line.push(std::mem::take(&mut cell));
                table.push(std::mem::take(&mut line));
            }
            _ => cell.push(letter),
        }
    }
    if !line.is_empty() || !cell.is_empty() {
        table.push(vec![cell]);
    }
    table
}

/// Every file below a directory, by its path from there.
pub(crate) fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut files, mut open) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else {
                let name = entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(entry).unwrap());
            }
        }
    }
    files
}
