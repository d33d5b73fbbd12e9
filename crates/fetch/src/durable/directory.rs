//! The run directory: its lock, and its files by generation. Recovery does not change it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use overlapped_proto::journal::{self, Damage, Frame, Head, Sound, State, is_unsynced};
use overlapped_proto::limits;
use serde_json::Value;

use super::manifest;
use super::spool::{self, Spooled};
use crate::body::spool::RunId;
use crate::error::Error;
use crate::fs::{Folder, Moment, found, try_lock};
use crate::sink::at;

const MANIFEST: &str = "job.json";
const LOCK: &str = "lock";

/// A locked run directory. All its files are accessed relative to its handle.
#[derive(Debug)]
pub(super) struct Directory {
    folder: Folder,
    /// Its parent, and its name there.
    above: Folder,
    name: OsString,
    /// Locked until it is dropped.
    lock: File,
    /// A run begins here; nothing of an earlier one is kept.
    anew: bool,
}

/// A recovered state.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) state: State,
    pub(super) generation: u64,
    pub(super) run: u64,
}

impl Directory {
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Creates the directory if it is missing, opens and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::output_path(path, error);
        let above = Folder::of(path).map_err(failed)?;
        let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
        // The lock may belong to a directory that another process has just removed; then a new one is created.
        for _ in 0..limits::LOCK_TRIES {
            above.make(name, 0o700).map_err(failed)?;
            let Some(folder) = trusted(path, &above, name)? else { continue };
            let Some(lock) = open_lock(&folder)? else { continue };
            if !try_lock(&lock).map_err(failed)? {
                return Err(taken(path, lock));
            }
            let there = folder.find(OsStr::new(LOCK)).map_err(failed)?;
            if there.map(|there| there.id) == Some(found(&lock).map_err(failed)?.id) {
                above.sync().and_then(|()| note_process(&lock)).map_err(failed)?;
                return Ok(Self { folder, above, name: name.to_owned(), lock, anew: false });
            }
        }
        Err(Error::state(format!(
            "{} was removed and created again each time it was locked: another process uses it",
            path.display()
        )))
    }

    /// The manifest; `None`: no run was begun here.
    pub(super) fn manifest(&self) -> Result<Option<Value>, Error> {
        let path = self.file(MANIFEST);
        match read_whole(&self.folder, MANIFEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::state(format!("cannot read {}: {error}", path.display()))),
            Ok(bytes) => manifest::decode(&bytes).map(Some).map_err(|what| Error::journal(&path, &what)),
        }
    }

    /// Recovers the state from the snapshot, the journal and the intents.
    pub(super) fn recover(&self, run: RunId) -> Result<Found, Error> {
        let each = &mut |_: &str, _, _: &Frame| {};
        let mut recovery = Recovery { folder: &self.folder, run: Some(run), each, left_out: None };
        Ok(recovery.run()?.0)
    }

    /// An error with the path of a file.
    pub(super) fn at(&self, name: &str, error: &io::Error) -> io::Error {
        at(&self.file(name), error)
    }

    /// The path of a file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file atomically: to a temporary name, synced, then renamed.
    pub(super) fn publish(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_whole(name, bytes).map_err(|error| self.at(name, &error))
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = format!("{name}.new");
        let mut file = self.folder.create_anew(OsStr::new(&temporary), 0o600)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.folder.rename(OsStr::new(&temporary), &self.folder, OsStr::new(name))?;
        self.sync()
    }

    pub(super) fn publish_manifest(&self, manifest: &Value) -> io::Result<()> {
        self.publish(MANIFEST, manifest::encode(manifest).as_bytes())
    }

    /// A new file with its header, for frames to be appended. Its directory entry is not synced yet.
    pub(super) fn create(&self, name: &str, head: Head) -> io::Result<File> {
        self.write_head(name, head).map_err(|error| self.at(name, &error))
    }

    fn write_head(&self, name: &str, head: Head) -> io::Result<File> {
        let mut file = self.folder.create_anew(OsStr::new(name), 0o600)?;
        file.write_all(&head.encode())?;
        file.sync_all()?;
        Ok(file)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.folder.sync().map_err(|error| at(self.path(), &error))
    }

    /// Removes the files of other generations, and temporary files of a crashed process.
    pub(super) fn prune(&self, keep: u64) -> io::Result<()> {
        for entry in self.folder.names().map_err(|error| at(self.path(), &error))? {
            let name = entry.to_string_lossy();
            let old =
                KINDS.iter().find_map(|kind| generation(&name, kind)).is_some_and(|other| other != keep);
            if old || name.ends_with(".new") {
                self.folder.remove(&entry).map_err(|error| self.at(&name, &error))?;
            }
        }
        Ok(())
    }

    /// When it was locked, by the clock of its file system.
    pub(super) fn locked(&self) -> io::Result<Moment> {
        Ok(found(&self.lock)?.changed)
    }

    /// Removes the run.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        self.anew = false;
        // The manifest goes first: without it there is no run, whatever a crash leaves.
        self.folder.remove(OsStr::new(MANIFEST)).map_err(|error| self.at(MANIFEST, &error))?;
        self.sync()?;
        self.clear()
    }

    /// Prepares the directory for a new run. Files of a finished run, such as its copy of the list, must not be taken
    /// for those of the new one. If the run does not begin, the directory is removed.
    pub(super) fn begin_anew(&mut self) -> io::Result<()> {
        self.anew = true;
        self.clear()
    }

    fn clear(&self) -> io::Result<()> {
        for list in spool::NAMES {
            self.folder.remove_if_there(OsStr::new(list)).map_err(|error| self.at(list, &error))?;
        }
        self.prune(u64::MAX)
    }

    /// Copies the list into this directory while it is read.
    pub(super) fn spool(&self, from: Box<dyn Read + Send>) -> Result<Spooled, Error> {
        spool::open(&self.folder, from)
    }
}

