//! `shard` and `fetch --manifest`, killed at any call to the disk, and with a disk that fails at any call: what counts is whole,
//! and the same command goes on.
//!
//! `OVERLAPPED_DISK=all` tries every call; else a sample is taken.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod disk;
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use disk::{Act, EIO, ENOSPC, Trip, sample, tell};
use overlapped_testkit::Server;
use program::{Directory, Ran, command, finish, run};

/// A few are synced one by one, more of them together.
const SHARDS: [usize; 2] = [3, 12];

/// Runs the program; below `root` something happens at `trip`. Also returns the number of calls.
fn watched(directory: &Directory, root: &str, words: &[&str], trip: Option<Trip>) -> (Ran, usize) {
    let record = PathBuf::from(directory.path("record"));
    let _ = fs::remove_file(&record);
    let mut command = command(words);
    disk::watch(&mut command, Path::new(root), &record, trip);
    let ran = finish(&mut command, b"");
    (ran, disk::record::read(&record).iter().filter(|call| call.name != "read").count())
}

/// Names and content of a directory.
fn content(path: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    // A directory is none of them, and has a name that is not expected.
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default()))
        .collect()
}

/// A list, and its shards as they must be.
struct Split {
    directory: Directory,
    shards: String,
    list: String,
    out: String,
    expected: BTreeMap<String, Vec<u8>>,
}

impl Split {
    fn new(shards: usize) -> Self {
        let shards = shards.to_string();
        let directory = Directory::new();
        let lines: String = (0..300).map(|row| format!("http://h{}.test/{row}\n", row % 20)).collect();
        let list = directory.write("urls.txt", lines);
        let expected = directory.path("expected");
        run(&["shard", &list, "-n", &shards, "-o", &expected]).check_code(0);
        let out = directory.path("out");
        Self { list, out, expected: content(&expected), shards, directory }
    }

    fn run(&self, trip: Option<Trip>, more: &[&str]) -> (Ran, usize) {
        let words = [&["shard", &self.list, "-n", &self.shards, "-o", &self.out], more].concat();
        watched(&self.directory, &self.out, &words, trip)
    }

    /// What counts is whole, and the same command makes the rest so.
    fn check(&self, why: &str) {
        let plan = Path::new(&self.out).join("plan.json").exists();
        for (name, bytes) in if Path::new(&self.out).exists() { content(&self.out) } else { BTreeMap::new() }
        {
            if let Some(expected) = self.expected.get(&name) {
                assert!(*expected == bytes, "{why}: {name} is not whole");
            } else {
                assert!(name.starts_with('.'), "{why}: {name}");
            }
        }
        if plan {
            let left = content(&self.out);
            assert!(self.expected.keys().all(|name| left.contains_key(name)), "{why}: a shard is missing");
        }
        let (ran, _) = self.run(None, if plan { &["--overwrite"] } else { &[] });
        assert_eq!(ran.code, Some(0), "{why}: {ran:?}");
        assert!(content(&self.out) == self.expected, "{why}: {:?}", content(&self.out).keys());
        fs::remove_dir_all(&self.out).unwrap();
    }
}

#[test]
fn a_split_that_is_killed_at_any_call_leaves_nothing_half() {
    for shards in SHARDS {
        let split = Split::new(shards);
        let (ran, calls) = split.run(None, &[]);
        ran.check_code(0);
        split.check("undisturbed");
        let mut kills = 0;
        for at in sample(calls, 20) {
            for act in [Act::KillBefore, Act::KillHalf, Act::KillAfter] {
                let (ran, _) = split.run(Some(Trip::at(at, act)), &[]);
                kills += usize::from(ran.code.is_none());
                split.check(&format!("{shards} shards, {act:?} at {at} of {calls}"));
            }
        }
        tell(&format!("{shards} shards: {calls} calls, {kills} kills"));
        assert!(kills > 30);
    }
}

