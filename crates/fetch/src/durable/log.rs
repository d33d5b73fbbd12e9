//! The journal writer: a group of rows is durable once its frame is synced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use overlapped_proto::job::Row;
use overlapped_proto::journal::{Frame, Group, Head, Listed, Mark, SinkCheckpoints, State, Waiting};
use overlapped_proto::record::Record;
use serde_json::Value;

use super::directory::{Directory, INTENTS, JOURNAL, SNAPSHOT, name};
use super::intents::{Intents, append, encoded, preallocate};
use crate::body::rest::restore;
use crate::body::waiting::{self, Extent, WaitingFile};
use crate::error::Error;
use crate::sink::{Cuts, at};

/// The open state of a run.
pub(crate) struct Log {
    directory: Directory,
    state: State,
    head: Head,
    file: File,
    /// Bytes of its frames.
    bytes: u64,
    /// The limit for journal and intents together, at which the next generation begins.
    bytes_max: u64,
    intents: Arc<Intents>,
    /// Rows that were done when this process began.
    before: u64,
    /// Keep the state even if all rows have succeeded.
    stays: bool,
    /// Files that are removed with the state.
    spools: Vec<PathBuf>,
    waiting: WaitingRows,
}

/// The records that wait for an earlier row.
struct WaitingRows {
    /// The directory in which bodies have files of their own.
    bodies: PathBuf,
    /// Created by the first record.
    file: Option<Arc<WaitingFile>>,
    /// The place of each row that is not done.
    extents: BTreeMap<Row, Arc<Extent>>,
}

/// A group of rows that the sinks have taken.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) ok: Vec<Row>,
    pub(crate) failed: Vec<Row>,
    /// Where reading may begin again.
    pub(crate) mark: Option<Mark>,
    /// Length and checksum of the list up to there.
    pub(crate) listed: Option<Listed>,
}

impl Taken {
    pub(crate) fn len(&self) -> u64 {
        (self.ok.len() + self.failed.len()) as u64
    }
}

impl Log {
    /// Begins a generation with a snapshot of `state`, and further ones whenever journal and intents hold `bytes_max`.
    ///
    /// # Blocking
    ///
    /// On the disk, like all methods of this type.
    pub(super) fn begin(
        directory: Directory,
        manifest: &Value,
        state: State,
        head: Head,
        bytes_max: u64,
        bodies: PathBuf,
    ) -> Result<Self, Error> {
        let before = state.done.len();
        let recorded = state.intended.clone();
        let written = || {
            let waiting = WaitingRows::open(&directory, &state, bodies)?;
            let (file, intents) = begin_generation(&directory, &state, head)?;
            // Written last: a run exists once it has a manifest.
            directory.publish_manifest(manifest)?;
            Ok((file, intents, waiting))
        };
        let (file, intents, waiting) = { written }().map_err(Error::output)?;
        let path = directory.file(&name(INTENTS, head.generation));
        let intents = Arc::new(Intents::begin(intents, path, recorded));
        let (stays, spools) = (false, Vec::new());
        Ok(Self {
            directory,
            state,
            head,
            file,
            bytes: 0,
            bytes_max,
            intents,
            before,
            stays,
            spools,
            waiting,
        })
    }

    /// Keeps the state when all is done; it shows that the run has ended.
    pub(super) fn staying(self) -> Self {
        Self { stays: true, ..self }
    }

    /// Removes these files with the state, when all is done.
    pub(super) fn with_spools(self, spools: Vec<PathBuf>) -> Self {
        Self { spools, ..self }
    }

    /// The write-ahead log of requests.
    pub(crate) fn intents(&self) -> Arc<Intents> {
        Arc::clone(&self.intents)
    }

    /// The records that wait for an earlier row, for their places in order.
    pub(crate) fn waiting(&self) -> BTreeMap<Row, Record> {
        let stub = |(row, extent): (&Row, &Arc<Extent>)| {
            let waiting = self.state.waiting.get(row).expect("a row with a place waits");
            (*row, Arc::clone(extent).stub(waiting))
        };
        self.waiting.extents.iter().map(stub).collect()
    }

    /// Makes records durable that wait for an earlier row. Returns what takes their places in order; those that are not among
    /// them wait in memory.
    ///
    /// # Errors
    ///
    /// As [`Log::commit`].
    pub(crate) fn wait(&mut self, records: Vec<Record>) -> Result<Waited, Error> {
        self.write_waiting(records).map_err(Error::output)
    }

