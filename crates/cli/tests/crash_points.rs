//! A durable run that is killed at any call to the disk, and again while it is resumed: every row once, none lost.
//!
//! `OVERLAPPED_DISK=all` kills at each call of a small run of every kind; else a sample is taken.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod disk;
mod program;

use std::fs;

use disk::scene::{Kind, Scene};
use disk::{Act, Trip, sample, tell};
use program::{Ran, records, run_with};

/// How often a call of that name must have come before the kill.
const COUNTS: [usize; 3] = [1, 2, 17];

fn was_killed(ran: &Ran) -> bool {
    ran.code.is_none()
}

/// Runs and is killed; what was known is known afterwards. True: it was killed.
fn killed(scene: &Scene, trip: Trip) -> bool {
    let (before, over) = (scene.known(), scene.is_over());
    scene.forget();
    let ran = scene.run(Some(trip));
    let after = scene.known();
    let why = format!("{:?} {trip:?}", scene.kind);
    scene.check_files(&why);
    assert!(over || scene.is_over() || before.done.is_subset(&after.done), "{why}: {before:?} {after:?}");
    let again =
        scene.hits().into_keys().find(|row| before.done.contains(row) || before.intended.contains(row));
    assert_eq!(again, None, "{why}: fetched again");
    was_killed(&ran)
}

/// Killed at each of these in turn, and then to the end. Answers with how often it was killed.
fn survives(kind: Kind, trips: &[Trip]) -> usize {
    let scene = Scene::new(kind);
    let kills = trips.iter().filter(|&&trip| killed(&scene, trip)).count();
    scene.finish(&format!("{kind:?} {trips:?}"));
    kills
}

/// At the first, the second and the 17th call of a name, if there are that many calls.
fn check(kind: Kind, calls: &'static str, file: &'static str, act: Act) {
    let killed = |&at: &usize| survives(kind, &[Trip { calls, file, at, act }]) == 1;
    let reached = COUNTS.iter().take_while(|at| killed(at)).count();
    assert!(reached > 0, "{kind:?} never calls {calls} for {file}");
}

/// The same in a process that resumes a run whose journal ends in half a frame.
fn check_recovery(kind: Kind, calls: &'static str, file: &'static str, act: Act) {
    let torn = Trip { calls: "write", file: "journal-", at: 4, act: Act::KillHalf };
    let killed = |&at: &usize| survives(kind, &[torn, Trip { calls, file, at, act }]) == 2;
    let reached = COUNTS.iter().take_while(|at| killed(at)).count();
    assert!(reached > 0, "{kind:?} that goes on never calls {calls} for {file}");
}

#[test]
fn around_a_file_and_its_name() {
    check(Kind::Files, "write", ".part", Act::KillHalf);
    check(Kind::Files, "write", ".part", Act::KillAfter);
    check(Kind::Files, "sync", ".part", Act::KillBefore);
    // Between the rename and the sync of the directory.
    check(Kind::Files, "rename", "pages/", Act::KillAfter);
    check(Kind::Files, "sync", "deep/pages", Act::KillAfter);
}

#[test]
fn around_the_sync_of_an_output() {
    for kind in [Kind::Ndjson, Kind::Csv, Kind::Har, Kind::Warc, Kind::Table] {
        check(kind, "write", "/out.", Act::KillHalf);
        check(kind, "sync", "/out.", Act::KillBefore);
        check(kind, "sync", "/out.", Act::KillAfter);
    }
}

#[test]
fn around_the_end_of_a_compressed_member() {
    check(Kind::Packed, "write", "/out.", Act::KillHalf);
    check(Kind::Packed, "sync", "/out.", Act::KillBefore);
    check_recovery(Kind::Packed, "truncate", "/out.", Act::KillAfter);
    check(Kind::PackedRetry, "write", ".retry", Act::KillHalf);
    check(Kind::PackedRetry, "rename", "snapshot-", Act::KillAfter);
}

#[test]
fn around_an_entry_of_the_journal() {
    check(Kind::Ndjson, "write", "journal-", Act::KillHalf);
    check(Kind::Ndjson, "sync", "journal-", Act::KillBefore);
    check(Kind::Files, "sync", "journal-", Act::KillAfter);
}

#[test]
fn around_an_intent() {
    check(Kind::Post, "write", "intents-", Act::KillHalf);
    check(Kind::Post, "sync", "intents-", Act::KillBefore);
    check(Kind::Post, "sync", "intents-", Act::KillAfter);
}

