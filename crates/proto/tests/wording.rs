//! Every flag that a message of the library names is in the table of `wording`, so that no other reader meets it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use overlapped_proto::wording::flags;

/// Flags of other programs.
const FOREIGN: [&str; 3] = ["--csv", "--ifs", "--ofs"];

#[test]
fn the_table_has_every_flag_of_a_message() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for path in [here.join("src"), here.join("../fetch/src")].iter().flat_map(|folder| files(folder)) {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for flag in lines.flat_map(named).filter(|flag| !FOREIGN.contains(flag)) {
            assert!(flags().any(|known| known == flag), "{}: {flag} is not in the table", path.display());
            found += 1;
        }
    }
    assert!(found > 50, "only {found} flags were found: the check itself is broken");
}

/// The long flags that a line has.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(|word| {
        word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
    })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
