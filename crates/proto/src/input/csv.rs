//! An incremental parser of CSV (RFC 4180) and TSV (IANA text/tab-separated-values, which has no quotes).
//!
//! A quoted cell may contain line ends, so an unclosed quote takes the lines behind it into its cell. Each of those lines
//! is reported as a bad row, and none is fetched: text in a quoted cell may only look like a row. Memory is bounded by the
//! limit for one row.

use std::fmt;

use crate::limits::{INPUT_COLUMNS_MAX, INPUT_RECORD_BYTES_MAX, INPUT_ROW_BYTES_MAX};

/// What was read.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A row.
    Row(Cells<'a>),
    /// A line that is part of no row.
    Lost(Lost<'a>),
}

/// A row as cells.
#[derive(Debug)]
pub(super) struct Cells<'a> {
    pub(super) line: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// True if the row is larger than the limit, and this is only its beginning.
    pub(super) cut: bool,
    /// The raw text of the row, without the columns that are not used.
    pub(super) raw: &'a [u8],
    /// All cells, one after the other.
    pub(super) text: &'a [u8],
    /// The end of each cell in `text`.
    pub(super) ends: &'a [usize],
}

impl<'a> Cells<'a> {
    /// The bytes of one cell.
    pub(super) fn cell(&self, index: usize) -> Option<&'a [u8]> {
        let start = index.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.text.get(start..*self.ends.get(index)?)
    }
}

/// A line that was taken into a malformed quoted cell.
#[derive(Debug)]
pub(super) struct Lost<'a> {
    pub(super) line: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// The line, or its beginning.
    pub(super) text: &'a [u8],
    /// The line in which the row begins.
    pub(super) begins: u64,
    pub(super) why: Why,
    /// The delimiter between two cells.
    pub(super) delimiter: u8,
}

/// What is wrong with the row that a lost line is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The list ends within a quoted cell.
    Open,
    /// The quoted cell does not end within the limit for a row.
    Long,
    /// The quoted cell ends within a line, and text follows.
    Text,
    /// The row has this number of cells.
    Cells(usize),
    /// The line ends are within the URL.
    Url,
}

/// The layout of the rows, from the line of column names.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Where the URL is.
    pub(super) url: usize,
    /// For each column, whether it is read at all.
    pub(super) read: Vec<bool>,
    /// The rows are records of an earlier run.
    pub(super) record: bool,
}

/// Splits a table.
pub(super) struct Csv {
    delimiter: u8,
    quotes: bool,
    shape: Option<Shape>,
    state: State,
    /// The place of the next byte, and the line it is in.
    at: u64,
    line: u64,
    /// The last byte was a CR that ended a line: an LF right after it belongs to the same line end.
    after_cr: bool,
    /// Where the row begins, and its length once it has ended.
    begins: Place,
    bytes: u64,
    /// The row as far as it was read, without the columns that are not.
    held: Vec<u8>,
    /// More than the limit came, and `held` is the beginning.
    cut: bool,
    /// The lines of the row that ended within a quoted cell, then where the line begins that is being read.
    pieces: Vec<Piece>,
    piece: Place,
    /// The column that is being read, and the line in which its quote was opened.
    column: usize,
    opened: u64,
    /// Set once the row is known to be malformed.
    lost: Option<Why>,
    ready: Ready,
    /// What goes on after the lost lines were returned: the line that is read once more, as a row, or the bytes of the
    /// line that is lost too.
    again: Vec<u8>,
    text: Vec<u8>,
    ends: Vec<usize>,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first of a row; line ends here are blank lines.
    Row,
    /// The first of a cell.
    Cell,
    /// Part of a cell without quotes.
    Bare,
    /// Part of a quoted cell.
    Quoted,
    /// Behind a quote in a quoted cell: the cell has ended, or this is the second of two quotes that encode one.
    Closing,
    /// Behind a cell of several lines that does not end where its quote does: the rest of the line.
    Rest,
}

/// What is returned before more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    Nothing,
    /// The row.
    Row,
    /// Nothing more of the row.
    Reset,
    /// The lost lines, from this one on; then the row goes on or has ended.
    Lost(usize, After),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The quoted cell goes on.
    GoOn,
    /// The line that is being read is read once more, as a row.
    Again,
    Reset,
}

/// Where a line begins: in the list, and in what is held.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    line: u64,
    offset: u64,
    held: usize,
}

/// A line that has ended.
#[derive(Clone, Copy, Debug)]
struct Piece {
    from: Place,
    bytes: u64,
    held_end: usize,
}

