//! What is left behind when the program is killed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use overlapped_testkit::{Server, row_of};
use program::{Directory, command};

/// However far a run gets, a file that has its name is whole.
#[test]
fn a_killed_run_leaves_no_half_file_under_a_final_name() {
    const ROWS: u64 = 400;
    let server = Server::start();
    let mut whole = 0;
    for after in [1, 20, 60, 150, 300] {
        let directory = Directory::new();
        // Bodies that come in two halves, with a pause between them.
        let list: String =
            (0..ROWS).map(|row| server.url(&format!("/row/{row}?deliver=split-9&gap_ms=3\n"))).collect();
        let list = directory.write("urls.txt", list);
        let seen = server.count("/row/");
        let mut child = command(&[
            "-s",
            "-j",
            "8",
            // Files get their names when they are on the disk: with each result, not with each second.
            "--durability",
            "each",
            "--name",
            "{row}",
            "-o",
            &directory.path("out/"),
            &format!("@{list}"),
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        assert!(server.wait_for_requests(seen + after, Duration::from_secs(60)));
        child.kill().unwrap();
        child.wait().unwrap();
        let Ok(files) = std::fs::read_dir(Path::new(&directory.path("out"))) else { continue };
        for file in files.map(|file| file.unwrap().path()) {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            if name.ends_with(".part") {
                continue;
            }
            assert_eq!(std::fs::read(&file).unwrap(), row_of(name.parse().unwrap()), "{}", file.display());
            whole += 1;
        }
    }
    assert!(whole > 0, "no run got as far as a file");
}
