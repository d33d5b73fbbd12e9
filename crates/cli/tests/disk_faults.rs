//! The disk fails at any call of a durable run: the run ends with one line that names the file, says nothing is done
//! that is not there, and can be resumed once the disk works. Interrupted and partial calls are retried.
//!
//! `OVERLAPPED_DISK=all` tries every call of a small run of every kind; else a sample is taken.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod disk;
mod program;

use std::path::Path;

use disk::record::Call;
use disk::scene::{Kind, Scene};
use disk::{Act, EINTR, EIO, ENOSPC, Trip, sample, tell};
use program::Ran;

/// How many calls an undisturbed run makes.
fn calls_of(kind: Kind) -> usize {
    let scene = Scene::new(kind);
    let before = scene.record().len();
    scene.finish("undisturbed");
    scene.record().len() - before
}

/// The message for a fault names the cause and the remedy.
fn check_told(ran: &Ran, record: &[Call], why: &str) {
    // A file is known by the name it is to have; a part has none yet, and the lock is known by what it locks.
    let name = |path: &str| {
        let mut path = Path::new(path.trim_end_matches("/lock").trim_end_matches(".new"));
        if path.extension().is_some_and(|ending| ending == "part") {
            path = path.parent().unwrap();
        }
        path.file_name().unwrap_or_default().to_str().unwrap().to_owned()
    };
    assert_eq!(ran.stderr.lines().count(), 1, "{why}: {ran:?}");
    let faults = record.iter().filter(|call| call.name == "fault").flat_map(|call| [&call.path, &call.to]);
    let named = faults.filter(|path| !path.is_empty()).any(|path| ran.stderr.contains(&name(path)));
    assert!(ran.stderr.starts_with("overlapped: ") && named, "{why}: {ran:?}");
}

/// One run with a fault; true: it ended because of that.
fn fails(kind: Kind, at: usize, act: Act) -> bool {
    let scene = Scene::new(kind);
    let ran = scene.run(Some(Trip::at(at, act)));
    let record = scene.record();
    let Some(fault) = record.iter().find(|call| call.name == "fault") else { return false };
    let what = String::from_utf8_lossy(&fault.data);
    let why = format!("{kind:?} {act:?} at call {at}, {what} {} {}", fault.path, fault.to);
    let ended = match ran.code {
        // What cannot be removed may stay; all else must be known, and above all a sync.
        Some(0) if what == "unlink" => false,
        // Nor is anything lost if the space of records that need not wait any more is not freed.
        Some(0) if what == "truncate" && fault.path.ends_with("/waiting") => false,
        // A state is read twice: first to see whether the run is over.
        Some(0) if what == "open" && reads_state(kind, &fault.path) => false,
        // One that is discarded need not be read.
        Some(0) if what == "open" && kind == Kind::Overwrite && fault.path.ends_with(".run/job.json") => {
            false
        }
        Some(3) => true,
        // The state cannot be read.
        Some(2) if what == "open" => true,
        _ => panic!("{why}: {ran:?}"),
    };
    if ended {
        check_told(&ran, &record, &why);
    }
    scene.finish(&why);
    ended
}

/// True for a file of the state that the scene begins with, and for its directory.
fn reads_state(kind: Kind, path: &str) -> bool {
    let is_earlier = |name| kind.retries() && path.contains(name);
    path.contains(".run/snapshot-")
        || path.ends_with(".run/.")
        || is_earlier(".run/intents-1.")
        || is_earlier(".run/journal-1.")
}

#[test]
fn a_call_that_fails_ends_the_run_and_it_goes_on() {
    for kind in Kind::ALL {
        let all = calls_of(kind);
        let acts = [Act::Fail(EIO), Act::FailOn(ENOSPC), Act::Fail(ENOSPC)];
        let ended = sample(all, 14).filter(|&at| fails(kind, at, acts[at % 3])).count();
        tell(&format!("{kind:?}: {all} calls, {ended} ended the run"));
        assert!(ended > 0);
    }
}

/// Its row failed instead, and so did those of all large bodies that followed.
#[test]
fn a_large_body_that_cannot_be_written_ends_the_run() {
    for calls in ["create", "write"] {
        let scene = Scene::new(Kind::Files);
        let trip = Trip { calls, file: "-5-1.part", at: 1, act: Act::Fail(ENOSPC) };
        let ran = scene.run(Some(trip));
        ran.check_refused(3, "pages");
        assert!(ran.stderr.contains("--resume"), "{ran:?}");
        scene.finish("large body");
    }
}

/// It ended like one whose list cannot be read, though the pipe was sound.
#[test]
fn a_list_that_cannot_be_written_down_ends_the_run() {
    for (calls, file) in [("write", "/list"), ("sync", "/list"), ("rename", "/list"), ("sync", ".run")] {
        for act in [Act::Fail(ENOSPC), Act::Fail(EIO)] {
            let scene = Scene::new(Kind::Piped);
            let ran = scene.run(Some(Trip { calls, file, at: 1, act }));
            ran.check_refused(3, "out.ndjson.run");
            scene.finish("list");
        }
    }
}

#[test]
fn what_is_interrupted_or_short_is_not_noticed() {
    for kind in Kind::ALL {
        for at in sample(calls_of(kind), 8) {
            for (calls, act) in [("write", Act::Short), ("open create write sync truncate", Act::Fail(EINTR))]
            {
                let scene = Scene::new(kind);
                let ran = scene.run(Some(Trip { calls, file: "", at, act }));
                ran.check_code(0);
                assert!(ran.stderr.is_empty() && scene.is_over(), "{kind:?} {act:?} at {at}: {ran:?}");
            }
        }
    }
}
