//! The rule that gives every crate its reading order: a list of modules runs from the outside in, and a module imports only
//! modules listed below it. See ARCHITECTURE.md.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of one crate: for each module its children, in the order of its list.
type Tree = HashMap<Vec<String>, Vec<String>>;

#[test]
fn modules_import_only_modules_listed_below_them() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut checked = 0;
    for entry in fs::read_dir(crates).unwrap() {
        let source = entry.unwrap().path().join("src");
        for root in ["lib.rs", "main.rs"].map(|name| source.join(name)).iter().filter(|root| root.exists()) {
            let files = files_of(root, &source);
            let tree: Tree = files.iter().map(|(module, _, text)| (module.clone(), children(text))).collect();
            for (module, path, text) in &files {
                for target in references(text, module) {
                    let problem = violation(module, &resolve(&target, &tree), &tree);
                    assert!(problem.is_none(), "{}: {}", path.display(), problem.unwrap_or_default());
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 100, "only {checked} imports were found: the check itself is broken");
}

#[test]
fn a_violation_is_found() {
    let tree: Tree = [(vec![], vec!["top".to_owned(), "low".to_owned()])].into();
    let (top, low) = (vec!["top".to_owned()], vec!["low".to_owned()]);
    assert!(violation(&top, &low, &tree).is_none());
    assert!(violation(&low, &top, &tree).is_some());
    let text = "use crate::{top::{A, b::C}, low};\nuse super::top::D;\n";
    let found: Vec<_> = references(text, &low).into_iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["top::A", "top::b::C", "low", "top::D"]);
}

/// Every file of the crate that `root` is the root of: module path, file, text without its tests.
fn files_of(root: &Path, source: &Path) -> Vec<(Vec<String>, PathBuf, String)> {
    let mut files = Vec::new();
    let mut open = vec![(Vec::new(), root.to_owned())];
    while let Some((module, path)) = open.pop() {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        for child in children(&text) {
            let mut name: Vec<String> = module.clone();
            name.push(child);
            let stem = source.join(name.join("/"));
            let file =
                [stem.with_extension("rs"), stem.join("mod.rs")].into_iter().find(|file| file.exists());
            open.push((name, file.unwrap_or_else(|| panic!("no file for a module of {}", path.display()))));
        }
        files.push((module, path, text));
    }
    files
}

/// The modules that a text lists, in order.
fn children(text: &str) -> Vec<String> {
    let declared = |line: &str| {
        let line = line.trim_start();
        let rest = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
        Some(rest.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    text.lines().filter_map(declared).collect()
}

/// Every path of this crate that a module's text names, from the crate's root.
fn references(text: &str, module: &[String]) -> Vec<Vec<String>> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code.get(..at).unwrap_or_default();
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let base = match start {
                "crate::" => Vec::new(),
                "super::" => module.get(..module.len().saturating_sub(1)).unwrap_or_default().to_vec(),
                _ => module.to_vec(),
            };
            expand(code.get(at + start.len()..).unwrap_or_default(), &base, &mut found);
        }
    }
    found
}

/// Reads `a::{b, c::d}` and the like; returns what follows.
fn expand<'a>(text: &'a str, base: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = base.to_vec();
    let mut rest = text.trim_start();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            rest = group;
            loop {
                rest = expand(rest, &path, found).trim_start();
                match rest.strip_prefix(',') {
                    Some(more) if !more.trim_start().starts_with('}') => rest = more,
                    Some(more) => return more.trim_start().strip_prefix('}').unwrap_or(more),
                    None => return rest.strip_prefix('}').unwrap_or(rest),
                }
            }
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name == "super" {
            path.pop();
        } else if !name.is_empty() {
            path.push(name.to_owned());
        }
        match after.strip_prefix("::") {
            Some(more) if !name.is_empty() => rest = more.trim_start(),
            _ => {
                found.push(path);
                return after;
            }
        }
    }
}

/// The longest beginning of a path that is a module.
fn resolve(path: &[String], tree: &Tree) -> Vec<String> {
    let longest =
        (0..=path.len()).rev().filter_map(|len| path.get(..len)).find(|path| tree.contains_key(*path));
    longest.unwrap_or_default().to_vec()
}

/// What is wrong with `from` importing `to`: the two branch off from a common list, in which `to` must come later.
fn violation(from: &[String], to: &[String], tree: &Tree) -> Option<String> {
    let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let (mine, theirs) = (from.get(shared)?, to.get(shared)?);
    let list = tree.get(from.get(..shared)?)?;
    let place = |name: &String| list.iter().position(|listed| listed == name);
    if place(mine)? < place(theirs)? {
        return None;
    }
    Some(format!("`{}` imports `{}`, which is listed above it", from.join("::"), to.join("::")))
}
