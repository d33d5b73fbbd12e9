//! What a disk may hold after the power went: replays a record up to some call, and of the calls that no sync covers
//! it loses some, tears some, and keeps others though earlier ones are lost.
//!
//! A sync of a file covers its bytes, a sync of a directory the names in it, and nothing else is promised: neither
//! that a synced file has its name, nor that anything reaches the disk in the order it was written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use overlapped_proto::journal::{self, Frame, Head};

use super::record::Call;
use super::scene::Known;

/// What the disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A record, and for each call the file it is about and the sync that covers it.
pub(crate) struct Replay {
    calls: Vec<Call>,
    files: Vec<usize>,
    covered: Vec<usize>,
}

/// What becomes of a call that no sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Lost,
    /// The file has grown; what was written is not there.
    Zeros,
    /// The sectors whose bits are set are there.
    Torn(u64),
}

/// What is on a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    folders: BTreeSet<String>,
    /// Files by their names, and what their inodes were.
    files: BTreeMap<String, (u64, Vec<u8>)>,
}

impl Replay {
    /// Of a record that begins with an empty directory.
    pub(crate) fn new(calls: Vec<Call>) -> Self {
        let files = files_of(&calls);
        let covered = (0..calls.len()).map(|at| covered_by(&calls, &files, at)).collect();
        Self { calls, files, covered }
    }

    pub(crate) fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// What is on the disk when the power goes after the first calls.
    pub(crate) fn world(&self, calls: usize, mut fate: impl FnMut(&Call) -> Fate) -> World {
        let (mut world, mut bytes) = (World::default(), HashMap::<usize, Vec<u8>>::new());
        let mut names = BTreeMap::<String, usize>::new();
        for (at, call) in self.calls.iter().enumerate().take(calls) {
            let fate = if self.covered[at] < calls { Fate::Kept } else { fate(call) };
            if fate == Fate::Lost {
                continue;
            }
            let file = self.files[at];
            match call.name.as_str() {
                "create" => drop(names.insert(call.path.clone(), file)),
                "rename" => {
                    if names.get(&call.path) == Some(&file) {
                        names.remove(&call.path);
                    }
                    names.insert(call.to.clone(), file);
                }
                "unlink" if names.get(&call.path) == Some(&file) => drop(names.remove(&call.path)),
                "unlink" => drop(world.folders.remove(&call.path)),
                "mkdir" => drop(world.folders.insert(call.path.clone())),
                "write" => write(bytes.entry(file).or_default(), call, fate),
                "truncate" => bytes.entry(file).or_default().resize(call.offset, 0),
                _ => {}
            }
        }
        let inodes = self.inodes();
        for (name, file) in names {
            let content = bytes.get(&file).cloned().unwrap_or_default();
            world.files.insert(name, (inodes[&file], content));
        }
        world.without_lost_folders()
    }

    /// What must still be known then, and not be done again: the entries of the journals that syncs cover.
    pub(crate) fn known(&self, calls: usize) -> Known {
        let mut journals = BTreeMap::<usize, Vec<u8>>::new();
        for (at, call) in self.calls.iter().enumerate().take(calls) {
            let is_log = call.path.ends_with(".log");
            if is_log && call.name == "write" && self.covered[at] < calls {
                write(journals.entry(self.files[at]).or_default(), call, Fate::Kept);
            }
        }
        let mut known = Known::default();
        for bytes in journals.values() {
            journal::read(bytes, |_, frame| known.add(&frame)).unwrap();
        }
        known
    }

    /// True if there are such calls, and each is covered by a sync before the next of the others.
    pub(crate) fn is_covered(&self, calls: impl Fn(&Call) -> bool, before: impl Fn(&Call) -> bool) -> bool {
        let such = |at: &usize| calls(&self.calls[*at]);
        let next = |at: usize| (at..self.calls.len()).find(|&later| before(&self.calls[later]));
        let mut found = (0..self.calls.len()).filter(such).peekable();
        found.peek().is_some() && found.all(|at| next(at).is_none_or(|next| self.covered[at] < next))
    }

    fn inodes(&self) -> HashMap<usize, u64> {
        self.calls.iter().zip(&self.files).map(|(call, &file)| (file, call.inode)).collect()
    }
}