    fn write_waiting(&mut self, records: Vec<Record>) -> io::Result<Waited> {
        self.intents.check()?;
        let file = match &self.waiting.file {
            Some(file) => Arc::clone(file),
            None => {
                let bodies = self.waiting.bodies.clone();
                let file = WaitingFile::open(self.directory.folder(), bodies, &[])?;
                Arc::clone(self.waiting.file.insert(file))
            }
        };
        let waiting::Written { rows, extents, full } = file.write(records, restore)?;
        let mut stubs = Vec::with_capacity(rows.len());
        if !rows.is_empty() {
            self.append(Frame::Waiting(rows.clone()))?;
        }
        for (waiting, extent) in rows.iter().zip(extents) {
            self.waiting.extents.insert(waiting.row, Arc::clone(&extent));
            stubs.push(extent.stub(waiting));
        }
        self.rotate_if_long()?;
        Ok(Waited { stubs, full })
    }

    /// Checkpoint: syncs what the sinks have taken, then appends and syncs its frame.
    ///
    /// # Errors
    ///
    /// The disk failed. The commit must not be retried: after a failed fsync the content of the file is undefined.
    pub(crate) fn commit(&mut self, cuts: Cuts, mut taken: Taken) -> Result<(), Error> {
        taken.ok.sort_unstable();
        taken.failed.sort_unstable();
        self.write(cuts, taken).map_err(Error::output)
    }

    fn write(&mut self, mut cuts: Cuts, taken: Taken) -> io::Result<()> {
        self.intents.check()?;
        let names: Vec<_> = cuts.iter_mut().flat_map(|(_, cut)| std::mem::take(&mut cut.names)).collect();
        if !names.is_empty() {
            self.append(Frame::Names(names))?;
        }
        let mut checkpoints = SinkCheckpoints::default();
        for (id, cut) in cuts {
            if let (Some(id), Some(checkpoint)) = (id, cut.checkpoint) {
                checkpoints.set(id, checkpoint);
            }
            cut.sync.map_or(Ok(()), |sync| sync())?;
        }
        let Taken { ok, failed, mark, listed } = taken;
        let waited: Vec<_> =
            ok.iter().chain(&failed).filter_map(|row| self.waiting.extents.remove(row)).collect();
        self.append(Frame::Done(Group { ok, failed, checkpoints, mark, listed }))?;
        waited.iter().for_each(|extent| extent.done());
        self.rotate_if_long()
    }

    fn rotate_if_long(&mut self) -> io::Result<()> {
        if self.bytes + self.intents.bytes() >= self.bytes_max { self.rotate() } else { Ok(()) }
    }

    /// The low-water mark: the first row that is not done.
    pub(crate) fn low(&self) -> Row {
        self.state.done.low()
    }

    fn append(&mut self, frame: Frame) -> io::Result<()> {
        let appended = append(&mut self.file, &encoded(&frame));
        self.bytes +=
            appended.map_err(|error| self.directory.at(&name(JOURNAL, self.head.generation), &error))?;
        self.state.apply(frame);
        Ok(())
    }

    /// Begins the next generation, which bounds the size of the state and the time of a recovery.
    fn rotate(&mut self) -> io::Result<()> {
        let intents = Arc::clone(&self.intents);
        let mut book = intents.lock();
        self.state.intended = book.recorded().without(&self.state.done);
        self.head.generation += 1;
        let (file, intents) = begin_generation(&self.directory, &self.state, self.head)?;
        let path = self.directory.file(&name(INTENTS, self.head.generation));
        book.renew(intents, path, self.state.intended.clone());
        (self.file, self.bytes) = (file, 0);
        Ok(())
    }

    /// Ends the run. Removes the directory if the list is done and no row has failed; otherwise keeps it for resuming.
    ///
    /// # Errors
    ///
    /// The disk fails, or the counts differ: the rows done must be those done before plus the `written` ones, and equal
    /// `rows`, the length of the list; `None` if the list was not read to its end.
    pub(crate) fn end(mut self, written: u64, rows: Option<u64>) -> Result<(), Error> {
        let (done, before) = (self.state.done.len(), self.before);
        let doubts = || format!("the state in {} is not reliable", self.directory.path().display());
        if done != before + written {
            return Err(Error::sum(&format!(
                "{done} rows are done, but {before} were done before and {written} were written: {}",
                doubts()
            )));
        }
        let Some(rows) = rows else { return Ok(()) };
        if done != rows {
            return Err(Error::sum(&format!("{done} rows are done, but the list has {rows}: {}", doubts())));
        }
        let ended = match self.state.failed.is_empty() && !self.stays {
            // A directory without a run in it is removed when its handle is dropped.
            true => self.directory.forget().and_then(|()| remove_all(&self.spools)),
            false => self.append(Frame::Ended).and_then(|()| self.directory.remove(waiting::NAME)),
        };
        ended.map_err(Error::output)
    }
}

