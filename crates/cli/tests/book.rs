//! The documents hang together: links and anchors lead somewhere, the book has every page, and the page about the summary is that
//! of the program.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use overlapped_testkit::Server;
use program::{Directory, run, run_with};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The pages below a directory.
fn pages(directory: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(self::pages(&path));
        } else if path.extension().is_some_and(|suffix| suffix == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    pages
}

/// The lines of a page that are text: not in a block of code.
fn prose(page: &str) -> String {
    let mut is_code = false;
    let is_text = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    };
    page.lines().filter(is_text).flat_map(|line| [line, "\n"]).collect()
}

/// The text without what is in backquotes.
fn without_code(text: &str) -> String {
    text.split('`').step_by(2).collect()
}

/// The targets of links and pictures.
fn links(page: &str) -> Vec<String> {
    let text = without_code(&prose(page));
    let target = |at: usize| text[at + 2..].split(')').next().map(str::to_owned);
    text.match_indices("](").filter_map(|(at, _)| target(at)).collect()
}

/// The anchors of headings, as GitHub and mdBook make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page);
    let headings = headings
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    let (mut anchors, mut met) = (BTreeSet::new(), BTreeMap::<String, u32>::new());
    for heading in headings {
        let kept = heading.trim().to_lowercase();
        let name: String = kept
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            })
            .collect();
        let count = met.entry(name.clone()).or_default();
        anchors.insert(if *count == 0 { name } else { format!("{name}-{count}") });
        *count += 1;
    }
    anchors
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{}", path.display()),
            Component::CurDir => {}
            part @ (Component::Prefix(_) | Component::RootDir | Component::Normal(_)) => plain.push(part),
        }
    }
    plain
}

