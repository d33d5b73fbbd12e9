//! The run directory: its lock, and its files by generation.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use overlapped_proto::journal::Head;
use overlapped_proto::limits;
use serde_json::Value;

use super::manifest;
use super::spool::{self, Spooled};
use crate::body::waiting;
use crate::error::Error;
use crate::fs::{Folder, Moment, found, try_lock};
use crate::sink::at;

pub(super) const MANIFEST: &str = "job.json";
const LOCK: &str = "lock";
/// Is there from when the state of an earlier run is removed until the run that replaces it has a manifest.
const REPLACED: &str = "replaced";

/// True if no run is in the directory at `path`, nor was one about to begin there in place of another.
pub(super) fn holds_no_run(path: &Path) -> bool {
    [MANIFEST, REPLACED].into_iter().all(|name| path.join(name).symlink_metadata().is_err())
}

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

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
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
        self.publish(MANIFEST, manifest::encode(manifest).as_bytes())?;
        self.remove(REPLACED)
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

    /// Removes the run, which has ended.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        self.anew = false;
        self.remove(REPLACED)?;
        self.discard()
    }

    /// Removes the run, in whose place another one begins. Until that has its manifest, what is left is not taken for the rest of
    /// a run that has ended: the outputs are those of the earlier one.
    pub(super) fn replace(&mut self) -> io::Result<()> {
        self.publish(REPLACED, b"")?;
        self.discard()?;
        self.begin_anew()
    }

    fn discard(&self) -> io::Result<()> {
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
        spool::NAMES.into_iter().chain([waiting::NAME]).try_for_each(|name| self.remove(name))?;
        self.prune(u64::MAX)
    }

    /// Removes a file, if there is one.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove_if_there(OsStr::new(name)).map_err(|error| self.at(name, &error))
    }

    /// Copies a damaged file to another name.
    pub(super) fn keep_damaged(&self, name: &str) -> io::Result<()> {
        let bytes = match read_whole(&self.folder, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        let mut kept = self.folder.create_anew(OsStr::new(&format!("{name}.damaged")), 0o600)?;
        kept.write_all(&bytes)?;
        kept.sync_all()?;
        self.sync()
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
pub(super) const KINDS: [Kind; 3] = [SNAPSHOT, JOURNAL, INTENTS];
pub(super) const SNAPSHOT: Kind = ("snapshot-", "");
pub(super) const JOURNAL: Kind = ("journal-", ".log");
pub(super) const INTENTS: Kind = ("intents-", ".log");

pub(super) type Kind = (&'static str, &'static str);

/// The name of a file of a generation.
pub(super) fn name(kind: Kind, generation: u64) -> String {
    format!("{}{generation}{}", kind.0, kind.1)
}

/// The generation in the name of a file of this kind.
pub(super) fn generation(name: &str, kind: &Kind) -> Option<u64> {
    name.strip_prefix(kind.0)?.strip_suffix(kind.1)?.parse().ok()
}

/// Of fixed length, so that the file need not be truncated.
fn note_process(mut lock: &File) -> io::Result<()> {
    lock.seek(SeekFrom::Start(0))?;
    lock.write_all(format!("{:<10}\n", std::process::id()).as_bytes())
}

pub(super) fn read_whole(folder: &Folder, name: &str) -> io::Result<Vec<u8>> {
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
    Error::state(format!("{by} uses this run ({} is locked)", path.display()))
}
