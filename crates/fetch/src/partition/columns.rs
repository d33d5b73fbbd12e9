//! The columns of the shards: `id` and `url`, then the options of requests that a row of the list has, then its other
//! columns.
//!
//! The other columns are known only when the list was read, and so are their types: text, numbers and truth values as such,
//! and anything else, or a mixture, as JSON text that is marked as such in the schema, so that `fetch` reads from a shard
//! what it would have read from the list. If there are too many, or one has the name of a column that is there already,
//! they are one column, `meta`, of JSON objects, which is marked too.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field as Column, Schema, SchemaRef};
use overlapped_proto::input::{members, option_columns};
use overlapped_proto::limits::SHARD_COLUMNS_MAX;
use overlapped_proto::record::mark::MARKS;

use super::spool::fields;
use crate::tables::list::{MARK, MARK_JSON, MARK_MEMBERS};

/// What a row may have beside its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Field {
    Url,
    Id,
    Method,
    Headers,
    Body,
    BodyFile,
    Out,
    Etag,
    LastModified,
    Sha256,
    Timeout,
    Meta,
}

impl Field {
    /// Those that are columns of text.
    const TEXTS: [(Self, &'static str); 10] = [
        (Self::Url, "url"),
        (Self::Id, OWN_ID),
        (Self::Method, "method"),
        (Self::Headers, "headers"),
        (Self::Body, "body_base64"),
        (Self::BodyFile, "body_file"),
        (Self::Out, "out"),
        (Self::Etag, "etag"),
        (Self::LastModified, "last_modified"),
        (Self::Sha256, "sha256"),
    ];
}

/// The column of what the list calls `id`: the shards have the number of the row there.
const OWN_ID: &str = "list_id";

/// The columns of a list.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// Bits of the fields that a row has.
    seen: u16,
    /// The others, with what their values are.
    others: Vec<(Box<str>, Kind)>,
    /// There are too many of them, or their names are taken.
    as_objects: bool,
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing but null so far.
    Null,
    Text,
    Truth,
    Whole,
    Number,
    Json,
}

impl Kind {
    /// What a JSON value is. A number that would not come back with the same digits is JSON.
    fn of(value: &str) -> Self {
        match value.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b'"') => Self::Text,
            Some(b't' | b'f') => Self::Truth,
            Some(b'-' | b'0'..=b'9') => {
                if value.parse::<i64>().is_ok_and(|number| number.to_string() == value) {
                    Self::Whole
                } else if value.parse::<f64>().is_ok_and(|number| format!("{number:?}") == value) {
                    Self::Number
                } else {
                    Self::Json
                }
            }
            Some(_) | None => Self::Json,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Null, kind) | (kind, Self::Null) => kind,
            (one, other) if one == other => one,
            _ => Self::Json,
        }
    }
}

impl Columns {
    /// A row has this field.
    pub(super) fn see(&mut self, field: Field) {
        self.seen |= 1 << field as u8;
    }

    /// A row has these other columns.
    pub(super) fn see_meta(&mut self, meta: &str) {
        self.see(Field::Meta);
        if self.as_objects {
            return;
        }
        let Some(members) = members(meta) else {
            self.as_objects = true;
            return;
        };
        for (place, (name, value)) in members.into_iter().enumerate() {
            let kind = Kind::of(value);
            // Rows mostly have the same columns in the same order.
            let is_it = |other: &(Box<str>, Kind)| *other.0 == *name;
            let is_full = self.others.len() == SHARD_COLUMNS_MAX;
            let known = match self.others.get(place).is_some_and(is_it) {
                true => self.others.get_mut(place),
                false => self.others.iter_mut().find(|other| *other.0 == *name),
            };
            match known {
                Some((_, known)) => *known = known.and(kind),
                None if is_full || is_taken(&name) => {
                    self.as_objects = true;
                    return;
                }
                None => self.others.push((name.into(), kind)),
            }
        }
    }

