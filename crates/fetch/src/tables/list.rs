//! A list in a table: its rows as lines of NDJSON, which the reader of lists parses like any other.
//!
//! Only the columns that a list has a use for are read, a batch at a time. Of a cell no more is passed on than the longest
//! row may have, so that a row which is too long becomes a bad row.

use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};
use overlapped_proto::base64;
use overlapped_proto::input::{Format, Options, option_columns, uses};
use overlapped_proto::limits::{
    INPUT_COLUMNS_MAX, INPUT_RECORD_BYTES_MAX, QUOTE_BYTES_MAX, TABLE_LIST_BATCH_BYTES, TABLE_LIST_BATCH_ROWS,
};
use overlapped_proto::record::mark::is_record;
use overlapped_proto::record::push_json;
use overlapped_proto::sanitize;
use parquet::basic::Compression;
use parquet::file::metadata::RowGroupMetaData;
use serde::de::IgnoredAny;

use super::{Kind, Reader, json};

/// The key in the schema of a column by which its text is recognised as JSON, and its values: the values of one column, or
/// objects whose members are columns.
pub(crate) const MARK: &str = "overlapped";
pub(crate) const MARK_JSON: &str = "json";
pub(crate) const MARK_MEMBERS: &str = "members";

/// The rows of a table as lines.
pub(crate) struct List {
    batches: Reader,
    columns: Vec<Column>,
    /// What each line begins with: `{`, or the marks of a record.
    head: &'static [u8],
    batch: Option<RecordBatch>,
    /// The next row of it.
    at: usize,
    /// The lines that are not read yet, and how much of them is.
    lines: Vec<u8>,
    read: usize,
    rows: Option<u64>,
}

/// A column that is used.
struct Column {
    /// Its name in JSON, and a colon.
    name: Vec<u8>,
    how: How,
}

/// How its values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// By their type.
    Value,
    /// Bytes are text.
    Text,
    /// Text is JSON.
    Json,
    /// As hexadecimal digits, if it is bytes.
    Hex,
    /// Text is a JSON object, whose members stand for themselves.
    Members,
}

/// The table that a file is as a list: by the format that was given, else by its name, else by its first bytes.
///
/// # Errors
///
/// It cannot be read.
///
/// # Blocking
///
/// On the disk.
pub(crate) fn kind(file: &File, path: &Path, format: Option<Format>) -> io::Result<Option<Kind>> {
    let named = || path.file_name().and_then(|name| Format::of_name(&name.to_string_lossy()));
    if let Some(format) = format.or_else(named) {
        return Ok(Kind::of(format));
    }
    let mut first = [0; MAGIC_BYTES];
    let count = std::os::unix::fs::FileExt::read_at(file, &mut first, 0)?;
    Ok(Kind::begins(first.get(..count).unwrap_or_default()))
}

/// Enough bytes for [`Kind::begins`].
const MAGIC_BYTES: usize = 6;

impl List {
    /// Opens a list, from this row on.
    ///
    /// # Errors
    ///
    /// It is no such table, has no column of URLs, or cannot be read.
    ///
    /// # Blocking
    ///
    /// On the disk.
    pub(crate) fn open(file: File, kind: Kind, options: &Options, from: u64) -> io::Result<Self> {
        guarded(|| Self::try_open(file, kind, options, from))?
    }

    fn try_open(file: File, kind: Kind, options: &Options, from: u64) -> io::Result<Self> {
        let mut head: &[u8] = b"{";
        let mut columns = Vec::new();
        let opened = Reader::open_list(file, kind, from, |schema| {
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            check(&names, options)?;
            if is_record(names.iter().copied()) {
                head = MARKED;
            }
            let used = uses(options, &names);
            let fields = schema.fields().iter().enumerate();
            let used: Vec<_> = fields.filter(|(place, _)| used.get(*place) == Some(&true)).collect();
            for (_, field) in &used {
                columns.push(Column::of(field, options)?);
            }
            Ok(used.into_iter().map(|(place, _)| place).collect())
        });
        let (batches, rows) = opened.map_err(|error| no_table(kind, error))?;
        Ok(Self { batches, columns, head, batch: None, at: 0, lines: Vec::new(), read: 0, rows })
    }

