//! A run with a file a row and hardly any file descriptors ends with every row.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::process::Command;

use overlapped_testkit::{Server, text_of};
use program::Directory;

/// Connections took the last descriptors, and the run ended because it could not open a file of its own.
#[test]
fn large_bodies_to_files_with_few_descriptors() {
    const ROWS: u64 = 80;
    const BYTES: usize = 300_000;
    let server = Server::builder().hosts(8).start();
    let target = |row: u64| format!("/text/{BYTES}?n={row}");
    for descriptors in ["32", "48"] {
        let directory = Directory::new();
        let url = |row: u64| server.url_on(usize::try_from(row).unwrap(), &format!("{}\n", target(row)));
        let list = format!("@{}", directory.write("urls.txt", (0..ROWS).map(url).collect::<String>()));
        let ran = Command::new("sh")
            .args(["-c", "ulimit -n \"$1\"; shift; exec \"$@\"", "sh", descriptors])
            .arg(env!("CARGO_BIN_EXE_overlapped"))
            .args(["-s", "-j", "200", "--name", "a/{row}/body", "-o", &directory.path("pages/"), &list])
            .output()
            .unwrap();
        assert!(ran.status.success(), "{descriptors}: {ran:?}");
        for row in 0..ROWS {
            let body = fs::read(directory.path(&format!("pages/a/{row}/body"))).unwrap();
            assert!(body == text_of(&target(row), BYTES), "{descriptors}: row {row}");
        }
        let names = fs::read_dir(directory.path("pages")).unwrap().count();
        assert_eq!(names, 1, "{descriptors}: a temporary file is left");
    }
}
