//! The commands, one a file. Each takes its flags and answers with how it ended.

mod fetch;
mod compare;
mod waterfall;
mod journal;
mod generate;

use std::ffi::OsString;
use std::io::{self, Write as _};

use crate::exit::{Ending, Error};
use crate::flags::{self, Asked, Command};

/// Runs what the words ask for.
///
/// # Errors
///
/// Why it could not be done; the text is one line.
pub(crate) fn run(words: impl IntoIterator<Item = OsString>) -> Result<Ending, Error> {
    match flags::parse(words)? {
        Asked::Print(text) => print(text.as_bytes()),
        Asked::Run(cli) => match cli.command {
            Command::Fetch(flags) => fetch::run(*flags),
            Command::Compare(flags) => compare::run(&flags),
            Command::Journal(flags) => journal::run(&flags),
            Command::Waterfall(flags) => waterfall::run(&flags),
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
