//! The dates of cookies (RFC 6265bis, section 5.1.1): anything in which a time, a day, a month and a year can be found.

use crate::calendar::days_since_1970;

/// Seconds since 1970; `None` if it is no date.
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in text.split(|&byte| is_delimiter(byte)).filter(|token| !token.is_empty()) {
        if time.is_none()
            && let Some(found) = time_of(token)
        {
            time = Some(found);
        } else if day.is_none()
            && let Some(found) = number(token, 1..=2)
        {
            day = Some(found);
        } else if month.is_none()
            && let Some(found) = month_of(token)
        {
            month = Some(found);
        } else if year.is_none()
            && let Some(found) = number(token, 2..=4)
        {
            year = Some(match found {
                70..=99 => found + 1900,
                0..=69 => found + 2000,
                _ => found,
            });
        }
    }
    let ((hour, minute, second), day, month, year) = (time?, day?, month?, year?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=days).contains(&day) || year < 1601 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, 0x09 | 0x20..=0x2f | 0x3b..=0x40 | 0x5b..=0x60 | 0x7b..=0x7e)
}

/// `hh:mm:ss`, each of one or two digits; whatever follows is no digit.
fn time_of(token: &[u8]) -> Option<(i64, i64, i64)> {
    let mut fields = token.splitn(3, |&byte| byte == b':');
    let mut whole = || {
        let field = fields.next()?;
        if digits(field) == field.len() { number(field, 1..=2) } else { None }
    };
    let (hour, minute) = (whole()?, whole()?);
    Some((hour, minute, number(fields.next()?, 1..=2)?))
}

/// The number at the front, of so many digits.
fn number(token: &[u8], length: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let digits = digits(token);
    let front = token.get(..digits).filter(|_| length.contains(&digits))?;
    Some(front.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

fn digits(token: &[u8]) -> usize {
    token.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// 1 to 12, by the first three letters.
fn month_of(token: &[u8]) -> Option<i64> {
    const MONTHS: [&[u8]; 12] =
        [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
    let front = token.get(..3)?;
    (1..).zip(MONTHS).find(|(_, name)| front.eq_ignore_ascii_case(name)).map(|(month, _)| month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn dates_of_every_form() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "06 Nov 1994 8:49:37",
            "1994 6 november 08:49:37xyz",
            "08:49:37 6-NOV-1994",
            "Sun,06/Nov/1994(08:49:37)",
            "6th Nov 1994 08:49:37 +0200",
        ] {
            check(text, Some(784_111_777));
        }
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("1 jan 69 00:00:00", Some(3_124_224_000));
        check("29 Feb 2000 00:00:00", Some(951_782_400));
        check("Mon, 01-Jan-1601 00:00:00 GMT", Some(-11_644_473_600));
        check("31 Dec 9999 23:59:59", Some(253_402_300_799));
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "0",
            "tomorrow",
            "Sun, 06 Nov 1994",
            "06 Nov 1994 08:49",
            "06 Nov 1994 08:49:60",
            "06 Nov 1994 24:00:00",
            "06 Nov 1994 0x8:49:37",
            "00 Nov 1994 08:49:37",
            "31 Nov 1994 08:49:37",
            "29 Feb 1900 00:00:00",
            "06 Nov 1600 08:49:37",
            "06 Nov 19940 08:49:37",
            "06 No 1994 08:49:37",
            "123 Nov 1994 08:49:37",
        ] {
            check(text, None);
        }
    }
}
