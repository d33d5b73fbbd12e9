//! Parses a list of URLs, incrementally: blocks of bytes, split anywhere, are pushed in, and rows come out.
//!
//! A bad row is a row with a failure and does not end the list. Only a list that is not in its format at all (UTF-16, a
//! table without the URL column) is refused. Memory is bounded by the limit for one row.

mod hosts;
mod reader;
mod table;
mod csv;
mod row;
mod json;
mod array;
mod line;
mod held;
pub mod url;

pub use hosts::{HostRow, Hosts};
pub use reader::{Reader, Reread};
pub use row::typed;

use reader::BYTE_ORDER_MARK;

use crate::error::ErrorKind;
use crate::job::{Job, Row};
use crate::limits;
use crate::outcome::Failure;
use crate::sanitize;

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One URL a line. Blank lines and lines that begin with `#` are not rows.
    Text,
    /// One JSON object a line.
    Ndjson,
    /// One JSON array whose elements are the rows.
    Json,
    /// Comma-separated values (RFC 4180) with a line of column names.
    Csv,
    /// The same, separated by tabs and without quotes (IANA text/tab-separated-values).
    Tsv,
    /// A table in Parquet. It is no text: who reads the list makes a line of NDJSON of each of its rows.
    Parquet,
    /// A table in Arrow's file format. The same.
    Arrow,
}

impl Format {
    /// The format by the suffix of a file's name, with or without compression (`.gz`, `.zst`).
    ///
    /// ```
    /// use overlapped_proto::input::Format;
    ///
    /// assert_eq!(Format::of_name("urls.jsonl.gz"), Some(Format::Ndjson));
    /// assert_eq!(Format::of_name("urls"), None);
    /// ```
    #[must_use]
    pub fn of_name(file_name: &str) -> Option<Self> {
        let name = file_name.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "txt" | "urls" | "lst" | "list" => Some(Self::Text),
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            "parquet" => Some(Self::Parquet),
            "arrow" | "feather" => Some(Self::Arrow),
            _ => None,
        }
    }

    /// True if the list has begun, with more than a byte order mark and blanks, so that [`Format::sniff`] can tell.
    #[must_use]
    pub fn has_begun(first_bytes: &[u8]) -> bool {
        let text = first_bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(first_bytes);
        !text.trim_ascii_start().is_empty() && !BYTE_ORDER_MARK.starts_with(first_bytes)
    }

    /// The format by the file's name, else by the first byte that is not blank: `{` begins NDJSON, `[` an array. A
    /// `.json` file may be either.
    #[must_use]
    pub fn sniff(first_bytes: &[u8], file_name: Option<&str>) -> Self {
        let text = first_bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(first_bytes);
        let first = text.trim_ascii_start().first();
        match (file_name.and_then(Self::of_name), first) {
            (Some(Self::Ndjson), Some(b'[')) if !file_name.is_some_and(says_lines) => Self::Json,
            (Some(named), _) => named,
            (None, Some(b'{')) => Self::Ndjson,
            (None, Some(b'[')) => Self::Json,
            (None, _) => Self::Text,
        }
    }
}

/// True for a name of NDJSON.
fn says_lines(file_name: &str) -> bool {
    let name = file_name.to_ascii_lowercase();
    name.contains(".ndjson") || name.contains(".jsonl")
}

/// How a list is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The column that holds the URL.
    pub url_column: Box<str>,
    /// Which further columns are passed through to the record.
    pub keep: Keep,
}

impl Default for Options {
    fn default() -> Self {
        Self { url_column: "url".into(), keep: Keep::All }
    }
}

/// Which columns that are not options of a request are passed through to the record, as `meta`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All of them.
    #[default]
    All,
    /// None.
    None,
    /// Those with these names.
    Columns(Vec<Box<str>>),
}

/// The columns that are options of a request, beside the URL; all others are passed through.
pub fn option_columns() -> impl Iterator<Item = &'static str> {
    row::OPTIONS.iter().map(|(name, _)| *name)
}

/// The members of a record's `meta`, each with its value as JSON text; `None`: it is no object.
#[must_use]
pub fn members(meta: &str) -> Option<Vec<(std::borrow::Cow<'_, str>, &str)>> {
    json::members(meta).ok()
}

/// Which columns of a list are used, of all that it has.
#[must_use]
pub fn uses(options: &Options, names: &[&str]) -> Vec<bool> {
    let columns = row::Columns::new(options, names.iter().copied());
    names.iter().map(|name| columns.column(name) != row::Column::Dropped).collect()
}

/// One row that was read, and where it is.
#[derive(Clone, Debug)]
pub struct RowRead {
    /// The line it begins in, from 1.
    pub line: u64,
    /// The byte it begins at, from 0.
    pub offset: u64,
    /// Its length without its line end.
    pub bytes: u64,
    /// What to fetch, or why the row is bad.
    pub job: Result<Job, BadRow>,
}

impl RowRead {
    /// Its number in the list.
    #[must_use]
    pub fn row(&self) -> Row {
        match &self.job {
            Ok(job) => job.row,
            Err(bad) => bad.row,
        }
    }
}

/// A row that cannot be fetched. It yields a record like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Its number in the list.
    pub row: Row,
    /// Its URL as given, or the whole row if none can be found in it: without userinfo, escaped, cut.
    pub given: Box<str>,
    /// The row's own name, if it could be read.
    pub id: Option<Box<str>>,
    /// Its other columns, if they could be read.
    pub meta: Option<Box<str>>,
    /// What is wrong with it.
    pub failure: Failure,
}

impl BadRow {
    /// `given` is shown for its URL.
    #[must_use]
    pub fn new(row: Row, given: &[u8], failure: Failure) -> Self {
        // Of a row that is too long not all may be here.
        if failure.kind == ErrorKind::InputTooLong {
            return Self::of_beginning(row, given, failure);
        }
        let given = sanitize::given(given, true, limits::GIVEN_BYTES_MAX).into();
        Self { row, given, id: None, meta: None, failure }
    }

    /// Bytes of what it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        self.given.len() + self.failure.message.len() + text(&self.id) + text(&self.meta)
    }

    /// As [`BadRow::new`], where `given` is only the beginning.
    fn of_beginning(row: Row, given: &[u8], failure: Failure) -> Self {
        let given = sanitize::given(given, false, limits::GIVEN_BYTES_MAX).into();
        Self { row, given, id: None, meta: None, failure }
    }
}

/// Bytes of a row as text.
fn text(bytes: &[u8]) -> Result<&str, Failure> {
    if let Some(at) = memchr::memchr(0, bytes) {
        let message = format!("the row holds a NUL, at its byte {at}");
        return Err(Failure::new(ErrorKind::InputEncoding, message));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let message = format!(
            "the row is not UTF-8, from its byte {}: if the list is in ISO 8859-1 or Windows-1252, \
             iconv -f ISO-8859-1 -t UTF-8 converts it",
            error.valid_up_to()
        );
        Failure::new(ErrorKind::InputEncoding, message)
    })
}
