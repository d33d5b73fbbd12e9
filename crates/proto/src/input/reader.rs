//! The reader of a list: detects its encoding, splits blocks into rows, and numbers them.

use std::borrow::Cow;
use std::sync::Arc;

use crate::error::ErrorKind;
use crate::job::{Job, Row};
use crate::limits;
use crate::outcome::Failure;
use crate::sanitize;

use super::array::{Array, Item};
use super::csv::{Csv, Found};
use super::held::{Held, Line};
use super::line::Lines;
use super::row::{Cell, Column, Columns, Draft, RECORD_COLUMNS};
use super::table::Header;
use super::{BadRow, Format, Options, RowRead, json, text, url};

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
    urls: url::Parser,
    /// The first bytes, until there are enough to know the encoding.
    start: Option<Vec<u8>>,
    consumed: u64,
    next: u64,
}

#[derive(Debug)]
enum Source {
    Text(Lines),
    Ndjson(Lines),
    Json(Array),
    Table(Box<Csv>, Option<Arc<Header>>),
}

/// Reads single rows of a list again.
#[derive(Debug)]
pub struct Reread {
    rows: Rows,
    options: Options,
    urls: url::Parser,
}

#[derive(Debug)]
enum Rows {
    Text,
    /// Objects and strings, each in a line or in an array.
    Json(Held),
    Table(Box<Csv>, Arc<Header>),
}

impl Reader {
    /// A reader at the beginning of a list.
    #[must_use]
    pub fn new(format: Format, options: Options) -> Self {
        let source = match format {
            Format::Text => Source::Text(Lines::new(Held::plain())),
            Format::Ndjson | Format::Parquet | Format::Arrow => Source::Ndjson(Lines::new(record(&options))),
            Format::Json => Source::Json(Array::new(record(&options))),
            Format::Csv => Source::Table(Box::new(Csv::comma_separated()), None),
            Format::Tsv => Source::Table(Box::new(Csv::tab_separated()), None),
        };
        let start = Some(Vec::with_capacity(START_BYTES));
        Self { source, options, urls: url::Parser::default(), start, consumed: 0, next: 0 }
    }

    /// A reader that resumes at the beginning of a row; `None` if the format can only be read from the beginning. Line
    /// numbers are counted from there.
    #[must_use]
    pub fn resume(format: Format, options: Options, row: Row, offset: u64) -> Option<Self> {
        let mut reader = Self::new(format, options);
        match &mut reader.source {
            Source::Text(lines) | Source::Ndjson(lines) => lines.skip(offset),
            Source::Json(array) => array.resume(offset),
            Source::Table(..) => return None,
        }
        if offset > 0 {
            reader.start = None;
        }
        (reader.consumed, reader.next) = (offset, row.0);
        Some(reader)
    }

    /// Parses the next block of the list and passes every row that ends in it to `sink`.
    ///
    /// # Errors
    ///
    /// The list is not in its format; nothing more can be read from it.
    pub fn push(&mut self, block: &[u8], sink: &mut impl FnMut(RowRead)) -> Result<(), Failure> {
        self.consumed += block.len() as u64;
        let Some(start) = &mut self.start else { return self.feed(block, sink) };
        let (head, rest) = block.split_at(block.len().min(START_BYTES - start.len()));
        start.extend_from_slice(head);
        if start.len() == START_BYTES {
            self.open(sink)?;
            self.feed(rest, sink)?;
        }
        Ok(())
    }

    /// Ends the list: passes the last row to `sink` if its line had no end.
    ///
    /// # Errors
    ///
    /// As [`Reader::push`].
    pub fn finish(&mut self, sink: &mut impl FnMut(RowRead)) -> Result<(), Failure> {
        self.open(sink)?;
        let Self { source, options, urls, next, .. } = self;
        match source {
            Source::Text(lines) => lines.finish(&mut |line| read_text(&line, urls, next, sink)),
            Source::Ndjson(lines) => lines.finish(&mut |line| read_json(&line, options, next, sink)),
            Source::Json(array) => array.finish(&mut |item| read_item(&item, options, next, sink)),
            Source::Table(table, header) => {
                table.finish();
                return read_table(table, &[], header, options, next, sink);
            }
        }
        Ok(())
    }

