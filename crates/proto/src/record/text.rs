//! Formats numbers, times and strings into a buffer. It allocates nothing but the growth of that buffer.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::calendar::civil;
use crate::time::Nanos;

/// A whole number. Short ones are most of those in a record, and are written with a copy of fixed size.
pub(crate) fn push_number(number: u64, out: &mut Vec<u8>) {
    match number {
        0..10 => out.push(digit(number)),
        10..100 => out.extend_from_slice(&[digit(number / 10), digit(number)]),
        100..1_000 => out.extend_from_slice(&[digit(number / 100), digit(number / 10), digit(number)]),
        _ => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
    }
}

/// The last decimal digit.
const fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

/// Milliseconds with three decimals, cut to whole microseconds.
pub(crate) fn push_millis(span: Nanos, out: &mut Vec<u8>) {
    let us = span.0 / 1_000;
    push_number(us / 1_000, out);
    out.extend_from_slice(&[b'.', digit(us / 100), digit(us / 10), digit(us)]);
}

/// RFC 3339 in UTC with microseconds, such as `2026-11-22T13:40:00.000001Z`.
pub fn push_time(unix_us: i64, out: &mut Vec<u8>) {
    let (days, us) = (unix_us.div_euclid(86_400_000_000), unix_us.rem_euclid(86_400_000_000));
    let (year, month, day) = civil(days);
    let (us, seconds) = (us.unsigned_abs() % 1_000_000, us.unsigned_abs() / 1_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let digits = |number: u64| [digit(number / 10), digit(number)];
    let ([century_0, century_1], [year_0, year_1]) = (digits(year / 100), digits(year));
    let ([month_0, month_1], [day_0, day_1]) = (digits(month), digits(day));
    out.extend_from_slice(&[
        century_0, century_1, year_0, year_1, b'-', month_0, month_1, b'-', day_0, day_1,
    ]);
    let ([hour_0, hour_1], [minute_0, minute_1]) = (digits(hour), digits(minute));
    let [second_0, second_1] = digits(second);
    out.extend_from_slice(&[b'T', hour_0, hour_1, b':', minute_0, minute_1, b':', second_0, second_1, b'.']);
    let ([us_0, us_1], [us_2, us_3], [us_4, us_5]) = (digits(us / 10_000), digits(us / 100), digits(us));
    out.extend_from_slice(&[us_0, us_1, us_2, us_3, us_4, us_5, b'Z']);
}

/// Lower-case hexadecimal.
pub(crate) fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    bytes.iter().for_each(|byte| out.extend_from_slice(&hex(*byte)));
}

/// A byte in lower-case hexadecimal.
pub(crate) const fn hex(byte: u8) -> [u8; 2] {
    const fn digit(nibble: u8) -> u8 {
        if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble }
    }
    [digit(byte >> 4), digit(byte & 15)]
}

/// An address, without brackets.
pub(crate) fn push_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            for (i, octet) in address.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                push_number(octet.into(), out);
            }
        }
        IpAddr::V6(address) => out.extend_from_slice(address.to_string().as_bytes()),
    }
}

/// A JSON string, with its quotes.
pub fn push_json(text: &str, out: &mut Vec<u8>) {
    if !push_plain(text.as_bytes(), out) {
        push_quoted(text.as_bytes(), out);
    }
}

/// Bytes as a JSON string if they are ASCII that needs no escape, as most are; false if nothing was written.
pub(crate) fn push_plain(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let plain = is_plain(bytes);
    if plain {
        out.reserve(bytes.len() + 2);
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
    }
    plain
}

/// A header value as a JSON string; see [`header_text`].
pub(crate) fn push_json_header(value: &[u8], out: &mut Vec<u8>) {
    if !push_plain(value, out) {
        push_quoted(header_text(value).as_bytes(), out);
    }
}

/// A header value as text: UTF-8 where it is, else ISO 8859-1, which every byte string is.
#[must_use]
pub fn header_text(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.iter().map(|&byte| char::from(byte)).collect()),
    }
}

/// UTF-8 as a JSON string, escaped where it must be.
pub(crate) fn push_quoted(utf8: &[u8], out: &mut Vec<u8>) {
    out.reserve(utf8.len() + 2);
    out.push(b'"');
    push_escaped(utf8, out);
    out.push(b'"');
}

/// What is between the quotes of a JSON string: UTF-8, or a part of it that is cut anywhere. Most text needs few escapes,
/// so it is copied in runs.
pub(crate) fn push_escaped(mut utf8: &[u8], out: &mut Vec<u8>) {
    while let Some((run, rest)) = first_escape(utf8).and_then(|at| utf8.split_at_checked(at)) {
        let Some((&byte, rest)) = rest.split_first() else { break };
        out.extend_from_slice(run);
        push_escape(byte, out);
        utf8 = rest;
    }
    out.extend_from_slice(utf8);
}

