//! When files get their final names: each when it is whole, or, in a run that is durable, all of a group when they are
//! on the disk.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::rlimit::open_patiently;
use overlapped_proto::journal::Named;
use overlapped_proto::limits::{RENAMES_A_TURN, SYNCED_FILES_MAX};
use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};

use super::{Existing, at, sync_file};

/// Gives files below one directory their final names.
pub(super) struct Naming {
    root: PathBuf,
    /// The directory that was made last: most files go where the one before went.
    made: PathBuf,
    when: When,
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
    path: PathBuf,
}

/// Names that are given and not yet to be seen in the directory. Whoever makes or renames files there holds its lock
/// meanwhile: the kernel lets one in at a time, and two threads would put each other to sleep and awake for each file.
#[derive(Default)]
pub(super) struct Reserved(Mutex<HashSet<PathBuf>>);

impl Naming {
    /// Each file gets its name when it is whole.
    pub(super) fn at_once(root: PathBuf) -> Self {
        Self { root, made: PathBuf::new(), when: When::AtOnce }
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

    /// Gives the file at `part` this name, or reserves it.
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
        let folder = path.parent().unwrap_or(path);
        if folder != self.made {
            make_below(&self.root, folder)?;
            folder.clone_into(&mut self.made);
        }
        let pending = match &mut self.when {
            When::AtOnce => return rename(&self.root, part, path, existing),
            When::Together(pending) => pending,
        };
        match (path.symlink_metadata(), existing) {
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {}
            (Err(error), _) => return Err(error),
            (Ok(_), Existing::Keep) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(found), Existing::Replace) if found.is_dir() => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            (Ok(_), Existing::Replace) => {}
        }
        if !reserved.insert(path.to_owned()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        pending.push(Pending { part: part.to_owned(), path: path.to_owned() });
        Ok(())
    }
}

impl Pending {
    /// What the journal is told. Whoever takes the file back may work elsewhere, so its name begins `here`, where this
    /// process works.
    pub(super) fn named(&self, here: &Path) -> io::Result<Named> {
        let meta = self.part.metadata().map_err(|error| at(&self.part, &error))?;
        let path = here.join(&self.path).into_os_string().into_vec();
        Ok(Named { path, device: meta.dev(), inode: meta.ino() })
    }
}

impl Reserved {
    /// Nobody panics with the lock held, so a poisoned one is whole.
    pub(super) fn lock(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rename(root: &Path, part: &Path, path: &Path, existing: Existing) -> io::Result<()> {
    let flags = match existing {
        Existing::Keep => RenameFlags::NOREPLACE,
        Existing::Replace => RenameFlags::empty(),
    };
    match renameat_with(CWD, part, CWD, path, flags) {
        // Somebody has removed the directory.
        Err(rustix::io::Errno::NOENT) => {
            make_below(root, path.parent().unwrap_or(path))?;
            Ok(renameat_with(CWD, part, CWD, path, flags)?)
        }
        result => Ok(result?),
    }
}

/// Makes the directories from `root` down to `folder`. A link on the way is no directory, wherever it leads: a name
/// comes from the list or from a server, and must not write where only the owner of `root` may choose to.
fn make_below(root: &Path, folder: &Path) -> io::Result<()> {
    let is_directory = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
    let mut path = root.to_owned();
    for name in folder.strip_prefix(root).map_err(io::Error::other)?.components() {
        path.push(name);
        if is_directory(&path) {
            continue;
        }
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            // Another process may just have made it.
            Err(_) if !is_directory(&path) => return Err(io::ErrorKind::NotADirectory.into()),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Has the files on the disk, gives them their names, and has the names on the disk.
pub(super) fn settle(
    root: &Path,
    pending: &[Pending],
    existing: Existing,
    reserved: &Reserved,
) -> io::Result<()> {
    sync_all(root, pending.iter().map(|file| file.part.as_path()))?;
    for some in pending.chunks(RENAMES_A_TURN) {
        let mut reserved = reserved.lock();
        for Pending { part, path } in some {
            rename(root, part, path, existing).map_err(|error| at(path, &error))?;
            reserved.remove(path);
        }
    }
    let between = |path: &Path| path.ancestors().skip(1).take_while(|above| above.starts_with(root)).count();
    let folders: BTreeSet<&Path> =
        pending.iter().flat_map(|file| file.path.ancestors().skip(1).take(between(&file.path))).collect();
    sync_all(root, folders.into_iter())
}

/// One by one while they are few; then the whole file system, which is faster than thousands.
fn sync_all<'a>(root: &Path, paths: impl Iterator<Item = &'a Path>) -> io::Result<()> {
    let paths: Vec<_> = paths.collect();
    if paths.len() > SYNCED_FILES_MAX {
        let synced = open_patiently(root).and_then(|root| Ok(syncfs(root)?));
        return synced.map_err(|error| at(root, &error));
    }
    paths.into_iter().try_for_each(sync_file)
}
