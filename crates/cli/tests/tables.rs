//! Outputs in Parquet and in Arrow's file format: their lifecycle. That others read them is tested in `crates/python/tests/test_tables.py`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use overlapped_testkit::Server;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use program::{Directory, command, killed_after, list, run};

/// The rows of a table, and whether they are ok.
fn rows(path: &str) -> BTreeMap<u64, bool> {
    let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let mut rows = BTreeMap::new();
    for row in file.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        let cell = |name| row.get_column_iter().find(|(column, _)| *column == name).unwrap().1;
        let (Field::ULong(number), Field::Bool(ok)) = (cell("row"), cell("ok")) else { panic!("{row}") };
        assert_eq!(rows.insert(*number, *ok), None, "row {number} is there twice");
    }
    rows
}

#[test]
fn a_table_replaces_its_spool() {
    let server = Server::start();
    for durability in ["group", "none"] {
        let directory = Directory::new();
        let list = list(&server, &directory, 5_000, |row| format!("/row/{row}"));
        let (parquet, arrow) = (directory.path("r.parquet"), directory.path("r.arrow"));
        run(&["-s", "--durability", durability, "-o", &parquet, "-o", &arrow, &list]).check_code(0);
        assert_eq!(directory.names(), ["r.arrow", "r.parquet", "urls.txt"]);
        assert!(rows(&parquet).into_iter().eq((0..5_000).map(|row| (row, true))));
        assert!(fs::read(&arrow).unwrap().starts_with(b"ARROW1"));
        run(&["-s", "-o", &parquet, &list]).check_refused(2, "--overwrite");
        let ran = run(&["-o", &parquet, "-o", &arrow, "--resume", &list]);
        ran.check_code(0);
        assert!(ran.stderr.contains("nothing to do"), "{}", ran.stderr);
        run(&["-s", "--overwrite", "-o", &parquet, &server.url("/row/1")]).check_code(0);
        assert_eq!(rows(&parquet).len(), 1);
    }
}

#[test]
fn a_table_without_rows_is_a_table() {
    let directory = Directory::new();
    let (path, empty) = (directory.path("r.parquet"), directory.write("urls.txt", ""));
    run(&["-s", "-o", &path, &format!("@{empty}")]).check_code(0);
    assert!(rows(&path).is_empty());
}

#[test]
fn a_killed_run_is_resumed_from_the_spool() {
    const ROWS: u64 = 600;
    let server = Server::start();
    let mut resumed = 0;
    for after in [1, 40, 200, 400] {
        let directory = Directory::new();
        let list = list(&server, &directory, ROWS, |row| format!("/row/{row}?delay_ms=2"));
        let path = directory.path("r.parquet");
        let words = ["-s", "-j", "8", "--durability", "each", "-o", &path, &list];
        killed_after(&words, &server, after);
        if directory.names().contains(&"r.parquet.run".to_owned()) {
            // What a kill leaves while the table is built.
            directory.write(".r.parquet.building", "half a table");
            resumed += 1;
        }
        run(&[&words[..], &["--resume"]].concat()).check_code(0);
        assert!(rows(&path).into_iter().eq((0..ROWS).map(|row| (row, true))));
        assert_eq!(directory.names(), ["r.parquet", "urls.txt"]);
    }
    assert!(resumed > 0, "no run was killed before its end");
}