impl Csv {
    pub(super) fn comma_separated() -> Self {
        Self::new(b',', true)
    }

    pub(super) fn tab_separated() -> Self {
        Self::new(b'\t', false)
    }

    fn new(delimiter: u8, quotes: bool) -> Self {
        Self {
            delimiter,
            quotes,
            shape: None,
            state: State::Row,
            at: 0,
            line: 1,
            after_cr: false,
            begins: Place::default(),
            bytes: 0,
            held: Vec::new(),
            cut: false,
            pieces: Vec::new(),
            piece: Place::default(),
            column: 0,
            opened: 0,
            lost: None,
            ready: Ready::Nothing,
            again: Vec::new(),
            text: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// A table of the same kind and shape, at its beginning.
    pub(super) fn anew(&self) -> Self {
        Self { shape: self.shape.clone(), ..Self::new(self.delimiter, self.quotes) }
    }

    /// Sets the layout of the rows, after the line of column names was read.
    pub(super) fn set_shape(&mut self, shape: Shape) {
        self.shape = Some(shape);
    }

    /// Bytes that belong to no row, before the first.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.at += bytes;
    }

    /// The next row or lost line; consumes what it has read from the front of `block`. `None`: the block is used up.
    pub(super) fn next(&mut self, block: &mut &[u8]) -> Option<Found<'_>> {
        loop {
            match self.ready {
                Ready::Nothing if block.is_empty() => return None,
                Ready::Nothing => {
                    let used = self.scan(block);
                    *block = block.get(used..).expect("a scan ends within its block");
                }
                Ready::Row => {
                    self.ready = Ready::Reset;
                    return Some(Found::Row(self.cells()));
                }
                Ready::Lost(next, after) if next < self.pieces.len() => {
                    self.ready = Ready::Lost(next + 1, after);
                    return self.lost_line(next).map(Found::Lost);
                }
                Ready::Lost(_, After::GoOn) => self.go_on(),
                Ready::Lost(_, After::Again) => self.read_again(),
                Ready::Lost(_, After::Reset) | Ready::Reset => self.reset(),
            }
        }
    }

    /// Ends the list. To be followed by calls of [`Csv::next`] until it returns `None`.
    pub(super) fn finish(&mut self) {
        match self.state {
            State::Row => {}
            State::Quoted => {
                self.lost.get_or_insert(Why::Open);
                self.end_row();
            }
            State::Cell | State::Bare | State::Closing | State::Rest => self.end_row(),
        }
    }

