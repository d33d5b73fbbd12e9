//! A list of URLs, from bytes to rows. It is pushed blocks, cut anywhere, and answers with rows.
//!
//! A bad row is a row with a failure, never the end of the list; only a list that is not what its format says at all
//! (UTF-16, a table without the URL column) is refused. Memory is bounded by the limit for one row, whatever comes.

mod table;
mod row;
mod json;
mod line;
pub mod url;

use crate::display;
use crate::error::ErrorKind;
use crate::job::{Job, Row};
use crate::limits;
use crate::outcome::Failure;

use line::{Line, Lines};
use row::{Cell, Columns, Draft};
use table::{Cells, Header, Table};

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One URL a line. Blank lines and lines that begin with `#` are not rows.
    Text,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values (RFC 4180) with a line of column names.
    Csv,
    /// The same, separated by tabs.
    Tsv,
}

impl Format {
    /// The format that a file's name says, whether or not it is compressed (`.gz`, `.zst`).
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
            _ => None,
        }
    }

    /// The format by the file's name, else by the first byte that is not blank: `{` begins NDJSON.
    #[must_use]
    pub fn sniff(first_bytes: &[u8], file_name: Option<&str>) -> Self {
        let text = first_bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first_bytes);
        file_name.and_then(Self::of_name).unwrap_or(match text.trim_ascii_start().first() {
            Some(b'{') => Self::Ndjson,
            _ => Self::Text,
        })
    }
}

/// How a list is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The column that holds the URL.
    pub url_column: Box<str>,
    /// Which further columns go along to the record.
    pub keep: Keep,
}

impl Default for Options {
    fn default() -> Self {
        Self { url_column: "url".into(), keep: Keep::All }
    }
}

/// Which columns that are no options of a request go along to the record, as `meta`.
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

/// One row that was read, and where it stands.
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
    fn new(row: Row, given: &[u8], failure: Failure) -> Self {
        let given = display::quote(given, limits::GIVEN_BYTES_MAX).into();
        Self { row, given, id: None, meta: None, failure }
    }
}

/// Reads a list.
///
/// ```
/// use overlapped_proto::input::{Format, Options, Reader};
///
/// let mut urls = Vec::new();
/// let mut reader = Reader::new(Format::Text, Options::default());
/// let mut sink = |read: overlapped_proto::input::RowRead| urls.push(read.job.map(|job| job.url.to_string()));
/// reader.push(b"# a comment\nhttp://a.exam", &mut sink)?;
/// reader.push(b"ple/\nb.example\n", &mut sink)?;
/// reader.finish(&mut sink)?;
/// assert_eq!(urls[0].as_deref(), Ok("http://a.example/"));
/// assert_eq!(urls[1].as_ref().unwrap_err().failure.kind.name(), "input.url");
/// # Ok::<(), overlapped_proto::outcome::Failure>(())
/// ```
#[derive(Debug)]
pub struct Reader {
    source: Source,
    options: Options,
    /// The first bytes, until there are enough to know the encoding.
    start: Option<Vec<u8>>,
    consumed: u64,
    next: u64,
}

#[derive(Debug)]
enum Source {
    Text(Lines),
    Ndjson(Lines),
    Table(Box<Table>, Option<Header>),
}

impl Reader {
    /// A reader at the beginning of a list.
    #[must_use]
    pub fn new(format: Format, options: Options) -> Self {
        let source = match format {
            Format::Text => Source::Text(Lines::new()),
            Format::Ndjson => Source::Ndjson(Lines::new()),
            Format::Csv => Source::Table(Box::new(Table::new(b',')), None),
            Format::Tsv => Source::Table(Box::new(Table::new(b'\t')), None),
        };
        Self { source, options, start: Some(Vec::with_capacity(START_BYTES)), consumed: 0, next: 0 }
    }

    /// Takes the next block of the list and hands every row that ends in it to `sink`.
    ///
    /// # Errors
    ///
    /// The list is not what its format says; nothing more can be read from it.
    pub fn push(&mut self, block: &[u8], sink: &mut impl FnMut(RowRead)) -> Result<(), Failure> {
        self.consumed += u64::try_from(block.len()).unwrap_or(u64::MAX);
        let Some(start) = &mut self.start else { return self.feed(block, sink) };
        let (head, rest) = block.split_at(block.len().min(START_BYTES - start.len()));
        start.extend_from_slice(head);
        if start.len() == START_BYTES {
            self.open(sink)?;
            self.feed(rest, sink)?;
        }
        Ok(())
    }

    /// The list ends here: hands the last row to `sink` if its line had no end.
    ///
    /// # Errors
    ///
    /// As [`Reader::push`].
    pub fn finish(&mut self, sink: &mut impl FnMut(RowRead)) -> Result<(), Failure> {
        self.open(sink)?;
        let Self { source, options, next, .. } = self;
        match source {
            Source::Text(lines) => lines.finish(&mut |line| read_text(&line, next, sink)),
            Source::Ndjson(lines) => lines.finish(&mut |line| read_ndjson(&line, options, next, sink)),
            Source::Table(table, header) => {
                table.finish(&mut |cells| read_cells(&cells, header, options, next, sink))?;
            }
        }
        Ok(())
    }

