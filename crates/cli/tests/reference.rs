//! The documents name the flags, defaults and limits of the program.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use program::{Directory, run};

const GUIDE: &str = include_str!("../../../docs/guide/command-line.md");
const ARCHITECTURE: &str = include_str!("../../../ARCHITECTURE.md");

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
    for command in ["fetch", "compare", "waterfall", "report", "shard", "verify"] {
        let help = run(&[command, "--help"]).stdout;
        let explained = explained(command);
        for flag in flags(&help).into_iter().filter(|flag| *flag != "--help") {
            assert!(explained.contains(flag), "{command} {flag} is not in the guide");
        }
    }
}

#[test]
fn every_flag_of_the_guide_is_known() {
    for command in ["fetch", "compare", "waterfall", "report", "shard", "verify"] {
        for flag in explained(command).into_iter().filter(|flag| *flag != "--help") {
            let said = run(&[command, flag]).stderr;
            assert!(!said.contains("is no flag"), "{command} {flag}: {said}");
        }
    }
}

/// The defaults that the help of a command states, by flag.
fn defaults(help: &str) -> BTreeMap<String, String> {
    let mut entries: Vec<String> = Vec::new();
    for line in help.lines().map(str::trim) {
        match entries.last_mut() {
            Some(entry) if !line.is_empty() && !line.starts_with('-') => *entry += &format!(" {line}"),
            Some(_) | None => entries.push(line.to_owned()),
        }
    }
    let default = |entry: &String| {
        let (_, rest) = entry.split_once("[default: ")?;
        let flag = entry.split_whitespace().find_map(|word| flags(word).pop_first())?;
        Some((flag.to_owned(), rest.split_once(']')?.0.to_owned()))
    };
    entries.iter().filter_map(default).collect()
}

#[test]
fn the_defaults_of_the_guide_are_those_of_the_program() {
    let mut checked = 0;
    for command in ["fetch", "compare", "waterfall", "report", "shard", "verify"] {
        let rows: Vec<Vec<&str>> = section(command)
            .lines()
            .filter(|line| line.starts_with("| `-"))
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        for (flag, default) in defaults(&run(&[command, "--help"]).stdout) {
            let row = rows.iter().find(|row| flags(row[1]).contains(flag.as_str()));
            let told = row.unwrap_or_else(|| panic!("{command} {flag} is not in the guide"))[2];
            assert_eq!(told.replace('`', ""), default, "the default of {command} {flag}");
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} defaults were found");
}

/// A number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let comma = |at: usize| if at > 0 && (digits.len() - at).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(at, digit)| format!("{}{digit}", comma(at))).collect()
}

#[test]
fn the_numbers_of_the_documents_are_those_of_the_limits() {
    use overlapped_proto::limits::*;
    let (kib, mib, gib) = (|bytes: u64| bytes >> 10, |bytes: u64| bytes >> 20, |bytes: u64| bytes >> 30);
    let rows = |rows: usize| grouped(rows as u64);
    let guide = [
        format!("up to {} idle connections are kept", rows(IDLE_MAX)),
        format!("a host sends up to {WARM_STARTS_MAX} rows in its turn"),
        format!("at first {}, more only while", rows(WINDOW_ROWS_FIRST)),
        format!("up to {} rows behind it are fetched", rows(REORDER_ROWS)),
        format!("the first {} KiB are read", kib(ROBOTS_BYTES_MAX as u64)),
        format!("Bodies over {} MiB are always spilled", mib(BODY_HELD_BYTES_MAX as u64)),
        format!("but for those below {} KiB", kib(MEMORY_COUNTED_BYTES as u64)),
        format!("for each group of more than {SYNCED_FILES_MAX} files"),
        format!("a further one is opened, at most {H2_CONNECTIONS_ORIGIN_MAX}"),
        format!("what was in flight had {} s to end", DRAIN_GRACE.0 / 1_000_000_000),
        format!("no larger than {} MiB of journal", mib(JOURNAL_BYTES)),
        format!("the state of the run (at most {} GiB)", gib(WAITING_BYTES_MAX)),
        format!("the bad ones with their lines (the first {BAD_ROWS_TOLD})"),
        format!("and the {LARGEST_HOSTS_TOLD} largest"),
    ];
    let input = [
        format!("a row of more than {} KiB", kib(INPUT_ROW_BYTES_MAX as u64)),
        format!("of more than {} cells", rows(INPUT_COLUMNS_MAX)),
        format!("A zstd window may have {} MiB", mib(1 << LIST_ZSTD_WINDOW_LOG_MAX)),
        format!("cut at {} KiB", kib(GIVEN_BYTES_MAX as u64)),
    ];
    let architecture = [
        format!("The window begins with {} rows", rows(WINDOW_ROWS_FIRST)),
        format!("all but {WINDOW_ROWS_HOST} of each host"),
        format!("fewer than {} are in memory", WINDOW_ROWS_HOST / 2),
        format!("grows up to {} rows", rows(REORDER_ROWS)),
        format!("At most {STARTS_A_TURN} requests start in a turn"),
        format!("one of the last {FILES_LAST} is closed"),
        format!("one of the last {FILES_LAST_SINKS} goes"),
        format!("hold {} MiB, or a run is resumed", mib(JOURNAL_BYTES)),
        format!("the {} results and the {} MiB", grouped(2 * COMMIT_RESULTS), mib(2 * COMMIT_BYTES)),
    ];
    let pages = [(GUIDE, &guide[..]), (DOCUMENTS[4].1, &input[..]), (ARCHITECTURE, &architecture[..])];
    for (page, phrases) in pages {
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        for phrase in phrases {
            assert!(page.contains(phrase.as_str()), "no document says {phrase:?}");
        }
    }
}

