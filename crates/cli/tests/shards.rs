//! `--shard`: the parts of a list, fetched apart, are the list.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod program;

use overlapped_testkit::Server;
use program::{Directory, run};

#[test]
fn the_parts_together_are_the_list() {
    let server = Server::builder().hosts(8).start();
    let directory = Directory::new();
    let text: String = (0..40).map(|row| format!("{}\n", server.url_on(row % 8, "/ok"))).collect();
    let list = format!("@{}", directory.write("urls.txt", text + "not a url\n"));
    let mut rows = Vec::new();
    for part in ["1/2", "2/2"] {
        let ran = run(&["--shard", part, "-s", "-o", "-", &list]);
        rows.extend(ran.records().iter().map(|record| record["row"].as_u64().unwrap()));
    }
    rows.sort_unstable();
    assert_eq!(rows, (0..41).collect::<Vec<_>>());
    assert_eq!(server.requests(), 40);
}

#[test]
fn a_part_that_is_none_is_refused() {
    for wrong in ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3"] {
        run(&[&format!("--shard={wrong}"), "@urls.txt"]).check_refused(2, "1/4");
    }
}
