//! When files get their final names: each when it is whole, or, in a run that is durable, all of a group when they are
//! on the disk.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlapped_proto::journal::Named;
use overlapped_proto::limits::{RENAMES_A_TURN, SYNCED_FILES_MAX};

use super::kept::Kept;
use super::{Existing, at};
use crate::folder::{Folder, Found, Moment, found};

/// Gives files below one directory their final names.
pub(super) struct Naming {
    root: Arc<Folder>,
    when: When,
    /// What is there and is to be replaced was changed before this moment. What was changed later this run has written.
    pub(super) began: Moment,
    pub(super) kept: Kept,
}

enum When {
    /// Each when it is whole.
    AtOnce,
    /// All of a cut when they are on the disk. Until then their names are reserved.
    Together(Vec<Pending>),
}

/// A file that is whole, on its way to its final name.
pub(super) struct Pending {
    part: PathBuf,
    /// Its final name, from the root.
    path: PathBuf,
    /// It takes the place of a file that was there before the run.
    replaces: bool,
}

/// Names that are given and not yet to be seen in the directory. Whoever makes or renames files there holds its lock
/// meanwhile: the kernel lets one in at a time, and two threads would put each other to sleep and awake for each file.
#[derive(Default)]
pub(super) struct Reserved(Mutex<HashSet<PathBuf>>);

impl Naming {
    /// Each file gets its name when it is whole. The run began at `began`.
    pub(super) fn at_once(root: Arc<Folder>, began: Moment) -> Self {
        Self { root, when: When::AtOnce, began, kept: Kept::default() }
    }

    /// From now on files wait for [`Naming::pending`], and for [`settle`].
    pub(super) fn together(&mut self) {
        self.when = When::Together(Vec::new());
    }

    /// The files that wait, which are not told again.
    pub(super) fn pending(&mut self) -> Vec<Pending> {
        match &mut self.when {
            When::AtOnce => Vec::new(),
            When::Together(pending) => std::mem::take(pending),
        }
    }

    /// Gives the file at `part` this name below the root, or reserves it.
    ///
    /// # Errors
    ///
    /// The name is taken, or it cannot be had at all.
    pub(super) fn take(
        &mut self,
        part: &Path,
        path: &Path,
        existing: Existing,
        reserved: &mut HashSet<PathBuf>,
    ) -> io::Result<()> {
        if path.ancestors().skip(1).any(|above| reserved.contains(above)) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        // The directories are made now: whatever is wrong with a name is found while there is a choice.
        let folder = self.folder(path)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        if self.kept.has_name(&folder, name)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let looks = existing == Existing::Replace || matches!(self.when, When::Together(_));
        let there = if looks { folder.find(name)? } else { None };
        let replaces = there.is_some();
        if let Some(there) = there {
            self.may_replace(&there, existing)?;
        }
        let pending = match &mut self.when {
            When::AtOnce => return folder.take(self.root.place(part), name, replaces),
            When::Together(pending) => pending,
        };
        if !reserved.insert(path.to_owned()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        pending.push(Pending { part: part.to_owned(), path: path.to_owned(), replaces });
        Ok(())
    }

    /// True if this name below the root can be had.
    pub(super) fn is_free(
        &self,
        path: &Path,
        existing: Existing,
        reserved: &HashSet<PathBuf>,
    ) -> io::Result<bool> {
        let folder = self.folder(path)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        if reserved.contains(path) || self.kept.has_name(&folder, name)? {
            return Ok(false);
        }
        Ok(folder.find(name)?.is_none_or(|there| self.may_replace(&there, existing).is_ok()))
    }

    fn may_replace(&self, there: &Found, existing: Existing) -> io::Result<()> {
        match existing {
            Existing::Keep => Err(io::ErrorKind::AlreadyExists.into()),
            Existing::Replace if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Existing::Replace if there.changed >= self.began || self.kept.has_file(there.id) => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            Existing::Replace => Ok(()),
        }
    }

    /// The directory of a name below the root. It is looked up each time: it may have become a link.
    fn folder(&self, path: &Path) -> io::Result<Folder> {
        let folder = self.root.make_below(path.parent().unwrap_or(Path::new("")))?;
        // A link on the way is no directory, wherever it leads: a name comes from the list or from a server, and must
        // not write where only the owner of the root may choose to. Nor is what the run keeps its state in.
        if self.kept.has_folder(&folder)? { Err(io::ErrorKind::NotADirectory.into()) } else { Ok(folder) }
    }
}

impl Pending {
    /// What the journal is told.
    pub(super) fn named(&self, root: &Folder) -> io::Result<Named> {
        let part = root.placed(&self.part).and_then(|part| found(&part));
        let (device, inode) = part.map_err(|error| at(&self.part, &error))?.id;
        Ok(Named { path: self.path.clone().into_os_string().into_vec(), device, inode })
    }
}

impl Reserved {
    /// Nobody panics with the lock held, so a poisoned one is whole.
    pub(super) fn lock(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the files on the disk, gives them their names, and has the names on the disk.
pub(super) fn settle(root: &Folder, pending: &[Pending], reserved: &Reserved) -> io::Result<()> {
    sync_files(root, pending)?;
    for some in pending.chunks(RENAMES_A_TURN) {
        let mut reserved = reserved.lock();
        for file in some {
            rename(root, file).map_err(|error| at(&root.path().join(&file.path), &error))?;
            reserved.remove(&file.path);
        }
    }
    sync_folders(root, pending)
}

fn rename(root: &Folder, Pending { part, path, replaces }: &Pending) -> io::Result<()> {
    // Made once more if it was removed meanwhile.
    let folder = root.make_below(path.parent().unwrap_or(Path::new("")))?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    folder.take(root.place(part), name, *replaces)
}

/// One by one while they are few; then the whole file system, which is faster than thousands.
fn sync_files(root: &Folder, pending: &[Pending]) -> io::Result<()> {
    if pending.len() > SYNCED_FILES_MAX {
        return root.sync_system().map_err(|error| at(root.path(), &error));
    }
    pending.iter().try_for_each(|file| {
        let synced = root.placed(&file.part).and_then(|part| part.sync_all());
        synced.map_err(|error| at(&file.part, &error))
    })
}

fn sync_folders(root: &Folder, pending: &[Pending]) -> io::Result<()> {
    let folders: BTreeSet<&Path> = pending.iter().flat_map(|file| file.path.ancestors().skip(1)).collect();
    if folders.len() > SYNCED_FILES_MAX {
        return root.sync_system().map_err(|error| at(root.path(), &error));
    }
    folders.into_iter().try_for_each(|folder| {
        let synced = root.below(folder).and_then(|open| open.sync());
        synced.map_err(|error| at(&root.path().join(folder), &error))
    })
}