    /// The number of rows from the beginning of the table, where it is known.
    pub(crate) fn rows(&self) -> Option<u64> {
        self.rows
    }

    /// Makes the next lines. Without any the list is over.
    fn fill(&mut self) -> io::Result<()> {
        self.lines.clear();
        self.read = 0;
        while self.lines.is_empty() {
            let batch = match &self.batch {
                Some(batch) if self.at < batch.num_rows() => batch,
                _ => match guarded(|| self.batches.next())? {
                    None => return Ok(()),
                    Some(batch) => {
                        self.at = 0;
                        self.batch.insert(batch.map_err(damaged)?)
                    }
                },
            };
            while self.at < batch.num_rows() && self.lines.len() < LINES_BYTES {
                let begins = self.lines.len();
                self.lines.extend_from_slice(self.head);
                let mut comma = self.head.len() > 1;
                for (column, array) in self.columns.iter().zip(batch.columns()) {
                    // No more of a row is of use.
                    if self.lines.len() - begins > INPUT_RECORD_BYTES_MAX {
                        break;
                    }
                    if column.how == How::Members {
                        comma |= push_members(array, self.at, comma, &mut self.lines);
                        continue;
                    }
                    if std::mem::replace(&mut comma, true) {
                        self.lines.push(b',');
                    }
                    self.lines.extend_from_slice(&column.name);
                    column.how.push(array, self.at, &mut self.lines);
                }
                self.lines.extend_from_slice(b"}\n");
                self.at += 1;
            }
        }
        Ok(())
    }
}

/// The lines that are made at once have this many bytes, and one row more.
const LINES_BYTES: usize = 64 << 10;

/// By the names of two columns a list is recognised as results; their values are not used.
const MARKED: &[u8] = b"{\"exitcode\":null,\"wire_bytes\":null";

impl Read for List {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.lines.len() {
            self.fill()?;
        }
        let rest = self.lines.get(self.read..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        let (from, _) = rest.split_at(count);
        let (to, _) = buffer.split_at_mut(count);
        to.copy_from_slice(from);
        self.read += count;
        Ok(count)
    }
}

impl Column {
    fn of(field: &FieldRef, options: &Options) -> io::Result<Self> {
        let (name, kind) = (field.name().as_str(), field.data_type());
        if !json::has_form(kind) {
            return Err(invalid(format!(
                "the column {} has the type {kind}, which a list cannot have: leave it out",
                quote(name)
            )));
        }
        let mark = field.metadata().get(MARK).map(String::as_str);
        let is_bytes = matches!(
            values_of(kind),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
        );
        let (name, how) = match name {
            _ if *name == *options.url_column => (name, How::Text),
            _ if mark == Some(MARK_MEMBERS) => return Ok(Self { name: Vec::new(), how: How::Members }),
            "headers" | "json" => (name, How::Json),
            _ if mark == Some(MARK_JSON) => (name, How::Json),
            "body" if is_bytes => ("body_base64", How::Value),
            "sha256" if is_bytes => (name, How::Hex),
            _ if option_columns().any(|option| option == name) || name == "meta" => (name, How::Text),
            _ => (name, How::Value),
        };
        let mut text = Vec::new();
        push_json(name, &mut text);
        text.push(b':');
        Ok(Self { name: text, how })
    }
}

/// The type of the values that a column stands for.
fn values_of(kind: &DataType) -> &DataType {
    if let DataType::Dictionary(_, values) = kind { values } else { kind }
}

impl How {
    fn push(self, array: &dyn Array, at: usize, out: &mut Vec<u8>) {
        if array.is_null(at) {
            return out.extend_from_slice(b"null");
        }
        if let Some((words, at)) = json::word(array, at) {
            return if words.is_null(at) { out.extend_from_slice(b"null") } else { self.of(&words, at, out) };
        }
        self.of(array, at, out);
    }