#[test]
fn every_link_leads_to_a_page_and_a_heading() {
    let (root, docs) = (root(), root().join("docs"));
    let names = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "benches/README.md",
    ];
    let mut documents: Vec<_> = names.iter().map(|name| root.join(name)).collect();
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        documents.push(entry.unwrap().path().join("README.md"));
    }
    documents.extend(pages(&docs));
    let mut checked = 0;
    for document in documents.iter().filter(|document| document.exists()) {
        let page = fs::read_to_string(document).unwrap();
        for link in links(&page).iter().filter(|link| !link.starts_with("https://")) {
            let told = format!("{}: {link}", document.display());
            assert!(!link.starts_with("http://") && !link.starts_with('/'), "{told}");
            let (path, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(path, anchor)| (path, Some(anchor)));
            let target = match path {
                "" => document.clone(),
                path => plain(&document.parent().unwrap().join(path)),
            };
            assert!(target.exists(), "{told} leads nowhere");
            if document.starts_with(&docs) {
                assert!(target.starts_with(&docs), "{told} leads out of the book: name the file instead");
            }
            if let Some(anchor) = anchor {
                let headings = anchors(&fs::read_to_string(&target).unwrap());
                assert!(
                    headings.contains(anchor),
                    "{told}: there is no such heading; there are {headings:?}"
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 80, "only {checked} links were found");
}

#[test]
fn the_book_has_every_page_once() {
    let docs = root().join("docs");
    let listed = links(&fs::read_to_string(docs.join("SUMMARY.md")).unwrap());
    let once: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "a page is listed twice");
    let relative = |page: PathBuf| page.strip_prefix(&docs).unwrap().to_str().unwrap().to_owned();
    let there: BTreeSet<_> =
        pages(&docs).into_iter().map(relative).filter(|page| page != "SUMMARY.md").collect();
    assert_eq!(once, there, "docs/SUMMARY.md lists the pages of docs/");
}

/// Each page begins with its name, and the book calls it so or in short.
#[test]
fn every_page_has_a_title() {
    for page in pages(&root().join("docs")) {
        let text = fs::read_to_string(&page).unwrap();
        let titles = prose(&text).lines().filter(|line| line.starts_with("# ")).count();
        let is_list = page.ends_with("SUMMARY.md");
        assert!(text.starts_with("# ") && (titles == 1 || is_list), "{}", page.display());
    }
}

/// Whether a value is of a type as the reference writes it.
fn is_of(value: &Value, kind: &str) -> bool {
    let numbers = |names: &[&str]| {
        let members = value.as_object().unwrap();
        members.keys().map(String::as_str).collect::<BTreeSet<_>>() == names.iter().copied().collect()
            && members.values().all(|value| value.is_number() || value.is_null())
    };
    match kind {
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "true or false" => value.is_boolean(),
        "text?" => value.is_string() || value.is_null(),
        "object" => value.is_object(),
        "list" => value.is_array(),
        "percentiles" => value.is_object() && numbers(&["p50", "p90", "p99", "max"]),
        other => panic!("`{other}` is no type"),
    }
}

/// The rows of the first table of a page that has these words in its head.
fn table(page: &str, head: &str) -> Vec<Vec<String>> {
    let rows = page.split_once(head).unwrap().1.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`']).to_owned()).collect())
        .collect()
}

#[test]
fn the_reference_of_the_summary_is_what_is_written() {
    let page = fs::read_to_string(root().join("docs/reference/summary.md")).unwrap();
    let (server, directory) = (Server::start(), Directory::new());
    let urls = ["/row/1", "/row/2", "/redirect/1", "/status/404", "/retry-after/0?times=1"]
        .map(|path| server.url(path));
    let list = urls.join("\n") + "\nno url\nhttp://127.0.0.1:1/\n";
    let path = directory.path("summary.json");
    let fetch = |words: &[&str], input: &str| {
        let fixed = ["-s", "--max-host-errors", "0", "--retry", "1", "-o", "-", "--summary", &path];
        run_with(&[&fixed[..], words, &["-"]].concat(), input.as_bytes());
        serde_json::from_str::<Value>(&directory.read("summary.json")).unwrap()
    };
    let rows = table(&page, "| member | type | meaning |");
    for summary in
        [fetch(&["--insecure-host", "a.test"], &list), fetch(&["--max-errors", "1"], &list), fetch(&[], "")]
    {
        let members: Vec<_> = summary.as_object().unwrap().keys().collect();
        assert_eq!(members, rows.iter().map(|row| &row[0]).collect::<Vec<_>>());
        for row in &rows {
            assert!(is_of(&summary[&row[0]], &row[1]), "{} is no {}: {}", row[0], row[1], summary[&row[0]]);
        }
        // The classes and the members of a list are told in the row of each.
        for class in summary["failed_by_class"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{class}`")), "{class}");
        }
        for name in ["bad_rows", "slowest_hosts", "failing_hosts"] {
            let told = rows.iter().find(|row| row[0] == name).unwrap()[2].clone();
            for member in
                summary[name].as_array().unwrap().iter().flat_map(|item| item.as_object().unwrap().keys())
            {
                assert!(told.contains(&format!("\"{member}\": ")), "{name}: {member}");
            }
        }
    }
    assert_eq!(fetch(&["--insecure-host", "a.test"], "")["insecure_unmet"], serde_json::json!(["a.test"]));
}

#[test]
fn the_reference_of_the_figures_of_a_list_is_what_is_written() {
    let page = fs::read_to_string(root().join("docs/reference/summary.md")).unwrap();
    let directory = Directory::new();
    let list = format!("@{}", directory.write("urls.txt", "http://127.0.0.1:9/\nno url\n"));
    let path = directory.path("summary.json");
    let rows = table(&page, "| member of a dry run | type | meaning |");
    for rate in [&["--rate-host", "1/s"][..], &[]] {
        let words = [&["-s", "--dry-run", "--summary", &path, &list], rate].concat();
        run(&words).check_code(1);
        let summary: Value = serde_json::from_str(&directory.read("summary.json")).unwrap();
        let members: Vec<_> = summary.as_object().unwrap().keys().collect();
        assert_eq!(members, rows.iter().map(|row| &row[0]).collect::<Vec<_>>());
        for row in &rows {
            let value = &summary[&row[0]];
            let (kind, is_optional) = row[1].strip_suffix('?').map_or((&*row[1], false), |kind| (kind, true));
            assert!(is_optional && value.is_null() || is_of(value, kind), "{} is no {kind}: {value}", row[0]);
        }
    }
}
