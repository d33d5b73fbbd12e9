//! Durable runs: after a crash at any point a run resumes, loses no row and writes none twice.
//!
//! The state is a directory beside the outputs, with access for its owner only:
//!
//! ```text
//! job.json        the manifest: identifies the list, and holds the resume identity (the settings that change what a record says)
//! lock            locked while a process uses the state
//! snapshot-N      the complete state when journal-N begins; created by rename
//! journal-N.log   what has become durable since: one frame for each group of rows
//! intents-N.log   write-ahead log of requests that must not be sent twice
//! waiting         records that wait for an earlier row, in ordered mode
//! list            a copy of a list that came through a pipe; renamed to list.whole when complete, with its checksum
//!                 in list.sum
//! ```
//!
//! Each file has checksums, and recovery checks all of them against each other, the list and the outputs (`agree`).
//!
//! A row is done only when its record is synced and then a journal frame with its number is synced. What a crash leaves
//! beyond that (output behind the last checkpoint, files with temporary names) is removed when the run resumes.

pub(crate) mod log;
pub(crate) mod intents;
mod discard;
mod agree;
mod rewrite;
mod recovery;
mod waiting;
mod directory;
mod spool;
mod manifest;
mod identity;

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use overlapped_proto::journal::Head;
use overlapped_proto::limits;
use overlapped_proto::plural::counted;
use overlapped_proto::prefix::Prefix;
use serde_json::Value;

pub use crate::body::spool::RunId;
pub use discard::{discard, discard_rest};
pub(crate) use identity::Identity;
pub use identity::fingerprint;
pub(crate) use manifest::Listed;
pub use overlapped_proto::commit::Durability;
pub use overlapped_proto::journal::{Frame, Group, Mark, Named, SinkCheckpoints, State, Waiting};
pub use overlapped_proto::row_set::RowSet;
pub use recovery::{Checked, check};
pub use rewrite::{Recorded, recorded};

use crate::error::Error;
use crate::fs::Moment;
use crate::packing::Packing;
use crate::sink::{Beginning, Format, FormatOptions, Opening, Sink, SinkId};
use directory::Directory;
use discard::Discarded;
use log::Log;
use recovery::{Found, recover};
pub(crate) use spool::{DiskFailed, Spooled};

/// What to do with the state of an earlier run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// Fail if there is one that is not finished.
    #[default]
    Anew,
    /// Resume it. Without one the run begins.
    Resume,
    /// Resume it, and fetch the rows that failed once more.
    RetryFailed,
    /// Discard it.
    Overwrite,
}

/// Where a run keeps its state, and what to do with the state of an earlier run.
#[derive(Clone, Debug)]
pub struct Durable {
    /// The run directory.
    pub directory: PathBuf,
    /// What to do with an existing state.
    pub begin: Begin,
    /// When results are made durable. [`Durability::None`] is not allowed: such a run has no state.
    pub durability: Durability,
    /// The outputs, each with another name. One that is not listed here is neither checked nor truncated when the run resumes.
    pub outputs: Vec<Output>,
    /// Further settings, by name, that must be the same when the run resumes.
    pub settings: Vec<(String, String)>,
    /// Bytes of journal and intents at which a new generation begins with a snapshot.
    pub journal_bytes: u64,
}

impl Durable {
    /// The state of a run whose first output is `output`: `results.ndjson.run` beside `results.ndjson`.
    #[must_use]
    pub fn beside(output: &Path) -> Self {
        let directory = match output.file_name() {
            Some(name) => {
                let mut name = name.to_owned();
                name.push(".run");
                output.with_file_name(name)
            }
            // A path without a file name, such as `./`.
            None => output.join("overlapped.run"),
        };
        Self {
            directory,
            begin: Begin::default(),
            durability: Durability::default(),
            outputs: Vec::new(),
            settings: Vec::new(),
            journal_bytes: limits::JOURNAL_BYTES,
        }
    }
}

/// An output of a durable run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The name of its sink in the journal.
    pub id: SinkId,
    /// Its format.
    pub format: Format,
    /// Its path.
    pub path: PathBuf,
}

