//! The outputs of `-o`, whose kind is determined by the suffix. Nothing here opens a file.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One `-o`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// NDJSON to standard output.
    Stdout,
    /// One JSON object a line.
    Ndjson(PathBuf),
    /// Comma-separated values with a header line.
    Csv(PathBuf),
    /// A directory that gets a file for every body.
    Directory(PathBuf),
    /// A file for the body of one URL, as in curl.
    Body(PathBuf),
}

impl Output {
    /// Its path; `None` for standard output.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::Ndjson(path) | Self::Csv(path) | Self::Directory(path) | Self::Body(path) => Some(path),
        }
    }
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| lower.ends_with(suffix));
        if text == "-" {
            Ok(Self::Stdout)
        } else if ends(&["/"]) {
            Ok(Self::Directory(text.into()))
        } else if ends(&[".ndjson", ".jsonl"]) || text.starts_with("/dev/") {
            // A device has no suffix: `-o /dev/null` measures a run without disk writes.
            Ok(Self::Ndjson(text.into()))
        } else if ends(&[".csv"]) {
            Ok(Self::Csv(text.into()))
        } else if ends(&[".parquet", ".warc", ".warc.gz", ".har", ".ndjson.gz", ".ndjson.zst", ".csv.gz"]) {
            Err("this kind is not built yet: .ndjson, .csv and DIR/ are".to_owned())
        } else if text.is_empty() {
            Err("a name is missing".to_owned())
        } else {
            Ok(Self::Body(text.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffix_tells_the_kind() {
        let check = |text: &str, expected| assert_eq!(text.parse().ok(), expected, "{text}");
        check("-", Some(Output::Stdout));
        check("a.ndjson", Some(Output::Ndjson("a.ndjson".into())));
        check("a.jsonl", Some(Output::Ndjson("a.jsonl".into())));
        check("/dev/null", Some(Output::Ndjson("/dev/null".into())));
        check("x/a.csv", Some(Output::Csv("x/a.csv".into())));
        check("A.NDJSON", Some(Output::Ndjson("A.NDJSON".into())));
        check("a.Csv", Some(Output::Csv("a.Csv".into())));
        check("pages/", Some(Output::Directory("pages/".into())));
        check("a.html", Some(Output::Body("a.html".into())));
        check("a", Some(Output::Body("a".into())));
        for refused in ["a.parquet", "a.PARQUET", "a.warc.gz", "a.har", ""] {
            check(refused, None);
        }
    }
}