    fn has(&self, field: Field) -> bool {
        self.seen & (1 << field as u8) != 0
    }

    /// Their schema.
    pub(super) fn schema(&self) -> SchemaRef {
        let mut columns =
            vec![Column::new("id", DataType::Int64, false), Column::new("url", DataType::Utf8, false)];
        let texts = Field::TEXTS.iter().skip(1).filter(|(field, _)| self.has(*field));
        columns.extend(texts.map(|(_, name)| Column::new(*name, DataType::Utf8, true)));
        if self.has(Field::Timeout) {
            columns.push(Column::new("timeout_s", DataType::Float64, true));
        }
        let marked = |name: &str, mark: &str| {
            let mark = HashMap::from([(MARK.to_owned(), mark.to_owned())]);
            Column::new(name, DataType::Utf8, true).with_metadata(mark)
        };
        if self.as_objects {
            columns.push(marked("meta", MARK_MEMBERS));
        } else {
            columns.extend(self.others.iter().map(|(name, kind)| match kind {
                Kind::Null | Kind::Text => Column::new(&**name, DataType::Utf8, true),
                Kind::Truth => Column::new(&**name, DataType::Boolean, true),
                Kind::Whole => Column::new(&**name, DataType::Int64, true),
                Kind::Number => Column::new(&**name, DataType::Float64, true),
                Kind::Json => marked(name, MARK_JSON),
            }));
        }
        Arc::new(Schema::new(columns))
    }
}

/// True for the name of a column that means something else than what a list calls so.
fn is_taken(name: &str) -> bool {
    matches!(name, "url" | "id" | OWN_ID)
        || MARKS.contains(&name)
        || option_columns().any(|option| option == name)
}

/// The columns of a batch while it is built.
pub(super) struct Batch<'a> {
    columns: &'a Columns,
    schema: &'a SchemaRef,
    ids: Int64Builder,
    texts: [StringBuilder; Field::TEXTS.len()],
    timeouts: Float64Builder,
    objects: StringBuilder,
    others: Vec<Other>,
    rows: usize,
}

enum Other {
    Text(StringBuilder),
    Truth(BooleanBuilder),
    Whole(Int64Builder),
    Number(Float64Builder),
    Json(StringBuilder),
}

