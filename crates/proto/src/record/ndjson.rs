//! NDJSON: one JSON object a line, every column in every line, `null` for what did not happen.
//!
//! It writes straight into the caller's buffer and never fails: whatever a server sent, the line parses back.

pub use super::column::Fields;
use super::column::{BodyNames, Cells, Name, Value, visit};
use super::text::{
    push_address, push_base64, push_hex, push_json, push_json_header, push_millis, push_number, push_time,
};
use super::{Body, Record};

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
pub fn write(record: &Record, fields: &Fields, out: &mut Vec<u8>) {
    let start = out.len();
    visit(record, *fields, &mut Line(out));
    if let Some(comma) = out.get_mut(start) {
        *comma = b'{'; // Every member begins with a comma; the first one's becomes the brace.
    }
    out.extend_from_slice(b"}\n");
}

struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    #[inline(always)]
    fn key(&mut self, name: Name) -> &mut Vec<u8> {
        self.0.extend_from_slice(name.json.as_bytes());
        self.0
    }
}

impl Cells for Line<'_> {
    #[inline(always)]
    fn cell(&mut self, name: Name, value: Value<'_>) {
        let out = self.key(name);
        match value {
            Value::Null => out.extend_from_slice(b"null"),
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
        match body {
            Body::None => self.cell(names.text, Value::Null),
            Body::Inline(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => push_json(text, self.key(names.text)),
                Err(_) => quoted(self.key(names.base64), |out| push_base64(bytes, out)),
            },
            Body::File(path) => push_json(&path.to_string_lossy(), self.key(names.path)),
        }
    }
}

fn quoted(out: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    push(out);
    out.push(b'"');
}
