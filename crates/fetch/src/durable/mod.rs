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
//! list            a list that came through a pipe, for reading it again; list.whole, with its checksum in list.sum,
//!                 once it is all there
//! ```
//!
//! Nothing of it is believed by itself: each file has checksums, and what they say must agree with each other, with the
//! list and with the outputs (`agree`)
//!
//! A row counts as done only when its record is on the disk and a frame that says so is, too, in this order. What a
//! crash leaves beyond that (lines behind the last offset, files half named) is taken back when the run goes on.

pub(crate) mod log;
mod agree;
mod rewrite;
mod directory;
mod spool;
mod manifest;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use overlapped_proto::job::Method;
use overlapped_proto::journal::Head;
use overlapped_proto::limits;
use overlapped_proto::prefix::Prefix;
use serde_json::Value;

pub use crate::body::spool::RunId;
pub use directory::{Checked, check};
pub(crate) use manifest::{Listed, Settings, settings};
pub use overlapped_proto::commit::Durability;
pub use overlapped_proto::journal::{Frame, Group, Mark, Named, State};
pub use overlapped_proto::row_set::RowSet;
pub use rewrite::{Recorded, recorded};

use crate::body::spool::Part;
use crate::error::Error;
use crate::folder::{Folder, Moment};
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
    /// Its outputs, in the order of the sinks that write them. Of one that is not named here nothing is taken back after
    /// a crash, and nothing is checked.
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
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
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
    /// When the run began, for [`crate::sink::Files::since`].
    pub began: Option<Moment>,
    /// The list was done, and there is nothing to go on with.
    pub finished: bool,
    /// How many bytes the list had, if it has grown since. Its further rows are fetched, too.
    pub grown_from: Option<u64>,
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
    prefix: Option<Prefix>,
    /// The state stays when all is done: no output tells which rows it holds.
    stays: bool,
    /// What an earlier run has left, which goes when this one begins.
    thrown_away: Option<ThrownAway>,
    pub(crate) durability: Durability,
    pub(crate) earlier: Earlier,
}

