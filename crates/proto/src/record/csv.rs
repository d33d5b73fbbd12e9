//! CSV (RFC 4180): one record a row, the columns of NDJSON, structures as JSON text.
//!
//! An empty field means that it did not happen; an empty text is written `""`. Lines end in CRLF; line ends inside a
//! text stay as they are, within quotes.

use crate::job::Row;

use std::borrow::Cow;

pub use super::column::Fields;
use super::column::{BodyNames, Cells, Form, Gap, Name, Value, in_pieces, visit};
use super::text::{header_text, push_address, push_hex, push_millis, push_number, push_time};
use super::{Body, Record};
use crate::base64;

/// Protection against CSV injection: whether text that a spreadsheet would run as a formula is escaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Text is written as it is.
    #[default]
    Off,
    /// Text that begins with `=`, `+`, `-`, `@`, a tab or a carriage return gets a `'` before it (`--csv-safe`).
    Formulas,
}

/// Appends the line of column names.
pub fn header(fields: &Fields, out: &mut Vec<u8>) {
    names(fields, b',', out);
    out.extend_from_slice(b"\r\n");
}

/// Appends the names of the columns, without a line end.
pub(super) fn names(fields: &Fields, separator: u8, out: &mut Vec<u8>) {
    let mut names = Names { out, separator, first: true };
    visit(&Record::new(Row(0), ""), *fields, &mut names);
}

/// Appends the record as one row.
///
/// # Panics
///
/// If the body is on disk: then [`write_around`] is needed.
pub fn write(record: &Record, fields: &Fields, guard: Guard, out: &mut Vec<u8>) {
    let gap = write_around(record, fields, guard, usize::MAX, out);
    assert!(gap.is_none(), "a body on disk is written piece by piece");
}

/// The same without the body if that is on disk or larger than `whole_max`; it belongs where the answer says, by
/// [`push_piece`].
pub fn write_around(
    record: &Record,
    fields: &Fields,
    guard: Guard,
    whole_max: usize,
    out: &mut Vec<u8>,
) -> Option<Gap> {
    let mut line = Line { out, guard, first: true, whole_max, gap: None };
    visit(record, *fields, &mut line);
    let gap = line.gap;
    out.extend_from_slice(b"\r\n");
    gap
}

/// Appends the next piece of a body. Of Base64 each but the last is a multiple of three bytes.
pub fn push_piece(form: Form, piece: &[u8], out: &mut Vec<u8>) {
    match form {
        Form::Text => push_doubled(piece, out),
        Form::Base64 => base64::push(piece, out),
    }
}

struct Line<'a> {
    out: &'a mut Vec<u8>,
    guard: Guard,
    first: bool,
    whole_max: usize,
    gap: Option<Gap>,
}

impl Line<'_> {
    fn next(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out
    }

    fn quoted(&mut self, text: &[u8]) {
        let formula = self.guard.is_against(text.first().copied());
        let out = self.next();
        if !formula
            && !text.is_empty()
            && !text.iter().any(|byte| matches!(byte, b'"' | b',' | b'\n' | b'\r'))
        {
            out.extend_from_slice(text);
            return;
        }
        out.push(b'"');
        if formula {
            out.push(b'\'');
        }
        push_doubled(text, out);
        out.push(b'"');
    }

    /// Leaves a gap in the column of the body's form; the two others are empty.
    fn leave_gap(&mut self, form: Form, first: Option<u8>) {
        let formula = self.guard.is_against(first);
        let at = match form {
            Form::Text => {
                let out = self.next();
                out.extend_from_slice(if formula { b"\"'" } else { b"\"" });
                let at = out.len();
                out.push(b'"');
                self.next();
                at
            }
            Form::Base64 => {
                self.next();
                self.next().len()
            }
        };
        self.next();
        self.gap = Some(Gap { at, form });
    }
}

impl Guard {
    /// True if text with this first byte is to be escaped.
    pub(super) fn is_against(self, first: Option<u8>) -> bool {
        match self {
            Self::Off => false,
            Self::Formulas => matches!(first, Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r')),
        }
    }
}

/// The text of a value that may need quotes.
pub(super) fn text_of(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(Cow::Borrowed(text)),
        Value::Header(bytes) => Some(header_text(bytes)),
        Value::Null
        | Value::Truth(_)
        | Value::Number(_)
        | Value::Millis(_)
        | Value::Time(_)
        | Value::Hex(_)
        | Value::Address(_)
        | Value::Word(_) => None,
    }
}

/// Appends a value that needs no quotes: any but a text, which CSV and TSV write differently.
pub(super) fn push_bare(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Truth(true) => out.extend_from_slice(b"true"),
        Value::Truth(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => push_number(number, out),
        Value::Millis(span) => push_millis(span, out),
        Value::Time(unix_us) => push_time(unix_us, out),
        Value::Hex(bytes) => push_hex(bytes, out),
        Value::Address(address) => push_address(address, out),
        Value::Word(word) => out.extend_from_slice(word.as_bytes()),
        Value::Text(_) | Value::Header(_) => unreachable!("each format writes texts itself"),
    }
}

/// What is between the quotes of a field: its own quotes are doubled.
fn push_doubled(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        let (head, tail) = rest.split_at(quote + 1);
        out.extend_from_slice(head);
        out.push(b'"');
        rest = tail;
    }
    out.extend_from_slice(rest);
}

impl Cells for Line<'_> {
    fn cell(&mut self, _: Name, value: Value<'_>) {
        match text_of(value) {
            Some(text) => self.quoted(text.as_bytes()),
            None => push_bare(value, self.next()),
        }
    }

    fn json(&mut self, _: Name, push: impl FnOnce(&mut Vec<u8>)) {
        let mut json = Vec::new();
        push(&mut json);
        self.quoted(&json);
    }

    fn body(&mut self, _: BodyNames, body: &Body) {
        if let Some((form, first)) = in_pieces(body, self.whole_max) {
            self.leave_gap(form, first);
            return;
        }
        match body {
            Body::None | Body::Spooled(_) => {
                for _ in 0..3 {
                    self.next();
                }
            }
            Body::Inline(bytes) => {
                if let Ok(text) = std::str::from_utf8(bytes) {
                    self.quoted(text.as_bytes());
                    self.next();
                } else {
                    self.next();
                    base64::push(bytes, self.next());
                }
                self.next();
            }
            Body::File(path) => {
                self.next();
                self.next();
                self.quoted(path.to_string_lossy().as_bytes());
            }
        }
    }
}

struct Names<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
    first: bool,
}

impl Cells for Names<'_> {
    fn cell(&mut self, name: Name, _: Value<'_>) {
        if !std::mem::take(&mut self.first) {
            self.out.push(self.separator);
        }
        self.out.extend_from_slice(name.plain.as_bytes());
    }

    fn json(&mut self, name: Name, _: impl FnOnce(&mut Vec<u8>)) {
        self.cell(name, Value::Null);
    }

    fn body(&mut self, names: BodyNames, _: &Body) {
        for name in [names.text, names.base64, names.path] {
            self.cell(name, Value::Null);
        }
    }
}
