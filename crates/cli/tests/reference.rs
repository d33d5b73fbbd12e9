//! The guide and the program name the same flags.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::collections::BTreeSet;

use program::run;

const GUIDE: &str = include_str!("../../../docs/guide/command-line.md");

/// The long flags that a text names.
fn flags(text: &str) -> BTreeSet<&str> {
    text.match_indices("--")
        .filter(|(at, _)| !text[..*at].ends_with('-'))
        .map(|(at, _)| {
            let rest = &text[at..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.'));
            rest[..end.unwrap_or(rest.len())].trim_end_matches('.')
        })
        .filter(|flag| flag.len() > 3 && flag.as_bytes()[2].is_ascii_lowercase())
        .collect()
}

/// The part of the guide under a heading of the second level.
fn section(title: &str) -> &'static str {
    let start = GUIDE.find(&format!("\n## {title}\n")).unwrap();
    let rest = &GUIDE[start + 4..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

/// The flags that the rows of a section's tables explain.
fn explained(title: &str) -> BTreeSet<&'static str> {
    let rows = section(title).lines().filter(|line| line.starts_with("| `-"));
    rows.filter_map(|row| row.split('|').nth(1)).flat_map(flags).collect()
}

#[test]
fn every_flag_of_the_program_is_explained() {
    for command in ["fetch", "compare", "waterfall"] {
        let help = run(&[command, "--help"]).stdout;
        let explained = explained(command);
        for flag in flags(&help).into_iter().filter(|flag| *flag != "--help") {
            assert!(explained.contains(flag), "{command} {flag} is not in the guide");
        }
    }
}

#[test]
fn every_flag_of_the_guide_is_known() {
    for command in ["fetch", "compare", "waterfall"] {
        for flag in explained(command).into_iter().filter(|flag| *flag != "--help") {
            let said = run(&[command, flag]).stderr;
            assert!(!said.contains("unexpected argument"), "{command} {flag}: {said}");
            assert!(!said.contains("not built yet"), "{command} {flag}: {said}");
        }
    }
}

#[test]
fn what_the_guide_calls_missing_is_refused_by_name() {
    let missing = flags(section("Not built yet"));
    assert!(missing.len() > 20, "{missing:?}");
    for flag in missing.into_iter().filter(|flag| !matches!(*flag, "--insecure" | "--insecure-host")) {
        run(&["fetch", flag, "http://127.0.0.1:9/"]).check_refused(2, &format!("{flag} is not built yet"));
    }
    run(&["shard"]).check_refused(2, "shard is not built yet");
}

#[test]
fn completions_and_manual_pages_know_the_flags() {
    let completions = run(&["completions", "bash"]);
    assert!(completions.stdout.contains("--parallel-max-host"), "{completions:?}");
    let page = run(&["man", "fetch"]);
    assert!(page.stdout.contains("parallel\\-max\\-host"), "{page:?}");
    assert!(run(&["man"]).stdout.contains(".TH overlapped 1"));
    run(&["man", "nothing"]).check_refused(2, "there is no command `nothing`");
}
