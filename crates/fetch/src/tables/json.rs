//! Values of Arrow as JSON text. Nested values are walked with a stack of steps, not by recursion.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the types are those of Arrow; `has_form` names each of them"
)]

use std::io::Write as _;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, make_array};
use arrow_schema::{DataType, TimeUnit};
use overlapped_proto::base64;
use overlapped_proto::record::{date, push_json, push_time};

/// True if values of this type have a form in JSON.
pub(super) fn has_form(kind: &DataType) -> bool {
    let mut open = vec![kind];
    while let Some(kind) = open.pop() {
        match kind {
            DataType::Null
            | DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64
            | DataType::Float16
            | DataType::Float32
            | DataType::Float64
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Duration(_) => {}
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                open.push(item.data_type());
            }
            DataType::Struct(fields) => open.extend(fields.iter().map(|field| field.data_type())),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) => match fields.first().map(|keys| keys.data_type()) {
                    Some(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => {
                        open.extend(fields.get(1).map(|values| values.data_type()));
                    }
                    Some(_) | None => return false,
                },
                _ => return false,
            },
            DataType::Dictionary(_, values) => open.push(values),
            DataType::Interval(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::Union(..)
            | DataType::RunEndEncoded(..) => return false,
        }
    }
    true
}

/// The text at a place of an array of strings, or of bytes that are meant as text.
pub(super) fn text(array: &dyn Array, at: usize) -> Option<&[u8]> {
    match array.data_type() {
        DataType::Utf8 => array.as_string_opt::<i32>().map(|texts| texts.value(at).as_bytes()),
        DataType::LargeUtf8 => array.as_string_opt::<i64>().map(|texts| texts.value(at).as_bytes()),
        DataType::Utf8View => array.as_string_view_opt().map(|texts| texts.value(at).as_bytes()),
        DataType::Binary => array.as_binary_opt::<i32>().map(|texts| texts.value(at)),
        DataType::LargeBinary => array.as_binary_opt::<i64>().map(|texts| texts.value(at)),
        DataType::BinaryView => array.as_binary_view_opt().map(|texts| texts.value(at)),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary_opt().map(|texts| texts.value(at)),
        _ => None,
    }
}

/// What is left to be written of a value.
enum Step {
    Value(ArrayRef, usize),
    /// The items of a list from a place on; `true`: the first of them.
    Items(ArrayRef, usize, usize, bool),
    /// The fields of a structure from one on.
    Fields(ArrayRef, usize, usize),
    /// The entries of a map, as keys and values, from a place on; `true`: the first of them.
    Entries(ArrayRef, ArrayRef, usize, usize, bool),
    Close(u8),
}

/// Appends the value at a place of an array, and stops within it once `out` has more than `most` bytes.
pub(super) fn push(array: &dyn Array, at: usize, most: usize, out: &mut Vec<u8>) {
    if scalar(array, at, out) {
        return;
    }
    let mut steps = vec![Step::Value(make_array(array.to_data()), at)];
    while let Some(step) = steps.pop() {
        if out.len() > most {
            return;
        }
        match step {
            Step::Value(array, at) if scalar(&array, at, out) => {}
            Step::Value(array, at) => open(&array, at, &mut steps, out),
            Step::Items(items, at, end, is_first) => {
                if at < end {
                    comma_unless(is_first, out);
                    steps.push(Step::Items(items.clone(), at + 1, end, false));
                    steps.push(Step::Value(items, at));
                }
            }
            Step::Fields(structure, at, field) => {
                let fields = structure.as_struct();
                if let (Some(column), Some(name)) =
                    (fields.columns().get(field), fields.column_names().get(field))
                {
                    comma_unless(field == 0, out);
                    push_json(name, out);
                    out.push(b':');
                    let column = column.clone();
                    steps.push(Step::Fields(structure, at, field + 1));
                    steps.push(Step::Value(column, at));
                }
            }
            Step::Entries(keys, values, at, end, is_first) => {
                if at < end {
                    comma_unless(is_first, out);
                    let key = text(&keys, at).unwrap_or_default();
                    push_json(&String::from_utf8_lossy(key), out);
                    out.push(b':');
                    steps.push(Step::Entries(keys, values.clone(), at + 1, end, false));
                    steps.push(Step::Value(values, at));
                }
            }
            Step::Close(byte) => out.push(byte),
        }
    }
}

fn comma_unless(is_first: bool, out: &mut Vec<u8>) {
    if !is_first {
        out.push(b',');
    }
}

