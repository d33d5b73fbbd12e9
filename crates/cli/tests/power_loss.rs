//! Power loss at any moment of a durable run: whatever the disk then holds, what was durable is there and is not
//! fetched again, every row is there once when the run was resumed, and no file with its final name is partial.
//!
//! `OVERLAPPED_STATES` sets how many disks are tried for each kind of run, `OVERLAPPED_SEED` repeats one that failed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod disk;
mod program;

use std::collections::{BTreeSet, HashSet};

use disk::record::Call;
use disk::replay::{Fate, Replay, World};
use disk::scene::{Kind, Scene, is_whole, rows_of_json};
use disk::{Act, Trip, tell};

/// Numbers that can be drawn again.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How the disk treats what no sync covers.
#[derive(Clone, Copy, Debug)]
enum Habit {
    LosesAll,
    LosesData,
    /// The files have grown, and hold zeros.
    LosesDataAndKeepsLengths,
    LosesNames,
    /// All after some moment is lost.
    KeepsOrder,
    /// Anything may be lost, or torn.
    KeepsAnything,
}

const HABITS: [Habit; 6] = [
    Habit::LosesAll,
    Habit::LosesData,
    Habit::LosesDataAndKeepsLengths,
    Habit::LosesNames,
    Habit::KeepsOrder,
    Habit::KeepsAnything,
];

/// A disk as it may be after the first `calls`.
fn world(replay: &Replay, calls: usize, habit: Habit, draw: &mut Draw) -> World {
    let mut left = draw.below(8);
    replay.world(calls, |call| {
        let is_data = matches!(call.name.as_str(), "write" | "truncate");
        let lost = |lost| if lost { Fate::Lost } else { Fate::Kept };
        match habit {
            Habit::LosesAll => Fate::Lost,
            Habit::LosesData => lost(is_data),
            Habit::LosesDataAndKeepsLengths if call.name == "write" => Fate::Zeros,
            Habit::LosesDataAndKeepsLengths => Fate::Kept,
            Habit::LosesNames => lost(!is_data),
            Habit::KeepsOrder => {
                left = left.saturating_sub(1);
                lost(left == 0)
            }
            Habit::KeepsAnything if call.name == "write" => match draw.below(4) {
                0 => Fate::Lost,
                1 => Fate::Zeros,
                2 => Fate::Torn(draw.0),
                _ => Fate::Kept,
            },
            Habit::KeepsAnything => lost(draw.below(2) == 0),
        }
    })
}

/// Files with their final names are whole, even before anything has gone on.
fn check_names(kind: Kind, world: &World, why: &str) {
    for (name, bytes) in world.files() {
        let Some((_, page)) = name.split_once("/pages/") else { continue };
        let Ok(row) = page.parse() else { continue };
        assert!(is_whole(kind, row, bytes), "{why}: {name} is not whole, at {} bytes", bytes.len());
    }
}

/// Runs with these kills; then simulates power loss at many moments, and resumes.
fn loses_power(kind: Kind, trips: &[Trip]) {
    let scene = Scene::new(kind);
    for &trip in trips {
        scene.run(Some(trip));
    }
    scene.finish("undisturbed");
    let replay = Replay::new(scene.record());
    let first = number("OVERLAPPED_SEED");
    let states = if first.is_some() { 1 } else { number("OVERLAPPED_STATES").unwrap_or(24) };
    let (mut seen, mut tried) = (HashSet::new(), 0);
    for seed in first.into_iter().chain(1..).take(states as usize * 20) {
        let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        draw.below(1);
        let calls = 1 + draw.below(replay.calls().len());
        let habit = HABITS[draw.below(HABITS.len())];
        let world = world(&replay, calls, habit, &mut draw);
        if tried == states || !seen.insert((calls, world.clone())) {
            continue;
        }
        tried += 1;
        let last = &replay.calls()[calls - 1];
        let why = format!(
            "{kind:?} OVERLAPPED_SEED={seed}: {habit:?}, after {calls} calls, {} {}",
            last.name, last.path
        );
        check_names(kind, &world, &why);
        world.put(&scene.root());
        let over = scene.is_over();
        scene.check_go_on(&replay.known(calls), over, &why);
    }
    tell(&format!("{kind:?} {trips:?}: {} calls, {tried} disks", replay.calls().len()));
}

#[test]
fn of_a_run_that_writes_records() {
    loses_power(Kind::Ndjson, &[]);
    loses_power(Kind::Csv, &[]);
    loses_power(Kind::Packed, &[]);
}

#[test]
fn of_a_run_that_writes_an_archive() {
    loses_power(Kind::Har, &[]);
    loses_power(Kind::HarRetry, &[]);
    loses_power(Kind::Table, &[]);
    loses_power(Kind::Warc, &[]);
    let torn = Trip { calls: "write", file: "/out.warc", at: 9, act: Act::KillHalf };
    loses_power(Kind::Warc, &[torn]);
    loses_power(Kind::WarcRetry, &[]);
}

