//! The outputs of `-o`, whose kind is determined by the suffix. Nothing here opens a file.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use overlapped_fetch::sink::Format;

/// One `-o`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// NDJSON to standard output.
    Stdout,
    /// Records, in one of the formats of the engine.
    Records(Format, PathBuf),
    /// A file for the body of one URL, as in curl.
    Body(PathBuf),
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| lower.ends_with(suffix));
        if text == "-" {
            Ok(Self::Stdout)
        } else if text.starts_with("/dev/") && !text.ends_with('/') {
            // A device has no suffix: `-o /dev/null` measures a run without disk writes.
            Ok(Self::Records(Format::Ndjson, text.into()))
        } else if let Some(format) = Format::of(text) {
            Ok(Self::Records(format, text.into()))
        } else if ends(&[".har.gz", ".warc.zst"]) {
            Err(format!("no output is of this kind; {KINDS}"))
        } else if text.is_empty() {
            Err("a name is missing".to_owned())
        } else {
            Ok(Self::Body(text.into()))
        }
    }
}

/// The kinds of outputs with records.
const KINDS: &str = "there are .ndjson, .csv, .tsv (also with .gz or .zst behind it), .parquet, .arrow, .har, .warc.gz, .warc and DIR/";

/// Suffixes of compressed files.
const COMPRESSIONS: [&str; 9] = ["gz", "zst", "bz2", "xz", "lz4", "lzma", "br", "zip", "7z"];

/// Why a name is none of an output with records, if it is one of them in a compression that it cannot have.
pub(super) fn unknown_compression(path: &Path) -> Option<String> {
    let suffix = path.extension()?.to_str()?.to_ascii_lowercase();
    let is_records = Format::of(path.with_extension("").to_str()?).is_some();
    (is_records && COMPRESSIONS.contains(&&*suffix))
        .then(|| format!("-o {}: no output is compressed as .{suffix} in this way; {KINDS}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compression_that_no_output_has_is_told() {
        let check = |path: &str, expected: Option<&str>| {
            let told = unknown_compression(Path::new(path));
            assert_eq!(told.is_some(), expected.is_some(), "{path}: {told:?}");
            assert!(told.unwrap_or_default().contains(expected.unwrap_or_default()), "{path}");
        };
        check("d/x.ndjson.bz2", Some("-o d/x.ndjson.bz2: no output is compressed as .bz2"));
        check("x.Parquet.GZ", Some(".csv, .tsv (also with .gz or .zst behind it)"));
        check("x.jsonl.xz", Some(".xz"));
        check("x.json.bz2", None);
        check("x.bz2", None);
        check("x.parquet.txt", None);
        check("x", None);
    }

    #[test]
    fn suffix_tells_the_kind() {
        let check = |text: &str, expected| assert_eq!(text.parse().ok(), expected, "{text}");
        check("-", Some(Output::Stdout));
        let records = |text: &str, format| check(text, Some(Output::Records(format, text.into())));
        records("a.ndjson", Format::Ndjson);
        records("a.jsonl", Format::Ndjson);
        records("/dev/null", Format::Ndjson);
        records("x/a.csv", Format::Csv);
        records("A.NDJSON", Format::Ndjson);
        records("a.Csv", Format::Csv);
        records("a.ndjson.gz", Format::Ndjson);
        records("a.jsonl.ZST", Format::Ndjson);
        records("a.csv.zst", Format::Csv);
        records("a.tsv", Format::Tsv);
        records("a.parquet", Format::Parquet);
        records("a.ARROW", Format::Arrow);
        records("a.har", Format::Har);
        records("a.WARC.gz", Format::Warc);
        records("a.warc", Format::Warc);
        records("pages/", Format::Files);
        check("a.parquet.gz", Some(Output::Body("a.parquet.gz".into())));
        check("a.html", Some(Output::Body("a.html".into())));
        check("a", Some(Output::Body("a".into())));
        for refused in ["a.har.gz", ""] {
            check(refused, None);
        }
    }
}