    /// Reads until something is ready, and returns the number of bytes read.
    fn scan(&mut self, block: &[u8]) -> usize {
        let mut used = 0;
        while self.ready == Ready::Nothing
            && let Some((&byte, _)) = block.get(used..).and_then(<[u8]>::split_first)
        {
            let rest = block.get(used..).expect("a scan is within its block");
            used += match self.state {
                State::Row => self.before_row(byte),
                State::Cell if byte == b'"' && self.quotes => {
                    self.opened = self.line;
                    self.go(&[byte], State::Quoted)
                }
                State::Cell => self.bare(rest, byte),
                State::Bare => self.bare(rest, byte),
                State::Quoted => match memchr::memchr3(b'"', b'\n', b'\r', rest) {
                    Some(0) if byte == b'"' => self.go(&[byte], State::Closing),
                    Some(0) => self.line_end_in_cell(byte),
                    end => self.go(rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest), State::Quoted),
                },
                State::Closing => self.closing(byte),
                State::Rest => match memchr::memchr2(b'\n', b'\r', rest) {
                    Some(0) => self.line_end(byte),
                    end => self.go(rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest), State::Rest),
                },
            };
        }
        used
    }

    fn before_row(&mut self, byte: u8) -> usize {
        if matches!(byte, b'\n' | b'\r') {
            self.end_line(byte);
            return 1;
        }
        self.begins = Place { line: self.line, offset: self.at, held: 0 };
        self.piece = self.begins;
        self.state = State::Cell;
        0
    }

    fn bare(&mut self, rest: &[u8], byte: u8) -> usize {
        match memchr::memchr3(self.delimiter, b'\n', b'\r', rest) {
            Some(0) if byte == self.delimiter => self.next_cell(),
            Some(0) => self.line_end(byte),
            end => self.go(rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest), State::Bare),
        }
    }

    fn closing(&mut self, byte: u8) -> usize {
        match byte {
            b'"' => self.go(&[byte], State::Quoted),
            b'\n' | b'\r' => self.line_end(byte),
            _ if byte == self.delimiter => self.next_cell(),
            // Within one line it is harmless, and other readers accept it too.
            _ if self.line == self.opened => self.go(&[byte], State::Bare),
            _ => {
                self.lost.get_or_insert(Why::Text);
                self.go(&[byte], State::Rest)
            }
        }
    }

    fn next_cell(&mut self) -> usize {
        // The delimiters are held for every column, so that cells keep their numbers.
        self.hold(&[self.delimiter]);
        self.column += 1;
        self.state = State::Cell;
        1
    }

    /// These bytes belong to the current cell.
    fn go(&mut self, bytes: &[u8], state: State) -> usize {
        self.state = state;
        if self.is_read() {
            self.hold(bytes);
        } else {
            self.pass(bytes);
        }
        bytes.len()
    }

    fn is_read(&self) -> bool {
        self.shape.as_ref().and_then(|shape| shape.read.get(self.column)).is_none_or(|read| *read)
    }

    fn is_record(&self) -> bool {
        self.shape.as_ref().is_some_and(|shape| shape.record)
    }

    fn bytes_max(&self) -> usize {
        if self.is_record() { INPUT_RECORD_BYTES_MAX } else { INPUT_ROW_BYTES_MAX }
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.at += length(bytes.len());
        self.after_cr = false;
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.pass(bytes);
        self.keep(bytes);
    }

    /// Holds bytes of the row, up to the limit.
    fn keep(&mut self, bytes: &[u8]) {
        let room = self.bytes_max().saturating_sub(self.held.len());
        self.held.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        match bytes.get(room..) {
            None | Some([]) => {}
            Some(_) if self.cut => {}
            Some(more) => self.overflow(more),
        }
    }

    /// The row is too long. If that is because lines were taken into a quoted cell, they are lost; if all of them are
    /// rows by themselves, a stray quote has opened that cell, and the line that is being read is a row again.
    fn overflow(&mut self, more: &[u8]) {
        let in_cell = self.state == State::Quoted && self.lost.is_none();
        if in_cell && self.pieces_are_rows() {
            self.again = self.held.split_off(self.piece.held.min(self.held.len()));
            self.again.extend_from_slice(more);
            self.lose(Why::Long, After::Again);
            return;
        }
        if in_cell && !self.pieces.is_empty() {
            self.again = more.to_vec();
            self.lose(Why::Long, After::GoOn);
        } else {
            self.cut = true;
        }
    }

    fn lose(&mut self, why: Why, after: After) {
        self.lost.get_or_insert(why);
        self.ready = Ready::Lost(0, after);
    }

    fn pieces_are_rows(&self) -> bool {
        let Some(shape) = self.shape.as_ref().filter(|shape| !shape.record) else { return false };
        let is_row = |piece: &Piece| {
            let line = self.held.get(piece.from.held..piece.held_end).unwrap_or_default();
            let mut cells = line.split(|byte| *byte == self.delimiter);
            let url = cells.clone().nth(shape.url).unwrap_or_default();
            let url = url.trim_ascii().strip_prefix(b"\"").unwrap_or(url.trim_ascii());
            let is_url = [&b"http://"[..], b"https://"].iter().any(|scheme| {
                url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            });
            is_url && cells.by_ref().count() == shape.read.len()
        };
        self.pieces.len() > 1 && self.pieces.iter().skip(1).all(is_row)
    }

    /// A line ends within a quoted cell.
    fn line_end_in_cell(&mut self, byte: u8) -> usize {
        let second_half = byte == b'\n' && self.after_cr;
        let piece = self.piece_to_here();
        self.pass(&[byte]);
        if self.is_read() && !self.cut {
            self.held.push(byte);
        }
        let next = Place { line: self.line + 1, offset: self.at, held: self.held.len() };
        if second_half {
            self.piece = Place { line: self.piece.line, ..next };
            return 1;
        }
        self.line = next.line;
        self.after_cr = byte == b'\r';
        // The lines of a column that is not read are not reported one by one: there may be millions.
        if self.is_read() || self.lost.is_some() {
            self.push_piece(piece);
            self.piece = next;
            if self.cut || self.lost.is_some() {
                self.lose(Why::Long, After::GoOn);
            } else if self.held.len() > self.bytes_max() {
                self.overflow(&[]);
            }
        }
        1
    }

    /// A blank line is not a row and is not reported.
    fn push_piece(&mut self, piece: Piece) {
        if piece.bytes > 0 {
            self.pieces.push(piece);
        }
    }

    fn piece_to_here(&self) -> Piece {
        Piece { from: self.piece, bytes: self.at - self.piece.offset, held_end: self.held.len() }
    }

    /// The row ends with its line.
    fn line_end(&mut self, byte: u8) -> usize {
        self.end_row();
        self.end_line(byte);
        1
    }

    fn end_line(&mut self, byte: u8) {
        if byte != b'\n' || !self.after_cr {
            self.line += 1;
        }
        self.at += 1;
        self.after_cr = byte == b'\r';
    }

    fn end_row(&mut self) {
        self.bytes = self.at - self.begins.offset;
        if self.lost.is_none() {
            self.split();
            self.lost = self.misfit();
        }
        self.ready = match self.lost {
            Some(_) => {
                self.push_piece(self.piece_to_here());
                Ready::Lost(0, After::Reset)
            }
            None => Ready::Row,
        };
        self.state = State::Row;
    }

    /// Why a row of several lines is malformed.
    fn misfit(&self) -> Option<Why> {
        let shape = self.shape.as_ref().filter(|_| !self.pieces.is_empty())?;
        if self.cut {
            return Some(Why::Long);
        }
        if self.ends.len() != shape.read.len() {
            return Some(Why::Cells(self.ends.len()));
        }
        let url = self.cells().cell(shape.url).unwrap_or_default().trim_ascii();
        url.iter().any(|byte| matches!(byte, b'\n' | b'\r')).then_some(Why::Url)
    }

    /// Splits the held row into cells.
    fn split(&mut self) {
        self.text.clear();
        self.ends.clear();
        let mut rest = &*self.held;
        loop {
            if let Some(quoted) = rest.strip_prefix(b"\"").filter(|_| self.quotes) {
                rest = unquote(quoted, &mut self.text);
            }
            let end = memchr::memchr(self.delimiter, rest);
            self.text.extend_from_slice(end.and_then(|end| rest.get(..end)).unwrap_or(rest));
            self.ends.push(self.text.len());
            match end.and_then(|end| rest.get(end + 1..)) {
                Some(further) => rest = further,
                None => break,
            }
        }
        self.cut |= self.ends.len() > INPUT_COLUMNS_MAX;
    }

    fn cells(&self) -> Cells<'_> {
        Cells {
            line: self.begins.line,
            offset: self.begins.offset,
            bytes: self.bytes,
            cut: self.cut,
            raw: &self.held,
            text: &self.text,
            ends: &self.ends,
        }
    }

    fn lost_line(&self, index: usize) -> Option<Lost<'_>> {
        let piece = self.pieces.get(index)?;
        Some(Lost {
            line: piece.from.line,
            offset: piece.from.offset,
            bytes: piece.bytes,
            text: self.held.get(piece.from.held..piece.held_end).unwrap_or_default(),
            begins: self.begins.line,
            why: self.lost?,
            delimiter: self.delimiter,
        })
    }

    /// Continues after the lost lines were returned; the line that is being read is lost too.
    fn go_on(&mut self) {
        self.pieces.clear();
        self.held.drain(..self.piece.held.min(self.held.len()));
        self.piece.held = 0;
        self.cut = false;
        self.ready = Ready::Nothing;
        let more = std::mem::take(&mut self.again);
        self.keep(&more);
    }

    /// Goes back to the beginning of the line that is being read.
    fn read_again(&mut self) {
        let (line, again) = (self.piece.line, std::mem::take(&mut self.again));
        self.reset();
        self.line = line;
        self.at -= length(again.len());
        self.scan(&again);
    }

    fn reset(&mut self) {
        self.held.clear();
        self.pieces.clear();
        (self.state, self.ready, self.lost) = (State::Row, Ready::Nothing, None);
        (self.column, self.cut) = (0, false);
    }
}

/// Appends the text up to the quote that closes a cell, and returns the rest.
fn unquote<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> &'a [u8] {
    while let Some(quote) = memchr::memchr(b'"', rest) {
        text.extend_from_slice(rest.get(..quote).expect("the quote was found there"));
        rest = rest.get(quote + 1..).expect("the quote was found there");
        match rest.strip_prefix(b"\"") {
            Some(further) => {
                text.push(b'"');
                rest = further;
            }
            None => return rest,
        }
    }
    text.extend_from_slice(rest);
    &[]
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl fmt::Debug for Csv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csv").field("line", &self.line).field("at", &self.at).finish_non_exhaustive()
    }
}
