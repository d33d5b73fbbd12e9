//! Durable runs: a run that is killed at any moment goes on where it was, loses no row and writes none twice.
//!
//! Beside its first output a run keeps a directory, readable by its owner alone:
//!
//! ```text
//! job.json        what the run is: its list and the settings that change what it means
//! lock            held while a process is at work
//! snapshot-N      everything that is known when journal-N begins; appears by rename
//! journal-N.log   what has become durable since, a frame for each group of rows
//! intents-N.log   requests that must not be sent twice, before they are sent
//! list            a list that came through a pipe, for reading it again; list.whole once it is all there
//! ```
//!
//! A row counts as done only when its record is on the disk and a frame that says so is, too, in this order. What a
//! crash leaves beyond that (lines behind the last offset, files half named) is taken back when the run goes on.

pub(crate) mod log;
mod rewrite;
mod directory;
mod spool;
mod manifest;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use overlapped_proto::journal::Head;
use overlapped_proto::limits;
use serde_json::Value;

pub use crate::body::spool::RunId;
pub use directory::{Checked, check, repair};
pub(crate) use manifest::{Listed, Settings, settings};
pub use overlapped_proto::commit::Durability;
pub use overlapped_proto::done::RowSet;
pub use overlapped_proto::journal::{Frame, Group, Mark, Named, State};

use crate::body::spool::Part;
use crate::error::Error;
use crate::sink::sync_file;
use directory::{Directory, Found};
use log::Log;
pub(crate) use spool::{DiskFailed, Spooled};

/// What becomes of the state that an earlier run has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// There must be none.
    #[default]
    Anew,
    /// The run goes on; without a state it begins.
    Resume,
    /// The run goes on, and the rows that failed are fetched once more.
    RetryFailed,
    /// It is thrown away.
    Overwrite,
}

/// Where a run keeps its state, and what becomes of an earlier one.
#[derive(Clone, Debug)]
pub struct Durable {
    /// The run directory.
    pub directory: PathBuf,
    /// What becomes of a state that is there.
    pub begin: Begin,
    /// When results are made durable. [`Durability::None`] is no value for this: then there is no state.
    pub durability: Durability,
    /// Its outputs, in the order of the sinks that write them.
    pub outputs: Vec<Output>,
    /// What else must be the same when the run goes on, by name.
    pub settings: Vec<(String, String)>,
    /// Bytes of the journal and the intents before they begin anew from a snapshot.
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
            // A directory without a name of its own, such as `./`.
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

/// An output, as far as going on with it is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// One JSON object a line.
    Ndjson(PathBuf),
    /// Comma-separated values with a header line.
    Csv(PathBuf),
    /// Anything in which a row that failed leaves nothing.
    Other(PathBuf),
}

impl Output {
    fn path(&self) -> &Path {
        match self {
            Self::Ndjson(path) | Self::Csv(path) | Self::Other(path) => path,
        }
    }
}

/// What an earlier run has left, for whoever opens the outputs.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// True if there is a run to go on with.
    pub begun: bool,
    /// True if the run was begun with [`Begin::Overwrite`], and so may replace files.
    pub replaces: bool,
    /// Rows that are done.
    pub rows: u64,
    /// Those of them that failed, and are not fetched once more.
    pub failed: u64,
    /// Rows that failed and are fetched once more; their records were taken out of [`Durable::outputs`].
    pub again: RowSet,
    /// For each sink how long its file is to be; what is behind that is not durable, and written again.
    pub offsets: Vec<Option<u64>>,
    /// Tells the files of this run, for [`crate::sink::Files::durable`].
    pub run: RunId,
}

impl Earlier {
    /// How long the file of a sink is to be, by its place among the sinks; `None`: the run begins.
    #[must_use]
    pub fn offset(&self, sink: usize) -> Option<u64> {
        // A run that was stopped before anything was durable goes on from nothing.
        self.begun.then(|| self.offsets.get(sink).copied().flatten().unwrap_or(0))
    }
}

/// A state that is open, and not yet at work.
pub(crate) struct Opened {
    directory: Directory,
    manifest: Value,
    state: State,
    generation: u64,
    run: RunId,
    journal_bytes: u64,
    pub(crate) durability: Durability,
    pub(crate) earlier: Earlier,
}

