//! Error messages of the command line: clap's paragraphs rewritten as one line that names the remedy.

use std::error::Error as _;
use std::num::{IntErrorKind, ParseIntError};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use overlapped_proto::sanitize::shown;

use super::slips::slip;
use super::unknown;

/// Flags whose values are not printed, because they may be secret.
const SECRET: [&str; 9] = [
    "--user",
    "--proxy",
    "--proxy-user",
    "--oauth2-bearer",
    "--header",
    "--cookie",
    "--data",
    "--json",
    "--form-string",
];

/// The message for an error of clap; `command` is the first argument, `last` the last one.
#[allow(clippy::wildcard_enum_match_arm, reason = "clap may add kinds of errors, which keep clap's message")]
pub(super) fn explain(error: &clap::Error, command: &str, last: &str) -> String {
    let told = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingRequiredArgument => {
            Some(swallowed(command, last).unwrap_or_else(|| missing(command)))
        }
        ErrorKind::InvalidSubcommand => {
            context(error, ContextKind::InvalidSubcommand).map(|word| no_command(error, word))
        }
        ErrorKind::UnknownArgument => {
            context(error, ContextKind::InvalidArg).map(|word| unknown(error, word, command))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            context(error, ContextKind::InvalidArg).map(|arg| value(error, arg))
        }
        ErrorKind::ArgumentConflict => conflict(error),
        ErrorKind::TooManyValues => {
            let flag =
                context(error, ContextKind::InvalidArg).and_then(|arg| arg.split([' ', '=', '[']).next());
            flag.map(|flag| format!("{flag} takes no value"))
        }
        ErrorKind::InvalidUtf8 => {
            Some("an argument is no UTF-8 text: in a URL such bytes are written as %XX".to_owned())
        }
        _ => None,
    };
    told.unwrap_or_else(|| format!("{} (overlapped {command} --help)", first_lines(error)))
}

/// The first argument is no command.
fn no_command(error: &clap::Error, word: &str) -> String {
    let host = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if let Some(text) = slip(word) {
        text
    } else if let Some(known) = context(error, ContextKind::SuggestedSubcommand) {
        format!("`{word}` is no command; perhaps `{known}` is meant")
    } else if word.chars().all(host) {
        let scheme = if word == "localhost" { "http" } else { "https" };
        format!(
            "`{word}` is no command (overlapped help lists them), and no URL without its scheme: {scheme}://{word}"
        )
    } else {
        let word = shown(word);
        format!("`{word}` is neither a command (overlapped help lists them) nor a URL")
    }
}

/// The one URL or list became the value of the flag before it.
fn swallowed(command: &str, last: &str) -> Option<String> {
    let is_input = last.starts_with('@') || last == "-" || last.contains("://");
    (command == "fetch" && is_input).then(|| {
        format!("nothing to do: `{}` is the value of the flag before it, which lacks its own", shown(last))
    })
}

/// A required argument is missing; the message shows an example.
fn missing(command: &str) -> String {
    let (what, example) = match command {
        "waterfall" => ("the result of a run", "waterfall results.ndjson"),
        "report" => ("the result of a run and the name of the page", "report results.ndjson -o report.html"),
        "shard" => ("a list, the number of shards and their directory", "shard urls.txt -n 64 -o shards/"),
        "verify" => ("the directory of the outputs", "verify out/ --plan shards/"),
        "journal" => ("what to do (cat, verify, repair) and the state of a run", "journal verify results.ndjson.run"),
        "completions" => ("the name of a shell", "completions bash"),
        _ => return "nothing to do: give a URL, @FILE or -, as in: overlapped @urls.txt -o results.ndjson (overlapped help)".to_owned(),
    };
    format!("{command} needs {what}, as in: overlapped {example}")
}

/// An unknown flag, or one argument too many.
fn unknown(error: &clap::Error, word: &str, command: &str) -> String {
    let word = &*shown(word);
    if !word.starts_with('-') {
        return format!("`{word}` is one word too many (overlapped {command} --help)");
    }
    if let Some(text) = unknown::explain(word) {
        return text;
    }
    let instead = match (unknown::equivalent(word), context(error, ContextKind::SuggestedArg)) {
        (Some(ours), _) => format!("; here it is {ours}"),
        (None, Some(known)) => format!("; perhaps {known} is meant"),
        (None, None) => String::new(),
    };
    format!("{word} is no flag of overlapped {command}{instead} (overlapped {command} --help lists them)")
}

/// An invalid or missing value of a flag.
fn value(error: &clap::Error, arg: &str) -> String {
    let flag = arg.split([' ', '=', '[']).next().unwrap_or(arg);
    let given = context(error, ContextKind::InvalidValue).unwrap_or_default();
    let told = if SECRET.contains(&flag) { String::new() } else { format!(" `{}`:", shown(given)) };
    if let Some(source) = error.source() {
        let reason = match source.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
            Some(IntErrorKind::PosOverflow) => "the number is too large".to_owned(),
            Some(_) => "a whole number is wanted, 0 or more".to_owned(),
            None => range(&source.to_string()),
        };
        return format!("{flag}:{told} {reason}");
    }
    let valid = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) => valid.join(", "),
        _ => String::new(),
    };
    match (given, context(error, ContextKind::SuggestedValue)) {
        ("", _) if valid.is_empty() => format!("{arg} needs its value"),
        ("", _) => format!("{arg} needs its value, one of {valid}"),
        (_, Some(known)) => format!("{flag}:{told} it is one of {valid}; perhaps {known} is meant"),
        (_, None) => format!("{flag}:{told} it is one of {valid}"),
    }
}

/// clap's message about a number out of its range, `-1 is not in 0..=65535`, in words.
fn range(text: &str) -> String {
    let bounds = text.split_once(" is not in ").and_then(|(_, range)| range.split_once(".."));
    match bounds.map(|(least, most)| (least, most.trim_start_matches('='))) {
        Some((least, "")) => format!("a whole number is wanted, {least} or more"),
        Some((least, most)) => format!("a whole number is wanted, from {least} to {most}"),
        None if text.contains("invalid digit") => "a whole number is wanted, 0 or more".to_owned(),
        None => text.to_owned(),
    }
}

/// Two flags that exclude each other.
fn conflict(error: &clap::Error) -> Option<String> {
    let name = |kind| context(error, kind).and_then(|arg| arg.split([' ', '=', '[']).next());
    let (flag, other) = (name(ContextKind::InvalidArg)?, name(ContextKind::PriorArg)?);
    Some(match flag == other {
        true => format!("{flag} is given twice"),
        false => format!("{flag} cannot be used with {other}: give one of them"),
    })
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    let value = error.get(kind)?;
    if let ContextValue::String(text) = value {
        return Some(text);
    }
    let ContextValue::Strings(texts) = value else { return None };
    // clap sorts suggestions by rising similarity.
    texts.last().map(String::as_str)
}

/// clap's message without the usage.
fn first_lines(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let asides = |line: &&str| line.starts_with("Usage:") || line.starts_with("For more information");
    let lines = text.lines().map(str::trim).take_while(|line| !asides(line));
    let line = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}