impl Output {
    /// The output at `path`. Its sink has the name of the file, wherever that is.
    #[must_use]
    pub fn new(format: Format, path: PathBuf) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { id: SinkId::new(name), format, path }
    }

    /// Opens its sink, for a run that resumes if there is an `earlier` state to resume from, or for one without a state.
    ///
    /// # Errors
    ///
    /// As [`Format::open`].
    ///
    /// # Blocking
    ///
    /// As [`Format::open`].
    pub fn open(&self, earlier: Option<&Earlier>, options: FormatOptions) -> io::Result<Box<dyn Sink>> {
        let (id, path) = (self.id.clone(), self.path.clone());
        let beginning = earlier.map_or(Beginning::NoState, |earlier| earlier.beginning(&self.id));
        self.format.open(Opening { id, path, beginning, options })
    }

    /// The file that its records are appended to.
    fn appended(&self) -> Cow<'_, Path> {
        self.format.appended(&self.path)
    }

    /// The file that has what was appended: the output itself, once an archive is complete.
    fn held(&self) -> Cow<'_, Path> {
        let appended = self.appended();
        match self.format {
            Format::Har if !there(&appended) && there(&self.path) => Cow::Borrowed(&self.path),
            Format::Har
            | Format::Ndjson
            | Format::Csv
            | Format::Tsv
            | Format::Parquet
            | Format::Arrow
            | Format::Warc
            | Format::Files => appended,
        }
    }

    /// How it is compressed.
    fn packing(&self) -> Option<Packing> {
        self.format.packing(&self.path)
    }

    /// True for a directory with something in it, or an archive.
    fn holds_files(&self) -> bool {
        match self.format {
            // One that is there is refused when it is opened.
            Format::Ndjson | Format::Csv | Format::Tsv | Format::Parquet | Format::Arrow | Format::Har => {
                false
            }
            // What it has of a run only its state tells.
            Format::Warc => self.path.metadata().is_ok_and(|found| found.is_file() && found.len() > 0),
            Format::Files => self.path.read_dir().is_ok_and(|mut entries| entries.next().is_some()),
        }
    }
}

/// What an earlier run has left, for opening the outputs.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// True if there is a run to resume.
    pub begun: bool,
    /// True if the run was begun with [`Begin::Overwrite`], and so may replace files.
    pub replaces: bool,
    /// Rows that are done, or have finished and wait for an earlier row.
    pub rows: u64,
    /// Rows that are done and failed, without those in `again`.
    pub failed: u64,
    /// Failed rows that are fetched once more. Their records have been removed from [`Durable::outputs`].
    pub again: RowSet,
    /// How far each sink has come. What follows is not durable; its rows are fetched again.
    pub checkpoints: SinkCheckpoints,
    /// Identifies the files of this run, for [`crate::sink::Files::durable`].
    pub run: RunId,
    /// When the run began, for [`crate::sink::Files::since`].
    pub began: Option<Moment>,
    /// True if all rows of the list are done.
    pub finished: bool,
    /// The earlier length of the list in bytes, if rows were appended to it. These are fetched too.
    pub grown_from: Option<u64>,
    /// Files of bodies whose records wait for an earlier row, for [`crate::sink::Files::durable_with`].
    pub waiting: Vec<PathBuf>,
}

impl Earlier {
    /// How the output of a sink is opened.
    #[must_use]
    pub fn beginning(&self, sink: &SinkId) -> Beginning {
        if !self.begun {
            return Beginning::Begun(self.run);
        }
        // A run stopped before its first checkpoint resumes with empty outputs.
        let checkpoint = self.checkpoints.of(sink).cloned().unwrap_or_default();
        let waiting = self.waiting.clone();
        Beginning::Resumed { run: self.run, checkpoint, began: self.began, waiting }
    }
}

/// A state that is locked and read, before the run begins.
pub(crate) struct Opened {
    directory: Directory,
    manifest: Value,
    state: State,
    generation: u64,
    run: RunId,
    journal_bytes: u64,
    prefix: Option<Prefix>,
    /// Keep the state when all is done, because nothing else shows that there are files of a run.
    stays: bool,
    /// The spools of tables.
    spools: Vec<PathBuf>,
    /// The directory in which bodies have files of their own; empty: none have.
    bodies: PathBuf,
    /// The state of an earlier run, to be discarded when this one begins.
    discarded: Option<Discarded>,
    pub(crate) durability: Durability,
    pub(crate) earlier: Earlier,
}

