//! Ranges of bytes (RFC 9110, section 14): whether a partial response (206) is what was asked for.

use crate::error::ErrorKind;
use crate::outcome::Failure;
use crate::record::Headers;

/// A part of a body: `bytes 0-99/200`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first byte, from 0.
    pub first: u64,
    /// Its last byte.
    pub last: u64,
    /// The length of the whole, if it is known.
    pub total: Option<u64>,
}

impl Part {
    /// The part of a `Content-Range`; `None` if it is none, or contradicts itself.
    ///
    /// ```
    /// use overlapped_proto::range::Part;
    ///
    /// assert_eq!(Part::parse(b"bytes 0-99/200"), Some(Part { first: 0, last: 99, total: Some(200) }));
    /// assert_eq!(Part::parse(b"bytes 0-99/50"), None);
    /// ```
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (range, total) = std::str::from_utf8(bytes_of(value)?).ok()?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let total = if total == "*" { None } else { Some(number(total)?) };
        let part = Self { first: number(first)?, last: number(last)?, total };
        let fits = part.first <= part.last && part.last < total.unwrap_or(u64::MAX);
        fits.then_some(part)
    }

    /// Its length.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.last - self.first + 1
    }

    /// True if it reaches the end of the whole, as far as that is known.
    fn is_last(self) -> bool {
        self.total.is_none_or(|total| self.last + 1 == total)
    }

    fn told(self) -> String {
        let Self { first, last, total } = self;
        total.map_or_else(|| format!("{first}-{last}"), |total| format!("{first}-{last} of {total}"))
    }
}

/// The length of the body, from the `Content-Range` of a 416: `bytes */200`.
#[must_use]
pub fn length_of_unsatisfied(value: &[u8]) -> Option<u64> {
    number(std::str::from_utf8(bytes_of(value)?).ok()?.strip_prefix("*/")?)
}

/// Judges a 206 by the `Range` that was `asked` for, and by its own fields; `length` is that of its body, if it is known. True
/// if it has several parts, with a head each (multipart/byteranges).
///
/// # Errors
///
/// `body.range_mismatch`: it is another range, or does not say which.
pub fn judge(
    asked: &[u8],
    content_range: Option<&[u8]>,
    content_type: Option<&[u8]>,
    length: Option<u64>,
) -> Result<bool, Failure> {
    let Some(ranges) = parse(asked) else { return Ok(false) };
    let told = String::from_utf8_lossy(asked.get(b"bytes=".len()..).unwrap_or_default());
    let mismatch = |what: String| {
        Failure::new(ErrorKind::BodyRangeMismatch, format!("the range asked for is {told}: {what}"))
    };
    let is_multipart = content_type.is_some_and(|value| {
        value
            .get(..b"multipart/byteranges".len())
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/byteranges"))
    });
    let (Some(content_range), false) = (content_range, is_multipart) else {
        return match (is_multipart, ranges.len()) {
            (true, 2..) => Ok(true),
            (true, _) => Err(mismatch("the server sent several parts (multipart/byteranges)".to_owned())),
            (false, _) => {
                Err(mismatch("the server sent a part and does not say which (no Content-Range)".to_owned()))
            }
        };
    };
    let Some(part) = Part::parse(content_range) else {
        return Err(mismatch("the server sent a part whose Content-Range is invalid".to_owned()));
    };
    // Of several ranges a server may leave out some, and join those that adjoin.
    let is_right = match &*ranges {
        [range] => range.is(part),
        several => several.iter().any(|range| range.begins(part)),
    };
    if !is_right {
        return Err(mismatch(format!("the server sent bytes {}", part.told())));
    }
    match length.filter(|length| *length != part.bytes()) {
        Some(length) => Err(mismatch(format!("the server sent bytes {}, in {length} bytes", part.told()))),
        None => Ok(false),
    }
}

/// Judges a part whose request had this `If-Range`, so that it goes on with a body that was begun earlier: it must be of the same
/// version of the same encoding, and say how long the whole is.
///
/// # Errors
///
/// `body.range_mismatch`: it shows that it is not, or does not say so.
pub fn judge_continuation(if_range: &[u8], headers: &Headers) -> Result<(), Failure> {
    let mismatch = |what: &str| {
        let told = format!("the server sent a part that cannot be joined to what is there: {what}");
        Err(Failure::new(ErrorKind::BodyRangeMismatch, told))
    };
    let name = if if_range.starts_with(b"\"") { "etag" } else { "last-modified" };
    if headers.first(name).is_some_and(|validator| validator != if_range) {
        return mismatch("the body has changed since");
    }
    if headers.all("content-encoding").any(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return mismatch("it is compressed (Content-Encoding)");
    }
    if headers.first("content-range").and_then(Part::parse).is_some_and(|part| part.total.is_none()) {
        return mismatch("the server does not say how long the whole body is");
    }
    Ok(())
}

/// A range that is asked for.
#[derive(Clone, Copy)]
enum Range {
    From(u64, Option<u64>),
    /// This number of bytes at the end.
    Last(u64),
}

impl Range {
    fn begins(self, part: Part) -> bool {
        match (self, part.total) {
            (Self::From(first, _), _) => part.first == first,
            (Self::Last(bytes), Some(total)) => part.first == total.saturating_sub(bytes),
            (Self::Last(_), None) => true,
        }
    }

    fn is(self, part: Part) -> bool {
        let ends = match self {
            Self::From(_, Some(last)) => part.last == last || part.last < last && part.is_last(),
            Self::From(_, None) => part.is_last(),
            Self::Last(bytes) => part.is_last() && part.bytes() <= bytes,
        };
        ends && self.begins(part)
    }
}

