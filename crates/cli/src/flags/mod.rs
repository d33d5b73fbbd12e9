//! The command line: parses arguments into a validated plan. All flags are declared here.
//!
//! There are two steps. clap parses the arguments into the structs of [`fetch`], [`compare`] and [`waterfall`], which
//! hold the flags as typed. [`plan`] combines them into the settings of the engine and refuses invalid combinations, so
//! that a command never validates a flag. No flag is silently ignored: one that is left out is refused with a
//! message ([`unknown`]).

mod file;
mod short_help;
pub(crate) mod plan;
pub(crate) mod place;
mod settings;
mod state;
pub(crate) mod show;
pub(crate) mod sinks;
pub(crate) mod one;
pub(crate) mod continued;
mod identity;
mod proxies;
mod request;
mod form;
mod part;
pub(crate) mod cookies;
mod data;
mod payload;
pub(crate) mod compare;
pub(crate) mod shard;
pub(crate) mod fetch;
pub(crate) mod waterfall;
pub(crate) mod report;
pub(crate) mod verify;
pub(crate) mod journal;
pub(crate) mod input;
pub(crate) mod output;
mod explain;
mod slips;
mod unknown;
pub(crate) mod write_out;
mod nearest;
pub(crate) mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::exit::Error;
use crate::terminal;

/// A list of URLs in, one record a row out.
#[derive(Debug, Parser)]
#[command(name = "overlapped", version, long_version = version(), disable_help_subcommand = true, override_usage = USAGE, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The version, and in a line of its own what this build has, as curl tells it. `-V` prints the version alone.
fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        format!("{}\nFeatures: {}", env!("CARGO_PKG_VERSION"), overlapped_fetch::features().join(" "))
    });
    &TEXT
}

const USAGE: &str = "\
overlapped [OPTIONS] URL|@FILE|- ...  flags: overlapped fetch --help
       overlapped <COMMAND> ...              flags: overlapped <COMMAND> --help";

const EXAMPLES: &str = "\
Examples:
  overlapped https://example.org/                   the body, as curl prints it
  overlapped @urls.txt -o results.ndjson            one record a row
  overlapped @urls.txt -o results.ndjson --resume   resumes after a crash or ^C
  overlapped @urls.txt -o pages/ --name '{row}{ext}'    a file a row
  overlapped compare                                the gain, in numbers

@FILE is a list with one URL a line, or .csv, .tsv, .ndjson; - is the list on standard input. The flags of fetch have \
curl's names where curl has the feature, as -H, -d, -u, -m and --retry; -j 50 makes 50 requests at once.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch URLs, lists of URLs, or what standard input lists.
    Fetch(Box<fetch::Flags>),
    /// Time sequential, thread pool and native async, side by side.
    Compare(compare::Flags),
    /// Draw a run from its results.
    Waterfall(waterfall::Flags),
    /// Make a page of a run from its results: figures, hosts, errors, waterfall.
    Report(report::Flags),
    /// Split a list into files, for several machines.
    Shard(Box<shard::Flags>),
    /// Check that all shards of a list were fetched.
    Verify(verify::Flags),
    /// Inspect the state that a run keeps beside its output.
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

/// What the arguments ask for.
pub(crate) enum Asked {
    /// A command to run.
    Run(Cli),
    /// A text to print: help or the version.
    Print(String),
}

/// Parses the arguments after the program's name.
///
/// # Errors
///
/// [`Error::Usage`], with a message of one line.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Asked, Error> {
    let words: Vec<_> = words.into_iter().collect();
    if let [first, second, ..] = words.as_slice()
        && let Some(text) = slips::no_help(&first.to_string_lossy(), &second.to_string_lossy())
    {
        return Err(Error::Usage(text));
    }
    let mut words = with_command(words);
    if let Some(text) = short_help::asked(&words) {
        return Ok(Asked::Print(text.to_owned()));
    }
    let text = |word: Option<&OsString>| word.and_then(|word| word.to_str()).unwrap_or_default().to_owned();
    let (command, last) = (text(words.first()), text(words.last()));
    let settings = match settings(&words)? {
        Some((settings, merged)) => {
            words = merged;
            Some(settings)
        }
        None => None,
    };
    match read(with_program(&words)) {
        Ok(mut cli) => {
            if let (Command::Fetch(flags), Some(settings)) = (&mut cli.command, settings) {
                if let Some(exposed) = settings.exposed {
                    terminal::say(format_args!("overlapped: warning: {exposed}"));
                }
                flags.hosts = settings.hosts;
            }
            Ok(Asked::Run(cli))
        }
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Asked::Print(error.render().to_string()))
        }
        Err(error) => {
            let message = explain::explain(&error, &command, &last);
            Err(Error::Usage(settings.map_or_else(|| message.clone(), |file| file.placed(message.clone()))))
        }
    }
}

