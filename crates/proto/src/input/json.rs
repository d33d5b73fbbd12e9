//! JSON values as raw text: a number keeps its digits, and a value that is only passed through is not decoded.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object in order, with the text of each value, or what is wrong with it.
pub(super) type Parsed<'a> = Result<Vec<(Cow<'a, str>, &'a str)>, serde_json::Error>;

/// Reads an object.
///
/// # Errors
///
/// What is wrong with the text.
pub(super) fn members(object: &str) -> Parsed<'_> {
    serde_json::from_str::<Members<'_>>(object).map(|members| members.0)
}

/// Of the members with the same name for which `of` holds, only the last one stays, as Python, JavaScript and jq have it.
pub(super) fn last_of_each<'a>(
    members: Vec<(Cow<'a, str>, &'a str)>,
    of: impl Fn(&str) -> bool,
) -> Vec<(Cow<'a, str>, &'a str)> {
    let mut names: Vec<_> = members.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    if !names.is_sorted_by(|a, b| a < b) {
        let mut seen = BTreeSet::new();
        let last = members.into_iter().rev().filter(|(name, _)| !of(name) || seen.insert(name.clone()));
        let mut last: Vec<_> = last.collect();
        last.reverse();
        return last;
    }
    members
}

/// The elements of a list.
pub(super) fn elements(list: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(list).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// The text of a string.
pub(super) fn string(json: &str) -> Option<Cow<'_, str>> {
    let Text(text) = serde_json::from_str(json).ok()?;
    Some(text)
}

/// The text with `null` for `NaN`, `Infinity` and `-Infinity`, which Python writes and JSON does not have; `None` if it
/// has none of them.
pub(super) fn without_nan(text: &str) -> Option<String> {
    const NONE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
    let mut repaired = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        let (before, after) = rest.split_at(at);
        repaired.push_str(before);
        let (piece, replaced) = match NONE.iter().find(|none| after.starts_with(**none)) {
            Some(none) => (none.len(), true),
            None if after.starts_with('"') => (string_length(after), false),
            None => (1, false),
        };
        let (piece, further) = after.split_at_checked(piece)?;
        repaired.push_str(if replaced { "null" } else { piece });
        found |= replaced;
        rest = further;
    }
    repaired.push_str(rest);
    found.then_some(repaired)
}

/// The length of the string that this begins with, with its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// The text of the member `name` in what may be no JSON at all, as it is written there; and whether its end is there too.
pub(super) fn written<'a>(text: &'a [u8], name: &str) -> Option<(&'a [u8], bool)> {
    let quoted = format!("\"{name}\"");
    let value = memchr::memmem::find_iter(text, &quoted).find_map(|at| {
        let behind = text.get(at + quoted.len()..)?.trim_ascii_start();
        behind.strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")
    })?;
    // A quote that is not escaped may still be part of it: this is no JSON.
    let ends = |at: &usize| {
        let behind = value.get(at + 1..).unwrap_or_default().trim_ascii_start();
        let escaped = at.checked_sub(1).and_then(|before| value.get(before)) == Some(&b'\\');
        !escaped && behind.first().is_none_or(|byte| matches!(byte, b',' | b'}'))
    };
    let end = memchr::memchr_iter(b'"', value).find(ends);
    Some((value.get(..end.unwrap_or(value.len()))?, end.is_some()))
}

/// True if the text is one JSON value.
pub(super) fn is_valid(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// A value that can be written into a record: on one line, and within what other readers take (128 levels, no lone
/// surrogate).
pub(super) fn one_line(json: &str) -> Option<Cow<'_, str>> {
    let is_plain = !json.starts_with(['{', '[']) && !json.contains("\\u");
    if !is_plain && serde_json::from_str::<serde_json::Value>(json).is_err() {
        return None;
    }
    // A line end in JSON is never part of a string.
    Some(if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ").into() } else { json.into() })
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((name, value.get()));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A string that borrows from the list unless it has escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Str;

        impl<'de> Visitor<'de> for Str {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_for_no_number_is_null() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(without_nan(text).as_deref(), expected, "{text}");
        };
        check(r#"{"a":NaN,"b":[-Infinity, Infinity]}"#, Some(r#"{"a":null,"b":[null, null]}"#));
        check(r#"{"a":"NaN","b":-1,"c":"\"}"#, None);
        check(r#"{"a":"\"NaN","b":NaN}"#, Some(r#"{"a":"\"NaN","b":null}"#));
        check("\"NaN", None);
        check("", None);
    }
}
