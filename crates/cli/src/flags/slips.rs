//! Hints for arguments that are no URL. It checks whether a file exists, and opens none.

use std::path::Path;

use overlapped_proto::sanitize;

use super::unknown;
use crate::shell::quote;

/// The names of the commands.
pub(super) const COMMANDS: [&str; 9] =
    ["fetch", "compare", "waterfall", "report", "shard", "verify", "journal", "completions", "man"];

/// The message for an argument that is no URL; `None` if it may be a URL, possibly without its scheme.
pub(super) fn slip(word: &str) -> Option<String> {
    if word.contains("://") {
        return None;
    }
    let (path, shown) = (Path::new(word), quote(word));
    Some(if word.trim().is_empty() {
        "an argument is empty: give a URL, @FILE or -".to_owned()
    } else if path.is_file() {
        format!("{word} is a file: {} fetches the URLs in it", quote(&format!("@{word}")))
    } else if path.is_dir() {
        let slash = if word.ends_with('/') { "" } else { "/" };
        format!(
            "{word} is a directory: a list is given as @FILE, and -o {shown}{slash} writes a file a row into it"
        )
    } else if COMMANDS.contains(&word) || word == "help" {
        format!("`{word}` is a command, which goes first: overlapped {word}")
    } else if word.starts_with('-') {
        format!(
            "`{}` is read as a URL, because it comes behind `--`: flags go before that",
            sanitize::shown(word)
        )
    } else if let Some(text) = unknown::explain(word) {
        text
    } else if word.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("`{word}` is no URL: a number belongs to a flag, as in -j 5, -m 30 or --fail=404")
    } else if is_path(word) {
        format!(
            "there is no file {}; a list is given as @FILE, and a URL with its scheme, as https://example.org/",
            sanitize::shown(word)
        )
    } else {
        return None;
    })
}

/// The message if `first` asks for help on `word`, which is no command.
pub(super) fn no_help(first: &str, word: &str) -> Option<String> {
    let is_known = word == "help" || word.starts_with('-') || COMMANDS.contains(&word);
    (first == "help" && !is_known).then(|| {
        format!(
            "`{}` is no command; there are {} (overlapped help)",
            sanitize::shown(word),
            COMMANDS.join(", ")
        )
    })
}

/// True if it looks like the name of a file and not like a host name.
fn is_path(word: &str) -> bool {
    const LISTS: [&str; 12] =
        [".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".gz", ".zst", ".xz", ".bz2", ".zip", ".list"];
    let is_below = word.starts_with(['/', '~', '.']) && !word.starts_with("//");
    is_below || !word.contains('/') && LISTS.iter().any(|suffix| word.to_ascii_lowercase().ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_told() {
        let check = |word: &str, expected: &str| match slip(word) {
            Some(text) => assert!(text.contains(expected), "{word}: {text}"),
            None => panic!("{word}: nothing is told"),
        };
        check("", "is empty");
        check(" ", "is empty");
        check("Cargo.toml", "@Cargo.toml");
        check("src", "-o src/ ");
        check("src/", "-o src/ ");
        check("compare", "goes first");
        check("404", "--fail=404");
        check("-x", "behind `--`");
        check("-j", "behind `--`");
        check("urls.txt", "there is no file");
        check("./urls", "there is no file");
        check("/nowhere/urls", "there is no file");
        check("urls.xz", "there is no file");
        check("shard", "goes first");
    }

    #[test]
    fn what_lacks_only_its_scheme_is_left_to_the_parser_of_urls() {
        for word in [
            "example.org",
            "example.org/a.txt",
            "localhost",
            "localhost:8000",
            "http://a.txt",
            "a b",
            "//a.org/",
        ] {
            assert_eq!(slip(word), None, "{word}");
        }
    }
}
