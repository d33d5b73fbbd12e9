//! Overwrites secrets in the process title, which every user of the machine can read (`ps`, `/proc/PID/cmdline`), as
//! curl does.
//!
//! They are visible for a moment after the start, and only Linux is supported; a file or an environment variable is the
//! safe way to pass a secret.

use std::ops::Range;

use overlapped_proto::sanitize;

use super::again::{Cut, cut, secret_in_value};

/// Overwrites the secrets in the process title, where the system allows it.
///
/// # Blocking
///
/// On /proc.
pub(super) fn hide_secrets() {
    // A failure, such as a system without /proc, is ignored: the title stays readable, as that of any other program.
    let _ = overwrite();
}

#[cfg(target_os = "linux")]
fn overwrite() -> std::io::Result<()> {
    use std::fs::{self, File};
    use std::io::{Error, ErrorKind};
    use std::os::unix::fs::FileExt;

    let unknown = || Error::from(ErrorKind::Unsupported);
    // proc_pid_stat(5): the 48th and 49th fields. The second, the name in parentheses, may hold any bytes.
    let stat = fs::read_to_string("/proc/self/stat")?;
    let values: Vec<_> = stat.rsplit_once(')').ok_or_else(unknown)?.1.split_ascii_whitespace().collect();
    let value = |number: usize| values.get(number - 3).and_then(|value| value.parse::<u64>().ok());
    let (start, end) = value(48).zip(value(49)).ok_or_else(unknown)?;
    let words = fs::read("/proc/self/cmdline")?;
    if u64::try_from(words.len()).ok() != end.checked_sub(start) {
        return Err(unknown());
    }
    let hidden = hide(&words);
    if hidden != words {
        File::options().write(true).open("/proc/self/mem")?.write_all_at(&hidden, start)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn overwrite() -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The arguments, NUL-terminated, with every secret byte replaced by `*`.
fn hide(words: &[u8]) -> Vec<u8> {
    let mut hidden = Vec::with_capacity(words.len());
    let mut flag = None;
    for (i, word) in words.split_inclusive(|byte| *byte == 0).enumerate() {
        let from = hidden.len();
        hidden.extend_from_slice(word);
        // An argument that is not UTF-8 is no flag.
        let Ok(word) = std::str::from_utf8(word.strip_suffix(b"\0").unwrap_or(word)) else { continue };
        if i == 0 {
            continue;
        }
        for part in secrets(word, &mut flag) {
            if let Some(part) = hidden.get_mut(from + part.start..from + part.end) {
                part.fill(b'*');
            }
        }
    }
    hidden
}

/// The secret ranges of an argument. `flag`: in, the flag whose value it is; out, the flag whose value the next one is.
fn secrets(word: &str, flag: &mut Option<String>) -> Vec<Range<usize>> {
    if let Some(name) = flag.take() {
        return secret_in_value(&name, word);
    }
    match cut(word) {
        Some(Cut { name, head, value: Some(value) }) => secret_in_value(&name, value)
            .into_iter()
            .map(|part| head.len() + part.start..head.len() + part.end)
            .collect(),
        Some(Cut { name, value: None, .. }) => {
            *flag = Some(name);
            Vec::new()
        }
        None if word.starts_with('@') => Vec::new(),
        None => sanitize::secrets(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_secret_is_overwritten() {
        let check = |words: &str, expected: &str| {
            let (words, expected) = (words.replace('|', "\0"), expected.replace('|', "\0"));
            assert_eq!(String::from_utf8(hide(words.as_bytes())).unwrap(), expected);
        };
        check("me:x@y|-u|me:abc|@l@m|", "me:x@y|-u|me:***|@l@m|");
        check("o|-sume:abc|-uabc|--user=me:abc|", "o|-sume:***|-u***|--user=me:***|");
        check("o|-u|@file|-u|$NAME|-u|@me:abc|", "o|-u|@file|-u|$NAME|-u|@me:***|");
        check("o|-H|Accept: a|-H|X-Key: abc|-HX-Key:abc|", "o|-H|Accept: a|-H|X-Key:****|-HX-Key:***|");
        check(
            "o|--oauth2-bearer|abc|-b|a=1|--json|{}|-d|@f|-d|$x|",
            "o|--oauth2-bearer|***|-b|***|--json|**|-d|@f|-d|**|",
        );
        check("o|http://me:abc@h/?token=abc&x=1|-o|a@b|", "o|http://*******h/?token=***&x=1|-o|a@b|");
        check("o|", "o|");
    }
}