/// Begins a nested value.
fn open(array: &ArrayRef, at: usize, steps: &mut Vec<Step>, out: &mut Vec<u8>) {
    let whole = |items: ArrayRef| {
        let end = items.len();
        Step::Items(items, 0, end, true)
    };
    let (bracket, step) = match array.data_type() {
        DataType::List(_) => (b'[', whole(array.as_list::<i32>().value(at))),
        DataType::LargeList(_) => (b'[', whole(array.as_list::<i64>().value(at))),
        DataType::FixedSizeList(..) => (b'[', whole(array.as_fixed_size_list().value(at))),
        DataType::Struct(_) => (b'{', Step::Fields(array.clone(), at, 0)),
        DataType::Map(..) => {
            let entries = array.as_map().value(at);
            let (keys, values) = (entries.column(0).clone(), entries.column(1).clone());
            let end = entries.len();
            (b'{', Step::Entries(keys, values, 0, end, true))
        }
        DataType::Dictionary(..) => match word(array, at) {
            Some((words, at)) => return steps.push(Step::Value(words, at)),
            None => return out.extend_from_slice(b"null"),
        },
        // No column of another type is read.
        _ => return out.extend_from_slice(b"null"),
    };
    out.push(bracket);
    steps.push(Step::Close(bracket + 2));
    steps.push(step);
}

/// What a place of a dictionary stands for.
pub(super) fn word(array: &dyn Array, at: usize) -> Option<(ArrayRef, usize)> {
    let dictionary = array.as_any_dictionary_opt()?;
    let keys = dictionary.keys();
    macro_rules! first_of {
        ($($kind:ty),+) => {
            None$(.or_else(|| usize::try_from(keys.as_primitive_opt::<$kind>()?.value(at)).ok()))+
        };
    }
    let place: Option<usize> =
        first_of!(Int32Type, Int8Type, Int16Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type);
    Some((dictionary.values().clone(), place.filter(|place| *place < dictionary.values().len())?))
}

/// Appends a value that is not nested. False: it is.
fn scalar(array: &dyn Array, at: usize, out: &mut Vec<u8>) -> bool {
    if array.is_null(at) {
        out.extend_from_slice(b"null");
        return true;
    }
    macro_rules! number {
        ($kind:ty) => {{
            let _ = write!(out, "{}", array.as_primitive::<$kind>().value(at));
        }};
    }
    macro_rules! decimal {
        ($kind:ty) => {{
            let _ = write!(out, "\"{}\"", array.as_primitive::<$kind>().value_as_string(at));
        }};
    }
    macro_rules! whole {
        ($kind:ty) => {
            i64::from(array.as_primitive::<$kind>().value(at))
        };
    }
    match array.data_type() {
        DataType::Null => out.extend_from_slice(b"null"),
        DataType::Boolean => {
            out.extend_from_slice(if array.as_boolean().value(at) { b"true" } else { b"false" })
        }
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float16 => float(array.as_primitive::<Float16Type>().value(at).to_f64(), out),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(at);
            // With the digits of a float, not with those of the double that it equals.
            let text = format!("{value:?}");
            out.extend_from_slice(if value.is_finite() { text.as_bytes() } else { b"null" });
        }
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(at), out),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            push_json(&String::from_utf8_lossy(text(array, at).unwrap_or_default()), out);
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            push_json(&base64::encode(text(array, at).unwrap_or_default()), out);
        }
        DataType::Decimal32(..) => decimal!(Decimal32Type),
        DataType::Decimal64(..) => decimal!(Decimal64Type),
        DataType::Decimal128(..) => decimal!(Decimal128Type),
        DataType::Decimal256(..) => decimal!(Decimal256Type),
        DataType::Date32 => push_json(&date(whole!(Date32Type).saturating_mul(86_400)), out),
        DataType::Date64 => push_json(&date(whole!(Date64Type).div_euclid(1_000)), out),
        DataType::Time32(TimeUnit::Second) => time(whole!(Time32SecondType).saturating_mul(1_000_000), out),
        DataType::Time32(_) => time(whole!(Time32MillisecondType).saturating_mul(1_000), out),
        DataType::Time64(TimeUnit::Nanosecond) => time(whole!(Time64NanosecondType).div_euclid(1_000), out),
        DataType::Time64(_) => time(whole!(Time64MicrosecondType), out),
        DataType::Timestamp(unit, zone) => {
            let us = match unit {
                TimeUnit::Second => whole!(TimestampSecondType).saturating_mul(1_000_000),
                TimeUnit::Millisecond => whole!(TimestampMillisecondType).saturating_mul(1_000),
                TimeUnit::Microsecond => whole!(TimestampMicrosecondType),
                TimeUnit::Nanosecond => whole!(TimestampNanosecondType).div_euclid(1_000),
            };
            out.push(b'"');
            push_time(us, out);
            if zone.is_none() {
                // A time of day somewhere, not a point in time.
                out.pop();
            }
            out.push(b'"');
        }
        DataType::Duration(unit) => {
            let (count, a_second) = match unit {
                TimeUnit::Second => (whole!(DurationSecondType), 1.0),
                TimeUnit::Millisecond => (whole!(DurationMillisecondType), 1e3),
                TimeUnit::Microsecond => (whole!(DurationMicrosecondType), 1e6),
                TimeUnit::Nanosecond => (whole!(DurationNanosecondType), 1e9),
            };
            float(count as f64 / a_second, out);
        }
        _ => return false,
    }
    true
}

