//! The run directory: its lock, and its files by generation. Reading one never changes it.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use overlapped_proto::journal::{self, Damage, Frame, Head, Named, Sound, State};
use overlapped_proto::limits;
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use super::spool::{self, Spooled};
use crate::error::Error;
use crate::sink::{at, sync_file, sync_name};

const MANIFEST: &str = "job.json";
const LOCK: &str = "lock";

/// A run directory that this process has to itself.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    #[expect(dead_code, reason = "held until it is dropped")]
    lock: File,
    /// A run begins here, and nothing of an earlier one is wanted.
    anew: bool,
}

/// What an earlier run has left.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) state: State,
    pub(super) generation: u64,
    pub(super) run: u64,
}

impl Directory {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory, which is made if it is not there, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::output_path(path, error);
        // A process that has just removed the directory may have held the lock; then there is a new one to be made.
        for _ in 0..limits::LOCK_TRIES {
            match fs::DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
            let name = path.join(LOCK);
            let mut options = OpenOptions::new();
            let lock =
                match options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&name) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    opened => opened.map_err(failed)?,
                };
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(taken(path, lock)),
                locked => locked.map_err(|error| failed(error.into()))?,
            }
            if is_at(&lock, &name) {
                sync_name(path).and_then(|()| note_process(&lock)).map_err(failed)?;
                return Ok(Self { path: path.to_owned(), lock, anew: false });
            }
        }
        Err(Error::state(format!("{} comes and goes: another process is at work there", path.display())))
    }

    /// The manifest; `None`: no run was begun here.
    pub(super) fn manifest(&self) -> Result<Option<Value>, Error> {
        let path = self.path.join(MANIFEST);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::state(format!("cannot read {}: {error}", path.display()))),
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(manifest) => Ok(Some(manifest)),
                Err(error) => Err(Error::journal(&path, &error.to_string())),
            },
        }
    }

    /// What the snapshot and the journals say.
    pub(super) fn recover(&self) -> Result<Found, Error> {
        recover(&self.path).map(|(found, _)| found)
    }

    /// Removes files that have their final names though their rows are not done. They are ours: a file's number says so.
    pub(super) fn take_back(&self, named: &[Named]) -> io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let paths = || named.iter().map(|named| Path::new(std::ffi::OsStr::from_bytes(&named.path)));
        for (path, named) in paths().zip(named) {
            let ours = |meta: fs::Metadata| (meta.dev(), meta.ino()) == (named.device, named.inode);
            if path.symlink_metadata().is_ok_and(ours) {
                // One that cannot be removed keeps its name, and the new one gets another.
                let _ = fs::remove_file(path);
            }
        }
        // The next snapshot forgets them, and none may come back behind it. This process or one before it removed them.
        let folders: BTreeSet<_> =
            paths().filter_map(Path::parent).filter(|folder| folder.exists()).collect();
        folders.into_iter().try_for_each(sync_file)
    }

    /// An error that says with which file.
    pub(super) fn at(&self, name: &str, error: &io::Error) -> io::Error {
        at(&self.file(name), error)
    }

    /// The path of a file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that appears whole, under its name, or not at all.
    pub(super) fn publish(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_whole(name, bytes).map_err(|error| self.at(name, &error))
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.path.join(format!("{name}.new"));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path.join(name))?;
        self.sync()
    }

    pub(super) fn publish_manifest(&self, manifest: &Value) -> io::Result<()> {
        self.publish(MANIFEST, format!("{manifest:#}\n").as_bytes())
    }

    /// A new file with its head, for frames to be appended. Its name is not synced yet.
    pub(super) fn create(&self, name: &str, head: Head) -> io::Result<File> {
        self.write_head(name, head).map_err(|error| self.at(name, &error))
    }

    fn write_head(&self, name: &str, head: Head) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(self.path.join(name))?;
        file.write_all(&head.encode())?;
        file.sync_all()?;
        Ok(file)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        sync_file(&self.path)
    }

    /// Removes the files of other generations, and what was being written when a process ended.
    pub(super) fn prune(&self, keep: u64) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let old =
                KINDS.iter().find_map(|kind| generation(&name, kind)).is_some_and(|other| other != keep);
            if old || name.ends_with(".new") {
                fs::remove_file(entry.path()).map_err(|error| at(&entry.path(), &error))?;
            }
        }
        Ok(())
    }

    /// Forgets the run that was begun here.
    pub(super) fn forget(&self) -> io::Result<()> {
        // Without a manifest there is no run, whatever else a crash leaves of it.
        fs::remove_file(self.path.join(MANIFEST)).map_err(|error| self.at(MANIFEST, &error))?;
        self.sync()?;
        self.clear()
    }

    /// Makes room for a run. A crash may have left files of one that has ended: its list must not be taken for the new
    /// one's. If the run does not begin after all, nothing is left of it.
    pub(super) fn begin_anew(&mut self) -> io::Result<()> {
        self.anew = true;
        self.clear()
    }

    fn clear(&self) -> io::Result<()> {
        for list in spool::NAMES {
            match fs::remove_file(self.path.join(list)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.at(list, &error)),
                _ => {}
            }
        }
        self.prune(u64::MAX)
    }

    /// The list, written down here while it is read.
    pub(super) fn spool(&self, from: Box<dyn Read + Send>) -> io::Result<Spooled> {
        spool::open(&self.path, from).map_err(|error| self.at("list", &error))
    }
}

