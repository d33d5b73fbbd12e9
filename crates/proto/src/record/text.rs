//! Formats numbers, times and strings into a buffer. It allocates nothing but the growth of that buffer.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::time::Nanos;

/// A whole number.
pub(crate) fn push_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Milliseconds with three decimals, cut to whole microseconds.
pub(crate) fn push_millis(span: Nanos, out: &mut Vec<u8>) {
    let us = span.0 / 1_000;
    push_number(us / 1_000, out);
    out.push(b'.');
    push_digits::<3>(us % 1_000, out);
}

/// RFC 3339 in UTC with microseconds, such as `2026-11-22T13:40:00.000001Z`.
pub(crate) fn push_time(unix_us: i64, out: &mut Vec<u8>) {
    let (days, us) = (unix_us.div_euclid(86_400_000_000), unix_us.rem_euclid(86_400_000_000));
    let (year, month, day) = civil(days);
    let (us, seconds) = (us.unsigned_abs() % 1_000_000, us.unsigned_abs() / 1_000_000);
    push_digits::<4>(year, out);
    out.push(b'-');
    push_digits::<2>(month, out);
    out.push(b'-');
    push_digits::<2>(day, out);
    out.push(b'T');
    push_digits::<2>(seconds / 3_600, out);
    out.push(b':');
    push_digits::<2>(seconds / 60 % 60, out);
    out.push(b':');
    push_digits::<2>(seconds % 60, out);
    out.push(b'.');
    push_digits::<6>(us, out);
    out.push(b'Z');
}

/// Lower-case hexadecimal.
pub(crate) fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    for byte in bytes {
        out.extend([digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Base64 with padding (RFC 4648).
pub(crate) fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let written = STANDARD.encode_slice(bytes, room);
    debug_assert_eq!(written, Ok(out.len() - start), "four characters for each three bytes begun");
}

/// Decodes Base64; padding may be missing.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    LENIENT.decode(text).ok()
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
pub(crate) fn push_json(text: &str, out: &mut Vec<u8>) {
    push_quoted(text.as_bytes(), out);
}

/// A header value as a JSON string; see [`header_text`].
pub(crate) fn push_json_header(value: &[u8], out: &mut Vec<u8>) {
    if value.is_ascii() {
        push_quoted(value, out);
    } else {
        push_json(&header_text(value), out);
    }
}

/// A header value as text: UTF-8 where it is, else ISO 8859-1, which every byte string is.
pub(crate) fn header_text(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.iter().map(|&byte| char::from(byte)).collect()),
    }
}

/// UTF-8 as a JSON string.
fn push_quoted(utf8: &[u8], out: &mut Vec<u8>) {
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
    let is_clean = |block: &&[u8; 32]| !block.iter().fold(false, |any, &byte| any | needs_escape(byte));
    let clean = text.as_chunks::<32>().0.iter().take_while(is_clean).count() * 32;
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

const fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// The high bit of each byte of `word` that must be escaped; only the lowest is sure, for a borrow may set those above.
const fn escapes_in(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 0xff;
    const HIGH: u64 = EACH << 7;
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

/// The last `N` decimal digits.
fn push_digits<const N: usize>(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Days since 1970-01-01 as year, month and day of the Gregorian calendar, for the years 0 to 9999.
///
/// The year is counted from March, so that the leap day is its last and the months before it have a fixed pattern of
/// lengths (153 days in each five).
pub(crate) fn civil(days: i64) -> (u64, u64, u64) {
    const FIRST: i64 = -719_468; // 0000-03-01
    const LAST: i64 = 2_932_896; // 9999-12-31
    let days = (days.clamp(FIRST, LAST) - FIRST).unsigned_abs();
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
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

        #[test]
        fn base64_decodes_back(bytes: Vec<u8>) {
            let text = written(|out| push_base64(&bytes, out));
            prop_assert_eq!(from_base64(text.trim_end_matches('=')), Some(bytes.clone()));
            prop_assert_eq!(from_base64(&text), Some(bytes));
        }
    }
}
