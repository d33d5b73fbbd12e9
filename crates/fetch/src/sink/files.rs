//! One file for each row. A file is written under a temporary name and renamed when it is complete.

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use overlapped_proto::filename::{Parts, Template, safe_path};
use overlapped_proto::limits;
use overlapped_proto::lru::Lru;
use overlapped_proto::record::{Body, Record};
use url::Url;

use super::kept::Kept;
use super::naming::{Naming, Reserved, settle};
use super::{Cut, Existing, Sink, at, make_directory, sync_name};
use crate::body::spool::{Part, RunId};
use crate::fs::{Folder, Moment, set_mode};

/// Writes the body of every successful row to a file of its own, and notes its path in the record. A body has one such
/// file, so a run takes at most one of these sinks.
pub struct Files {
    root: Arc<Folder>,
    template: Template,
    existing: Existing,
    /// The mode of a file once it has its final name.
    readers: u32,
    naming: Naming,
    reserved: Arc<Reserved>,
    /// The last number given to each name that was wanted more than once, by the hash of the name.
    twins: Lru<u64, u32, RandomState>,
    hasher: RandomState,
    run: RunId,
}

impl Files {
    /// Files below `directory`, which is created if it is missing. It may be a symbolic link; links below it are never
    /// followed, so that neither a list nor a server chooses where a file goes.
    ///
    /// With [`Existing::Replace`] a file replaces one that existed before the run, never one that the run itself has
    /// written: rows of the same name get numbers.
    ///
    /// # Errors
    ///
    /// The directory cannot be created.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn open(directory: PathBuf, template: Template, existing: Existing) -> io::Result<Self> {
        make_directory(&directory)?;
        let root = Arc::new(Folder::open(&directory)?);
        // Fails now if the directory cannot be written, not at the first row.
        let (readers, now) = Part::probe(&root)?;
        let began = match existing {
            Existing::Keep => now,
            Existing::Replace => later_than(now, &root)?,
        };
        let naming = Naming::at_once(Arc::clone(&root), began);
        let (reserved, twins, hasher) = (Arc::default(), Lru::default(), RandomState::new());
        Ok(Self { root, template, existing, readers, naming, reserved, twins, hasher, run: RunId::draw() })
    }

    /// For a durable run: files get their final names once they are synced. Removes the temporary files of an earlier
    /// process of this run.
    ///
    /// # Errors
    ///
    /// The directory cannot be read, or a file in it cannot be removed.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn durable(self, run: RunId) -> io::Result<Self> {
        self.durable_with(run, &[])
    }

    /// The same for a run whose state names files of bodies: these are kept.
    ///
    /// # Errors
    ///
    /// As [`Files::durable`].
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn durable_with(mut self, run: RunId, kept: &[PathBuf]) -> io::Result<Self> {
        self.run = run;
        let kept = kept.iter().filter_map(|path| path.file_name()).collect();
        Part::remove_of(&self.root, run, &kept)?;
        sync_name(self.root.path())?;
        self.naming.together();
        Ok(self)
    }

    /// For a resumed run that began at `moment`: files written since then are its own and are not replaced.
    #[must_use]
    pub fn since(mut self, moment: Moment) -> Self {
        self.naming.began = moment.min(self.naming.began);
        self
    }

    /// Reserves the names of these files and directories, which the run itself uses. No row's file gets them, in any
    /// spelling or through a link.
    ///
    /// # Errors
    ///
    /// A directory cannot be read.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub fn keep_out(mut self, paths: &[PathBuf]) -> io::Result<Self> {
        self.naming.kept = Kept::new(paths)?;
        Ok(self)
    }

    /// Gives the file at `part` the final name of its row, now or at the next cut.
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
            // The name may be that of a directory, or a link on the way. One such row must not end the run.
            Err(error) if is_about_the_name(error.kind()) => {
                let plain = Template::default();
                self.first_free(part, |twin| plain.path(&parts, twin), reserved)
            }
            named => named,
        }
    }

    /// Gives the file at `part` the first of these names that is free, or one with the next number.
    fn first_free(
        &mut self,
        part: &Path,
        name: impl Fn(u32) -> String,
        reserved: &mut HashSet<PathBuf>,
    ) -> io::Result<PathBuf> {
        let key = self.hasher.hash_one(name(0));
        let last = self.twins.get(&key).copied();
        let mut given = PathBuf::new();
        let number = free_number(last, |number, probe| {
            given = name(number).into();
            let done = match probe {
                Probe::Look => self.naming.is_free(&given, self.existing, reserved),
                Probe::Take => self.naming.take(part, &given, self.existing, reserved).map(|()| true),
            };
            match done {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                done => done.map_err(|error| at(&self.root.path().join(&given), &error)),
            }
        })?;
        if number > 0 {
            self.twins.insert(key, number);
            if self.twins.len() > limits::FILE_TWINS_KEPT {
                self.twins.pop_oldest();
            }
        }
        Ok(self.root.path().join(given))
    }
}

/// A question about a numbered name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// Whether it can be had.
    Look,
    /// To be had; false: it is taken.
    Take,
}