/// However often it is killed, also while the table is behind its spool.
#[test]
fn a_run_that_is_killed_again_and_again_gives_the_table_of_all_rows() {
    const ROWS: u64 = 6_000;
    let kills = std::env::var("OVERLAPPED_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let server = Server::start();
    for (name, state) in [("r.parquet", "r.parquet.run"), ("r.arrow", "r.arrow.run")] {
        let directory = Directory::new();
        let list = list(&server, &directory, ROWS, |row| format!("/row/{row}?delay_ms=1"));
        let path = directory.path(name);
        let words = ["-s", "-j", "16", "--resume", "-o", &path, &list];
        let (seen, mut killed) = (server.count("/row/"), 0);
        for kill in 1..=kills {
            let mut child = command(&words).stderr(Stdio::null()).spawn().unwrap();
            // The requests of groups that were lost are sent once more, so this many come however often it is killed.
            let sent = seen + ROWS * kill / (kills + 1);
            server.wait_for_requests(sent, Duration::from_secs(10));
            child.kill().unwrap();
            child.wait().unwrap();
            killed += u64::from(directory.names().contains(&state.to_owned()));
            assert!(
                !directory.names().contains(&name.to_owned()) || killed < kill,
                "half a table has the name"
            );
        }
        run(&words).check_code(0);
        let mut names = vec![name, "urls.txt"];
        names.sort_unstable();
        assert_eq!(directory.names(), names);
        assert!(killed > 0, "no run was killed before its end");
        if name.ends_with(".parquet") {
            assert!(rows(&path).into_iter().eq((0..ROWS).map(|row| (row, true))));
        } else {
            let back = directory.path("back.parquet");
            run(&["-s", "-o", &back, "--input-format=arrow", &format!("@{path}")]).check_code(0);
            assert!(rows(&back).into_keys().eq(0..ROWS));
        }
    }
}

/// A row that failed is fetched again, and its record replaced; the spool is there as long as the state.
#[test]
fn a_failed_row_is_replaced() {
    let server = Server::start();
    let directory = Directory::new();
    let page = |row| if row % 10 == 3 { format!("/status/500?row={row}") } else { format!("/row/{row}") };
    let list_path = list(&server, &directory, 100, page);
    let path = directory.path("r.parquet");
    let words = ["-s", "--retry", "0", "--max-host-errors", "0", "-o", &path, &list_path];
    run(&words).check_code(1);
    let expected = (0..100).map(|row| (row, row % 10 != 3));
    assert!(rows(&path).into_iter().eq(expected.clone()));
    assert!(directory.names().contains(&"r.parquet.part".to_owned()));
    run(&[&words[..], &["--retry-failed"]].concat()).check_code(1);
    assert!(rows(&path).into_iter().eq(expected));
    let asked = server.count("/status/500");
    assert_eq!(asked, 20, "each failed row twice");
}

/// A table gets its name at the end, so what somebody else has put there would be replaced.
#[test]
fn what_is_not_of_the_run_is_not_replaced() {
    let server = Server::start();
    for name in ["r.parquet", "r.arrow", "r.har"] {
        let directory = Directory::new();
        let page =
            |row| if row == 3 { format!("/status/500?row={row}") } else { format!("/row/{row}?delay_ms=2") };
        let list_path = list(&server, &directory, 300, page);
        let path = directory.path(name);
        let words = ["-s", "-j", "8", "--retry", "0", "--durability", "each", "-o", &path, &list_path];
        let again = |more: &str| run(&[&words[..], &[more]].concat());
        killed_after(&words, &server, 100);
        // Of a run that was killed, and of one that is complete.
        for more in ["--resume", "--retry-failed"] {
            let place = std::path::Path::new(&path);
            let own = std::fs::read(place).ok();
            assert_eq!(own.is_some(), more == "--retry-failed", "{name}: half a table has the name");
            let check = |what: &str| again(more).check_refused(4, &format!("{name}: {what}"));
            directory.write(name, "somebody else's\n");
            check("it");
            assert_eq!(directory.read(name), "somebody else's\n");
            std::fs::remove_file(place).unwrap();
            if name != "r.har" || own.is_none() {
                std::os::unix::fs::symlink("elsewhere", place).unwrap();
                check("it is not what this run has written: move it away");
                std::fs::remove_file(place).unwrap();
            }
            if let Some(own) = own {
                std::fs::write(place, own).unwrap();
            }
            again(more).check_code(1);
        }
        assert!(directory.names().contains(&name.to_owned()), "{name}");
    }
}

#[test]
fn a_spool_that_was_changed_is_refused() {
    let server = Server::start();
    let directory = Directory::new();
    let list = list(&server, &directory, 20, |row| {
        format!("/status/{}?row={row}", if row == 7 { 404 } else { 200 })
    });
    let path = directory.path("r.parquet");
    run(&["-s", "-o", &path, &list]).check_code(1);
    let spool = directory.path("r.parquet.part");
    let mut bytes = fs::read(&spool).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&spool, bytes).unwrap();
    run(&["-s", "-o", &path, "--retry-failed", &list]).check_refused(4, "r.parquet.part");
}

#[test]
fn what_is_no_place_for_a_table_is_refused_before_the_run() {
    let server = Server::start();
    let directory = Directory::new();
    fs::create_dir(directory.path("r.parquet")).unwrap();
    run(&["-s", "-o", &directory.path("r.parquet"), &server.url("/row/1")]).check_refused(2, "r.parquet");
    directory.write("s.parquet.part", "of another program");
    run(&["-s", "-o", &directory.path("s.parquet"), &server.url("/row/1")])
        .check_refused(2, "s.parquet.part");
    assert_eq!(directory.read("s.parquet.part"), "of another program");
    assert_eq!(server.count("/row/"), 0);
}