/// A state that `Begin::Overwrite` throws away.
struct ThrownAway {
    outputs: Vec<Output>,
    manifest: Value,
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
        let names = durable.outputs.iter().map(|output| output.path().file_name().unwrap_or_default());
        let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        settings.push(("outputs".to_owned(), names.join(", ")));
        let mut directory = Directory::open(&durable.directory)?;
        let replaces = durable.begin == Begin::Overwrite;
        let failed = |error| Error::output_path(&durable.directory, error);
        let began = directory.locked().map_err(failed)?;
        let manifest = manifest::new(run.0, listed, &settings, replaces, began)?;
        let mut thrown_away = None;
        // A state that is thrown away need not be sound.
        match (directory.manifest(), durable.begin) {
            (Ok(None), _) => directory.begin_anew().map_err(failed)?,
            (Ok(Some(manifest)), Begin::Overwrite) => {
                thrown_away = Some(ThrownAway { outputs: durable.outputs.clone(), manifest });
            }
            (Err(_), Begin::Overwrite) => {
                thrown_away = Some(ThrownAway { outputs: Vec::new(), manifest: Value::Null });
            }
            (Err(error), _) => return Err(error),
            (Ok(Some(earlier)), begin) => {
                let found = manifest::run(&earlier).and_then(|run| directory.recover(run).ok());
                let is_over = |found: &Found| found.state.ended && found.state.failed.is_empty();
                let over = found.as_ref().is_some_and(is_over);
                let same = || {
                    let read = found.as_ref().and_then(|found| found.state.listed);
                    manifest::compare(&earlier, &manifest)?;
                    manifest::same_list(&earlier, listed, read).map(drop)
                };
                match begin {
                    Begin::Anew if !over => return Err(exists(&durable.directory, found)),
                    Begin::Resume | Begin::RetryFailed if !over || same().is_ok() => {
                        manifest::compare(&earlier, &manifest)?;
                        return Self::go_on(directory, earlier, manifest, &durable, listed);
                    }
                    // Another run has done all it had to.
                    Begin::Anew | Begin::Resume | Begin::RetryFailed | Begin::Overwrite => {
                        thrown_away = Some(ThrownAway { outputs: Vec::new(), manifest: earlier });
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
            thrown_away,
            durability: durable.durability,
            earlier: Earlier {
                begun: false,
                replaces,
                rows: 0,
                failed: 0,
                again: RowSet::default(),
                offsets: Vec::new(),
                run,
                began: Some(began),
                finished: false,
                grown_from: None,
            },
        })
    }

    /// Takes back what a crash has left behind the last frame, and the records of rows that are fetched once more.
    fn go_on(
        directory: Directory,
        mut manifest: Value,
        now: Value,
        durable: &Durable,
        listed: &Listed,
    ) -> Result<Self, Error> {
        let run = manifest::run(&manifest);
        let run = run.ok_or_else(|| Error::journal(directory.path(), "job.json names no run"))?;
        let Found { mut state, mut generation, .. } = directory.recover(run)?;
        let same = manifest::same_list(&manifest, listed, state.listed)?;
        if let (Some(fields), Some(input)) = (manifest.as_object_mut(), now.get("input")) {
            fields.insert("input".to_owned(), input.clone());
        }
        rewrite::finish(&durable.outputs, &state.offsets).map_err(Error::output)?;
        agree::outputs(&durable.outputs, &state)?;
        agree::take_back(&durable.outputs, &state.named)?;
        let ended = state.ended && same.grown_from.is_none();
        state.intended = state.in_doubt();
        state.named.clear();
        state.ended = false;
        let mut again = RowSet::default();
        if durable.begin == Begin::RetryFailed && !state.failed.is_empty() {
            again = std::mem::take(&mut state.failed);
            state.done = state.done.without(&again);
            state.mark = state.mark.filter(|mark| mark.row <= state.done.low());
            generation += 1;
            let head = Head { run: run.0, generation, process: std::process::id() };
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
            finished: ended && again.is_empty(),
            again,
            offsets: state.offsets.iter().map(|end| end.map(|end| end.bytes)).collect(),
            run,
            began: manifest::began(&manifest),
            grown_from: same.grown_from,
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
            thrown_away: None,
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
    /// The directory cannot be written to; the list that an earlier run has left is damaged.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn spool(&mut self, from: Box<dyn Read + Send>) -> Result<Spooled, Error> {
        // The list that is there is that of the run that is thrown away.
        self.throw_away()?;
        self.directory.spool(from)
    }

    /// What the list need not give again; `method` is that of rows that name none.
    pub(crate) fn passed(&self, method: &Method) -> Passed {
        Passed {
            done: self.state.done.clone(),
            in_doubt: self.state.in_doubt(),
            method: method.clone(),
            mark: self.state.mark,
            prefix: self.prefix.clone(),
        }
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
    pub(crate) fn begin(mut self) -> Result<Log, Error> {
        self.throw_away()?;
        let head = Head { run: self.run.0, generation: self.generation + 1, process: std::process::id() };
        let log = Log::begin(self.directory, &self.manifest, self.state, head, self.journal_bytes)?;
        Ok(if self.stays { log.staying() } else { log })
    }

    /// Removes the state of an earlier run, and the files that it has left half-written: once it is forgotten, nothing
    /// says whose they are.
    fn throw_away(&mut self) -> Result<(), Error> {
        let Some(ThrownAway { outputs, manifest }) = self.thrown_away.take() else { return Ok(()) };
        if let Some(run) = manifest::run(&manifest) {
            remove_parts(&outputs, run).map_err(Error::output)?;
        }
        let forgotten = self.directory.forget().and_then(|()| self.directory.begin_anew());
        forgotten.map_err(|error| Error::output_path(self.directory.path(), error))
    }
}

/// True if the outputs are files of bodies alone. Of records it can be read which rows are done, once the state is gone.
fn stays(outputs: &[Output]) -> bool {
    !outputs.is_empty() && outputs.iter().all(|output| matches!(output, Output::Other(_)))
}

/// Removes the files that a run has left half-written; they do not come back.
fn remove_parts(outputs: &[Output], run: RunId) -> io::Result<()> {
    let mut folders = outputs.iter().map(Output::path).filter(|path| path.is_dir());
    folders.try_for_each(|path| {
        let folder = Folder::open(path)?;
        Part::remove_of(&folder, run)?;
        folder.sync()
    })
}

/// Goes on without what is damaged or missing of a journal: a new generation is written with what is sound, and the
/// damaged file is kept beside it. Says what was left out: file, from which byte on.
///
/// What stood there is fetched again; but if intents are damaged or missing, it can be told no longer what was sent, and
/// no request that must not be sent twice is sent for a row that is not done.
///
/// # Errors
///
/// Another process is at work there; a snapshot is damaged, which nothing can replace; the disk fails.
///
/// # Blocking
///
/// On the disk.
pub fn repair(path: &Path) -> Result<Vec<(String, u64)>, Error> {
    directory::repair(path, log::write_generation)
}

fn exists(path: &Path, found: Option<Found>) -> Error {
    let rows = found.map_or_else(String::new, |Found { state, .. }| {
        format!(" ({} rows done, {} of them failed)", state.done.len(), state.failed.len())
    });
    Error::state_exists(format!("an earlier run has left its state in {}{rows}", path.display()))
}

/// Rows that an earlier run has dealt with.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) done: RowSet,
    /// Rows whose requests may have been sent, and are not sent again if that must not be.
    pub(crate) in_doubt: RowSet,
    /// The method of rows that name none.
    pub(crate) method: Method,
    /// Where reading may begin.
    pub(crate) mark: Option<Mark>,
    /// What was read before, which is hashed on from there; `None`: nothing is hashed.
    pub(crate) prefix: Option<Prefix>,
}

impl Default for Passed {
    fn default() -> Self {
        Self {
            done: RowSet::default(),
            in_doubt: RowSet::default(),
            method: Method::Get,
            mark: None,
            prefix: None,
        }
    }
}