/// The number of a name: 0 is none, and the next is 2. With `last`, the number given last, it is the next one; else the
/// first free one is found by a doubling search, in about twice as many probes as it has bits.
fn free_number(last: Option<u32>, mut probe: impl FnMut(u32, Probe) -> io::Result<bool>) -> io::Result<u32> {
    let mut number = last.map_or(0, |last| last.saturating_add(1));
    for _ in 0..limits::FILE_NAME_TRIES {
        if probe(number, Probe::Take)? {
            return Ok(number);
        }
        number = first_free_behind(number.max(1), |number| probe(number, Probe::Look))?;
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The first free number after `taken`, if the numbers in use are contiguous; else any free number after it.
fn first_free_behind(mut taken: u32, mut is_free: impl FnMut(u32) -> io::Result<bool>) -> io::Result<u32> {
    let mut step = 1_u32;
    let mut free = loop {
        let next = taken.checked_add(step).ok_or(io::ErrorKind::AlreadyExists)?;
        if is_free(next)? {
            break next;
        }
        taken = next;
        step = step.saturating_mul(2);
    };
    while free - taken > 1 {
        let between = taken + (free - taken) / 2;
        if is_free(between)? { free = between } else { taken = between }
    }
    Ok(free)
}

/// Waits until the file system's clock is past `before`; no existing file was changed at the returned time.
///
/// # Blocking
///
/// For one tick of that clock, some milliseconds.
fn later_than(before: Moment, root: &Folder) -> io::Result<Moment> {
    loop {
        let (_, now) = Part::probe(root)?;
        if now > before {
            return Ok(now);
        }
        std::thread::sleep(limits::FILE_CLOCK_PAUSE.into());
    }
}

impl Sink for Files {
    fn accept(&mut self, record: &mut Record) -> io::Result<()> {
        if !record.ok {
            // The file of a large body is not renamed then, so the record must not name it.
            if let Body::File(part) = &record.body {
                remove_if_there(part).map_err(|error| at(part, &error))?;
                record.body = Body::None;
            }
            return Ok(());
        }
        let reserved = Arc::clone(&self.reserved);
        let mut reserved = reserved.lock();
        let path = match &record.body {
            Body::None => return Ok(()),
            Body::Inline(_) | Body::Spooled(_) => {
                let part = Part::create_in(&self.root, self.run, record.row, record.attempts, self.readers);
                let mut part = part.map_err(|error| at(self.root.path(), &error))?;
                write_body(&record.body, &mut part).map_err(|error| at(self.root.path(), &error))?;
                let path = self.name(record, part.path(), &mut reserved)?;
                part.keep();
                path
            }
            Body::File(part) => {
                let opened = self.root.placed(part).and_then(|file| set_mode(&file, self.readers));
                opened.map_err(|error| at(part, &error))?;
                self.name(record, part, &mut reserved)?
            }
        };
        record.body = Body::File(path);
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        still_there(&self.root)
    }

    fn cut(&mut self) -> io::Result<Cut> {
        still_there(&self.root)?;
        let pending = self.naming.pending();
        if pending.is_empty() {
            return Ok(Cut::default());
        }
        let names = pending.iter().map(|file| file.named(&self.root)).collect::<io::Result<_>>()?;
        let (root, reserved) = (Arc::clone(&self.root), Arc::clone(&self.reserved));
        let sync = move || settle(&root, &pending, &reserved).and_then(|()| still_there(&root));
        Ok(Cut { checkpoint: None, names, sync: Some(Box::new(sync)) })
    }

    fn moves_bodies(&self) -> bool {
        true
    }
}

/// An error if the path of the directory leads elsewhere by now: the records that were written name files by this path.
fn still_there(root: &Folder) -> io::Result<()> {
    match Folder::open(root.path()).and_then(|there| Ok(there.found()?.id == root.found()?.id)) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let what = "it was moved, and something else has its name: put it back";
            Err(at(root.path(), &io::Error::other(what)))
        }
        Err(error) => Err(at(root.path(), &error)),
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
                    n => part.write(block.get(..n).expect("a reader fills no more than the block"))?,
                }
            }
        }
    }
}

/// A file that is gone was removed when its record was written to disk to wait for an earlier one.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// True if another name may succeed.
fn is_about_the_name(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidFilename, IsADirectory, NotADirectory};
    matches!(kind, AlreadyExists | InvalidFilename | IsADirectory | NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one name to `rows` rows, with or without the number given last. Returns the numbers, and the count of probes
    /// of the disk.
    fn give(rows: usize, remembers: bool) -> (Vec<u32>, usize) {
        let (mut taken, mut probes, mut given) = (HashSet::new(), 0, Vec::new());
        for _ in 0..rows {
            let last = given.last().copied().filter(|last| remembers && *last > 0);
            let number = free_number(last, |number, probe| {
                probes += 1;
                Ok(!taken.contains(&number) && (probe == Probe::Look || taken.insert(number)))
            });
            given.push(number.unwrap());
        }
        (given, probes)
    }

    /// Each row probed all numbers before its own: 32 million probes for 8,000 rows.
    #[test]
    fn equal_names_cost_as_many_probes_as_rows() {
        let expected: Vec<u32> = std::iter::once(0).chain(2..8_001).collect();
        let (numbers, probes) = give(8_000, true);
        assert!(numbers == expected && probes < 8_000 + 10, "{probes} probes");
        let (numbers, probes) = give(8_000, false);
        assert!(numbers == expected && probes < 8_000 * 30, "{probes} probes of a name that is forgotten");
    }

    #[test]
    fn a_number_that_is_taken_by_another_is_passed_over() {
        let mut tries = 0;
        let number = free_number(Some(7), |number, probe| {
            tries += usize::from(probe == Probe::Take);
            Ok(number != 8 && (probe == Probe::Look || tries > 2))
        });
        assert_eq!((number.unwrap(), tries), (10, 3));
        assert!(free_number(None, |_, probe| Ok(probe == Probe::Look)).is_err(), "it ends");
    }
}
