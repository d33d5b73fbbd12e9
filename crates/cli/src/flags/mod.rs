//! The command line: from words to a checked plan. The flags are declared here and nowhere else.
//!
//! Two steps. clap reads the words into the structs of [`fetch`], [`compare`] and [`waterfall`], which hold the
//! flags as typed; [`plan`] turns those into what the engine takes, and refuses what cannot be. So no command ever
//! asks whether a flag was right, and no flag is ever dropped in silence: one that the design knows and the program
//! does not do yet is refused by name ([`later`]).

pub(crate) mod plan;
mod request;
pub(crate) mod compare;
pub(crate) mod fetch;
pub(crate) mod waterfall;
pub(crate) mod journal;
pub(crate) mod input;
pub(crate) mod output;
mod later;
pub(crate) mod values;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

use crate::exit::Error;

/// A list of URLs in, one record a row out.
#[derive(Debug, Parser)]
#[command(name = "overlapped", version, disable_help_subcommand = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
\"fetch\" may be left out: `overlapped [OPTIONS] URL|@FILE|- ...`

Examples:
  overlapped https://example.org/               the body, as curl prints it
  overlapped @urls.txt -o results.ndjson        one record a row
  overlapped @urls.txt -o pages/ --name '{host}/{row}{ext}'
  overlapped compare                            why overlapping pays: three ways, one picture

`overlapped fetch --help` lists the flags. They have curl's names where curl has the thing.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch URLs, lists of URLs, or what standard input lists.
    Fetch(Box<fetch::Flags>),
    /// Time sequential, thread pool and native async, side by side.
    Compare(compare::Flags),
    /// Draw the run that an NDJSON result tells of.
    Waterfall(waterfall::Flags),
    /// Look into the state that a run keeps beside its output.
    Journal(journal::Flags),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print a manual page.
    Man {
        /// The command; without one the overview.
        command: Option<String>,
    },
}

/// What the words ask for.
pub(crate) enum Asked {
    /// A command to run.
    Run(Cli),
    /// A text to print: help or the version.
    Print(String),
}

/// Reads the words after the program's own name.
///
/// # Errors
///
/// [`Error::Usage`] in one line.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Asked, Error> {
    let words = with_command(words.into_iter().collect());
    match Cli::try_parse_from(std::iter::once(OsString::from("overlapped")).chain(words)) {
        Ok(cli) => Ok(Asked::Run(cli)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Asked::Print(error.render().to_string()))
        }
        Err(error) => Err(Error::Usage(explain(&error))),
    }
}

/// Puts `fetch` in front where it was left out: before a flag, a URL, a list or standard input.
fn with_command(mut words: Vec<OsString>) -> Vec<OsString> {
    let is_command = match words.first().and_then(|word| word.to_str()) {
        None => words.is_empty(),
        Some("-h" | "--help" | "-V" | "--version") => true,
        // A word that cannot be a command: `@list`, `-o`, `https://example.org`, and `example.org` for its hint.
        Some(word) => !word.starts_with(['-', '@']) && !word.contains([':', '.', '/']),
    };
    if !is_command {
        words.insert(0, "fetch".into());
    }
    words
}

/// clap's paragraph as one line, and our own words for what is not there yet.
fn explain(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let unknown = context(ContextKind::InvalidArg).or_else(|| context(ContextKind::InvalidSubcommand));
    if let Some(text) = unknown.filter(|_| is_unknown(error.kind())).and_then(later::explain) {
        return text;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "nothing to do: give a URL, @FILE or - (overlapped --help shows more)".to_owned();
    }
    let known = error.get(ContextKind::SuggestedSubcommand).is_some();
    if let Some(word) = unknown.filter(|_| error.kind() == ErrorKind::InvalidSubcommand && !known) {
        return format!("`{word}` is no command, and no URL without its scheme: https://{word}");
    }
    let text = error.render().to_string();
    let asides = |line: &&str| line.starts_with("Usage:") || line.starts_with("For more information");
    let lines = text.lines().map(str::trim).take_while(|line| !asides(line));
    let line = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    format!("{} (overlapped --help shows more)", line.strip_prefix("error: ").unwrap_or(&line))
}

fn is_unknown(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand)
}

/// The command line as clap sees it, for completions and manual pages.
pub(crate) fn declaration() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_error(words: &str, expected: &str) {
        match parse(words.split_whitespace().map(OsString::from)) {
            Err(Error::Usage(text)) => {
                assert!(text.contains(expected), "{words}: {text}");
                assert!(!text.contains('\n'), "{words}: {text}");
            }
            Err(other) => panic!("{words}: {other:?}"),
            Ok(_) => panic!("{words}: accepted"),
        }
    }

    #[test]
    fn declaration_is_sound() {
        declaration().debug_assert();
    }

    #[test]
    fn fetch_may_be_left_out() {
        for words in ["http://a/", "@list", "-", "-j 5 http://a/", "example.org", "fetch http://a/"] {
            let asked = parse(words.split_whitespace().map(OsString::from));
            let Ok(Asked::Run(Cli { command: Command::Fetch(_) })) = asked else { panic!("{words}") };
        }
    }

    #[test]
    fn what_is_not_there_is_refused_in_one_line() {
        check_error("--resume --overwrite @list", "cannot be used with");
        check_error("-x http://p:1 @list", "not built yet");
        check_error("shard list", "not built yet");
        check_error("-k http://a/", "--insecure-host");
        check_error("--fial http://a/", "--fail");
        check_error("localhost", "https://localhost");
        check_error("fecth", "fetch");
        check_error("", "nothing to do");
        check_error("-j many http://a/", "--parallel-max");
        check_error("--progress sometimes http://a/", "auto, bar, plain, none");
        check_error("-m soon http://a/", "500ms");
        check_error("-4 -6 http://a/", "cannot be used");
        check_error("fetch", "URL");
    }
}