impl<'a> Batch<'a> {
    pub(super) fn new(columns: &'a Columns, schema: &'a SchemaRef) -> Self {
        let other = |kind: &Kind| match kind {
            Kind::Null | Kind::Text => Other::Text(StringBuilder::new()),
            Kind::Truth => Other::Truth(BooleanBuilder::new()),
            Kind::Whole => Other::Whole(Int64Builder::new()),
            Kind::Number => Other::Number(Float64Builder::new()),
            Kind::Json => Other::Json(StringBuilder::new()),
        };
        Self {
            columns,
            schema,
            ids: Int64Builder::new(),
            texts: Default::default(),
            timeouts: Float64Builder::new(),
            objects: StringBuilder::new(),
            others: columns.others.iter().map(|(_, kind)| other(kind)).collect(),
            rows: 0,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a row from its fields in the spool.
    pub(super) fn push(&mut self, row: u64, bytes: &[u8]) {
        self.rows += 1;
        self.ids.append_value(i64::try_from(row).unwrap_or(i64::MAX));
        let mut texts: [Option<&[u8]>; Field::TEXTS.len()] = [None; Field::TEXTS.len()];
        let (mut timeout, mut meta) = (None, None);
        for (kind, value) in fields(bytes) {
            if kind == Field::Timeout as u8 {
                timeout = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            } else if kind == Field::Meta as u8 {
                meta = str::from_utf8(value).ok();
            } else if let Some(text) = texts.get_mut(usize::from(kind)) {
                *text = Some(value);
            }
        }
        for ((builder, (field, _)), text) in self.texts.iter_mut().zip(Field::TEXTS).zip(texts) {
            if field == Field::Url || self.columns.has(field) {
                builder.append_option(text.map(String::from_utf8_lossy));
            }
        }
        if self.columns.has(Field::Timeout) {
            self.timeouts.append_option(timeout);
        }
        if self.columns.as_objects {
            self.objects.append_option(meta);
        } else if !self.others.is_empty() {
            self.push_others(meta);
        }
    }

    fn push_others(&mut self, meta: Option<&str>) {
        let members = meta.and_then(members).unwrap_or_default();
        for (place, (other, (name, _))) in self.others.iter_mut().zip(&self.columns.others).enumerate() {
            let is_it = |member: &&(std::borrow::Cow<'_, str>, &str)| *member.0 == **name;
            let member = members.get(place).filter(is_it);
            let member = member.or_else(|| members.iter().find(is_it));
            other.push(member.map(|(_, value)| *value).filter(|value| *value != "null"));
        }
    }

    pub(super) fn finish(mut self) -> RecordBatch {
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(self.ids.finish())];
        for (builder, (field, _)) in self.texts.iter_mut().zip(Field::TEXTS) {
            if field == Field::Url || self.columns.has(field) {
                arrays.push(Arc::new(builder.finish()));
            }
        }
        if self.columns.has(Field::Timeout) {
            arrays.push(Arc::new(self.timeouts.finish()));
        }
        if self.columns.as_objects {
            arrays.push(Arc::new(self.objects.finish()));
        } else {
            arrays.extend(self.others.into_iter().map(Other::finish));
        }
        RecordBatch::try_new(Arc::clone(self.schema), arrays).expect("each row has a value in every column")
    }
}

impl Other {
    fn push(&mut self, value: Option<&str>) {
        match self {
            Self::Text(texts) => {
                texts.append_option(value.and_then(|value| serde_json::from_str::<String>(value).ok()));
            }
            Self::Truth(truths) => truths.append_option(value.map(|value| value == "true")),
            Self::Whole(numbers) => numbers.append_option(value.and_then(|value| value.parse().ok())),
            Self::Number(numbers) => numbers.append_option(value.and_then(|value| value.parse().ok())),
            Self::Json(texts) => texts.append_option(value),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut texts) | Self::Json(mut texts) => Arc::new(texts.finish()),
            Self::Truth(mut truths) => Arc::new(truths.finish()),
            Self::Whole(mut numbers) => Arc::new(numbers.finish()),
            Self::Number(mut numbers) => Arc::new(numbers.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(metas: &[&str], expected: &[(&str, Kind)]) {
        let mut columns = Columns::default();
        metas.iter().for_each(|meta| columns.see_meta(meta));
        let found: Vec<_> = columns.others.iter().map(|(name, kind)| (&**name, *kind)).collect();
        assert_eq!(found, expected, "{metas:?}");
        assert!(!columns.as_objects);
    }

    #[test]
    fn a_column_is_what_all_its_values_are() {
        check(&[r#"{"a":1,"b":"x"}"#, r#"{"b":null,"a":2}"#], &[("a", Kind::Whole), ("b", Kind::Text)]);
        check(&[r#"{"a":null}"#], &[("a", Kind::Null)]);
        check(&[r#"{"a":1}"#, r#"{"a":1.5}"#], &[("a", Kind::Json)]);
        check(&[r#"{"a":1.5}"#, r#"{"c":true}"#], &[("a", Kind::Number), ("c", Kind::Truth)]);
        for odd in ["1.50", "1e3", "-0", "99999999999999999999", "[1]", "{}", "0.1000000000000000055"] {
            check(&[&format!("{{\"a\":{odd}}}")], &[("a", Kind::Json)]);
        }
    }

    #[test]
    fn too_many_columns_are_one() {
        let mut columns = Columns::default();
        (0..=SHARD_COLUMNS_MAX).for_each(|at| columns.see_meta(&format!("{{\"c{at}\":1}}")));
        assert!(columns.as_objects);
        let mut columns = Columns::default();
        columns.see_meta(r#"{"list_id":1}"#);
        assert!(columns.as_objects);
    }
}