impl Drop for Directory {
    /// A directory in which no run was begun, or from which it was removed, goes.
    fn drop(&mut self) {
        if matches!(self.path.join(MANIFEST).symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
        {
            if self.anew {
                let _ = self.clear();
            }
            // If that does not work something else is in it, which is not ours.
            let _ = fs::remove_file(self.path.join(LOCK)).and_then(|()| fs::remove_dir(&self.path));
        }
    }
}

/// The kinds of files that have generations: what stands before the number, and behind it.
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

fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().is_ok_and(|own| path.metadata().is_ok_and(|found| same(own, found)))
}

fn note_process(mut lock: &File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.seek(SeekFrom::Start(0))?;
    writeln!(lock, "{}", std::process::id())
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

/// What is in a run directory, file by file.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Rows that are done.
    pub done: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Rows whose requests may have been sent, and must not be sent twice.
    pub in_doubt: u64,
    /// The run has come to its end.
    pub ended: bool,
    /// The files that were read, in order: name, bytes that are sound, and whether something half-written follows.
    pub files: Vec<(String, u64, bool)>,
}

/// Reads the state in a run directory without changing it, and hands on each entry: file, byte, entry.
///
/// # Errors
///
/// It is damaged, or there is none.
///
/// # Blocking
///
/// On the disk.
pub fn check(path: &Path, mut each: impl FnMut(&str, u64, &Frame)) -> Result<Checked, Error> {
    let (found, files) = recover_with(path, &mut each)?;
    let State { done, failed, ended, .. } = &found.state;
    let in_doubt = found.state.in_doubt().len();
    Ok(Checked { done: done.len(), failed: failed.len(), in_doubt, ended: *ended, files })
}

/// Cuts a damaged journal where the damage begins, and keeps the whole file beside it. Says what was cut: file, byte.
/// What stood behind it is fetched again.
///
/// # Errors
///
/// Another process is at work there; a snapshot is damaged, which nothing can replace; the disk fails.
///
/// # Blocking
///
/// On the disk.
pub fn repair(path: &Path) -> Result<Vec<(String, u64)>, Error> {
    let directory = Directory::open(path)?;
    let mut cut = Vec::new();
    for (generation, kind) in logs_of(path)? {
        let name = name(kind, generation);
        let file = path.join(&name);
        let bytes = fs::read(&file).map_err(|error| Error::output_path(&file, error))?;
        if let Err(Damage { at, .. }) = journal::read(&bytes, |_, _| {}) {
            let kept = path.join(format!("{name}.damaged"));
            let done = fs::copy(&file, &kept)
                .and_then(|_| sync_file(&kept))
                .and_then(|()| directory.sync())
                .and_then(|()| File::options().write(true).open(&file))
                .and_then(|file| file.set_len(at).and_then(|()| file.sync_all()));
            done.map_err(|error| Error::output_path(&file, error))?;
            cut.push((name, at));
        }
    }
    directory.recover()?;
    Ok(cut)
}

