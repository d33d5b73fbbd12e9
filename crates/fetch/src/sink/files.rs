//! One file a row. A file has its final name only when it is whole: it is written under a temporary name and renamed.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlapped_proto::filename::{Parts, Template, safe_path};
use overlapped_proto::journal::Named;
use overlapped_proto::limits::SYNCED_FILES_MAX;
use overlapped_proto::record::{Body, Record};
use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use url::Url;

use super::{Cut, Sink};
use crate::body::spool::Part;

/// How many names are tried for one row before it is given up.
const TWINS_MAX: u32 = 10_000;

/// What becomes of a file that already has the name of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays; the new file gets a number.
    Keep,
    /// The new file takes its place.
    Replace,
}

/// Writes the body of every row that succeeded to a file of its own.
pub struct Files {
    directory: PathBuf,
    template: Template,
    existing: Existing,
    /// Who may read a file once it has its final name.
    readers: Permissions,
    naming: Naming,
}

/// When files get their final names.
enum Naming {
    /// Each when it is whole.
    AtOnce,
    /// All of a cut when they are on the disk. Until then their names are reserved.
    Together { pending: Vec<Pending>, reserved: Arc<Reserved> },
}

/// A file that is whole, on its way to its final name.
struct Pending {
    part: PathBuf,
    path: PathBuf,
}

/// Names that are given and not yet to be seen on the disk.
#[derive(Default)]
struct Reserved(Mutex<HashSet<PathBuf>>);

impl Files {
    /// Files below `directory`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// The directory cannot be made.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn open(directory: PathBuf, template: Template, existing: Existing) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        // A directory that cannot be written to is found now, not at the first row.
        let readers = Part::probe(&directory)?;
        Ok(Self { directory, template, existing, readers, naming: Naming::AtOnce })
    }

    /// The same for a run that is durable: files get their names when they are on the disk. Removes what earlier
    /// `processes` of this run have left half-written.
    ///
    /// # Errors
    ///
    /// The directory cannot be read, or a file in it cannot be removed.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn durable(mut self, processes: &[u32]) -> io::Result<Self> {
        if !processes.is_empty() {
            Part::remove_of(&self.directory, processes)?;
        }
        self.naming = Naming::Together { pending: Vec::new(), reserved: Arc::default() };
        Ok(self)
    }

    /// Gives the file at `part` the name of its row, now or with the next cut.
    fn name(&mut self, record: &Record, part: &Path) -> io::Result<PathBuf> {
        fs::set_permissions(part, self.readers.clone())?;
        for twin in std::iter::once(0).chain(2..TWINS_MAX) {
            let path = self.candidate(record, twin)?;
            if self.take(part, &path)? {
                return Ok(path);
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{}: too many twins", part.display())))
    }

    /// The name that a row's file may have; `twin` sets it apart from others.
    fn candidate(&self, record: &Record, twin: u32) -> io::Result<PathBuf> {
        let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "a record without a URL");
        let url = Url::parse(record.final_url.as_deref().unwrap_or(&record.url)).map_err(invalid)?;
        let content_type =
            record.headers.first("content-type").and_then(|value| std::str::from_utf8(value).ok());
        let parts = Parts { row: record.row, id: record.id.as_deref(), url: &url, content_type };
        Ok(self.directory.join(match record.out.as_deref() {
            Some(out) => safe_path(out, twin),
            None => self.template.path(&parts, twin),
        }))
    }

    /// False: the name is taken.
    fn take(&mut self, part: &Path, path: &Path) -> io::Result<bool> {
        let Naming::Together { pending, reserved } = &mut self.naming else {
            return match rename(part, path, self.existing) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(at(path, &error)),
                Ok(()) => Ok(true),
            };
        };
        let kept = match self.existing {
            Existing::Keep => path.symlink_metadata().is_ok(),
            Existing::Replace => false,
        };
        if kept || !reserved.lock().insert(path.to_owned()) {
            return Ok(false);
        }
        pending.push(Pending { part: part.to_owned(), path: path.to_owned() });
        Ok(true)
    }
}

fn rename(part: &Path, path: &Path, existing: Existing) -> io::Result<()> {
    let flags = match existing {
        Existing::Keep => RenameFlags::NOREPLACE,
        Existing::Replace => RenameFlags::empty(),
    };
    match renameat_with(CWD, part, CWD, path, flags) {
        Err(rustix::io::Errno::NOENT) => {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            Ok(renameat_with(CWD, part, CWD, path, flags)?)
        }
        result => Ok(result?),
    }
}

impl Pending {
    fn named(&self) -> io::Result<Named> {
        let meta = self.part.metadata().map_err(|error| at(&self.part, &error))?;
        // Whoever takes it back may work elsewhere.
        let path = std::path::absolute(&self.path)?.as_os_str().as_bytes().to_vec();
        Ok(Named { path, device: meta.dev(), inode: meta.ino() })
    }
}

impl Reserved {
    /// Nobody panics with the lock held, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the files on the disk, gives them their names, and has the names on the disk.
fn settle(root: &Path, pending: &[Pending], existing: Existing, reserved: &Reserved) -> io::Result<()> {
    sync_all(root, pending.iter().map(|file| file.part.as_path()))?;
    for Pending { part, path } in pending {
        rename(part, path, existing).map_err(|error| at(path, &error))?;
    }
    let between = |path: &Path| path.ancestors().skip(1).take_while(|dir| dir.starts_with(root)).count();
    let folders: BTreeSet<&Path> =
        pending.iter().flat_map(|file| file.path.ancestors().skip(1).take(between(&file.path))).collect();
    sync_all(root, folders.into_iter())?;
    let mut reserved = reserved.lock();
    for file in pending {
        reserved.remove(&file.path);
    }
    Ok(())
}

/// One by one while they are few; then the whole file system, which is faster than thousands.
fn sync_all<'a>(root: &Path, paths: impl Iterator<Item = &'a Path>) -> io::Result<()> {
    let paths: Vec<_> = paths.collect();
    if paths.len() > SYNCED_FILES_MAX {
        return Ok(syncfs(File::open(root)?)?);
    }
    let sync =
        |path: &Path| File::open(path).and_then(|file| file.sync_all()).map_err(|error| at(path, &error));
    paths.into_iter().try_for_each(sync)
}

impl Sink for Files {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        if !record.ok {
            return Ok(());
        }
        let path = match &record.body {
            Body::None => return Ok(()),
            Body::Inline(bytes) => {
                let mut part = Part::create(&self.directory, record.row, record.attempts)
                    .map_err(|error| at(&self.directory, &error))?;
                part.write(bytes).map_err(|error| at(&self.directory, &error))?;
                let path = self.name(record, part.path())?;
                part.keep();
                path
            }
            Body::File(part) => self.name(record, part)?,
        };
        record.body = Body::File(path);
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self) -> io::Result<Cut> {
        let Naming::Together { pending, reserved } = &mut self.naming else { return Ok(Cut::default()) };
        let pending = std::mem::take(pending);
        if pending.is_empty() {
            return Ok(Cut::default());
        }
        let names = pending.iter().map(Pending::named).collect::<io::Result<_>>()?;
        let (root, existing, reserved) = (self.directory.clone(), self.existing, Arc::clone(reserved));
        let sync = move || settle(&root, &pending, existing, &reserved);
        Ok(Cut { offset: None, names, sync: Some(Box::new(sync)) })
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