#[test]
fn around_a_snapshot() {
    check(Kind::Ndjson, "write", "snapshot-", Act::KillHalf);
    check(Kind::Ndjson, "rename", "snapshot-", Act::KillBefore);
    check(Kind::Ndjson, "rename", "snapshot-", Act::KillAfter);
    check_recovery(Kind::Ndjson, "rename", "snapshot-", Act::KillAfter);
    check_recovery(Kind::Ndjson, "create", "journal-", Act::KillAfter);
    check_recovery(Kind::Ndjson, "unlink", "snapshot-", Act::KillBefore);
    check_recovery(Kind::Ndjson, "unlink", "journal-", Act::KillBefore);
}

#[test]
fn while_taking_back_what_is_not_durable() {
    check_recovery(Kind::Ndjson, "truncate", "/out.", Act::KillBefore);
    check_recovery(Kind::Csv, "truncate", "/out.", Act::KillAfter);
    check_recovery(Kind::Har, "truncate", "/out.har.part", Act::KillAfter);
    check_recovery(Kind::Warc, "truncate", "/out.warc.gz", Act::KillBefore);
    check_recovery(Kind::Warc, "truncate", "/out.cdxj.part", Act::KillAfter);
    check_recovery(Kind::Files, "unlink", "pages/", Act::KillBefore);
    check_recovery(Kind::Files, "unlink", "pages/", Act::KillAfter);
}

#[test]
fn while_failed_rows_are_taken_out() {
    check(Kind::Retry, "create", ".retry", Act::KillAfter);
    check(Kind::Retry, "write", ".retry", Act::KillHalf);
    check(Kind::Retry, "rename", "snapshot-", Act::KillBefore);
    check(Kind::Retry, "rename", "snapshot-", Act::KillAfter);
    check(Kind::Retry, "rename", ".retry", Act::KillAfter);
    // The entries are still those of the complete archive.
    check(Kind::HarRetry, "create", ".retry", Act::KillAfter);
    check(Kind::HarRetry, "write", ".retry", Act::KillHalf);
    check(Kind::HarRetry, "rename", "snapshot-", Act::KillBefore);
    check(Kind::HarRetry, "rename", "snapshot-", Act::KillAfter);
    // First the new spool gets its name, then the archive.
    check(Kind::HarRetry, "rename", "/out.har", Act::KillBefore);
    check(Kind::HarRetry, "rename", "/out.har", Act::KillAfter);
}

#[test]
fn while_an_output_is_built() {
    check(Kind::Table, "create", ".out.parquet.building", Act::KillAfter);
    check_recovery(Kind::Table, "unlink", ".out.parquet.building", Act::KillBefore);
    check(Kind::Har, "rename", "/out.har", Act::KillBefore);
    check(Kind::Har, "rename", "/out.har", Act::KillAfter);
    let built = [
        (Kind::Warc, ".out.cdxj.building"),
        (Kind::Table, ".out.parquet.building"),
        (Kind::TableRetry, ".out.parquet.building"),
    ];
    for (kind, file) in built {
        check(kind, "write", file, Act::KillHalf);
        check(kind, "sync", file, Act::KillBefore);
        check(kind, "rename", file, Act::KillBefore);
        check(kind, "rename", file, Act::KillAfter);
    }
}

#[test]
fn while_rows_are_added_to_an_archive_once_more() {
    check(Kind::WarcRetry, "rename", "snapshot-", Act::KillBefore);
    check(Kind::WarcRetry, "rename", "snapshot-", Act::KillAfter);
    check(Kind::WarcRetry, "write", "/out.warc.gz", Act::KillHalf);
    check(Kind::WarcRetry, "write", "/out.cdxj.part", Act::KillAfter);
}

#[test]
fn around_the_end() {
    check(Kind::Ndjson, "unlink", "job.json", Act::KillBefore);
    check(Kind::Ndjson, "unlink", "job.json", Act::KillAfter);
    check(Kind::Csv, "unlink", "lock", Act::KillAfter);
}

