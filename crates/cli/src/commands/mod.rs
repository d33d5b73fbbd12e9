//! The commands, one per file. Each takes its parsed flags and returns how it ended.

mod fetch;
mod compare;
mod waterfall;
mod report;
mod shard;
mod verify;
mod journal;
mod generate;

use std::ffi::OsString;
use std::io::{self, Write as _};

use crate::exit::{Ending, Error};
use crate::flags::{self, Asked, Command};

/// Runs a parsed command.
///
/// # Errors
///
/// Why it failed; the message is one line.
pub(crate) fn run(words: &[OsString]) -> Result<Ending, Error> {
    match flags::parse(words.iter().cloned())? {
        Asked::Print(text) => print(text.as_bytes()),
        Asked::Run(cli) => match cli.command {
            Command::Fetch(flags) => fetch::run(*flags, words),
            Command::Compare(flags) => compare::run(&flags),
            Command::Shard(flags) => shard::run(*flags),
            Command::Verify(flags) => verify::run(&flags),
            Command::Journal(flags) => journal::run(&flags),
            Command::Waterfall(flags) => waterfall::run(&flags),
            Command::Report(flags) => report::run(&flags),
            Command::Completions { shell } => print(&generate::completions(shell)),
            Command::Man { command } => print(&generate::man(command.as_deref())?),
        },
    }
}

fn print(bytes: &[u8]) -> Result<Ending, Error> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| Error::stdout(&error))?;
    Ok(Ending::Succeeded)
}
