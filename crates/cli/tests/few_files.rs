//! A run with a file a row and hardly any file descriptors ends with every row.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::process::{Command, Output};

use overlapped_testkit::{Server, text_of};
use program::Directory;

/// Runs the program with a limit of open files.
fn run_with_descriptors(descriptors: u32, words: &[&str]) -> Output {
    Command::new("sh")
        .args(["-c", "ulimit -n \"$1\"; shift; exec \"$@\"", "sh", &descriptors.to_string()])
        .arg(env!("CARGO_BIN_EXE_overlapped"))
        .args(words)
        .output()
        .unwrap()
}

/// The run failed after it had made its outputs, without a record or a number, or a thread panicked.
#[test]
fn too_few_descriptors_are_refused_before_anything_is_written() {
    let server = Server::builder().hosts(4).start();
    let url = |row: usize| server.url_on(row % 4, &format!("/text/{}?n={row}\n", [50, 300_000][row % 2]));
    let urls: String = (0..40).map(url).collect();
    for (outputs, more) in [
        (&["out.ndjson"][..], &[][..]),
        (&["pages/"], &[]),
        (&["pages/", "out.ndjson", "out.csv"], &["--ordered"]),
        (&["out.ndjson"], &["-X", "POST"]),
    ] {
        let directory = Directory::new();
        let list = format!("@{}", directory.write("urls.txt", &urls));
        let paths: Vec<_> = outputs.iter().map(|output| directory.path(output)).collect();
        let words: Vec<_> = ["-s", list.as_str()]
            .into_iter()
            .chain(more.iter().copied())
            .chain(paths.iter().flat_map(|path| ["-o", path.as_str()]))
            .collect();
        let refused = |descriptors: u32| {
            let ran = run_with_descriptors(descriptors, &words);
            let told = String::from_utf8(ran.stderr).unwrap();
            assert_eq!((ran.status.code(), directory.names().len()), (Some(3), 1), "{descriptors}: {told}");
            let (_, number) = told.split_once("this run needs ").unwrap_or_else(|| panic!("{told}"));
            number.split_once(" open files").unwrap().0.parse::<u32>().unwrap()
        };
        let needed = refused(12);
        for descriptors in [16, 20, needed - 1] {
            assert_eq!(refused(descriptors), needed);
        }
        let ran = run_with_descriptors(needed, &words);
        assert!(ran.status.success(), "{needed}: {ran:?}");
        let is_state = |name: &String| name.ends_with(".run");
        let names: Vec<_> = directory.names().into_iter().filter(|name| !is_state(name)).collect();
        assert_eq!(names.len(), 1 + outputs.len(), "{needed}: {names:?}");
    }
}

/// Connections took the last descriptors, and the run ended because it could not open a file of its own.
#[test]
fn large_bodies_to_files_with_few_descriptors() {
    const ROWS: u64 = 80;
    const BYTES: usize = 300_000;
    let server = Server::builder().hosts(8).start();
    let target = |row: u64| format!("/text/{BYTES}?n={row}");
    for descriptors in [32, 48] {
        let directory = Directory::new();
        let url = |row: u64| server.url_on(usize::try_from(row).unwrap(), &format!("{}\n", target(row)));
        let list = format!("@{}", directory.write("urls.txt", (0..ROWS).map(url).collect::<String>()));
        let pages = directory.path("pages/");
        let words = ["-s", "-j", "200", "--name", "a/{row}/body", "-o", &pages, &list];
        let ran = run_with_descriptors(descriptors, &words);
        assert!(ran.status.success(), "{descriptors}: {ran:?}");
        for row in 0..ROWS {
            let body = fs::read(directory.path(&format!("pages/a/{row}/body"))).unwrap();
            assert!(body == text_of(&target(row), BYTES), "{descriptors}: row {row}");
        }
        let names = fs::read_dir(directory.path("pages")).unwrap().count();
        assert_eq!(names, 1, "{descriptors}: a temporary file is left");
    }
}
