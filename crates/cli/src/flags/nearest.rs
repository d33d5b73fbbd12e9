//! The name that was perhaps meant.

/// The name that differs least from what was given, if that may be a slip.
pub(super) fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (far, name) = names.into_iter().map(|name| (distance(given, name), name)).min()?;
    (far <= 2.min(name.len() / 2)).then_some(name)
}

/// How many letters differ (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let least = (corner + usize::from(from != to)).min(*cell + 1).min(left + 1);
            corner = std::mem::replace(cell, least);
            left = least;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ() {
        for (a, b, expected) in [
            ("", "", 0),
            ("rate", "rate", 0),
            ("raet", "rate", 2),
            ("ordred", "ordered", 1),
            ("", "ab", 2),
            ("ab", "", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
        assert_eq!(nearest("retrry", ["rate", "retry", "retry-failed"]), Some("retry"));
        assert_eq!(nearest("x", ["rate", "url"]), None);
    }
}
