//! The documents name files that exist.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

const DOCUMENTS: [&str; 5] =
    ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "SECURITY.md", "benches/README.md"];

/// The folders that a path may be relative to: a document names a file by what its paragraph is about.
const FOLDERS: [&str; 13] = [
    "",
    "benches",
    "crates",
    "crates/cli/src",
    "crates/cli/tests",
    "crates/executor",
    "crates/executor/src",
    "crates/fetch",
    "crates/fetch/src",
    "crates/fetch/src/sink",
    "crates/proto",
    "crates/proto/src",
    "crates/proto/src/schedule",
];

#[test]
fn every_file_that_a_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut checked = 0;
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        for path in named(&text) {
            let exists = FOLDERS.iter().any(|folder| is_there(&root.join(folder), &path));
            assert!(exists, "{document} names {path}, which does not exist");
            checked += 1;
        }
    }
    assert!(checked > 80, "only {checked} paths were found: the check itself is broken");
}

#[test]
fn paths_are_found_in_spans_and_diagrams() {
    let text = "The `proto/src/limits.rs` of `a/b c`, `x.rs`.\n```\n  │ engine/feed   reads\nnet/connect, tls  (x/y)\n```\n`DIR/` `h2`";
    assert_eq!(named(text), ["proto/src/limits.rs", "x.rs", "engine/feed", "net/connect"]);
}

/// The files that a document names: by a code span that ends in `.rs`, and at the beginning of the lines of a diagram.
fn named(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (i, part) in text.split("```").enumerate() {
        if i % 2 == 0 {
            let spans = part.split('`').skip(1).step_by(2);
            paths.extend(
                spans
                    .filter(|span| span.ends_with(".rs") && !span.contains([' ', '*', '{']))
                    .map(str::to_owned),
            );
        } else {
            let starts = part.lines().filter_map(|line| {
                line.split_whitespace().find(|word| word.starts_with(char::is_alphanumeric))
            });
            let starts = starts.map(|word| word.trim_end_matches([',', '*', '/']));
            let is_path = |word: &&str| {
                word.contains('/')
                    && word.chars().all(|c| c.is_ascii_lowercase() || "/_0123456789".contains(c))
            };
            paths.extend(starts.filter(is_path).map(str::to_owned));
        }
    }
    paths
}

/// True if there is such a file, module or folder. The first folder of a path may be a crate.
fn is_there(folder: &Path, path: &str) -> bool {
    let inside = path.split_once('/').map(|(name, rest)| format!("{name}/src/{rest}"));
    let names = std::iter::once(path.to_owned()).chain(inside);
    names.into_iter().any(|name| {
        let path = folder.join(&name);
        path.exists() || folder.join(format!("{name}.rs")).exists()
    })
}
