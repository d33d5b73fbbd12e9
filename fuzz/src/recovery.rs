//! A run directory with any files in it: it is read or refused, always alike, and reading it changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use overlapped_fetch::durable;
use overlapped_proto::journal::{Frame, Head, State};

use crate::journal::frame;
use crate::take::Take;

const NAMES: [&str; 8] = [
    "snapshot-1",
    "journal-1.log",
    "intents-1.log",
    "snapshot-2",
    "journal-2.log",
    "intents-2.log",
    "journal-3.log",
    "snapshot-2.new",
];

/// Fills a run directory with what the bytes describe, and reads it.
pub fn recovery(data: &[u8]) {
    let folder = folder();
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let mut take = Take(data);
    let mut state = State::default();
    while !take.is_empty() {
        let name = NAMES[usize::from(take.byte()) % NAMES.len()];
        fs::write(folder.join(name), file(name, &mut take, &mut state)).unwrap();
    }
    let (before, first) = (files(&folder), read(&folder));
    assert_eq!(first, read(&folder), "the same files say the same");
    assert_eq!(before, files(&folder), "reading changes nothing");
    if let Ok((_, done, failed)) = first {
        assert!(failed <= done);
    }
    // A repair mends what it can, and what it has mended is sound. It removes nothing, whatever it is given, but for what
    // was never whole.
    if !before.is_empty() {
        if durable::repair(&folder).is_ok() {
            read(&folder).unwrap();
        }
        let after = files(&folder);
        let mut whole = before.keys().filter(|name| !name.ends_with(".new"));
        assert!(whole.all(|name| after.contains_key(name)), "{before:?} {after:?}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// A folder for each process and thread, in memory where there is one.
fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let above = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    above.join(format!("overlapped-fuzz-{}-{:?}", std::process::id(), std::thread::current().id()))
}

/// A file of a kind, with a tail of any bytes.
fn file(name: &str, take: &mut Take<'_>, state: &mut State) -> Vec<u8> {
    let generation = name.bytes().find(u8::is_ascii_digit).map_or(1, |digit| u64::from(digit - b'0'));
    let mut bytes = Head { run: 7, generation, process: 1 }.encode();
    if name.starts_with("snapshot") {
        Frame::Snapshot(Box::new(state.clone())).encode(&mut bytes);
    } else {
        for _ in 0..take.below(5) {
            let frame = frame(take);
            frame.encode(&mut bytes);
            state.apply(frame);
        }
    }
    let cut = take.below(4 * bytes.len());
    bytes.truncate(bytes.len().min(cut.max(1) * 3));
    let tail = usize::from(take.byte()) % 16;
    bytes.extend_from_slice(take.bytes(tail));
    bytes
}

type Read = Result<(Vec<String>, u64, u64), String>;

fn read(folder: &Path) -> Read {
    let mut frames = Vec::new();
    let checked = durable::check(folder, |file, at, frame| frames.push(format!("{file} {at} {frame:?}")));
    checked.map(|checked| (frames, checked.done, checked.failed)).map_err(|error| error.to_string())
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}