type Files = Vec<(String, u64, bool)>;

fn recover(path: &Path) -> Result<(Found, Files), Error> {
    recover_with(path, &mut |_, _, _| {})
}

fn recover_with(path: &Path, each: &mut dyn FnMut(&str, u64, &Frame)) -> Result<(Found, Files), Error> {
    let (mut found, mut files) = newest_snapshot(path, each)?;
    for (generation, kind) in logs_of(path)? {
        if generation < found.generation {
            continue;
        }
        let name = name(kind, generation);
        let sound = replay(&path.join(&name), &name, &mut found, each)?;
        let later = logs_of(path)?.iter().any(|&(other, of)| of == kind && other > generation);
        if sound.torn && later {
            return Err(Error::journal(
                &path.join(&name),
                &format!("it ends too early, at byte {}", sound.bytes),
            ));
        }
        files.push((name, sound.bytes, sound.torn));
    }
    found.generation = generations(path)?.into_iter().max().unwrap_or(0);
    Ok((found, files))
}

/// Generations in order; of each the journal, then the intents.
fn logs_of(path: &Path) -> Result<Vec<(u64, Kind)>, Error> {
    let mut logs = Vec::new();
    for generation in generations(path)? {
        for kind in [JOURNAL, INTENTS] {
            if path.join(name(kind, generation)).exists() {
                logs.push((generation, kind));
            }
        }
    }
    Ok(logs)
}

fn generations(path: &Path) -> Result<BTreeSet<u64>, Error> {
    let entries = fs::read_dir(path);
    let entries =
        entries.map_err(|error| Error::state(format!("cannot read {}: {error}", path.display())))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter_map(|name| KINDS.iter().find_map(|kind| generation(&name, kind))).collect())
}

/// The state of the newest snapshot that is sound.
fn newest_snapshot(path: &Path, each: &mut dyn FnMut(&str, u64, &Frame)) -> Result<(Found, Files), Error> {
    let mut damaged = None;
    for generation in generations(path)?.into_iter().rev() {
        let name = name(SNAPSHOT, generation);
        let file = path.join(&name);
        if !file.exists() {
            continue;
        }
        let mut found = Found { generation, ..Found::default() };
        match replay(&file, &name, &mut found, each) {
            Ok(Sound { torn: false, bytes, .. }) => return Ok((found, vec![(name, bytes, false)])),
            Ok(Sound { bytes, .. }) => {
                damaged = Some(Error::journal(&file, &format!("it ends too early, at byte {bytes}")));
            }
            Err(error) => damaged = Some(error),
        }
    }
    Err(damaged.unwrap_or_else(|| Error::state(format!("there is no run in {}", path.display()))))
}

fn replay(
    path: &Path,
    name: &str,
    found: &mut Found,
    each: &mut dyn FnMut(&str, u64, &Frame),
) -> Result<Sound, Error> {
    let bytes =
        fs::read(path).map_err(|error| Error::state(format!("cannot read {}: {error}", path.display())))?;
    let sound = journal::read(&bytes, |at, frame| {
        each(name, at, &frame);
        found.state.apply(frame);
    });
    let sound = sound.map_err(|damage| Error::journal(path, &damage.to_string()))?;
    if let Some(head) = sound.head {
        found.run = head.run;
    }
    Ok(sound)
}