#[test]
fn what_the_guide_calls_left_out_is_refused_with_its_reason() {
    let left_out = flags(section("Left out"));
    assert_eq!(left_out.len(), 3, "{left_out:?}");
    for flag in left_out.into_iter().filter(|flag| *flag != "--insecure-host") {
        let ran = run(&["fetch", flag, "http://127.0.0.1:9/"]);
        ran.check_refused(2, flag);
        assert!(!ran.stderr.contains("is no flag"), "{ran:?}");
    }
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

/// What bash offers for the last word of a line, of which it has made these words.
fn offered(directory: &Directory, words: &[&str], cur: &str) -> Vec<String> {
    let script = directory.write("completions.bash", run(&["completions", "bash"]).stdout);
    let ask = format!(
        "source '{script}'; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
         _overlapped overlapped '{cur}' \"${{COMP_WORDS[COMP_CWORD-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash")
        .args(["-c", &ask, "bash", "overlapped"])
        .args(words)
        .current_dir(directory.path(""))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_without_the_word_fetch_and_files_behind_an_at_sign() {
    let directory = Directory::new();
    directory.write("urls.txt", "");
    directory.write("my urls.csv", "");
    std::fs::create_dir(directory.path("lists")).unwrap();
    let check = |words: &[&str], cur: &str, expected: &[&str]| {
        assert_eq!(offered(&directory, words, cur), expected, "{words:?}");
    };
    check(&["--retry-f"], "--retry-f", &["--retry-failed"]);
    check(&["-j", "5", "--retry-f"], "--retry-f", &["--retry-failed"]);
    check(&["@", "urls.txt", "--retry-f"], "--retry-f", &["--retry-failed"]);
    check(&["https", ":", "//a/", "--retry-f"], "--retry-f", &["--retry-failed"]);
    check(&["--durability", "gr"], "gr", &["group"]);
    check(&["fetch", "--retry-f"], "--retry-f", &["--retry-failed"]);
    check(&["compare", "--wor"], "--wor", &["--workers"]);
    check(&["comp"], "comp", &["compare", "completions"]);
    check(&["--paral"], "--paral", &["--parallel-max", "--parallel-max-host"]);
    check(&["--loc"], "--loc", &[""]);
    check(&["compare", "--ar"], "--ar", &[""]);
    check(&["@", "ur"], "@ur", &["@urls.txt "]);
    check(&["@ur"], "@ur", &["@urls.txt "]);
    check(&["-o", "a.csv", "@", "my"], "@my", &["@my\\ urls.csv "]);
    check(&["@", "li"], "@li", &["@lists/"]);
}

#[test]
fn no_completion_offers_a_hidden_flag() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).stdout;
        let words: BTreeSet<&str> =
            script.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).collect();
        let has = |flag: &str| words.contains(flag) || words.contains(flag.trim_start_matches('-'));
        assert!(has("--parallel-max") && has("--no-location") && has("--retry-failed"), "{shell}");
        for flag in ["--parallel", "--location", "--show-error", "--compressed", "--arm"] {
            let is_there =
                words.contains(flag) || script.contains(&format!("-l {} ", flag.trim_start_matches('-')));
            assert!(!is_there, "{shell}: {flag}");
        }
    }
}

#[test]
fn examples_of_the_manual_page_keep_their_lines() {
    for words in [&["man"][..], &["man", "fetch"]] {
        let page = run(words).stdout;
        let (_, examples) = page.split_once(".SH EXAMPLES\n.nf\n").unwrap();
        let (examples, _) = examples.split_once("\n.fi\n").unwrap();
        assert!(examples.lines().count() >= 5, "{examples}");
        assert!(examples.lines().all(|line| line.starts_with("overlapped ")), "{examples}");
    }
}

/// The documentation, as far as it tells of the command line.
const DOCUMENTS: [(&str, &str); 6] = [
    ("README.md", include_str!("../../../README.md")),
    ("crates/cli/README.md", include_str!("../README.md")),
    ("docs/guide/command-line.md", GUIDE),
    ("docs/reference/errors.md", include_str!("../../../docs/reference/errors.md")),
    ("docs/reference/input.md", include_str!("../../../docs/reference/input.md")),
    ("docs/reference/records.md", include_str!("../../../docs/reference/records.md")),
];

/// Flags of cargo that the documentation names.
const OTHERS: [&str; 4] = ["--release", "--locked", "--path", "--example"];

#[test]
fn every_flag_that_the_documentation_names_is_one_of_the_program() {
    let commands =
        ["fetch", "compare", "waterfall", "report", "shard", "verify", "journal", "completions", "man"];
    let help: Vec<String> = commands.iter().map(|command| run(&[command, "--help"]).stdout).collect();
    let mut known: BTreeSet<&str> = help.iter().flat_map(|help| flags(help)).collect();
    // Accepted for curl's sake, and not shown.
    let accepted = ["--parallel", "--location", "--show-error", "--compressed"];
    for flag in accepted {
        assert!(!run(&[flag, "@"]).stderr.contains("no flag"), "{flag}");
    }
    known.extend(accepted.iter().chain(&OTHERS).chain(&["--version"]));
    let missing = flags(section("Left out"));
    for (name, text) in DOCUMENTS {
        for flag in flags(text).difference(&missing) {
            assert!(known.contains(flag), "{name} names {flag}, which the program does not have");
        }
    }
}
