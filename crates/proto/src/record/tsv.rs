//! TSV (IANA text/tab-separated-values): the columns of CSV, separated by tabs, one record a line.
//!
//! The format has neither quotes nor escapes. So that no cell ends early, a tab or line end in a text is written as a
//! blank, and a body is always in `body_base64`. Structures are JSON text, which has no raw tabs or line ends. What did not
//! happen is an empty cell, and so is an empty text.

use super::column::{BodyNames, Cells, Fields, Form, Gap, Name, Value, in_pieces, visit};
use super::csv::{Guard, names, push_bare, text_of};
use super::{Body, Record};
use crate::base64;

/// Appends the line of column names.
pub fn header(fields: &Fields, out: &mut Vec<u8>) {
    names(fields, b'\t', out);
    out.push(b'\n');
}

/// Appends the record as one row, without the body if that is on disk or larger than `whole_max`; it belongs where the
/// answer says, by [`super::csv::push_piece`].
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
    out.push(b'\n');
    gap
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
            self.out.push(b'\t');
        }
        self.out
    }

    fn text(&mut self, text: &[u8]) {
        let formula = self.guard.is_against(text.first().copied());
        let out = self.next();
        if formula {
            out.push(b'\'');
        }
        out.extend(text.iter().map(|byte| if matches!(byte, b'\t' | b'\n' | b'\r') { b' ' } else { *byte }));
    }
}

impl Cells for Line<'_> {
    fn cell(&mut self, _: Name, value: Value<'_>) {
        match text_of(value) {
            Some(text) => self.text(text.as_bytes()),
            None => push_bare(value, self.next()),
        }
    }

    fn json(&mut self, _: Name, push: impl FnOnce(&mut Vec<u8>)) {
        let mut json = Vec::new();
        push(&mut json);
        self.text(&json);
    }

    fn body(&mut self, _: BodyNames, body: &Body) {
        self.next();
        if in_pieces(body, self.whole_max).is_some() {
            let at = self.next().len();
            self.gap = Some(Gap { at, form: Form::Base64 });
            self.next();
            return;
        }
        match body {
            Body::None | Body::Spooled(_) => {
                self.next();
                self.next();
            }
            Body::Inline(bytes) => {
                base64::push(bytes, self.next());
                self.next();
            }
            Body::File(path) => {
                self.next();
                self.text(path.to_string_lossy().as_bytes());
            }
        }
    }
}