    /// The number of bytes pushed.
    #[must_use]
    pub const fn bytes_consumed(&self) -> u64 {
        self.consumed
    }

    /// The number of rows read, which is the number of the next row.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.next
    }

    /// A reader of single rows of this list; `None` if the line of column names was not read yet.
    #[must_use]
    pub fn reread(&self) -> Option<Reread> {
        let rows = match &self.source {
            Source::Text(_) => Rows::Text,
            Source::Ndjson(_) | Source::Json(_) => Rows::Json(record(&self.options)),
            Source::Table(table, header) => Rows::Table(Box::new(table.anew()), header.clone()?),
        };
        Some(Reread { rows, options: self.options.clone(), urls: url::Parser::default() })
    }

    /// The first bytes are complete: checks the encoding and reads them.
    fn open(&mut self, sink: &mut impl FnMut(RowRead)) -> Result<(), Failure> {
        let Some(start) = self.start.take() else { return Ok(()) };
        if is_utf16(&start) {
            return Err(utf16());
        }
        let Some(rest) = start.strip_prefix(BYTE_ORDER_MARK) else { return self.feed(&start, sink) };
        let mark = bytes(&start) - bytes(rest);
        match &mut self.source {
            Source::Text(lines) | Source::Ndjson(lines) => lines.skip(mark),
            Source::Json(array) => array.skip(mark),
            Source::Table(table, _) => table.skip(mark),
        }
        self.feed(rest, sink)
    }

    fn feed(&mut self, block: &[u8], sink: &mut impl FnMut(RowRead)) -> Result<(), Failure> {
        let Self { source, options, urls, next, .. } = self;
        match source {
            Source::Text(lines) => lines.push(block, &mut |line| read_text(&line, urls, next, sink)),
            Source::Ndjson(lines) => lines.push(block, &mut |line| read_json(&line, options, next, sink)),
            Source::Json(array) => array.push(block, &mut |item| read_item(&item, options, next, sink)),
            Source::Table(table, header) => return read_table(table, block, header, options, next, sink),
        }
        Ok(())
    }
}

impl Reread {
    /// A second reader of the same list, for use on another thread.
    #[must_use]
    pub fn another(&self) -> Self {
        let rows = match &self.rows {
            Rows::Text => Rows::Text,
            Rows::Json(held) => Rows::Json(held.anew()),
            Rows::Table(table, header) => Rows::Table(Box::new(table.anew()), Arc::clone(header)),
        };
        Self { rows, options: self.options.clone(), urls: url::Parser::default() }
    }

    /// Reads a row from the bytes that its [`RowRead`] pointed to.
    ///
    /// # Errors
    ///
    /// The row is bad, or these are not the bytes of one row.
    pub fn row(&mut self, row: Row, text: &[u8]) -> Result<Job, BadRow> {
        match &mut self.rows {
            Rows::Text => {
                let cut = text.len() > limits::INPUT_ROW_BYTES_MAX;
                let line = Line { number: 0, offset: 0, bytes: bytes(text), cut, text, skimmed: None };
                text_row(row, &line, &mut self.urls)
            }
            Rows::Json(held) => {
                held.clear();
                held.push(text);
                json_row(row, &held.line(0, 0), &self.options)
            }
            Rows::Table(table, header) => {
                let mut found = Vec::with_capacity(1);
                let mut take = |table: &mut Csv, mut block: &[u8]| {
                    while let Some(one) = table.next(&mut block) {
                        found.push(match one {
                            Found::Row(cells) => header.row(row, &cells),
                            Found::Lost(lost) => Err(header.lost_row(row, &lost)),
                        });
                    }
                };
                take(table, text);
                table.finish();
                take(table, &[]);
                let one = found.pop().filter(|_| found.is_empty());
                let no_row = || Failure::new(ErrorKind::InputFormat, "there is not one row here");
                one.unwrap_or_else(|| Err(BadRow::new(row, text, no_row())))
            }
        }
    }
}