fn with_program(words: &[OsString]) -> impl Iterator<Item = OsString> {
    std::iter::once(OsString::from("overlapped")).chain(words.iter().cloned())
}

/// The settings of the file of `-K`, and the arguments with those of the file; `None`: no file is named, or the arguments are
/// invalid by themselves.
fn settings(words: &[OsString]) -> Result<Option<(file::Settings, Vec<OsString>)>, Error> {
    let program = declaration();
    let Ok(given) = program.clone().try_get_matches_from(with_program(words)) else { return Ok(None) };
    let Some(given) = given.subcommand_matches("fetch") else { return Ok(None) };
    let Some(path) = given.get_one::<PathBuf>("config") else { return Ok(None) };
    let flags = program.find_subcommand("fetch").expect("there is the command fetch");
    let settings = file::Settings::read(path, flags)?;
    let merged = settings.merged(words, given, flags);
    Ok(Some((settings, merged)))
}

/// As clap's `try_parse_from`, and records the order of the data flags, which are joined into one body.
fn read(words: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = declaration().try_get_matches_from(words)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let (Command::Fetch(flags), Some((_, given))) = (&mut cli.command, matches.subcommand()) {
        flags.data_order = data::order(given);
        flags.form_order = form::order(given);
    }
    Ok(cli)
}

/// Inserts `fetch` where it was omitted: before a flag, a URL, a list or standard input. `help COMMAND` and
/// `--help COMMAND` become `COMMAND --help`.
fn with_command(mut words: Vec<OsString>) -> Vec<OsString> {
    let word = |at: usize| words.get(at).and_then(|word| word.to_str());
    match (word(0), word(1)) {
        (None, _) if words.is_empty() => {}
        (Some("help" | "-h" | "--help"), Some(command)) if slips::COMMANDS.contains(&command) => {
            words.swap(0, 1);
            words.truncate(1);
            words.push("--help".into());
        }
        (Some("help"), None | Some("help")) => words = vec!["--help".into()],
        (Some("version"), None) => words = vec!["--version".into()],
        (Some("--help" | "-V" | "--version"), _) => {}
        // A possible name of a command. Others, such as `@list`, `-o`, `https://example.org` and `example.org`, are not.
        (Some(word), _) if !word.starts_with(['-', '@']) && !word.contains([':', '.', '/']) => {}
        (None | Some(_), _) => words.insert(0, "fetch".into()),
    }
    words
}

/// The long name of a flag of `fetch`, and whether a value follows; `None` if there is no such flag.
pub(crate) fn fetch_flag(is_it: impl Fn(&clap::Arg) -> bool) -> Option<(String, bool)> {
    let program = declaration();
    let arg = program.find_subcommand("fetch")?.get_arguments().find(|arg| is_it(arg))?;
    let value = arg.get_action().takes_values() && !arg.is_require_equals_set();
    Some((arg.get_long()?.to_owned(), value))
}

/// The declaration of the command line.
pub(crate) fn declaration() -> clap::Command {
    // With this, -1 is reported as a value out of range, not as an unknown flag.
    Cli::command().mut_subcommands(|command| {
        command.mut_args(|arg| {
            let is_flag = !arg.is_positional() && arg.get_action().takes_values();
            if is_flag { arg.allow_negative_numbers(true) } else { arg }
        })
    })
}