fn float(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        let _ = write!(out, "{value:?}");
    } else {
        out.extend_from_slice(b"null");
    }
}

/// The time of a day.
fn time(us: i64, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    push_time(us, &mut text);
    let time = text.split(|&byte| byte == b'T').nth(1).unwrap_or_default();
    out.push(b'"');
    out.extend_from_slice(time.strip_suffix(b"Z").unwrap_or(time));
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder, StringDictionaryBuilder};
    use arrow_array::*;

    use super::*;

    fn check(array: &dyn Array, expected: &[&str]) {
        assert!(has_form(array.data_type()), "{}", array.data_type());
        let texts: Vec<String> = (0..array.len())
            .map(|at| {
                let mut out = Vec::new();
                push(array, at, usize::MAX, &mut out);
                let text = String::from_utf8(out).unwrap();
                serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
                text
            })
            .collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn values() {
        check(&Int64Array::from(vec![Some(-7), None]), &["-7", "null"]);
        check(&Float64Array::from(vec![1.5, f64::NAN, 1e300, 2.0]), &["1.5", "null", "1e300", "2.0"]);
        check(&Float32Array::from(vec![0.1, f32::INFINITY]), &["0.1", "null"]);
        check(&BooleanArray::from(vec![true, false]), &["true", "false"]);
        check(&StringArray::from(vec!["a\"\n"]), &["\"a\\\"\\n\""]);
        check(&StringViewArray::from(vec!["a"]), &["\"a\""]);
        check(&BinaryArray::from(vec![&b"\xff"[..]]), &["\"/w==\""]);
        check(&Date32Array::from(vec![1]), &["\"1970-01-02\""]);
        check(&TimestampMillisecondArray::from(vec![1]), &["\"1970-01-01T00:00:00.001000\""]);
        check(
            &TimestampSecondArray::from(vec![1]).with_timezone("UTC"),
            &["\"1970-01-01T00:00:01.000000Z\""],
        );
        check(&Time64NanosecondArray::from(vec![61_000_001_000]), &["\"00:01:01.000001\""]);
        check(&DurationMillisecondArray::from(vec![1_500]), &["1.5"]);
        check(&Decimal128Array::from(vec![12_345]).with_precision_and_scale(9, 2).unwrap(), &["\"123.45\""]);
        check(&NullArray::new(1), &["null"]);
    }

    #[test]
    fn nested_values() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), None]);
        lists.append_null();
        lists.append_value(std::iter::empty::<Option<&str>>());
        let lists = lists.finish();
        check(&lists, &["[\"a\",null]", "null", "[]"]);
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        maps.keys().append_value("k");
        maps.values().append_value("v");
        maps.append(true).unwrap();
        maps.append(true).unwrap();
        check(&maps.finish(), &["{\"k\":\"v\"}", "{}"]);
        let column = |name, array: ArrayRef| {
            (Arc::new(arrow_schema::Field::new(name, array.data_type().clone(), true)), array)
        };
        let columns =
            vec![column("x", Arc::new(Int8Array::from(vec![1, 2, 3]))), column("y", Arc::new(lists))];
        check(
            &StructArray::from(columns),
            &["{\"x\":1,\"y\":[\"a\",null]}", "{\"x\":2,\"y\":null}", "{\"x\":3,\"y\":[]}"],
        );
        let mut words = StringDictionaryBuilder::<Int8Type>::new();
        words.append_value("a");
        words.append_null();
        words.append_value("a");
        check(&words.finish(), &["\"a\"", "null", "\"a\""]);
    }

    #[test]
    fn a_value_stops_where_it_is_too_long() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value((0..100_000).map(|_| Some("abc")));
        let mut out = Vec::new();
        push(&lists.finish(), 0, 1_000, &mut out);
        assert!(out.len() < 1_100, "{}", out.len());
    }
}
