//! The program `overlapped` as a library: a list of URLs in, one record a row out.
//!
//! This file only starts the program, and maps its result to an exit code and an error message of one line. The
//! commands are in `commands`, the flags in `flags`. It exists for `main.rs` and for the Python package, and promises no
//! compatibility.

// From the outside in; a module imports only modules listed below it.
mod commands;
mod report;
mod flags;
mod page;
mod picture;
mod results;
mod terminal;
mod shell;
mod exit;

use std::ffi::OsString;

use exit::Error;

/// Unblocks the signals that stop a run, and makes a limit of the size of files an error. For a process that is only this program,
/// before it starts a thread.
pub fn unblock_signals() {
    report::signals::unblock();
    report::signals::survive_file_limit();
}

/// Runs the program with the arguments after its name, and returns its exit code.
///
/// # Blocking
///
/// Until the program is over.
#[must_use]
pub fn run(words: &[OsString]) -> u8 {
    match commands::run(words) {
        Ok(ending) => ending.code(),
        Err(error) => {
            match &error {
                Error::OutputClosed => {}
                Error::Usage(text) | Error::Output(text) | Error::Journal(text) => {
                    terminal::say(format_args!("overlapped: {text}"))
                }
            }
            error.code()
        }
    }
}
