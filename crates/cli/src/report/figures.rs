//! Numbers for people: counts, sizes, rates, spans. Short, with a unit, and the same everywhere.

use std::time::Duration;

use overlapped_proto::plural::plural;

/// A count with its thousands apart: `38,214,022`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and its noun: `1 row`, `2,000 rows`.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), plural(n, "", "s"))
}

/// `1 row is`, `2,000 rows are`
pub(crate) fn rows_are(n: u64) -> String {
    format!("{} {}", counted(n, "row"), plural(n, "is", "are"))
}

/// A count in at most five characters: `999`, `41k`, `1.1M`.
pub(crate) fn short(n: u64) -> String {
    match n {
        0..1_000 => n.to_string(),
        _ => scaled(n as f64, 1_000.0, ["k", "M", "G", "T"]),
    }
}

/// A number of bytes in decimal units: `812 B`, `61 MB`.
pub(crate) fn bytes(n: f64) -> String {
    if n < 1_000.0 { format!("{n:.0} B") } else { scaled(n, 1_000.0, [" kB", " MB", " GB", " TB"]) }
}

fn scaled(n: f64, base: f64, units: [&str; 4]) -> String {
    let mut value = n;
    let mut name = "";
    for unit in units {
        value /= base;
        name = unit;
        if value < 999.5 {
            break;
        }
    }
    format!("{value:.*}{name}", usize::from(value < 9.95))
}

/// A span in two units at most: `0.42 s`, `12.3 s`, `4m07`, `12h08`, `3d04`.
pub(crate) fn span(span: Duration) -> String {
    let s = span.as_secs();
    match s {
        0..60 => format!("{:.*} s", if s < 10 { 2 } else { 1 }, span.as_secs_f64()),
        60..3_600 => format!("{}m{:02}", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d{:02}", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Milliseconds with three figures; unknown is a dash, never zero.
pub(crate) fn millis(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 99.95 => format!("{ms:.1} ms"),
        Some(ms) if ms < 999.5 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.2} s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!([0, 999, 1_000, 38_214_022].map(count), ["0", "999", "1,000", "38,214,022"]);
        assert_eq!(
            [999, 1_000, 41_200, 999_600, 36_900_000].map(short),
            ["999", "1.0k", "41k", "1.0M", "37M"]
        );
        assert_eq!([0.0, 999.0, 1_500.0, 61e6].map(bytes), ["0 B", "999 B", "1.5 kB", "61 MB"]);
    }

    #[test]
    fn spans() {
        let texts = [0.42, 12.34, 247.0, 43_680.0, 273_600.0].map(|s| span(Duration::from_secs_f64(s)));
        assert_eq!(texts, ["0.42 s", "12.3 s", "4m07", "12h08", "3d04"]);
        assert_eq!(
            [None, Some(1.25), Some(250.4), Some(12_346.0)].map(millis),
            ["-", "1.2 ms", "250 ms", "12.35 s"]
        );
    }
}