impl Drop for Directory {
    /// Removes a directory in which no run was begun.
    fn drop(&mut self) {
        if let Ok(None) = self.folder.find(OsStr::new(MANIFEST)) {
            if self.anew {
                let _ = self.clear();
            }
            // Fails if it holds files of others, which are kept.
            let _ = self.folder.remove(OsStr::new(LOCK)).and_then(|()| self.above.remove_folder(&self.name));
        }
    }
}

/// Opens a run directory if only the user can have written what is in it; `None`: it has just been removed. A state
/// planted by another user could mark rows as done and name files for removal.
fn trusted(path: &Path, above: &Folder, name: &OsStr) -> Result<Option<Folder>, Error> {
    let refuse = |what: &str| {
        Err(Error::state(format!(
            "{} {what}, so the state in it is not to be trusted: remove it, or have -o in a directory of your own",
            path.display()
        )))
    };
    let failed = |error| Error::output_path(path, error);
    let folder = match above.folder(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return refuse("is a link or a file, not a directory");
        }
        opened => opened.map_err(failed)?,
    };
    let here = folder.found().map_err(failed)?;
    if !here.is_shared() || keeps_no_owners(&folder) {
        return Ok(Some(folder));
    }
    match here.is_own() {
        true => refuse("can be written to by other users"),
        false => refuse(&format!("belongs to another user ({})", here.owner)),
    }
}

/// True if the file system has no owners, so that even a file created now appears shared.
fn keeps_no_owners(folder: &Folder) -> bool {
    let name = OsString::from(format!("owner-{}.new", std::process::id()));
    let Ok(probe) = folder.create(&name, 0o600) else { return false };
    let shared = found(&probe).is_ok_and(|found| found.is_shared());
    folder.remove(&name).is_ok() && shared
}

/// Opens the lock file; `None`: the directory has just been removed. Only a process number is ever written to it.
fn open_lock(folder: &Folder) -> Result<Option<File>, Error> {
    let path = folder.path().join(LOCK);
    let lock = match folder.open_or_create(OsStr::new(LOCK), 0o600) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| Error::output_path(&path, error))?,
    };
    let lies = found(&lock).map_err(|error| Error::output_path(&path, error))?;
    if lies.is_file() && lies.links <= 1 && lies.bytes <= limits::LOCK_BYTES_MAX {
        return Ok(Some(lock));
    }
    Err(Error::state(format!("{} is not a lock of this program: remove it", path.display())))
}

/// The kinds of files that have generations, by what precedes and follows the number in their names.
const KINDS: [Kind; 3] = [SNAPSHOT, JOURNAL, INTENTS];
pub(super) const SNAPSHOT: Kind = ("snapshot-", "");
pub(super) const JOURNAL: Kind = ("journal-", ".log");
pub(super) const INTENTS: Kind = ("intents-", ".log");

type Kind = (&'static str, &'static str);

/// The name of a file of a generation.
pub(super) fn name(kind: Kind, generation: u64) -> String {
    format!("{}{generation}{}", kind.0, kind.1)
}

fn generation(name: &str, kind: &Kind) -> Option<u64> {
    name.strip_prefix(kind.0)?.strip_suffix(kind.1)?.parse().ok()
}

/// Of fixed length, so that the file need not be truncated.
fn note_process(mut lock: &File) -> io::Result<()> {
    lock.seek(SeekFrom::Start(0))?;
    lock.write_all(format!("{:<10}\n", std::process::id()).as_bytes())
}

