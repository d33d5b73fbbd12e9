//! Makes the rows of a table from their cells, by the line of column names.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::ErrorKind;
use crate::job::{Job, Row};
use crate::limits::{INPUT_COLUMNS_MAX, INPUT_ROW_BYTES_MAX, QUOTE_BYTES_MAX};
use crate::outcome::Failure;
use crate::plural::{counted, plural};
use crate::sanitize;

use super::csv::{Cells, Lost, Shape, Why};
use super::row::{Cell, Column, Columns, Draft};
use super::{BadRow, Options};

/// The names of a table's columns, and what they mean.
#[derive(Debug)]
pub(super) struct Header {
    columns: Vec<(Box<str>, Column)>,
    /// Where the URL is.
    url: usize,
    /// The rows are records of an earlier run.
    record: bool,
}

impl Header {
    /// Reads the first row of a table.
    pub(super) fn new(cells: &Cells<'_>, options: &Options) -> Result<Self, Failure> {
        let problem = |message: String| Failure::new(ErrorKind::InputFormat, message);
        if cells.cut {
            return Err(problem("the line of column names is too long".to_owned()));
        }
        let text = super::text(cells.text).map_err(|failure| problem(failure.message.into()))?;
        let names: Vec<_> = split(text, cells.ends).map(str::trim).collect();
        let columns = Columns::new(options, names.iter().copied());
        let Some(url) = names.iter().position(|name| **name == *options.url_column) else {
            return Err(problem(missing(&names, options)));
        };
        let mut used = BTreeSet::new();
        let is_used = |column| !matches!(column, Column::Kept | Column::Dropped);
        if let Some(name) = names.iter().find(|name| is_used(columns.column(name)) && !used.insert(**name)) {
            let name = sanitize::quote(name.as_bytes(), QUOTE_BYTES_MAX);
            return Err(problem(format!(
                "two columns have the name {name}, which is an option of the request: rename one of them"
            )));
        }
        let record = columns.are_of_a_record();
        let columns = unique(&names).into_iter().zip(&names).map(|(kept, name)| (kept, columns.column(name)));
        let columns = columns.collect();
        Ok(Self { columns, url, record })
    }

    /// The failure of a malformed line of column names.
    pub(super) fn lost(lost: &Lost<'_>) -> Failure {
        let message = format!("the line of column names, line {}, {}", lost.begins, explain(lost.why, None));
        Failure::new(ErrorKind::InputFormat, message)
    }

    /// The layout of the rows. Columns of a record that are not used are not read, because a body may be large.
    pub(super) fn shape(&self) -> Shape {
        let is_read = |(_, column): &(Box<str>, Column)| !self.record || *column != Column::Dropped;
        Shape { url: self.url, read: self.columns.iter().map(is_read).collect(), record: self.record }
    }

    /// Makes the job of a row, or the bad row.
    pub(super) fn row(&self, row: Row, cells: &Cells<'_>) -> Result<Job, BadRow> {
        let given = cells.cell(self.url).map_or(cells.raw, <[u8]>::trim_ascii);
        let text = match super::text(cells.text) {
            _ if cells.cut => {
                let message = format!(
                    "the row has {} bytes; the most is {INPUT_ROW_BYTES_MAX}, in {INPUT_COLUMNS_MAX} columns: leave \
                     out columns that the request does not need",
                    cells.bytes
                );
                return Err(BadRow::new(row, given, Failure::new(ErrorKind::InputTooLong, message)));
            }
            Ok(text) => text,
            Err(failure) => return Err(BadRow::new(row, given, failure)),
        };
        let mut draft = Draft::default();
        if cells.ends.len() != self.columns.len() {
            let (has, expected) = (cells.ends.len(), self.columns.len());
            let message = format!("the row has {}; there {}", counted(has as u64, "cell"), columns(expected));
            draft.fail(Failure::new(ErrorKind::InputFormat, message));
        }
        for ((name, column), cell) in self.columns.iter().zip(split(text, cells.ends)) {
            if !(self.record && column.may_be_absent() && is_absent(cell)) {
                draft.set(*column, name, Cell::Text(cell));
            }
        }
        draft.finish(row, given)
    }

    /// Makes the bad row of a lost line.
    pub(super) fn lost_row(&self, row: Row, lost: &Lost<'_>) -> BadRow {
        let message = if lost.line == lost.begins {
            format!("the row {}", explain(lost.why, Some(self.columns.len())))
        } else {
            format!(
                "the line is part of a quoted cell of the row that begins in line {}; that row {}",
                lost.begins,
                explain(lost.why, Some(self.columns.len()))
            )
        };
        let cells: Vec<_> = lost.text.split(|byte| *byte == lost.delimiter).collect();
        let url = cells.get(self.url).filter(|_| cells.len() == self.columns.len());
        // With a quote in it, it is a piece of another cell.
        let url = url.map(|url| unquoted(url.trim_ascii())).filter(|url| !url.contains(&b'"'));
        let given = url.unwrap_or(lost.text);
        BadRow::new(row, given.trim_ascii(), Failure::new(ErrorKind::InputFormat, message))
    }
}