/// Which file each call is about: an inode that was freed may be that of another file later.
fn files_of(calls: &[Call]) -> Vec<usize> {
    let mut last = HashMap::new();
    let file_of = |(at, call): (usize, &Call)| match call.name.as_str() {
        "create" | "mkdir" => {
            last.insert(call.inode, at);
            at
        }
        _ => last.get(&call.inode).copied().unwrap_or(usize::MAX),
    };
    calls.iter().enumerate().map(file_of).collect()
}

/// The first sync that covers a call; there may be none.
fn covered_by(calls: &[Call], files: &[usize], at: usize) -> usize {
    let call = &calls[at];
    let folder = |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
    let covers = |&later: &usize| {
        let sync = &calls[later];
        let own = match call.name.as_str() {
            "write" | "truncate" => files[later] == files[at],
            "rename" => sync.path == folder(&call.to),
            _ => sync.path == folder(&call.path),
        };
        sync.name == "sync-all" || sync.name == "sync" && own
    };
    (at + 1..calls.len()).find(covers).unwrap_or(usize::MAX)
}

fn write(bytes: &mut Vec<u8>, call: &Call, fate: Fate) {
    let end = call.offset + call.data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    for (at, &byte) in (call.offset..end).zip(&call.data) {
        let kept = match fate {
            Fate::Kept => true,
            Fate::Lost | Fate::Zeros => false,
            Fate::Torn(sectors) => sectors >> (at / SECTOR_BYTES % 64) & 1 == 1,
        };
        if kept {
            bytes[at] = byte;
        }
    }
}

impl World {
    fn without_lost_folders(mut self) -> Self {
        let root =
            self.folders.iter().chain(self.files.keys()).filter_map(|name| name.split_once("/root/")).next();
        let Some((above, _)) = root else { return self };
        let root = format!("{above}/root");
        let all = self.folders.clone();
        let is_there = |name: &String| {
            let above = Path::new(name).ancestors().skip(1).take_while(|above| *above != Path::new(&root));
            above.into_iter().all(|above| all.contains(above.to_str().unwrap()))
        };
        self.folders.retain(is_there);
        self.files.retain(|name, _| is_there(name));
        self
    }

    /// The bytes of the file with this ending, if it is there.
    pub(crate) fn file(&self, ending: &str) -> Option<&[u8]> {
        self.files.iter().find(|(name, _)| name.ends_with(ending)).map(|(_, (_, bytes))| bytes.as_slice())
    }

    /// Every file, by its name.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(name, (_, bytes))| (name.as_str(), bytes.as_slice()))
    }

    /// Puts all of it below an empty directory. A journal tells files by their inodes, which are others now.
    pub(crate) fn put(&self, root: &Path) {
        use std::os::unix::fs::MetadataExt;
        fs::remove_dir_all(root).unwrap();
        fs::create_dir(root).unwrap();
        for folder in &self.folders {
            fs::create_dir(folder).unwrap();
        }
        let mut inodes = HashMap::new();
        for (name, (inode, bytes)) in &self.files {
            fs::write(name, bytes).unwrap();
            inodes.insert(*inode, fs::metadata(name).unwrap().ino());
        }
        for (name, (_, bytes)) in self.files.iter().filter(|(name, _)| name.contains("/journal-")) {
            fs::write(name, with_inodes(bytes, &inodes)).unwrap();
        }
    }
}

/// A journal in which files have other inodes; what is no whole entry stays as it is.
fn with_inodes(bytes: &[u8], inodes: &HashMap<u64, u64>) -> Vec<u8> {
    let mut frames = Vec::new();
    let Ok(sound) = journal::read(bytes, |_, frame| frames.push(frame)) else { return bytes.to_vec() };
    if sound.head.is_none() {
        return bytes.to_vec();
    }
    let mut out = bytes[..Head::BYTES].to_vec();
    for mut frame in frames {
        if let Frame::Names(named) = &mut frame {
            named.iter_mut().for_each(|named| named.inode = inodes.get(&named.inode).copied().unwrap_or(0));
        }
        frame.encode(&mut out);
    }
    out.extend_from_slice(&bytes[usize::try_from(sound.bytes).unwrap()..]);
    out
}