    fn of(self, array: &dyn Array, at: usize, out: &mut Vec<u8>) {
        let text = json::text(array, at).map(|text| text.get(..INPUT_RECORD_BYTES_MAX).unwrap_or(text));
        match (self, text) {
            // They have no name of their own.
            (Self::Members, _) => {}
            (Self::Text, Some(bytes)) => push_text(bytes, out),
            (Self::Json, Some(bytes)) if serde_json::from_slice::<IgnoredAny>(bytes).is_ok() => {
                // A line end in JSON is never part of a string.
                out.extend(bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
            }
            (Self::Json, Some(bytes)) => push_text(bytes, out),
            (Self::Hex, Some(bytes)) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                push_json(&digits, out);
            }
            (Self::Value, Some(bytes)) if is_text(array) => push_text(bytes, out),
            (Self::Value, Some(bytes)) => push_json(&base64::encode(bytes), out),
            (_, None) => json::push(array, at, out.len() + INPUT_RECORD_BYTES_MAX, out),
        }
    }
}

fn is_text(array: &dyn Array) -> bool {
    matches!(array.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Appends the members of an object, with a comma before them if there is something else. False: it has none.
fn push_members(array: &dyn Array, at: usize, comma: bool, out: &mut Vec<u8>) -> bool {
    let text = if array.is_null(at) { None } else { json::text(array, at) };
    let object = text.filter(|text| serde_json::from_slice::<IgnoredAny>(text).is_ok());
    let members =
        object.map(<[u8]>::trim_ascii).and_then(|object| object.strip_prefix(b"{")?.strip_suffix(b"}"));
    let Some(members) = members.filter(|members| !members.trim_ascii().is_empty()) else { return false };
    if comma {
        out.push(b',');
    }
    out.extend(members.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    true
}

/// Text as a JSON string. Bytes that are not UTF-8 stay as they are, so that the row is a bad one; what cuts a character at
/// the end of a text that is too long does no harm.
fn push_text(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => push_json(text, out),
        Err(_) => {
            out.push(b'"');
            let harmless = |byte: &u8| if matches!(byte, ..b' ' | b'"' | b'\\') { b'?' } else { *byte };
            out.extend(bytes.iter().map(harmless));
            out.push(b'"');
        }
    }
}

/// Refuses a table without the column of URLs, and one that has a column of a request twice.
fn check(names: &[&str], options: &Options) -> io::Result<()> {
    if names.len() > INPUT_COLUMNS_MAX {
        let count = names.len();
        return Err(invalid(format!("the table has {count} columns; the most is {INPUT_COLUMNS_MAX}")));
    }
    let url = &*options.url_column;
    if !names.contains(&url) {
        let hint = match names.iter().find(|name| name.eq_ignore_ascii_case(url)) {
            Some(name) => format!("perhaps --url-col {name} is meant"),
            None => "--url-col NAME names the one with the URLs".to_owned(),
        };
        let all = quote(&names.join(", "));
        return Err(invalid(format!("there is no column {}; the table has: {all}; {hint}", quote(url))));
    }
    let is_record = is_record(names.iter().copied());
    let mut wanted: Vec<&str> = option_columns().collect();
    wanted.extend([url, "meta"]);
    let twice = wanted.iter().find(|wanted| {
        (**wanted != "meta" || is_record) && names.iter().filter(|name| *name == *wanted).count() > 1
    });
    match twice {
        Some(name) => Err(invalid(format!(
            "two columns have the name {}, which is an option of the request: rename one of them",
            quote(name)
        ))),
        None => Ok(()),
    }
}

/// A schema in which texts and bytes are views: then a word of a dictionary is in memory once, however often it occurs.
pub(super) fn with_views(schema: &Schema) -> SchemaRef {
    let view = |field: &FieldRef| -> FieldRef {
        let kind = field.data_type();
        let kind = if matches!(kind, DataType::Utf8 | DataType::LargeUtf8) {
            DataType::Utf8View
        } else if matches!(kind, DataType::Binary | DataType::LargeBinary) {
            DataType::BinaryView
        } else {
            return Arc::clone(field);
        };
        Arc::new(field.as_ref().clone().with_data_type(kind))
    };
    Arc::new(Schema::new(schema.fields().iter().map(view).collect::<Vec<_>>()))
}

/// How many rows are read at once, so that they take a bounded number of bytes. `groups`: bytes and rows of each row group.
pub(super) fn batch_rows(groups: impl Iterator<Item = (u64, u64)>) -> usize {
    let fits =
        |(bytes, rows): (u64, u64)| TABLE_LIST_BATCH_BYTES / bytes.checked_div(rows).unwrap_or(0).max(1);
    let rows = groups.map(fits).min().unwrap_or(u64::MAX);
    usize::try_from(rows).unwrap_or(usize::MAX).clamp(1, TABLE_LIST_BATCH_ROWS)
}

/// Refuses pages that are packed with what this program does not unpack: such a file is not damaged.
pub(super) fn check_packing(groups: &[RowGroupMetaData], is_used: impl Fn(usize) -> bool) -> io::Result<()> {
    let columns = groups.iter().flat_map(|group| group.columns().iter().enumerate());
    let mut used = columns.filter(|(leaf, _)| is_used(*leaf)).map(|(_, column)| column);
    let strange = used.find(|column| match column.compression() {
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::LZ4
        | Compression::LZ4_RAW
        | Compression::ZSTD(_) => false,
        Compression::BROTLI(_) | Compression::LZO => true,
    });
    strange.map_or(Ok(()), |column| {
        let packing = format!("{:?}", column.compression());
        let packing = packing.split('(').next().unwrap_or_default().to_lowercase();
        Err(invalid(format!(
            "the pages of the column {} are packed with {packing}: write the table with zstd, snappy, gzip or lz4",
            column.column_path().string()
        )))
    })
}

/// Runs a step of a reader of tables, which may panic at a file that is damaged.
fn guarded<T>(step: impl FnOnce() -> T) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|_| damaged(io::Error::other("it contradicts itself")))
}