pub(super) const START_BYTES: usize = 4;
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The failure of a list in UTF-16.
pub(super) fn utf16() -> Failure {
    let message = "the list is in UTF-16; convert it to UTF-8, for example with iconv -f UTF-16 -t UTF-8";
    Failure::new(ErrorKind::InputEncoding, message)
}

/// By its mark, or, as every list begins with ASCII, by its zeros.
pub(super) fn is_utf16(start: &[u8]) -> bool {
    match *start {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [a, b, c, d] => (a == 0) == (c == 0) && (b == 0) == (d == 0) && (a == 0) != (b == 0),
        _ => false,
    }
}

fn read_text(line: &Line<'_>, urls: &mut url::Parser, next: &mut u64, sink: &mut impl FnMut(RowRead)) {
    let text = line.text.trim_ascii();
    if !text.is_empty() && !text.starts_with(b"#") {
        let job = text_row(take(next), line, urls);
        sink(RowRead { line: line.number, offset: line.offset, bytes: line.bytes, job });
    }
}

fn read_json(line: &Line<'_>, options: &Options, next: &mut u64, sink: &mut impl FnMut(RowRead)) {
    if !line.text.trim_ascii().is_empty() {
        let job = json_row(take(next), line, options);
        sink(RowRead { line: line.number, offset: line.offset, bytes: line.bytes, job });
    }
}

fn read_item(item: &Item<'_>, options: &Options, next: &mut u64, sink: &mut impl FnMut(RowRead)) {
    match item {
        Item::Element(line) => read_json(line, options, next, sink),
        Item::Broken(broken) => {
            let message = format!(
                "{}, in line {} at byte {}: nothing behind it is read",
                broken.problem, broken.line, broken.offset
            );
            let failure = Failure::new(ErrorKind::InputFormat, message);
            let bad = BadRow::new(take(next), broken.element, failure);
            sink(RowRead { line: broken.line, offset: broken.offset, bytes: 0, job: Err(bad) });
        }
    }
}

fn read_table(
    table: &mut Csv,
    mut block: &[u8],
    header: &mut Option<Arc<Header>>,
    options: &Options,
    next: &mut u64,
    sink: &mut impl FnMut(RowRead),
) -> Result<(), Failure> {
    while let Some(found) = table.next(&mut block) {
        let read = match (found, &*header) {
            (Found::Row(cells), Some(header)) => {
                let job = header.row(take(next), &cells);
                RowRead { line: cells.line, offset: cells.offset, bytes: cells.bytes, job }
            }
            (Found::Lost(lost), Some(header)) => {
                let job = Err(header.lost_row(take(next), &lost));
                RowRead { line: lost.line, offset: lost.offset, bytes: lost.bytes, job }
            }
            (Found::Row(cells), None) => {
                let names = Header::new(&cells, options)?;
                table.set_shape(names.shape());
                *header = Some(Arc::new(names));
                continue;
            }
            (Found::Lost(lost), None) => return Err(Header::lost(&lost)),
        };
        sink(read);
    }
    Ok(())
}

fn text_row(row: Row, line: &Line<'_>, urls: &mut url::Parser) -> Result<Job, BadRow> {
    let url = whole(line, "").and_then(|text| Ok(Job::new(row, urls.parse(text)?).given_as(text)));
    url.map_err(|failure| BadRow::new(row, line.text.trim_ascii(), failure))
}

/// An object of options, or a string that is the URL.
fn json_row(row: Row, line: &Line<'_>, options: &Options) -> Result<Job, BadRow> {
    let bad = |failure| Err(broken_row(row, line.text.trim_ascii(), options, failure));
    let read = match line.skimmed {
        Some(object) => text(object),
        None => whole(line, LEAVE_OUT),
    };
    let read = match read {
        Ok(read) => read,
        Err(failure) => return bad(failure),
    };
    let members = json::members(read);
    if members.is_err()
        && let Some(repaired) = json::without_nan(read)
    {
        return object_row(row, line, &repaired, json::members(&repaired), options);
    }
    object_row(row, line, read, members, options)
}

