//! The command that resumes a run, for copying: the arguments of this process, quoted for a shell, with secrets masked.

use std::ops::Range;

use overlapped_proto::input::url;
use overlapped_proto::redirect;
use overlapped_proto::sanitize::{self, escape, shown};

use crate::flags::cookies::is_text;
use crate::flags::fetch_flag;
use crate::flags::values::variable;
use crate::shell::quote;

/// The mask of a secret.
const HIDDEN: &str = "***";

/// The command of this process with `flag` added; secrets are masked by `***`.
pub(super) fn command(words: impl Iterator<Item = String>, flag: &str) -> String {
    let begins = |word: &String| matches!(word.as_str(), "--resume" | "--retry-failed" | "--overwrite");
    let mut words = words.filter(|word| !begins(word));
    let mut told = vec!["overlapped".to_owned()];
    let mut only_inputs = false;
    while let Some(word) = words.next() {
        only_inputs |= word == "--";
        match cut(&word).filter(|_| !only_inputs) {
            None => told.push(harmless_url(&word)),
            Some(Cut { name, head, value: Some(value) }) => {
                told.push(format!("{head}{}", harmless(&name, value)))
            }
            Some(Cut { name, head, value: None }) => {
                told.push(head.to_owned());
                told.extend(words.next().map(|value| harmless(&name, &value)));
            }
        }
    }
    let at = if only_inputs { 1 } else { told.len() };
    told.insert(at, flag.to_owned());
    let hidden = told.iter().any(|word| word.contains(HIDDEN));
    let told: Vec<_> = told.iter().map(|word| quote(word)).collect();
    let note = if hidden { "  (replace *** by the secret)" } else { "" };
    format!("{}{note}", escape(&told.join(" ")))
}

/// A flag that takes a value, as it was written: the value is in the same argument, or in the next.
pub(super) struct Cut<'a> {
    /// The long name of the flag.
    pub(super) name: String,
    /// The text before the value.
    pub(super) head: &'a str,
    pub(super) value: Option<&'a str>,
}

/// `None` if the argument is no flag, or flags without a value.
pub(super) fn cut(word: &str) -> Option<Cut<'_>> {
    if let Some(long) = word.strip_prefix("--") {
        let (long, value) = long.split_once('=').map_or((long, None), |(long, value)| (long, Some(value)));
        let (name, takes_value) = fetch_flag(|arg| arg.get_long() == Some(long))?;
        let head = word.get(..word.len() - value.map_or(0, str::len))?;
        return (takes_value || value.is_some()).then_some(Cut { name, head, value });
    }
    let letters = word.strip_prefix('-')?;
    letters.char_indices().find_map(|(at, letter)| {
        let (name, takes_value) = fetch_flag(|arg| arg.get_short() == Some(letter))?;
        let (head, value) = word.split_at(1 + at + letter.len_utf8());
        takes_value.then_some(Cut { name, head, value: (!value.is_empty()).then_some(value) })
    })
}

/// A value with its secrets masked by `***`.
fn harmless(name: &str, value: &str) -> String {
    match secret_in_value(name, value).as_slice() {
        [] => value.to_owned(),
        [secret] if is_secret_flag(name) => {
            let head = value.get(..secret.start).unwrap_or_default();
            let space = if name == "header" && !head.is_empty() { " " } else { "" };
            format!("{head}{space}{HIDDEN}")
        }
        _ => shown(value),
    }
}

/// The byte ranges of a flag's value that may be secret. The name of a file or of an environment variable is not secret.
pub(super) fn secret_in_value(name: &str, value: &str) -> Vec<Range<usize>> {
    let file = value.starts_with('@') && (!matches!(name, "user" | "proxy-user") || !value.contains(':'))
        || name == "cookie" && !is_text(value);
    if file || !name.starts_with("data") && variable(value).is_some() {
        return Vec::new();
    }
    let behind_colon = value.find(':').map_or(0, |colon| colon + 1);
    match name {
        "header"
            if redirect::harmless(
                &value.get(..behind_colon.saturating_sub(1)).unwrap_or_default().to_ascii_lowercase(),
            ) =>
        {
            sanitize::secrets(value)
        }
        "user" | "proxy-user" | "header" => std::iter::once(behind_colon..value.len()).collect(),
        _ if is_secret_flag(name) => std::iter::once(0..value.len()).collect(),
        "referer" => sanitize::secrets(value),
        // A proxy may have no scheme, and a user name that is a token.
        "proxy" => value
            .rfind('@')
            .map(|at| value.find("://").map_or(0, |scheme| scheme + 3)..at)
            .into_iter()
            .collect(),
        _ if value.contains("://") => sanitize::secrets(value),
        _ => Vec::new(),
    }
}

