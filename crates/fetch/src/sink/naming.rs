//! When files get their final names: each when it is complete, or, in a durable run, a group at a time once it is
//! synced.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlapped_proto::journal::Named;
use overlapped_proto::limits::{self, RENAMES_A_TURN, SYNCED_FILES_MAX};

use super::kept::Kept;
use super::{Existing, at};
use crate::fs::{Folder, Found, Moment, found};

/// Renames files below one directory to their final names.
pub(super) struct Naming {
    root: Arc<Folder>,
    when: When,
    /// Files last changed before this moment may be replaced. Later ones were written by this run.
    pub(super) began: Moment,
    pub(super) kept: Kept,
}

enum When {
    /// Each file when it is complete.
    AtOnce,
    /// All of a cut when they are on the disk. Until then their names are reserved.
    Together(Vec<Pending>),
}

/// A complete file before its rename.
pub(super) struct Pending {
    part: PathBuf,
    /// Its final path, relative to the root.
    path: PathBuf,
    /// It takes the place of a file that was there before the run.
    replaces: bool,
}

/// Names that are taken but not yet visible in the directory. The mutex is also held while files are created or renamed
/// there: the kernel serialises that on the directory, and two threads would block each other for every file.
#[derive(Default)]
pub(super) struct Reserved(Mutex<HashSet<PathBuf>>);

impl Naming {
    /// Each file gets its name when it is complete. The run began at `began`.
    pub(super) fn at_once(root: Arc<Folder>, began: Moment) -> Self {
        Self { root, when: When::AtOnce, began, kept: Kept::default() }
    }

    /// From now on files wait for [`Naming::pending`] and [`settle`].
    pub(super) fn together(&mut self) {
        self.when = When::Together(Vec::new());
    }

    /// Takes the files that wait.
    pub(super) fn pending(&mut self) -> Vec<Pending> {
        match &mut self.when {
            When::AtOnce => Vec::new(),
            When::Together(pending) => std::mem::take(pending),
        }
    }

    /// Gives the file at `part` this name below the root, or reserves the name.
    ///
    /// # Errors
    ///
    /// The name is taken or cannot be created.
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
        // Directories are created now, while another name can still be chosen.
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

    /// True if this name below the root is free.
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

    /// Opens the directory of a name below the root. Opened each time, because it may have been replaced by a link.
    fn folder(&self, path: &Path) -> io::Result<Folder> {
        let folder = self.root.make_below(path.parent().unwrap_or(Path::new("")))?;
        // A link on the way is no directory, wherever it leads: a name comes from the list or from a server, and must
        // not write where only the owner of the root may choose to. Nor is what the run keeps its state in.
        if self.kept.has_folder(&folder)? { Err(io::ErrorKind::NotADirectory.into()) } else { Ok(folder) }
    }
}

impl Pending {
    /// The entry for the journal.
    pub(super) fn named(&self, root: &Folder) -> io::Result<Named> {
        let part = root.placed(&self.part).and_then(|part| found(&part));
        let (device, inode) = part.map_err(|error| at(&self.part, &error))?.id;
        Ok(Named { path: self.path.clone().into_os_string().into_vec(), device, inode })
    }
}

impl Reserved {
    /// No code panics while it holds the lock, so a poisoned value is consistent.
    pub(super) fn lock(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Syncs the files, renames them to their final names, and syncs their directories.
pub(super) fn settle(root: &Folder, pending: &[Pending], reserved: &Reserved) -> io::Result<()> {
    sync_files(root, pending)?;
    for some in pending.chunks(RENAMES_A_TURN) {
        let mut reserved = reserved.lock();
        for file in some {
            rename(root, file).map_err(|error| at(&root.path().join(&file.path), &replaced(error)))?;
            reserved.remove(&file.path);
        }
    }
    sync_folders(root, pending)
}

fn rename(root: &Folder, Pending { part, path, replaces }: &Pending) -> io::Result<()> {
    let above = path.parent().unwrap_or(Path::new(""));
    // Created again if it was removed meanwhile.
    let folder = match root.make_below(above) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            set_links_aside(root, above)?;
            root.make_below(above)?
        }
        opened => opened?,
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    folder.take(root.place(part), name, *replaces)
}

/// Gives symbolic links on the way to a directory other names. They were put there after the names of these files were chosen, and
/// the records that tell the names are written. The files go on in a new directory, and nothing is written where a link
/// leads. Other things that are in the way are left as they are.
fn set_links_aside(root: &Folder, path: &Path) -> io::Result<()> {
    let mut folder = root.below(Path::new(""))?;
    for name in path.iter() {
        if folder.find(name)?.is_some_and(|found| found.is_link()) {
            set_aside(&folder, name)?;
        }
        folder = folder.make_below(Path::new(name))?;
    }
    Ok(())
}

fn set_aside(folder: &Folder, name: &OsStr) -> io::Result<()> {
    for number in 2..2 + limits::FILE_NAME_TRIES {
        let mut other = name.to_owned();
        other.push(format!("~{number}"));
        match folder.take(folder.place(&folder.path().join(name)), &other, false) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            moved => return moved,
        }
    }
    Err(io::ErrorKind::NotADirectory.into())
}

