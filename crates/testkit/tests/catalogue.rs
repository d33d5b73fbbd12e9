//! The catalogue of faults names tests that exist.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::Path;

/// The functions of a file that are tests.
fn tests_of(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut names, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let name = line.trim_start_matches("async ").strip_prefix("fn ").filter(|_| is_test);
        if let Some((name, _)) = name.and_then(|rest| rest.split_once('(')) {
            names.push(name.to_owned());
            is_test = false;
        }
    }
    names
}

#[test]
fn every_fault_has_a_test_that_exists() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(crates.join("../docs/reference/catalogue.md")).unwrap();
    let errors = std::fs::read_to_string(crates.join("../docs/reference/errors.md")).unwrap();
    let mut files = HashMap::<&str, Vec<String>>::new();
    let mut rows = 0;
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let cell = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        if cell == "tests" {
            continue;
        }
        let (mut file, mut named) = (None, 0);
        for word in cell.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                file = Some(word);
                continue;
            }
            let file = file.unwrap_or_else(|| panic!("{word} is in no file: {line}"));
            let tests = files.entry(file).or_insert_with(|| tests_of(&crates.join(file)));
            assert!(tests.iter().any(|test| test == word), "{file} has no test {word}");
            named += 1;
        }
        assert!(named > 0, "no test for: {line}");
        let kinds =
            line.split('`').skip(1).step_by(2).filter(|word| word.contains('.') && !word.ends_with(".rs"));
        for kind in kinds {
            assert!(errors.contains(&format!("`{kind}`")), "there is no error {kind}: {line}");
        }
        rows += 1;
    }
    assert!(rows > 80, "only {rows} rows were found: the check itself is broken");
}