fn read_whole(folder: &Folder, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    folder.read(OsStr::new(name))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn taken(path: &Path, mut lock: File) -> Error {
    let mut process = String::new();
    let _ = lock.read_to_string(&mut process);
    let by = match process.trim().parse::<u32>() {
        Ok(process) => format!("process {process}"),
        Err(_) => "another process".to_owned(),
    };
    Error::state(format!("{by} is at work on this run ({} is locked)", path.display()))
}

// --- recovery ------------------------------------------------------------------------------------------------

/// The content of a run directory, file by file.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Rows that are done.
    pub done: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Rows in doubt: their requests may have been sent, and must not be sent twice.
    pub in_doubt: u64,
    /// The run has come to its end.
    pub ended: bool,
    /// The files that were read, in order: name, bytes that are sound, and whether something half-written follows.
    pub files: Vec<(String, u64, bool)>,
}

/// Reads the state in a run directory without changing it. Passes each entry to `each`: file, offset, entry.
///
/// # Errors
///
/// It is damaged, or there is none.
///
/// # Blocking
///
/// On the disk.
pub fn check(path: &Path, mut each: impl FnMut(&str, u64, &Frame)) -> Result<Checked, Error> {
    let folder = Folder::open(path);
    let folder = folder.map_err(|error| Error::state(format!("cannot read {}: {error}", path.display())))?;
    let mut recovery = Recovery { folder: &folder, run: None, each: &mut each, left_out: None };
    let (found, files) = recovery.run()?;
    let State { done, failed, ended, .. } = &found.state;
    let in_doubt = found.state.in_doubt().len();
    Ok(Checked { done: done.len(), failed: failed.len(), in_doubt, ended: *ended, files })
}

/// [`super::repair`]. `write` writes a generation and keeps the earlier ones.
pub(super) fn repair(path: &Path, write: WriteGeneration) -> Result<Vec<(String, u64)>, Error> {
    let directory = Directory::open(path)?;
    let run = directory.manifest()?.as_ref().and_then(manifest::run);
    let mut left_out = Vec::new();
    let mut recovery =
        Recovery { folder: &directory.folder, run, each: &mut |_, _, _| {}, left_out: Some(&mut left_out) };
    let (mut found, _) = recovery.run()?;
    if left_out.is_empty() {
        return Ok(left_out);
    }
    if left_out.iter().any(|(name, _)| generation(name, &INTENTS).is_some()) {
        found.state.intended.insert_range(0..limits::DURABLE_ROWS_MAX);
    }
    let head = Head { run: found.run, generation: found.generation + 1, process: std::process::id() };
    let kept = left_out.iter().try_for_each(|(name, _)| directory.keep_damaged(name));
    // Earlier generations are removed when the run resumes.
    let written = kept.and_then(|()| write(&directory, &found.state, head));
    written.map_err(|error| Error::output_path(path, error))?;
    Ok(left_out)
}

impl Directory {
    fn keep_damaged(&self, name: &str) -> io::Result<()> {
        let bytes = match read_whole(&self.folder, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        let mut kept = self.folder.create_anew(OsStr::new(&format!("{name}.damaged")), 0o600)?;
        kept.write_all(&bytes)?;
        kept.sync_all()?;
        self.sync()
    }
}

/// How a generation is written.
type WriteGeneration = fn(&Directory, &State, Head) -> io::Result<()>;

type Files = Vec<(String, u64, bool)>;

/// A recovery in progress.
struct Recovery<'a> {
    folder: &'a Folder,
    /// The run that all files must belong to; `None`: that of the first file.
    run: Option<RunId>,
    each: &'a mut dyn FnMut(&str, u64, &Frame),
    /// Collects what is damaged or missing; `None`: damage is an error.
    left_out: Option<&'a mut Vec<(String, u64)>>,
}