#[test]
fn a_split_on_a_disk_that_fails_says_so() {
    for shards in SHARDS {
        let split = Split::new(shards);
        let (_, calls) = split.run(None, &[]);
        fs::remove_dir_all(&split.out).unwrap();
        let mut failed = 0;
        for at in sample(calls, 15) {
            for act in [Act::Fail(EIO), Act::FailOn(ENOSPC)] {
                let (ran, _) = split.run(Some(Trip::at(at, act)), &[]);
                let why = format!("{shards} shards, {act:?} at {at} of {calls}: {ran:?}");
                match ran.code {
                    Some(0) => {}
                    Some(3) => {
                        assert_eq!(ran.stderr.lines().count(), 1, "{why}");
                        assert!(ran.stderr.contains("cannot write"), "{why}");
                        failed += 1;
                    }
                    _ => panic!("{why}"),
                }
                split.check(&why);
            }
        }
        assert!(failed > 8, "{failed}");
    }
}

/// Shards that are synced together have no final name before, and the plan none before that.
#[test]
fn many_shards_are_synced_at_once_and_then_named() {
    let split = Split::new(SHARDS[1]);
    split.run(None, &[]).0.check_code(0);
    let record = disk::record::read(Path::new(&split.directory.path("record")));
    let all: Vec<usize> = (0..record.len()).filter(|at| record[*at].name == "sync-all").collect();
    assert_eq!(all.len(), 1, "one sync for all");
    let of_shards = |call: &&disk::record::Call| call.path.contains("shard-");
    let (before, after) = record.split_at(all[0]);
    assert!(before.iter().filter(of_shards).all(|call| !matches!(&*call.name, "rename" | "sync")));
    assert_eq!(after.iter().filter(of_shards).filter(|call| call.name == "rename").count(), SHARDS[1]);
    assert!(!after.iter().filter(of_shards).any(|call| call.name == "write"));
    let last = record.iter().rposition(|call| call.name == "rename").unwrap();
    assert!(record[last].to.ends_with("plan.json"), "{} {}", record[last].path, record[last].to);
}

#[test]
fn a_shard_that_is_killed_at_any_call_is_committed_once() {
    let server = Server::builder().hosts(5).start();
    let directory = Directory::new();
    let lines: String = (0..60).map(|row| server.url_on(row % 5, &format!("/row/{row}")) + "\n").collect();
    let list = directory.write("urls.txt", lines);
    let (shards, out) = (directory.path("shards"), directory.path("out"));
    run(&["shard", &list, "-n", "1", "-o", &shards]).check_code(0);
    let file = format!("{shards}/shard-00000.parquet");
    let (output, manifest) = (format!("{out}/shard-00000.parquet"), format!("{out}/shard-00000.json"));
    let words =
        ["-s", "--resume", "--durability", "each", "-j", "4", "-o", &output, "--manifest", &manifest, &file];
    let go = |trip| watched(&directory, &out, &words, trip);
    fs::create_dir(&out).unwrap();
    let (ran, calls) = go(None);
    ran.check_code(0);
    let mut kills = 0;
    for at in sample(calls, 25) {
        for act in [Act::KillBefore, Act::KillAfter, Act::Fail(EIO)] {
            fs::remove_dir_all(&out).unwrap();
            fs::create_dir(&out).unwrap();
            let (ran, _) = go(Some(Trip::at(at, act)));
            let record: Vec<_> = disk::record::read(Path::new(&directory.path("record")))
                .iter()
                .rev()
                .take(3)
                .map(|call| format!("{} {} {}", call.name, call.path, call.to))
                .collect();
            let why = format!("{act:?} at {at} of {calls}: {ran:?}: {record:?}");
            kills += usize::from(ran.code.is_none());
            if Path::new(&manifest).exists() {
                let ran = run(&["verify", &out, "--plan", &shards]);
                assert_eq!(ran.code, Some(0), "{why}: {ran:?}");
            }
            // What cannot be removed may stay.
            let passed = ran.code == Some(0);
            let (ran, _) = go(None);
            assert_eq!(ran.code, Some(0), "{why}: {ran:?}");
            let ran = run(&["verify", &out, "--plan", &shards]);
            assert_eq!(ran.code, Some(0), "{why}: {ran:?}");
            if !passed {
                let mut names: Vec<_> = content(&out).into_keys().collect();
                // So may a spool, whose run ends with 3 then.
                names.retain(|name| !(matches!(act, Act::Fail(_)) && name == "shard-00000.parquet.part"));
                assert_eq!(names, ["_SUCCESS", "shard-00000.json", "shard-00000.parquet"], "{why}");
            }
        }
    }
    tell(&format!("{calls} calls, {kills} kills"));
    assert!(kills > 20);
}