#[test]
fn of_a_run_that_writes_files() {
    loses_power(Kind::Files, &[]);
}

#[test]
fn of_a_run_that_goes_on() {
    let torn = Trip { calls: "write", file: "journal-", at: 4, act: Act::KillHalf };
    let named = Trip { calls: "rename", file: "pages/", at: 7, act: Act::KillAfter };
    loses_power(Kind::Ndjson, &[torn]);
    loses_power(Kind::Files, &[named]);
    loses_power(Kind::Files, &[torn, named]);
}

#[test]
fn of_a_run_that_takes_out_failed_rows() {
    loses_power(Kind::Retry, &[]);
    loses_power(Kind::PackedRetry, &[]);
}

#[test]
fn of_a_run_whose_list_comes_through_a_pipe() {
    loses_power(Kind::Piped, &[]);
}

#[test]
fn of_a_run_that_overwrites_another() {
    loses_power(Kind::Overwrite, &[]);
}

#[test]
fn of_a_run_in_order_behind_a_slow_row() {
    loses_power(Kind::Ordered, &[]);
    loses_power(Kind::Ordered, &[Trip { calls: "sync", file: "/waiting", at: 3, act: Act::KillAfter }]);
}

#[test]
fn of_a_run_that_must_not_send_twice() {
    loses_power(Kind::Post, &[]);
}

/// A call by its name, and what its path holds.
fn is(name: &'static str, path: &'static str) -> impl Fn(&Call) -> bool {
    move |call| call.name == name && (call.path.contains(path) || call.to.contains(path))
}

/// They did: a file that was named before its row was done got a twin when its row was.
#[test]
fn files_that_were_taken_back_do_not_come_back() {
    let scene = Scene::new(Kind::Files);
    scene.run(Some(Trip { calls: "rename", file: "pages/", at: 7, act: Act::KillAfter }));
    scene.finish("goes on");
    let replay = Replay::new(scene.record());
    let is_page = |call: &Call| is("unlink", "/pages/")(call) && !call.path.ends_with(".part");
    assert!(replay.is_covered(is_page, is("rename", "/snapshot-2")));
}

/// It was not: then the old output was cut to the length of the new one.
#[test]
fn a_rewritten_output_has_its_name_before_the_state_has_its_length() {
    let scene = Scene::new(Kind::Retry);
    scene.finish("taken out");
    let replay = Replay::new(scene.record());
    assert!(replay.is_covered(is("create", ".retry"), is("rename", "/snapshot-")));
    assert!(replay.is_covered(is("write", ".retry"), is("rename", "/snapshot-")));
}

/// They were not: a run whose output is in a new directory below a new one was lost with both.
#[test]
fn new_directories_are_there_before_the_run_begins() {
    let scene = Scene::new(Kind::Files);
    scene.finish("begun");
    assert!(Replay::new(scene.record()).is_covered(is("mkdir", "/deep"), is("rename", "/job.json")));
}

/// It was not: the only whole copy of the journal could be lost.
#[test]
fn a_damaged_journal_is_kept_before_another_takes_its_place() {
    let scene = Scene::new(Kind::Ndjson);
    scene.run(Some(Trip { calls: "sync", file: "journal-", at: 4, act: Act::KillAfter }));
    let journal = scene.state().join("journal-1.log");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    scene.repair(None).check_code(0);
    let replay = Replay::new(scene.record());
    assert!(replay.is_covered(is("create", ".damaged"), is("rename", "/snapshot-2")));
    assert!(replay.is_covered(is("write", ".damaged"), is("rename", "/snapshot-2")));
}

/// True if on some disk a row that is done has no record: what these tests look for, told without the program.
fn loses_a_row(calls: Vec<Call>) -> bool {
    let replay = Replay::new(calls);
    let mut draw = Draw(1);
    (1..=replay.calls().len()).any(|calls| {
        let known = replay.known(calls);
        let world = world(&replay, calls, Habit::LosesAll, &mut draw);
        let text = world.file("/out.ndjson").unwrap_or_default();
        let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let rows: BTreeSet<_> = rows_of_json(&text[..end], Kind::Ndjson).into_iter().collect();
        !known.done.is_subset(&rows)
    })
}

/// The canary: a program that leaves a sync out must be found.
#[test]
fn a_sync_that_is_left_out_is_found() {
    let scene = Scene::new(Kind::Ndjson);
    scene.finish("undisturbed");
    let without = |left_out: &str| {
        let mut calls = scene.record();
        calls.retain(|call| !(call.name == "sync" && call.path.ends_with(left_out)));
        calls
    };
    assert!(!loses_a_row(without("nothing")));
    assert!(loses_a_row(without("/out.ndjson")), "the output's bytes");
    assert!(loses_a_row(without("/root")), "the output's name");
}