/// The record of the file may be written, so that no other name can be chosen.
fn replaced(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::NotADirectory {
        return error;
    }
    let what = "a directory on the way was replaced by something else: put it back, then --resume goes on";
    io::Error::new(error.kind(), what)
}

/// Syncs a few files one by one, more of them with the whole file system where it can be, which is faster.
fn sync_files(root: &Folder, pending: &[Pending]) -> io::Result<()> {
    if pending.len() > SYNCED_FILES_MAX && root.sync_system().map_err(|error| at(root.path(), &error))? {
        return Ok(());
    }
    pending.iter().try_for_each(|file| {
        let synced = root.placed(&file.part).and_then(|part| part.sync_all());
        synced.map_err(|error| at(&file.part, &error))
    })
}

fn sync_folders(root: &Folder, pending: &[Pending]) -> io::Result<()> {
    let folders: BTreeSet<&Path> = pending.iter().flat_map(|file| file.path.ancestors().skip(1)).collect();
    if folders.len() > SYNCED_FILES_MAX && root.sync_system().map_err(|error| at(root.path(), &error))? {
        return Ok(());
    }
    folders.into_iter().try_for_each(|folder| {
        let synced = match root.below(folder) {
            // It was taken away with the files that are in it.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(())
            }
            opened => opened.and_then(|open| open.sync()),
        };
        synced.map_err(|error| at(&root.path().join(folder), &error))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory is replaced when the records that name its files may be written, and the files are not there.
    #[test]
    fn a_directory_that_is_replaced_is_told_or_made_anew() {
        let place = std::env::temp_dir().join(format!("overlapped-naming-{}", std::process::id()));
        let [inner, away, elsewhere] = ["root/a", "away", "elsewhere"].map(|name| place.join(name));
        fs::create_dir_all(place.join("root")).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        let root = Arc::new(Folder::open(&place.join("root")).unwrap());
        let part = place.join("root/.part");
        fs::write(&part, "whole").unwrap();
        let mut naming = Naming::at_once(Arc::clone(&root), (0, 0));
        naming.together();
        let reserved = Reserved::default();
        naming.take(&part, Path::new("a/0"), Existing::Keep, &mut reserved.lock()).unwrap();
        let pending = naming.pending();
        fs::rename(&inner, &away).unwrap();
        fs::write(&inner, "of another program").unwrap();
        let failed = settle(&root, &pending, &reserved).unwrap_err().to_string();
        assert!(failed.contains("root/a/0: ") && failed.contains("put it back"), "{failed}");
        fs::remove_file(&inner).unwrap();
        fs::rename(&away, &inner).unwrap();
        settle(&root, &pending, &reserved).unwrap();
        assert_eq!(fs::read(inner.join("0")).unwrap(), b"whole");

        // By a link: the run goes on in a new directory.
        fs::write(&part, "whole").unwrap();
        naming.take(&part, Path::new("a/b/1"), Existing::Keep, &mut reserved.lock()).unwrap();
        let pending = naming.pending();
        fs::rename(&inner, &away).unwrap();
        symlink(&elsewhere, &inner).unwrap();
        settle(&root, &pending, &reserved).unwrap();
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "nothing is written where the link leads");
        assert_eq!(fs::read(inner.join("b/1")).unwrap(), b"whole");
        assert_eq!(fs::read_link(place.join("root/a~2")).unwrap(), elsewhere);
        fs::remove_dir_all(&place).unwrap();
    }
}