/// The command line without its hidden flags, which the generators of completions do not leave out.
pub(crate) fn shown() -> clap::Command {
    let program = declaration();
    let has = |command: &clap::Command, flag: &str| command.get_arguments().any(|arg| arg.get_id() == flag);
    let commands = program.get_subcommands().map(|command| {
        let name = slips::COMMANDS.iter().find(|name| **name == command.get_name());
        let flags = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let about = command.get_about().cloned().unwrap_or_default();
        clap::Command::new(*name.expect("every command is in the list"))
            .about(about)
            .disable_help_flag(has(command, "help"))
            .args(flags.cloned())
    });
    clap::Command::new("overlapped")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(has(&program, "help"))
        .disable_version_flag(has(&program, "version"))
        .disable_help_subcommand(program.is_disable_help_subcommand_set())
        .args(program.get_arguments().cloned())
        .subcommands(commands)
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
        shown().debug_assert();
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
        check_error("-C 5 @list", "-C - goes on");
        check_error("shard", "overlapped shard urls.txt");
        check_error("shard urls.txt", "overlapped shard urls.txt");
        check_error("shard urls.txt -n 0 -o d", "--shards: `0`");
        check_error("shard urls.txt --split-host a -n 1 -o d", "--split-host: `a`");
        check_error("-k http://a/", "--insecure-host");
        check_error("--fial http://a/", "--fail");
        check_error("localhost", "http://localhost");
        check_error("intranet", "https://intranet");
        check_error("fecth", "fetch");
        check_error("comapre", "perhaps `compare` is meant");
        check_error(
            "help nothing",
            "fetch, compare, waterfall, report, shard, verify, journal, completions, man",
        );
        check_error("-j -1 http://a/", "--parallel-max: `-1`: a whole number is wanted, from 1 to");
        check_error("--url-col http://a/", "`http://a/` is the value of the flag before it");
        check_error("--polite=1 http://a/", "--polite takes no value");
        check_error("--limit -1 http://a/", "--limit: `-1`: a whole number is wanted");
        check_error("-m -1 http://a/", "--max-time: `-1`: a time is written like");
        check_error("compare --runs -1", "--runs");
        check_error("", "nothing to do");
        check_error("-j many http://a/", "--parallel-max");
        check_error("--progress sometimes http://a/", "auto, bar, plain, none");
        check_error("-m soon http://a/", "500ms");
        check_error("-4 -6 http://a/", "cannot be used");
        check_error("fetch", "URL");
        check_error("waterfall", "overlapped waterfall results.ndjson");
        check_error("report", "overlapped report results.ndjson -o report.html");
        check_error("report results.ndjson", "overlapped report results.ndjson -o report.html");
        check_error("waterfall a b", "`b` is one word too many");
        check_error("journal", "verify results.ndjson.run");
        check_error("completions", "completions bash");
        check_error("-o", "--output <PATH> needs its value");
        check_error("--durability all http://a/", "--durability: `all`: it is one of each, group, none");
        check_error("--limit x http://a/", "--limit: `x`: a whole number is wanted");
        check_error("--limit 99999999999999999999 http://a/", "too large");
        check_error("-j 0 http://a/", "--parallel-max: `0`: a whole number is wanted, from 1 to");
        check_error("--concurrency 5 http://a/", "-j N");
        check_error("-q http://a/", "-s");
        check_error("-u secret http://a/", "--user: a user is written like");
        check_error("-9 http://a/", "-9 is no flag of overlapped fetch");
    }

    #[test]
    fn the_value_of_a_secret_flag_is_not_repeated() {
        let Err(error) = parse(["-u", "secret", "http://a/"].map(OsString::from)) else { panic!("accepted") };
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn help_is_a_command_and_a_flag() {
        let text = |words: &str| match parse(words.split_whitespace().map(OsString::from)) {
            Ok(Asked::Print(text)) => text,
            Ok(Asked::Run(_)) => panic!("{words}: runs"),
            Err(error) => panic!("{words}: {error}"),
        };
        let overview = text("help");
        assert!(
            slips::COMMANDS.iter().all(|command| overview.contains(&format!("\n  {command} "))),
            "{overview}"
        );
        assert!(overview.contains("overlapped fetch --help"), "{overview}");
        assert_eq!(text("--help"), overview);
        let short = text("-h");
        assert!(short.contains("--parallel-max") && short.contains("overlapped help"), "{short}");
        for words in ["fetch -h", "http://a/ -h", "-o x.ndjson -h"] {
            assert_eq!(text(words), short, "{words}");
        }
        for command in slips::COMMANDS {
            let help = text(&format!("help {command}"));
            assert!(help.contains(&format!("Usage: overlapped {command}")), "{help}");
            assert_eq!(text(&format!("{command} --help")), help);
            assert_eq!(text(&format!("--help {command}")), help);
        }
        assert!(text("version").starts_with("overlapped "));
    }

    #[test]
    fn every_command_is_known_by_name() {
        let program = declaration();
        let declared: Vec<_> = program.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(declared, slips::COMMANDS);
    }
}