fn is_secret_flag(name: &str) -> bool {
    matches!(
        name,
        "user" | "proxy-user" | "header" | "oauth2-bearer" | "cookie" | "json" | "form" | "form-string"
    ) || name.starts_with("data")
}

fn harmless_url(word: &str) -> String {
    let is_list = word.starts_with('@');
    if !is_list && (word.contains("://") || url::parse(word).is_ok()) { shown(word) } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], expected: &str) {
        let told = command(words.iter().map(|word| (*word).to_owned()), "--retry-failed");
        assert_eq!(told, format!("overlapped {expected}"));
    }

    #[test]
    fn the_command_is_the_same_and_can_be_copied() {
        check(&["@urls.txt", "-o", "out.ndjson"], "@urls.txt -o out.ndjson --retry-failed");
        check(&["fetch", "@my urls", "-oit's/", "--resume"], r"fetch '@my urls' '-oit'\''s/' --retry-failed");
        check(
            &["--overwrite", "-o", "a.csv", "http://a/{1,2}?x&y"],
            "-o a.csv 'http://a/{1,2}?x&y' --retry-failed",
        );
        check(&["-sj", "5", "-f", "--fail=404", "@l"], "-sj 5 -f --fail=404 @l --retry-failed");
        check(&["-o", "a.csv", "--", "http://a/"], "--retry-failed -o a.csv -- http://a/");
        check(&["-H", "Accept: a/b", "@l"], "-H 'Accept: a/b' @l --retry-failed");
        check(&["-d", "@form", "-H", "@fields", "@l"], "-d @form -H @fields @l --retry-failed");
    }

    #[test]
    fn nothing_secret_is_repeated() {
        const NOTE: &str = " @l --retry-failed  (replace *** by the secret)";
        for (words, expected) in [
            (&["-u", "me:s3cret"][..], "-u 'me:***'"),
            (&["-ume:s3cret"], "'-ume:***'"),
            (&["-sLu", "me:s3cret"], "-sLu 'me:***'"),
            (&["--user", "s3cret"], "--user '***'"),
            (&["--user=me:s3cret"], "'--user=me:***'"),
            (&["--oauth2-bearer", "s3cret"], "--oauth2-bearer '***'"),
            (&["-H", "Authorization: s3cret"], "-H 'Authorization: ***'"),
            (&["-HX-Key:s3cret"], "'-HX-Key: ***'"),
            (&["-b", "a=s3cret"], "-b '***'"),
            (&["-d", "a=s3cret"], "-d '***'"),
            (&["--json={\"a\":\"s3cret\"}"], "'--json=***'"),
            (&["http://a/?api_key=s3cret"], "'http://a/?api_key=***'"),
            (&["-e", "http://a/?token=s3cret"], "-e 'http://a/?token=***'"),
        ] {
            check(&[words, &["@l"]].concat(), &format!("{expected}{NOTE}"));
        }
        check(&["http://me:s3cret@a/"], "http://a/ --retry-failed");
        check(&["http:me:s3cret@a/"], "http:a/ --retry-failed");
        check(&["-b", "jar.txt", "-c", "jar.txt"], "-b jar.txt -c jar.txt --retry-failed");
        check(&["-u", "@file", "-H", "$NAME"], "-u @file -H '$NAME' --retry-failed");
        check(&["-u", "@me:s3cret", "@l"], &format!("-u '@me:***'{NOTE}"));
    }

    #[test]
    fn a_flag_that_begins_anew_is_not_kept_and_control_characters_are_escaped() {
        check(&["--retry-failed", "@a\u{9b}b"], "'@a\\u{9b}b' --retry-failed");
    }
}