impl Opened {
    /// Locks the run directory, and reads what an earlier run has left there.
    ///
    /// # Errors
    ///
    /// Another process is at work there; there is a state and there must be none; the list or the settings are others
    /// than when the run began; the state is damaged.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn open(durable: Durable, run: RunId, listed: &Listed, own: Settings) -> Result<Self, Error> {
        let mut settings = own;
        settings.extend(durable.settings.iter().cloned());
        for (place, output) in durable.outputs.iter().enumerate() {
            let name = output.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
            settings.push((format!("output {}", place + 1), name));
        }
        let mut directory = Directory::open(&durable.directory)?;
        let replaces = durable.begin == Begin::Overwrite;
        let manifest = manifest::new(run.0, listed, &settings, replaces)?;
        let failed = |error| Error::output_path(&durable.directory, error);
        match (directory.manifest()?, durable.begin) {
            (None, _) => directory.begin_anew().map_err(failed)?,
            (Some(earlier), Begin::Overwrite) => {
                // Once it is forgotten nobody knows whose they are.
                remove_parts(&durable.outputs, &earlier).map_err(Error::output)?;
                directory.forget().and_then(|()| directory.begin_anew()).map_err(failed)?;
            }
            (Some(_), Begin::Anew) => return Err(exists(&durable.directory, directory.recover().ok())),
            (Some(earlier), Begin::Resume | Begin::RetryFailed) => {
                manifest::compare(&earlier, &manifest)?;
                return Self::go_on(directory, earlier, &durable);
            }
        }
        Ok(Self {
            directory,
            manifest,
            state: State::default(),
            generation: 0,
            run,
            journal_bytes: durable.journal_bytes,
            durability: durable.durability,
            earlier: Earlier {
                begun: false,
                replaces,
                rows: 0,
                failed: 0,
                again: RowSet::default(),
                offsets: Vec::new(),
                run,
            },
        })
    }

    /// Takes back what a crash has left behind the last frame, and the records of rows that are fetched once more.
    fn go_on(directory: Directory, manifest: Value, durable: &Durable) -> Result<Self, Error> {
        let Found { mut state, mut generation, run } = directory.recover()?;
        let taken_back = directory.take_back(&state.named);
        taken_back.and_then(|()| rewrite::finish(&durable.outputs, &state.offsets)).map_err(Error::output)?;
        state.intended = state.in_doubt();
        state.named.clear();
        state.ended = false;
        let mut again = RowSet::default();
        if durable.begin == Begin::RetryFailed && !state.failed.is_empty() {
            again = std::mem::take(&mut state.failed);
            state.done = state.done.without(&again);
            state.mark = state.mark.filter(|mark| mark.row <= state.done.low());
            generation += 1;
            let head = Head { run, generation, process: std::process::id() };
            rewrite::take_out(&durable.outputs, &again, &mut state.offsets)
                .and_then(|()| log::publish(&directory, &state, head))
                .and_then(|()| rewrite::finish(&durable.outputs, &state.offsets))
                .map_err(Error::output)?;
        }
        let earlier = Earlier {
            begun: true,
            replaces: manifest::replaces(&manifest),
            rows: state.done.len(),
            failed: state.failed.len(),
            again,
            offsets: state.offsets.clone(),
            run: RunId(run),
        };
        let Durable { durability, journal_bytes, .. } = *durable;
        Ok(Self {
            directory,
            manifest,
            state,
            generation,
            run: RunId(run),
            journal_bytes,
            durability,
            earlier,
        })
    }

    /// The run directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The list on its way through the run directory, where it can be read again.
    ///
    /// # Errors
    ///
    /// The directory cannot be written to.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn spool(&self, from: Box<dyn Read + Send>) -> Result<Spooled, Error> {
        self.directory.spool(from).map_err(Error::output)
    }

    /// What the list need not give again.
    pub(crate) fn passed(&self) -> Passed {
        Passed { done: self.state.done.clone(), in_doubt: self.state.in_doubt(), mark: self.state.mark }
    }

    /// Begins the next generation of the state. The outputs are open and cut to their lengths by now.
    ///
    /// # Errors
    ///
    /// The state cannot be written.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn begin(self) -> Result<Log, Error> {
        let head = Head { run: self.run.0, generation: self.generation + 1, process: std::process::id() };
        Log::begin(self.directory, &self.manifest, self.state, head, self.journal_bytes)
    }
}

/// Removes the files that the run with this manifest has left half-written; they do not come back.
fn remove_parts(outputs: &[Output], earlier: &Value) -> io::Result<()> {
    let Some(run) = manifest::run(earlier) else { return Ok(()) };
    let mut folders = outputs.iter().map(Output::path).filter(|path| path.is_dir());
    folders.try_for_each(|folder| {
        Part::remove_of(folder, run)?;
        sync_file(folder)
    })
}

fn exists(path: &Path, found: Option<Found>) -> Error {
    let rows = found.map_or_else(String::new, |Found { state, .. }| {
        format!(" ({} rows done, {} of them failed)", state.done.len(), state.failed.len())
    });
    Error::state_exists(format!("an earlier run has left its state in {}{rows}", path.display()))
}

/// Rows that an earlier run has dealt with.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) done: RowSet,
    /// Requests that must not be sent twice, and may have been sent.
    pub(crate) in_doubt: RowSet,
    /// Where reading may begin.
    pub(crate) mark: Option<Mark>,
}