impl Opened {
    /// Locks the run directory and recovers the state in it.
    ///
    /// # Errors
    ///
    /// Another process holds the lock; there is a state and there must be none; the list or the settings differ from
    /// those of the run; the state is damaged.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn open(
        durable: Durable,
        run: RunId,
        listed: &Listed,
        mut settings: Identity,
    ) -> Result<Self, Error> {
        let names: Vec<_> = durable.outputs.iter().map(|output| output.id.name()).collect();
        if let Some(twice) =
            names.iter().enumerate().find(|(at, name)| names.iter().take(*at).any(|n| n == *name))
        {
            return Err(Error::config(format!("two outputs are called {}", twice.1)));
        }
        settings.set("outputs", names.join(", "));
        settings.further(&durable.settings)?;
        let mut directory = Directory::open(&durable.directory)?;
        let replaces = durable.begin == Begin::Overwrite;
        let failed = |error| Error::output_path(&durable.directory, error);
        let began = directory.locked().map_err(failed)?;
        let manifest = manifest::new(run.0, listed, &settings, replaces, began)?;
        let mut discarded = None;
        match (directory.manifest(), durable.begin) {
            (Ok(None), _) => directory.begin_anew().map_err(failed)?,
            (read, Begin::Overwrite) => discarded = Discarded::read(read, &durable.outputs)?,
            (Err(error), _) => return Err(error),
            (Ok(Some(earlier)), begin) => {
                let found = manifest::run(&earlier).and_then(|run| recover(&directory, run).ok());
                let is_over = |found: &Found| found.state.ended && found.state.failed.is_empty();
                let over = found.as_ref().is_some_and(is_over);
                let same = || {
                    let read = found.as_ref().and_then(|found| found.state.listed);
                    manifest::compare(&earlier, &manifest)?;
                    manifest::same_list(&earlier, listed, read).map(drop)
                };
                // Only its state tells that a directory has the files of a run.
                let filled = || durable.outputs.iter().any(Output::holds_files);
                match begin {
                    Begin::Anew if !over || filled() => return Err(exists(&durable.directory, found)),
                    Begin::Resume | Begin::RetryFailed if !over || filled() || same().is_ok() => {
                        manifest::compare(&earlier, &manifest)?;
                        return Self::go_on(directory, earlier, manifest, &durable, listed);
                    }
                    // The state of a finished run.
                    Begin::Anew | Begin::Resume | Begin::RetryFailed | Begin::Overwrite => {
                        discarded = Some(Discarded::finished(earlier));
                    }
                }
            }
        }
        Ok(Self {
            directory,
            manifest,
            state: State::default(),
            generation: 0,
            run,
            journal_bytes: durable.journal_bytes,
            prefix: Some(Prefix::default()),
            stays: stays(&durable.outputs),
            spools: tables(&durable.outputs),
            bodies: bodies(&durable.outputs),
            discarded,
            durability: durable.durability,
            earlier: Earlier {
                begun: false,
                replaces,
                rows: 0,
                failed: 0,
                again: RowSet::default(),
                checkpoints: SinkCheckpoints::default(),
                run,
                began: Some(began),
                finished: false,
                grown_from: None,
                waiting: Vec::new(),
            },
        })
    }

    /// Truncates what a crash has left behind the last frame, and removes the records of rows that are fetched again.
    fn go_on(
        directory: Directory,
        mut manifest: Value,
        now: Value,
        durable: &Durable,
        listed: &Listed,
    ) -> Result<Self, Error> {
        let run = manifest::run(&manifest);
        let run = run.ok_or_else(|| Error::journal(directory.path(), "job.json names no run"))?;
        let Found { mut state, mut generation, .. } = recover(&directory, run)?;
        let same = manifest::same_list(&manifest, listed, state.listed)?;
        if let (Some(fields), Some(input)) = (manifest.as_object_mut(), now.get("input")) {
            fields.insert("input".to_owned(), input.clone());
        }
        rewrite::finish(&durable.outputs, &state.checkpoints).map_err(Error::output)?;
        agree::outputs(&durable.outputs, &state)?;
        if !manifest::replaces(&manifest) {
            agree::places(&durable.outputs, &state)?;
        }
        agree::take_back(&durable.outputs, &state.named)?;
        let bodies = bodies(&durable.outputs);
        let waiting = waiting::check(directory.folder(), &mut state.waiting, &bodies)
            .map_err(|error| Error::output_path(directory.path(), error))?;
        let ended = state.ended && same.grown_from.is_none();
        state.intended = state.in_doubt();
        state.named.clear();
        state.ended = false;
        let mut again = RowSet::default();
        let waits = |waiting: &Waiting| waiting.ok;
        if durable.begin == Begin::RetryFailed
            && !(state.failed.is_empty() && state.waiting.values().all(waits))
        {
            // Those that wait have no record yet.
            state.waiting.retain(|_, waiting| waits(waiting));
            again = std::mem::take(&mut state.failed);
            state.done = state.done.without(&again);
            state.mark = state.mark.filter(|mark| mark.row <= state.done.low());
            generation += 1;
            let head = Head { run: run.0, generation, process: std::process::id() };
            rewrite::take_out(&durable.outputs, &again, &mut state.checkpoints)
                .and_then(|()| log::publish(&directory, &state, head))
                .and_then(|()| rewrite::finish(&durable.outputs, &state.checkpoints))
                .map_err(Error::output)?;
        }
        let earlier = Earlier {
            begun: true,
            replaces: manifest::replaces(&manifest),
            rows: state.done.len() + state.waiting.len() as u64,
            failed: state.failed.len(),
            finished: ended && again.is_empty(),
            again,
            checkpoints: state.checkpoints.clone(),
            run,
            began: manifest::began(&manifest),
            grown_from: same.grown_from,
            waiting,
        };
        let Durable { durability, journal_bytes, .. } = *durable;
        Ok(Self {
            directory,
            manifest,
            state,
            generation,
            run,
            journal_bytes,
            prefix: same.prefix,
            stays: stays(&durable.outputs),
            spools: tables(&durable.outputs),
            bodies,
            discarded: None,
            durability,
            earlier,
        })
    }

    /// The run directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Copies the list through the run directory, from where it can be read again.
    ///
    /// # Errors
    ///
    /// The directory cannot be written; the copy from an earlier run is damaged.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn spool(&mut self, from: Box<dyn Read + Send>) -> Result<Spooled, Error> {
        // An existing copy belongs to the run that is discarded.
        self.discard()?;
        self.directory.spool(from)
    }

    /// Which rows need not be fetched again.
    pub(crate) fn passed(&self) -> Passed {
        Passed { done: self.state.done.clone(), mark: self.state.mark, prefix: self.prefix.clone() }
    }

    /// Rows whose requests an earlier run may have sent without recording their results.
    pub(crate) fn in_doubt(&self) -> RowSet {
        self.state.in_doubt()
    }

    /// Begins the next generation of the state. To be called when the outputs are open and truncated.
    ///
    /// # Errors
    ///
    /// The state cannot be written.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn begin(mut self) -> Result<Log, Error> {
        self.discard()?;
        let head = Head { run: self.run.0, generation: self.generation + 1, process: std::process::id() };
        let log =
            Log::begin(self.directory, &self.manifest, self.state, head, self.journal_bytes, self.bodies)?;
        Ok(if self.stays { log.staying() } else { log.with_spools(self.spools) })
    }

    /// Removes the state of an earlier run and its temporary files, which could not be attributed to a run afterwards.
    fn discard(&mut self) -> Result<(), Error> {
        let Some(discarded) = self.discarded.take() else { return Ok(()) };
        discarded.remove_parts()?;
        self.directory.replace().map_err(|error| Error::output_path(self.directory.path(), error))
    }
}

