//! One file a row. A file has its final name only when it is whole: it is written under a temporary name and renamed.

use std::fs::{self, Permissions};
use std::io;
use std::path::{Path, PathBuf};

use overlapped_proto::filename::{Parts, Template, safe_path};
use overlapped_proto::record::{Body, Record};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use url::Url;

use super::Sink;
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
}

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
        Ok(Self { directory, template, existing, readers })
    }

    /// Gives the file at `part` the name of its row.
    fn name(&self, record: &Record, part: &Path) -> io::Result<PathBuf> {
        let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "a record without a URL");
        let url = Url::parse(record.final_url.as_deref().unwrap_or(&record.url)).map_err(invalid)?;
        let content_type =
            record.headers.first("content-type").and_then(|value| std::str::from_utf8(value).ok());
        fs::set_permissions(part, self.readers.clone()).map_err(|error| at(part, &error))?;
        let parts = Parts { row: record.row, id: record.id.as_deref(), url: &url, content_type };
        let wanted = |twin| match record.out.as_deref() {
            Some(out) => safe_path(out, twin),
            None => self.template.path(&parts, twin),
        };
        match self.first_free(part, wanted) {
            // One row's file may be where another's directory should be. That must not end the run for all.
            Err(error) if is_about_the_name(error.kind()) => {
                let plain = Template::default();
                self.first_free(part, |twin| plain.path(&parts, twin))
            }
            named => named,
        }
    }

    /// Gives the file at `part` the first of these names that can be had.
    fn first_free(&self, part: &Path, name: impl Fn(u32) -> String) -> io::Result<PathBuf> {
        for twin in std::iter::once(0).chain(2..TWINS_MAX) {
            let path = self.directory.join(name(twin));
            match self.rename(part, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at(&path, &error)),
                Ok(()) => return Ok(path),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{}: too many twins", part.display())))
    }

    fn rename(&self, part: &Path, path: &Path) -> io::Result<()> {
        let flags = match self.existing {
            Existing::Keep => RenameFlags::NOREPLACE,
            Existing::Replace => RenameFlags::empty(),
        };
        match renameat_with(CWD, part, CWD, path, flags) {
            Err(rustix::io::Errno::NOENT) => {
                fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
                Ok(renameat_with(CWD, part, CWD, path, flags)?)
            }
            result => Ok(result?),
        }
    }
}

impl Sink for Files {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        if !record.ok {
            // Its file, if it is large, gets no name, and so no record may name it.
            if let Body::File(part) = &record.body {
                fs::remove_file(part).map_err(|error| at(part, &error))?;
                record.body = Body::None;
            }
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
}

/// True if another name may do.
fn is_about_the_name(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidFilename, IsADirectory, NotADirectory};
    matches!(kind, AlreadyExists | InvalidFilename | IsADirectory | NotADirectory)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