    /// How many bytes were pushed.
    #[must_use]
    pub const fn bytes_consumed(&self) -> u64 {
        self.consumed
    }

    /// How many rows were read; also the number of the next one.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.next
    }

    /// The first bytes are complete: checks the encoding and reads them.
    fn open(&mut self, sink: &mut impl FnMut(RowRead)) -> Result<(), Failure> {
        let Some(start) = self.start.take() else { return Ok(()) };
        if is_utf16(&start) {
            let message =
                "the list is in UTF-16; convert it to UTF-8, for example with iconv -f UTF-16 -t UTF-8";
            return Err(Failure::new(ErrorKind::InputEncoding, message));
        }
        let Some(rest) = start.strip_prefix(BYTE_ORDER_MARK) else { return self.feed(&start, sink) };
        let mark = bytes(&start) - bytes(rest);
        match &mut self.source {
            Source::Text(lines) | Source::Ndjson(lines) => lines.skip(mark),
            Source::Table(table, _) => table.skip(mark),
        }
        self.feed(rest, sink)
    }

    fn feed(&mut self, block: &[u8], sink: &mut impl FnMut(RowRead)) -> Result<(), Failure> {
        let Self { source, options, next, .. } = self;
        match source {
            Source::Text(lines) => lines.push(block, &mut |line| read_text(&line, next, sink)),
            Source::Ndjson(lines) => lines.push(block, &mut |line| read_ndjson(&line, options, next, sink)),
            Source::Table(table, header) => {
                table.push(block, &mut |cells| read_cells(&cells, header, options, next, sink))?;
            }
        }
        Ok(())
    }
}

const START_BYTES: usize = 4;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// By its mark, or, as every list begins with ASCII, by the zero in one of the first two bytes.
fn is_utf16(start: &[u8]) -> bool {
    match *start {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [a, b, ..] => (a == 0) != (b == 0),
        [_] | [] => false,
    }
}

fn read_text(line: &Line<'_>, next: &mut u64, sink: &mut impl FnMut(RowRead)) {
    let text = line.text.trim_ascii();
    if text.is_empty() || text.starts_with(b"#") {
        return;
    }
    let row = take(next);
    let job = line_text(line, text)
        .and_then(|text| Ok(Job::new(row, url::parse(text)?).given_as(text)))
        .map_err(|failure| BadRow::new(row, text, failure));
    sink(RowRead { line: line.number, offset: line.offset, bytes: line.bytes, job });
}

fn read_ndjson(line: &Line<'_>, options: &Options, next: &mut u64, sink: &mut impl FnMut(RowRead)) {
    let text = line.text.trim_ascii();
    if text.is_empty() {
        return;
    }
    let row = take(next);
    let job = match line_text(line, text) {
        Ok(text) => object(row, text, options),
        Err(failure) => Err(BadRow::new(row, text, failure)),
    };
    sink(RowRead { line: line.number, offset: line.offset, bytes: line.bytes, job });
}

fn read_cells(
    cells: &Cells<'_>,
    header: &mut Option<Header>,
    options: &Options,
    next: &mut u64,
    sink: &mut impl FnMut(RowRead),
) -> Result<(), Failure> {
    let Some(header) = header else {
        *header = Some(Header::new(cells, options)?);
        return Ok(());
    };
    let job = header.row(take(next), cells);
    sink(RowRead { line: cells.line, offset: cells.offset, bytes: cells.bytes, job });
    Ok(())
}

/// A row of NDJSON: an object of options, or a string that is the URL.
fn object(row: Row, text: &str, options: &Options) -> Result<Job, BadRow> {
    let mut draft = Draft::default();
    match json::members(text) {
        Ok(members) => {
            let columns = Columns::new(options, members.iter().map(|(name, _)| &**name));
            for (name, value) in &members {
                draft.set(columns.column(name), name, Cell::Json(value));
            }
        }
        Err(_) if text.starts_with('"') => draft.set(row::Column::Url, "the row", Cell::Json(text)),
        Err(error) => {
            let message = format!("the row is not a JSON object: {error}");
            draft.fail(Failure::new(ErrorKind::InputFormat, message));
        }
    }
    draft.finish(row, text.as_bytes())
}

fn take(next: &mut u64) -> Row {
    let row = Row(*next);
    *next += 1;
    row
}

/// A line as text, if it is some and not too much.
fn line_text<'a>(line: &Line<'_>, text: &'a [u8]) -> Result<&'a str, Failure> {
    if line.cut {
        let message =
            format!("the row has {} bytes; the most is {}", line.bytes, limits::INPUT_ROW_BYTES_MAX);
        return Err(Failure::new(ErrorKind::InputTooLong, message));
    }
    encoded(text)
}

fn encoded(text: &[u8]) -> Result<&str, Failure> {
    if let Some(at) = memchr::memchr(0, text) {
        let message = format!("the row holds a NUL, at its byte {at}");
        return Err(Failure::new(ErrorKind::InputEncoding, message));
    }
    std::str::from_utf8(text).map_err(|error| {
        let message = format!("the row is not UTF-8, from its byte {}", error.valid_up_to());
        Failure::new(ErrorKind::InputEncoding, message)
    })
}

fn bytes(text: &[u8]) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}
