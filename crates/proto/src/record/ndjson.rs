//! NDJSON: one JSON object a line, every column in every line, `null` for what did not happen.
//!
//! It writes into the caller's buffer and cannot fail: whatever a server sent, the line is valid JSON.

pub use super::column::Fields;
use super::column::{BodyNames, Cells, Form, Gap, Name, Value, in_pieces, visit};
use super::text::{
    push_address, push_escaped, push_hex, push_json, push_json_header, push_millis, push_number, push_plain,
    push_quoted, push_time,
};
use super::{Body, Record};
use crate::base64;

/// Appends the record as one line, `\n` included.
///
/// Of the three columns of a body only the one that applies is written (`"body":null` if there is none).
///
/// ```
/// use overlapped_proto::job::Row;
/// use overlapped_proto::record::{Record, ndjson};
///
/// let record = Record::new(Row(7), "http://example.org/");
/// let mut line = Vec::new();
/// ndjson::write(&record, &ndjson::Fields::default(), &mut line);
/// assert!(line.starts_with(br#"{"row":7,"id":null,"url":"http://example.org/","#));
/// ```
///
/// # Panics
///
/// If the body is on disk: then [`write_around`] is needed.
pub fn write(record: &Record, fields: &Fields, out: &mut Vec<u8>) {
    let gap = write_around(record, fields, usize::MAX, out);
    assert!(gap.is_none(), "a body on disk is written piece by piece");
}

/// The same without the body if that is on disk or larger than `whole_max`; it belongs where the answer says, by
/// [`push_piece`].
pub fn write_around(record: &Record, fields: &Fields, whole_max: usize, out: &mut Vec<u8>) -> Option<Gap> {
    let start = out.len();
    let mut line = Line { out, whole_max, gap: None };
    visit(record, *fields, &mut line);
    let gap = line.gap;
    if let Some(comma) = out.get_mut(start) {
        *comma = b'{'; // Every member begins with a comma; the first one's becomes the brace.
    }
    out.extend_from_slice(b"}\n");
    gap
}

/// Appends the next piece of a body. Of Base64 each but the last is a multiple of three bytes.
pub fn push_piece(form: Form, piece: &[u8], out: &mut Vec<u8>) {
    match form {
        Form::Text => push_escaped(piece, out),
        Form::Base64 => base64::push(piece, out),
    }
}

struct Line<'a> {
    out: &'a mut Vec<u8>,
    whole_max: usize,
    gap: Option<Gap>,
}

impl Line<'_> {
    #[inline(always)]
    fn key(&mut self, name: Name) -> &mut Vec<u8> {
        self.out.extend_from_slice(name.json.as_bytes());
        self.out
    }

    fn inline(&mut self, names: BodyNames, bytes: &[u8]) {
        let start = self.out.len();
        if push_plain(bytes, self.key(names.text)) {
            return;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => push_quoted(text.as_bytes(), self.out),
            Err(_) => {
                self.out.truncate(start);
                quoted(self.key(names.base64), |out| base64::push(bytes, out));
            }
        }
    }
}

impl Cells for Line<'_> {
    #[inline(always)]
    fn cell(&mut self, name: Name, value: Value<'_>) {
        if matches!(value, Value::Null) {
            return self.out.extend_from_slice(name.json_null.as_bytes());
        }
        let out = self.key(name);
        match value {
            Value::Null => unreachable!("it was written with its name"),
            Value::Truth(true) => out.extend_from_slice(b"true"),
            Value::Truth(false) => out.extend_from_slice(b"false"),
            Value::Number(number) => push_number(number, out),
            Value::Millis(span) => push_millis(span, out),
            Value::Time(unix_us) => quoted(out, |out| push_time(unix_us, out)),
            Value::Hex(bytes) => quoted(out, |out| push_hex(bytes, out)),
            Value::Address(address) => quoted(out, |out| push_address(address, out)),
            Value::Word(word) => quoted(out, |out| out.extend_from_slice(word.as_bytes())),
            Value::Text(text) => push_json(text, out),
            Value::Header(bytes) => push_json_header(bytes, out),
        }
    }

    fn json(&mut self, name: Name, push: impl FnOnce(&mut Vec<u8>)) {
        push(self.key(name));
    }

    fn body(&mut self, names: BodyNames, body: &Body) {
        if let Some((form, _)) = in_pieces(body, self.whole_max) {
            let out = self.key(match form {
                Form::Text => names.text,
                Form::Base64 => names.base64,
            });
            out.push(b'"');
            let at = out.len();
            out.push(b'"');
            self.gap = Some(Gap { at, form });
            return;
        }
        match body {
            Body::None | Body::Spooled(_) => self.cell(names.text, Value::Null),
            Body::Inline(bytes) => self.inline(names, bytes),
            Body::File(path) => push_json(&path.to_string_lossy(), self.key(names.path)),
        }
    }
}

fn quoted(out: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    push(out);
    out.push(b'"');
}