fn damaged(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() {
        return error;
    }
    invalid(format!("the table is damaged: {error}"))
}

/// The error of a file that is not what its name says.
fn no_table(kind: Kind, error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() || error.get_ref().is_some_and(|error| error.is::<Told>()) {
        return error;
    }
    invalid(format!("it is no {} file, or is damaged ({error})", kind.name()))
}

/// A problem that is told in full.
#[derive(Debug)]
struct Told(String);

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Told {}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Told(message))
}

fn quote(text: &str) -> String {
    sanitize::quote(text.as_bytes(), QUOTE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use overlapped_proto::record::mark::MARKS;

    use super::*;

    #[test]
    fn the_marks_of_a_record_are_those_of_a_list() {
        let marks: String = MARKS.map(|mark| format!(",\"{mark}\":null")).concat();
        assert_eq!(String::from_utf8_lossy(MARKED), marks.replacen(',', "{", 1));
    }

    /// The schema that asks for views is refused as a whole if it differs from that of the file in anything else.
    #[test]
    fn text_is_read_as_views_also_where_a_column_is_marked() {
        use std::collections::HashMap;

        use arrow_array::{ArrayRef, BinaryArray, StringArray};
        use parquet::arrow::ArrowWriter;

        let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"x"[..]]));
        let column = |name, kind, is_nullable| arrow_schema::Field::new(name, kind, is_nullable);
        let mark = HashMap::from([(MARK.to_owned(), MARK_JSON.to_owned())]);
        let schema = Schema::new(vec![
            column("url", DataType::Utf8, false),
            column("o", DataType::Utf8, true).with_metadata(mark),
            column("raw", DataType::Binary, true),
        ]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![text.clone(), text, bytes]).unwrap();
        let path = std::env::temp_dir().join(format!("views-{}.parquet", std::process::id()));
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (mut reader, rows) = Reader::open_list(file, Kind::Parquet, 0, |_| Ok(vec![0, 1, 2])).unwrap();
        let read = reader.next().unwrap().unwrap();
        let kinds: Vec<_> = read.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        assert_eq!(kinds, [DataType::Utf8View, DataType::Utf8View, DataType::BinaryView]);
        assert_eq!(rows, Some(1));
    }

    #[test]
    fn batches_are_as_large_as_their_rows_allow() {
        assert_eq!(batch_rows([(100_000, 1_000)].into_iter()), TABLE_LIST_BATCH_ROWS);
        assert_eq!(batch_rows([(100, 1_000), (TABLE_LIST_BATCH_BYTES * 5, 50)].into_iter()), 10);
        assert_eq!(batch_rows([(u64::MAX, 1)].into_iter()), 1);
        assert_eq!(batch_rows([(0, 0)].into_iter()), TABLE_LIST_BATCH_ROWS);
        assert_eq!(batch_rows([].into_iter()), TABLE_LIST_BATCH_ROWS);
    }
}