/// The names under which columns are passed through, as pandas has them: a name that occurs before gets a number
/// (`name`, `name.1`), and a column without a name is `Unnamed: 2`, by its place from 0. So no two members of `meta` have
/// the same name.
fn unique(names: &[&str]) -> Vec<Box<str>> {
    let names = names.iter().enumerate().map(|(at, name)| match *name {
        "" => Cow::Owned(format!("Unnamed: {at}")),
        name => Cow::Borrowed(name),
    });
    let names: Vec<Cow<'_, str>> = names.collect();
    let given: BTreeSet<&str> = names.iter().map(|name| &**name).collect();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let numbered = |name: &str, number: &mut usize| loop {
        *number += 1;
        let numbered = format!("{name}.{number}");
        if !given.contains(&*numbered) {
            return Box::from(numbered);
        }
    };
    let name = |name| match numbers.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(0);
            Box::from(name)
        }
        Entry::Occupied(mut entry) => numbered(name, entry.get_mut()),
    };
    names.iter().map(|name| &**name).map(name).collect()
}

/// The message where no column has the URL.
fn missing(names: &[&str], options: &Options) -> String {
    let quote = |text: &str| sanitize::quote(text.as_bytes(), QUOTE_BYTES_MAX);
    let wanted = quote(&options.url_column);
    let is_url = |name: &&&str| name.contains("://");
    if let Some(url) = names.iter().find(is_url) {
        let url = sanitize::given(url.as_bytes(), true, QUOTE_BYTES_MAX);
        return format!(
            "the first line of a table has the names of its columns, and this one has the URL {url}: put a line with the \
             names before it"
        );
    }
    let delimiters = [(";", "`;`"), ("\t", "tabs"), ("|", "`|`"), (",", "`,`")];
    let other =
        delimiters.iter().find(|(delimiter, _)| names.len() == 1 && names.concat().contains(delimiter));
    let all = quote(&names.join(", "));
    let hint = match other {
        Some((",", _)) => "; its cells seem to be separated by `,`: --input-format csv".to_owned(),
        Some(("\t", _)) => "; its cells seem to be separated by tabs: --input-format tsv".to_owned(),
        Some((delimiter, shown)) => format!(
            "; its cells seem to be separated by {shown}, and CSV has `,`: convert it, for example by \
             mlr --csv --ifs '{delimiter}' --ofs , cat"
        ),
        None => match names.iter().find(|name| name.eq_ignore_ascii_case(&options.url_column)) {
            Some(name) => format!("; perhaps --url-col {name} is meant"),
            None => "; --url-col NAME names the one with the URLs".to_owned(),
        },
    };
    format!("there is no column {wanted}; the first line has: {all}{hint}")
}

/// The end of a message on what is wrong with a row of several lines.
fn explain(why: Why, columns: Option<usize>) -> String {
    match (why, columns) {
        (Why::Open, _) => "has a quote that is never closed".to_owned(),
        (Why::Long, _) => format!("has a quote that is not closed within {INPUT_ROW_BYTES_MAX} bytes"),
        (Why::Text, _) => "has a quoted cell of several lines with text behind its last quote".to_owned(),
        (Why::Cells(has), Some(columns)) => {
            let (has, columns) = (counted(has as u64, "cell"), self::columns(columns));
            format!("has {has} over several lines; there {columns}; perhaps a quote is not closed")
        }
        (Why::Cells(has), None) => format!("has {} over several lines", counted(has as u64, "cell")),
        (Why::Url, _) => "has a line end in its URL; perhaps a quote is not closed".to_owned(),
    }
}

/// `is 1 column`, `are 2 columns`
fn columns(columns: usize) -> String {
    let columns = columns as u64;
    format!("{} {}", plural(columns, "is", "are"), counted(columns, "column"))
}

/// A cell of a line that was cut out of its row: the quotes around it may be those of the row.
fn unquoted(cell: &[u8]) -> &[u8] {
    let cell = cell.strip_prefix(b"\"").unwrap_or(cell);
    cell.strip_suffix(b"\"").unwrap_or(cell)
}

/// True for the words by which other programs write null into a record: pandas, Python, R and SQL.
fn is_absent(cell: &str) -> bool {
    matches!(cell.trim(), "NaN" | "nan" | "None" | "NULL" | "null" | "NA" | "<NA>" | "NaT" | "\\N")
}

fn split<'a>(text: &'a str, ends: &'a [usize]) -> impl Iterator<Item = &'a str> {
    let starts = std::iter::once(&0).chain(ends);
    starts.zip(ends).map(|(start, end)| text.get(*start..*end).unwrap_or_default())
}
