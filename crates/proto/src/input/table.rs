//! Rows out of CSV and TSV in blocks that are cut anywhere. No more than one row is held, and of that no more than
//! the limit; a quote that is never closed costs the rows behind it, but no memory.

use std::fmt;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::display;
use crate::error::ErrorKind;
use crate::job::{Job, Row};
use crate::limits::{INPUT_COLUMNS_MAX, INPUT_ROW_BYTES_MAX, QUOTE_BYTES_MAX};
use crate::outcome::Failure;

use super::row::{Cell, Column, Columns, Draft};
use super::{BadRow, Options};

/// A row as cells.
#[derive(Debug)]
pub(super) struct Cells<'a> {
    pub(super) line: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// True if the row is larger than the limit, and `text` is only its beginning.
    cut: bool,
    /// All cells, one after the other.
    text: &'a [u8],
    /// Where each of them ends.
    ends: &'a [usize],
}

pub(super) struct Table {
    delimiter: u8,
    reader: Reader,
    text: Vec<u8>,
    text_len: usize,
    ends: Vec<usize>,
    ends_len: usize,
    cut: bool,
    /// Where the current row begins, and how many bytes and line ends were read of it.
    line: u64,
    offset: u64,
    bytes: u64,
    line_ends: u64,
}

impl Table {
    pub(super) fn new(delimiter: u8) -> Self {
        let mut table = Self {
            delimiter,
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            text: vec![0; INPUT_ROW_BYTES_MAX],
            text_len: 0,
            ends: vec![0; INPUT_COLUMNS_MAX],
            ends_len: 0,
            cut: false,
            line: 1,
            offset: 0,
            bytes: 0,
            line_ends: 0,
        };
        table.reset();
        table
    }

    /// Goes back to the beginning.
    pub(super) fn reset(&mut self) {
        self.reader.reset();
        // It would skip a byte order mark of its own, if it comes in one piece: a blank line takes its mind off that.
        self.reader.read_record(b"\n", &mut [], &mut []);
        (self.text_len, self.ends_len, self.cut) = (0, 0, false);
        (self.line, self.offset, self.bytes, self.line_ends) = (1, 0, 0, 0);
    }

    /// A table with the same delimiter, at its beginning.
    pub(super) fn anew(&self) -> Self {
        Self::new(self.delimiter)
    }

    /// Bytes that belong to no row, before the first.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.offset += bytes;
    }

    pub(super) fn push(
        &mut self,
        mut block: &[u8],
        each: &mut impl FnMut(Cells<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while let Some((first, rest)) = block.split_first() {
            if self.bytes == 0 && matches!(first, b'\n' | b'\r') {
                self.offset += 1;
                self.line += u64::from(*first == b'\n');
                block = rest;
                continue;
            }
            block = self.read(block, each)?;
        }
        Ok(())
    }

    /// The list ends here.
    pub(super) fn finish(
        &mut self,
        each: &mut impl FnMut(Cells<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while self.bytes > 0 {
            self.read(&[], each)?;
        }
        Ok(())
    }

    /// Reads to the end of the row or of the block, and returns what is left of the block. An empty block ends the row.
    fn read<'b>(
        &mut self,
        block: &'b [u8],
        each: &mut impl FnMut(Cells<'_>) -> Result<(), Failure>,
    ) -> Result<&'b [u8], Failure> {
        let text = self.text.get_mut(self.text_len..).unwrap_or_default();
        let ends = self.ends.get_mut(self.ends_len..).unwrap_or_default();
        let (result, read, text_len, ends_len) = self.reader.read_record(block, text, ends);
        let (read, rest) = block.split_at_checked(read).unwrap_or_default();
        self.bytes += u64::try_from(read.len()).unwrap_or(u64::MAX);
        self.line_ends += u64::try_from(memchr::memchr_iter(b'\n', read).count()).unwrap_or(u64::MAX);
        self.text_len += text_len;
        self.ends_len += ends_len;
        match result {
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::OutputFull => {
                // The row goes on in the second half of the buffer, again and again; the first is shown.
                self.cut = true;
                self.text_len = self.text.len() / 2;
            }
            ReadRecordResult::OutputEndsFull => {
                self.cut = true;
                self.ends_len = 0;
            }
            ReadRecordResult::Record => self.end(u64::from(!read.is_empty()), each)?,
            ReadRecordResult::End => self.end(0, each)?,
        }
        Ok(rest)
    }

    fn end(
        &mut self,
        line_end: u64,
        each: &mut impl FnMut(Cells<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let seen = each(Cells {
            line: self.line,
            offset: self.offset,
            bytes: self.bytes - line_end,
            cut: self.cut,
            text: self.text.get(..self.text_len).unwrap_or_default(),
            ends: self.ends.get(..self.ends_len).unwrap_or_default(),
        });
        self.offset += self.bytes;
        self.line += self.line_ends;
        (self.bytes, self.line_ends, self.text_len, self.ends_len, self.cut) = (0, 0, 0, 0, false);
        seen
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("line", &self.line)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// The names of a table's columns, and what they mean.
#[derive(Debug)]
pub(super) struct Header {
    columns: Vec<(Box<str>, Column)>,
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
        if !names.contains(&&*options.url_column) {
            let names = display::quote(names.join(", ").as_bytes(), QUOTE_BYTES_MAX);
            let message = format!(
                "there is no column {:?} for the URL; the first line has: {names}",
                options.url_column
            );
            return Err(problem(message));
        }
        Ok(Self { columns: names.iter().map(|name| (Box::from(*name), columns.column(name))).collect() })
    }

    /// What a row comes to.
    pub(super) fn row(&self, row: Row, cells: &Cells<'_>) -> Result<Job, BadRow> {
        let text = match super::text(cells.text) {
            _ if cells.cut => {
                let message = format!(
                    "the row has {} bytes; the most is {INPUT_ROW_BYTES_MAX}, in {INPUT_COLUMNS_MAX} columns; perhaps \
                     a quote is not closed",
                    cells.bytes
                );
                return Err(BadRow::new(row, cells.text, Failure::new(ErrorKind::InputTooLong, message)));
            }
            Ok(text) => text,
            Err(failure) => return Err(BadRow::new(row, cells.text, failure)),
        };
        let mut draft = Draft::default();
        if cells.ends.len() != self.columns.len() {
            let (has, expected) = (cells.ends.len(), self.columns.len());
            let message = format!("the row has {has} cells; there are {expected} columns");
            draft.fail(Failure::new(ErrorKind::InputFormat, message));
        }
        for ((name, column), cell) in self.columns.iter().zip(split(text, cells.ends)) {
            draft.set(*column, name, Cell::Text(cell));
        }
        draft.finish(row, cells.text)
    }
}

fn split<'a>(text: &'a str, ends: &'a [usize]) -> impl Iterator<Item = &'a str> {
    let starts = std::iter::once(&0).chain(ends);
    starts.zip(ends).map(|(start, end)| text.get(*start..*end).unwrap_or_default())
}
