//! Quotes words for a POSIX shell, for commands that a user copies.

use std::borrow::Cow;

/// The word unchanged if that is safe, else in single quotes.
pub(crate) fn quote(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@,=+%".contains(c);
    match word.chars().all(plain) && !word.is_empty() {
        true => Cow::Borrowed(word),
        false => Cow::Owned(format!("'{}'", word.replace('\'', r"'\''"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_read_otherwise_is_quoted() {
        let check = |word: &str, expected: &str| assert_eq!(quote(word), expected);
        check("@urls.txt", "@urls.txt");
        check("", "''");
        check("http://a/?x=1&y", "'http://a/?x=1&y'");
        check("{a,b}", "'{a,b}'");
        check("it's", r"'it'\''s'");
        check("~/urls", "'~/urls'");
    }
}
