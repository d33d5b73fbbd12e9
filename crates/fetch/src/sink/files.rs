//! One file a row. A file has its final name only when it is whole: it is written under a temporary name and renamed.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use overlapped_proto::filename::{Parts, Template, safe_path};
use overlapped_proto::limits;
use overlapped_proto::record::{Body, Record};
use url::Url;

use super::naming::{Naming, Reserved, settle};
use super::{Cut, Existing, Sink, at, make_directory, sync_name};
use crate::body::spool::{Part, RunId};

/// Writes the body of every row that succeeded to a file of its own, and has the record say where. A body has one such
/// file, so a run takes only one of these.
pub struct Files {
    directory: PathBuf,
    template: Template,
    existing: Existing,
    /// Who may read a file once it has its final name.
    readers: Permissions,
    naming: Naming,
    reserved: Arc<Reserved>,
    run: RunId,
}

impl Files {
    /// Files below `directory`, which is made if it is not there. It may be a symbolic link; one below it is never
    /// followed, so that neither a list nor a server chooses where a file goes.
    ///
    /// # Errors
    ///
    /// The directory cannot be made.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn open(directory: PathBuf, template: Template, existing: Existing) -> io::Result<Self> {
        make_directory(&directory)?;
        // A directory that cannot be written to is found now, not at the first row.
        let readers = Part::probe(&directory)?;
        let naming = Naming::at_once(directory.clone());
        let (reserved, run) = (Arc::default(), RunId::draw());
        Ok(Self { directory, template, existing, readers, naming, reserved, run })
    }

    /// The same for a run that is durable: files get their names when they are on the disk. Removes what an
    /// earlier process of this run has left half-written.
    ///
    /// # Errors
    ///
    /// The directory cannot be read, or a file in it cannot be removed.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn durable(mut self, run: RunId) -> io::Result<Self> {
        self.run = run;
        Part::remove_of(&self.directory, run)?;
        sync_name(&self.directory)?;
        self.naming.together();
        Ok(self)
    }

    /// Gives the file at `part` the name of its row, now or with the next cut.
    fn name(&mut self, record: &Record, part: &Path, reserved: &mut HashSet<PathBuf>) -> io::Result<PathBuf> {
        let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "a record without a URL");
        let url = Url::parse(record.final_url.as_deref().unwrap_or(&record.url)).map_err(invalid)?;
        let content_type =
            record.headers.first("content-type").and_then(|value| std::str::from_utf8(value).ok());
        let parts = Parts { row: record.row, id: record.id.as_deref(), url: &url, content_type };
        let template = self.template.clone();
        let wanted = |twin| match record.out.as_deref() {
            Some(out) => safe_path(out, twin),
            None => template.path(&parts, twin),
        };
        match self.first_free(part, wanted, reserved) {
            // One row's file may be where another's directory should be, or a link that leads elsewhere. That must
            // not end the run for all.
            Err(error) if is_about_the_name(error.kind()) => {
                let plain = Template::default();
                self.first_free(part, |twin| plain.path(&parts, twin), reserved)
            }
            named => named,
        }
    }

    /// Gives the file at `part` the first of these names that can be had.
    fn first_free(
        &mut self,
        part: &Path,
        name: impl Fn(u32) -> String,
        reserved: &mut HashSet<PathBuf>,
    ) -> io::Result<PathBuf> {
        for twin in std::iter::once(0).chain(2..limits::FILE_TWINS_MAX) {
            let path = self.directory.join(name(twin));
            match self.naming.take(part, &path, self.existing, reserved) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at(&path, &error)),
                Ok(()) => return Ok(path),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{}: too many twins", part.display())))
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
        let reserved = Arc::clone(&self.reserved);
        let mut reserved = reserved.lock();
        let path = match &record.body {
            Body::None => return Ok(()),
            Body::Inline(_) | Body::Spooled(_) => {
                let readers = self.readers.mode();
                let part = Part::create(&self.directory, self.run, record.row, record.attempts, readers);
                let mut part = part.map_err(|error| at(&self.directory, &error))?;
                write_body(&record.body, &mut part).map_err(|error| at(&self.directory, &error))?;
                let path = self.name(record, part.path(), &mut reserved)?;
                part.keep();
                path
            }
            Body::File(part) => {
                fs::set_permissions(part, self.readers.clone()).map_err(|error| at(part, &error))?;
                self.name(record, part, &mut reserved)?
            }
        };
        record.body = Body::File(path);
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self) -> io::Result<Cut> {
        let pending = self.naming.pending();
        if pending.is_empty() {
            return Ok(Cut::default());
        }
        // Without a place to work in, only a name from the root says where a file is.
        let here = std::env::current_dir().unwrap_or_default();
        let names = pending.iter().map(|file| file.named(&here)).collect::<io::Result<_>>()?;
        let (root, existing, reserved) = (self.directory.clone(), self.existing, Arc::clone(&self.reserved));
        let sync = move || settle(&root, &pending, existing, &reserved);
        Ok(Cut { offset: None, names, sync: Some(Box::new(sync)) })
    }

    fn moves_bodies(&self) -> bool {
        true
    }
}

fn write_body(body: &Body, part: &mut Part) -> io::Result<()> {
    match body {
        Body::None | Body::File(_) => Ok(()),
        Body::Inline(bytes) => part.write(bytes),
        Body::Spooled(body) => {
            let mut reader = body.reader();
            let mut block = vec![0; limits::OUTPUT_BUFFER_BYTES];
            loop {
                match reader.read(&mut block)? {
                    0 => return Ok(()),
                    n => part.write(block.get(..n).unwrap_or_default())?,
                }
            }
        }
    }
}

/// True if another name may do.
fn is_about_the_name(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidFilename, IsADirectory, NotADirectory};
    matches!(kind, AlreadyExists | InvalidFilename | IsADirectory | NotADirectory)
}