/// The ranges of a `Range`; `None` if they are not of bytes.
fn parse(asked: &[u8]) -> Option<Vec<Range>> {
    let ranges = std::str::from_utf8(asked).ok()?.strip_prefix("bytes=")?;
    let range = |text: &str| {
        Some(match text.trim().split_once('-')? {
            ("", bytes) => Range::Last(number(bytes)?),
            (first, "") => Range::From(number(first)?, None),
            (first, last) => Range::From(number(first)?, Some(number(last)?)),
        })
    };
    ranges.split(',').map(range).collect()
}

/// What follows the unit of a `Content-Range`.
fn bytes_of(value: &[u8]) -> Option<&[u8]> {
    let (unit, rest) = value.split_at_checked(b"bytes ".len())?;
    unit.eq_ignore_ascii_case(b"bytes ").then(|| rest.trim_ascii())
}

/// Digits only: a sign is no number.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Ok`: whether there are several parts. `Err`: the end of what is told.
    fn check(asked: &str, content_range: &str, content_type: &str, expected: Result<bool, &str>) {
        let some = |value: &str| (!value.is_empty()).then(|| value.as_bytes().to_vec());
        let (range, kind) = (some(content_range), some(content_type));
        let found = judge(asked.as_bytes(), range.as_deref(), kind.as_deref(), None);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{asked}, {content_range}"),
            (Err(failure), Err(told)) => {
                assert_eq!(failure.kind, ErrorKind::BodyRangeMismatch);
                assert!(failure.message.ends_with(told), "{asked}, {content_range}: {}", failure.message);
            }
            (found, _) => panic!("{asked}, {content_range}: {found:?}"),
        }
    }

    #[test]
    fn a_part_is_the_one_that_was_asked_for() {
        for (asked, sent) in [
            ("0-4", "0-4/200"),
            ("0-4", "0-4/*"),
            ("0-4", "0-2/3"),
            ("100-", "100-199/200"),
            ("100-", "100-150/*"),
            ("-5", "195-199/200"),
            ("-500", "0-199/200"),
            ("-5", "7-9/*"),
            ("0-4, 10-14", "10-14/200"),
            ("0-4,5-9", "0-9/200"),
        ] {
            check(&format!("bytes={asked}"), &format!("bytes {sent}"), "text/plain", Ok(false));
        }
        check("items=0-4", "", "", Ok(false));
        check("bytes=0-4,10-14", "", "Multipart/ByteRanges; boundary=x", Ok(true));
    }

    #[test]
    fn another_part_is_an_error_that_says_so() {
        for (asked, sent) in [
            ("0-4", "100-104/200"),
            ("0-4", "0-9/200"),
            ("0-4", "0-2/200"),
            ("0-4", "1-4/200"),
            ("100-", "100-150/200"),
            ("100-", "0-199/200"),
            ("-5", "190-199/200"),
            ("-5", "0-4/200"),
            ("-5", "0-5/*"),
            ("0-4,10-14", "20-24/200"),
        ] {
            let told = format!("the server sent bytes {}", sent.replace("/*", "").replace('/', " of "));
            check(&format!("bytes={asked}"), &format!("bytes {sent}"), "", Err(&told));
        }
        for invalid in ["bytes 4-0/2", "bytes 0-4/4", "bytes */5", "items 0-4/5", "bytes +0-4/5", "bytes 0-4"]
        {
            check("bytes=0-4", invalid, "", Err("whose Content-Range is invalid"));
        }
        check("bytes=0-4", "", "", Err("(no Content-Range)"));
        check("bytes=0-4,7-9", "", "", Err("(no Content-Range)"));
        check("bytes=0-4", "", "multipart/byteranges", Err("(multipart/byteranges)"));
        let longer = judge(b"bytes=0-4", Some(b"bytes 0-4/9"), None, Some(9)).unwrap_err();
        assert!(longer.message.ends_with("bytes 0-4 of 9, in 9 bytes"), "{}", longer.message);
    }

    #[test]
    fn a_part_that_goes_on_is_of_the_same_version() {
        let check = |if_range: &str, fields: &[(&str, &str)], told: &str| {
            let mut headers = Headers::default();
            fields.iter().for_each(|(name, value)| headers.push(name, value.as_bytes()));
            match judge_continuation(if_range.as_bytes(), &headers) {
                Ok(()) => assert_eq!("", told, "{fields:?}"),
                Err(failure) => {
                    assert_eq!(failure.kind, ErrorKind::BodyRangeMismatch);
                    assert!(failure.message.contains(told) && !told.is_empty(), "{failure}");
                }
            }
        };
        let (range, tag, date) =
            (("content-range", "bytes 4-9/10"), "\"v1\"", "Tue, 03 Mar 2026 10:00:00 GMT");
        check(tag, &[range], "");
        check(tag, &[range, ("etag", tag), ("last-modified", date)], "");
        check(date, &[range, ("etag", "\"any\""), ("last-modified", date)], "");
        check(tag, &[range, ("content-encoding", " Identity")], "");
        check(tag, &[range, ("etag", "\"v2\"")], "changed");
        check(tag, &[range, ("etag", "W/\"v1\"")], "changed");
        check(date, &[range, ("last-modified", "Tue, 03 Mar 2026 10:00:01 GMT")], "changed");
        check(tag, &[range, ("content-encoding", "gzip")], "compressed");
        check(tag, &[range, ("content-encoding", "identity"), ("content-encoding", "br")], "compressed");
        check(tag, &[("content-range", "bytes 4-9/*")], "how long");
    }

    #[test]
    fn the_length_is_told_where_no_byte_is_in_the_range() {
        assert_eq!(length_of_unsatisfied(b"bytes */200"), Some(200));
        assert_eq!(length_of_unsatisfied(b"bytes 0-4/200"), None);
        assert_eq!(length_of_unsatisfied(b"bytes */*"), None);
    }
}