fn object_row<'a>(
    row: Row,
    line: &Line<'_>,
    read: &'a str,
    members: json::Parsed<'a>,
    options: &Options,
) -> Result<Job, BadRow> {
    let mut draft = Draft::default();
    let bad = |failure| Err(broken_row(row, line.text.trim_ascii(), options, failure));
    match members {
        Ok(members) => {
            let columns = Columns::new(options, members.iter().map(|(name, _)| &**name));
            if line.cut && !columns.are_of_a_record() {
                return bad(too_long(line, LEAVE_OUT));
            }
            if let Some(failure) = without_url(&members, options) {
                draft.fail(failure);
            }
            for (name, value) in json::last_of_each(members, |name| columns.column(name) == Column::Kept) {
                draft.set(columns.column(&name), &name, Cell::Json(value));
            }
        }
        Err(_) if line.cut => return bad(too_long(line, LEAVE_OUT)),
        Err(_) if read.starts_with('"') => draft.set(Column::Url, "the row", Cell::Json(read)),
        Err(error) => {
            let message = format!("the row is not a JSON object: {error}{}", hint(read));
            return bad(Failure::new(ErrorKind::InputFormat, message));
        }
    }
    draft.finish(row, read.as_bytes())
}

/// How to shorten a row of JSON.
const LEAVE_OUT: &str =
    ": leave out members that the request does not need, for example by jq -c '{url, id}'";

/// The failure of an object without the member of the URL, if it is more specific than that.
fn without_url(members: &[(Cow<'_, str>, &str)], options: &Options) -> Option<Failure> {
    let wanted = &*options.url_column;
    if members.is_empty() || members.iter().any(|(name, _)| *name == *wanted) {
        return None;
    }
    let quote = |text: &str| sanitize::quote(text.as_bytes(), limits::QUOTE_BYTES_MAX);
    let is_list = |value: &str| value.starts_with('[');
    let what = match members.iter().find(|(_, value)| is_list(value)) {
        Some((name, _)) => {
            let name = quote(name);
            format!("its member {name} is a list: `jq -c '.{name}[]' FILE` makes a list of its elements")
        }
        None => {
            let names: Vec<_> = members.iter().map(|(name, _)| &**name).collect();
            format!("it has {}; --url-col NAME names the one with the URL", quote(&names.join(", ")))
        }
    };
    let message = format!("the row has no member {}; {what}", quote(wanted));
    Some(Failure::new(ErrorKind::InputEmpty, message))
}

/// The failure of a row that is not JSON, with its URL if one can be found.
fn broken_row(row: Row, text: &[u8], options: &Options, failure: Failure) -> BadRow {
    match json::written(text, &options.url_column) {
        Some((url, true)) => BadRow::new(row, url, failure),
        Some((url, false)) => BadRow::of_beginning(row, url, failure),
        None => BadRow::new(row, text, failure),
    }
}

/// The buffer for rows of JSON, which may be records.
fn record(options: &Options) -> Held {
    let names = RECORD_COLUMNS.iter().map(|name| Box::from(*name));
    Held::record(std::iter::once(options.url_column.clone()).chain(names).collect())
}

fn take(next: &mut u64) -> Row {
    let row = Row(*next);
    *next += 1;
    row
}

/// The text of a line, if it is text and not too much.
fn whole<'a>(line: &Line<'a>, remedy: &str) -> Result<&'a str, Failure> {
    if line.cut { Err(too_long(line, remedy)) } else { text(line.text.trim_ascii()) }
}

/// What to do about a JSON text that is no row.
fn hint(read: &str) -> &'static str {
    match read.trim() {
        "{" => {
            "; NDJSON has an object in each line: `jq -c . FILE` writes it so, and `jq -c '.NAME[]' FILE` the elements of its \
             member NAME"
        }
        text if text.contains("://") && !text.contains(['{', '"']) => {
            "; in a list of plain URLs (--input-format text) it is a row"
        }
        _ => "",
    }
}

/// The failure of a row over the limit, and what to do about it.
fn too_long(line: &Line<'_>, remedy: &str) -> Failure {
    let message =
        format!("the row has {} bytes; the most is {}{remedy}", line.bytes, limits::INPUT_ROW_BYTES_MAX);
    Failure::new(ErrorKind::InputTooLong, message)
}

fn bytes(text: &[u8]) -> u64 {
    text.len() as u64
}