/// It was: a run that was killed at its very end left the list that had come through a pipe.
#[test]
fn the_list_of_a_run_that_ended_is_not_taken_for_another() {
    let scene = Scene::new(Kind::Piped);
    assert!(killed(&scene, Trip { calls: "unlink", file: "job.json", at: 1, act: Act::KillAfter }));
    assert!(scene.state().join("list.whole").exists());
    let out = scene.root().join("out.ndjson");
    fs::remove_file(&out).unwrap();
    let url = scene.server.url("/ok\n");
    run_with(&["-s", "-o", out.to_str().unwrap(), "-"], url.as_bytes()).check_code(0);
    assert_eq!(records(&fs::read_to_string(out).unwrap()).len(), 1);
}

/// Killed while it overwrites what another run has left, and gone on with; true: it was killed.
fn overwrites(trip: Trip) -> bool {
    let scene = Scene::new(Kind::Overwrite);
    let why = format!("{trip:?}");
    let (killed, over) = (killed(&scene, trip), scene.is_over());
    let begun = scene.state().join("job.json").exists();
    let ran = scene.begin("--resume", None);
    scene.check_files(&why);
    match ran.code {
        Some(0) => {
            assert!(scene.is_complete(), "{why}: {}", scene.shown());
            // A run that was killed before it began has left nothing to go on with. What begins then was not told that
            // it may replace files.
            if begun {
                scene.check_no_rest(&why);
            }
        }
        // The state or the output is still that of the other run, or all was done.
        Some(2) => {
            assert!(
                over || ran.stderr.contains("not the list") || ran.stderr.contains("exists"),
                "{why}: {ran:?}"
            );
            scene.finish(&why);
        }
        _ => panic!("{why}: {ran:?}"),
    }
    killed
}

#[test]
fn while_an_earlier_run_is_overwritten() {
    let scene = Scene::new(Kind::Overwrite);
    let before = scene.record().len();
    scene.finish("undisturbed");
    let all = scene.record().len() - before;
    let acts = [Act::KillBefore, Act::KillHalf, Act::KillAfter];
    let kills = sample(all, 20).filter(|&at| overwrites(Trip::at(at, acts[at % 3]))).count();
    tell(&format!("{all} calls, {kills} kills"));
    assert!(kills > 0);
}

/// It was: a run that was killed between the states of two runs was taken for one that had ended, with the records of the other.
#[test]
fn the_outputs_of_a_run_that_is_overwritten_are_not_those_of_the_new_one() {
    assert!(overwrites(Trip { calls: "unlink", file: "job.json", at: 1, act: Act::KillAfter }));
}

#[test]
fn while_a_journal_is_repaired() {
    let repairs = [("write", ".damaged"), ("rename", "snapshot-"), ("sync", "journal-"), ("write", "lock")];
    for (calls, file) in repairs {
        for act in [Act::KillBefore, Act::KillHalf] {
            let scene = Scene::new(Kind::Ndjson);
            assert!(killed(&scene, Trip { calls: "write", file: "journal-", at: 4, act: Act::KillHalf }));
            let journal = scene.state().join("journal-1.log");
            let whole = fs::read(&journal).unwrap();
            let mut damaged = whole.clone();
            damaged[whole.len() / 2] ^= 4;
            fs::write(&journal, &damaged).unwrap();
            assert!(was_killed(&scene.repair(Some(Trip { calls, file, at: 1, act }))), "{calls} {file}");
            scene.repair(None).check_code(0);
            let kept = scene.state().join("journal-1.log.damaged");
            assert_eq!(fs::read(&kept).unwrap(), damaged, "{calls} {file} {act:?}");
            fs::remove_file(kept).unwrap();
            scene.finish("repaired");
        }
    }
}

/// Killed at call after call, and again at another one while it is resumed.
fn torture(kind: Kind, some: usize) {
    let scene = Scene::new(kind);
    let before = scene.record().len();
    scene.finish("undisturbed");
    let all = scene.record().len() - before;
    let acts = [Act::KillBefore, Act::KillHalf, Act::KillAfter];
    let mut kills = 0;
    for at in sample(all, some) {
        let again = Trip::at(1 + at * 7 % all, acts[at / 3 % 3]);
        let early = Trip::at(1 + at % 30, acts[at % 3]);
        kills += survives(kind, &[Trip::at(at, acts[at % 3]), early, again]);
    }
    tell(&format!("{kind:?}: {all} calls, {kills} kills"));
    assert!(kills > 0);
}

#[test]
fn killed_at_any_call() {
    for kind in Kind::ALL {
        torture(kind, 10);
    }
}
