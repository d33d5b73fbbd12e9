//! The command that goes on with a run, as a person may copy it: the words that were given, quoted for a shell, without
//! what is secret.

use overlapped_proto::display::{escape, shown};
use overlapped_proto::redirect;

use crate::flags::fetch_flag;
use crate::shell::quote;

/// Stands for what is not repeated.
const HIDDEN: &str = "***";

/// The same command with `flag` at its end; in the place of anything secret there is `***`.
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
    let note = if hidden { "  (with what *** stands for)" } else { "" };
    format!("{}{note}", escape(&told.join(" ")))
}

/// A flag that takes a value, as it was written: the value in the same word, or in the next.
struct Cut<'a> {
    /// The long name of the flag.
    name: String,
    /// What stands before the value.
    head: &'a str,
    value: Option<&'a str>,
}

/// `None` for a word that is no flag, or flags without a value.
fn cut(word: &str) -> Option<Cut<'_>> {
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

/// A value without what may be secret in it. The name of a file is none.
fn harmless(name: &str, value: &str) -> String {
    match (name, value.split_once(':')) {
        _ if value.starts_with('@') => value.to_owned(),
        ("header", Some((field, _))) if redirect::harmless(&field.to_ascii_lowercase()) => {
            harmless_url(value)
        }
        ("header", Some((field, _))) => format!("{field}: {HIDDEN}"),
        ("user", Some((user, _))) => format!("{user}:{HIDDEN}"),
        ("user" | "header" | "oauth2-bearer" | "cookie" | "json" | "form", _) => HIDDEN.to_owned(),
        (name, _) if name.starts_with("data") => HIDDEN.to_owned(),
        _ => harmless_url(value),
    }
}

fn harmless_url(word: &str) -> String {
    if word.contains("://") { shown(word) } else { word.to_owned() }
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
        const NOTE: &str = " @l --retry-failed  (with what *** stands for)";
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
    }

    #[test]
    fn a_flag_that_begins_anew_is_not_kept_and_control_characters_are_escaped() {
        check(&["--retry-failed", "@a\u{9b}b"], "'@a\\u{9b}b' --retry-failed");
    }
}