fn remove_all(spools: &[PathBuf]) -> io::Result<()> {
    spools.iter().try_for_each(|path| std::fs::remove_file(path).map_err(|error| at(path, &error)))
}

/// What [`Log::wait`] has done.
pub(crate) struct Waited {
    /// What takes the places of the records.
    pub(crate) stubs: Vec<Record>,
    /// The file is full.
    pub(crate) full: bool,
}

impl WaitingRows {
    /// Opens the file if rows wait, and removes one that a crash has left.
    fn open(directory: &Directory, state: &State, bodies: PathBuf) -> io::Result<Self> {
        let rows: Vec<Waiting> = state.waiting.values().copied().collect();
        if rows.is_empty() {
            directory.remove(waiting::NAME)?;
            return Ok(Self { bodies, file: None, extents: BTreeMap::new() });
        }
        let file = WaitingFile::open(directory.folder(), bodies.clone(), &rows)?;
        let extents = rows.iter().map(|waiting| (waiting.row, file.extent(waiting))).collect();
        Ok(Self { bodies, file: Some(file), extents })
    }
}

fn begin_generation(directory: &Directory, state: &State, head: Head) -> io::Result<(File, File)> {
    let files = write_files(directory, state, head)?;
    directory.prune(head.generation)?;
    Ok(files)
}

/// Writes a generation and keeps the earlier ones.
pub(super) fn write_generation(directory: &Directory, state: &State, head: Head) -> io::Result<()> {
    write_files(directory, state, head).map(drop)
}

fn write_files(directory: &Directory, state: &State, head: Head) -> io::Result<(File, File)> {
    publish(directory, state, head)?;
    let file = directory.create(&name(JOURNAL, head.generation), head)?;
    let intents_name = name(INTENTS, head.generation);
    let intents = directory.create(&intents_name, head)?;
    preallocate(&intents).map_err(|error| directory.at(&intents_name, &error))?;
    directory.sync()?;
    Ok((file, intents))
}