impl Recovery<'_> {
    fn run(&mut self) -> Result<(Found, Files), Error> {
        let generations = generations(self.folder)?;
        let (mut found, mut files) = self.newest_snapshot(&generations)?;
        let newest = found.generation;
        for &generation in generations.range(newest..) {
            // A generation is complete before the earlier one is removed.
            let is_alone = generation == newest && generations.first() == Some(&newest);
            for kind in [JOURNAL, INTENTS] {
                let name = name(kind, generation);
                let Some(sound) = self.log(kind, &name, &mut found, is_alone)? else { continue };
                if kind == JOURNAL && sound.torn && generations.last() > Some(&generation) {
                    self.damaged(&name, sound.bytes, "it ends too early")?;
                }
                files.push((name, sound.bytes, sound.torn));
            }
        }
        found.generation = *generations.last().expect("a snapshot was found");
        Ok((found, files))
    }

    /// The state of the newest sound snapshot.
    fn newest_snapshot(&mut self, generations: &BTreeSet<u64>) -> Result<(Found, Files), Error> {
        let mut damaged = None;
        for &generation in generations.iter().rev() {
            let name = name(SNAPSHOT, generation);
            let path = self.folder.path().join(&name);
            let bytes = match read_whole(self.folder, &name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read.map_err(|error| unread(&path, &error))?,
            };
            let mut found = Found { generation, ..Found::default() };
            match self.replay(SNAPSHOT, &name, &bytes, &mut found) {
                Ok(Sound { torn: false, bytes, .. }) => return Ok((found, vec![(name, bytes, false)])),
                Ok(Sound { bytes, .. }) => {
                    damaged = Some(Error::journal(&path, &format!("it ends too early, at byte {bytes}")));
                }
                Err(damage) => damaged = Some(Error::journal(&path, &damage.to_string())),
            }
        }
        let there = self.folder.find(OsStr::new(MANIFEST)).is_ok_and(|found| found.is_some());
        let path = self.folder.path();
        Err(damaged.unwrap_or_else(|| match there {
            true => Error::journal(path, "the snapshot is missing: only --overwrite begins anew"),
            false => Error::state(format!("there is no run in {}", path.display())),
        }))
    }

    /// Replays a journal or the intents. If there is no other generation, both must be complete.
    fn log(
        &mut self,
        kind: Kind,
        name: &str,
        found: &mut Found,
        whole: bool,
    ) -> Result<Option<Sound>, Error> {
        let path = self.folder.path().join(name);
        let bytes = match read_whole(self.folder, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && whole => {
                return self.damaged(name, 0, "it is missing").map(|()| None);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| unread(&path, &error))?,
        };
        let sound = match self.replay(kind, name, &bytes, found) {
            Err(damage) => {
                self.damaged(name, damage.at, &damage.to_string())?;
                return Ok(None);
            }
            Ok(sound) => sound,
        };
        let length = bytes.len() as u64;
        let cut = kind == INTENTS && (length == 0 || !length.is_multiple_of(limits::INTENTS_STEP_BYTES));
        if whole && (cut || sound.head.is_none()) {
            self.damaged(name, sound.bytes, "it was cut")?;
        }
        // Zeros after the last intent are preallocated space.
        let tail = bytes.get(usize::try_from(sound.bytes).unwrap_or(usize::MAX)..).unwrap_or_default();
        Ok(Some(Sound {
            torn: sound.torn && !(kind == INTENTS && tail.iter().all(|&byte| byte == 0)),
            ..sound
        }))
    }

    fn damaged(&mut self, name: &str, at: u64, what: &str) -> Result<(), Error> {
        let Some(left_out) = &mut self.left_out else {
            let path = self.folder.path();
            let what = format!("{what}; `overlapped journal repair {}` goes on without it", path.display());
            return Err(Error::journal(&path.join(name), &what));
        };
        if left_out.iter().all(|(other, _)| other != name) {
            left_out.push((name.to_owned(), at));
        }
        Ok(())
    }

    /// Applies the entries of a file, up to one that contradicts those before.
    fn replay(&mut self, kind: Kind, name: &str, bytes: &[u8], found: &mut Found) -> Result<Sound, Damage> {
        let mut wrong = None;
        let read = journal::read(bytes, |at, frame| {
            if wrong.is_some() || found.state.contradicts(&frame) {
                wrong.get_or_insert(at);
                return;
            }
            (self.each)(name, at, &frame);
            found.state.apply(frame);
        });
        let content = |at| Damage { at, wrong: journal::Wrong::Content };
        if let Some(at) = wrong {
            return Err(content(at));
        }
        let sound = read?;
        if let Some(head) = sound.head {
            let run = self.run.get_or_insert(RunId(head.run));
            if head.run != run.0 || Some(head.generation) != generation(name, &kind) {
                return Err(content(0));
            }
            found.run = head.run;
        }
        let tail = bytes.get(usize::try_from(sound.bytes).unwrap_or(usize::MAX)..).unwrap_or_default();
        if kind == INTENTS && sound.head.is_some() && !is_unsynced(tail, sound.bytes) {
            return Err(Damage { at: sound.bytes, wrong: journal::Wrong::Checksum });
        }
        Ok(sound)
    }
}

fn generations(folder: &Folder) -> Result<BTreeSet<u64>, Error> {
    let names = folder.names().map_err(|error| unread(folder.path(), &error))?;
    let names = names.iter().map(|name| name.to_string_lossy());
    Ok(names.filter_map(|name| KINDS.iter().find_map(|kind| generation(&name, kind))).collect())
}

fn unread(path: &Path, error: &io::Error) -> Error {
    Error::state(format!("cannot read {}: {error}", path.display()))
}
