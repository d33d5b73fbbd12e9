//! Recovery: reads the files of a run directory and adds them up to the state of the run. It does not change them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

use overlapped_proto::journal::{self, Damage, Frame, Head, Sound, State, is_unsynced};
use overlapped_proto::limits;

use super::directory::{
    Directory, INTENTS, JOURNAL, KINDS, Kind, MANIFEST, SNAPSHOT, generation, name, read_whole,
};
use super::{manifest, waiting};
use crate::body::spool::RunId;
use crate::body::waiting::NAME;
use crate::error::Error;
use crate::fs::Folder;

/// A recovered state.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) state: State,
    pub(super) generation: u64,
    pub(super) run: u64,
}

/// Recovers the state from the snapshot, the journal and the intents.
pub(super) fn recover(directory: &Directory, run: RunId) -> Result<Found, Error> {
    let each = &mut |_: &str, _, _: &Frame| {};
    let mut recovery = Recovery { folder: directory.folder(), run: Some(run), each, left_out: None };
    Ok(recovery.run()?.0)
}

/// The content of a run directory, file by file.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Rows that are done.
    pub done: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Rows that have finished and wait for an earlier one.
    pub waiting: u64,
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
    let (in_doubt, waiting) = (found.state.in_doubt().len(), found.state.waiting.len() as u64);
    Ok(Checked { done: done.len(), failed: failed.len(), waiting, in_doubt, ended: *ended, files })
}

/// [`super::repair`]. `write` writes a generation and keeps the earlier ones.
pub(super) fn repair(path: &Path, write: WriteGeneration) -> Result<Vec<(String, u64)>, Error> {
    let directory = Directory::open(path)?;
    let run = directory.manifest()?.as_ref().and_then(manifest::run);
    let mut left_out = Vec::new();
    let mut recovery =
        Recovery { folder: directory.folder(), run, each: &mut |_, _, _| {}, left_out: Some(&mut left_out) };
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
        let damaged = waiting::remove_damaged(self.folder, &mut found.state.waiting);
        if let Some(at) = damaged.map_err(|error| unread(&self.folder.path().join(NAME), &error))? {
            self.damaged(
                NAME,
                at,
                &format!("it is damaged or was truncated: its record at byte {at} is not what was written"),
            )?;
        }
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
        let tail = behind(&bytes, sound.bytes);
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
        let tail = behind(bytes, sound.bytes);
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

/// What follows the sound part of a file.
fn behind(bytes: &[u8], sound: u64) -> &[u8] {
    let at = usize::try_from(sound).expect("the sound part is in memory");
    bytes.get(at..).expect("the sound part is a part of the file")
}

fn unread(path: &Path, error: &io::Error) -> Error {
    Error::state(format!("cannot read {}: {error}", path.display()))
}