/// The index of the first byte that must be escaped: searched in blocks that the compiler vectorizes, then in words, the
/// last of which overlaps the one before it.
fn first_escape(text: &[u8]) -> Option<usize> {
    let is_clean = |block: &&[u8; 64]| !any(block, needs_escape);
    let clean = text.as_chunks::<64>().0.iter().take_while(is_clean).count() * 64;
    let (words, rest) = text.get(clean..)?.as_chunks::<8>();
    let first_in = |word: &[u8; 8]| {
        let found = escapes_in(u64::from_le_bytes(*word));
        (found != 0).then(|| found.trailing_zeros() as usize / 8)
    };
    let in_words = words.iter().enumerate().find_map(|(i, word)| Some(clean + i * 8 + first_in(word)?));
    match text.last_chunk::<8>() {
        _ if in_words.is_some() || rest.is_empty() => in_words,
        Some(last) => Some(text.len() - 8 + first_in(last)?),
        None => rest.iter().position(|&byte| needs_escape(byte)),
    }
}

/// True if every byte is ASCII that needs no escape in JSON. The last block overlaps the one before it.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    if blocks.iter().any(|block| any(block, is_odd)) {
        return false;
    }
    if let Some(last) = bytes.last_chunk::<16>() {
        return !rest.as_chunks::<16>().0.iter().any(|quarter| any_of(quarter, is_odd))
            && !any_of(last, is_odd);
    }
    let is_odd_word = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        (word & HIGH) | escapes_in(word) != 0
    };
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => !is_odd_word(first) && !is_odd_word(last),
        _ => !bytes.iter().any(|&byte| is_odd(byte)),
    }
}

/// True for a byte that is not plain: signed, all that is not ASCII is below a blank, like the control characters.
const fn is_odd(byte: u8) -> bool {
    (byte.cast_signed() < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// True if a byte of the block is `found`. Its quarters are combined lane by lane, which the compiler vectorizes.
#[inline(always)]
fn any(block: &[u8; 64], found: impl Fn(u8) -> bool) -> bool {
    let mask = |byte: u8| if found(byte) { u8::MAX } else { 0 };
    let mut lanes = [0_u8; 16];
    if let [a, b, c, d] = block.as_chunks::<16>().0 {
        for ((((lane, &a), &b), &c), &d) in lanes.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *lane = mask(a) | mask(b) | mask(c) | mask(d);
        }
    }
    u128::from_ne_bytes(lanes) != 0
}

/// The same for a quarter.
#[inline(always)]
fn any_of(quarter: &[u8; 16], found: impl Fn(u8) -> bool) -> bool {
    u128::from_ne_bytes(quarter.map(|byte| if found(byte) { u8::MAX } else { 0 })) != 0
}

const fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

const EACH: u64 = u64::MAX / 0xff;
const HIGH: u64 = EACH << 7;

/// The high bit of each byte of `word` that must be escaped; only the lowest is sure, for a borrow may set those above.
const fn escapes_in(word: u64) -> u64 {
    const fn below(word: u64, limit: u64) -> u64 {
        word.wrapping_sub(EACH * limit) & !word
    }
    let (quote, backslash) = (word ^ (EACH * b'"' as u64), word ^ (EACH * b'\\' as u64));
    (below(word, 0x20) | below(quote, 1) | below(backslash, 1)) & HIGH
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        other => {
            out.extend_from_slice(b"\\u00");
            push_hex(&[other], out);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times() {
        let check = |unix_us, expected: &str| assert_eq!(written(|out| push_time(unix_us, out)), expected);
        check(0, "1970-01-01T00:00:00.000000Z");
        check(-1, "1969-12-31T23:59:59.999999Z");
        check(951_782_400_000_000, "2000-02-29T00:00:00.000000Z");
        check(951_868_800_000_000, "2000-03-01T00:00:00.000000Z");
        check(1_795_354_800_123_456, "2026-11-22T13:40:00.123456Z");
        check(4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z");
        check(4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z");
        check(i64::MAX, "9999-12-31T04:00:54.775807Z");
    }

    #[test]
    fn milliseconds() {
        let check =
            |nanos, expected: &str| assert_eq!(written(|out| push_millis(Nanos(nanos), out)), expected);
        check(0, "0.000");
        check(999, "0.000");
        check(1_000, "0.001");
        check(12_345_678, "12.345");
        check(u64::MAX, "18446744073709.551");
    }

    proptest! {
        #[test]
        fn json_strings_parse_back(text in "(\\PC|[a-z]{0,40}|[\\x00-\\x1f\"\\\\\\x7f!#\\[\\]])*") {
            let json = written(|out| push_json(&text, out));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

    }
}