/// True if there are body files or archives. Only the state tells which rows of a run they have; files of records show which rows
/// are done even without it.
fn stays(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output.format, Format::Files | Format::Warc))
}

fn there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The spools of tables, which are of use as long as the state is. That of an archive has become the archive.
fn tables(outputs: &[Output]) -> Vec<PathBuf> {
    let tables = outputs.iter().filter(|output| matches!(output.format, Format::Parquet | Format::Arrow));
    tables.map(|output| output.appended().into_owned()).collect()
}

/// The directory of body files; empty: there is none.
fn bodies(outputs: &[Output]) -> PathBuf {
    let files = outputs.iter().find(|output| output.format == Format::Files);
    files.map(|output| output.path.clone()).unwrap_or_default()
}

/// Recovers a state from damage: writes a new generation from all that is sound, and keeps the damaged files beside it.
/// Returns the name of each damaged file and the offset from which on it was left out.
///
/// Rows of lost frames are fetched again. If intents are damaged or missing, it is unknown which requests were sent; then
/// no request that must not be sent twice is sent for a row that is not done.
///
/// # Errors
///
/// Another process holds the lock; a snapshot is damaged, which cannot be replaced; the disk fails.
///
/// # Blocking
///
/// On the disk.
pub fn repair(path: &Path) -> Result<Vec<(String, u64)>, Error> {
    recovery::repair(path, log::write_generation)
}

/// True if there is no state of a run in this directory, nor was one about to begin there in place of another. It may have the rest
/// of one that was killed while it removed its state.
///
/// ```
/// use overlapped_fetch::durable::{Durable, holds_no_run};
///
/// let output = std::env::temp_dir().join(format!("new-{}.ndjson", std::process::id()));
/// assert!(holds_no_run(&Durable::beside(&output).directory));
/// ```
///
/// # Blocking
///
/// On the disk.
#[must_use]
pub fn holds_no_run(directory: &Path) -> bool {
    directory::holds_no_run(directory)
}

fn exists(path: &Path, found: Option<Found>) -> Error {
    let rows = found.map_or_else(String::new, |Found { state, .. }| {
        format!(" ({} done, {} of them failed)", counted(state.done.len(), "row"), state.failed.len())
    });
    Error::state_exists(format!("an earlier run has left its state in {}{rows}", path.display()))
}

/// Rows that an earlier run has completed.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) done: RowSet,
    /// Where reading may begin.
    pub(crate) mark: Option<Mark>,
    /// The checksum of what was read before, to be continued; `None`: no checksum is kept.
    pub(crate) prefix: Option<Prefix>,
}
