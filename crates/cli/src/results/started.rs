//! Points in time, as results write them.

use overlapped_proto::calendar::days_since_1970;

/// Seconds since 1970 of an RFC 3339 time, which records write in UTC, or of what other programs make of one.
pub(super) fn unix_seconds(text: &str) -> Option<f64> {
    let (date, time) = text.split_once(['T', ' '])?;
    let (time, east_s) = in_zone(time)?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    let is_time = (0.0..24.0).contains(&hours) && [minutes, seconds].iter().all(|n| (0.0..61.0).contains(n));
    if !is_time || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(
        days_since_1970(year, month, day) as f64 * 86_400.0 + hours * 3_600.0 + minutes * 60.0 + seconds
            - east_s,
    )
}

/// A time without its zone, and how many seconds that is ahead of UTC.
fn in_zone(time: &str) -> Option<(&str, f64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0.0));
    }
    let at = time.rfind(['+', '-'])?;
    let (time, zone) = (time.get(..at)?, time.get(at..)?);
    let zone_digits = zone.get(1..)?;
    let (hours, minutes) = zone_digits.split_once(':').or_else(|| zone_digits.split_at_checked(2))?;
    let minutes = if minutes.is_empty() { "0" } else { minutes };
    let [hours, minutes] = [hours, minutes].map(|part| part.parse::<u8>().ok().map(f64::from));
    let east_s = hours? * 3_600.0 + minutes? * 60.0;
    Some((time, if zone.starts_with('-') { -east_s } else { east_s }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_unix_times() {
        for (text, expected) in [
            ("1970-01-01T00:00:00.000000Z", Some(0.0)),
            ("2000-02-29T12:00:00.5Z", Some(951_825_600.5)),
            ("2026-11-22T13:43:46.000001Z", Some(1_795_355_026.000_001)),
            ("2026-13-01T00:00:00Z", None),
            ("1970-01-02 00:00:46Z", Some(86_446.0)),
            ("1970-01-02 00:00:46.5+00", Some(86_446.5)),
            ("1970-01-01T01:00:00.25+01:00", Some(0.25)),
            ("1969-12-31T22:30:00-01:30", None),
            ("1970-01-01T22:30:00-01:30", Some(86_400.0)),
            ("1970-01-01T01:00:00+0100", Some(0.0)),
            ("1970-01-01T01:00:00+1", None),
            ("2026-11-22T13:43:46", None),
            ("2026-11-22T13:43:infZ", None),
            ("2026-11-22TNaN:43:46Z", None),
            ("2026-11-22T13:43:1e99Z", None),
            ("2026-11-22T-5:43:46Z", None),
            ("", None),
        ] {
            assert_eq!(unix_seconds(text), expected, "{text}");
        }
    }
}