/// Publishes a snapshot by rename. The generation exists from then on.
pub(super) fn publish(directory: &Directory, state: &State, head: Head) -> io::Result<()> {
    let mut snapshot = head.encode();
    state.encode(&mut snapshot);
    directory.publish(&name(SNAPSHOT, head.generation), &snapshot)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use std::fs;
    use std::path::{Path, PathBuf};

    use overlapped_proto::journal::{Checkpoint, SinkId};
    use overlapped_proto::limits;
    use serde_json::json;

    use super::super::recovery::{check, recover};
    use super::super::{RunId, repair};
    use super::*;
    use crate::sink::Cut;

    /// The run directory of a test.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("overlapped-log-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        /// The same files in another place.
        fn copy(&self, name: &str) -> Self {
            let copy = Self::new(name);
            fs::create_dir(&copy.0).unwrap();
            for file in self.files() {
                fs::copy(self.0.join(&file), copy.0.join(&file)).unwrap();
            }
            copy
        }

        /// Opens the log like a run that resumes.
        fn open(&self, bytes_max: u64) -> Log {
            let directory = Directory::open(&self.0).unwrap();
            let begun = directory.manifest().unwrap().is_some();
            let found = if begun { recover(&directory, RunId(7)).unwrap() } else { Default::default() };
            let head = Head { run: 7, generation: found.generation + 1, process: 1 };
            Log::begin(directory, &json!({}), found.state, head, bytes_max, PathBuf::new()).unwrap()
        }

        fn recovered(&self) -> (State, u64) {
            let found = recover(&Directory::open(&self.0).unwrap(), RunId(7)).unwrap();
            (found.state, found.generation)
        }

        fn files(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap().flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        fn bytes(&self) -> u64 {
            self.files().iter().map(|file| fs::metadata(self.0.join(file)).unwrap().len()).sum()
        }

        fn path(&self, file: &str) -> PathBuf {
            self.0.join(file)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A group of rows; those that end in 5 have failed.
    fn group(rows: impl Iterator<Item = u64>) -> Taken {
        let (failed, ok) = rows.map(Row).partition(|row| row.0 % 10 == 5);
        Taken { ok, failed, mark: None, listed: None }
    }

    fn at(rows: u64) -> Checkpoint {
        Checkpoint { position: rows, data: Box::default() }
    }

    fn commit(log: &mut Log, rows: impl Iterator<Item = u64>) {
        let taken = group(rows);
        let checkpoint = Some(at(log.state.done.len() + taken.len()));
        let cut = Cut { checkpoint, ..Cut::default() };
        log.commit(vec![(Some(SinkId::new("out")), cut)], taken).unwrap();
    }

    fn files_of(generation: u64) -> Vec<String> {
        let [intents, journal, snapshot] = [INTENTS, JOURNAL, SNAPSHOT].map(|kind| name(kind, generation));
        vec![intents, "job.json".into(), journal, "lock".into(), snapshot]
    }

    /// Copies a file, or the beginning of it.
    fn leave(from: &Path, to: &Path, bytes: usize) {
        let whole = fs::read(from).unwrap();
        fs::write(to, whole.get(..bytes).unwrap_or(&whole)).unwrap();
    }

    #[test]
    fn a_long_run_keeps_one_generation_and_little_of_it() {
        const GROUP: u64 = 500;
        const BYTES: u64 = 4_000;
        let place = Place::new("long");
        let mut log = place.open(BYTES);
        for start in (0..200 * GROUP).step_by(GROUP as usize) {
            // In an order in which no two rows are neighbours, so that a group is long.
            commit(&mut log, (0..GROUP).map(|number| start + number * 7 % GROUP).filter(|row| row % 3 > 0));
            commit(&mut log, (start..start + GROUP).filter(|row| row % 3 == 0));
            assert_eq!(place.files(), files_of(log.head.generation));
            // The snapshot of 10,000 rows that failed, each for itself, a journal that is over by a group, and intents.
            let most = 40_000 + BYTES + 2_000 + limits::INTENTS_STEP_BYTES;
            assert!(place.bytes() < most, "{} bytes", place.bytes());
            if log.head.generation % 20 == 19 {
                drop(log);
                log = place.open(BYTES);
            }
        }
        assert!(log.head.generation > 30, "{} generations", log.head.generation);
        drop(log);
        let (state, _) = place.recovered();
        assert_eq!((state.done.low().0, state.done.len()), (200 * GROUP, 200 * GROUP));
        assert_eq!(state.failed.len(), 20 * GROUP);
        assert_eq!(state.checkpoints.of(&SinkId::new("out")), Some(&at(200 * GROUP)));
    }

    /// Intents make a file grow too.
    #[test]
    fn intents_begin_anew_like_the_journal() {
        const BYTES: u64 = 1_000;
        let place = Place::new("intents");
        let mut log = place.open(BYTES);
        let intents = log.intents();
        intents.record(Row(1_000_000)).unwrap();
        for row in 0..500 {
            intents.record(Row(row)).unwrap();
            if row % 10 == 9 {
                commit(&mut log, row - 9..row + 1);
            }
        }
        let length = log.intents.bytes();
        assert!(length < BYTES + 200, "{length} bytes of intents");
        drop(log);
        let (state, generation) = place.recovered();
        assert!(generation > 5, "{generation} generations");
        assert!(state.in_doubt().ranges().eq(std::iter::once(1_000_000..1_000_001)));
    }

    /// Every state that a crash can leave between two generations, composed of the files before and after: a prefix of
    /// what is written, in order; then any subset of what is removed.
    #[test]
    fn a_crash_between_any_two_steps_of_a_rotation() {
        let before = Place::new("before");
        let mut log = before.open(u64::MAX);
        log.intents().record(Row(900)).unwrap();
        commit(&mut log, 0..100);
        commit(&mut log, 200..300);
        let after = before.copy("after");
        drop(log);
        let (expected, _) = before.recovered();
        drop(after.open(u64::MAX));

        let written = [name(SNAPSHOT, 2), name(JOURNAL, 2), name(INTENTS, 2)];
        for step in 0..written.len() {
            for part in [0, 10, Head::BYTES, usize::MAX] {
                let place = before.copy("written");
                written
                    .iter()
                    .take(step)
                    .for_each(|file| leave(&after.path(file), &place.path(file), usize::MAX));
                let file = written.get(step).unwrap();
                // A snapshot gets its name when it is whole.
                let unfinished = if step == 0 { format!("{file}.new") } else { file.clone() };
                leave(&after.path(file), &place.path(&unfinished), part);
                check_crash(&place, &expected, &format!("{part} bytes of {unfinished}"));
            }
        }
        let removed = [name(SNAPSHOT, 1), name(JOURNAL, 1), name(INTENTS, 1)];
        for gone in 0..1 << removed.len() {
            let place = before.copy("removed");
            written.iter().for_each(|file| leave(&after.path(file), &place.path(file), usize::MAX));
            for (_, file) in removed.iter().enumerate().filter(|(at, _)| gone >> at & 1 == 1) {
                fs::remove_file(place.path(file)).unwrap();
            }
            check_crash(&place, &expected, &format!("removed: {gone:03b}"));
        }
    }

    /// A run resumes from this state, and leaves only its own generation.
    fn check_crash(place: &Place, expected: &State, what: &str) {
        let files = place.files();
        let checked = check(&place.0, |_, _, _| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((checked.done, checked.in_doubt), (200, 1), "{what}");
        assert_eq!(place.files(), files, "{what}: reading changes nothing");
        let (found, generation) = place.recovered();
        assert_eq!(found.done, expected.done, "{what}");
        assert_eq!(
            (found.in_doubt(), &found.checkpoints),
            (expected.in_doubt(), &expected.checkpoints),
            "{what}"
        );
        let mut log = place.open(u64::MAX);
        commit(&mut log, 100..200);
        drop(log);
        assert_eq!(place.files(), files_of(generation + 1), "{what}");
        assert_eq!(place.recovered().0.done.low(), Row(300), "{what}");
    }

    /// A damaged snapshot does no harm while the generation before it exists.
    #[test]
    fn a_damaged_snapshot_with_the_generation_before_it() {
        let place = Place::new("damaged");
        let mut log = place.open(u64::MAX);
        commit(&mut log, 0..100);
        let later = place.copy("later");
        drop(log);
        drop(later.open(u64::MAX));
        leave(&later.path(&name(SNAPSHOT, 2)), &place.path(&name(SNAPSHOT, 2)), Head::BYTES + 3);
        let (state, generation) = place.recovered();
        assert_eq!((state.done.len(), generation), (100, 2));
        leave(&place.path(&name(SNAPSHOT, 2)), &later.path(&name(SNAPSHOT, 2)), usize::MAX);
        let recovered = recover(&Directory::open(&later.0).unwrap(), RunId(7));
        assert!(recovered.is_err(), "without it recovery fails");
    }

    /// Requests were sent twice: a missing, truncated or damaged file of intents was read as an empty one.
    #[test]
    fn intents_that_are_missing_or_damaged_are_never_none() {
        let place = Place::new("doubt");
        let mut log = place.open(u64::MAX);
        (0..40).for_each(|row| log.intents().record(Row(row)).unwrap());
        commit(&mut log, 0..20);
        drop(log);
        let file = name(INTENTS, 1);
        let whole = fs::read(place.path(&file)).unwrap();
        let last = Head::BYTES + usize::try_from(39 * 12_u64).unwrap();
        let with = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 8;
            Some(bytes)
        };
        let cut = |length: usize| Some(whole[..length].to_vec());
        let damages =
            [None, cut(0), cut(Head::BYTES), cut(Head::BYTES + 24), with(60), with(last), with(last + 6)];
        for (number, damaged) in damages.into_iter().enumerate() {
            let place = place.copy(&format!("doubt-{number}"));
            match damaged {
                None => fs::remove_file(place.path(&file)).unwrap(),
                Some(bytes) => fs::write(place.path(&file), bytes).unwrap(),
            }
            let refused = recover(&Directory::open(&place.0).unwrap(), RunId(7)).err();
            let refused = refused.unwrap_or_else(|| panic!("{number} is believed"));
            assert!(refused.to_string().contains("journal repair"), "{refused}");
            assert_eq!(repair(&place.0).unwrap().len(), 1, "{number}");
            let (state, _) = place.recovered();
            let doubt = state.in_doubt();
            assert_eq!(
                (state.done.len(), doubt.contains(Row(20)), doubt.contains(Row(500))),
                (20, true, true)
            );
            let log = place.open(u64::MAX);
            drop(log);
            assert!(place.recovered().0.in_doubt().contains(Row(500)), "{number}: it is forgotten");
        }
    }
}
